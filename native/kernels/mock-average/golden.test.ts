import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

describe('mock-average and mock-residual', () => {
  it('rounds halves to even, and first + average + residual is the next read', async () => {
    const first = new Uint16Array([100, 100, 100, 100, 65535, 0]);
    const last = new Uint16Array([105, 107, 95, 93, 0, 65535]);
    const average = new Int32Array(6);
    await runKernel(
      'mock-average',
      { first: { data: first, cols: 6 }, last: { data: last, cols: 6 }, average: { data: average, cols: 6 } },
      { differences: 2 },
    );
    // 2.5, 3.5, -2.5, -3.5, -32767.5, 32767.5
    expect([...average]).toEqual([2, 4, -2, -4, -32768, 32768]);
    const residual = new Int32Array(6);
    await runKernel('mock-residual', {
      before: { data: first, cols: 6 },
      after: { data: last, cols: 6 },
      average: { data: average, cols: 6 },
      residual: { data: residual, cols: 6 },
    });
    expect([...residual].map((r, i) => (first[i] as number) + (average[i] as number) + r)).toEqual([...last]);
  });
});
