import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('latch-saturation stops at the first saturated read, also where noise brings a later one back', async () => {
  const nan = Number.NaN;
  const out = new Float32Array(12);
  const lastGood = new Uint16Array(3);
  await runKernel('latch-saturation', {
    // Pixel 0 saturates at read 2 and comes back, pixel 1 never does, pixel 2 is saturated from the start.
    counts: { data: Float32Array.of(10, 10, 99, 40, 40, 99, 45, 44, 99, 44, 44, 10), planes: 4, cols: 3 },
    level: { data: Float32Array.of(50, 50, 50), cols: 3 },
    unsaturated: { data: out, planes: 4, cols: 3 },
    lastGood: { data: lastGood, cols: 3 },
  });
  expect([...lastGood]).toEqual([2, 4, 0]);
  expect([...out]).toEqual([10, 10, nan, 40, 40, nan, nan, 44, nan, nan, 44, nan]);
});
