import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { StorageError } from '../core/errors.js';
import { processBirth } from '../core/process.js';
import { nodeFs } from './fs.js';
import { awaitLock, Lock, type LockHolder, takeLock } from './lock.js';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rampline-lock-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

const path = () => join(directory, 'l');
const holderOf = () => JSON.parse(readFileSync(path(), 'utf8')) as LockHolder;

/** Writes a lock as another process would have left it. */
function leave(holder: Partial<LockHolder>): void {
  const whole = {
    schema: 'lock/1',
    host: hostname(),
    since: '2025-01-01T00:00:00.000Z',
    purpose: 'x',
    id: 'y',
    ...holder,
  };
  writeFileSync(path(), JSON.stringify(whole));
}

/** The pid of a process that is gone, and its birth. */
async function gone(): Promise<{ pid: number; born: string | undefined }> {
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] });
  const pid = child.pid as number;
  const born = processBirth(pid);
  child.kill('SIGKILL');
  await new Promise((done) => child.once('exit', done));
  return { pid, born };
}

it('is held once, says by whom, and can be taken again when it was given back', async () => {
  const lock = await takeLock(directory, 'l', 'run 1');
  expect(lock).toBeInstanceOf(Lock);
  const other = (await takeLock(directory, 'l', 'run 2')) as LockHolder;
  expect(other).toMatchObject({ host: hostname(), pid: process.pid, purpose: 'run 1' });
  await (lock as Lock).release();
  await (lock as Lock).release();
  expect(await takeLock(directory, 'l', 'run 3')).toBeInstanceOf(Lock);
  expect(readdirSync(directory)).toEqual(['l']);
});

it('of a dead process is taken over; of a living one, and of a living host, it is not', async () => {
  leave(await gone());
  expect(await takeLock(directory, 'l', 'me')).toBeInstanceOf(Lock);
  expect(holderOf().purpose).toBe('me');
  // The number is in use again: another birth.
  leave({ pid: process.pid, born: (await gone()).born });
  expect(await takeLock(directory, 'l', 'me')).toBeInstanceOf(Lock);
  leave({ host: 'elsewhere', pid: 1 });
  expect(await takeLock(directory, 'l', 'me')).toMatchObject({ host: 'elsewhere' });
  const old = new Date(Date.now() - 3_600_000);
  utimesSync(path(), old, old);
  expect(await takeLock(directory, 'l', 'me')).toBeInstanceOf(Lock);
});

it('gives back only its own', async () => {
  const lock = (await takeLock(directory, 'l', 'me')) as Lock;
  leave({ host: 'elsewhere', pid: 1 });
  await lock.release();
  expect(existsSync(path())).toBe(true);
});

it('waits, tells for whom, and stops waiting at a signal', async () => {
  const first = (await takeLock(directory, 'l', 'first')) as Lock;
  const told: LockHolder[] = [];
  const waiting = awaitLock(directory, 'l', 'second', { onWait: (holder) => told.push(holder) });
  setTimeout(() => void first.release(), 300);
  const second = (await waiting) as Lock;
  expect(second).toBeInstanceOf(Lock);
  expect(told.map(({ purpose }) => purpose)).toEqual(['first']);
  const stop = new AbortController();
  const third = awaitLock(directory, 'l', 'third', { signal: stop.signal });
  stop.abort();
  expect(await third).toBeUndefined();
});

it('refuses a file that is no lock', async () => {
  writeFileSync(path(), 'hello');
  await expect(takeLock(directory, 'l', 'me')).rejects.toThrow(StorageError);
});

it('is taken over from the dead by one of many', async () => {
  for (let round = 0; round < 20; round++) {
    leave({ ...(await gone()), id: `dead ${round}` });
    const taken = await Promise.all(Array.from({ length: 8 }, () => takeLock(directory, 'l', `round ${round}`)));
    const locks = taken.filter((one) => one instanceof Lock);
    expect(locks.length).toBeLessThanOrEqual(1);
    const last = locks[0] ?? (await takeLock(directory, 'l', `round ${round}`));
    expect(last).toBeInstanceOf(Lock);
    await (last as Lock).release();
    expect(readdirSync(directory)).toEqual([]);
  }
});

it('has a lock that it made although the answer says that it was there', async () => {
  const { link } = nodeFs;
  const lost = vi.spyOn(nodeFs, 'link').mockImplementationOnce(async (from, to) => {
    await link(from, to);
    throw Object.assign(new Error('the answer was lost'), { code: 'EEXIST' });
  });
  try {
    const lock = await takeLock(directory, 'l', 'x');
    expect(lock).toBeInstanceOf(Lock);
    await (lock as Lock).release();
    expect(existsSync(path())).toBe(false);
  } finally {
    lost.mockRestore();
  }
});
