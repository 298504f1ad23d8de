// Darks as a user builds them, against the truth of the mock detector; and the errors.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DQ } from '../src/core/generated/dq.js';
import * as api from '../src/index.js';
import { DarkBuilder, groupSizes, rampWeight } from '../src/stages/calibrations/dark.js';
import { rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-dark-'));
afterAll(() => rmSync(base, { recursive: true }));
const darks = join(base, 'darks');
const ROWS = 128;

/** Options of the mock detector beyond those of a strip of chip a. */
type Mock = Partial<api.SimulateOptions>;

const simulate = (output: string, mock: Mock) =>
  api.simulateExposure({ tele: 'apo', chip: 'a', mjd: 60_857, exposure: 1, rows: ROWS, output, ...mock });

/** Builds, or says how it ended: as the command does, without a process of its own. */
async function build(files: readonly string[], output: string, more: Partial<api.BuildRequest> = {}) {
  try {
    const calibrations = await api.buildCalibration({ word: 'dark', files, output, ...more });
    return { code: 0, reply: { calibrations, message: '', file: '' } };
  } catch (error) {
    if (!(error instanceof api.RamplineError)) throw error;
    return { code: error.exitCode, reply: { calibrations: [], message: error.message, file: error.context.file } };
  }
}

function imageOf(path: string, name: string) {
  const file = api.openFits(path);
  try {
    return file.readImage(name).data;
  } finally {
    file.close();
  }
}

describe('calib build dark', () => {
  let made: string;
  let truth: string;
  let reply: api.BuildOutcome;

  beforeAll(async () => {
    // Nine, so that there are two groups; of three lengths.
    const effects = { resetAnomaly: false, biasDrift: false, oneOverF: false };
    for (let n = 0; n < 9; n++) {
      const reads = [14, 20, 30][n % 3] as number;
      await simulate(darks, { type: 'dark', exposure: n + 1, seed: n + 1, reads, effects });
    }
    reply = (await build([darks], join(base, 'out'), { calib: join(darks, 'calib') })).reply.calibrations[0]!;
    made = reply.file;
    truth = join(darks, 'truth-apR-a-52950001.fits');
  });

  it('recovers the dark rate within its errors', () => {
    const rate = imageOf(made, 'RATE');
    const error = imageOf(made, 'ERR');
    const dq = imageOf(made, 'DQ');
    const electrons = imageOf(truth, 'DARK_E');
    const gain = imageOf(truth, 'GAIN');
    const bad = DQ.REFERENCE_PIXEL | DQ.NOISY | DQ.TELEGRAPH | DQ.NEGATIVE_DARK | DQ.NO_CALIBRATION;
    const pulls: number[] = [];
    for (let i = 0; i < rate.length; i++) {
      if ((Number(dq[i]) & bad) !== 0) continue;
      pulls.push((Number(rate[i]) - Number(electrons[i]) / Number(gain[i])) / Number(error[i]));
    }
    expect(pulls.length).toBeGreaterThan(0.98 * (ROWS - 8) * 2040);
    const mean = pulls.reduce((sum, z) => sum + z, 0) / pulls.length;
    const width = Math.sqrt(pulls.reduce((sum, z) => sum + (z - mean) ** 2, 0) / pulls.length);
    // Zero points are medians of some thousand reference pixels: all pixels share their noise, 0.1 of a pixel's.
    expect(Math.abs(mean)).toBeLessThan(0.15);
    expect(Math.abs(width - 1)).toBeLessThan(0.03);
  });

  it('flags hot, negative, noisy and telegraph-like pixels, and not the others', () => {
    const dq = imageOf(made, 'DQ');
    const bad = imageOf(truth, 'BADPIX');
    const share = (truthBit: number, bits: number) => {
      let all = 0;
      let found = 0;
      for (let i = 0; i < dq.length; i++) {
        if ((Number(bad[i]) & truthBit) === 0) continue;
        all++;
        if ((Number(dq[i]) & bits) !== 0) found++;
      }
      return found / all;
    };
    const HOT = 1;
    const TELEGRAPH = 16;
    const NEGATIVE = 32;
    expect(share(HOT, DQ.HOT)).toBeGreaterThan(0.98);
    expect(share(NEGATIVE, DQ.NEGATIVE_DARK)).toBeGreaterThan(0.98);
    // Some toggle by less than their noise.
    expect(share(TELEGRAPH, DQ.TELEGRAPH | DQ.NOISY)).toBeGreaterThan(0.7);
    let wrong = 0;
    for (let i = 0; i < dq.length; i++) {
      const flags = Number(dq[i]) & (DQ.HOT | DQ.NEGATIVE_DARK | DQ.NOISY | DQ.TELEGRAPH);
      if (flags !== 0 && Number(bad[i]) === 0 && (Number(dq[i]) & DQ.REFERENCE_PIXEL) === 0) wrong++;
    }
    expect(wrong / dq.length).toBeLessThan(3e-4);
    let border = 0;
    for (const flags of dq) if ((Number(flags) & DQ.REFERENCE_PIXEL) !== 0) border++;
    expect(border).toBe(ROWS * 2048 - (ROWS - 8) * 2040);
  });

  it('says what it is made of', () => {
    expect(reply).toMatchObject({ kind: 'dark', tele: 'apo', chip: 'a', inputs: 9, status: 'done', grade: 'warn' });
    expect(reply.remarks).toEqual(['what came before apR-a-52950001.apz is not known: light may persist in it']);
    expect(reply.facts?.time).toMatch(/^[\d.]+ s in all threads: .*decode [\d.]+ %/);
    const file = api.openFits(made);
    const { header } = file.hdu(0);
    expect(header.string('CALKIND', '')).toBe('dark');
    expect(header.number('READTIME', 0)).toBeCloseTo(10.647, 3);
    expect(header.number('DATAEND', 0)).toBeGreaterThan(header.number('DATABEG', 1e9));
    const exposures = file.readTable('EXPOSURES');
    expect(Array.from(exposures.column('READS').values as ArrayLike<number>)).toEqual([
      12, 18, 28, 12, 18, 28, 12, 18, 28,
    ]);
    file.close();
    const count = imageOf(made, 'COUNT');
    expect(Math.max(...Array.from(count.subarray(2048 * 64, 2048 * 65), Number))).toBe(9);
    expect(rampline(['verify', join(base, 'out')]).code).toBe(0);
  });

  it('refuses what is no dark, too short, of other rows, or follows light', async () => {
    const out = join(base, 'none');
    const odd = join(base, 'odd');
    const raw = (number: number) => join(odd, `apR-a-5295000${number}.apz`);
    await simulate(odd, { exposure: 1, reads: 8 });
    expect(await build([raw(1)], out)).toMatchObject({
      code: 21,
      reply: { message: "expected a dark, the header says 'OBJECT'" },
    });
    await simulate(odd, { type: 'dark', exposure: 2, reads: 8, seed: 2 });
    const after = await build([raw(2)], out);
    expect(after.code).toBe(21);
    expect(after.reply.message).toContain("the exposure before it, apR-a-52950001.apz, is no dark but 'OBJECT'");
    expect(after.reply.file).toBe(raw(2));
    const anyway = await build([raw(2)], join(base, 'anyway'), { params: { dark: { guard: false } } });
    expect(anyway.reply.calibrations[0]?.remarks).toContain('exposures before the darks were not looked at');
    await simulate(odd, { type: 'dark', exposure: 4, reads: 4 });
    expect(await build([raw(4)], out)).toMatchObject({
      code: 20,
      reply: { message: 'expected a dark of at least 6 reads, received 4' },
    });
    await simulate(odd, { type: 'dark', exposure: 5, reads: 8, rows: 64 });
    expect(await build([raw(5), join(darks, 'apR-a-52950009.apz')], out)).toMatchObject({
      code: 21,
      reply: {
        message: 'expected 64 rows as in apR-a-52950005.apz, received 128',
        file: join(darks, 'apR-a-52950009.apz'),
      },
    });
    expect((await build([raw(2)], out, { params: { dark: { hotSigma: -1 } } })).code).toBe(2);
    expect(readdirSync(out)).toEqual([]);
  });
});

describe('DarkBuilder', () => {
  it('makes groups as few and as equal as can be', () => {
    expect([1, 8, 9, 17, 100].map(groupSizes)).toEqual([
      [1],
      [8],
      [5, 4],
      [6, 6, 5],
      [8, 8, 8, 8, 8, 8, 8, 8, 8, 7, 7, 7, 7],
    ]);
  });

  const shape = { rows: 4, cols: 16, border: 0, exposures: 2 };

  it('weights by the number of differences', async () => {
    const builder = new DarkBuilder(shape, { hotSigma: 7, negativeSigma: 5, levelShift: 0.5 });
    for (const [value, sigma, diffs] of [
      [1, 2, 9],
      [4, 0.5, 19],
    ] as const) {
      const { darkLevel, darkSigma } = builder.slot();
      darkLevel.data.fill(value as never);
      darkSigma.data.fill(sigma as never);
      await builder.taken(rampWeight(diffs));
    }
    const { rate, error, dq, level } = await builder.finish();
    const [a, b] = [9 * 10 * 11, 19 * 20 * 21];
    expect(rate[5]).toBeCloseTo((a + 4 * b) / (a + b), 5);
    expect(error[5]).toBeCloseTo(Math.hypot(2 * a, 0.5 * b) / (a + b), 5);
    expect(level).toMatchObject({ count: 64, sigma: 0 });
    expect(Math.max(...dq)).toBe(0);
  });

  it('has a pixel without values in NaN and flagged, and refuses a chip of them', async () => {
    for (const missing of [1, 64]) {
      const builder = new DarkBuilder(shape, { hotSigma: 7, negativeSigma: 5, levelShift: 0.5 });
      for (let i = 0; i < 2; i++) {
        const { darkLevel, darkSigma } = builder.slot();
        darkLevel.data.fill(1 as never).fill(Number.NaN as never, 0, missing);
        darkSigma.data.fill(1 as never);
        await builder.taken(1);
      }
      if (missing === 64) {
        await expect(builder.finish()).rejects.toMatchObject({
          class: 'algorithm',
          message: 'no pixel of 2 exposures has a dark rate',
        });
      } else {
        const { rate, error, count, dq } = await builder.finish();
        expect([rate[0], error[0], count[0], dq[0]]).toEqual([Number.NaN, Number.NaN, 0, DQ.NO_CALIBRATION]);
        expect([rate[1], count[1], dq[1]]).toEqual([1, 2, 0]);
      }
    }
  });
});
