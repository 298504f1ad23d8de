// The nonlinearity as a user makes and uses it: deep flats, calib build linearity, and rates that no longer fall up the ramp.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RampCalibrations } from '../src/calib/ramp.js';
import * as api from '../src/index.js';
import { gatherRamp, rampOptions } from '../src/stages/ramp/index.js';
import { rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-linearity-'));
afterAll(() => rmSync(base, { recursive: true }));
const raw = join(base, 'raw');
const ROWS = 64;
const COLS = 2048;
const NO_CALIBRATION = 1 << 16;

function simulate(exposure: number, type: string, reads: number, ...more: string[]): string {
  const args = ['--type', type, '--exposure', String(exposure), '--reads', String(reads), '--chips', 'a'];
  const ended = rampline(['simulate', '-o', raw, ...args, '--rows', String(ROWS), '--log-level', 'error', ...more]);
  expect(ended.stderr).toBe('');
  return join(raw, `apR-a-${52950000 + exposure}.apz`);
}

function build(files: readonly string[], output: string, ...more: string[]) {
  const ended = rampline([
    'calib',
    'build',
    'linearity',
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

const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;
const deviation = (values: readonly number[]) => {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((v) => (v - middle) ** 2)));
};
const inside = (i: number) => {
  const [row, x] = [Math.floor(i / COLS), i % COLS];
  return row >= 4 && row < ROWS - 4 && x >= 4 && x < COLS - 4;
};

/** Counts gained in the first sixth of a ramp and in its last: six equal parts of 42 differences. */
async function thirds(
  path: string,
  calibrations: RampCalibrations,
): Promise<{ early: Float32Array; late: Float32Array }> {
  const size = ROWS * COLS;
  const samples = new Float32Array(new SharedArrayBuffer(6 * 4 * size));
  const identity = api.apogee.identify(basename(path))!;
  await gatherRamp(
    path,
    { instrument: api.apogee, identity, calibrations, options: rampOptions() },
    {
      at: 'counts',
      arrays: ({ rows, cols }) => ({ samples: { data: samples, planes: 6, rows, cols } }),
      steps: [{ kernel: 'sample-counts', ports: { counts: 'stack', samples: 'samples' } }],
    },
  );
  return {
    early: samples.slice(0, size),
    late: samples.slice(5 * size, 6 * size).map((v, i) => v - samples[4 * size + i]!),
  };
}

let flats: string[];
let truth: Record<string, Float32Array>;
let good: number[];
beforeAll(() => {
  flats = [21, 22, 23, 24].map((n) => simulate(n, 'internalflat', 45, '--level', '1450'));
  truth = images(join(raw, 'truth-apR-a-52950021.fits'), ['C2', 'C3', 'BADPIX', 'SATURATION']);
  good = [...truth.C2!.keys()].filter((i) => inside(i) && truth.BADPIX![i] === 0);
});

describe('calib build linearity', () => {
  it('finds the coefficients within their errors, and makes bright ramps straight', async () => {
    const calib = join(base, 'calib');
    const { code, stderr, reply } = build(flats, calib);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const [{ file, facts, ...outcome }] = reply.calibrations;
    expect(outcome).toMatchObject({ kind: 'linearity', inputs: 4, status: 'done', grade: 'pass' });
    const made = images(file, ['C2', 'C3', 'LIMIT', 'C2ERR', 'C3ERR', 'DQ']);
    for (let a = 0; a < 4; a++) {
      const own = good.filter((i) => Math.floor((i % COLS) / 512) === a);
      for (const [name, value, error] of [
        ['C2', facts.c2[a], facts.c2Error[a]],
        ['C3', facts.c3[a], facts.c3Error[a]],
      ] as const) {
        const expected = mean(own.map((i) => truth[name]![i]!));
        expect(Math.abs(value - expected)).toBeLessThan(4 * error);
        expect(error / expected).toBeLessThan(0.04);
      }
      expect(facts.limitDn[a]).toBeGreaterThan(0.7 * 48_000);
      // The noise of the equations is that of photons: their gain, and a little of reads.
      expect(facts.inverseGain[a]).toBeGreaterThan(0.95 / 1.7);
      expect(facts.inverseGain[a]).toBeLessThan(1.15 / 1.55);
    }
    // Pixels' errors hold the scatter of pixels; too small they must not be.
    for (const name of ['C2', 'C3']) {
      const pulls = good.map((i) => (made[name]![i]! - truth[name]![i]!) / made[`${name}ERR`]![i]!);
      expect(Math.abs(mean(pulls))).toBeLessThan(0.5);
      expect(deviation(pulls)).toBeGreaterThan(0.3);
      expect(deviation(pulls)).toBeLessThan(1.1);
    }
    // Corrected counts at 0.8 of the full well of 48 000 DN against linear ones.
    const x = 0.8 * 48_000;
    const correction = (c2: number, c3: number) => c2 * x + c3 * x * x;
    const off = good.map((i) => correction(made.C2![i]!, made.C3![i]!) - correction(truth.C2![i]!, truth.C3![i]!));
    expect(mean(good.map((i) => correction(truth.C2![i]!, truth.C3![i]!)))).toBeGreaterThan(0.034);
    expect(Math.abs(mean(off))).toBeLessThan(0.0005);
    expect(deviation(off)).toBeLessThan(0.002);
    for (const [i, c2] of made.C2!.entries()) {
      if (Number.isNaN(c2) !== ((made.DQ![i]! & NO_CALIBRATION) !== 0))
        expect.fail(`pixel ${i}: ${c2}, ${made.DQ![i]}`);
    }
    // Pixels that are full early: nothing beyond their well, which is 9000 DN and an output's offset above 0, is trusted.
    const small = [...truth.BADPIX!.keys()].filter((i) => inside(i) && truth.BADPIX![i] === 4);
    expect(small.length).toBeGreaterThan(10);
    for (const i of small) expect(made.LIMIT![i]! > truth.SATURATION![i]! - 8800).toBe(false);

    // A bright flat that the fit has not seen: what the last sixth of a ramp gains over the first.
    const bright = simulate(30, 'internalflat', 45, '--level', '1400');
    const map = (data: Float32Array, rowStride = COLS): RampCalibrations['gain'] => ({
      data,
      rows: ROWS,
      cols: COLS,
      rowStride,
    });
    const level = (value: number) => map(new Float32Array(COLS).fill(value), 0);
    const plain: RampCalibrations = {
      gain: level(1.9),
      readNoise: level(13),
      saturation: level(55_000),
      saturationFraction: 1,
      figures: [],
    };
    const linear = { ...plain, linearity: { c2: map(made.C2!), c3: map(made.C3!), limit: map(made.LIMIT!) } };
    const fall = async (calibrations: RampCalibrations) => {
      const { early, late } = await thirds(bright, calibrations);
      const seen = good.filter((i) => early[i]! > 5000 && !Number.isNaN(late[i]!));
      expect(seen.length).toBeGreaterThan(0.5 * good.length);
      return mean(seen.map((i) => late[i]!)) / mean(seen.map((i) => early[i]!)) - 1;
    };
    expect(await fall(plain)).toBeLessThan(-0.05);
    expect(Math.abs(await fall(linear))).toBeLessThan(0.002);
  });

  it('needs two flats of one size with enough reads and light', () => {
    const none = join(base, 'none');
    expect(build(flats.slice(0, 1), none)).toMatchObject({
      code: 20,
      reply: { message: expect.stringContaining('the nonlinearity needs two flats') },
    });
    const dark = simulate(31, 'dark', 14);
    expect(build([...flats, dark], none)).toMatchObject({
      code: 21,
      reply: { message: "expected a flat, the header says 'DARK'" },
    });
    const short = simulate(32, 'internalflat', 14, '--level', '1450');
    expect(build([flats[0]!, short], none)).toMatchObject({
      code: 20,
      reply: { message: 'expected at least 12 reads after those dropped, received 10' },
    });
    const low = simulate(33, 'internalflat', 16, '--rows', '32');
    expect(build([flats[0]!, low], none)).toMatchObject({ code: 21 });
    const blinding = [34, 35].map((n) => simulate(n, 'internalflat', 20, '--level', '5000', '--without', 'photons'));
    const drowned = build(blinding, none, '--set', 'latch-saturation.fraction=0.4');
    expect(drowned.code).toBe(20);
    expect(drowned.reply.message).toMatch(/has too few pixels whose nonlinearity can be measured \(\d+\): flats/);
    expect(readdirSync(none)).toEqual([]);
  });
});
