// rampline status over output directories as runs leave them: at work, killed, ended, without a ledger.
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { InputError, RetriableError } from '../../src/core/errors.js';
import { processBirth } from '../../src/core/process.js';
import { type LedgerEvent, openLedger } from '../../src/ledger/index.js';
import type { NightEvent } from '../../src/night/job.js';
import { nightStatus } from '../../src/night/status.js';
import { Lock, takeLock } from '../../src/store/index.js';
import { rampline, startRampline } from '../cli.js';
import { log } from './nights.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-status-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
let output: string;
let count = 0;
beforeEach(() => {
  output = join(base, `d${count++}`);
  mkdirSync(output);
});

const RUN = '20250701T030000-7-abcd';
const alive = { host: hostname(), pid: process.pid, born: processBirth() };
const request = { tele: ['apo'], mjd: 60_855, executor: 'local' };
let clock = Date.UTC(2025, 6, 1, 3);
const time = (): string => {
  clock += 1000;
  return new Date(clock).toISOString();
};

const exposureText = (n: number): string => String(n).padStart(4, '0');
const jobOf = (stage: string, exposure: number, chip?: string): string =>
  [stage, 'apo', 60_855, chip, exposureText(exposure)].filter((word) => word !== undefined).join('-');

/** A night event is an event of the ledger: the compiler holds them together. */
const asEvent = (event: NightEvent): LedgerEvent => event;

function end(job: string, status: 'done' | 'dropped' | 'failed', message = '', seconds = 1): LedgerEvent {
  const failure = { error: 'input', exitCode: 21, message, file: 'raw/x.apz' } as const;
  const outcome = { job, status, products: [], attempt: 1, seconds, failure: status === 'done' ? undefined : failure };
  return asEvent({ time: time(), run: RUN, event: 'end', job, outcome });
}
const begin = (job: string, attempt = 1): LedgerEvent => ({ time: time(), run: RUN, event: 'begin', job, attempt });

/** A run half way: three chips of four exposures; 2 is dropped by its verdict, 3 fails, 4 is at work. */
function halfNight(about: { host: string; pid: number; born?: string | undefined }): LedgerEvent[] {
  const events: LedgerEvent[] = [
    { time: time(), run: RUN, event: 'start', about: { ...about, request, counts: { done: 0, todo: 13, dropped: 0 } } },
  ];
  const chips = ['a', 'b', 'c'];
  for (const n of [1, 2, 3, 4]) {
    for (const chip of chips)
      events.push({ time: time(), run: RUN, event: 'planned', state: 'todo', job: jobOf('calibrate', n, chip) });
  }
  for (const chip of chips) {
    events.push(
      begin(jobOf('calibrate', 1, chip)),
      end(jobOf('calibrate', 1, chip), 'done', '', chip === 'b' ? 90 : 2),
    );
    events.push(end(jobOf('calibrate', 2, chip), 'dropped', 'classify-apo-60855-0002 says: no light'));
  }
  events.push(
    end(
      jobOf('extract', 2, 'a'),
      'dropped',
      '0 of 3 rates are left and 1 are needed: because calibrate-apo-60855-a-0002 was dropped: classify-apo-60855-0002 says: no light',
    ),
  );
  events.push(begin(jobOf('calibrate', 3, 'a')), end(jobOf('calibrate', 3, 'a'), 'failed', 'a bug'));
  events.push(begin(jobOf('calibrate', 4, 'a')), {
    ...end(jobOf('calibrate', 4, 'a'), 'failed', 'no memory'),
    event: 'retry',
  });
  events.push(begin(jobOf('calibrate', 4, 'a'), 2));
  return events;
}

async function write(events: readonly LedgerEvent[]): Promise<void> {
  const ledger = await openLedger({ output });
  for (const event of events) ledger.record(event);
  await ledger.close();
}

describe('a night at work', () => {
  it('is told run by run, stage by stage, with reasons in one line each', async () => {
    await write(halfNight(alive));
    const report = await nightStatus({ output });
    expect(report.runs.map(({ id, state }) => [id, state])).toEqual([[RUN, 'running']]);
    const counts = { 'to do': 4, running: 1, killed: 0, done: 3, dropped: 3, failed: 1, cancelled: 0 };
    expect(report.stages[0]).toEqual({ tele: 'apo', mjd: 60_855, stage: 'calibrate', counts });
    expect(report.running.map(({ id, state, attempts }) => [id, state, attempts])).toEqual([
      ['calibrate-apo-60855-a-0004', 'running', 2],
    ]);
    expect(report.reasons.map(({ state, reason, exposures, jobs }) => [state, reason, exposures, jobs.length])).toEqual(
      [
        ['dropped', 'classify-apo-60855-0002 says: no light', [2], 4],
        ['failed', 'a bug', [3], 1],
      ],
    );
    expect(report.again.map(({ id }) => id)).toEqual(['calibrate-apo-60855-a-0004']);
    expect(report.slowest[0]?.id).toBe('calibrate-apo-60855-b-0001');
    const { code, stdout } = rampline(['status', output]);
    expect(code).toBe(0);
    expect(stdout).toContain('from sqlite');
    expect(stdout).toMatch(/calibrate-apo-60855-a-0004 +running +2/);
    expect(stdout).toMatch(/dropped +apo 60855 +exposure 2 +4 +classify-apo-60855-0002 says: no light/);
    expect(stdout).toContain('slowest: calibrate-apo-60855-b-0001 90 s');
    await expect(nightStatus({ output, rebuild: true })).rejects.toThrow(RetriableError);
  });

  it('is told by telescope and night, by failures alone, and for programs', async () => {
    await write(halfNight(alive));
    const others = rampline(['status', output, '--tele', 'lco', '--mjd', '60855']);
    expect([others.code, others.stdout]).toEqual([0, expect.stringContaining('no run is known')]);
    const failed = rampline(['status', output, '--failed']).stdout;
    expect(failed).toMatch(/calibrate-apo-60855-a-0003 +failed +input +a bug +raw\/x.apz/);
    expect(failed).not.toContain('0001');
    const json = JSON.parse(rampline(['--json', 'status', output]).stdout);
    expect(json.jobs).toHaveLength(13);
    expect(json.runs[0]).toMatchObject({ id: RUN, state: 'running', request });
    expect(rampline(['status', join(base, 'none')]).code).toBe(21);
    expect(rampline(['status', output, '--mjd', 'x']).code).toBe(2);
    expect(rampline(['status', output, '--ledger', 'mysql://x']).code).toBe(2);
  });

  it('says who holds a lock, and which was left behind', async () => {
    await write(halfNight(alive));
    const held = await takeLock(join(output, 'state'), 'apo-60855-a.lock', RUN);
    expect(held).toBeInstanceOf(Lock);
    const { stdout } = rampline(['status', output]);
    expect(stdout).toContain(`locks apo-60855-a: held by ${hostname()} ${process.pid} since`);
    expect((await nightStatus({ output, mjd: 60_856 })).locks).toEqual([]);
    await (held as Lock).release();
    expect((await nightStatus({ output })).locks).toEqual([]);
  });
});

describe('a night whose run was killed', () => {
  it('says so, and what it was at', async () => {
    const { pid } = spawnSync('true');
    await write(halfNight({ host: hostname(), pid, born: processBirth()?.replace(/\d+$/, '1') }));
    const report = await nightStatus({ output });
    expect(report.runs[0]?.state).toBe('killed');
    expect(report.running.map(({ state }) => state)).toEqual(['killed']);
    expect(rampline(['status', output]).stdout).toMatch(new RegExp(`${RUN} +killed`));
  });

  it('on another host cannot be asked', async () => {
    await write(halfNight({ host: 'elsewhere.example', pid: 1 }));
    const report = await nightStatus({ output });
    expect([report.runs[0]?.state, report.running[0]?.state]).toEqual(['elsewhere', 'running']);
  });
});

describe('a night without a ledger', () => {
  it('is told from its logs, and its ledger is made again when asked', async () => {
    const events = halfNight({ host: 'elsewhere.example', pid: 1 });
    for (const event of events) log(output, event);
    const before = await nightStatus({ output });
    expect([before.source, before.jobs.length]).toEqual(['products and logs', 13]);
    const after = await nightStatus({ output, rebuild: true });
    expect(after.source).toBe('sqlite');
    expect({ ...after, source: '', because: '' }).toEqual({ ...before, source: '', because: '' });
  });

  it('is empty where there is nothing, and nothing is written', async () => {
    const { code, stdout } = rampline(['status', output]);
    expect([code, stdout]).toEqual([0, expect.stringContaining('no run is known')]);
    expect(spawnSync('ls', ['-A', output], { encoding: 'utf8' }).stdout).toBe('');
    await expect(nightStatus({ output: join(output, 'none') })).rejects.toThrow(InputError);
  });
});

describe('a night that is reduced', () => {
  it('is killed, told, resumed and told again; its ledger is the one that products and logs make', async () => {
    const raw = join(base, 'raw');
    const night = ['--tele', 'apo', '--mjd', '60857'];
    const small = ['--size', 'small', '--rows', '16', '--exposures', '1-4,17'];
    expect(rampline(['simulate', 'night', ...night, ...small, '-o', raw]).code).toBe(0);
    const run = ['--jobs', '1', 'run', raw, ...night, '--calib', join(raw, 'calib'), '-o', output];
    const seenEnds = () => {
      const file = join(output, 'log/apo/60857/0001.jsonl');
      return existsSync(file) ? readFileSync(file, 'utf8').split('"event":"end"').length - 1 : 0;
    };
    const ended = await startRampline(run, (kill) => {
      const timer = setInterval(() => {
        if (seenEnds() === 0) return;
        clearInterval(timer);
        kill('SIGKILL');
      }, 5);
    });
    expect(ended.signal).toBe('SIGKILL');
    expect((await nightStatus({ output })).runs.map(({ state }) => state)).toEqual(['killed']);
    expect(rampline(run).code).toBe(0);
    const before = await nightStatus({ output });
    expect(before.runs.map(({ state }) => state)).toEqual(['done', 'killed']);
    expect(new Set(before.jobs.map(({ state }) => state))).toEqual(new Set(['done']));
    expect(before.jobs.length).toBeGreaterThan(15);
    expect(before.jobs.every(({ key }) => key?.length === 64)).toBe(true);
    expect(await nightStatus({ output, rebuild: true })).toEqual(before);
  });
});

describe('what runs elsewhere', () => {
  it('is news until it is recorded', async () => {
    await write(halfNight({ host: 'elsewhere.example', pid: 1 }));
    const job = jobOf('calibrate', 4, 'a');
    const folder = join(output, 'state', 'slurm-x');
    mkdirSync(folder);
    appendFileSync(join(folder, 'events-0-1.jsonl'), `${JSON.stringify(end(job, 'done'))}\n{"time": "2`);
    const { jobs } = await nightStatus({ output });
    expect(jobs.find(({ id }) => id === job)?.state).toBe('done');
    // Old news is none.
    const late = { ...begin(job), run: 'later', time: '2030-01-01T00:00:00.000Z' };
    await write([late]);
    expect((await nightStatus({ output })).jobs.find(({ id }) => id === job)?.run).toBe('later');
  });
});
