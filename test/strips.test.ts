/** Strips of a chip, as tests and the small nights have them: few fibres, and at the edge one that is cut or only its wings. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openFits } from '../src/fits/index.js';
import { runStage } from '../src/night/by_hand.js';
import type { Chip, Telescope } from '../src/simulate/figures.js';
import { stage } from '../src/stages/trace/stage.js';
import { readTraces } from '../src/stages/trace_product.js';
import { writeFlat } from './mock_flat.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-strips-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

const rms = (values: readonly number[]) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

describe('traces of a strip', () => {
  // Found: centres to 0.005 px, light to 0.4 %, chi2 to 1.07. The fibre above the 128 rows of lco c shows 3 % of its light.
  it.each<[number, Telescope, Chip, number, number]>([
    [72, 'apo', 'a', 17, 6],
    [128, 'apo', 'a', 12, 47],
    [128, 'lco', 'c', 10, 47],
    [256, 'apo', 'c', 10, 10],
  ])(
    'of %i rows, %s %s, exposure %i of %i reads, lie where the light is',
    async (rows, tele, chip, exposure, reads) => {
      const flat = { tele, chip, type: 'quartzflat', rows, exposure, reads, measuredVariance: true } as const;
      const { mock, path } = await writeFlat(base, flat);
      const { product } = await runStage({ stage, files: [{ role: 'image', path }], output: base });
      const file = openFits(product);
      const { traces, findings } = await readTraces(file);
      file.close();
      const { cols, truth } = mock;
      const [off, ratios, chi2]: [number[], number[], number[]] = [[], [], []];
      for (const [f, state] of traces.states.entries()) {
        if (state === 'off-chip') continue;
        chi2.push(findings.chi2[f] as number);
        for (let i = f * cols + 8; i < (f + 1) * cols; i += 101) {
          off.push((traces.centre[i] as number) - (truth.centre[i] as number));
          ratios.push((traces.flux[i] as number) / (truth.flux[i] as number) - 1);
        }
      }
      // All whose core is on the chip in all columns: at most two less than have their centre there.
      expect(chi2.length).toBeGreaterThanOrEqual(truth.states.filter((state) => state !== 'off-chip').length - 2);
      expect(rms(off)).toBeLessThan(0.01);
      expect(rms(ratios)).toBeLessThan(0.008);
      expect(Math.max(...chi2)).toBeLessThan(1.5);
      expect(chi2.toSorted((a, b) => a - b)[chi2.length >> 1]).toBeLessThan(1.15);
    },
    60_000,
  );
});
