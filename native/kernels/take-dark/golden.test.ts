import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

it('take-dark keeps what can be used and adds up the rest', async () => {
  const cols = 6;
  const image = (data: Float32Array | Uint16Array | Uint32Array) => ({ data, rows: 1, cols });
  const level = new Float32Array(cols);
  const sigma = new Float32Array(cols);
  const chi2Sum = new Float32Array(cols).fill(100);
  const dofSum = new Float32Array(cols).fill(50);
  const jumped = Uint16Array.of(0, 3, 65535, 0, 0, 0);
  await runKernel('take-dark', {
    rate: image(Float32Array.of(1, 2, 3, 0, Number.NaN, 4)),
    error: image(Float32Array.of(0.5, 0.5, 0.5, 0, 0.5, 0.5)),
    chi2: image(Float32Array.of(10, 20, 30, 0, 40, 50)),
    goodDiffs: image(Uint16Array.of(11, 10, 9, 0, 11, 1)),
    dq: image(Uint32Array.of(0, DQ.JUMP, DQ.JUMPS, DQ.NO_DATA, 0, DQ.NO_CHI2)),
    level: image(level),
    sigma: image(sigma),
    chi2Sum: image(chi2Sum),
    dofSum: image(dofSum),
    jumped: image(jumped),
  });
  expect([...level]).toEqual([1, 2, 3, Number.NaN, Number.NaN, 4]);
  expect([...sigma]).toEqual([0.5, 0.5, 0.5, Number.NaN, Number.NaN, 0.5]);
  expect([...chi2Sum]).toEqual([110, 120, 130, 100, 100, 100]);
  expect([...dofSum]).toEqual([60, 59, 58, 50, 50, 50]);
  expect([...jumped]).toEqual([0, 4, 65535, 0, 0, 0]);
});
