import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('square squares, and keeps missing values missing', async () => {
  const squared = new Float32Array(4);
  await runKernel('square', {
    value: { data: Float32Array.of(-3, 0, 1.5, Number.NaN), cols: 4 },
    squared: { data: squared, cols: 4 },
  });
  expect([...squared]).toEqual([9, 0, 2.25, Number.NaN]);
});
