import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('multiplies each vector with its own matrix, of any size', async () => {
  // Rotations by 3-4-5 and by 5-12-13, beside a column of ones: whole numbers are exact.
  const size = 3;
  const matrices = Float32Array.of(3, -4, 1, 4, 3, 1, 0, 0, 1, 5, -12, 1, 12, 5, 1, 0, 0, 1);
  const vectors = Float64Array.of(3, 4, 2, 5, 12, -1);
  const sum = new Float64Array(2 * size);
  await runKernel('mix-planes', {
    values: { data: matrices, planes: size, planeStride: size, rows: 2, rowStride: size * size, cols: size },
    weights: { data: vectors, planes: size, planeStride: 1, rows: 2, rowStride: size, cols: 1 },
    sum: { data: sum, rows: 2, cols: size },
  });
  expect([...sum]).toEqual([25, 0, 9, 169, 0, 16]);
});

it('keeps what float32 would lose', async () => {
  const sum = new Float64Array(19);
  await runKernel('mix-planes', {
    values: { data: new Float32Array(3 * 19).fill(1), planes: 3, rows: 1, cols: 19 },
    weights: { data: Float64Array.of(1e9, 1e-3, -1e9), planes: 3, rows: 1, cols: 1 },
    sum: { data: sum, rows: 1, cols: 19 },
  });
  for (const value of sum) expect(value).toBeCloseTo(1e-3, 6);
});
