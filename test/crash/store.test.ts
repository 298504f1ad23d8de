import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listTree, openStore, productKey, verifyDirectory } from '../../src/store/index.js';
import { chunksOf, contentOf, generationOf, recordOf } from './content.mjs';

const root = resolve(import.meta.dirname, '../..');
const child = join(import.meta.dirname, 'child.mjs');
/** The store as the children run it, compiled for these tests so that it is never an older one. */
const lib = join(root, 'build/crash-test');

beforeAll(() => {
  rmSync(lib, { recursive: true, force: true });
  mkdirSync(lib, { recursive: true });
  const config = join(lib, 'tsconfig.json');
  const files = [join(root, 'src/store/index.ts')];
  const compilerOptions = { outDir: lib, rootDir: join(root, 'src'), declaration: false, noCheck: true };
  writeFileSync(config, JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, files, include: [] }));
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', config], { stdio: 'inherit' });
}, 60_000);

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rampline-crash-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

function start(...args: (string | number)[]): ChildProcess {
  return spawn(process.execPath, [child, lib, ...args.map(String)], { stdio: ['ignore', 'pipe', 'inherit'] });
}

function ended(process_: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  return new Promise((done) => process_.once('exit', (code, signal) => done({ code, signal })));
}

interface State {
  readonly products: Map<string, number>;
  readonly statuses: Map<string, string>;
  readonly leftovers: number;
}

/** What a directory holds. Fails the test when anything under a final name is not whole, or an entry speaks of another file. */
async function stateOf(path: string): Promise<State> {
  const products = new Map<string, number>();
  const statuses = new Map<string, string>();
  let leftovers = 0;
  for (const { name, path: file, kind } of await listTree(path)) {
    if (kind !== 'file') continue;
    const generation = generationOf(readFileSync(file));
    expect(generation, `${name} is partial`).toBeDefined();
    products.set(name, generation!);
  }
  const store = await openStore(path);
  for await (const { product, status, detail } of verifyDirectory(path)) {
    if (status === 'leftover') {
      leftovers += 1;
      continue;
    }
    expect(['ok', 'unlisted'], `${product}: ${detail}`).toContain(status);
    statuses.set(product, status);
    const key = productKey(recordOf(products.get(product)));
    expect(await store.isDone(product, key)).toBe(status === 'ok');
  }
  return { products, statuses, leftovers };
}

async function countLeftovers(path: string): Promise<number> {
  return (await listTree(path)).filter(({ kind }) => kind === 'temporary').length;
}

describe('SIGKILL', () => {
  it('at 200 random moments leaves no partial file under a final name, and the next run sweeps and succeeds', async () => {
    let killedInWrite = 0;
    let killedBeforeEntry = 0;
    for (let round = 0; round < 200; round++) {
      const writer = start('loop', directory);
      const gone = ended(writer);
      await new Promise((ready) => writer.stdout!.once('data', ready));
      // Evenly spread (golden ratio) over the time of a few products.
      await new Promise((wait) => setTimeout(wait, ((round * 0.618034) % 1) * 30));
      writer.kill('SIGKILL');
      expect((await gone).signal).toBe('SIGKILL');
      if ((await countLeftovers(directory)) > 0) killedInWrite += 1;
      const { statuses, leftovers } = await stateOf(directory);
      expect(leftovers).toBe(0); // stateOf opened the store: the dead writer's files are gone.
      if ([...statuses.values()].includes('unlisted')) killedBeforeEntry += 1;
    }
    const store = await openStore(directory);
    for (let i = 0; i < 4; i++) await store.writeProduct(`p${i}`, chunksOf(contentOf(`p${i}`, i)), recordOf(i));
    const { statuses, products } = await stateOf(directory);
    expect([...statuses.values()]).toEqual(['ok', 'ok', 'ok', 'ok']);
    expect([...products.values()]).toEqual([0, 1, 2, 3]);
    // The moments were not all between two products: this test did look at what it is about.
    expect(killedInWrite).toBeGreaterThan(50);
    console.log(`200 kills: ${killedInWrite} with a file half made, ${killedBeforeEntry} between product and entry`);
  }, 300_000);

  it('at every step leaves the old file or the new one, whole, and the next run succeeds', async () => {
    const seen = new Set<string>();
    let steps = 0;
    let last: number | null = null;
    for (let k = 1; ; k++) {
      const path = join(directory, String(k));
      await (await openStore(path)).writeProduct('old', [contentOf('old', 1)], recordOf(1));
      const { status, signal } = spawnSync(process.execPath, [child, lib, 'step', path, String(k)], {
        stdio: 'inherit',
      });
      if (signal !== 'SIGKILL') {
        last = status;
        break;
      }
      steps += 1;
      const before = await countLeftovers(path);
      const { products, statuses } = await stateOf(path);
      seen.add(
        `old ${products.get('old')} ${statuses.get('old')}, new ${products.get('sub/new')} ${statuses.get('sub/new')}`,
      );
      expect(products.has('old')).toBe(true);
      expect(before).toBeLessThanOrEqual(2);
      const next = await openStore(path);
      for (const name of ['old', 'sub/new']) {
        if (await next.isDone(name, productKey(recordOf(2)))) continue;
        await next.writeProduct(name, [contentOf(name.replace('sub/', ''), 2)], recordOf(2));
      }
      const after = await stateOf(path);
      expect(Object.fromEntries(after.statuses)).toEqual({ old: 'ok', 'sub/new': 'ok' });
      expect(await countLeftovers(path)).toBe(0);
      rmSync(path, { recursive: true });
    }
    expect(last).toBe(0);
    // Every state on the way, and no other.
    expect([...seen]).toEqual([
      'old 1 ok, new undefined undefined',
      'old 1 unlisted, new undefined undefined',
      'old 2 unlisted, new undefined undefined',
      'old 2 ok, new undefined undefined',
      'old 2 ok, new 2 unlisted',
      'old 2 ok, new 2 ok',
    ]);
    expect(steps).toBeGreaterThan(50);
    console.log(`killed at each of ${steps} steps`);
  }, 300_000);
});

it('8 processes write 25 products each into one directory, and one that they share', async () => {
  const writers = Array.from({ length: 8 }, (_, id) => start('many', directory, id, 25));
  for (const { code } of await Promise.all(writers.map(ended))) expect(code).toBe(0);
  const { statuses } = await stateOf(directory);
  expect(statuses.size).toBe(201);
  expect(new Set(statuses.values())).toEqual(new Set(['ok']));
  expect(await countLeftovers(directory)).toBe(0);
}, 120_000);

it('a disk of 16 MB that fills up: exit 31, nothing left behind, the next run succeeds once there is room', async (context) => {
  const disk = join(directory, 'disk');
  mkdirSync(disk);
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'rampline-test', disk], { encoding: 'utf8' });
  if (mount.status !== 0) {
    context.skip(`a tmpfs cannot be mounted here: ${mount.error?.message ?? mount.stderr.trim()}`);
    return;
  }
  try {
    const write = (name: string, bytes: number): { status: number | null; stderr: string } =>
      spawnSync(process.execPath, [child, lib, 'one', disk, name, String(bytes)], { encoding: 'utf8' });
    expect(write('first', 7e6).status).toBe(0);
    const full = write('second', 12e6);
    expect(full.status).toBe(31);
    expect(full.stderr).toBe(`${join(disk, 'second')}: cannot write: no space left on the device (ENOSPC)\n`);
    expect((await listTree(disk)).map(({ name }) => name)).toEqual(['first', 'first.manifest.json']);
    // Replacing needs room for both: refused, and the old one stays as it was.
    expect(write('first', 12e6).status).toBe(31);
    const found = [];
    for await (const result of verifyDirectory(disk)) found.push(result);
    expect(found).toEqual([{ product: 'first', status: 'ok', detail: '' }]);
    rmSync(join(disk, 'first'));
    expect(write('second', 12e6).status).toBe(0);
  } finally {
    expect(spawnSync('umount', [disk]).status).toBe(0);
  }
}, 60_000);
