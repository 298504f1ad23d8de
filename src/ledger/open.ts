/** Where the ledger of an output directory is, and how it is opened, read and made again. */
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { RamplineError, RetriableError, StorageError, UsageError } from '../core/errors.js';
import { processState } from '../core/process.js';
import {
  type Connection,
  type FileSystemType,
  isDatabaseUrl,
  loadKysely,
  openDatabase,
  publicUrl,
} from '../database/index.js';
import { awaitLock, type HashMemory, openStore } from '../store/index.js';
import { Fold, type JobRow, type Rows } from './fold.js';
import { assertMainThread, Ledger, type NightSelection, readContent, writeRows } from './ledger.js';
import { LAYOUT, type Tables } from './tables.js';
import { type JobOfProduct, ledgerOfTree, STATE_FOLDER, type TreeLedger, takeNews } from './tree.js';

export const SQLITE_NAME = 'ledger.sqlite';
const POINTER_NAME = 'ledger.json';
const POINTER_SCHEMA = 'ledger/1';

export interface LedgerPlace {
  readonly output: string;
  /**
   * postgres:// URL, 'none', or as the directory says: the URL of state/ledger.json, else SQLite. A URL is remembered there,
   * without its password (PGPASSWORD or ~/.pgpass).
   */
  readonly url?: string | undefined;
  /** Jobs of products that no log speaks of, where the ledger must be made from the tree. */
  readonly jobOf?: JobOfProduct | undefined;
  /** Told that a broken SQLite file was made again. */
  readonly say?: ((text: string) => void) | undefined;
  /** For tests. */
  readonly statfs?: FileSystemType | undefined;
}

const pointer = (output: string): string => join(output, STATE_FOLDER, POINTER_NAME);

function pointedUrl(output: string): string | undefined {
  const file = pointer(output);
  if (!existsSync(file)) return undefined;
  try {
    const { schema, url } = JSON.parse(readFileSync(file, 'utf8'));
    if (schema === POINTER_SCHEMA && typeof url === 'string' && isDatabaseUrl(url)) return url;
  } catch (cause) {
    throw new StorageError(`cannot be read: ${(cause as Error).message}`, { file, cause });
  }
  throw new StorageError(`expected {"schema": "${POINTER_SCHEMA}", "url": "postgres://..."}`, { file });
}

interface Opened {
  readonly connection: Connection<Tables>;
  /** By which rows know the directory: SQLite lies in it and moves with it; in PostgreSQL several share the tables. */
  readonly word: string;
  /** It knows nothing of this directory yet. */
  readonly isNew: boolean;
}

/** @param make makes it where there is none; without, undefined is given then */
async function connect({ output, url, statfs }: LedgerPlace, make: boolean): Promise<Opened | undefined> {
  if (url !== undefined && url !== 'none' && !isDatabaseUrl(url)) {
    throw new UsageError(`expected the ledger to be none or a URL such as postgres://host/database, received "${url}"`);
  }
  if (url === 'none') return undefined;
  const state = join(output, STATE_FOLDER);
  const store = make ? await openStore(output) : undefined;
  await store?.prepare(state);
  const where = url ?? pointedUrl(output);
  const options = { readOnly: !make, statfs };
  if (where !== undefined) {
    const connection = await openDatabase<Tables>(where, output, LAYOUT, options);
    try {
      const word = realpathSync(output);
      if (pointedUrl(output) !== publicUrl(where)) {
        await store?.writeJson(`${STATE_FOLDER}/${POINTER_NAME}`, { schema: POINTER_SCHEMA, url: publicUrl(where) });
      }
      return { connection, word, isNew: !(await hasRows(connection, word)) };
    } catch (error) {
      await connection.close();
      throw error;
    }
  }
  const path = join(state, SQLITE_NAME);
  const isNew = !existsSync(path);
  if (isNew && !make) return undefined;
  return { connection: await openDatabase<Tables>(path, state, LAYOUT, options), word: '', isNew };
}

/** Whether SQLite says that its file is none, or damaged. */
function isBroken(error: unknown): error is StorageError {
  const { code } = ((error as Error | null)?.cause ?? {}) as { code?: unknown };
  return error instanceof StorageError && /^SQLITE_(NOTADB|CORRUPT)/.test(String(code));
}

/** Opens it, and finds damage before anything is asked of it. */
async function connectWhole(place: LedgerPlace): Promise<Opened | undefined> {
  const opened = await connect(place, true);
  if (opened?.connection.backend !== 'sqlite') return opened;
  const { connection } = opened;
  try {
    const { sql } = await loadKysely();
    await connection.run('read the ledger', async (db) => {
      const { rows } = await sql<{ quick_check: string }>`pragma quick_check(1)`.execute(db);
      const [{ quick_check: said = 'ok' } = {}] = rows;
      if (said !== 'ok') throw Object.assign(new Error(said), { code: 'SQLITE_CORRUPT' });
    });
    return opened;
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** Opens a ledger for writing. A SQLite file that is broken is removed: an index is no reason for a night to stop. */
async function connectForWriting(place: LedgerPlace): Promise<Opened | undefined> {
  try {
    return await connectWhole(place);
  } catch (error) {
    if (!isBroken(error)) throw error;
    const state = join(place.output, STATE_FOLDER);
    // Who comes second finds the new one.
    const lock = await awaitLock(state, 'ledger.lock', 'a new ledger');
    try {
      return await connectWhole(place);
    } catch (again) {
      if (!isBroken(again)) throw again;
      const store = await openStore(state);
      for (const ending of ['', '-wal', '-shm']) await store.removeFile(`${SQLITE_NAME}${ending}`);
      place.say?.(`the ledger was damaged (${again.message.split(';')[0]}); it is made again from products and logs`);
      return await connect(place, true);
    } finally {
      await lock?.release();
    }
  }
}

async function hasRows(connection: Connection<Tables>, word: string): Promise<boolean> {
  return connection.run('read the ledger', async (db) => {
    for (const table of ['run', 'job'] as const) {
      const row = await db.selectFrom(table).select('id').where('output', '=', word).limit(1).executeTakeFirst();
      if (row !== undefined) return true;
    }
    return false;
  });
}

/**
 * Opens the ledger of an output directory for writing, on the main thread. One that knows nothing of the directory is made
 * from its products and logs, and so is one whose SQLite file is damaged. Close it after use.
 * @throws StorageError (also: SQLite on a shared file system, with what to do instead), RetriableError when the database is
 *   busy or away, UsageError for what is no URL, BugError on another thread
 */
export async function openLedger(place: LedgerPlace): Promise<Ledger> {
  assertMainThread();
  const opened = await connectForWriting(place);
  if (opened === undefined) return new Ledger(undefined, '');
  const { connection, word, isNew } = opened;
  try {
    const fromTree = () => ledgerOfTree(place.output, place.jobOf ?? (() => undefined));
    if (isNew) {
      const content = await fromTree();
      // Another process may do the same, and record already: what it wrote stays.
      await connection.run('write the ledger', (db) =>
        db.transaction().execute((tx) => writeRows(tx, connection.backend, word, content, { taken: 'keep' })),
      );
    } else if (await lastWasKilled(connection, word)) {
      // Its last batch is lost, and the logs have it.
      await replaceRows(connection, word, await fromTree());
    }
  } catch (error) {
    await connection.close();
    throw error;
  }
  return new Ledger(connection, word);
}

/** Whether the newest run was killed on this machine, and none is at work. */
async function lastWasKilled(connection: Connection<Tables>, output: string): Promise<boolean> {
  const { runs } = await readContent(connection, output, {});
  const states = runs.map((run) => (run.state === 'running' ? processState(run) : 'ended'));
  const newest = runs.reduce((best, { begun }, i) => (begun > (runs[best]?.begun ?? '') ? i : best), 0);
  return states[newest] === 'dead' && states.every((state) => state === 'dead' || state === 'ended');
}

/** Puts rows in place of all that there are of an output directory, in one transaction; files that were hashed are kept. */
function replaceRows(connection: Connection<Tables>, output: string, content: TreeLedger): Promise<void> {
  return connection.run('write the ledger', (db) =>
    db.transaction().execute(async (tx) => {
      for (const table of ['run', 'job', 'attempt'] as const) {
        await tx.deleteFrom(table).where('output', '=', output).execute();
      }
      await writeRows(tx, connection.backend, output, content);
    }),
  );
}

/** Hashes that can only be asked. */
export type KnownHashes = HashMemory & { readonly close: () => Promise<void> };

/**
 * What a ledger knows of the hashes of files, for those who write nothing.
 * @returns undefined where there is no ledger, or it does not answer: files are then read
 */
export async function hashesOf(place: LedgerPlace): Promise<KnownHashes | undefined> {
  assertMainThread();
  let opened: Awaited<ReturnType<typeof connect>>;
  try {
    opened = await connect(place, false);
  } catch (error) {
    if (error instanceof RamplineError && error.class !== 'bug' && error.class !== 'usage') return undefined;
    throw error;
  }
  if (opened === undefined) return undefined;
  const ledger = new Ledger(opened.connection, opened.word);
  return { get: ledger.hashes.get, set: () => undefined, close: () => ledger.close() };
}

/** What a ledger says, and where that was read. */
export interface LedgerReading extends Rows {
  readonly source: 'sqlite' | 'postgresql' | 'products and logs';
  /** Why the ledger itself could not be asked. */
  readonly because?: string | undefined;
}

/**
 * Reads a ledger and writes nothing: while a run goes on, after one was killed, and where one may only read. Where there is
 * none, or it does not answer, products and logs are asked.
 * @throws StorageError when these cannot be read either
 */
export async function readLedger(place: LedgerPlace, nights: NightSelection = {}): Promise<LedgerReading> {
  assertMainThread();
  let because: string | undefined;
  try {
    const opened = await connect(place, false);
    if (opened !== undefined && !opened.isNew) {
      const { connection, word } = opened;
      try {
        const content = await readContent(connection, word, nights);
        return { source: connection.backend, ...withNews(content, place.output, nights) };
      } finally {
        await connection.close();
      }
    }
    await opened?.connection.close();
    because = place.url === 'none' ? undefined : 'there is no ledger';
  } catch (error) {
    if (error instanceof UsageError) throw error;
    because = (error as Error).message;
  }
  const content = await ledgerOfTree(place.output, place.jobOf ?? (() => undefined));
  const jobs = content.jobs.filter((job) => isOf(job, nights));
  return { source: 'products and logs', because, runs: content.runs, jobs, attempts: content.attempts };
}

const isOf = (job: JobRow, { tele, mjd }: NightSelection): boolean =>
  (mjd === undefined || job.mjd === mjd) && (tele?.includes(job.tele) ?? true);

/** With what runs elsewhere wrote, which nobody has recorded yet. */
function withNews(content: Rows, output: string, nights: NightSelection): Rows {
  const fold = new Fold({ strict: false });
  fold.take(content);
  takeNews(fold, output);
  const rows = fold.rows();
  return { ...rows, jobs: rows.jobs.filter((job) => isOf(job, nights)) };
}

/**
 * Makes the ledger again from products and logs, in one transaction: who reads meanwhile sees the old rows or the new ones.
 * Files that were hashed are kept.
 * @throws StorageError; RetriableError also while a run goes on, which knows more than its logs
 */
export async function rebuildLedger(place: LedgerPlace): Promise<TreeLedger> {
  assertMainThread();
  const content = await ledgerOfTree(place.output, place.jobOf ?? (() => undefined));
  const opened = await connectForWriting(place);
  if (opened === undefined) return content;
  const { connection, word: output } = opened;
  try {
    const { runs } = await readContent(connection, output, {});
    const live = [...runs, ...content.runs].find((run) => run.state === 'running' && processState(run) === 'alive');
    if (live !== undefined) {
      throw new RetriableError(`a run goes on here (process ${live.pid} since ${live.begun})`, {
        file: connection.name,
      });
    }
    await replaceRows(connection, output, content);
  } finally {
    await connection.close();
  }
  return content;
}
