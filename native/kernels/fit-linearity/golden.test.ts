import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('fit-linearity solves the equations and weighs the answer with the amplifier as two normal laws demand', async () => {
  const cols = 16; // four pixels an amplifier
  const unit = 1000;
  // A = diag(2, 4) and W = diag(1, 2) in each half; c = -b / A: the sums of both halves give U = diag(1/8, 1/16).
  const sumsOf = (c2: (x: number) => number, c3: (x: number) => number) => {
    const out = new Float32Array(12 * cols);
    for (let x = 0; x < cols; x++) {
      const planes = [2, 0, 0, 4, -2 * c2(x), -4 * c3(x), 1, 0, 2, 100, 500 + x, x === 7 || x === 9 ? 1 : 0];
      planes.forEach((v, i) => {
        out[i * cols + x] = v;
      });
      // No light on pixel 6; pixel 9 was full at once.
      if (x === 6) for (let i = 0; i < 12; i++) out[i * cols + x] = 0;
      if (x === 9) for (let i = 0; i < 11; i++) out[i * cols + x] = 0;
    }
    return out;
  };
  // The halves differ by 0.2 in c2.
  const first = sumsOf(
    (x) => 1 + 0.1 * x + 0.1,
    () => 3,
  );
  const second = sumsOf(
    (x) => 1 + 0.1 * x - 0.1,
    (x) => (x === 12 ? 90 : 3),
  );
  const run = async (row: readonly number[]) => {
    const map = () => new Float32Array(cols);
    const made = { c2: map(), c3: map(), limit: map(), c2Error: map(), c3Error: map() };
    const dq = new Uint32Array(cols);
    const sums = new Float64Array(144);
    const image = (data: Float32Array | Uint32Array) => ({ data, rows: 1, cols });
    await runKernel(
      'fit-linearity',
      {
        first: { data: first, planes: 12, rows: 1, cols },
        second: { data: second, planes: 12, rows: 1, cols },
        table: { data: Float64Array.from([row, row, row, row].flat()), cols: 48 },
        ...Object.fromEntries(Object.entries(made).map(([name, data]) => [name, image(data)])),
        dq: image(dq),
        sums: { data: sums, rows: 1, cols: 144 },
      },
      { border: 0, unit },
    );
    return { ...made, dq, sums };
  };
  // Nothing is known: no map, but sums of all pixels with equations.
  const blind = await run(Array(12).fill(0));
  expect([...blind.c2].every(Number.isNaN)).toBe(true);
  expect([...blind.dq]).toEqual(Array(16).fill(1 << 16));
  expect([...blind.sums.subarray(0, 4)]).toEqual([4, 8, 0, 0]);
  expect(blind.sums[36]).toBe(3);
  // h = 0.8: V = (0.1, 0.05). Scatter (0.3, 0), (0, 0.15): K = (3/4, 3/4). The amplifier's error is 0.1 and 0.2.
  const { c2, c3, limit, c2Error, c3Error, dq, sums } = await run([1, 3, 0.3, 0, 0.15, 0.8, 0.01, 0, 0.04, 1, 1, 510]);
  expect(c2[3]! * unit).toBeCloseTo(1 + 0.75 * 0.3, 5);
  expect(c3[3]! * unit ** 2).toBeCloseTo(3, 5);
  expect(c2Error[3]! * unit).toBeCloseTo(Math.sqrt(0.25 * 0.3 + 0.25 ** 2 * 0.01), 5);
  expect(c3Error[3]! * unit ** 2).toBeCloseTo(Math.sqrt(0.25 * 0.15 + 0.25 ** 2 * 0.04), 5);
  // The amplifier's own where there are no equations, with all of its scatter.
  expect(c2[6]! * unit).toBeCloseTo(1, 5);
  expect(c2Error[6]! * unit).toBeCloseTo(Math.sqrt(0.3 + 0.01), 5);
  // A pixel that ended early is good to where it ended, others to where the amplifier is, or they.
  expect([limit[3], limit[6], limit[7], limit[15]]).toEqual([510, 510, 507, 515]);
  for (const x of [9, 12]) expect(c2[x]).toBeNaN();
  expect([...dq]).toEqual(Array.from({ length: cols }, (_, x) => (x === 9 || x === 12 ? 1 << 16 : 0)));
  // Of the first amplifier: D' (U1 + U2)^-1 D = 0.2^2 / 0.5; products (0.1 x)^2 - 0.01.
  expect(sums[0]).toBe(4);
  expect(sums[19]).toBeCloseTo((4 * 0.04) / 0.5, 4);
  expect(sums[24]).toBeCloseTo(0 + 0.01 + 0.04 + 0.09 - 0.04, 5);
  expect([sums[67], sums[68], sums[139], sums[140]]).toEqual([3, 0, 4, 1]);
});
