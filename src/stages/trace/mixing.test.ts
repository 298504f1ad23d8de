import { describe, expect, it } from 'vitest';
import { Mixer } from './mixing.js';

/** x -> x + shrink (fixed point - x), one factor for each value. */
const step = (x: Float64Array, left: readonly number[]) => x.map((v, i) => i + (left[i] as number) * (v - i));

const distance = (x: Float64Array) => Math.max(...x.map((v, i) => Math.abs(v - i)));

/** The largest distance from the fixed point after some rounds. */
function left(rounds: number, parts: readonly number[], depth: number): number {
  const mixer = new Mixer(depth);
  let x = new Float64Array(parts.length);
  for (let round = 0; round < rounds; round++) {
    const end = step(x, parts);
    const residual = end.map((v, i) => v - (x[i] as number));
    const added = mixer.next(end, residual);
    x = end.map((v, i) => v + (added[i] as number));
  }
  return distance(x);
}

describe('Mixer', () => {
  it('solves a linear iteration with n kinds of errors in n + 1 rounds', () => {
    // The iteration alone would have left 0.95^3 of the distance.
    expect(left(3, [0.95, 0.95, 0.5, 0.95, 0.5], 4)).toBeLessThan(1e-6);
    expect(left(3, [0.95, 0.95, 0.5, 0.95, 0.5], 0)).toBeCloseTo(0.95 ** 3 * 3, 9);
    expect(left(2, [0.95, 0.95, 0.95, 0.95], 4)).toBeLessThan(1e-6);
    expect(left(3, [0.95, 0.5, 0.2, -0.4, 0.9], 4)).toBeGreaterThan(1e-3);
  });

  it('forgets steps beyond its depth', () => {
    expect(left(6, [0.95, 0.9, 0.5, 0.2, 0.8], 4)).toBeLessThan(1e-4);
    expect(left(6, [0.95, 0.9, 0.5, 0.2, 0.8], 1)).toBeGreaterThan(1e-3);
  });

  it('adds nothing to the first step, nor where nothing moves any more', () => {
    const mixer = new Mixer(3);
    const still = Float64Array.of(1, 2);
    for (let round = 0; round < 3; round++) expect([...mixer.next(still, new Float64Array(2))]).toEqual([0, 0]);
  });
});
