import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('pair-variances takes the mean off, leaves out the border, what is missing and what a cosmic ray hit', async () => {
  const cols = 256;
  const rows = 3;
  const points = 6;
  const first = new Float32Array(points * rows * cols);
  const second = new Float32Array(points * rows * cols).fill(50);
  // The difference is 100 + 1 or 100 - 1: 62 pixels in an outer amplifier, 64 in an inner one.
  for (let i = 0; i < first.length; i++) first[i] = 150 + (i % 2 === 0 ? 1 : -1);
  const at = (point: number, row: number, x: number) => (point * rows + row) * cols + x;
  first[at(0, 1, 70)] = 9000;
  first[at(0, 1, 71)] = Number.NaN;
  const sums = new Float64Array(rows * 96);
  const image = (data: Float32Array) => ({ data, planes: points, rows, cols });
  await runKernel(
    'pair-variances',
    { first: image(first), second: image(second), sums: { data: sums, rows, cols: 96 } },
    { border: 1 },
  );
  const of = (row: number, amplifier: number, point: number) =>
    [...sums.subarray(row * 96 + (amplifier * 6 + point) * 4)].slice(0, 4);
  expect([...sums.subarray(0, 96)].every((v) => v === 0)).toBe(true);
  expect([...sums.subarray(192)].every((v) => v === 0)).toBe(true);
  expect(of(1, 1, 0)).toEqual([62, 62 * 150, 62 * 50, 62]);
  expect(of(1, 1, 5)).toEqual([64, 64 * 150, 64 * 50, 64]);
  // 63 pixels, 31 at +1 and 32 at -1: 63 - 1/63.
  const [n, a, b, squares] = of(1, 0, 2);
  expect([n, a, b]).toEqual([63, 63 * 150 - 1, 63 * 50]);
  expect(squares).toBeCloseTo(63 - 1 / 63, 4);
});
