/** What an element of a job array does: the jobs of its chunk, with the local executor. */
import { UsageError } from '../../core/errors.js';
import { openStore, type Store } from '../../store/index.js';
import type { Execution, Executor, RunSink } from '../executor.js';
import type { Job, Need, NightEvent, Outcome, Plan } from '../job.js';
import type { Level } from './chunks.js';
import { appendEvents, outcomesOf, places, readEvents, readSubmission, type Submission } from './submission.js';

export interface ChunkOptions {
  /** Directory of the submission. */
  readonly directory: string;
  readonly level: number;
  readonly index: number;
  readonly executor: Executor;
  /** Writes the log files of the exposures. */
  readonly logs?: ((plan: Plan, run: string) => RunSink) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ChunkReport extends Execution {
  /** Jobs whose needs were not settled: their chunk was cancelled, or ran out of time. */
  readonly unready: readonly string[];
}

/**
 * Runs a chunk, also for the second time: what is done is skipped by its manifest.
 * @throws UsageError for a chunk that is not there; InputError for files of the submission that cannot be read
 */
export async function runChunk(options: ChunkOptions): Promise<ChunkReport> {
  const { directory, level, index, executor, signal } = options;
  const { plan, submission } = await readSubmission(directory);
  const chunk = submission.levels[level]?.chunks[index];
  if (chunk === undefined) throw new UsageError(`${directory} has no chunk ${index} of level ${level}`);
  const store = await openStore(directory);
  const { jobs, settled, unready } = await chunkPlanOf(plan, submission, directory, new Set(chunk.jobs));
  const earlier = outcomesOf(await readEvents(directory, level, index));
  const own = new EventSink(store, submission.run, level, index);
  const sink = forJobs([...(options.logs === undefined ? [] : [options.logs(plan, submission.run)]), own], chunk.jobs);
  try {
    const execution = await executor.run(
      { ...plan, jobs },
      {
        run: submission.run,
        limits: { ...submission.limits, memoryBytes: (submission.levels[level] as Level).memoryBytes },
        isolate: submission.isolate,
        // Once: where the chunk runs again it takes what it has done.
        force: new Set(submission.force.filter((id) => chunk.jobs.includes(id) && !isFinal(earlier.get(id)))),
        settled,
        signal,
        sink,
      },
    );
    const outcomes = execution.outcomes.filter(({ job }) => chunk.jobs.includes(job));
    return { ...execution, outcomes, unready };
  } finally {
    await own.close();
  }
}

/**
 * The jobs of a chunk, and those that they need with the outcomes that the plan or other chunks told. A job with a need that
 * is not settled is left out: running again takes it up.
 */
async function chunkPlanOf(plan: Plan, submission: Submission, directory: string, wanted: ReadonlySet<string>) {
  const byId = new Map(plan.jobs.map((job) => [job.id, job]));
  const placeOf = places(submission.levels);
  const mine = plan.jobs.filter(({ id }) => wanted.has(id));
  const told = new Map(submission.settled.map((outcome) => [outcome.job, outcome]));
  const read = new Set<string>();
  for (const { job } of mine.flatMap(({ needs }) => needs)) {
    const place = placeOf.get(job);
    const name = `${place?.level} ${place?.chunk}`;
    if (place === undefined || read.has(name)) continue;
    read.add(name);
    for (const outcome of outcomesOf(await readEvents(directory, place.level, place.chunk)).values()) {
      told.set(outcome.job, outcome);
    }
  }
  const isSettled = ({ job }: Need) => isFinal(told.get(job));
  const ready = mine.filter(({ needs }) => needs.every(isSettled));
  const before = [...new Set(ready.flatMap(({ needs }) => needs.map(({ job }) => job)))];
  const jobs: Job[] = [
    // What those needed in turn is no matter here.
    ...before.map((id) => ({ ...(byId.get(id) as Job), needs: [] })),
    // Whoever cut the plan found that they must be asked again, whatever their state was.
    ...ready.map((job) => ({ ...job, state: 'todo' as const })),
  ];
  const settled = new Map(before.map((id) => [id, told.get(id) as Outcome]));
  const unready = mine.filter((job) => !ready.includes(job)).map(({ id }) => id);
  return { jobs, settled, unready };
}

/** Whether a job needs no further run: a cancelled one does, and so does one whose failure stopped the night. */
function isFinal(outcome: Outcome | undefined): boolean {
  return outcome !== undefined && outcome.status !== 'cancelled' && outcome.status !== 'failed';
}

/** Events of one chunk to its own file, a moment's together. */
class EventSink implements RunSink {
  readonly #store: Store;
  readonly #run: string;
  readonly #level: number;
  readonly #index: number;
  #pending: NightEvent[] = [];
  #writing: Promise<void> = Promise.resolve();

  constructor(store: Store, run: string, level: number, index: number) {
    this.#store = store;
    this.#run = run;
    this.#level = level;
    this.#index = index;
  }

  begin(job: Job, attempt: number): void {
    this.#tell({ event: 'begin', job: job.id, stage: job.stage, attempt });
  }

  retry(job: Job, outcome: Outcome, waitSeconds: number): void {
    this.#tell({ event: 'retry', job: job.id, stage: job.stage, outcome, message: String(waitSeconds) });
  }

  end(job: Job, outcome: Outcome): void {
    this.#tell({ event: 'end', job: job.id, stage: job.stage, outcome });
  }

  message(text: string, job?: Job): void {
    this.#tell({ event: 'message', job: job?.id, stage: job?.stage, message: text });
  }

  /** All is written. */
  async close(): Promise<void> {
    await this.#writing;
  }

  #tell(event: Omit<NightEvent, 'time' | 'run'>): void {
    this.#pending.push({ time: new Date().toISOString(), run: this.#run, ...event });
    if (this.#pending.length > 1) return; // A write is on its way and takes this one along.
    this.#writing = this.#writing.then(async () => {
      const events = this.#pending;
      this.#pending = [];
      await appendEvents(this.#store, this.#level, this.#index, events);
    });
    this.#writing.catch(() => undefined); // `close` throws it
  }
}

/** Tells several sinks, of the jobs that are meant alone. */
function forJobs(each: readonly RunSink[], ids: readonly string[]): RunSink {
  const jobs = new Set(ids);
  return {
    begin(job, attempt) {
      if (jobs.has(job.id)) for (const sink of each) sink.begin(job, attempt);
    },
    retry(job, outcome, waitSeconds) {
      if (jobs.has(job.id)) for (const sink of each) sink.retry(job, outcome, waitSeconds);
    },
    end(job, outcome) {
      if (jobs.has(job.id)) for (const sink of each) sink.end(job, outcome);
    },
    message(text, job) {
      for (const sink of each) sink.message(text, job);
    },
  };
}
