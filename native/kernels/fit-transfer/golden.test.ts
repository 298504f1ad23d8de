import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('fit-transfer finds gain and read noise of pixels without noise, and weighs them with their amplifier', async () => {
  const cols = 16;
  const rows = 1;
  const q = 40;
  // v = 25, h = 0.5 in the amplifier; R = 2 in darks and 300 in flats; V = h R + 3 v.
  const sumsOf = (rate: number, h: (x: number) => number, v: (x: number) => number) => {
    const out = new Float32Array(6 * cols);
    for (let x = 0; x < cols; x++) {
      for (const half of [0, 3]) {
        out[half * cols + x] = q;
        out[(half + 1) * cols + x] = q * rate;
        out[(half + 2) * cols + x] = q * (h(x) * rate + 3 * v(x));
      }
    }
    return out;
  };
  // Amplifiers have 4 pixels. x = 5 has h = 0.6, x = 6 is noisy, x = 9 has no light, x = 10 a gain of 0.25, x = 11 no dark.
  const h = (x: number) => (x === 5 ? 0.6 : x === 10 ? 4 : 0.5);
  const v = (x: number) => (x === 6 ? 250 : 25);
  const dark = sumsOf(2, () => 0.5, v);
  const flat = sumsOf(300, h, v);
  for (const half of [0, 3]) {
    flat[(half + 1) * cols + 9] = q * 2;
    flat[(half + 2) * cols + 9] = q * 76;
    dark[half * cols + 11] = 0;
  }
  const t = 0.1;
  const row = [0.5, t * t, 0.01 ** 2, 1, 0.5, 0.5, 25, 4];
  const out = () => new Float32Array(cols);
  const [gain, gainError, noise, noiseError] = [out(), out(), out(), out()];
  const [gainDq, noiseDq] = [new Uint32Array(cols), new Uint32Array(cols)];
  const sums = new Float64Array(80);
  const image = (data: Float32Array | Uint32Array) => ({ data, rows, cols });
  await runKernel(
    'fit-transfer',
    {
      dark: { data: dark, planes: 6, rows, cols },
      flat: { data: flat, planes: 6, rows, cols },
      table: { data: Float32Array.from([row, row, row, row].flat()), cols: 32 },
      gain: image(gain),
      gainError: image(gainError),
      gainDq: image(gainDq),
      noise: image(noise),
      noiseError: image(noiseError),
      noiseDq: image(noiseDq),
      sums: { data: sums, rows, cols: 80 },
    },
    { border: 0 },
  );
  const variance = (photons: number, v = 25) => (3 * photons ** 2 + 20 * photons * v + 35 * v * v) / (2 * q);
  const error2 = (variance(150) + variance(1)) / 298 ** 2;
  const w = (t * t) / (t * t + error2);
  expect(gain[4]).toBeCloseTo(2, 6);
  expect(gain[5]).toBeCloseTo(1 / (0.5 + (w * (0.5 * 300 + 0.1 * 300 - 1)) / 298 - w * 0.5), 6);
  expect(gainError[4]).toBeCloseTo(4 * Math.sqrt((1 - w) * t * t + ((1 - w) * 0.01) ** 2), 6);
  // What says nothing has the amplifier's gain, with the amplifier's scatter.
  for (const x of [9, 11]) {
    expect(gain[x]).toBeCloseTo(2, 6);
    expect(gainError[x]).toBeCloseTo(4 * Math.hypot(t, 0.01), 6);
  }
  expect(gain[10]).toBeNaN();
  const NO_CALIBRATION = 1 << 16;
  expect([...gainDq]).toEqual(Array.from({ length: cols }, (_, x) => (x === 10 ? NO_CALIBRATION : 0)));
  // Drawn towards the amplifier's, which it equals; the noisy one keeps its own.
  const left = 4 * (1 - 4 / (4 + variance(1) / 9));
  expect(noise[4]).toBeCloseTo(5 * (1 - left / 25 ** 2 / 8), 5);
  expect(noiseError[4]).toBeCloseTo(Math.sqrt(left) / 10, 5);
  expect(noise[6]).toBeCloseTo(Math.sqrt(250) * (1 + variance(1, 250) / 9 / 250 ** 2 / 8), 4);
  expect(noise[11]).toBeNaN();
  const NOISY = 1 << 21;
  expect([...noiseDq]).toEqual(
    Array.from({ length: cols }, (_, x) => (x === 6 ? NOISY : x === 11 ? NO_CALIBRATION : 0)),
  );
  // Of the second amplifier: the noisy pixel's gain is not known to better than itself, nor is it part of the read noise's sums.
  expect([...sums.subarray(20, 25)]).toEqual([3, 179 + 149 * 2, 298 * 3, 179 + 149 * 2, 298 * 3]);
  expect([sums[31], sums[32], sums[39]]).toEqual([3, 0, 3]);
  // Of the third: one pixel has no light, one is 8 times what it should be, one has no dark.
  expect([sums[40], sums[59]]).toEqual([1, 2]);
});
