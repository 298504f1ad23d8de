// One suite over SQLite and PostgreSQL.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BugError, RetriableError, StorageError, UsageError } from '../../src/core/errors.js';
import { openDatabase } from '../../src/database/index.js';
import { Fold } from '../../src/ledger/fold.js';
import {
  type JobRow,
  jobOfProduct,
  type LedgerEvent,
  openLedger,
  processBirth,
  processState,
  type Rows,
  readLedger,
  rebuildLedger,
  stageOfJobId,
} from '../../src/ledger/index.js';
import { writeRows } from '../../src/ledger/ledger.js';
import { LAYOUT, LAYOUTS, type Tables } from '../../src/ledger/tables.js';
import { canonicalJson, hashFile, knownHash, openStore } from '../../src/store/index.js';
import { type Server, startPostgres, whyNoPostgres } from '../postgres.js';
import { log, nightEvents } from './nights.js';

const root = new URL('../..', import.meta.url).pathname;
const base = mkdtempSync(join(tmpdir(), 'rampline-ledger-'));
let server: Server | undefined;
const noPostgres = whyNoPostgres();
beforeAll(async () => {
  if (noPostgres === undefined) server = await startPostgres();
});
afterAll(() => {
  server?.stop();
  rmSync(base, { recursive: true, force: true });
});

let count = 0;
const fresh = (): string => {
  const directory = join(base, `d${count++}`);
  mkdirSync(directory);
  return directory;
};
const sqlitePath = (output: string): string => join(output, 'state/ledger.sqlite');

/** Overwrites all pages but the first, which says what the file is (4096 bytes a page). */
const damage = (path: string): void => {
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.fill(0xa5, 4096));
};

const JOB = { job: 'ramp-apo-60855-a-0001', stage: 'ramp' };
const at = (seconds: number): string => new Date(Date.UTC(2025, 6, 1, 0, 0, seconds)).toISOString();
const planned = (run: string, state: 'done' | 'todo' | 'dropped', more: Partial<LedgerEvent> = {}): LedgerEvent => ({
  time: at(1),
  run,
  event: 'planned',
  ...JOB,
  state,
  ...more,
});
const begin = (run: string, attempt: number): LedgerEvent => ({ time: at(2), run, event: 'begin', ...JOB, attempt });
const end = (
  run: string,
  status: NonNullable<LedgerEvent['outcome']>['status'],
  attempt = 1,
  event: 'end' | 'retry' = 'end',
): LedgerEvent => ({
  time: at(3),
  run,
  event,
  ...JOB,
  outcome: { job: JOB.job, status, products: [], attempt, seconds: 2.5, cpuSeconds: 4, peakBytes: 2 ** 33 },
});

const sorted = ({ runs, jobs, attempts }: Rows) => {
  const text = (row: object): string => canonicalJson(row);
  return { runs: runs.map(text).sort(), jobs: jobs.map(text).sort(), attempts: attempts.map(text).sort() };
};

describe.each(['sqlite', 'postgresql'] as const)('a ledger in %s', (backend) => {
  let output: string;
  let url: string | undefined;
  const open = async (more = {}) => {
    const ledger = await openLedger({ output, url, ...more });
    expect(ledger.backend).toBe(backend);
    return ledger;
  };
  /** What the database itself is told, past the ledger. */
  const direct = async (text: string): Promise<unknown[]> => {
    if (url === undefined) {
      const database = new Sqlite(sqlitePath(output));
      try {
        const statement = database.prepare(text);
        return statement.reader ? statement.all() : [statement.run()];
      } finally {
        database.close();
      }
    }
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  };
  beforeEach((ctx) => {
    if (backend === 'postgresql' && noPostgres !== undefined) ctx.skip(noPostgres);
    output = fresh();
    url = backend === 'postgresql' ? server?.database(`l${count}`) : undefined;
  });

  it('says what became of a job, to whoever reads while it is open', async () => {
    const ledger = await open();
    const about = {
      host: 'h',
      pid: 7,
      request: { verb: 'run', mjd: 60_855 },
      counts: { todo: 1, done: 0, dropped: 0 },
    };
    ledger.record({ time: at(0), run: 'r', event: 'start', about });
    ledger.record(planned('r', 'todo', { message: 'no product yet' }));
    ledger.record(begin('r', 1));
    await ledger.flush();
    const half = await readLedger({ output });
    expect(half.source).toBe(backend);
    expect(half.jobs.map(({ id, state, was, attempts }) => [id, state, was, attempts])).toEqual([
      [JOB.job, 'running', 'planned', 1],
    ]);
    expect(half.runs).toMatchObject([
      { id: 'r', host: 'h', pid: 7, state: 'running', exitCode: null, request: about.request },
    ]);
    ledger.record(end('r', 'failed', 1, 'retry'));
    ledger.record(begin('r', 2));
    ledger.record(end('r', 'done', 2));
    ledger.record({ time: at(4), run: 'r', event: 'finish', about: { ...about, exitCode: 0 } });
    await ledger.close();
    const { runs, jobs, attempts } = await readLedger({ output });
    expect(runs).toMatchObject([{ state: 'done', ended: at(4), exitCode: 0 }]);
    const wanted: Partial<JobRow> = {
      tele: 'apo',
      mjd: 60855,
      chip: 'a',
      exposure: 1,
      state: 'done',
      attempts: 2,
    };
    expect(jobs).toMatchObject([{ ...wanted, seconds: 2.5, cpuSeconds: 4, peakBytes: 2 ** 33, updated: at(3) }]);
    expect(attempts.map(({ n, status, seconds }) => [n, status, seconds])).toEqual([
      [1, 'failed', 2.5],
      [2, 'done', 2.5],
    ]);
  });

  it('takes any text', async () => {
    const ledger = await open();
    const text = 'a\0b \'c\' "d" \\ \ud800 é';
    ledger.record(planned('r', 'todo', { message: text }));
    await ledger.close();
    const [job] = (await readLedger({ output })).jobs;
    expect(job?.why).toBe('a\ufffdb \'c\' "d" \\ \ufffd é');
  });

  it('lets a job go from state to state as it may, and the tables refuse the rest, too', async () => {
    const ledger = await open();
    ledger.record(planned('r', 'todo'));
    ledger.record(begin('r', 1));
    ledger.record(end('r', 'failed'));
    expect(() => ledger.record(begin('r', 2))).toThrow(BugError);
    expect(() => ledger.record(end('r', 'done'))).toThrow('cannot become done: it is failed');
    expect(() => ledger.record({ ...begin('r', 1), job: 'nonsense' })).toThrow(BugError);
    await ledger.close();
    expect(() => ledger.record(begin('r2', 1))).toThrow('closed');
    await expect(direct(`update job set state = 'flying'`)).rejects.toThrow(/job_state/);
    await expect(direct(`update job set was = 'failed', state = 'running'`)).rejects.toThrow(/job_transition/);
    await expect(direct(`update run set state = 'killed'`)).resolves.toBeDefined(); // there is none
    await expect(
      direct(
        `insert into run (output, id, host, pid, begun, state, request, counts) values ('', 'r', 'h', 1, '', 'killed', '', '')`,
      ),
    ).rejects.toThrow(/run_state/);
    const again = await open();
    await again.load({ tele: ['apo'], mjd: 60_855 });
    again.record(begin('r2', 1)); // a later run takes it up from any state
    again.record(end('r2', 'done'));
    expect((await again.read()).jobs).toMatchObject([{ state: 'done', run: 'r2', attempts: 1 }]);
    await again.close();
  });

  it('keeps what a job cost for a later run that finds it done, and forgets it when it is done again', async () => {
    const first = await open();
    for (const event of [planned('r', 'todo'), begin('r', 1), end('r', 'done')]) first.record(event);
    await first.close();
    const second = await open();
    await second.load({ mjd: 60_855 });
    second.record(planned('r2', 'done', { key: 'k', message: 'its manifest has the key' }));
    expect((await second.read()).jobs).toMatchObject([
      { state: 'done', run: 'r2', attempts: 0, seconds: 2.5, key: 'k' },
    ]);
    second.record(end('r2', 'skipped', 0));
    expect((await second.read()).jobs).toMatchObject([{ state: 'skipped', seconds: 2.5, peakBytes: 2 ** 33 }]);
    await second.close();
    const third = await open();
    await third.load({ mjd: 60_855 });
    third.record(planned('r3', 'todo', { message: 'its key changed' }));
    expect((await third.read()).jobs).toMatchObject([{ state: 'planned', seconds: null, why: 'its key changed' }]);
    const others = await third.read({ tele: ['lco'] });
    expect([others.jobs, others.attempts, others.runs.length]).toEqual([[], [], 0]);
    const own = await third.read({ tele: ['apo'], mjd: 60_855 });
    expect(own.attempts.map(({ run, n }) => [run, n])).toEqual([['r', 1]]);
    await third.close();
  });

  it.each([1, 2, 3, 4, 5])('is made again from the logs alone, row for row (night %i)', async (seed) => {
    const ledger = await open();
    let run = '';
    let n = 0;
    for (const event of nightEvents(seed)) {
      // A later run knows what was there before from the database alone.
      if (event.event === 'start' && run !== '') await ledger.flush();
      run = event.run;
      log(output, event);
      ledger.record(event);
      if (n++ % 17 === 0) await ledger.flush();
    }
    const before = sorted(await ledger.read());
    await ledger.close();
    expect(before.jobs.length).toBeGreaterThan(20);
    const made = await rebuildLedger({ output });
    expect(made.unreadable).toEqual([]);
    expect(sorted(made)).toEqual(before);
    expect(sorted(await readLedger({ output }))).toEqual(before);
    // The same by itself, where the ledger is lost.
    if (backend === 'sqlite') rmSync(join(output, 'state'), { recursive: true });
    else url = server?.database(`again${count++}`);
    expect(sorted(await readLedger({ output, url }))).toEqual(before);
    const again = await open();
    expect(sorted(await again.read())).toEqual(before);
    await again.close();
  });

  it('is made from products of which no log speaks, and from a log whose last line is half', async () => {
    const store = await openStore(output);
    const record = { schema: 's/1', inputs: [], calibrations: [], parameters: {}, kernels: {}, software: 'x' };
    const names = ['2d-apo-60855-a-0001', '2d-apo-60855-b-0001', 'exposure-apo-60855-0001', 'other-1'];
    for (const name of names) await store.writeProduct(`apo/60855/${name}.fits`, [Buffer.from(name)], record);
    // Killed between the product and the end of its job.
    log(output, begin('r', 1));
    writeFileSync(join(output, 'log/apo/60855/0001.jsonl'), '{"time": "2025-', { flag: 'a' });
    const jobOf = jobOfProduct({ '2d': 'ramp', exposure: 'classify' });
    const { jobs, unreadable } = await rebuildLedger({ output, url, jobOf });
    expect(
      jobs.map(({ id, stage, state, key, products, run }) => [id, stage, state, key?.length, products, run]),
    ).toEqual([
      ['classify-apo-60855-0001', 'classify', 'done', 64, ['apo/60855/exposure-apo-60855-0001.fits'], null],
      ['ramp-apo-60855-a-0001', 'ramp', 'done', 64, ['apo/60855/2d-apo-60855-a-0001.fits'], 'r'],
      ['ramp-apo-60855-b-0001', 'ramp', 'done', 64, ['apo/60855/2d-apo-60855-b-0001.fits'], null],
    ]);
    expect(unreadable).toEqual([{ file: join(output, 'log/apo/60855/0001.jsonl'), line: 2 }]);
    expect((await readLedger({ output, url })).jobs).toEqual(jobs);
  });

  it('remembers hashes of files, and none of a file that changed', async () => {
    const files = ['LICENSE', 'CONTRIBUTING.md'].map((name) => join(root, name));
    const plain = await hashFile(files[0]!, { remember: false });
    const first = await open();
    first.hashes.set('x', '1:2:3:4:5', plain);
    expect(await first.hashes.get('x', '1:2:3:4:5')).toMatchObject(plain); // not written yet
    first.hashes.set('y', '1:2:3:4:5', plain);
    await first.close();
    const second = await open();
    expect(await second.hashes.get('x', '1:2:3:4:5')).toEqual(plain);
    expect(await second.hashes.get('x', '1:2:3:4:6')).toBeUndefined();
    expect(await second.hashes.get('z', '1:2:3:4:5')).toBeUndefined();
    second.hashes.set('x', '1:2:3:4:6', { ...plain, sha256: 'f'.repeat(64) });
    expect((await second.hashes.get('x', '1:2:3:4:6'))?.sha256).toBe('f'.repeat(64));
    await second.close();
  });

  it('is brought forward from empty and from every older layout, with what it holds', async () => {
    for (const layout of LAYOUTS) {
      output = fresh();
      if (backend === 'postgresql') url = server?.database(`m${count++}`);
      mkdirSync(join(output, 'state'));
      const old = await openDatabase<Tables>(url ?? sqlitePath(output), output, LAYOUT, { target: layout });
      const fold = new Fold({ strict: true });
      const about = { host: 'h', pid: 7, request: {}, counts: {} };
      for (const event of [planned('r', 'todo'), begin('r', 1), end('r', 'done')]) fold.apply(event);
      fold.apply({ time: at(0), run: 'r', event: 'start', about });
      const word = backend === 'sqlite' ? '' : output;
      const content = { runs: [...fold.runs.values()], jobs: [...fold.jobs.values()], attempts: [] };
      await old.run('write', (db) => writeRows(db, backend, word, content));
      await old.close();
      for (let again = 0; again < 2; again++) {
        const ledger = await open();
        expect(await ledger.read()).toEqual(content);
        await ledger.close();
      }
      const ledger = await open();
      for (const event of [begin('r2', 1), end('r2', 'done')]) ledger.record(event);
      ledger.hashes.set('x', 'i', { sha256: 'f'.repeat(64), bytes: 1 });
      expect((await ledger.read()).attempts).toHaveLength(1);
      await ledger.close();
    }
  });

  it('of a later version is left alone', async () => {
    await (await open()).close();
    await direct(`insert into kysely_migration (name, timestamp) values ('999-later', '2030-01-01')`);
    await expect(open()).rejects.toThrow(StorageError);
    await expect(open()).rejects.toThrow('a later version of Rampline made this ledger');
  });

  it('is shared by runs of several chips: no batch is lost', async () => {
    const ledgers = await Promise.all(['a', 'b', 'c'].map(() => open()));
    for (let i = 0; i < 300; i++) {
      for (const [k, ledger] of ledgers.entries()) {
        const job = `ramp-apo-60855-${'abc'[k]}-${String(i).padStart(4, '0')}`;
        ledger.record({ ...begin(`r${k}`, 1), job });
        ledger.record({ ...end(`r${k}`, 'done'), job });
      }
      if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await Promise.all(ledgers.map((ledger) => ledger.close()));
    const { jobs } = await readLedger({ output });
    expect(jobs).toHaveLength(900);
    expect(new Set(jobs.map(({ state }) => state))).toEqual(new Set(['done']));
  });

  it('keeps what it cannot write while another process holds the database, and writes it then', async () => {
    const ledger = await open();
    let release: () => Promise<unknown>;
    if (url === undefined) {
      const other = new Sqlite(sqlitePath(output));
      other.exec('begin immediate');
      release = async () => other.exec('commit').close();
    } else {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await client.query('begin; lock table job in exclusive mode');
      release = () => client.query('commit').then(() => client.end());
    }
    ledger.record(begin('r', 1));
    const flushed = ledger.flush();
    if (url === undefined) {
      await expect(flushed).rejects.toThrow(RetriableError);
      expect(ledger.problem?.message).toContain('the ledger is busy');
    }
    await release();
    ledger.record(end('r', 'done'));
    await ledger.close();
    expect(ledger.problem).toBeUndefined();
    expect((await readLedger({ output })).jobs).toMatchObject([{ state: 'done' }]);
  });
});

describe('where the ledger is', () => {
  it('is refused on a shared file system, with what to do instead', async () => {
    const output = fresh();
    const nfs = { output, statfs: () => ({ type: 0x6969 }) };
    await expect(openLedger(nfs)).rejects.toThrow(StorageError);
    await expect(openLedger(nfs)).rejects.toThrow(/over NFS: .*--ledger postgres:.*--ledger none/);
    expect(existsSync(sqlitePath(output))).toBe(false);
    const none = await openLedger({ ...nfs, url: 'none' });
    none.record(begin('r', 1));
    expect((await none.read()).jobs).toHaveLength(1);
    await none.close();
    expect(existsSync(join(output, 'state/ledger.sqlite'))).toBe(false);
    // Products and logs are enough.
    log(output, begin('r', 1));
    const reading = await readLedger(nfs);
    expect([reading.source, reading.jobs.length]).toEqual(['products and logs', 1]);
  });

  it('is remembered without its password', async (ctx) => {
    if (noPostgres !== undefined) ctx.skip(noPostgres);
    const output = fresh();
    const url = server!.database('pointed').replace('postgres@', 'postgres:secret@');
    const ledger = await openLedger({ output, url });
    ledger.record(begin('r', 1));
    await ledger.close();
    expect(ledger.name).not.toContain('secret');
    expect(readFileSync(join(output, 'state/ledger.json'), 'utf8')).not.toContain('secret');
    expect((await readLedger({ output })).jobs).toHaveLength(1);
    // Another directory in the same database is another ledger.
    const other = await openLedger({ output: fresh(), url });
    expect((await other.read()).jobs).toEqual([]);
    await other.close();
    writeFileSync(join(output, 'state/ledger.json'), '{"schema": "ledger/2"}');
    await expect(openLedger({ output })).rejects.toThrow('expected {"schema": "ledger/1"');
  });

  it('gives errors of their class', async () => {
    const output = fresh();
    await expect(openLedger({ output, url: 'mysql://x' })).rejects.toThrow(UsageError);
    await expect(openLedger({ output, url: 'postgres://u:secret@127.0.0.1:1/x' })).rejects.toThrow(RetriableError);
    expect(existsSync(join(output, 'state/ledger.json'))).toBe(false);
    mkdirSync(join(output, 'state'), { recursive: true });
    writeFileSync(sqlitePath(output), 'this is no database, it is a text that is long enough to be none');
    const { because } = await readLedger({ output });
    expect(because).toContain('not a database');
    expect(because).toContain('status --rebuild');
  });

  it.each([
    ['no database', (path: string) => writeFileSync(path, 'this is no database, it is a text that is long enough')],
    ['a damaged page', (path: string) => damage(path)],
  ])('makes a broken file again: %s', async (_, harm) => {
    const output = fresh();
    const first = await openLedger({ output });
    await first.close();
    harm(sqlitePath(output));
    const said: string[] = [];
    const ledgers = await Promise.all([1, 2].map(() => openLedger({ output, say: (text) => said.push(text) })));
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/^the ledger was damaged \(.*\); it is made again from products and logs$/);
    expect((await ledgers[0]!.read()).jobs).toEqual([]);
    await Promise.all(ledgers.map((ledger) => ledger.close()));
    expect(readdirSync(join(output, 'state'))).not.toContain('ledger.lock');
    harm(sqlitePath(output));
    await rebuildLedger({ output });
    expect((await readLedger({ output })).because).toBeUndefined();
  });

  it('belongs to the main thread', async () => {
    const code = `
      const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.path).then(({ openLedger }) => openLedger({ output: workerData.output }))
        .then(() => parentPort.postMessage('opened'), (error) => parentPort.postMessage(error.class));`;
    const workerData = { path: join(root, 'build/js/ledger/index.js'), output: fresh() };
    const worker = new Worker(code, { eval: true, workerData });
    expect(await new Promise((resolve) => worker.once('message', resolve))).toBe('bug');
    await worker.terminate();
    expect(readdirSync(workerData.output)).toEqual([]);
  });
});

describe('killed', () => {
  it('at any moment, it opens again, is right in what it says, and is made whole from the logs', async () => {
    const output = fresh();
    const child = new URL('./child.mjs', import.meta.url).pathname;
    let rows = 0;
    for (const wait of [0, 5, 20, 40, 60, 80, 120, 160]) {
      await new Promise<void>((resolve, reject) => {
        const process_ = spawn(process.execPath, [child, output, '2000'], { stdio: ['ignore', 'pipe', 'inherit'] });
        process_.stdout.once('data', () => setTimeout(() => process_.kill('SIGKILL'), wait));
        process_.on('close', (code, signal) =>
          signal === 'SIGKILL' ? resolve() : reject(new Error(`ended with ${code}`)),
        );
      });
      // All states through which each job went, as the logs have them.
      const fold = new Fold({ strict: false });
      const seen = new Set<string>();
      for (const name of readdirSync(join(output, 'log/apo/60855'))) {
        for (const line of readFileSync(join(output, 'log/apo/60855', name), 'utf8')
          .split('\n')
          .slice(0, -1)) {
          const { job } = fold.apply(JSON.parse(line));
          if (job !== undefined) seen.add(canonicalJson(job));
        }
      }
      // Before anything opens it for writing.
      const killed = await readLedger({ output });
      expect(killed.source).toBe('sqlite');
      for (const job of killed.jobs) expect(seen).toContain(canonicalJson(job));
      const database = new Sqlite(sqlitePath(output));
      expect(database.pragma('integrity_check', { simple: true })).toBe('ok');
      database.close();
      const made = await rebuildLedger({ output });
      expect(made.jobs.map((job) => canonicalJson(job)).sort()).toEqual(
        [...fold.jobs.values()].map((job) => canonicalJson(job)).sort(),
      );
      rows = made.jobs.length;
    }
    expect(rows).toBeGreaterThan(5);
  });
});

describe('what a ledger asks of the process', () => {
  it('tells a live process from one that ended, and from a later one of its pid', async () => {
    const { hostname } = await import('node:os');
    const host = hostname();
    expect(processState({ host, pid: process.pid, born: processBirth() })).toBe('alive');
    expect(processState({ host: `${host}x`, pid: process.pid, born: processBirth() })).toBe('unknown');
    const child = spawn('sleep', ['30']);
    const { pid } = child as { pid: number };
    const born = processBirth(pid);
    expect(processState({ host, pid, born })).toBe('alive');
    expect(processState({ host, pid: process.pid, born })).toBe('dead');
    child.kill();
    await new Promise((resolve) => child.on('close', resolve));
    expect(processState({ host, pid, born })).toBe('dead');
    expect(processState({ host, pid })).toBe('dead');
  });

  it('reads the parts of a job id', () => {
    expect(stageOfJobId('one-over-f-apo-60855-a')).toBe('one-over-f');
    expect(stageOfJobId('ramp-apo-60855-a-0001')).toBe('ramp');
    expect(stageOfJobId('join-apo-60855')).toBe('join');
    expect(stageOfJobId('join')).toBeUndefined();
  });
});

describe('the memory of hashes', () => {
  it('is asked before a file is read, and told after', async () => {
    const told = new Map<string, { sha256: string; bytes: number; identity: string }>();
    const memory = {
      get: (path: string, identity: string) => (told.get(path)?.identity === identity ? told.get(path) : undefined),
      set: (path: string, identity: string, hash: { sha256: string; bytes: number }) =>
        void told.set(path, { ...hash, identity }),
    };
    // Files that were not changed within the last seconds.
    const [one, two] = [join(root, 'LICENSE'), join(root, 'SECURITY.md')];
    expect(await knownHash(one, memory)).toBeUndefined();
    const hash = await hashFile(one, { memory });
    expect(told.get(one)).toMatchObject(hash);
    expect(await knownHash(one, memory)).toMatchObject(hash);
    await hashFile(two, { memory });
    expect(await knownHash(join(base, 'none'), memory)).toBeUndefined();
    const { identity } = told.get(two)!;
    expect(identity).toMatch(/^\d+:\d+:\d+:\d+:\d+$/);
  });
});
