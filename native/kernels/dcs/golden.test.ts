import { describe, expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

describe('dcs', () => {
  it('is last less first, in either unit', async () => {
    const cols = 3;
    const missing = Number.NaN;
    const diffs = new Float32Array([10, 10, -5, 14, missing, -1, 18, missing, 0]);
    const f32 = () => ({ data: new Float32Array(cols), cols });
    const map = (value: number) => ({ data: new Float32Array(cols).fill(value), cols });
    const [rate, error, chi2] = [f32(), f32(), f32()];
    const goodDiffs = { data: new Uint16Array(cols), cols };
    const dq = { data: new Uint32Array(cols), cols };
    await runKernel(
      'dcs',
      {
        diffs: { data: diffs, planes: 3, cols },
        gain: map(2),
        readVariance: map(50),
        rate,
        error,
        chi2,
        goodDiffs,
        dq,
      },
      { unit: 'electron-per-second', readTimeSeconds: 4 },
    );
    const values = [14, 10, -2];
    const errors = [Math.sqrt(100 + 21) / 3, Math.sqrt(100 + 5), Math.sqrt(100) / 3];
    values.forEach((value, x) => {
      expect(rate.data[x]).toBeCloseTo(value / 2, 5);
      expect(error.data[x]).toBeCloseTo(errors[x]! / 2, 5);
    });
    expect([...goodDiffs.data]).toEqual([3, 1, 3]);
    expect([...dq.data]).toEqual([DQ.NO_CHI2, DQ.NO_CHI2, DQ.NO_CHI2]);
  });
});
