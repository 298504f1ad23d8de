import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError, UsageError } from '../core/errors.js';
import { openFits } from '../fits/index.js';
import { apogee, type Chip } from '../instruments/apogee/index.js';
import { type NightResult, planNight, simulateNight } from './night.js';

const directory = mkdtempSync(join(tmpdir(), 'rampline-night-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const small = { size: 'small', rows: 48, chips: ['a'] as Chip[] } as const;
/** Of chip a: the middle of the lowest fibre at lco, and 1 px from it at apo. */
const LIT_ROW = 20;
const hashes = (root: string, names: readonly string[]) =>
  names.map((name) =>
    createHash('sha256')
      .update(readFileSync(join(root, name)))
      .digest('hex'),
  );

describe('the plan of a night', () => {
  it('has all kinds at both telescopes, eight objects, and a lead dark', () => {
    const { exposures } = planNight({});
    for (const tele of ['apo', 'lco']) {
      const own = exposures.filter((one) => one.tele === tele);
      expect(own.map(({ exposure }) => exposure)).toEqual(own.map((_, i) => i + 1));
      const count = (type: string) => own.filter(({ light, claim }) => light === type && claim === type).length;
      expect(own[0]?.claim).toBe('dark');
      expect(count('dark')).toBeGreaterThanOrEqual(5);
      expect(count('internalflat')).toBe(3);
      for (const type of ['domeflat', 'quartzflat', 'une', 'thar', 'fpi'])
        expect(count(type)).toBeGreaterThanOrEqual(1);
      expect(own.filter(({ claim }) => claim === 'object')).toHaveLength(8);
      expect(new Set(own.map(({ pointing }) => pointing.configuration)).size).toBe(4);
    }
  });

  it('has each fault once, and the good exposure after a faulty dark is no dark', () => {
    const { exposures } = planNight({});
    const faults = exposures.filter(({ fault }) => fault !== undefined);
    expect(faults.map(({ fault }) => fault?.kind).sort()).toEqual([
      'lamp-off',
      'mislabelled',
      'missing',
      'shutter-closed',
      'truncated',
    ]);
    const { tele, exposure } = faults.find(({ fault }) => fault?.kind === 'mislabelled') ?? {};
    expect(exposures.find((one) => one.tele === tele && one.exposure === (exposure ?? 0) + 1)?.claim).not.toBe('dark');
  });

  it('takes what is chosen, and refuses what is not there', () => {
    const { exposures } = planNight({ tele: ['lco'], exposures: [1, 17], reads: { object: 20 } });
    expect(exposures.map(({ exposure, reads }) => [exposure, reads])).toEqual([
      [1, 12],
      [17, 20],
    ]);
    expect(planNight({ tele: ['apo'], objects: 72 }).exposures).toHaveLength(90);
    const withSky = planNight({ tele: ['apo'], sky: 2 }).exposures.map(({ kind, light }) => `${kind} ${light}`);
    expect(withSky.slice(23)).toEqual(['object object', 'object sky', 'object sky', 'fpi fpi', 'arclamp une']);
    expect(() => planNight({ sky: 11 })).toThrow(UsageError);
    expect(() => planNight({ exposures: [27] })).toThrow(UsageError);
    expect(() => planNight({ objects: 121 })).toThrow(UsageError);
    expect(() => planNight({ tele: [] })).toThrow(UsageError);
  });
});

describe('the files of a night', () => {
  const raw = join(directory, 'raw');
  let made: NightResult;
  beforeAll(async () => {
    made = await simulateNight({ ...small, output: raw, threads: 2 });
  }, 60_000);
  const truthName = (tele: string) => `truth-${tele === 'apo' ? 'ap' : 'as'}R-a-52950019.fits`;
  const path = (tele: string, exposure: number) =>
    join(raw, tele, '60857', apogee.rawName({ tele, mjd: 60_857, chip: 'a', exposure }, 'apz'));

  it('lie where the archive has them, one for each exposure that is not missing', () => {
    expect(made.files).toHaveLength(51);
    for (const tele of ['apo', 'lco']) {
      const there = readdirSync(join(raw, tele, '60857')).filter((name) => name.endsWith('.apz'));
      expect(there.sort()).toEqual(
        made.files
          .filter((name) => name.startsWith(tele))
          .map((name) => name.slice(10))
          .sort(),
      );
    }
    expect(existsSync(path('lco', 13))).toBe(false);
    expect(readdirSync(join(raw, 'calib')).filter((name) => name.endsWith('.fits'))).toHaveLength(16);
    expect(JSON.parse(readFileSync(join(raw, made.truthFile), 'utf8'))).toEqual(made.truth);
  });

  it('say in their headers what the night claims', () => {
    const cards = (tele: string, exposure: number) => {
      const file = openFits(path(tele, exposure), { verify: false });
      const { header } = file.hdu(1);
      const said = [header.string('EXPTYPE', ''), header.number('CONFIGID', -1), header.number('LAMPUNE', -1)];
      file.close();
      return said;
    };
    expect(cards('apo', 6)).toEqual(['DARK', 5000, 0]);
    expect(cards('apo', 14)).toEqual(['ARCLAMP', 5000, 1]);
    expect(cards('apo', 20)).toEqual(['OBJECT', 5002, 0]);
    expect(cards('lco', 21)).toEqual(['OBJECT', 10002, 0]);
  });

  it('have the light that the truth says', () => {
    // The mean of the average difference of the reads over a row that a fibre lights.
    const light = (tele: string, exposure: number): number => {
      const file = openFits(path(tele, exposure));
      const { data, shape } = file.readImage(1);
      const start = LIT_ROW * (shape[1] as number);
      const line = (data as Int32Array).subarray(start + 4, start + 2044);
      file.close();
      return line.reduce((sum, value) => sum + value, 0) / line.length;
    };
    const dark = light('apo', 5);
    expect(light('apo', 6)).toBeGreaterThan(500);
    expect(light('apo', 10)).toBeGreaterThan(dark + 20);
    expect(Math.abs(light('apo', 11) - dark)).toBeLessThan(10);
    expect(Math.abs(light('lco', 21) - light('lco', 5))).toBeLessThan(10);
  });

  it('has one that ends in the middle of an HDU', () => {
    const whole = statSync(path('apo', 18)).size;
    const cut = statSync(path('apo', 19)).size;
    expect(cut).toBeGreaterThan(0.3 * whole);
    expect(cut).toBeLessThan(0.7 * whole);
    expect(() => openFits(path('apo', 19)).close()).toThrow(InputError);
  });

  it('are not made again, unless they are gone', async () => {
    const before = hashes(raw, made.files);
    expect(await simulateNight({ ...small, output: raw })).toMatchObject({ simulated: 0, skipped: 51 });
    rmSync(path('lco', 4));
    expect(await simulateNight({ ...small, output: raw })).toMatchObject({ simulated: 1, skipped: 50 });
    expect(hashes(raw, made.files)).toEqual(before);
  });

  it('are the same for any number of threads, and alone as among the others', async () => {
    const output = join(directory, 'one');
    const chosen = await simulateNight({ ...small, output, threads: 1, exposures: [6, 7, 19], truth: true });
    expect(chosen.files).toHaveLength(6);
    // Flats of the detector show no fibres.
    const truths = readdirSync(output, { recursive: true }).filter((name) => /truth-.*fits$/.test(String(name)));
    expect(truths.sort()).toEqual(['apo', 'lco'].map((tele) => join(tele, '60857', truthName(tele))));
    expect(hashes(output, chosen.files)).toEqual(hashes(raw, chosen.files));
  });
});

it('stops between files when told to', async () => {
  const output = join(directory, 'stopped');
  const stop = new AbortController();
  const onProgress = (done: number) => done === 2 && stop.abort();
  const { files } = await simulateNight({
    ...small,
    output,
    signal: stop.signal,
    onProgress: (n) => void onProgress(n),
  });
  expect(files.length).toBeLessThanOrEqual(3);
});
