/**
 * SQLite (one machine) or PostgreSQL (many) through one query builder: how a database is opened, brought to the present
 * layout and closed, and what its errors mean. Each room that keeps one has its own tables. The drivers are loaded when a
 * database is opened, because most commands need none.
 */
import type { Dialect, Kysely, Migration } from 'kysely';
import { RamplineError, RetriableError, StorageError } from '../core/errors.js';
import { type FileSystemType, sharedFileSystem } from './shared.js';

export type { ColumnType, Kysely, Migration } from 'kysely';
export { type FileSystemType, sharedFileSystem } from './shared.js';

/** What a database is for, and the tables it must have. */
export interface Layout {
  /** In messages: 'registry'. */
  readonly what: string;
  /** What to use on a shared file system instead. */
  readonly instead: string;
  /** What to do when the SQLite file is damaged. */
  readonly cure: string;
  /** Forward only: what stands here was applied somewhere and is never edited; a change is one more entry. */
  readonly migrations: Readonly<Record<string, Migration>>;
  /**
   * How SQLite commits. 'durable': what was answered outlives a loss of power, and who may only read the directory can read
   * the database. 'fast': a write-ahead log; readers never wait for the writer, and a loss of power may cost the last
   * commits, never the file (sqlite.org/wal.html).
   */
  readonly commits: 'durable' | 'fast';
  /** How long a statement waits for another process's lock [ms]; default 10,000. SQLite waits without letting go of the thread. */
  readonly busyMs?: number | undefined;
}

export interface OpenOptions {
  /** For tests: the last migration to apply. */
  readonly target?: string | undefined;
  /** Opens what is there as it is, and writes nothing. */
  readonly readOnly?: boolean | undefined;
  /** For tests. */
  readonly statfs?: FileSystemType | undefined;
}

/** The query builder, for what `Connection` does not do: loaded with the drivers. */
export const loadKysely = () => import('kysely');

/** A later version of the program made the database: nothing was changed in it. */
export class LaterLayoutError extends StorageError {}

/** A database of another process holds the lock for longer than a statement waits. */
const BUSY_MS = 10_000;

export function isDatabaseUrl(text: string): boolean {
  return /^postgres(ql)?:\/\/[^\s]+$/.test(text);
}

/** A URL as it may be shown and kept: without its password. */
export function publicUrl(url: string): string {
  const parsed = new URL(url);
  parsed.password = '';
  parsed.searchParams.delete('password');
  return parsed.toString();
}

async function sqlite(path: string, directory: string, layout: Layout, options: OpenOptions): Promise<Dialect> {
  const shared = sharedFileSystem(directory, options.statfs);
  if (shared !== undefined) {
    throw new StorageError(`SQLite cannot be shared over ${shared}: ${layout.instead}`, { file: path });
  }
  const { default: Database } = await import('better-sqlite3');
  const { SqliteDialect } = await import('kysely');
  const readonly = options.readOnly === true;
  const database = new Database(path, { timeout: BUSY_MS, readonly });
  try {
    if (!readonly) {
      database.pragma(`journal_mode = ${layout.commits === 'fast' ? 'WAL' : 'DELETE'}`);
      database.pragma(`synchronous = ${layout.commits === 'fast' ? 'NORMAL' : 'FULL'}`);
    }
  } catch (error) {
    database.close();
    throw error;
  }
  return new SqliteDialect({ database });
}

/**
 * The version of SQLite that the module carries.
 * @throws StorageError when it is not built for this Node
 */
export async function sqliteVersion(): Promise<string> {
  try {
    const { default: Database } = await import('better-sqlite3');
    const memory = new Database(':memory:');
    const version = memory.prepare('select sqlite_version()').pluck().get();
    memory.close();
    return String(version);
  } catch (error) {
    throw databaseFailure(error, 'use SQLite', ':memory:');
  }
}

async function postgres(url: string): Promise<Dialect> {
  const { default: pg } = await import('pg');
  const { PostgresDialect } = await import('kysely');
  const pool = new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: BUSY_MS });
  // A connection that breaks while it lies idle would otherwise end the process; the next query reports it.
  pool.on('error', () => undefined);
  return new PostgresDialect({ pool });
}

/** Another process does the same at this moment: waiting helps. By code of SQLite, PostgreSQL (SQLSTATE) and the system. */
const BUSY = /^(SQLITE_BUSY|SQLITE_LOCKED|40001|40P01|55P03)/;
const AWAY = /^(ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN|57P0[123]|08\d{3}|53300)$/;
/** Two processes made the same table at the same moment: PostgreSQL's `if not exists` does not prevent it. */
const MADE_TWICE = /^(23505|42P07|42710)$/;

const codeOf = (error: unknown): string => String((error as { code?: unknown } | null)?.code ?? '');

/**
 * What an error of a driver means: RetriableError (busy, no answer) or StorageError; one of ours passes unchanged.
 * @param doing 'cannot ...'
 * @param file path of the SQLite file, or URL without its password
 */
export function databaseFailure(
  error: unknown,
  doing: string,
  file: string,
  { what, cure }: Pick<Layout, 'what' | 'cure'> = { what: 'database', cure: '' },
): RamplineError {
  if (error instanceof RamplineError) return error;
  const code = codeOf(error);
  const words = (error as Error).message || code;
  const context = { file, cause: error };
  if (BUSY.test(code)) return new RetriableError(`cannot ${doing}: the ${what} is busy (${code})`, context);
  // pg-pool has no code for its own limit of time.
  if (AWAY.test(code) || /^(timeout exceeded when trying to connect|Connection terminated)/.test(words)) {
    return new RetriableError(`cannot ${doing}: the database does not answer (${words})`, context);
  }
  if (code === 'ERR_DLOPEN_FAILED' || /bindings file/.test(words)) {
    return new StorageError(
      `cannot ${doing}: the SQLite module is not built for Node ${process.version}; .ci/setup builds it`,
      context,
    );
  }
  if (/^SQLITE_(NOTADB|CORRUPT)/.test(code) && cure !== '') {
    return new StorageError(`cannot ${doing}: ${words}; ${cure}`, context);
  }
  return new StorageError(`cannot ${doing}: ${words}`, context);
}

const TRIES = 20;
const TRY_MS = 50;

/** Databases are opened one after another within a process. */
let opening: Promise<unknown> = Promise.resolve();

export class Connection<Tables> {
  /** Path of the SQLite file, or the URL without its password. */
  readonly name: string;
  readonly backend: 'sqlite' | 'postgresql';
  readonly #db: Kysely<Tables>;
  readonly #layout: Layout;

  /** For `openDatabase`. */
  constructor(name: string, backend: 'sqlite' | 'postgresql', db: Kysely<Tables>, layout: Layout) {
    this.name = name;
    this.backend = backend;
    this.#db = db;
    this.#layout = layout;
  }

  /**
   * Does something with the database.
   * @param doing in the message of a failure: 'cannot ...'
   * @throws StorageError, RetriableError (busy, no answer)
   */
  async run<T>(doing: string, work: (db: Kysely<Tables>) => Promise<T>): Promise<T> {
    try {
      return await work(this.#db);
    } catch (error) {
      throw databaseFailure(error, doing, this.name, this.#layout);
    }
  }

  close(): Promise<void> {
    return this.#db.destroy();
  }
}

/**
 * Opens a database and brings it to the present layout; an empty one gets its tables.
 * @param where path of the SQLite file in `directory`, or a postgres:// URL
 * @throws StorageError (also: SQLite on a shared file system), LaterLayoutError, RetriableError (busy, no answer)
 */
export function openDatabase<Tables>(
  where: string,
  directory: string,
  layout: Layout,
  options: OpenOptions = {},
): Promise<Connection<Tables>> {
  // SQLite waits for a lock without letting go of the thread: who holds it must not be a promise of this one.
  const mine = opening.then(() => open<Tables>(where, directory, layout, options));
  opening = mine.catch(() => undefined);
  return mine;
}

async function open<Tables>(
  where: string,
  directory: string,
  layout: Layout,
  options: OpenOptions,
): Promise<Connection<Tables>> {
  const isUrl = isDatabaseUrl(where);
  const name = isUrl ? publicUrl(where) : where;
  for (let attempt = 1; ; attempt++) {
    let db: Kysely<Tables> | undefined;
    try {
      const dialect = await (isUrl ? postgres(where) : sqlite(where, directory, layout, options));
      const kysely = await import('kysely');
      db = new kysely.Kysely<Tables>({ dialect });
      await migrate(db, kysely, name, layout, !isUrl, options);
      if (!isUrl && layout.busyMs !== undefined) {
        await kysely.sql`pragma busy_timeout = ${kysely.sql.lit(layout.busyMs)}`.execute(db);
      }
      return new Connection(name, isUrl ? 'postgresql' : 'sqlite', db, layout);
    } catch (error) {
      await db?.destroy();
      const code = codeOf(error);
      if (attempt === TRIES || !(BUSY.test(code) || MADE_TWICE.test(code))) {
        throw databaseFailure(error, `open the ${layout.what}`, name, layout);
      }
      await new Promise((resolve) => setTimeout(resolve, TRY_MS * attempt));
    }
  }
}

async function migrate<Tables>(
  db: Kysely<Tables>,
  { Migrator, sql }: typeof import('kysely'),
  name: string,
  { what, migrations }: Layout,
  isSqlite: boolean,
  { target, readOnly }: OpenOptions,
): Promise<void> {
  if (readOnly === true) return;
  const props = { db, provider: { getMigrations: async () => ({ ...migrations }) } };
  const run = (migrator: InstanceType<typeof Migrator>) =>
    target === undefined ? migrator.migrateToLatest() : migrator.migrateTo(target);
  const migrator = new Migrator(props);
  let result: Awaited<ReturnType<typeof run>>;
  if (isSqlite && (await migrator.getMigrations()).some(({ executedAt }) => executedAt === undefined)) {
    // kysely has no lock for SQLite: of two processes that bring a layout forward, the second waits here for the first.
    await sql`begin immediate`.execute(db);
    try {
      result = await run(new Migrator({ ...props, disableTransactions: true }));
      await (result.error === undefined ? sql`commit` : sql`rollback`).execute(db);
    } catch (error) {
      await sql`rollback`.execute(db).catch(() => undefined);
      throw error;
    }
  } else result = await run(migrator);
  if (result.error === undefined) return;
  if (/previously executed migration .* is missing/.test((result.error as Error).message)) {
    throw new LaterLayoutError(`a later version of Rampline made this ${what}`, { file: name, cause: result.error });
  }
  throw result.error;
}
