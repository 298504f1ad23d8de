import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BugError, InputError, StorageError, UsageError } from '../core/errors.js';
import { nodeFs, type StoreFs } from './fs.js';
import {
  canonicalJson,
  hashFile,
  listTree,
  openStore,
  type ProductRecord,
  productKey,
  productState,
  readHashed,
  verifyDirectory,
} from './index.js';
import { parseManifest, serializeManifest } from './manifest.js';
import { temporaryName } from './names.js';

const RECORD: ProductRecord = {
  schema: 'test/1',
  inputs: [{ name: 'raw.apz', sha256: 'a'.repeat(64), role: 'raw', why: 'named on the command line' }],
  calibrations: [
    { name: 'dark.fits', sha256: 'b'.repeat(64), role: 'dark', why: 'nearest night' },
    { name: 'lin.fits', sha256: 'c'.repeat(64), role: 'linearity', why: 'only one' },
  ],
  parameters: { clip: 4.5, jumps: 'likelihood', mask: { edge: true } },
  kernels: { 'fit-ramp': '1.0.0+12ab' },
  software: 'rampline 0.1.0',
};
const KEY = productKey(RECORD);

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** Bytes without a period that a swapped or doubled chunk could hide behind. */
function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** `work`, which tells of its arguments first. */
function noting<A extends unknown[], R>(note: (...args: A) => unknown, work: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    note(...args);
    return work(...args);
  };
}

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rampline-store-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

async function verified(root = directory): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { product, status } of verifyDirectory(root)) found[product] = status;
  return found;
}

async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('writing', () => {
  const chunks = [noise(3, 1), new Uint8Array(0), noise(2_500_000, 2), noise(70_001, 3)];
  const whole = Buffer.concat(chunks);

  it('writes the same file from an array, an iterator and an async iterator', async () => {
    const store = await openStore(join(directory, 'a/b'));
    const sync = function* (): Generator<Uint8Array> {
      yield* chunks;
    };
    const async_ = async function* (): AsyncGenerator<Uint8Array> {
      yield* chunks;
    };
    for (const [name, source] of Object.entries({ array: chunks, sync: sync(), 'sub/async': async_() })) {
      const entry = await store.writeProduct(name, source, RECORD);
      expect(entry).toMatchObject({ bytes: whole.length, sha256: sha256(whole), key: KEY });
      expect(whole.equals(await readFile(store.pathOf(name)))).toBe(true);
      expect(await store.readManifest(name)).toEqual(entry);
      expect(await store.isDone(name, KEY)).toBe(true);
    }
    expect(await verified()).toEqual({ 'a/b/array': 'ok', 'a/b/sync': 'ok', 'a/b/sub/async': 'ok' });
  });

  it('makes the calls in the order that durability rests on', async () => {
    const calls: string[] = [];
    const named = (path: string): string => (path === directory ? 'directory' : path.endsWith('.tmp') ? 'temp' : path);
    const files = new Map<unknown, string>();
    const fs: StoreFs = {
      ...nodeFs,
      open: async (path, flags) => {
        const file = await nodeFs.open(path, flags);
        files.set(file, `${flags} ${named(path)}`);
        return file;
      },
      write: noting((file) => calls.push(`write ${files.get(file)}`), nodeFs.write),
      read: noting((file) => calls.push(`read ${files.get(file)}`), nodeFs.read),
      fsync: noting((file) => calls.push(`fsync ${files.get(file)}`), nodeFs.fsync),
      rename: noting((from, to) => calls.push(`rename ${named(from)} ${named(to)}`), nodeFs.rename),
      unlink: noting((path) => calls.push(`unlink ${named(path)}`), nodeFs.unlink),
    };
    const store = await openStore(directory, { fs });
    await store.writeProduct('p', [noise(10, 1)], RECORD);
    const path = join(directory, 'p');
    const staged = ['write wx temp', 'fsync wx temp', 'read r temp', 'read r temp'];
    expect(calls).toEqual([
      ...staged,
      ...staged,
      `unlink ${path}.manifest.json`,
      `rename temp ${path}`,
      'fsync r directory',
      `rename temp ${path}.manifest.json`,
      'fsync r directory',
    ]);
  });

  it('takes an iterator that uses one buffer again and again, and shared memory', async () => {
    const store = await openStore(directory);
    const buffer = new Uint8Array(new SharedArrayBuffer(1000));
    const again = function* (): Generator<Uint8Array> {
      for (let i = 0; i < 5; i++) yield buffer.fill(i);
    };
    await store.writeProduct('again', again(), RECORD);
    const found = await readFile(join(directory, 'again'));
    expect([0, 1000, 2000, 3000, 4999].map((at) => found[at])).toEqual([0, 1, 2, 3, 4]);
    await store.writeProduct('shared', [buffer], RECORD);
    expect((await readFile(join(directory, 'shared'))).equals(buffer)).toBe(true);
  });

  it('joins thousands of small chunks into few writes', async () => {
    let writes = 0;
    const fs: StoreFs = { ...nodeFs, write: noting((_file) => (writes += 1), nodeFs.write) };
    const store = await openStore(directory, { fs });
    const small = Array.from({ length: 5000 }, (_, i) => noise(1 + (i % 7), i));
    const entry = await store.writeProduct('small', small, RECORD);
    expect(entry.sha256).toBe(sha256(Buffer.concat(small)));
    expect(writes).toBeLessThan(10);
  });

  it('writes on after short writes and reads on after short reads', async () => {
    let writes = 0;
    const fs: StoreFs = {
      ...nodeFs,
      write: async (file, buffers, position) => {
        // A store that does not go forward would fill the disk.
        if (++writes > 200) throw new Error('too many writes');
        return nodeFs.write(file, [buffers[0]!.subarray(0, 1 + (buffers[0]!.length * 2) / 3)], position);
      },
      read: (file, into, position) => nodeFs.read(file, into.subarray(0, 50_000), position),
    };
    const store = await openStore(directory, { fs });
    expect((await store.writeProduct('short', chunks, RECORD)).sha256).toBe(sha256(whole));
    expect(await verified()).toEqual({ short: 'ok' });
  });

  it('refuses a write that takes nothing, rather than turn for ever', async () => {
    const store = await openStore(directory, { fs: { ...nodeFs, write: async () => 0 } });
    expect(await failure(store.writeProduct('x', chunks, RECORD))).toBeInstanceOf(StorageError);
    expect(await readdir(directory)).toEqual([]);
  });

  it('an empty product is a product', async () => {
    const store = await openStore(directory);
    expect((await store.writeProduct('empty', [], RECORD)).bytes).toBe(0);
    expect(await verified()).toEqual({ empty: 'ok' });
  });

  it.each([0, 1, 999_999, 1_048_576, 2_499_999])('finds a byte that comes back wrong (at %i)', async (at) => {
    const fs: StoreFs = {
      ...nodeFs,
      read: async (file, into, position) => {
        const count = await nodeFs.read(file, into, position);
        if (at >= position && at < position + count) into[at - position]! ^= 0x10;
        return count;
      },
    };
    const store = await openStore(directory, { fs });
    for (const source of [[noise(2_500_000, 1)], [noise(2_500_000, 1)].values()]) {
      const error = await failure(store.writeProduct('x', source, RECORD));
      expect(error).toBeInstanceOf(StorageError);
      expect(String(error)).toMatch(/read back/);
      expect(await readdir(directory)).toEqual([]);
    }
  });

  it.each([-1, 1])('finds a file whose length is off by %i', async (by) => {
    const fs: StoreFs = {
      ...nodeFs,
      fsync: async (file) => {
        const size = Number((await file.stat()).size);
        if ((await file.stat()).isFile()) await file.truncate(size + by);
        return file.sync();
      },
    };
    const store = await openStore(directory, { fs });
    for (const source of [[noise(5000, 1)], [noise(5000, 1)].values()]) {
      expect(String(await failure(store.writeProduct('x', source, RECORD)))).toMatch(/read back/);
      expect(await readdir(directory)).toEqual([]);
    }
  });

  it('finds a caller that changes a chunk during the write', async () => {
    const chunk = noise(100_000, 1);
    const fs: StoreFs = {
      ...nodeFs,
      fsync: async (file) => {
        chunk[77]! ^= 1;
        await file.sync();
      },
    };
    const store = await openStore(directory, { fs });
    const error = await failure(store.writeProduct('x', [chunk], RECORD));
    expect(error).toMatchObject({ class: 'storage', context: { file: join(directory, 'x'), offset: 77 } });
  });

  it('passes through what the chunks throw, and leaves nothing', async () => {
    const store = await openStore(directory);
    const mine = new RangeError('a fault of the codec');
    const broken = function* (): Generator<Uint8Array> {
      yield noise(10, 1);
      throw mine;
    };
    expect(await failure(store.writeProduct('x', broken(), RECORD))).toBe(mine);
    const wrong = [new Float32Array(3) as unknown as Uint8Array];
    expect(await failure(store.writeProduct('x', wrong, RECORD))).toBeInstanceOf(BugError);
    expect(await readdir(directory)).toEqual([]);
  });

  it('does not replace where it was told not to, also when several write at once', async () => {
    const store = await openStore(directory);
    const contents = [noise(1000, 1), noise(1000, 2), noise(1000, 3)];
    const once = (data: Uint8Array) => store.writeProduct('a.fits', [data], RECORD, { replace: false });
    const outcomes = await Promise.allSettled(contents.map(once));
    const winners = outcomes.flatMap((one, i) => (one.status === 'fulfilled' ? [i] : []));
    expect(winners).toHaveLength(1);
    expect(await readFile(join(directory, 'a.fits'))).toEqual(Buffer.from(contents[winners[0]!]!));
    expect(await failure(once(contents[0]!))).toMatchObject({
      class: 'storage',
      message: 'cannot give the file its final name: something else has this name (EEXIST)',
    });
    expect((await readdir(directory)).sort()).toEqual(['a.fits', 'a.fits.manifest.json']);
    expect(await verified()).toEqual({ 'a.fits': 'ok' });
  });

  it('appends lines to a log, whole ones from several writers at once', async () => {
    const stores = await Promise.all([openStore(directory), openStore(directory)]);
    const work = stores.flatMap((store, who) =>
      Array.from({ length: 50 }, (_, i) =>
        store.appendLines('log/a.jsonl', [`${who} ${i}`, `${who} ${i} ${'x'.repeat(2000)}`]),
      ),
    );
    await Promise.all(work);
    await stores[0]!.appendLines('log/a.jsonl', []);
    // A reader passes over empty lines.
    const lines = (await readFile(join(directory, 'log/a.jsonl'), 'utf8')).split('\n').filter((line) => line !== '');
    const expected = [0, 1].flatMap((who) =>
      Array.from({ length: 50 }, (_, i) => [`${who} ${i}`, `${who} ${i} ${'x'.repeat(2000)}`]).flat(),
    );
    expect([...lines].sort()).toEqual([...expected].sort());
    // A writer that was killed left half a line: the next begins on its own.
    await writeFile(join(directory, 'log/cut.jsonl'), 'whole\nhal');
    const next = await openStore(directory);
    await next.appendLines('log/cut.jsonl', ['x']);
    await next.appendLines('log/cut.jsonl', ['y']);
    expect(await readFile(join(directory, 'log/cut.jsonl'), 'utf8')).toBe('whole\nhal\nx\ny\n');
    await mkdir(join(directory, 'taken'));
    expect(await failure(stores[0]!.appendLines('taken', ['x']))).toBeInstanceOf(StorageError);
    const full: StoreFs = {
      ...nodeFs,
      write: async () => Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' })),
    };
    expect(await failure((await openStore(directory, { fs: full })).appendLines('b', ['x']))).toMatchObject({
      class: 'storage',
      message: 'cannot append to the file: no space left on the device (ENOSPC)',
    });
  });

  it('appends behind a line that was cut, not to it', async () => {
    let room = 5;
    const small: StoreFs = {
      ...nodeFs,
      write: async (file, [piece = new Uint8Array()], position) => {
        if (room === 0) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
        const count = Math.min(room, piece.length);
        room -= count;
        return nodeFs.write(file, [piece.subarray(0, count)], position);
      },
    };
    const store = await openStore(directory, { fs: small });
    expect(await failure(store.appendLines('a', ['{"a":1}']))).toBeInstanceOf(StorageError);
    room = 1000;
    await store.appendLines('a', ['{"b":2}']);
    await store.appendLines('a', ['{"c":3}']);
    await (await openStore(directory)).appendLines('a', ['{"d":4}']);
    expect(await readFile(join(directory, 'a'), 'utf8')).toBe('{"a":\n{"b":2}\n{"c":3}\n{"d":4}\n');
  });

  it('writes text and JSON, unlisted, and takes the claim of a product that it replaces', async () => {
    const store = await openStore(directory);
    await store.writeProduct('report.json', chunks, RECORD);
    await store.writeJson('report.json', { a: [1, null] });
    expect(JSON.parse(await readFile(join(directory, 'report.json'), 'utf8'))).toEqual({ a: [1, null] });
    expect(await verified()).toEqual({ 'report.json': 'unlisted' });
    expect(await failure(store.writeJson('x', { a: NaN }))).toBeInstanceOf(BugError);
  });
});

describe('companions', () => {
  const chunks = [noise(99, 1)];
  const companions = [{ name: 'p.html', data: '<p>page</p>' }];

  it('are part of whether a product is done, and of whether it is whole', async () => {
    const store = await openStore(directory);
    const write = () => store.writeProduct('sub/p.fits', chunks, RECORD, { companions });
    const entry = await write();
    expect(entry.companions).toEqual([{ name: 'p.html', bytes: 11, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }]);
    expect(await store.isDone('sub/p.fits', entry.key)).toBe(true);
    expect(await verified()).toEqual({ 'sub/p.fits': 'ok' });
    const page = join(directory, 'sub/p.html');
    await writeFile(page, '<p>papa</p>');
    expect(await verified()).toEqual({ 'sub/p.fits': 'damaged' });
    await writeFile(page, 'cut');
    expect(await store.isDone('sub/p.fits', entry.key)).toBe(false);
    expect((await productState(join(directory, 'sub/p.fits'))).fault).toMatch(/p\.html.* has 3 of 11 bytes/);
    await rm(page);
    expect(await store.isDone('sub/p.fits', entry.key)).toBe(false);
    expect((await productState(join(directory, 'sub/p.fits'))).fault).toMatch(/p\.html.* is gone/);
    await write();
    expect(await store.isDone('sub/p.fits', entry.key)).toBe(true);
    expect(await readFile(page, 'utf8')).toBe('<p>page</p>');
  });

  it('are written in full or not at all, and their names are only names', async () => {
    const store = await openStore(directory);
    await store.writeProduct('p.fits', chunks, RECORD, { companions });
    const bad = [...companions, { name: '../x.html', data: '' }];
    expect(await failure(store.writeProduct('p.fits', chunks, RECORD, { companions: bad }))).toBeInstanceOf(UsageError);
    expect(await verified()).toEqual({ 'p.fits': 'ok' });
    expect((await readdir(directory)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});

describe('names', () => {
  it.each([
    '',
    '.',
    '..',
    '/etc/passwd',
    '../x',
    'a/../../x',
    'a//b',
    'a/',
    './a',
    'a\0b',
    'a.manifest.json',
    'x'.repeat(242),
    'a/..',
    '\ud800',
    temporaryName(),
    `sub/${temporaryName()}`,
  ])('refuses %j', async (name) => {
    const store = await openStore(directory);
    expect(await failure(store.writeProduct(name, [], RECORD))).toBeInstanceOf(UsageError);
    expect(await readdir(directory)).toEqual([]);
  });

  it.each([
    'x[1].fits',
    '!out',
    '-rf',
    'http:x',
    '@list',
    '$(touch y)',
    'a b\n',
    '...',
    'ü',
    'x'.repeat(241),
    '~',
    '*',
  ])('takes %j for a name', async (name) => {
    const store = await openStore(directory);
    await store.writeProduct(name, [noise(5, 1)], RECORD);
    expect((await readdir(directory)).sort()).toEqual([name, `${name}.manifest.json`].sort());
    expect(await verified()).toEqual({ [name]: 'ok' });
  });
});

describe('the key', () => {
  it('does not depend on order, file names, reasons or the release', () => {
    const swapped = {
      ...RECORD,
      calibrations: [...RECORD.calibrations].reverse().map((source) => ({ ...source, name: 'moved', why: 'x' })),
      parameters: { mask: { edge: true }, jumps: 'likelihood', clip: 4.5 },
      software: 'rampline 9',
    };
    expect(productKey(swapped)).toBe(KEY);
  });

  it('depends on every input, calibration, role, parameter, kernel and the schema', () => {
    const [dark, lin] = RECORD.calibrations as [(typeof RECORD.calibrations)[0], (typeof RECORD.calibrations)[0]];
    const others: ProductRecord[] = [
      { ...RECORD, schema: 'test/2' },
      { ...RECORD, inputs: [] },
      { ...RECORD, inputs: [...RECORD.inputs, ...RECORD.inputs] },
      { ...RECORD, inputs: RECORD.calibrations, calibrations: RECORD.inputs },
      { ...RECORD, calibrations: [dark] },
      {
        ...RECORD,
        calibrations: [
          { ...dark, sha256: lin.sha256 },
          { ...lin, sha256: dark.sha256 },
        ],
      },
      { ...RECORD, parameters: { ...RECORD.parameters, clip: 4.500000000000001 } },
      { ...RECORD, parameters: { ...RECORD.parameters, mask: { edge: 'true' } } },
      { ...RECORD, kernels: { 'fit-ramp': '1.0.0+12ac' } },
      { ...RECORD, kernels: { ...RECORD.kernels, more: '1' } },
    ];
    const keys = [RECORD, ...others].map(productKey);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('refuses what it cannot carry exactly', () => {
    for (const bad of [NaN, Infinity, undefined, 1n, () => 1, new Date(), new Map()]) {
      expect(() => canonicalJson({ a: [bad] })).toThrow(BugError);
    }
    expect(() => productKey({ ...RECORD, inputs: [{ name: 'x', sha256: 'A'.repeat(64), role: '', why: '' }] })).toThrow(
      BugError,
    );
  });
});

describe('done', () => {
  const content = noise(10_000, 4);
  const name = 'p.fits';

  it('is never said of a file that merely exists', async () => {
    const store = await openStore(directory);
    await writeFile(join(directory, name), content);
    expect(await store.isDone(name, KEY)).toBe(false);
    await store.writeProduct(name, [content], RECORD);
    expect(await store.isDone(name, KEY)).toBe(true);
    expect(await store.isDone(name, productKey({ ...RECORD, inputs: [] }))).toBe(false);
    await rm(join(directory, name));
    expect(await store.isDone(name, KEY)).toBe(false);
    await mkdir(join(directory, name));
    expect(await store.isDone(name, KEY)).toBe(false);
  });

  it('is not said of a file that was changed, and is said of a copied one after hashing it', async () => {
    const store = await openStore(directory);
    await store.writeProduct(name, [content], RECORD);
    const changed = Uint8Array.from(content);
    changed[5000]! ^= 1;
    await writeFile(join(directory, name), changed);
    expect(await store.isDone(name, KEY)).toBe(false);
    await rm(join(directory, name));
    await writeFile(join(directory, name), content);
    expect(await store.isDone(name, KEY)).toBe(true);
  });

  it('does not hash a file that nobody touched', async () => {
    const store = await openStore(directory);
    await store.writeProduct(name, [content], RECORD);
    const opened: string[] = [];
    const fs: StoreFs = { ...nodeFs, open: noting((path) => opened.push(path), nodeFs.open) };
    expect(await (await openStore(directory, { fs })).isDone(name, KEY)).toBe(true);
    expect(opened).toEqual([join(directory, `${name}.manifest.json`)]);
  });

  it('is not said where the entry belongs to another product of the same size and name', async () => {
    const store = await openStore(directory);
    await store.writeProduct(name, [content], RECORD);
    const entry = await readFile(join(directory, `${name}.manifest.json`));
    const other = { ...RECORD, parameters: { clip: 1 } };
    await store.writeProduct(name, [noise(10_000, 5)], other);
    await writeFile(join(directory, `${name}.manifest.json`), entry);
    expect(await store.isDone(name, KEY)).toBe(false);
    expect(await verified()).toEqual({ [name]: 'damaged' });
  });

  it('replaces: the old file stays whole until the rename, its entry goes first', async () => {
    const store = await openStore(directory);
    await store.writeProduct(name, [content], RECORD);
    const states: string[] = [];
    const look = async (): Promise<void> => {
      const file = await readFile(join(directory, name));
      const which = file.equals(content) ? 'old' : file.length === 20_000 ? 'new' : 'PARTIAL';
      const has = (await readdir(directory)).includes(`${name}.manifest.json`);
      states.push(`${which}${has ? ' + entry' : ''}`);
    };
    const watched = Object.fromEntries(
      Object.entries(nodeFs).map(([call, work]) => [
        call,
        async (...args: unknown[]) => {
          const result = await (work as (...all: unknown[]) => Promise<unknown>)(...args);
          await look();
          return result;
        },
      ]),
    ) as unknown as StoreFs;
    const forced = await openStore(directory, { fs: watched });
    await forced.writeProduct(name, [noise(20_000, 6)], RECORD);
    expect([...new Set(states)]).toEqual(['old + entry', 'old', 'new', 'new + entry']);
  });
});

describe('verify', () => {
  it('finds every single flipped bit of a product', async () => {
    const store = await openStore(directory);
    await store.writeProduct('p', [noise(200, 7)], RECORD);
    const path = join(directory, 'p');
    const good = await readFile(path);
    const file = await open(path, 'r+');
    for (let bit = 0; bit < good.length * 8; bit++) {
      const byte = bit >> 3;
      await file.write(Uint8Array.of(good[byte]! ^ (1 << (bit & 7))), 0, 1, byte);
      expect(await verified(), `bit ${bit}`).toEqual({ p: 'damaged' });
      expect(await store.isDone('p', KEY)).toBe(false);
      await file.write(good, byte, 1, byte);
    }
    await file.close();
    expect(await verified()).toEqual({ p: 'ok' });
  });

  it('finds every single flipped bit of a manifest', async () => {
    const store = await openStore(directory);
    const entry = await store.writeProduct('p', [noise(200, 7)], RECORD);
    const path = join(directory, 'p.manifest.json');
    const good = await readFile(path);
    expect(parseManifest(good.toString('utf8'))).toEqual(entry);
    for (let bit = 0; bit < good.length * 8; bit++) {
      const bad = Buffer.from(good);
      bad[bit >> 3]! ^= 1 << (bit & 7);
      expect(parseManifest(bad.toString('utf8')), `bit ${bit}`).toBeTypeOf('string');
    }
    for (const bad of [
      '',
      '{}',
      'null',
      '[]',
      `${good}\n`,
      good.subarray(0, -1),
      good.subarray(0, 100),
      Buffer.alloc(900),
    ]) {
      await writeFile(path, bad);
      expect(await verified()).toEqual({ p: 'damaged' });
      expect(await store.isDone('p', KEY)).toBe(false);
    }
    // An honest manifest, of another product.
    await writeFile(path, serializeManifest({ ...entry, product: 'q' }));
    expect(await verified()).toEqual({ p: 'damaged' });
  });

  it('finds a flipped bit whose time stamps were put back', async () => {
    const store = await openStore(directory);
    await store.writeProduct('p', [noise(100_000, 7)], RECORD);
    const path = join(directory, 'p');
    const { atime, mtime } = await stat(path);
    const bad = await readFile(path);
    bad[99_999]! ^= 0x80;
    await writeFile(path, bad);
    await utimes(path, atime, mtime);
    expect(await verified()).toEqual({ p: 'damaged' });
  });

  it('tells missing, unlisted, leftover, unreadable and odd files apart, and goes on', async () => {
    const store = await openStore(directory);
    for (const name of ['a', 'cut', 'gone', 'locked', 'sub/ok']) await store.writeProduct(name, [noise(99, 1)], RECORD);
    await writeFile(join(directory, 'cut'), noise(98, 1));
    await rm(join(directory, 'gone'));
    await writeFile(join(directory, 'stray.txt'), '');
    await symlink('nowhere', join(directory, 'dangling'));
    await symlink('..', join(directory, 'ring'));
    const left = temporaryName();
    await writeFile(join(directory, left), 'x');
    expect(spawnSync('mkfifo', [join(directory, 'pipe')]).status).toBe(0);
    const fs: StoreFs = {
      ...nodeFs,
      open: async (path, flags) => {
        if (path.endsWith('locked')) throw Object.assign(new Error('no'), { code: 'EACCES' });
        return nodeFs.open(path, flags);
      },
    };
    const found: Record<string, string> = {};
    for await (const { product, status } of verifyDirectory(directory, { fs })) found[product] = status;
    expect(found).toEqual({
      a: 'ok',
      cut: 'damaged',
      gone: 'missing',
      locked: 'unreadable',
      'sub/ok': 'ok',
      'stray.txt': 'unlisted',
      dangling: 'unlisted',
      pipe: 'unlisted',
      [left]: 'leftover',
    });
    expect((await listTree(directory)).map(({ name }) => name)).toContain('sub/ok.manifest.json');
  });

  it('a directory that is not there is an input error', async () => {
    expect(await failure(verifyDirectory(join(directory, 'no')).next())).toBeInstanceOf(InputError);
    expect(await failure(listTree(join(directory, 'no')))).toBeInstanceOf(InputError);
  });
});

describe('readHashed', () => {
  it('gives the bytes that it hashed, once for a file that is known, and none beyond the limit', async () => {
    const path = join(directory, 'in');
    const data = noise(3_000_000, 11);
    await writeFile(path, data);
    const allocate = (bytes: number) => new Uint8Array(bytes);
    const settled: StoreFs = {
      ...nodeFs,
      fstat: async (file) => Object.assign(await nodeFs.fstat(file), { ctimeNs: 2n }),
    };
    const read = (needed: boolean, mostBytes = 1e9) =>
      readHashed(path, { fs: settled, allocate, needed: () => needed, mostBytes });
    expect(await failure(read(true, 2_999_999))).toMatchObject({ class: 'input', context: { file: path } });
    const first = await read(false);
    expect(first.sha256).toBe(sha256(data));
    expect(Buffer.compare(first.data as Uint8Array, data)).toBe(0);
    expect(await read(false)).toEqual({ sha256: sha256(data), bytes: data.length, data: undefined });
    expect(Buffer.compare((await read(true)).data as Uint8Array, data)).toBe(0);
  });

  it('refuses a file that changes while it is read', async () => {
    const path = join(directory, 'in');
    const fs: StoreFs = {
      ...nodeFs,
      read: async (file, into, position) => {
        await writeFile(path, 'longer than it was');
        return nodeFs.read(file, into, position);
      },
    };
    await writeFile(path, 'short');
    const options = { fs, allocate: (bytes: number) => new Uint8Array(bytes), needed: () => true, mostBytes: 1e6 };
    expect(String(await failure(readHashed(path, options)))).toMatch(/changed/);
  });
});

describe('hashFile', () => {
  it('hashes, remembers a settled file, and sees that it changed', async () => {
    const path = join(directory, 'in');
    const data = noise(3_000_000, 9);
    await writeFile(path, data);
    let reads = 0;
    const fs: StoreFs = { ...nodeFs, read: noting((_file) => (reads += 1), nodeFs.read) };
    expect(await hashFile(path, { fs })).toEqual({ sha256: sha256(data), bytes: data.length });
    const once = reads;
    await hashFile(path, { fs });
    expect(reads).toBe(2 * once); // Too fresh to be remembered.
    const later: StoreFs = {
      ...fs,
      fstat: async (file) => Object.assign(await nodeFs.fstat(file), { ctimeNs: 1n }),
    };
    await hashFile(path, { fs: later });
    expect(reads).toBe(3 * once);
    await hashFile(path, { fs: later });
    expect(reads).toBe(3 * once);
    await utimes(path, 1, 1);
    await hashFile(path, { fs: later });
    expect(reads).toBe(4 * once);
  });

  it.each(['no', 'dir', 'dir/in/x', 'pipe', 'a\0b', 'x'.repeat(300), 'http://x', 'in[1]', '!in', '-rf'])(
    'an input %j that is not there or not a file is an input error with its name',
    async (name) => {
      await mkdir(join(directory, 'dir'));
      await writeFile(join(directory, 'in'), '');
      await writeFile(join(directory, 'dir/in'), '');
      spawnSync('mkfifo', [join(directory, 'pipe')]);
      const path = join(directory, name);
      expect(await failure(hashFile(path))).toMatchObject({ class: 'input', exitCode: 21, context: { file: path } });
    },
  );

  it('an input that changes while it is read is an input error', async () => {
    const path = join(directory, 'in');
    await writeFile(path, noise(10, 1));
    const fs: StoreFs = {
      ...nodeFs,
      read: async (...args) => {
        const count = await nodeFs.read(...args);
        if (count === 0) await writeFile(path, noise(11, 1));
        return count;
      },
    };
    expect(String(await failure(hashFile(path, { fs })))).toMatch(/changed/);
  });

  it('an input that gets or loses a name while it is read is read again', async () => {
    const path = join(directory, 'in');
    const data = noise(10, 1);
    await writeFile(path, data);
    let names = 0;
    const named = (times: number): StoreFs => ({
      ...nodeFs,
      read: async (...args) => {
        const count = await nodeFs.read(...args);
        if (count === 0 && names < times) await nodeFs.link(path, `${path}.${names++}`);
        return count;
      },
    });
    expect((await hashFile(path, { fs: named(2) })).sha256).toBe(sha256(data));
    expect(names).toBe(2);
    expect(String(await failure(hashFile(path, { fs: named(100) })))).toMatch(/changed/);
    expect(names).toBe(5);
  });
});

describe('leftovers of dead writers', () => {
  it('are swept on opening; those of the living, of other hosts and strangers stay until they are old', async () => {
    const dead = spawnSync('true').pid;
    const own = temporaryName();
    const parts = own.split('-');
    const of = (table: string, pid: number): string => [parts[0], table, pid, parts[3]].join('-');
    const names = {
      dead: of(parts[1]!, dead),
      own,
      living: of(parts[1]!, process.ppid),
      elsewhere: of('0123456789ab', dead),
      elsewhereOld: of('0123456789ac', dead),
      stranger: '.rampline-notes.tmp',
    };
    for (const name of Object.values(names)) await writeFile(join(directory, name), 'x');
    const old = Date.now() / 1000 - 25 * 3600;
    await utimes(join(directory, names.elsewhereOld), old, old);
    const store = await openStore(directory);
    expect((await readdir(directory)).sort()).toEqual(
      [names.own, names.living, names.elsewhere, names.stranger].sort(),
    );
    expect(await store.sweep('', true)).toEqual([names.own]);
  });
});

const NEW = noise(2_100_000, 3);

it('says that a directory cannot be made where the system never has it, and does not try for ever', async () => {
  await expect(openStore('/proc/rampline/none')).rejects.toMatchObject({ class: 'storage' });
});

/** Calls that change something or that a verdict rests on, each of which is made to fail. */
const CALLS = ['mkdir', 'readdir', 'open', 'write', 'fsync', 'fstat', 'read', 'close', 'rename', 'unlink'] as const;

/** Without waiting for the disk: these thousands of runs are about failures, not about the medium. */
const QUICK: StoreFs = { ...nodeFs, fsync: async () => undefined };

/** A file system whose k-th (from 1) call of a kind fails, and how often it was called. */
function failing(call: (typeof CALLS)[number], k: number, code: string): { fs: StoreFs; count: () => number } {
  let count = 0;
  const work = QUICK[call] as (...args: unknown[]) => Promise<unknown>;
  const broken = async (...args: unknown[]): Promise<unknown> => {
    count += 1;
    if (count !== k) return work(...args);
    if (call === 'write') {
      // A full disk takes some of the bytes first.
      const [file, buffers, position] = args as Parameters<StoreFs['write']>;
      await nodeFs.write(file, [buffers[0]!.subarray(0, buffers[0]!.length / 2)], position);
    }
    if (call === 'close') await work(...args);
    throw Object.assign(new Error(`${code}: injected`), { code, errno: -1, syscall: call });
  };
  return { fs: { ...QUICK, [call]: broken }, count: () => count };
}

describe.each(CALLS)('every %s that fails', (call) => {
  it.each(['ENOSPC', 'EIO', 'EACCES'])(
    'with %s gives a storage error, leaves nothing, and the next run succeeds',
    async (code) => {
      const oldBytes = noise(30_000, 1);
      // Three writes (1024 buffers each) and three reads (1 MiB each).
      const newWhole = Buffer.from(NEW);
      const newBytes = Array.from({ length: 2100 }, (_, i) => newWhole.subarray(i * 1000, (i + 1) * 1000));
      const newRecord = { ...RECORD, parameters: { clip: 9 } };
      const newKey = productKey(newRecord);
      for (const replacing of [true, false]) {
        let met = 0;
        for (let k = 1; ; k++) {
          const target = join(directory, `out-${replacing}-${k}`);
          if (replacing) {
            await (await openStore(target, { fs: QUICK })).writeProduct('p', [oldBytes], RECORD);
          }
          const { fs, count } = failing(call, k, code);
          const error = await failure(
            (async () => {
              const store = await openStore(target, { fs });
              await store.writeProduct('sub/p', newBytes, newRecord);
              await store.writeProduct('p', newBytes, newRecord);
            })(),
          );
          if (count() < k) {
            if (error !== undefined) throw error;
            await rm(target, { recursive: true });
            break;
          }
          met += 1;
          expect(error, `${call} ${k} ${code}`).toBeInstanceOf(StorageError);
          expect(error).toMatchObject({ exitCode: 31 });
          expect((error as StorageError).message).toContain(code);
          // The product, its directory, or (once, for a new directory) the one that holds it.
          expect((error as StorageError).context.file).toContain(directory);
          expect((error as StorageError).describe()).not.toContain('.tmp');
          const present = await listTree(target).catch(() => []);
          expect(present.filter(({ kind }) => kind === 'temporary')).toEqual([]);
          for (const { name, path, kind } of present) {
            if (kind !== 'file') continue;
            const bytes = await readFile(path);
            const whole = bytes.equals(newWhole) || (replacing && name === 'p' && bytes.equals(oldBytes));
            expect(whole, `${name} after ${call} ${k}`).toBe(true);
          }
          for (const status of Object.values(await verified(target).catch(() => ({})))) {
            expect(['ok', 'unlisted']).toContain(status);
          }
          const next = await openStore(target, { fs: QUICK });
          for (const name of ['p', 'sub/p']) {
            if (!(await next.isDone(name, newKey))) await next.writeProduct(name, newBytes, newRecord);
          }
          expect(await verified(target)).toEqual({ p: 'ok', 'sub/p': 'ok' });
          await rm(target, { recursive: true });
        }
        expect(met, `${call} was never called`).toBeGreaterThan(0);
      }
    },
    120_000,
  );
});

it.each([
  ['EDQUOT', /quota/],
  ['EMFILE', /ulimit/],
  ['EROFS', /read-only/],
  ['EXOTIC', /the words of the system/],
])('%s is a storage error in plain words', async (code, words) => {
  const fs: StoreFs = {
    ...nodeFs,
    fsync: async () => {
      throw Object.assign(new Error('EXOTIC: the words of the system'), { code });
    },
  };
  const error = await failure((await openStore(directory, { fs })).writeProduct('p', [noise(10, 1)], RECORD));
  expect(error).toMatchObject({ exitCode: 31, context: { file: join(directory, 'p') } });
  expect(String(error)).toMatch(words);
  expect(await readdir(directory)).toEqual([]);
});

it('a failure whose clean-up fails too says what stays, and the next sweep of a later run takes it', async () => {
  const fs: StoreFs = {
    ...nodeFs,
    write: async () => {
      throw Object.assign(new Error('x'), { code: 'EIO' });
    },
    unlink: async () => {
      throw Object.assign(new Error('x'), { code: 'EROFS' });
    },
  };
  const error = await failure((await openStore(directory, { fs })).writeProduct('p', [noise(10, 1)], RECORD));
  expect(error).toBeInstanceOf(StorageError);
  const [left] = await readdir(directory);
  expect(String(error)).toContain('EIO');
  expect(String(error)).toContain(left);
  expect(await verified()).toEqual({ [left!]: 'leftover' });
});
