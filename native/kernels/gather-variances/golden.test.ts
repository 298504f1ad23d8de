import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/** Sums of one pixel; others, if any, fill its amplifier. */
async function gather(
  diffs: readonly number[],
  more: { before?: number; others?: readonly (readonly number[])[]; c2?: number; c3?: number; counts?: number } = {},
): Promise<number[]> {
  const pixels = [diffs, ...(more.others ?? [])];
  const cols = pixels.length;
  const planes = diffs.length;
  const data = Float32Array.from({ length: planes * cols }, (_, i) => {
    const pixel = pixels[i % cols] as readonly number[];
    return pixel[Math.floor(i / cols)] as number;
  });
  const sums = new Float32Array(6 * cols).fill(more.before ?? 0);
  const map = (value: number) => ({ data: new Float32Array(cols).fill(value), cols });
  await runKernel('gather-variances', {
    diffs: { data, planes, cols },
    sums: { data: sums, planes: 6, cols },
    ...(more.counts !== undefined && {
      counts: { data: new Float32Array((planes + 1) * cols).fill(more.counts), planes: planes + 1, cols },
      c2: map(more.c2 ?? 0),
      c3: map(more.c3 ?? 0),
      limit: map(1e4),
    }),
  });
  return Array.from({ length: 6 }, (_, i) => sums[i * cols] as number);
}

const DIFFS = [1, 3, -1, 100, -1, -1, 5];

describe('gather-variances', () => {
  it('sums halves of the squares of second differences, each half of the ramp by itself', async () => {
    // Second differences 2, -4, two that share reads with both halves, 0, 6; means of neighbours 2, 1, .., -1, 2.
    expect(await gather(DIFFS)).toEqual([2, 3, 10, 2, 1, 18]);
    expect(await gather(DIFFS, { before: 7 })).toEqual([9, 10, 17, 9, 8, 25]);
  });

  it('does not see a rate that changes steadily but for the square of its step', async () => {
    const ramp = Array.from({ length: 23 }, (_, k) => 100 - 0.25 * k);
    expect((await gather(ramp)).filter((_, i) => i % 3 === 2)).toEqual([0.3125, 0.3125]);
  });

  it('leaves out a jump, which is in two second differences, and passes over missing ones', async () => {
    const noise = Array.from({ length: 23 }, (_, k) => 10 + (k % 2));
    const [n, sum, squares] = await gather(noise);
    expect([n, sum, squares]).toEqual([10, 105, 5]);
    const hit = noise.with(5, 500);
    expect((await gather(hit)).slice(0, 3)).toEqual([8, 84, 4]);
    expect((await gather(noise.with(5, Number.NaN))).slice(0, 3)).toEqual([8, 84, 4]);
  });

  it('takes off what an amplifier has in common', async () => {
    const common = [0, 40, -30, 10, 70, 20, 5];
    // Ten pixels: half of them go up and down by 1, the others down and up.
    const pixel = (sign: number) => common.map((c, k) => 10 + c + (k % 2 === 0 ? sign : -sign));
    const others = Array.from({ length: 9 }, (_, i) => pixel(i % 2 === 0 ? -1 : 1));
    const [n, , squares] = await gather(pixel(1), { others });
    expect(n).toBe(2);
    expect(squares).toBeCloseTo((2 * 2 * 10) / 9, 4);
  });

  it('sums rates over the slope of the response', async () => {
    const [n, sum, squares, , second] = await gather(DIFFS, { counts: 1000, c2: 1e-4, c3: 1e-8 });
    expect([n, squares]).toEqual([2, 10]);
    expect(sum).toBeCloseTo(3 / 1.23, 6);
    expect(second).toBeCloseTo(1 / 1.23, 6);
    expect(await gather(DIFFS, { counts: 1e5, c2: 1e-9 })).toEqual([0, 0, 0, 0, 0, 0]);
    expect((await gather(DIFFS, { counts: 1, c2: Number.NaN }))[0]).toBe(0);
  });
});
