/**
 * Weights of the 1/f correction, fitted on darks: for each amplifier and frequency, how much of what the references show
 * belongs to it. The references are the reference output and the left and right reference columns, and the estimate is
 * that of SIRS (Simple Improved Reference Subtraction, Rauscher et al. 2022): n(f) = sum over references of W(f) R(f),
 * W = C_aR C_RR^-1, with the cross spectra C of the row means that the kernel gather-row-means measures. W is a Wiener
 * filter: it is small where a reference is mostly its own noise.
 */
import { UsageError } from '../core/errors.js';

/** Row means of one dark, as gather-row-means gives them: [read][row][12]. */
export interface RowMeans {
  readonly data: Float32Array;
  readonly reads: number;
  readonly rows: number;
}

export interface OneOverFFit {
  /** [frequency 32][amplifier 4][reference output, left, right][real, imaginary]: the port of measure-one-over-f. */
  readonly weights: Float32Array;
  /** Of the 32 frequencies [Hz]: (i / 31)^2 of the row rate. */
  readonly frequenciesHz: Float64Array;
  /** The highest frequency with a weight that is not 0 [Hz]; 0 where no reference helps. */
  readonly maxFrequencyHz: number;
  /** Part of each amplifier's power of half-row means below 100 Hz that the references explain. */
  readonly explained: readonly number[];
}

/** These four follow native/kernels/measure-one-over-f/model.h. */
export const ONE_OVER_F_NODES = 32;
const AMPLIFIERS = 4;
const REFERENCES = 3;
const GLITCH = 8;

const MEANS = 12;
/** Signals of a difference of reads, two samples a row: three references, then four amplifiers. */
const SIGNALS = REFERENCES + AMPLIFIERS;
/** A reference is used where it explains this many times what chance would. */
const SIGNIFICANCE = 3;
const SHORTEST = 64;
/** Rows that the fit needs. */
export const ONE_OVER_F_MIN_ROWS = SHORTEST / 2;

/** A complex number. */
type Complex = readonly [number, number];
const times = (a: Complex, b: Complex): Complex => [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]];
const minus = (a: Complex, b: Complex): Complex => [a[0] - b[0], a[1] - b[1]];
const size = (a: Complex): number => Math.hypot(a[0], a[1]);
const conjugate = (a: Complex): Complex => [a[0], -a[1]];
const over = (a: Complex, b: Complex): Complex => {
  const square = b[0] * b[0] + b[1] * b[1];
  return [(a[0] * b[0] + a[1] * b[1]) / square, (a[1] * b[0] - a[0] * b[1]) / square];
};

/** Radix-2 transform in place (Cooley and Tukey 1965); the length is a power of two. */
function transform(re: Float64Array, im: Float64Array): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j |= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j] as number, re[i] as number];
      [im[i], im[j]] = [im[j] as number, im[i] as number];
    }
  }
  for (let span = 2; span <= n; span *= 2) {
    const half = span / 2;
    for (let k = 0; k < half; k++) {
      const c = Math.cos((-2 * Math.PI * k) / span);
      const s = Math.sin((-2 * Math.PI * k) / span);
      for (let i = k; i < n; i += span) {
        const j = i + half;
        const tr = (re[j] as number) * c - (im[j] as number) * s;
        const ti = (re[j] as number) * s + (im[j] as number) * c;
        re[j] = (re[i] as number) - tr;
        im[j] = (im[i] as number) - ti;
        re[i] = (re[i] as number) + tr;
        im[i] = (im[i] as number) + ti;
      }
    }
  }
}

/** Replaces values whose second difference exceeds 8 root-mean-squares by a line between their neighbours. */
function removeGlitches(s: Float64Array): void {
  const n = s.length;
  const bend = (j: number) => (s[j] as number) - 0.5 * ((s[j - 1] as number) + (s[j + 1] as number));
  let sum = 0;
  for (let j = 1; j + 1 < n; j++) sum += bend(j) ** 2;
  const limit = GLITCH * Math.sqrt(sum / (n - 2));
  const bad = Uint8Array.from(s, (_, j) => (j > 0 && j + 1 < n && Math.abs(bend(j)) > limit ? 1 : 0));
  for (let j = 1; j + 1 < n; j++) {
    if (bad[j] === 0) continue;
    let end = j;
    while (bad[end] === 1) end++;
    const before = s[j - 1] as number;
    const after = s[end] as number;
    for (let i = j; i < end; i++) s[i] = before + ((after - before) * (i - j + 1)) / (end - j + 1);
    j = end;
  }
}

/** The seven signals of the difference of reads k and k + 1, two samples a row in clock order. */
function signalsOf({ data, rows }: RowMeans, k: number): Float64Array[] {
  const difference = (row: number, mean: number) =>
    (data[((k + 1) * rows + row) * MEANS + mean] as number) - (data[(k * rows + row) * MEANS + mean] as number);
  const halves = (first: number) =>
    Float64Array.from({ length: 2 * rows }, (_, j) => difference(j >> 1, first + (j & 1)));
  // Reference columns are clocked at the start of the row; a quarter and three quarters of a row later is wanted.
  const columns = (mean: number) =>
    Float64Array.from({ length: 2 * rows }, (_, j) => {
      const row = j >> 1;
      const u = j & 1 ? 0.75 : 0.25;
      return (1 - u) * difference(row, mean) + u * difference(Math.min(row + 1, rows - 1), mean);
    });
  return [halves(0), columns(2), columns(3), halves(4), halves(6), halves(8), halves(10)];
}

/** Sums of cross spectra at the nodes: [node][signal i][signal j][re, im] for reference columns j, and powers. */
interface Spectra {
  /** <S_i conj(S_j)> for every signal i and reference j. */
  readonly cross: Float64Array;
  readonly power: Float64Array;
  /** Number of independent spectra that went into a node. */
  readonly count: Float64Array;
}

function accumulate(exposure: RowMeans, spectra: Spectra): void {
  const { reads, rows } = exposure;
  const differences = Array.from({ length: reads - 1 }, (_, k) => signalsOf(exposure, k));
  const samples = 2 * rows;
  // What is the same in every difference is charge (dark current, hot pixels), not noise.
  if (differences.length > 1) {
    for (let s = 0; s < SIGNALS; s++) {
      for (let j = 0; j < samples; j++) {
        let mean = 0;
        for (const d of differences) mean += ((d[s] as Float64Array)[j] as number) / differences.length;
        for (const d of differences) {
          const signal = d[s] as Float64Array;
          signal[j] = (signal[j] as number) - mean;
        }
      }
    }
  }
  const length = 2 ** Math.floor(Math.log2(samples));
  const pieces = length === samples ? [0] : [0, samples - length];
  const hann = Float64Array.from({ length }, (_, j) => 1 - Math.cos((2 * Math.PI * (j + 0.5)) / length));
  for (const difference of differences) {
    for (const signal of difference) removeGlitches(signal);
    for (const start of pieces) {
      const re: Float64Array[] = [];
      const im: Float64Array[] = [];
      for (const signal of difference) {
        const piece = signal.slice(start, start + length);
        const mean = piece.reduce((sum, v) => sum + v, 0) / length;
        re.push(piece.map((v, j) => (v - mean) * (hann[j] as number)));
        im.push(new Float64Array(length));
        transform(re.at(-1) as Float64Array, im.at(-1) as Float64Array);
      }
      addSpectra(re, im, spectra, pieces.length);
    }
  }
}

function addSpectra(re: readonly Float64Array[], im: readonly Float64Array[], spectra: Spectra, pieces: number): void {
  const { cross, power, count } = spectra;
  const length = (re[0] as Float64Array).length;
  for (let m = 1; m < length / 2; m++) {
    // Cycles a row: two samples a row. Each bin is shared by the two nodes beside it.
    const place = Math.sqrt((2 * m) / length) * (ONE_OVER_F_NODES - 1);
    const below = Math.min(Math.floor(place), ONE_OVER_F_NODES - 2);
    for (const node of [below, below + 1]) {
      const share = 1 - Math.abs(place - node);
      if (share <= 0) continue;
      // Hann's window ties 1.5 neighbouring bins together, and differences share reads: about 3 spectra are worth 1.
      count[node] = (count[node] as number) + share / (3 * pieces);
      for (let i = 0; i < SIGNALS; i++) {
        const a = re[i]?.[m] as number;
        const b = im[i]?.[m] as number;
        power[node * SIGNALS + i] = (power[node * SIGNALS + i] as number) + share * (a * a + b * b);
        for (let j = 0; j < REFERENCES; j++) {
          const c = re[j]?.[m] as number;
          const d = im[j]?.[m] as number;
          const at = ((node * SIGNALS + i) * REFERENCES + j) * 2;
          cross[at] = (cross[at] as number) + share * (a * c + b * d);
          cross[at + 1] = (cross[at + 1] as number) + share * (b * c - a * d);
        }
      }
    }
  }
}

/** Solves w M = v for a Hermitian positive M by Gaussian elimination; undefined where M is singular. */
function solveRow(matrix: readonly (readonly Complex[])[], right: readonly Complex[]): Complex[] | undefined {
  const n = right.length;
  // w M = v is M^T w^T = v^T.
  const a = Array.from({ length: n }, (_, i) => [
    ...Array.from({ length: n }, (_unused, j) => matrix[j]?.[i] as Complex),
    right[i] as Complex,
  ]);
  for (let p = 0; p < n; p++) {
    const row = a[p] as Complex[];
    const pivot = row[p] as Complex;
    // Positive definite matrices need no exchange of rows; what is left of a dependent reference is rounding.
    if (!(size(pivot) > 1e-9 * size((matrix[p] as readonly Complex[])[p] as Complex))) return undefined;
    for (let i = 0; i < n; i++) {
      if (i === p) continue;
      const other = a[i] as Complex[];
      const factor = over(other[p] as Complex, pivot);
      for (let j = p; j <= n; j++) other[j] = minus(other[j] as Complex, times(factor, row[j] as Complex));
    }
  }
  return a.map((row, i) => over(row[n] as Complex, row[i] as Complex));
}

/**
 * Fits the weights of the 1/f correction.
 * @param darks row means of one or more darks of one detector; at least two reads each
 * @param rowSeconds time from row to row [s], for the frequencies in Hz
 * @returns weights as measure-one-over-f takes them. Store them as image WEIGHTS of 768 float32 (calibration `oneoverf`).
 * @throws UsageError where a table has the wrong size or there are too few reads or rows
 */
export function fitOneOverFWeights(darks: readonly RowMeans[], rowSeconds: number): OneOverFFit {
  if (darks.length === 0) throw new UsageError('weights of the 1/f correction need at least one dark');
  if (!(rowSeconds > 0)) throw new UsageError(`expected the time of a row to be positive, received ${rowSeconds}`);
  for (const { data, reads, rows } of darks) {
    if (reads < 2 || 2 * rows < SHORTEST || data.length !== reads * rows * MEANS) {
      throw new UsageError(
        `expected row means of at least 2 reads and ${SHORTEST / 2} rows, ${MEANS} values each; received ${reads} reads, ${rows} rows, ${data.length} values`,
      );
    }
  }
  const spectra: Spectra = {
    cross: new Float64Array(ONE_OVER_F_NODES * SIGNALS * REFERENCES * 2),
    power: new Float64Array(ONE_OVER_F_NODES * SIGNALS),
    count: new Float64Array(ONE_OVER_F_NODES),
  };
  for (const dark of darks) accumulate(dark, spectra);

  const weights = new Float32Array(ONE_OVER_F_NODES * AMPLIFIERS * REFERENCES * 2);
  const frequenciesHz = Float64Array.from(
    { length: ONE_OVER_F_NODES },
    (_, i) => (i / (ONE_OVER_F_NODES - 1)) ** 2 / rowSeconds,
  );
  const total = new Float64Array(AMPLIFIERS);
  const explained = new Float64Array(AMPLIFIERS);
  let maxFrequencyHz = 0;
  // Nodes below the slowest wave of the tables have no data: they take the first that has.
  const first = spectra.count.findIndex((n) => n > 0);
  for (let node = 0; node < ONE_OVER_F_NODES; node++) {
    const from = Math.max(node, first);
    const entry = (i: number, j: number): Complex => {
      const at = ((from * SIGNALS + i) * REFERENCES + j) * 2;
      return [spectra.cross[at] as number, spectra.cross[at + 1] as number];
    };
    const chance = SIGNIFICANCE / (spectra.count[from] as number);
    for (let a = 0; a < AMPLIFIERS; a++) {
      const power = spectra.power[from * SIGNALS + REFERENCES + a] as number;
      const solve = (references: readonly number[]) => {
        const right = references.map((j) => entry(REFERENCES + a, j));
        const solved = solveRow(
          references.map((i) => references.map((j) => entry(i, j))),
          right,
        );
        if (solved === undefined || !(power > 0)) return { weights: [] as Complex[], part: 0 };
        const part = solved.reduce((sum, w, i) => sum + times(w, conjugate(right[i] as Complex))[0], 0) / power;
        return { weights: solved, part };
      };
      const output = solve([0]);
      const all = solve([0, 1, 2]);
      let best = all.part - output.part > 2 * chance ? all : output;
      if (best.part <= best.weights.length * chance) best = { weights: [], part: 0 };
      best.weights.forEach((w, j) => {
        weights.set(w, ((node * AMPLIFIERS + a) * REFERENCES + j) * 2);
        maxFrequencyHz = Math.max(maxFrequencyHz, frequenciesHz[node] as number);
      });
      if (node >= first && (frequenciesHz[node] as number) < 100) {
        total[a] = (total[a] as number) + power;
        explained[a] = (explained[a] as number) + best.part * power;
      }
    }
  }
  return {
    weights,
    frequenciesHz,
    maxFrequencyHz,
    explained: Array.from(explained, (e, a) => ((total[a] as number) > 0 ? e / (total[a] as number) : 0)),
  };
}
