import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('compare-maps counts what lies beyond the combined errors, and what is in one map only', async () => {
  const nan = Number.NaN;
  const cols = 6;
  const a = Float32Array.of(1, 1, nan, 1, 1, 5);
  const b = Float32Array.of(1, 2, 2, nan, 6, 6);
  const error = Float32Array.of(0.3, 0.3, 0.3, 0.3, 0.3, 0);
  const errorB = Float32Array.of(0.4, 0.4, 0.4, 0.4, 0.4, nan);
  const maskB = Uint32Array.of(0, 0, 0, 0, 0, 0);
  const [difference, significance, counts] = [new Float32Array(cols), new Float32Array(cols), new Int32Array(5)];
  const port = (data: Float32Array | Uint32Array | Int32Array) => ({ data, cols: data.length });
  const ports = { a: port(a), b: port(b), errorA: port(error), errorB: port(errorB), maskB: port(maskB) };
  const out = { difference: port(difference), significance: port(significance), counts: port(counts) };
  await runKernel('compare-maps', { ...ports, ...out }, { sigmas: 5, skip: 1 });
  expect([...difference]).toEqual([0, 1, nan, nan, 5, 1]);
  expect([...significance].map((s) => Math.round(s))).toEqual([0, 2, nan, nan, 10, 10_000]);
  expect([...counts]).toEqual([4, 2, 1, 1, 3]);
  maskB[1] = 3; // now only the first map has a value there
  await runKernel('compare-maps', { ...ports, ...out }, { sigmas: 5, skip: 1 });
  expect([...counts]).toEqual([3, 2, 2, 1, 2]);
});
