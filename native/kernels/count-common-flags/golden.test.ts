import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('count-common-flags counts the bits that two masks share', async () => {
  const counts = new Int32Array(64);
  await runKernel(
    'count-common-flags',
    {
      a: { data: Uint32Array.of(0, 1, 3, 2 ** 31, 7, 1, 0, 4), rows: 2, cols: 4 },
      b: { data: Uint32Array.of(1, 1, 2, 2 ** 31, 0, 2, 4, 6), rows: 2, cols: 4 },
      counts: { data: counts, rows: 2, cols: 32 },
    },
    {},
    { strip: 4 },
  );
  expect([...counts.entries()].filter(([, n]) => n > 0)).toEqual([
    [0, 1],
    [1, 1],
    [31, 1],
    [34, 1],
  ]);
});
