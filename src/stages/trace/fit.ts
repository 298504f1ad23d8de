/** Flux, centre and width of all fibres, fitted to the pixels and smooth along x; fibres that cannot be measured lie as those around them. */
import type { Profile } from '../../core/spectra.js';
import { runKernel } from '../../engine/index.js';
import { quantile } from '../measure.js';
import { cholesky, legendre, smoothFunctions, solveCholesky } from '../smooth_fit.js';
import {
  CENTRE_FROM,
  CENTRE_TERMS,
  type Drawn,
  drawTraces,
  ENTRIES,
  FLUX_TERMS,
  newTraces,
  seriesAt,
  TERMS,
  WIDTH_FROM,
} from './series.js';

/** Bins along x, and what trace-fit sums in each: kernel.json. */
const BINS = 128;
const SUMS = 12;
/** Of the sums: those for the flux alone, and the columns' worth of a fibre's light. */
const SUM = { weight: 0, gradient: 6, light: 11 } as const;
export const FIGURES = 8;

/** Fibres of the kernels; an instrument with fewer leaves the rest without a trace. */
export const KERNEL_FIBRES = 300;

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;

/** Series of all fibres, and how well they fit. */
export interface Fitted {
  /** [fibre][28] */
  readonly terms: Float64Array;
  /** [fibre][406] */
  readonly covariance: Float64Array;
  /** [fibre][8], as smooth-traces has them. */
  readonly figures: Float64Array;
  /** Fibres whose centre and width are interpolated. */
  readonly held: readonly boolean[];
}

/** Of `figures`. */
export const FIGURE = { bins: 0, usable: 1, rms: 2, binChi2: 3, binFreedom: 4, chi2: 5, freedom: 6, light: 7 } as const;

export interface FitInput {
  readonly rows: number;
  readonly cols: number;
  /** [row][x] scattered light subtracted. */
  readonly image: Float32Array;
  readonly ivar: Float32Array;
  readonly profile: Profile;
  /** Rows of the fibres by metrology, for those that are interpolated. */
  readonly expected: Float64Array;
  readonly threads?: number | undefined;
}

/** Terms that are free in a step, and how outliers are treated. */
export interface FitStep {
  readonly flux: number;
  readonly centre: number;
  readonly width: number;
  /** Pixels farther from the model than this do not count [sigma]; 0: all count. */
  readonly clip: number;
  /** Every so many bins are looked at: a few do for the first steps. */
  readonly every: number;
  /** Whether even light below a fibre is fitted, too: as long as the profile has no wings of its own. */
  readonly pedestal: boolean;
}

/** A smaller part of the bins does not make a trace. */
const LEAST_PART = 1 / 8;
/** Fibres on which an interpolated trace is based. */
const NEIGHBOURS = 12;
/** Part of its light that must be on the chip for a bin to say how bright a fibre is that the edge cuts, and the bins that must. */
const SEEN = 0.02;
const LEAST_SEEN = 8;

/** Straight line through values over places, at `place`; and the scatter about it. */
function lineAt(places: readonly number[], values: readonly number[], place: number): { value: number; rms: number } {
  const n = places.length;
  const mean = places.reduce((sum, p) => sum + p, 0) / n;
  const level = values.reduce((sum, v) => sum + v, 0) / n;
  let [squares, product] = [0, 0];
  places.forEach((p, i) => {
    squares += (p - mean) ** 2;
    product += (p - mean) * at(values, i);
  });
  const slope = squares > 0 ? product / squares : 0;
  const rest = places.reduce((sum, p, i) => sum + (at(values, i) - level - slope * (p - mean)) ** 2, 0);
  return { value: level + slope * (place - mean), rms: Math.sqrt(rest / Math.max(1, n - 2)) };
}

/** How far beyond the rows of the fibres around it a line is followed, over the rows that they span. */
const BEYOND = 0.5;

/**
 * Gives the fibres that are held the centre and width of those around them: straight lines, over metrology's rows, through the terms
 * of the nearest that are not; the row itself is metrology's, moved as those are. The scatter about the lines is their error. The lines
 * end soon after the last fibre that was measured: a strip has 15 of them, which say nothing of widths a thousand rows away.
 */
function interpolate(terms: Float64Array, covariance: Float64Array, held: readonly boolean[], expected: Float64Array) {
  const free = [...held.keys()].filter((i) => held[i] !== true);
  if (free.length === 0) return;
  held.forEach((is, i) => {
    if (!is) return;
    const near = free.toSorted((a, b) => Math.abs(a - i) - Math.abs(b - i)).slice(0, NEIGHBOURS);
    const places = near.map((n) => at(expected, n));
    const [low, high] = [Math.min(...places), Math.max(...places)];
    const more = BEYOND * (high - low);
    const place = Math.min(Math.max(at(expected, i), low - more), high + more);
    for (let k = CENTRE_FROM; k < TERMS; k++) {
      const offset = (n: number) => (k === CENTRE_FROM ? at(expected, n) : 0);
      const values = near.map((n) => at(terms, n * TERMS + k) - offset(n));
      const { value, rms } = lineAt(places, values, place);
      terms[i * TERMS + k] = value + offset(i);
      covariance[i * ENTRIES + (k * (k + 1)) / 2 + k] = rms * rms;
    }
  });
}

/** Smooth functions of the fibre that a width is, at most, and fibres for each of them. */
const WIDTH_ACROSS = 4;
const WIDTH_FIBRES = 10;
/** Fibres farther off, in units of the scatter, do not count. */
const WIDTH_CLIP = 4;

/**
 * Makes the widths a smooth function of the fibre, as the optics make them: as long as the profile is not known, those at gaps of the slit
 * head are taken for other ones, which would stay in the profile.
 */
export function smoothWidths(terms: Float64Array, held: readonly boolean[]): void {
  const free = [...held.keys()].filter((i) => held[i] !== true);
  const [first, last] = [free[0], free.at(-1)];
  if (first === undefined || last === undefined) return;
  const functions = smoothFunctions(last - first, held.length).slice(
    0,
    Math.min(WIDTH_ACROSS, Math.max(1, Math.floor(free.length / WIDTH_FIBRES))),
  );
  const n = functions.length;
  const place = (i: number) => Math.min(Math.max(i, first), last) - first;
  for (let k = WIDTH_FROM; k < TERMS; k++) {
    let used = free;
    let solution = new Float64Array(n);
    const value = (i: number) => functions.reduce((sum, f, a) => sum + at(f, place(i)) * at(solution, a), 0);
    for (let round = 0; round < 3; round++) {
      const matrix = new Float64Array(n * n);
      solution = new Float64Array(n);
      for (const i of used) {
        const p = functions.map((f) => at(f, place(i)));
        for (let a = 0; a < n; a++) {
          for (let b = 0; b < n; b++) matrix[a * n + b] = at(matrix, a * n + b) + at(p, a) * at(p, b);
          solution[a] = at(solution, a) + at(p, a) * at(terms, i * TERMS + k);
        }
      }
      solveCholesky(cholesky(matrix, n), n, solution);
      const off = free.map((i) => Math.abs(at(terms, i * TERMS + k) - value(i)));
      // 1.4826: from the median deviation to sigma
      const most = WIDTH_CLIP * 1.4826 * quantile(off, 0.5);
      used = free.filter((_, j) => at(off, j) <= most);
    }
    for (const i of held.keys()) terms[i * TERMS + k] = value(i);
  }
}

export class TraceFitter {
  /** Where the last step worked; after `draw`, where the series are. */
  readonly drawn: Drawn;
  readonly fibres: number;
  readonly #sums = new Float64Array(SUMS * KERNEL_FIBRES * BINS);
  /** Seconds of the kernels' steps. */
  readonly seconds = { fit: 0, smooth: 0, draw: 0 };
  #profile: Float32Array;
  #drawnTerms = new Float64Array(0);
  fitted: Fitted;

  constructor(
    private readonly cols: number,
    start: Fitted,
    /** Fibres whose light is not on the chip in all columns; they are held. */
    private readonly beyond: readonly boolean[] = start.held.map(() => false),
  ) {
    this.fitted = start;
    this.fibres = start.terms.length / TERMS;
    this.drawn = newTraces(KERNEL_FIBRES, cols);
    this.drawn.centre.fill(Number.NaN);
    this.#profile = new Float32Array(0);
  }

  async #timed<T>(what: 'fit' | 'smooth' | 'draw', work: Promise<T>): Promise<T> {
    const began = performance.now();
    const result = await work;
    this.seconds[what] += (performance.now() - began) / 1000;
    return result;
  }

  /** Evaluates the series in every column, where they are others than those drawn. */
  async draw(threads = 1): Promise<void> {
    const { cols, fibres, drawn } = this;
    const { terms } = this.fitted;
    if (terms.length === this.#drawnTerms.length && terms.every((value, i) => value === this.#drawnTerms[i])) return;
    this.#drawnTerms = terms.slice();
    const part = (data: Float32Array) => data.subarray(0, fibres * cols);
    const to = { flux: part(drawn.flux), centre: part(drawn.centre), width: part(drawn.width) };
    await this.#timed('draw', drawTraces(terms, cols, to, threads));
  }

  /** The profile of 300 fibres, those beyond the instrument's without light. */
  #tables({ cumulative }: Profile): Float32Array {
    const size = (cumulative.length / this.fibres) * KERNEL_FIBRES;
    if (cumulative.length === size) return cumulative;
    if (this.#profile.length !== size) this.#profile = new Float32Array(size);
    this.#profile.set(cumulative);
    return this.#profile;
  }

  /** Fits the series of `rows` fibres from `first` on, whose terms are given. */
  async #smooth(
    terms: Float64Array,
    step: Pick<FitStep, 'flux' | 'centre' | 'width'>,
    threads: number,
    first = 0,
    rows = this.fibres,
  ) {
    const out = {
      terms: new Float64Array(rows * TERMS),
      covariance: new Float64Array(rows * ENTRIES),
      figures: new Float64Array(rows * FIGURES),
    };
    const { flux, centre, width } = step;
    await this.#timed(
      'smooth',
      runKernel(
        'smooth-traces',
        {
          sums: {
            data: this.#sums.subarray(first * BINS),
            planes: SUMS,
            rows,
            cols: BINS,
            planeStride: KERNEL_FIBRES * BINS,
          },
          before: { data: terms, rows, cols: TERMS },
          terms: { data: out.terms, rows, cols: TERMS },
          covariance: { data: out.covariance, rows, cols: ENTRIES },
          figures: { data: out.figures, rows, cols: FIGURES },
        },
        { columns: this.cols, flux, centre, width },
        { threads, strip: BINS },
      ),
    );
    return out;
  }

  /**
   * Light of the fibres beyond the chip's edge, whose wings are on it: that of the fibres nearest to each, times what is seen of it. A
   * series through the few columns in which it is on the chip would say anything of the others.
   * @param before terms of which the sums tell the rest
   */
  #lightBeyond(before: Float64Array, terms: Float64Array): void {
    const { beyond, cols } = this;
    const lit = [...beyond.keys()].filter((i) => beyond[i] !== true && at(terms, i * TERMS) > 0);
    if (lit.length === 0) return;
    const places = Array.from({ length: BINS }, (_, bin) => legendre((2 * (bin + 0.5)) / BINS - 1, FLUX_TERMS));
    beyond.forEach((is, i) => {
      if (!is) return;
      const near = lit.toSorted((a, b) => Math.abs(a - i) - Math.abs(b - i)).slice(0, NEIGHBOURS);
      const usual = Float64Array.from(
        { length: FLUX_TERMS },
        (_, k) => near.reduce((sum, n) => sum + at(terms, n * TERMS + k), 0) / near.length,
      );
      const sum = (which: number, bin: number) => at(this.#sums, (which * KERNEL_FIBRES + i) * BINS + bin);
      let [product, square, seen] = [0, 0, 0];
      places.forEach((p, bin) => {
        if (!(sum(SUM.light, bin) > (SEEN * cols) / BINS)) return;
        const [flux, model] = [seriesAt(before, i * TERMS, FLUX_TERMS, p), seriesAt(usual, 0, FLUX_TERMS, p)];
        product += model * (sum(SUM.weight, bin) * flux + sum(SUM.gradient, bin));
        square += model * model * sum(SUM.weight, bin);
        seen++;
      });
      const part = seen >= LEAST_SEEN && square > 0 ? Math.max(product / square, 0) : 1;
      for (let k = 0; k < FLUX_TERMS; k++) terms[i * TERMS + k] = part * at(usual, k);
    });
  }

  /** One step of Gauss and Newton for all fibres; `drawn` is where it started from. */
  async step(input: FitInput, step: FitStep): Promise<void> {
    const { threads = 1, rows, cols } = input;
    await this.draw(threads);
    const image = (data: Float32Array) => ({ data, planes: rows, cols, planeStride: cols });
    const fibre = (data: Float32Array) => ({ data, rows: KERNEL_FIBRES, cols });
    await this.#timed(
      'fit',
      runKernel(
        'trace-fit',
        {
          image: image(input.image),
          ivar: image(input.ivar),
          centre: fibre(this.drawn.centre),
          width: fibre(this.drawn.width),
          flux: fibre(this.drawn.flux),
          profile: { data: this.#tables(input.profile), planes: KERNEL_FIBRES, rows: 9, cols: 481 },
          sums: { data: this.#sums, planes: SUMS, rows: KERNEL_FIBRES, cols: BINS },
        },
        { clip: step.clip, every: step.every, pedestal: step.pedestal },
        { strip: cols },
      ),
    );
    const before = this.fitted.terms;
    const fitted = await this.#smooth(before, step, threads);
    const least = (LEAST_PART * BINS) / step.every;
    const held = this.fitted.held.map((is, i) => is || at(fitted.figures, i * FIGURES + FIGURE.bins) < least);
    if (held.some(Boolean)) {
      for (const [i, is] of held.entries()) {
        if (!is) continue;
        const own = before.subarray(i * TERMS, (i + 1) * TERMS);
        if (this.beyond[i] === true) {
          fitted.terms.set(own, i * TERMS);
          fitted.covariance.fill(0, i * ENTRIES, (i + 1) * ENTRIES);
          fitted.figures.fill(0, i * FIGURES, (i + 1) * FIGURES);
          continue;
        }
        const flux = await this.#smooth(own, { flux: step.flux, centre: 0, width: 0 }, threads, i, 1);
        fitted.terms.set(flux.terms, i * TERMS);
        fitted.covariance.set(flux.covariance, i * ENTRIES);
        fitted.figures.set(flux.figures, i * FIGURES);
      }
      this.#lightBeyond(before, fitted.terms);
      if (step.centre > 0) interpolate(fitted.terms, fitted.covariance, held, input.expected);
    }
    // While only the flux is looked for nothing is given up.
    this.fitted = { ...fitted, held: step.centre > 0 ? held : this.fitted.held };
  }
}

/** Series to begin with: the rows that were followed, a width, and no flux. */
export function startSeries(centre: Float64Array, width: number, held: readonly boolean[]): Fitted {
  const fibres = held.length;
  const terms = new Float64Array(fibres * TERMS);
  for (let i = 0; i < fibres; i++) {
    terms.set(centre.subarray(i * CENTRE_TERMS, (i + 1) * CENTRE_TERMS), i * TERMS + FLUX_TERMS);
    terms[i * TERMS + WIDTH_FROM] = width;
  }
  return {
    terms,
    covariance: new Float64Array(fibres * ENTRIES),
    figures: new Float64Array(fibres * FIGURES),
    held,
  };
}
