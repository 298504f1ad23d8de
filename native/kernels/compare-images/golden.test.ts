import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('compare-images counts, places and sizes differences; NaN equals NaN', async () => {
  const a = Float64Array.of(1, 2, Number.NaN, 4, 5, 0, 7, 8, 9, 10);
  const b = Float64Array.of(1, 2.5, Number.NaN, 4.0625, Number.NaN, -0, 7, Number.POSITIVE_INFINITY, 9, 10);
  const out = (data: Int32Array | Float64Array) => ({ data, rows: 1, cols: 1 });
  const [changed, different, unpaired, first, last] = Array.from({ length: 5 }, () => new Int32Array(1));
  const [largest, relative] = [new Float64Array(1), new Float64Array(1)];
  await runKernel(
    'compare-images',
    {
      a: { data: a, rows: 1, cols: 10 },
      b: { data: b, rows: 1, cols: 10 },
      changed: out(changed!),
      different: out(different!),
      unpaired: out(unpaired!),
      first: out(first!),
      last: out(last!),
      largest: out(largest),
      relative: out(relative),
    },
    { atol: 0.125 },
  );
  expect([changed, different, unpaired, first, last].map((one) => one![0])).toEqual([4, 3, 2, 1, 7]);
  expect(largest[0]).toBe(0.5);
  expect(relative[0]).toBe(0.2);
});
