import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('judge-rates sums what counts and nothing else', async () => {
  const cols = 8;
  const image = (data: Float32Array | Uint16Array | Uint32Array) => ({ data, rows: 1, cols });
  const sums = new Float64Array(6);
  await runKernel(
    'judge-rates',
    {
      rate: image(Float32Array.of(12, 8, 5, Number.NaN, 5, 5, 105, 5)),
      error: image(Float32Array.of(2, 1, 1, 1, 1, 0, 1, 1)),
      chi2: image(Float32Array.of(10, 20, 30, 40, 50, 60, 70, 80)),
      diffs: image(Uint16Array.of(45, 44, 45, 45, 45, 45, 45, 1)),
      dq: image(Uint32Array.of(0, 2, 1, 0, 0, 0, 0, 0)),
      truth: image(Float32Array.of(10, 10, 5, 5, Number.POSITIVE_INFINITY, 5, 5, 5)),
      sums: { data: sums, rows: 1, cols: 6 },
    },
    { skip: 1, limit: 10 },
  );
  // z = 1 and -2; the pixel with z = 100 is beyond the limit; the others do not count.
  expect([...sums]).toEqual([2, -1, 5, 30, 44 + 43, 1]);
});
