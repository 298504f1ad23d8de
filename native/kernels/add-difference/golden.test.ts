import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('add-difference adds exactly and wraps at 16 bits', async () => {
  const read = new Uint16Array(4);
  await runKernel('add-difference', {
    before: { data: Uint16Array.of(100, 65535, 0, 9000), cols: 4 },
    average: { data: Int32Array.of(5, 1, -1, 40), cols: 4 },
    residual: { data: Int32Array.of(-7, 0, 0, -12), cols: 4 },
    read: { data: read, cols: 4 },
  });
  expect([...read]).toEqual([98, 0, 65535, 9028]);
});
