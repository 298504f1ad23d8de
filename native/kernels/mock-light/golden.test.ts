import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('mock-light shows light by the response, and dark current whatever it is', async () => {
  const map = (...values: number[]) => ({ data: Float32Array.of(...values), cols: values.length });
  const rate = map(0, 0, 0, 0);
  await runKernel('mock-light', {
    light: map(100, 100, 0, 8),
    response: map(1, 0.5, 0.9, 0),
    dark: map(0, 2, 3, -4),
    rate,
  });
  expect([...rate.data]).toEqual([100, 52, 3, -4]);
});
