/** The log files of a night: one for each exposure, one for what joins exposures, all with the id of the run. */
import type { Store } from '../store/index.js';
import { exposureText } from './graph.js';
import type { Job, NightEvent } from './job.js';

/** Lines wait this long [ms]: thousands of jobs a second cost few writes, and a crash loses no more than that. */
const BATCH_MS = 100;

/** Log file of a job, relative to the output directory. */
export function logOf({ tele, mjd, exposure }: Job['identity']): string {
  return `log/${tele}/${mjd}/${exposure === undefined ? 'night' : exposureText(exposure)}.jsonl`;
}

/** Appends events to the logs of an output directory, in batches. */
export class NightLog {
  readonly #store: Store;
  readonly #lines = new Map<string, string[]>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #problem: unknown;

  constructor(store: Store) {
    this.#store = store;
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
   * @throws StorageError, also of an earlier batch: a night whose log cannot be written must not go on unseen
   */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(async () => {
      const batch = [...this.#lines];
      this.#lines.clear();
      try {
        for (const [file, lines] of batch) await this.#store.appendLines(file, lines);
      } catch (error) {
        this.#problem ??= error;
      }
    });
    await this.#writing;
    if (this.#problem !== undefined) throw this.#problem;
  }
}
