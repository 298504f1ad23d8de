import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

it('finish-spectra gives errors, leaves no value where there is none, and adds the bits of trace and fibre', async () => {
  const flux = Float32Array.of(7, 8, Number.NaN, 1, 2, 3);
  const ivar = Float32Array.of(4, 0, 4, 0.25, Number.POSITIVE_INFINITY, Number.NaN);
  const error = new Float32Array(6);
  const dq = Uint32Array.of(1, 2, 0, 0, 0, 0);
  const [planes, cols] = [2, 3];
  await runKernel('finish-spectra', {
    flux: { data: flux, planes, cols },
    ivar: { data: ivar, planes, cols },
    error: { data: error, planes, cols },
    dq: { data: dq, planes, cols },
    traceDq: { data: Uint32Array.of(4, 0, 0, 0, 0, 0), planes, cols },
    bits: { data: Uint32Array.of(0, 2 ** 26), planes },
  });
  const { NaN: none } = Number;
  expect([...flux]).toEqual([7, none, none, 1, none, none]);
  expect([...error]).toEqual([0.5, none, none, 2, none, none]);
  const failed = DQ.EXTRACTION_FAILED;
  expect([...dq]).toEqual([5, 2 | failed, failed, 2 ** 26, (2 ** 26) | failed, (2 ** 26) | failed]);
});
