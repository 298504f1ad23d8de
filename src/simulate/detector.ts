/**
 * The detector itself: maps of what each pixel is like. They follow from the telescope, the chip and the detector seed, not
 * from the exposure, so all exposures of one chip share one set of calibrations.
 */
import { runKernel } from '../engine/index.js';
import type { Chip, Telescope } from './figures.js';
import { type Seed, Sequence, seedParams } from './math.js';
import { drawPattern, multiplyByPattern, type PatternLimits } from './pattern.js';

/** Science columns (four amplifiers of 512) and the reference output. */
export const SCIENCE_COLUMNS = 2048;
export const READ_COLUMNS = 2560;
export const AMPLIFIER_COLUMNS = 512;
/** Pixels of the reference border. */
export const BORDER = 4;
export const FULL_ROWS = 2048;
/** Time constant of the reset anomaly [reads]: short enough that upstream's rule, to drop two reads, leaves 0.4 DN of it. */
export const RESET_READS = 0.4;
/** Time of one read [ms]: 2048 lines of 520 clocks of 10 microseconds. */
export const READ_MS = 10_647;
/** Time constant of the release of trapped charge [s]: about 28 reads, within the minutes that HAWAII-2RG arrays show. */
export const TRAP_SECONDS = 300;
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
  /** Differences of the dark current: from pixel to pixel, and a glow; off: one dark current for all but hot pixels. */
  readonly darkStructure: boolean;
  /** Pixels that seem to lose charge. */
  readonly negativeDark: boolean;
  /** Response of the pixels: scatter, a large-scale part, low and high ones; off: 1 for all. Light only, never the dark. */
  readonly flat: boolean;
  /** Pixels whose response differs from exposure to exposure. */
  readonly unstablePixels: boolean;
  /** The lamp of internal flats lights the detector unevenly. */
  readonly illumination: boolean;
  /** Pixels that toggle between two levels. */
  readonly telegraph: boolean;
  /** Charge trapped in an earlier exposure comes out; only in exposures that are told what went before. */
  readonly persistence: boolean;
  /** true, or the mean number of hits in a read of the whole light-sensitive area. */
  readonly cosmicRays: boolean | number;
  /** A few fibres of each telescope show little light or none, the same ones in every exposure. */
  readonly brokenFibres: boolean;
  /** In objects: pairs of neighbours of which one is a thousand times as bright as the other. */
  readonly neighbours: boolean;
  /** The fibres' profiles vary in shape and width over the chip, and in width through the night. */
  readonly profileDrift: boolean;
  /** Broad wings of the fibres' profiles. */
  readonly wings: boolean;
  /** A part of all light is spread smoothly over the chip. */
  readonly scatteredLight: boolean;
  /** The traces drift through the night and are a little off in each exposure. */
  readonly flexure: boolean;
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
  darkStructure: true,
  negativeDark: true,
  flat: true,
  unstablePixels: true,
  illumination: true,
  telegraph: true,
  persistence: true,
  cosmicRays: true,
  brokenFibres: true,
  neighbours: true,
  profileDrift: true,
  wings: true,
  scatteredLight: true,
  flexure: true,
};

export const NO_EFFECTS: Effects = Object.fromEntries(
  Object.keys(ALL_EFFECTS).map((name) => [name, false]),
) as unknown as Effects;

/** Bits of the truth's BADPIX map. */
export const BAD_HOT = 1;
export const BAD_DEAD = 2;
export const BAD_LOW_WELL = 4;
export const BAD_NOISY = 8;
export const BAD_TELEGRAPH = 16;
export const BAD_NEGATIVE = 32;
export const BAD_LOW_FLAT = 64;
export const BAD_HIGH_FLAT = 128;
export const BAD_UNSTABLE = 256;

/**
 * Gain of the four amplifiers [e-/DN]: within the measured ranges 1.45-1.81 (APO) and 2.56-2.70 (LCO) of
 * ApogeeReduction.jl's gain maps.
 */
export const GAINS: Readonly<Record<Telescope, Readonly<Record<Chip, readonly number[]>>>> = {
  apo: { a: [1.62, 1.55, 1.7, 1.66], b: [1.74, 1.81, 1.69, 1.77], c: [1.45, 1.52, 1.58, 1.49] },
  lco: { a: [2.6, 2.56, 2.63, 2.66], b: [2.62, 2.7, 2.65, 2.59], c: [2.68, 2.61, 2.57, 2.64] },
};

/**
 * Noise of a single read [DN]. The chips' ratios follow apogee_drp's detector files (APO 13, 11, 10; LCO 7, 8, 4), whose unit
 * is not stated; the scale is the one at which compressed files have the size of the real ones, 3.35 to 3.7 MB a read.
 */
export const READ_NOISE: Readonly<Record<Telescope, Readonly<Record<Chip, number>>>> = {
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
const DARK_SCATTER = 0.2;
/** Up to a few times the dark current in places, as near the readout's glow. */
const GLOW: PatternLimits = { gradient: 0.3, bumps: 0, height: 0, width: [0, 0] };
const GLOW_BUMP = { u: 0.9, v: -0.9, width: 0.5, height: 2 };
const NEGATIVE_PIXELS = 2e-4;
const HOT_PIXELS = 3e-3;
const DEAD_PIXELS = 1e-3;
const RESPONSE_SCATTER = 0.015;
const RESPONSE_PATTERN: PatternLimits = { gradient: 0.01, bumps: 4, height: 0.02, width: [0.3, 0.7] };
const LOW_RESPONSE_PIXELS = 5e-4;
const HIGH_RESPONSE_PIXELS = 1e-4;
const UNSTABLE_PIXELS = 2e-4;
const TELEGRAPH_PIXELS = 5e-4;
/** First rate of the release for each electron of fluence [1/read]: most of the detector, and a region with 40 times that. */
const TRAP = 2e-4;
const TRAP_SCATTER = 0.1;
const TRAP_REGION = 40;
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
  response: 24,
  dark: 25,
  trap: 26,
  patterns: 27,
  illumination: 28,
  unstable: 29,
  telegraph: 30,
  throughput: 31,
  broken: 32,
  shape: 33,
  width: 34,
  scattered: 35,
  flexure: 36,
  neighbours: 37,
  spectraNoise: 38,
  spectraPixels: 39,
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
  /** Dark current [e-/read]; below 0 where a pixel seems to lose charge. */
  readonly dark: Float32Array;
  /** Part of the light that the pixel shows; 0 where it is dead or sees none. Mean of all exposures for unstable pixels. */
  readonly response: Float32Array;
  /**
   * Amplitude A of the persistence: `rate(t) = A fluence exp(-t / TRAP_SECONDS)` [e-/read], where fluence [e-] is what the
   * earlier exposure collected, a full well at most (well + c2 well^2 + c3 well^3, times the gain), and t the time since its end.
   */
  readonly trap: Float32Array;
  /** BAD_ bits. */
  readonly bad: Uint16Array;
  /** Pixels with any bit; a pixel may come twice. */
  readonly flagged: readonly number[];
  readonly unstable: readonly UnstablePixel[];
  readonly telegraph: readonly TelegraphPixel[];
}

/** A pixel whose response is multiplied by 1 + scatter z, with a normal deviate z for each exposure. */
export interface UnstablePixel {
  readonly index: number;
  readonly scatter: number;
}

/** A pixel with random telegraph noise. */
export interface TelegraphPixel {
  readonly index: number;
  /** Upper level less the lower one [DN, linear]. */
  readonly amplitude: number;
  /** Mean time in the lower and in the upper level [reads]. */
  readonly dwell: readonly [number, number];
}

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
  const patterns = new Sequence(seed, STREAM.patterns);
  const large = drawPattern(patterns, RESPONSE_PATTERN);
  const glow = drawPattern(patterns, GLOW);
  const region = {
    u: 1.2 * patterns.uniform() - 0.6,
    v: 1.2 * patterns.uniform() - 0.6,
    width: 0.25,
    height: TRAP_REGION,
  };
  const dark =
    effects.dark && effects.darkStructure
      ? await map(STREAM.dark, five(DARK_E), { relative: DARK_SCATTER, low: 0.2 * DARK_E })
      : new Float32Array(size).fill(effects.dark ? DARK_E : 0);
  if (effects.dark && effects.darkStructure) {
    await multiplyByPattern(dark, rows, { ...glow, bumps: [GLOW_BUMP] }, threads);
  }
  const response = effects.flat
    ? await map(STREAM.response, five(1), { relative: RESPONSE_SCATTER, low: 0.9, high: 1.1 })
    : new Float32Array(size).fill(1);
  if (effects.flat) await multiplyByPattern(response, rows, large, threads);
  const trap = effects.persistence
    ? await map(STREAM.trap, five(TRAP), { relative: TRAP_SCATTER, low: 0.5 * TRAP })
    : new Float32Array(size);
  if (effects.persistence) {
    await multiplyByPattern(trap, rows, { gradientU: 0, gradientV: 0, bumps: [region] }, threads);
  }
  const bad = new Uint16Array(size);
  const flagged: number[] = [];
  const unstable: UnstablePixel[] = [];
  const telegraph: TelegraphPixel[] = [];

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
    flagged.push(index);
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
    if (!effects.deadPixels) return;
    response[index] = 0;
    mark(index, BAD_DEAD);
  });
  scatter(LOW_RESPONSE_PIXELS, (index, u) => {
    if (!effects.flat || response[index] === 0) return;
    response[index] = 0.05 + 0.45 * u;
    mark(index, BAD_LOW_FLAT);
  });
  scatter(HIGH_RESPONSE_PIXELS, (index, u) => {
    if (!effects.flat || response[index] === 0) return;
    response[index] = 1.3 + 0.5 * u;
    bad[index] = (bad[index] as number) & ~BAD_LOW_FLAT;
    mark(index, BAD_HIGH_FLAT);
  });
  scatter(UNSTABLE_PIXELS, (index, u) => {
    if (!effects.unstablePixels || response[index] === 0) return;
    unstable.push({ index, scatter: 0.05 + 0.05 * u });
    mark(index, BAD_UNSTABLE);
  });
  scatter(TELEGRAPH_PIXELS, (index, u) => {
    const dwell = [3 + 27 * numbers.uniform(), 3 + 27 * numbers.uniform()] as const;
    if (!effects.telegraph || ((bad[index] as number) & BAD_TELEGRAPH) !== 0) return;
    telegraph.push({ index, amplitude: 15 + 45 * u, dwell });
    mark(index, BAD_TELEGRAPH);
  });
  scatter(NEGATIVE_PIXELS, (index, u) => {
    if (!effects.negativeDark) return;
    dark[index] = -(1 + 9 * u);
    bad[index] = (bad[index] as number) & ~BAD_HOT;
    mark(index, BAD_NEGATIVE);
  });
  forReferencePixels(rows, (index, isOutput) => {
    gain[index] = mean;
    c2[index] = 0;
    c3[index] = 0;
    reset[index] = 0;
    dark[index] = 0;
    response[index] = 0;
    trap[index] = 0;
    well[index] = NO_WELL;
    pattern[index] = isOutput ? 0 : ((pattern[index] as number) * BORDER_PEDESTAL_DN) / PEDESTAL_PATTERN_DN;
  });
  return {
    rows,
    gain,
    noise,
    pattern,
    reset,
    c2,
    c3,
    well,
    dark,
    response,
    trap,
    bad,
    flagged,
    unstable,
    telegraph,
  };
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
