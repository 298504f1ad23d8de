/**
 * The file-system calls of the store, as one small object: tests wrap it to fail the k-th call, to write short or to die
 * between two calls. No product, manifest or directory is touched past it. Also the one place where an errno becomes an
 * error class.
 */
import type { BigIntStats, Dirent } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InputError, RamplineError, StorageError } from '../core/errors.js';

/** What the store asks of a file system. Every call may reject with a Node errno error; none is retried. */
export interface StoreFs {
  /**
   * `flags` as in fopen: 'r', or 'wx' (O_WRONLY | O_CREAT | O_EXCL, mode 0666 less the umask), or 'a' (O_WRONLY | O_CREAT |
   * O_APPEND) for logs.
   */
  open(path: string, flags: 'r' | 'wx' | 'a'): Promise<FileHandle>;
  /** One pwritev(2). Returns the bytes taken, which may be fewer than offered. */
  write(file: FileHandle, buffers: readonly Uint8Array[], position: number): Promise<number>;
  /** One pread(2) into `into`. Returns the bytes read; 0 is the end of the file. */
  read(file: FileHandle, into: Uint8Array, position: number): Promise<number>;
  fsync(file: FileHandle): Promise<void>;
  fstat(file: FileHandle): Promise<BigIntStats>;
  close(file: FileHandle): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A second name for a file; EEXIST where the name is taken. */
  link(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Follows links. */
  stat(path: string): Promise<BigIntStats>;
  readdir(path: string): Promise<Dirent[]>;
  /** Makes all missing parents too. Returns the first directory that was made, undefined when all were there. */
  mkdir(path: string): Promise<string | undefined>;
}

/**
 * Makes a directory and those above it that are missing; returns the first that was made. Node's own recursive mkdir never
 * comes back where the system says ENOENT for ever, as /proc does (Node 20).
 */
async function makeDirectories(path: string): Promise<string | undefined> {
  const make = async (): Promise<string | undefined> => {
    try {
      await mkdir(path);
      return path;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !(await stat(path)).isDirectory()) throw error;
      return undefined;
    }
  };
  try {
    return await make();
  } catch (error) {
    const above = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || above === path) throw error;
    const first = await makeDirectories(above);
    const own = await make();
    return first ?? own;
  }
}

/** The real file system. */
export const nodeFs: StoreFs = {
  open: (path, flags) => open(path, flags, 0o666),
  write: async (file, buffers, position) => (await file.writev(buffers as Uint8Array[], position)).bytesWritten,
  read: async (file, into, position) => (await file.read(into, 0, into.byteLength, position)).bytesRead,
  fsync: (file) => file.sync(),
  fstat: (file) => file.stat({ bigint: true }),
  close: (file) => file.close(),
  rename: (from, to) => rename(from, to),
  link: (from, to) => link(from, to),
  unlink: (path) => unlink(path),
  stat: (path) => stat(path, { bigint: true }),
  readdir: (path) => readdir(path, { withFileTypes: true }),
  mkdir: makeDirectories,
};

/** What an operator can act on. An errno that is not listed is reported with the system's own words. */
const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on the device',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file is larger than the file system or the process limit allows',
  EIO: 'the device reported an input/output error',
  EROFS: 'the file system is read-only',
  EACCES: 'permission denied',
  EPERM: 'the operation is not permitted',
  EMFILE: 'this process has too many open files (ulimit -n)',
  ENFILE: 'the system has too many open files',
  ENOENT: 'no such file or directory',
  ENOTDIR: 'a part of the path is not a directory',
  EISDIR: 'it is a directory',
  EEXIST: 'something else has this name',
  ENAMETOOLONG: 'the name is too long for the file system',
  ELOOP: 'too many symbolic links',
  ESTALE: 'the network file system lost the file (stale handle)',
};

/** Errnos (and Node's own codes) that say that the caller named something which is not a file: the input's fault. */
const NOT_A_FILE: ReadonlySet<string> = new Set([
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'ENAMETOOLONG',
  'ELOOP',
  'ERR_INVALID_ARG_VALUE', // A NUL in the path.
]);

/** The code of a Node error ('ENOSPC'), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** 'ENOSPC', 'EIO': a failed call. Node's own codes (ERR_...) speak of wrong arguments. */
const ERRNO = /^E[A-Z0-9]+$/;

/**
 * The error for a failed call on a file that the store writes or keeps: a StorageError. What is not a failed call (an error
 * with a class, a fault in the caller's own chunks) passes through unchanged.
 * @param error what was thrown
 * @param doing what was being done, as in "cannot `doing`"
 * @param file the name under which the user knows the file (never a temporary name)
 */
export function storageFailure(error: unknown, doing: string, file: string): unknown {
  const code = errnoOf(error);
  if (error instanceof RamplineError || code === undefined || !ERRNO.test(code)) return error;
  return new StorageError(`cannot ${doing}: ${words(code, error)}`, { file, cause: error });
}

/** As `storageFailure`, for a file that the user handed in: one that is not there, or is not a file, is an InputError. */
export function inputFailure(error: unknown, doing: string, file: string): unknown {
  const code = errnoOf(error);
  if (error instanceof RamplineError || code === undefined || !NOT_A_FILE.has(code)) {
    return storageFailure(error, doing, file);
  }
  return new InputError(`cannot ${doing}: ${words(code, error)}`, { file, cause: error });
}

function words(code: string, error: unknown): string {
  const known = REASONS[code];
  return known === undefined ? String((error as Error).message) : `${known} (${code})`;
}
