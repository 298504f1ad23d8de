import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { UsageError } from '../core/errors.js';
import { DQ } from '../core/generated/dq.js';
import { PROFILE_NODES, PROFILE_SAMPLES } from '../core/spectra.js';
import { addon } from '../engine/index.js';
import { type MockSpectra, type MockSpectraOptions, mockSpectra, SPECTRA_TYPES } from './spectra.js';

const COLS = 2048;
const base = { tele: 'apo', chip: 'b', type: 'quartzflat', rows: 96 } as const;
const OFF = {
  brokenFibres: false,
  neighbours: false,
  profileDrift: false,
  wings: false,
  scatteredLight: false,
  flexure: false,
};
const of = (options: Partial<MockSpectraOptions>) => mockSpectra({ ...base, ...options });
const hash = ({ image, ivar, dq, truth }: MockSpectra) => {
  const sha = createHash('sha256');
  for (const data of [image, ivar, dq, truth.electrons, truth.centre, truth.width, truth.profile.cumulative]) {
    sha.update(data);
  }
  return sha.digest('hex');
};

/** Light of a fibre in a pixel, by the table in the truth: written from the definition in src/core/spectra.ts. */
function share({ truth }: MockSpectra, fibre: number, x: number, row: number): number {
  const { centre, width, profile } = truth;
  const at = (x / (COLS - 1)) * (PROFILE_NODES - 1);
  const node = Math.min(Math.floor(at), PROFILE_NODES - 2);
  const below = (edge: number): number => {
    const z = (edge - (centre[fibre * COLS + x] as number)) / (width[fibre * COLS + x] as number);
    const sample = Math.min(Math.max((z + 12) * 20, 0), PROFILE_SAMPLES - 1);
    const i = Math.min(Math.floor(sample), PROFILE_SAMPLES - 2);
    const of = (n: number) => {
      const start = (fibre * PROFILE_NODES + n) * PROFILE_SAMPLES + i;
      const [a, b] = [profile.cumulative[start] as number, profile.cumulative[start + 1] as number];
      return a + (b - a) * (sample - i);
    };
    return of(node) + (of(node + 1) - of(node)) * (at - node);
  };
  return below(row + 0.5) - below(row - 0.5);
}

it('the truth paints the image: flux, centre, width, profile and background of every pixel', async () => {
  const made = await of({ noise: false, badPixels: 0 });
  const { image, truth } = made;
  let worst = 0;
  for (let row = 4; row < 92; row += 3) {
    for (let x = 4; x < 2044; x += 67) {
      let sum = truth.background[row * COLS + x] as number;
      for (let fibre = 0; fibre < 20; fibre++) {
        sum += (truth.flux[fibre * COLS + x] as number) * share(made, fibre, x, row);
      }
      worst = Math.max(worst, Math.abs(sum - (image[row * COLS + x] as number)) / (truth.flux[x] as number));
    }
  }
  // Straight lines between samples 0.05 px apart leave h^2 / 8 of the slope of a profile, 0.24 for each px^2, at both edges.
  expect(worst).toBeLessThan(2 * (0.05 ** 2 / 8) * 0.24);
  expect(worst).toBeGreaterThan(0);
});

it('profiles go from 0 to 1, never fall, and have their centroid within 4 px at 0', async () => {
  const { cumulative } = (await of({ tele: 'lco', chip: 'a' })).truth.profile;
  for (const fibre of [0, 5, 150, 299]) {
    for (const node of [0, 4, 8]) {
      const table = cumulative.subarray((fibre * 9 + node) * PROFILE_SAMPLES, (fibre * 9 + node + 1) * PROFILE_SAMPLES);
      expect(table[0]).toBe(0);
      expect(table[PROFILE_SAMPLES - 1]).toBeCloseTo(1, 6);
      let moment = 0;
      for (let i = 1; i < PROFILE_SAMPLES; i++) {
        const part = (table[i] as number) - (table[i - 1] as number);
        expect(part).toBeGreaterThanOrEqual(0);
        // Samples 160 to 320 are -4 px to +4 px.
        if (i > 160 && i <= 320) moment += part * ((i - 0.5) / 20 - 12);
      }
      expect(Math.abs(moment)).toBeLessThan(1e-4);
    }
  }
});

it('noise is what the inverse variance says', async () => {
  const { image, ivar, truth } = await of({ rows: 256, badPixels: 0 });
  let [n, z, zz] = [0, 0, 0];
  for (let i = 0; i < image.length; i++) {
    if (ivar[i] === 0) continue;
    const one = ((image[i] as number) - (truth.exact[i] as number)) * Math.sqrt(ivar[i] as number);
    n++;
    z += one;
    zz += one * one;
  }
  expect(n).toBe(248 * 2040);
  expect(Math.abs(z / n)).toBeLessThan(4 / Math.sqrt(n));
  expect(Math.abs(zz / n - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
});

it('is the same on every CPU target, for any number of threads, and for the same seed only', async () => {
  const hashes = new Set<string>();
  try {
    for (const target of addon().targets().available) {
      expect(addon().limitTarget(target)).toBe(true);
      for (const threads of [1, 2]) hashes.add(hash(await of({ type: 'object', rows: 48, threads })));
    }
  } finally {
    addon().limitTarget('');
  }
  expect(hashes.size).toBe(1);
  expect(hashes.has(hash(await of({ type: 'object', rows: 48, seed: 2 })))).toBe(false);
});

it.each(SPECTRA_TYPES)('%s has light, and with nothing in it none', async (type) => {
  const lit = await of({ type, rows: 64, noise: false });
  expect(lit.truth.electrons.reduce((sum, e) => sum + e, 0)).toBeGreaterThan(100);
  const unlit = await of({ type, rows: 64, noise: false, brightness: 0, badPixels: 0 });
  expect(unlit.image.every((value) => value === 0 || Number.isNaN(value))).toBe(true);
});

it('effects are seen in the truth, each alone', async () => {
  const plain = (await of({ effects: OFF, noise: false })).truth;
  expect(new Set(plain.width)).toEqual(new Set([1]));
  expect(plain.background.every((value) => value === 0)).toBe(true);
  expect(plain.states.filter((state) => state === 'broken' || state === 'low')).toEqual([]);
  const one = async (name: keyof typeof OFF, options: Partial<MockSpectraOptions> = {}) =>
    (await of({ effects: { ...OFF, [name]: true }, noise: false, ...options })).truth;
  const broken = await one('brokenFibres', { rows: 2048 });
  expect(broken.states.filter((state) => state === 'broken')).toHaveLength(2);
  expect(broken.states.filter((state) => state === 'low')).toHaveLength(2);
  const drift = await one('profileDrift');
  expect(Math.max(...drift.width.subarray(0, COLS))).toBeGreaterThan(1.01 * Math.min(...drift.width.subarray(0, COLS)));
  const wings = await one('wings');
  // Light beyond 6 px on one side: none of a Gauss-Hermite profile.
  const beyond = (truth: typeof plain) => truth.profile.cumulative[4 * PROFILE_SAMPLES + 120] as number;
  expect(beyond(plain)).toBeLessThan(1e-6);
  // 2 % of (3 (atan 4 - atan 2) - 6 / 17) over twice (3 atan 4 - 12 / 17)
  expect(beyond(wings)).toBeCloseTo(0.02 * 0.04632, 6);
  const scattered = await one('scatteredLight');
  const light = scattered.exact.reduce((sum, value) => sum + value, 0);
  const stray = scattered.background.reduce((sum, value) => sum + value, 0);
  expect(stray / light).toBeGreaterThan(0.005);
  expect(stray / light).toBeLessThan(0.02);
  const [early, late] = [await one('flexure', { exposure: 1 }), await one('flexure', { exposure: 100 })];
  const moved = (late.centre[1024] as number) - (early.centre[1024] as number);
  expect(moved).toBeCloseTo(late.flexure.shift - early.flexure.shift, 1);
  expect(Math.abs(moved)).toBeGreaterThan(0.02);
  expect(Math.abs(moved)).toBeLessThan(0.8);
  const pairs = await one('neighbours', { type: 'object', rows: 2048 });
  const total = (fibre: number) =>
    pairs.electrons.subarray(fibre * COLS, (fibre + 1) * COLS).reduce((sum, e) => sum + e, 0);
  const bright = pairs.targets.flatMap((target, i) => (target.kind === 'hot' && target.h < 7 ? [i] : []));
  expect(bright).toHaveLength(3);
  // A thousand times the star; the sky is in both.
  for (const fibre of bright) expect(total(fibre) / total(fibre + 1)).toBeGreaterThan(100);
});

it('does as it is told: level, dead fibres, shift, bad columns, cosmic rays, light of its own', async () => {
  const plain = await of({ badPixels: 0 });
  const dim = await of({ brightness: 0.03 });
  expect(dim.truth.flux[3 * COLS + 9]).toBeCloseTo(0.03 * (plain.truth.flux[3 * COLS + 9] as number), 3);
  const dead = (await of({ dead: [2] })).truth;
  expect(dead.states[2]).toBe('broken');
  expect(dead.flux.subarray(2 * COLS, 3 * COLS).every((value) => value === 0)).toBe(true);
  const moved = (await of({ shift: 3 })).truth;
  expect((moved.centre[77] as number) - (plain.truth.centre[77] as number)).toBeCloseTo(3, 4);
  expect(plain.dq[10 * COLS + 500]).toBe(0);
  expect((await of({ badPixels: 0, badColumns: [500] })).dq[10 * COLS + 500]).toBe(DQ.HOT);
  const hit = await of({ badPixels: 0, cosmicRays: 50, noise: false });
  expect(hit.truth.cosmicRays).toHaveLength(50);
  const { row, x } = hit.truth.cosmicRays[0] as { row: number; x: number };
  expect(hit.image[row * COLS + x]).toBeGreaterThan(hit.truth.exact[row * COLS + x] as number);
  const own = await of({ light: (fibre, column) => fibre + column / 1000 });
  const expected = (1 + 0.2) * (own.truth.throughput[1] as number);
  expect(own.truth.electrons[COLS + 200]).toBeCloseTo(expected, 4);
});

it('refuses what it cannot make', async () => {
  const bad = [
    { rows: 15 },
    { reads: 1 },
    { type: 'dark' as never },
    { chip: 'd' as never },
    { dead: [300] },
    { gain: 0 },
  ];
  for (const options of bad) await expect(of(options)).rejects.toThrow(UsageError);
});
