import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('subtract-images takes a model off an image, and keeps what is missing missing', async () => {
  const image = Float32Array.of(5, 1, Number.NaN, 2);
  const model = Float32Array.of(1.5, 3, 1, Number.NaN);
  const difference = new Float32Array(4);
  const map = (data: Float32Array) => ({ data, rows: 2, cols: 2 });
  await runKernel('subtract-images', { image: map(image), model: map(model), difference: map(difference) });
  expect([...difference]).toEqual([3.5, -2, Number.NaN, Number.NaN]);
});
