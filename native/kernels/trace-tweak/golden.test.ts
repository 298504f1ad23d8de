import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const SUMS = 11;
const COLS = 32;

/** Cumulative normal distribution with this sigma [px] at z, by Simpson's rule from -12. */
function normal(sigma: number): Float64Array {
  const density = (z: number) => Math.exp((-0.5 * z * z) / sigma ** 2) / (sigma * Math.sqrt(2 * Math.PI));
  const table = new Float64Array(481);
  for (let i = 1; i < 481; i++) {
    const z = i / 20 - 12;
    table[i] = (table[i - 1] as number) + (density(z - 0.05) + 4 * density(z - 0.025) + density(z)) / 120;
  }
  return table;
}

interface Fibre {
  readonly centre: number;
  readonly width: number;
  readonly flux: number;
}

const TABLE = normal(0.9);
const cumulative = (z: number): number => {
  const at = Math.min(Math.max((z + 12) * 20, 0), 479.999);
  const i = Math.floor(at);
  return (TABLE[i] as number) + ((TABLE[i + 1] as number) - (TABLE[i] as number)) * (at - i);
};
/** An image of fibres of normal profiles on a constant background, all columns alike. */
function paint(fibres: readonly Fibre[], rows: number, background: number): Float32Array {
  return Float32Array.from({ length: rows * COLS }, (_, i) => {
    const y = Math.floor(i / COLS);
    const light = ({ centre, width, flux }: Fibre) =>
      flux * (cumulative((y + 0.5 - centre) / width) - cumulative((y - 0.5 - centre) / width));
    return fibres.reduce((sum, fibre) => sum + light(fibre), background);
  });
}

/** Sums of each fibre, and its fitted light in the middle column. */
async function tweak(
  image: Float32Array,
  traces: readonly Fibre[],
  options: { ivar?: Float32Array; dq?: Uint32Array; known?: readonly number[]; doubt?: number } = {},
) {
  const [rows, fibres] = [image.length / COLS, traces.length];
  const [sums, fitted] = [new Float64Array(fibres * SUMS), new Float32Array(fibres * COLS)];
  const table = (of: (fibre: Fibre, k: number) => number) => ({
    data: Float32Array.from({ length: fibres * COLS }, (_, i) =>
      of(traces[Math.floor(i / COLS)] as Fibre, Math.floor(i / COLS)),
    ),
    planes: fibres,
    cols: COLS,
  });
  const detector = (data: Float32Array | Uint32Array) => ({ data, planes: rows, cols: COLS });
  const profile = Float32Array.from({ length: fibres * 9 * 481 }, (_, i) => TABLE[i % 481] as number);
  await runKernel(
    'trace-tweak',
    {
      image: detector(image),
      ivar: detector(options.ivar ?? new Float32Array(image.length).fill(1)),
      ...(options.dq && { dq: detector(options.dq) }),
      centre: table(({ centre }) => centre),
      width: table(({ width }) => width),
      ...(options.known && { flux: table((_, k) => options.known?.[k] as number) }),
      profile: { data: profile, planes: fibres, rows: 9, cols: 481 },
      sums: { data: sums, planes: fibres, cols: SUMS },
      fitted: { data: fitted, planes: fibres, cols: COLS },
    },
    { stride: COLS, columns: COLS, skip: 1, doubt: options.doubt ?? 1e6 },
  );
  return traces.map((_, k) => {
    const [pull = 0, wider = 0, cc = 0, cw = 0, ww = 0] = sums.subarray(k * SUMS, (k + 1) * SUMS);
    const det = cc * ww - cw * cw;
    return {
      sums: sums.subarray(k * SUMS, (k + 1) * SUMS),
      shift: (pull * ww - wider * cw) / det,
      widening: (wider * cc - pull * cw) / det,
      flux: fitted[k * COLS + COLS / 2] as number,
    };
  });
}

const trace = { centre: 10.3, width: 1, flux: 1000 };
const first = async (...args: Parameters<typeof tweak>) =>
  (await tweak(...args))[0] as Awaited<ReturnType<typeof tweak>>[0];

it('finds how far the light lies from the trace, and how much wider it is, on any background', async () => {
  // The step is linear: its error is of the second order.
  const there = await first(paint([{ ...trace, centre: 10.33, width: 1.02 }], 21, 50), [trace]);
  expect(there.shift).toBeCloseTo(0.03, 3);
  expect(there.widening).toBeCloseTo(Math.log(1.02), 2);
  const here = await first(paint([trace], 21, 50), [trace]);
  expect(Math.abs(here.shift)).toBeLessThan(1e-5);
  expect(Math.abs(here.widening)).toBeLessThan(1e-5);
  expect(here.flux / 1000).toBeCloseTo(1, 3);
});

it('knows what a shift is known to: sigma^2 / (f^2 sum of squares of the slope)', async () => {
  // Sum over pixels of (dphi/dc)^2 is 1 / (4 sqrt(pi) s^3) for a normal profile; a pixel widens it to s^2 = 0.9^2 + 1/12.
  const { sums } = await first(paint([{ ...trace, flux: 100 }], 21, 0), [trace]);
  const information = (COLS * 100 ** 2) / (4 * Math.sqrt(Math.PI) * (0.81 + 1 / 12) ** 1.5);
  expect((sums[2] as number) / information).toBeGreaterThan(0.97);
  expect((sums[2] as number) / information).toBeLessThan(1.01);
  // Nearly the same where the flux is known to 2 %: f^2 less its variance.
  expect((sums[5] as number) / (sums[2] as number) - 1).toBeLessThan(1e-3);
});

it('takes off the light of neighbours that is known', async () => {
  const pair = [trace, { centre: 16.1, width: 1, flux: 50_000 }] as const;
  const image = paint(pair, 30, 0);
  const without = await first(image, pair);
  const known = await first(image, pair, { known: pair.map(({ flux }) => flux) });
  expect(Math.abs(without.shift)).toBeGreaterThan(0.01);
  expect(Math.abs(known.shift)).toBeLessThan(1e-4);
});

it('does not look at pixels without weight, with a bit, or that are no numbers', async () => {
  const clean = paint([trace], 21, 0);
  const at = 9 * COLS;
  const spoilt = clean.slice().fill(9000, at, at + COLS);
  const flagged = new Uint32Array(clean.length).fill(1, at, at + COLS);
  const weightless = new Float32Array(clean.length).fill(1).fill(0, at, at + COLS);
  expect(Math.abs((await first(spoilt, [trace])).shift)).toBeGreaterThan(0.1);
  for (const [image, options] of [
    [spoilt, { dq: flagged }],
    [spoilt, { ivar: weightless }],
    [clean.slice().fill(Number.NaN, at, at + COLS), {}],
  ] as const) {
    expect(Math.abs((await first(image, [trace], options)).shift)).toBeLessThan(1e-4);
  }
});

it('lets a column with a cosmic ray count for nothing', async () => {
  const image = paint([{ ...trace, centre: 10.31 }], 21, 0);
  image[12 * COLS + 7] = 3000;
  expect(Math.abs((await first(image, [trace], { doubt: 1e6 })).shift - 0.01)).toBeGreaterThan(0.02);
  expect((await first(image, [trace], { doubt: 10 })).shift).toBeCloseTo(0.01, 3);
});

it('says nothing of fibres off the chip or without light', async () => {
  const [off, dark] = await tweak(paint([], 21, 5), [{ ...trace, centre: -9 }, trace]);
  expect([...(off?.sums ?? [])]).toEqual(Array.from({ length: SUMS }, () => 0));
  expect(Math.abs(dark?.flux ?? 1)).toBeLessThan(1e-3);
  expect(dark?.sums[2]).toBeLessThanOrEqual(0);
});
