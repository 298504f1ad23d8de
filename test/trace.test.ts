/** Traces of mock flats against the truth: positions, errors that mean what they say, and what became of each fibre. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../src/core/errors.js';
import { DQ } from '../src/core/generated/dq.js';
import { openFits } from '../src/fits/index.js';
import { spectrograph } from '../src/instruments/apogee/fibres.js';
import { runStage } from '../src/night/by_hand.js';
import { type MockSpectra, type MockSpectraOptions, mockSpectra } from '../src/simulate/index.js';
import { BAD_BITS } from '../src/stages/measure.js';
import { startSeries, TraceFitter } from '../src/stages/trace/fit.js';
import { CENTRE_TERMS, drawTraces, fitSeries, newTraces, placeOf } from '../src/stages/trace/series.js';
import { stage } from '../src/stages/trace/stage.js';
import { readTraces, type TraceProduct } from '../src/stages/trace_product.js';
import { hasProgram, rampline } from './cli.js';
import { writeFlat } from './mock_flat.js';

let base = '';
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), 'rampline-trace-'));
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

const FLAT: MockSpectraOptions = { tele: 'apo', chip: 'b', type: 'domeflat' };
const LONG = 120_000;

async function traced(options: Partial<MockSpectraOptions>) {
  const { mock, path } = await writeFlat(base, { ...FLAT, ...options });
  const outcome = await runStage({ stage, files: [{ role: 'image', path }], output: base });
  const file = openFits(outcome.product);
  const product = await readTraces(file);
  file.close();
  return { mock, path, outcome, product };
}

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;
const rms = (values: readonly number[]) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

/** Centres less the truth, of fibres in a state, at places along x. */
function offsets({ truth, cols, fibres }: MockSpectra, { traces }: TraceProduct, state: string): number[] {
  const out: number[] = [];
  for (let fibre = 0; fibre < fibres; fibre++) {
    if (traces.states[fibre] !== state || truth.states[fibre] === 'off-chip') continue;
    for (let x = 20; x < cols - 20; x += 127) {
      out.push(at(traces.centre, fibre * cols + x) - at(truth.centre, fibre * cols + x));
    }
  }
  return out;
}

describe('with a known profile', () => {
  it(
    'traces are as good as their errors say, at 3 % of the lamp and with weights that follow the noise',
    async () => {
      const { rows, cols, image, ivar, dq, truth, fibres } = await mockSpectra({
        ...FLAT,
        brightness: 0.03,
        measuredVariance: true,
        effects: { scatteredLight: false },
      });
      for (let i = 0; i < dq.length; i++) if ((at(dq, i) & BAD_BITS) !== 0) ivar[i] = 0;
      const centre = new Float64Array(fibres * CENTRE_TERMS);
      const places = Array.from({ length: 9 }, (_, i) => i * 255);
      for (let fibre = 0; fibre < fibres; fibre++) {
        const rowsAt = places.map((x) => at(truth.centre, fibre * cols + x) + 0.1);
        const near = fitSeries(
          places.map((x) => placeOf(x, cols)),
          rowsAt,
          3,
        );
        centre.set(near, fibre * CENTRE_TERMS);
      }
      const held = truth.states.map((state) => state === 'broken');
      const fitter = new TraceFitter(cols, startSeries(centre, 1, held));
      const expected = spectrograph.positions(FLAT);
      const input = { rows, cols, image, ivar, profile: truth.profile, expected };
      const rough = { clip: 0, every: 4, pedestal: false };
      await fitter.step(input, { flux: 4, centre: 0, width: 0, ...rough });
      await fitter.step(input, { flux: 6, centre: 4, width: 3, ...rough });
      await fitter.step(input, { flux: 8, centre: 7, width: 4, ...rough });
      await fitter.step(input, { flux: 8, centre: 7, width: 4, clip: 6, every: 1, pedestal: false });
      const [drawn, errors] = [newTraces(fibres, cols), new Float32Array(6 * fibres * cols)];
      await drawTraces(fitter.fitted.terms, cols, drawn, 1, { of: fitter.fitted.covariance, errors });
      const size = fibres * cols;
      const pulls = { flux: [] as number[], centre: [] as number[], width: [] as number[] };
      const off: number[] = [];
      for (let fibre = 0; fibre < fibres; fibre++) {
        if (truth.states[fibre] !== 'ok') continue;
        for (let x = 50; x < cols; x += 300) {
          const i = fibre * cols + x;
          off.push(at(drawn.centre, i) - at(truth.centre, i));
          pulls.flux.push((at(drawn.flux, i) - at(truth.flux, i)) / Math.sqrt(at(errors, i)));
          pulls.centre.push((off.at(-1) ?? 0) / Math.sqrt(at(errors, 3 * size + i)));
          pulls.width.push((at(drawn.width, i) - at(truth.width, i)) / Math.sqrt(at(errors, 5 * size + i)));
        }
      }
      expect(rms(off)).toBeLessThan(0.005);
      // Some 300 independent values for each of a few places: a standard deviation to 3 %.
      for (const all of Object.values(pulls)) {
        expect(all.length).toBeGreaterThan(2000);
        expect(rms(all)).toBeGreaterThan(0.9);
        expect(rms(all)).toBeLessThan(1.1);
      }
    },
    LONG,
  );
});

describe('a flat', () => {
  it(
    'has centres to 0.005 px, states, throughputs and all that the product must say',
    async () => {
      const { mock, product, outcome } = await traced({});
      const { traces, facts, findings } = product;
      expect(rms(offsets(mock, product, 'ok'))).toBeLessThan(0.005);
      expect(traces.states).toEqual(mock.truth.states);
      expect(facts).toMatchObject({ tele: 'apo', chip: 'b', kind: 'domeflat', rows: 2048, unit: 'DN/read' });
      expect([findings.number[0], findings.number[299]]).toEqual([300, 1]);
      const lit = traces.states.flatMap((state, i) => (state === 'ok' ? [i] : []));
      const usual = lit.map((i) => at(mock.truth.throughput, i)).toSorted((a, b) => a - b)[lit.length >> 1] as number;
      const off = lit.map((i) => at(traces.throughput, i) / (at(mock.truth.throughput, i) / usual) - 1);
      expect(rms(off)).toBeLessThan(0.02);
      expect(lit.every((i) => at(traces.throughputError, i) > 0)).toBe(true);
      for (const [i, state] of traces.states.entries()) {
        const bits = at(traces.dq, i * 2048 + 1000);
        if (state === 'broken') {
          expect(bits & (DQ.BROKEN_FIBRE | DQ.TRACE_INTERPOLATED)).toBe(DQ.BROKEN_FIBRE | DQ.TRACE_INTERPOLATED);
          expect([at(traces.flux, i * 2048 + 1000), at(traces.throughput, i)]).toEqual([0, 0]);
        } else {
          expect(bits).toBe(state === 'low' ? DQ.LOW_THROUGHPUT : 0);
          expect(at(traces.covariance, (3 * 300 + i) * 2048 + 1000)).toBeGreaterThan(0);
        }
      }
      expect(outcome.warnings?.join()).toMatch(/2 fibres are broken/);

      const again = await runStage({
        stage,
        files: [{ role: 'image', path: join(base, '2dcal-apo-60857-b-0001.fits') }],
        output: base,
      });
      expect(again.status).toBe('skipped');
      const kept = join(base, 'kept.fits');
      copyFileSync(outcome.product, kept);
      const file = openFits(kept);
      expect(stage.sane?.(file)).toEqual([]);
      file.close();
    },
    LONG,
  );

  it(
    'at 3 % of the lamp, with 20 dead fibres, 3 px off and with bad columns loses no fibre',
    async () => {
      const dead = [3, 4, 5, 17, 40, 77, 78, 100, 101, 102, 103, 150, 151, 180, 199, 220, 221, 250, 280, 299];
      const badColumns = [700, 701, 702, 703, 704, 1200, 1500];
      const { mock, product } = await traced({
        type: 'quartzflat',
        exposure: 2,
        brightness: 0.03,
        shift: 3,
        dead,
        badColumns,
        measuredVariance: true,
      });
      const { traces, facts } = product;
      expect(traces.states.map((state) => state === 'broken')).toEqual(
        mock.truth.states.map((state) => state === 'broken'),
      );
      for (const i of dead) expect(traces.states[i]).toBe('broken');
      expect(facts.shift).toBeGreaterThan(2.5);
      // The profile is measured on the same faint flat, and makes most of it.
      expect(rms(offsets(mock, product, 'ok'))).toBeLessThan(0.02);
      // An interpolated trace is where metrology and the fibres around say.
      expect(rms(offsets(mock, product, 'broken'))).toBeLessThan(0.1);
      // A quartz lamp says nothing of throughputs.
      expect(traces.throughput.every(Number.isNaN)).toBe(true);
      expect(at(traces.dq, 10 * 2048) & DQ.UNKNOWN_THROUGHPUT).toBe(DQ.UNKNOWN_THROUGHPUT);
    },
    LONG,
  );
});

describe('the product', () => {
  it('passes fitsverify', (ctx) => {
    if (!hasProgram('fitsverify')) ctx.skip('fitsverify is not installed');
    const { stdout } = spawnSync('fitsverify', ['-q', join(base, 'kept.fits')], { encoding: 'utf8' });
    expect(stdout).toMatch(/^verification OK/);
  });

  it('opens in astropy', (ctx) => {
    if (spawnSync('/usr/bin/python3', ['-c', 'import astropy']).status !== 0) ctx.skip('astropy is not installed');
    const code = `
import sys
from astropy.io import fits
with fits.open(sys.argv[1]) as h:
    print(h['CENTRE'].data.shape, h['COVAR'].data.shape, h['PROFILE'].data.shape, len(h['FIBRES'].data), h[0].header['NBROKEN'])
`;
    const { stdout } = spawnSync('/usr/bin/python3', ['-c', code, join(base, 'kept.fits')], { encoding: 'utf8' });
    expect(stdout).toBe('(300, 2048) (6, 300, 2048) (300, 9, 481) 300 2\n');
  });

  it('is refused where it is damaged, or none', async () => {
    const wrong = join(base, '2dcal-apo-60857-b-0001.fits');
    const file = openFits(wrong);
    await expect(readTraces(file)).rejects.toThrow(InputError);
    file.close();
  });
});

describe('rampline trace build', () => {
  it('tells what became of the fibres, and goes on after a file that fails', async () => {
    const { path } = await writeFlat(base, { ...FLAT, rows: 128, exposure: 3 });
    const none = join(base, 'none.fits');
    writeFileSync(none, 'no FITS file');
    const ended = rampline(['--json', '--log-level', 'error', 'trace', 'build', path, none, '-o', join(base, 'cli')]);
    expect(ended.code).toBe(21);
    const { outcomes } = JSON.parse(ended.stdout);
    expect(outcomes.map(({ status }: { status: string }) => status)).toEqual(['done', 'failed']);
    expect(outcomes[0].fibres['off-chip']).toBeGreaterThan(270);
    expect(outcomes[0].fibres.ok).toBeGreaterThan(10);
    // The fibres beyond the strip lie and look as the last ones on it: a reader refuses what no fibre can be.
    const traced = openFits(outcomes[0].product);
    const { traces } = await readTraces(traced);
    traced.close();
    expect(traces.width.reduce((least, one) => Math.min(least, one))).toBeGreaterThan(0.4);
    expect(outcomes[1].failure.error).toBe('input');
  });

  it('gives the same bytes on one thread and two, and so does the extraction with all that it can do', async () => {
    const { path: flat } = await writeFlat(base, { ...FLAT, rows: 128, exposure: 5 });
    const { path: object } = await writeFlat(base, { ...FLAT, type: 'object', rows: 128, exposure: 6, shift: 0.2 });
    const [one, two] = ['1', '2'].map((threads) => {
      const more = ['--log-level', 'error', '--threads', threads, '-o', join(base, `on-${threads}`)];
      const trace = join(base, `on-${threads}`, 'trace-apo-60857-b-0005.fits');
      expect(rampline(['trace', 'build', flat, ...more]).code).toBe(0);
      expect(rampline(['extract', object, '--trace', trace, '--decorrelate', ...more]).code).toBe(0);
      return [trace, join(base, `on-${threads}`, '1d-apo-60857-b-0006.fits')].map((file) => readFileSync(file));
    });
    expect(one?.map(({ length }) => length > 1e6)).toEqual([true, true]);
    expect(one?.map((bytes, i) => two?.[i]?.equals(bytes))).toEqual([true, true]);
  });

  it('refuses what is no flat, and wants a place for products', async () => {
    const { path } = await writeFlat(base, { ...FLAT, type: 'sky', rows: 128, exposure: 4 });
    const ended = rampline(['--json', 'trace', 'build', path, '-o', join(base, 'cli')]);
    expect(ended.code).toBe(21);
    expect(ended.stdout).toMatch(/expected a flat/);
    expect(rampline(['trace', 'build', path]).code).toBe(2);
  });
});
