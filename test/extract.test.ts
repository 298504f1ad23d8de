// The extract stage from files to its product: numbers against the mock's truth, bits, choice of traces, and other readers.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  DQ,
  InputError,
  type MockSpectra,
  mockSpectra,
  openFits,
  readSpectra,
  runStage,
  type SpectraProduct,
  extractStage as stage,
  UsageError,
} from '../src/index.js';
import { saneSpectra } from '../src/stages/spectra_product.js';
import { hasProgram, rampline } from './cli.js';
import { writeImage, writeTraces } from './spectra_files.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-extract-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
const at = (name: string) => join(base, name);

/** Fibres 0 to 13 lie on the strip whole. */
const ROWS = 128;
const WHOLE = 14;
const DEAD = 5;
const BAD_COLUMN = 700;
const [TELE, MJD, CHIP] = ['apo', 60857, 'a'] as const;
const identity = (exposure: number) => ({ tele: TELE, mjd: MJD, chip: CHIP, exposure });

let mock: MockSpectra;
let image: string;
let dome: string;
let quartz: string;
const parameters = { background: false, tweak: false };

const run = (files: readonly string[], more: Partial<Parameters<typeof runStage>[0]> = {}) =>
  runStage({
    stage,
    files: files.map((path, i) => ({ role: i === 0 ? 'image' : 'traces', path })),
    parameters,
    output: at('out'),
    force: true,
    ...more,
  });

async function read(product: string): Promise<SpectraProduct> {
  const file = openFits(product);
  try {
    return await readSpectra(file);
  } finally {
    file.close();
  }
}

beforeAll(async () => {
  const common = { tele: TELE, chip: CHIP, rows: ROWS, dead: [DEAD], effects: { brokenFibres: false } };
  mock = await mockSpectra({
    ...common,
    type: 'object',
    exposure: 15,
    measuredVariance: true,
    badColumns: [BAD_COLUMN],
    badPixels: 0.001,
    // 3 to 3000 electrons a read: S/N of about 5 to 300.
    light: (fibre, x) => 3 * 10 ** ((3 * ((fibre * 5) % 14)) / 13) * (1 + 0.3 * Math.sin(x / 90)),
    effects: { ...common.effects, scatteredLight: false },
  });
  mkdirSync(at('in'), { recursive: true });
  const flat = await mockSpectra({ ...common, type: 'domeflat', exposure: 12 });
  image = writeImage(at('in'), identity(15), 'object', mock);
  // The truth of the exposure's own traces, so that what is tested is the stage and not the tweak.
  dome = writeTraces(at('in'), identity(12), 'domeflat', { ...flat, truth: { ...flat.truth, ...placesOf(mock) } });
  quartz = writeTraces(at('in'), identity(14), 'quartzflat', { ...flat, truth: { ...flat.truth, ...placesOf(mock) } });
}, 60_000);

const placesOf = ({ truth: { centre, width, profile } }: MockSpectra) => ({ centre, width, profile });

describe('the stage', () => {
  let product: string;
  let found: SpectraProduct;

  beforeAll(async () => {
    const outcome = await run([image, dome, quartz]);
    product = outcome.product;
    found = await read(product);
  });

  it('gives the fluxes of the truth within the errors that it states', () => {
    const { flux, error, cols } = found.spectra;
    let [n, sum, squares, light, truth] = [0, 0, 0, 0, 0];
    for (let fibre = 0; fibre < WHOLE; fibre++) {
      if (fibre === DEAD) continue;
      for (let x = 8; x < cols - 8; x++) {
        const i = fibre * cols + x;
        if (Number.isNaN(flux[i])) continue;
        const pull = ((flux[i] as number) - (mock.truth.flux[i] as number)) / (error[i] as number);
        n += 1;
        sum += pull;
        squares += pull * pull;
        light += flux[i] as number;
        truth += mock.truth.flux[i] as number;
      }
    }
    expect(n).toBeGreaterThan(26_000);
    // Four standard errors of 26,000 pulls.
    expect(Math.abs(sum / n)).toBeLessThan(0.025);
    expect(Math.abs(Math.sqrt(squares / n) - 1)).toBeLessThan(0.02);
    expect(Math.abs(light / truth - 1)).toBeLessThan(5e-4);
  });

  it('says of every fibre what it is', () => {
    const { map, dq, flux, error, cols, fibres } = found.spectra;
    expect(fibres).toBe(300);
    const word = (fibre: number, x = 1000) => dq[fibre * cols + x] as number;
    expect(map[DEAD]).toMatchObject({ number: 295, state: 'broken', chi2: Number.NaN, flux: Number.NaN });
    expect(word(DEAD) & DQ.BROKEN_FIBRE).not.toBe(0);
    expect(word(DEAD) & DQ.EXTRACTION_FAILED).not.toBe(0);
    expect(flux[DEAD * cols + 1000]).toBeNaN();
    expect(error[DEAD * cols + 1000]).toBeNaN();
    expect(map[DEAD]?.flux).toBeNaN();
    expect(map[200]).toMatchObject({ number: 100, state: 'off-chip' });
    expect(word(200) & DQ.OFF_CHIP).not.toBe(0);
    expect(flux[200 * cols + 1000]).toBeNaN();
    // A column of which every pixel is bad.
    expect(word(8, BAD_COLUMN) & DQ.NO_GOOD_PIXELS).not.toBe(0);
    expect(flux[8 * cols + BAD_COLUMN]).toBeNaN();
    expect(word(8) & (DQ.EXTRACTION_FAILED | DQ.BROKEN_FIBRE | DQ.UNKNOWN_THROUGHPUT)).toBe(0);
    expect(map[8]).toMatchObject({ type: 'unknown', target: '', state: mock.truth.states[8] });
    expect(map[8]?.throughput).toBeCloseTo(mock.truth.throughput[8] as number, 6);
    expect(map[8]?.throughputError).toBeCloseTo(0.01, 6);
    for (let fibre = 0; fibre < WHOLE; fibre++) {
      if (fibre !== DEAD) expect(map[fibre]?.chi2).toBeGreaterThan(0.8);
    }
  });

  it('takes the traces of the nearest flat and the throughput of the nearest dome flat, and says so', () => {
    const file = openFits(product);
    const { header } = file.hdu(0);
    expect(header.number('FLATEXP', 0)).toBe(14);
    expect(header.string('FLATWHY', '')).toBe('the nearest of 2 flats: quartzflat 14, 1 exposure before');
    expect(header.number('THRUEXP', 0)).toBe(12);
    expect(header.string('TWEAK', '')).toBe('off');
    expect(header.number('MJD-MID', 0)).toBe(MJD + 0.25);
    const table = file.readTable('PROVENANCE');
    const rows = Object.fromEntries(
      (table.column('NAME').values as string[]).map((name, i) => [name, (table.column('WHY').values as string[])[i]]),
    );
    expect(rows[basename(quartz)]).toBe('traces: the nearest of 2 flats: quartzflat 14, 1 exposure before');
    expect(rows[basename(dome)]).toBe(
      'zero of the drift: the first flat; throughput: the nearest dome flat, 3 exposures before',
    );
    expect(saneSpectra(file)).toEqual([]);
    file.close();
  });

  it('passes fitsverify', (ctx) => {
    if (!hasProgram('fitsverify')) ctx.skip('fitsverify is not installed');
    expect(spawnSync('fitsverify', ['-q', product], { encoding: 'utf8' }).stdout).toMatch(/^verification OK/);
  });

  const python = (code: string) => {
    const { status, stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', code, product], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    return JSON.parse(stdout) as unknown[];
  };

  it('opens in astropy, units, axes and tables too', (ctx) => {
    if (spawnSync('/usr/bin/python3', ['-c', 'import astropy']).status !== 0) ctx.skip('astropy is not installed');
    const [shape, unit, axis, value, rows, id, dqType] = python(`
import sys, json
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from astropy.units import Unit
f = fits.open(sys.argv[1], checksum=True)
f.verify('exception')
w = WCS(f['FLUX'].header)
t = Table.read(sys.argv[1], hdu='FIBERMAP')
print(json.dumps([f['FLUX'].shape, str(Unit(f['FLUX'].header['BUNIT'])), [float(v) for v in w.pixel_to_world_values(17, 3)],
  float(f['FLUX'].data[8, 1000]), len(t), int(t['FIBERID'][8]), str(f['DQ'].data.dtype)]))`);
    expect({ shape, unit, axis, rows, id, dqType }).toEqual({
      shape: [300, 2048],
      unit: 'adu',
      axis: [17, 3],
      rows: 300,
      id: 292,
      dqType: 'uint32',
    });
    expect(value).toBe(found.spectra.flux[8 * 2048 + 1000]);
  });

  it('opens in specutils with a loader of its own', (ctx) => {
    if (spawnSync('/usr/bin/python3', ['-c', 'import specutils']).status !== 0) ctx.skip('specutils is not installed');
    const [shape, unit, axis, value] = python(`
import sys, json, warnings
warnings.simplefilter('ignore')
from specutils import Spectrum1D
s = Spectrum1D.read(sys.argv[1], format='wcs1d-fits', hdu='FLUX')
print(json.dumps([s.shape, str(s.flux.unit), [str(s.spectral_axis.unit), float(s.spectral_axis.value[17])],
  float(s.flux.value[8, 1000])]))`);
    expect({ shape, unit, axis }).toEqual({ shape: [300, 2048], unit: 'adu', axis: ['pix', 17] });
    expect(value).toBe(found.spectra.flux[8 * 2048 + 1000]);
  });

  it('gives the same bytes again, on more threads too', async () => {
    const again = await run([image, dome, quartz], { output: at('again'), threads: 2 });
    expect(spawnSync('cmp', [product, again.product]).status).toBe(0);
  });
});

describe('what is not there', () => {
  it('is unknown: without a dome flat no throughput is', async () => {
    const { product, warnings } = await run([image, quartz]);
    const { map, dq, cols } = (await read(product)).spectra;
    expect(map[8]?.throughput).toBeNaN();
    expect((dq[8 * cols + 1000] as number) & DQ.UNKNOWN_THROUGHPUT).not.toBe(0);
    expect(map[8]?.bits).toBe(DQ.UNKNOWN_THROUGHPUT);
    expect(warnings).toContain('no dome flat: the relative throughput of the fibres is not known');
  });

  it('is told by a fibre map', async () => {
    const fibers = at('fibres.csv');
    writeFileSync(
      fibers,
      'config_id,fiber_id,fiber_type,category,sdss_id,ra,dec\n' +
        '4711,292,APOGEE,science,123456,10.5,-3.25\n4711,292,BOSS,science,77,1,1\n4711,293,APOGEE,sky_apogee,,11,12\n',
    );
    const { map } = (await read((await run([image, dome], { fibers })).product)).spectra;
    expect(map[8]).toMatchObject({ number: 292, type: 'sci', target: '123456', ra: 10.5, dec: -3.25 });
    expect(map[7]).toMatchObject({ number: 293, type: 'sky', target: '' });
    expect(map[9]).toMatchObject({ number: 291, type: 'unknown', target: '' });
  });

  it('leaves out the arrays that a method does not have', async () => {
    const { product } = await run([image, dome], { parameters: { ...parameters, method: 'boxcar' } });
    const { spectra, facts } = await read(product);
    expect(facts.method).toBe('boxcar');
    expect(spectra.covariance ?? spectra.chi2 ?? spectra.crosstalk).toBeUndefined();
  });
});

describe('the decorrelated form', () => {
  it('is there when it is asked for: R times the flux, with errors of its own, and no value where the flux has none', async (ctx) => {
    const { product } = await run([image, dome], { parameters: { ...parameters, decorrelate: true } });
    const { spectra } = await read(product);
    const { flux, error, cols, fibres, decorrelated } = spectra;
    if (decorrelated === undefined) throw new Error('there is none');
    const { resolution } = decorrelated;
    const at = (list: ArrayLike<number>, i: number) => list[i] as number;
    const value = (list: ArrayLike<number>, fibre: number, x: number) =>
      fibre < 0 || fibre >= fibres ? 0 : at(list, fibre * cols + x);
    let [n, sum, squares, missing] = [0, 0, 0, 0];
    for (let fibre = 0; fibre < 16; fibre++) {
      for (let x = 3; x < cols; x += 5) {
        const i = fibre * cols + x;
        expect(Number.isNaN(at(decorrelated.flux, i))).toBe(Number.isNaN(at(flux, i)));
        const planes = Array.from({ length: 9 }, (_, k) => at(resolution, (k * fibres + fibre) * cols + x));
        const total = planes.reduce((all, r) => all + r, 0);
        if (Number.isNaN(at(flux, i))) {
          missing += 1;
          expect(total).toBe(0);
          continue;
        }
        expect(total).toBeCloseTo(1, 5);
        // Where a neighbour has no value R has 0.
        const times = (list: ArrayLike<number>) =>
          planes.reduce((all, r, k) => (r === 0 ? all : all + r * value(list, fibre + k - 4, x)), 0);
        const scale = at(decorrelated.error, i);
        expect(Math.abs(at(decorrelated.flux, i) - times(flux)) / scale).toBeLessThan(1e-3);
        // Less is known of the flux alone than of the flux with its neighbours' share.
        expect(scale).toBeLessThan(at(error, i) * (1 + 1e-5));
        if (fibre >= WHOLE || x < 8 || x > cols - 8) continue;
        const pull = (at(decorrelated.flux, i) - times(mock.truth.flux)) / scale;
        n += 1;
        sum += pull;
        squares += pull * pull;
      }
    }
    expect(n).toBeGreaterThan(5000);
    expect(missing).toBeGreaterThan(400);
    // Four standard errors of 5000 pulls.
    expect(Math.abs(sum / n)).toBeLessThan(0.057);
    expect(Math.abs(Math.sqrt(squares / n) - 1)).toBeLessThan(0.04);
    expect((await read((await run([image, dome])).product)).spectra.decorrelated).toBeUndefined();
    if (!hasProgram('fitsverify')) ctx.skip('fitsverify is not installed');
    expect(spawnSync('fitsverify', ['-q', product], { encoding: 'utf8' }).stdout).toMatch(/^verification OK/);
  });

  it('has no meaning for a method without covariances', async () => {
    const wrong = run([image, dome], { parameters: { ...parameters, method: 'horne', decorrelate: true } });
    await expect(wrong).rejects.toThrow('only the method joint knows the covariances that "decorrelate" needs');
  });
});

describe('traces', () => {
  it('that show far fewer fibres do not serve, however near', async () => {
    const flat = await mockSpectra({ tele: TELE, chip: CHIP, type: 'quartzflat', rows: ROWS });
    const states = flat.truth.states.map((state, i) => (i % 2 === 0 && state === 'ok' ? 'broken' : state));
    const poor = writeTraces(at('in'), identity(16), 'quartzflat', flat, { states });
    const { product } = await run([image, dome, poor]);
    const file = openFits(product);
    expect(file.hdu(0).header.number('FLATEXP', 0)).toBe(12);
    const table = file.readTable('PROVENANCE');
    const row = (table.column('NAME').values as string[]).indexOf(basename(poor));
    expect((table.column('WHY').values as string[])[row]).toMatch(/^it shows \d+ fibres, another flat shows \d+$/);
    expect((table.column('USED').values as Uint8Array)[row]).toBe(0);
    file.close();
  });

  it('of another night serve with a warning, of another chip or size they are refused', async () => {
    const flat = await mockSpectra({ tele: TELE, chip: CHIP, type: 'domeflat', rows: ROWS });
    const other = writeTraces(at('in'), { ...identity(12), mjd: MJD - 1 }, 'domeflat', flat);
    const { warnings } = await run([image, other]);
    expect(warnings).toEqual([`the traces are of the night ${MJD - 1}, not of ${MJD}`]);
    const chip = writeTraces(at('in'), { ...identity(12), chip: 'b' }, 'domeflat', flat);
    await expect(run([image, chip])).rejects.toThrow(/expected apo a, as .* is, received apo b/);
    const small = await mockSpectra({ tele: TELE, chip: CHIP, type: 'domeflat', rows: 64 });
    const size = writeTraces(at('in'), identity(13), 'domeflat', small);
    const refusal = await run([image, size]).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(InputError);
    expect(String(refusal)).toContain('expected traces of 128 x 2048 pixels, as the image has, received those of 64');
  });

  it('that are none are refused, and so are words and numbers that make no sense', async () => {
    const refusal = await run([image, image]).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(InputError);
    expect(String(refusal)).toContain("expected a product of the stage trace, received 'calibrate'");
    await expect(run([image, dome], { parameters: { ...parameters, method: 'jiont' } })).rejects.toThrow(
      'no extraction method "jiont"; did you mean "joint"?',
    );
    await expect(run([image, dome], { parameters: { ...parameters, reach: 40 } })).rejects.toThrow(UsageError);
  });
});

describe('rampline extract', () => {
  it('writes the product, and says what it took', () => {
    const ended = rampline(['extract', image, '--trace', dome, '--no-tweak', '--json', '-o', at('cli')]);
    expect(ended.stderr).toBe('');
    expect(ended.code).toBe(0);
    const { outcomes } = JSON.parse(ended.stdout);
    expect(outcomes).toHaveLength(1);
    expect(outcomes[0]).toMatchObject({ status: 'done', summary: { method: 'joint', flat: 12, tweak: 'off' } });
    const again = rampline(['extract', image, '--trace', dome, '--no-tweak', '-o', at('cli')]);
    expect(again.stdout).toMatch(/2dcal-apo-60857-a-0015\.fits +skipped .*1d-apo-60857-a-0015\.fits/);
  });

  it('goes on behind an image that fails, and ends with the code of the worst', () => {
    const cut = at('in/cut.fits');
    writeFileSync(cut, readFileSync(image).subarray(0, 5 * 2880));
    const images = [cut, at('in/nowhere.fits'), image];
    const ended = rampline(['extract', ...images, '--trace', dome, '--no-tweak', '--json', '-o', at('several')]);
    expect(ended.code).toBe(21);
    const { outcomes } = JSON.parse(ended.stdout);
    expect(outcomes.map(({ file, status }: { file: string; status: string }) => [file, status])).toEqual([
      [cut, 'failed'],
      [images[1], 'failed'],
      [image, 'done'],
    ]);
    expect(outcomes[0].failure).toMatchObject({ error: 'input', exitCode: 21, file: cut });
    expect(outcomes[1].failure.message).toContain('no such file');
    expect(existsSync(outcomes[2].product)).toBe(true);
    expect(ended.stderr.split('\n').filter((line) => line.includes('"failed"'))).toHaveLength(2);
    const text = rampline(['extract', ...images, '--trace', dome, '--no-tweak', '-o', at('several')]);
    expect(text.stdout).toMatch(/nowhere\.fits +failed .*input: .*no such file/);
    expect(text.stdout).toMatch(/0015\.fits +skipped/);
  });

  it('refuses traces of another telescope, naming both, and a method that there is not', () => {
    const other = at('in/trace-apo-60857-b-0012.fits');
    const ended = rampline(['extract', image, '--trace', other, '-o', at('cli')]);
    expect(ended.code).toBe(21);
    expect(ended.stderr).toContain('expected apo a, as 2dcal-apo-60857-a-0015.fits is, received apo b');
    const method = rampline(['extract', image, '--trace', dome, '--method', 'jiont']);
    expect(method.code).toBe(2);
  });
});
