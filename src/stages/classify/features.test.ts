import { describe, expect, it } from 'vitest';
import { combOf, measureChip, measureSpectrum, rowNoise, shareAt, windowsOf } from './features.js';

const COLS = 2048;
const SKY = { reach: 6, columns: [500, 900, 1300] };

/** A small generator (Park and Miller 1988), so that each run sees the same numbers. */
function deviates(seed: number): () => number {
  let state = seed;
  const uniform = () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

function image(rows: number, value: (row: number, x: number) => number) {
  const data = new Float32Array(rows * COLS);
  for (let row = 0; row < rows; row++) for (let x = 0; x < COLS; x++) data[row * COLS + x] = value(row, x);
  return { chip: 'a', data, dq: new Uint32Array(rows * COLS), rows, cols: COLS, scale: 1 };
}

describe('windows', () => {
  it('are six on a full chip, and what there is of a strip, inside the border', () => {
    const full = windowsOf(2048, 2048, 4);
    expect(full).toHaveLength(6);
    for (const [i, window] of full.entries()) {
      expect(window.rows).toBe(32);
      expect(window.row).toBeGreaterThanOrEqual(i === 0 ? 4 : (full[i - 1]?.row ?? 0) + 32);
      expect(window.row + window.rows).toBeLessThanOrEqual(2044);
    }
    expect(windowsOf(64, 2048, 4)).toEqual([{ row: 16, rows: 32, x: 4, cols: 2040 }]);
    expect(windowsOf(32, 2048, 4)).toEqual([{ row: 4, rows: 24, x: 4, cols: 2040 }]);
    expect(windowsOf(16, 2048, 4)).toEqual([{ row: 4, rows: 8, x: 4, cols: 2040 }]);
    expect(windowsOf(256, 2048, 4)).toHaveLength(6);
  });
});

describe('rows', () => {
  it('of smooth light have a level and no contrast', async () => {
    const { values, slit } = await measureChip(
      image(64, (row) => 100 + row / 64),
      4,
      SKY,
    );
    expect(values.level).toBeCloseTo(100.5, 1);
    expect(values.contrast).toBeLessThan(0.01);
    expect(values.fibres).toBeLessThan(1);
    expect(values.continuum).toBeCloseTo(100.5, 1);
    expect(slit).toHaveLength(1);
    expect(slit[0]).toBeCloseTo(100.5, 1);
  });

  it('of a wave of 6.6 rows show its deciles, less the noise that its fourth differences pretend', async () => {
    const { values } = await measureChip(
      image(1024, (row) => 5 + 4 * Math.sin((2 * Math.PI * row) / 6.6)),
      4,
      SKY,
    );
    // Deciles of a sine: +-sin(0.4 pi) of the amplitude. Fourth differences: (2 - 2 cos(2 pi/6.6))^2 of it, quartiles
    // +-sin(pi/4) of that, over 1.34896 sqrt(70).
    const spread = 8 * Math.sin(0.4 * Math.PI);
    const pretended = (8 * (2 - 2 * Math.cos((2 * Math.PI) / 6.6)) ** 2 * Math.SQRT1_2) / (1.34896 * Math.sqrt(70));
    const fibres = spread - 2.563 * pretended;
    expect(values.fibres).toBeGreaterThan(0.95 * fibres);
    expect(values.fibres).toBeLessThan(1.05 * fibres);
    expect(values.contrast).toBeGreaterThan((0.95 * fibres) / 10);
    expect(values.contrast).toBeLessThan((1.05 * fibres) / 10);
  });

  it('have their noise found where they have no light', () => {
    const next = deviates(7);
    const levels = Array.from({ length: 2000 }, () => 3 * next());
    expect(rowNoise(levels)).toBeGreaterThan(2.8);
    expect(rowNoise(levels)).toBeLessThan(3.2);
    expect(rowNoise(Array.from({ length: 40 }, (_, i) => 7 + 2 * i))).toBeCloseTo(0, 6);
  });

  it('see fibres whose traces leave their rows along the chip', async () => {
    const drift = (x: number) => (8 * x) / COLS;
    const fibre = (row: number, x: number) =>
      20 * Math.exp((-0.5 * (((((row - drift(x)) % 6.6) + 6.6) % 6.6) - 3.3) ** 2) / 0.8);
    const { values } = await measureChip(image(128, fibre), 4, SKY);
    expect(values.contrast).toBeGreaterThan(0.6);
  });

  it('are not moved by hot pixels, in whatever unit, and count what is bad', async () => {
    const next = deviates(11);
    const clean = image(64, () => 0.05 + 0.2 * next());
    const hot = { ...clean, data: clean.data.slice(), dq: clean.dq.slice() };
    for (let i = 0; i < hot.data.length; i += 331) hot.data[i] = 500;
    for (let i = 100; i < hot.data.length; i += 401) hot.data[i] = Number.NaN;
    const found = (await measureChip(hot, 4, SKY)).values;
    expect(found.fibres).toBeLessThan(0.4);
    expect(found.lines).toBeLessThan(0.3);
    expect(found.level).toBeCloseTo(0.05, 1);
    expect(found.bad).toBeCloseTo(1 / 401, 3);
    const scaled = (await measureChip({ ...clean, scale: 5 }, 4, SKY)).values;
    const plain = (await measureChip(clean, 4, SKY)).values;
    for (const name of ['level', 'noise', 'fibres', 'continuum', 'lines'] as const) {
      expect(scaled[name]).toBeCloseTo(5 * plain[name], 6);
    }
    expect(scaled.contrast).toBeCloseTo(plain.contrast, 6);
  });
});

describe('spectra', () => {
  it('of a continuum with ten bright columns have them in lines', () => {
    const spectrum = new Float64Array(2040).fill(1);
    for (let i = 0; i < 10; i++) spectrum[100 + 200 * i] = 100;
    const found = measureSpectrum(spectrum);
    expect(found.continuum).toBe(1);
    expect(found.tilt).toBe(1);
    expect(found.lines).toBeCloseTo(99, 6);
    expect(found.share).toBeCloseTo(990 / (990 + 2040), 6);
    expect(found.peaked).toBeCloseTo(0.99, 6);
  });

  it('of noise have no lines', () => {
    const next = deviates(3);
    const found = measureSpectrum(Float64Array.from({ length: 2040 }, () => next()));
    expect(found.lines).toBeLessThan(0.3);
    expect(found.share).toBeLessThan(0.05);
  });

  it('know the lines of the night sky by their places', () => {
    const spectrum = new Float64Array(2040);
    for (const x of [499, 903, 1300]) spectrum[x] = 10;
    spectrum[200] = 30;
    expect(shareAt(measureSpectrum(spectrum), SKY)).toBeCloseTo(0.5, 6);
    expect(shareAt(measureSpectrum(spectrum), SKY, 100)).toBe(0);
    expect(shareAt(measureSpectrum(new Float64Array(2040)), SKY)).toBeNaN();
    expect(shareAt(measureSpectrum(spectrum), { reach: 6, columns: [] })).toBeNaN();
  });

  it('tell a comb from lines at any distances', () => {
    const next = deviates(5);
    const line = (x: number, at: number) => Math.exp(-0.5 * ((x - at) / 1.15) ** 2);
    const comb = Float64Array.from({ length: 2040 }, (_, x) => line(x % 24.7, 12) + line((x % 24.7) - 24.7, 12));
    expect(combOf(comb)).toBeGreaterThan(0.9);
    const places = Array.from({ length: 60 }, () => 2040 * Math.abs(next() % 1));
    const lamp = Float64Array.from({ length: 2040 }, (_, x) => places.reduce((sum, at) => sum + line(x, at), 0));
    expect(combOf(lamp)).toBeLessThan(0.35);
    expect(combOf(Float64Array.from({ length: 2040 }, () => next()))).toBeLessThan(0.35);
    expect(combOf(new Float64Array(2040))).toBe(0);
  });
});
