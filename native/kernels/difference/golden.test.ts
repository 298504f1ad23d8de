import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('difference is missing where either read is', async () => {
  const nan = Number.NaN;
  const differences = new Float32Array(4);
  await runKernel('difference', {
    counts: { data: Float32Array.of(1, 5, 4, nan, 9, 7), planes: 3, cols: 2 },
    differences: { data: differences, planes: 2, cols: 2 },
  });
  expect([...differences]).toEqual([3, nan, 5, nan]);
});
