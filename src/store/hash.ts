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
  return hashPieces(fs, file, () => buffer, each);
}

/** @param room where the piece at an offset goes; the reading ends where there is none, or at the end of the file */
async function hashPieces(
  fs: StoreFs,
  file: FileHandle,
  room: (offset: number) => Uint8Array,
  each?: (piece: Uint8Array, offset: number) => void,
): Promise<FileHash> {
  const hash = createHash('sha256');
  let bytes = 0;
  for (;;) {
    const into = room(bytes);
    const count = into.byteLength === 0 ? 0 : await fs.read(file, into, bytes);
    if (count === 0) return { sha256: hash.digest('hex'), bytes };
    const piece = into.subarray(0, count);
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

/**
 * A file whose status alone changed while it was read is read again, so often in all: a second name given or taken away (as
 * by our own publishing where nothing may be replaced), an owner, a mode. A writer would have moved size or time of change.
 */
const NAME_TRIES = 3;

const isSettled = ({ ctimeNs }: BigIntStats): boolean => BigInt(Date.now()) * 1_000_000n - ctimeNs > SETTLED_NS;

const identity = (stats: BigIntStats): string =>
  [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(':');

/**
 * Hashes that outlive the process, by path and identity (device, inode, size and times, in one word). `get` answers for the
 * very same identity alone; `set` is called for what was read and will not change within a tick of its time stamp.
 */
export interface HashMemory {
  get(path: string, identity: string): Promise<FileHash | undefined> | FileHash | undefined;
  set(path: string, identity: string, hash: FileHash): void;
}

/**
 * What is known of a file without reading it; undefined for one that was never hashed, changed since, or is not there.
 * @throws StorageError when the system refuses to look
 */
export async function knownHash(path: string, memory: HashMemory): Promise<FileHash | undefined> {
  try {
    const stats = await nodeFs.stat(path);
    return seen.get(identity(stats)) ?? (await memory.get(path, identity(stats)));
  } catch (error) {
    const failure = inputFailure(error, 'look at the file', path);
    if (failure instanceof InputError) return undefined;
    throw failure;
  }
}

/**
 * What tells a file from every earlier and later one of its path: device, inode, size and times, in one word. 'none' where
 * there is no file; undefined for one that changed so recently that it may change again within a tick of its time stamp.
 * @throws StorageError when the system refuses to look
 */
export async function fileIdentity(path: string): Promise<string | undefined> {
  try {
    const stats = await nodeFs.stat(path);
    return isSettled(stats) ? identity(stats) : undefined;
  } catch (error) {
    const failure = inputFailure(error, 'look at the file', path);
    if (failure instanceof InputError) return 'none';
    throw failure;
  }
}

/**
 * sha256 and length of an input file. Remembered within the process by device, inode, size and times, and beyond it by
 * `memory`.
 * @throws InputError when it does not exist, is not a regular file, or changes while it is read; StorageError when the
 *   system refuses to read it (permission, I/O error, too many open files)
 */
export async function hashFile(
  path: string,
  options: { fs?: StoreFs; remember?: boolean; memory?: HashMemory } = {},
): Promise<FileHash> {
  const { fs = nodeFs, remember = true, memory } = options;
  return inspectFile(fs, path, { remember, memory }, async (file, _size, known) => known ?? hashHandle(fs, file));
}

export interface ReadOnce extends FileHash {
  /** The bytes that were hashed; undefined where the caller had no need of them. */
  readonly data: Uint8Array | undefined;
}

/**
 * Reads a whole input file and hashes it on the way: what is used is what was hashed, and each byte comes from the disk
 * once. Errors as `hashFile`.
 * @param allocate memory for so many bytes
 * @param needed asked for a file that was hashed before in this process and has not changed since: whether its bytes are
 *   wanted all the same
 * @param mostBytes a larger file is refused unread
 */
export async function readHashed(
  path: string,
  options: {
    readonly fs?: StoreFs;
    readonly allocate: (bytes: number) => Uint8Array;
    readonly needed: (sha256: string) => boolean;
    readonly mostBytes: number;
  },
): Promise<ReadOnce> {
  const { fs = nodeFs, allocate, needed, mostBytes } = options;
  return inspectFile(fs, path, { remember: true }, async (file, size, known): Promise<ReadOnce> => {
    if (known !== undefined && !needed(known.sha256)) return { ...known, data: undefined };
    if (size > mostBytes) {
      throw new InputError(`expected a file of at most ${mostBytes} bytes, received ${size}`, { file: path });
    }
    const data = allocate(size);
    const result = await hashPieces(fs, file, (offset) => data.subarray(offset, offset + READ_BYTES));
    if (result.bytes !== size) throw new InputError('it changed while it was read', { file: path });
    return { ...result, data };
  });
}

/** Opens an input file, hands it to `work` with its size and what is known of it, and sees that it stayed the same. */
async function inspectFile<T extends FileHash>(
  fs: StoreFs,
  path: string,
  { remember, memory }: { remember: boolean; memory?: HashMemory | undefined },
  work: (file: FileHandle, size: number, known: FileHash | undefined) => Promise<T>,
): Promise<T> {
  try {
    // Before open: opening a FIFO would wait for its writer.
    if (!(await fs.stat(path)).isFile()) throw new InputError('it is not a regular file', { file: path });
    const file = await fs.open(path, 'r');
    try {
      for (let attempt = 1; ; attempt++) {
        const before = await fs.fstat(file);
        const known = remember
          ? (seen.get(identity(before)) ?? (await memory?.get(path, identity(before))))
          : undefined;
        const result = await work(file, Number(before.size), known);
        const after = await fs.fstat(file);
        if (identity(before) !== identity(after)) {
          const sameBytes = before.size === after.size && before.mtimeNs === after.mtimeNs;
          if (sameBytes && attempt < NAME_TRIES) continue;
          throw new InputError('it changed while it was read', { file: path });
        }
        if (remember && isSettled(after)) {
          if (seen.size >= SEEN_MAX) seen.clear();
          const hash = { sha256: result.sha256, bytes: result.bytes };
          seen.set(identity(after), hash);
          if (known === undefined) memory?.set(path, identity(after), hash);
        }
        return result;
      }
    } finally {
      await fs.close(file);
    }
  } catch (error) {
    throw inputFailure(error, 'read the file', path);
  }
}
