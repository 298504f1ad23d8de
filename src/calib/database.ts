/**
 * The registry's tables, in SQLite (one machine) or PostgreSQL (many). Rows are never changed: a calibration is known by the
 * sha256 of its file, and a second one of the same file name is refused.
 */
import { CalibrationError } from '../core/errors.js';
import {
  type ColumnType,
  type Connection,
  type Kysely,
  LaterLayoutError,
  type Layout,
  type Migration,
  openDatabase,
} from '../database/index.js';
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

const LAYOUT: Layout = {
  what: 'registry',
  instead: 'use PostgreSQL (--registry postgres://...) or no database',
  cure: 'remove this file, then rampline calib reindex makes it again from the calibrations beside it',
  migrations: MIGRATIONS,
  // No write-ahead log: its readers must write beside the database, and most who reduce may only read the directory. A
  // registration takes milliseconds, so readers hardly wait.
  commits: 'durable',
};

export class Database {
  /** Path of the SQLite file, or the URL without its password. */
  readonly name: string;
  readonly #connection: Connection<Tables>;

  private constructor(connection: Connection<Tables>) {
    this.name = connection.name;
    this.#connection = connection;
  }

  /**
   * Opens a database and brings it to the present layout; an empty one gets its tables.
   * @param where path of the SQLite file in `directory`, or a postgres:// URL
   * @param target for tests: the last migration to apply
   * @throws StorageError, RetriableError (busy, no answer), CalibrationError when a later version made it
   */
  static async open(where: string, directory: string, target?: string): Promise<Database> {
    try {
      return new Database(await openDatabase<Tables>(where, directory, LAYOUT, { target }));
    } catch (error) {
      if (error instanceof LaterLayoutError) throw new CalibrationError(error.message, error.context);
      throw error;
    }
  }

  records(): Promise<CalibrationRecord[]> {
    return this.#connection.run('read the registry', async (db) =>
      (await db.selectFrom('calibrations').selectAll().execute()).map((row) => recordOf(row as Selected)),
    );
  }

  /**
   * Registers a calibration, in one statement: of two processes that add the same one at once one adds it.
   * @throws CalibrationError when another content has this file name
   */
  insert(record: CalibrationRecord): Promise<'added' | 'present'> {
    return this.#connection.run('register the calibration', async (db) => {
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
    return this.#connection.run('remove from the registry', async (db) => {
      if (hashes.length > 0) await db.deleteFrom('calibrations').where('sha256', 'in', hashes).execute();
    });
  }

  pins(): Promise<Pin[]> {
    return this.#connection.run('read the pins', async (db) =>
      (await db.selectFrom('pins').selectAll().orderBy('name').execute()).map(({ name, mjd, entries }) => ({
        name,
        mjd,
        entries: JSON.parse(entries),
      })),
    );
  }

  /** Freezes a set under its name, unless the name is taken. */
  insertPin({ name, mjd, entries }: Pin): Promise<'added' | 'present'> {
    return this.#connection.run('pin the set', async (db) => {
      const { numInsertedOrUpdatedRows } = await db
        .insertInto('pins')
        .values({ name, mjd, entries: JSON.stringify(entries) })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirstOrThrow();
      return numInsertedOrUpdatedRows === 1n ? 'added' : 'present';
    });
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}
