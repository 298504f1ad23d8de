/**
 * Persistence from a bright flat and the darks after it: in each pixel charge that the flat left in traps comes out at the rate
 *
 *   rate(t) = A F exp(-t / tau)   [DN/read]
 *
 * with the fluence F of the flat [DN, linear, from its last read] and t from its end. A is the pixel's, tau is common: a
 * single exponential, which is the simplest model that serves (Smith et al. 2008, Proc. SPIE 7021, on what traps do).
 *
 * The darks are read twice. First for tau: slopes of four stretches of each dark, as means over blocks of rows of each
 * amplifier (kernels project-reads, row-moments); at a given tau each block has a linear least-squares fit of its dark rate and
 * its release, and tau is where the sum of their chi-squares is least. Then for A: the normal equations of each pixel at that tau
 * (project-reads, add-terms, solve-persistence). Memory does not grow with the number of darks.
 *
 * The error of tau is the larger of that of the fit, with chi-square scaled to its degrees of freedom, and that of the
 * weighted mean of the amplifiers' own values: the noise of the zero points is common to all blocks of an amplifier.
 */
import { AlgorithmError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import {
  type BoundArray,
  type ChainStep,
  type ParamDescription,
  runKernel,
  sharedF32,
  sharedU32,
} from '../../engine/index.js';
import type { DetectorShape } from './first_read.js';
import { blockMeans, leastOnLog, robustMeans } from './moments.js';
import { countBits, markBorder } from './quartiles.js';

const TERMS = 4;
/** Stretches of a dark, in each of which a slope is fitted: enough to see a decay, few enough for a slope to mean something. */
const STRETCHES = 4;
const READS_OF_STRETCH = 3;
const FEWEST_READS = STRETCHES * READS_OF_STRETCH;
/** Rows of a block: persistence is smooth over these. */
const BLOCK_ROWS = 16;
/** Range in which tau is looked for [s]. */
const TAU_RANGE = [10, 20_000] as const;
/** Release below so many of its errors is none. */
const SIGNIFICANT = 5;
const AMPLIFIERS = 4;
export const MOST_DARKS = 32;

export const PERSISTENCE_KERNELS = [
  'project-reads',
  'add-terms',
  'row-moments',
  'solve-persistence',
  'square',
] as const;

/** Steps for the flat and for both passes over the darks; arrays are those of the slots. */
export const PERSISTENCE_STEPS: readonly ChainStep[] = [
  {
    kernel: 'project-reads',
    ports: {
      counts: 'stack',
      table: 'releaseTable',
      gain: 'gain',
      readVariance: 'readVariance',
      terms: 'releaseTerms',
    },
  },
];

export const PERSISTENCE_PARAMS: readonly ParamDescription[] = [
  {
    name: 'strong',
    type: 'float',
    min: 0,
    max: 1,
    default: 1e-3,
    doc: 'PERSISTENCE: amplitude above this, 1/read (and five times its error)',
  },
  {
    name: 'tauError',
    type: 'float',
    min: 0,
    max: 1,
    default: 0.1,
    doc: 'a time constant with a larger relative error is graded warn',
  },
];

/** When the reads of a dark were made, in terms of the end of the flat. */
export interface DarkTimes {
  readonly reads: number;
  /** Start of the first read used, after the end of the flat [s]. */
  readonly start: number;
  readonly readSeconds: number;
}

/** Integral of exp(-t / tau) from the end of the flat to the end of read k, less its value at infinity [reads]. */
const integral = ({ start, readSeconds }: DarkTimes, tau: number, k: number): number =>
  (-tau / readSeconds) * Math.exp(-(start + (k + 1) * readSeconds) / tau);

/** Weights of the slope of reads [from, to). */
function slopeWeights(reads: number, from: number, to: number): Float64Array {
  const middle = (from + to - 1) / 2;
  let squares = 0;
  for (let k = from; k < to; k++) squares += (k - middle) ** 2;
  return Float64Array.from({ length: reads }, (_, k) => (k < from || k >= to ? 0 : (k - middle) / squares));
}

/** One stretch of one dark: the mean slope of each block, and what a release of 1 at the end of the flat makes of it. */
interface Stretch {
  readonly means: Float64Array;
  /** Inverse variance of a block's mean for reads of variance 1: 0 for a block without pixels. */
  readonly weights: Float64Array;
  readonly model: (tau: number) => number;
}

/** Least squares of rate + release m(tau) over the stretches of blocks [from, to): sums over the blocks. */
function fitBlocks(stretches: readonly Stretch[], tau: number, from: number, to: number) {
  const models = stretches.map(({ model }) => model(tau));
  let [chi2, free, release, releaseWeight] = [0, 0, 0, 0];
  for (let block = from; block < to; block++) {
    let [s, sm, smm, sy, smy, syy, n] = [0, 0, 0, 0, 0, 0, 0];
    for (const [i, { means, weights }] of stretches.entries()) {
      const [w, y, m] = [weights[block] as number, means[block] as number, models[i] as number];
      if (w === 0) continue;
      n++;
      s += w;
      sm += w * m;
      smm += w * m * m;
      sy += w * y;
      smy += w * m * y;
      syy += w * y * y;
    }
    const det = s * smm - sm * sm;
    if (n < 3 || !(det > 0)) continue;
    const rate = (smm * sy - sm * smy) / det;
    const released = (s * smy - sm * sy) / det;
    chi2 += syy - rate * sy - released * smy;
    free += n - 2;
    release += (released * det) / s;
    releaseWeight += det / s;
  }
  return { chi2, free, release: release / releaseWeight, releaseError: 1 / Math.sqrt(releaseWeight) };
}

export interface TimeConstant {
  /** [s] */
  readonly seconds: number;
  readonly error: number;
  /** Mean release at the end of the flat [DN/read], and its error. */
  readonly release: number;
  readonly releaseError: number;
}

export interface Persistence {
  readonly rows: number;
  readonly cols: number;
  /** [1/read]; NaN where `dq` has a bit other than PERSISTENCE. */
  readonly amplitude: Float32Array;
  readonly error: Float32Array;
  readonly dq: Uint32Array;
  readonly bits: Float64Array;
  /** Mean fluence of the flat, and its error for a pixel [DN]. */
  readonly fluence: number;
  readonly fluenceError: number;
}

/** Takes the flat, then all darks for tau, then all darks for the amplitudes. */
export class PersistenceBuilder {
  readonly shape: DetectorShape;
  readonly #threads: number;
  readonly #terms: Float32Array;
  readonly #fluence: Float32Array;
  readonly #sums: Float32Array;
  readonly #used: Uint32Array;
  readonly #dq: Uint32Array;
  readonly #stretches: Stretch[] = [];
  readonly #darks: DarkTimes[] = [];
  /** Scatter of the counts at the start of the darks [DN]: what a pixel's zero point leaves in the fluence. */
  #startScatter = 0;

  constructor(shape: DetectorShape, threads = 1) {
    this.shape = shape;
    this.#threads = threads;
    const n = shape.rows * shape.cols;
    this.#terms = sharedF32(TERMS * n);
    this.#fluence = sharedF32(n);
    this.#sums = sharedF32(2 * n);
    this.#used = sharedU32(n);
    this.#dq = sharedU32(n);
    markBorder(this.#dq, shape.rows, shape.cols, shape.border, DQ.REFERENCE_PIXEL);
  }

  #image(data: BoundArray['data'], planes = 1): BoundArray {
    return { data, planes, rows: this.shape.rows, cols: this.shape.cols };
  }

  #slot(columns: readonly Float64Array[], reads: number): Readonly<Record<string, BoundArray>> {
    const table = Float32Array.from(
      { length: reads * TERMS },
      (_, i) => columns[i % TERMS]?.[Math.floor(i / TERMS)] ?? 0,
    );
    return {
      releaseTable: { data: table, planes: reads, planeStride: TERMS, cols: TERMS },
      releaseTerms: this.#image(this.#terms, TERMS),
    };
  }

  /** Arrays for the flat: its last read. No jumps are to be looked for in it, and no count to be left out as saturated. */
  flatSlot(reads: number): Readonly<Record<string, BoundArray>> {
    return this.#slot([Float64Array.from({ length: reads }, (_, k) => (k === reads - 1 ? 1 : 0))], reads);
  }

  flatTaken(): void {
    this.#fluence.set(this.#terms.subarray(0, this.#fluence.length));
  }

  /**
   * Arrays for a dark of the first pass.
   * @throws AlgorithmError for too few reads
   */
  stretchSlot(reads: number): Readonly<Record<string, BoundArray>> {
    if (reads < FEWEST_READS) {
      throw new AlgorithmError(
        `expected a dark of at least ${FEWEST_READS} reads beside those dropped, received ${reads}`,
      );
    }
    return this.#slot(stretchWeights(reads), reads);
  }

  async stretchesTaken(times: DarkTimes): Promise<void> {
    const { rows, cols } = this.shape;
    const image = { data: this.#terms, planes: STRETCHES, rows, cols, dq: this.#dq };
    const means = await blockMeans(image, BLOCK_ROWS, this.#threads);
    stretchWeights(times.reads).forEach((weights, i) => {
      const variance = weights.reduce((sum, w) => sum + w * w, 0);
      const of = means[i] ?? [];
      this.#stretches.push({
        means: Float64Array.from(of, ({ mean }) => mean),
        weights: Float64Array.from(of, ({ count }) => count / variance),
        model: (tau) => weights.reduce((sum, w, k) => sum + w * integral(times, tau, k), 0),
      });
    });
  }

  /** @throws AlgorithmError where the darks show no release */
  timeConstant(): TimeConstant {
    const blocks = this.#stretches[0]?.means.length ?? 0;
    const perAmplifier = blocks / AMPLIFIERS;
    const search = (from: number, to: number) => {
      const raw = leastOnLog((tau) => fitBlocks(this.#stretches, tau, from, to).chi2, ...TAU_RANGE);
      const best = fitBlocks(this.#stretches, raw.at, from, to);
      const scale = best.chi2 / best.free;
      const least = leastOnLog((tau) => fitBlocks(this.#stretches, tau, from, to).chi2, ...TAU_RANGE, scale);
      return { ...least, ...best, releaseError: best.releaseError * Math.sqrt(scale) };
    };
    const all = search(0, blocks);
    if (!(all.release > SIGNIFICANT * all.releaseError)) {
      throw new AlgorithmError(
        `the darks show no release of charge after the flat: ${all.release.toPrecision(3)} +- ${all.releaseError.toPrecision(3)} DN/read`,
      );
    }
    const own = Array.from({ length: AMPLIFIERS }, (_, a) => search(a * perAmplifier, (a + 1) * perAmplifier)).filter(
      ({ error }) => Number.isFinite(error),
    );
    const weight = own.reduce((sum, { error }) => sum + error ** -2, 0);
    const mean = own.reduce((sum, { at, error }) => sum + at * error ** -2, 0) / weight;
    const scatter = own.reduce((sum, { at, error }) => sum + ((at - mean) / error) ** 2, 0) / (own.length - 1) / weight;
    return {
      seconds: all.at,
      error: own.length > 1 ? Math.max(all.error, Math.sqrt(scatter)) : all.error,
      release: all.release,
      releaseError: all.releaseError,
    };
  }

  /** Arrays for a dark of the second pass. */
  fitSlot(times: DarkTimes, tau: number): Readonly<Record<string, BoundArray>> {
    const { reads } = times;
    const first = Float64Array.from({ length: reads }, (_, k) => (k === 0 ? 1 : 0));
    return this.#slot([...centred(times, tau), first], reads);
  }

  async fitTaken(times: DarkTimes): Promise<void> {
    const { rows, cols } = this.shape;
    const n = rows * cols;
    const index = this.#darks.length;
    if (index === 0) {
      const start = { data: this.#terms.subarray(2 * n, 3 * n), planes: 1, rows, cols, dq: this.#dq };
      const [means = []] = await robustMeans(start, this.#threads);
      this.#startScatter = Math.sqrt(
        means.reduce((sum, { mean, sigma }) => sum + mean ** 2 + sigma ** 2, 0) / means.length,
      );
    }
    this.#darks.push(times);
    await runKernel(
      'add-terms',
      {
        terms: this.#image(this.#terms.subarray(0, 2 * n), 2),
        sums: this.#image(this.#sums, 2),
        used: this.#image(this.#used),
      },
      { index },
      { threads: this.#threads },
    );
  }

  /**
   * @param gain [e-/DN] and readNoise [DN]: maps of the detector
   * @param strong amplitude above which a pixel is marked [1/read]
   */
  async finish(gain: BoundArray, readNoise: BoundArray, tau: number, strong: number): Promise<Persistence> {
    const { rows, cols } = this.shape;
    const moments = new Float64Array(3 * MOST_DARKS);
    const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, k) => sum + v * (b[k] as number), 0);
    const tables = this.#darks.map((times) => centred(times, tau));
    let [kk, kp, pp] = [0, 0, 0];
    for (const [i, [k, p]] of tables.entries()) {
      moments[i] = dot(k, k);
      moments[MOST_DARKS + i] = dot(k, p);
      moments[2 * MOST_DARKS + i] = dot(p, p);
      kk += dot(k, k);
      kp += dot(k, p);
      pp += dot(p, p);
    }
    const det = kk * pp - kp * kp;
    // B = sum_k h_k c_k; photons of read m are in it and in all later reads of its dark.
    let [photonsDark, photonsRelease] = [0, 0];
    for (const [i, [k, p]] of tables.entries()) {
      const times = this.#darks[i] as DarkTimes;
      let later = 0;
      for (let m = times.reads - 1; m >= 0; m--) {
        later += (kk * (p[m] as number) - kp * (k[m] as number)) / det;
        photonsDark += later ** 2;
        photonsRelease += later ** 2 * (integral(times, tau, m) - integral(times, tau, m - 1));
      }
    }
    const readVariance = sharedF32(readNoise.data.length);
    await runKernel('square', {
      value: { data: readNoise.data, cols: readVariance.length },
      squared: { data: readVariance, cols: readVariance.length },
    });
    const n = rows * cols;
    const [amplitude, error] = [this.#terms.subarray(0, n), this.#terms.subarray(n, 2 * n)];
    const image = { data: this.#fluence, planes: 1, rows, cols, dq: this.#dq };
    const [means = []] = await robustMeans(image, this.#threads);
    await runKernel(
      'solve-persistence',
      {
        sums: this.#image(this.#sums, 2),
        used: this.#image(this.#used),
        moments: { data: moments, rows: 3, cols: MOST_DARKS },
        fluence: this.#image(this.#fluence),
        readVariance: { ...readNoise, data: readVariance },
        gain,
        dq: this.#image(this.#dq),
        amplitude: this.#image(amplitude),
        error: this.#image(error),
      },
      { darks: this.#darks.length, photonsDark, photonsRelease, fluenceError: this.#startScatter, strong },
      { threads: this.#threads },
    );
    return {
      rows,
      cols,
      amplitude,
      error,
      dq: this.#dq,
      bits: await countBits(this.#dq, rows, cols),
      fluence: means.reduce((sum, { mean }) => sum + mean / means.length, 0),
      fluenceError: this.#startScatter,
    };
  }
}

function stretchWeights(reads: number): Float64Array[] {
  const edge = (i: number): number => Math.round((i * reads) / STRETCHES);
  return Array.from({ length: STRETCHES }, (_, i) => slopeWeights(reads, edge(i), edge(i + 1)));
}

/** Read number and integral of the release, each less its mean over the reads. */
function centred(times: DarkTimes, tau: number): [Float64Array, Float64Array] {
  const less = (values: Float64Array): Float64Array => {
    const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
    return values.map((v) => v - mean);
  };
  const numbers = Float64Array.from({ length: times.reads }, (_, k) => k);
  return [less(numbers), less(numbers.map((k) => integral(times, tau, k)))];
}
