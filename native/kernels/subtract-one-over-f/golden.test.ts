import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('subtract-one-over-f follows the clock, from right to left in amplifiers 1 and 3', async () => {
  const cols = 2048;
  const knots = [0, 256, 512, 0, 256, 512, 8, 8, 8, -1, 0, 3];
  const quiet = new Float32Array(cols);
  await runKernel('subtract-one-over-f', {
    counts: { data: new Float32Array(cols), cols },
    correction: { data: Float32Array.from(knots), cols: 12 },
    quiet: { data: quiet, cols },
  });
  // In amplifier 0 and, mirrored, in amplifier 1 the noise is the clock time in ticks.
  for (const x of [0, 1, 255, 256, 511]) {
    expect(quiet[x]).toBeCloseTo(-(x + 0.5), 4);
    expect(quiet[1023 - x]).toBeCloseTo(-(x + 0.5), 4);
  }
  expect(quiet[1300]).toBe(-8);
  expect(quiet[2047]).toBeCloseTo(1 - 0.5 / 256, 5);
  expect(quiet[1536]).toBeCloseTo(-3 + 1.5 / 256, 5);
});
