import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('solve-settling: weighted means, errors, and pixels whose darks disagree', async () => {
  const cols = 4;
  const map = (...values: number[]) => ({ data: Float32Array.from(values), cols });
  // Two darks of weight 2. Pixel 0: e = 10, 4, 0; pixel 1: one dark lost, with a rate of 8; pixel 2: e_0 of 0 and 20; pixel 3: none.
  const sums = {
    data: Float32Array.of(40, 20, 40, 0, 16, 8, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0),
    planes: 4,
    cols,
  };
  const [offset, offsetError, amplitude, amplitudeError] = [
    map(0, 0, 0, 0),
    map(0, 0, 0, 0),
    map(0, 0, 0, 0),
    map(0, 0, 0, 0),
  ];
  const dq = { data: new Uint32Array(cols), cols };
  await runKernel(
    'solve-settling',
    {
      sums,
      weight: map(4, 2, 4, 0),
      squares: map(400, 200, 800, 0),
      readVariance: map(4, 4, 4, 4),
      gain: map(2, 2, 2, 2),
      dq,
      offset,
      offsetError,
      amplitude,
      amplitudeError,
    },
    {
      darks: 2,
      weightAll: 4,
      a0: 0.8,
      a1: 0.5,
      a2: 0,
      readAmplitude: 0.5,
      photonsOffset: 0.25,
      photonsAmplitude: 0.5,
      levelError: 0,
    },
  );
  expect([...offset.data]).toEqual([10, 10, 10, Number.NaN]);
  // 4 / 4; 4 / 2 + 0.25 * 2 * 4; 4 / 4 times chi-square 400 / 4
  expect([...offsetError.data]).toEqual([1, 2, 10, Number.NaN]);
  expect(amplitude.data[0]).toBeCloseTo(8 + 2, 5);
  // 0.5 * 4; 2 (0.5 * 4 + 0.5 * 4)
  expect(amplitudeError.data[0]).toBeCloseTo(Math.SQRT2, 6);
  expect(amplitudeError.data[1]).toBeCloseTo(Math.sqrt(8), 6);
  expect([...dq.data]).toEqual([0, 0, 2 ** 21, 2 ** 16]);
});
