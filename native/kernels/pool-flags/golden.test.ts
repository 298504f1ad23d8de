import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('pool-flags gives each cell its lowest bit among those asked for', async () => {
  // Two lines of three cells, two pixels wide.
  const mask = Uint32Array.of(0, 0, 0, 64, 2, 0, 0, 0, 32, 0, 16, 0);
  const colour = new Uint8Array(3);
  await runKernel(
    'pool-flags',
    {
      mask: { data: mask, planes: 2, planeStride: 6, rows: 3, rowStride: 2, cols: 2 },
      colour: { data: colour, rows: 3 },
    },
    { select: 32 + 64 + 16 },
    { strip: 2 },
  );
  expect([...colour]).toEqual([0, 6, 5]);
});
