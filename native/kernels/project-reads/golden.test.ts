import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/** Rows of four weights for each read. */
async function project(counts: readonly number[], table: readonly (readonly number[])[], params = {}) {
  const terms = new Float32Array(4);
  await runKernel(
    'project-reads',
    {
      counts: { data: Float32Array.from(counts), planes: counts.length, cols: 1 },
      table: { data: Float32Array.from(table.flat()), planes: counts.length, planeStride: 4, cols: 4 },
      gain: { data: Float32Array.of(2), cols: 1 },
      readVariance: { data: Float32Array.of(25), cols: 1 },
      terms: { data: terms, planes: 4, cols: 1 },
    },
    params,
  );
  return [...terms];
}

describe('project-reads', () => {
  // Of 7, 12, 17, 22: the first, the last less the first, the least-squares slope, the line at -1
  const table = [
    [1, -1, -0.3, 1],
    [0, 0, -0.1, 0.5],
    [0, 0, 0.1, 0],
    [0, 1, 0.3, -0.5],
  ];

  it('applies each table to the reads', async () => {
    const terms = await project([7, 12, 17, 22], table);
    for (const [j, value] of [7, 15, 5, 2].entries()) expect(terms[j]).toBeCloseTo(value, 5);
  });

  it('has nothing to say where a read is missing or jumps', async () => {
    expect(await project([7, 12, Number.NaN, 22], table)).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.NaN]);
    // A middle difference may be off by 6 sqrt(125 + 54) = 80, with a mean rate of 72 DN; here it is by 200
    expect((await project([7, 12, 217, 222], table))[0]).toBeNaN();
    expect((await project([7, 12, 67, 72], table))[0]).toBe(7);
    expect((await project([7, 12, 217, 222], table, { clip: 0 }))[1]).toBe(215);
    expect((await project([207, 12, 17, 22], table))[0]).toBeNaN();
    // Too few differences from 1 on to tell which of them is the odd one
    expect((await project([207, 12, 17, 22], table, { from: 1 }))[1]).toBe(-185);
  });
});
