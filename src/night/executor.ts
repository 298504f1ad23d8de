/** Between the run and what runs its jobs: an executor takes a plan, tells the sink what happens, and gives outcomes back. */
import type { Failure } from './failure.js';
import type { Job, Outcome, Plan } from './job.js';

/** What a run may take of the machine, and how often it tries. */
export interface RunLimits {
  /** Jobs at once. */
  readonly jobs: number;
  /** Native threads for one job. */
  readonly threads: number;
  /** Resident memory of all processes of the run together [bytes]. */
  readonly memoryBytes: number;
  /** For one job; default: a generous multiple of what was predicted. */
  readonly timeoutSeconds?: number | undefined;
  /** How often a job is begun whose failures mend themselves. */
  readonly attempts: number;
}

/** Hears what becomes of the jobs: the log files, the ledger, the progress line. Calls are cheap; what they write is batched. */
export interface RunSink {
  /** Work on a job begins; `attempt` is from 1. */
  begin(job: Job, attempt: number): void;
  /** An attempt failed and another will be made. */
  retry(job: Job, outcome: Outcome, waitSeconds: number): void;
  /** A job is settled: once for each, also for those that never began (attempt 0). */
  end(job: Job, outcome: Outcome): void;
  message(text: string, job?: Job): void;
}

export interface RunContext {
  /** Id of the run, the same in all log lines. */
  readonly run: string;
  readonly limits: RunLimits;
  /** Each job in a process of its own. */
  readonly isolate: boolean;
  /** Ids of jobs that are done again although they are done. */
  readonly force: ReadonlySet<string>;
  /** Outcomes of jobs of the plan that were settled elsewhere: neither run nor told to the sink. Their state does not count. */
  readonly settled?: ReadonlyMap<string, Outcome> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly sink: RunSink;
}

export interface Execution {
  /** Of every job that was settled, in the order of the plan. Jobs without one were not begun before the run was stopped. */
  readonly outcomes: readonly Outcome[];
  /** Why no further job was begun, where that was not the signal. */
  readonly stopped?: Failure | undefined;
  /** What was handed over and goes on without this process: the run waits for nothing and keeps no lock. */
  readonly left?:
    | { readonly submission: string; readonly arrays: readonly number[]; readonly jobs: number }
    | undefined;
  /** Largest resident memory of all processes of the run together, where the executor measures it [bytes]. */
  readonly peakBytes?: number | undefined;
  /** CPU time of processes elsewhere, where they tell it [s]. */
  readonly cpuSeconds?: number | undefined;
  /** A job could not be ended: whoever called must end the process. */
  readonly hung?: boolean | undefined;
}

export interface Executor {
  readonly name: string;
  /** Its tasks append to the exposures' logs by themselves: the run then does not. */
  readonly writesLogs: boolean;
  /**
   * Runs what is left to do. After `signal` it begins nothing, ends what runs, and returns within 20 s.
   * @throws BugError, StorageError for what is wrong with the executor itself; failures of jobs are outcomes
   */
  run(plan: Plan, context: RunContext): Promise<Execution>;
}
