/** The ledger's tables, and rows as the fold has them. */
import { type ColumnType, type Kysely, type Layout, loadKysely, type Migration } from '../database/index.js';
import type { JobStatus } from './events.js';
import { type AttemptRow, type JobRow, RUN_STATES, type RunRow, type RunState, STATES, TRANSITIONS } from './fold.js';

/** bigint, which pg gives as text. */
type Big = ColumnType<number | string, number, number>;

interface RunTable {
  output: string;
  id: string;
  host: string;
  pid: number;
  born: string | null;
  begun: string;
  ended: string | null;
  state: RunState;
  exit_code: number | null;
  /** JSON. */
  request: string;
  counts: string;
}

interface JobTable {
  output: string;
  id: string;
  stage: string;
  tele: string;
  mjd: number;
  chip: string | null;
  exposure: Big | null;
  state: JobStatus;
  was: JobStatus | null;
  why: string | null;
  run: string | null;
  attempts: number;
  key: string | null;
  /** JSON. */
  products: string;
  failure_class: string | null;
  failure_message: string | null;
  failure_file: string | null;
  seconds: number | null;
  cpu_seconds: number | null;
  peak_bytes: Big | null;
  verdict: string | null;
  reason: string | null;
  place: string | null;
  begun: string | null;
  updated: string;
}

interface AttemptTable {
  output: string;
  run: string;
  job: string;
  n: number;
  begun: string | null;
  ended: string | null;
  status: JobStatus;
  place: string | null;
  seconds: number | null;
  failure_class: string | null;
  failure_message: string | null;
}

interface FileTable {
  path: string;
  /** device:inode:size:mtime:ctime, times in nanoseconds. */
  identity: string;
  bytes: Big;
  sha256: string;
}

export interface Tables {
  run: RunTable;
  job: JobTable;
  attempt: AttemptTable;
  file: FileTable;
}

/** `condition` of a check: column in (words). */
const inWords = (column: string, words: readonly string[]): string =>
  `${column} in (${words.map((word) => `'${word}'`).join(', ')})`;

const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '001-runs-and-jobs': {
    up: async (db: Kysely<unknown>) => {
      const { sql } = await loadKysely();
      await db.schema
        .createTable('run')
        .addColumn('output', 'text', (c) => c.notNull())
        .addColumn('id', 'text', (c) => c.notNull())
        .addColumn('host', 'text', (c) => c.notNull())
        .addColumn('pid', 'integer', (c) => c.notNull())
        .addColumn('born', 'text')
        .addColumn('begun', 'text', (c) => c.notNull())
        .addColumn('ended', 'text')
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('exit_code', 'integer')
        .addColumn('request', 'text', (c) => c.notNull())
        .addColumn('counts', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('run_id', ['output', 'id'])
        .addCheckConstraint('run_state', sql.raw(inWords('state', RUN_STATES)))
        .execute();
      await db.schema
        .createTable('job')
        .addColumn('output', 'text', (c) => c.notNull())
        .addColumn('id', 'text', (c) => c.notNull())
        .addColumn('stage', 'text', (c) => c.notNull())
        .addColumn('tele', 'text', (c) => c.notNull())
        .addColumn('mjd', 'integer', (c) => c.notNull())
        .addColumn('chip', 'text')
        .addColumn('exposure', 'bigint')
        .addColumn('state', 'text', (c) => c.notNull())
        .addColumn('was', 'text')
        .addColumn('why', 'text')
        .addColumn('run', 'text')
        .addColumn('attempts', 'integer', (c) => c.notNull())
        .addColumn('key', 'text')
        .addColumn('products', 'text', (c) => c.notNull())
        .addColumn('failure_class', 'text')
        .addColumn('failure_message', 'text')
        .addColumn('failure_file', 'text')
        .addColumn('seconds', 'double precision')
        .addColumn('cpu_seconds', 'double precision')
        .addColumn('peak_bytes', 'bigint')
        .addColumn('verdict', 'text')
        .addColumn('reason', 'text')
        .addColumn('place', 'text')
        .addColumn('begun', 'text')
        .addColumn('updated', 'text', (c) => c.notNull())
        .addPrimaryKeyConstraint('job_id', ['output', 'id'])
        .addCheckConstraint('job_state', sql.raw(inWords('state', STATES)))
        .addCheckConstraint('job_transition', sql.raw(`was is null or ${inWords("was || '>' || state", TRANSITIONS)}`))
        .execute();
      await db.schema.createIndex('job_night').on('job').columns(['output', 'mjd', 'tele']).execute();
    },
  },
  '002-attempts': {
    up: async (db: Kysely<unknown>) => {
      const { sql } = await loadKysely();
      await db.schema
        .createTable('attempt')
        .addColumn('output', 'text', (c) => c.notNull())
        .addColumn('run', 'text', (c) => c.notNull())
        .addColumn('job', 'text', (c) => c.notNull())
        .addColumn('n', 'integer', (c) => c.notNull())
        .addColumn('begun', 'text')
        .addColumn('ended', 'text')
        .addColumn('status', 'text', (c) => c.notNull())
        .addColumn('place', 'text')
        .addColumn('seconds', 'double precision')
        .addColumn('failure_class', 'text')
        .addColumn('failure_message', 'text')
        .addPrimaryKeyConstraint('attempt_id', ['output', 'run', 'job', 'n'])
        .addCheckConstraint('attempt_status', sql.raw(inWords('status', STATES)))
        .execute();
    },
  },
  '003-files': {
    up: (db: Kysely<unknown>) =>
      db.schema
        .createTable('file')
        .addColumn('path', 'text', (c) => c.primaryKey())
        .addColumn('identity', 'text', (c) => c.notNull())
        .addColumn('bytes', 'bigint', (c) => c.notNull())
        .addColumn('sha256', 'text', (c) => c.notNull())
        .execute(),
  },
  '004-attempts-by-job': {
    up: (db: Kysely<unknown>) =>
      db.schema.createIndex('attempt_job').on('attempt').columns(['output', 'job']).execute(),
  },
};

/** Names of the layouts, oldest first. */
export const LAYOUTS = Object.keys(MIGRATIONS);

export const LAYOUT: Layout = {
  what: 'ledger',
  instead:
    'give the URL of a PostgreSQL database (--ledger postgres://...) or none (--ledger none): the products and logs say all that it would',
  cure: 'the next run, or rampline status --rebuild, makes it again from products and logs',
  migrations: MIGRATIONS,
  commits: 'fast',
  // A run goes on while another process writes: what is not written now is written with the next batch.
  busyMs: 250,
};

/** A table's row without `output`. */
type Selected<Table> = {
  [K in Exclude<keyof Table, 'output'>]: Table[K] extends ColumnType<infer S, infer _I, infer _U>
    ? S
    : Table[K] extends ColumnType<infer S, infer _I, infer _U> | null
      ? S | null
      : Table[K];
};

const number = (value: number | string | null): number | null => (value === null ? null : Number(value));

export function fromRun({ id, host, pid, born, begun, ended, state, exitCode, request, counts }: RunRow) {
  const json = { request: JSON.stringify(request), counts: JSON.stringify(counts) };
  return { id, host, pid, born, begun, ended, state, exit_code: exitCode, ...json };
}

export function toRun(row: Selected<RunTable>): RunRow {
  const { id, host, pid, born, begun, ended, state, exit_code: exitCode } = row;
  const json = { request: JSON.parse(row.request), counts: JSON.parse(row.counts) };
  return { id, host, pid, born, begun, ended, state, exitCode, ...json };
}

export function fromJob(job: JobRow) {
  const { id, stage, tele, mjd, chip, exposure, state, was, why, run, attempts, key, seconds } = job;
  const { verdict, reason, place, begun, updated } = job;
  return {
    id,
    stage,
    tele,
    mjd,
    chip,
    exposure,
    state,
    was,
    why,
    run,
    attempts,
    key,
    seconds,
    verdict,
    reason,
    place,
    begun,
    updated,
    products: JSON.stringify(job.products),
    failure_class: job.failureClass,
    failure_message: job.failureMessage,
    failure_file: job.failureFile,
    cpu_seconds: job.cpuSeconds,
    peak_bytes: job.peakBytes,
  };
}

export function toJob(row: Selected<JobTable>): JobRow {
  const { id, stage, tele, mjd, chip, state, was, why, run, attempts, key, seconds } = row;
  const { verdict, reason, place, begun, updated } = row;
  return {
    id,
    stage,
    tele,
    mjd,
    chip,
    exposure: number(row.exposure),
    state,
    was,
    why,
    run,
    attempts,
    key,
    products: JSON.parse(row.products),
    failureClass: row.failure_class,
    failureMessage: row.failure_message,
    failureFile: row.failure_file,
    seconds,
    cpuSeconds: row.cpu_seconds,
    peakBytes: number(row.peak_bytes),
    verdict,
    reason,
    place,
    begun,
    updated,
  };
}

export function fromAttempt({ failureClass, failureMessage, ...row }: AttemptRow) {
  return { ...row, failure_class: failureClass, failure_message: failureMessage };
}

export function toAttempt(row: Selected<AttemptTable>): AttemptRow {
  const { run, job, n, begun, ended, status, place, seconds } = row;
  const failure = { failureClass: row.failure_class, failureMessage: row.failure_message };
  return { run, job, n, begun, ended, status, place, seconds, ...failure };
}
