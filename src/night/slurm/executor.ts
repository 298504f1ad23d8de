/** The executor `slurm`: a plan as job arrays, followed by the events that their elements write. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../../core/addon.js';
import { EXIT_CODES, RetriableError } from '../../core/errors.js';
import type { Store } from '../../store/index.js';
import type { Execution, Executor, RunContext } from '../executor.js';
import type { Failure } from '../failure.js';
import type { Job, Outcome, Plan } from '../job.js';
import { knownOutcomes } from '../known.js';
import { arraysBefore } from './active.js';
import { chunkPlan, type Level } from './chunks.js';
import { cancel, type Dependency, partition, queued, submit } from './client.js';
import {
  arrayName,
  eventsName,
  noteArray,
  noteEnded,
  readEvents,
  type Submission,
  writeSubmission,
} from './submission.js';

export interface SlurmOptions {
  readonly partition?: string | undefined;
  readonly account?: string | undefined;
  /** Time limit of a chunk [minutes]. */
  readonly minutes?: number | undefined;
  /** About so many chunks a level. */
  readonly chunks?: number | undefined;
  /** More options of sbatch, NAME=VALUE. */
  readonly more: readonly string[];
  /** Submit and leave. */
  readonly detach: boolean;
}

/** Resident memory of a chunk's process with its worker beside what its jobs take [bytes]: 79 MB before the first job, 131 MB with strips of 16 rows. */
const IDLE_BYTES = 200e6;
/** Between two looks at the queue: a tenth of the time since the last news, as a controller serves many. */
const SHORTEST_POLL_MS = 500;
const LONGEST_POLL_MS = 20_000;
const POLL_SHARE = 0.1;
/** So long a controller may be away while arrays run: a restart of it takes minutes at most. */
const AWAY_MS = 10 * 60_000;
/** After scancel: chunks end in order within 20 s, and this process must, too. */
const CANCEL_MS = 17_000;

/** The compiled command line: nodes run plain JavaScript, also when this file runs from its source in tests. */
const main = (): string => join(packageRoot(), 'build', 'js', 'cli', 'main.js');

export function slurmExecutor(options: SlurmOptions): Executor {
  return {
    name: 'slurm',
    writesLogs: true,
    run: (plan, context) => runOnSlurm(plan, context, options),
  };
}

async function runOnSlurm(plan: Plan, context: RunContext, options: SlurmOptions): Promise<Execution> {
  const { run, limits, force, sink } = context;
  const cluster = await partition(options.partition);
  const settled = knownOutcomes(plan, force, context.settled);
  const todo = new Set(plan.jobs.filter(({ id }) => !settled.has(id)).map(({ id }) => id));
  const levels = chunkPlan(plan, todo, {
    ...cluster,
    threads: limits.threads,
    idleBytes: IDLE_BYTES,
    chunks: options.chunks,
    minutes: options.minutes,
  });
  for (const job of plan.jobs) {
    const outcome = settled.get(job.id);
    if (outcome !== undefined && context.settled?.has(job.id) !== true) sink.end(job, outcome);
  }
  if (levels.length === 0) return { outcomes: inOrder(plan, settled) };
  const submission: Submission = {
    schema: 'slurm/1',
    run,
    levels,
    // A chunk is one job after another on the cores of one; more at once is more chunks.
    limits: { ...limits, jobs: 1 },
    isolate: context.isolate,
    force: [...force],
    settled: neededOf(plan, todo, settled),
  };
  const store = await writeSubmission(plan, submission, { node: process.execPath, main: main() });
  const ids = await submitAll(plan, store, submission, options, await arraysBefore(plan));
  const number = levels.reduce((sum, { chunks }) => sum + chunks.length, 0);
  sink.message(
    `${todo.size} jobs in ${number} chunks, ${ids.length} arrays of Slurm (${ids.join(', ')}): ${store.directory}`,
  );
  if (options.detach) {
    return { outcomes: inOrder(plan, settled), left: { submission: store.directory, arrays: ids, jobs: todo.size } };
  }
  return follow(plan, context, new Follower(plan, levels, store, context, settled), store, ids);
}

/**
 * Submits the levels one after another; what was submitted before a failure is cancelled.
 * @param before arrays of others that the first levels go after
 */
async function submitAll(
  plan: Plan,
  store: Store,
  { run, levels }: Submission,
  options: SlurmOptions,
  before: readonly number[],
): Promise<number[]> {
  const ids: number[] = [];
  try {
    for (const [number, level] of levels.entries()) {
      const id = await submit({
        name: arrayName(run, number, level.stage),
        script: store.pathOf('run.sh'),
        words: [String(number)],
        directory: plan.output,
        // % would be a pattern of Slurm.
        stdout: `${store.directory.replaceAll('%', '%%')}/%A-%a.out`,
        stderr: `${store.directory.replaceAll('%', '%%')}/%A-%a.err`,
        elements: level.chunks.map((_, chunk) => chunk),
        cpus: level.cpus,
        memoryBytes: level.memoryBytes,
        minutes: level.minutes,
        after: [
          ...level.after.map((one): Dependency => ({ how: one.how, id: ids[one.level] as number })),
          ...(level.after.length === 0 ? before.map((id): Dependency => ({ how: 'afterany', id })) : []),
        ],
        partition: options.partition,
        account: options.account,
        more: options.more,
      });
      ids.push(id);
      await noteArray(store, number, id);
    }
  } catch (error) {
    // Whether they have ended the next run asks: what runs takes a while to end, and this call may fail as the one before.
    await cancel(ids).catch(() => undefined);
    throw error;
  }
  return ids;
}

/** Waits for the arrays, tells what their chunks tell, and cancels them on a signal or a failure that ends the night. */
async function follow(
  plan: Plan,
  { signal, sink }: RunContext,
  follower: Follower,
  store: Store,
  ids: readonly number[],
): Promise<Execution> {
  let newsAt = Date.now();
  let awaySince: number | undefined;
  let cancelledAt: number | undefined;
  for (;;) {
    if (cancelledAt === undefined && (signal?.aborted === true || follower.failed !== undefined)) {
      cancelledAt = Date.now();
      newsAt = cancelledAt;
      await cancel(ids).catch((error: unknown) =>
        sink.message(`arrays ${ids.join(', ')} could not be cancelled: ${error}`),
      );
    }
    let left: number;
    try {
      left = (await queued(ids)).length;
      awaySince = undefined;
    } catch (error) {
      if (!(error instanceof RetriableError)) throw error;
      if (awaySince === undefined) sink.message(`${error.message}; waiting for it`);
      awaySince ??= Date.now();
      const patience = cancelledAt === undefined ? AWAY_MS : CANCEL_MS;
      if (Date.now() - awaySince > patience) {
        throw new RetriableError(
          `${error.message}; arrays ${ids.join(', ')} may still run, 'rampline run' waits for them`,
        );
      }
      left = 1;
    }
    // At the end whatever the sizes say: a network file system may remember those of a moment ago.
    if (await follower.read(left === 0)) newsAt = Date.now();
    if (left === 0) break;
    if (cancelledAt !== undefined && Date.now() - cancelledAt > CANCEL_MS) {
      sink.message(`arrays ${ids.join(', ')} were cancelled and have not ended yet`);
      return follower.execution(plan);
    }
    const wait = Math.min(Math.max((Date.now() - newsAt) * POLL_SHARE, SHORTEST_POLL_MS), LONGEST_POLL_MS);
    await sleep(wait, undefined, { signal: cancelledAt === undefined ? signal : undefined }).catch(() => undefined);
  }
  await noteEnded(store);
  const execution = follower.execution(plan);
  if (execution.stopped !== undefined || signal?.aborted === true) return execution;
  const lost = follower.lost(ids);
  return lost === undefined ? execution : { ...execution, stopped: lost };
}

/** Reads the events of the chunks as they grow. */
class Follower {
  readonly #levels: readonly Level[];
  readonly #store: Store;
  readonly #context: RunContext;
  readonly #jobs: ReadonlyMap<string, Job>;
  readonly #outcomes: Map<string, Outcome>;
  readonly #begun = new Set<string>();
  readonly #seen = new Map<string, { bytes: number; events: number }>();
  failed: Failure | undefined;

  constructor(
    plan: Plan,
    levels: readonly Level[],
    store: Store,
    context: RunContext,
    settled: ReadonlyMap<string, Outcome>,
  ) {
    this.#levels = levels;
    this.#store = store;
    this.#context = context;
    this.#jobs = new Map(plan.jobs.map((job) => [job.id, job]));
    this.#outcomes = new Map(settled);
  }

  /**
   * Whether there was anything new.
   * @param always also files that have not grown
   */
  async read(always = false): Promise<boolean> {
    let news = false;
    for (const [level, { chunks }] of this.#levels.entries()) {
      for (const [chunk, { jobs }] of chunks.entries()) {
        if (jobs.every((id) => this.#outcomes.has(id))) continue;
        if (await this.#readChunk(level, chunk, always)) news = true;
      }
    }
    return news;
  }

  async #readChunk(level: number, chunk: number, always: boolean): Promise<boolean> {
    const name = eventsName(level, chunk);
    const before = this.#seen.get(name) ?? { bytes: 0, events: 0 };
    const bytes = await stat(this.#store.pathOf(name)).then(
      ({ size }) => size,
      () => 0,
    );
    if (bytes === before.bytes && !always) return false;
    const events = await readEvents(this.#store.directory, level, chunk);
    for (const { event, job: id, outcome, attempt, message } of events.slice(before.events)) {
      const job = this.#jobs.get(id ?? '');
      if (event === 'message') this.#context.sink.message(message ?? '', job);
      if (job === undefined || this.#outcomes.has(job.id)) continue; // it ran again after it was done
      if (event === 'begin') {
        this.#begun.add(job.id);
        this.#context.sink.begin(job, attempt ?? 1);
      }
      if (event === 'retry' && outcome !== undefined) this.#context.sink.retry(job, outcome, Number(message));
      if (event === 'end' && outcome !== undefined) this.#end(job, outcome);
    }
    this.#seen.set(name, { bytes, events: events.length });
    return events.length > before.events;
  }

  #end(job: Job, outcome: Outcome): void {
    if (outcome.status === 'cancelled') return; // The element may be requeued; what is left at the end was cancelled.
    this.#outcomes.set(job.id, outcome);
    if (outcome.status === 'failed') this.failed ??= outcome.failure;
    this.#context.sink.end(job, outcome);
  }

  /** What became of the jobs; those that were begun and never ended are cancelled. */
  execution(plan: Plan): Execution {
    for (const id of this.#begun) {
      const job = this.#jobs.get(id);
      if (job === undefined || this.#outcomes.has(id)) continue;
      const outcome: Outcome = {
        job: id,
        status: 'cancelled',
        products: [],
        attempt: 1,
        seconds: 0,
        failure: { error: 'retriable', exitCode: EXIT_CODES.retriable, message: 'its Slurm task ended before it did' },
      };
      this.#outcomes.set(id, outcome);
      this.#context.sink.end(job, outcome);
    }
    const outcomes = inOrder(plan, this.#outcomes);
    // Of jobs that were begun here: what was known before says 0.
    const cpuSeconds = outcomes.reduce((sum, one) => sum + (one.attempt > 0 ? (one.cpuSeconds ?? 0) : 0), 0);
    return { outcomes, cpuSeconds, ...(this.failed !== undefined && { stopped: this.failed }) };
  }

  /** Why jobs have no outcome although nobody stopped the run; undefined where all have one. */
  lost(ids: readonly number[]): Failure | undefined {
    const isLost = (id: string) => {
      const status = this.#outcomes.get(id)?.status;
      return status === undefined || status === 'cancelled';
    };
    for (const [level, { chunks }] of this.#levels.entries()) {
      const chunk = chunks.findIndex(({ jobs }) => jobs.some(isLost));
      if (chunk < 0) continue;
      const all = this.#levels.flatMap((one) => one.chunks.flatMap(({ jobs }) => jobs)).filter(isLost);
      const message =
        `${all.length} jobs were not settled, the first is ${all[0]}: its Slurm task ended early (cancelled, out of time or ` +
        `of memory); it may say why`;
      const file = join(this.#store.directory, `${ids[level]}-${chunk}.err`);
      return { error: 'retriable', exitCode: EXIT_CODES.retriable, message, file };
    }
    return undefined;
  }
}

/** Outcomes that decide for what is to do. */
function neededOf(plan: Plan, todo: ReadonlySet<string>, settled: ReadonlyMap<string, Outcome>): Outcome[] {
  const needed = new Set(
    plan.jobs.filter(({ id }) => todo.has(id)).flatMap(({ needs }) => needs.map(({ job }) => job)),
  );
  return [...needed].flatMap((id) => settled.get(id) ?? []);
}

function inOrder(plan: Plan, outcomes: ReadonlyMap<string, Outcome>): Outcome[] {
  return plan.jobs.flatMap(({ id }) => outcomes.get(id) ?? []);
}
