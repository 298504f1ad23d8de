import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('gather-row-means gives each half in clock order and clips outliers', async () => {
  const cols = 2560;
  const rows = 8;
  // Every 256 columns are one level; the outer reference columns have their own.
  const read = Uint16Array.from({ length: rows * cols }, (_, i) => {
    const x = i % cols;
    if (x < 4) return 50;
    return x >= 2044 && x < 2048 ? 60 : 100 * ((x >> 8) + 1);
  });
  read[300] = 60000;
  const rowMeans = new Float32Array(rows * 12);
  await runKernel('gather-row-means', {
    reads: { data: read, rows, cols },
    rowMeans: { data: rowMeans, rows, cols: 12 },
  });
  const want = [900, 1000, 50, 60, 100, 200, 400, 300, 500, 600, 800, 700];
  expect([...rowMeans.subarray(12, 24)]).toEqual(want);
  expect(rowMeans[5]).toBeCloseTo(200 + 500 / 256, 4);
});
