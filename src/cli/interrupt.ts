/** Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once. */
import { EXIT_CODES } from '../core/errors.js';
import type { Interrupt } from './reply.js';

export class SignalInterrupt implements Interrupt {
  readonly control = new Int32Array(new SharedArrayBuffer(8));
  readonly #abort = new AbortController();
  readonly #actions: (() => Promise<unknown>)[] = [];
  #code: number | undefined;

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  exitCode(): number | undefined {
    return this.#code;
  }

  onStop(action: () => Promise<unknown>): void {
    this.#actions.push(action);
  }

  /** Begins to listen; `say` tells the person what happens. */
  listen(say: (message: string) => void): void {
    const stop = (code: number) => () => {
      // A second signal means "now". Files under final names are whole at every moment; what is left of temporary ones is
      // swept by the next run into the directory.
      if (this.#code !== undefined) process.exit(code);
      this.#code = code;
      say('stopping; once more to stop at once');
      Atomics.store(this.control, 0, 1);
      this.#abort.abort();
    };
    process.on('SIGINT', stop(EXIT_CODES.interrupted));
    process.on('SIGTERM', stop(EXIT_CODES.terminated));
  }

  /** What was asked for with onStop; failures are ignored, since the next run sweeps too. */
  async stop(): Promise<void> {
    await Promise.allSettled(this.#actions.map((action) => action()));
  }
}
