import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/** Differences 0, 1, ..., 8 and a tenth: quartiles of type 7 at 2.25 and 6.75, so sigma = 4.5 / 1.34896. */
describe('clip-jumps', () => {
  it('keeps what lies strictly less than 20 sigma above the mean', async () => {
    const sigma = 4.5 / 1.34896;
    // (36 + J) / 10 + 20 sigma = J at the cut
    const cut = (3.6 + 20 * sigma) / 0.9;
    const last = [9, cut * 0.999, cut * 1.001, -1e4];
    const cols = last.length;
    const diffs = new Float32Array(10 * cols);
    for (let k = 0; k < 9; k++) diffs.fill(k, k * cols, (k + 1) * cols);
    diffs.set(last, 9 * cols);
    const rate = new Float32Array(cols);
    const jumps = new Uint16Array(cols);
    await runKernel('clip-jumps', {
      diffs: { data: diffs, planes: 10, cols },
      rate: { data: rate, cols },
      jumps: { data: jumps, cols },
    });
    // The last: a deep negative difference drags the mean down and takes the good ones with it, as upstream's cut does.
    expect([...jumps]).toEqual([0, 0, 1, 9]);
    expect([...rate]).toEqual([4.5, 4.5, 4, -1e4]);
  });
});
