/**
 * Calibrated images of known spectra, without raw reads: what a stage of spectra gets, in a fraction of a second, and the truth.
 * The scene is the simulator's own (scene.ts), so a reduction of raw files meets the same light.
 */
import { UsageError } from '../core/errors.js';
import { DQ } from '../core/generated/dq.js';
import type { FibreState, Profile } from '../core/spectra.js';
import { runKernel } from '../engine/index.js';
import { ALL_EFFECTS, BORDER, FULL_ROWS, GAINS, READ_NOISE, STREAM } from './detector.js';
import { CHIP_NUMBER, type Chip, TELE_NUMBER, type Telescope } from './figures.js';
import { deriveSeed, Sequence, seedParams } from './math.js';
import { paintScattered, paintScene } from './paint.js';
import { EXPOSURE_TYPES, type ExposureType, makeScene, type SceneEffects, type Target } from './scene.js';
import { COLUMNS, FIBRES, type Flexure, profileOf } from './traces.js';

export type { SceneEffects, Target } from './scene.js';
export type { Flexure } from './traces.js';

/** What fibres show; flats of the detector itself and darks have no spectra. */
export type SpectraType = Exclude<ExposureType, 'dark' | 'internalflat' | 'gradient'>;
export const SPECTRA_TYPES = EXPOSURE_TYPES.filter(
  (type): type is SpectraType => type !== 'dark' && type !== 'internalflat' && type !== 'gradient',
);

export interface MockSpectraOptions {
  readonly tele: Telescope;
  readonly chip: Chip;
  readonly type: SpectraType;
  /** Night and number in it: they decide noise, targets and flexure. Default 60857 and 1. */
  readonly mjd?: number | undefined;
  readonly exposure?: number | undefined;
  /** 16 to 2048, reference border included; default 2048. */
  readonly rows?: number | undefined;
  readonly seed?: number | undefined;
  /** Which instrument: throughputs, broken fibres, profiles, pattern of the scattered light. Default 1. */
  readonly detectorSeed?: number | undefined;
  /** Length of the exposure, 2 to 1000 reads; default 47. */
  readonly reads?: number | undefined;
  /** [e-/DN] of the whole chip; default: the mean of its amplifiers. */
  readonly gain?: number | undefined;
  /** Of a single read [DN]; default: the chip's. */
  readonly readNoise?: number | undefined;
  /** Factor of all light: 0.03 is a faint lamp, 0 none. Default 1. */
  readonly brightness?: number | undefined;
  /** Light of each fibre instead of the type's [e-/read], before throughput and brightness; scattered light follows it. */
  readonly light?: ((fibre: number, x: number) => number) | undefined;
  /** Moves all traces [px], besides the flexure. Default 0. */
  readonly shift?: number | undefined;
  /** Fibres (index, from the bottom) without light, besides the broken ones. */
  readonly dead?: readonly number[] | undefined;
  /** The bright fibre of each pair of neighbours in an object, instead of three that are drawn; the faint one is the next. */
  readonly pairs?: readonly number[] | undefined;
  /** Effects that differ from "everything on". */
  readonly effects?: Partial<SceneEffects> | undefined;
  /** Default true: photon and read noise. */
  readonly noise?: boolean | undefined;
  /** The inverse variance follows the noisy pixel, as in a real reduction, and not the exact one. Default false. */
  readonly measuredVariance?: boolean | undefined;
  /** Part of the pixels that are bad: they have a bit in `dq` and any value. Default 0.005, as in the mock detector. */
  readonly badPixels?: number | undefined;
  /** Columns of which every pixel is bad, marked in `dq`. Default none. */
  readonly badColumns?: readonly number[] | undefined;
  /** Cosmic rays that the ramp did not see, nor `dq`: 500 / u electrons in a pixel. Default 0. */
  readonly cosmicRays?: number | undefined;
  readonly threads?: number | undefined;
}

/** Fibre index 0 is the lowest; arrays of fibres are [300][2048], images [rows][2048]. */
export interface SpectraTruth {
  /** Electrons of a fibre in a column, in one read, and the same in DN/read. All of the profile, on the chip or not. */
  readonly electrons: Float32Array;
  readonly flux: Float32Array;
  /** Row of the centroid (see src/core/spectra.ts), and the factor of the profile. */
  readonly centre: Float32Array;
  readonly width: Float32Array;
  readonly profile: Profile;
  /** Scattered light [DN/read]. */
  readonly background: Float32Array;
  /** All light without noise and without bad pixels [DN/read]. */
  readonly exact: Float32Array;
  /** Part of the light that each fibre shows. */
  readonly throughput: Float32Array;
  readonly states: readonly FibreState[];
  readonly targets: readonly Target[];
  readonly flexure: Flexure;
  /** Places of cosmic rays, and what they added [DN/read]. */
  readonly cosmicRays: readonly { readonly row: number; readonly x: number; readonly amount: number }[];
}

export interface MockSpectra {
  readonly rows: number;
  readonly cols: number;
  readonly fibres: number;
  /** [e-/DN] */
  readonly gain: number;
  readonly reads: number;
  /** [rows][2048] DN/read; NaN on the reference border. */
  readonly image: Float32Array;
  /** [rows][2048] 0 on the border; bad pixels have that of a good one, so that only `dq` tells. */
  readonly ivar: Float32Array;
  readonly dq: Uint32Array;
  readonly truth: SpectraTruth;
}

function within(name: string, value: number, low: number, high: number, whole: boolean): void {
  if (!(value >= low && value <= high) || (whole && !Number.isSafeInteger(value))) {
    throw new UsageError(
      `expected ${name} to be ${whole ? 'a whole number ' : ''}in [${low}, ${high}], received ${value}`,
    );
  }
}

function checked(options: MockSpectraOptions) {
  const { tele, chip, type } = options;
  if (!(tele in GAINS && chip in GAINS.apo)) {
    throw new UsageError(`expected telescope apo or lco and chip a, b or c, received ${tele} ${chip}`);
  }
  if (!SPECTRA_TYPES.includes(type)) {
    throw new UsageError(`expected the type to be one of ${SPECTRA_TYPES.join(', ')}, received "${type}"`);
  }
  const { rows = FULL_ROWS, reads = 47, mjd = 60_857, exposure = 1, seed = 1, detectorSeed = 1 } = options;
  const { badPixels = 0.005, badColumns = [], cosmicRays = 0, dead = [], pairs, brightness = 1, shift = 0 } = options;
  const { gain = GAINS[tele][chip].reduce((sum, value) => sum + value, 0) / GAINS[tele][chip].length } = options;
  const { readNoise = READ_NOISE[tele][chip] } = options;
  within('rows', rows, 4 * BORDER, FULL_ROWS, true);
  within('reads', reads, 2, 1000, true);
  within('the exposure', exposure, 0, 9999, true);
  within('the bad pixels', badPixels, 0, 0.5, false);
  within('the cosmic rays', cosmicRays, 0, 100_000, true);
  within('the brightness', brightness, 0, 1000, false);
  within('the shift', shift, -100, 100, false);
  within('the gain', gain, 0.01, 1000, false);
  within('the read noise', readNoise, 1e-3, 1e4, false);
  for (const x of badColumns) within('a bad column', x, 0, COLUMNS - 1, true);
  for (const fibre of dead) within('a dead fibre', fibre, 0, FIBRES - 1, true);
  for (const fibre of pairs ?? []) within('the bright fibre of a pair', fibre, 0, FIBRES - 2, true);
  const effects = { ...ALL_EFFECTS, ...options.effects };
  const scene = { tele, chip, type, mjd, exposure, rows, seed, detectorSeed, effects, brightness, shift, dead, pairs };
  return {
    ...scene,
    scene: { ...scene, light: options.light },
    reads,
    gain,
    readNoise,
    badPixels,
    badColumns,
    cosmicRays,
  };
}

/**
 * A calibrated image of one chip with the spectra of 300 fibres, its inverse variance and data-quality bits, and the truth.
 * The same options give the same bytes on every machine and for any number of threads. In strips (`rows` below 2048) the fibres
 * beyond are 'off-chip'.
 * @throws UsageError naming the option
 */
export async function mockSpectra(options: MockSpectraOptions): Promise<MockSpectra> {
  const plan = checked(options);
  const { tele, chip, rows, reads, gain, readNoise } = plan;
  const { threads = 1, noise = true, measuredVariance = false } = options;
  const scene = makeScene(plan.scene);
  const detectorSeed = deriveSeed(1, plan.detectorSeed, TELE_NUMBER[tele], CHIP_NUMBER[chip]);
  const sheet = { rows, stride: COLUMNS, threads };
  const size = rows * COLUMNS;
  const light = new Float32Array(size);
  await paintScene(scene, light, detectorSeed, sheet);
  const [image, ivar, exact] = [new Float32Array(size), new Float32Array(size), new Float32Array(size)];
  const map = (data: Float32Array) => ({ data, rows, cols: COLUMNS });
  const seed = deriveSeed(2, plan.seed, TELE_NUMBER[tele], CHIP_NUMBER[chip], plan.mjd, plan.exposure);
  const params = {
    ...seedParams(seed),
    stream: STREAM.spectraNoise,
    gain,
    differences: reads - 1,
    // Of the slope of a ramp without light.
    readVariance: (12 * readNoise ** 2) / (reads * (reads ** 2 - 1)),
    noise,
    measured: measuredVariance,
  };
  await runKernel('mock-rates', { light: map(light), exact: map(exact), rate: map(image), ivar: map(ivar) }, params, {
    threads,
  });
  const dq = new Uint32Array(size);
  const cosmicRays = damage(plan, new Sequence(seed, STREAM.spectraPixels), image, dq);
  cutBorder(image, ivar, dq, rows);
  await paintScattered(scene, light, detectorSeed, sheet);
  const [background, flux] = [new Float32Array(size), new Float32Array(FIBRES * COLUMNS)];
  await divide(light, background, rows, gain, threads);
  await divide(scene.flux, flux, FIBRES, gain, threads);
  const { flux: electrons, centre, width, throughput, states, targets, flexure } = scene;
  const profile = profileOf(scene.tables);
  const traces = { electrons, flux, centre, width, profile, throughput, states, targets, flexure };
  const truth = { ...traces, background, exact, cosmicRays };
  return { rows, cols: COLUMNS, fibres: FIBRES, gain, reads, image, ivar, dq, truth };
}

/** Electrons to DN: mock-rates without noise. */
async function divide(
  from: Float32Array,
  to: Float32Array,
  rows: number,
  gain: number,
  threads: number,
): Promise<void> {
  const [rate, ivar] = [new Float32Array(to.length), new Float32Array(to.length)];
  const map = (data: Float32Array) => ({ data, rows, cols: COLUMNS });
  await runKernel(
    'mock-rates',
    { light: map(from), exact: map(to), rate: map(rate), ivar: map(ivar) },
    { gain, noise: false },
    { threads },
  );
}

/** Bad pixels, bad columns and cosmic rays; gives back the places of the last. */
function damage(plan: ReturnType<typeof checked>, numbers: Sequence, image: Float32Array, dq: Uint32Array) {
  const { rows, reads, gain } = plan;
  const spoil = (i: number): void => {
    // A hot pixel's rate, of any size.
    image[i] = (image[i] as number) + 5 / numbers.uniform();
    dq[i] = (dq[i] as number) | DQ.HOT;
  };
  for (let n = Math.round(plan.badPixels * rows * COLUMNS); n > 0; n--) spoil(numbers.below(rows * COLUMNS));
  for (const x of plan.badColumns) for (let row = 0; row < rows; row++) spoil(row * COLUMNS + x);
  return Array.from({ length: plan.cosmicRays }, () => {
    const row = BORDER + numbers.below(rows - 2 * BORDER);
    const x = BORDER + numbers.below(COLUMNS - 2 * BORDER);
    const amount = Math.min(500 / numbers.uniform(), 100_000) / (gain * reads);
    image[row * COLUMNS + x] = (image[row * COLUMNS + x] as number) + amount;
    return { row, x, amount };
  });
}

/** The reference border sees no light. */
function cutBorder(image: Float32Array, ivar: Float32Array, dq: Uint32Array, rows: number): void {
  const cut = (from: number, to: number): void => {
    image.fill(Number.NaN, from, to);
    ivar.fill(0, from, to);
    dq.fill(DQ.REFERENCE_PIXEL, from, to);
  };
  cut(0, BORDER * COLUMNS);
  cut((rows - BORDER) * COLUMNS, rows * COLUMNS);
  for (let row = BORDER; row < rows - BORDER; row++) {
    cut(row * COLUMNS, row * COLUMNS + BORDER);
    cut((row + 1) * COLUMNS - BORDER, (row + 1) * COLUMNS);
  }
}
