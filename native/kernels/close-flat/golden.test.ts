import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

it('close-flat gives response, error and what is wrong with a pixel', async () => {
  const cols = 4;
  const image = (data: Float32Array | Uint16Array | Uint32Array) => ({ data, rows: 1, cols });
  const flat = new Float32Array(cols);
  const error = new Float32Array(cols);
  const dq = Uint32Array.of(0, DQ.REFERENCE_PIXEL, 0, 0);
  await runKernel(
    'close-flat',
    {
      // good; no value; scatter of 25 a degree; one of three rejected
      mean: image(Float32Array.of(2, 0, 2, -1)),
      weight: image(Float32Array.of(4, 0, 4, 4)),
      variance: image(Float32Array.of(4, 0, 4, 4)),
      expected: image(Float32Array.of(3, 0, 3, 2)),
      scatter: image(Float32Array.of(2, 0, 50, 1)),
      count: image(Uint16Array.of(3, 0, 3, 2)),
      rejected: image(Uint16Array.of(0, 0, 0, 1)),
      flat: image(flat),
      error: image(error),
      dq: image(dq),
    },
    { norm: 2 },
  );
  expect([...flat]).toEqual([1, Number.NaN, 1, -0.5]);
  expect([...error]).toEqual([0.25, Number.NaN, 1.25, 0.25]);
  const none = DQ.REFERENCE_PIXEL | DQ.NO_FLAT | DQ.NO_CALIBRATION;
  expect([...dq]).toEqual([0, none, DQ.UNSTABLE_FLAT, DQ.UNSTABLE_FLAT]);
});
