import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('flag-range flags what is below or above, and NaN as neither', async () => {
  const dq = Uint32Array.of(0, 0, 1, 0, 0, 2);
  const cols = 6;
  await runKernel(
    'flag-range',
    {
      image: { data: Float32Array.of(-5, -6, 9, 7, Number.NaN, 8), rows: 1, cols },
      dq: { data: dq, rows: 1, cols },
    },
    { low: -5, high: 7, below: 16, above: 32, skip: 2 },
  );
  expect([...dq]).toEqual([0, 16, 33, 0, 0, 2]);
});
