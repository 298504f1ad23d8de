/** The profile of a chip's fibres, measured from the light of a flat: how a fibre's light spreads over rows. */
import { InputError, UsageError } from '../../core/errors.js';
import type { Profile } from '../../core/spectra.js';
import { PROFILE_NODES, PROFILE_PER_PIXEL, PROFILE_REACH, PROFILE_SAMPLES } from '../../core/spectra.js';
import { type BoundArray, runKernel, sharedLarge } from '../../engine/index.js';
import { filledUp, KERNEL_FIBRES } from '../fibres.js';
import { erf } from '../gauss_hermite.js';
import { cholesky, localFunctions, polynomials, smoothFunctions, solveCholesky } from '../smooth_fit.js';
import { type Basis, basisOf, COMPONENTS, COMPONENTS_STRIDE, WING_FROM } from './profile_basis.js';

/** Fibres of a block, whose profile is taken as one: their mean is what is fitted, so that the block's extent cancels to first order. */
const BLOCK_FIBRES = 2;
/** Windows of a call of kernel gather-profile along x, and the size of its moments. */
const WINDOWS = 8;
const SIDE = 48;
const MOMENTS = (SIDE * (SIDE + 1)) / 2 + 1;
/** Knots in fibre, every so many: blocks of the slit head have 30. */
const FIBRE_STEP = 20;
/** Fewer fibres tell a mean alone, and those of a strip a term more for every so many. */
const FIBRES_PER_TERM = 15;
/** Terms along x: focus and tilt of a chip make a parabola. */
const CORE_TERMS_ALONG = 3;
/**
 * Wings are the telescope's and the grating's: the same for all fibres, straight along x. Scattered light has ghosts as large as a quarter
 * of the chip. What were let free further would take light from each other between the fibres.
 */
const WING_TERMS = { across: 1, along: 2 };
const BACKGROUND_TERMS = { across: 8, along: 5 };
/**
 * While flux and place of the fibres are not well known. Scattered light, wings and the skirts of a profile look alike but at the gaps
 * between blocks of fibres, where fluxes are worst at first: many terms would take all that does not fit for wings, and keep them.
 */
const COARSE = {
  core: { across: 8, along: 3 },
  wing: { across: 1, along: 1 },
  background: { across: 3, along: 3 },
} as const;
const FINE = {
  core: { across: Number.POSITIVE_INFINITY, along: CORE_TERMS_ALONG },
  wing: WING_TERMS,
  background: BACKGROUND_TERMS,
} as const;
/** Share of the best-known function's weight that keeps the others from growing without reason. */
const PENALTY = 1e-10;
/**
 * Calls of the kernel, each of a part of the chip's columns, and the columns that are used about the middle of each eighth of it. Within
 * a window the profile counts as one; so windows are short, and where all light is wanted there are many of them. The pixels of a row
 * in `columns` of them count as one: traces climb by 0.16 px in 64 columns at most, of which kernel gather-profile's two places leave 1e-6.
 */
const COARSE_WINDOWS = { parts: 1, width: 32, columns: 16 };
const QUICK_WINDOWS = { parts: 1, width: 64, columns: 16 };
const FINE_WINDOWS = { parts: 4, width: 64, columns: 64 };
/** Fibres at either end of the slit whose profile is that of the next: splines are worst known at their ends. */
const END_FIBRES = 4;

/** What a flat shows and what is known of its traces so far. */
export interface ProfileInput {
  readonly rows: number;
  readonly cols: number;
  /** [row][x] [DN/read] */
  readonly image: Float32Array;
  /** [row][x]; 0: the pixel does not count. Bad pixels have 0 here. */
  readonly ivar: Float32Array;
  /** [fibre][x] row; finite. */
  readonly centre: Float32Array;
  /** [fibre][x] in units of the profile that is wanted: 1 where the profile is to hold all of the width. */
  readonly width: Float32Array;
  /** [fibre][x] light in a column [DN/read]; 0 where a fibre has none. */
  readonly flux: Float32Array;
  readonly fibres: number;
  /** [fibre] Those that the chip's edge cuts: their light is where it is said to be, and tells nothing. Default none. */
  readonly beyond?: readonly boolean[] | undefined;
  /** [row][x] What the image should show; pixels far from it do not count (cosmic rays, hot pixels). */
  readonly expected?: Float32Array | undefined;
}

export const PROFILE_KINDS = ['empirical', 'gauss-hermite'] as const;
export type ProfileKind = (typeof PROFILE_KINDS)[number];

/**
 * The kind of profile that a parameter names; without one 'empirical'.
 * @throws UsageError naming the kinds
 */
export function profileKindOf(parameter: unknown): ProfileKind {
  const kind = PROFILE_KINDS.find((one) => one === (parameter ?? 'empirical'));
  if (kind === undefined) {
    throw new UsageError(
      `expected the profile to be ${PROFILE_KINDS.join(' or ')}, received ${JSON.stringify(parameter)}`,
    );
  }
  return kind;
}

/**
 * What measuring works in: 50 MB of a chip, whose fresh pages would cost a fifth of gathering. The garbage collector does not count it: at
 * every 64 MB that it counts it throws compiled code away, too.
 */
export class ProfileMemory {
  private readonly arrays = new Map<string, Float64Array>();

  /** The first `length` values of an array of `most`; as they were left. */
  take(name: string, length: number, most = length): Float64Array {
    let array = this.arrays.get(name);
    if (array === undefined || array.length < length) {
      array = new Float64Array(sharedLarge(Math.max(length, most) * 8));
      this.arrays.set(name, array);
    }
    return array.subarray(0, length);
  }
}

export interface ProfileOptions {
  /** Which functions: free ones, or a Gauss-Hermite series; default empirical. */
  readonly kind?: ProfileKind;
  /** Few terms in fibre and x, for traces and fluxes that are not well known yet; default false. */
  readonly coarse?: boolean;
  /** From a quarter of the columns, for traces that are fitted again with the profile; default false. */
  readonly quick?: boolean;
  /** Kept from one call to the next; default new. */
  readonly memory?: ProfileMemory;
  readonly threads?: number;
}

export interface MeasuredProfile {
  readonly profile: Profile;
  /**
   * [fibre][node] What to add to the centres, so that the centroid of the profile within 4 px is 0 there: the profile was measured about
   * the given centres and moved by this [px].
   */
  readonly shift: Float32Array;
  /** [fibre][node] What the given flux is to be multiplied by, as the profile holds all light within its reach. */
  readonly scale: Float32Array;
  /** [fibre][node] scattered light beside the fibre that was fitted with the profile [DN/read]. */
  readonly background: Float32Array;
  /** [fibre][node] error of the profile, 0 where it was to be quick: of the light below its centre, as a part of all, by the weights of the pixels. */
  readonly error: Float32Array;
  /** Chi2 of the fit for each degree of freedom: of pixels of which each is the mean of several columns. */
  readonly chi2: number;
  readonly pixels: number;
}

/** A Gaussian profile of every fibre: what a first fit of traces starts from. */
export function gaussianProfile(fibres: number, sigma = 1): Profile {
  const table = new Float32Array(PROFILE_SAMPLES);
  for (let i = 0; i < PROFILE_SAMPLES; i++) {
    table[i] = 0.5 + 0.5 * erf((i / PROFILE_PER_PIXEL - PROFILE_REACH) / sigma / Math.SQRT2);
  }
  table[0] = 0;
  table[PROFILE_SAMPLES - 1] = 1;
  const cumulative = new Float32Array(fibres * PROFILE_NODES * PROFILE_SAMPLES);
  for (let i = 0; i < fibres * PROFILE_NODES; i++) cumulative.set(table, i * PROFILE_SAMPLES);
  return { fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
}

/** Whether a fibre has light anywhere. */
const isLit = (flux: Float32Array, fibre: number, cols: number): boolean => {
  for (let x = 0; x < cols; x += 16) if ((flux[fibre * cols + x] as number) > 0) return true;
  return false;
};

/** Terms across the fibres, polynomials along x and unknowns that kernel solve-profile has room for. */
const TERMS = 128;
const ROWS = 256;
const ORDERS = 8;

/** A function (COMPONENTS: the background), its polynomial along x, and the terms across the fibres in which it is free. */
interface Unknown {
  readonly k: number;
  readonly along: number;
  readonly from: number;
  readonly to: number;
}

/** What is fitted: functions of the distance from the centre and the background, each a sum of terms in fibre and column. */
class Fit {
  private readonly unknowns: readonly Unknown[];
  private readonly size: number;
  readonly rowsOfBlocks: number;
  readonly lit: readonly number[];
  /** [function][fibre] smooth ones; and the terms that unknowns are free in, which are those or local ones before the first of those. */
  private readonly smooth: readonly Float64Array[];
  private readonly fibreTerms: readonly Float64Array[];
  /** [term in column][node of a profile] */
  private readonly columnTerms: readonly Float64Array[];
  readonly coefficients: Float64Array;
  /** [fibre][node] */
  readonly errors: Float32Array;
  private readonly images: { readonly image: Float32Array; readonly ivar: Float32Array };
  private readonly lines: { readonly centre: Float32Array; readonly width: Float32Array; readonly flux: Float32Array };
  chi2 = 0;
  pixels = 0;

  constructor(
    private readonly input: ProfileInput,
    private readonly basis: Basis,
    private readonly threads: number,
    private readonly coarse: boolean,
    private readonly quick: boolean,
    private readonly memory: ProfileMemory,
  ) {
    const { cols, fibres } = input;
    this.rowsOfBlocks = Math.ceil(fibres / BLOCK_FIBRES);
    this.lit = Array.from({ length: fibres }, (_, f) => f).filter(
      (f) => input.beyond?.[f] !== true && isLit(input.flux, f, cols),
    );
    if (this.lit.length < 3) {
      throw new InputError(`expected light in three fibres at least, received it in ${this.lit.length}`);
    }
    const [first = 0, last = 0] = [this.lit[0], this.lit.at(-1)];
    const told = 1 + Math.floor((last - first + 1) / FIBRES_PER_TERM);
    const most = coarse ? Math.min(told, COARSE.core.across) : told;
    const end = last - first > 2 * FIBRE_STEP ? END_FIBRES : 0;
    const [low, length] = [first + end, last - first - 2 * end];
    const onFibres = (functions: readonly Float64Array[]) =>
      functions.map((values) =>
        Float64Array.from({ length: fibres }, (_, f) => values[Math.min(Math.max(f - low, 0), length)] as number),
      );
    const all = smoothFunctions(length, FIBRE_STEP);
    this.smooth = onFibres(all.slice(0, most));
    // All of them together are sums of splines, with which most of the equations are empty.
    const local = most < all.length ? [] : onFibres(localFunctions(length, FIBRE_STEP));
    const { wing, background } = coarse ? COARSE : FINE;
    const few = Math.max(wing.across, background.across);
    this.fibreTerms = local.length === 0 ? this.smooth : [...local, ...this.smooth.slice(0, few)];
    const nodes = Array.from({ length: PROFILE_NODES }, (_, node) =>
      polynomials((2 * node) / (PROFILE_NODES - 1) - 1, ORDERS - 1),
    );
    this.columnTerms = Array.from({ length: ORDERS }, (_, m) =>
      Float64Array.from(nodes, (values) => values[m] as number),
    );
    const free = (k: number): Unknown[] => {
      const limits = this.limitsOf(k);
      const isLocal = local.length > 0 && limits.across >= most;
      const from = isLocal ? 0 : local.length;
      const to = isLocal ? local.length : Math.min(from + limits.across, this.fibreTerms.length);
      return Array.from({ length: limits.along }, (_, m) => ({ k, along: m, from, to }));
    };
    // Those that are free in the same terms follow each other.
    const kinds = Array.from({ length: basis.count }, (_, k) => k);
    const isWing = (k: number) => this.limitsOf(k) === wing;
    this.unknowns = [...kinds.filter(isWing), ...kinds.filter((k) => !isWing(k)), COMPONENTS].flatMap(free);
    this.size = this.unknowns.length;
    this.coefficients = new Float64Array(TERMS * this.size);
    this.errors = new Float32Array(fibres * PROFILE_NODES);
    const fibre = (data: Float32Array, fill: number) => filledUp(data, fibres * cols, KERNEL_FIBRES * cols, fill);
    this.images = { image: input.image, ivar: input.ivar };
    this.lines = { centre: fibre(input.centre, Number.NaN), width: fibre(input.width, 1), flux: fibre(input.flux, 0) };
  }

  /** The arrays from one column on. */
  private portsOf(from: number, width: number): Readonly<Record<string, BoundArray>> {
    const { rows, cols } = this.input;
    const image = (data: Float32Array) => ({ data: data.subarray(from), planes: rows, cols: width, planeStride: cols });
    const line = (data: Float32Array) => ({
      data: data.subarray(from),
      rows: KERNEL_FIBRES,
      cols: width,
      rowStride: cols,
    });
    const { images, lines } = this;
    return {
      image: image(images.image),
      ivar: image(images.ivar),
      centre: line(lines.centre),
      width: line(lines.width),
      flux: line(lines.flux),
    };
  }

  /** Gathers the normal equations of blocks of fibres and columns, and solves them together. */
  async solve(): Promise<void> {
    const { parts, width, columns } = this.coarse ? COARSE_WINDOWS : this.quick ? QUICK_WINDOWS : FINE_WINDOWS;
    const windows = WINDOWS * parts;
    const planes = this.rowsOfBlocks * windows;
    const most = this.rowsOfBlocks * WINDOWS * FINE_WINDOWS.parts * MOMENTS;
    const moments = this.memory.take('moments', planes * MOMENTS, most);
    const table = { data: this.basis.table, rows: PROFILE_SAMPLES, cols: COMPONENTS_STRIDE };
    for (let part = 0; part < parts; part++) {
      const [from = 0, to = 0] = [part, part + 1].map((end) => Math.round((end * this.input.cols) / parts));
      await runKernel(
        'gather-profile',
        {
          ...this.portsOf(from, to - from),
          basis: table,
          // [block][window], as those of the same fibres are to follow each other
          moments: {
            data: moments.subarray(part * WINDOWS * MOMENTS),
            planes: WINDOWS,
            planeStride: MOMENTS,
            rows: this.rowsOfBlocks,
            rowStride: windows * MOMENTS,
            cols: MOMENTS,
          },
        },
        { fibres: BLOCK_FIBRES, window: width, columns },
        { strip: to - from, threads: this.threads },
      );
    }
    const { size, unknowns, rowsOfBlocks, fibreTerms } = this;
    const across = this.memory.take('across', planes * TERMS).fill(0);
    const along = new Float64Array(planes * ORDERS);
    // The profile's straight lines from node to node, in the middle of each window.
    const middles = Array.from({ length: windows }, (_, window) => {
      const place = ((PROFILE_NODES - 1) * (window + 0.5)) / windows;
      const node = Math.floor(place);
      const rest = place - node;
      return this.columnTerms.map((q) => (1 - rest) * (q[node] as number) + rest * (q[node + 1] as number));
    });
    for (let b = 0; b < rowsOfBlocks; b++) {
      const own = this.lit.filter((f) => Math.floor(f / BLOCK_FIBRES) === b);
      const values = fibreTerms.map((term) => own.reduce((sum, f) => sum + (term[f] as number) / own.length, 0));
      for (let window = 0; window < windows; window++) {
        const plane = b * windows + window;
        across.set(values, plane * TERMS);
        if (own.length > 0) along.set(middles[window] as number[], plane * ORDERS);
      }
    }
    const penalty = this.penaltyOf(moments, along);
    const [sum, figures] = [new Float64Array(ROWS * size), new Float64Array(2)];
    await runKernel(
      'solve-profile',
      {
        moments: { data: moments, planes, cols: MOMENTS },
        unknowns: {
          data: Int32Array.from([
            ...unknowns.map(({ k }) => k),
            ...unknowns.map((unknown) => unknown.along),
            ...unknowns.map(({ from }) => from),
            ...unknowns.map(({ to }) => to),
          ]),
          rows: 4,
          cols: size,
        },
        across: { data: across, planes, cols: TERMS },
        along: { data: along, planes, cols: ORDERS },
        penalty: { data: penalty, cols: size },
        coefficients: { data: this.coefficients, rows: TERMS, cols: size },
        sum: { data: sum, rows: ROWS, cols: size },
        figures: { data: figures, cols: 2 },
      },
      {},
      { strip: size },
    );
    [this.chi2, this.pixels] = figures as unknown as [number, number];
    for (let i = 0; i < size; i++) sum[i * size + i] = (sum[i * size + i] as number) + (penalty[i] as number);
    if (!this.quick) this.setErrors(sum.subarray(0, size * size));
  }

  /** A share of the weight of the best-known unknown of a profile, for all of a profile. */
  private penaltyOf(moments: Float64Array, along: Float64Array): Float64Array {
    const weights = new Float64Array(this.size);
    // Plain arrays, as there are half a million of these terms.
    const functions = Int32Array.from(this.unknowns, ({ k }) => k);
    const orders = Int32Array.from(this.unknowns, (unknown) => unknown.along);
    for (let plane = 0; plane < along.length / ORDERS; plane++) {
      for (let i = 0; i < functions.length; i++) {
        const k = functions[i] as number;
        if (k === COMPONENTS) continue;
        const weight = moments[plane * MOMENTS + (k * (k + 3)) / 2] as number;
        weights[i] = (weights[i] as number) + (along[plane * ORDERS + (orders[i] as number)] as number) ** 2 * weight;
      }
    }
    const most = Math.max(...weights);
    return Float64Array.from(this.unknowns, ({ k }) => (k === COMPONENTS ? 0 : PENALTY * most));
  }

  /**
   * Errors of the light below the centre, by the mean block, which is close, as the smooth functions are orthogonal where blocks are
   * alike; what a function adds counts less the half that normalising takes away again.
   */
  private setErrors(mean: Float64Array): void {
    const { size, unknowns, basis } = this;
    const middle = PROFILE_REACH * PROFILE_PER_PIXEL * COMPONENTS_STRIDE;
    const sums = Array.from({ length: PROFILE_NODES }, (_, node) =>
      Float64Array.from(unknowns, ({ k, along }) => {
        const q = (this.columnTerms[along] as Float64Array)[node] as number;
        return k < basis.count ? q * ((basis.table[middle + k] as number) - 0.5) : 0;
      }),
    );
    // Of each node, in the smooth function at hand; they change where another unknown is free no more.
    let [count, variances] = [0, [] as number[]];
    for (const [t, values] of this.smooth.entries()) {
      const free = unknowns.map(({ k }) => t < this.limitsOf(k).across);
      const now = free.filter(Boolean).length;
      if (t === 0 || now !== count) {
        const factor = cholesky(
          mean.map((value, i) => (free[i % size] && free[Math.floor(i / size)] ? value : 0)),
          size,
        );
        variances = sums.map((sum) => {
          const own = sum.map((value, i) => (free[i] ? value : 0));
          const solved = own.slice();
          solveCholesky(factor, size, solved);
          return own.reduce((all, value, i) => all + value * (solved[i] as number), 0);
        });
        count = now;
      }
      for (let i = 0; i < this.errors.length; i++) {
        const p = values[Math.floor(i / PROFILE_NODES)] as number;
        this.errors[i] = (this.errors[i] as number) + p * p * (variances[i % PROFILE_NODES] as number);
      }
    }
    this.errors.forEach((value, i) => {
      this.errors[i] = Math.sqrt(value);
    });
  }

  /** How many terms across fibres and along x a function has. */
  private limitsOf(k: number): { across: number; along: number } {
    const { core, wing, background } = this.coarse ? COARSE : FINE;
    if (k === COMPONENTS) return background;
    return Math.abs(this.basis.middle[k] as number) > WING_FROM ? wing : core;
  }

  /** Coefficients of the unknowns at a fibre. */
  acrossAt(fibre: number): Float64Array {
    const { size, coefficients } = this;
    const out = new Float64Array(size);
    for (const [t, p] of this.fibreTerms.entries()) {
      const factor = p[fibre] as number;
      if (factor === 0) continue;
      for (let i = 0; i < size; i++) out[i] = (out[i] as number) + factor * (coefficients[t * size + i] as number);
    }
    return out;
  }

  /**
   * Adds up the coefficients of the functions at a node of the fibre that `acrossAt` was asked for, in `parts` from `at` on.
   * @returns that of the background
   */
  alongAt(across: Float64Array, node: number, parts: Float64Array, at: number): number {
    let background = 0;
    for (let i = 0; i < this.size; i++) {
      const { k, along } = this.unknowns[i] as Unknown;
      const value = ((this.columnTerms[along] as Float64Array)[node] as number) * (across[i] as number);
      if (k === COMPONENTS) background += value;
      else parts[at + k] = (parts[at + k] as number) + value;
    }
    return background;
  }
}

/** Light within `CENTROID_REACH` px of the centre says where a profile's centre is. */
const CENTROID_REACH = 4;

/** Centroid of the light within 4 px of the table's middle [px at width 1]. */
export function centroidOf(table: ArrayLike<number>): number {
  const from = (PROFILE_REACH - CENTROID_REACH) * PROFILE_PER_PIXEL;
  const to = (PROFILE_REACH + CENTROID_REACH) * PROFILE_PER_PIXEL;
  let sum = 0;
  for (let s = from; s < to; s++) {
    sum += ((table[s + 1] as number) - (table[s] as number)) * ((s + 0.5) / PROFILE_PER_PIXEL - PROFILE_REACH);
  }
  return sum / ((table[to] as number) - (table[from] as number));
}

/**
 * Measures how the light of each fibre spreads, jointly with that of its neighbours and with scattered light: free functions, or a
 * Gauss-Hermite series, whose coefficients are polynomials in fibre and x. The light given in `flux` is taken as it is.
 * @throws InputError where fewer than three fibres have light
 */
export async function measureProfile(input: ProfileInput, options: ProfileOptions = {}): Promise<MeasuredProfile> {
  const { fibres } = input;
  const basis = basisOf(options.kind ?? 'empirical');
  const fit = new Fit(
    input,
    basis,
    options.threads ?? 1,
    options.coarse === true,
    options.quick === true,
    options.memory ?? new ProfileMemory(),
  );
  await fit.solve();
  const places = fibres * PROFILE_NODES;
  const parts = new Float64Array(places * COMPONENTS);
  const background = new Float32Array(places);
  for (let f = 0; f < fibres; f++) {
    const across = fit.acrossAt(f);
    for (let node = 0; node < PROFILE_NODES; node++) {
      const at = f * PROFILE_NODES + node;
      background[at] = fit.alongAt(across, node, parts, at * COMPONENTS);
    }
  }
  const cumulative = new Float32Array(places * PROFILE_SAMPLES);
  const moved = new Float64Array(places * 2);
  await runKernel(
    'tabulate-profile',
    {
      basis: { data: basis.byFunction, rows: COMPONENTS, cols: PROFILE_SAMPLES },
      parts: { data: parts, rows: places, cols: COMPONENTS },
      cumulative: { data: cumulative, rows: places, cols: PROFILE_SAMPLES },
      moved: { data: moved, rows: places, cols: 2 },
    },
    { positive: basis.positive },
    { threads: options.threads ?? 1 },
  );
  return {
    profile: { fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative },
    shift: Float32Array.from({ length: places }, (_, i) => moved[2 * i] as number),
    scale: Float32Array.from({ length: places }, (_, i) => moved[2 * i + 1] as number),
    background,
    error: fit.errors,
    chi2: fit.chi2 / Math.max(fit.pixels, 1),
    pixels: fit.pixels,
  };
}
