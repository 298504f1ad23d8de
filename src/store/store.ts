/** One output directory: how a file gets its final name, and what proves that it is the right file. */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { BugError, StorageError } from '../core/errors.js';
import { errnoOf, nodeFs, type StoreFs, storageFailure } from './fs.js';
import { type FileHash, hashHandle } from './hash.js';
import {
  canonicalJson,
  MANIFEST_MAX_BYTES,
  MANIFEST_SCHEMA,
  type ManifestEntry,
  type ProductRecord,
  parseManifest,
  productKey,
  serializeManifest,
} from './manifest.js';
import { checkName, isTemporaryName, MANIFEST_SUFFIX, temporaryName, temporaryOwner } from './names.js';

/** The bytes of a file, in order. None may change until the promise of the write is settled. */
export type Chunks = readonly Uint8Array[] | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** A temporary file is swept whoever wrote it when it was last written this long ago [ms]: no write lasts a day. */
const OLD_MS = 24 * 3600 * 1000;

/** Buffers (IOV_MAX of Linux) and bytes of one write: many small chunks cost one call, and no call holds a thread for long. */
const BATCH_BUFFERS = 1024;
const BATCH_BYTES = 16 * 1024 * 1024;

/** A file that is to be written. */
export interface NewFile {
  /** Without a directory. */
  readonly name: string;
  readonly data: Uint8Array | string;
}

/** A file that is whole and durable under a temporary name. */
interface Staged extends FileHash {
  readonly temporary: string;
  readonly stats: BigIntStats;
}

/**
 * Opens (and makes, with its parents) an output directory, and sweeps what dead writers left in it.
 * @throws StorageError
 */
export async function openStore(directory: string, options: { fs?: StoreFs } = {}): Promise<Store> {
  const store = new Store(resolve(directory), options.fs ?? nodeFs);
  await store.prepare(store.directory);
  return store;
}

export class Store {
  /** Absolute. */
  readonly directory: string;
  readonly #fs: StoreFs;
  readonly #prepared = new Map<string, Promise<void>>();
  /** Logs that are known to end with a newline. */
  readonly #whole = new Set<string>();

  /** For `openStore`. */
  constructor(directory: string, fs: StoreFs) {
    this.directory = directory;
    this.#fs = fs;
  }

  /** The absolute path of a product. Throws UsageError for a name that is not allowed. */
  pathOf(name: string): string {
    checkName(name);
    return join(this.directory, name);
  }

  /**
   * Writes a product and its manifest. Under the final name there is at every moment either nothing, the old product or
   * the new one, each whole; the manifest never speaks of a file that is not there.
   * @param name relative to the directory; '/' makes subdirectories
   * @param chunks the bytes; an array is written from where it lies and compared with what was read back
   * @param options replace: false refuses a name that is taken, also where another process takes it at this moment;
   *   companions: files written with the product, into its directory and before it, that are part of whether it is done
   * @throws StorageError (nothing is left behind, and the same call may be made again), UsageError for the name
   */
  async writeProduct(
    name: string,
    chunks: Chunks,
    record: ProductRecord,
    { replace = true, companions = [] }: { readonly replace?: boolean; readonly companions?: readonly NewFile[] } = {},
  ): Promise<ManifestEntry> {
    const path = this.pathOf(name);
    const manifestPath = path + MANIFEST_SUFFIX;
    const key = productKey(record);
    await this.#prepareFor(path);
    const staged: Staged[] = [];
    try {
      const beside: { readonly path: string; readonly file: Staged }[] = [];
      for (const { name: other, data } of companions) {
        const target = this.pathOf([...name.split('/').slice(0, -1), other].join('/'));
        const file = await this.#stage(target, [typeof data === 'string' ? Buffer.from(data, 'utf8') : data]);
        staged.push(file);
        beside.push({ path: target, file });
      }
      const product = await this.#stage(path, chunks);
      staged.push(product);
      const entry: ManifestEntry = {
        manifest: MANIFEST_SCHEMA,
        product: basename(path),
        bytes: product.bytes,
        sha256: product.sha256,
        key,
        schema: record.schema,
        software: record.software,
        created: new Date().toISOString(),
        inputs: record.inputs,
        calibrations: record.calibrations,
        parameters: record.parameters,
        kernels: record.kernels,
        inode: String(product.stats.ino),
        mtimeNs: String(product.stats.mtimeNs),
        ...(beside.length > 0 && {
          companions: beside.map(({ path: one, file: { bytes, sha256 } }) => ({ name: basename(one), bytes, sha256 })),
        }),
      };
      // Staged before either rename: a full disk is met while nothing has changed.
      const manifest = await this.#stage(manifestPath, [Buffer.from(serializeManifest(entry), 'utf8')]);
      staged.push(manifest);
      // The old entry goes first: killed here, the product counts as not done; it never carries another product's entry.
      if (replace) await this.#removeIfThere(manifestPath);
      for (const { path: target, file } of beside) await this.#commit(file, target);
      await this.#commit(product, path, replace);
      await this.#commit(manifest, manifestPath);
      return entry;
    } catch (error) {
      throw await this.#discard(staged, error, path);
    }
  }

  /**
   * Writes a file that has no manifest (a report, a picture), in the same way. `verifyDirectory` calls it 'unlisted'.
   * @throws StorageError, UsageError
   */
  async writeFile(name: string, data: Uint8Array | string): Promise<FileHash> {
    const path = this.pathOf(name);
    await this.#prepareFor(path);
    const staged: Staged[] = [];
    try {
      const file = await this.#stage(path, [typeof data === 'string' ? Buffer.from(data, 'utf8') : data]);
      staged.push(file);
      // A product of this name, if there was one, is gone after this: so is its claim.
      await this.#removeIfThere(path + MANIFEST_SUFFIX);
      await this.#commit(file, path);
      return { sha256: file.sha256, bytes: file.bytes };
    } catch (error) {
      throw await this.#discard(staged, error, path);
    }
  }

  /**
   * Proves that files can be made durable here: a small temporary file goes all the way but the last step, and is removed.
   * @throws StorageError
   */
  async probe(): Promise<void> {
    const path = this.pathOf('probe');
    await this.#prepareFor(path);
    const staged = await this.#stage(path, [Buffer.from('probe', 'utf8')]);
    const failure = await this.#discard([staged], undefined, path);
    if (failure !== undefined) throw failure;
    await this.#syncDirectory(this.directory);
  }

  /** `writeFile` of indented JSON. Throws BugError for what JSON cannot carry exactly (NaN, undefined). */
  async writeJson(name: string, value: unknown): Promise<FileHash> {
    canonicalJson(value);
    return this.writeFile(name, `${JSON.stringify(value, null, 2)}\n`);
  }

  /**
   * Adds lines to the end of a log, which is made where there is none. One write with O_APPEND: lines of several processes of
   * one machine never mix; a network file system may promise less. Not synced: a log may lose its last lines with the power,
   * and a reader passes over a last line that is cut: what comes after it begins on a line of its own.
   * @param lines each without its newline
   * @throws StorageError, UsageError
   */
  async appendLines(name: string, lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return;
    const path = this.pathOf(name);
    await this.#prepareFor(path);
    try {
      const cut = await this.#isCut(path);
      const file = await this.#fs.open(path, 'a');
      await using(this.#fs, file, async () => {
        let left: Uint8Array = Buffer.from(`${cut ? '\n' : ''}${lines.join('\n')}\n`, 'utf8');
        // Short only where the disk is full, and then the next write says so. The position means nothing with O_APPEND.
        while (left.length > 0) left = left.subarray(await this.#fs.write(file, [left], 0));
      });
    } catch (error) {
      this.#whole.delete(path);
      throw storageFailure(error, 'append to the file', path);
    }
  }

  /**
   * Removes a file that is made again from others: an index. One that is not there is none the worse.
   * @throws StorageError, UsageError
   */
  async removeFile(name: string): Promise<void> {
    await this.#removeIfThere(this.pathOf(name), 'remove the file');
  }

  /** Whether a log ends in the middle of a line, as one whose writer was killed does. Looked at once: own lines are whole. */
  async #isCut(path: string): Promise<boolean> {
    if (this.#whole.has(path)) return false;
    this.#whole.add(path);
    let file: FileHandle;
    try {
      file = await this.#fs.open(path, 'r');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw error;
    }
    let cut = false;
    await using(this.#fs, file, async () => {
      const { size } = await this.#fs.fstat(file);
      const last = Buffer.alloc(1);
      cut = size > 0n && (await this.#fs.read(file, last, Number(size) - 1)) === 1 && last[0] !== 0x0a;
    });
    return cut;
  }

  /** The manifest entry of a product, undefined when there is none or it cannot be believed. Throws StorageError. */
  async readManifest(name: string): Promise<ManifestEntry | undefined> {
    return readManifest(this.pathOf(name), { fs: this.#fs });
  }

  /**
   * Whether a step need not be done again: its product's manifest carries `key`, and the file is the one that the manifest
   * describes: of its size and either untouched since (inode and modification time), or of its sha256.
   * @param key from `productKey`
   * @throws StorageError when the disk does not answer; a missing or damaged file is only "not done"
   */
  async isDone(name: string, key: string): Promise<boolean> {
    const entry = await this.readManifest(name);
    if (entry === undefined || entry.key !== key) return false;
    return (await compareProduct(this.#fs, this.pathOf(name), entry, 'trust-untouched')) === undefined;
  }

  /**
   * Removes temporary files of writers that are dead, or that are a day old, from one directory of the store.
   * A file that cannot be removed stays: sweeping is housekeeping, and a later run tries again.
   * @param own also those of this process (all its threads), for an orderly stop after an interrupt
   * @returns the names removed
   */
  async sweep(subdirectory = '', own = false): Promise<string[]> {
    const directory = subdirectory === '' ? this.directory : this.pathOf(subdirectory);
    const removed: string[] = [];
    try {
      for (const { name } of await this.#fs.readdir(directory)) {
        if (!isTemporaryName(name)) continue;
        const path = join(directory, name);
        try {
          const owner = temporaryOwner(name);
          const dead =
            owner === 'dead' ||
            (own && owner === 'own') ||
            Date.now() - Number((await this.#fs.stat(path)).mtimeMs) > OLD_MS;
          if (!dead) continue;
          await this.#fs.unlink(path);
          removed.push(name);
        } catch {
          // Swept by another, or not ours to remove.
        }
      }
    } catch (error) {
      throw storageFailure(error, 'list the directory', directory);
    }
    return removed;
  }

  /** For `openStore` and the writers: makes a directory durable and sweeps it, once for each directory. */
  prepare(directory: string): Promise<void> {
    let done = this.#prepared.get(directory);
    if (done === undefined) {
      done = this.#makeDirectory(directory).then(async () => {
        await this.sweep(directory === this.directory ? '' : directory.slice(this.directory.length + 1));
      });
      this.#prepared.set(directory, done);
      done.catch(() => this.#prepared.delete(directory));
    }
    return done;
  }

  async #prepareFor(path: string): Promise<void> {
    await this.prepare(dirname(path));
  }

  async #makeDirectory(directory: string): Promise<void> {
    try {
      const first = await this.#fs.mkdir(directory);
      if (first === undefined) return;
      // A new directory lasts when the one that holds it has been synced.
      const top = dirname(resolve(first));
      for (let holder = dirname(directory); ; holder = dirname(holder)) {
        await this.#syncDirectory(holder);
        if (holder === top || holder === dirname(holder)) return;
      }
    } catch (error) {
      throw storageFailure(error, 'make the directory', directory);
    }
  }

  /** Temp file (O_EXCL) > write > fsync > verify, or nothing at all. `path` is the name it is meant for. */
  async #stage(path: string, chunks: Chunks): Promise<Staged> {
    const temporary = join(dirname(path), temporaryName());
    const step = { doing: 'create the file' };
    let made = false;
    try {
      const file = await this.#fs.open(temporary, 'wx');
      made = true;
      let stats: BigIntStats;
      let written: { bytes: number; sha256: string | undefined };
      await using(this.#fs, file, async () => {
        step.doing = 'write';
        written = await this.#writeAll(file, chunks, path);
        step.doing = 'make the file durable (fsync)';
        await this.#fs.fsync(file);
        stats = await this.#fs.fstat(file);
      });
      step.doing = 'read back what was written';
      const found = await this.#readBack(temporary, path, Array.isArray(chunks) ? chunks : undefined);
      const { bytes, sha256 } = written!;
      if (found.bytes !== bytes || Number(stats!.size) !== bytes || (sha256 !== undefined && found.sha256 !== sha256)) {
        const wanted = `${bytes} bytes${sha256 === undefined ? '' : ` of sha256 ${sha256}`}`;
        throw new StorageError(`${wanted} were written and ${found.bytes} of sha256 ${found.sha256} were read back`, {
          file: path,
        });
      }
      return { ...found, temporary, stats: stats! };
    } catch (error) {
      throw await this.#discard(made ? [{ temporary }] : [], storageFailure(error, step.doing, path), path);
    }
  }

  /** Writes every byte, however short the system's writes are. The hash is made for chunks that cannot be seen again. */
  async #writeAll(
    file: FileHandle,
    chunks: Chunks,
    path: string,
  ): Promise<{ bytes: number; sha256: string | undefined }> {
    const hash = Array.isArray(chunks) ? undefined : createHash('sha256');
    let position = 0;
    const batch: Uint8Array[] = [];
    let batchBytes = 0;
    const flush = async (): Promise<void> => {
      while (batch.length > 0) {
        let count = await this.#fs.write(file, batch, position);
        if (count === 0) throw new StorageError('the system took no bytes and gave no error', { file: path });
        position += count;
        while (batch.length > 0 && count >= batch[0]!.byteLength) count -= batch.shift()!.byteLength;
        if (count > 0) batch[0] = batch[0]!.subarray(count);
      }
      batchBytes = 0;
    };
    for await (const chunk of chunks) {
      if (!(chunk instanceof Uint8Array)) throw new BugError('a chunk is not a Uint8Array', { file: path });
      hash?.update(chunk);
      for (let start = 0; start < chunk.byteLength; ) {
        const piece = chunk.subarray(start, start + BATCH_BYTES - batchBytes);
        batch.push(piece);
        batchBytes += piece.byteLength;
        start += piece.byteLength;
        if (batchBytes === BATCH_BYTES || batch.length === BATCH_BUFFERS) await flush();
      }
      // Chunks of an iterator may live in a buffer that it will use again.
      if (hash !== undefined) await flush();
    }
    await flush();
    return { bytes: position, sha256: hash?.digest('hex') };
  }

  /**
   * Reads the file through a second descriptor, for its hash. Where the source is still at hand each byte is compared with
   * it: that is exact, and a seventh of the cost of a second hash pass (figures in index.ts).
   */
  async #readBack(temporary: string, path: string, source: readonly Uint8Array[] | undefined): Promise<FileHash> {
    const file = await this.#fs.open(temporary, 'r');
    let index = 0;
    let start = 0;
    const compare = (piece: Uint8Array, offset: number): void => {
      for (let done = 0; done < piece.byteLength; ) {
        const chunk = source![index];
        if (chunk === undefined) return; // Longer than what was written: the sizes tell.
        const count = Math.min(piece.byteLength - done, chunk.byteLength - start);
        const found = piece.subarray(done, done + count);
        const wanted = chunk.subarray(start, start + count);
        if (Buffer.compare(found, wanted) !== 0) {
          const at = offset + done + found.findIndex((byte, i) => byte !== wanted[i]);
          throw new StorageError('what was read back is not what was written', { file: path, offset: at });
        }
        done += count;
        start += count;
        if (start === chunk.byteLength) {
          index += 1;
          start = 0;
        }
      }
    };
    let result: FileHash;
    await using(this.#fs, file, async () => {
      result = await hashHandle(this.#fs, file, source === undefined ? undefined : compare);
    });
    return result!;
  }

  /** Rename > fsync of the directory. A link, unlike a rename, fails where the name is taken. */
  async #commit(staged: Staged, path: string, replace = true): Promise<void> {
    try {
      if (replace) await this.#fs.rename(staged.temporary, path);
      else {
        await this.#fs.link(staged.temporary, path);
        await this.#fs.unlink(staged.temporary);
      }
      await this.#syncDirectory(dirname(path));
    } catch (error) {
      throw storageFailure(error, 'give the file its final name', path);
    }
  }

  async #syncDirectory(directory: string): Promise<void> {
    try {
      const handle = await this.#fs.open(directory, 'r');
      await using(this.#fs, handle, () => this.#fs.fsync(handle));
    } catch (error) {
      throw storageFailure(error, 'make the directory durable (fsync)', directory);
    }
  }

  async #removeIfThere(path: string, doing = 'remove the old manifest'): Promise<void> {
    try {
      await this.#fs.unlink(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw storageFailure(error, doing, path);
    }
  }

  /** Removes temporary files after a failure; those that were renamed are no longer there. Returns the error to throw. */
  async #discard(staged: readonly { temporary: string }[], error: unknown, path: string): Promise<unknown> {
    for (const { temporary } of staged) {
      try {
        await this.#fs.unlink(temporary);
      } catch (second) {
        if (errnoOf(second) === 'ENOENT') continue;
        const message = error instanceof Error ? error.message : String(error);
        return new StorageError(`${message}; ${temporary} could not be removed either, a later run will`, {
          file: path,
          cause: error,
        });
      }
    }
    return error;
  }
}

/** Runs `work` and closes the file. The first failure is the one that is thrown; a failed close is a failure too. */
export async function using(fs: StoreFs, file: FileHandle, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    await fs.close(file).catch(() => undefined);
    throw error;
  }
  await fs.close(file);
}

/**
 * The manifest entry of a file wherever it lies, without making or sweeping its directory; undefined when there is none or it
 * cannot be believed.
 * @throws StorageError
 */
export async function readManifest(path: string, options: { fs?: StoreFs } = {}): Promise<ManifestEntry | undefined> {
  const entry = await readManifestFile(options.fs ?? nodeFs, path + MANIFEST_SUFFIX);
  return typeof entry === 'string' ? undefined : entry;
}

/** What is known of a product without making anything. */
export interface ProductState {
  /** Absent where there is no manifest that can be believed. */
  readonly entry?: ManifestEntry | undefined;
  /** What is wrong, in a few words; absent where the file is the one that the manifest describes. */
  readonly fault?: string | undefined;
}

/**
 * Looks at a product as `isDone` does, and says what it finds. Unlike a store it makes no directory.
 * @throws StorageError when the disk does not answer
 */
export async function productState(path: string, { fs = nodeFs }: { fs?: StoreFs } = {}): Promise<ProductState> {
  const entry = await readManifestFile(fs, path + MANIFEST_SUFFIX);
  if (typeof entry !== 'string') {
    const found = await compareProduct(fs, path, entry, 'trust-untouched');
    if (found === undefined) return { entry };
    return {
      entry,
      fault: found.status === 'missing' ? 'the product is gone' : `the product is damaged: ${found.detail}`,
    };
  }
  if (entry !== NO_MANIFEST) return { fault: entry };
  try {
    await fs.stat(path);
    return { fault: 'the product was not finished: it has no manifest' };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return { fault: 'there is no product' };
    throw storageFailure(error, 'look at the product', path);
  }
}

const NO_MANIFEST = 'there is no manifest';

/** A manifest file's entry, or a sentence that says why there is none to believe. Throws StorageError. */
export async function readManifestFile(fs: StoreFs, path: string): Promise<ManifestEntry | string> {
  try {
    const stats = await fs.stat(path);
    if (!stats.isFile()) return 'the manifest is not a regular file';
    if (stats.size > MANIFEST_MAX_BYTES) return `the manifest is larger than ${MANIFEST_MAX_BYTES} bytes`;
    const file = await fs.open(path, 'r');
    const bytes = Buffer.alloc(Number(stats.size));
    let length = 0;
    await using(fs, file, async () => {
      for (let count = -1; count !== 0 && length < bytes.length; length += count) {
        count = await fs.read(file, bytes.subarray(length), length);
      }
    });
    const entry = parseManifest(bytes.toString('utf8', 0, length));
    if (typeof entry === 'string') return entry;
    if (entry.product + MANIFEST_SUFFIX !== basename(path)) return `the manifest is that of ${entry.product}`;
    return entry;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return NO_MANIFEST;
    throw storageFailure(error, 'read the manifest', path);
  }
}

/** What is wrong with the files that were written with a product; their hash is asked where the product's is. */
async function compareCompanions(
  fs: StoreFs,
  path: string,
  { companions = [] }: ManifestEntry,
  mode: 'trust-untouched' | 'hash',
): Promise<string | undefined> {
  for (const { name, bytes, sha256 } of companions) {
    const beside = join(dirname(path), name);
    try {
      const { size } = await fs.stat(beside);
      if (Number(size) !== bytes) return `${name}, written with it, has ${size} of ${bytes} bytes`;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return `${name}, written with it, is gone`;
      throw error;
    }
    if (mode === 'trust-untouched') continue;
    const file = await fs.open(beside, 'r');
    let found: FileHash;
    await using(fs, file, async () => {
      found = await hashHandle(fs, file);
    });
    if (found!.sha256 !== sha256) return `${name}, written with it, was changed`;
  }
  return undefined;
}

/**
 * Compares a product with its entry. Returns undefined when they agree, else what is wrong.
 * @param mode 'trust-untouched' skips the hash of a file whose inode and modification time are those that were recorded
 * @throws StorageError when the file cannot be read
 */
export async function compareProduct(
  fs: StoreFs,
  path: string,
  entry: ManifestEntry,
  mode: 'trust-untouched' | 'hash',
): Promise<{ status: 'missing' | 'damaged'; detail: string } | undefined> {
  try {
    const stats = await fs.stat(path);
    if (!stats.isFile()) return { status: 'damaged', detail: 'it is not a regular file' };
    if (Number(stats.size) !== entry.bytes) {
      return { status: 'damaged', detail: `${entry.bytes} bytes were written, ${stats.size} are there` };
    }
    const companion = await compareCompanions(fs, path, entry, mode);
    if (companion !== undefined) return { status: 'damaged', detail: companion };
    const untouched = String(stats.ino) === entry.inode && String(stats.mtimeNs) === entry.mtimeNs;
    if (untouched && mode === 'trust-untouched') return undefined;
    const file = await fs.open(path, 'r');
    let found: FileHash;
    await using(fs, file, async () => {
      found = await hashHandle(fs, file);
    });
    if (found!.sha256 === entry.sha256) return undefined;
    return { status: 'damaged', detail: `its sha256 is ${found!.sha256}, ${entry.sha256} was written` };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { status: 'missing', detail: 'the manifest lists it and it is not there' };
    throw storageFailure(error, 'read the product', path);
  }
}
