/**
 * What a job would write, before it reads any pixel: names of products and records of their manifests, from which their keys
 * follow. The plan asks this to tell what is done; the task that does the job makes the same records from the same parts.
 */
import { createHash } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { type FibreMap, fibreKey, readFibreMap } from '../almanac/index.js';
import type { ChosenFile } from '../calib/load.js';
import type { OnlyThese, ResolveOptions } from '../calib/registry.js';
import { BugError } from '../core/errors.js';
import type { Exposure, ExposureFacts, FibreTarget } from '../core/exposure.js';
import type { Identity, Instrument, ProvenanceEntry } from '../core/product.js';
import { version } from '../core/version.js';
import { kernelNamed } from '../engine/index.js';
import { openFits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import type { JsonValue, ProductRecord, Source } from '../store/index.js';
import { type BuildRequest, buildRecipe, type Hasher } from './calib.js';
import { chooseCalibrations } from './choose.js';
import { frameOf } from './frame.js';
import { exposureText } from './graph.js';
import type { Outcome, Task } from './job.js';
import { nightRampTask, OF_THE_NIGHT, rampRecipe } from './ramp.js';
import { calibrationsOf, type NightStage, ownCalibrations } from './stages.js';

/** What of a task decides what it writes. */
export type Asked = Pick<Task, 'job' | 'output' | 'options' | 'inputs'>;

/** A night is APOGEE's: no other instrument reads up the ramp. */
export const NIGHT_INSTRUMENT: Instrument = apogee;

/**
 * Of the night's own calibrations those that the task was given, and no other that lies beside them: what an earlier run
 * built of other exposures is no candidate.
 */
export function builtFor({ inputs, output }: Asked): OnlyThese {
  const files = inputs.filter(({ role }) => role === 'calibration').map(({ path }) => basename(path));
  return { directory: ownCalibrations(output), files };
}

/** What the job reads, without the calibrations that are candidates only. */
export const readBy = ({ inputs }: Asked): Asked['inputs'] => inputs.filter(({ role }) => role !== 'calibration');

/** Directories of calibrations that the job asks; the night's own is not there before anything is built. */
export function directoriesFor(stage: NightStage, { options, output }: Asked): readonly string[] {
  const own = ownCalibrations(output);
  return calibrationsOf(stage, options, output).filter((directory) => directory !== own || existsSync(own));
}

/** What the reduction of the job's raw file is told. */
export function rampTaskOf(stage: NightStage, task: Asked): ReturnType<typeof nightRampTask> {
  const [raw] = readBy(task);
  const [product] = task.job.products;
  const { execution } = stage;
  if (raw === undefined || product === undefined || execution.by !== 'ramp') {
    throw new BugError(`${task.job.id} has no raw file or no product`);
  }
  return nightRampTask(
    { path: raw.path, identity: raw.identity as Identity },
    task.output,
    product,
    execution.calibrate,
    task.options,
    { calib: directoriesFor(stage, task), only: builtFor(task) },
  );
}

/** What the builder of the job's calibrations is asked. */
export function buildRequestOf(stage: NightStage, word: string, task: Asked): BuildRequest {
  const { output, options } = task;
  const known = new Set([word, ...stage.kernels]);
  return {
    word,
    instrument: NIGHT_INSTRUMENT,
    files: readBy(task).map(({ path }) => path),
    output: ownCalibrations(output),
    calib: directoriesFor(stage, task),
    only: builtFor(task),
    params: Object.fromEntries(Object.entries(options.params).filter(([name]) => known.has(name))),
  };
}

/** Calibrations for a stage of later products: for each chip that it reads, as of the begin of the exposure. */
export async function chosenFor(
  stage: NightStage,
  task: Asked,
  options: Pick<ResolveOptions, 'surveys'> = {},
): Promise<{ readonly files: ChosenFile[]; readonly entries: ProvenanceEntry[] }> {
  const files = new Map<string, ChosenFile>();
  const entries: ProvenanceEntry[] = [];
  if (stage.calibrations !== undefined) {
    const { identity, exposures } = task.job;
    const [first] = exposures;
    const chips =
      identity.chip === undefined
        ? [...new Set(readBy(task).flatMap((one) => one.identity.chip ?? []))].sort()
        : [identity.chip];
    for (const chip of chips) {
      const serial = first?.frames.find((frame) => frame.chip === chip)?.serial;
      const frame = {
        instrument: NIGHT_INSTRUMENT.name,
        tele: identity.tele,
        chip,
        mjd: first?.start ?? identity.mjd,
        ...(serial && { serial }),
      };
      const choice = await chooseCalibrations(
        directoriesFor(stage, task),
        NIGHT_INSTRUMENT,
        frame,
        stage.calibrations,
        { ...options, pin: task.options.pin, only: builtFor(task) },
      );
      for (const file of choice.files) files.set(`${file.kind} ${file.path}`, file);
      entries.push(...choice.entries);
    }
  }
  return { files: [...files.values()], entries };
}

/** Parameters of a stage: its defaults, and what the night says under its name. */
export function parametersOf(stage: NightStage, { options }: Asked): Record<string, number | string | boolean> {
  return { ...stage.parameters, ...(options.params[stage.name] as Record<string, number | string | boolean>) };
}

/** What a stage is told of the exposures of its job. */
export function factsOf(exposures: readonly Exposure[]): ExposureFacts[] {
  return exposures.map(({ frames: _f, comment: _c, sequence: _s, afterDark: _a, drop: _d, ...facts }) => facts);
}

/** The same as parameters, by number. */
function factParameters(exposures: readonly ExposureFacts[]): Record<string, JsonValue> {
  return Object.fromEntries(
    exposures.map(({ tele: _t, mjd: _m, exposure, ...facts }) => [
      exposureText(exposure),
      // Without the members that are undefined.
      JSON.parse(JSON.stringify(facts)) as JsonValue,
    ]),
  );
}

/** Fibre maps that were read, by file as it stood and configuration: a night asks for the same one of every chip. */
const fibreMaps = new Map<string, Promise<FibreMap | undefined>>();
const FIBRE_MAPS_KEPT = 8;

/**
 * What the fibres of an exposure look at.
 * @returns undefined for what is no object, and where the file has no map of its configuration
 * @throws InputError for a file that cannot be read
 */
export async function fibreTargets(
  path: string,
  exposure: ExposureFacts | undefined,
): Promise<FibreTarget[] | undefined> {
  if (exposure === undefined || exposure.kind !== 'object') return undefined;
  const { tele, mjd } = exposure;
  const key = fibreKey(exposure);
  const { size = 0, mtimeMs = 0 } = statSync(path, { throwIfNoEntry: false }) ?? {};
  const name = [path, size, mtimeMs, tele, mjd, key].join(' ');
  const known = fibreMaps.get(name) ?? readFibreMap(path, { key, tele, mjd });
  if (fibreMaps.size >= FIBRE_MAPS_KEPT) fibreMaps.clear();
  fibreMaps.set(name, known);
  const map = await known;
  // Robots have fibres of two spectrographs.
  return map?.fibres
    .filter(({ fiberType }) => fiberType === '' || fiberType.toUpperCase() === NIGHT_INSTRUMENT.name.toUpperCase())
    .map(({ fiberId, role, target, ra, dec }) => ({ fibre: fiberId, role, target, ra, dec }));
}

/** The same for a job whose stage asks. */
export async function targetsFor(stage: NightStage, { job, options }: Asked): Promise<FibreTarget[] | undefined> {
  if (stage.fibreMap !== true || options.fibers === undefined) return undefined;
  return fibreTargets(options.fibers, factsOf(job.exposures)[0]);
}

/** The manifest's record of a later product: what decides its bytes. */
export function bodyRecord(
  stage: Pick<NightStage, 'schema' | 'kernels'>,
  parameters: Readonly<Record<string, JsonValue>>,
  exposures: readonly ExposureFacts[],
  inputs: readonly Source[],
  entries: readonly ProvenanceEntry[],
  fibres?: readonly FibreTarget[],
): ProductRecord {
  return {
    schema: stage.schema,
    software: `rampline ${version()}`,
    inputs,
    calibrations: entries.filter((entry): entry is Source => entry.sha256 !== '' && entry.used !== false),
    parameters: {
      ...parameters,
      exposures: factParameters(exposures),
      ...(fibres && { fibreMap: createHash('sha256').update(JSON.stringify(fibres)).digest('hex') }),
    },
    kernels: Object.fromEntries(
      stage.kernels.map((name) => [name, `${kernelNamed(name).version}+${kernelNamed(name).hash}`]),
    ),
  };
}

/** An input of a later product as its manifest names it. */
export function inputSource(
  { path, role }: Pick<Asked['inputs'][number], 'path' | 'role'>,
  sha256: string,
  why = OF_THE_NIGHT,
): Source {
  return { name: basename(path), sha256, role, why };
}

/** One product of a job. */
export interface PlannedProduct {
  /** Relative to the output directory. */
  readonly name: string;
  readonly record: ProductRecord;
}

/**
 * The products of a job whose inputs are all made.
 * @param hash of inputs; asked of each once
 * @throws CalibrationError, InputError for what will end the job; UsageError, StorageError
 */
export async function productsOf(
  stage: NightStage,
  task: Asked,
  hash: Hasher,
  options: Pick<ResolveOptions, 'surveys'> = {},
): Promise<PlannedProduct[]> {
  const { execution } = stage;
  switch (execution.by) {
    case 'ramp': {
      const asked = rampTaskOf(stage, task);
      const recipe = await rampRecipe({ ...asked, ...options }, frameOf(asked.path, NIGHT_INSTRUMENT));
      return [{ name: recipe.name, record: recipe.recordOf(await hash(asked.path)) }];
    }
    case 'build': {
      const request = buildRequestOf(stage, execution.builder.word, task);
      const products = await buildRecipe(request, hash);
      const folder = relative(task.output, request.output);
      return products.map(({ name, record }) => ({ name: join(folder, name), record }));
    }
    case 'body': {
      const [name] = task.job.products;
      if (name === undefined) throw new BugError(`${task.job.id} has no product`);
      const { entries } = await chosenFor(stage, task, options);
      const inputs: Source[] = [];
      for (const input of readBy(task)) inputs.push(inputSource(input, await hash(input.path)));
      const facts = factsOf(task.job.exposures);
      const fibres = await targetsFor(stage, task);
      return [{ name, record: bodyRecord(stage, parametersOf(stage, task), facts, inputs, entries, fibres) }];
    }
  }
}

const VERDICTS = ['ok', 'suspect', 'drop'] as const;

/**
 * The verdict in the header of a gate's product; undefined for a product that is none.
 * @throws InputError, StorageError
 */
export function verdictOf(path: string): Outcome['verdict'] {
  const file = openFits(path, { verify: false });
  try {
    const { header } = file.hdu(0);
    const verdict = VERDICTS.find((word) => word === header.string('VERDICT', '').trim());
    return verdict && { verdict, reason: header.string('REASON', '').trim() };
  } finally {
    file.close();
  }
}
