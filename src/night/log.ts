/** The log files of a night: one for each exposure, one for what joins exposures, all with the id of the run. */
import { openStore, type Store } from '../store/index.js';
import type { RunSink } from './executor.js';
import { exposureText } from './graph.js';
import type { Job, NightEvent, Outcome } from './job.js';

/** Lines wait this long [ms]: thousands of jobs a second cost few writes, and a crash loses no more than that. */
const BATCH_MS = 100;

/** Node has four threads for files; a few more keep them busy. */
const FILES_AT_ONCE = 16;

/** Log file of a job, relative to the output directory. */
export function logOf({ tele, mjd, exposure }: Job['identity']): string {
  return `log/${tele}/${mjd}/${exposure === undefined ? 'night' : exposureText(exposure)}.jsonl`;
}

/** Appends events to the logs of an output directory, in batches. */
export class NightLog {
  readonly #output: string;
  #store: Promise<Store> | undefined;
  readonly #lines = new Map<string, string[]>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #problem: unknown;
  readonly #onProblem: () => void;

  /** @param onProblem called when a batch cannot be written: a night whose log cannot be written must not go on unseen */
  constructor(output: string, onProblem: () => void = () => undefined) {
    this.#output = output;
    this.#onProblem = onProblem;
  }

  /** @param file relative to the output directory */
  write(file: string, event: NightEvent): void {
    const lines = this.#lines.get(file);
    const line = JSON.stringify(event);
    if (lines === undefined) this.#lines.set(file, [line]);
    else lines.push(line);
    this.#timer ??= setTimeout(() => void this.flush().catch(() => undefined), BATCH_MS);
  }

  /**
   * Writes what waits.
   * @throws StorageError, also of an earlier batch
   */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(async () => {
      const batch = [...this.#lines];
      this.#lines.clear();
      try {
        this.#store ??= openStore(this.#output);
        const store = await this.#store;
        for (let at = 0; at < batch.length; at += FILES_AT_ONCE) {
          const some = batch.slice(at, at + FILES_AT_ONCE);
          await Promise.all(some.map(([file, lines]) => store.appendLines(file, lines)));
        }
      } catch (error) {
        this.#problem ??= error;
        this.#onProblem();
      }
    });
    await this.#writing;
    if (this.#problem !== undefined) throw this.#problem;
  }
}

/** What an executor tells, as events. */
export class EventSink implements RunSink {
  readonly #tell: (event: Omit<NightEvent, 'time' | 'run'>, job: Job | undefined) => void;

  constructor(tell: (event: Omit<NightEvent, 'time' | 'run'>, job: Job | undefined) => void) {
    this.#tell = tell;
  }

  begin(job: Job, attempt: number): void {
    this.#ofJob(job, { event: 'begin', attempt });
  }

  retry(job: Job, outcome: Outcome, waitSeconds: number): void {
    this.#ofJob(job, { event: 'retry', outcome, message: `again in ${waitSeconds} s` });
  }

  end(job: Job, outcome: Outcome): void {
    this.#ofJob(job, { event: 'end', outcome });
  }

  message(text: string, job?: Job): void {
    if (job === undefined) this.#tell({ event: 'message', message: text }, undefined);
    else this.#ofJob(job, { event: 'message', message: text });
  }

  #ofJob(job: Job, event: Omit<NightEvent, 'time' | 'run' | 'job' | 'stage'>): void {
    this.#tell({ ...event, job: job.id, stage: job.stage }, job);
  }
}

/** Events of jobs to their log files alone: for a process that does a part of a run. */
export function logSink(log: NightLog, run: string): RunSink {
  return new EventSink((event, job) => {
    if (job !== undefined) log.write(logOf(job.identity), { time: new Date().toISOString(), run, ...event });
  });
}
