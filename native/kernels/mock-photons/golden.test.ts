import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

describe('mock-photons', () => {
  it('adds the rate itself without noise, and leaves pixels without light alone', async () => {
    const charge = new Float32Array([10, 20, 30, 2 ** 24]);
    const rate = new Float32Array([1.5, 0, -3, 7]);
    await runKernel(
      'mock-photons',
      { rate: { data: rate, cols: 4 }, charge: { data: charge, cols: 4 } },
      { noise: false },
    );
    expect([...charge]).toEqual([11.5, 20, 30, 2 ** 24]);
  });

  it('gives the numbers of its seed, read and position', async () => {
    const draw = async (params: Record<string, number>) => {
      const charge = new Float32Array(2560);
      const rate = new Float32Array(2560).fill(5);
      await runKernel(
        'mock-photons',
        { rate: { data: rate, cols: 2560 }, charge: { data: charge, cols: 2560 } },
        params,
      );
      return charge;
    };
    const first = await draw({ seedLow: 7, read: 3 });
    expect(await draw({ seedLow: 7, read: 3 })).toEqual(first);
    expect(await draw({ seedLow: 8, read: 3 })).not.toEqual(first);
    expect(await draw({ seedLow: 7, read: 4 })).not.toEqual(first);
  });
});
