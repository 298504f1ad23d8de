import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const SIDE = 48;
const MOMENTS = (SIDE * (SIDE + 1)) / 2 + 1;
const BLOCKS = 12;
const FUNCTIONS = [3, 5, 46];
const ORDERS = 2;

/** Hats over the blocks, one every three, and three straight and curved lines: the terms of functions 3 and 5, and of the background. */
const hats = Array.from({ length: 5 }, (_, t) => (b: number) => Math.max(0, 1 - Math.abs(b / 3 - t)));
const lines = [() => 1, (b: number) => b / 6 - 1, (b: number) => (b / 6 - 1) ** 2];
const terms = [...hats, ...lines];
const along = (order: number, node: number) => (order === 0 ? 1 : node / 4 - 0.875);

/** A fixed sequence that looks like noise. */
const noise = (i: number) => ((i * 0.754877666 + i * i * 0.569840291) % 1) - 0.5;

interface Unknown {
  readonly k: number;
  readonly order: number;
  readonly from: number;
  readonly to: number;
}
const unknowns: Unknown[] = FUNCTIONS.flatMap((k) =>
  Array.from({ length: ORDERS }, (_, order) => ({ k, order, from: k === 46 ? 5 : 0, to: k === 46 ? 8 : 5 })),
);

/** Moments of data that are `truth` exactly, plus `error` times noise. */
function gather(truth: (k: number, b: number, node: number) => number, error: number): Float64Array {
  const moments = new Float64Array(8 * BLOCKS * MOMENTS);
  for (let node = 0; node < 8; node++) {
    for (let b = 0; b < BLOCKS; b++) {
      const at = (b * 8 + node) * MOMENTS;
      for (let pixel = 0; pixel < 9; pixel++) {
        const r = new Float64Array(SIDE);
        const seed = ((node * BLOCKS + b) * 9 + pixel) * 3;
        r[3] = noise(seed);
        r[5] = noise(seed + 1);
        r[46] = 1;
        r[47] = FUNCTIONS.reduce((sum, k) => sum + (r[k] as number) * truth(k, b, node), error * noise(seed + 2));
        for (let i = 0; i < SIDE; i++) {
          for (let j = 0; j <= i; j++) {
            const entry = at + (i * (i + 1)) / 2 + j;
            moments[entry] = (moments[entry] as number) + (r[i] as number) * (r[j] as number);
          }
        }
      }
      moments[at + MOMENTS - 1] = 9;
    }
  }
  return moments;
}

async function solve(moments: Float64Array, which: readonly ((b: number) => number)[], all = unknowns, dead = -1) {
  const size = all.length;
  const coefficients = new Float64Array(128 * size);
  const sum = new Float64Array(256 * size);
  const figures = new Float64Array(2);
  const planes = 8 * BLOCKS;
  await runKernel(
    'solve-profile',
    {
      moments: { data: moments, planes, cols: MOMENTS },
      unknowns: {
        data: Int32Array.from(['k', 'order', 'from', 'to'].flatMap((what) => all.map((u) => u[what as keyof Unknown]))),
        rows: 4,
        cols: size,
      },
      across: {
        data: Float64Array.from({ length: planes * 128 }, (_, i) => {
          const b = Math.floor(i / 1024);
          return b === dead ? 0 : (which[i % 128]?.(b) ?? 0);
        }),
        planes,
        cols: 128,
      },
      along: {
        data: Float64Array.from({ length: planes * 8 }, (_, i) => along(i % 8, Math.floor(i / 8) % 8)),
        planes,
        cols: 8,
      },
      penalty: { data: new Float64Array(size), cols: size },
      coefficients: { data: coefficients, rows: 128, cols: size },
      sum: { data: sum, rows: 256, cols: size },
      figures: { data: figures, cols: 2 },
    },
    {},
    { strip: size },
  );
  /** Value of a function in a block at a node. */
  const value = (k: number, b: number, node: number) =>
    all.reduce(
      (sum, u, i) =>
        u.k === k
          ? sum +
            along(u.order, node) *
              which.reduce((part, term, t) => part + (coefficients[t * size + i] as number) * term(b), 0)
          : sum,
      0,
    );
  return { value, coefficients, sum, left: figures[0] as number, pixels: figures[1] };
}

describe('solve-profile', () => {
  const truth = (k: number, b: number, node: number) =>
    k === 46 ? 7 + 0.1 * b * b + along(1, node) : k - (hats[k - 2]?.(b) ?? 0) + b * along(1, node);

  it('finds what the data were made of', async () => {
    const { value, left } = await solve(gather(truth, 0), terms);
    for (const k of FUNCTIONS) {
      for (let b = 0; b < BLOCKS; b++) expect(value(k, b, 2)).toBeCloseTo(truth(k, b, 2), 9);
    }
    expect(Math.abs(left)).toBeLessThan(1e-7);
  });

  it('gives the same fit of noisy data whatever terms span the space, local or not', async () => {
    const moments = gather(truth, 20);
    const local = await solve(moments, terms);
    const mixed = hats.map(
      (_, t) => (b: number) => hats.reduce((sum, hat, s) => sum + Math.cos(2.1 * t * s + t) * hat(b), 0),
    );
    const dense = await solve(moments, [...mixed, ...lines]);
    for (const k of FUNCTIONS) {
      for (let b = 0; b < BLOCKS; b++) expect(dense.value(k, b, 5)).toBeCloseTo(local.value(k, b, 5), 6);
    }
    expect(dense.left).toBeCloseTo(local.left, 5);
    expect(local.left).toBeGreaterThan(1000);
  });

  it('leaves out blocks without terms, unknowns that are not free, and those that the data say nothing of', async () => {
    const spoilt = gather(truth, 0);
    spoilt.fill(1e6, 4 * 8 * MOMENTS, 5 * 8 * MOMENTS);
    const silent = { k: 9, order: 0, from: 0, to: 5 };
    const { value, coefficients, sum, pixels } = await solve(spoilt, terms, [...unknowns, silent], 4);
    for (const b of [3, 5]) expect(value(3, b, 2)).toBeCloseTo(truth(3, b, 2), 9);
    expect(value(9, 3, 2)).toBe(0);
    // The background has no hats, the functions nothing else.
    expect([coefficients[4], coefficients[5 * 7]]).toEqual([0, 0]);
    expect(coefficients[5 * 7 + 4]).not.toBe(0);
    // Each pixel has the background once.
    expect([pixels, sum[4 * 7 + 4]]).toEqual([8 * 9 * (BLOCKS - 1), 8 * 9 * (BLOCKS - 1)]);
  });
});
