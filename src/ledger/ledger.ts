/** The open ledger: events in, rows out. Where it lies and how it is opened is in open.ts. */
import { isMainThread } from 'node:worker_threads';
import { BugError, type RamplineError, RetriableError } from '../core/errors.js';
import { type Connection, type Kysely, loadKysely } from '../database/index.js';
import type { FileHash, HashMemory } from '../store/index.js';
import type { LedgerEvent } from './events.js';
import { type AttemptRow, Fold, type JobRow, type Rows, type RunRow } from './fold.js';
import { fromAttempt, fromJob, fromRun, type Tables, toAttempt, toJob, toRun } from './tables.js';

/** Rows of one statement: 25 columns each, and SQLite takes 32766 values (SQLITE_MAX_VARIABLE_NUMBER). */
const STATEMENT_ROWS = 250;
/** A batch is written when so many rows wait, or the oldest of them has waited so long [ms]. */
const BATCH_ROWS = 1000;
const BATCH_MS = 50;
/** After a failed batch [ms]: another process writes, or the database is away. */
const RETRY_MS = 1000;
/** How long `close` goes on trying [ms]. */
const CLOSE_MS = 10_000;

/** Nights: the jobs of a run have one MJD, and one telescope or two. */
export interface NightSelection {
  readonly tele?: readonly string[] | undefined;
  readonly mjd?: number | undefined;
}

/** Nothing of it may be used by another thread than the one that opened it. */
export function assertMainThread(): void {
  if (!isMainThread) throw new BugError('the ledger belongs to the main thread of the process that runs the night');
}

export class Ledger {
  readonly backend: 'sqlite' | 'postgresql' | 'none';
  /** Path of the SQLite file, or the URL without its password; empty for none. */
  readonly name: string;
  readonly #connection: Connection<Tables> | undefined;
  readonly #output: string;
  readonly #fold = new Fold({ strict: true });
  readonly #runs = new Map<string, RunRow>();
  readonly #jobs = new Map<string, JobRow>();
  readonly #attempts = new Map<string, AttemptRow>();
  readonly #files = new Map<string, FileHash & { readonly identity: string }>();
  #timer: NodeJS.Timeout | undefined;
  #urgent = false;
  #writing: Promise<void> = Promise.resolve();
  #problem: RamplineError | undefined;
  #closed = false;

  /** For `openLedger`. `output` is the word by which its rows know the output directory. */
  constructor(connection: Connection<Tables> | undefined, output: string) {
    assertMainThread();
    this.backend = connection?.backend ?? 'none';
    this.name = connection?.name ?? '';
    this.#connection = connection;
    this.#output = output;
  }

  /** Why the last batch could not be written; its rows wait for the next. A night does not stop for that. */
  get problem(): RamplineError | undefined {
    return this.#problem;
  }

  /**
   * Takes in what is known of some jobs: what their last attempts cost stays with those that are found done. Call it once,
   * before the first event.
   */
  async load({ tele, mjd }: NightSelection): Promise<void> {
    for (const job of (await this.read({ tele, mjd })).jobs) this.#fold.jobs.set(job.id, job);
  }

  /**
   * Records an event, in memory; it is written with the next batch. What a crash loses, the logs give back.
   * @throws BugError when the job cannot come into that state, or from another thread
   */
  record(event: LedgerEvent): void {
    assertMainThread();
    if (this.#closed) throw new BugError('the ledger is closed');
    const { run, job, attempt } = this.#fold.apply(event);
    if (this.#connection === undefined) return;
    if (run !== undefined) this.#runs.set(run.id, run);
    if (job !== undefined) this.#jobs.set(job.id, job);
    if (attempt !== undefined) this.#attempts.set(`${attempt.run}\n${attempt.job}\n${attempt.n}`, attempt);
    this.#schedule();
  }

  /** Hashes of files, by path: a file that did not change is not read again, by whichever run. */
  readonly hashes: HashMemory = {
    get: async (path, identity) => {
      assertMainThread();
      const waiting = this.#files.get(path);
      if (waiting !== undefined) return waiting.identity === identity ? waiting : undefined;
      const row = await this.#connection?.run('read the ledger', (db) =>
        db.selectFrom('file').selectAll().where('path', '=', path).executeTakeFirst(),
      );
      return row?.identity === identity ? { sha256: row.sha256, bytes: Number(row.bytes) } : undefined;
    },
    set: (path, identity, hash) => {
      assertMainThread();
      if (this.#connection === undefined) return;
      this.#files.set(path, { ...hash, identity });
      this.#schedule();
    },
  };

  /** Writes all that waits. Throws StorageError, RetriableError; the rows then wait on. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#urgent = false;
    // One batch after another: rows of a later one must not be overtaken.
    const mine = this.#writing.then(() => this.#write());
    this.#writing = mine.catch(() => undefined);
    return mine;
  }

  /**
   * Writes what waits, and closes the database.
   * @throws StorageError, RetriableError when it could not be written; it is closed all the same, and the logs have it
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      const end = Date.now() + CLOSE_MS;
      for (;;) {
        try {
          await this.flush();
          return;
        } catch (error) {
          if (!(error instanceof RetriableError) || Date.now() > end) throw error;
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS / 10));
        }
      }
    } finally {
      clearTimeout(this.#timer);
      await this.#connection?.close();
    }
  }

  /** What is in the ledger, with what waits to be written. */
  async read({ tele, mjd }: NightSelection = {}): Promise<Rows> {
    assertMainThread();
    const connection = this.#connection;
    if (connection === undefined) return this.#fold.rows();
    await this.flush();
    return readContent(connection, this.#output, { tele, mjd });
  }

  /** Sees that what waits is written: soon, at once when it is much, and later when the last time failed. */
  #schedule(): void {
    const much = this.#jobs.size + this.#attempts.size + this.#files.size >= BATCH_ROWS;
    const wait = this.#problem !== undefined ? RETRY_MS : much ? 0 : BATCH_MS;
    if (this.#timer !== undefined && (wait > 0 || this.#urgent)) return;
    clearTimeout(this.#timer);
    this.#urgent = wait === 0;
    this.#timer = setTimeout(() => {
      void this.flush().catch(() => {
        if (!this.#closed) this.#schedule();
      });
    }, wait);
    // It keeps no process alive: one that has nothing else to do calls close.
    this.#timer.unref();
  }

  async #write(): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined) return;
    const runs = [...this.#runs.values()];
    const jobs = [...this.#jobs.values()];
    const attempts = [...this.#attempts.values()];
    const files = new Map(this.#files);
    if (runs.length + jobs.length + attempts.length + files.size === 0) return;
    try {
      await connection.run('write the ledger', (db) =>
        db
          .transaction()
          .execute((tx) => writeRows(tx, connection.backend, this.#output, { runs, jobs, attempts }, { files })),
      );
    } catch (error) {
      this.#problem = error as RamplineError;
      throw error;
    }
    this.#problem = undefined;
    // What changed meanwhile is another row, and waits.
    for (const run of runs) forget(this.#runs, run.id, run);
    for (const job of jobs) forget(this.#jobs, job.id, job);
    for (const attempt of attempts) forget(this.#attempts, `${attempt.run}\n${attempt.job}\n${attempt.n}`, attempt);
    for (const [path, file] of files) forget(this.#files, path, file);
  }
}

function forget<T>(map: Map<string, T>, key: string, value: T): void {
  if (map.get(key) === value) map.delete(key);
}

type Backend = Connection<Tables>['backend'];
type Files = ReadonlyMap<string, FileHash & { readonly identity: string }>;

interface WriteOptions {
  readonly files?: Files;
  /** What becomes of a row that is there. */
  readonly taken?: 'replace' | 'keep';
}

/** Writes rows; for the ledger and for the one that is made again. */
export async function writeRows(
  db: Kysely<Tables>,
  backend: Backend,
  output: string,
  { runs, jobs, attempts }: Rows,
  { files = new Map(), taken = 'replace' }: WriteOptions = {},
): Promise<void> {
  const write = (table: keyof Tables, keys: readonly string[], rows: readonly Readonly<Record<string, unknown>>[]) =>
    insert(db, backend, table, keys, rows, taken);
  const within = <T extends object>(row: T) => ({ output, ...row });
  await write(
    'run',
    ['output', 'id'],
    runs.map((row) => within(fromRun(row))),
  );
  await write(
    'job',
    ['output', 'id'],
    jobs.map((row) => within(fromJob(row))),
  );
  await write(
    'attempt',
    ['output', 'run', 'job', 'n'],
    attempts.map((row) => within(fromAttempt(row))),
  );
  await write(
    'file',
    ['path'],
    [...files].map(([path, { identity, bytes, sha256 }]) => ({ path, identity, bytes, sha256 })),
  );
}

/**
 * PostgreSQL takes no NUL in a text, and a message may hold one that a damaged header had: all rows of its batch would wait for
 * ever. Half of a pair of UTF-16 the databases replace each in its own way.
 */
const storable = (value: unknown): unknown =>
  typeof value === 'string' ? value.replaceAll(/\0|\p{Cs}/gu, '\u{fffd}') : value;

/**
 * Writes rows in statements of many, given to the driver as text: the builder would cost six times as much as the insertion.
 */
async function insert(
  db: Kysely<Tables>,
  backend: Backend,
  table: keyof Tables,
  keys: readonly string[],
  rows: readonly Readonly<Record<string, unknown>>[],
  taken: 'replace' | 'keep',
): Promise<void> {
  if (rows.length === 0) return;
  const { CompiledQuery } = await loadKysely();
  const columns = Object.keys(rows[0]!);
  const names = (list: readonly string[]): string => list.map((name) => `"${name}"`).join(', ');
  const sets = columns.filter((name) => !keys.includes(name)).map((name) => `"${name}" = excluded."${name}"`);
  const then = taken === 'keep' ? 'nothing' : `update set ${sets.join(', ')}`;
  for (let start = 0; start < rows.length; start += STATEMENT_ROWS) {
    const piece = rows.slice(start, start + STATEMENT_ROWS);
    let n = 0;
    const place = backend === 'sqlite' ? () => '?' : () => `$${++n}`;
    const tuples = piece.map(() => `(${columns.map(place).join(', ')})`).join(', ');
    const text = `insert into "${table}" (${names(columns)}) values ${tuples} on conflict (${names(keys)}) do ${then}`;
    const values = piece.flatMap((row) => columns.map((name) => storable(row[name])));
    await db.executeQuery(CompiledQuery.raw(text, values));
  }
}

/** Reads the rows of an output directory. */
export async function readContent(
  connection: Connection<Tables>,
  output: string,
  { tele, mjd }: NightSelection,
): Promise<Rows> {
  return connection.run('read the ledger', async (db) => {
    let chosen = db.selectFrom('job').where('output', '=', output);
    if (mjd !== undefined) chosen = chosen.where('mjd', '=', mjd);
    if (tele !== undefined) chosen = chosen.where('tele', 'in', tele);
    const jobs = (await chosen.selectAll().execute()).map(toJob);
    const runs = (await db.selectFrom('run').selectAll().where('output', '=', output).execute()).map(toRun);
    let tried = db.selectFrom('attempt').selectAll().where('output', '=', output);
    if (mjd !== undefined || tele !== undefined) tried = tried.where('job', 'in', chosen.select('id'));
    const attempts = await tried.execute();
    const fold = new Fold({ strict: false });
    fold.take({ runs, jobs, attempts: attempts.map(toAttempt) });
    // Sorted here: databases differ in how they sort text.
    return fold.rows();
  });
}
