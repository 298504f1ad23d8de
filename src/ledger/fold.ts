/**
 * What a night's events come to: one row for each run, job and attempt. Pure: the running ledger, the one that is made again
 * from the logs and the tests all use this one fold.
 */
import { BugError, EXIT_CODES } from '../core/errors.js';
import type { JobStatus, LedgerEvent, LedgerOutcome } from './events.js';

/** 'done': it went to its end; 'failed': what is wrong stopped it. */
export const RUN_STATES = ['running', 'done', 'failed', 'interrupted'] as const;
export type RunState = (typeof RUN_STATES)[number];

export interface RunRow {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly born: string | null;
  readonly begun: string;
  readonly ended: string | null;
  /** 'running' also when its process was killed: `processState` tells. */
  readonly state: RunState;
  readonly exitCode: number | null;
  readonly request: Readonly<Record<string, unknown>>;
  readonly counts: Readonly<Record<string, number>>;
}

export interface JobRow {
  readonly id: string;
  readonly stage: string;
  readonly tele: string;
  readonly mjd: number;
  readonly chip: string | null;
  readonly exposure: number | null;
  readonly state: JobStatus;
  /** The state before, in the same run; null for the first, and where the logs are not whole. */
  readonly was: JobStatus | null;
  /** Why it is planned, done or was dropped by the plan. */
  readonly why: string | null;
  /** The run that spoke of it last. */
  readonly run: string | null;
  /** Begun so often in that run. */
  readonly attempts: number;
  readonly key: string | null;
  readonly products: readonly string[];
  readonly failureClass: string | null;
  readonly failureMessage: string | null;
  readonly failureFile: string | null;
  /** Wall and CPU time and largest memory [bytes] of the attempt that ended last; they outlive runs that find it done. */
  readonly seconds: number | null;
  readonly cpuSeconds: number | null;
  readonly peakBytes: number | null;
  readonly verdict: string | null;
  readonly reason: string | null;
  /** 'host pid thread'. */
  readonly place: string | null;
  /** Of the last attempt. */
  readonly begun: string | null;
  readonly updated: string;
}

export interface AttemptRow {
  readonly run: string;
  readonly job: string;
  /** From 1. */
  readonly n: number;
  readonly begun: string | null;
  readonly ended: string | null;
  readonly status: JobStatus;
  readonly place: string | null;
  readonly seconds: number | null;
  readonly failureClass: string | null;
  readonly failureMessage: string | null;
}

export interface Rows {
  readonly runs: readonly RunRow[];
  readonly jobs: readonly JobRow[];
  readonly attempts: readonly AttemptRow[];
}

/** What one event changed. */
export interface Change {
  readonly run?: RunRow | undefined;
  readonly job?: JobRow | undefined;
  readonly attempt?: AttemptRow | undefined;
}

export const STATES: readonly JobStatus[] = ['planned', 'running', 'done', 'skipped', 'dropped', 'failed', 'cancelled'];

/**
 * What may follow within a run. A later run takes a job up from any state, as planned. What is done may be begun (it is done
 * again when asked), found done, or dropped; what was dropped, failed or cancelled stays so until the next run.
 */
const NEXT: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  planned: STATES,
  running: STATES,
  done: ['running', 'done', 'skipped', 'dropped'],
  skipped: ['running', 'skipped'],
  dropped: ['dropped'],
  failed: [],
  cancelled: [],
};

/** 'planned>running', ...: all that the tables accept. */
export const TRANSITIONS: readonly string[] = STATES.flatMap((from) => NEXT[from].map((to) => `${from}>${to}`));

/** The telescope, night, chip and exposure of a job's id: `STAGE-TELE-MJD[-CHIP][-EXPOSURE]`, exposure in four digits or more. */
export function parseJobId(
  id: string,
  stage: string,
): Pick<JobRow, 'stage' | 'tele' | 'mjd' | 'chip' | 'exposure'> | undefined {
  if (!id.startsWith(`${stage}-`)) return undefined;
  const match = /^([^-]+)-(\d+)(?:-(\D[^-]*|\d{1,3}))?(?:-(\d{4,}))?$/.exec(id.slice(stage.length + 1));
  if (match === null) return undefined;
  const [, tele, mjd, chip, exposure] = match;
  return {
    stage,
    tele: tele as string,
    mjd: Number(mjd),
    chip: chip ?? null,
    exposure: exposure === undefined ? null : Number(exposure),
  };
}

/** The stage of a job's id: what stands before the last `-TELE-MJD`. Undefined for what is no id. */
export function stageOfJobId(id: string): string | undefined {
  return /^([a-z0-9][a-z0-9-]*?)-[a-z][a-z0-9]*-\d{5,}(?:-[^-]+){0,2}$/.exec(id)?.[1];
}

const { ok, algorithm, input, calibration, interrupted, terminated } = EXIT_CODES;

/** What an exit code says of a run: it went to its end, whatever it had to leave out; a signal ended it; or it was stopped. */
function stateOf(exitCode: number | null): RunState {
  if (exitCode === interrupted || exitCode === terminated) return 'interrupted';
  return [ok, algorithm, input, calibration].some((code) => code === exitCode) ? 'done' : 'failed';
}

const NOTHING = {
  attempts: 0,
  key: null,
  products: [],
  failureClass: null,
  failureMessage: null,
  failureFile: null,
  seconds: null,
  cpuSeconds: null,
  peakBytes: null,
  verdict: null,
  reason: null,
  place: null,
  begun: null,
} as const;

export interface FoldOptions {
  /**
   * A transition that is none is a bug of who records it. Not strict: it is taken as it stands, for logs that several
   * machines wrote, or of which a part is gone.
   */
  readonly strict: boolean;
}

export class Fold {
  readonly runs = new Map<string, RunRow>();
  readonly jobs = new Map<string, JobRow>();
  /** By run, job and number. */
  readonly attempts = new Map<string, AttemptRow>();
  readonly #strict: boolean;

  constructor({ strict }: FoldOptions) {
    this.#strict = strict;
  }

  /** Begins with rows that are known. */
  take({ runs, jobs, attempts }: Rows): void {
    for (const run of runs) this.runs.set(run.id, run);
    for (const job of jobs) this.jobs.set(job.id, job);
    for (const attempt of attempts) this.attempts.set(attemptKey(attempt), attempt);
  }

  /** Sorted: runs by their begin, jobs by id, attempts by run, job and number. */
  rows(): Rows {
    const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
    return {
      runs: [...this.runs.values()].sort((a, b) => order(a.begun, b.begun) || order(a.id, b.id)),
      jobs: [...this.jobs.values()].sort((a, b) => order(a.id, b.id)),
      attempts: [...this.attempts.values()].sort((a, b) => order(a.run, b.run) || order(a.job, b.job) || a.n - b.n),
    };
  }

  /**
   * Takes an event in.
   * @throws BugError (strict) when the job cannot come into that state, or has no legal id
   */
  apply(event: LedgerEvent): Change {
    switch (event.event) {
      case 'start':
      case 'finish':
        return this.#run(event);
      case 'planned':
        return this.#planned(event);
      case 'begin':
        return this.#begin(event);
      case 'retry':
      case 'end':
        return event.outcome === undefined ? {} : this.#end(event, event.outcome);
      default:
        return {};
    }
  }

  #run(event: LedgerEvent): Change {
    const { about, time, run: id } = event;
    const known = this.runs.get(id);
    if (event.event === 'start') {
      if (about === undefined) return {};
      // Several telescopes have a log each, and each says that the run began.
      if (known !== undefined) return {};
      const run: RunRow = {
        id,
        host: about.host,
        pid: about.pid,
        born: about.born ?? null,
        begun: time,
        ended: null,
        state: 'running',
        exitCode: null,
        request: about.request,
        counts: about.counts ?? {},
      };
      this.runs.set(id, run);
      return { run };
    }
    if (known === undefined || known.ended !== null) return {};
    const exitCode = about?.exitCode ?? null;
    const state = stateOf(exitCode);
    const run: RunRow = { ...known, ended: time, state, exitCode };
    this.runs.set(id, run);
    return { run };
  }

  /** The row of an event's job as the event's run finds it, and the state it comes from. */
  #before({ job, outcome, stage, run, time }: LedgerEvent): { readonly row: JobRow; readonly from: JobStatus } {
    const id = job ?? outcome?.job ?? '';
    const known = this.jobs.get(id);
    if (known !== undefined) {
      return known.run === run
        ? { row: known, from: known.state }
        : { row: { ...known, run, attempts: 0 }, from: 'planned' };
    }
    const name = stage ?? stageOfJobId(id) ?? '';
    const parts = parseJobId(id, name);
    if (parts === undefined) throw new BugError(`"${id}" is not the id of a job of stage "${name}"`);
    const row = { id, ...parts, ...NOTHING, state: 'planned', was: null, why: null, run, updated: time } as const;
    return { row, from: 'planned' };
  }

  #set(row: JobRow, from: JobStatus, attempt?: AttemptRow): Change {
    let was: JobStatus | null = from;
    if (!NEXT[from].includes(row.state)) {
      if (this.#strict) throw new BugError(`the job ${row.id} cannot become ${row.state}: it is ${from}`);
      was = null;
    }
    const job: JobRow = { ...row, was };
    this.jobs.set(job.id, job);
    if (attempt !== undefined) this.attempts.set(attemptKey(attempt), attempt);
    return { job, attempt };
  }

  #planned(event: LedgerEvent): Change {
    const { row: before, from } = this.#before(event);
    const { state = 'todo', message, key, time } = event;
    const now = { state: state === 'todo' ? 'planned' : state, why: message ?? null, updated: time } as const;
    // Found done: what its last attempt cost is still true. Otherwise a new life begins.
    if (state === 'done') {
      const failure = { failureClass: null, failureMessage: null, failureFile: null };
      return this.#set({ ...before, ...now, ...failure, key: key ?? before.key }, from);
    }
    return this.#set({ ...before, ...NOTHING, ...now, key: key ?? null }, from);
  }

  #begin(event: LedgerEvent): Change {
    const { row: before, from } = this.#before(event);
    const { time, run, where, attempt: n = before.attempts + 1 } = event;
    const place = where ?? null;
    const { key } = before;
    const row = {
      ...before,
      ...NOTHING,
      key,
      state: 'running',
      attempts: n,
      place,
      begun: time,
      updated: time,
    } as const;
    const none = { ended: null, seconds: null, failureClass: null, failureMessage: null };
    return this.#set(row, from, { run, job: row.id, n, begun: time, status: 'running', place, ...none });
  }

  #end(event: LedgerEvent, outcome: LedgerOutcome): Change {
    const { row: before, from } = this.#before(event);
    const { time, run } = event;
    const { status, attempt: n, failure, verdict } = outcome;
    const state: JobStatus = event.event === 'retry' ? 'planned' : status;
    const failed = {
      failureClass: failure?.error ?? null,
      failureMessage: failure?.message ?? null,
      failureFile: failure?.file ?? null,
    };
    const place = outcome.where ?? before.place;
    const common = {
      ...before,
      ...failed,
      state,
      updated: time,
      key: outcome.key ?? before.key,
      products: outcome.products.length > 0 ? outcome.products : before.products,
      verdict: verdict?.verdict ?? before.verdict,
      reason: verdict?.reason ?? before.reason,
    };
    // It never began: nothing was spent, and what it cost when it was made is still true.
    if (n === 0) return this.#set(common, from);
    const row = {
      ...common,
      attempts: Math.max(before.attempts, n),
      place,
      // Skipped: another made it meanwhile, or before.
      ...(status === 'skipped' && before.seconds !== null
        ? {}
        : {
            seconds: outcome.seconds,
            cpuSeconds: outcome.cpuSeconds ?? null,
            peakBytes: outcome.peakBytes ?? null,
          }),
    };
    const { failureClass, failureMessage } = failed;
    const began = this.attempts.get(attemptKey({ run, job: row.id, n }))?.begun ?? null;
    const { seconds } = outcome;
    return this.#set(row, from, {
      run,
      job: row.id,
      n,
      begun: began,
      ended: time,
      status,
      place,
      seconds,
      failureClass,
      failureMessage,
    });
  }
}

const attemptKey = ({ run, job, n }: Pick<AttemptRow, 'run' | 'job' | 'n'>): string => `${run}\n${job}\n${n}`;
