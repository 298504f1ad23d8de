import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('row-step is the difference of two rows and its weight, and nothing where either is missing', async () => {
  const [step, ivar] = [new Float32Array(4), new Float32Array(4)];
  const row = (...values: number[]) => ({ data: Float32Array.from(values), cols: 4 });
  await runKernel('row-step', {
    above: row(5, Number.NaN, 7, 7),
    below: row(2, 1, 9, 9),
    aboveError: row(3, 1, 1, 0),
    belowError: row(4, 1, 1, 1),
    step: { data: step, cols: 4 },
    ivar: { data: ivar, cols: 4 },
  });
  expect([...step]).toEqual([3, 0, -2, 0]);
  expect([...ivar]).toEqual([Math.fround(0.04), 0, 0.5, 0]);
});
