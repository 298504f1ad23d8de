import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('row-moments counts, adds and squares what is in range and unflagged', async () => {
  const moments = new Float64Array(12);
  await runKernel(
    'row-moments',
    {
      value: { data: Float32Array.of(1, 2, 3, 90, 5, 6, Number.NaN, 8, -1), cols: 9 },
      dq: { data: Uint32Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0), cols: 9 },
      low: { data: new Float32Array(4).fill(-10), cols: 4 },
      high: { data: new Float32Array(4).fill(10), cols: 4 },
      moments: { data: moments, cols: 12 },
    },
    {},
    { strip: 9 },
  );
  // Quarters of two columns, the last of three
  expect([...moments]).toEqual([2, 3, 5, 1, 3, 9, 1, 6, 36, 2, 7, 65]);
});
