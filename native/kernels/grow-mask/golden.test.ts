import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('grow-mask makes squares, cut at the edges', async () => {
  const rows = 5;
  const cols = 6;
  const mask = new Uint8Array(rows * cols);
  mask[0] = 1;
  mask[3 * cols + 4] = 7;
  const grown = new Uint8Array(rows * cols);
  await runKernel('grow-mask', { mask: { data: mask, rows, cols }, grown: { data: grown, rows, cols } }, { radius: 1 });
  const lines = Array.from({ length: rows }, (_, y) => grown.subarray(y * cols, (y + 1) * cols).join(''));
  expect(lines).toEqual(['110000', '110000', '000111', '000111', '000111']);
});
