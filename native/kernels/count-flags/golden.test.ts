import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('count-flags counts each bit of each row', async () => {
  const mask = Uint32Array.of(0, 1, 3, 2 ** 31, 0, 0, 0, 4);
  const counts = new Int32Array(64);
  await runKernel('count-flags', {
    mask: { data: mask, rows: 2, cols: 4 },
    counts: { data: counts, rows: 2, cols: 32 },
  });
  const found = [...counts.entries()].filter(([, n]) => n > 0);
  expect(found).toEqual([
    [0, 2],
    [1, 1],
    [31, 1],
    [34, 1],
  ]);
});
