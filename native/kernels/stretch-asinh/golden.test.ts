import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('stretch-asinh is black at low, white at high, closed form between, and black where a pixel is missing', async () => {
  const image = new Float32Array([-5, 10, 20, 110, 1e9, Number.NaN]);
  const grey = new Uint8Array(6);
  await runKernel(
    'stretch-asinh',
    { image: { data: image, cols: 6 }, grey: { data: grey, cols: 6 } },
    { low: 10, high: 110, softening: 10 },
  );
  const middle = Math.round((255 * Math.asinh(1)) / Math.asinh(10));
  expect([...grey]).toEqual([0, 0, middle, 255, 255, 0]);
});

it('stretch-asinh keeps level 0 for missing pixels where the floor is above it', async () => {
  const image = new Float32Array([-5, 0.5, 2, Number.NaN]);
  const grey = new Uint8Array(4);
  await runKernel(
    'stretch-asinh',
    { image: { data: image, cols: 4 }, grey: { data: grey, cols: 4 } },
    { low: 0, high: 1, softening: 1e-3, floor: 1 },
  );
  expect([...grey]).toEqual([1, 128, 255, 0]);
});
