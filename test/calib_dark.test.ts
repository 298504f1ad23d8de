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

function simulate(output: string, ...args: string[]) {
  const all = ['simulate', '-o', output, '--rows', String(ROWS), '--chips', 'a', '--log-level', 'error', ...args];
  const ended = rampline(all);
  expect(ended.stderr).toBe('');
  expect(ended.code).toBe(0);
}

function build(...args: string[]) {
  const ended = rampline(['calib', 'build', 'dark', ...args, '--json', '--log-level', 'error']);
  return { ...ended, reply: JSON.parse(ended.stdout) };
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
  let reply: Record<string, unknown>;

  beforeAll(() => {
    // Nine, so that there are two groups; of three lengths.
    for (let n = 0; n < 9; n++) {
      const number = String(n + 1);
      const size = ['--exposure', number, '--seed', number, '--reads', String([14, 20, 30][n % 3])];
      simulate(darks, '--type', 'dark', ...size, '--without', 'resetAnomaly,biasDrift,oneOverF');
    }
    const ended = build(darks, '--calib', join(darks, 'calib'), '-o', join(base, 'out'));
    reply = ended.reply.calibrations[0];
    made = reply.file as string;
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
    expect((reply.facts as Record<string, string>).time).toMatch(/^[\d.]+ s of CPU: .*decode [\d.]+ %/);
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

  it('refuses what is no dark, too short, of other rows, or follows light', () => {
    const out = join(base, 'none');
    const odd = join(base, 'odd');
    simulate(odd, '--exposure', '1', '--reads', '8');
    expect(build(join(odd, 'apR-a-52950001.apz'), '-o', out).reply).toMatchObject({
      error: 'input',
      message: "expected a dark, the header says 'OBJECT'",
    });
    simulate(odd, '--type', 'dark', '--exposure', '2', '--reads', '8', '--seed', '2');
    const after = build(join(odd, 'apR-a-52950002.apz'), '-o', out);
    expect(after.code).toBe(21);
    expect(after.reply.message).toContain("the exposure before it, apR-a-52950001.apz, is no dark but 'OBJECT'");
    expect(after.reply.file).toBe(join(odd, 'apR-a-52950002.apz'));
    const anyway = build(join(odd, 'apR-a-52950002.apz'), '-o', join(base, 'anyway'), '--set', 'dark.guard=false');
    expect(anyway.reply.calibrations[0]).toMatchObject({
      grade: 'warn',
      remarks: expect.arrayContaining(['exposures before the darks were not looked at']),
    });
    simulate(odd, '--type', 'dark', '--exposure', '4', '--reads', '4');
    const short = build(join(odd, 'apR-a-52950004.apz'), '-o', out);
    expect(short.code).toBe(20);
    expect(short.reply.message).toBe('expected a dark of at least 6 reads, received 4');
    simulate(odd, '--type', 'dark', '--exposure', '5', '--reads', '8', '--rows', '64');
    const mixed = build(join(odd, 'apR-a-52950005.apz'), join(darks, 'apR-a-52950009.apz'), '-o', out);
    expect(mixed.code).toBe(21);
    expect(mixed.reply).toMatchObject({
      message: 'expected 64 rows as in apR-a-52950005.apz, received 128',
      file: join(darks, 'apR-a-52950009.apz'),
    });
    expect(build(join(darks, 'apR-a-52950001.apz'), '-o', out, '--set', 'dark.hotSigma=-1').code).toBe(2);
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
