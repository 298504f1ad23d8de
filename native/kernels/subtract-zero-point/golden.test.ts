import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('subtract-zero-point takes from each column what its amplifier and read have', async () => {
  const cols = 2048;
  const offsets = Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40);
  const counts = Float32Array.from(
    { length: 2 * cols },
    (_, i) => 100 + (offsets[(i >> 11) * 4 + ((i & 2047) >> 9)] as number),
  );
  const zeroed = new Float32Array(2 * cols);
  await runKernel('subtract-zero-point', {
    counts: { data: counts, planes: 2, cols },
    offsets: { data: offsets, planes: 2, cols: 4 },
    zeroed: { data: zeroed, planes: 2, cols },
  });
  expect(zeroed.every((v) => v === 100)).toBe(true);
});
