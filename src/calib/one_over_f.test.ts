import { describe, expect, it } from 'vitest';
import { UsageError } from '../core/errors.js';
import { fitOneOverFWeights, ONE_OVER_F_NODES, type RowMeans } from './one_over_f.js';

const ROWS = 512;
const READS = 24;
const ROW_SECONDS = 10.647 / 2048;
const GAINS = [1, 0.8, -0.4, 0];
const WHITE = 10;

/** A normal deviate from a seeded generator (xorshift32, sum of 12 uniform numbers). */
function deviates(seed: number): () => number {
  let state = seed;
  return () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      sum += (state >>> 0) / 2 ** 32;
    }
    return sum;
  };
}

/** Row means of a dark with 1/f noise that amplifier a sees with GAINS[a], fixed patterns, dark current and white noise. */
function dark(seed: number, common: number, columnsSee = 0): RowMeans {
  const normal = deviates(seed);
  const poles = Array.from({ length: 8 }, (_, i) => 1 - 4 ** -i * 0.5);
  const state = poles.map(() => 0);
  const data = new Float32Array(READS * ROWS * 12);
  const own = (pixels: number) => (WHITE / Math.sqrt(pixels)) * normal();
  for (let k = 0; k < READS; k++) {
    for (let row = 0; row < ROWS; row++) {
      const at = (k * ROWS + row) * 12;
      const noise = [0, 1].map(() => {
        for (let i = 0; i < poles.length; i++) {
          state[i] = (state[i] as number) * (poles[i] as number) + 2 ** -i * normal();
        }
        return common * state.reduce((sum, s) => sum + s, 0);
      });
      const pattern = 30 * Math.sin(row);
      for (let h = 0; h < 2; h++) {
        data[at + h] = 8000 + pattern + (noise[h] as number) + own(256);
        for (let a = 0; a < 4; a++) {
          data[at + 4 + 2 * a + h] =
            9000 + pattern + 0.01 * row * k + (GAINS[a] as number) * (noise[h] as number) + own(256);
        }
      }
      data[at + 2] = 9000 - pattern + columnsSee * (noise[0] as number) + own(4);
      data[at + 3] = 9000 + 2 * pattern + columnsSee * (noise[0] as number) + own(4);
    }
  }
  return { data, reads: READS, rows: ROWS };
}

const weightOf = (weights: Float32Array, node: number, a: number, reference: number) =>
  weights[((node * 4 + a) * 3 + reference) * 2] as number;

describe('fitOneOverFWeights', () => {
  it('finds what each amplifier has in common with the reference output', () => {
    const fit = fitOneOverFWeights([dark(1, 2), dark(2, 2)], ROW_SECONDS);
    expect(fit.frequenciesHz.at(-1)).toBeCloseTo(192.36, 1);
    for (const node of [2, 6, 10]) {
      // Up to 20 Hz the noise is far above the reference's own: the Wiener weight is the gain.
      for (let a = 0; a < 3; a++) expect(weightOf(fit.weights, node, a, 0)).toBeCloseTo(GAINS[a] as number, 1);
      expect(Math.abs(weightOf(fit.weights, node, 3, 0))).toBeLessThan(0.05);
    }
    expect(fit.explained[0]).toBeGreaterThan(0.9);
    expect(fit.explained[3]).toBeLessThan(0.05);
  });

  it('gives the reference a smaller weight where its own noise matters', () => {
    const loud = fitOneOverFWeights([dark(3, 2)], ROW_SECONDS);
    const faint = fitOneOverFWeights([dark(3, 0.2)], ROW_SECONDS);
    const node = 24;
    expect(weightOf(faint.weights, node, 0, 0)).toBeLessThan(0.6 * weightOf(loud.weights, node, 0, 0));
    expect(weightOf(faint.weights, node, 0, 0)).toBeGreaterThanOrEqual(0);
  });

  it('gives no weight to chance', () => {
    const fit = fitOneOverFWeights([dark(4, 0)], ROW_SECONDS);
    const used = fit.weights.filter((w) => w !== 0).length;
    expect(used).toBeLessThan(0.05 * fit.weights.length);
    expect(fit.weights).toHaveLength(ONE_OVER_F_NODES * 24);
  });

  it('gives the same weights when a cosmic ray hits a row mean', () => {
    const clean = dark(5, 2);
    const hit = { ...clean, data: Float32Array.from(clean.data) };
    for (let k = 10; k < READS; k++)
      hit.data[(k * ROWS + 77) * 12 + 4] = (hit.data[(k * ROWS + 77) * 12 + 4] as number) + 2000;
    const a = fitOneOverFWeights([clean], ROW_SECONDS).weights;
    const b = fitOneOverFWeights([hit], ROW_SECONDS).weights;
    for (const node of [4, 10, 16]) {
      expect(Math.abs(weightOf(a, node, 0, 0) - weightOf(b, node, 0, 0))).toBeLessThan(0.05);
    }
  });

  it('refuses tables that cannot be', () => {
    expect(() => fitOneOverFWeights([], 1)).toThrow(UsageError);
    expect(() => fitOneOverFWeights([dark(6, 1)], 0)).toThrow(UsageError);
    expect(() => fitOneOverFWeights([{ data: new Float32Array(12), reads: 2, rows: 40 }], 1)).toThrow(UsageError);
  });
});
