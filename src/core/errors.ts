/** The one error hierarchy. Each class has an exit code; the table is in README and every row is produced by a test. */

/** Where an error was met: as much as is known. */
export interface ErrorContext {
  readonly file?: string | undefined;
  /** 0-based HDU index. */
  readonly hdu?: number | undefined;
  readonly kernel?: string | undefined;
  /** Byte offset in the file. */
  readonly offset?: number | undefined;
  readonly cause?: unknown;
}

/** Exit codes of the command line, by error class (20 to 31 after LSST's pipe_base; 70 is sysexits' EX_SOFTWARE). */
export const EXIT_CODES = {
  ok: 0,
  usage: 2,
  algorithm: 20,
  input: 21,
  calibration: 22,
  retriable: 30,
  storage: 31,
  bug: 70,
  interrupted: 130,
  terminated: 143,
} as const;

export type ErrorClass = 'usage' | 'input' | 'calibration' | 'algorithm' | 'storage' | 'retriable' | 'bug';

/** Base of every error that Rampline raises on purpose. */
export abstract class RamplineError extends Error {
  abstract readonly class: ErrorClass;
  readonly context: ErrorContext;

  constructor(message: string, context: ErrorContext = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.name = new.target.name;
    this.context = context;
  }

  get exitCode(): number {
    return EXIT_CODES[this.class];
  }

  /** One line for a person: where, then what. */
  describe(): string {
    const { file, hdu, kernel, offset } = this.context;
    const where = [
      file,
      hdu === undefined ? undefined : `HDU ${hdu}`,
      kernel === undefined ? undefined : `kernel ${kernel}`,
      offset === undefined ? undefined : `byte ${offset}`,
    ].filter((part) => part !== undefined);
    return where.length === 0 ? this.message : `${where.join(', ')}: ${this.message}`;
  }

  toJSON(): Record<string, unknown> {
    const { file, hdu, kernel, offset } = this.context;
    return { error: this.class, exitCode: this.exitCode, message: this.message, file, hdu, kernel, offset };
  }
}

/** The caller asked for something that does not exist or is out of range. */
export class UsageError extends RamplineError {
  readonly class = 'usage';
}
/** The bytes of an input are not what they must be. */
export class InputError extends RamplineError {
  readonly class = 'input';
}
/** No valid calibration, or one that must not be used. */
export class CalibrationError extends RamplineError {
  readonly class = 'calibration';
}
/** The input is well formed and the method cannot give a result for it. */
export class AlgorithmError extends RamplineError {
  readonly class = 'algorithm';
}
/** Writing or reading the store failed: disk full, permission, an I/O error. */
export class StorageError extends RamplineError {
  readonly class = 'storage';
}
/** Nothing was changed and the same call may succeed later. */
export class RetriableError extends RamplineError {
  readonly class = 'retriable';
}
/** A promise of this program was broken by this program. */
export class BugError extends RamplineError {
  readonly class = 'bug';
}

/** Classes by the numeric code that native/core/status.h uses. */
const BY_CODE = [
  undefined,
  UsageError,
  InputError,
  CalibrationError,
  AlgorithmError,
  StorageError,
  RetriableError,
  BugError,
];

/** A status as it crosses from native code. */
export interface NativeStatus {
  readonly code: number;
  readonly message: string;
  readonly offset: number;
  readonly expected: number;
  readonly received: number;
}

/** Turns a native status into an error of its class; the numbers follow the message where the status carries them. */
export function errorFromStatus(status: NativeStatus, context: ErrorContext = {}): RamplineError {
  const numbers =
    status.expected === 0 && status.received === 0 ? '' : ` (expected ${status.expected}, received ${status.received})`;
  const Class = BY_CODE[status.code] ?? BugError;
  return new Class(`${status.message}${numbers}`, {
    ...context,
    offset: status.offset >= 0 ? status.offset : context.offset,
  });
}
