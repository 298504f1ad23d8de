import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/** Light spread evenly from -half to +half px. */
function box(half: number): Float32Array {
  return Float32Array.from({ length: 481 }, (_, s) => Math.min(Math.max((s / 20 - 12 + half) / (2 * half), 0), 1));
}

async function paint(centres: number[], fluxes: number[], tables: Float32Array, width = 1): Promise<number[]> {
  const [centre, flux] = [new Float32Array(300).fill(Number.NaN), new Float32Array(300)];
  centre.set(centres);
  flux.set(fluxes);
  const model = new Float32Array(10);
  await runKernel(
    'paint-model',
    {
      centre: { data: centre, rows: 300, cols: 1 },
      width: { data: new Float32Array(300).fill(width), rows: 300, cols: 1 },
      flux: { data: flux, rows: 300, cols: 1 },
      profile: { data: tables, planes: 300, rows: 9, cols: 481 },
      model: { data: model, planes: 10, cols: 1 },
    },
    { firstColumn: 4, columns: 9 },
  );
  return [...model].map((value) => Number(value.toFixed(4)));
}

const all = (table: Float32Array) => Float32Array.from({ length: 300 * 9 * 481 }, (_, i) => table[i % 481] as number);

it('paint-model shares even light between the pixels that it covers', async () => {
  expect(await paint([4.25], [100], all(box(1)))).toEqual([0, 0, 0, 12.5, 50, 37.5, 0, 0, 0, 0]);
});

it('paint-model adds the light of neighbours, stretched by their width', async () => {
  expect(await paint([3, 5], [80, 40], all(box(1)), 2)).toEqual([0, 10, 20, 25, 30, 20, 10, 5, 0, 0]);
});

it('paint-model takes straight lines between the nodes', async () => {
  // Column 4 of 9 is node 4; there the profile is half as wide.
  const tables = all(box(1));
  for (let fibre = 0; fibre < 300; fibre++) tables.set(box(0.5), (fibre * 9 + 4) * 481);
  expect(await paint([4], [100], tables)).toEqual([0, 0, 0, 0, 100, 0, 0, 0, 0, 0]);
});
