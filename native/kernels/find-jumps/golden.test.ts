import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/**
 * Photon noise alone (read variance to 0): chi-square without one difference has a closed form. For n equal differences R and
 * one of R + a the fall is a^2 (n - 1) / (n R / g).
 */
describe('find-jumps', () => {
  it('drops what lowers chi-square by more than the threshold, and only that', async () => {
    const [n, rate, gain] = [9, 16, 1];
    const limit = Math.sqrt((30.25 * n * rate) / ((n - 1) * gain));
    const jumps = [0, limit * 0.99, limit * 1.01, 5000, -limit * 1.01];
    const cols = jumps.length;
    const diffs = new Float32Array(n * cols).fill(rate);
    jumps.forEach((jump, x) => {
      diffs[(x % n) * cols + x]! += jump;
    });
    const start = new Float32Array(cols).fill(rate);
    const found = new Uint16Array(cols);
    const map = (value: number) => ({ data: new Float32Array(cols).fill(value), cols });
    await runKernel('find-jumps', {
      diffs: { data: diffs, planes: n, cols },
      gain: map(gain),
      readVariance: map(1e-5),
      rate: { data: start, cols },
      jumps: { data: found, cols },
    });
    expect([...found]).toEqual([0, 0, 1, 1, 1]);
    expect(Number.isNaN(diffs[3 * cols + 3])).toBe(true);
    expect(diffs.filter(Number.isNaN).length).toBe(3);
    for (const x of [0, 2, 3, 4]) expect(start[x]).toBeCloseTo(rate, 4);
  });
});
