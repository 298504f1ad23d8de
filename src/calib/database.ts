/**
 * The registry's tables, in SQLite (one machine) or PostgreSQL (many), through one query builder. Rows are never changed:
 * a calibration is known by the sha256 of its file, and a second one of the same file name is refused. The drivers are
 * loaded when a database is opened, because most commands need none.
 */
import { statfsSync } from 'node:fs';
import type { ColumnType, Dialect, Kysely, Migration } from 'kysely';
import { CalibrationError, RamplineError, RetriableError, StorageError } from '../core/errors.js';
import type { CalibrationRecord } from './product.js';
import type { Pin } from './select.js';

interface CalibrationRow {
  sha256: string;
  file: string;
  /** bigint, which pg gives as text. */
  bytes: ColumnType<number | string, number, never>;
  kind: string;
  instrument: string;
  tele: string;
  chip: string;
  serial: string;
  read_mode: string;
  valid_from: number | null;
  valid_to: number | null;
  data_from: number | null;
  data_to: number | null;
  grade: string;
  layout: string;
  software: string;
  /** JSON: what it was made by and of. */
  kernels: string;
  inputs: string;
  created_at: string;
}

interface PinRow {
  name: string;
  mjd: number;
  /** JSON: PinnedCalibration[]. */
  entries: string;
}

interface Tables {
  calibrations: CalibrationRow;
  pins: PinRow;
}

/** Forward only: what stands here was applied somewhere and is never edited; a change is one more entry. */
const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '001-calibrations': {
    up: (db: Kysely<unknown>) =>
      db.schema
        .createTable('calibrations')
        .addColumn('sha256', 'text', (c) => c.primaryKey())
        .addColumn('file', 'text', (c) => c.notNull().unique())
        .addColumn('bytes', 'bigint', (c) => c.notNull())
        .addColumn('kind', 'text', (c) => c.notNull())
        .addColumn('instrument', 'text', (c) => c.notNull())
        .addColumn('tele', 'text', (c) => c.notNull())
        .addColumn('chip', 'text', (c) => c.notNull())
        .addColumn('serial', 'text', (c) => c.notNull())
        .addColumn('read_mode', 'text', (c) => c.notNull())
        .addColumn('valid_from', 'double precision')
        .addColumn('valid_to', 'double precision')
        .addColumn('data_from', 'double precision')
        .addColumn('data_to', 'double precision')
        .addColumn('grade', 'text', (c) => c.notNull())
        .addColumn('layout', 'text', (c) => c.notNull())
        .addColumn('software', 'text', (c) => c.notNull())
        .addColumn('kernels', 'text', (c) => c.notNull())
        .addColumn('inputs', 'text', (c) => c.notNull())
        .addColumn('created_at', 'text', (c) => c.notNull())
        .execute(),
  },
  '002-pins': {
    up: (db: Kysely<unknown>) =>
      db.schema
        .createTable('pins')
        .addColumn('name', 'text', (c) => c.primaryKey())
        .addColumn('mjd', 'double precision', (c) => c.notNull())
        .addColumn('entries', 'text', (c) => c.notNull())
        .execute(),
  },
};

/** Names of the layouts, oldest first. */
export const LAYOUTS = Object.keys(MIGRATIONS);

function rowOf(record: CalibrationRecord) {
  const { sha256, file, bytes, kind, instrument, tele, chip, serial, grade, software } = record;
  return {
    sha256,
    file,
    bytes,
    kind,
    instrument,
    tele,
    chip,
    serial,
    grade,
    software,
    read_mode: record.readMode,
    valid_from: record.validFrom ?? null,
    valid_to: record.validTo ?? null,
    data_from: record.dataFrom ?? null,
    data_to: record.dataTo ?? null,
    layout: record.schema,
    kernels: JSON.stringify(record.kernels),
    inputs: JSON.stringify(record.inputs),
    created_at: record.createdAt,
  };
}

type Selected = {
  [K in keyof CalibrationRow]: CalibrationRow[K] extends ColumnType<infer S, infer _I, infer _U>
    ? S
    : CalibrationRow[K];
};

function recordOf(row: Selected): CalibrationRecord {
  const { sha256, file, kind, instrument, tele, chip, serial, grade, software } = row;
  return {
    schema: row.layout,
    kind: kind as CalibrationRecord['kind'],
    instrument,
    tele,
    chip,
    serial,
    readMode: row.read_mode,
    validFrom: row.valid_from ?? undefined,
    validTo: row.valid_to ?? undefined,
    dataFrom: row.data_from ?? undefined,
    dataTo: row.data_to ?? undefined,
    grade: grade as CalibrationRecord['grade'],
    file,
    sha256,
    software,
    bytes: Number(row.bytes),
    kernels: JSON.parse(row.kernels),
    inputs: JSON.parse(row.inputs),
    createdAt: row.created_at,
  };
}

/** linux/magic.h: file systems of other machines, on which SQLite's locks and shared memory cannot be relied on. */
const NETWORK: Readonly<Record<number, string>> = {
  26985: 'NFS', // 0x6969
  20859: 'SMB', // 0x517B
  4283649346: 'CIFS', // 0xFF534D42
  4266872130: 'SMB2', // 0xFE534D42
  12805120: 'Ceph', // 0x00C36400
  198183888: 'Lustre', // 0x0BD00BD0
};

/** How long a writer waits for another's lock [ms]: an insert takes milliseconds. */
const BUSY_MS = 10_000;

async function sqlite(path: string, directory: string): Promise<Dialect> {
  const network = NETWORK[statfsSync(directory).type];
  if (network !== undefined) {
    throw new StorageError(
      `SQLite cannot be shared over ${network}: use PostgreSQL (--registry postgres://...) or no database`,
      { file: path },
    );
  }
  const { default: Database } = await import('better-sqlite3');
  const { SqliteDialect } = await import('kysely');
  const database = new Database(path, { timeout: BUSY_MS });
  try {
    // No write-ahead log: its readers must write beside the database, and most who reduce may only read the directory. A
    // registration takes milliseconds, so readers hardly wait. What was answered outlives a loss of power.
    database.pragma('journal_mode = DELETE');
    database.pragma('synchronous = FULL');
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
    throw failure(error, 'use SQLite', ':memory:');
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

/** A URL as it may be shown and kept: without its password. */
export function publicUrl(url: string): string {
  const parsed = new URL(url);
  parsed.password = '';
  return parsed.toString();
}

/** Another process does the same at this moment: waiting helps. By code of SQLite, PostgreSQL (SQLSTATE) and the system. */
const BUSY = /^(SQLITE_BUSY|SQLITE_LOCKED|40001|40P01|55P03)/;
const AWAY = /^(ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN|57P0[123]|08\d{3}|53300)$/;
/** Two processes made the same table at the same moment: PostgreSQL's `if not exists` does not prevent it. */
const MADE_TWICE = /^(23505|42P07|42710)$/;

function failure(error: unknown, doing: string, file: string): RamplineError {
  if (error instanceof RamplineError) return error;
  const code = String((error as { code?: unknown } | null)?.code ?? '');
  const words = (error as Error).message || code;
  const context = { file, cause: error };
  if (BUSY.test(code)) return new RetriableError(`cannot ${doing}: the registry is busy (${code})`, context);
  if (AWAY.test(code)) return new RetriableError(`cannot ${doing}: the database does not answer (${words})`, context);
  if (code === 'ERR_DLOPEN_FAILED' || /bindings file/.test(words)) {
    return new StorageError(
      `cannot ${doing}: the SQLite module is not built for Node ${process.version}; .ci/setup builds it`,
      context,
    );
  }
  if (/^SQLITE_(NOTADB|CORRUPT)/.test(code)) {
    const cure = 'remove this file, then rampline calib reindex makes it again from the calibrations beside it';
    return new StorageError(`cannot ${doing}: ${words}; ${cure}`, context);
  }
  return new StorageError(`cannot ${doing}: ${words}`, context);
}

const TRIES = 20;
const TRY_MS = 50;

/** Databases are opened one after another within a process. */
let opening: Promise<unknown> = Promise.resolve();

export class Database {
  /** Path of the SQLite file, or the URL without its password. */
  readonly name: string;
  readonly #db: Kysely<Tables>;

  private constructor(name: string, db: Kysely<Tables>) {
    this.name = name;
    this.#db = db;
  }

  /**
   * Opens a database and brings it to the present layout; an empty one gets its tables.
   * @param where path of the SQLite file in `directory`, or a postgres:// URL
   * @param target for tests: the last migration to apply
   * @throws StorageError, RetriableError (busy, no answer), CalibrationError when a later version made it
   */
  static open(where: string, directory: string, target?: string): Promise<Database> {
    // SQLite waits for a lock without letting go of the thread: who holds it must not be a promise of this one.
    const mine = opening.then(() => Database.#open(where, directory, target));
    opening = mine.catch(() => undefined);
    return mine;
  }

  static async #open(where: string, directory: string, target: string | undefined): Promise<Database> {
    const isUrl = /^postgres(ql)?:\/\//.test(where);
    const name = isUrl ? publicUrl(where) : where;
    for (let attempt = 1; ; attempt++) {
      let db: Kysely<Tables> | undefined;
      try {
        const dialect = await (isUrl ? postgres(where) : sqlite(where, directory));
        const kysely = await import('kysely');
        db = new kysely.Kysely<Tables>({ dialect });
        await migrate(db, kysely, name, !isUrl, target);
        return new Database(name, db);
      } catch (error) {
        await db?.destroy();
        const code = String((error as { code?: unknown }).code ?? '');
        if (attempt === TRIES || !(BUSY.test(code) || MADE_TWICE.test(code))) {
          throw failure(error, 'open the registry', name);
        }
        await new Promise((resolve) => setTimeout(resolve, TRY_MS * attempt));
      }
    }
  }

  async #run<T>(doing: string, work: (db: Kysely<Tables>) => Promise<T>): Promise<T> {
    try {
      return await work(this.#db);
    } catch (error) {
      throw failure(error, doing, this.name);
    }
  }

  records(): Promise<CalibrationRecord[]> {
    return this.#run('read the registry', async (db) =>
      (await db.selectFrom('calibrations').selectAll().execute()).map((row) => recordOf(row as Selected)),
    );
  }

  /**
   * Registers a calibration, in one statement: of two processes that add the same one at once one adds it.
   * @throws CalibrationError when another content has this file name
   */
  insert(record: CalibrationRecord): Promise<'added' | 'present'> {
    return this.#run('register the calibration', async (db) => {
      const { numInsertedOrUpdatedRows } = await db
        .insertInto('calibrations')
        .values(rowOf(record))
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow();
      if (numInsertedOrUpdatedRows === 1n) return 'added';
      const other = await db
        .selectFrom('calibrations')
        .select('sha256')
        .where('file', '=', record.file)
        .where('sha256', '!=', record.sha256)
        .executeTakeFirst();
      if (other !== undefined) {
        throw new CalibrationError(
          `the registry has another file of this name: sha256 ${other.sha256}, this one is ${record.sha256}`,
          { file: record.file },
        );
      }
      return 'present';
    });
  }

  /** Takes rows out whose files are gone or were replaced: for reindex alone. */
  remove(hashes: readonly string[]): Promise<void> {
    return this.#run('remove from the registry', async (db) => {
      if (hashes.length > 0) await db.deleteFrom('calibrations').where('sha256', 'in', hashes).execute();
    });
  }

  pins(): Promise<Pin[]> {
    return this.#run('read the pins', async (db) =>
      (await db.selectFrom('pins').selectAll().orderBy('name').execute()).map(({ name, mjd, entries }) => ({
        name,
        mjd,
        entries: JSON.parse(entries),
      })),
    );
  }

  /** Freezes a set under its name, unless the name is taken. */
  insertPin({ name, mjd, entries }: Pin): Promise<'added' | 'present'> {
    return this.#run('pin the set', async (db) => {
      const { numInsertedOrUpdatedRows } = await db
        .insertInto('pins')
        .values({ name, mjd, entries: JSON.stringify(entries) })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow();
      return numInsertedOrUpdatedRows === 1n ? 'added' : 'present';
    });
  }

  close(): Promise<void> {
    return this.#db.destroy();
  }
}

async function migrate(
  db: Kysely<Tables>,
  { Migrator, sql }: typeof import('kysely'),
  name: string,
  isSqlite: boolean,
  target: string | undefined,
): Promise<void> {
  const props = { db, provider: { getMigrations: async () => ({ ...MIGRATIONS }) } };
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
    throw new CalibrationError('a later version of Rampline made this registry', { file: name, cause: result.error });
  }
  throw result.error;
}
