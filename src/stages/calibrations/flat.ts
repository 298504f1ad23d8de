/**
 * The flat of a detector: the response of its pixels, from any number of exposures of a lamp that is not flat.
 *
 * For each exposure the illumination is fitted by Legendre polynomials of both coordinates (./illumination.ts), again and
 * again with the pixels left out that do not follow it, and divided out. What is left is the response, and it is averaged
 * over the flats as darks are: groups cleared of outliers, memory of one group however many there are.
 *
 * What changes slowly across the detector cannot be told from uneven light: it goes with the illumination, whoever caused
 * it. The coefficients are kept, so that it can be looked at.
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
  sharedU8,
} from '../../engine/index.js';
import { groupSizes } from './dark.js';
import { evaluateIllumination, fitIllumination, type IlluminationFit, MAX_ORDER } from './illumination.js';
import { countBits, type Level, levelOf, markBorder } from './quartiles.js';

/** Kernels that make a flat, beyond those that make rates. */
export const FLAT_KERNELS = [
  'take-flat',
  'divide-model',
  'grow-mask',
  'legendre-moments',
  'evaluate-illumination',
  'fold-group',
  'close-flat',
  'measure-quartiles',
  'flag-range',
] as const;

export const FLAT_PARAMS: readonly ParamDescription[] = [
  {
    name: 'order',
    type: 'int',
    min: 0,
    max: MAX_ORDER,
    default: 20,
    doc: 'of the Legendre polynomials, in x and in y',
  },
  {
    name: 'iterations',
    type: 'int',
    min: 1,
    max: 50,
    default: 4,
    doc: 'fits of the illumination, each without the pixels that did not follow the one before',
  },
  {
    name: 'clipSigma',
    type: 'float',
    min: 1,
    max: 1e6,
    default: 5,
    doc: 'a pixel is left out of the next fit where image/illumination is farther from its median than so many times its scatter (IQR/1.34896)',
  },
  {
    name: 'grow',
    type: 'int',
    min: 0,
    max: 64,
    default: 3,
    unit: 'px',
    doc: 'neighbours that are left out with it (upstream: 3)',
  },
  {
    name: 'minSignal',
    type: 'float',
    min: 0,
    max: 1e9,
    default: 2,
    unit: 'e-/read',
    doc: 'flats whose median is lower are passed over (upstream: 2)',
  },
  { name: 'lowFlat', type: 'float', min: -1e6, max: 1e6, default: 0.2, doc: 'LOW_FLAT below this (upstream: 0.2)' },
  {
    name: 'highFlat',
    type: 'float',
    min: -1e6,
    max: 1e6,
    default: 1.25,
    doc: "HIGH_FLAT above this (the upper limit of apogee_drp's mkflat)",
  },
  {
    name: 'worstCondition',
    type: 'float',
    min: 1,
    max: 1e14,
    default: 1e8,
    doc: 'a fit whose normal matrix has a worse condition is refused',
  },
];

/** Steps behind the fit of an exposure; arrays `darkRate` and `darkError` may be left unbound. */
export const FLAT_STEPS: readonly ChainStep[] = [
  {
    kernel: 'take-flat',
    ports: {
      rate: 'rate',
      error: 'error',
      dq: 'dq',
      gain: 'gain',
      dark: 'darkRate',
      darkError: 'darkError',
      signal: 'flatSignal',
      sigma: 'flatSigma',
    },
  },
];

export interface FlatShape {
  readonly rows: number;
  readonly cols: number;
  /** Width of the light-insensitive border. */
  readonly border: number;
  /** Exposures that will come. */
  readonly exposures: number;
}

/** What came of one exposure. */
export interface OneFlat {
  /** Median and scatter of its light [e-/read]. */
  readonly light: Level;
  /** undefined where it was passed over for too little light. */
  readonly fit?: IlluminationFit;
  /** Median and scatter of image/illumination. */
  readonly response?: Level;
}

export interface Flat {
  readonly rows: number;
  readonly cols: number;
  /** Median 1; NaN where `dq` says NO_FLAT. */
  readonly flat: Float32Array;
  readonly error: Float32Array;
  readonly dq: Uint32Array;
  /** Of the response before it was divided by its median. */
  readonly level: Level;
  readonly flats: readonly OneFlat[];
  readonly used: number;
  /** Pixels with each bit. */
  readonly bits: Float64Array;
  /** Seconds of each kernel. */
  readonly seconds: Readonly<Record<string, number>>;
}

export class FlatBuilder {
  readonly shape: FlatShape;
  readonly #params: Readonly<Record<string, number>>;
  readonly #kernelParams: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly #flags: Uint32Array | undefined;
  readonly #skip: number;
  readonly #threads: number;
  readonly #planes: number;
  readonly #weights: Float32Array;
  readonly #ratios: Float32Array;
  readonly #ratioErrors: Float32Array;
  readonly #signal: Float32Array;
  readonly #sigma: Float32Array;
  readonly #model: Float32Array;
  readonly #bad: Uint8Array;
  readonly #grown: Uint8Array;
  readonly #mean: Float32Array;
  readonly #weight: Float32Array;
  readonly #variance: Float32Array;
  readonly #expected: Float32Array;
  readonly #scatter: Float32Array;
  readonly #count: Uint16Array;
  readonly #rejected: Uint16Array;
  readonly #dq: Uint32Array;
  readonly #flats: OneFlat[] = [];
  readonly #seconds: Record<string, number> = {};
  #inGroup = 0;

  /**
   * @param params values of FLAT_PARAMS
   * @param kernelParams parameters of the kernels, by kernel
   * @param known quality bits known before, u32 [row][x], and those that keep a pixel out of the fits of the illumination
   */
  constructor(
    shape: FlatShape,
    params: Readonly<Record<string, number>>,
    kernelParams: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
    threads = 1,
    known?: { readonly flags: Uint32Array; readonly skip: number },
  ) {
    this.shape = shape;
    this.#params = params;
    this.#kernelParams = kernelParams;
    this.#threads = threads;
    this.#flags = known?.flags;
    this.#skip = known?.skip ?? 0;
    const { rows, cols, border } = shape;
    const n = rows * cols;
    const large = () => new Float32Array(sharedLarge(4 * n));
    const planes = groupSizes(shape.exposures)[0] as number;
    this.#planes = planes;
    this.#weights = sharedF32(planes);
    this.#ratios = new Float32Array(sharedLarge(4 * planes * n));
    this.#ratioErrors = new Float32Array(sharedLarge(4 * planes * n));
    this.#signal = large();
    this.#sigma = large();
    this.#model = large();
    this.#bad = sharedU8(n);
    this.#grown = sharedU8(n);
    this.#mean = large();
    this.#weight = large();
    this.#variance = large();
    this.#expected = large();
    this.#scatter = large();
    this.#count = new Uint16Array(sharedLarge(2 * n));
    this.#rejected = new Uint16Array(sharedLarge(2 * n));
    this.#dq = new Uint32Array(sharedLarge(4 * n));
    markBorder(this.#dq, rows, cols, border, DQ.REFERENCE_PIXEL);
  }

  #image(data: BoundArray['data']): BoundArray {
    return { data, rows: this.shape.rows, cols: this.shape.cols };
  }

  async #timed<T>(kernel: string, work: Promise<T>): Promise<T> {
    const began = performance.now();
    const value = await work;
    this.#seconds[kernel] = (this.#seconds[kernel] ?? 0) + (performance.now() - began) / 1000;
    return value;
  }

  async #run(kernel: string, ports: Readonly<Record<string, BoundArray>>, params: Record<string, unknown> = {}) {
    const all = { ...params, ...this.#kernelParams[kernel] };
    await this.#timed(kernel, runKernel(kernel, ports, all, { threads: this.#threads }));
  }

  async #level(image: Float32Array): Promise<Level> {
    const { rows, cols } = this.shape;
    return this.#timed('measure-quartiles', levelOf(image, this.#dq, rows, cols, DQ.REFERENCE_PIXEL, this.#threads));
  }

  /** The planes of the next exposure: what FLAT_STEPS write, or what the caller fills [e-/read]. */
  slot(): Readonly<Record<'flatSignal' | 'flatSigma', BoundArray>> {
    if (this.#flats.length >= this.shape.exposures) throw new BugError('more exposures than were told of');
    return { flatSignal: this.#image(this.#signal), flatSigma: this.#image(this.#sigma) };
  }

  /**
   * The planes of the slot are filled: fits the illumination and keeps what it leaves.
   * @throws AlgorithmError where no pixel has light or too few are good
   */
  async taken(): Promise<OneFlat> {
    const { rows, cols, border } = this.shape;
    const { order = 0, iterations = 1, clipSigma = 0, grow = 0, minSignal = 0, worstCondition = 0 } = this.#params;
    const light = await this.#level(this.#signal);
    if (light.count === 0) throw new AlgorithmError('no pixel has a value');
    if (!(light.median >= minSignal)) {
      const passed = { light };
      this.#flats.push(passed);
      return passed;
    }
    const n = rows * cols;
    const at = this.#inGroup * n;
    const ratio = this.#ratios.subarray(at, at + n);
    const ratioError = this.#ratioErrors.subarray(at, at + n);
    // Before anything is known the light is even, and what has less than a fifth or more than five times of it is bad.
    let model: Float32Array = new Float32Array(new SharedArrayBuffer(cols * 4)).fill(light.median);
    let limits = { low: 0.2, high: 5 };
    let fit: IlluminationFit | undefined;
    let response: Level = light;
    const divide = (): Promise<void> =>
      this.#run(
        'divide-model',
        {
          signal: this.#image(this.#signal),
          sigma: this.#image(this.#sigma),
          model: { data: model, rows, cols, rowStride: model.length === cols ? 0 : cols },
          ...(this.#flags && { flags: this.#image(this.#flags) }),
          ratio: this.#image(ratio),
          ratioError: this.#image(ratioError),
          bad: this.#image(this.#bad),
        },
        { ...limits, skip: this.#skip },
      );
    await divide();
    for (let i = 0; i < iterations; i++) {
      // Without the border: it is missing everywhere, and would grow into the edge.
      const inside = (data: Uint8Array): BoundArray => ({
        data: data.subarray(border * cols + border),
        rows: rows - 2 * border,
        cols: cols - 2 * border,
        rowStride: cols,
      });
      await this.#run('grow-mask', { mask: inside(this.#bad), grown: inside(this.#grown) }, { radius: grow });
      fit = await this.#timed(
        'fit of the illumination',
        fitIllumination(this.#signal, model, this.#grown, this.shape, order, worstCondition, this.#threads),
      );
      const evaluated = evaluateIllumination(fit, this.shape, order, this.#model, this.#threads);
      await this.#timed('evaluate-illumination', evaluated);
      model = this.#model;
      await divide();
      response = await this.#level(ratio);
      const width = clipSigma * response.sigma;
      limits = { low: response.median - width, high: response.median + width };
      // Mark by the new limits; the ratio itself does not change.
      await divide();
    }
    const error = await this.#level(ratioError);
    // A lamp's photons make the error of a typical pixel: the weight of the exposure, for all pixels alike (see fold-group).
    this.#weights[this.#inGroup] = 1e-4 / error.median ** 2;
    this.#inGroup++;
    if (this.#inGroup === this.#planes) await this.#fold();
    const done = { light, fit: fit as IlluminationFit, response };
    this.#flats.push(done);
    return done;
  }

  async #fold(): Promise<void> {
    const { rows, cols } = this.shape;
    const planes = this.#inGroup;
    const group = (data: Float32Array): BoundArray => ({ data, planes, rows, cols });
    await this.#run('fold-group', {
      level: group(this.#ratios),
      sigma: group(this.#ratioErrors),
      exposureWeight: { data: this.#weights, planes, planeStride: 1 },
      mean: this.#image(this.#mean),
      weight: this.#image(this.#weight),
      variance: this.#image(this.#variance),
      expected: this.#image(this.#expected),
      scatter: this.#image(this.#scatter),
      count: this.#image(this.#count),
      rejected: this.#image(this.#rejected),
    });
    this.#inGroup = 0;
  }

  async #close(flat: Float32Array, error: Float32Array, norm: number): Promise<void> {
    await this.#run(
      'close-flat',
      {
        mean: this.#image(this.#mean),
        weight: this.#image(this.#weight),
        variance: this.#image(this.#variance),
        expected: this.#image(this.#expected),
        scatter: this.#image(this.#scatter),
        count: this.#image(this.#count),
        rejected: this.#image(this.#rejected),
        flat: this.#image(flat),
        error: this.#image(error),
        dq: this.#image(this.#dq),
      },
      { norm },
    );
  }

  /**
   * The flat of all that was taken.
   * @throws AlgorithmError where every flat was passed over, or no pixel has a response
   */
  async finish(): Promise<Flat> {
    const { rows, cols, exposures } = this.shape;
    if (this.#flats.length !== exposures) {
      throw new BugError(`${exposures} exposures were told of, ${this.#flats.length} came`);
    }
    const used = this.#flats.filter(({ fit }) => fit !== undefined).length;
    if (used === 0) {
      const brightest = Math.max(...this.#flats.map(({ light }) => light.median));
      throw new AlgorithmError(
        `no flat has light enough: the brightest of ${exposures} has a median of ${brightest.toPrecision(3)} e-/read, at least ${this.#params.minSignal} is needed`,
      );
    }
    if (this.#inGroup > 0) await this.#fold();
    // The memory of the group is free now.
    const flat = this.#ratios.subarray(0, rows * cols);
    const error = this.#ratioErrors.subarray(0, rows * cols);
    await this.#close(flat, error, 1);
    const level = await this.#level(flat);
    if (level.count === 0 || !(level.median > 0)) throw new AlgorithmError('no pixel has a response');
    await this.#close(flat, error, level.median);
    const { lowFlat = 0, highFlat = 0 } = this.#params;
    await this.#run(
      'flag-range',
      { image: this.#image(flat), dq: this.#image(this.#dq) },
      { low: lowFlat, high: highFlat, below: DQ.LOW_FLAT, above: DQ.HIGH_FLAT, skip: DQ.REFERENCE_PIXEL },
    );
    return {
      rows,
      cols,
      flat,
      error,
      dq: this.#dq,
      level,
      flats: this.#flats,
      used,
      bits: await countBits(this.#dq, rows, cols),
      seconds: this.#seconds,
    };
  }
}
