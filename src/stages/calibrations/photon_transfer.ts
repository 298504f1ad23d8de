/**
 * Gain and read noise from flats and darks, streaming: each exposure adds to sums for each pixel and is forgotten.
 *
 * Read noise and gain of pixels come from second differences of reads (kernels gather-variances and fit-transfer), which do
 * not see a lamp or a dark current that changes slowly. The gain of an amplifier is the ratio of sums over its pixels. The
 * classic photon transfer curve, the variance of the difference of two flats against their counts (Janesick 2001; kernel
 * pair-variances), is fitted beside it from other combinations of the same reads: the two must agree.
 *
 * A pixel's own gain is known to tens of per cent only, so the map holds its posterior mean: the amplifier's gain, moved towards the
 * pixel's estimate as far as the scatter that pixels truly have and the estimate's error allow (empirical Bayes). So does that of read noise, but
 * for pixels that are not like their amplifier's. The true scatter is
 * what the halves of the ramps, whose errors are independent, have in common; where that is not seen, its own
 * error stands for it, so errors are never too small.
 *
 * Interpixel capacitance is not corrected: a coupling alpha to each of four neighbours makes gains too high by about 8 alpha.
 */
import { AlgorithmError, CalibrationError, InputError } from '../../core/errors.js';
import {
  type BoundArray,
  type ChainReport,
  type ChainStep,
  runKernel,
  sharedF32,
  sharedLarge,
} from '../../engine/index.js';

/** What a runner hangs on the ramp chain at `differences`, with the kernel linearise switched off. */
export interface GatherSteps {
  readonly arrays: (facts: {
    readonly rows: number;
    readonly cols: number;
    readonly reads: number;
  }) => Readonly<Record<string, BoundArray>>;
  readonly steps: readonly ChainStep[];
}

export interface PhotonTransferOptions {
  /**
   * Whether the ramp chain has maps of the nonlinearity (c2, c3, limit); if not, gains are extrapolated to the zero of
   * counts. Counts are never linearised: that would make the read noise of flats larger than that of darks.
   */
  readonly linear: boolean;
  /** Plausible gains [electron/DN] and read noises [DN]: an amplifier outside is refused, a pixel has no value. */
  readonly gainRange: readonly [number, number];
  readonly noiseRange: readonly [number, number];
  /** Second differences so many standard deviations off are left out: cosmic rays. */
  readonly clip: number;
  /** A pixel is NOISY so many standard deviations above its amplifier. */
  readonly noisy: number;
  readonly border: number;
  /** Columns of the detector; its four amplifiers have a quarter each. */
  readonly cols: number;
  readonly threads: number;
}

/** A value and its error, 1 sigma. */
export interface Measured {
  readonly value: number;
  readonly error: number;
}

export interface AmplifierTransfer {
  /** [electron/DN], from second differences; from pairs where the flats are too short for those. */
  readonly gain: Measured;
  /** The flats are too short: every pixel has its amplifier's gain, which is that of the pairs. */
  readonly tooShort: boolean;
  /** From the differences of pairs of flats. */
  readonly pairGain: Measured;
  /** Root mean square of its pixels' noise of a single read [DN]. */
  readonly readNoise: Measured;
  /** Intrinsic scatter of its pixels' gains, relative, and its error; the error alone where it is not seen. */
  readonly gainScatter: Measured;
  /** Likewise of the read noise. */
  readonly noiseScatter: Measured;
  readonly gainPixels: number;
  readonly noisePixels: number;
  /** Pixels that no light reached or that have no values: they have the amplifier's gain. */
  readonly unlit: number;
}

export interface PhotonTransfer {
  readonly rows: number;
  readonly cols: number;
  readonly gain: Float32Array;
  readonly gainError: Float32Array;
  readonly gainDq: Uint32Array;
  readonly noise: Float32Array;
  readonly noiseError: Float32Array;
  readonly noiseDq: Uint32Array;
  readonly amplifiers: readonly AmplifierTransfer[];
  readonly pairs: number;
}

const AMPLIFIERS = 4;
const POINTS = 6;
const PLANES = 6;
/** Values of pair-variances for a point, and sums of fit-transfer for an amplifier. */
const PAIR_VALUES = 4;
const FIT_SUMS = 20;
const TABLE_VALUES = 8;
/** Reads that a flat or dark must have: each point of the curve needs a difference of its own, each half some values. */
const FEWEST_READS = 8;
/** Flats of one lamp differ by a few per cent; beyond this they are no pair. */
const PAIR_LEVELS = 0.05;
/** Part of an amplifier's pixels that can speak for it. */
const FEWEST_PIXELS = 0.01;
/**
 * Pixels of an amplifier of which this part at least must have a second-difference gain that is better known than a factor of
 * two. In flats of a few reads only those are left whose noise happens to look small, and their mean is off by tens of per cent.
 */
const FEWEST_SHARE = 0.5;
/** The clip around the amplifier's values has settled after this many passes, which cost little. */
const PASSES = 7;

/** Sums over rows of a table [row][width], in the order of rows. */
function columnSums(table: Float64Array, width: number): Float64Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < table.length; i++) sums[i % width] = (sums[i % width] as number) + (table[i] as number);
  return sums;
}

/** Inverse of a small symmetric positive definite matrix; undefined where it is none. */
function inverse(matrix: readonly (readonly number[])[]): number[][] | undefined {
  const n = matrix.length;
  const work = matrix.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => (i === j ? 1 : 0))]);
  for (let k = 0; k < n; k++) {
    const pivot = work[k]?.[k] as number;
    if (!(pivot > 0)) return undefined;
    const lead = (work[k] as number[]).map((v) => v / pivot);
    work[k] = lead;
    for (let i = 0; i < n; i++) {
      const factor = work[i]?.[k] as number;
      if (i !== k) work[i] = (work[i] as number[]).map((v, j) => v - factor * (lead[j] as number));
    }
  }
  return work.map((row) => row.slice(n));
}

/** A point of the photon transfer curve: counts and variance of one flat, with their degrees of freedom. */
interface CurvePoint {
  readonly counts: number;
  readonly variance: number;
  readonly freedom: number;
}

/**
 * Slope of the photon transfer curve at 0 counts [DN/electron]: variance = 2 v + counts h (+ q counts^2 unless counts are linear), by generalised
 * least squares. Points up one ramp share its noise: the covariance of two variances is 2 c^2 / degrees of freedom, c the covariance of the
 * counts, which is the variance of the lower of the two less that of one read.
 */
export function fitCurve(points: readonly CurvePoint[], readVariance: number, linear: boolean): Measured | undefined {
  const scale = points.at(-1)?.counts ?? 0;
  const terms = linear ? 2 : 3;
  if (points.length <= terms || !(scale > 0)) return undefined;
  const covariance = points.map((p, i) =>
    points.map((q, j) => {
      const lower = i < j ? p : q;
      const common = i === j ? lower.variance : Math.max(lower.variance - readVariance, 0.5 * lower.variance);
      return (2 * common * common) / Math.min(p.freedom, q.freedom);
    }),
  );
  const weights = inverse(covariance);
  if (weights === undefined) return undefined;
  const design = points.map(({ counts }) => Array.from({ length: terms }, (_, t) => (counts / scale) ** t));
  const against = (t: number, values: readonly number[]) =>
    weights.reduce(
      (sum, row, i) =>
        sum + row.reduce((part, w, j) => part + w * (values[j] as number), 0) * ((design[i] as number[])[t] as number),
      0,
    );
  const columns = Array.from({ length: terms }, (_, t) => design.map((row) => row[t] as number));
  const normal = inverse(Array.from({ length: terms }, (_, t) => columns.map((column) => against(t, column))));
  if (normal === undefined) return undefined;
  const variances = points.map(({ variance }) => variance);
  const slope = (normal[1] as number[]).reduce((sum, w, t) => sum + w * against(t, variances), 0);
  return { value: slope / scale, error: Math.sqrt(normal[1]?.[1] as number) / scale };
}

/** What is known of an amplifier between passes: a row of fit-transfer's table. */
interface Row {
  h: number;
  scatter2: number;
  error2: number;
  scale: number;
  centres: [number, number];
  v: number;
  vScatter2: number;
}

const UNKNOWN: Row = { h: 0, scatter2: 0, error2: 0, scale: 1, centres: [0, 0], v: 0, vScatter2: 0 };

/** Covariance of what the halves of the ramps say, from four sums over n pixels, and its error. */
function covarianceOf(n: number, sums: Float64Array): Measured {
  const [a, b, product, squares] = Array.from(sums, (sum) => sum / n) as [number, number, number, number];
  const value = product - a * b;
  return { value, error: Math.sqrt(Math.max(squares - value * value, 0) / n) };
}

/** Sums of fit-transfer, by its README. */
const gainCovariance = (s: Float64Array): Measured => covarianceOf(s[0] as number, s.subarray(7, 11));
const noiseCovariance = (s: Float64Array): Measured => covarianceOf(s[11] as number, s.subarray(15, 19));

/** Variance that is certainly allowed for: what is seen, or the error of seeing it. */
const allowed = ({ value, error }: Measured): number => Math.max(value, error);

interface Samples {
  readonly name: string;
  readonly reads: number;
  readonly data: Float32Array;
}

export class PhotonTransferBuilder {
  readonly #options: PhotonTransferOptions;
  #rows = 0;
  readonly #cols: number;
  #dark: Float32Array | undefined;
  #flat: Float32Array | undefined;
  #samples: Float32Array | undefined;
  #spare: Float32Array | undefined;
  #waiting: Samples | undefined;
  #flats = 0;
  /** Of the flats: differences used, and reads before them, summed; where their ramps lie above the zero of counts. */
  #differences = 0;
  #readsBefore = 0;
  readonly #curves: CurvePoint[][][] = [];
  readonly #unpaired: string[] = [];

  constructor(options: PhotonTransferOptions) {
    this.#options = options;
    this.#cols = options.cols;
  }

  /** CPU seconds of the kernels that work on more than one exposure. */
  readonly seconds: Record<string, number> = {};

  /** Flats that found no partner. */
  get unpaired(): readonly string[] {
    return this.#waiting === undefined ? this.#unpaired : [...this.#unpaired, this.#describe(this.#waiting)];
  }

  /** Steps for one dark. */
  dark(file: string): GatherSteps {
    return {
      arrays: (facts) => {
        this.#check(facts, file);
        this.#dark ??= this.#planes();
        return { transferSums: this.#bound(this.#dark) };
      },
      steps: [this.#gather()],
    };
  }

  /** Steps for one flat; `addFlat` follows. */
  flat(file: string): GatherSteps {
    return {
      arrays: (facts) => {
        this.#check(facts, file);
        this.#flats++;
        this.#flat ??= this.#planes();
        this.#samples = this.#spare ?? this.#planes();
        this.#spare = undefined;
        return { transferSums: this.#bound(this.#flat), samples: this.#bound(this.#samples) };
      },
      steps: [
        this.#gather(),
        { kernel: 'sample-counts', ports: { counts: 'stack', samples: 'samples', ...this.#ports(['c2', 'c3']) } },
      ],
    };
  }

  /** Takes the flat whose steps have run: pairs it with the one before where that fits. */
  async addFlat(name: string, facts: { readonly reads: number; readonly firstRead: number }): Promise<void> {
    this.#differences += facts.reads - 1;
    this.#readsBefore += facts.firstRead;
    const samples: Samples = { name, reads: facts.reads, data: this.#samples as Float32Array };
    this.#samples = undefined;
    const before = this.#waiting;
    const curve = before?.reads === samples.reads ? await this.#curveOf(before, samples) : undefined;
    if (before === undefined || curve === undefined) {
      if (before !== undefined) this.#unpaired.push(this.#describe(before));
      this.#spare = before?.data;
      this.#waiting = samples;
      return;
    }
    this.#curves.push(curve);
    this.#waiting = undefined;
    this.#spare = samples.data;
  }

  /**
   * The maps and the amplifiers' values.
   * @throws AlgorithmError without a dark or a pair of flats, or where an amplifier has too few good pixels; CalibrationError
   *   where an amplifier's gain or read noise cannot be that of this kind of detector
   */
  async finish(): Promise<PhotonTransfer> {
    const { gainRange, noiseRange } = this.#options;
    if (this.#dark === undefined || this.#flat === undefined) {
      const none = this.#dark === undefined ? (this.#flat === undefined ? 'exposure' : 'dark') : 'flat';
      throw new AlgorithmError(`gain and read noise need darks and pairs of flats: there is no ${none}`);
    }
    if (this.#curves.length === 0) {
      throw new AlgorithmError(
        `no two flats that follow each other have the same number of reads and the same light: ${this.unpaired.join(', ')}`,
      );
    }
    const rows: Row[] = Array.from({ length: AMPLIFIERS }, () => ({ ...UNKNOWN }));
    let sums: Float64Array = new Float64Array();
    for (let pass = 0; pass < PASSES; pass++) {
      sums = await this.#fit(rows, {});
      for (const [a, row] of rows.entries()) this.#update(row, sums.subarray(a * FIT_SUMS, (a + 1) * FIT_SUMS), a);
    }
    const size = this.#rows * this.#cols;
    for (const [a, row] of rows.entries()) {
      if (!this.#tooShort(sums, a)) continue;
      const pair = this.#pairGain(row, a);
      if (pair === undefined) {
        throw new AlgorithmError(
          `amplifier ${a + 1} has too few pixels whose gain can be measured: flats are saturated, too faint, too short, or no flats`,
        );
      }
      Object.assign(row, { h: pair.value, error2: pair.error ** 2, scatter2: 0, scale: 1 });
    }
    const memory = sharedLarge(6 * 4 * size);
    const f32 = (k: number) => new Float32Array(memory, 4 * k * size, size);
    const u32 = (k: number) => new Uint32Array(memory, 4 * k * size, size);
    const images = {
      gain: f32(0),
      gainError: f32(1),
      noise: f32(2),
      noiseError: f32(3),
      gainDq: u32(4),
      noiseDq: u32(5),
    };
    const tooShort = rows.map((_, a) => this.#tooShort(sums, a));
    sums = await this.#fit(rows, images);
    const amplifiers = rows.map((row, a) =>
      this.#amplifier(row, sums.subarray(a * FIT_SUMS, (a + 1) * FIT_SUMS), a, tooShort[a] as boolean),
    );
    for (const [a, { gain, readNoise }] of amplifiers.entries()) {
      for (const [what, { value }, [low, high], unit] of [
        ['gain', gain, gainRange, 'electron/DN'],
        ['read noise', readNoise, noiseRange, 'DN'],
      ] as const) {
        if (!(value >= low && value <= high)) {
          throw new CalibrationError(
            `expected the ${what} of amplifier ${a + 1} to be in ${low} .. ${high} ${unit}, found ${value.toPrecision(4)}`,
          );
        }
      }
    }
    return { rows: this.#rows, cols: this.#cols, ...images, amplifiers, pairs: this.#curves.length };
  }

  #spend({ timings }: ChainReport): void {
    for (const { name, seconds } of timings) this.seconds[name] = (this.seconds[name] ?? 0) + seconds;
  }

  #describe({ name, reads }: Samples): string {
    return `${name} (${reads} reads)`;
  }

  #check({ rows, cols, reads }: { rows: number; cols: number; reads: number }, file: string): void {
    if (reads < FEWEST_READS) {
      throw new AlgorithmError(`expected at least ${FEWEST_READS} reads after those dropped, received ${reads}`, {
        file,
      });
    }
    if (this.#rows === 0) {
      this.#rows = rows;
    }
    if (rows !== this.#rows || cols !== this.#cols) {
      throw new InputError(
        `expected ${this.#cols} x ${this.#rows} pixels as in the exposures before, received ${cols} x ${rows}`,
        { file },
      );
    }
  }

  #planes(): Float32Array {
    const length = PLANES * this.#rows * this.#cols;
    return new Float32Array(sharedLarge(4 * length), 0, length);
  }

  #bound(data: Float32Array): BoundArray {
    return { data, planes: PLANES, rows: this.#rows, cols: this.#cols };
  }

  /** Maps of the ramp chain that steps take when there is a calibration of the nonlinearity. */
  #ports(maps: readonly string[]): Record<string, string> {
    return this.#options.linear ? Object.fromEntries(maps.map((name) => [name, name])) : {};
  }

  #gather(): ChainStep {
    return {
      kernel: 'gather-variances',
      ports: {
        diffs: 'diffs',
        sums: 'transferSums',
        ...(this.#options.linear && { counts: 'stack' }),
        ...this.#ports(['c2', 'c3', 'limit']),
      },
      params: { clip: this.#options.clip, amplifierCols: this.#options.cols / AMPLIFIERS },
    };
  }

  /** The curves of the four amplifiers, or undefined where the flats differ by too much to be a pair. */
  async #curveOf(first: Samples, second: Samples): Promise<CurvePoint[][] | undefined> {
    const width = AMPLIFIERS * POINTS * PAIR_VALUES;
    const table = new Float64Array(this.#rows * width);
    const report = await runKernel(
      'pair-variances',
      {
        first: this.#bound(first.data),
        second: this.#bound(second.data),
        sums: { data: table, rows: this.#rows, cols: width },
      },
      { border: this.#options.border },
      { threads: this.#options.threads, strip: this.#cols },
    );
    this.#spend(report);
    const sums = columnSums(table, width);
    // Each row and amplifier had a mean of its own taken off.
    const means = new Float64Array(AMPLIFIERS * POINTS);
    for (let i = 0; i < table.length; i += PAIR_VALUES) {
      const at = (i / PAIR_VALUES) % means.length;
      if ((table[i] as number) > 0) means[at] = (means[at] as number) + 1;
    }
    const curves: CurvePoint[][] = [];
    for (let a = 0; a < AMPLIFIERS; a++) {
      const curve: CurvePoint[] = [];
      for (let p = 0; p < POINTS; p++) {
        const at = (a * POINTS + p) * PAIR_VALUES;
        const [n, one, other, squares] = [...sums.subarray(at, at + PAIR_VALUES)] as [number, number, number, number];
        const freedom = n - (means[a * POINTS + p] as number);
        // Points that most pixels no longer reach unsaturated say something about the rest.
        if (freedom <= 0 || (curve[0] !== undefined && freedom < 0.9 * curve[0].freedom)) break;
        if (Math.abs(one - other) > (PAIR_LEVELS * Math.abs(one + other)) / 2) return undefined;
        curve.push({ counts: (one + other) / (2 * n), variance: squares / (2 * freedom), freedom });
      }
      curves.push(curve);
    }
    return curves;
  }

  async #fit(
    rows: readonly Row[],
    images: Readonly<Record<string, Float32Array | Uint32Array>>,
  ): Promise<Float64Array> {
    const { noisy, border, gainRange, noiseRange, threads } = this.#options;
    const table = sharedF32(AMPLIFIERS * TABLE_VALUES);
    for (const [a, { h, scatter2, error2, scale, centres, v, vScatter2 }] of rows.entries()) {
      table.set([h, scatter2, error2, scale, ...centres, v, vScatter2], a * TABLE_VALUES);
    }
    const width = AMPLIFIERS * FIT_SUMS;
    const sums = new Float64Array(this.#rows * width);
    const bound = Object.entries(images).map(([name, data]) => [name, { data, rows: this.#rows, cols: this.#cols }]);
    const report = await runKernel(
      'fit-transfer',
      {
        dark: this.#bound(this.#dark as Float32Array),
        flat: this.#bound(this.#flat as Float32Array),
        table: { data: table, cols: table.length },
        sums: { data: sums, rows: this.#rows, cols: width },
        ...Object.fromEntries(bound),
      },
      {
        noisy,
        border,
        lowGain: gainRange[0],
        highGain: gainRange[1],
        lowNoise: noiseRange[0],
        highNoise: noiseRange[1],
      },
      { threads, strip: this.#cols },
    );
    this.#spend(report);
    return columnSums(sums, width);
  }

  /** Gains of the halves of the ramps, and what they say about the gain at the zero of counts. */
  #halves(s: Float64Array): { c: [number, number]; h: number; scale: number; error2: number } {
    const at = (i: number) => s[i] as number;
    const c: [number, number] = [at(1) / at(2), at(3) / at(4)];
    const e: [number, number] = [at(5) / at(2) ** 2, at(6) / at(4) ** 2];
    if (this.#options.linear) {
      const h = (c[0] * e[1] + c[1] * e[0]) / (e[0] + e[1]);
      return { c, h, scale: 1, error2: (e[0] * e[1]) / (e[0] + e[1]) };
    }
    // The slope of the response falls as counts rise; the middles of the halves lie half a ramp apart, the first a quarter of a
    // ramp, the reads dropped and one more above the reset.
    const reads = this.#differences / this.#flats;
    const ahead = (reads / 4 + this.#readsBefore / this.#flats + 1) / (reads / 2);
    const h = c[0] + ahead * (c[0] - c[1]);
    return { c, h, scale: (2 * h) / (c[0] + c[1]), error2: (1 + ahead) ** 2 * e[0] + ahead ** 2 * e[1] };
  }

  #update(row: Row, s: Float64Array, amplifier: number): void {
    const noisePixels = s[11] as number;
    const fewest = FEWEST_PIXELS * this.#sciencePixels(amplifier);
    if (noisePixels < fewest) {
      throw new AlgorithmError(
        `amplifier ${amplifier + 1} has too few pixels whose read noise can be measured (${noisePixels})`,
      );
    }
    row.vScatter2 = allowed(noiseCovariance(s));
    row.v += (s[12] as number) / noisePixels;
    if ((s[0] as number) < fewest) return;
    const { c, h, scale, error2 } = this.#halves(s);
    row.h = h;
    row.error2 = error2;
    row.scale = scale;
    row.scatter2 = scale * scale * allowed(gainCovariance(s));
    row.centres = c;
  }

  #sciencePixels(a: number): number {
    const { border } = this.#options;
    const width = this.#cols / AMPLIFIERS - (a === 0 || a === AMPLIFIERS - 1 ? border : 0);
    return width * (this.#rows - 2 * border);
  }

  #tooShort(sums: Float64Array, a: number): boolean {
    return (sums[a * FIT_SUMS] as number) < FEWEST_SHARE * this.#sciencePixels(a);
  }

  /** Inverse gain of an amplifier from all pairs of flats [DN/electron]. */
  #pairGain(row: Row, a: number): Measured | undefined {
    const { linear } = this.#options;
    const curves = this.#curves.flatMap((curve) => fitCurve(curve[a] as CurvePoint[], row.v, linear) ?? []);
    if (curves.length === 0) return undefined;
    const weight = curves.reduce((sum, { error }) => sum + error ** -2, 0);
    const value = curves.reduce((sum, one) => sum + one.value * one.error ** -2, 0) / weight;
    return { value, error: weight ** -0.5 };
  }

  #amplifier(row: Row, s: Float64Array, a: number, tooShort: boolean): AmplifierTransfer {
    const value = 1 / row.h;
    const noisePixels = s[11] as number;
    const readNoise = Math.sqrt(row.v);
    const none = { value: Number.NaN, error: Number.NaN };
    const pair = this.#pairGain(row, a) ?? none;
    const spread = ({ value: variance, error }: Measured, perUnit: number): Measured => {
      const seen = Math.sqrt(Math.max(variance, error)) * perUnit;
      return { value: seen, error: variance > error ? (0.5 * error * perUnit * perUnit) / seen : seen };
    };
    return {
      gain: { value, error: Math.sqrt(row.error2) * value * value },
      tooShort,
      pairGain: { value: 1 / pair.value, error: pair.error / (pair.value * pair.value) },
      readNoise: { value: readNoise, error: Math.sqrt(s[14] as number) / noisePixels / (2 * readNoise) },
      gainScatter: tooShort ? none : spread(gainCovariance(s), row.scale / row.h),
      noiseScatter: spread(noiseCovariance(s), 0.5 / row.v),
      gainPixels: s[0] as number,
      noisePixels,
      unlit: this.#sciencePixels(a) - (s[19] as number),
    };
  }
}
