/**
 * The reset anomaly from darks: what the first reads show above the straight line through the later ones.
 *
 * Of each dark, four linear functionals of the reads are kept for each pixel (kernel project-reads): the excess of reads 0, 1
 * and 2 over the least-squares line through reads 4 and later, and the slope of that line. They are added with the inverse
 * variance of the excess of read 0 (add-terms), so memory does not grow with the number of darks. At the end solve-settling
 * makes of them the offset of the first read and the amplitude A of `A exp(-k / tau)`, k the read from 0.
 *
 * tau is common to all pixels. It follows from the amplifiers' robust means of the three excesses, by least squares with the
 * scatter of these means from dark to dark as their errors: of the noise in the means, the zero points' is the largest part.
 */
import { AlgorithmError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import { type BoundArray, type ChainStep, runKernel, sharedF32, sharedU32 } from '../../engine/index.js';
import { leastOnLog, type Mean, robustMeans } from './moments.js';
import { countBits, markBorder } from './quartiles.js';

/** First read of the line: a time constant of a read has fallen to 2 % there, and the model accounts for what is left. */
const SETTLED_READ = 4;
/** Reads whose excess is kept. */
const EXCESS = 3;
const TERMS = 4;
const FEWEST_READS = SETTLED_READ + 4;
/** Range in which the time constant is looked for [reads]. */
const TAU_RANGE = [0.05, 20] as const;
/** An excess below so many of its errors says nothing. */
const SIGNIFICANT = 5;
/** Part of the time constant that its error may have. */
const TAU_ERROR = 0.2;

export const FIRST_READ_KERNELS = ['project-reads', 'add-terms', 'row-moments', 'solve-settling', 'square'] as const;

/** Differences from 1 on are looked at for jumps: the anomaly itself is one in difference 0. */
export const FIRST_READ_STEPS: readonly ChainStep[] = [
  {
    kernel: 'project-reads',
    ports: {
      counts: 'stack',
      table: 'settlingTable',
      gain: 'gain',
      readVariance: 'readVariance',
      terms: 'settlingTerms',
    },
    params: { from: 1 },
  },
];

export interface DetectorShape {
  readonly rows: number;
  readonly cols: number;
  /** Width of the light-insensitive border. */
  readonly border: number;
}

/** Tables of a dark of so many reads, and how noise goes through them. */
interface Projection {
  /** [read][TERMS] */
  readonly table: Float32Array;
  readonly weight: number;
  /** Excess that exp(-k / tau) leaves in reads 0 to 2. */
  readonly shape: (tau: number) => number[];
  /** Variance of sum a_j e_j for reads of variance 1, and for photons of 1 DN a read at a gain of 1. */
  readonly ofReads: (a: readonly number[]) => number;
  readonly ofPhotons: (a: readonly number[]) => number;
}

export function settlingProjection(reads: number): Projection {
  const middle = (SETTLED_READ + reads - 1) / 2;
  const n = reads - SETTLED_READ;
  let squares = 0;
  for (let k = SETTLED_READ; k < reads; k++) squares += (k - middle) ** 2;
  const weightOf = (j: number, k: number): number => {
    if (k < SETTLED_READ) return j === k && j < EXCESS ? 1 : 0;
    return j < EXCESS ? -(1 / n + ((j - middle) * (k - middle)) / squares) : (k - middle) / squares;
  };
  const table = Float32Array.from({ length: reads * TERMS }, (_, i) => weightOf(i % TERMS, Math.floor(i / TERMS)));
  const combined = (a: readonly number[]) =>
    Array.from({ length: reads }, (_, k) => a.reduce((sum, share, j) => sum + share * weightOf(j, k), 0));
  const squared = (values: readonly number[]) => values.reduce((sum, v) => sum + v * v, 0);
  const ofReads = (a: readonly number[]) => squared(combined(a));
  // Photons of one read are in it and in all later ones.
  const ofPhotons = (a: readonly number[]) => {
    const weights = combined(a);
    return squared(weights.map((_, k) => weights.slice(k).reduce((sum, w) => sum + w, 0)));
  };
  const shape = (tau: number) =>
    Array.from({ length: EXCESS }, (_, j) =>
      Array.from({ length: reads }, (__, k) => weightOf(j, k) * Math.exp(-k / tau)).reduce((sum, v) => sum + v, 0),
    );
  return { table, weight: 1 / ofReads([1]), shape, ofReads, ofPhotons };
}

export interface ResetAnomaly {
  readonly rows: number;
  readonly cols: number;
  /** [DN], [row][x]; NaN where `dq` has a bit other than NOISY. */
  readonly offset: Float32Array;
  readonly offsetError: Float32Array;
  /** Undefined where no time constant can be had. */
  readonly amplitude: Float32Array;
  readonly amplitudeError: Float32Array;
  readonly dq: Uint32Array;
  readonly bits: Float64Array;
  /** Mean excess of reads 0, 1, 2 [DN], and errors of these means. */
  readonly excess: readonly number[];
  readonly excessErrors: readonly number[];
  /** [reads]; undefined where the first read shows nothing. */
  readonly tau: { readonly value: number; readonly error: number } | undefined;
  readonly remarks: readonly string[];
}

export class FirstReadBuilder {
  readonly shape: DetectorShape;
  readonly #threads: number;
  readonly #terms: Float32Array;
  readonly #sums: Float32Array;
  readonly #weight: Float32Array;
  readonly #squares: Float32Array;
  readonly #dq: Uint32Array;
  readonly #darks: { readonly projection: Projection; readonly means: readonly (readonly Mean[])[] }[] = [];
  #projection: Projection | undefined;

  constructor(shape: DetectorShape, threads = 1) {
    this.shape = shape;
    this.#threads = threads;
    const n = shape.rows * shape.cols;
    this.#terms = sharedF32(TERMS * n);
    this.#sums = sharedF32(TERMS * n);
    this.#weight = sharedF32(n);
    this.#squares = sharedF32(n);
    this.#dq = sharedU32(n);
    markBorder(this.#dq, shape.rows, shape.cols, shape.border, DQ.REFERENCE_PIXEL);
  }

  #image(data: BoundArray['data'], planes = 1): BoundArray {
    return { data, planes, rows: this.shape.rows, cols: this.shape.cols };
  }

  /**
   * Arrays of FIRST_READ_STEPS for a dark of which all reads are used.
   * @throws AlgorithmError for too few of them
   */
  slot(reads: number): Readonly<Record<string, BoundArray>> {
    if (reads < FEWEST_READS) {
      throw new AlgorithmError(`expected a dark of at least ${FEWEST_READS} reads, received ${reads}`);
    }
    this.#projection = settlingProjection(reads);
    return {
      settlingTable: { data: this.#projection.table, planes: reads, planeStride: TERMS, cols: TERMS },
      settlingTerms: this.#image(this.#terms, TERMS),
    };
  }

  /** The slot is filled. */
  async taken(): Promise<void> {
    const projection = this.#projection as Projection;
    const { rows, cols } = this.shape;
    const image = { data: this.#terms, planes: EXCESS, rows, cols, dq: this.#dq };
    this.#darks.push({ projection, means: await robustMeans(image, this.#threads) });
    await runKernel(
      'add-terms',
      {
        terms: this.#image(this.#terms, TERMS),
        sums: this.#image(this.#sums, TERMS),
        weight: this.#image(this.#weight),
        squares: this.#image(this.#squares),
      },
      { weight: projection.weight },
      { threads: this.#threads },
    );
  }

  /** Mean excess [read][amplifier], and its error for each read: of an amplifier's mean, from the scatter of the darks. */
  #excess(): { readonly means: number[][]; readonly errors: number[] } {
    const all = this.#darks.reduce((sum, { projection }) => sum + projection.weight, 0);
    const amplifiers = this.#darks[0]?.means[0]?.length ?? 0;
    const errors: number[] = [];
    const means = Array.from({ length: EXCESS }, (_, j) => {
      const of = Array.from({ length: amplifiers }, (__, a) =>
        this.#darks.reduce(
          (sum, { projection, means: m }) => sum + (projection.weight * (m[j]?.[a]?.mean ?? 0)) / all,
          0,
        ),
      );
      let [scatter, white] = [0, 0];
      for (const { projection, means: m } of this.#darks) {
        for (const [a, mean] of of.entries()) {
          const one = m[j]?.[a] as Mean;
          scatter += (projection.weight * (one.mean - mean) ** 2) / all / amplifiers;
          white += ((projection.weight / all) ** 2 * one.sigma ** 2) / one.count / amplifiers;
        }
      }
      const n = this.#darks.length;
      errors.push(Math.sqrt(Math.max(n > 1 ? scatter / (n - 1) : 0, white)));
      return of;
    });
    return { means, errors };
  }

  /**
   * @param gain [e-/DN] and readNoise [DN]: maps of the detector
   * @throws AlgorithmError where no dark was taken, or an amplifier has no pixel with a value
   */
  async finish(gain: BoundArray, readNoise: BoundArray): Promise<ResetAnomaly> {
    if (this.#darks.length === 0) throw new AlgorithmError('a reset anomaly needs at least one dark');
    const { rows, cols } = this.shape;
    const all = this.#darks.reduce((sum, { projection }) => sum + projection.weight, 0);
    const mixed = (of: (p: Projection) => number, power: number): number =>
      this.#darks.reduce((sum, { projection: p }) => sum + (p.weight / all) ** power * of(p), 0);
    const shapeAt = (tau: number) =>
      Array.from({ length: EXCESS }, (_, j) => mixed((p) => p.shape(tau)[j] as number, 1));
    const { means, errors } = this.#excess();
    if (!errors.every(Number.isFinite)) throw new AlgorithmError('no pixel of an amplifier has a value in all reads');
    const mean = means.map((of) => of.reduce((sum, v) => sum + v / of.length, 0));
    const remarks: string[] = [];
    if (this.#darks.length === 1) remarks.push('one dark: errors lack the noise of the zero points');
    let tau: ResetAnomaly['tau'];
    if (Math.abs(mean[0] as number) < SIGNIFICANT * (errors[0] as number)) {
      remarks.push(`the first read shows no anomaly: ${shown(mean[0], errors[0])} DN`);
    } else {
      const chi2 = (t: number): number => {
        const g = shapeAt(t);
        const norm = g.reduce((sum, v, j) => sum + (v / (errors[j] as number)) ** 2, 0);
        let sum = 0;
        for (const a of (means[0] as number[]).keys()) {
          const at = (j: number): number => means[j]?.[a] as number;
          const amplitude = g.reduce((s, v, j) => s + (v * at(j)) / (errors[j] as number) ** 2, 0) / norm;
          sum += g.reduce((s, v, j) => s + ((at(j) - amplitude * v) / (errors[j] as number)) ** 2, 0);
        }
        return sum;
      };
      const least = leastOnLog(chi2, ...TAU_RANGE);
      tau = { value: least.at, error: least.error };
      if (!(least.error < TAU_ERROR * least.at)) {
        remarks.push(
          `the anomaly falls below the noise within one read (read 1 shows ${shown(mean[1], errors[1])} DN): TAU is uncertain`,
        );
      }
    }
    const g = shapeAt(tau?.value ?? 1);
    const norm = g.reduce((sum, v) => sum + v * v, 0);
    const a = g.map((v) => v / norm);
    const readVariance = sharedF32(readNoise.data.length);
    await runKernel('square', {
      value: { data: readNoise.data, cols: readVariance.length },
      squared: { data: readVariance, cols: readVariance.length },
    });
    const n = rows * cols;
    const [offset, offsetError, amplitude, amplitudeError] = [0, 1, 2, 3].map((j) =>
      this.#terms.subarray(j * n, (j + 1) * n),
    ) as [Float32Array, Float32Array, Float32Array, Float32Array];
    await runKernel(
      'solve-settling',
      {
        sums: this.#image(this.#sums, TERMS),
        weight: this.#image(this.#weight),
        squares: this.#image(this.#squares),
        readVariance: { ...readNoise, data: readVariance },
        gain,
        dq: this.#image(this.#dq),
        offset: this.#image(offset),
        offsetError: this.#image(offsetError),
        amplitude: this.#image(amplitude),
        amplitudeError: this.#image(amplitudeError),
      },
      {
        darks: this.#darks.length,
        weightAll: all,
        a0: a[0],
        a1: a[1],
        a2: a[2],
        readAmplitude: mixed((p) => p.ofReads(a), 2),
        photonsOffset: mixed((p) => p.ofPhotons([1]), 2),
        photonsAmplitude: mixed((p) => p.ofPhotons(a), 2),
        levelError: errors[0],
      },
      { threads: this.#threads },
    );
    return {
      rows,
      cols,
      offset,
      offsetError,
      amplitude,
      amplitudeError,
      dq: this.#dq,
      bits: await countBits(this.#dq, rows, cols),
      excess: mean,
      excessErrors: errors,
      tau,
      remarks,
    };
  }
}

const shown = (value: number | undefined, error: number | undefined): string =>
  `${(value ?? Number.NaN).toFixed(2)} +- ${(error ?? Number.NaN).toFixed(2)}`;
