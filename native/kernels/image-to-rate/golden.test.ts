import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('image-to-rate divides by the whole time and knows both noises', async () => {
  const cols = 4;
  const rate = new Float32Array(cols);
  const error = new Float32Array(cols);
  const out = { rate: { data: rate, rows: 1, cols }, error: { data: error, rows: 1, cols } };
  const params = { seconds: 2.5, coadds: 4, gain: 4, readNoise: 10 };
  const counts = { data: Int32Array.of(0, 300, -300, 2 ** 20), rows: 1, cols };
  await runKernel('image-to-rate', { counts, ...out }, params);
  expect([...rate]).toEqual([0, 30, -30, Math.fround(2 ** 20 / 10)]);
  // 4 x 10^2 electrons^2 of read noise, 1200 of photons; 40 = gain x time.
  expect([...error].slice(0, 3)).toEqual([0.5, 1, 0.5]);
  const values = { data: Float32Array.of(0.5, Number.NaN, -0.5, Number.POSITIVE_INFINITY), rows: 1, cols };
  await runKernel('image-to-rate', { values, ...out }, { ...params, dnPerUnit: 600 });
  expect([...rate]).toEqual([30, Number.NaN, -30, Number.NaN]);
  expect([...error]).toEqual([1, Number.NaN, 0.5, Number.NaN]);
});
