/**
 * The detector itself: maps of what each pixel is like. They follow from the telescope, the chip and the detector seed, not
 * from the exposure, so all exposures of one chip share one set of calibrations.
 */
import { runKernel } from '../engine/index.js';
import type { Chip, Telescope } from './figures.js';
import { type Seed, Sequence, seedParams } from './math.js';

/** Science columns (four amplifiers of 512) and the reference output. */
export const SCIENCE_COLUMNS = 2048;
export const READ_COLUMNS = 2560;
export const AMPLIFIER_COLUMNS = 512;
/** Pixels of the reference border. */
export const BORDER = 4;
export const FULL_ROWS = 2048;
/** Time constant of the reset anomaly [reads]: short enough that upstream's rule, to drop two reads, leaves 0.4 DN of it. */
export const RESET_READS = 0.4;
/** Counts at which the converter ends [DN]. */
export const CONVERTER_LIMIT = 65535;

/** One switch for each effect; all on by default. An effect that is off leaves no trace, and no other number changes. */
export interface Effects {
  /** Light: the scene of the exposure type. */
  readonly scene: boolean;
  /** Poisson noise of the electrons; off: each read adds the exact rate. */
  readonly photons: boolean;
  /** Wandering bias, a part common to all outputs and a part of each. */
  readonly biasDrift: boolean;
  readonly oneOverF: boolean;
  /** Fixed pattern and kTC noise of the reset. */
  readonly pedestal: boolean;
  /** Exponential settling in the first reads. */
  readonly resetAnomaly: boolean;
  readonly readNoise: boolean;
  /** Amplifier and pixel differences of the gain; off: one gain for the chip. */
  readonly gain: boolean;
  readonly nonlinearity: boolean;
  /** Full wells; off: only the converter ends. */
  readonly saturation: boolean;
  readonly hotPixels: boolean;
  readonly deadPixels: boolean;
  readonly dark: boolean;
  /** true, or the mean number of hits in a read of the whole light-sensitive area. */
  readonly cosmicRays: boolean | number;
}

export const ALL_EFFECTS: Effects = {
  scene: true,
  photons: true,
  biasDrift: true,
  oneOverF: true,
  pedestal: true,
  resetAnomaly: true,
  readNoise: true,
  gain: true,
  nonlinearity: true,
  saturation: true,
  hotPixels: true,
  deadPixels: true,
  dark: true,
  cosmicRays: true,
};

export const NO_EFFECTS: Effects = Object.fromEntries(
  Object.keys(ALL_EFFECTS).map((name) => [name, false]),
) as unknown as Effects;

/** Bits of the truth's BADPIX map. */
export const BAD_HOT = 1;
export const BAD_DEAD = 2;
export const BAD_LOW_WELL = 4;
export const BAD_NOISY = 8;

/**
 * Gain of the four amplifiers [e-/DN]: within the measured ranges 1.45-1.81 (APO) and 2.56-2.70 (LCO) of
 * ApogeeReduction.jl's gain maps.
 */
const GAINS: Readonly<Record<Telescope, Readonly<Record<Chip, readonly number[]>>>> = {
  apo: { a: [1.62, 1.55, 1.7, 1.66], b: [1.74, 1.81, 1.69, 1.77], c: [1.45, 1.52, 1.58, 1.49] },
  lco: { a: [2.6, 2.56, 2.63, 2.66], b: [2.62, 2.7, 2.65, 2.59], c: [2.68, 2.61, 2.57, 2.64] },
};

/**
 * Noise of a single read [DN]. The chips' ratios follow apogee_drp's detector files (APO 13, 11, 10; LCO 7, 8, 4), whose unit
 * is not stated; the scale is the one at which compressed files have the size of the real ones, 3.35 to 3.7 MB a read.
 */
const READ_NOISE: Readonly<Record<Telescope, Readonly<Record<Chip, number>>>> = {
  apo: { a: 5, b: 4.4, c: 4.1 },
  lco: { a: 3.2, b: 3.4, c: 2.5 },
};

// Typical of H2RG arrays with 2.5 micron cutoff; the reduction must not depend on them.
const GAIN_SCATTER = 0.01;
const NOISE_SCATTER = 0.08;
const NOISY_PIXELS = 0.002;
const PEDESTAL_PATTERN_DN = 80;
const PEDESTAL_KTC_DN = 25;
const BORDER_PEDESTAL_DN = 20;
const RESET_DN = 60;
const RESET_SCATTER_DN = 15;
const C2 = 6e-7;
const C3 = 8e-12;
const LINEARITY_SCATTER = 0.05;
const WELL_DN = 48000;
const WELL_SCATTER_DN = 1200;
const LOW_WELL_PIXELS = 2e-4;
const DARK_E = 0.1;
const HOT_PIXELS = 3e-3;
const DEAD_PIXELS = 1e-3;
/** No pixel fills up: larger than any value the converter knows, small enough for single precision. */
const NO_WELL = 1e9;

/** What the draws are for; part of the contract, like the seed. 1 and 2 belong to mock-photons and mock-read. */
export const STREAM = {
  gain: 10,
  noise: 11,
  pattern: 12,
  ktc: 13,
  reset: 14,
  c2: 15,
  c3: 16,
  well: 17,
  oneOverF: 18,
  lists: 20,
  bias: 21,
  oneOverFStart: 22,
  cosmicRays: 23,
} as const;

/** Maps [rows][READ_COLUMNS]. */
export interface Detector {
  readonly rows: number;
  /** e-/DN */
  readonly gain: Float32Array;
  /** Standard deviation of a single read [DN]. */
  readonly noise: Float32Array;
  /** Linear counts after a reset [DN], the same in every exposure. */
  readonly pattern: Float32Array;
  /** Reset anomaly in the first read [DN]. */
  readonly reset: Float32Array;
  readonly c2: Float32Array;
  readonly c3: Float32Array;
  /** Counts above the bias at which the pixel is full [DN]. */
  readonly well: Float32Array;
  /** Dark current [e-/read]. */
  readonly dark: Float32Array;
  /** BAD_ bits. */
  readonly bad: Uint8Array;
}

export const isScience = (rows: number, row: number, x: number): boolean =>
  x >= BORDER && x < SCIENCE_COLUMNS - BORDER && row >= BORDER && row < rows - BORDER;

/** Calls `visit` with the index of every pixel that sees no light: the border and the reference output. */
export function forReferencePixels(rows: number, visit: (index: number, isOutput: boolean) => void): void {
  for (let row = 0; row < rows; row++) {
    const start = row * READ_COLUMNS;
    const wholeRow = row < BORDER || row >= rows - BORDER;
    for (let x = 0; x < SCIENCE_COLUMNS; x++) {
      if (wholeRow || x < BORDER || x >= SCIENCE_COLUMNS - BORDER) visit(start + x, false);
    }
    for (let x = SCIENCE_COLUMNS; x < READ_COLUMNS; x++) visit(start + x, true);
  }
}

/** A map of normal deviates about a level for each output; see the kernel mock-normal. */
export async function normalMap(
  rows: number,
  seed: Seed,
  stream: number,
  level: readonly number[],
  params: { relative?: number; sigma?: number; low?: number; high?: number; read?: number },
  into: Float32Array = new Float32Array(rows * READ_COLUMNS),
  cols: number = READ_COLUMNS,
  threads = 1,
): Promise<Float32Array> {
  await runKernel(
    'mock-normal',
    { level: { data: Float32Array.from(level), cols: 5 }, map: { data: into, rows, cols } },
    { ...seedParams(seed), stream, sigma: 0, ...params },
    { threads },
  );
  return into;
}

const five = (value: number): number[] => [value, value, value, value, value];

/** Makes the maps of a chip. */
export async function makeDetector(
  tele: Telescope,
  chip: Chip,
  rows: number,
  seed: Seed,
  effects: Effects,
  threads: number,
): Promise<Detector> {
  const size = rows * READ_COLUMNS;
  const map = (stream: number, level: readonly number[], params: Parameters<typeof normalMap>[4]) =>
    normalMap(rows, seed, stream, level, params, undefined, undefined, threads);
  const gains = GAINS[tele][chip];
  const mean = gains.reduce((sum, value) => sum + value, 0) / gains.length;
  const gain = effects.gain
    ? await map(STREAM.gain, [...gains, mean], { relative: GAIN_SCATTER, low: 0.5 })
    : new Float32Array(size).fill(mean);
  const sigma = READ_NOISE[tele][chip];
  const noise = effects.readNoise
    ? await map(STREAM.noise, five(sigma), { relative: NOISE_SCATTER, low: 0.5 * sigma })
    : new Float32Array(size);
  const pattern = effects.pedestal
    ? await map(STREAM.pattern, five(0), { sigma: PEDESTAL_PATTERN_DN })
    : new Float32Array(size);
  const reset = effects.resetAnomaly
    ? await map(STREAM.reset, five(RESET_DN), { sigma: RESET_SCATTER_DN })
    : new Float32Array(size);
  const c2 = effects.nonlinearity
    ? await map(STREAM.c2, five(C2), { relative: LINEARITY_SCATTER })
    : new Float32Array(size);
  const c3 = effects.nonlinearity
    ? await map(STREAM.c3, five(C3), { relative: LINEARITY_SCATTER })
    : new Float32Array(size);
  const well = effects.saturation
    ? await map(STREAM.well, five(WELL_DN), { sigma: WELL_SCATTER_DN, low: 0.8 * WELL_DN, high: 1.1 * WELL_DN })
    : new Float32Array(size).fill(NO_WELL);
  const dark = new Float32Array(size).fill(effects.dark ? DARK_E : 0);
  const bad = new Uint8Array(size);

  const numbers = new Sequence(seed, STREAM.lists);
  const sensitiveRows = Math.max(rows - 2 * BORDER, 0);
  const sensitive = (SCIENCE_COLUMNS - 2 * BORDER) * sensitiveRows;
  // The lists are drawn whether or not they are used, so that a switch moves nothing else.
  const scatter = (fraction: number, visit: (index: number, value: number) => void): void => {
    for (let n = Math.round(fraction * sensitive); n > 0; n--) {
      const x = BORDER + numbers.below(SCIENCE_COLUMNS - 2 * BORDER);
      const row = BORDER + numbers.below(sensitiveRows);
      visit(row * READ_COLUMNS + x, numbers.uniform());
    }
  };
  const mark = (index: number, bit: number): void => {
    bad[index] = (bad[index] as number) | bit;
  };
  scatter(HOT_PIXELS, (index, u) => {
    if (!effects.hotPixels) return;
    // 5 to 500 e- a read, each decade with a tenth of the pixels of the one below
    dark[index] = Math.min(5 / u, 500);
    mark(index, BAD_HOT);
  });
  scatter(LOW_WELL_PIXELS, (index, u) => {
    if (!effects.saturation) return;
    well[index] = WELL_DN * (0.1 + 0.5 * u);
    mark(index, BAD_LOW_WELL);
  });
  scatter(NOISY_PIXELS, (index, u) => {
    if (!effects.readNoise) return;
    noise[index] = (noise[index] as number) * (2 + 2 * u);
    mark(index, BAD_NOISY);
  });
  scatter(DEAD_PIXELS, (index) => {
    if (effects.deadPixels) mark(index, BAD_DEAD);
  });
  forReferencePixels(rows, (index, isOutput) => {
    gain[index] = mean;
    c2[index] = 0;
    c3[index] = 0;
    reset[index] = 0;
    dark[index] = 0;
    well[index] = NO_WELL;
    pattern[index] = isOutput ? 0 : ((pattern[index] as number) * BORDER_PEDESTAL_DN) / PEDESTAL_PATTERN_DN;
  });
  return { rows, gain, noise, pattern, reset, c2, c3, well, dark, bad };
}

/** Pedestal of one exposure: the fixed pattern and the kTC noise of its reset [DN]. */
export async function makePedestal(
  detector: Detector,
  seed: Seed,
  effects: Effects,
  threads: number,
): Promise<Float32Array> {
  if (!effects.pedestal) return detector.pattern;
  const out = await normalMap(
    detector.rows,
    seed,
    STREAM.ktc,
    five(0),
    { sigma: PEDESTAL_KTC_DN },
    undefined,
    undefined,
    threads,
  );
  forReferencePixels(detector.rows, (index, isOutput) => {
    out[index] = isOutput ? 0 : ((out[index] as number) * BORDER_PEDESTAL_DN) / PEDESTAL_PATTERN_DN;
  });
  for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) + (detector.pattern[i] as number);
  return out;
}
