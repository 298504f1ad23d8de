/** A night from raw files to products: list it, lock it, plan it, give the plan to an executor, and tell what happens. */
import { randomBytes } from 'node:crypto';
import { availableParallelism, hostname } from 'node:os';
import { join, resolve } from 'node:path';
import {
  type Almanac,
  almanacName,
  mergeBadLists,
  readBadList,
  scanNight,
  withFibreMaps,
  writeAlmanac,
} from '../almanac/index.js';
import { InputError, RetriableError } from '../core/errors.js';
import type { Exposure } from '../core/exposure.js';
import { processBirth } from '../core/process.js';
import { type Ledger, openLedger, STATE_FOLDER } from '../ledger/index.js';
import { awaitLock, Lock, type LockHolder, openStore, takeLock } from '../store/index.js';
import type { Execution, Executor, RunContext } from './executor.js';
import { exitCodeOf, type Failure } from './failure.js';
import { chipsOf, JOIN } from './graph.js';
import type { Job, NightEvent, NightOptions, Outcome, Plan, RunAbout } from './job.js';
import { ledgerPlace } from './ledger.js';
import { EventSink, logOf, NightLog } from './log.js';
import { absoluteExposures, NIGHT_DEFAULTS, planNight } from './plan.js';
import { NIGHT_INSTRUMENT } from './record.js';
import { defaultMemory } from './resident.js';
import { chosenJobs, leftOut, narrowed, type Selection, withDependents } from './selection.js';
import { waitForSubmissions } from './slurm/active.js';
import { NIGHT_BUILD_WORDS } from './stages.js';

export interface NightRequest extends Selection {
  /** Holds TELE/MJD/, MJD/, or the raw files themselves. */
  readonly raw: string;
  readonly output: string;
  readonly tele: readonly string[];
  readonly mjd: number;
  /** Chips, or 'join' for what joins them; default: the whole night. */
  readonly slices?: readonly string[] | undefined;
  readonly options?: Partial<NightOptions> | undefined;
  /** Lists of bad exposures. */
  readonly bad?: readonly string[] | undefined;
  readonly executor: Executor;
  readonly jobs?: number | undefined;
  readonly threads?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly isolate?: boolean | undefined;
  readonly timeoutSeconds?: number | undefined;
  readonly attempts?: number | undefined;
  /** Wait for another run that works on the same, instead of leaving. */
  readonly wait?: boolean | undefined;
  /** Do the chosen jobs and what depends on them again. */
  readonly again?: boolean | undefined;
  /** Of the ledger, see openLedger. */
  readonly ledger?: string | undefined;
  /** What was asked for, for the ledger: no password, no environment. */
  readonly about?: Readonly<Record<string, unknown>> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The exit code that the signal asks for. */
  readonly signalCode?: (() => number | undefined) | undefined;
  /** Predicted CPU seconds that are done and to be done, and words. */
  readonly onProgress?: ((done: number, total: number, label: string) => void) | undefined;
  readonly onEvent?: ((event: NightEvent) => void) | undefined;
}

export interface NightRun {
  readonly run: string;
  readonly plan: Plan;
  readonly outcomes: readonly Outcome[];
  /** Jobs that were not begun because the run was stopped. */
  readonly unbegun: readonly string[];
  readonly stopped?: Failure | undefined;
  readonly hung?: boolean | undefined;
  /** See Execution. */
  readonly left?: Execution['left'];
  readonly seconds: number;
  /** Of this process and its threads, and of processes that it waited for, also elsewhere. */
  readonly cpuSeconds: number;
  readonly peakBytes?: number | undefined;
  readonly memoryBytes: number;
  /** By the table: that of the most serious failure; what lists and verdicts leave out is none. */
  readonly exitCode: number;
}

/** How often a job is begun whose failures mend themselves. */
const ATTEMPTS = 3;

/** Of builds: every calibration that a night can build. */
const ALL = 'all';

/** The options of a night, with what is not said filled in. */
export function nightOptions(given: Partial<NightOptions> = {}): NightOptions {
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const options: NightOptions = { ...NIGHT_DEFAULTS, ...said };
  const build = options.build.includes(ALL) ? NIGHT_BUILD_WORDS : options.build;
  const fibers = options.fibers === undefined ? undefined : resolve(options.fibers);
  return { ...options, build, fibers, calib: options.calib.map((directory) => resolve(directory)) };
}

function aboutRun(
  { executor, about = {}, slices, tele, mjd, options, raw, bad = [] }: NightRequest,
  { jobs }: Plan,
): RunAbout {
  const counts = { done: 0, todo: 0, dropped: 0 };
  for (const { state } of jobs) counts[state] += 1;
  const request = {
    tele,
    mjd,
    slices: slices ?? null,
    executor: executor.name,
    options: nightOptions(options),
    raw: resolve(raw),
    bad: bad.map((file) => resolve(file)),
    ...about,
  };
  return { host: hostname(), pid: process.pid, born: processBirth(), request, counts };
}

/** `20250701T031500-4711-9af3`: sorts by time, and no two are the same. */
function runId(): string {
  const time = new Date().toISOString().replace(/[-:]|\.\d+Z/g, '');
  return `${time}-${process.pid}-${randomBytes(2).toString('hex')}`;
}

/**
 * What raw files a night has, one almanac for each telescope.
 * @throws InputError when there are none of a telescope; UsageError, StorageError
 */
async function nightAlmanacs({
  raw,
  tele,
  mjd,
  bad = [],
  options,
  signal,
}: Pick<NightRequest, 'raw' | 'tele' | 'mjd' | 'bad' | 'options' | 'signal'>): Promise<Almanac[]> {
  const lists = mergeBadLists(...bad.map((file) => readBadList(file)));
  const almanacs: Almanac[] = [];
  for (const one of tele) {
    const almanac = await scanNight(raw, { tele: one, mjd, instrument: NIGHT_INSTRUMENT, bad: lists, signal });
    if (almanac.exposures.length === 0) throw new InputError(`no raw file of ${one} ${mjd} is there`, { file: raw });
    almanacs.push(options?.fibers === undefined ? almanac : await withFibreMaps(almanac, options.fibers));
  }
  return almanacs;
}

/**
 * All exposures of a night.
 * @throws InputError when there are none of a telescope; UsageError, StorageError
 */
export async function nightExposures(request: Parameters<typeof nightAlmanacs>[0]): Promise<Exposure[]> {
  return (await nightAlmanacs(request)).flatMap(absoluteExposures);
}

/** Tells the caller something before there is a log. */
function sayTo({ onEvent }: NightRequest, run: string, message: string): void {
  onEvent?.({ time: new Date().toISOString(), run, event: 'message', message });
}

/** Locks of the slices of a night, always in the same order: two runs never wait for each other. */
async function lockSlices(
  output: string,
  request: NightRequest,
  slices: readonly string[],
  run: string,
): Promise<Lock[]> {
  const { tele, mjd, wait = false, signal } = request;
  const state = join(output, STATE_FOLDER);
  const locks: Lock[] = [];
  const who = ({ host, pid, since, purpose }: LockHolder) => `pid ${pid} on ${host} since ${since} (run ${purpose})`;
  try {
    for (const one of [...tele].sort()) {
      for (const slice of [...slices].sort()) {
        const what = `${one} ${mjd}, ${slice === JOIN ? 'what joins chips' : `chip ${slice}`}`;
        const name = `${one}-${mjd}-${slice}.lock`;
        const taken = wait
          ? await awaitLock(state, name, run, {
              signal,
              onWait: (holder) => sayTo(request, run, `waiting: ${what} is worked on by ${who(holder)}`),
            })
          : await takeLock(state, name, run);
        if (taken === undefined) throw new RetriableError('interrupted');
        if (!(taken instanceof Lock)) {
          throw new RetriableError(`${what} is worked on by ${who(taken)}; --wait waits for it`, { file: output });
        }
        locks.push(taken);
      }
    }
    return locks;
  } catch (error) {
    await release(locks);
    throw error;
  }
}

async function release(locks: readonly Lock[]): Promise<void> {
  await Promise.allSettled(locks.map((lock) => lock.release()));
}

/**
 * Slices that are locked for those that were asked for. What joins chips takes what the others make, so it waits for them.
 * @throws UsageError for a chip that the night does not have
 */
function lockedSlices(slices: readonly string[] | undefined, exposures: readonly Exposure[]): readonly string[] {
  const all = [...chipsOf(exposures), JOIN];
  return slices === undefined || slices.includes(JOIN) ? all : slices.filter((slice) => all.includes(slice));
}

/** Tells the logs, the ledger and the caller of everything; keeps count for the progress line. */
class Telling extends EventSink {
  readonly #run: string;
  readonly #log: NightLog;
  readonly #ledger: Ledger;
  readonly #request: NightRequest;
  readonly #running = new Map<string, Job>();
  readonly #cost: Map<string, number>;
  readonly #total: number;
  readonly #jobs: number;
  #done = 0;
  #settled = 0;

  constructor(run: string, plan: Plan, request: NightRequest, log: NightLog, ledger: Ledger) {
    super((event, job) => {
      // What never began is told here: no task of an executor knows of it.
      const own = job !== undefined && !(request.executor.writesLogs && (event.outcome?.attempt ?? 1) > 0);
      this.tell(event, ...(own ? [logOf(job.identity)] : []));
    });
    this.#run = run;
    this.#log = log;
    this.#ledger = ledger;
    this.#request = request;
    // A job that costs nothing by its prediction still takes a moment.
    const cost = ({ state, prediction }: Job) => (state === 'todo' ? Math.max(0.01, prediction.cpuSeconds) : 0);
    this.#cost = new Map(plan.jobs.map((job) => [job.id, cost(job)]));
    this.#total = [...this.#cost.values()].reduce((sum, seconds) => sum + seconds, 0);
    this.#jobs = plan.jobs.length;
  }

  /** @param files logs that it goes to */
  tell(event: Omit<NightEvent, 'time' | 'run'>, ...files: readonly string[]): void {
    const whole: NightEvent = { time: new Date().toISOString(), run: this.#run, ...event };
    for (const file of files) this.#log.write(file, whole);
    this.#ledger.record(whole);
    this.#request.onEvent?.(whole);
  }

  planned({ id, stage, identity, state, key, why }: Job): void {
    this.tell({ event: 'planned', job: id, stage, state, key, message: why }, logOf(identity));
  }

  override begin(job: Job, attempt: number): void {
    this.#running.set(job.id, job);
    super.begin(job, attempt);
    this.#progress();
  }

  override retry(job: Job, outcome: Outcome, waitSeconds: number): void {
    this.#running.delete(job.id);
    super.retry(job, outcome, waitSeconds);
  }

  override end(job: Job, outcome: Outcome): void {
    this.#running.delete(job.id);
    this.#settled += 1;
    this.#done += this.#cost.get(job.id) ?? 0;
    super.end(job, outcome);
    this.#progress();
  }

  #progress(): void {
    const [now] = this.#running.keys();
    const more = this.#running.size > 1 ? ` and ${this.#running.size - 1} more` : '';
    const label = `${this.#settled} of ${this.#jobs} jobs${now === undefined ? '' : `; ${now}${more}`}`;
    this.#request.onProgress?.(this.#done, this.#total, label);
  }
}

/** Whether a job is a failure of the night: not where a list or a verdict leaves its exposure out, or another job is to blame. */
function isFailure(job: Job, { attempt, status, failure }: Outcome, byVerdict: boolean): boolean {
  if (status !== 'dropped') return status === 'failed';
  // Not an exposure's fault: there is no memory for it.
  if (failure?.error === 'usage') return true;
  if (byVerdict) return false;
  if (attempt > 0) return true;
  if (job.state !== 'dropped' || job.behind === true) return false;
  const byList = ({ drop, frames }: Exposure) => [drop, ...frames.map((frame) => frame.drop)].some(isByList);
  return job.exposures.length === 0 || !job.exposures.every(byList);
}

const isByList = (drop: Exposure['drop']): boolean => drop !== undefined && drop.by !== 'rule';

/** The failures that decide the exit code. */
export function failuresOf(plan: Plan, outcomes: readonly Outcome[]): Failure[] {
  const jobs = new Map(plan.jobs.map((job) => [job.id, job]));
  const exposureOf = ({ identity: { tele, exposure } }: Job) => `${tele} ${exposure}`;
  const refused = new Set(
    outcomes.flatMap(({ job: id, verdict }) => {
      const job = verdict?.verdict === 'drop' ? jobs.get(id) : undefined;
      return job?.identity.exposure === undefined ? [] : [exposureOf(job)];
    }),
  );
  return outcomes.flatMap((outcome) => {
    const job = jobs.get(outcome.job);
    return job !== undefined && isFailure(job, outcome, refused.has(exposureOf(job))) ? (outcome.failure ?? []) : [];
  });
}

const cpuSecondsSince = (before: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
};

/** What a plan is run with. */
export interface PlanRun {
  readonly run: string;
  readonly log: NightLog;
  readonly ledger: Ledger;
  /** Ids of jobs that are done again although they are done. */
  readonly force: ReadonlySet<string>;
  /** As it was when the run began. */
  readonly cpu: NodeJS.CpuUsage;
}

/**
 * Gives a plan to its executor, and tells logs and ledger what becomes of it. Locks are the caller's business.
 * @throws StorageError when the logs cannot be written
 */
export async function runPlan(
  plan: Plan,
  request: NightRequest,
  { run, log, ledger, force, cpu }: PlanRun,
): Promise<NightRun> {
  const began = performance.now();
  const { executor, tele, mjd, signal, isolate = false } = request;
  const telling = new Telling(run, plan, request, log, ledger);
  const nightLogs = tele.map((one) => logOf({ tele: one, mjd }));
  const about = aboutRun(request, plan);
  telling.tell({ event: 'start', about }, ...nightLogs);
  for (const job of plan.jobs) telling.planned(job);
  const limits = {
    jobs: request.jobs ?? availableParallelism(),
    threads: request.threads ?? 1,
    memoryBytes: request.memoryBytes ?? defaultMemory(),
    timeoutSeconds: request.timeoutSeconds,
    attempts: request.attempts ?? ATTEMPTS,
  };
  const context: RunContext = { run, limits, isolate, force, settled: leftOut(plan, request), signal, sink: telling };
  const execution = await executor.run(plan, context);
  const { outcomes, stopped, hung, left, peakBytes } = execution;
  const interrupted = signal?.aborted === true ? request.signalCode?.() : undefined;
  const exitCode = interrupted ?? stopped?.exitCode ?? exitCodeOf(failuresOf(plan, outcomes));
  const cpuSeconds = cpuSecondsSince(cpu) + (execution.cpuSeconds ?? 0);
  telling.tell({ event: 'finish', about: { ...about, exitCode, cpuSeconds, peakBytes } }, ...nightLogs);
  await log.flush();
  const settled = new Set(outcomes.map(({ job }) => job));
  return {
    run,
    plan,
    outcomes,
    unbegun: plan.jobs.filter(({ id }) => !settled.has(id)).map(({ id }) => id),
    stopped,
    hung,
    left,
    seconds: (performance.now() - began) / 1000,
    cpuSeconds,
    peakBytes,
    memoryBytes: limits.memoryBytes,
    exitCode,
  };
}

/**
 * Runs a night. What is done is not done again; what cannot be done is dropped with its reason and the rest goes on. The same
 * call goes on where one was stopped or killed.
 * @throws RetriableError when another run works on the same; UsageError, InputError, StorageError for what is wrong before
 *   any job is begun; StorageError when the logs cannot be written, which stops the run
 */
export async function runNight(request: NightRequest): Promise<NightRun> {
  const began = performance.now();
  const cpu = process.cpuUsage();
  const output = resolve(request.output);
  const run = runId();
  const threads = request.threads ?? 1;
  const { executor, tele, mjd, signal } = request;
  const almanacs = await nightAlmanacs(request);
  const exposures = almanacs.flatMap(absoluteExposures);
  const store = await openStore(output);
  const locks = await lockSlices(output, request, lockedSlices(request.slices, exposures), run);
  const unlogged = new AbortController();
  const log = new NightLog(output, () => unlogged.abort());
  let ledger: Ledger | undefined;
  try {
    // What was listed stays with what is made of it: the page and the final pass need no raw files to know the night.
    for (const almanac of almanacs) await writeAlmanac(store, almanacName(almanac.tele, almanac.mjd), almanac);
    // Of a join that goes to Slurm, too, the arrays go after those of the chips by themselves.
    const slices =
      executor.name === 'slurm' && request.slices !== undefined
        ? request.slices
        : lockedSlices(request.slices, exposures);
    await waitForSubmissions(
      { output, tele, mjd, slices },
      { wait: request.wait ?? false, signal, say: (text) => sayTo(request, run, text) },
    );
    ledger = await openLedger({
      ...ledgerPlace(output, request.ledger),
      say: (text) => sayTo(request, run, text),
    });
    await ledger.load({ tele, mjd });
    const whole = await planNight({
      exposures,
      mjd,
      tele,
      slices: request.slices,
      output,
      options: nightOptions(request.options),
      threads,
      memory: ledger.hashes,
      again: request.again,
      onProgress: request.onProgress,
    });
    const chosen = chosenJobs(whole, request);
    const again = request.again === true ? withDependents(whole, chosen) : new Set<string>();
    const plan = narrowed(whole, request.again === true ? again : chosen);
    const stop = AbortSignal.any([unlogged.signal, ...(signal === undefined ? [] : [signal])]);
    const done = await runPlan(plan, { ...request, signal: stop }, { run, log, ledger, force: again, cpu });
    return { ...done, seconds: (performance.now() - began) / 1000 };
  } finally {
    await log.flush().catch(() => undefined);
    await ledger?.close().catch(({ message }: Error) => {
      sayTo(request, run, `${message}; the logs have it: rampline status --rebuild makes it again`);
    });
    await release(locks);
  }
}
