/**
 * Does one job, in whatever process it is called: a worker of the pool, a process of its own, a node of a cluster. With body.ts the
 * place where a stage meets the store. Whether the job is done is asked here again, of the manifest: what the plan said may
 * be old by now.
 */
import { hostname } from 'node:os';
import { relative } from 'node:path';
import { threadId } from 'node:worker_threads';
import { BugError, RetriableError } from '../core/errors.js';
import type { StageBody } from '../stages/stage.js';
import { openStore } from '../store/index.js';
import { runBody } from './body.js';
import { buildCalibration } from './calib.js';
import { failpoint } from './failpoint.js';
import { toFailure } from './failure.js';
import type { Outcome, Task } from './job.js';
import { OF_THE_NIGHT, reduceAndWrite } from './ramp.js';
import {
  buildRequestOf,
  chosenFor,
  factsOf,
  NIGHT_INSTRUMENT,
  parametersOf,
  rampTaskOf,
  readBy,
  targetsFor,
  verdictOf,
} from './record.js';
import { DROPS, noteRefusal } from './refused.js';
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

async function bodyJob(
  task: Task,
  stage: NightStage,
  load: () => Promise<StageBody>,
  control: Int32Array,
): Promise<Made> {
  const [product] = task.job.products;
  if (product === undefined) throw new BugError(`${task.job.id} has no product`);
  const store = await openStore(task.output);
  const made = await runBody(
    {
      instrument: NIGHT_INSTRUMENT,
      stage,
      load,
      identity: task.job.identity,
      exposures: factsOf(task.job.exposures),
      inputs: readBy(task),
      fibres: await targetsFor(stage, task),
      why: OF_THE_NIGHT,
      choose: () => chosenFor(stage, task),
      parameters: parametersOf(stage, task),
      product,
      verify: task.options.verify,
      force: task.force,
      threads: task.threads,
      limits: {},
      control,
      onRefusal: (key, error) => noteRefusal(store, product, key, error),
    },
    store,
  );
  return { ...made, products: [product], verdict: verdictOf(store.pathOf(product)) };
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
    const status = cancelled() ? 'cancelled' : DROPS.includes(failure.error) ? 'dropped' : 'failed';
    return { ...facts(), status, products: [], failure };
  }
}
