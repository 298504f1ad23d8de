import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('mock-trap takes the fluence, no more than a full well and never less than nothing', async () => {
  const map = (...values: number[]) => ({ data: Float32Array.of(...values), cols: values.length });
  // 2000 + 2.5e-4 2000^2 = 3000
  const trapped = map(0, 0, 0);
  await runKernel(
    'mock-trap',
    {
      rate: map(100, 4000, -5),
      trap: map(0.5, 0.5, 0.5),
      well: map(3000, 2000, 3000),
      c2: map(0, 2.5e-4, 0),
      c3: map(0, 0, 0),
      gain: map(2, 2, 2),
      trapped,
    },
    { reads: 10 },
  );
  expect([...trapped.data]).toEqual([500, 3000, 0]);
});
