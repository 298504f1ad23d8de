/**
 * Nonlinearity y = x + c2 x^2 + c3 x^3 from flats, streaming: each ramp adds to two equations for each pixel and is
 * forgotten. A lamp that is steady within each exposure is all that is asked of the flats.
 *
 * The equations use powers of time as instruments (kernel gather-linearity), so noise on both sides does not bias them. A pixel's own
 * coefficients are known to tens of per cent where pixels differ by a few, so the maps hold the mean of the posterior between the
 * pixel's and its amplifier's (kernel fit-linearity), with the scatter that pixels truly have: what the two halves of the flats, whose errors
 * are independent, have in common. Where it is not seen, the error of seeing it stands for it.
 *
 * Errors that all pixels share (zero points of reads, 1/f noise) do not average out over an amplifier; the halves of the flats
 * differ by them, and amplifiers' errors are made larger by as much as they do.
 */
import { AlgorithmError, InputError } from '../../core/errors.js';
import { type BoundArray, type ChainReport, type ChainStep, runKernel, sharedLarge } from '../../engine/index.js';

export interface LinearityOptions {
  /** Columns of the detector; its four amplifiers have a quarter each. */
  readonly cols: number;
  readonly border: number;
  /** Second differences of reads so many standard deviations off are cosmic rays. */
  readonly clip: number;
  /** Pixels so many standard deviations from their amplifier have no value. */
  readonly outlier: number;
  readonly threads: number;
}

/** A value and its error, 1 sigma. */
export interface Coefficient {
  readonly value: number;
  readonly error: number;
  /** Standard deviation of the pixels' true values; the error of measuring it where it is not seen. */
  readonly scatter: number;
}

export interface AmplifierLinearity {
  /** [1/DN] */
  readonly c2: Coefficient;
  /** [1/DN^2] */
  readonly c3: Coefficient;
  /** Mean of the highest counts that its pixels reached [DN]. */
  readonly limit: number;
  /** Inverse gain [DN/electron] as the noise of the equations shows it: a check. */
  readonly inverseGain: number;
  readonly pixels: number;
  /** Pixels without equations: they have the amplifier's coefficients. */
  readonly unmeasured: number;
  /** Pixels that are not like the amplifier: they have no value. */
  readonly odd: number;
}

export interface Linearity {
  readonly rows: number;
  readonly cols: number;
  readonly c2: Float32Array;
  readonly c3: Float32Array;
  readonly limit: Float32Array;
  readonly c2Error: Float32Array;
  readonly c3Error: Float32Array;
  readonly dq: Uint32Array;
  readonly amplifiers: readonly AmplifierLinearity[];
  /** What errors common to an amplifier made of its errors, as a factor; 1 where they do not show. */
  readonly inflation: number;
}

const AMPLIFIERS = 4;
const PLANES = 12;
const SUMS = 36;
const TABLE_VALUES = 12;
/** Counts of the coefficients in the kernels [DN]; their default. */
const UNIT = 16384;
/** gather-linearity asks for 8 differences, of which a jump may take 3. */
const FEWEST_READS = 12;
/** Part of an amplifier's pixels that can speak for it. */
const FEWEST_PIXELS = 0.01;
/** The clip around the amplifier's values has settled after this many passes, which cost little. */
const PASSES = 6;
/** Pixels whose variances are this many times the amplifier's typical one say nothing about its scatter. */
const MOST_VARIANCE = 4;

/** Symmetric 2 x 2: 22, 23, 33. */
type Symmetric = readonly [number, number, number];

const scaled = ([a, b, c]: Symmetric, factor: number): Symmetric => [a * factor, b * factor, c * factor];

/** Solution of A c + b = 0 and A^-1 W A^-T. */
function solve(s: readonly number[]): { readonly c: readonly [number, number]; readonly u: Symmetric } {
  const [a = 0, b = 0, c = 0, d = 0, p = 0, q = 0, w11 = 0, w12 = 0, w22 = 0] = s;
  const det = a * d - b * c;
  const [i00, i01, i10, i11] = [d / det, -b / det, -c / det, a / det];
  return {
    c: [-(i00 * p + i01 * q), -(i10 * p + i11 * q)],
    u: [
      i00 * i00 * w11 + 2 * i00 * i01 * w12 + i01 * i01 * w22,
      i00 * i10 * w11 + (i00 * i11 + i01 * i10) * w12 + i01 * i11 * w22,
      i10 * i10 * w11 + 2 * i10 * i11 * w12 + i11 * i11 * w22,
    ],
  };
}

const quadratic = ([a, b, c]: Symmetric, u: number, v: number): number =>
  (c * u * u - 2 * b * u * v + a * v * v) / (a * c - b * b);

/** What is known of an amplifier between passes: a row of fit-linearity's table. */
interface Row {
  c: readonly [number, number];
  scatter: Symmetric;
  h: number;
  covariance: Symmetric;
  bound: readonly [number, number];
  limit: number;
  /** Of the halves' coefficients, over their covariance; 2 if errors are what they should be. */
  chi: number;
}

const UNKNOWN: Row = { c: [0, 0], scatter: [0, 0, 0], h: 0, covariance: [0, 0, 0], bound: [0, 0], limit: 0, chi: 2 };

/** Scatter of pixels from the sums of products of the halves' deviations; see `linearity` above for what is not seen. */
function scatterOf(s: Float64Array): Symmetric {
  const n = s[0] as number;
  const mean = (i: number) => (s[i] as number) / n;
  const pairs = [
    [20, 22],
    [20, 23],
    [21, 23],
  ] as const;
  const [t22, t23, t33] = pairs.map(([a, b], i) => {
    const product = mean(24 + i);
    const value = product - (i === 1 ? 0.5 * (mean(20) * mean(23) + mean(21) * mean(22)) : mean(a) * mean(b));
    return { value, error: Math.sqrt(Math.max(mean(27 + i) - product * product, 0) / n) };
  }) as [Measured, Measured, Measured];
  const [a, c] = [t22, t33].map(({ value, error }) => Math.max(value, error)) as [number, number];
  // Errors of the three go together; a covariance that a sum of squares cannot have is cut to what it can.
  const most = 0.95 * Math.sqrt(a * c);
  const seen = t22.value > t22.error && t33.value > t33.error ? t23.value : 0;
  return [a, Math.min(Math.max(seen, -most), most), c];
}

interface Measured {
  readonly value: number;
  readonly error: number;
}

/** Sums over rows of a table [row][width], in the order of rows. */
function columnSums(table: Float64Array, width: number): Float64Array {
  const sums = new Float64Array(width);
  for (let i = 0; i < table.length; i++) sums[i % width] = (sums[i % width] as number) + (table[i] as number);
  return sums;
}

export class LinearityBuilder {
  readonly #options: LinearityOptions;
  #rows = 0;
  #flats = 0;
  readonly #halves: [Float32Array | undefined, Float32Array | undefined] = [undefined, undefined];
  /** CPU seconds of the kernels that work on more than one exposure. */
  readonly seconds: Record<string, number> = {};

  constructor(options: LinearityOptions) {
    this.#options = options;
  }

  /** Steps for one flat, to be hung on the ramp chain at `counts` with the kernel linearise switched off. */
  flat(file: string): {
    readonly arrays: (facts: {
      readonly rows: number;
      readonly cols: number;
      readonly reads: number;
    }) => Readonly<Record<string, BoundArray>>;
    readonly steps: readonly ChainStep[];
  } {
    return {
      arrays: (facts) => {
        this.#check(facts, file);
        const half = this.#flats++ % 2;
        const sums = this.#halves[half] ?? this.#planes();
        this.#halves[half] = sums;
        return { linearitySums: this.#bound(sums) };
      },
      steps: [
        {
          kernel: 'gather-linearity',
          ports: { counts: 'stack', sums: 'linearitySums' },
          params: { clip: this.#options.clip, unit: UNIT },
        },
      ],
    };
  }

  /**
   * The maps and the amplifiers' values.
   * @throws AlgorithmError for fewer than two flats, or an amplifier whose pixels say nothing
   */
  async finish(): Promise<Linearity> {
    if (this.#flats < 2) {
      throw new AlgorithmError(
        `the nonlinearity needs two flats: their halves show how pixels differ; received ${this.#flats}`,
      );
    }
    const rows: Row[] = Array.from({ length: AMPLIFIERS }, () => UNKNOWN);
    let sums: Float64Array = new Float64Array();
    let inflation = 1;
    for (let pass = 0; pass < PASSES; pass++) {
      sums = await this.#fit(rows, {});
      for (const a of rows.keys()) rows[a] = this.#update(sums.subarray(a * SUMS, (a + 1) * SUMS), rows[a] as Row, a);
      // Eight degrees of freedom: two coefficients of four amplifiers.
      inflation = Math.sqrt(Math.max(1, rows.reduce((sum, { chi }) => sum + chi, 0) / (2 * AMPLIFIERS)));
      for (const [a, row] of rows.entries()) {
        rows[a] = { ...row, covariance: scaled(row.covariance, inflation * inflation) };
      }
    }
    const size = this.#rows * this.#options.cols;
    const memory = sharedLarge(6 * 4 * size);
    const f32 = (k: number) => new Float32Array(memory, 4 * k * size, size);
    const images = { c2: f32(0), c3: f32(1), limit: f32(2), c2Error: f32(3), c3Error: f32(4) };
    const dq = new Uint32Array(memory, 4 * 5 * size, size);
    sums = await this.#fit(rows, { ...images, dq });
    const amplifiers = rows.map((row, a) => this.#amplifier(row, sums.subarray(a * SUMS, (a + 1) * SUMS), a));
    return { rows: this.#rows, cols: this.#options.cols, ...images, dq, amplifiers, inflation };
  }

  #check({ rows, cols, reads }: { rows: number; cols: number; reads: number }, file: string): void {
    if (reads < FEWEST_READS) {
      throw new AlgorithmError(`expected at least ${FEWEST_READS} reads after those dropped, received ${reads}`, {
        file,
      });
    }
    if (this.#rows === 0) this.#rows = rows;
    if (rows !== this.#rows || cols !== this.#options.cols) {
      throw new InputError(
        `expected ${this.#options.cols} x ${this.#rows} pixels as in the exposures before, received ${cols} x ${rows}`,
        { file },
      );
    }
  }

  #planes(): Float32Array {
    const length = PLANES * this.#rows * this.#options.cols;
    return new Float32Array(sharedLarge(4 * length), 0, length);
  }

  #bound(data: Float32Array): BoundArray {
    return { data, planes: PLANES, rows: this.#rows, cols: this.#options.cols };
  }

  #spend({ timings }: ChainReport): void {
    for (const { name, seconds } of timings) this.seconds[name] = (this.seconds[name] ?? 0) + seconds;
  }

  async #fit(
    rows: readonly Row[],
    images: Readonly<Record<string, Float32Array | Uint32Array>>,
  ): Promise<Float64Array> {
    const { cols, border, outlier, threads } = this.#options;
    const table = new Float64Array(AMPLIFIERS * TABLE_VALUES);
    for (const [a, { c, scatter, h, covariance, bound, limit }] of rows.entries()) {
      table.set([...c, ...scatter, h, ...covariance, ...bound, limit], a * TABLE_VALUES);
    }
    const width = AMPLIFIERS * SUMS;
    const sums = new Float64Array(this.#rows * width);
    const bound = Object.entries(images).map(([name, data]) => [name, { data, rows: this.#rows, cols }]);
    const report = await runKernel(
      'fit-linearity',
      {
        first: this.#bound(this.#halves[0] as Float32Array),
        second: this.#bound(this.#halves[1] as Float32Array),
        table: { data: table, cols: table.length },
        sums: { data: sums, rows: this.#rows, cols: width },
        ...Object.fromEntries(bound),
      },
      { border, outlier, unit: UNIT },
      { threads, strip: cols },
    );
    this.#spend(report);
    return columnSums(sums, width);
  }

  #update(s: Float64Array, row: Row, amplifier: number): Row {
    const n = s[0] as number;
    if (n < FEWEST_PIXELS * this.#sciencePixels(amplifier)) {
      throw new AlgorithmError(
        `amplifier ${amplifier + 1} has too few pixels whose nonlinearity can be measured (${n}): flats are saturated from the start, too faint, or no flats`,
      );
    }
    const first = Array.from(s.subarray(1, 10));
    const second = Array.from(s.subarray(10, 19));
    const { c, u } = solve(first.map((v, i) => v + (second[i] as number)));
    const h = (s[19] as number) / (2 * n);
    const [one, other] = [solve(first), solve(second)];
    const [p, q] = [one.u, other.u];
    const between = scaled([p[0] + q[0], p[1] + q[1], p[2] + q[2]], h);
    const covariance = scaled(u, h);
    return {
      c,
      h,
      covariance,
      scatter: row.h === 0 ? scaled(covariance, n) : scatterOf(s),
      // A typical pixel knows n times less than all of them.
      bound: [MOST_VARIANCE * covariance[0] * n, MOST_VARIANCE * covariance[2] * n],
      limit: (s[30] as number) / n,
      chi: quadratic(between, one.c[0] - other.c[0], one.c[1] - other.c[1]),
    };
  }

  #sciencePixels(a: number): number {
    const { border, cols } = this.#options;
    const width = cols / AMPLIFIERS - (a === 0 || a === AMPLIFIERS - 1 ? border : 0);
    return width * (this.#rows - 2 * border);
  }

  #amplifier({ c, covariance, scatter, h, limit }: Row, s: Float64Array, a: number): AmplifierLinearity {
    return {
      c2: { value: c[0] / UNIT, error: Math.sqrt(covariance[0]) / UNIT, scatter: Math.sqrt(scatter[0]) / UNIT },
      c3: {
        value: c[1] / UNIT ** 2,
        error: Math.sqrt(covariance[2]) / UNIT ** 2,
        scatter: Math.sqrt(scatter[2]) / UNIT ** 2,
      },
      limit,
      inverseGain: h * UNIT,
      pixels: s[0] as number,
      unmeasured: this.#sciencePixels(a) - (s[31] as number),
      odd: s[32] as number,
    };
  }
}
