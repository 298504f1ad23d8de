import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('evaluate-illumination gives the polynomials, and the edge beyond them', async () => {
  const coefficients = new Float64Array(31 * 31);
  coefficients[0] = 10; // 1
  coefficients[1] = 2; // u
  coefficients[2 * 31] = 4; // P2(v)
  coefficients[31 + 2] = 8; // v P2(u)
  coefficients[3] = 100; // beyond the order
  const rows = 7;
  const cols = 7;
  const model = new Float32Array(rows * cols);
  await runKernel(
    'evaluate-illumination',
    { coefficients: { data: coefficients, rows: 31, cols: 31 }, model: { data: model, rows, cols } },
    { order: 2, firstX: 1, lastX: 5, firstY: 1, lastY: 5 },
  );
  const p2 = (t: number) => (3 * t * t - 1) / 2;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < cols; x++) {
      const u = Math.max(-1, Math.min(1, (x - 3) / 2));
      const v = Math.max(-1, Math.min(1, (y - 3) / 2));
      expect(model[y * cols + x]).toBe(10 + 2 * u + 4 * p2(v) + 8 * v * p2(u));
    }
  }
});
