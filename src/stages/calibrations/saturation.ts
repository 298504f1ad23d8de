/**
 * Raw counts at which each pixel is full, from flats deep enough to fill it. Of each flat the plateau at the end of the ramp is
 * taken (kernel find-plateau), and the flats are averaged. Flats may differ in light and in reads; a pixel counts in those in
 * which it ends on a plateau.
 *
 * The plateau stands on the zero point of its exposure, which wanders by some DN from one to the next. What that leaves in
 * the mean follows from the amplifiers' means of the plateaus, flat by flat, and is part of every pixel's error. It is taken to
 * be no less than the zero points wander within an exposure, which is all that one flat alone can tell.
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
import { robustMeans } from './moments.js';
import { countBits, markBorder } from './quartiles.js';

export const SATURATION_KERNELS = ['find-plateau', 'add-terms', 'row-moments', 'solve-saturation', 'square'] as const;

/** The chain's `stack` must hold all counts, saturated ones too, and not be linearised: see the builder. */
export const SATURATION_STEPS: readonly ChainStep[] = [
  {
    kernel: 'find-plateau',
    ports: { counts: 'stack', offsets: 'offsets', readVariance: 'readVariance', plateau: 'plateau' },
  },
];

export const SATURATION_PARAMS: readonly ParamDescription[] = [
  {
    name: 'fewest',
    type: 'float',
    min: 0,
    max: 1,
    default: 0.99,
    doc: 'a map in which a smaller part of the light-sensitive pixels has a value is graded warn',
  },
];

/** Numbers of each read in the table of zero points. */
const ZERO_COLUMNS = 6;

export interface Saturation {
  readonly rows: number;
  readonly cols: number;
  /** Raw counts [DN]; NaN where `dq` has a bit. */
  readonly level: Float32Array;
  readonly error: Float32Array;
  readonly dq: Uint32Array;
  readonly bits: Float64Array;
  /** Part of the light-sensitive pixels that has a value. */
  readonly covered: number;
  /** Mean of each amplifier [DN]. */
  readonly means: readonly number[];
  /** Error that the zero points leave in each amplifier [DN]. */
  readonly levelErrors: readonly number[];
}

export class SaturationBuilder {
  readonly shape: DetectorShape;
  readonly #threads: number;
  readonly #plateau: Float32Array;
  readonly #sums: Float32Array;
  readonly #weight: Float32Array;
  readonly #dq: Uint32Array;
  /** Mean plateau [flat][amplifier]; NaN where an amplifier has none. */
  readonly #means: number[][] = [];
  /** Mean variance of the zero points within a flat [amplifier], summed over flats. */
  readonly #drift = [0, 0, 0, 0];

  constructor(shape: DetectorShape, threads = 1) {
    this.shape = shape;
    this.#threads = threads;
    const n = shape.rows * shape.cols;
    this.#plateau = sharedF32(n);
    this.#sums = sharedF32(n);
    this.#weight = sharedF32(n);
    this.#dq = sharedU32(n);
    markBorder(this.#dq, shape.rows, shape.cols, shape.border, DQ.REFERENCE_PIXEL);
  }

  #image(data: BoundArray['data']): BoundArray {
    return { data, rows: this.shape.rows, cols: this.shape.cols };
  }

  /** Arrays of SATURATION_STEPS. */
  slot(): Readonly<Record<string, BoundArray>> {
    return { plateau: this.#image(this.#plateau) };
  }

  /**
   * The slot is filled.
   * @param zero zero points of the reads, as measure-zero-point's port `zero` says [DN]
   * @returns pixels with a plateau
   */
  async taken(zero: Float32Array): Promise<number> {
    const { rows, cols } = this.shape;
    const reads = zero.length / ZERO_COLUMNS;
    for (const a of this.#drift.keys()) {
      const levels = Array.from({ length: reads }, (_, k) => {
        const at = k * ZERO_COLUMNS;
        return (zero[at] as number) + (zero[at + 2 + a] as number);
      });
      const mean = levels.reduce((sum, v) => sum + v, 0) / reads;
      this.#drift[a] = (this.#drift[a] as number) + levels.reduce((sum, v) => sum + (v - mean) ** 2, 0) / reads;
    }
    const [means = []] = await robustMeans({ data: this.#plateau, planes: 1, rows, cols, dq: this.#dq }, this.#threads);
    this.#means.push(means.map(({ mean }) => mean));
    await runKernel(
      'add-terms',
      { terms: this.#image(this.#plateau), sums: this.#image(this.#sums), weight: this.#image(this.#weight) },
      {},
      { threads: this.#threads },
    );
    return means.reduce((sum, { count }) => sum + count, 0);
  }

  /**
   * @param readNoise map of the detector [DN]
   * @param window reads of each plateau, the parameter of find-plateau
   * @throws AlgorithmError where no flat fills any pixel
   */
  async finish(readNoise: BoundArray, window: number): Promise<Saturation> {
    const { rows, cols, border } = this.shape;
    const amplifiers = [0, 1, 2, 3];
    const of = amplifiers.map((a) =>
      this.#means.map((means) => means[a] as number).filter((mean) => !Number.isNaN(mean)),
    );
    if (of.every((means) => means.length === 0)) {
      throw new AlgorithmError('no pixel ends on a plateau: these flats fill none');
    }
    const means = of.map((values) => values.reduce((sum, v) => sum + v, 0) / values.length);
    const levelErrors = of.map((values, a) => {
      const scatter = values.reduce((sum, v) => sum + (v - (means[a] as number)) ** 2, 0);
      const flats = this.#means.length;
      const within = (this.#drift[a] as number) / flats / flats;
      return Math.sqrt(Math.max(within, values.length > 1 ? scatter / (values.length - 1) / values.length : 0));
    });
    const readVariance = sharedF32(readNoise.data.length);
    await runKernel('square', {
      value: { data: readNoise.data, cols: readVariance.length },
      squared: { data: readVariance, cols: readVariance.length },
    });
    const error = sharedF32(rows * cols);
    await runKernel(
      'solve-saturation',
      {
        sums: this.#image(this.#sums),
        weight: this.#image(this.#weight),
        readVariance: { ...readNoise, data: readVariance },
        levelError: { data: Float32Array.from(levelErrors), cols: 4 },
        dq: this.#image(this.#dq),
        saturation: this.#image(this.#plateau),
        error: this.#image(error),
      },
      { window },
      { threads: this.#threads },
    );
    const bits = await countBits(this.#dq, rows, cols);
    const sensitive = (rows - 2 * border) * (cols - 2 * border);
    const missing = bits[Math.log2(DQ.NO_CALIBRATION)] as number;
    return {
      rows,
      cols,
      level: this.#plateau,
      error,
      dq: this.#dq,
      bits,
      covered: 1 - missing / sensitive,
      means,
      levelErrors,
    };
  }
}
