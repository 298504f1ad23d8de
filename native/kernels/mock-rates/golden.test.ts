import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const [ROWS, COLS] = [64, 512];
const SIZE = ROWS * COLS;

async function made(light: number, params: Record<string, number | boolean>) {
  const map = () => new Float32Array(SIZE);
  const [exact, rate, ivar] = [map(), map(), map()];
  const image = (data: Float32Array) => ({ data, rows: ROWS, cols: COLS });
  const ports = { light: image(map().fill(light)), exact: image(exact), rate: image(rate), ivar: image(ivar) };
  await runKernel('mock-rates', ports, { gain: 2, differences: 46, readVariance: 0.01, ...params });
  return { exact, rate, ivar };
}

it('mock-rates has the mean and the variance that it says', async () => {
  const { exact, rate, ivar } = await made(80, {});
  // 40 DN/read: 40 / (2 * 46) and the read noise
  const variance = 40 / 92 + 0.01;
  expect(exact[0]).toBe(40);
  expect(ivar[SIZE - 1]).toBeCloseTo(1 / variance, 4);
  const z = rate.map((value) => (value - 40) / Math.sqrt(variance));
  const mean = z.reduce((sum, value) => sum + value, 0) / SIZE;
  const spread = z.reduce((sum, value) => sum + value * value, 0) / SIZE;
  expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(SIZE));
  expect(Math.abs(spread - 1)).toBeLessThan(4 * Math.sqrt(2 / SIZE));
});

it('mock-rates follows its own rate where it is told to, and makes no noise where it is told not to', async () => {
  const { rate, ivar } = await made(80, { measured: true });
  expect(ivar[5]).toBeCloseTo(1 / ((rate[5] as number) / 92 + 0.01), 4);
  const still = await made(80, { noise: false });
  expect(new Set(still.rate)).toEqual(new Set([40]));
});
