import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('mock-release adds what is left of the release', async () => {
  const map = (...values: number[]) => ({ data: Float32Array.of(...values), cols: values.length });
  const now = map(0, 0, 0);
  await runKernel('mock-release', { rate: map(10, 0, -3), trapped: map(8, 8, 8), now }, { decay: 0.25 });
  expect([...now.data]).toEqual([12, 2, 2]);
});
