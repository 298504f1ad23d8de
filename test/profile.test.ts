/** Profiles, scattered light and models of the mock's exposures, against its truth. Strips of rows keep it short. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROFILE_NODES, PROFILE_SAMPLES, type Profile, type Traces } from '../src/core/spectra.js';
import { encodeFits, openFits } from '../src/fits/index.js';
import { type MockSpectra, mockSpectra } from '../src/simulate/spectra.js';
import { evaluateBackground, fitBackground, subtractImages } from '../src/stages/background.js';
import { extractWith } from '../src/stages/extract/methods.js';
import { BAD_BITS } from '../src/stages/measure.js';
import { paintModel } from '../src/stages/paint.js';
import { compareProfiles } from '../src/stages/profile_compare.js';
import { centroidOf, gaussianProfile, type MeasuredProfile, measureProfile } from '../src/stages/trace/profile.js';
import { encodeTraces } from '../src/stages/trace_product.js';
import { rampline } from './cli.js';
import { writeFlat } from './mock_flat.js';

const ROWS = 512;
const COLS = 2048;
const FIBRES = 300;

const weights = ({ ivar, dq }: MockSpectra): Float32Array =>
  ivar.map((value, i) => (((dq[i] as number) & BAD_BITS) === 0 ? value : 0));

const places = ({ rows, cols, fibres, truth: { centre, width } }: MockSpectra) => ({
  rows,
  cols,
  fibres,
  centre,
  width,
});

/** Fibres whose light lies on the strip as a whole. */
const whole = ({ truth, rows }: MockSpectra): number[] =>
  Array.from({ length: FIBRES }, (_, f) => f).filter(
    (f) => truth.states[f] === 'ok' && (truth.centre[f * COLS + 1024] as number) < rows - 24,
  );

const rms = (values: readonly number[]): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

/** Differences of two profiles in the light of pixels, over the fibres and nodes. */
function pixelErrors(a: Profile, b: Profile, fibres: readonly number[]): { all: number[]; beside: number[] } {
  const [all, beside]: [number[], number[]] = [[], []];
  for (const f of fibres) {
    for (let node = 0; node < PROFILE_NODES; node++) {
      const from = (f * PROFILE_NODES + node) * PROFILE_SAMPLES;
      const at = (p: Profile, s: number) => p.cumulative[from + s] as number;
      for (let s = 20; s < PROFILE_SAMPLES; s += 5) {
        const error = at(a, s) - at(a, s - 20) - at(b, s) + at(b, s - 20);
        all.push(error);
        if (Math.abs(Math.abs((s - 10) / 20 - 12) - 6.6) < 0.5) beside.push(Math.abs(error));
      }
    }
  }
  return { all, beside };
}

const base = { tele: 'apo', chip: 'b', rows: ROWS } as const;
let flat: MockSpectra;
let measured: MeasuredProfile;
let scratch: string;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'rampline-profile-'));
  flat = await mockSpectra({ ...base, type: 'quartzflat', exposure: 2 });
  measured = await measureProfile({ ...places(flat), image: flat.image, ivar: weights(flat), flux: flat.truth.flux });
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A product of traces. */
function writeTraces(name: string, traces: Traces): string {
  const each = (value: number) => new Float32Array(FIBRES).fill(value);
  const { cards, hdus } = encodeTraces({
    traces,
    findings: {
      number: Int32Array.from({ length: FIBRES }, (_, i) => 300 - i),
      rms: each(0.001),
      chi2: each(1),
      columns: new Int32Array(FIBRES).fill(COLS),
      flux: each(400),
      shift: each(0),
    },
    facts: {
      tele: 'apo',
      mjd: 60857,
      chip: 'b',
      exposure: 2,
      kind: 'domeflat',
      rows: ROWS,
      shift: 0,
      shiftError: 0.001,
      level: 400,
      unit: 'DN/read',
    },
    background: { rows: 8, cols: 16, values: new Float32Array(128) },
  } as Parameters<typeof encodeTraces>[0]);
  const identity = [
    ['TELE', 'apo', ''],
    ['MJD', 60857, ''],
    ['CHIP', 'b', ''],
    ['EXPOSURE', 2, ''],
    ['STAGE', 'trace', ''],
  ] as const;
  const file = join(scratch, name);
  writeFileSync(file, Buffer.concat(encodeFits([{ header: [...identity, ...cards] }, ...hdus])));
  return file;
}

describe('the profile of a flat', () => {
  it('is that of the mock, between its pixels, wings and all', () => {
    const { all, beside } = pixelErrors(measured.profile, flat.truth.profile, whole(flat));
    expect(rms(all)).toBeLessThan(2e-4);
    expect(rms(beside)).toBeLessThan(1e-4);
    expect(measured.chi2).toBeGreaterThan(0.97);
    // Of means of 64 columns, in which what is wrong with a profile (0.002 of a pixel's chi2) counts 64 times.
    expect(measured.chi2).toBeLessThan(1.15);
  });

  it('rises from 0 to 1, never falls, and has its centroid in the middle', () => {
    const { cumulative } = measured.profile;
    for (let at = 0; at < cumulative.length; at += PROFILE_SAMPLES) {
      const table = cumulative.subarray(at, at + PROFILE_SAMPLES);
      expect([table[0], table[PROFILE_SAMPLES - 1]]).toEqual([0, 1]);
      expect(table.some((value, s) => s > 0 && value < (table[s - 1] as number))).toBe(false);
      expect(Math.abs(centroidOf(table))).toBeLessThan(2e-4);
    }
  });

  it('is found about centres that are off, and says by how much', async () => {
    const centre = flat.truth.centre.map((y) => y + 0.1);
    const moved = await measureProfile({
      ...places(flat),
      centre,
      image: flat.image,
      ivar: weights(flat),
      flux: flat.truth.flux,
    });
    // The light of 32 columns tells a place to some 0.0025 px, so the farthest of 200 lies at 0.005 to 0.009 in one draw or another.
    const off = whole(flat).flatMap((f) =>
      [1, 4, 7].map((node) => (moved.shift[f * PROFILE_NODES + node] as number) + 0.1),
    );
    expect(rms(off)).toBeLessThan(0.003);
    expect(Math.max(...off.map(Math.abs))).toBeLessThan(0.009);
    expect(rms(pixelErrors(moved.profile, flat.truth.profile, whole(flat)).all)).toBeLessThan(3e-4);
  });

  it('is better from free functions than from a Gauss-Hermite series, where there are wings', async () => {
    const input = { ...places(flat), image: flat.image, ivar: weights(flat), flux: flat.truth.flux };
    const series = await measureProfile(input, { kind: 'gauss-hermite' });
    const errors = rms(pixelErrors(series.profile, flat.truth.profile, whole(flat)).all);
    expect(errors).toBeGreaterThan(rms(pixelErrors(measured.profile, flat.truth.profile, whole(flat)).all));
    expect(errors).toBeLessThan(2e-3);
  });

  it('needs light in three fibres', async () => {
    const dark = { ...places(flat), image: flat.image, ivar: flat.ivar, flux: new Float32Array(FIBRES * COLS) };
    await expect(measureProfile(dark)).rejects.toThrow(/light in three fibres/);
  });
});

describe('another exposure, extracted with the profile of the flat', () => {
  it('has the light of the truth, and none of a neighbour 1000 times as bright', async () => {
    // A whole chip: a strip has too few fibres to tell its wings from scattered light so well.
    const rows = 2048;
    const lamp = await mockSpectra({ ...base, rows, type: 'quartzflat', exposure: 2 });
    const shape = await measureProfile({
      ...places(lamp),
      image: lamp.image,
      ivar: weights(lamp),
      flux: lamp.truth.flux,
    });
    const light = (fibre: number) => (fibre % 8 === 3 ? 1000 : fibre % 8 === 4 ? 1 : 300);
    const other = await mockSpectra({
      ...base,
      rows,
      type: 'domeflat',
      exposure: 9,
      light,
      noise: false,
      badPixels: 0,
    });
    const common = { ...places(other), profile: shape.profile };
    const fitted = await fitBackground({ ...common, image: other.image, ivar: other.ivar });
    const background = await evaluateBackground(rows, COLS, fitted);
    const image = await subtractImages(other.image, background, rows, COLS);
    const traceDq = new Uint32Array(FIBRES * COLS);
    const { flux } = await extractWith('joint', { ...common, image, ivar: other.ivar, dq: other.dq, traceDq });
    const [ratios, left]: [number[], number[]] = [[], []];
    for (const f of whole(other)) {
      for (let x = 300; x < 1800; x += 50) {
        const [found, exact] = [flux[f * COLS + x] as number, other.truth.flux[f * COLS + x] as number];
        if (f % 8 === 4 && other.truth.states[f - 1] === 'ok')
          left.push((found - exact) / (other.truth.flux[(f - 1) * COLS + x] as number));
        else if (f % 8 !== 4) ratios.push(found / exact - 1);
      }
    }
    expect(Math.abs(ratios.reduce((sum, v) => sum + v / ratios.length, 0))).toBeLessThan(5e-4);
    expect(rms(ratios)).toBeLessThan(5e-4);
    expect(rms(left)).toBeLessThan(1e-4);
  });
});

describe('scattered light', () => {
  const judge = async (options: Parameters<typeof mockSpectra>[0]) => {
    const mock = await mockSpectra(options);
    const fitted = await fitBackground({
      ...places(mock),
      image: mock.image,
      ivar: weights(mock),
      profile: mock.truth.profile,
    });
    const model = await evaluateBackground(ROWS, COLS, fitted);
    const errors = Array.from({ length: 4000 }, (_, i) => {
      const at = (8 + Math.floor((i * (ROWS - 16)) / 4000)) * COLS + 8 + ((i * 37) % (COLS - 16));
      return (model[at] as number) - (mock.truth.background[at] as number);
    });
    const stated = rms([...fitted.gridError]);
    return { errors, stated, mean: errors.reduce((sum, v) => sum + v / errors.length, 0) };
  };

  it('of a flat is found to its stated error', async () => {
    const { errors, stated } = await judge({ ...base, type: 'domeflat' });
    expect(rms(errors)).toBeLessThan(4 * stated);
  });

  it('of stars takes nothing from faint fibres where there is none', async () => {
    const { errors, stated, mean } = await judge({ ...base, type: 'object', effects: { scatteredLight: false } });
    expect(Math.abs(mean)).toBeLessThan(stated);
    expect(rms(errors)).toBeLessThan(3 * stated);
  });
});

it('a model of the truth leaves noise alone', async () => {
  const painted = await paintModel({ ...places(flat), flux: flat.truth.flux, profile: flat.truth.profile });
  const w = weights(flat);
  let [chi2, pixels] = [0, 0];
  for (let i = 0; i < w.length; i += 7) {
    if (w[i] === 0) continue;
    chi2 +=
      ((flat.image[i] as number) - (painted[i] as number) - (flat.truth.background[i] as number)) ** 2 *
      (w[i] as number);
    pixels++;
  }
  expect(chi2 / pixels).toBeGreaterThan(0.98);
  expect(chi2 / pixels).toBeLessThan(1.02);
});

describe('profile compare', () => {
  const tracesOf = (profile: Profile, width: number): Traces => {
    const map = (value: number) => new Float32Array(FIBRES * COLS).fill(value);
    return {
      fibres: FIBRES,
      cols: COLS,
      centre: Float32Array.from({ length: FIBRES * COLS }, (_, i) => 20 + 6.6 * Math.floor(i / COLS)),
      width: map(width),
      flux: map(400),
      covariance: new Float32Array(6 * FIBRES * COLS),
      dq: new Uint32Array(FIBRES * COLS),
      states: Array.from({ length: FIBRES }, () => 'ok' as const),
      profile,
      throughput: new Float32Array(FIBRES).fill(1),
      throughputError: new Float32Array(FIBRES).fill(0.001),
    };
  };
  const errors = new Float32Array(FIBRES * PROFILE_NODES).fill(1e-4);
  const gaussian = gaussianProfile(FIBRES);

  it('knows the widths of Gaussians, and that a width of 1 % more must be followed', () => {
    const [a, b] = [tracesOf(gaussian, 1), tracesOf(gaussian, 1.01)];
    const { verdict, places: nine } = compareProfiles(a, b, 6.6, { a: errors, b: errors });
    expect(nine).toHaveLength(9);
    // A Gaussian of sigma 1 px in pixels has sigma sqrt(1 + 1/12) nearly: its full width at half maximum is 2.3548 times that.
    expect(nine[4]?.a.fwhm).toBeCloseTo(2.3548 * Math.sqrt(13 / 12), 1);
    expect(nine[4]?.a.asymmetry).toBeCloseTo(0, 4);
    // The cumulative function moves by 0.01 z phi(z), at most 0.01 * 0.2420 at z = 1.
    expect(Math.abs(nine[4]?.difference ?? 0)).toBeCloseTo(0.00242, 4);
    expect(verdict).toBe('evolve');
  });

  it('calls equal what does not differ, and does not care for what has no effect', () => {
    const a = tracesOf(gaussian, 1);
    expect(compareProfiles(a, a, 6.6, { a: errors, b: errors }).verdict).toBe('same');
    const fine = errors.map(() => 1e-7);
    expect(compareProfiles(a, tracesOf(gaussian, 1.0001), 6.6, { a: fine, b: fine }).verdict).toBe('changed');
  });

  it('is a verb, with a table, numbers for programs and a picture', () => {
    const a = writeTraces('a.fits', tracesOf(gaussian, 1));
    const b = writeTraces('b.fits', tracesOf(gaussian, 1.02));
    const picture = join(scratch, 'profiles.svg');
    const { code, stdout, stderr } = rampline(['--json', 'profile', 'compare', a, b, '-o', picture]);
    expect([code, stderr]).toEqual([0, '']);
    const [only] = JSON.parse(stdout).outcomes;
    // No error was stated, so that significance is not known.
    expect(only).toMatchObject({ file: b, verdict: 'evolve' });
    expect(only.places).toHaveLength(9);
    expect(readFileSync(picture, 'utf8')).toMatch(/^<svg|^<\?xml/);
  });

  it('goes on behind a later file that cannot be compared', () => {
    const [a, b] = [join(scratch, 'a.fits'), join(scratch, 'b.fits')];
    const missing = join(scratch, 'missing.fits');
    const { code, stdout } = rampline(['--json', 'profile', 'compare', a, missing, b]);
    expect(code).toBe(21);
    const { outcomes, failures } = JSON.parse(stdout);
    expect(outcomes).toMatchObject([{ file: b, verdict: 'evolve' }]);
    expect(failures).toMatchObject([{ file: missing, failure: { error: 'input', message: 'no such file' } }]);
  });
});

it('model paints a flat by its own traces, and leaves noise', async () => {
  const { path, mock } = await writeFlat(scratch, { ...base, type: 'quartzflat', exposure: 2 });
  const { centre, width, flux, profile, states } = mock.truth;
  const known: Traces = {
    fibres: FIBRES,
    cols: COLS,
    centre,
    width,
    flux,
    profile,
    states,
    covariance: new Float32Array(6 * FIBRES * COLS),
    dq: new Uint32Array(FIBRES * COLS),
    throughput: mock.truth.throughput,
    throughputError: new Float32Array(FIBRES).fill(0.001),
  };
  const traces = writeTraces('trace.fits', known);
  const { code, stdout, stderr } = rampline(['--json', 'model', path, traces, '-o', scratch]);
  expect([code, stderr]).toEqual([0, '']);
  const { product, chi2, scatter, noutlier, npixels } = JSON.parse(stdout);
  expect(product).toBe(join(scratch, 'model-apo-60857-b-0002.fits'));
  expect(chi2).toBeGreaterThan(0.9);
  expect(chi2).toBeLessThan(1.1);
  // Of each 6.63 pixels of a column the light of a fibre takes one degree of freedom.
  expect(scatter).toBeCloseTo(Math.sqrt(1 - 1 / 6.63), 2);
  expect(noutlier / npixels).toBeLessThan(1e-3);
  const file = openFits(product);
  const at = async (name: string) => (await file.readImageAsync(name)).data as Float32Array;
  const [painted, residual, background] = [await at('MODEL'), await at('RESIDUAL'), await at('BACKGROUND')];
  file.close();
  // The three are the image again.
  const i = 200 * COLS + 700;
  expect((painted[i] as number) + (residual[i] as number) + (background[i] as number)).toBeCloseTo(
    mock.image[i] as number,
    3,
  );
  // What is painted is the light of the truth without its scattered light.
  const errors = Array.from({ length: 2000 }, (_, k) => {
    const j = (40 + ((k * 7) % (ROWS - 100))) * COLS + 100 + ((k * 131) % (COLS - 200));
    return (painted[j] as number) - (mock.truth.exact[j] as number) + (mock.truth.background[j] as number);
  });
  expect(rms(errors)).toBeLessThan(1);
});
