import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const SIDE = 48;

/** Two functions: light spread evenly over 1 px, and over 3 px. */
const basis = Float32Array.from({ length: 481 * 46 }, (_, i) => {
  const z = Math.floor(i / 46) / 20 - 12;
  const half = [0.5, 1.5][i % 46];
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
  const moments = new Float64Array(8 * (SIDE * SIDE + 1));
  await runKernel(
    'gather-profile',
    {
      image: { data: eight(image), planes: rows, cols: 8 },
      ivar: { data: new Float32Array(8 * rows).fill(0.25), planes: rows, cols: 8 },
      ...(clip && { expected: { data: eight(clip.expected), planes: rows, cols: 8 } }),
      centre: { data: centre, rows: 300, cols: 8 },
      width: { data: width, rows: 300, cols: 8 },
      flux: { data: flux, rows: 300, cols: 8 },
      basis: { data: basis, rows: 481, cols: 46 },
      moments: { data: moments, planes: 8, rows: 1, cols: SIDE * SIDE + 1 },
    },
    { model: 0 },
    { strip: 8 },
  );
  const at = (i: number, j: number) => moments[i * SIDE + j] as number;
  return { at, pixels: moments[SIDE * SIDE] };
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
