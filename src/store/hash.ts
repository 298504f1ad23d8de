/** sha256 of files, streamed. */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { InputError } from '../core/errors.js';
import { inputFailure, nodeFs, type StoreFs } from './fs.js';

/** Bytes a read: the buffer stays in L2 while it is hashed, and larger reads were not faster (64 KiB to 4 MiB tried). */
const READ_BYTES = 1 << 20;

export interface FileHash {
  /** 64 lower-case hex digits. */
  readonly sha256: string;
  readonly bytes: number;
}

/**
 * sha256 and length of an open file, from its start to its end. Memory: one buffer of 1 MiB.
 * @param each sees every piece before it is hashed, with the piece's offset in the file; what it throws stops the reading
 */
export async function hashHandle(
  fs: StoreFs,
  file: FileHandle,
  each?: (piece: Uint8Array, offset: number) => void,
): Promise<FileHash> {
  const buffer = new Uint8Array(READ_BYTES);
  const hash = createHash('sha256');
  let bytes = 0;
  for (;;) {
    const count = await fs.read(file, buffer, bytes);
    if (count === 0) return { sha256: hash.digest('hex'), bytes };
    const piece = buffer.subarray(0, count);
    each?.(piece, bytes);
    hash.update(piece);
    bytes += count;
  }
}

/** Hashes of files that were seen in this process, by identity. Calibrations are hashed once a process, not once a product. */
const seen = new Map<string, FileHash>();
const SEEN_MAX = 10_000;

/**
 * A file changed so recently [ns] may change again within the same tick of its time stamp (4 ms on ext4 before Linux 6.13,
 * 1 s or 2 s on some file systems), so its hash is not remembered.
 */
const SETTLED_NS = 2_500_000_000n;

const identity = (stats: BigIntStats): string =>
  [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(':');

/**
 * sha256 and length of an input file. Remembered within the process by device, inode, size and times.
 * @throws InputError when it does not exist, is not a regular file, or changes while it is read; StorageError when the
 *   system refuses to read it (permission, I/O error, too many open files)
 */
export async function hashFile(path: string, options: { fs?: StoreFs; remember?: boolean } = {}): Promise<FileHash> {
  const { fs = nodeFs, remember = true } = options;
  try {
    // Before open: opening a FIFO would wait for its writer.
    if (!(await fs.stat(path)).isFile()) throw new InputError('it is not a regular file', { file: path });
    const file = await fs.open(path, 'r');
    try {
      const before = await fs.fstat(file);
      const known = remember ? seen.get(identity(before)) : undefined;
      if (known !== undefined) return known;
      const result = await hashHandle(fs, file);
      const after = await fs.fstat(file);
      if (identity(before) !== identity(after)) throw new InputError('it changed while it was read', { file: path });
      if (remember && BigInt(Date.now()) * 1_000_000n - after.ctimeNs > SETTLED_NS) {
        if (seen.size >= SEEN_MAX) seen.clear();
        seen.set(identity(after), result);
      }
      return result;
    } finally {
      await fs.close(file);
    }
  } catch (error) {
    throw inputFailure(error, 'read the file', path);
  }
}
