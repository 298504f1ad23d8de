import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('mock-smooth multiplies by a constant, a gradient and a product', async () => {
  const rows = 3;
  const cols = 4;
  const across = new Float32Array(8 * cols);
  const along = new Float32Array(rows * 8);
  const map = new Float32Array(rows * cols).fill(10);
  for (let x = 0; x < cols; x++) {
    across[x] = 1;
    across[cols + x] = x / 4;
    across[2 * cols + x] = x;
  }
  for (let row = 0; row < rows; row++) {
    along[row * 8] = 1;
    along[row * 8 + 1] = 1;
    along[row * 8 + 2] = row;
  }
  await runKernel('mock-smooth', {
    across: { data: across, rows: 8, cols },
    along: { data: along, rows, cols: 8 },
    map: { data: map, rows, cols },
  });
  // 10 (1 + x / 4 + row x)
  expect([...map]).toEqual([10, 12.5, 15, 17.5, 10, 22.5, 35, 47.5, 10, 32.5, 55, 77.5]);
});
