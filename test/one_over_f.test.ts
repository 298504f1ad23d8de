// Darks in, weights out, weights used: the 1/f correction from end to end on simulated reads.
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fitOneOverFWeights } from '../src/calib/one_over_f.js';
import { addonPath } from '../src/core/addon.js';
import { runKernel } from '../src/engine/index.js';

const ROWS = 512;
const READS = 8;
const COLS = 2560;
const GAINS = [1, 0.75, 1.2, 0.9];
const WHITE = 10;

function deviates(seed: number): () => number {
  let state = seed;
  return () => {
    let sum = -2;
    for (let i = 0; i < 4; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      sum += (state >>> 0) / 2 ** 32;
    }
    return sum * Math.sqrt(3);
  };
}

/** Reads with 1/f noise that the reference output shares; `common` is it, averaged over each row. */
function expose(seed: number, own: boolean) {
  const normal = deviates(seed);
  const shared = (bytes: number) => new SharedArrayBuffer(bytes);
  const reads = new Uint16Array(shared(2 * READS * ROWS * COLS));
  const common = new Float64Array(READS * ROWS);
  // First-order processes two octaves apart, from a fifth of a row to many rows.
  const keep = Array.from({ length: 8 }, (_, i) => Math.exp(-1 / (100 * 4 ** i)));
  const state = keep.map(() => normal());
  const ticks = new Float64Array(512);
  for (let line = 0; line < READS * ROWS; line++) {
    for (let t = 0; t < 512; t++) {
      let sum = 0;
      for (let i = 0; i < keep.length; i++) {
        const k = keep[i] as number;
        state[i] = (state[i] as number) * k + Math.sqrt(1 - k * k) * normal();
        sum += state[i] as number;
      }
      ticks[t] = 1.2 * sum;
      common[line] = (common[line] as number) + (ticks[t] as number) / 512;
    }
    for (let x = 0; x < COLS; x++) {
      const a = x >> 9;
      const c = x & 511;
      const tick = ticks[a === 1 || a === 3 ? 511 - c : c] as number;
      const noise = (GAINS[a] ?? 1) * tick + (own ? WHITE * normal() : 0);
      reads[line * COLS + x] = Math.round(9000 + noise);
    }
  }
  return { reads: { data: reads, planes: READS, rows: ROWS, cols: COLS }, common };
}

const table = (cols: number) => ({
  data: new Float32Array(new SharedArrayBuffer(4 * READS * ROWS * cols)),
  planes: READS,
  rows: ROWS,
  cols,
});

describe('1/f correction', () => {
  it('removes the noise that amplifiers share with the reference output, with weights fitted on darks', async (ctx) => {
    if (!existsSync(addonPath())) ctx.skip('the addon is not built');
    const darks = [];
    for (const seed of [11, 12]) {
      const rowMeans = table(12);
      await runKernel('gather-row-means', { reads: expose(seed, true).reads, rowMeans });
      darks.push({ data: rowMeans.data, reads: READS, rows: ROWS });
    }
    const fit = fitOneOverFWeights(darks, 10.647 / 2048);
    const science = expose(13, true);
    const correction = table(12);
    const weights = new Float32Array(new SharedArrayBuffer(4 * 768));
    weights.set(fit.weights);
    await runKernel('measure-one-over-f', {
      reads: science.reads,
      weights: { data: weights, planes: 1, rows: 1, cols: 768 },
      correction,
    });
    GAINS.forEach((gain, a) => {
      let before = 0;
      let after = 0;
      for (let k = 0; k + 1 < READS; k++) {
        const noise = new Float64Array(ROWS);
        const rest = new Float64Array(ROWS);
        for (let row = 0; row < ROWS; row++) {
          const at = (read: number) => {
            const i = (read * ROWS + row) * 12 + 3 * a;
            const [start, middle, end] = correction.data.subarray(i, i + 3) as unknown as [number, number, number];
            return 0.25 * start + 0.5 * middle + 0.25 * end;
          };
          const real = (read: number) => gain * (science.common[read * ROWS + row] as number);
          noise[row] = real(k + 1) - real(k);
          rest[row] = (noise[row] as number) - (at(k + 1) - at(k));
        }
        // The mean over the read is the zero point's.
        const power = (s: Float64Array) => {
          const mean = s.reduce((sum, v) => sum + v, 0) / ROWS;
          return s.reduce((sum, v) => sum + (v - mean) ** 2, 0);
        };
        before += power(noise);
        after += power(rest);
      }
      expect(1 - after / before).toBeGreaterThan(0.9);
    });
    expect(Math.min(...fit.explained)).toBeGreaterThan(0.7);
  }, 60_000);
});
