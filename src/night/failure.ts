/** Errors as they cross from a worker: plain data, and back to their class. */
import { basename, resolve } from 'node:path';
import {
  AlgorithmError,
  BugError,
  CalibrationError,
  type ErrorClass,
  EXIT_CODES,
  InputError,
  RamplineError,
  RetriableError,
  StorageError,
  UsageError,
} from '../core/errors.js';

export interface Failure {
  readonly error: ErrorClass;
  readonly exitCode: number;
  readonly message: string;
  readonly file?: string | undefined;
  readonly hdu?: number | undefined;
  readonly kernel?: string | undefined;
  readonly offset?: number | undefined;
}

const CLASSES = {
  usage: UsageError,
  input: InputError,
  calibration: CalibrationError,
  algorithm: AlgorithmError,
  storage: StorageError,
  retriable: RetriableError,
  bug: BugError,
} as const;

/**
 * From the most serious to the least: what this program or the machine did wrong, then what a person must mend, then what
 * mends itself.
 */
export const SERIOUSNESS: readonly ErrorClass[] = [
  'bug',
  'storage',
  'calibration',
  'input',
  'algorithm',
  'usage',
  'retriable',
];

/** Any error as one of ours: no memory may pass, everything that was not raised on purpose is a bug. */
export function asRamplineError(error: unknown): RamplineError {
  if (error instanceof RamplineError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  const noMemory = error instanceof RangeError && /allocat/i.test(message);
  if (noMemory || code === 'ENOMEM' || code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new RetriableError(`no memory: ${message}`, { cause: error });
  }
  return new BugError(message, { cause: error });
}

export function toFailure(error: unknown): Failure {
  const known = asRamplineError(error);
  const { file, hdu, kernel, offset } = known.context;
  return { error: known.class, exitCode: known.exitCode, message: known.message, file, hdu, kernel, offset };
}

export function fromFailure(failure: Failure): RamplineError {
  const { error, message, ...context } = failure;
  return new CLASSES[error](message, context);
}

/** What failed, for a line about `file`: another file that is to blame is named. */
export function reasonOf({ error, message, file: blamed }: Failure, file: string): string {
  const other = blamed !== undefined && resolve(blamed) !== resolve(file) && !message.includes(basename(blamed));
  return `${error}: ${other ? `${basename(blamed)}: ` : ''}${message}`;
}

/** The exit code of several failures: that of the most serious class, 0 for none. */
export function exitCodeOf(failures: readonly Failure[]): number {
  const worst = SERIOUSNESS.find((name) => failures.some(({ error }) => error === name));
  return worst === undefined ? EXIT_CODES.ok : EXIT_CODES[worst];
}
