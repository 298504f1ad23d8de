import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('mock-trap takes the fluence, no more than a full well and never less than nothing', async () => {
  const map = (...values: number[]) => ({ data: Float32Array.of(...values), cols: values.length });
  const trapped = map(0, 0, 0);
  await runKernel(
    'mock-trap',
    { rate: map(100, 4000, -5), trap: map(0.5, 0.5, 0.5), well: map(3000, 3000, 3000), gain: map(2, 2, 2), trapped },
    { reads: 10 },
  );
  expect([...trapped.data]).toEqual([500, 3000, 0]);
});
