import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('solve-persistence solves the normal equations of the darks that each pixel has', async () => {
  const cols = 4;
  const map = (...values: number[]) => ({ data: Float32Array.from(values), cols });
  const moments = new Float64Array(3 * 32);
  // Two darks: kk 10 and 6, kP 4 and 2, PP 3 and 2
  moments.set([10, 6], 0);
  moments.set([4, 2], 32);
  moments.set([3, 2], 64);
  // D = 1, B = 20 in both; then in the first dark alone; no fluence; no dark
  const sums = { data: Float32Array.of(16 + 120, 10 + 80, 136, 0, 6 + 100, 4 + 60, 106, 0), planes: 2, cols };
  const [amplitude, error] = [map(0, 0, 0, 0), map(0, 0, 0, 0)];
  const dq = { data: new Uint32Array(cols), cols };
  await runKernel(
    'solve-persistence',
    {
      sums,
      used: { data: Uint32Array.of(3, 1, 3, 0), cols },
      moments: { data: moments, rows: 3, cols: 32 },
      fluence: map(10_000, 10_000, Number.NaN, 10_000),
      readVariance: map(11, 11, 11, 11),
      gain: map(2, 2, 2, 2),
      dq,
      amplitude,
      error,
    },
    { darks: 2, photonsDark: 0, photonsRelease: 0.4, fluenceError: 0, strong: 0.0015 },
  );
  expect(amplitude.data[0]).toBeCloseTo(0.002, 9);
  expect(amplitude.data[1]).toBeCloseTo(0.002, 9);
  expect([amplitude.data[2], amplitude.data[3]]).toEqual([Number.NaN, Number.NaN]);
  // R of both 16 / (80 - 36) = 4 / 11, of the first 10 / 14; variance 11 R + (R / R_all) 20 * 0.4 / 2
  expect(error.data[0]).toBeCloseTo(Math.sqrt(4 + 4) / 10_000, 9);
  expect(error.data[1]).toBeCloseTo(Math.sqrt(110 / 14 + (((10 / 14) * 11) / 4) * 4) / 10_000, 9);
  // 8 and 6 sigma above nothing: both are strong.
  expect([...dq.data]).toEqual([2 ** 18, 2 ** 18, 2 ** 16, 2 ** 16]);
});
