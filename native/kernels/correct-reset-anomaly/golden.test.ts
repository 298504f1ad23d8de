import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

it('correct-reset-anomaly takes an exponential off', async () => {
  const tau = 0.7;
  const decay = Float32Array.from({ length: 4 }, (_, k) => Math.exp(-k / tau));
  const amplitude = Float32Array.of(120, -80);
  const counts = Float32Array.from(
    { length: 8 },
    (_, i) => 1000 + (amplitude[i % 2] as number) * Math.exp(-(i >> 1) / tau),
  );
  const settled = new Float32Array(8);
  await runKernel('correct-reset-anomaly', {
    counts: { data: counts, planes: 4, cols: 2 },
    amplitude: { data: amplitude, cols: 2 },
    decay: { data: decay, planes: 4 },
    settled: { data: settled, planes: 4, cols: 2 },
  });
  for (const v of settled) expect(v).toBeCloseTo(1000, 3);
});
