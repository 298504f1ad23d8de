// A common zero of the traces over a night: exposures with different flats are told against one of them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { FibreState, Tweak } from '../src/core/spectra.js';
import { openFits } from '../src/fits/index.js';
import { runStage } from '../src/night/by_hand.js';
import { type MockSpectra, mockSpectra } from '../src/simulate/index.js';
import { driftOf, type FlatTraces, flatsApart } from '../src/stages/extract/drift.js';
import { stage } from '../src/stages/extract/stage.js';
import { writeImage, writeTraces } from './spectra_files.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-drift-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

const [FIBRES, COLS, ROWS] = [40, 64, 300];

/** Straight traces, moved by a shift, and by a scale and a tilt that are Legendre polynomials of degree 1. */
function flat([shift, scale, tilt]: readonly [number, number, number], noise = 0): FlatTraces {
  const centre = Float32Array.from({ length: FIBRES * COLS }, (_, i) => {
    const [fibre, x] = [Math.floor(i / COLS), i % COLS];
    const y = 10 + 7 * fibre;
    const [u, v] = [(2 * x) / (COLS - 1) - 1, (2 * y) / (ROWS - 1) - 1];
    return y + shift + scale * v + tilt * u + noise * Math.sin(12.9898 * fibre);
  });
  return { fibres: FIBRES, cols: COLS, centre, states: Array<FibreState>(FIBRES).fill('ok') };
}

describe('flats apart', () => {
  it('finds shift, scale and tilt between two flats, whatever one fibre says', () => {
    const moved = flat([0.3, -0.05, 0.02], 0.004);
    moved.centre.fill(55, 6 * COLS, 7 * COLS);
    const apart = flatsApart(moved, flat([0, 0, 0]), ROWS);
    for (const [term, truth] of [
      ['shift', 0.3],
      ['scale', -0.05],
      ['tilt', 0.02],
    ] as const) {
      const { value, error } = apart?.[term] ?? { value: Number.NaN, error: Number.NaN };
      expect(Math.abs(value - truth)).toBeLessThan(3 * error + 1e-4);
      expect(error).toBeLessThan(0.002);
    }
    expect(apart?.shift.error).toBeGreaterThan(0.0002);
  });

  it('says nothing where fewer than five fibres are measured in both', () => {
    const few = flat([0, 0, 0]);
    const states = few.states.map((_, i): FibreState => (i < 4 ? 'ok' : 'broken'));
    expect(flatsApart({ ...few, states }, flat([1, 0, 0]), ROWS)).toBeUndefined();
  });

  it('adds to a tweak, errors in squares, and to no tweak that was not measured', () => {
    const apart = flatsApart(flat([0.3, 0, 0]), flat([0, 0, 0]), ROWS);
    const tweak: Tweak = {
      terms: [{ i: 0, j: 0, value: -0.1, error: 0.003 }],
      width: 1,
      widthError: 0.001,
      largestError: 0.004,
      state: 'ok',
      reason: '',
    };
    const shift = driftOf(tweak, apart && { ...apart, shift: { value: 0.3, error: 0.004 } })?.shift;
    expect(shift?.value).toBeCloseTo(0.2, 9);
    expect(shift?.error).toBeCloseTo(0.005, 9);
    expect(driftOf({ ...tweak, state: 'faint' }, apart)).toBeUndefined();
    expect(driftOf(tweak, undefined)).toBeUndefined();
  });
});

describe('drift of a night', () => {
  it('is the truth against the first flat, though a nearer flat gave the traces', { timeout: 60_000 }, async () => {
    const common = { tele: 'apo', chip: 'b', rows: 256, measuredVariance: true } as const;
    const id = (exposure: number) => ({ tele: 'apo', mjd: 60_857, chip: 'b', exposure });
    const first = await mockSpectra({ ...common, type: 'domeflat', exposure: 12 });
    const second = await mockSpectra({ ...common, type: 'quartzflat', exposure: 20, shift: 0.4 });
    const flats = [writeTraces(base, id(20), 'quartzflat', second), writeTraces(base, id(12), 'domeflat', first)];
    const traces = ({ truth, fibres, cols }: MockSpectra): FlatTraces => ({ ...truth, fibres, cols });
    for (const [exposure, used] of [
      [13, 12],
      [19, 20],
    ] as const) {
      const object = await mockSpectra({ ...common, type: 'object', exposure, shift: 0.1 });
      const image = writeImage(base, id(exposure), 'object', object);
      const made = await runStage({
        stage,
        files: [{ role: 'image', path: image }, ...flats.map((path) => ({ role: 'traces', path }))],
        output: base,
      });
      const file = openFits(made.product);
      try {
        const { header } = file.hdu(0);
        const [drift, error] = ['DRIFT', 'DRIFTERR'].map((keyword) => header.number(keyword, Number.NaN));
        const truth = flatsApart(traces(object), traces(first), 256)?.shift.value ?? Number.NaN;
        expect(header.number('FLATEXP', 0)).toBe(used);
        expect([header.number('DRIFTREF', 0), header.string('DRIFTKND', '').trim()]).toEqual([12, 'domeflat']);
        expect(error).toBeGreaterThan(0);
        expect(error).toBeLessThan(0.01);
        expect(Math.abs((drift as number) - truth)).toBeLessThan(5 * (error as number));
        const apart = Math.abs(header.number('TWSHIFT', Number.NaN) - (drift as number));
        if (used === 12) expect(apart).toBe(0);
        else expect(apart).toBeGreaterThan(0.2);
        expect(made.summary?.['trace shift against domeflat 12 [px]']).toBeCloseTo(drift as number, 4);
        const table = file.readTable('PROVENANCE', ['NAME', 'WHY', 'USED']);
        const row = (table.column('NAME').values as string[]).findIndex((name) =>
          name.startsWith('trace-apo-60857-b-0012'),
        );
        expect(Boolean(table.column('USED').values[row])).toBe(true);
        expect((table.column('WHY').values as string[])[row]).toContain('zero of the drift');
      } finally {
        file.close();
      }
    }
  });
});
