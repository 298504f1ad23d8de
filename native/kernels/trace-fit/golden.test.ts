import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const [FIBRES, BINS, SAMPLES, VALUES] = [300, 128, 481, 12];
const [ROWS, COLS] = [40, 256];

/** A profile whose light is spread evenly over `full` px: its integrals are closed forms. */
function boxProfile(full: number): Float32Array {
  const table = Float32Array.from({ length: SAMPLES }, (_, i) => Math.min(1, Math.max(0, 0.5 + (i / 20 - 12) / full)));
  const all = new Float32Array(FIBRES * 9 * SAMPLES);
  for (let i = 0; i < FIBRES * 9; i++) all.set(table, i * SAMPLES);
  return all;
}

/** Two fibres, at rows 10 and 26; no other has a trace. */
async function fitted(
  image: (row: number, x: number) => number,
  ivar: (row: number, x: number) => number,
  flux: number,
  params = {},
) {
  const plane = (value: (row: number, x: number) => number) => ({
    data: Float32Array.from({ length: ROWS * COLS }, (_, i) => value(Math.floor(i / COLS), i % COLS)),
    planes: ROWS,
    cols: COLS,
    planeStride: COLS,
  });
  const fibre = (values: readonly [number, number]) => {
    const data = new Float32Array(FIBRES * COLS).fill(Number.NaN);
    for (const [i, value] of values.entries()) data.fill(value, i * COLS, (i + 1) * COLS);
    return { data, rows: FIBRES, cols: COLS };
  };
  const sums = new Float64Array(VALUES * FIBRES * BINS);
  await runKernel(
    'trace-fit',
    {
      image: plane(image),
      ivar: plane(ivar),
      centre: fibre([10, 26]),
      width: fibre([1, 1]),
      flux: fibre([flux, flux]),
      profile: { data: boxProfile(3), planes: FIBRES, rows: 9, cols: SAMPLES },
      sums: { data: sums, planes: VALUES, rows: FIBRES, cols: BINS },
    },
    params,
    { strip: COLS },
  );
  return (value: number, which: number, bin: number) => sums[(value * FIBRES + which) * BINS + bin] as number;
}

/** Light of a fibre of 1 in the pixels about its centre: a third in each of three. */
const box = (row: number) => (Math.abs(row - 10) <= 1 || Math.abs(row - 26) <= 1 ? 1 / 3 : 0);

it('gives the closed form of flux that is not known yet', async () => {
  // 2 columns a bin. FF: 3 pixels of (1/3)^2, weight 4. Gradient: weight 4, 3 pixels of 1/3 times 20/3 each.
  const sum = await fitted(
    (row) => 60 * box(row),
    () => 4,
    0,
  );
  expect(sum(0, 0, 5)).toBeCloseTo((2 * 4) / 3, 4);
  expect(sum(6, 0, 5)).toBeCloseTo((2 * 4 * 60) / 3, 3);
  expect(sum(6, 1, 127) / sum(0, 1, 127)).toBeCloseTo(60, 4);
  // 9 pixels of 2 columns, in which all light is; nothing is told of centre and width
  expect([sum(10, 0, 5), sum(3, 0, 5), sum(5, 0, 5)]).toEqual([18, 0, 0]);
  expect(sum(11, 0, 5)).toBeCloseTo(2, 4);
  expect(sum(0, 2, 5)).toBe(0);
});

it('finds a shift from its gradient, and no other of the parameters changes', async () => {
  // The box at 10.1: a tenth of a pixel's light moves from one edge to the other. Densities differ at the edges alone.
  const moved = (row: number) => box(row) + (row === 12 ? 0.1 / 3 : row === 9 ? -0.1 / 3 : 0);
  const sum = await fitted(
    (row) => 60 * moved(row),
    () => 4,
    60,
  );
  expect(sum(7, 0, 9)).toBeGreaterThan(0);
  expect(Math.abs(sum(7, 1, 9))).toBeLessThan(1e-3);
  // Pixels 9 and 12 each 0.1 x 20 off, weight 4, 2 columns
  expect(sum(9, 0, 9)).toBeCloseTo(2 * 4 * 2 * 4, 2);
});

it('weighs a pixel by the others of its row, so that its own noise does not', async () => {
  // Of two columns one has a variance of 1 and the other of 2: each gets the other's.
  const sum = await fitted(
    (row) => 60 * box(row),
    (_, x) => (x % 2 === 0 ? 1 : 0.5),
    0,
  );
  expect(sum(0, 0, 3)).toBeCloseTo((1 + 0.5) / 3, 5);
  // A pixel that is much noisier than they are is believed.
  const noisy = await fitted(
    (row) => 60 * box(row),
    (_, x) => (x % 2 === 0 ? 1 : 0.01),
    0,
  );
  expect(noisy(0, 0, 3)).toBeCloseTo((0.01 + 0.01) / 3, 5);
});

it('leaves out pixels without weight, those far off the model, and bins that are not asked for', async () => {
  const light = (row: number) => 60 * box(row);
  const holes = await fitted(light, (row) => (row === 9 ? 0 : 4), 60);
  expect([holes(10, 0, 0), holes(10, 1, 0)]).toEqual([16, 18]);
  const hit = (row: number, x: number) => light(row) + (row === 11 && x === 6 ? 500 : 0);
  const [all, clipped] = [await fitted(hit, () => 4, 60), await fitted(hit, () => 4, 60, { clip: 6 })];
  expect([all(10, 0, 3), clipped(10, 0, 3)]).toEqual([18, 17]);
  expect(clipped(9, 0, 3)).toBeLessThan(1e-3);
  const some = await fitted(light, () => 4, 60, { every: 4 });
  expect([0, 1, 2, 3, 6].map((bin) => some(10, 0, bin))).toEqual([0, 0, 18, 0, 18]);
});

it('is not misled by even light where it may have a pedestal', async () => {
  const even = (row: number) => 60 * box(row) + 7;
  const [plain, level] = [await fitted(even, () => 4, 0), await fitted(even, () => 4, 0, { pedestal: true })];
  expect(plain(6, 0, 3) / plain(0, 0, 3)).toBeCloseTo(60 + 21, 3);
  expect(level(6, 0, 3) / level(0, 0, 3)).toBeCloseTo(60, 3);
  // 9 pixels with the light of 3: 1/3 - (1/9) of it is left of the normal matrix
  expect(level(0, 0, 3)).toBeCloseTo(2 * 4 * (1 / 3 - 1 / 9), 4);
});
