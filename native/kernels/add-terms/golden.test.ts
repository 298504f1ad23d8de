import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('add-terms adds what is complete, and remembers which exposure it was', async () => {
  const map = (...values: number[]) => ({ data: Float32Array.from(values), cols: 2 });
  const terms = { data: Float32Array.of(3, 4, 5, Number.NaN), planes: 2, cols: 2 };
  const sums = { data: Float32Array.of(1, 1, 1, 1), planes: 2, cols: 2 };
  const [weight, squares] = [map(1, 1), map(0, 0)];
  const used = { data: Uint32Array.of(1, 1), cols: 2 };
  await runKernel('add-terms', { terms, sums, weight, squares, used }, { weight: 2, index: 5 });
  expect([...sums.data]).toEqual([7, 1, 11, 1]);
  expect([...weight.data]).toEqual([3, 1]);
  expect([...squares.data]).toEqual([18, 0]);
  expect([...used.data]).toEqual([33, 1]);
});
