/**
 * The dark of a detector from any number of exposures, one after the other. Memory is that of one group of exposures (at
 * most eight) and the running sums, however many there are.
 *
 * The order of things, for each exposure: the caller has its rates made, with DARK_STEPS behind the fit and the arrays of
 * `slot()` bound to it, then says `taken()`. When a group is full it is folded: outliers against the group's median are
 * left out, the others go into the mean, weighted by the inverse variance that read noise gives an exposure of so many reads
 * (kernels take-dark, fold-group, close-dark; fold-group says why not by each pixel's own error).
 *
 * Nothing is subtracted: neither the chip's common level nor that of an exposure. Rates are against the zero points of the
 * reference pixels, so the level is the detector's own; it is stated, and exposures that differ in it are told of.
 */
import { AlgorithmError, BugError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import {
  type BoundArray,
  type ChainStep,
  type ParamDescription,
  runKernel,
  sharedF32,
  sharedLarge,
} from '../../engine/index.js';
import { countBits, type Level, levelOf, markBorder } from './quartiles.js';

/** Most exposures that are held at once; fold-group sorts so many in registers. */
const GROUP = 8;

/** Kernels that make a dark, beyond those that make rates. */
export const DARK_KERNELS = ['take-dark', 'fold-group', 'close-dark', 'measure-quartiles', 'flag-range'] as const;

export const DARK_PARAMS: readonly ParamDescription[] = [
  {
    name: 'hotSigma',
    type: 'float',
    min: 0,
    max: 1e6,
    default: 7,
    doc: "HOT: so many times the scatter of the chip's pixels (IQR/1.34896) above their median (upstream: 7)",
  },
  {
    name: 'negativeSigma',
    type: 'float',
    min: 0,
    max: 1e6,
    default: 5,
    doc: 'NEGATIVE_DARK: so many times that scatter below the median (upstream: 5)',
  },
  {
    name: 'levelShift',
    type: 'float',
    min: 0,
    max: 1e6,
    default: 0.5,
    doc: "an exposure is told of when its chip's median is off the median of all exposures by more than this part of its pixels' scatter",
  },
];

/** Steps behind the fit of an exposure; `rate`, `error`, `chi2`, `goodDiffs` and `dq` are the ramp chain's. */
export const DARK_STEPS: readonly ChainStep[] = [
  {
    kernel: 'take-dark',
    ports: {
      rate: 'rate',
      error: 'error',
      chi2: 'chi2',
      goodDiffs: 'goodDiffs',
      dq: 'dq',
      level: 'darkLevel',
      sigma: 'darkSigma',
      chi2Sum: 'darkChi2',
      dofSum: 'darkDof',
      jumped: 'darkJumped',
    },
  },
];

/** Weight of a ramp: the inverse of the variance that read noise gives the slope of so many differences, but for a constant. */
export function rampWeight(diffs: number): number {
  return diffs * (diffs + 1) * (diffs + 2) * 1e-6; // Rauscher et al. 2007 (PASP 119, 768), eq. 1
}

/** Sizes of the groups: as few as can be, as equal as can be. */
export function groupSizes(exposures: number): number[] {
  const groups = Math.ceil(exposures / GROUP);
  return Array.from({ length: groups }, (_, i) => Math.floor(exposures / groups) + (i < exposures % groups ? 1 : 0));
}

export interface DarkShape {
  readonly rows: number;
  readonly cols: number;
  /** Width of the light-insensitive border. */
  readonly border: number;
  /** Exposures that will come. */
  readonly exposures: number;
}

export interface Dark {
  readonly rows: number;
  readonly cols: number;
  /** [DN/read], [row][x]; NaN where `dq` says NO_CALIBRATION. */
  readonly rate: Float32Array;
  readonly error: Float32Array;
  /** Exposures in the mean. */
  readonly count: Uint16Array;
  readonly dq: Uint32Array;
  /** Of the whole chip without border [DN/read]. */
  readonly level: Level;
  /** Of each exposure. */
  readonly levels: readonly Level[];
  /** Limits that were applied [DN/read]. */
  readonly hotAbove: number;
  readonly negativeBelow: number;
  /** Pixels with each bit. */
  readonly bits: Float64Array;
  /** Exposures whose level is off, by index. */
  readonly shifted: readonly number[];
  /** Seconds of each kernel. */
  readonly seconds: Readonly<Record<string, number>>;
}

export class DarkBuilder {
  readonly shape: DarkShape;
  readonly #params: Readonly<Record<string, number>>;
  readonly #kernelParams: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly #threads: number;
  readonly #sizes: readonly number[];
  readonly #weights = sharedF32(GROUP);
  readonly #levelPlanes: Float32Array;
  readonly #sigmaPlanes: Float32Array;
  readonly #mean: Float32Array;
  readonly #weight: Float32Array;
  readonly #variance: Float32Array;
  readonly #expected: Float32Array;
  readonly #scatter: Float32Array;
  readonly #chi2: Float32Array;
  readonly #dof: Float32Array;
  readonly #count: Uint16Array;
  readonly #rejected: Uint16Array;
  readonly #jumped: Uint16Array;
  readonly #dq: Uint32Array;
  readonly #levels: Level[] = [];
  readonly #seconds: Record<string, number> = {};
  #group = 0;
  #inGroup = 0;

  /**
   * @param params values of DARK_PARAMS
   * @param kernelParams parameters of the kernels, by kernel
   */
  constructor(
    shape: DarkShape,
    params: Readonly<Record<string, number>>,
    kernelParams: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
    threads = 1,
  ) {
    this.shape = shape;
    this.#params = params;
    this.#kernelParams = kernelParams;
    this.#threads = threads;
    this.#sizes = groupSizes(shape.exposures);
    const { rows, cols, border } = shape;
    const n = rows * cols;
    const large = () => new Float32Array(sharedLarge(4 * n));
    const most = this.#sizes[0] as number;
    this.#levelPlanes = new Float32Array(sharedLarge(4 * most * n));
    this.#sigmaPlanes = new Float32Array(sharedLarge(4 * most * n));
    this.#mean = large();
    this.#weight = large();
    this.#variance = large();
    this.#expected = large();
    this.#scatter = large();
    this.#chi2 = large();
    this.#dof = large();
    this.#count = new Uint16Array(sharedLarge(2 * n));
    this.#rejected = new Uint16Array(sharedLarge(2 * n));
    this.#jumped = new Uint16Array(sharedLarge(2 * n));
    this.#dq = new Uint32Array(sharedLarge(4 * n));
    markBorder(this.#dq, rows, cols, border, DQ.REFERENCE_PIXEL);
  }

  #image(data: BoundArray['data']): BoundArray {
    return { data, rows: this.shape.rows, cols: this.shape.cols };
  }

  async #run(kernel: string, ports: Readonly<Record<string, BoundArray>>, params: Record<string, unknown> = {}) {
    const began = performance.now();
    await runKernel(kernel, ports, { ...params, ...this.#kernelParams[kernel] }, { threads: this.#threads });
    this.#spend(kernel, began);
  }

  #spend(kernel: string, began: number): void {
    this.#seconds[kernel] = (this.#seconds[kernel] ?? 0) + (performance.now() - began) / 1000;
  }

  /** The planes of the next exposure: what DARK_STEPS write, or what the caller fills: `darkLevel` and `darkSigma`. */
  slot(): Readonly<Record<'darkLevel' | 'darkSigma' | 'darkChi2' | 'darkDof' | 'darkJumped', BoundArray>> {
    if (this.#levels.length >= this.shape.exposures) throw new BugError('more exposures than were told of');
    const n = this.shape.rows * this.shape.cols;
    const plane = (planes: Float32Array) => this.#image(planes.subarray(this.#inGroup * n, (this.#inGroup + 1) * n));
    return {
      darkLevel: plane(this.#levelPlanes),
      darkSigma: plane(this.#sigmaPlanes),
      darkChi2: this.#image(this.#chi2),
      darkDof: this.#image(this.#dof),
      darkJumped: this.#image(this.#jumped),
    };
  }

  /**
   * The planes of the slot are filled.
   * @param weight of the exposure among the others, the same for all pixels: see fold-group
   * @returns median and scatter of the exposure's pixels [DN/read]
   */
  async taken(weight: number): Promise<Level> {
    const { rows, cols } = this.shape;
    const began = performance.now();
    const { data } = this.slot().darkLevel;
    const level = await levelOf(data as Float32Array, this.#dq, rows, cols, DQ.REFERENCE_PIXEL, this.#threads);
    this.#spend('measure-quartiles', began);
    this.#levels.push(level);
    this.#weights[this.#inGroup] = weight;
    this.#inGroup++;
    if (this.#inGroup === this.#sizes[this.#group]) await this.#fold();
    return level;
  }

  async #fold(): Promise<void> {
    const { rows, cols } = this.shape;
    const planes = this.#inGroup;
    const group = (data: Float32Array): BoundArray => ({ data, planes, rows, cols });
    await this.#run('fold-group', {
      level: group(this.#levelPlanes),
      sigma: group(this.#sigmaPlanes),
      exposureWeight: { data: this.#weights.subarray(0, planes), planes, planeStride: 1 },
      mean: this.#image(this.#mean),
      weight: this.#image(this.#weight),
      variance: this.#image(this.#variance),
      expected: this.#image(this.#expected),
      scatter: this.#image(this.#scatter),
      count: this.#image(this.#count),
      rejected: this.#image(this.#rejected),
    });
    this.#group++;
    this.#inGroup = 0;
  }

  /**
   * The dark of all that was taken.
   * @throws AlgorithmError where no pixel has a value
   */
  async finish(): Promise<Dark> {
    const { rows, cols, exposures } = this.shape;
    if (this.#levels.length !== exposures) {
      throw new BugError(`${exposures} exposures were told of, ${this.#levels.length} came`);
    }
    // The memory of the group is free now.
    const rate = this.#levelPlanes.subarray(0, rows * cols);
    const error = this.#sigmaPlanes.subarray(0, rows * cols);
    const dq = this.#dq;
    await this.#run('close-dark', {
      mean: this.#image(this.#mean),
      weight: this.#image(this.#weight),
      variance: this.#image(this.#variance),
      expected: this.#image(this.#expected),
      scatter: this.#image(this.#scatter),
      count: this.#image(this.#count),
      rejected: this.#image(this.#rejected),
      chi2Sum: this.#image(this.#chi2),
      dofSum: this.#image(this.#dof),
      jumped: this.#image(this.#jumped),
      rate: this.#image(rate),
      error: this.#image(error),
      dq: this.#image(dq),
    });
    const level = await levelOf(rate, dq, rows, cols, DQ.REFERENCE_PIXEL | DQ.NO_CALIBRATION, this.#threads);
    if (level.count === 0) throw new AlgorithmError(`no pixel of ${exposures} exposures has a dark rate`);
    const { hotSigma = 0, negativeSigma = 0, levelShift = 0 } = this.#params;
    const hotAbove = level.median + hotSigma * level.sigma;
    const negativeBelow = level.median - negativeSigma * level.sigma;
    await this.#run(
      'flag-range',
      { image: this.#image(rate), dq: this.#image(dq) },
      { low: negativeBelow, high: hotAbove, below: DQ.NEGATIVE_DARK, above: DQ.HOT, skip: DQ.REFERENCE_PIXEL },
    );
    const sorted = this.#levels.map(({ median }) => median).sort((a, b) => a - b);
    const middle = sorted[sorted.length >> 1] as number;
    const shifted = this.#levels.flatMap(({ median, sigma }, i) =>
      Math.abs(median - middle) > levelShift * sigma ? [i] : [],
    );
    return {
      rows,
      cols,
      rate,
      error,
      count: this.#count,
      dq,
      level,
      levels: this.#levels,
      hotAbove,
      negativeBelow,
      bits: await countBits(dq, rows, cols),
      shifted,
      seconds: this.#seconds,
    };
  }
}
