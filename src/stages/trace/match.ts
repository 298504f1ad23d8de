/** Peaks against expected rows: all assignments as a whole, one fibre on or off, and what each costs. */
import type { Peak } from './peaks.js';

/** Assignments beside the best that are settled: so many fibres off, either way. */
const RIVALS = 2;
/** Steps of the first search: of the shift [px] and of the rows at the chip's edge [px]. */
const SHIFT_STEP = 0.4;
const STRETCHES = [-1.5, -0.5, 0.5, 1.5];
/** In the first search a peak farther away than this is as good as none [px]. */
const COARSE = 0.8;
/** Fibres stay within this of their rows (differences between chips and years) [px]; beyond CAP times that they count no more. */
export const STABLE = 0.1;
export const CAP = 3;
/** Of a fit with weights that follow it. */
const ROUNDS = 4;
/** Peaks up to this part of a spacing from their expected row are taken [spacings]. */
const TAKEN = 0.35;
/** A peak farther off than this must look like a fibre, in light and width [px]. */
export const PLAIN = 1;
/** Fibres of a whole chip; of fewer, on a strip, the nearest row decides where the gaps do not. */
export const MANY = 100;
/** A fibre nearer to the edge is not whole [px]: half of a spacing. */
export const WHOLE = 3;

export const at = (values: ArrayLike<number>, i: number): number => values[i] as number;

/** NaN of nothing. */
export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  return n === 0 ? Number.NaN : (at(sorted, (n - 1) >> 1) + at(sorted, n >> 1)) / 2;
}

/** Index of the peak nearest to a row; peaks ascend. */
function nearest(peaks: readonly Peak[], row: number): number {
  let [low, high] = [0, peaks.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((peaks[middle] as Peak).y < row) low = middle + 1;
    else high = middle;
  }
  const [here, before] = [peaks[low], peaks[low - 1]];
  return before !== undefined && here !== undefined && row - before.y < here.y - row ? low - 1 : low;
}

/** Rows as a + b u + c u^2 beyond those expected, u from -1 to 1 over the chip. */
export interface Bend {
  readonly terms: readonly [number, number, number];
  readonly middle: number;
  readonly half: number;
}

export function bent({ terms, middle, half }: Bend, row: number): number {
  const u = (row - middle) / half;
  return row + terms[0] + u * (terms[1] + u * terms[2]);
}

/** Weighted least squares of up to three terms (Cramer's rule on the moments); what is not fitted is 0. */
export function fitTerms(u: readonly number[], values: readonly number[], weights: readonly number[], order: number) {
  let [w, t1, t2, t3, t4, v0, v1, v2] = [0, 0, 0, 0, 0, 0, 0, 0];
  for (let i = 0; i < u.length; i++) {
    const [t, weight, value] = [at(u, i), at(weights, i), at(values, i)];
    w += weight;
    t1 += weight * t;
    t2 += weight * t * t;
    t3 += weight * t ** 3;
    t4 += weight * t ** 4;
    v0 += weight * value;
    v1 += weight * t * value;
    v2 += weight * t * t * value;
  }
  if (order === 1) return [v0 / w, 0, 0] as const;
  if (order === 2)
    return [(v0 * t2 - v1 * t1) / (w * t2 - t1 * t1), (w * v1 - t1 * v0) / (w * t2 - t1 * t1), 0] as const;
  const volume = (a: number, b: number, c: number, d: number, e: number, f: number, g: number, h: number, i: number) =>
    a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const all = volume(w, t1, t2, t1, t2, t3, t2, t3, t4);
  return [
    volume(v0, t1, t2, v1, t2, t3, v2, t3, t4) / all,
    volume(w, v0, t2, t1, v1, t3, t2, v2, t4) / all,
    volume(w, t1, v0, t1, t2, v1, t2, t3, v2) / all,
  ] as const;
}

/** One assignment of peaks to fibres. */
export interface Assignment {
  readonly bend: Bend;
  /** Peak of each fibre; -1: none. */
  readonly peak: Int32Array;
  /** Peak minus bent expectation; NaN: none. */
  readonly residual: Float64Array;
  /** Sum over fibres on the chip and peaks without a fibre, each CAP^2 at most. */
  readonly cost: number;
  readonly rms: number;
}

export interface Expected {
  readonly rows: Float64Array;
  readonly spacing: number;
  readonly height: number;
}

/** Each fibre's nearest peak, if it is that peak's nearest fibre too and within `reach`. */
function assign(peaks: readonly Peak[], { rows, height }: Expected, bend: Bend, reach: number): Int32Array {
  const out = new Int32Array(rows.length).fill(-1);
  const owner = new Int32Array(peaks.length).fill(-1);
  const distance = new Float64Array(peaks.length).fill(reach);
  rows.forEach((row, i) => {
    const y = bent(bend, row);
    if (y < 0 || y > height - 1) return;
    const k = nearest(peaks, y);
    const away = Math.abs((peaks[k] as Peak).y - y);
    if (away >= at(distance, k)) return;
    if (at(owner, k) >= 0) out[at(owner, k)] = -1;
    owner[k] = i;
    distance[k] = away;
    out[i] = k;
  });
  return out;
}

/** From a rough shift and stretch to the assignment there and what it costs. */
function settle(peaks: readonly Peak[], expected: Expected, shift: number, stretch: number): Assignment {
  const { rows, spacing, height } = expected;
  const [middle, half] = [(height - 1) / 2, height / 2];
  let bend: Bend = { terms: [shift, stretch, 0], middle, half };
  const reach = TAKEN * spacing;
  for (let round = 0; round < ROUNDS; round++) {
    const peak = assign(peaks, expected, bend, reach);
    const used = [...peak.keys()].filter((i) => at(peak, i) >= 0);
    const u = used.map((i) => (at(rows, i) - middle) / half);
    const offset = used.map((i) => (peaks[at(peak, i)] as Peak).y - at(rows, i));
    // Weights of absolute deviations: fibres beside a gap pull a wrong assignment no more than others.
    const weights = used.map(
      (i, k) => 1 / Math.max(STABLE, Math.abs(at(offset, k) - (bent(bend, at(rows, i)) - at(rows, i)))),
    );
    if (used.length < 2) break;
    const span = Math.max(...u) - Math.min(...u);
    // Few fibres beside one another say nothing of scale and bend.
    const order = used.length >= 30 && span > 0.5 ? 3 : used.length >= 8 && span > 0.2 ? 2 : 1;
    bend = { terms: fitTerms(u, offset, weights, order), middle, half };
  }
  const peak = assign(peaks, expected, bend, reach);
  const residual = Float64Array.from(rows, (row, i) => {
    const k = at(peak, i);
    return k < 0 ? Number.NaN : (peaks[k] as Peak).y - bent(bend, row);
  });
  let [cost, squares, close, taken] = [0, 0, 0, 0];
  rows.forEach((row, i) => {
    const y = bent(bend, row);
    if (y < WHOLE || y > height - 1 - WHOLE) return;
    const r = at(residual, i) / STABLE;
    cost += Number.isNaN(r) ? CAP ** 2 : Math.min(r * r, CAP ** 2);
  });
  for (const r of residual) {
    if (Number.isNaN(r)) continue;
    taken++;
    if (Math.abs(r) > PLAIN) continue;
    squares += r * r;
    close++;
  }
  cost += CAP ** 2 * (peaks.length - taken);
  return { bend, peak, residual, cost, rms: close > 0 ? Math.sqrt(squares / close) : Number.NaN };
}

/** How well rows at a shift and a stretch meet peaks: +1 for each that meets none, -1 for each that meets one, more where it is less near. */
function coarseCosts(
  peaks: readonly Peak[],
  expected: Expected,
  reach: number,
): { shift: number; stretch: number; cost: number }[] {
  const { rows, height } = expected;
  const [middle, half] = [(height - 1) / 2, height / 2];
  const cells = 10; // of a pixel
  const margin = Math.ceil(reach) + 4;
  // The cost of each tenth of a pixel, once for all shifts
  const cost = new Float64Array((height + 2 * margin) * cells).fill(1);
  for (const { y } of peaks) {
    for (let cell = Math.ceil((y - COARSE + margin) * cells); cell <= (y + COARSE + margin) * cells; cell++) {
      if (cell >= 0 && cell < cost.length)
        cost[cell] = Math.min(at(cost, cell), ((cell / cells - margin - y) / COARSE) ** 2);
    }
  }
  const out: { shift: number; stretch: number; cost: number }[] = [];
  // Of a whole chip every third fibre is enough to begin with; on a strip all of them.
  const every = peaks.length >= MANY ? 3 : 1;
  const steps = Math.ceil(reach / SHIFT_STEP);
  for (const stretch of STRETCHES) {
    for (let step = -steps; step <= steps; step++) {
      const shift = step * SHIFT_STEP;
      let total = 0;
      for (let i = 0; i < rows.length; i += every) {
        const row = at(rows, i);
        const y = row + shift + (stretch * (row - middle)) / half;
        if (y < 0 || y > height - 1) continue;
        const c = at(cost, Math.round((y + margin) * cells));
        total += c < 1 ? c - 1 : 1;
      }
      out.push({ shift, stretch, cost: total });
    }
  }
  return out;
}

/** The assignments that the peaks suggest, best first: the rough search's best, and those a fibre or two off. */
export function assignments(peaks: readonly Peak[], expected: Expected, reach: number): Assignment[] {
  const costs = coarseCosts(peaks, expected, reach);
  const best = costs.reduce((a, b) => (b.cost < a.cost ? b : a));
  const found: Assignment[] = [];
  for (let off = -RIVALS; off <= RIVALS; off++) {
    const about = best.shift + off * expected.spacing;
    const here = costs.filter(({ shift }) => Math.abs(shift - about) <= expected.spacing / 2);
    if (here.length === 0) continue;
    const start = here.reduce((a, b) => (b.cost < a.cost ? b : a));
    found.push(settle(peaks, expected, start.shift, start.stretch));
  }
  return found.sort((a, b) => a.cost - b.cost);
}
