import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const shareVariance = async (...values: number[]) => {
  const ivar = Float32Array.from(values);
  const shared = new Float32Array(ivar.length);
  const cols = ivar.length;
  await runKernel(
    'share-variance',
    { ivar: { data: ivar, cols }, shared: { data: shared, cols } },
    {},
    { strip: cols },
  );
  return [...shared];
};

it('share-variance weighs a pixel by what the others of its group show', async () => {
  // Variances 1, 2 and 4: the others' means are 3, 2.5 and 1.5. What has no weight gets none.
  const [a, b, none, c] = await shareVariance(1, 0.5, 0, 0.25);
  expect(a).toBeCloseTo(1 / 3, 6);
  expect(b).toBeCloseTo(1 / 2.5, 6);
  expect(none).toBe(0);
  expect(c).toBeCloseTo(1 / 1.5, 6);
});

it('share-variance believes a pixel that is much noisier, and one that is alone', async () => {
  const noisy = await shareVariance(1, 1, 1, 1 / 16);
  expect(noisy[3]).toBe(1 / 16);
  expect(noisy[0]).toBeCloseTo(1 / 6, 6);
  // The next group begins at column 16.
  const row = await shareVariance(...Array.from({ length: 16 }, () => 0.5), 0.125);
  expect(row[16]).toBe(0.125);
  expect(row[0]).toBe(0.5);
});

it('share-variance takes the noise of counts out of a mean', async () => {
  // Two values of the same light: 8 and 12 electrons, each with its own count for a variance. Weighted by those the mean is low.
  const counts = Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? 8 : 12));
  const own = counts.map((n) => 1 / n);
  const shared = await shareVariance(...own);
  const mean = (weights: number[]) =>
    weights.reduce((sum, w, i) => sum + w * (counts[i] as number), 0) / weights.reduce((sum, w) => sum + w, 0);
  expect(mean(own)).toBeCloseTo(9.6, 5);
  // Without its own count a group's rest is a little high where the pixel is low: 10 within a tenth.
  expect(Math.abs(mean(shared) - 10)).toBeLessThan(0.1);
});
