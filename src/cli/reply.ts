/** What a verb gives back, and what every verb is given. Printing is main's business alone. */
import type { Command } from 'commander';
import type { ReadLimits } from './options.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** Options that every verb understands. */
export interface GlobalOptions extends ReadLimits {
  readonly json: boolean;
  readonly logLevel: LogLevel;
  readonly jobs?: number | undefined;
  readonly threads?: number | undefined;
  readonly force: boolean;
  readonly output?: string | undefined;
}

/** The result of a verb: the document of --json and the text for people. */
export interface Reply {
  readonly json: Readonly<Record<string, unknown>>;
  readonly text: string;
  /** 0 unless the verb's answer is itself a verdict (diff, verify, ramp with failed files). */
  readonly exitCode?: number;
}

/** What a verb may use of the process. */
export interface Session {
  readonly log: (level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>) => void;
  /** Shows how far a long run is; `label` is a few words. */
  readonly progress: (done: number, total: number, label: string) => void;
  /** Raised by the first SIGINT or SIGTERM. */
  readonly interrupt: Interrupt;
}

export interface Interrupt {
  readonly signal: AbortSignal;
  /** [cancel, progress] on shared memory, for native calls: the first is set on an interrupt. */
  readonly control: Int32Array<SharedArrayBuffer>;
  /** Undefined until then: 130 or 143. */
  exitCode(): number | undefined;
  /** Runs before the process ends after an interrupt, for instance to sweep temporary files. */
  onStop(action: () => Promise<unknown>): void;
}

/** What a verb is: its arguments as commander gives them, its options, the process. */
export type Run<Options> = (
  words: readonly unknown[],
  options: Options & GlobalOptions,
  session: Session,
) => Promise<Reply>;

export interface VerbText {
  readonly name: string;
  /** Of the verbs within one: what is meant where none is named. */
  readonly isDefault?: boolean;
  readonly summary: string;
  /** For programs of ours alone: no help names it. */
  readonly hidden?: boolean;
  /** After the options in --help: what is worth knowing, then the examples. */
  readonly more?: string;
  readonly examples: readonly (readonly [command: string, what: string])[];
}

/** Adds a verb to its parent; `options` may add arguments and options. */
export type Define = <Options>(
  parent: Command,
  text: VerbText,
  shape: (command: Command) => Command,
  run: Run<Options>,
) => Command;
