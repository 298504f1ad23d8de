// An instrument of another kind: single images (CDS and MCDS), regions of any size, headers that tell everything.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DQ } from '../src/core/generated/dq.js';
import * as api from '../src/index.js';
import { describedImage, INSTRUMENTS, instrumentNamed } from '../src/night/instruments.js';
import { hasProgram, rampline, root } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-nirc2-'));
afterAll(() => rmSync(base, { recursive: true }));
const real = join(root, '..', 'shared', 'data', 'koa', 'nirc2');
const ABSENT = '../shared/data/koa is not there';

async function build(word: string, files: readonly string[], output: string) {
  try {
    const calibrations = await api.buildCalibration({ word, files, output, instrument: api.nirc2 });
    return { code: 0, reply: { calibrations, message: '', file: '' } };
  } catch (error) {
    if (!(error instanceof api.RamplineError)) throw error;
    return { code: error.exitCode, reply: { calibrations: [], message: error.message, file: error.context.file } };
  }
}

function imageOf(path: string, name: string) {
  const file = api.openFits(path);
  try {
    return file.readImage(name);
  } finally {
    file.close();
  }
}

/** Writes an image with as much of a header as is asked for. */
function writeImage(
  name: string,
  data: Int32Array | Float32Array,
  shape: readonly number[],
  cards: Readonly<Record<string, string | number>> = {},
): string {
  const header = {
    CURRINST: 'NIRC2',
    KOAIMTYP: 'dark',
    SAMPMODE: 3,
    MULTISAM: 64,
    ITIME: 10,
    COADDS: 2,
    FRAMENO: 7,
    'MJD-OBS': 60_000.25,
    DETGAIN: 4,
    DETRN: 40,
    CAMNAME: 'narrow   ',
    FILTER: 'Kp + clear',
    ...cards,
  };
  const path = join(base, name);
  const chunks = [...api.encodeFits([{ data, shape, header: Object.entries(header).map(([k, v]) => [k, v]) }])];
  writeFileSync(path, Buffer.concat(chunks.map((chunk) => Buffer.from(chunk))));
  return path;
}

describe('nirc2', () => {
  it('is an instrument like the others', () => {
    expect(INSTRUMENTS.map(({ name }) => name)).toEqual(['apogee', 'nirc2', 'nirspec']);
    expect(() => instrumentNamed('nirc')).toThrow('did you mean "nirc2"?');
    const { stdout } = rampline(['calib', 'build', '--help']);
    expect(stdout).toContain('apogee or nirc2');
    const path = writeImage(
      'cli.fits',
      new Int32Array(256).map((_, i) => i % 7),
      [16, 16],
    );
    const ended = rampline(['calib', 'build', 'dark', path, '--instrument', 'nirc2', '-o', join(base, 'cli')]);
    expect(ended.code).toBe(0);
    expect(ended.stdout).toContain('dark keck 16x16: unit DN/s');
    expect(rampline(['calib', 'build', 'dark', path, '--instrument', 'nirc', '-o', join(base, 'cli')]).code).toBe(2);
    // The dark is there, a flat is not; a file of another region finds neither.
    const explain = (frame: string) =>
      rampline(['calib', 'explain', frame, '--instrument', 'nirc2', '--calib', join(base, 'cli')]);
    const [same, other] = [explain(path), explain(writeImage('wide.fits', new Int32Array(512), [16, 32]))];
    expect([same.code, other.code]).toEqual([22, 22]);
    expect(same.stdout).toMatch(/used +dark-keck-16x16-60000-/);
    expect(other.stdout).toContain('MISSING: there is none for this detector');
    const of = (...words: string[]) => rampline(['calib', ...words, '--at', '60000.5', '--instrument', 'nirc2']);
    const check = of('check', join(base, 'cli'));
    expect([check.code, check.stdout]).toEqual([22, expect.stringMatching(/flat +keck 16x16 +missing/)]);
    expect(of('pin', 'one', '--calib', join(base, 'cli')).stdout).toMatch(/^dark +keck 16x16/m);
  });

  it('takes rate and error from the header', async () => {
    const rows = 24;
    const cols = 40;
    const n = rows * cols;
    const data = Int32Array.from({ length: n }, (_, i) => 200 + (i % 21) - 10);
    data[5] = 100_000;
    data[6] = -5000;
    const path = writeImage('n0007.fits', data, [rows, cols]);
    const { code, reply } = await build('dark', [path], join(base, 'out'));
    expect(code).toBe(0);
    const made = reply.calibrations[0]!;
    expect(basename(made.file)).toMatch(/^dark-keck-40x24-60000-[0-9a-f]{8}\.fits$/);
    expect(made).toMatchObject({ chip: '40x24', status: 'done' });
    const rate = imageOf(made.file, 'RATE');
    expect(rate.shape).toEqual([rows, cols]);
    expect(rate.data[0]).toBeCloseTo(190 / 20, 5);
    // 2 coadds of (40 / sqrt(64) = 5 e-)^2 and 4 x 190 e- of photons, over 4 e-/DN and 20 s
    expect(imageOf(made.file, 'ERR').data[0]).toBeCloseTo(Math.sqrt(50 + 760) / 80, 5);
    const dq = imageOf(made.file, 'DQ').data;
    expect([dq[0], dq[5], dq[6]]).toEqual([0, DQ.HOT, DQ.NEGATIVE_DARK]);
    const file = api.openFits(made.file);
    const { header } = file.hdu(0);
    expect([header.string('READMODE', ''), header.string('INSTRUME', ''), header.number('ITIME', 0)]).toEqual([
      'mcds-64',
      'nirc2',
      10,
    ]);
    expect(header.number('DATABEG', 0)).toBe(60_000.25);
    file.close();
  });

  it('averages coadds by their number, and refuses what does not belong together, naming both', async () => {
    const n = 32 * 32;
    const even = (value: number) => new Int32Array(n).fill(value).map((v, i) => v + (i % 5));
    const one = writeImage('one.fits', even(100), [32, 32], { COADDS: 1, FRAMENO: 1 });
    const nine = writeImage('nine.fits', even(900), [32, 32], { COADDS: 9, FRAMENO: 2 });
    const { reply } = await build('dark', [one, nine], join(base, 'two'));
    const rate = imageOf(reply.calibrations[0]!.file, 'RATE').data;
    expect(rate[0]).toBeCloseTo((1 * 10 + 9 * 10) / 10, 5);
    expect(rate[4]).toBeCloseTo((1 * 10.4 + 9 * (904 / 90)) / 10, 5);
    const odd = (cards: Record<string, string | number>, shape = [32, 32]) =>
      build(
        'dark',
        [one, writeImage('odd.fits', even(5).subarray(0, shape[0]! * shape[1]!), shape, { FRAMENO: 9, ...cards })],
        join(base, 'none'),
      );
    const refused = [
      [await odd({ MULTISAM: 16 }), 'expected MULTISAM 64 as in one.fits, received 16'],
      [await odd({ SAMPMODE: 2 }), 'expected SAMPMODE 3 as in one.fits, received 2'],
      [await odd({ ITIME: 5 }), 'expected ITIME 10 as in one.fits, received 5'],
      [await odd({}, [16, 32]), 'expected NAXIS2 32 as in one.fits, received 16'],
      [await odd({ KOAIMTYP: 'object' }), "expected a dark, the header says 'object'"],
      [await odd({ ITIME: 0 }), 'expected ITIME to be a positive number, received 0'],
      [await odd({ SAMPMODE: 7 }), 'expected SAMPMODE to be 1, 2 or 3, received 7'],
      [await odd({ CURRINST: 'NIRSPEC' }), 'the header does not say that it is an image of nirc2'],
    ] as const;
    for (const [{ code, reply: answer }, message] of refused) {
      expect(code).toBe(21);
      expect(answer.message).toContain(message);
      expect(basename(answer.file ?? '')).toBe('odd.fits');
    }
    expect(existsSync(join(base, 'none')) ? readdirSync(join(base, 'none')) : []).toEqual([]);
    expect(await build('one-over-f', [one], join(base, 'none'))).toMatchObject({
      code: 2,
      reply: { message: 'one-over-f is built from reads up the ramp; nirc2 takes single images' },
    });
  });

  it('sees that the exposure before a dark was none', async () => {
    const folder = join(base, 'night');
    mkdirSync(folder);
    const data = new Int32Array(16 * 16).map((_, i) => i % 3);
    copyFileSync(writeImage('x.fits', data, [16, 16], { KOAIMTYP: 'object', FRAMENO: 11 }), join(folder, 'n0011.fits'));
    copyFileSync(writeImage('x.fits', data, [16, 16], { FRAMENO: 12 }), join(folder, 'n0012.fits'));
    const { code, reply } = await build('dark', [join(folder, 'n0012.fits')], join(base, 'after'));
    expect(code).toBe(21);
    expect(reply.message).toContain("the exposure before it, n0011.fits, is no dark but 'object'");
  });

  it('builds the flats of the archive, negative pixels and all', async (ctx) => {
    if (!existsSync(real)) return ctx.skip(ABSENT);
    for (const [name, median] of [
      ['flat_512_512_narrow_Kp+clear.fits', 6184],
      ['flat_512_512_narrow_Lp+clear.fits', 8869],
    ] as const) {
      const path = join(real, name);
      const { reply } = await build('flat', [path], join(base, 'real'));
      const made = reply.calibrations[0]!;
      expect(made.remarks).toEqual([
        'no dark was subtracted',
        `${name} was divided by its median: counts are those of ${median} DN a unit`,
      ]);
      const flat = imageOf(made.file, 'FLAT').data as Float32Array;
      const dq = imageOf(made.file, 'DQ').data as Uint32Array;
      const raw = imageOf(path, 0 as never).data as Float32Array;
      const sorted = Float32Array.from(flat).sort();
      expect(sorted[sorted.length >> 1]).toBeCloseTo(1, 5);
      let negative = 0;
      for (let i = 0; i < raw.length; i++) {
        if ((raw[i] as number) >= 0) continue;
        negative++;
        expect(flat[i]).toBeLessThan(0);
        expect((dq[i] as number) & DQ.LOW_FLAT).toBe(DQ.LOW_FLAT);
      }
      expect(negative).toBe(name.includes('Kp') ? 16 : 17);
    }
    const mixed = ['Kp', 'Lp'].map((filter) => join(real, `flat_512_512_narrow_${filter}+clear.fits`));
    const { code, reply } = await build('flat', mixed, join(base, 'mixed'));
    expect(code).toBe(21);
    expect(reply.message).toContain(
      'expected FILTER Kp + clear as in flat_512_512_narrow_Kp+clear.fits, received Lp + clear',
    );
  });

  it('builds each dark of the archive, and other programs open them', async (ctx) => {
    if (!existsSync(real)) return ctx.skip(ABSENT);
    const output = join(base, 'real');
    const darks = readdirSync(real).filter((name) => name.startsWith('dark_'));
    expect(darks).toHaveLength(6);
    for (const name of darks) {
      const { code, reply } = await build('dark', [join(real, name)], output);
      expect(code).toBe(0);
      const [, cols, rows, , , seconds, coadds] = /^dark_(\d+)_(\d+)_(\d)_(\d+)_([\d.]+)_(\d+)\.fits$/.exec(name)!;
      const made = reply.calibrations[0]!;
      expect(made.chip).toBe(`${cols}x${rows}`);
      const rate = imageOf(made.file, 'RATE');
      const raw = imageOf(join(real, name), 0 as never).data;
      const expected = Number(raw[1000]) / (Number(seconds) * Number(coadds));
      expect(Math.abs((rate.data[1000] as number) - expected)).toBeLessThanOrEqual(1e-6 * Math.abs(expected));
    }
    const names = readdirSync(output).filter((name) => name.endsWith('.fits'));
    expect(new Set(names).size).toBeGreaterThanOrEqual(6);
    expect(rampline(['verify', output]).code).toBe(0);
    if (!hasProgram('fitsverify')) return ctx.skip('fitsverify is not installed');
    for (const name of names) {
      const checked = spawnSync('fitsverify', ['-q', join(output, name)], { encoding: 'utf8' });
      expect(checked.stdout).toContain('verification OK');
    }
    if (spawnSync('/usr/bin/python3', ['-c', 'import astropy']).status !== 0) ctx.skip('astropy is not installed');
    const program = `
import sys, numpy
from astropy.io import fits
for path in sys.argv[1:]:
    with fits.open(path, checksum=True) as f:
        f.verify('exception')
        assert f[0].header['INSTRUME'] == 'nirc2'
        image = f['RATE' if f[0].header['CALKIND'] == 'dark' else 'FLAT']
        assert image.data.shape == f['DQ'].data.shape and numpy.isfinite(image.data).all()
print('fine')
`;
    const paths = names.map((name) => join(output, name));
    const read = spawnSync('/usr/bin/python3', ['-W', 'error', '-c', program, ...paths], { encoding: 'utf8' });
    expect(read.stderr).toBe('');
    expect(read.stdout).toBe('fine\n');
  });

  it('knows its headers', (ctx) => {
    if (!existsSync(real)) return ctx.skip(ABSENT);
    const file = api.openFits(join(real, 'dark_256_264_3_64_60.0_1.fits'));
    expect(describedImage(file, instrumentNamed('nirc2'))?.facts).toMatchObject({
      identity: { tele: 'keck', chip: '256x264', mjd: 59750, exposure: 384 },
      type: 'dark',
      readMode: 'mcds-64',
      integrationSeconds: 60,
      coadds: 1,
      gainElectronsPerDn: 4,
      readNoiseElectrons: 39 / 8,
      dnPerUnit: 1,
    });
    file.close();
  });
});
