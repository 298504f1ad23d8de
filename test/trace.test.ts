/** Traces of mock flats against the truth: positions, errors that mean what they say, and what became of each fibre. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DQ } from '../src/core/generated/dq.js';
import { openFits } from '../src/fits/index.js';
import { runStage } from '../src/night/by_hand.js';
import type { MockSpectra, MockSpectraOptions } from '../src/simulate/index.js';
import { stage } from '../src/stages/trace/stage.js';
import { readTraces, type TraceProduct } from '../src/stages/trace_product.js';
import { writeFlat } from './mock_flat.js';

let base = '';
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'rampline-trace-'));
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

const FLAT: MockSpectraOptions = { tele: 'apo', chip: 'b', type: 'domeflat' };

async function traced(options: Partial<MockSpectraOptions>, parameters = {}) {
  const { mock, path } = await writeFlat(base, { ...FLAT, ...options });
  const outcome = await runStage({ stage, files: [{ role: 'image', path }], output: base, parameters, force: true });
  const file = openFits(outcome.product);
  const product = await readTraces(file);
  file.close();
  return { mock, outcome, product };
}

/** Differences from the truth, of the fibres that were measured, at places along x. */
function compare({ truth, cols, fibres }: MockSpectra, { traces }: TraceProduct) {
  const at = (values: Float32Array, i: number) => values[i] as number;
  const size = fibres * cols;
  const out = { centre: [] as number[], pullCentre: [] as number[], pullFlux: [] as number[] };
  for (let fibre = 0; fibre < fibres; fibre++) {
    if (traces.states[fibre] !== 'ok' || truth.states[fibre] !== 'ok') continue;
    for (let x = 20; x < cols - 20; x += 127) {
      const i = fibre * cols + x;
      const off = at(traces.centre, i) - at(truth.centre, i);
      out.centre.push(off);
      out.pullCentre.push(off / Math.sqrt(at(traces.covariance, 3 * size + i)));
      out.pullFlux.push((at(traces.flux, i) - at(truth.flux, i)) / Math.sqrt(at(traces.covariance, i)));
    }
  }
  return out;
}

const rms = (values: readonly number[]) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

describe('traces', () => {
  it('of a flat', async () => {
    const { mock, outcome, product } = await traced({});
    const found = compare(mock, product);
    console.log(outcome.summary, outcome.timings, outcome.warnings);
    console.log(rms(found.centre), rms(found.pullCentre), rms(found.pullFlux));
    expect(rms(found.centre)).toBeLessThan(0.005);
    expect(DQ.BROKEN_FIBRE).toBeGreaterThan(0);
  });
});
