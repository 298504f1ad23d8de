import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const SIDE = 48;
const PIXELS = (SIDE * (SIDE + 1)) / 2;

/** Where the triangle has a sum. */
const place = (i: number, j: number) => (Math.max(i, j) * (Math.max(i, j) + 1)) / 2 + Math.min(i, j);

/** Two functions: light spread evenly over 1 px, and over 3 px. */
const basis = Float32Array.from({ length: 481 * SIDE }, (_, i) => {
  const z = Math.floor(i / SIDE) / 20 - 12;
  const half = [0.5, 1.5][i % SIDE];
  return half === undefined ? 0 : Math.min(Math.max((z + half) / (2 * half), 0), 1);
});

async function gather(image: number[], clip?: { expected: number[] }) {
  const rows = image.length;
  const [centre, width, flux] = [
    new Float32Array(2400).fill(Number.NaN),
    new Float32Array(2400),
    new Float32Array(2400),
  ];
  // Two fibres of one block, at rows 3 and 5, in eight columns; the third of the next block, at row 9.
  for (const [fibre, at, light] of [
    [0, 3, 100],
    [1, 5, 60],
    [2, 9, 1000],
  ] as const) {
    centre.fill(at, fibre * 8, fibre * 8 + 8);
    width.fill(1, fibre * 8, fibre * 8 + 8);
    flux.fill(light, fibre * 8, fibre * 8 + 8);
  }
  const eight = (values: number[]) =>
    Float32Array.from({ length: 8 * rows }, (_, i) => values[Math.floor(i / 8)] as number);
  const moments = new Float64Array(8 * (PIXELS + 1));
  await runKernel(
    'gather-profile',
    {
      image: { data: eight(image), planes: rows, cols: 8 },
      ivar: { data: new Float32Array(8 * rows).fill(0.25), planes: rows, cols: 8 },
      ...(clip && { expected: { data: eight(clip.expected), planes: rows, cols: 8 } }),
      centre: { data: centre, rows: 300, cols: 8 },
      width: { data: width, rows: 300, cols: 8 },
      flux: { data: flux, rows: 300, cols: 8 },
      basis: { data: basis, rows: 481, cols: SIDE },
      moments: { data: moments, planes: 8, rows: 1, cols: PIXELS + 1 },
    },
    { model: 0 },
    { strip: 8 },
  );
  const at = (i: number, j: number) => moments[place(i, j)] as number;
  return { at, pixels: moments[PIXELS] };
}

it('gather-profile sums what a least-squares fit of the profile needs', async () => {
  const image = [1, 1, 41, 81, 51, 51, 21, 1, 1, 1];
  const { at, pixels } = await gather(image);
  // Rows 0 to 7 are nearest to the two fibres: row 7 is as near to the third, and the lower has it.
  expect(pixels).toBe(8);
  // Of function 0 rows 3 and 5 have 100 and 60; function 1 spreads them over three rows each.
  const one = [0, 0, 0, 100, 0, 60, 0, 0];
  const three = [0, 0, 100 / 3, 100 / 3, 160 / 3, 20, 20, 0];
  const sum = (a: number[], b: number[]) => 0.25 * a.reduce((all, value, i) => all + value * (b[i] as number), 0);
  expect(at(0, 0)).toBeCloseTo(sum(one, one), 4);
  expect(at(1, 0)).toBeCloseTo(sum(one, three), 2);
  expect(at(1, 1)).toBeCloseTo(sum(three, three), 2);
  expect(at(46, 1)).toBeCloseTo(sum(three, [1, 1, 1, 1, 1, 1, 1, 1]), 3);
  expect(at(46, 46)).toBeCloseTo(2, 12);
  expect(at(47, 0)).toBeCloseTo(sum(one, image), 2);
  expect(at(47, 47)).toBeCloseTo(sum(image.slice(0, 8), image), 6);
  expect(at(0, 47)).toBe(at(47, 0));
});

it('gather-profile leaves out pixels far from what is expected', async () => {
  const expected = [1, 1, 41, 81, 51, 51, 21, 1, 1, 1];
  const image = [...expected];
  image[1] = 14; // 6.5 sigma
  image[4] = 62; // 5.5 sigma
  expect((await gather(image, { expected })).pixels).toBe(7);
});

it('gather-profile takes the pixels of several columns as one', async () => {
  const rows = 12;
  const cols = 32;
  // Two of four columns at 5.4 and two at 5.6, the last with a third of the others' weight, and of another brightness.
  const places = [5.4, 5.4, 5.6, 5.6];
  const weights = [0.3, 0.3, 0.3, 0.1];
  const lights = [90, 90, 90, 120];
  const each = (n: number, values: readonly number[]) =>
    Float32Array.from({ length: n * cols }, (_, i) => at(values, i % 4));
  const at = (values: ArrayLike<number>, i: number) => values[i] as number;
  const [centre, width, flux] = [
    new Float32Array(300 * cols).fill(Number.NaN),
    each(300, [1, 1, 1, 1]),
    each(300, lights),
  ];
  centre.set(each(1, places));
  const moments = new Float64Array(8 * (PIXELS + 1));
  await runKernel(
    'gather-profile',
    {
      image: { data: each(rows, [10, 20, 30, 40]), planes: rows, cols },
      ivar: { data: each(rows, weights), planes: rows, cols },
      centre: { data: centre, rows: 300, cols },
      width: { data: width, rows: 300, cols },
      flux: { data: flux, rows: 300, cols },
      basis: { data: basis, rows: 481, cols: SIDE },
      moments: { data: moments, planes: 8, rows: 1, cols: PIXELS + 1 },
    },
    { columns: 4 },
    { strip: cols },
  );
  const inRows = (value: (y: number) => number) =>
    Array.from({ length: rows }, (_, y) => y).reduce((sum, y) => sum + value(y), 0);
  expect(moments[PIXELS]).toBe(rows);
  expect(at(moments, place(46, 46))).toBeCloseTo(rows * 1, 5);
  // 0.3 * 10 + 0.3 * 20 + 0.3 * 30 + 0.1 * 40
  expect(at(moments, place(47, 46))).toBeCloseTo(rows * 22, 4);
  expect(at(moments, place(47, 47))).toBeCloseTo(rows * 22 ** 2, 2);
  // Light spread evenly over 3 px: the means over the columns, exactly, as nothing bends within a tenth of a pixel of the edges.
  const share = (y: number, c: number) => Math.min(1, Math.max(0, 2 - Math.abs(y - c))) / 3;
  const mean = (y: number) =>
    [0, 1, 2, 3].reduce((sum, i) => sum + at(weights, i) * at(lights, i) * share(y, at(places, i)), 0);
  expect(at(moments, place(46, 1))).toBeCloseTo(inRows(mean), 3);
  expect(at(moments, place(1, 1))).toBeCloseTo(
    inRows((y) => mean(y) ** 2),
    1,
  );
});
