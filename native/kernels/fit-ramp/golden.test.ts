import { describe, expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

/** Five equal differences with read noise alone, photon noise alone, one good difference, none, and no gain. */
describe('fit-ramp', () => {
  it('gives the closed forms, and says where it has nothing to say', async () => {
    const cols = 5;
    const n = 5;
    const diffs = new Float32Array(n * cols).fill(20);
    for (let k = 0; k < n; k++) {
      if (k !== 2) diffs[k * cols + 2] = Number.NaN;
      diffs[k * cols + 3] = Number.NaN;
    }
    const f32 = () => ({ data: new Float32Array(cols), cols });
    const [rate, error, chi2] = [f32(), f32(), f32()];
    const goodDiffs = { data: new Uint16Array(cols), cols };
    const dq = { data: new Uint32Array(cols), cols };
    await runKernel('fit-ramp', {
      diffs: { data: diffs, planes: n, cols },
      gain: { data: new Float32Array([1e14, 2, 2, 2, Number.NaN]), cols },
      readVariance: { data: new Float32Array([50, 1e-6, 50, 50, 50]), cols },
      start: { data: new Float32Array(cols).fill(20), cols },
      jumps: { data: new Uint16Array([0, 1, 2, 0, 0]), cols },
      lastGood: { data: new Uint16Array([6, 6, 4, 0, 6]), cols },
      rate,
      error,
      chi2,
      goodDiffs,
      dq,
    });
    expect([...rate.data]).toEqual([20, 20, 20, 0, 0]);
    const errors = [Math.sqrt((12 * 50) / (n * (n + 1) * (n + 2))), Math.sqrt(20 / (2 * n)), Math.sqrt(100 + 10), 0, 0];
    errors.forEach((value, x) => {
      expect(error.data[x]).toBeCloseTo(value, 5);
    });
    expect([...chi2.data]).toEqual([0, 0, 0, 0, 0]);
    expect([...goodDiffs.data]).toEqual([5, 5, 1, 0, 0]);
    expect([...dq.data]).toEqual([
      0,
      DQ.JUMP,
      DQ.JUMPS | DQ.PARTLY_SATURATED | DQ.NO_CHI2,
      DQ.SATURATED | DQ.NO_DATA | DQ.NO_CHI2,
      DQ.NO_DATA | DQ.NO_CALIBRATION | DQ.NO_CHI2,
    ]);
  });
});
