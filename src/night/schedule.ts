/**
 * Which job begins when, and what becomes of those behind a job that failed: logic alone, no clock, no process. The caller asks
 * `next` for a job whenever a slot is free, and tells `end` what came out.
 */
import { BugError, type ErrorClass } from '../core/errors.js';
import type { Failure } from './failure.js';
import type { Job, Outcome, Task } from './job.js';
import { type Decision, decide, droppedUnbegun } from './settle.js';

export interface ScheduleRules {
  /** Directory of the products, absolute. */
  readonly output: string;
  /** What all running jobs together may take beyond the idle processes [bytes]. */
  readonly memoryBytes: number;
  /** Take the way of less memory where a job has one, also where there is room. */
  readonly lowMemory: boolean;
  /** How often a job is begun whose failures mend themselves. */
  readonly attempts: number;
  /** Those of the run: jobs of others that it needs come last, as others may be doing them. */
  readonly slices: readonly string[];
  /** Ids of jobs that are done again although they are done. */
  readonly force: ReadonlySet<string>;
  /** Called once for each job, when it is settled. */
  readonly onEnd: (job: Job, outcome: Outcome) => void;
  readonly onRetry: (job: Job, outcome: Outcome, waitSeconds: number) => void;
}

/** A job that may begin now. */
export interface Start {
  /** Without exposures that were left out. */
  readonly job: Job;
  readonly inputs: Task['inputs'];
  readonly attempt: number;
  readonly lowMemory: boolean;
  readonly force: boolean;
}

/** Wait before the second attempt [s]; doubled before each further one. */
const FIRST_WAIT_SECONDS = 1;

/** A job of the detector for which a worker has the calibrations goes before one that is up to this many times as urgent. */
const WARM_FACTOR = 2;

/** A job of another slice is less urgent than any of the run's own. */
const FOREIGN_FACTOR = 1e-6;

/** Failures of an input, not of the program or the machine: the job is dropped, the night goes on. */
const COSTS_ONE_JOB: ReadonlySet<ErrorClass> = new Set(['input', 'calibration', 'algorithm']);

interface State {
  readonly job: Job;
  /** Place in the plan. */
  readonly at: number;
  readonly detector: string;
  /** CPU time on the longest way from here to an end of the graph, this job included [s]. */
  urgency: number;
  /** Jobs that wait for this one. */
  readonly behind: State[];
  waitsFor: number;
  attempt: number;
  /** Set when all that it needs is settled. */
  ready?: Exclude<Decision, { readonly drop: string }>;
  running: boolean;
  /** Memory that is set aside while it runs. */
  bytes: number;
  outcome?: Outcome;
}

/** Of a job among those that run: it fits, it fits with less memory, it must wait, or it will never fit. */
type Room = 'full' | 'low' | 'later' | 'never';

/** Detector of a job, for `Schedule.next`. */
export function detectorOf({ identity }: Pick<Job, 'identity'>): string {
  return `${identity.tele} ${identity.chip ?? ''}`;
}

/** Jobs that may begin, the most urgent last; equals against the order of the plan. */
class Queue {
  readonly #states: State[] = [];

  get head(): State | undefined {
    return this.#states.at(-1);
  }

  add(state: State): void {
    let low = 0;
    let high = this.#states.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const other = this.#states[middle]!;
      const before = other.urgency < state.urgency || (other.urgency === state.urgency && other.at > state.at);
      if (before) low = middle + 1;
      else high = middle;
    }
    this.#states.splice(low, 0, state);
  }

  takeHead(): void {
    this.#states.pop();
  }
}

export class Schedule {
  readonly #rules: ScheduleRules;
  readonly #known: ReadonlyMap<string, Outcome>;
  readonly #states = new Map<string, State>();
  /** By detector. */
  readonly #ready = new Map<string, Queue>();
  readonly #waiting: { readonly state: State; readonly until: number }[] = [];
  #running = 0;
  #bytes = 0;
  #unsettled: number;
  #stopped: Failure | undefined;
  #closed = false;

  /**
   * @param jobs every job after its needs
   * @param known outcomes of jobs that are settled before anything runs
   * @throws BugError for a need that is not in the graph or comes later
   */
  constructor(jobs: readonly Job[], rules: ScheduleRules, known: ReadonlyMap<string, Outcome> = new Map()) {
    this.#rules = rules;
    this.#known = known;
    this.#unsettled = jobs.length;
    for (const [at, job] of jobs.entries()) {
      if (this.#states.has(job.id)) throw new BugError(`the plan has two jobs ${job.id}`);
      const state: State = {
        job,
        at,
        detector: detectorOf(job),
        urgency: 0,
        behind: [],
        waitsFor: 0,
        attempt: 0,
        running: false,
        bytes: 0,
      };
      for (const id of new Set(job.needs.map((need) => need.job))) {
        const before = this.#states.get(id);
        if (before === undefined) throw new BugError(`${job.id} needs ${id}, which the plan does not have before it`);
        before.behind.push(state);
        state.waitsFor += 1;
      }
      this.#states.set(job.id, state);
    }
    const states = [...this.#states.values()];
    for (const state of states.toReversed()) {
      const behind = state.behind.reduce((most, { urgency }) => Math.max(most, urgency), 0);
      state.urgency = state.job.prediction.cpuSeconds + behind;
    }
    for (const state of states) if (!rules.slices.includes(state.job.slice)) state.urgency *= FOREIGN_FACTOR;
    for (const state of states) {
      const outcome = known.get(state.job.id);
      if (outcome !== undefined) this.#settle(state, outcome);
      else if (state.job.needs.length === 0) this.#arrive(state);
    }
  }

  /** Nothing runs, and nothing will. */
  get finished(): boolean {
    return this.#running === 0 && (this.#closed || this.#unsettled === 0);
  }

  /** The failure after which no further job begins. */
  get stopped(): Failure | undefined {
    return this.#stopped;
  }

  /** Outcomes so far, in the order of the plan. */
  outcomes(): Outcome[] {
    return [...this.#states.values()].flatMap(({ outcome }) => outcome ?? []);
  }

  /** Begins no further job: after a signal, or a failure that is not one job's. */
  close(failure?: Failure): void {
    this.#closed = true;
    this.#stopped ??= failure;
  }

  /** When `next` is worth asking although nothing ended [ms of the caller's clock]. */
  wakeAt(): number | undefined {
    if (this.#closed || this.#waiting.length === 0) return undefined;
    return Math.min(...this.#waiting.map(({ until }) => until));
  }

  /**
   * The job that a free slot takes now. Undefined: ask again when one has ended, or at `wakeAt`.
   * @param now the caller's clock [ms]
   * @param warm detector of the last job of that slot
   */
  next(now: number, warm?: string): Start | undefined {
    if (this.#closed) return undefined;
    for (let k = this.#waiting.length - 1; k >= 0; k--) {
      const { state, until } = this.#waiting[k]!;
      if (until > now) continue;
      this.#waiting.splice(k, 1);
      this.#queueOf(state).add(state);
    }
    let best: { readonly queue: Queue; readonly state: State; readonly room: Room } | undefined;
    for (const queue of this.#ready.values()) {
      const candidate = this.#headThatFits(queue);
      if (candidate !== undefined && (best === undefined || before(candidate.state, best.state, warm))) {
        best = { queue, ...candidate };
      }
    }
    if (best === undefined) return undefined;
    best.queue.takeHead();
    return this.#begin(best.state, best.room);
  }

  /** Takes the outcome of a job that `next` gave: it is settled, or put back for another attempt. */
  end(outcome: Outcome, now: number): void {
    const state = this.#states.get(outcome.job);
    if (state?.running !== true) throw new BugError(`${outcome.job} ended and had not begun`);
    state.running = false;
    this.#running -= 1;
    this.#bytes -= state.bytes;
    const { failure } = outcome;
    if (outcome.status !== 'failed' || failure === undefined) {
      this.#settle(state, outcome);
    } else if (failure.error === 'retriable') {
      if (this.#closed) {
        this.#settle(state, { ...outcome, status: 'cancelled' });
      } else if (state.attempt < this.#rules.attempts) {
        const waitSeconds = FIRST_WAIT_SECONDS * 2 ** (state.attempt - 1);
        this.#waiting.push({ state, until: now + 1000 * waitSeconds });
        this.#rules.onRetry(state.job, outcome, waitSeconds);
      } else {
        const message = `given up after ${state.attempt} attempts: ${failure.message}`;
        this.#settle(state, { ...outcome, status: 'dropped', failure: { ...failure, message } });
      }
    } else if (COSTS_ONE_JOB.has(failure.error)) {
      this.#settle(state, { ...outcome, status: 'dropped' });
    } else {
      this.close(failure);
      this.#settle(state, outcome);
    }
  }

  #queueOf({ detector }: State): Queue {
    let queue = this.#ready.get(detector);
    if (queue === undefined) {
      queue = new Queue();
      this.#ready.set(detector, queue);
    }
    return queue;
  }

  /**
   * The head of a queue, if there is memory for it. Where it must wait those behind it wait too: a large job is not passed by
   * small ones for ever. One that will never fit is dropped.
   */
  #headThatFits(queue: Queue): { readonly state: State; readonly room: Room } | undefined {
    for (let state = queue.head; state !== undefined; state = queue.head) {
      const room = this.#roomFor(state.job);
      if (room === 'later') return undefined;
      if (room !== 'never') return { state, room };
      queue.takeHead();
      this.#settle(state, droppedUnbegun({ ...state.job, error: 'usage' }, this.#tooLarge(state.job)));
    }
    return undefined;
  }

  #roomFor({ prediction }: Job): Room {
    const { lowMemory, memoryBytes } = this.#rules;
    const { peakBytes, lowMemoryBytes } = prediction;
    const free = memoryBytes - this.#bytes;
    if (peakBytes <= free && !(lowMemory && lowMemoryBytes !== undefined)) return 'full';
    const least = lowMemoryBytes ?? peakBytes;
    if (least <= free) return 'low';
    return least <= memoryBytes ? 'later' : 'never';
  }

  #tooLarge({ prediction }: Job): string {
    const megabytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MB`;
    const least = prediction.lowMemoryBytes ?? prediction.peakBytes;
    const left = this.#rules.memoryBytes;
    return left > 0
      ? `it takes ${megabytes(least)} of memory and ${megabytes(left)} are left of what the run may take (--memory)`
      : `it takes ${megabytes(least)} of memory and the run itself ${megabytes(-left)} more than it may take (--memory)`;
  }

  #begin(state: State, room: Room): Start {
    const { peakBytes, lowMemoryBytes = peakBytes } = state.job.prediction;
    state.bytes = room === 'low' ? lowMemoryBytes : peakBytes;
    state.attempt += 1;
    state.running = true;
    this.#bytes += state.bytes;
    this.#running += 1;
    const { job, inputs } = state.ready!;
    return {
      job,
      inputs,
      attempt: state.attempt,
      lowMemory: room === 'low',
      force: this.#rules.force.has(job.id),
    };
  }

  /** All that a job needs is settled: it may begin when there is room, or is dropped. */
  #arrive(state: State): Outcome | undefined {
    const decision = decide(state.job, this.#rules.output, (id) => {
      const { job, outcome } = this.#states.get(id)!;
      return { job, outcome: outcome! };
    });
    if (decision.drop !== undefined) return droppedUnbegun(state.job, decision.drop);
    state.ready = decision;
    this.#queueOf(state).add(state);
    return undefined;
  }

  /** Settles a job, and those behind it that are dropped with it: in a loop, as the way may be long. */
  #settle(first: State, outcome: Outcome): void {
    const ended = [{ state: first, outcome }];
    for (let one = ended.pop(); one !== undefined; one = ended.pop()) {
      const { state } = one;
      state.outcome = one.outcome;
      this.#unsettled -= 1;
      this.#rules.onEnd(state.job, one.outcome);
      // The run ends: what is behind is left for the next one, and not dropped.
      if (one.outcome.status === 'failed' || one.outcome.status === 'cancelled') continue;
      for (const next of state.behind) {
        next.waitsFor -= 1;
        if (next.waitsFor > 0 || this.#known.has(next.job.id)) continue;
        const dropped = this.#arrive(next);
        if (dropped !== undefined) ended.push({ state: next, outcome: dropped });
      }
    }
  }
}

/** Whether a slot takes `a` rather than `b`: by urgency, then where its worker is warm, then by the order of the plan. */
function before(a: State, b: State, warm: string | undefined): boolean {
  const worth = (state: State) => state.urgency * (state.detector === warm ? WARM_FACTOR : 1);
  if (worth(a) !== worth(b)) return worth(a) > worth(b);
  if ((a.detector === warm) !== (b.detector === warm)) return a.detector === warm;
  return a.at < b.at;
}
