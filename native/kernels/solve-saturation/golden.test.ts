import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('solve-saturation is the mean of the plateaus, and says where there is none', async () => {
  const map = (...values: number[]) => ({ data: Float32Array.from(values), cols: values.length });
  const [saturation, error] = [map(0, 0, 0), map(0, 0, 0)];
  const dq = { data: Uint32Array.of(0, 0, 2), cols: 3 };
  await runKernel(
    'solve-saturation',
    {
      sums: map(100_200, 0, 100_200),
      weight: map(2, 0, 2),
      readVariance: map(90, 90, 90),
      levelError: map(4, 0, 0, 0),
      dq,
      saturation,
      error,
    },
    { window: 5 },
  );
  // 90 / 10 + 16 = 25
  expect([...saturation.data]).toEqual([50_100, Number.NaN, Number.NaN]);
  expect([...error.data]).toEqual([5, Number.NaN, Number.NaN]);
  expect([...dq.data]).toEqual([0, 65_536, 2]);
});
