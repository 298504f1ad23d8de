import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const state = (cols: number) => ({
  mean: new Float32Array(cols),
  weight: new Float32Array(cols),
  variance: new Float32Array(cols),
  expected: new Float32Array(cols),
  scatter: new Float32Array(cols),
  count: new Uint16Array(cols),
  rejected: new Uint16Array(cols),
});

async function fold(
  sums: ReturnType<typeof state>,
  levels: number[][],
  sigmas: number[][],
  weights = levels.map(() => 1),
) {
  const cols = sums.mean.length;
  const planes = levels.length;
  const group = (values: number[][]) => ({ data: Float32Array.from(values.flat()), planes, rows: 1, cols });
  const image = (data: Float32Array | Uint16Array) => ({ data, rows: 1, cols });
  await runKernel('fold-group', {
    level: group(levels),
    sigma: group(sigmas),
    exposureWeight: { data: Float32Array.from(weights), planes, planeStride: 1 },
    mean: image(sums.mean),
    weight: image(sums.weight),
    variance: image(sums.variance),
    expected: image(sums.expected),
    scatter: image(sums.scatter),
    count: image(sums.count),
    rejected: image(sums.rejected),
  });
}

describe('fold-group', () => {
  it('gives the weighted mean of groups, its variance and its scatter', async () => {
    const sums = state(2);
    // Pixel 0: 1 and 3 +- 1 of weight 1, then 6 +- 0.5 of weight 4: mean (1 + 3 + 24) / 6; sum w v^2 - W mean^2 = 154 - 784/6.
    const missing = Number.NaN;
    await fold(
      sums,
      [
        [1, 7],
        [3, missing],
      ],
      [
        [1, 1],
        [1, 1],
      ],
    );
    await fold(sums, [[6, missing]], [[0.5, 1]], [4]);
    expect(sums.mean[0]).toBeCloseTo(28 / 6, 5);
    expect(sums.weight[0]).toBe(6);
    expect(sums.scatter[0]).toBeCloseTo(154 - 784 / 6, 4);
    // 1 + 1 + 16/4 and 1 + 1 + 4/4: with weights 1/sigma^2 the variance of the mean is 1/W, and one is expected of each.
    expect([sums.variance[0], sums.expected[0]]).toEqual([6, 3]);
    expect([...sums.count]).toEqual([3, 1]);
    expect([sums.mean[1], sums.weight[1], sums.scatter[1]]).toEqual([7, 1, 0]);
  });

  it('rejects the hit of a group of three, and of two none', async () => {
    const three = state(1);
    await fold(three, [[10], [11], [500]], [[1], [1], [1]]);
    expect([three.mean[0], three.count[0], three.rejected[0]]).toEqual([10.5, 2, 1]);
    const two = state(1);
    await fold(two, [[10], [500]], [[1], [1]]);
    expect([two.mean[0], two.count[0], two.rejected[0]]).toEqual([255, 2, 0]);
    expect(two.scatter[0]).toBe(2 * 245 ** 2);
  });

  it('keeps a pixel that scatters more than its errors say, and shows it', async () => {
    const sums = state(1);
    // Two levels, four exposures each: the group's own scatter allows both.
    await fold(
      sums,
      [0, 40, 0, 40, 0, 40, 0, 40].map((v) => [v]),
      Array(8).fill([1]),
    );
    expect([sums.mean[0], sums.scatter[0], sums.count[0], sums.rejected[0]]).toEqual([20, 8 * 400, 8, 0]);
  });

  it('refuses groups of more than eight', async () => {
    const nine = Array.from({ length: 9 }, () => [1]);
    await expect(fold(state(1), nine, nine)).rejects.toMatchObject({ class: 'usage' });
  });
});
