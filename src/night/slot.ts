/** Where one job at a time is done: a warm worker thread, or a process for each job. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../core/addon.js';
import { EXIT_CODES } from '../core/errors.js';
import { openPool, type TaskPool } from '../engine/index.js';
import { type Failure, toFailure } from './failure.js';
import type { Outcome, Task } from './job.js';

export interface Slot {
  /** Does a job. Never rejects. */
  run(task: Task): Promise<Outcome>;
  /** Asks the job to end soon. */
  cancel(): void;
  /** Ends the job now, if that can be done without harm to others. */
  kill(): boolean;
  /** Processes beside this one. */
  pids(): readonly number[];
  /** Gives memory back; the next job begins cold. */
  rest(): Promise<void>;
}

/** The compiled module: workers and processes run plain JavaScript, also when this file runs from its source in tests. */
const compiled = (name: string): string => join(packageRoot(), 'build', 'js', 'night', name);

/** The outcome of a job of which nobody told one. */
function lost(task: Task, status: 'dropped' | 'failed', failure: Failure, seconds: number): Outcome {
  return { job: task.job.id, status, products: [], attempt: task.attempt, seconds, failure };
}

/** A worker thread, started with its first job. Its calibrations and images stay for the next one. */
export class ThreadSlot implements Slot {
  readonly #alone: boolean;
  #pool: TaskPool<{ task: Task; alone: boolean }, Outcome> | undefined;
  #control = new Int32Array(new SharedArrayBuffer(8));

  /** @param alone whether this is the only slot of the process */
  constructor(alone: boolean) {
    this.#alone = alone;
  }

  async run(task: Task): Promise<Outcome> {
    const began = performance.now();
    this.#control = new Int32Array(new SharedArrayBuffer(8));
    try {
      this.#pool ??= await openPool(pathToFileURL(compiled('task_worker.js')), 1);
      return await this.#pool.run({ task: { ...task, control: this.#control }, alone: this.#alone });
    } catch (error) {
      return lost(task, 'failed', toFailure(error), (performance.now() - began) / 1000);
    }
  }

  cancel(): void {
    Atomics.store(this.#control, 0, 1);
  }

  /** A thread cannot be ended while native code runs in it. */
  kill(): boolean {
    return false;
  }

  pids(): readonly number[] {
    return [];
  }

  async rest(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.close();
  }
}

/** Signals by which somebody ends a process that did nothing wrong; before it listens to them they end it at once. */
const BY_WILL: ReadonlySet<NodeJS.Signals> = new Set<NodeJS.Signals>(['SIGTERM', 'SIGINT', 'SIGHUP']);

/** A process for each job: what kills it costs that job alone. */
export class ProcessSlot implements Slot {
  #child: ChildProcess | undefined;
  #killed = false;

  async run(task: Task): Promise<Outcome> {
    const began = performance.now();
    const seconds = () => (performance.now() - began) / 1000;
    this.#killed = false;
    let child: ChildProcess;
    try {
      child = spawn(process.execPath, [compiled('task_process.js')], { stdio: ['pipe', 'ignore', 'inherit', 'pipe'] });
    } catch (error) {
      return lost(task, 'failed', toFailure(error), seconds());
    }
    this.#child = child;
    const { control: _, ...plain } = task;
    // A child that is gone before it read its task is told by its exit.
    child.stdin?.on('error', () => undefined);
    child.stdin?.write(`${JSON.stringify(plain)}\n`);
    let answer = '';
    (child.stdio[3] as Readable).setEncoding('utf8').on('data', (text: string) => {
      answer += text;
    });
    const ended = await new Promise<{ code: number | null; signal: NodeJS.Signals | null; error?: Error }>((done) => {
      child.once('error', (error) => done({ code: null, signal: null, error }));
      child.once('close', (code, signal) => done({ code, signal }));
    });
    this.#child = undefined;
    if (answer !== '') {
      try {
        return JSON.parse(answer) as Outcome;
      } catch {
        // It died while it told the outcome: its exit says how.
      }
    }
    const { code, signal, error } = ended;
    if (error !== undefined) return lost(task, 'failed', toFailure(error), seconds());
    if (this.#killed || (signal !== null && BY_WILL.has(signal))) {
      return lost(task, 'failed', failure('retriable', 'it was ended'), seconds());
    }
    if (signal === 'SIGKILL') {
      const message = 'its process was killed by SIGKILL, as the system does when memory runs out';
      return lost(task, 'failed', failure('retriable', message), seconds());
    }
    const how = signal === null ? `its process ended with code ${code} and told nothing` : `it crashed with ${signal}`;
    return lost(task, 'dropped', failure('bug', how), seconds());
  }

  cancel(): void {
    this.#child?.kill('SIGTERM');
  }

  kill(): boolean {
    this.#killed = true;
    this.#child?.kill('SIGKILL');
    return true;
  }

  pids(): readonly number[] {
    return this.#child?.pid === undefined ? [] : [this.#child.pid];
  }

  async rest(): Promise<void> {
    // Nothing stays from one job to the next.
  }
}

function failure(error: 'retriable' | 'bug', message: string): Failure {
  return { error, exitCode: EXIT_CODES[error], message };
}
