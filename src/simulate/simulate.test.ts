import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { UsageError } from '../core/errors.js';
import { addon } from '../engine/index.js';
import { openFits } from '../fits/index.js';
import { RESET_READS } from './detector.js';
import {
  BAD_DEAD,
  BAD_HIGH_FLAT,
  BAD_HOT,
  BAD_LOW_FLAT,
  BAD_NEGATIVE,
  BAD_UNSTABLE,
  type Effects,
  MockExposure,
  mockSpectra,
  NO_EFFECTS,
  planExposure,
  type SimulateOptions,
  simulateExposure,
} from './index.js';
import { exp, ln, philox, Sequence } from './math.js';

const COLS = 2560;
const directory = mkdtempSync(join(tmpdir(), 'rampline-simulate-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

type Plan = Partial<Omit<SimulateOptions, 'output'>>;
const base = { tele: 'apo', chip: 'a', mjd: 60000, exposure: 7, rows: 64, reads: 4 } as const;

async function expose(plan: Plan, effects?: Partial<Effects>) {
  const all = { ...base, ...plan, ...(effects && { effects: { ...NO_EFFECTS, ...effects } }) };
  const exposure = await MockExposure.make(planExposure(all));
  const reads: Uint16Array[] = [];
  for await (const { counts } of exposure.expose(() => true)) reads.push(counts.slice());
  return { exposure, reads, rows: all.rows };
}

/** Values of a read at the light-sensitive pixels, less those of another read. */
function* sensitive(rows: number, margin = 4): Generator<number> {
  for (let row = margin; row < rows - margin; row++) for (let x = margin; x < 2048 - margin; x++) yield row * COLS + x;
}

const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;
const variance = (values: readonly number[]) => {
  const m = mean(values);
  return mean(values.map((v) => (v - m) ** 2));
};

const hash = (reads: readonly Uint16Array[]) => {
  const sha = createHash('sha256');
  for (const read of reads) sha.update(read);
  return sha.digest('hex');
};

describe('numbers without libm', () => {
  it('agree with Math to a few units in the last place', () => {
    for (const x of [1e-9, 0.1, 0.75, 1, 1.49, 1.5, 2, 1234.5, 1e12]) {
      expect(Math.abs(ln(x) - Math.log(x))).toBeLessThan(2e-15 * Math.max(1, Math.abs(Math.log(x))));
    }
    for (const x of [-700, -30.5, -1, -1e-9, 0, 0.3, 1, 20, 300]) {
      expect(Math.abs(exp(x) / Math.exp(x) - 1)).toBeLessThan(1e-13);
    }
    expect(exp(-800)).toBe(0);
  });

  it('are the published words of Philox 4x32-10', () => {
    const words = philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], { low: 0xa4093822, high: 0x299f31d0 });
    expect(words).toEqual([0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
  });

  it('have the moments of their distributions', () => {
    const numbers = new Sequence({ low: 3, high: 4 }, 1);
    const normal = Array.from({ length: 40_000 }, () => numbers.normal());
    expect(Math.abs(mean(normal))).toBeLessThan(5 / 200);
    expect(Math.abs(variance(normal) - 1)).toBeLessThan(5 * Math.sqrt(2 / 40_000));
    const poisson = Array.from({ length: 40_000 }, () => numbers.poisson(3.5));
    expect(Math.abs(mean(poisson) - 3.5)).toBeLessThan(5 * Math.sqrt(3.5 / 40_000));
    expect(Math.abs(variance(poisson) - 3.5)).toBeLessThan(5 * Math.sqrt((3.5 + 2 * 3.5 ** 2) / 40_000));
  });
});

describe('the same bytes', () => {
  // Changing any of these means that every file simulated before can no longer be made again.
  const GOLDEN = {
    object: 'b1644d5cb69ca28bacfdced42b26c638fcb94dbadf6c333a79b651fee893e5e1',
    dark: 'f9c55c0d4849e63f34a4ae064e5a68663a9cfae6dd0f66301530d6b94b4f3174',
    fpi: 'ec566ad043af7d3733128a52340bee62250925a255488d02c2c869783f770a37',
  } as const;
  // Before the detector had a response, telegraph noise and so on, and before fibres had wings, drift and so on; with those off
  // it must still be what it was, but for two things: throughputs are the detector's, and profiles are tables about centroids.
  const WITHOUT = {
    brokenFibres: false,
    neighbours: false,
    profileDrift: false,
    wings: false,
    scatteredLight: false,
    flexure: false,
    darkStructure: false,
    negativeDark: false,
    flat: false,
    unstablePixels: false,
    illumination: false,
    telegraph: false,
    persistence: false,
  };
  const GOLDEN_WITHOUT = {
    object: '716a6191d7f6860066c80d2cea341f4d10a8eaee207c431ab72a1cb328007b4c',
    dark: '6b23ea7d064c4f16d38c0acf91a5e87f4606abfaaa1d4251582b81e74d9d27f7',
    fpi: '788e7bfb5067d80a4a55ace41d62a077e17b89a8fdf6dbc50c21afd12d0e3e57',
  } as const;
  const EVERY = [
    ...Object.entries(GOLDEN).map(([type, sum]) => [type, 'every effect', {}, sum] as const),
    ...Object.entries(GOLDEN_WITHOUT).map(([type, sum]) => [type, 'those of old alone', WITHOUT, sum] as const),
  ];

  it.each(EVERY)('as ever for a strip of type %s with %s', async (type, _, off, expected) => {
    const { reads } = await expose({
      type: type as keyof typeof GOLDEN,
      rows: 48,
      effects: { cosmicRays: 2000, ...off },
    });
    expect(hash(reads)).toBe(expected);
  });

  it('on every CPU target and for any number of threads', async () => {
    const { available } = addon().targets();
    const hashes = new Set<string>();
    const flats = new Set<string>();
    try {
      for (const target of available) {
        expect(addon().limitTarget(target)).toBe(true);
        for (const threads of [1, 2]) {
          hashes.add(hash((await expose({ rows: 32, threads })).reads));
          const after = { type: 'internalflat', reads: 9 } as const;
          flats.add(hash((await expose({ type: 'internalflat', after, rows: 32, threads })).reads));
        }
      }
    } finally {
      addon().limitTarget('');
    }
    expect(hashes.size).toBe(1);
    expect(flats.size).toBe(1);
  });

  it('for the same seed only', async () => {
    const one = hash((await expose({ rows: 16, seed: 1 })).reads);
    expect(hash((await expose({ rows: 16, seed: 2 })).reads)).not.toBe(one);
    expect(hash((await expose({ rows: 16, exposure: 8 })).reads)).not.toBe(one);
    expect(hash((await expose({ rows: 16, seed: 1 })).reads)).toBe(one);
  });
});

describe('each effect alone', () => {
  it('none at all: every output stands at its level', async () => {
    const { reads } = await expose({}, {});
    const levels = [9120, 8940, 9035, 8905, 9010];
    for (const read of reads) {
      for (let x = 0; x < COLS; x++) expect(read[10 * COLS + x]).toBe(levels[Math.floor(x / 512)]);
      expect(new Set(read).size).toBe(5);
    }
  });

  it('light without noise: counts grow by rate over gain', async () => {
    const { exposure, reads, rows } = await expose({ type: 'quartzflat', reads: 3 }, { scene: true });
    let brightest = 0;
    let wrong = 0;
    for (const i of sensitive(rows)) {
      const expected = (exposure.rate[i] as number) / (exposure.detector.gain[i] as number);
      const grown = (reads[2]?.[i] as number) - (reads[1]?.[i] as number);
      brightest = Math.max(brightest, expected);
      // two roundings of half a count each
      if (!(Math.abs(grown - expected) <= 1 + 1e-3 * expected)) wrong++;
    }
    expect(wrong).toBe(0);
    expect(brightest).toBeGreaterThan(200);
  });

  it('photons: the variance is the mean', async () => {
    for (const type of ['internalflat', 'dark'] as const) {
      // Read noise, which the next test measures, spreads the few electrons of a dark over the steps of the converter.
      const effects = { scene: true, dark: true, photons: true, readNoise: true };
      const { exposure, reads, rows } = await expose({ type, reads: 12, rows: 256 }, effects);
      const { gain, noise } = exposure.detector;
      const g = gain[10 * COLS + 10] as number;
      const electrons = 11 * (exposure.rate[10 * COLS + 10] as number);
      const pixels = [...sensitive(rows)];
      const grown = pixels.map((i) => (reads[11]?.[i] as number) - (reads[0]?.[i] as number));
      // Two reads, each with its noise and the 1/12 DN^2 of rounding
      const expected = electrons / (g * g) + 2 * mean(pixels.map((i) => (noise[i] as number) ** 2)) + 1 / 6;
      expect(Math.abs(mean(grown) - electrons / g)).toBeLessThan(5 * Math.sqrt(expected / grown.length));
      expect(Math.abs(variance(grown) / expected - 1)).toBeLessThan(5 * Math.sqrt(2 / grown.length) + 0.002);
    }
  });

  it('read noise: its map, white from read to read', async () => {
    const { exposure, reads, rows } = await expose({ reads: 2, rows: 256 }, { readNoise: true });
    const z: number[] = [];
    for (const i of sensitive(rows)) {
      const sigma = exposure.detector.noise[i] as number;
      z.push(((reads[1]?.[i] as number) - (reads[0]?.[i] as number)) / Math.sqrt(2 * sigma * sigma + 1 / 6));
    }
    expect(Math.abs(mean(z))).toBeLessThan(5 / Math.sqrt(z.length));
    expect(Math.abs(variance(z) - 1)).toBeLessThan(0.01);
  });

  it('1/f noise: pink, seen by the reference output, in the order of the clock', async () => {
    const rows = 2048;
    const { reads } = await expose({ reads: 1, rows }, { oneOverF: true, readNoise: false });
    // Row means of an amplifier are one sample for each line of 5.2 ms.
    const rowMeans = (output: number) =>
      Array.from({ length: rows }, (_, row) => {
        let sum = 0;
        for (let x = 512 * output; x < 512 * output + 512; x++) sum += reads[0]?.[row * COLS + x] as number;
        return sum / 512;
      });
    const series = [0, 1, 2, 3, 4].map(rowMeans);
    const power = (values: readonly number[], low: number, high: number) => {
      const m = mean(values);
      let sum = 0;
      for (let k = low; k < high; k++) {
        let re = 0;
        let im = 0;
        values.forEach((v, n) => {
          const angle = (2 * Math.PI * k * n) / values.length;
          re += (v - m) * Math.cos(angle);
          im -= (v - m) * Math.sin(angle);
        });
        sum += re * re + im * im;
      }
      return sum / (high - low);
    };
    // Power a bin falls as 1/f: between mean frequencies 24 and 192 (times the lowest) by 8.
    const slopes = series.map((s) => Math.log(power(s, 16, 32) / power(s, 128, 256)) / Math.log(8));
    expect(mean(slopes)).toBeGreaterThan(0.75);
    expect(mean(slopes)).toBeLessThan(1.25);
    const reference = series[4] as number[];
    for (const s of series.slice(0, 4)) {
      const a = s.map((v) => v - mean(s));
      const b = reference.map((v) => v - mean(reference));
      const correlation = mean(a.map((v, i) => v * (b[i] as number))) / Math.sqrt(variance(s) * variance(reference));
      expect(correlation).toBeGreaterThan(0.85);
      expect(correlation).toBeLessThan(0.995);
    }
    // Neighbouring clocks are alike, so the last column of amplifier 2 (read first) follows the first of amplifier 1.
    const column = (x: number) => Array.from({ length: rows }, (_, row) => reads[0]?.[row * COLS + x] as number);
    const difference = (x1: number, x2: number) => {
      const [a, b] = [column(x1), column(x2)];
      return variance(a.map((v, i) => v - (b[i] as number)));
    };
    expect(difference(0, 1023)).toBeLessThan(difference(0, 512));
  });

  it('bias drift: whole outputs move, references included', async () => {
    const { exposure, reads, rows } = await expose({ reads: 5 }, { biasDrift: true });
    reads.forEach((read, r) => {
      for (let output = 0; output < 5; output++) {
        const level = Math.round(exposure.levels[r]?.[output] as number);
        for (let row = 0; row < rows; row++) expect(read[row * COLS + 512 * output + 7]).toBe(level);
      }
    });
    expect(variance(exposure.levels.map((l) => l[0] as number))).toBeGreaterThan(1);
  });

  it('reset anomaly: dies away, spares the references', async () => {
    const { exposure, reads, rows } = await expose({ reads: 12 }, { resetAnomaly: true });
    const excess = reads.map((read) =>
      mean([...sensitive(rows)].map((i) => (read[i] as number) - (reads[11]?.[i] as number))),
    );
    const amplitude = mean([...sensitive(rows)].map((i) => exposure.detector.reset[i] as number));
    expect(Math.abs((excess[0] as number) - amplitude)).toBeLessThan(0.2);
    // Counts are whole: only where pixels scatter over more than one does their mean show the anomaly to a part of one.
    expect(Math.abs((excess[1] as number) - amplitude * Math.exp(-1 / RESET_READS))).toBeLessThan(0.2);
    expect(Math.abs(excess[2] as number)).toBeLessThan(1);
    expect(reads[0]?.subarray(0, 4)).toEqual(reads[11]?.subarray(0, 4));
  });

  it('cosmic rays: as many as asked for, and nowhere else', async () => {
    const { exposure, reads, rows } = await expose({ reads: 4, rows: 256 }, { cosmicRays: 4000 });
    // 3 reads, 248 of 2040 rows; a second pixel for most hits
    const hits = (3 * 4000 * 248) / 2040;
    expect(exposure.jumps.length).toBeGreaterThan(1.5 * hits);
    expect(exposure.jumps.length).toBeLessThan(2.05 * hits);
    const expected = new Map<number, number>();
    for (const { read, row, x, electrons } of exposure.jumps) expected.set((read * rows + row) * COLS + x, electrons);
    let found = 0;
    let wrong = 0;
    for (let r = 1; r < 4; r++) {
      for (const i of sensitive(rows)) {
        const jump = (reads[r]?.[i] as number) - (reads[r - 1]?.[i] as number);
        const electrons = expected.get(r * rows * COLS + i) ?? 0;
        const wanted = electrons / (exposure.detector.gain[i] as number);
        if (reads[r]?.[i] !== 65535 && Math.abs(jump - wanted) > 1) wrong++;
        if (jump > 0) found++;
      }
    }
    expect(wrong).toBe(0);
    expect(found).toBeGreaterThan(0.95 * exposure.jumps.length);
  });

  it('cosmic rays of one size on the gradient of rates', async () => {
    const plan = { type: 'gradient', jumpElectrons: 10_000, rows: 128, reads: 3 } as const;
    const { exposure } = await expose(plan, { scene: true, cosmicRays: 4000 });
    expect(exposure.jumps.length).toBeGreaterThan(300);
    expect(exposure.jumps.every((jump) => jump.electrons % 10_000 === 0)).toBe(true);
    const rate = exposure.rate.subarray(20 * COLS, 21 * COLS);
    expect(rate[3]).toBe(0);
    expect(rate[4]).toBeCloseTo(10 * 400 ** (4 / 2047), 4);
    expect(rate[2043]).toBeCloseTo(10 * 400 ** (2043 / 2047), 2);
  });

  it('full wells, hot and dead pixels, dark current', async () => {
    const flat = await expose(
      { type: 'internalflat', reads: 3, rows: 128 },
      { scene: true, deadPixels: true, hotPixels: true, dark: true },
    );
    let dead = 0;
    let hot = 0;
    for (const i of sensitive(flat.rows)) {
      const grown = (flat.reads[2]?.[i] as number) - (flat.reads[0]?.[i] as number);
      const bits = flat.exposure.detector.bad[i] as number;
      if (bits === BAD_DEAD) {
        dead++;
        expect(grown).toBeLessThanOrEqual(1);
      }
      if (bits === BAD_HOT) {
        hot++;
        expect(flat.exposure.detector.dark[i]).toBeGreaterThanOrEqual(5);
      }
    }
    expect(dead).toBeGreaterThan(150);
    expect(hot).toBeGreaterThan(500);
    const bright = await expose({ rows: 64, reads: 24 }, { cosmicRays: 1e5, saturation: true });
    let full = 0;
    let beyond = 0;
    for (const i of sensitive(bright.rows)) {
      const level = [9120, 8940, 9035, 8905][Math.floor((i % COLS) / 512)] as number;
      const well = bright.exposure.detector.well[i] as number;
      const last = bright.reads.at(-1)?.[i] as number;
      if (last - level > Math.ceil(well)) beyond++;
      if (Math.abs(last - level - well) <= 0.5) full++;
    }
    expect(beyond).toBe(0);
    expect(full).toBeGreaterThan(20);
  });

  it('response: light by its map, the dark by nothing', async () => {
    const rows = 128;
    const flat = await expose({ type: 'internalflat', level: 2000, reads: 3, rows }, { scene: true, flat: true });
    const { detector } = flat.exposure;
    const differences: number[] = [];
    let [low, high, wrong, n] = [0, 0, 0, 0];
    for (const i of sensitive(rows)) {
      const response = detector.response[i] as number;
      const grown = (flat.reads[2]?.[i] as number) - (flat.reads[0]?.[i] as number);
      if (Math.abs(grown - (2 * 2000 * response) / (detector.gain[i] as number)) > 1.01) wrong++;
      const bits = detector.bad[i] as number;
      if (bits === BAD_LOW_FLAT) low += Number(response >= 0.05 && response <= 0.5);
      else if (bits === BAD_HIGH_FLAT) high += Number(response >= 1.3 && response <= 1.8);
      else if (bits === 0 && detector.bad[i + 1] === 0 && i % COLS < 2043) {
        differences.push((detector.response[i + 1] as number) - response);
      }
      n++;
    }
    expect(wrong).toBe(0);
    expect(low / n).toBeCloseTo(5e-4, 4);
    expect(high / n).toBeCloseTo(1e-4, 4);
    // Neighbours share the large-scale part.
    expect(Math.sqrt(variance(differences) / 2)).toBeCloseTo(0.015, 3);
    const dark = await expose({ rows, type: 'dark' }, { dark: true, flat: true });
    expect(dark.exposure.rate).toEqual(dark.exposure.detector.dark);
    expect(dark.exposure.rate[20 * COLS + 20]).toBeCloseTo(0.1, 6);
  });

  it('illumination: smooth, within 20 %, in internal flats alone', async () => {
    const rows = 128;
    const { exposure } = await expose({ type: 'internalflat', rows }, { scene: true, illumination: true });
    const pattern = exposure.illumination as Float32Array;
    let [least, most, step, wrong] = [Infinity, -Infinity, 0, 0];
    for (const i of sensitive(rows)) {
      const value = pattern[i] as number;
      least = Math.min(least, value);
      most = Math.max(most, value);
      step = Math.max(step, Math.abs((pattern[i - 1] as number) - value));
      if (Math.abs((exposure.rate[i] as number) / (600 * value) - 1) > 1e-6) wrong++;
    }
    expect(wrong).toBe(0);
    expect(least).toBeGreaterThan(0.8);
    expect(most).toBeLessThan(1.2);
    expect(most - least).toBeGreaterThan(0.05);
    expect(step).toBeLessThan(1e-3);
    expect((await expose({ type: 'quartzflat' }, { scene: true })).exposure.illumination).toBeUndefined();
  });

  it('unstable pixels: another response in each exposure', async () => {
    const flats = await Promise.all(
      [7, 8, 9, 10].map((exposure) =>
        expose({ type: 'internalflat', exposure, rows: 256 }, { scene: true, unstablePixels: true }),
      ),
    );
    const relative: number[] = [];
    let wrong = 0;
    for (const i of sensitive(256)) {
      const rates = flats.map(({ exposure }) => (exposure.rate[i] as number) / 600);
      const isUnstable = flats[0]?.exposure.detector.bad[i] === BAD_UNSTABLE;
      if (isUnstable) relative.push(...rates.map((rate) => rate - 1));
      else if (rates.some((rate) => rate !== 1)) wrong++;
    }
    expect(wrong).toBe(0);
    expect(relative.length).toBeGreaterThan(4 * 80);
    // Scatter of 5 to 10 %, its square averages to 0.00583.
    expect(Math.sqrt(variance(relative))).toBeGreaterThan(0.065);
    expect(Math.sqrt(variance(relative))).toBeLessThan(0.09);
  });

  it('telegraph noise: two levels, both ways, the mean time in each', async () => {
    const rows = 64;
    const { exposure, reads } = await expose({ rows, reads: 200 }, { telegraph: true });
    const { telegraph, bad } = exposure.detector;
    expect(telegraph.length).toBeCloseTo(5e-4 * 2040 * 56, -1);
    let [up, down, upper, expectedUpper] = [0, 0, 0, 0];
    for (const { index, amplitude, dwell } of telegraph) {
      const series = reads.map((read) => read[index] as number);
      const levels = [...new Set(series)].sort((a, b) => a - b);
      expect(levels.length).toBeLessThanOrEqual(2);
      if (levels.length === 2)
        expect(Math.abs((levels[1] as number) - (levels[0] as number) - amplitude)).toBeLessThan(1);
      series.forEach((value, r) => {
        if (r > 0 && value > (series[r - 1] as number)) up++;
        if (r > 0 && value < (series[r - 1] as number)) down++;
      });
      if (levels.length < 2) continue;
      upper += series.filter((value) => value === levels[1]).length / series.length;
      // Rounding up to whole reads adds half a read to either time.
      expectedUpper += (dwell[1] + 0.5) / (dwell[0] + dwell[1] + 1);
    }
    expect(Math.abs(up - down)).toBeLessThan(0.1 * up);
    // 57 pixels with some 12 changes each: the share of time in a level is known to 2 %
    expect(Math.abs(upper / expectedUpper - 1)).toBeLessThan(0.1);
    expect(up / telegraph.length).toBeGreaterThan(3);
    let wrong = 0;
    for (const i of sensitive(rows)) if (bad[i] === 0 && reads[9]?.[i] !== reads[0]?.[i]) wrong++;
    expect(wrong).toBe(0);
    // What the exposure moved stands where it stood.
    expect(new Set(exposure.pedestal)).toEqual(new Set([0]));
  });

  it('negative dark: counts fall evenly; light shows above it', async () => {
    const { exposure, reads } = await expose({ rows: 256, reads: 9 }, { negativeDark: true, photons: true });
    let [n, wrong] = [0, 0];
    for (const i of sensitive(256)) {
      const rate = exposure.rate[i] as number;
      const fall = (reads[8]?.[i] as number) - (reads[0]?.[i] as number);
      if (exposure.detector.bad[i] === BAD_NEGATIVE) {
        n++;
        expect(rate).toBeLessThanOrEqual(-1);
        expect(Math.abs(fall - (8 * rate) / (exposure.detector.gain[i] as number))).toBeLessThan(1.01);
      } else if (fall !== 0) wrong++;
    }
    expect(wrong).toBe(0);
    expect(n).toBeGreaterThan(80);
    const flat = await expose({ rows: 256, type: 'internalflat' }, { negativeDark: true, scene: true });
    for (const i of sensitive(256)) {
      const dark = flat.exposure.detector.dark[i] as number;
      if (flat.exposure.rate[i] !== Math.fround(600 + dark)) wrong++;
    }
    expect(wrong).toBe(0);
  });

  it('dark structure: scatter and a glow, never below 0', async () => {
    const { exposure } = await expose({ rows: 128 }, { dark: true, darkStructure: true });
    const { dark } = exposure.detector;
    let least = Infinity;
    for (const i of sensitive(128)) least = Math.min(least, dark[i] as number);
    expect(least).toBeGreaterThan(0);
    // The glow is in a corner: large x, small row.
    const block = (row: number, x: number) =>
      mean(Array.from({ length: 400 }, (_, k) => dark[(row + Math.floor(k / 20)) * COLS + x + (k % 20)] as number));
    expect(block(8, 1900)).toBeGreaterThan(2 * block(90, 100));
    const here = Array.from(
      { length: 400 },
      (_, k) => dark[(60 + Math.floor(k / 20)) * COLS + 300 + (k % 20)] as number,
    );
    expect(Math.sqrt(variance(here)) / mean(here)).toBeCloseTo(0.2, 1);
  });

  it('persistence: A times the fluence, a full well at most, dying away from the end of the exposure before', async () => {
    const after = { type: 'internalflat', level: 5000, reads: 15, gapSeconds: 20 } as const;
    const effects = { persistence: true, scene: true, saturation: true } as const;
    const { exposure, reads, rows } = await expose({ type: 'dark', rows: 64, reads: 12, after }, effects);
    const { trap, well, gain } = exposure.detector;
    const amplitudes: number[] = [];
    let wrong = 0;
    for (const i of sensitive(rows)) {
      amplitudes.push(trap[i] as number);
      const fluence = Math.min(5000 * 15, (well[i] as number) * (gain[i] as number));
      // Integral of the rate over reads 1 to 11, which the last count has and the first has not; t in seconds.
      const integral = (300 / 10.647) * (Math.exp(-(20 + 10.647) / 300) - Math.exp(-(20 + 12 * 10.647) / 300));
      const expected = ((trap[i] as number) * fluence * integral) / (gain[i] as number);
      const grown = (reads[11]?.[i] as number) - (reads[0]?.[i] as number);
      if (Math.abs(grown - expected) > 1.01) wrong++;
    }
    expect(wrong).toBe(0);
    amplitudes.sort((a, b) => a - b);
    expect(amplitudes[amplitudes.length >> 1]).toBeLessThan(4e-4);
    expect(amplitudes.at(-1)).toBeGreaterThan(6e-3);
    expect(amplitudes.at(-1)).toBeLessThan(1.3e-2);
    // Nothing before, nothing to come out.
    const alone = await expose({ type: 'dark', rows: 64 }, effects);
    expect(alone.exposure.trapped).toBeUndefined();
    expect(alone.reads[3]).toEqual(alone.reads[0]);
  });

  it('one switch moves nothing else', async () => {
    // Light and photons stay the same numbers whether or not the noise is there.
    const quiet = await expose({ type: 'internalflat', reads: 2 }, { scene: true, photons: true });
    const loud = await expose({ type: 'internalflat', reads: 2 }, { scene: true, photons: true, readNoise: true });
    const difference = [...sensitive(64)].map((i) => (loud.reads[1]?.[i] as number) - (quiet.reads[1]?.[i] as number));
    const sigma = mean([...sensitive(64)].map((i) => (loud.exposure.detector.noise[i] as number) ** 2));
    expect(Math.abs(variance(difference) / (sigma + 1 / 6) - 1)).toBeLessThan(0.03);
  });
});

describe('files', () => {
  it('.apz rebuilds the reads as they stand', async () => {
    const output = join(directory, 'files');
    const apz = await simulateExposure({ ...base, output, reads: 6 });
    const raw = await simulateExposure({ ...base, output, reads: 6, format: 'raw', truth: false, calibrations: false });
    expect(apz.raw).toBe('apR-a-44380007.apz');
    expect(raw.raw).toBe('apR-a-44380007.fits');
    expect(apz.truth).toBe('truth-apR-a-44380007.fits');
    const packed = openFits(join(output, apz.raw));
    const plain = openFits(join(output, raw.raw));
    expect(packed.hdus.length).toBe(6 + 2);
    const image = (file: typeof packed, hdu: number) =>
      file.readImage(file.hdu(hdu)).data as unknown as ArrayLike<number>;
    const average = image(packed, 1);
    const now = Int32Array.from(image(packed, 2));
    for (let read = 0; read < 6; read++) {
      if (read > 0) {
        const residual = image(packed, read + 2);
        for (let i = 0; i < now.length; i++)
          now[i] = (now[i] as number) + (average[i] as number) + (residual[i] as number);
      }
      expect(
        Buffer.from(Uint16Array.from(now).buffer).equals(Buffer.from(Uint16Array.from(image(plain, read + 1)).buffer)),
      ).toBe(true);
      expect(packed.hdu(read === 0 ? 2 : read + 2).header.get('DATE-OBS')).toBe(
        plain.hdu(read + 1).header.get('DATE-OBS'),
      );
    }
    packed.close();
    plain.close();
  });

  it('funpack gives back the images with their checksums', async (ctx) => {
    try {
      execFileSync('funpack', ['-H'], { stdio: 'ignore' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT')
        return ctx.skip('funpack is not installed (libcfitsio-bin)');
    }
    const output = join(directory, 'funpack');
    const { raw } = await simulateExposure({
      ...base,
      tele: 'lco',
      chip: 'c',
      output,
      reads: 3,
      truth: false,
      calibrations: false,
    });
    expect(raw).toBe('asR-c-44380007.apz');
    const packedPath = join(output, 'packed.fits.fz');
    writeFileSync(packedPath, readFileSync(join(output, raw)));
    execFileSync('funpack', ['-O', join(output, 'unpacked.fits'), packedPath]);
    const unpacked = openFits(join(output, 'unpacked.fits'));
    const packed = openFits(join(output, raw));
    // The average is the primary again: one HDU less.
    expect(unpacked.hdus.length).toBe(packed.hdus.length - 1);
    const text = readFileSync(packedPath, 'latin1');
    const stored = [...text.matchAll(/ZDATASUM= '(\d+) *'/g)].map((match) => match[1]);
    unpacked.hdus.forEach((hdu, i) => {
      const other = packed.hdu(i + 1);
      const [a, b] = [unpacked.readImage(hdu).data, packed.readImage(other).data];
      expect(a.constructor).toBe(b.constructor);
      expect(
        Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength)),
      ).toBe(true);
      // What was stored as the image's own data sum is what funpack computes anew.
      expect(hdu.header.get('DATASUM')).toBe(stored[i]);
      expect(hdu.header.get('DATE-OBS')).toBe(other.header.get('DATE-OBS'));
    });
    unpacked.close();
    packed.close();
    try {
      execFileSync('fitsverify', ['-q', '-e', join(output, raw)]);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  });

  it('truth and calibrations say the same of the detector', async () => {
    const output = join(directory, 'truth');
    const { truth, calibrations, jumps } = await simulateExposure({
      ...base,
      output,
      reads: 5,
      effects: { cosmicRays: 3000 },
    });
    const file = openFits(join(output, truth as string));
    const names = file.hdus.map((hdu) => hdu.name);
    const images = [
      'RATE',
      'RATE_E',
      'GAIN',
      'READNOISE',
      'SATURATION',
      'C2',
      'C3',
      'RESPONSE',
      'PERSISTENCE',
      'BADPIX',
    ];
    for (const name of [...images, 'JUMPS', 'BIAS', 'TELEGRAPH', 'FIBRES']) expect(names).toContain(name);
    const map = (from: typeof file, name: string) => {
      const hdu = from.hdus.find((h) => h.name === name);
      return from.readImage(hdu as NonNullable<typeof hdu>).data as Float32Array;
    };
    expect(file.hdus.find((hdu) => hdu.name === 'JUMPS')?.header.get('NAXIS2')).toBe(jumps);
    const made = await mockSpectra({ ...base, type: 'object', mjd: base.mjd, noise: false });
    for (const [name, data] of [
      ['FLUX_E', made.truth.electrons],
      ['CENTRE', made.truth.centre],
      ['WIDTH', made.truth.width],
      ['PROFILE', made.truth.profile.cumulative],
    ] as const) {
      expect(Buffer.compare(Buffer.from(map(file, name).buffer), Buffer.from(data.buffer)), name).toBe(0);
    }
    const shown = map(file, 'RATE_E');
    const [light, leak, through] = [made.truth.exact, map(file, 'DARK_E'), map(file, 'RESPONSE')];
    const marked = map(file, 'BADPIX') as unknown as Uint16Array;
    for (let row = 4; row < 60; row += 7) {
      for (let x = 4; x < 2044; x += 31) {
        const i = row * 2048 + x;
        if (marked[i] !== 0) continue;
        const expected = (light[i] as number) * made.gain * (through[i] as number) + (leak[i] as number);
        expect(Math.abs((shown[i] as number) - expected)).toBeLessThan(1e-5 * Math.max(1, expected));
      }
    }
    expect(file.readTable('FIBRES').column('TARGET').values).toHaveLength(300);
    expect(calibrations).toContain('calib/gain-apo-a.fits');
    const gain = openFits(join(output, 'calib/gain-apo-a.fits'));
    expect(gain.hdu(0).header.get('CALKIND')).toBe('gain');
    expect(map(gain, 'GAIN')).toEqual(map(file, 'GAIN'));
    const [rate, electrons, gains] = [map(file, 'RATE'), map(file, 'RATE_E'), map(file, 'GAIN')];
    for (let i = 0; i < rate.length; i += 997)
      expect(rate[i]).toBe(Math.fround((electrons[i] as number) / (gains[i] as number)));
    gain.close();
    const [response, bad] = [map(file, 'RESPONSE'), map(file, 'BADPIX') as unknown as Uint16Array];
    const flat = openFits(join(output, 'calib/flat-apo-a.fits'));
    const [field, flags] = [map(flat, 'FLAT'), map(flat, 'DQ') as unknown as Uint32Array];
    const good = field.filter((value) => value > 0).sort((a, b) => a - b);
    expect(good[good.length >> 1]).toBeCloseTo(1, 3);
    const dark = openFits(join(output, 'calib/dark-apo-a.fits'));
    const [dn, darkFlags] = [map(dark, 'RATE'), map(dark, 'DQ') as unknown as Uint32Array];
    expect(dark.hdu(0).header.get('READTIME')).toBe(10.647);
    const darkE = map(file, 'DARK_E');
    const scale = (response[30 * 2048 + 30] as number) / (field[30 * 2048 + 30] as number);
    const seen = new Set<number>();
    for (let i = 0; i < field.length; i++) {
      const [row, x] = [Math.floor(i / 2048), i % 2048];
      if (row < 4 || row >= 60 || x < 4 || x >= 2044) {
        const isBorder = Number.isNaN(field[i]) && flags[i] === 2 && Number.isNaN(dn[i]) && darkFlags[i] === 2;
        if (!isBorder) throw new Error(`border pixel ${i}`);
        continue;
      }
      const bits = bad[i] as number;
      seen.add(bits);
      for (const [flag, expected, from] of [
        [64, BAD_DEAD | BAD_LOW_FLAT, flags],
        [2 ** 19, BAD_UNSTABLE, flags],
        [2 ** 20, BAD_HIGH_FLAT, flags],
        [16, BAD_NEGATIVE, darkFlags],
        [32, BAD_HOT, darkFlags],
      ] as const) {
        if ((((from[i] as number) & flag) !== 0) !== ((bits & expected) !== 0)) throw new Error(`bit ${flag} of ${i}`);
      }
      if ((bits & BAD_DEAD) !== 0) expect(field[i]).toBeNaN();
      else if (Math.abs((response[i] as number) / (field[i] as number) / scale - 1) > 1e-6)
        throw new Error(`flat ${i}`);
      if (Math.abs((darkE[i] as number) - (dn[i] as number) * (gains[i] as number)) > 1e-4)
        throw new Error(`dark ${i}`);
    }
    expect(seen.size).toBeGreaterThan(6);
    flat.close();
    dark.close();
    file.close();
  });

  it('says in every header which detector it was, and when: after the exposure before', async () => {
    const output = join(directory, 'after');
    const dark = { ...base, type: 'dark', truth: false, calibrations: false, format: 'raw', output } as const;
    const header = async (plan: Plan) => {
      const { raw } = await simulateExposure({ ...dark, ...plan });
      const file = openFits(join(output, raw));
      const cards = ['DETSER', 'DATE-OBS'].map((name) => file.hdu(2).header.get(name));
      file.close();
      return cards;
    };
    expect(await header({})).toEqual(['MOCK-apo-a-1', '2023-02-25T01:10:10.647']);
    // Exposure 7 begins at 01:10:00 and takes 20 reads of 10.647 s; the second read of this one is a read later.
    const after = { type: 'internalflat', reads: 20, exposure: 7, gapSeconds: 5 } as const;
    expect(await header({ exposure: 9, after })).toEqual(['MOCK-apo-a-1', '2023-02-25T01:13:48.587']);
  });

  it('refuses what it cannot simulate', async () => {
    const bad: Plan[] = [
      { rows: 8 },
      { rows: 2049 },
      { reads: 0 },
      { exposure: 10_000 },
      { mjd: 55_000 },
      { seed: 1.5 },
      { effects: { glow: true } as unknown as Partial<Effects> },
      { type: 'moon' as never },
      { chip: 'd' as never },
      { level: 100 },
      { type: 'internalflat', level: 5001 },
      { type: 'internalflat', level: Number.NaN },
      { after: { type: 'dark', reads: 0 } },
      { after: { type: 'sun' as never, reads: 4 } },
      { after: { type: 'dark', reads: 4, level: 600 } },
      { after: { type: 'dark', reads: 4, gapSeconds: -1 } },
      { exposure: 0, after: { type: 'dark', reads: 4 } },
    ];
    for (const plan of bad) expect(() => planExposure({ ...base, ...plan })).toThrow(UsageError);
  });
});
