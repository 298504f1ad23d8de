import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('divide-model divides, and marks what does not follow the model', async () => {
  const cols = 7;
  const image = (data: Float32Array | Uint32Array | Uint8Array) => ({ data, rows: 1, cols });
  const ratio = new Float32Array(cols);
  const ratioError = new Float32Array(cols);
  const bad = new Uint8Array(cols).fill(9);
  await runKernel(
    'divide-model',
    {
      signal: image(Float32Array.of(10, 1, 40, Number.NaN, 10, 10, -2)),
      sigma: image(new Float32Array(cols).fill(2)),
      model: image(Float32Array.of(8, 8, 8, 8, 0, 8, 8)),
      flags: image(Uint32Array.of(0, 0, 0, 0, 0, 6, 1)),
      ratio: image(ratio),
      ratioError: image(ratioError),
      bad: image(bad),
    },
    { low: 0.5, high: 1.5, skip: 4 },
  );
  expect([...ratio]).toEqual([1.25, 0.125, 5, Number.NaN, Number.NaN, 1.25, -0.25]);
  expect([...ratioError]).toEqual([0.25, 0.25, 0.25, Number.NaN, Number.NaN, 0.25, 0.25]);
  expect([...bad]).toEqual([0, 1, 1, 1, 1, 1, 1]);
});
