import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('weigh-pixels gives 1 / error^2, and 0 to what must not count', async () => {
  const value = Float32Array.of(1, -5, Number.NaN, 1, 1, 1, 1, 1, 1);
  const error = Float32Array.of(2, 0.5, 1, 0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e-30, 4);
  const dq = Uint32Array.of(0, 1, 0, 0, 0, 0, 0, 0, 6);
  const ivar = new Float32Array(9);
  const cols = 9;
  const ports = {
    value: { data: value, cols },
    error: { data: error, cols },
    dq: { data: dq, cols },
    ivar: { data: ivar, cols },
  };
  await runKernel('weigh-pixels', ports, { skip: 4 });
  expect([...ivar]).toEqual([0.25, 4, 0, 0, 0, 0, 0, 0, 0]);
  await runKernel('weigh-pixels', ports, { skip: 8 });
  expect(ivar[8]).toBe(1 / 16);
  // 2^2 - 3 x 1 = 1; nothing is taken off a negative value; 4^2 - 20 x 1 is negative: a tenth of 16.
  value[8] = 20;
  await runKernel('weigh-pixels', ports, { photons: 3 });
  expect([ivar[0], ivar[1]]).toEqual([1, 4]);
  expect(ivar[8]).toBeCloseTo(1 / 1.6, 6);
});
