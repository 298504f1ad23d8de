/**
 * Does one job, in whatever process it is called: a worker of the pool, a process of its own, a node of a cluster. The one
 * place where a stage meets the store. Whether the job is done is asked here again, of the manifest: what the plan said may
 * be old by now.
 */
import { hostname } from 'node:os';
import { basename, relative } from 'node:path';
import { threadId } from 'node:worker_threads';
import type { ChosenFile } from '../calib/load.js';
import { dqTable, provenanceTable } from '../calib/provenance.js';
import type { OnlyThese } from '../calib/registry.js';
import { BugError, RetriableError } from '../core/errors.js';
import type { Identity, Instrument, ProvenanceEntry } from '../core/product.js';
import { version } from '../core/version.js';
import { kernelNamed } from '../engine/index.js';
import { type CardInput, encodeFits, type FitsFile, openFits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import type { StageBody, StageInputFile, StageResult } from '../stages/stage.js';
import {
  hashFile,
  type JsonValue,
  openStore,
  type ProductRecord,
  productKey,
  type Source,
  type Store,
} from '../store/index.js';
import { buildCalibration } from './calib.js';
import { chooseCalibrations } from './choose.js';
import { failpoint } from './failpoint.js';
import { toFailure } from './failure.js';
import type { Job, Outcome, Task } from './job.js';
import { nightRampTask, OF_THE_NIGHT, reduceAndWrite } from './ramp.js';
import { calibrationsOf, type NightStage, nightStages, ownCalibrations } from './stages.js';

/** What a job made, before it is an outcome. */
type Made = Pick<Outcome, 'products' | 'key' | 'summary' | 'timings' | 'warnings' | 'verdict'> & {
  readonly status: 'done' | 'skipped';
};

/** A night is APOGEE's: no other instrument reads up the ramp. */
const INSTRUMENT: Instrument = apogee;

/**
 * Of the night's own calibrations those that the task was given, and no other that lies beside them: what an earlier run
 * built of other exposures is no candidate.
 */
function builtFor({ inputs, output }: Task): OnlyThese {
  const files = inputs.filter(({ role }) => role === 'calibration').map(({ path }) => basename(path));
  return { directory: ownCalibrations(output), files };
}

/** What the job reads, without the calibrations that are candidates only. */
const reads = ({ inputs }: Task) => inputs.filter(({ role }) => role !== 'calibration');

async function rampJob(task: Task, stage: NightStage, calibrate: boolean, control: Int32Array): Promise<Made> {
  const [raw] = reads(task);
  const [product] = task.job.products;
  if (raw === undefined || product === undefined) throw new BugError(`${task.job.id} has no raw file or no product`);
  const base = nightRampTask(
    { path: raw.path, identity: raw.identity as Identity },
    task.output,
    product,
    calibrate,
    task.options,
    { calib: await directories(stage, task), only: builtFor(task) },
  );
  const options = { ...base.options, threads: task.threads, lowMemory: task.lowMemory };
  const { status, key, summary, timings, warnings } = await reduceAndWrite(
    { ...base, options, force: task.force, control },
    await openStore(task.output),
  );
  return { status: status as Made['status'], products: [product], key, summary: { ...summary }, timings, warnings };
}

/** Directories of calibrations that the stage asks. */
async function directories(stage: NightStage, { options, output }: Task): Promise<readonly string[]> {
  const asked = calibrationsOf(stage, options, output);
  const own = ownCalibrations(output);
  // Before anything was built there is no directory, and that is no fault.
  if (asked.includes(own)) await openStore(own);
  return asked;
}

async function buildJob(task: Task, stage: NightStage, word: string, control: Int32Array): Promise<Made> {
  const { output, options } = task;
  const known = new Set([word, ...stage.kernels]);
  const built = await buildCalibration({
    word,
    instrument: INSTRUMENT,
    files: reads(task).map(({ path }) => path),
    output: ownCalibrations(output),
    calib: await directories(stage, task),
    only: builtFor(task),
    params: Object.fromEntries(Object.entries(options.params).filter(([name]) => known.has(name))),
    threads: task.threads,
    force: task.force,
    control,
  });
  return {
    status: built.every(({ status }) => status === 'skipped') ? 'skipped' : 'done',
    products: built.map(({ file }) => relative(output, file)),
    warnings: built.flatMap(({ remarks = [] }) => remarks),
    summary: Object.fromEntries(built.flatMap(({ kind, grade }) => (grade === undefined ? [] : [[kind, grade]]))),
  };
}

const kernelsOf = (stage: NightStage): Record<string, string> =>
  Object.fromEntries(
    stage.kernels.map((name) => [name, `${kernelNamed(name).version}+${kernelNamed(name).hash}`] as const),
  );

/** Calibrations for a stage of later products: for each chip that it reads, as of the begin of the exposure. */
async function chosenFor(
  task: Task,
  stage: NightStage,
): Promise<{ readonly files: ChosenFile[]; readonly entries: ProvenanceEntry[] }> {
  const files = new Map<string, ChosenFile>();
  const entries: ProvenanceEntry[] = [];
  if (stage.calibrations !== undefined) {
    const { identity, exposures } = task.job;
    const [first] = exposures;
    const chips =
      identity.chip === undefined
        ? [...new Set(reads(task).flatMap((one) => one.identity.chip ?? []))]
        : [identity.chip];
    for (const chip of chips) {
      const serial = first?.frames.find((frame) => frame.chip === chip)?.serial;
      const frame = {
        instrument: INSTRUMENT.name,
        tele: identity.tele,
        chip,
        mjd: first?.start ?? identity.mjd,
        ...(serial && { serial }),
      };
      const choice = await chooseCalibrations(await directories(stage, task), INSTRUMENT, frame, stage.calibrations, {
        pin: task.options.pin,
        only: builtFor(task),
      });
      for (const file of choice.files) files.set(`${file.kind} ${file.path}`, file);
      entries.push(...choice.entries);
    }
  }
  return { files: [...files.values()], entries };
}

/** Parameters of a stage: its defaults, and what the night says under its name. */
function parametersOf(stage: NightStage, { options }: Task): Record<string, number | string | boolean> {
  return { ...stage.parameters, ...(options.params[stage.name] as Record<string, number | string | boolean>) };
}

/** The manifest's record of a later product: what decides its bytes. */
export function bodyRecord(
  stage: NightStage,
  parameters: Readonly<Record<string, JsonValue>>,
  inputs: readonly Source[],
  entries: readonly ProvenanceEntry[],
): ProductRecord {
  return {
    schema: stage.schema,
    software: `rampline ${version()}`,
    inputs,
    calibrations: entries.filter((entry): entry is Source => entry.sha256 !== '' && entry.used !== false),
    parameters,
    kernels: kernelsOf(stage),
  };
}

/** Cards that every product has in its primary header. */
function identityCards({ identity }: Job, stage: NightStage, record: ProductRecord): CardInput[] {
  const { tele, mjd, chip, exposure } = identity;
  const cards: CardInput[] = [
    ['INSTRUME', INSTRUMENT.name.toUpperCase(), 'instrument'],
    ['TELE', tele, 'telescope'],
    ['MJD', mjd, 'night (SJD)'],
  ];
  if (chip !== undefined) cards.push(['CHIP', chip, 'detector']);
  if (exposure !== undefined) cards.push(['EXPOSURE', exposure, 'number in the night']);
  cards.push(['STAGE', stage.name, 'what made this product'], ['SWVER', record.software, 'program']);
  return cards;
}

function kernelCards(record: ProductRecord): CardInput[] {
  return Object.entries(record.kernels).map(([name, text], i) => [
    `KERN${i + 1}`,
    `${name} ${text}`,
    'kernel, version, hash',
  ]);
}

const VERDICTS = ['ok', 'suspect', 'drop'] as const;

/** What a gate's product says; undefined for a product that is none. */
function verdictIn(file: FitsFile): Outcome['verdict'] {
  const { header } = file.hdu(0);
  const verdict = VERDICTS.find((word) => word === header.string('VERDICT', '').trim());
  return verdict && { verdict, reason: header.string('REASON', '').trim() };
}

/**
 * The verdict of a product on disk, for jobs that need not be done again.
 * @throws InputError, StorageError
 */
export function verdictOf(path: string): Outcome['verdict'] {
  const file = openFits(path, { verify: false });
  try {
    return verdictIn(file);
  } finally {
    file.close();
  }
}

async function bodyJob(
  task: Task,
  stage: NightStage,
  load: () => Promise<StageBody>,
  control: Int32Array,
): Promise<Made> {
  const [product] = task.job.products;
  if (product === undefined) throw new BugError(`${task.job.id} has no product`);
  const store = await openStore(task.output);
  const opened: StageInputFile[] = [];
  try {
    for (const { role, path, identity } of reads(task)) {
      const { sha256 } = await hashFile(path);
      opened.push({ role, path, identity, sha256, file: openFits(path, { verify: task.options.verify }) });
    }
    const inputs = opened.map(
      ({ role, path, sha256 }): Source => ({ name: basename(path), sha256, role, why: OF_THE_NIGHT }),
    );
    const { files, entries } = await chosenFor(task, stage);
    const parameters = parametersOf(stage, task);
    const record = bodyRecord(stage, parameters, inputs, entries);
    const key = productKey(record);
    const common = { products: [product], key };
    if (!task.force && (await store.isDone(product, key))) {
      return { ...common, status: 'skipped', verdict: verdictOf(store.pathOf(product)) };
    }
    const body = await load();
    const result = await body({
      instrument: INSTRUMENT,
      identity: task.job.identity,
      exposures: task.job.exposures,
      inputs: opened,
      calibrations: files,
      parameters,
      threads: task.threads,
      limits: {},
      control,
    });
    if (Atomics.load(control, 0) !== 0) throw new RetriableError('interrupted');
    await write(store, product, task.job, stage, result, record, [...inputs, ...entries]);
    const { summary, timings, warnings } = result;
    return { ...common, status: 'done', summary, timings, warnings, verdict: verdictOf(store.pathOf(product)) };
  } finally {
    for (const { file } of opened) file.close();
  }
}

async function write(
  store: Store,
  product: string,
  job: Job,
  stage: NightStage,
  result: StageResult,
  record: ProductRecord,
  provenance: readonly ProvenanceEntry[],
): Promise<void> {
  const header = [...identityCards(job, stage, record), ...result.cards, ...kernelCards(record)];
  const hasDq = result.hdus.some(({ name }) => name === 'DQ');
  await store.writeProduct(
    product,
    encodeFits([{ header }, ...result.hdus, ...(hasDq ? [dqTable()] : []), provenanceTable(provenance)]),
    record,
  );
}

async function dispatch(task: Task, control: Int32Array): Promise<Made> {
  const { id, stage: name } = task.job;
  if (failpoint(id)) return { status: 'done', products: [] };
  const stage = nightStages(task.options.build).find((one) => one.name === name);
  if (stage === undefined) throw new BugError(`${id} is of the stage ${name}, which this version does not have`);
  const { execution } = stage;
  switch (execution.by) {
    case 'ramp':
      return rampJob(task, stage, execution.calibrate, control);
    case 'build':
      return buildJob(task, stage, execution.builder.word, control);
    case 'body':
      return bodyJob(task, stage, execution.body, control);
  }
}

/** Classes of failure that are an input's: the job is dropped and the night goes on. */
const DROPS: ReadonlySet<string> = new Set(['input', 'calibration', 'algorithm']);

const KILOBYTE = 1024;

/**
 * Does a job and says what became of it: 'dropped' for a failure that is its input's, 'failed' for any other, of which the
 * class tells whether to try again or to stop. Never throws. Whatever happened, nothing is half-written.
 * @param alone whether nothing else runs in this process: only then CPU time and memory can be told to be this job's
 */
export async function executeTask(task: Task, alone = false): Promise<Outcome> {
  const control = task.control ?? new Int32Array(new SharedArrayBuffer(8));
  const began = performance.now();
  const cpu = process.cpuUsage();
  const facts = () => {
    const { user, system } = process.cpuUsage(cpu);
    return {
      job: task.job.id,
      attempt: task.attempt,
      seconds: (performance.now() - began) / 1000,
      ...(alone && { cpuSeconds: (user + system) / 1e6, peakBytes: process.resourceUsage().maxRSS * KILOBYTE }),
      where: `${hostname()} ${process.pid} ${threadId}`,
    };
  };
  const cancelled = () => Atomics.load(control, 0) !== 0;
  try {
    if (cancelled()) throw new RetriableError('interrupted');
    const made = await dispatch(task, control);
    return { ...facts(), ...made };
  } catch (error) {
    const failure = toFailure(error);
    const status = cancelled() ? 'cancelled' : DROPS.has(failure.error) ? 'dropped' : 'failed';
    return { ...facts(), status, products: [], failure };
  }
}
