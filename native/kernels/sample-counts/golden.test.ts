import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('sample-counts samples six even times, linearised, and stops at a missing read', async () => {
  // Reads 10, 20, .., 100 of two pixels; of the second the last five are missing. Samples of reads 1, 3, 4, 6, 7, 9.
  const counts = Float32Array.from({ length: 20 }, (_, i) => (i % 2 === 1 && i > 9 ? Number.NaN : 10 * ((i >> 1) + 1)));
  const sample = async (maps: Record<string, { data: Float32Array; cols: number }>) => {
    const samples = new Float32Array(12);
    await runKernel('sample-counts', {
      counts: { data: counts, planes: 10, cols: 2 },
      samples: { data: samples, planes: 6, cols: 2 },
      ...maps,
    });
    return (x: number) => [...samples].filter((_, i) => i % 2 === x);
  };
  const plain = await sample({});
  expect(plain(0)).toEqual([10, 30, 40, 60, 70, 90]);
  expect(plain(1)).toEqual([10, 30, 40, ...Array(3).fill(Number.NaN)]);
  const map = (value: number) => ({ data: new Float32Array(2).fill(value), cols: 2 });
  const bent = await sample({ c2: map(0.5), c3: map(0.25) });
  expect(bent(0)[0]).toBe(20 + 200 + 2000 - (10 + 50 + 250));
});
