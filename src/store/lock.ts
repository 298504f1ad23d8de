/**
 * Locks between processes: a file that says who holds it. It is made whole and at once (a link, which fails where the name is
 * taken, on NFS too), and removed by its holder. The lock of a dead process is taken over: dead is one of this host whose
 * process is gone, and one of another host whose heart has not beaten for a while.
 */
import { randomBytes } from 'node:crypto';
import { readdir, readFile, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { StorageError } from '../core/errors.js';
import { processBirth, processState } from '../core/process.js';
import { errnoOf, nodeFs, storageFailure } from './fs.js';
import { temporaryName } from './names.js';
import { openStore, using } from './store.js';

/** What a lock file says. */
export interface LockHolder {
  readonly schema: 'lock/1';
  readonly host: string;
  readonly pid: number;
  /** See processBirth. */
  readonly born?: string | undefined;
  /** UTC, ISO 8601. */
  readonly since: string;
  /** What it is held for: the id of a run. */
  readonly purpose: string;
  /** No two locks say the same. */
  readonly id: string;
}

/** A holder touches its file this often [ms]. */
const BEAT_MS = 30_000;
/** The lock of another host is dead when its file was not touched for so long [ms]: ten beats, and clocks that differ. */
const SILENT_MS = 10 * BEAT_MS;
const POLL_MS = 250;

/** A lock that is held by this process. */
export class Lock {
  readonly #path: string;
  readonly #holder: LockHolder;
  readonly #timer: NodeJS.Timeout;

  /** For `takeLock`. */
  constructor(path: string, holder: LockHolder) {
    this.#path = path;
    this.#holder = holder;
    this.#timer = setInterval(() => {
      const now = new Date();
      utimes(path, now, now).catch(() => undefined); // the next beat may work again
    }, BEAT_MS);
    this.#timer.unref();
  }

  /**
   * Gives the lock back. Twice is once.
   * @throws StorageError
   */
  async release(): Promise<void> {
    clearInterval(this.#timer);
    const found = await readHolder(this.#path);
    if (found?.holder.id === this.#holder.id) await remove(this.#path);
  }
}

/**
 * Takes a lock, or says who has it.
 * @param directory is made where it is not there
 * @throws StorageError
 */
export async function takeLock(directory: string, name: string, purpose: string): Promise<Lock | LockHolder> {
  await openStore(directory);
  const path = join(directory, name);
  for (;;) {
    const taken = await make(path, purpose);
    if (taken !== undefined) return taken;
    const found = await readHolder(path);
    if (found === undefined) continue; // it was given back at this moment
    if (!isDead(found)) return found.holder;
    // Who takes over must be alone, or the second would remove the lock that the first has just made.
    const guard = await takeLock(directory, `${name}.takeover`, purpose);
    if (!(guard instanceof Lock)) return found.holder;
    try {
      const again = await readHolder(path);
      if (again !== undefined && again.holder.id === found.holder.id) await remove(path);
    } finally {
      await guard.release();
    }
  }
}

/**
 * Takes a lock, waiting until it is free.
 * @param onWait called once, with the holder, when there is something to wait for
 * @returns undefined when the signal came first
 * @throws StorageError
 */
export async function awaitLock(
  directory: string,
  name: string,
  purpose: string,
  {
    signal,
    onWait,
  }: { readonly signal?: AbortSignal | undefined; readonly onWait?: (holder: LockHolder) => void } = {},
): Promise<Lock | undefined> {
  for (let told = false; signal?.aborted !== true; told = true) {
    const taken = await takeLock(directory, name, purpose);
    if (taken instanceof Lock) return taken;
    if (!told) onWait?.(taken);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return undefined;
}

function isDead({ holder, touchedMs }: Found): boolean {
  switch (processState(holder)) {
    case 'alive':
      return false;
    case 'dead':
      return true;
    case 'unknown':
      // Of this host: the pid is somebody's, perhaps the holder's. A holder that lives touches its file.
      return Date.now() - touchedMs > SILENT_MS;
  }
}

interface Found {
  readonly holder: LockHolder;
  readonly touchedMs: number;
}

async function make(path: string, purpose: string): Promise<Lock | undefined> {
  const holder: LockHolder = {
    schema: 'lock/1',
    host: hostname(),
    pid: process.pid,
    born: processBirth(),
    since: new Date().toISOString(),
    purpose,
    id: randomBytes(8).toString('hex'),
  };
  const temporary = join(dirname(path), temporaryName());
  try {
    const file = await nodeFs.open(temporary, 'wx');
    try {
      await using(nodeFs, file, () => nodeFs.write(file, [Buffer.from(`${JSON.stringify(holder)}\n`)], 0));
      await nodeFs.link(temporary, path);
    } finally {
      await nodeFs.unlink(temporary);
    }
    return new Lock(path, holder);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') {
      // A network file system that loses an answer asks again, and is told of the link that it made (open(2), O_EXCL).
      return (await readHolder(path))?.holder.id === holder.id ? new Lock(path, holder) : undefined;
    }
    throw storageFailure(error, 'make the lock', path);
  }
}

async function readHolder(path: string): Promise<Found | undefined> {
  try {
    const text = await readFile(path, 'utf8');
    const { mtimeMs } = await nodeFs.stat(path);
    const holder = JSON.parse(text) as LockHolder;
    if (holder.schema !== 'lock/1' || typeof holder.id !== 'string') throw new SyntaxError('it is no lock/1');
    return { holder, touchedMs: Number(mtimeMs) };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) {
      throw new StorageError(
        `expected a lock, found something else (${error.message}); remove it if nobody works here`,
        {
          file: path,
          cause: error,
        },
      );
    }
    throw storageFailure(error, 'read the lock', path);
  }
}

async function remove(path: string): Promise<void> {
  try {
    await nodeFs.unlink(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw storageFailure(error, 'remove the lock', path);
  }
}

/** A lock that lies in a directory. */
export interface HeldLock extends LockHolder {
  /** Name of its file. */
  readonly name: string;
  /** Whether its holder works; a lock that does not count is taken over by the next who asks. */
  readonly counts: boolean;
}

/**
 * The locks of a directory, by name; none where there is no such directory.
 * @throws StorageError
 */
export async function listLocks(directory: string): Promise<HeldLock[]> {
  const locks: HeldLock[] = [];
  const names = await readdir(directory).catch((error) => {
    if (errnoOf(error) === 'ENOENT') return [];
    throw storageFailure(error, 'list the directory', directory);
  });
  for (const name of names.filter((one) => one.endsWith('.lock')).sort()) {
    const found = await readHolder(join(directory, name));
    if (found !== undefined) locks.push({ ...found.holder, name, counts: !isDead(found) });
  }
  return locks;
}
