/**
 * The mock detector: raw APOGEE exposures with truth beside them. Other rooms import from here and from ./night.ts alone.
 *
 * The same options give the same bytes on every machine, for every CPU target and any number of threads.
 */

import { UsageError } from '../core/errors.js';
import { version } from '../core/version.js';
import { KERNELS } from '../engine/index.js';
import type { Chip, Telescope } from '../instruments/apogee/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { type Chunks, openStore, type ProductRecord, productKey } from '../store/index.js';
import { ALL_EFFECTS, BORDER, type Effects, FULL_ROWS } from './detector.js';
import { type EarlierExposure, type ExposurePlan, MockExposure, type Pointing } from './exposure.js';
import {
  apzChunks,
  CALIBRATION_KINDS,
  calibrationChunks,
  rawChunks,
  spectraTruthChunks,
  truthChunks,
} from './files.js';
import { EXPOSURE_TYPES, type ExposureType, INTERNAL_FLAT } from './scene.js';
import { SPECTRA_TYPES } from './spectra.js';

export {
  ALL_EFFECTS,
  BAD_DEAD,
  BAD_HIGH_FLAT,
  BAD_HOT,
  BAD_LOW_FLAT,
  BAD_LOW_WELL,
  BAD_NEGATIVE,
  BAD_NOISY,
  BAD_TELEGRAPH,
  BAD_UNSTABLE,
  type Effects,
  NO_EFFECTS,
  TRAP_SECONDS,
} from './detector.js';
export {
  type EarlierExposure,
  type ExposurePlan,
  type Jump,
  MockExposure,
  type MockRead,
  type Pointing,
} from './exposure.js';
export { EXPOSURE_TYPES, type ExposureType } from './scene.js';
export {
  type Flexure,
  type MockSpectra,
  type MockSpectraOptions,
  mockSpectra,
  type SceneEffects,
  SPECTRA_TYPES,
  type SpectraTruth,
  type SpectraType,
  type Target,
} from './spectra.js';

export interface SimulateOptions {
  readonly tele: Telescope;
  readonly chip: Chip;
  /** Night, and number of the exposure in it (0 to 9999). */
  readonly mjd: number;
  readonly exposure: number;
  /** What shines on the detector; default 'object'. */
  readonly type?: ExposureType;
  /** What the header says it is; default `type`. Another one is a mislabelled exposure, or one that went wrong. */
  readonly claim?: ExposureType | undefined;
  /** For the header; default: zeros. */
  readonly pointing?: Pointing | undefined;
  /** Only for 'apz': the file ends in the middle of this read (2 to `reads`), as a copy that broke off leaves it. */
  readonly cutAtRead?: number | undefined;
  /** Light of an internal flat where illumination and response are 1 [e-/read]: above 0, up to 5000; default 600. */
  readonly level?: number;
  /** 1 to 1000; default 47. */
  readonly reads?: number;
  /** Rows of the detector, reference border included: 16 to 2048, default 2048. Fewer make a quick strip. */
  readonly rows?: number;
  /** Whole number below 2^53; default 1. */
  readonly seed?: number;
  /** Which detector: exposures with the same one share their calibrations. Default 1. */
  readonly detectorSeed?: number;
  /** Switches that differ from "everything on". */
  readonly effects?: Partial<Effects>;
  /** Every cosmic ray leaves this many electrons in one pixel, for tests of jump detection. Default: a wide distribution. */
  readonly jumpElectrons?: number | undefined;
  /**
   * The exposure before this one, which leaves charge in the traps: see Detector.trap. A chain of exposures names the bright
   * one each time, with the time since its end. This exposure starts `gapSeconds` after that end, and DATE-OBS says so.
   */
  readonly after?: After | undefined;
  /** 'apz': compressed differences, as the archive holds them; 'raw': the reads as they stand. Default 'apz'. */
  readonly format?: 'apz' | 'raw';
  /** Directory for the files. */
  readonly output: string;
  /** Folder in it for the raw file and its truth, such as 'apo/60857'; default: none. */
  readonly folder?: string | undefined;
  /** Also write truth-NAME.fits; default true. 'spectra': only what fibres show, and no file of exposures without any. */
  readonly truth?: boolean | 'spectra';
  /** Also write calib/KIND-TELE-CHIP.fits; default true. */
  readonly calibrations?: boolean;
  readonly threads?: number;
}

/** An exposure that went before. */
export interface After {
  readonly type: ExposureType;
  /** 1 to 1000. */
  readonly reads: number;
  /** As for SimulateOptions. */
  readonly level?: number | undefined;
  /** Its number in the night, which fixes when it began; default the one before. */
  readonly exposure?: number | undefined;
  /** Seconds from its end to the start of this exposure: 0 to 86400, default 10. */
  readonly gapSeconds?: number | undefined;
}

/** Names relative to `output`. */
export interface SimulatedFiles {
  readonly raw: string;
  readonly truth: string | undefined;
  readonly calibrations: readonly string[];
  /** Wall time; 0 where all was there. */
  readonly seconds: number;
}

export interface SimulateResult extends SimulatedFiles {
  readonly rawBytes: number;
  readonly bitsPerPixel: number;
  readonly jumps: number;
}

function wholeNumber(name: string, value: number, low: number, high: number): void {
  if (!Number.isSafeInteger(value) || value < low || value > high) {
    throw new UsageError(`expected ${name} to be a whole number in [${low}, ${high}], received ${value}`);
  }
}

function checkType(name: string, type: ExposureType): void {
  if (!EXPOSURE_TYPES.includes(type)) {
    throw new UsageError(`expected ${name} to be one of ${EXPOSURE_TYPES.join(', ')}, received "${type}"`);
  }
}

function checkPointing(pointing: Pointing | undefined): Pointing {
  if (pointing === undefined) return { design: 0, configuration: 0, field: 0 };
  for (const [name, value] of Object.entries(pointing)) wholeNumber(`the ${name}`, value, 0, 999_999_999);
  return pointing;
}

/** The light of an internal flat [e-/read]; no other type has one. */
function checkLevel(type: ExposureType, level: number | undefined): number {
  if (level === undefined) return INTERNAL_FLAT;
  if (type !== 'internalflat')
    throw new UsageError(`expected a level for an internalflat alone, received it for a ${type}`);
  if (!(level > 0 && level <= 5000)) {
    throw new UsageError(`expected the level to be above 0 and at most 5000 electrons a read, received ${level}`);
  }
  return level;
}

function planAfter(after: After | undefined, exposure: number): EarlierExposure | undefined {
  if (after === undefined) return undefined;
  const { type, reads, gapSeconds = 10, exposure: number = exposure - 1 } = after;
  checkType('the type of the exposure before', type);
  wholeNumber('the reads of the exposure before', reads, 1, 1000);
  wholeNumber('the number of the exposure before', number, 0, 9999);
  if (!(gapSeconds >= 0 && gapSeconds <= 86_400)) {
    throw new UsageError(`expected the gap to be 0 to 86400 seconds, received ${gapSeconds}`);
  }
  return { type, reads, level: checkLevel(type, after.level), exposure: number, gapSeconds };
}

/**
 * Options with their defaults, checked.
 * @throws UsageError naming the option
 */
export function planExposure(options: Omit<SimulateOptions, 'output'>): ExposurePlan {
  const { tele, chip, mjd, exposure } = options;
  const { type = 'object', reads = 47, rows = FULL_ROWS, seed = 1, detectorSeed = 1, threads = 1 } = options;
  if (!['apo', 'lco'].includes(tele))
    throw new UsageError(`expected the telescope to be apo or lco, received "${tele}"`);
  if (!['a', 'b', 'c'].includes(chip)) throw new UsageError(`expected the chip to be a, b or c, received "${chip}"`);
  checkType('the type', type);
  const { claim = type } = options;
  checkType('the type in the header', claim);
  const level = checkLevel(type, options.level);
  // The eight digits of a file name begin at MJD 55562 and end 9999 nights later.
  wholeNumber('the MJD', mjd, 55562, 65561);
  wholeNumber('the exposure', exposure, 0, 9999);
  wholeNumber('reads', reads, 1, 1000);
  wholeNumber('rows', rows, 4 * BORDER, FULL_ROWS);
  wholeNumber('the seed', seed, 0, Number.MAX_SAFE_INTEGER);
  wholeNumber('the detector seed', detectorSeed, 0, Number.MAX_SAFE_INTEGER);
  const after = planAfter(options.after, exposure);
  const pointing = checkPointing(options.pointing);
  const { cutAtRead } = options;
  if (cutAtRead !== undefined) wholeNumber('the read at which the file ends', cutAtRead, 2, reads);
  const { jumpElectrons } = options;
  if (jumpElectrons !== undefined) wholeNumber('the electrons of a jump', jumpElectrons, 1, 1_000_000);
  wholeNumber('threads', threads, 1, 1024);
  const effects = { ...ALL_EFFECTS, ...options.effects };
  for (const [name, value] of Object.entries(effects)) {
    if (!(name in ALL_EFFECTS)) {
      throw new UsageError(`no effect "${name}"; there are ${Object.keys(ALL_EFFECTS).join(', ')}`);
    }
    const isRate = name === 'cosmicRays' && typeof value === 'number' && value >= 0 && value <= 1e5;
    if (typeof value !== 'boolean' && !isRate)
      throw new UsageError(`effect ${name}: expected true or false, received ${value}`);
  }
  return {
    tele,
    chip,
    mjd,
    exposure,
    type,
    claim,
    pointing,
    level,
    reads,
    rows,
    seed,
    detectorSeed,
    effects,
    threads,
    jumpElectrons,
    after,
    cutAtRead,
  };
}

const hasSpectra = ({ type, effects }: ExposurePlan): boolean =>
  effects.scene && SPECTRA_TYPES.some((one) => one === type);

/** What an exposure becomes on disk: each file's name, its record, and how its bytes are made. */
interface MockFile {
  readonly name: string;
  readonly record: ProductRecord;
  readonly chunks: (exposure: MockExposure) => Chunks;
}

interface MockFiles {
  readonly raw: MockFile;
  readonly truth: MockFile | undefined;
  readonly calibrations: readonly MockFile[];
}

function filesOf(plan: ExposurePlan, options: SimulateOptions): MockFiles {
  const { format = 'apz', folder, truth = true, calibrations = true } = options;
  if (format !== 'apz' && format !== 'raw')
    throw new UsageError(`expected the format to be apz or raw, received "${format}"`);
  if (format === 'raw' && plan.cutAtRead !== undefined)
    throw new UsageError('expected the format apz for a file that is cut');
  const raw = apogee.rawName(plan, format === 'apz' ? 'apz' : 'fits');
  const within = (name: string): string => (folder === undefined ? name : `${folder}/${name}`);
  const record = recordOf(plan, format);
  const truthOf = (what: true | 'spectra'): MockFile => ({
    name: within(`truth-${raw.replace(/\.[a-z]+$/, '')}.fits`),
    record: { ...record, schema: what === true ? 'rampline-truth/2' : 'rampline-spectra-truth/1' },
    chunks: what === true ? truthChunks : spectraTruthChunks,
  });
  return {
    raw: { name: within(raw), record, chunks: format === 'apz' ? apzChunks : rawChunks },
    truth: truth !== false && (truth === true || hasSpectra(plan)) ? truthOf(truth) : undefined,
    calibrations: calibrations
      ? CALIBRATION_KINDS.map((kind) => ({
          name: `calib/${kind}-${plan.tele}-${plan.chip}.fits`,
          record: calibrationRecord(plan),
          chunks: (exposure) => calibrationChunks(exposure, kind),
        }))
      : [],
  };
}

/**
 * Simulates one exposure of one chip and writes it through the store.
 * @throws UsageError for an option, StorageError when the disk fails
 */
export async function simulateExposure(options: SimulateOptions): Promise<SimulateResult> {
  const began = performance.now();
  const plan = planExposure(options);
  const files = filesOf(plan, options);
  const store = await openStore(options.output);
  const exposure = await MockExposure.make(plan);
  const write = ({ name, record, chunks }: MockFile) => store.writeProduct(name, chunks(exposure), record);
  const entry = await write(files.raw);
  if (files.truth !== undefined) await write(files.truth);
  for (const file of files.calibrations) await write(file);
  return {
    ...namesOf(files),
    rawBytes: entry.bytes,
    bitsPerPixel: (entry.bytes * 8) / (plan.reads * plan.rows * apogee.geometry.readCols),
    jumps: exposure.jumps.length,
    seconds: (performance.now() - began) / 1000,
  };
}

/**
 * `simulateExposure`, unless the manifests say that all its files are there.
 * @throws UsageError for an option, StorageError when the disk fails
 */
export async function simulateIfMissing(options: SimulateOptions): Promise<SimulatedFiles> {
  const files = filesOf(planExposure(options), options);
  const store = await openStore(options.output);
  const all = [files.raw, ...(files.truth === undefined ? [] : [files.truth]), ...files.calibrations];
  const done = await Promise.all(all.map(({ name, record }) => store.isDone(name, productKey(record))));
  if (done.every((one) => one)) return { ...namesOf(files), seconds: 0 };
  const { raw, truth, calibrations, seconds } = await simulateExposure(options);
  return { raw, truth, calibrations, seconds };
}

const namesOf = ({ raw, truth, calibrations }: MockFiles) => ({
  raw: raw.name,
  truth: truth?.name,
  calibrations: calibrations.map(({ name }) => name),
});

function recordOf(plan: ExposurePlan, format: string): ProductRecord {
  const { threads: _threads, effects, ...rest } = plan;
  return {
    schema: `rampline-mock-${format}/1`,
    software: 'rampline simulate',
    inputs: [],
    calibrations: [],
    // Through JSON: options that were not given leave no trace.
    parameters: JSON.parse(JSON.stringify({ ...rest, effects })),
    kernels: simulatorKernels(),
  };
}

/** Of what follows from the detector alone: whichever exposure it was made with, it is the same. */
function calibrationRecord({ tele, chip, rows, detectorSeed, effects }: ExposurePlan): ProductRecord {
  return {
    schema: 'rampline-calibration/1',
    software: `rampline ${version()}`,
    inputs: [],
    calibrations: [],
    parameters: { tele, chip, rows, detectorSeed, effects: { ...effects } },
    kernels: simulatorKernels(),
  };
}

const simulatorKernels = (): Readonly<Record<string, string>> =>
  Object.fromEntries(KERNELS.filter((k) => k.stage === 'simulate').map((k) => [k.name, k.hash]));
