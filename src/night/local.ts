/** The executor of one machine: worker threads, or a process for each job. */
import { join } from 'node:path';
import { EXIT_CODES, RetriableError } from '../core/errors.js';
import { STATE_FOLDER } from '../ledger/index.js';
import { awaitLock, type Lock } from '../store/index.js';
import type { Execution, Executor, RunContext } from './executor.js';
import { type Failure, toFailure } from './failure.js';
import { JOIN } from './graph.js';
import type { Outcome, Plan, Task } from './job.js';
import { knownOutcomes } from './known.js';
import { preferLowMemory } from './ramp.js';
import { MemoryMeter } from './resident.js';
import { detectorOf, Schedule, type Start } from './schedule.js';
import { ProcessSlot, type Slot, ThreadSlot } from './slot.js';

/** A job may take this many times its predicted CPU time, and this long in any case [s]: disks stall, machines are shared. */
const TIMEOUT_FACTOR = 20;
const TIMEOUT_FLOOR_SECONDS = 120;
/** From the request to end until it is ended or given up [ms]. */
const GRACE_MS = 10_000;
/** The same when the whole run is to end: within the time that the command line gives an orderly end [ms]. */
const STOP_GRACE_MS = 3000;
/** How often a job that takes too long is begun. */
const TIMEOUT_ATTEMPTS = 2;
/** Resident memory of a worker thread, and of a process, that has loaded all its code and no image [bytes]; measured. */
const THREAD_BYTES = 40 * 2 ** 20;
const PROCESS_BYTES = 90 * 2 ** 20;

/** How often a job that waits for memory looks again [ms]. */
const ROOM_MS = 100;

/** A slot and what it does. */
interface Place {
  readonly slot: Slot;
  busy: boolean;
  /** Detector of its last job: its calibrations are in memory. */
  warm?: string | undefined;
  /** Stage and detector of its last job: the next one of that kind takes the same images and calibrations, and no others. */
  kind?: string | undefined;
  /** What its worker may have in memory by now, while it works or after [bytes]. */
  holds: number;
}

const timeText = (seconds: number) => `${Number(seconds.toFixed(1))} s`;

/**
 * Jobs on this machine.
 * @param openSlot where a job is done; for tests and benches
 */
export function localExecutor(openSlot?: (context: RunContext) => Slot): Executor {
  const open = openSlot ?? (({ isolate, limits }) => (isolate ? new ProcessSlot() : new ThreadSlot(limits.jobs === 1)));
  return { name: 'local', writesLogs: false, run: (plan, context) => new LocalRun(plan, context, open).run() };
}

class LocalRun {
  readonly #plan: Plan;
  readonly #context: RunContext;
  readonly #schedule: Schedule;
  readonly #places: Place[];
  readonly #meter: MemoryMeter;
  /** All processes and threads of the run before they do anything [bytes]. */
  readonly #idleBytes: number;
  /** Slots whose job could not be ended. */
  readonly #stuck = new Set<Slot>();
  /** Jobs that are being done, not those that wait for memory. */
  #working = 0;
  #wake: () => void = () => undefined;

  constructor(plan: Plan, context: RunContext, open: (context: RunContext) => Slot) {
    const { limits, isolate, force, sink, settled } = context;
    this.#plan = plan;
    this.#context = context;
    this.#places = Array.from({ length: limits.jobs }, () => ({ slot: open(context), busy: false, holds: 0 }));
    this.#meter = new MemoryMeter(() => this.#places.flatMap(({ slot }) => slot.pids()));
    this.#idleBytes = this.#meter.sample() + limits.jobs * (isolate ? PROCESS_BYTES : THREAD_BYTES);
    this.#schedule = new Schedule(
      plan.jobs,
      {
        output: plan.output,
        memoryBytes: limits.memoryBytes - this.#idleBytes,
        lowMemory: withoutCubes(plan, limits.jobs, isolate, limits.memoryBytes - this.#idleBytes),
        attempts: limits.attempts,
        slices: plan.slices,
        force,
        onEnd: (job, outcome) => {
          if (settled?.has(job.id) !== true) sink.end(job, outcome);
        },
        onRetry: (job, outcome, waitSeconds) => sink.retry(job, outcome, waitSeconds),
      },
      knownOutcomes(plan, force, settled),
    );
  }

  async run(): Promise<Execution> {
    const { signal } = this.#context;
    const stop = () => {
      this.#schedule.close();
      const busy = this.#places.filter((place) => place.busy);
      for (const { slot } of busy) slot.cancel();
      setTimeout(() => {
        for (const place of busy) if (place.busy) place.slot.kill();
      }, STOP_GRACE_MS).unref();
      this.#wake();
    };
    signal?.addEventListener('abort', stop);
    if (signal?.aborted === true) stop();
    try {
      while (!this.#schedule.finished) {
        // Before the places are filled: what ends meanwhile wakes at once.
        const woken = new Promise<void>((wake) => {
          this.#wake = wake;
        });
        for (const place of this.#places) {
          if (place.busy) continue;
          const start = this.#schedule.next(performance.now(), place.warm);
          if (start === undefined) break;
          this.#begin(place, start);
        }
        if (!this.#schedule.finished) await this.#wait(woken);
      }
    } finally {
      signal?.removeEventListener('abort', stop);
      await Promise.all(this.#places.filter(({ busy }) => !busy).map(({ slot }) => slot.rest()));
      this.#meter.stop();
    }
    const outcomes = this.#schedule.outcomes();
    const { isolate } = this.#context;
    return {
      outcomes,
      ...(isolate && { cpuSeconds: outcomes.reduce((sum, { cpuSeconds = 0 }) => sum + cpuSeconds, 0) }),
      stopped: this.#schedule.stopped,
      peakBytes: this.#meter.peakBytes,
      ...(this.#stuck.size > 0 && { hung: true }),
    };
  }

  /** Until a job ends, or one that waits for another attempt may begin. */
  async #wait(woken: Promise<void>): Promise<void> {
    const at = this.#schedule.wakeAt();
    const timer = at === undefined ? undefined : setTimeout(this.#wake, Math.max(0, at - performance.now()));
    await woken;
    clearTimeout(timer);
  }

  #begin(place: Place, start: Start): void {
    place.busy = true;
    void this.#do(place, start).then((outcome) => {
      place.busy = this.#stuck.has(place.slot); // its thread still works
      this.#schedule.end(outcome, performance.now());
      this.#wake();
    });
  }

  /** Does a job when there is room for it. */
  async #do(place: Place, start: Start): Promise<Outcome> {
    await this.#makeRoom(place, start);
    try {
      return await this.#alone(place.slot, start);
    } finally {
      this.#working -= 1;
    }
  }

  /**
   * Predictions speak of a worker that has nothing yet, and a warm one keeps what it had. Where that, or what is measured,
   * leaves too little, workers give back what they keep, this one first; then the job waits for others to end.
   */
  async #makeRoom(place: Place, { job, lowMemory }: Start): Promise<void> {
    const { memoryBytes } = this.#context.limits;
    const { peakBytes, lowMemoryBytes = peakBytes } = job.prediction;
    const bytes = lowMemory ? lowMemoryBytes : peakBytes;
    const kind = `${job.stage} ${detectorOf(job)}`;
    const after = () => (place.kind === kind ? Math.max(place.holds, bytes) : place.holds + bytes);
    const fits = () => {
      const more = after() - place.holds;
      const held = this.#places.reduce((sum, { holds }) => sum + holds, this.#idleBytes);
      return held + more <= memoryBytes && this.#meter.sample() + more <= memoryBytes;
    };
    while (!fits()) {
      const keeper = [place, ...this.#places.filter(({ busy }) => !busy)].find(({ holds }) => holds > 0);
      if (keeper !== undefined) {
        keeper.holds = 0;
        keeper.kind = undefined;
        await keeper.slot.rest();
      } else if (this.#working > 0 && !this.#isStopped()) {
        await new Promise((resolve) => setTimeout(resolve, ROOM_MS));
      } else break; // alone it fits as well as it can
    }
    place.holds = after();
    place.kind = kind;
    place.warm = detectorOf(job);
    this.#working += 1;
  }

  #isStopped(): boolean {
    return this.#context.signal?.aborted === true;
  }

  /** Does a job that no other run does at the same time. */
  async #alone(slot: Slot, start: Start): Promise<Outcome> {
    const { job } = start;
    if (isWhole(this.#plan)) return this.#inTime(slot, start);
    // Runs of other chips, beside this one, may want the same job: one does it, the others find it done.
    let claim: Lock | undefined;
    try {
      const { run, signal } = this.#context;
      claim = await awaitLock(join(this.#plan.output, STATE_FOLDER), `${job.id}.lock`, run, { signal });
      if (claim === undefined) throw new RetriableError('interrupted');
      return await this.#inTime(slot, start);
    } catch (error) {
      const { attempt } = start;
      return { job: job.id, status: 'failed', products: [], attempt, seconds: 0, failure: toFailure(error) };
    } finally {
      await claim?.release().catch(() => undefined); // another takes over the lock of a process that is gone
    }
  }

  /** Does a job within its time. */
  async #inTime(slot: Slot, { job, inputs, attempt, lowMemory, force }: Start): Promise<Outcome> {
    const { limits, isolate, sink } = this.#context;
    const { output, options } = this.#plan;
    sink.begin(job, attempt);
    const task: Task = { job, output, options, inputs, threads: limits.threads, lowMemory, force, attempt };
    const running = slot.run(task);
    const most = limits.timeoutSeconds ?? TIMEOUT_FLOOR_SECONDS + TIMEOUT_FACTOR * job.prediction.cpuSeconds;
    const first = await within(running, 1000 * most);
    if (first !== undefined) return first;
    sink.message(`${job.id} takes longer than ${timeText(most)} and is cancelled`, job);
    slot.cancel();
    let outcome = await within(running, GRACE_MS);
    if (outcome === undefined) {
      if (!slot.kill()) {
        const message = `${job.id} did not end within ${timeText(GRACE_MS / 1000)} of being cancelled after ${timeText(most)}; with --isolate such a job can be ended without the others`;
        this.#stuck.add(slot);
        const failure: Failure = { error: 'bug', exitCode: EXIT_CODES.bug, message };
        return { job: job.id, status: 'failed', products: [], attempt, seconds: most, failure };
      }
      outcome = await running;
    }
    if (outcome.status === 'done' || outcome.status === 'skipped') return outcome;
    const failure: Failure = {
      error: 'retriable',
      exitCode: EXIT_CODES.retriable,
      message: `it took longer than ${timeText(most)} (--timeout)${isolate ? '' : ' and was cancelled'}`,
    };
    return { ...outcome, status: attempt < TIMEOUT_ATTEMPTS ? 'failed' : 'dropped', failure };
  }
}

/** Whether no other run works on the same night: what joins chips is only run when all of them are. */
const isWhole = ({ slices }: Plan): boolean => slices.includes(JOIN);

/** What settles within a time, or undefined. */
async function within<T>(work: Promise<T>, milliseconds: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    // setTimeout takes no more than 2^31 - 1 ms.
    timer = setTimeout(() => resolve(undefined), Math.min(milliseconds, 2 ** 31 - 1));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Whether cubes of reads are done without: where they do not pay, as in a process that does one job, and where not all slots
 * have room for one. A cube stays in native memory when its worker rests, so it is all or none.
 */
function withoutCubes({ jobs }: Plan, slots: number, isolate: boolean, memoryBytes: number): boolean {
  const cubes = jobs.filter(({ state, prediction }) => state === 'todo' && prediction.lowMemoryBytes !== undefined);
  const most = cubes.reduce((bytes, { prediction }) => Math.max(bytes, prediction.peakBytes), 0);
  return isolate || preferLowMemory(cubes.length, slots) || slots * most > memoryBytes;
}
