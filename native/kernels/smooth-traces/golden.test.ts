import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const [BINS, VALUES, TERMS, ENTRIES, FIGURES, COLS] = [128, 12, 28, 406, 8, 2048];
const entry = (i: number, j: number) => (i * (i + 1)) / 2 + j;
/** Middle of a bin of 16 columns, from -1 to 1. */
const place = (bin: number) => (2 * (16 * bin + 7.5)) / (COLS - 1) - 1;

interface Bin {
  /** FF, Fc, Fw, cc, cw, ww */
  readonly normal: readonly number[];
  /** What is true, less what trace-fit worked with. */
  readonly off: readonly [number, number, number];
}

async function smoothed(bins: readonly Bin[], before: Float64Array, params: Record<string, number>) {
  const sums = new Float64Array(VALUES * BINS);
  bins.forEach(({ normal, off }, bin) => {
    const [ff, fc, fw, cc, cw, ww] = normal as [number, number, number, number, number, number];
    const rows = [
      [ff, fc, fw],
      [fc, cc, cw],
      [fw, cw, ww],
    ];
    normal.forEach((value, i) => {
      sums[i * BINS + bin] = value;
    });
    rows.forEach((row, i) => {
      sums[(6 + i) * BINS + bin] = row.reduce((sum, value, j) => sum + value * (off[j] as number), 0);
    });
    sums[10 * BINS + bin] = 144;
    sums[11 * BINS + bin] = 16;
  });
  const out = {
    terms: new Float64Array(TERMS),
    covariance: new Float64Array(ENTRIES),
    figures: new Float64Array(FIGURES),
  };
  await runKernel(
    'smooth-traces',
    {
      sums: { data: sums, planes: VALUES, rows: 1, cols: BINS },
      before: { data: before, rows: 1, cols: TERMS },
      terms: { data: out.terms, rows: 1, cols: TERMS },
      covariance: { data: out.covariance, rows: 1, cols: ENTRIES },
      figures: { data: out.figures, rows: 1, cols: FIGURES },
    },
    { columns: COLS, ...params },
    { strip: BINS },
  );
  return out;
}

/** A fibre at row 100 of flux 500 and width 1, before. */
function start(): Float64Array {
  const terms = new Float64Array(TERMS);
  [terms[0], terms[12], terms[22]] = [500, 100, 1];
  return terms;
}

const NORMAL = [0.01, 0, -0.2, 4e4, 0, 8e4] as const;
const all = (off: (u: number) => [number, number, number], normal: readonly number[] = NORMAL): Bin[] =>
  Array.from({ length: BINS }, (_, bin) => ({ normal, off: off(place(bin)) }));

it('finds series that are there, to the last digit', async () => {
  const { terms, figures } = await smoothed(
    all((u) => [40 + 9 * u, 0.2 * u + 0.05 * (1.5 * u * u - 0.5), 0.01]),
    start(),
    { flux: 8, centre: 7, width: 4 },
  );
  expect(terms[0]).toBeCloseTo(540, 3);
  expect(terms[1]).toBeCloseTo(9, 3);
  expect(terms[12]).toBeCloseTo(100, 8);
  expect(terms[13]).toBeCloseTo(0.2, 8);
  expect(terms[14]).toBeCloseTo(0.05, 8);
  expect(terms[22]).toBeCloseTo(1.01, 8);
  expect([figures[0], figures[1], figures[6], figures[7]]).toEqual([128, 128, 128 * 144 - 19, 2048]);
  expect(figures[3]).toBeLessThan(1e-6);
});

it('gives the error of a mean and of a slope', async () => {
  const { covariance, terms } = await smoothed(
    all(() => [0, 0.1, 0]),
    start(),
    { flux: 0, centre: 2, width: 0 },
  );
  const squares = Array.from({ length: BINS }, (_, bin) => place(bin) ** 2).reduce((sum, value) => sum + value, 0);
  expect(covariance[entry(12, 12)]).toBeCloseTo(1 / (BINS * 4e4), 14);
  expect(covariance[entry(13, 13)]).toBeCloseTo(1 / (squares * 4e4), 14);
  expect(covariance[entry(0, 0)]).toBe(0);
  expect([terms[0], terms[22]]).toEqual([500, 1]);
});

it('is not bent by bins that do not fit, nor by those that say nothing', async () => {
  const bins = all(() => [0, 0.1, 0]);
  for (const bin of [20, 21, 90]) bins[bin] = { normal: NORMAL, off: [0, 0.6, 0] };
  for (let bin = 100; bin < 110; bin++) bins[bin] = { normal: [0, 0, 0, 0, 0, 0], off: [0, 0, 0] };
  const { terms, figures } = await smoothed(bins, start(), { flux: 4, centre: 5, width: 2 });
  expect(terms[12]).toBeCloseTo(100.1, 6);
  for (let k = 13; k < 17; k++) expect(terms[k]).toBeCloseTo(0, 6);
  expect([figures[0], figures[1]]).toEqual([115, 118]);
});

it('goes no farther than a step at once, and keeps what it cannot solve', async () => {
  const far = await smoothed(
    all(() => [0, 4, 0]),
    start(),
    { flux: 4, centre: 2, width: 2, step: 1 },
  );
  expect(far.terms[12]).toBeCloseTo(101, 6);
  const nothing = await smoothed([], start(), { flux: 4, centre: 2, width: 2 });
  expect(nothing.terms).toEqual(start());
  expect(nothing.figures.every((value) => value === 0)).toBe(true);
});
