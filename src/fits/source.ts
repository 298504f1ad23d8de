/** Where a file's bytes come from: memory, or a descriptor that is read piece by piece. A name is only a name here. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { InputError, StorageError } from '../core/errors.js';

export interface ByteSource {
  readonly size: number;
  /** Reads bytes from `offset` until `into` is full; they must be there. */
  read(offset: number, into: Uint8Array): void;
  /** The bytes themselves, without a copy, where they are in memory. */
  view(offset: number, length: number): Uint8Array | undefined;
  close(): void;
}

/** One read(2) takes at most 2^31 - 1 bytes. */
const MAX_READ = 2 ** 30;

/** Opens a path. It is never taken apart: `x[1].fits`, `http://...` and `!out` are names of files or of nothing. */
export function openSource(path: string): ByteSource {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (error) {
    throw openError(path, error);
  }
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    throw new InputError('not a regular file', { file: path });
  }
  let open = true;
  return {
    size: stat.size,
    read(offset, into) {
      let done = 0;
      while (done < into.byteLength) {
        let got: number;
        try {
          got = readSync(descriptor, into, done, Math.min(into.byteLength - done, MAX_READ), offset + done);
        } catch (cause) {
          throw new StorageError(`reading failed: ${(cause as Error).message}`, { file: path, offset, cause });
        }
        if (got === 0) {
          throw new InputError(`the file ends at byte ${offset + done}; it was cut short while it was read`, {
            file: path,
            offset: offset + done,
          });
        }
        done += got;
      }
    },
    view: () => undefined,
    close() {
      if (open) closeSync(descriptor);
      open = false;
    },
  };
}

function openError(path: string, cause: unknown): InputError | StorageError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ERR_INVALID_ARG_VALUE') {
    return new InputError('no such file: the name contains a NUL character', { file: path, cause });
  }
  if (code === 'ENAMETOOLONG') return new InputError('no such file: the name is too long', { file: path, cause });
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') {
    return new InputError('no such file', { file: path, cause });
  }
  if (code === 'EISDIR') return new InputError('not a regular file', { file: path, cause });
  return new StorageError(`cannot be opened: ${(cause as Error).message}`, { file: path, cause });
}

export function memorySource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.byteLength,
    read: (offset, into) => into.set(bytes.subarray(offset, offset + into.byteLength)),
    view: (offset, length) => bytes.subarray(offset, offset + length),
    close: () => undefined,
  };
}
