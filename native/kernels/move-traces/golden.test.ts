import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/** Moves one trace over five columns of a detector of 101 rows. */
async function move(centre: readonly number[], terms: Readonly<Record<number, number>>, factor = 1) {
  const cols = centre.length;
  const [moved, stretched] = [new Float32Array(cols), new Float32Array(cols)];
  const row = (data: Float32Array) => ({ data, rows: 1, cols });
  await runKernel(
    'move-traces',
    {
      centre: row(Float32Array.from(centre)),
      width: row(new Float32Array(cols).fill(0.75)),
      terms: { data: Float64Array.from({ length: 16 }, (_, i) => terms[i] ?? 0), cols: 16 },
      moved: row(moved),
      stretched: row(stretched),
    },
    { rows: 101, columns: cols, factor },
  );
  return { moved: [...moved], stretched: [...stretched] };
}

it('adds a shift, a scale, a rotation and products of polynomials', async () => {
  // u = -1, -1/2, 0, 1/2, 1 and v = 0 at row 50, 1/2 at row 75.
  expect((await move([50, 50, 50, 50, 50], { 0: 0.25 })).moved).toEqual([50.25, 50.25, 50.25, 50.25, 50.25]);
  expect((await move([0, 50, 75, 100, 50], { 1: 0.5 })).moved).toEqual([-0.5, 50, 75.25, 100.5, 50]);
  expect((await move([50, 50, 50, 50, 50], { 4: 0.5 })).moved).toEqual([49.5, 49.75, 50, 50.25, 50.5]);
  // P_2(-1/2) = -1/8, P_3(1/2) = -7/16; 4 i + j = 11.
  expect((await move([50, 75, 75, 50, 50], { 11: 1 })).moved[1]).toBeCloseTo(75 + 7 / 128, 5);
});

it('scales the widths', async () => {
  expect((await move([50, 50], {}, 1.5)).stretched).toEqual([1.125, 1.125]);
});
