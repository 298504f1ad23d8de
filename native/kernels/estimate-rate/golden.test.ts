import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/** Columns: five differences, three, two, one, none. */
describe('estimate-rate', () => {
  it('leaves out the largest and the smallest when there are three or more', async () => {
    const missing = Number.NaN;
    const planes = [
      [1, 7, missing, 4, missing],
      [1000, missing, 8, missing, missing],
      [3, -50, missing, missing, missing],
      [4, 9, 2, missing, missing],
      [-900, missing, missing, missing, missing],
    ];
    const rate = new Float32Array(5);
    await runKernel('estimate-rate', {
      diffs: { data: new Float32Array(planes.flat()), planes: 5, cols: 5 },
      rate: { data: rate, cols: 5 },
    });
    expect([...rate]).toEqual([Math.fround(8 / 3), 7, 5, 4, 0]);
  });
});
