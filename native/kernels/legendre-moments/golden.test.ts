import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const PLAIN = 61;
const ALL = 92;

async function momentsOf(image: Float32Array, model: Float32Array, bad: Uint8Array, order: number) {
  const cols = image.length;
  const moments = new Float64Array(ALL);
  const row = (data: Float32Array | Uint8Array) => ({ data, rows: 1, cols });
  await runKernel(
    'legendre-moments',
    { image: row(image), model: row(model), bad: row(bad), moments: { data: moments, rows: 1, cols: ALL } },
    { order, first: 0, last: cols - 1 },
    { strip: cols },
  );
  return moments;
}

describe('legendre-moments', () => {
  it('gives the closed form of three points', async () => {
    // u = -1, 0, 1; weights 1, 4, 1; P0 = 1, P1 = u, P2 = (3 u^2 - 1)/2, P3 odd, P4(0) = 3/8.
    const m = await momentsOf(Float32Array.of(3, 5, 9), Float32Array.of(1, 0.5, 1), new Uint8Array(3), 2);
    expect([...m.subarray(0, 5)]).toEqual([6, 0, 1 + 1 - 2, 0, 1 + 1 + 1.5]);
    expect([...m.subarray(PLAIN, PLAIN + 3)]).toEqual([3 + 20 + 9, 6, 3 + 9 - 10]);
    expect([...m.subarray(5, PLAIN), ...m.subarray(PLAIN + 3)].every((v) => v === 0)).toBe(true);
  });

  it('leaves out what is bad or missing', async () => {
    const ones = new Float32Array(3).fill(1);
    const m = await momentsOf(Float32Array.of(3, Number.NaN, 9), ones, Uint8Array.of(0, 0, 1), 1);
    expect([m[0], m[1], m[2], m[PLAIN], m[PLAIN + 1]]).toEqual([1, -1, 1, 3, -3]);
  });

  it('sees orthogonality: a row of equal weights has next to no higher moment', async () => {
    const n = 2048;
    const ones = new Float32Array(n).fill(1);
    const m = await momentsOf(ones, ones, new Uint8Array(n), 20);
    // Euler and Maclaurin: (P_k(1) + P_k(-1))/2 + h (P_k'(1) - P_k'(-1))/12, P_k'(1) = k (k + 1)/2, h = 2/(n - 1).
    expect(m[0]).toBe(n);
    expect(Math.abs(m[1] as number)).toBeLessThan(1e-9);
    expect(m[2]).toBeCloseTo(1 + 6 / 12 / 1023.5, 6);
    expect(m[40]).toBeCloseTo(1 + 1640 / 12 / 1023.5, 1);
  });
});
