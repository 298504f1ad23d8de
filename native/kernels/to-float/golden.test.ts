import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('to-float keeps every 16-bit value', async () => {
  const raw = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const counts = new Float32Array(65536);
  await runKernel('to-float', { raw: { data: raw, cols: 65536 }, counts: { data: counts, cols: 65536 } });
  expect(counts).toEqual(Float32Array.from(raw));
});
