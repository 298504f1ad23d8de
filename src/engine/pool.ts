/** The pool of worker threads: one coarse task (an exposure of one chip) for each call, small messages only. */
import { BugError } from '../core/errors.js';

export interface TaskPool<Task, Result> {
  /** Runs a task on the next free worker. Nothing is cloned but the task's own small fields. */
  run(task: Task): Promise<Result>;
  /** Ends the workers. Waits until no task is at work: a worker is never stopped with a native call inside. */
  close(): Promise<void>;
}

/**
 * Opens a pool. piscina is loaded here and not before: one exposure alone needs no pool and must not pay for it.
 * @param file the compiled module whose default export takes a task and returns its result
 * @param workers worker threads; all of them are started when there is work for them
 */
export async function openPool<Task, Result>(file: URL, workers: number): Promise<TaskPool<Task, Result>> {
  const { Piscina } = await import('piscina');
  const pool = new Piscina({
    filename: file.href,
    minThreads: 0,
    maxThreads: workers,
    concurrentTasksPerWorker: 1,
    // Workers wait for messages in their event loop, where native calls report that they are done.
    atomics: 'disabled',
    idleTimeout: Number.POSITIVE_INFINITY,
  });
  const running = new Set<Promise<Result>>();
  // A worker that cannot even begin is told to the pool and to no task: without this its task would wait for ever.
  const broken = new Promise<never>((_, reject) => {
    pool.on('error', (cause: Error) => reject(new BugError(`a worker failed: ${cause.message}`, { cause })));
  });
  broken.catch(() => undefined);
  return {
    run(task) {
      const result: Promise<Result> = Promise.race([pool.run(task) as Promise<Result>, broken]);
      const settled: Promise<Result> = result.finally(() => running.delete(settled));
      running.add(settled);
      settled.catch(() => undefined); // the caller has `settled` too and hears of it there
      return settled;
    },
    async close() {
      await Promise.allSettled(running);
      await pool.destroy();
    },
  };
}
