import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

async function plateau(counts: readonly number[], params = {}): Promise<number> {
  const out = new Float32Array(1);
  const planes = counts.length;
  await runKernel(
    'find-plateau',
    {
      counts: { data: Float32Array.from(counts), planes, cols: 1 },
      offsets: {
        data: Float32Array.from({ length: 4 * planes }, (_, i) => 9000 + (i >> 2)),
        planes,
        planeStride: 4,
        cols: 4,
      },
      readVariance: { data: Float32Array.of(25), cols: 1 },
      plateau: { data: out, cols: 1 },
    },
    params,
  );
  return out[0] as number;
}

describe('find-plateau', () => {
  it('is the mean of the last reads and the mean zero point', async () => {
    // Offsets 9000 to 9007: mean 9003.5
    expect(await plateau([3000, 6000, 9000, 10010, 9990, 10000, 10004, 9996])).toBe(10000 + 9003.5);
  });

  it('is missing where the ramp goes on, was never on its way, or is noisier than a plateau', async () => {
    expect(await plateau([1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000])).toBeNaN();
    expect(await plateau([5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000])).toBeNaN();
    // A cosmic ray on a slow ramp
    expect(await plateau([40, 80, 8120, 8160, 8200, 8240, 8280, 8320])).toBeNaN();
    expect(await plateau([3000, 6000, 9000, 10100, 10000, 10000, 10000, 10000])).toBeNaN();
    expect(await plateau([3000, 6000, 9000, 10000, 10000, 10000, 10000])).toBeNaN(); // four reads of five
    expect(await plateau([3000, 6000, Number.NaN, 10000, 10000, 10000, 10000, 10000])).toBeNaN();
  });

  it('ends with the converter, and wants as many reads as its window', async () => {
    expect(
      await plateau(
        [30000, 55000, 56530, 56530, 56530, 56530, 56530, 56530].map((z, k) => (k < 2 ? z : 65535 - 9000 - k)),
      ),
    ).toBe(65535);
    expect(await plateau([3000, 6000, 6000, 6000])).toBeNaN();
    expect(await plateau([3000, 6000, 6000, 6000], { window: 3 })).toBe(6000 + 9001.5);
  });
});
