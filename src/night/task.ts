/**
 * Does one job, in whatever process it is called: a worker of the pool, a process of its own, a node of a cluster. The one
 * place where a stage meets the store. Whether the job is done is asked here again, of the manifest: what the plan said may
 * be old by now.
 */
import { hostname } from 'node:os';
import { relative } from 'node:path';
import { threadId } from 'node:worker_threads';
import { dqTable, provenanceTable } from '../calib/provenance.js';
import { BugError, RetriableError } from '../core/errors.js';
import type { ProvenanceEntry } from '../core/product.js';
import { type CardInput, encodeFits, openFits } from '../fits/index.js';
import type { StageBody, StageInputFile, StageResult } from '../stages/stage.js';
import {
  hashFile,
  openStore,
  type ProductRecord,
  productKey,
  productState,
  type Source,
  type Store,
} from '../store/index.js';
import { buildCalibration } from './calib.js';
import { failpoint } from './failpoint.js';
import { toFailure } from './failure.js';
import type { Job, Outcome, Task } from './job.js';
import { reduceAndWrite } from './ramp.js';
import {
  bodyRecord,
  buildRequestOf,
  chosenFor,
  factsOf,
  inputSource,
  NIGHT_INSTRUMENT,
  parametersOf,
  rampTaskOf,
  readBy,
  verdictOf,
} from './record.js';
import { type NightStage, nightStages } from './stages.js';

/** What a job made, before it is an outcome. */
type Made = Pick<Outcome, 'products' | 'key' | 'summary' | 'timings' | 'warnings' | 'verdict'> & {
  readonly status: 'done' | 'skipped';
};

async function rampJob(task: Task, stage: NightStage, control: Int32Array): Promise<Made> {
  const asked = rampTaskOf(stage, task);
  const options = { ...asked.options, threads: task.threads, lowMemory: task.lowMemory };
  const { status, key, summary, timings, warnings } = await reduceAndWrite(
    { ...asked, options, force: task.force, control },
    await openStore(task.output),
  );
  return {
    status: status as Made['status'],
    products: task.job.products,
    key,
    summary: { ...summary },
    timings,
    warnings,
  };
}

async function buildJob(task: Task, stage: NightStage, word: string, control: Int32Array): Promise<Made> {
  const built = await buildCalibration({
    ...buildRequestOf(stage, word, task),
    threads: task.threads,
    force: task.force,
    control,
  });
  return {
    status: built.every(({ status }) => status === 'skipped') ? 'skipped' : 'done',
    products: built.map(({ file }) => relative(task.output, file)),
    warnings: built.flatMap(({ remarks = [] }) => remarks),
    timings: built.flatMap(({ timings = [] }) => timings),
    summary: Object.fromEntries(built.flatMap(({ kind, grade }) => (grade === undefined ? [] : [[kind, grade]]))),
  };
}

/** Cards that every product has in its primary header. */
function identityCards({ identity }: Job, stage: NightStage, record: ProductRecord): CardInput[] {
  const { tele, mjd, chip, exposure } = identity;
  const cards: CardInput[] = [
    ['INSTRUME', NIGHT_INSTRUMENT.name.toUpperCase(), 'instrument'],
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

/** What a product's manifest says where the file is untouched since it was written, else the hash of its bytes. */
async function hashOfProduct(path: string): Promise<string> {
  const { entry, fault } = await productState(path);
  return entry !== undefined && fault === undefined ? entry.sha256 : (await hashFile(path)).sha256;
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
    for (const { role, path, identity } of readBy(task)) {
      const sha256 = await hashOfProduct(path);
      opened.push({ role, path, identity, sha256, file: openFits(path, { verify: task.options.verify }) });
    }
    const inputs = opened.map((input): Source => inputSource(input, input.sha256));
    const { files, entries } = await chosenFor(stage, task);
    const parameters = parametersOf(stage, task);
    const exposures = factsOf(task.job.exposures);
    const record = bodyRecord(stage, parameters, exposures, inputs, entries);
    const key = productKey(record);
    const common = { products: [product], key };
    if (!task.force && (await store.isDone(product, key))) {
      return { ...common, status: 'skipped', verdict: verdictOf(store.pathOf(product)) };
    }
    const body = await load();
    const result = await body({
      instrument: NIGHT_INSTRUMENT,
      identity: task.job.identity,
      exposures,
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
      return rampJob(task, stage, control);
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
