import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const image = Float32Array.of(1, 2, 3, 4, 5, Number.NaN, 7, 1000, 9, 10, 11, 12);

it('average-cells gives row profiles without what is missing or beyond the limits', async () => {
  const [mean, count] = [new Float64Array(3), new Int32Array(3)];
  await runKernel(
    'average-cells',
    { image: { data: image, rows: 3, cols: 4 }, mean: { data: mean, rows: 3 }, count: { data: count, rows: 3 } },
    { high: 100 },
    { strip: 4 },
  );
  expect([...mean]).toEqual([2.5, 6, 10.5]);
  expect([...count]).toEqual([4, 2, 4]);
});

it('average-cells takes cells of two rows by two columns through strides', async () => {
  const [mean, count] = [new Float64Array(2), new Int32Array(2)];
  await runKernel(
    'average-cells',
    {
      image: { data: image, planes: 2, planeStride: 4, rows: 2, rowStride: 2, cols: 2 },
      mean: { data: mean, rows: 2 },
      count: { data: count, rows: 2 },
    },
    { high: 100 },
    { strip: 2 },
  );
  expect([...mean]).toEqual([8 / 3, 14 / 3]);
  expect([...count]).toEqual([3, 3]);
});

it('average-cells gives NaN for a cell of which nothing counts', async () => {
  const [mean, count] = [new Float64Array(1), new Int32Array(1)];
  await runKernel('average-cells', {
    image: { data: Float32Array.of(Number.NaN), cols: 1 },
    mean: { data: mean },
    count: { data: count },
  });
  expect([mean[0], count[0]]).toEqual([Number.NaN, 0]);
});
