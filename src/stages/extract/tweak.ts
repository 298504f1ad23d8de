/**
 * Where an exposure has the traces of its flat: telescope and instrument move between the two. The exposure itself says it, by the
 * light of all its fibres.
 */
import { PROFILE_NODES, PROFILE_SAMPLES, type Traces, type Tweak } from '../../core/spectra.js';
import { runKernel, sharedF32 } from '../../engine/index.js';
import { median } from '../measure.js';
import { NO_WEIGHT_BITS } from '../rates_image.js';
import { legendre } from '../smooth_fit.js';

/** What was exposed, [row][x], after 2-D calibration; better after the scattered light was subtracted, and not worse by much before. */
export interface TweakImage {
  readonly rows: number;
  readonly cols: number;
  readonly image: Float32Array;
  /** 1 / variance; 0 or NaN: no weight. */
  readonly ivar: Float32Array;
  /** Pixels with a bit of NO_WEIGHT_BITS have no weight. */
  readonly dq?: Uint32Array | undefined;
}

/** Of traces that nothing is known to have moved. */
export const UNCHANGED = {
  terms: [],
  largestError: Number.NaN,
  width: 1,
  widthError: Number.NaN,
} as const satisfies Partial<Tweak>;

/** Traces in an exposure. */
export interface Tweaked {
  readonly tweak: Tweak;
  /** [fibre][x] row, and width in units of the profile; the flat's own where the state is not 'ok'. */
  readonly centre: Float32Array;
  readonly width: Float32Array;
  /** Fibres that counted. */
  readonly fibres: number;
  /** Scatter of the fibres about the smooth terms in units of their errors; NaN where nothing was measured. */
  readonly scatter: number;
}

/** Traces moved by the terms of a tweak, and their widths scaled: [fibre][x]; in new memory, or `into` what is given. */
export async function moveTraces(
  traces: Pick<Traces, 'fibres' | 'cols' | 'centre' | 'width'>,
  tweak: Pick<Tweak, 'terms' | 'width'>,
  rows: number,
  threads = 1,
  into?: { readonly centre: Float32Array; readonly width: Float32Array },
): Promise<{ readonly centre: Float32Array; readonly width: Float32Array }> {
  const { fibres, cols } = traces;
  const terms = new Float64Array(16);
  for (const { i, j, value } of tweak.terms) terms[4 * i + j] = value;
  const { centre, width } = into ?? { centre: sharedF32(fibres * cols), width: sharedF32(fibres * cols) };
  const table = (data: Float32Array) => ({ data, rows: fibres, cols });
  await runKernel(
    'move-traces',
    {
      centre: table(traces.centre),
      width: table(traces.width),
      terms: { data: terms, cols: 16 },
      moved: table(centre),
      stretched: table(width),
    },
    { rows, columns: cols, factor: tweak.width },
    { threads },
  );
  return { centre, width };
}

/** Most columns of a block: a few thousand blocks and fibres are what the fit sees. */
const BLOCK = 256;
/** Columns of a block that are looked at: where they tell the shift and, everywhere on the chip, the traces to so many px, no more are needed. */
const SKETCH = 32;
const ENOUGH = 0.002;
const ENOUGH_ANYWHERE = 0.005;
/** Every so many blocks, for a first look. */
const GLANCE = 2;
/** Numbers of a block in the kernel's sums. */
const SUMS = 11;
/** Degrees of freedom of a whole column. */
const FREEDOM = 7;
/** chi2 a degree of freedom at which a column counts half: noise alone gives 3 in one of 1000. */
const DOUBT = 10;
const NO_DOUBT = 1e6;
/** More rounds have never been needed by a shift below half a spacing. */
const ROUNDS = 8;
/** Part of the spacing of fibres by which traces may move: beyond 0.5 a fibre would be taken for its neighbour. */
const FARTHEST = 0.42;
/** Significance from which a fibre has light for sure: 300 fibres of noise have less. */
const LIT = 5;
/** From the median deviation to sigma. */
const TO_SIGMA = 1.4826;
/** Larger errors of the shift make a tweak of no use [px]. */
const FAINT = 0.05;
/**
 * What is believed of a term of degree 1, 2, 3 before the exposure says more: 0, with these errors [px]; and of the logarithm of the
 * width. So the light decides how many terms count: of faint exposures the shift alone. Bright ones overrule this by far.
 */
const PRIOR = [Number.POSITIVE_INFINITY, 0.05, 0.02, 0.01] as const;
const PRIOR_WIDTH = 0.02;
/**
 * What tables of 0.05 px with straight lines between leave, whatever the light, as measured on flats of the mock: of the shift [px], and
 * of the logarithm of the width.
 */
const FLOOR = 1e-4;
const FLOOR_WIDTH = 5e-4;
/** Cells and fibres farther from the fit, in units of their scatter, do not count. */
const CLIP = 5;
/** A scatter of normal deviations that is larger than this is more than chance, for 300 fibres (MAD: 6 %). */
const SCATTERED = 1.2;
/**
 * Scatter of single fibres about the smooth terms [px] from which the image has another pattern of fibres: fibres of a slit head sit
 * up to 0.2 px off an even spacing, which the trace of a wrong fibre shows: 0.06 px at least in the mock, where the right ones show 0.001 px.
 */
const PATTERN = 0.03;
/** No telescope bends its spectrograph so much that a term but the shift is larger [px]; chips differ by 1.5 px and more. */
const BENT = 0.5;
/** Fibres that are known this well [px], and how many of them, tell a pattern. */
const TELLING = 0.03;
const FEWEST = 5;

/** Columns of a block that are needed where a sketch gave `fit`: the squares of its errors fall with them. */
function columnsFor(fit: Fit): number {
  const excess = Math.max(errorOf(fit, 0) / ENOUGH, largestError(fit.covariance) / ENOUGH_ANYWHERE, 1);
  return Math.min(BLOCK, SKETCH * 2 ** Math.ceil(Math.log2(excess ** 2)));
}

/** P_i(u) P_j(v): shift, scale, tilt, and slow terms. */
const TERMS = [
  [0, 0],
  [0, 1],
  [1, 0],
  [0, 2],
  [1, 1],
  [2, 0],
  [0, 3],
  [1, 2],
  [2, 1],
  [3, 0],
] as const;
/** The logarithm of the width is the last unknown. */
const UNKNOWNS = TERMS.length + 1;

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;
/** 1 / variance of what is believed of an unknown. */
const PRIORS = Float64Array.from({ length: TERMS.length + 1 }, (_, n) => {
  const [i, j] = TERMS[n] ?? [0, 0];
  return 1 / (n < TERMS.length ? at(PRIOR, i + j) : PRIOR_WIDTH) ** 2;
});

/** Light of so many columns against noise alone, which gives 0 +- 1: squares of normal numbers where they are positive, mean 1/2, variance 5/4. */
const significance = (light: number, columns: number): number =>
  columns > 0 ? (light - 0.5 * columns) / Math.sqrt(1.25 * columns) : 0;

/** Runs the kernel over an exposure, with traces wherever the fit believes them. */
class Measurer {
  readonly blocks: number;
  readonly stride: number;
  private readonly seen: Float32Array;
  private known: Float32Array;
  private fitted: Float32Array;
  private readonly placed: { readonly centre: Float32Array; readonly width: Float32Array };

  constructor(
    readonly traces: Traces,
    readonly exposure: TweakImage,
    readonly threads: number,
  ) {
    const { cols } = traces;
    let stride = Math.min(BLOCK, cols);
    while (cols % stride !== 0) stride--;
    this.stride = stride;
    this.blocks = cols / stride;
    this.known = sharedF32(traces.fibres * cols);
    this.fitted = sharedF32(traces.fibres * cols);
    this.placed = { centre: sharedF32(traces.fibres * cols), width: sharedF32(traces.fibres * cols) };
    this.seen = traces.profile.cumulative;
  }

  /** Traces where the values have them, in memory that the next call of `sums` takes. */
  moved(values: ArrayLike<number>): ReturnType<typeof moveTraces> {
    return moveTraces(this.traces, tweakOf(values), this.exposure.rows, this.threads, this.placed);
  }

  /**
   * Sums f64 [fibre][block][SUMS] with traces moved by `values`.
   * @param part columns of each block, from its first, that are looked at
   * @param every blocks from one that is looked at to the next
   * @param neighbours whether the fluxes of the call before are taken off; those of this call take their place
   */
  async sums(
    values: ArrayLike<number>,
    part: number,
    { every = 1, doubt = DOUBT, neighbours = true }: { every?: number; doubt?: number; neighbours?: boolean } = {},
  ): Promise<Float64Array> {
    const { traces, exposure } = this;
    const { fibres, cols } = traces;
    const [blocks, stride] = [Math.ceil(this.blocks / every), this.stride * every];
    const { centre, width } = await this.moved(values);
    const sums = new Float64Array(fibres * blocks * SUMS);
    const cells = { rows: blocks, rowStride: stride, cols: Math.min(part, this.stride), planeStride: cols };
    const image = (data: Float32Array | Uint32Array) => ({ data, planes: exposure.rows, ...cells });
    const table = (data: Float32Array) => ({ data, planes: fibres, ...cells });
    await runKernel(
      'trace-tweak',
      {
        image: image(exposure.image),
        ivar: image(exposure.ivar),
        ...(exposure.dq !== undefined && { dq: image(exposure.dq) }),
        centre: table(centre),
        width: table(width),
        ...(neighbours && { flux: table(this.known) }),
        profile: { data: this.seen, planes: fibres, rows: PROFILE_NODES, cols: PROFILE_SAMPLES },
        sums: { data: sums, planes: fibres, rows: blocks, cols: SUMS },
        fitted: table(this.fitted),
      },
      { stride, columns: cols, doubt, skip: NO_WEIGHT_BITS },
      { threads: this.threads, strip: this.stride },
    );
    if (neighbours) [this.known, this.fitted] = [this.fitted, this.known];
    return sums;
  }

  /** Light of each fibre against noise alone, which gives 0 +- 1, with all traces moved by `shift` px more. */
  async light(values: ArrayLike<number>, shift = 0): Promise<Float64Array> {
    const moved = Float64Array.from(values);
    moved[0] = at(moved, 0) + shift;
    const sums = await this.sums(moved, SKETCH, { every: GLANCE, doubt: NO_DOUBT, neighbours: false });
    const blocks = Math.ceil(this.blocks / GLANCE);
    return Float64Array.from({ length: this.traces.fibres }, (_, fibre) => {
      let light = 0;
      let columns = 0;
      for (let block = 0; block < blocks; block++) {
        const cell = (fibre * blocks + block) * SUMS;
        light += at(sums, cell + 8);
        columns += at(sums, cell + 10) / FREEDOM;
      }
      return significance(light, columns);
    });
  }
}

function tweakOf(values: ArrayLike<number>): Pick<Tweak, 'terms' | 'width'> {
  return {
    terms: TERMS.map(([i, j], n) => ({ i, j, value: at(values, n), error: Number.NaN })),
    width: Math.exp(at(values, UNKNOWNS - 1)),
  };
}

/** Solution of a symmetric positive system, and the inverse; undefined where it is not positive. */
function invert(matrix: readonly Float64Array[]): Float64Array[] | undefined {
  const n = matrix.length;
  const work = matrix.map((row, i) =>
    Float64Array.from({ length: 2 * n }, (_, j) => (j < n ? at(row, j) : +(j - n === i))),
  );
  for (let k = 0; k < n; k++) {
    const pivot = work[k] as Float64Array;
    const value = at(pivot, k);
    if (!(value > 1e-9 * Math.abs(at(matrix[k] as Float64Array, k)))) return undefined;
    for (let j = 0; j < 2 * n; j++) pivot[j] = at(pivot, j) / value;
    for (const [i, row] of work.entries()) {
      const factor = at(row, k);
      if (i !== k && factor !== 0) for (let j = 0; j < 2 * n; j++) row[j] = at(row, j) - factor * at(pivot, j);
    }
  }
  return work.map((row) => row.subarray(n));
}

interface Fit {
  /** Of all unknowns; 0 where the light does not say. */
  readonly values: Float64Array;
  /** [unknown][unknown] */
  readonly covariance: Float64Array;
  readonly scatter: number;
  readonly fibres: number;
}

const errorOf = ({ covariance }: Fit, unknown: number): number => Math.sqrt(at(covariance, unknown * (UNKNOWNS + 1)));

/** Coefficients of the powers of t in P_j(t). */
const POWERS = [
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [-0.5, 0, 1.5, 0],
  [0, -1.5, 0, 2.5],
] as const;
/** Powers of t in P_j(t) P_k(t), and in P_j(t). */
const MOMENTS = 7;
const DEGREES = 4;
/** [j][k] coefficients of the powers in P_j P_k. */
const PRODUCTS = POWERS.map((a) =>
  POWERS.map((b) => {
    const product = new Float64Array(MOMENTS);
    for (const [n, x] of a.entries()) for (const [m, y] of b.entries()) product[n + m] = at(product, n + m) + x * y;
    return product;
  }),
);
/**
 * Sums over cells, times powers of v: information and variance of the pull on the centre, MOMENTS each; both with the width, and the pull,
 * DEGREES each; then of the width alone its information, variance and pull.
 */
const CC = 0;
const VCC = CC + MOMENTS;
const CW = VCC + MOMENTS;
const VCW = CW + DEGREES;
const PULL = VCW + DEGREES;
const WW = PULL + DEGREES;
const VWW = WW + 1;
const PULL_W = WW + 2;
const SUMMED = WW + 3;

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += (a[k] as number) * (b[k] as number);
  return sum;
};

/**
 * The smooth terms from sums over cells, with cells and fibres that disagree left out. There are thousands of cells and this is called a few
 * times, so what goes over them is short loops without garbage, which take little to compile; polynomials are made of their sums.
 */
class Fitter {
  private readonly eligible: Uint8Array;
  /** u of each block. */
  private along = new Float64Array();
  /** v of each cell, [fibre][block]. */
  private readonly across: Float64Array;
  /** What is left of the pull on each cell's centre after a step. */
  private readonly left: Float64Array;

  constructor(
    private readonly traces: Traces,
    private readonly blocks: number,
    rows: number,
  ) {
    const { fibres, cols, centre } = traces;
    const stride = cols / blocks;
    const middle = (block: number) => (block + 0.5) * stride - 0.5;
    this.eligible = Uint8Array.from(traces.states, (state) => +(state === 'ok' || state === 'low'));
    this.across = new Float64Array(fibres * blocks);
    this.left = new Float64Array(fibres * blocks);
    for (let fibre = 0, cell = 0; fibre < fibres; fibre++) {
      for (let block = 0; block < blocks; block++, cell++) {
        this.across[cell] = (2 * at(centre, fibre * cols + Math.floor(middle(block)))) / (rows - 1) - 1;
      }
    }
  }

  /**
   * One step: the values that solve the linear problem around `from`; undefined: there is not enough light.
   * @param part columns of each block, from its first, that the sums are over
   */
  step(sums: Float64Array, from: Float64Array, part: number): Fit | undefined {
    const { blocks } = this;
    const { cols } = this.traces;
    const middle = (block: number) => (block * cols) / blocks + 0.5 * (Math.min(part, cols / blocks) - 1);
    this.along = Float64Array.from({ length: blocks }, (_, block) => (2 * middle(block)) / (cols - 1) - 1);
    const counts = new Uint8Array(this.left.length);
    // Weights that follow the noise make the information of columns without light a little negative; an arc has so many of them that all would be.
    for (let cell = 0; cell < counts.length; cell++) {
      const lit = significance(at(sums, cell * SUMS + 8), at(sums, cell * SUMS + 10) / FREEDOM) > LIT;
      counts[cell] = +(lit && this.eligible[Math.floor(cell / blocks)] === 1);
    }
    let fit: Fit | undefined;
    let scatter = Number.NaN;
    for (let round = 0; round < 4; round++) {
      const larger = scatter > SCATTERED ? scatter : 1;
      const solved = this.solve(sums, from, counts, larger);
      if (solved === undefined) return undefined;
      this.take(
        sums,
        solved.values.map((value, n) => value - at(from, n)),
      );
      const cells = this.clip(sums, counts, 1);
      const all = this.clip(sums, counts, this.blocks);
      scatter = all.groups >= 20 ? all.scatter : cells.scatter;
      fit = { ...solved, scatter };
      // Another round would be the same, or nearly.
      if (cells.dropped + all.dropped === 0 && (round > 0 || (scatter > SCATTERED ? scatter : 1) === larger)) break;
    }
    return fit;
  }

  /** Robust scatter of single fibres about the fit, beyond their errors [px]; NaN where too few are known well. */
  disagreement(sums: Float64Array, moved: Float64Array): number {
    const { blocks, left } = this;
    this.take(sums, moved);
    const offsets: number[] = [];
    const errors: number[] = [];
    for (let fibre = 0; fibre < this.traces.fibres; fibre++) {
      if (this.eligible[fibre] === 0) continue;
      let pull = 0;
      let information = 0;
      let variance = 0;
      for (let cell = fibre * blocks; cell < (fibre + 1) * blocks; cell++) {
        pull += left[cell] as number;
        information += sums[cell * SUMS + 2] as number;
        variance += sums[cell * SUMS + 5] as number;
      }
      const error = Math.sqrt(variance) / information;
      if (!(information > 0 && error < TELLING)) continue;
      offsets.push(pull / information);
      errors.push(error);
    }
    if (offsets.length < FEWEST) return Number.NaN;
    const middle = median(offsets);
    const scatter = TO_SIGMA * median(offsets.map((offset) => Math.abs(offset - middle)));
    return Math.sqrt(Math.max(scatter ** 2 - median(errors) ** 2, 0));
  }

  /** What is left of the pull on each cell's centre when all unknowns have `moved`. */
  private take(sums: Float64Array, moved: Float64Array): void {
    const { blocks } = this;
    const wider = at(moved, UNKNOWNS - 1);
    // The shift in a block as powers of v.
    const shift = new Float64Array(DEGREES);
    for (let block = 0; block < blocks; block++) {
      const along = legendre(at(this.along, block), DEGREES);
      shift.fill(0);
      for (const [n, [i, j]] of TERMS.entries()) {
        const value = at(moved, n) * at(along, i);
        for (let k = 0; k <= j; k++) shift[k] = at(shift, k) + value * at(POWERS[j], k);
      }
      this.takeBlock(block, sums, shift, wider);
    }
  }

  private takeBlock(block: number, sums: Float64Array, shift: Float64Array, wider: number): void {
    const { blocks, across, left } = this;
    for (let cell = block; cell < left.length; cell += blocks) {
      const s = cell * SUMS;
      const v = across[cell] as number;
      let moves = 0;
      for (let k = DEGREES - 1; k >= 0; k--) moves = moves * v + (shift[k] as number);
      left[cell] = (sums[s] as number) - (sums[s + 2] as number) * moves - (sums[s + 3] as number) * wider;
    }
  }

  /** @param scatter by which errors are larger than the weights say */
  private solve(
    sums: Float64Array,
    from: Float64Array,
    counts: Uint8Array,
    scatter: number,
  ): Omit<Fit, 'scatter'> | undefined {
    const [H, V, R, fibres] = this.normal(sums, counts);
    const [information, variance] = [at(H, 0), at(V, 0)];
    if (!(information > 0)) return undefined;
    // Columns that were half believed have less variance than information; what is believed beforehand needs both alike.
    const scale = information / variance / scatter ** 2;
    const N = UNKNOWNS;
    const inverse = invert(
      Array.from({ length: N }, (_, n) =>
        Float64Array.from({ length: N }, (_unused, m) => scale * at(H, n * N + m) + (n === m ? at(PRIORS, n) : 0)),
      ),
    );
    if (inverse === undefined) return undefined;
    // H (values - from) = pull
    const right = R.map((pull, n) => scale * (pull + dot(H.subarray(n * N, (n + 1) * N), from)));
    const values = Float64Array.from(inverse, (row) => dot(row, right));
    // Of the pulls, and of what is believed beforehand.
    const noise = V.map(
      (value, k) => (scale * scatter) ** 2 * value + (k % (N + 1) === 0 ? at(PRIORS, k / (N + 1)) : 0),
    );
    const covariance = new Float64Array(N * N);
    for (const [n, row] of inverse.entries()) {
      const part = Float64Array.from({ length: N }, (_, m) => dot(row, noise.subarray(m * N, (m + 1) * N)));
      for (const [m, other] of inverse.entries()) covariance[n * N + m] = dot(part, other);
      const floor = n === N - 1 ? FLOOR_WIDTH : FLOOR;
      covariance[n * (N + 1)] = at(covariance, n * (N + 1)) + floor ** 2;
    }
    return { values, covariance, fibres };
  }

  /** Information and variance [unknown][unknown], pull of all unknowns, and how many fibres are in them. */
  private normal(sums: Float64Array, counts: Uint8Array): [Float64Array, Float64Array, Float64Array, number] {
    const seen = new Uint8Array(this.traces.fibres);
    // Over all blocks, times powers of u.
    const totals = new Float64Array(MOMENTS * SUMMED);
    const own = new Float64Array(SUMMED);
    for (let block = 0; block < this.blocks; block++) {
      own.fill(0);
      this.sumBlock(block, sums, counts, own, seen);
      let power = 1;
      for (let a = 0; a < MOMENTS; a++) {
        for (let q = 0; q < SUMMED; q++) {
          totals[a * SUMMED + q] = (totals[a * SUMMED + q] as number) + power * (own[q] as number);
        }
        power *= at(this.along, block);
      }
    }
    /** A sum times polynomials of u and v, by the coefficients of these. */
    const over = (from: number, along: ArrayLike<number>, across: ArrayLike<number>): number => {
      let sum = 0;
      for (let a = 0; a < along.length; a++) {
        if (along[a] === 0) continue;
        for (let b = 0; b < across.length; b++) sum += at(along, a) * at(across, b) * at(totals, a * SUMMED + from + b);
      }
      return sum;
    };
    const [H, V, R] = [new Float64Array(UNKNOWNS ** 2), new Float64Array(UNKNOWNS ** 2), new Float64Array(UNKNOWNS)];
    const both = (n: number, m: number, h: number, v: number): void => {
      H[n * UNKNOWNS + m] = h;
      H[m * UNKNOWNS + n] = h;
      V[n * UNKNOWNS + m] = v;
      V[m * UNKNOWNS + n] = v;
    };
    const last = UNKNOWNS - 1;
    for (const [n, [i, j]] of TERMS.entries()) {
      R[n] = over(PULL, POWERS[i], POWERS[j]);
      both(n, last, over(CW, POWERS[i], POWERS[j]), over(VCW, POWERS[i], POWERS[j]));
      for (let m = 0; m <= n; m++) {
        const [k, l] = TERMS[m] as (typeof TERMS)[number];
        const along = PRODUCTS[i]?.[k] as Float64Array;
        const across = PRODUCTS[j]?.[l] as Float64Array;
        both(n, m, over(CC, along, across), over(VCC, along, across));
      }
    }
    R[last] = at(totals, PULL_W);
    both(last, last, at(totals, WW), at(totals, VWW));
    return [H, V, R, seen.reduce((sum, one) => sum + one, 0)];
  }

  /** Adds the cells of a block that count, times the powers of v, to `own`, and marks the fibres. */
  private sumBlock(block: number, sums: Float64Array, counts: Uint8Array, own: Float64Array, seen: Uint8Array): void {
    const { blocks, across } = this;
    let fibre = 0;
    for (let cell = block; cell < counts.length; cell += blocks, fibre++) {
      const s = cell * SUMS;
      if (counts[cell] === 0 || (sums[s + 5] as number) <= 0) continue;
      seen[fibre] = 1;
      const v = across[cell] as number;
      let power = 1;
      for (let k = 0; k < MOMENTS; k++, power *= v) {
        own[CC + k] = (own[CC + k] as number) + (sums[s + 2] as number) * power;
        own[VCC + k] = (own[VCC + k] as number) + (sums[s + 5] as number) * power;
        if (k >= DEGREES) continue;
        own[CW + k] = (own[CW + k] as number) + (sums[s + 3] as number) * power;
        own[VCW + k] = (own[VCW + k] as number) + (sums[s + 6] as number) * power;
        own[PULL + k] = (own[PULL + k] as number) + (sums[s] as number) * power;
      }
      own[WW] = (own[WW] as number) + (sums[s + 4] as number);
      own[VWW] = (own[VWW] as number) + (sums[s + 7] as number);
      own[PULL_W] = (own[PULL_W] as number) + (sums[s + 1] as number);
    }
  }

  /** Leaves out groups of `size` cells whose pull on the centre disagrees with the fit, and says how the others scatter. */
  private clip(
    sums: Float64Array,
    counts: Uint8Array,
    size: number,
  ): { readonly scatter: number; readonly dropped: number; readonly groups: number } {
    const { left } = this;
    const deviations = new Float64Array(counts.length / size).fill(Number.NaN);
    let groups = 0;
    for (let group = 0; group < deviations.length; group++) {
      let pull = 0;
      let variance = 0;
      for (let cell = group * size; cell < (group + 1) * size; cell++) {
        if (counts[cell] === 0) continue;
        pull += left[cell] as number;
        variance += sums[cell * SUMS + 5] as number;
      }
      if (!(variance > 0)) continue;
      deviations[group] = Math.abs(pull) / Math.sqrt(variance);
      groups++;
    }
    const scatter = TO_SIGMA * median(deviations);
    const limit = CLIP * Math.max(scatter, 1);
    let dropped = 0;
    for (let group = 0; group < deviations.length; group++) {
      if (!((deviations[group] as number) > limit)) continue;
      counts.fill(0, group * size, (group + 1) * size);
      dropped++;
    }
    return { scatter, dropped, groups };
  }
}

/** Places over the chip, along each axis, at which the error of the traces is looked at; polynomials are least known at its ends. */
const PLACES = 9;

/** Largest standard error of the shift over the chip [px], of terms with this covariance [unknown][unknown]. */
function largestError(covariance: Float64Array): number {
  const places = Array.from({ length: PLACES }, (_, k) => legendre((2 * k) / (PLACES - 1) - 1, DEGREES));
  let largest = 0;
  const part = new Float64Array(UNKNOWNS);
  for (const along of places) {
    for (const across of places) {
      for (const [n, [i, j]] of TERMS.entries()) part[n] = at(along, i) * at(across, j);
      let variance = 0;
      for (let n = 0; n < TERMS.length; n++) {
        variance += at(part, n) * dot(part, covariance.subarray(n * UNKNOWNS, (n + 1) * UNKNOWNS));
      }
      largest = Math.max(largest, variance);
    }
  }
  return Math.sqrt(largest);
}

/** Median distance of neighbours in the middle column [px]. */
function spacingOf({ fibres, cols, centre }: Traces): number {
  const middle = Math.floor(cols / 2);
  return median(
    Float64Array.from(
      { length: fibres - 1 },
      (_, fibre) => at(centre, (fibre + 1) * cols + middle) - at(centre, fibre * cols + middle),
    ),
  );
}

/** How good a position is: the sum over fibres of log(1 + light), to which a bright fibre, or a cosmic ray, adds little. */
function score(light: Float64Array): number {
  return light.reduce((sum, z) => sum + Math.log1p(Math.max(z, 0)), 0);
}

/**
 * Measures how an exposure's traces differ from its flat's, and moves them: least squares in the terms of TERMS and the width, with
 * flux and background of each fibre and column free (native/kernels/trace-tweak). Cells and fibres that disagree are left out.
 * Terms that the light does not tell stay near 0, within what is believed of them beforehand.
 * @param traces of the flat
 * @param exposure of the same columns
 */
export async function tweakTraces(
  traces: Traces,
  exposure: TweakImage,
  { threads = 1 }: { readonly threads?: number } = {},
): Promise<Tweaked> {
  const spacing = spacingOf(traces);
  const measurer = new Measurer(traces, exposure, threads);
  const fitter = new Fitter(traces, measurer.blocks, exposure.rows);
  const eligible = (fibre: number) => traces.states[fibre] === 'ok' || traces.states[fibre] === 'low';
  const unchanged = (state: 'faint' | 'refused', reason: string, fit?: Fit): Tweaked => ({
    tweak: { ...UNCHANGED, state, reason },
    centre: traces.centre,
    width: traces.width,
    fibres: fit?.fibres ?? 0,
    scatter: fit?.scatter ?? Number.NaN,
  });

  // Where is the light, to a pixel? Noise alone must not lead away from where the flat has the traces.
  const reach = Math.floor(spacing / 2);
  const scores = new Map<number, number>();
  const found = async (shift: number): Promise<number> => {
    if (Math.abs(shift) > reach) return Number.NEGATIVE_INFINITY;
    const light = await measurer.light(new Float64Array(UNKNOWNS), shift);
    const all = score(light.filter((_, fibre) => eligible(fibre))) + (shift === 0 ? LIT : 0);
    scores.set(shift, all);
    return all;
  };
  // Up the hill to either side: within half a spacing there is one.
  const middle = await found(0);
  for (const side of [-1, 1]) {
    let [shift, last] = [side, middle];
    for (let next = await found(shift); next > last; next = await found(shift)) {
      last = next;
      shift += side;
    }
  }
  let values = new Float64Array(UNKNOWNS);
  values[0] = [...scores].reduce((best, one) => (one[1] > best[1] ? one : best))[0];

  let fit: Fit | undefined;
  let change = Number.POSITIVE_INFINITY;
  let part = SKETCH;
  let disagreement = Number.NaN;
  for (let round = 0; round < ROUNDS; round++) {
    const sums = await measurer.sums(values, part);
    fit = fitter.step(sums, values, part);
    if (fit === undefined) return unchanged('faint', 'no fibre has light');
    const before = values;
    // Beyond a pixel the model is no longer linear.
    values = fit.values.map((value, n) => {
      const most = n === UNKNOWNS - 1 ? 0.2 : 1;
      return at(before, n) + Math.max(-most, Math.min(most, value - at(before, n)));
    });
    change = values.reduce((sum, value, n) => sum + Math.abs(value - at(before, n)), 0);
    disagreement = fitter.disagreement(
      sums,
      values.map((value, n) => value - at(before, n)),
    );
    if (round === 0) continue;
    const error = errorOf(fit, 0);
    const columns = part === SKETCH ? columnsFor(fit) : part;
    if (columns > part) part = columns;
    else if (change < Math.max(0.0005, 0.1 * error)) break;
  }
  if (fit === undefined) return unchanged('faint', 'no fibre has light');
  const [shift, error] = [at(values, 0), errorOf(fit, 0)];
  const said = `a shift of ${shift.toFixed(3)} +- ${error.toFixed(3)} px`;
  // Fibres that are known well and disagree make the error of the shift large as too little light does: so they are asked first.
  if (disagreement > PATTERN) {
    const reason = `single fibres lie ${disagreement.toFixed(2)} px off a smooth shift of the traces: another chip or telescope, or another fibre`;
    return unchanged('refused', reason, fit);
  }
  if (!(error <= FAINT)) return unchanged('faint', `too little light: ${said}`, fit);
  const bent = Math.max(...values.subarray(1, TERMS.length).map(Math.abs));
  if (bent > BENT) {
    return unchanged(
      'refused',
      `traces bent by ${bent.toFixed(1)} px against the flat: another chip or telescope`,
      fit,
    );
  }
  if (Math.abs(shift) > FARTHEST * spacing) {
    return unchanged('refused', `${said}, nearly half of the ${spacing.toFixed(2)} px from fibre to fibre`, fit);
  }
  if (!(change < Math.max(0.02, 2 * error)))
    return unchanged('refused', `no agreement after ${ROUNDS} rounds: ${said}`, fit);
  const { covariance } = fit;
  const known = fit;
  const tweak: Tweak = {
    terms: TERMS.map(([i, j], n) => ({ i, j, value: at(values, n), error: errorOf(known, n) })),
    covariance: TERMS.map((_, n) => covariance.slice(n * UNKNOWNS, n * UNKNOWNS + TERMS.length)),
    largestError: largestError(covariance),
    width: Math.exp(at(values, UNKNOWNS - 1)),
    widthError: Math.exp(at(values, UNKNOWNS - 1)) * errorOf(known, UNKNOWNS - 1),
    state: 'ok',
    reason: '',
  };
  return { tweak, ...(await measurer.moved(values)), fibres: fit.fibres, scatter: fit.scatter };
}
