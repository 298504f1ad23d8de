// Gain and read noise as a user makes them: darks and flats, calib build photon-transfer, against the mock detector's truth.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CALIBRATION_SCHEMA, calibrationCards } from '../src/calib/product.js';
import { provenanceTable } from '../src/calib/provenance.js';
import { encodeFits } from '../src/fits/index.js';
import * as api from '../src/index.js';
import { fitCurve } from '../src/stages/calibrations/photon_transfer.js';
import { openStore } from '../src/store/index.js';
import { identityOf } from './calibrations.js';
import { rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-transfer-'));
afterAll(() => rmSync(base, { recursive: true }));
const raw = join(base, 'raw');
const calib = join(base, 'calib');
const ROWS = 64;
const COLS = 2048;
const NOISY = 1 << 21;
const NO_CALIBRATION = 1 << 16;
const REFERENCE_PIXEL = 2;

/** 1/f noise is real noise of a read, which the truth's map of white noise does not hold. */
function simulate(exposure: number, type: string, reads: number, ...more: string[]): string {
  const args = ['--type', type, '--exposure', String(exposure), '--reads', String(reads), '--rows', String(ROWS)];
  const common = ['--chips', 'a', '--without', 'oneOverF,biasDrift', '--log-level', 'error'];
  const ended = rampline(['simulate', '-o', raw, ...args, ...common, ...more]);
  expect(ended.stderr).toBe('');
  return join(raw, `apR-a-${52950000 + exposure}.apz`);
}

function build(files: readonly string[], output: string, ...more: string[]) {
  const ended = rampline([
    'calib',
    'build',
    'photon-transfer',
    ...files,
    '-o',
    output,
    '--json',
    '--log-level',
    'error',
    ...more,
  ]);
  return { ...ended, reply: JSON.parse(ended.stdout) };
}

function images(path: string, names: readonly string[]): Record<string, Float32Array> {
  const file = api.openFits(path);
  const found = Object.fromEntries(names.map((name) => [name, file.readImage(name).data as Float32Array]));
  file.close();
  return found;
}

let darks: string[];
let flats: string[];
beforeAll(() => {
  darks = [1, 2].map((n) => simulate(n, 'dark', 30));
  flats = [11, 12, 13, 14].map((n) => simulate(n, 'internalflat', 30));
});

describe('calib build photon-transfer', () => {
  it('finds the gains and read noises of the amplifiers and pixels within their errors', () => {
    // The nonlinearity alone: the truth's gain must not be at hand.
    rampline([
      'simulate',
      '-o',
      join(base, 'c'),
      '--rows',
      String(ROWS),
      '--reads',
      '2',
      '--chips',
      'a',
      '--log-level',
      'error',
    ]);
    const store = join(base, 'c', 'calib');
    for (const name of readdirSync(store)) if (!name.startsWith('linearity')) rmSync(join(store, name));
    const { code, stderr, reply } = build([...darks, ...flats], calib, '--calib', store);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const [gain, noise] = reply.calibrations;
    expect(gain).toMatchObject({ kind: 'gain', inputs: 6, status: 'done', grade: 'pass', remarks: [] });
    expect(noise).toMatchObject({ kind: 'readnoise', inputs: 6, status: 'done', grade: 'pass' });
    const truth = images(join(raw, 'truth-apR-a-52950011.fits'), ['GAIN', 'READNOISE', 'BADPIX']);
    const made = images(gain.file, ['GAIN', 'ERR', 'DQ']);
    const quiet = images(noise.file, ['READNOISE', 'ERR', 'DQ']);
    const inside = (i: number) => {
      const [row, x] = [Math.floor(i / COLS), i % COLS];
      return row >= 4 && row < ROWS - 4 && x >= 4 && x < COLS - 4;
    };
    const good = [...truth.GAIN!.keys()].filter((i) => inside(i) && truth.BADPIX![i] === 0);
    const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;
    const deviation = (values: readonly number[]) => {
      const middle = mean(values);
      return Math.sqrt(mean(values.map((v) => (v - middle) ** 2)));
    };
    /** Counts are rounded to whole DN. */
    const trueNoise = (i: number) => Math.hypot(truth.READNOISE![i]!, Math.sqrt(1 / 12));
    for (let a = 0; a < 4; a++) {
      const own = good.filter((i) => Math.floor((i % COLS) / 512) === a);
      const trueGain = 1 / mean(own.map((i) => 1 / truth.GAIN![i]!));
      const { gain: gains, error, pairGain, pairError } = gain.facts;
      expect(Math.abs(gains[a] - trueGain)).toBeLessThan(3 * error[a]);
      expect(error[a] / trueGain).toBeLessThan(0.003);
      expect(Math.abs(pairGain[a] - trueGain)).toBeLessThan(3 * pairError[a]);
      expect(pairError[a] / trueGain).toBeLessThan(0.02);
      const rms = Math.sqrt(mean(own.map((i) => trueNoise(i) ** 2)));
      expect(Math.abs(noise.facts.readNoise[a] / rms - 1)).toBeLessThan(0.003);
      // Pixels differ by 8 %.
      expect(noise.facts.scatter[a]).toBeGreaterThan(0.07);
      expect(noise.facts.scatter[a]).toBeLessThan(0.09);
    }
    const pulls = good
      .map((i) => (quiet.READNOISE![i]! - trueNoise(i)) / quiet.ERR![i]!)
      .filter((v) => !Number.isNaN(v));
    expect(pulls.length).toBeGreaterThan(0.999 * good.length);
    expect(Math.abs(mean(pulls))).toBeLessThan(0.05);
    expect(deviation(pulls)).toBeGreaterThan(0.93);
    expect(deviation(pulls)).toBeLessThan(1.07);
    // Drawn towards the amplifier, a pixel is known better than pixels differ: 8 % of 5 DN.
    expect(mean(good.map((i) => quiet.ERR![i]!).filter((e) => !Number.isNaN(e)))).toBeLessThan(0.4);
    // Gains of pixels scatter by 1 %, which so few pixels do not show: errors must not be too small for that.
    const gainPulls = good.map((i) => (made.GAIN![i]! - truth.GAIN![i]!) / made.ERR![i]!);
    expect(Math.abs(mean(gainPulls))).toBeLessThan(0.15);
    expect(deviation(gainPulls)).toBeLessThan(1.1);
    const noisy = [...truth.BADPIX!.keys()].filter((i) => (truth.BADPIX![i]! & 8) !== 0);
    expect(noisy.filter((i) => (quiet.DQ![i]! & NOISY) !== 0).length).toBeGreaterThan(0.95 * noisy.length);
    expect(good.filter((i) => (quiet.DQ![i]! & NOISY) !== 0).length).toBeLessThan(1e-3 * good.length);
    for (const [values, dq] of [
      [made.GAIN!, made.DQ!],
      [quiet.READNOISE!, quiet.DQ!],
    ] as const) {
      for (const [i, v] of values.entries()) {
        if (Number.isNaN(v) !== ((dq[i]! & NO_CALIBRATION) !== 0) || inside(i) === ((dq[i]! & REFERENCE_PIXEL) !== 0))
          expect.fail(`pixel ${i}: ${v} with quality ${dq[i]}`);
      }
    }
    const file = api.openFits(gain.file);
    expect([...file.readTable('AMPLIFIER').column('AMP').values]).toEqual([1, 2, 3, 4]);
    expect(file.hdu(0).header.number('NPAIR', 0)).toBe(2);
    expect(file.hdu(0).header.number('DATABEG', 0)).toBeGreaterThan(60857);
    file.close();
  });

  it('extrapolates to the zero of counts without a calibration of the nonlinearity, and says so', () => {
    const { reply } = build([...darks, ...flats], join(base, 'raw-counts'));
    const [gain] = reply.calibrations;
    expect(gain.grade).toBe('warn');
    expect(gain.remarks).toEqual([
      'counts were not corrected for nonlinearity: gains are extrapolated to the zero of counts',
    ]);
    const truth = images(join(raw, 'truth-apR-a-52950011.fits'), ['GAIN']).GAIN!;
    for (let a = 0; a < 4; a++) {
      let sum = 0;
      for (let row = 4; row < ROWS - 4; row++)
        for (let x = 512 * a + 4; x < 512 * a + 508; x++) sum += 1 / truth[row * COLS + x]!;
      const trueGain = ((ROWS - 8) * 504) / sum;
      expect(Math.abs(gain.facts.gain[a] - trueGain)).toBeLessThan(3 * gain.facts.error[a]);
    }
  });

  it('takes the gain of pairs where flats are too short for second differences', () => {
    const short = [22, 23].map((n) => simulate(n, 'internalflat', 10));
    const [gain, noise] = build([...darks, ...short], join(base, 'short')).reply.calibrations;
    expect([gain.grade, noise.grade]).toEqual(['warn', 'pass']);
    expect(gain.remarks[0]).toContain('amplifier 1: flats are too short for the gains of single pixels; all have');
    const truth = images(join(raw, 'truth-apR-a-52950011.fits'), ['GAIN']).GAIN!;
    const made = images(gain.file, ['GAIN']).GAIN!;
    for (let a = 0; a < 4; a++) {
      let sum = 0;
      for (let row = 4; row < ROWS - 4; row++)
        for (let x = 512 * a + 4; x < 512 * a + 508; x++) sum += 1 / truth[row * COLS + x]!;
      const trueGain = ((ROWS - 8) * 504) / sum;
      expect(Math.abs(gain.facts.gain[a] - trueGain)).toBeLessThan(3.5 * gain.facts.error[a]);
      expect(gain.facts.error[a]).toBeLessThan(0.03 * trueGain);
      expect(made[30 * COLS + 512 * a + 200]).toBeCloseTo(gain.facts.gain[a], 5);
    }
  });

  it('tells of a flat without a partner and needs one pair, a dark, light, and one size', () => {
    const odd = simulate(15, 'internalflat', 20);
    const none = join(base, 'none');
    const some = build([...darks, flats[0]!, flats[1]!, odd], join(base, 'some')).reply.calibrations[0];
    expect(some.facts.withoutPartner).toBe('apR-a-52950015.apz (18 reads)');
    const pairs = build([...darks, flats[0]!, odd], none);
    expect(pairs.code).toBe(20);
    expect(pairs.reply.message).toBe(
      `apo chip a: no two flats that follow each other have the same number of reads and the same light: apR-a-52950011.apz (28 reads), apR-a-52950015.apz (18 reads)`,
    );
    expect(build(flats, none)).toMatchObject({
      code: 20,
      reply: { message: expect.stringContaining('there is no dark') },
    });
    expect(build(darks, none)).toMatchObject({
      code: 20,
      reply: { message: expect.stringContaining('there is no flat') },
    });
    const deep = [16, 17].map((n) => simulate(n, 'internalflat', 30, '--level', '5000'));
    const saturated = build([...darks, ...deep], none);
    expect(saturated.code).toBe(20);
    expect(saturated.reply.message).toContain('has too few pixels whose gain can be measured: flats are saturated');
    const dimmer = [flats[0]!, simulate(18, 'internalflat', 30, '--level', '500')];
    expect(build([...darks, ...dimmer], none).reply.message).toContain('the same light');
    const object = simulate(19, 'object', 6);
    expect(build([...darks, object], none)).toMatchObject({
      code: 21,
      reply: { message: "expected a dark or a flat, the header says 'OBJECT'" },
    });
    const short = simulate(20, 'dark', 6);
    expect(build([short, ...flats], none)).toMatchObject({
      code: 20,
      reply: { message: 'expected at least 8 reads after those dropped, received 4' },
    });
    const low = simulate(21, 'internalflat', 30, '--rows', '32');
    expect(build([...darks, flats[0]!, low], none)).toMatchObject({
      code: 21,
      reply: { message: 'expected 2048 x 64 pixels as in the exposures before, received 2048 x 32' },
    });
    expect(readdirSync(none)).toEqual([]);
  });

  it("refuses another detector's map and gains that cannot be", async () => {
    const other = join(base, 'other');
    const identity = identityOf({ kind: 'gain', tele: 'lco', chip: 'c' });
    const { GAIN } = images(build([...darks, ...flats], join(base, 'own')).reply.calibrations[0].file, ['GAIN']);
    // A hundredth of the pixels was mended.
    const almost = GAIN!.map((v, i) => (i % 128 === 5 ? v + 1 : v));
    const hdus = [
      { header: calibrationCards(identity) },
      { name: 'GAIN', data: almost, shape: [ROWS, COLS] },
      provenanceTable([]),
    ];
    await (await openStore(other)).writeProduct('gain-lco-c-2.fits', encodeFits(hdus), {
      schema: CALIBRATION_SCHEMA,
      inputs: [],
      calibrations: [],
      parameters: {},
      kernels: {},
      software: 'test',
    });
    const refused = build([...darks, ...flats], other);
    expect(refused.code).toBe(22);
    expect(refused.reply.message).toContain(
      'of the pixels of GAIN of apo chip a are those of gain-lco-c-2.fits, the gain of lco chip c',
    );
    expect(readdirSync(other).filter((name) => name.startsWith('gain-apo'))).toEqual([]);
    const narrow = build([...darks, ...flats], join(base, 'narrow'), '--set', 'photon-transfer.highGain=1.5');
    expect(narrow.code).toBe(22);
    expect(narrow.reply.message).toMatch(
      /^expected the gain of amplifier 1 to be in 0.5 .. 1.5 electron\/DN, found 1.6/,
    );
    const loud = build([...darks, ...flats], join(base, 'narrow'), '--set', 'photon-transfer.lowNoise=20');
    expect(loud.reply.message).toMatch(/^expected the read noise of amplifier 1 to be in 20 .. 50 DN, found 5/);
  });
});

describe('fitCurve', () => {
  const points = (q: number) =>
    [2500, 5000, 7500, 10000, 12500, 15000].map((counts) => ({
      counts,
      variance: 50 + 0.6 * counts + q * counts * counts,
      freedom: 1e5,
    }));
  it('finds the slope of a line, or of a parabola at 0, and the line is better known', () => {
    const line = fitCurve(points(0), 25, true)!;
    expect(line.value).toBeCloseTo(0.6, 9);
    const bent = fitCurve(points(-1e-6), 25, false)!;
    expect(bent.value).toBeCloseTo(0.6, 9);
    expect(bent.error).toBeGreaterThan(1.5 * line.error);
    expect(fitCurve(points(0).slice(0, 2), 25, true)).toBeUndefined();
  });
});
