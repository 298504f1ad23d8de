import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

async function quartiles(values: number[], mask?: number[], skip = 0) {
  const out = new Float64Array(4);
  const cols = values.length;
  await runKernel(
    'measure-quartiles',
    {
      image: { data: Float32Array.from(values), rows: 1, cols },
      ...(mask && { mask: { data: Uint32Array.from(mask), rows: 1, cols } }),
      quartiles: { data: out, cols: 4 },
    },
    { skip },
  );
  return [...out];
}

it('measure-quartiles gives the textbook values and passes over what does not count', async () => {
  // Type 7 of 1, 2, 3, 4: 1.75, 2.5, 3.25 (the default of R and numpy).
  expect(await quartiles([4, 1, 3, 2])).toEqual([4, 1.75, 2.5, 3.25]);
  expect(await quartiles([-1, -2, 0, -0, 1e30, -1e-30])).toEqual([6, -0.75, Math.fround(-1e-30) / 2, 0]);
  expect(await quartiles([7])).toEqual([1, 7, 7, 7]);
  expect(await quartiles([1, 2, Number.NaN, Number.POSITIVE_INFINITY, 9, 3], [0, 2, 0, 0, 1, 4], 1)).toEqual([
    3, 1.5, 2, 2.5,
  ]);
  expect(await quartiles([Number.NaN])).toEqual([0, Number.NaN, Number.NaN, Number.NaN]);
});
