/** The vocabulary of a night's run: jobs, what becomes of them, and what is told about it. Data only. */
import type { ErrorClass } from '../core/errors.js';
import type { Exposure } from '../core/exposure.js';
import type { JobIdentity, Prediction, Scope } from '../stages/stage.js';
import type { Failure } from './failure.js';

/** What a job needs before it may run. */
export interface Need {
  /** Id of the other job. */
  readonly job: string;
  /**
   * Role of its product among the inputs; what 'gate' made is not read. 'calibration': products of a build, which the task is
   * given so that of the night's own calibrations exactly those are candidates.
   */
  readonly role: string;
  /** 'input': its product is read. 'gate': its verdict decides whether the exposure counts. 'order': it only goes first. */
  readonly how: 'input' | 'gate' | 'order';
  /** Of a gate: it is that of the exposure before, whose light may persist. */
  readonly behind?: boolean | undefined;
  /** Exposure for which the gate or the input speaks, where several join. */
  readonly exposure?: number | undefined;
}

/** A raw file among the inputs. */
export interface RawNeed {
  readonly role: string;
  /** Absolute. */
  readonly path: string;
  readonly exposure: number;
  readonly chip: string;
}

export type JobState = 'done' | 'todo' | 'dropped';

export interface Job {
  /** `STAGE-TELE-MJD[-CHIP][-EXPOSURE]`, exposure in four digits: unique in a night. */
  readonly id: string;
  readonly stage: string;
  readonly scope: Scope;
  readonly identity: JobIdentity;
  /** Which of the runs that work side by side does it: that of its chip, or 'join' where it joins chips. */
  readonly slice: string;
  readonly exposures: readonly Exposure[];
  readonly raw: readonly RawNeed[];
  readonly needs: readonly Need[];
  /** How many of the inputs of a role must remain, where several join; a role that is not named: all. */
  readonly least: Readonly<Record<string, number>>;
  /** Names of the products relative to the output directory; those of a build are known once its inputs are. */
  readonly products: readonly string[];
  readonly prediction: Prediction;
  /** When the plan was made. */
  readonly state: JobState;
  /** One sentence: why it is done, what it waits for, or why it was dropped. */
  readonly why: string;
  /** Of a dropped job, where an error is the reason: its class. */
  readonly error?: ErrorClass | undefined;
  /** Of a dropped job: a verdict, or another job that was dropped, is to blame. */
  readonly behind?: boolean | undefined;
  /** Key of the product by content; absent while an input is not made, or not hashed yet. */
  readonly key?: string | undefined;
}

/** How the stages are told to work; the same for all jobs of a run, and what of it decides bytes is part of the keys. */
export interface NightOptions {
  /** Directories of calibrations, asked together: the night's own (OUTPUT/calib) comes first. */
  readonly calib: readonly string[];
  readonly pin?: string | undefined;
  /** Words of calibration builders that the night runs on its own exposures. */
  readonly build: readonly string[];
  /** Parameters of stages and kernels, by name. */
  readonly params: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** File of fibre maps: what the fibres look at, by configuration or plate. */
  readonly fibers?: string | undefined;
  readonly verify: boolean;
  readonly diagnostics: boolean;
}

export interface Plan {
  readonly schema: 'plan/1';
  readonly instrument: string;
  readonly tele: readonly string[];
  readonly mjd: number;
  /** All chips of the night. */
  readonly chips: readonly string[];
  /**
   * Which slices this plan is for; the whole night has all: a chip each, and 'join'. Jobs of other slices are here only where
   * one of these needs them, and are for others to do.
   */
  readonly slices: readonly string[];
  /** Absolute. */
  readonly output: string;
  readonly options: NightOptions;
  /** In an order in which every job comes after its needs. */
  readonly jobs: readonly Job[];
  readonly exposures: readonly Exposure[];
}

/** A job as it goes to a worker: small, plain data, but for `control`. */
export interface Task {
  readonly job: Job;
  readonly output: string;
  readonly options: NightOptions;
  /** Inputs that are left, resolved: products of other jobs and raw files. */
  readonly inputs: readonly { readonly role: string; readonly path: string; readonly identity: JobIdentity }[];
  readonly threads: number;
  readonly lowMemory: boolean;
  /** Do it although it is done. */
  readonly force: boolean;
  /** From 1. */
  readonly attempt: number;
  /** [cancel, progress] on shared memory; a process of its own makes its own. */
  readonly control?: Int32Array | undefined;
}

export type OutcomeStatus = 'done' | 'skipped' | 'dropped' | 'failed' | 'cancelled';

/** What became of a job. 'dropped': bad input of its own or above it, the night goes on; 'failed': the night cannot. */
export interface Outcome {
  readonly job: string;
  readonly status: OutcomeStatus;
  /** Relative to the output directory. */
  readonly products: readonly string[];
  /** Key of the product, as its manifest has it. */
  readonly key?: string | undefined;
  readonly attempt: number;
  /** Wall and CPU time of the task, CPU of all its threads where it can be told. */
  readonly seconds: number;
  readonly cpuSeconds?: number | undefined;
  /** Largest resident memory of the process while it ran [bytes]. */
  readonly peakBytes?: number | undefined;
  readonly summary?: Readonly<Record<string, number | string>> | undefined;
  readonly timings?: readonly { readonly name: string; readonly seconds: number }[] | undefined;
  readonly warnings?: readonly string[] | undefined;
  /** Of a gate: what the product's header says. */
  readonly verdict?: { readonly verdict: 'ok' | 'suspect' | 'drop'; readonly reason: string } | undefined;
  /** Why it was dropped, failed or cancelled. */
  readonly failure?: Failure | undefined;
  /** 'host pid thread'. */
  readonly where?: string | undefined;
}

/** A run as its first and last event tell it. */
export interface RunAbout {
  readonly host: string;
  readonly pid: number;
  /** What tells this process from a later one of the same pid (`processBirth` of src/core); absent where nothing does. */
  readonly born?: string | undefined;
  /** What was asked for: verb, telescopes, night, chips, executor, options. No password, no environment. */
  readonly request: Readonly<Record<string, unknown>>;
  /** Jobs of the plan by state. */
  readonly counts?: Readonly<Record<JobState, number>> | undefined;
  /** Of 'finish'. */
  readonly exitCode?: number | undefined;
  /** Of 'finish': CPU time of all its processes, and the most resident memory that they took together [bytes]. */
  readonly cpuSeconds?: number | undefined;
  readonly peakBytes?: number | undefined;
}

/**
 * A line of an exposure's log file and of the events: what, when, of which job, in which run. The ledger is made of these and
 * of nothing else, so that the logs make it again. 'start' and 'finish' speak of the run and are lines of night.jsonl; 'retry'
 * says that the attempt of its outcome failed and another follows; what has no line but a product is done.
 */
export interface NightEvent {
  /** UTC, ISO 8601 with milliseconds. */
  readonly time: string;
  readonly run: string;
  readonly event: 'start' | 'planned' | 'begin' | 'retry' | 'end' | 'warning' | 'message' | 'finish';
  readonly job?: string | undefined;
  readonly stage?: string | undefined;
  /** Of 'planned': the job's state and key in the plan; `message` says why. */
  readonly state?: JobState | undefined;
  readonly key?: string | undefined;
  /** Of 'begin': which attempt, and 'host pid thread' where it is known before the end. */
  readonly attempt?: number | undefined;
  readonly where?: string | undefined;
  readonly outcome?: Outcome | undefined;
  readonly about?: RunAbout | undefined;
  readonly message?: string | undefined;
}
