/** Flat, traces, profile, and another exposure extracted with them: what the chain as a whole leaves, on a full chip of the mock. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DQ } from '../src/core/generated/dq.js';
import type { Extracted, Traces } from '../src/core/spectra.js';
import { openFits } from '../src/fits/index.js';
import { runStage } from '../src/night/by_hand.js';
import { type MockSpectra, mockSpectra } from '../src/simulate/index.js';
import { fitBackground, subtractBackground } from '../src/stages/background.js';
import { extractWith } from '../src/stages/extract/methods.js';
import { tweakTraces } from '../src/stages/extract/tweak.js';
import { NO_WEIGHT_BITS } from '../src/stages/rates_image.js';
import { stage } from '../src/stages/trace/stage.js';
import { readTraces } from '../src/stages/trace_product.js';
import { writeFlat } from './mock_flat.js';

const CHIP = { tele: 'apo', chip: 'b' } as const;
const LONG = 120_000;
const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;
const rms = (values: readonly number[]) => Math.sqrt(mean(values.map((v) => v * v)));

let base = '';
let flat: MockSpectra;
let traces: Traces;

beforeAll(async () => {
  base = mkdtempSync(join(tmpdir(), 'rampline-chain-'));
  const { mock, path } = await writeFlat(base, { ...CHIP, type: 'domeflat', exposure: 2, measuredVariance: true });
  flat = mock;
  const { product } = await runStage({ stage, files: [{ role: 'image', path }], output: base });
  const file = openFits(product);
  ({ traces } = await readTraces(file));
  file.close();
}, LONG);
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** Tweak, scattered light and extraction, as the stage does them. */
async function extracted(mock: MockSpectra, photonVariance: number): Promise<Extracted> {
  const { rows, cols, fibres, image, dq } = mock;
  const ivar = mock.ivar.map((w, i) => (((dq[i] as number) & NO_WEIGHT_BITS) === 0 ? w : 0));
  const { centre, width } = await tweakTraces(traces, { rows, cols, image, ivar, dq });
  const places = { rows, cols, fibres, centre, width, profile: traces.profile };
  const even = ivar.map((w, i) =>
    w > 0 ? 1 / Math.max(1 / w - photonVariance * Math.max(image[i] as number, 0), 0.1 / w) : 0,
  );
  const light = await subtractBackground(
    image,
    rows,
    cols,
    await fitBackground({ ...places, image, ivar: photonVariance > 0 ? even : ivar }),
  );
  return extractWith('joint', { ...places, image: light, ivar, dq, traceDq: traces.dq }, { photonVariance });
}

describe('traces of a flat as they are found', () => {
  it('lie where the light is, and have its flux', () => {
    const [off, ratios]: [number[], number[]] = [[], []];
    for (let f = 0; f < flat.fibres; f++) {
      if (flat.truth.states[f] !== 'ok') continue;
      for (let x = 20; x < flat.cols - 20; x += 127) {
        const i = f * flat.cols + x;
        off.push((traces.centre[i] as number) - (flat.truth.centre[i] as number));
        ratios.push((traces.flux[i] as number) / (flat.truth.flux[i] as number) - 1);
      }
    }
    expect(rms(off)).toBeLessThan(0.0025);
    expect(Math.abs(mean(ratios))).toBeLessThan(1.5e-3);
    expect(rms(ratios)).toBeLessThan(2.5e-3);
  });
});

describe('another exposure, extracted with what a flat says', () => {
  it(
    'has the light of the truth at a signal-to-noise ratio of 100 to 500, and scatters by little more than its errors',
    async () => {
      // 1 to 8000 electrons a read, faint beside bright.
      const light = (fibre: number) => 8000 ** (((fibre * 7) % 41) / 40);
      const mock = await mockSpectra({ ...CHIP, type: 'object', exposure: 9, light, measuredVariance: true });
      const { flux, ivar, dq, chi2 } = await extracted(mock, 1 / (mock.gain * (mock.reads - 1)));
      const [pulls, ratios, squares]: [number[], number[], number[]] = [[], [], []];
      for (let i = 0; i < flux.length; i += 3) {
        const [exact, weight] = [mock.truth.flux[i] as number, ivar[i] as number];
        const signal = exact * Math.sqrt(weight);
        if (!(signal >= 5 && signal < 500) || ((dq[i] as number) & (NO_WEIGHT_BITS | DQ.OFF_CHIP)) !== 0) continue;
        pulls.push(((flux[i] as number) - exact) * Math.sqrt(weight));
        squares.push(chi2?.[i] as number);
        if (signal > 100) ratios.push((flux[i] as number) / exact - 1);
      }
      expect(Math.abs(mean(ratios))).toBeLessThan(5e-4);
      // The goals are 0.01, 1 +- 0.02 and 1 +- 0.02, and met with the true profile: what is left is the measured one's error, by which
      // the mean moves as the flat's noise falls.
      expect(Math.abs(mean(pulls))).toBeLessThan(0.03);
      expect(Math.abs(rms(pulls) - 1)).toBeLessThan(0.02);
      expect(mean(squares)).toBeLessThan(1.05);
      expect(mean(squares)).toBeGreaterThan(0.98);
    },
    LONG,
  );
});
