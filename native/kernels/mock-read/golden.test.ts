import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

/** A row of six columns at the start of amplifier 1, with nothing switched on. */
function row(values: Record<string, number> = {}) {
  const map = (name: string, fallback: number) => ({
    data: new Float32Array(6).fill(values[name] ?? fallback),
    cols: 6,
  });
  const counts = new Uint16Array(6);
  return {
    counts,
    ports: {
      charge: map('charge', 0),
      gain: map('gain', 1),
      pedestal: map('pedestal', 0),
      reset: map('reset', 0),
      c2: map('c2', 0),
      c3: map('c3', 0),
      well: map('well', 1e9),
      noise: map('noise', 0),
      level: { data: new Float32Array(5).fill(values.level ?? 1000), cols: 5 },
      knots: { data: new Float32Array(325), cols: 325 },
      counts: { data: counts, cols: 6 },
    },
  };
}

describe('mock-read', () => {
  it('divides by the gain and adds pedestal, reset anomaly and bias', async () => {
    const { counts, ports } = row({ charge: 4000, gain: 2, pedestal: 30, reset: 80 });
    await runKernel('mock-read', ports, { decay: 0.25 });
    expect([...counts]).toEqual(Array.from({ length: 6 }, () => 1000 + 2000 + 30 + 20));
  });

  it('shows counts that the linearity correction brings back', async () => {
    // 4096 + 2^-20 4096^2 + 2^-30 4096^3 = 4096 + 16 + 64
    const { counts, ports } = row({ charge: 4176, c2: 2 ** -20, c3: 2 ** -30 });
    await runKernel('mock-read', ports);
    expect([...counts]).toEqual(Array.from({ length: 6 }, () => 1000 + 4096));
  });

  it('ends at the well, and at the ends of the converter', async () => {
    for (const [values, expected] of [
      [{ charge: 90000, well: 48000 }, 49000],
      [{ charge: 90000 }, 65535],
      [{ charge: 0, level: -50 }, 0],
    ] as const) {
      const { counts, ports } = row(values);
      await runKernel('mock-read', ports);
      expect([...counts]).toEqual(Array.from({ length: 6 }, () => expected));
    }
  });

  it('reads the 2nd and the 4th amplifier towards smaller x', async () => {
    const cols = 2560;
    const map = (value: number) => ({ data: new Float32Array(cols).fill(value), cols });
    const counts = new Uint16Array(cols);
    // Noise that grows by 8 DN a knot, so by 1 DN a clock, in every output
    const knots = Float32Array.from({ length: 325 }, (_, i) => 8 * (i % 65));
    await runKernel('mock-read', {
      charge: map(0),
      gain: map(1),
      pedestal: map(0),
      reset: map(0),
      c2: map(0),
      c3: map(0),
      well: map(1e9),
      noise: map(0),
      level: { data: new Float32Array(5).fill(100), cols: 5 },
      knots: { data: knots, cols: 325 },
      counts: { data: counts, cols },
    });
    for (let x = 0; x < cols; x++) {
      const output = Math.floor(x / 512);
      const clock = output === 1 || output === 3 ? 511 - (x % 512) : x % 512;
      expect(counts[x]).toBe(100 + clock);
    }
  });
});
