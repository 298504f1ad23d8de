import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

it('close-dark gives rate, error and what is wrong with a pixel', async () => {
  const cols = 7;
  const image = (data: Float32Array | Uint16Array | Uint32Array) => ({ data, rows: 1, cols });
  const rate = new Float32Array(cols);
  const error = new Float32Array(cols);
  const dq = Uint32Array.of(0, DQ.REFERENCE_PIXEL, 0, 0, 0, 0, 0);
  await runKernel('close-dark', {
    // good; no value; scatter of 4 a degree; noisy ramps; jumps in 4 of 9; jumps in 2 of 2; 4 of 9 rejected
    mean: image(Float32Array.of(2, 0, 2, 2, 2, 2, 2)),
    weight: image(Float32Array.of(4, 0, 4, 4, 4, 4, 4)),
    variance: image(Float32Array.of(4, 0, 4, 4, 4, 4, 4)),
    expected: image(Float32Array.of(21, 0, 21, 21, 9, 2, 5)),
    scatter: image(Float32Array.of(10, 0, 80, 10, 10, 1, 10)),
    count: image(Uint16Array.of(21, 0, 21, 21, 9, 2, 5)),
    rejected: image(Uint16Array.of(0, 0, 0, 0, 0, 0, 4)),
    chi2Sum: image(Float32Array.of(1000, 0, 1000, 2100, 1000, 1000, 1000)),
    dofSum: image(Float32Array.of(1000, 0, 1000, 1000, 1000, 1000, 1000)),
    jumped: image(Uint16Array.of(1, 0, 0, 0, 4, 2, 0)),
    rate: image(rate),
    error: image(error),
    dq: image(dq),
  });
  expect([...rate]).toEqual([2, Number.NaN, 2, 2, 2, 2, 2]);
  expect([...error]).toEqual([0.5, Number.NaN, 1, 0.5, 0.5, 0.5, 0.5]);
  expect([...dq]).toEqual([
    0,
    DQ.REFERENCE_PIXEL | DQ.NO_CALIBRATION,
    DQ.NOISY,
    DQ.NOISY,
    DQ.TELEGRAPH,
    0,
    DQ.TELEGRAPH,
  ]);
});
