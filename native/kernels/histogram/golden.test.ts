import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('histogram counts values by bin, what lies outside apart, and passes over flagged pixels', async () => {
  const image = Float32Array.of(0, 0.5, 1, 255.99, 256, -0.01, 256.5, Number.NaN, Number.POSITIVE_INFINITY, 7);
  const mask = Uint32Array.of(0, 0, 1, 0, 0, 0, 0, 0, 0, 2);
  const [counts, outside] = [new Int32Array(256), new Int32Array(3)];
  await runKernel(
    'histogram',
    {
      image: { data: image, cols: 10 },
      mask: { data: mask, cols: 10 },
      counts: { data: counts, cols: 256 },
      outside: { data: outside, cols: 3 },
    },
    { low: 0, high: 256, skip: 2 },
  );
  expect([...counts.entries()].filter(([, n]) => n > 0)).toEqual([
    [0, 2],
    [1, 1],
    [255, 2],
  ]);
  expect([...outside]).toEqual([1, 2, 1]);
});
