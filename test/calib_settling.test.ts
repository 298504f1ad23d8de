// Builders of the reset anomaly and of saturation, against the truth of the mock detector; and the errors.
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import * as api from '../src/index.js';
import { settlingProjection } from '../src/stages/calibrations/first_read.js';
import { leastOnLog } from '../src/stages/calibrations/moments.js';
import { base, build, COLS, card, image, isBorder, pulls, ROWS, simulate } from './calibration_truth.js';
import { rampline } from './cli.js';

const { DQ } = api;

describe('tables and searches', () => {
  it('the excess of a straight line is 0 and its slope is its slope; the errors are those of the weights', () => {
    const { table, shape, ofReads, ofPhotons } = settlingProjection(12);
    const of = (j: number, counts: (k: number) => number) =>
      Array.from({ length: 12 }, (_, k) => table[4 * k + j]! * counts(k)).reduce((sum, v) => sum + v, 0);
    for (const j of [0, 1, 2]) expect(of(j, (k) => 7 + 3 * k)).toBeCloseTo(0, 5);
    expect(of(3, (k) => 7 + 3 * k)).toBeCloseTo(3, 5);
    expect(of(0, (k) => (k === 0 ? 60 : 0))).toBeCloseTo(60, 5);
    expect(of(3, (k) => (k < 4 ? 60 : 0))).toBeCloseTo(0, 5);
    // Line through eight reads, 7.5 reads from read 0: 1 + 1/8 + 7.5^2 / 42
    expect(ofReads([1])).toBeCloseTo(1 + 1 / 8 + 7.5 ** 2 / 42, 10);
    expect(shape(0.4)[0]).toBeCloseTo(1, 4);
    expect(shape(0.4)[1]).toBeCloseTo(Math.exp(-2.5), 4);
    // Photons of read 0 are in all reads, which weigh nothing together; those of read 1 in all but the first.
    const photons = Array.from({ length: 12 }, (_, m) => of(0, (k) => (k >= m ? 1 : 0)));
    expect(ofPhotons([1])).toBeCloseTo(
      photons.reduce((sum, v) => sum + v * v, 0),
      5,
    );
  });

  it('the least of a parabola, with the width for a rise by 1', () => {
    const { at, error, value } = leastOnLog((x) => 3 + ((x - 7) / 0.2) ** 2, 1, 100);
    expect(at).toBeCloseTo(7, 4);
    expect(value).toBeCloseTo(3, 6);
    expect(error).toBeCloseTo(0.2, 4);
    expect(leastOnLog(() => 1, 1, 100).error).toBe(Infinity);
  });
});

describe('calib build first-read', () => {
  let darks: { readonly path: string; readonly truth: string }[];
  let made: readonly api.BuildOutcome[];
  const calib = join(base, 'darks', 'calib');

  beforeAll(async () => {
    darks = [];
    // Of three lengths: the weights differ.
    for (const [i, reads] of [12, 16, 20, 14].entries()) {
      darks.push(
        await simulate('darks', { type: 'dark', exposure: i + 1, reads, truth: i === 0, calibrations: i === 0 }),
      );
    }
    made = await build(
      'first-read',
      darks.map(({ path }) => path),
      { calib },
    );
  });

  it('recovers offset and amplitude within their errors, and the time constant', () => {
    expect(made.map(({ kind, grade }) => [kind, grade])).toEqual([
      ['firstread', 'pass'],
      ['resetanomaly', 'pass'],
    ]);
    const [first, anomaly] = made as [api.BuildOutcome, api.BuildOutcome];
    const [reset, bad] = [image(darks[0]!.truth, 'RESET'), image(darks[0]!.truth, 'BADPIX')];
    for (const [file, name] of [
      [first.file, 'OFFSET'],
      [anomaly.file, 'AMPLITUDE'],
    ] as const) {
      const dq = image(file, 'DQ');
      const [value, error] = [image(file, name), image(file, 'ERR')];
      const z = pulls(value, error, reset, (i) => !isBorder(i) && bad[i] === 0 && dq[i] === 0);
      expect(z.n).toBeGreaterThan(0.99 * (ROWS - 8) * (COLS - 8));
      expect(Math.abs(z.mean)).toBeLessThan(0.1);
      // The error is that of the read noise; what is left of the 1/f noise adds 7 % (measured: 1.065).
      expect(z.rms).toBeGreaterThan(0.95);
      expect(z.rms).toBeLessThan(1.12);
      expect(z.far).toBeLessThan(20);
      for (let i = 0; i < value.length; i += 331) {
        if (isBorder(i)) expect([value[i], error[i], dq[i]]).toEqual([Number.NaN, Number.NaN, DQ.REFERENCE_PIXEL]);
      }
    }
    const [tau, tauError] = [card(anomaly.file, 'TAU'), card(anomaly.file, 'TAUERR')];
    expect(tauError).toBeLessThan(0.02);
    expect(Math.abs(tau - 0.4)).toBeLessThan(3 * tauError);
  });

  it('corrects: with it every read of an exposure serves, and the rate is that of the truth', async () => {
    const flat = await simulate('flat', {
      type: 'internalflat',
      level: 300,
      exposure: 20,
      reads: 8,
      truth: true,
      calibrations: true,
    });
    const own = join(base, 'flat', 'calib');
    const identity = { tele: 'apo', chip: 'a', mjd: 60857, exposure: 20 } as const;
    const exact = await api.rampCalibrations(own, api.apogee, identity, ROWS, ['resetanomaly']);
    const anomaly = made[1]!.file;
    const amplitude = { data: Float32Array.from(image(anomaly, 'AMPLITUDE')), rows: ROWS, cols: COLS, rowStride: COLS };
    const [rate, bad] = [image(flat.truth, 'RATE'), image(flat.truth, 'BADPIX')];
    const bias = async (calibrations: api.RampCalibrations, options: Partial<api.RampOptions>) => {
      const { images, readsUsed } = await api.reduceRamp(flat.path, {
        instrument: api.apogee,
        identity,
        calibrations,
        options: api.rampOptions(options),
      });
      let [n, sum] = [0, 0];
      for (let i = 0; i < rate.length; i++) {
        if (isBorder(i) || bad[i] !== 0 || images.dq[i] !== 0) continue;
        n++;
        sum += images.rate[i]! - rate[i]!;
      }
      return { mean: sum / n, readsUsed };
    };
    const resetAnomaly = { amplitude, tauReads: card(anomaly, 'TAU') };
    const built = await bias({ ...exact, resetAnomaly }, { reset: 'exponential' });
    const truth = await bias(exact, { reset: 'exponential' });
    expect(built.readsUsed).toBe(8);
    // Against the exact calibration, what is left is the mean error of the map and of TAU: 0.4 DN in one of seven differences.
    expect(Math.abs(built.mean - truth.mean)).toBeLessThan(0.06);
    // Uncorrected, 55 DN are missing in the first difference, which the fit weighs more than its seventh.
    const nothing = await bias(exact, { dropReads: 0, jumps: 'none' });
    expect(nothing.mean).toBeLessThan(-5);
  });

  it('says what it cannot tell', async () => {
    const [one] = await build('first-read', [darks[2]!.path], { calib });
    expect(one).toMatchObject({ grade: 'warn', remarks: ['one dark: errors lack the noise of the zero points'] });
    // No anomaly: an offset of nothing, and no time constant.
    const calm: string[] = [];
    for (const exposure of [1, 2]) {
      const effects = { resetAnomaly: false };
      calm.push((await simulate('calm', { type: 'dark', exposure, reads: 12, effects })).path);
    }
    const none = await build('first-read', calm, { calib });
    expect(none.map(({ kind, grade }) => [kind, grade])).toEqual([['firstread', 'warn']]);
    expect(none[0]!.remarks![0]).toMatch(/^the first read shows no anomaly: -?\d+\.\d\d \+- \d+\.\d\d DN$/);
  });

  it('refuses what is no dark, is too short or of another size', async () => {
    const flat = await simulate('odd', { type: 'quartzflat', exposure: 1, reads: 12 });
    const short = await simulate('odd', { type: 'dark', exposure: 2, reads: 7 });
    const small = await simulate('odd', { type: 'dark', exposure: 3, reads: 12, rows: 64 });
    await expect(build('first-read', [flat.path])).rejects.toThrow(/expected a dark, the header says 'QUARTZFLAT'/);
    await expect(build('first-read', [short.path])).rejects.toThrow(/expected a dark of at least 8 reads, received 7/);
    await expect(build('first-read', [darks[0]!.path, small.path])).rejects.toThrow(
      /expected 96 rows as in apR-a-52950001.apz, received 64/,
    );
  });
});

describe('calib build saturation', () => {
  const calib = join(base, 'deep', 'calib');
  let flats: { readonly path: string; readonly truth: string }[];

  beforeAll(async () => {
    flats = [];
    for (const [i, reads] of [28, 34, 30].entries()) {
      const plan = {
        type: 'internalflat',
        level: 4500,
        exposure: i + 1,
        reads,
        truth: i === 0,
        calibrations: i === 0,
      } as const;
      flats.push(await simulate('deep', plan));
    }
  });

  it('recovers the map within its errors; flats may differ in reads', async () => {
    const [made] = await build(
      'saturation',
      flats.map(({ path }) => path),
      { calib },
    );
    expect(made).toMatchObject({ kind: 'saturation', grade: 'pass', inputs: 3 });
    const [level, error, dq] = ['SATURATION', 'ERR', 'DQ'].map((name) => image(made!.file, name));
    const [truth, bad] = [image(flats[0]!.truth, 'SATURATION'), image(flats[0]!.truth, 'BADPIX')];
    const good = (i: number) => !isBorder(i) && bad[i] === 0 && dq![i] === 0;
    const z = pulls(level!, error!, truth, good);
    expect(z.n).toBeGreaterThan(0.99 * (ROWS - 8) * (COLS - 8));
    // All pixels of an amplifier share the drift of its zero point, which is most of the error.
    expect(Math.abs(z.mean)).toBeLessThan(3);
    expect(z.far).toBe(0);
    // Beside it, the noise of fifteen reads; what is left of the 1/f noise adds some.
    for (const a of [0, 1, 2, 3]) {
      let [n, sum, squares] = [0, 0, 0];
      for (let i = 0; i < truth.length; i++) {
        if (!good(i) || Math.floor((i % COLS) / 512) !== a) continue;
        const off = level![i]! - truth[i]!;
        n++;
        sum += off;
        squares += off * off;
      }
      const scatter = Math.sqrt(squares / n - (sum / n) ** 2);
      expect(scatter).toBeGreaterThan(5 / Math.sqrt(15) / 1.1);
      expect(scatter).toBeLessThan(1.3 * (5 / Math.sqrt(15)));
    }
    // Pixels with a small well have theirs; dead ones have no value and say so.
    let [small, dead] = [0, 0];
    for (let i = 0; i < truth.length; i++) {
      if (isBorder(i)) continue;
      if (bad[i] === 4 && dq![i] === 0) {
        small++;
        expect(Math.abs(level![i]! - truth[i]!)).toBeLessThan(5 * error![i]!);
      }
      if (bad[i] === 2) {
        dead++;
        expect([level![i], dq![i]]).toEqual([Number.NaN, DQ.NO_CALIBRATION]);
      }
    }
    expect(small).toBeGreaterThan(20);
    expect(dead).toBeGreaterThan(100);
  });

  it('tells of one flat, and of pixels that are full in none', async () => {
    const [one] = await build('saturation', [flats[0]!.path], { calib });
    expect(one).toMatchObject({ grade: 'warn' });
    expect(one!.remarks![0]).toMatch(/^one flat: /);
    // 1800 electrons in each of 30 reads: less than any full well but the small ones.
    const pale = await simulate('pale', { type: 'internalflat', level: 1800, exposure: 1, reads: 30 });
    const [few] = await build('saturation', [pale.path], { calib });
    expect(few!.grade).toBe('fail');
    expect(few!.remarks!.join()).toMatch(/% of the pixels are full in no flat/);
    const [level, dq] = [image(few!.file, 'SATURATION'), image(few!.file, 'DQ')];
    const at = 50 * COLS + 1000;
    expect([level[at], dq[at]]).toEqual([Number.NaN, DQ.NO_CALIBRATION]);
  });

  it('refuses flats that fill nothing, darks, and other sizes', async () => {
    const faint = await simulate('faint', { type: 'internalflat', level: 20, exposure: 1, reads: 12 });
    await expect(build('saturation', [faint.path])).rejects.toThrow(
      /no pixel ends on a plateau: these flats fill none/,
    );
    const dark = await simulate('faint', { type: 'dark', exposure: 2, reads: 12 });
    await expect(build('saturation', [dark.path])).rejects.toThrow(/expected a flat, the header says 'DARK'/);
    const small = await simulate('faint', { type: 'internalflat', exposure: 3, reads: 12, rows: 64 });
    await expect(build('saturation', [flats[0]!.path, small.path])).rejects.toThrow(/expected 96 rows .*, received 64/);
  });
});

it('the command builds them', () => {
  const files = [1, 2].map((n) => join(base, 'darks', `apR-a-5295000${n}.apz`));
  const out = join(base, 'cli');
  const ended = rampline(['calib', 'build', 'first-read', ...files, '-o', out, '--log-level', 'error']);
  expect(ended.stderr).toBe('');
  expect(ended.stdout).toMatch(/firstread +apo a +done +2 +\w+/);
  expect(ended.stdout).toMatch(/resetanomaly apo a: tauReads 0\.\d+/);
});
