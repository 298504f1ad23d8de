/** What a person does with a registry of calibrations: add, list, explain, pin, reindex. */
import { existsSync } from 'node:fs';
import { basename, dirname, extname } from 'node:path';
import { checkCalibrations, type Finding } from '../calib/check.js';
import type { CalibrationRecord } from '../calib/product.js';
import { openRegistry, type Registry, resolveCalibrations, type Survey, type Unusable } from '../calib/registry.js';
import type { Explanation, Frame, Pin, PinnedCalibration } from '../calib/select.js';
import { type Lane, timelineOf, timelineSvg } from '../calib/timeline.js';
import { CalibrationError, InputError, UsageError } from '../core/errors.js';
import type { CalibrationRule, Instrument } from '../core/product.js';
import type { FitsLimits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { openStore } from '../store/index.js';
import { refuseCopiedFile } from './copies.js';
import { type Failure, toFailure } from './failure.js';
import { frameOf } from './frame.js';
import { selectRawFiles } from './select.js';

export interface RegistryPlace {
  readonly directory: string;
  /** postgres:// URL; default: what the directory itself says. */
  readonly url?: string | undefined;
  /** Whose rules choose; default APOGEE. */
  readonly instrument?: Instrument | undefined;
}

async function using<T>(place: RegistryPlace, create: boolean, work: (registry: Registry) => Promise<T>): Promise<T> {
  const registry = await openRegistry(place.directory, { url: place.url, create });
  try {
    return await work(registry);
  } finally {
    await registry.close();
  }
}

export interface AddOutcome {
  readonly file: string;
  readonly status: 'added' | 'present' | 'failed';
  readonly record?: CalibrationRecord;
  readonly failure?: Failure;
}

/**
 * Registers files; one that is refused does not stop the others. Makes the database where there is none. A gain or read-noise
 * map that is another detector's is refused.
 */
export function addCalibrations(files: readonly string[], place: RegistryPlace): Promise<AddOutcome[]> {
  return using(place, true, async (registry) => {
    const outcomes: AddOutcome[] = [];
    for (const file of files) {
      try {
        await refuseCopiedFile(file, [place.directory]);
        outcomes.push({ file, ...(await registry.add(file)) });
      } catch (error) {
        outcomes.push({ file, status: 'failed', failure: toFailure(error) });
      }
    }
    return outcomes;
  });
}

export interface Listing extends Survey {
  readonly backend: Registry['backend'];
  readonly pins: readonly Pin[];
}

export function listCalibrations(place: RegistryPlace): Promise<Listing> {
  return using(place, false, async (registry) => ({
    backend: registry.backend,
    ...(await registry.survey()),
    pins: await registry.pins(),
  }));
}

/** The frames of raw files: words as `ramp` takes them. */
export function framesOf(
  words: readonly string[],
  instrument: Instrument,
  limits: Partial<FitsLimits> = {},
): { name: string; frame: Frame }[] {
  return selectRawFiles(words, instrument).map(({ path }) => ({
    name: basename(path),
    frame: frameOf(path, instrument, limits),
  }));
}

const STAGES: readonly CalibrationRule['usedBy'][] = ['ramp', 'calibrate'];

/** What selection says of each frame; what is missing is said too, and no error. */
export function explainFrames(
  frames: readonly Frame[],
  place: RegistryPlace,
  options: { readonly stages?: readonly CalibrationRule['usedBy'][]; readonly pin?: string | undefined } = {},
): Promise<Explanation[]> {
  const { stages = STAGES, pin } = options;
  const { instrument = apogee } = place;
  return using(place, false, async (registry) => {
    const explanations: Explanation[] = [];
    for (const frame of frames) {
      const { explanation } = await resolveCalibrations(registry, instrument, frame, stages, {
        pin,
        allowMissing: true,
      });
      explanations.push(explanation);
    }
    return explanations;
  });
}

export interface Detector {
  readonly tele: string;
  readonly chip: string;
}

/** The detectors of an instrument that have calibrations, of those that are wanted. */
export function detectorsOf(
  records: readonly CalibrationRecord[],
  instrument: Pick<Instrument, 'name'>,
  wanted: { readonly tele?: string | undefined; readonly chip?: string | undefined },
): Detector[] {
  const found = new Map<string, Detector>();
  for (const { tele, chip, instrument: of } of records) {
    if (of !== '' && of !== instrument.name) continue;
    if ((wanted.tele ?? tele) === tele && (wanted.chip ?? chip) === chip) found.set(`${tele} ${chip}`, { tele, chip });
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, detector]) => detector);
}

export interface PinRequest {
  readonly name: string;
  readonly mjd: number;
  readonly tele?: string | undefined;
  readonly chip?: string | undefined;
}

export interface PinOutcome {
  readonly status: 'added' | 'present';
  readonly pin: Pin;
  /** What a reduction with the pin will not have. */
  readonly missing: readonly string[];
}

/**
 * Freezes what would be chosen at one time, for each detector that has calibrations.
 * @throws CalibrationError when nothing is chosen, or when the name holds another set; UsageError for the name
 */
export function pinCalibrations(request: PinRequest, place: RegistryPlace): Promise<PinOutcome> {
  const { name, mjd } = request;
  const { instrument = apogee } = place;
  return using(place, false, async (registry) => {
    const entries: PinnedCalibration[] = [];
    const missing: string[] = [];
    const { records } = await registry.survey();
    for (const { tele, chip } of detectorsOf(records, instrument, request)) {
      const { explanation, files } = await resolveCalibrations(registry, instrument, { tele, chip, mjd }, STAGES, {
        allowMissing: true,
      });
      for (const [kind, chosen] of files) {
        for (const { sha256, weight } of chosen) entries.push({ kind, tele, chip, sha256, weight });
      }
      missing.push(...explanation.missing.map((kind) => `${kind} ${tele} ${chip}`));
    }
    if (entries.length === 0) {
      throw new CalibrationError(`there is nothing to pin at MJD ${mjd}: no calibration would be chosen`, {
        file: place.directory,
      });
    }
    const pin = { name, mjd, entries };
    return { status: await registry.pin(pin), pin, missing };
  });
}

/**
 * Makes the database of a directory agree with its files; makes registry.sqlite where there is no database.
 * @throws InputError when there is no such directory
 */
export async function reindexCalibrations(
  place: RegistryPlace,
): Promise<{ readonly added: string[]; readonly removed: string[]; readonly unusable: readonly Unusable[] }> {
  // A mistyped name must not become a directory.
  if (!existsSync(place.directory)) {
    throw new InputError('no such directory of calibrations', { file: place.directory });
  }
  return using(place, true, (registry) => registry.reindex());
}

export interface CheckRequest {
  readonly mjd: number;
  /** Windows that end within so many days are told. */
  readonly withinDays: number;
  readonly tele?: string | undefined;
  readonly chip?: string | undefined;
}

export interface CheckReport {
  readonly mjd: number;
  readonly detectors: readonly Detector[];
  readonly findings: readonly Finding[];
  readonly unusable: readonly Unusable[];
}

/**
 * Whether a time is served, for each detector that has calibrations or for the one that is named.
 * @throws CalibrationError when there is no calibration at all
 */
export function checkRegistry(request: CheckRequest, place: RegistryPlace): Promise<CheckReport> {
  const { mjd, withinDays, tele, chip } = request;
  const { instrument = apogee } = place;
  return using(place, false, async (registry) => {
    const { records, unusable } = await registry.survey();
    const named = tele !== undefined && chip !== undefined;
    const detectors = named ? [{ tele, chip }] : detectorsOf(records, instrument, request);
    if (detectors.length === 0) {
      throw new CalibrationError('there is no calibration of such a detector', { file: place.directory });
    }
    const frames = detectors.map((detector) => ({ instrument: instrument.name, ...detector, mjd }));
    const findings = checkCalibrations(instrument.calibrationRules, records, frames, withinDays);
    return { mjd, detectors, findings, unusable };
  });
}

export interface TimelineReport {
  readonly mjd: number;
  readonly lanes: readonly Lane[];
  /** The file that was written. */
  readonly picture?: string;
}

/**
 * Windows, overlaps and gaps.
 * @param picture name of the SVG to write; undefined for none
 * @throws UsageError for another kind of picture
 */
export async function drawTimeline(mjd: number, place: RegistryPlace, picture?: string): Promise<TimelineReport> {
  if (picture !== undefined && extname(picture).toLowerCase() !== '.svg') {
    throw new UsageError(`expected the picture's name to end in .svg, received "${picture}"`);
  }
  return using(place, false, async (registry) => {
    const lanes = timelineOf((await registry.survey()).records, mjd);
    if (picture === undefined) return { mjd, lanes };
    const store = await openStore(dirname(picture));
    await store.writeFile(basename(picture), timelineSvg(lanes, mjd, `Calibrations of ${place.directory}`));
    return { mjd, lanes, picture };
  });
}

/** A frame that is given by words instead of a file. */
export function frameFromWords(tele: string | undefined, chip: string | undefined, mjd: number | undefined): Frame {
  if (tele === undefined || chip === undefined || mjd === undefined) {
    throw new UsageError('expected raw files, or --tele, --chip and --at');
  }
  return { tele, chip, mjd };
}
