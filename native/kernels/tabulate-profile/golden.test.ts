import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';
import { erf } from '../../../src/stages/gauss_hermite.js';

const [SAMPLES, FUNCTIONS] = [481, 46];
const z = (s: number) => s / 20 - 12;
const gauss = (at: number, sigma: number) => 0.5 + 0.5 * erf(at / sigma / Math.SQRT2);

/** Gaussians of sigma 1 and 0.8 about 0.37 px, and the light of a step at 6 px. */
const basis = Float32Array.from({ length: SAMPLES * FUNCTIONS }, (_, i) => {
  const at = z(i % SAMPLES);
  const own = [gauss(at - 0.37, 1), gauss(at - 0.37, 0.8), at >= 6 ? 1 : 0];
  return own[Math.floor(i / SAMPLES)] ?? 0;
});

async function tabulate(rows: number[][], positive = true) {
  const parts = new Float64Array(rows.length * FUNCTIONS);
  rows.forEach((row, i) => {
    parts.set(row, i * FUNCTIONS);
  });
  const cumulative = new Float32Array(rows.length * SAMPLES);
  const moved = new Float64Array(rows.length * 2);
  await runKernel(
    'tabulate-profile',
    {
      basis: { data: basis, rows: FUNCTIONS, cols: SAMPLES },
      parts: { data: parts, rows: rows.length, cols: FUNCTIONS },
      cumulative: { data: cumulative, rows: rows.length, cols: SAMPLES },
      moved: { data: moved, rows: rows.length, cols: 2 },
    },
    { positive },
  );
  return rows.map((_, i) => ({
    table: cumulative.subarray(i * SAMPLES, (i + 1) * SAMPLES),
    shift: moved[2 * i] as number,
    scale: moved[2 * i + 1] as number,
  }));
}

it('tabulate-profile centres a profile, and makes its light 1', async () => {
  const [one, sum] = await tabulate([[2.5], [1.5, 0.5]]);
  // The window of 4 px cuts Gaussians of sigma 1 at 4 sigma, where they have 1e-5 of their light at either side.
  expect(one?.shift).toBeCloseTo(0.37, 5);
  expect(one?.scale).toBeCloseTo(2.5, 6);
  expect(sum?.shift).toBeCloseTo(0.37, 5);
  expect(sum?.scale).toBeCloseTo(2, 6);
  for (let s = 0; s < SAMPLES; s++) {
    expect(one?.table[s]).toBeCloseTo(gauss(z(s), 1), 6);
    expect(sum?.table[s]).toBeCloseTo(0.75 * gauss(z(s), 1) + 0.25 * gauss(z(s), 0.8), 6);
  }
  expect([one?.table[0], one?.table[SAMPLES - 1]]).toEqual([0, 1]);
});

it('tabulate-profile takes no light away', async () => {
  // Without the function below 0; and with it, without the fall that it makes at 6 px.
  const [without] = await tabulate([[1, 0, -0.25]]);
  const [flat] = await tabulate([[1, 0, -0.25]], false);
  for (const found of [without, flat]) {
    expect(found?.scale).toBeCloseTo(1, 6);
    expect(found?.shift).toBeCloseTo(0.37, 5);
    expect(found?.table.every((value, s) => s === 0 || value >= (found.table[s - 1] as number))).toBe(true);
  }
});

it('tabulate-profile has nothing to say of what is not light near the middle', async () => {
  for (const { table, shift, scale } of await tabulate([[0], [0, 0, 1], [Number.NaN]])) {
    expect(table.every(Number.isNaN)).toBe(true);
    expect([shift, scale]).toEqual([Number.NaN, Number.NaN]);
  }
});
