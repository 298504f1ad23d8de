import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('measure-zero-point gives the table that was put in', async () => {
  const rows = 16;
  const cols = 2560;
  const amplifier = [-3, 11, -20, 3];
  // Rows alternate by 1, so medians of even counts fall between two values.
  const reads = Uint16Array.from({ length: 2 * rows * cols }, (_, i) => {
    const x = i % cols;
    const k = Math.floor(i / (rows * cols));
    const even = Math.floor(i / cols) % 2;
    return x >= 2048 ? 5000 + 100 * k + even : 9000 + 10 * k + (amplifier[x >> 9] as number) + even;
  });
  const offsets = new Float32Array(8);
  const zero = new Float32Array(12);
  await runKernel('measure-zero-point', {
    reads: { data: reads, planes: 2, rows, cols },
    offsets: { data: offsets, planes: 2, cols: 4 },
    zero: { data: zero, planes: 2, cols: 6 },
  });
  // Side columns hold 9000 - 3 and 9000 + 3, each plus 0 or 1: the middle two of the four are 8998 and 9003.
  expect([...zero]).toEqual([9000.5, 5000.5, -3, 11, -20, 3, 9010.5, 5100.5, -3, 11, -20, 3]);
  expect([...offsets]).toEqual([8997.5, 9011.5, 8980.5, 9003.5, 9007.5, 9021.5, 8990.5, 9013.5]);
});
