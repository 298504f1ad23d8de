import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/** x + c2 x^2 + c3 x^3 with exactly representable numbers. */
describe('linearise', () => {
  it('gives the closed form, carries missing values and ends at the limit', async () => {
    const counts = new Float32Array([0, 1024, 2048, 4096, Number.NaN, 60000]);
    const linear = new Float32Array(6);
    const c2 = new Float32Array(6).fill(2 ** -20);
    const c3 = new Float32Array(6).fill(2 ** -30);
    const limit = new Float32Array(6).fill(4096);
    await runKernel('linearise', {
      counts: { data: counts, cols: 6 },
      c2: { data: c2, cols: 6 },
      c3: { data: c3, cols: 6 },
      limit: { data: limit, cols: 6 },
      linear: { data: linear, cols: 6 },
    });
    expect([...linear]).toEqual([0, 1024 + 1 + 1, 2048 + 4 + 8, 4096 + 16 + 64, Number.NaN, Number.NaN]);
  });
});
