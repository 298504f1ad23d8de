import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const [TERMS, ENTRIES, COLS] = [28, 406, 33];
const entry = (i: number, j: number) => (i * (i + 1)) / 2 + j;

async function drawn(terms: Float64Array, covariance?: Float64Array) {
  const map = () => new Float32Array(COLS);
  const [flux, centre, width, errors] = [map(), map(), map(), new Float32Array(6 * COLS)];
  const row = (data: Float32Array) => ({ data, rows: 1, cols: COLS });
  await runKernel(
    'draw-traces',
    {
      terms: { data: terms, rows: 1, cols: TERMS },
      ...(covariance && { covariance: { data: covariance, rows: 1, cols: ENTRIES } }),
      flux: row(flux),
      centre: row(centre),
      width: row(width),
      errors: { data: errors, planes: 6, rows: 1, cols: COLS },
    },
    { columns: COLS },
  );
  return { flux, centre, width, errors };
}

it('draws a slope, a parabola and the eleventh polynomial', async () => {
  const terms = new Float64Array(TERMS);
  terms[11] = 2;
  terms[12 + 1] = 3;
  terms[22] = 1;
  terms[22 + 2] = 0.5;
  const { flux, centre, width, errors } = await drawn(terms);
  // P_11(1) = 1, P_11(-1) = -1, P_11(0) = 0; P_2(u) = (3 u^2 - 1)/2
  expect([flux[0], flux[16], flux[32]]).toEqual([-2, expect.closeTo(0, 6), 2]);
  expect([centre[0], centre[8], centre[16], centre[32]]).toEqual([-3, -1.5, 0, 3]);
  expect([width[0], width[16], width[24]]).toEqual([1.5, 0.75, expect.closeTo(1 + 0.25 * (3 / 4 - 1), 6)]);
  expect(errors.every((value) => value === 0)).toBe(true);
});

it('gives the errors of a straight line, and what series share', async () => {
  const covariance = new Float64Array(ENTRIES);
  // Centre a + b u: variances 4 and 9, covariance 2; flux and centre share 5 in their first terms.
  covariance[entry(12, 12)] = 4;
  covariance[entry(13, 13)] = 9;
  covariance[entry(13, 12)] = 2;
  covariance[entry(12, 0)] = 5;
  const { errors } = await drawn(new Float64Array(TERMS), covariance);
  const at = (plane: number, x: number) => errors[plane * COLS + x];
  // var = 4 + 2 * 2 u + 9 u^2 at u = -1, 0, 1; at u = -1/2 straight between the first two
  expect([at(3, 0), at(3, 16), at(3, 32)]).toEqual([9, 4, 17]);
  expect(at(3, 8)).toBe(6.5);
  expect([at(1, 0), at(1, 20), at(0, 5), at(2, 5), at(4, 5), at(5, 5)]).toEqual([5, 5, 0, 0, 0, 0]);
});
