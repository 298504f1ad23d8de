import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('interpolate-maps takes a quarter of the way, and what there is where one map is missing', async () => {
  const none = Number.NaN;
  const cols = 4;
  const f32 = (...values: number[]) => ({ data: Float32Array.from(values), cols });
  const u32 = (...values: number[]) => ({ data: Uint32Array.from(values), cols });
  const value = f32(0, 0, 0, 0);
  const error = f32(0, 0, 0, 0);
  const dq = u32(0, 0, 0, 0);
  await runKernel(
    'interpolate-maps',
    {
      a: f32(8, 8, none, none),
      aError: f32(4, 4, 4, 4),
      aDq: u32(1, 0, 4, 0),
      b: f32(16, 16, 16, 16),
      bError: f32(16, none, 16, none),
      bDq: u32(2, 0, 4, 8),
      value,
      error,
      dq,
    },
    { fraction: 0.25 },
  );
  expect([...value.data]).toEqual([10, 8, 16, none]);
  expect([...error.data]).toEqual([5, 4, 16, none]); // sqrt(3^2 + 4^2)
  expect([...dq.data]).toEqual([3, 0, 4, 8]);
});
