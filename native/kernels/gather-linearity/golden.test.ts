import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const READS = 40;
const UNIT = 16384;
const C2 = 6e-7;
const C3 = 8e-12;

/** What a pixel shows of linear counts y. */
function shown(y: number): number {
  let x = y;
  for (let i = 0; i < 50; i++) x = y - C2 * x * x - C3 * x * x * x;
  return x;
}

async function gather(ramps: readonly (readonly number[])[]): Promise<number[]> {
  const sums = new Float32Array(12);
  for (const ramp of ramps) {
    await runKernel('gather-linearity', {
      counts: { data: Float32Array.from(ramp), planes: ramp.length, cols: 1 },
      sums: { data: sums, planes: 12, cols: 1 },
    });
  }
  return [...sums];
}

/** The solution of the two equations, in DN. */
function solve(s: readonly number[]): [number, number] {
  const [a, b, c, d, u, v] = s as [number, number, number, number, number, number];
  const det = a * d - b * c;
  return [-(d * u - b * v) / det / UNIT, -(a * v - c * u) / det / UNIT ** 2];
}

const ramp = (rate: number) => Array.from({ length: READS }, (_, k) => shown(300 + rate * k));

describe('gather-linearity', () => {
  it('has equations that the coefficients of a pixel without noise solve, for ramps of any light together', async () => {
    const sums = await gather([ramp(1000), ramp(400)]);
    const [c2, c3] = solve(sums);
    expect(c2 / C2).toBeCloseTo(1, 2);
    expect(c3 / C3).toBeCloseTo(1, 2);
    expect(sums[9]).toBe(2 * (READS - 1));
    expect(sums[10]).toBeCloseTo(shown(300 + 1000 * (READS - 1)), 1);
    expect(sums[11]).toBe(0);
  });

  it('leaves out saturated reads, a pixel that is full below the known level, and jumps', async () => {
    const whole = ramp(1000);
    const missing = whole.map((v, k) => (k < 30 ? v : Number.NaN));
    const full = whole.map((v, k) => (k < 30 ? v : (whole[29] as number) + 100));
    // 30 good reads have 29 differences; the last of them may be half full.
    for (const cut of [missing, full]) {
      const sums = await gather([cut]);
      expect([sums[9], sums[11]]).toEqual([28, 1]);
      expect(sums[10]).toBeCloseTo(whole[28] as number, 1);
      expect(solve(sums)[0] / C2).toBeCloseTo(1, 1);
    }
    // A cosmic ray in read 20: three differences go; the charge stays, so the rest still fits.
    const noise = (k: number) => (k % 2 === 0 ? 0.5 : -0.5);
    const hit = Array.from({ length: READS }, (_, k) => shown(300 + 1000 * k + (k >= 20 ? 3000 : 0)) + noise(k));
    const sums = await gather([hit]);
    expect(sums[9]).toBe(READS - 1 - 3);
    expect(solve(sums)[0] / C2).toBeCloseTo(1, 1);
  });

  it('keeps only counts and the early end of a pixel that is full too soon, and nothing of one without light', async () => {
    const whole = ramp(1000);
    const soon = whole.map((v, k) => (k < 7 ? v : (whole[6] as number) + (k % 2)));
    const sums = await gather([soon]);
    expect(sums.slice(0, 10)).toEqual(Array(10).fill(0));
    expect(sums[10]).toBeCloseTo(whole[5] as number, 1);
    expect(sums[11]).toBe(1);
    const dark = Array.from({ length: READS }, (_, k) => 20 + 5 * Math.sin(k * k));
    expect((await gather([dark])).filter((_, i) => i !== 10)).toEqual(Array(11).fill(0));
    expect(await gather([whole.slice(0, 8)])).toEqual(Array(12).fill(0));
  });
});
