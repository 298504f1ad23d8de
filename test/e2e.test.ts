// From a simulated raw exposure to checked products, as a user goes: through the command line and the public interface.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as api from '../src/index.js';
import { apogee } from '../src/instruments/apogee/index.js';
import { rampCalibrations } from '../src/night/choose.js';
import { type RampImages, rampOptions, reduceRamp } from '../src/stages/ramp/index.js';
import { hasProgram, rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-e2e-'));
const raw = join(base, 'raw');
afterAll(() => rmSync(base, { recursive: true }));

const products = (directory: string) => readdirSync(directory).filter((name) => name.endsWith('.fits'));

function ramp(directory: string, ...args: string[]) {
  const ended = rampline(['ramp', raw, '-o', join(base, directory), '--json', '--log-level', 'error', ...args]);
  expect(ended.stderr).toBe('');
  expect(ended.code).toBe(0);
  return JSON.parse(ended.stdout) as {
    outcomes: { status: string; product: string; summary?: Record<string, unknown> }[];
  };
}

function prepare() {
  const ended = rampline(['simulate', '--reads', '12', '--rows', '64', '-o', raw, '--json', '--log-level', 'error']);
  expect(ended.stderr).toBe('');
  expect(ended.code).toBe(0);
  expect(JSON.parse(ended.stdout).exposures).toHaveLength(3);
  expect(ramp('plain', '--jobs', '1', '--threads', '1').outcomes.map(({ status }) => status)).toEqual([
    'done',
    'done',
    'done',
  ]);
}
beforeAll(prepare);

describe('a small exposure of three chips', () => {
  it.each([
    ['two jobs of two threads', ['--jobs', '2', '--threads', '2']],
    ['low memory', ['--jobs', '1', '--threads', '2', '--low-memory']],
    ['a cube kept', ['--jobs', '1', '--threads', '2', '--no-low-memory']],
  ])('%s give the same bytes as one thread', (name, args) => {
    const directory = name.replaceAll(' ', '-');
    ramp(directory, ...args);
    expect(products(join(base, directory))).toEqual(products(join(base, 'plain')));
    for (const product of products(join(base, 'plain'))) {
      expect(readFileSync(join(base, directory, product)).equals(readFileSync(join(base, 'plain', product)))).toBe(
        true,
      );
    }
    const diff = rampline(['diff', join(base, directory), join(base, 'plain'), '--json']);
    expect(diff.code).toBe(0);
    expect(JSON.parse(diff.stdout).status).toBe('identical');
  });

  it('is not done twice, unless asked, or when a parameter is another, or the product is damaged', () => {
    const states = (...args: string[]) => ramp('again', ...args).outcomes.map(({ status }) => status);
    expect(states()).toEqual(['done', 'done', 'done']);
    expect(states()).toEqual(['skipped', 'skipped', 'skipped']);
    expect(states('--threads', '2', '--low-memory')).toEqual(['skipped', 'skipped', 'skipped']);
    expect(states('--force')).toEqual(['done', 'done', 'done']);
    expect(states('--jumps', 'iqr')).toEqual(['done', 'done', 'done']);
    const [first] = products(join(base, 'again'));
    const path = join(base, 'again', first!);
    const bytes = readFileSync(path);
    bytes[bytes.length - 3000]! ^= 1;
    writeFileSync(path, bytes);
    expect(rampline(['verify', join(base, 'again')]).code).toBe(31);
    expect(states('--jumps', 'iqr').sort()).toEqual(['done', 'skipped', 'skipped']);
    expect(rampline(['verify', join(base, 'again')]).code).toBe(0);
  });

  it('is what its manifest says, and shows what it was made from', () => {
    const verified = rampline(['verify', join(base, 'plain'), '--json']);
    expect(verified.code).toBe(0);
    expect(JSON.parse(verified.stdout).counts).toEqual({ ok: 3 });
    const [product] = products(join(base, 'plain'));
    const file = api.openFits(join(base, 'plain', product!));
    const provenance = file.readTable('PROVENANCE');
    expect(provenance.column('ROLE').values[0]).toBe('raw');
    expect(String(provenance.column('SHA256').values[0])).toMatch(/^[0-9a-f]{64}$/);
    file.close();
  });

  it('fitsverify finds no error and no warning', (ctx) => {
    if (!hasProgram('fitsverify')) ctx.skip('fitsverify is not installed');
    for (const product of products(join(base, 'plain'))) {
      const { stdout } = spawnSync('fitsverify', ['-q', join(base, 'plain', product)], { encoding: 'utf8' });
      expect(stdout).toMatch(/^verification OK/);
    }
  });

  it('opens in astropy with the same numbers', (ctx) => {
    if (spawnSync('/usr/bin/python3', ['-c', 'import astropy']).status !== 0) ctx.skip('astropy is not installed');
    const [product] = products(join(base, 'plain'));
    const path = join(base, 'plain', product!);
    const code = `
import sys, numpy as np
from astropy.io import fits
with fits.open(sys.argv[1], checksum=True) as f:
    print(','.join(h.name for h in f), f['SCI'].data.shape, float(np.sum(f['SCI'].data, dtype=np.float64)), int(np.sum(f['DQ'].data != 0)))
`;
    const { stdout, stderr, status } = spawnSync('/usr/bin/python3', ['-W', 'error', '-c', code, path], {
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const file = api.openFits(path);
    const sci = file.readImage('SCI').data as Float32Array;
    const dq = file.readImage('DQ').data as Uint32Array;
    const [names, shape, sum, flagged] = /^(\S+) (\(.*\)) (\S+) (\S+)$/.exec(stdout.trim())!.slice(1);
    expect(names!.split(',')).toEqual(['PRIMARY', ...file.hdus.slice(1).map((hdu) => hdu.name)]);
    expect(shape).toBe('(64, 2048)');
    expect(Number(sum)).toBeCloseTo(
      sci.reduce((total, v) => total + v, 0),
      3,
    );
    expect(Number(flagged)).toBe(dq.reduce((n, bits) => n + (bits !== 0 ? 1 : 0), 0));
    file.close();
  });

  it('view draws it and prints the line for ds9', () => {
    const [product] = products(join(base, 'plain'));
    const path = join(base, 'plain', product!);
    const ended = rampline(['view', path, '-o', join(base, 'picture.png'), '--json']);
    expect(ended.code).toBe(0);
    const reply = JSON.parse(ended.stdout);
    expect(reply).toMatchObject({ hdu: 'SCI', width: 2048, height: 64 });
    expect(reply.ds9).toContain(`ds9 '${path}[SCI]'`);
    expect(readFileSync(join(base, 'picture.png')).subarray(1, 4).toString()).toBe('PNG');
  });

  it('inspect explains the raw file', () => {
    const ended = rampline(['inspect', join(raw, 'apR-b-52950001.apz'), '--json']);
    expect(ended.code).toBe(0);
    const reply = JSON.parse(ended.stdout);
    expect(reply.exposure).toMatchObject({
      layout: 'differences',
      reads: 12,
      tele: 'apo',
      chip: 'b',
      readSeconds: 10.647,
    });
    expect(reply.hdus).toHaveLength(14);
    expect(reply.hdus[1]).toMatchObject({ kind: 'compressed image', type: 'i32', checksum: 'good', datasum: 'good' });
    expect(reply.tolerated.every((what: string) => what.includes('2560 x 64, not 2560 x 2048'))).toBe(true);
  });
});

describe('several inputs', () => {
  it('takes files, directories and lists, each file once', () => {
    writeFileSync(join(base, 'list.txt'), `${join(raw, 'apR-a-52950001.apz')}\n\n${raw}\n`);
    const { outcomes } = JSON.parse(
      rampline([
        'ramp',
        `@${join(base, 'list.txt')}`,
        join(raw, 'apR-c-52950001.apz'),
        '-o',
        join(base, 'listed'),
        '--json',
      ]).stdout,
    );
    expect(outcomes).toHaveLength(3);
  });

  it('one failing file does not stop the others', () => {
    const mixed = join(base, 'mixed');
    spawnSync('cp', ['-r', raw, mixed]);
    const path = join(mixed, 'apR-b-52950001.apz');
    writeFileSync(path, readFileSync(path).subarray(0, statSync(path).size / 2));
    for (const jobs of ['1', '2']) {
      const ended = rampline(['ramp', mixed, '-o', join(base, `mixed-${jobs}`), '--jobs', jobs, '--json']);
      expect(ended.code).toBe(21);
      const { outcomes } = JSON.parse(ended.stdout);
      expect(outcomes.map(({ status }: { status: string }) => status)).toEqual(['done', 'failed', 'done']);
      expect(outcomes[1].failure).toMatchObject({ error: 'input', file: path });
      expect(products(join(base, `mixed-${jobs}`))).toHaveLength(2);
    }
  });
});

describe('the public interface', () => {
  it('simulates, reduces, compares, verifies', async () => {
    const where = join(base, 'api');
    const made = await api.simulateExposure({
      tele: 'lco',
      chip: 'a',
      mjd: 60857,
      exposure: 7,
      reads: 8,
      rows: 32,
      output: where,
    });
    const seen: string[] = [];
    const outcomes = await api.ramp({
      files: [join(where, made.raw)],
      output: join(where, 'out'),
      options: { unit: 'electron-per-second' },
      onOutcome: ({ status }) => seen.push(status),
    });
    expect(seen).toEqual(['done']);
    expect(outcomes[0]).toMatchObject({ status: 'done', summary: { method: 'fit', reads: 8, readsUsed: 6 } });
    const product = outcomes[0]!.product!;
    const file = api.openFits(product);
    expect(file.hdu('SCI').header.get('BUNIT')).toBe('electron/s');
    file.close();
    expect((await api.inspect(product)).hdus.map(({ name }) => name)).toContain('READZERO');
    expect((await api.diff(product, product)).status).toBe('identical');
    const verified = [];
    for await (const { status } of api.verifyDirectory(join(where, 'out'))) verified.push(status);
    expect(verified).toEqual(['ok']);
    expect(api.kernels.length).toBeGreaterThan(10);
  });

  it('cancels in order', async () => {
    const stop = new AbortController();
    stop.abort();
    const outcomes = await api.ramp({ files: [raw], output: join(base, 'cancelled'), signal: stop.signal });
    expect(outcomes.map(({ status }) => status)).toEqual(['cancelled', 'cancelled', 'cancelled']);
  });

  it('refuses in its own words', async () => {
    const request = { files: [raw], output: join(base, 'refused') };
    await expect(api.ramp({ ...request, options: { off: ['linearize'] } })).rejects.toThrow(
      'did you mean "linearise"?',
    );
    await expect(api.ramp({ ...request, options: { params: { 'fit-ramp': { iteration: 2 } } } })).rejects.toThrow(
      'did you mean "iterations"?',
    );
    await expect(api.ramp({ files: [base], output: base })).rejects.toMatchObject({ class: 'input' });
    await expect(api.ramp({ files: [], output: base })).rejects.toMatchObject({ class: 'usage' });
  });
});

it('the memory of an exposure that is used again shows nowhere, and the extra images change no other', async () => {
  const name = readdirSync(raw).find((file) => file.endsWith('.apz'))!;
  const identity = apogee.identify(name)!;
  const calibrations = await rampCalibrations(undefined, apogee, identity, 64);
  const reduce = async (options: object, diagnostics: boolean, images?: RampImages) =>
    (
      await reduceRamp(join(raw, name), {
        instrument: apogee,
        identity,
        calibrations,
        options: rampOptions(options),
        diagnostics,
        images,
      })
    ).images;
  const bytes = (images: RampImages, names: readonly (keyof RampImages)[]) =>
    Buffer.concat(names.map((key) => Buffer.from(new Uint8Array((images[key] as Float32Array).slice().buffer))));
  const main = ['rate', 'error', 'chi2', 'dq', 'goodDiffs'] as const;
  const all = [...main, 'jumps', 'lastGood'] as const;
  const fresh = bytes(await reduce({ jumps: 'none' }, true), all);
  const likelihood = await reduce({}, true);
  const wanted = bytes(likelihood, main);
  expect(likelihood.jumps?.some((n) => n > 0)).toBe(true);
  const again = await reduce({ jumps: 'none' }, true, likelihood);
  expect(again).toBe(likelihood);
  expect(bytes(again, all).equals(fresh)).toBe(true);
  const bare = await reduce({}, false, again);
  expect(bare.jumps).toBeUndefined();
  expect(bytes(bare, main).equals(wanted)).toBe(true);
});
