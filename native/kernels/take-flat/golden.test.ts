import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

it('take-flat gives light in electrons without the dark', async () => {
  const cols = 5;
  const image = (data: Float32Array | Uint32Array) => ({ data, rows: 1, cols });
  const signal = new Float32Array(cols);
  const sigma = new Float32Array(cols);
  const ports = {
    rate: image(Float32Array.of(100, 100, 100, 100, 1)),
    error: image(Float32Array.of(3, 3, 3, 3, 3)),
    dq: image(Uint32Array.of(0, DQ.JUMP, DQ.REFERENCE_PIXEL, 0, 0)),
    gain: image(Float32Array.of(2, 2, 2, 2, 2)),
    signal: image(signal),
    sigma: image(sigma),
  };
  const dark = image(Float32Array.of(1, 1, 1, Number.NaN, 3));
  await runKernel('take-flat', { ...ports, dark, darkError: image(new Float32Array(cols).fill(4)) });
  expect([...signal]).toEqual([198, 198, Number.NaN, Number.NaN, -4]);
  expect([...sigma]).toEqual([10, 10, Number.NaN, Number.NaN, 10]);
  await runKernel('take-flat', ports);
  expect([...signal]).toEqual([200, 200, Number.NaN, 200, 2]);
});
