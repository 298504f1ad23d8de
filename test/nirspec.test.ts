// A real echelle frame with a long slit, through an instrument description: orders, object and spectrum against the Keck reduction.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import * as api from '../src/index.js';
import { reduceSlit } from '../src/night/slit.js';
import { rampline, root } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-nirspec-'));
afterAll(() => rmSync(base, { recursive: true }));
const koa = join(root, '..', 'shared', 'data', 'koa');
const FLAT = join(koa, 'nirspec-raw', 'NS.20100429.32524.fits.gz');
const FRAME = join(koa, 'nirspec-raw', 'NS.20100429.40280.fits.gz');
const ABSENT = '../shared/data/koa is not there';
const ORDERS = [43, 45, 47, 49];
/**
 * The peer looks for edges in flat(y) - flat(y - 5), np.roll by 5 rows: the light of an edge between the rows y - 1 and y is spread
 * evenly over rows y to y + 4 there, and their middle is 2.5 rows above the edge (its Flat.py, findEdgeProfilePeaks).
 */
const PEER_OFFSET = 2.5;
/** The peer ignores the last columns (its smooth_spatial_trace); beyond 984 its spectra are empty. */
const COLS = 984;

function withFile<T>(path: string, work: (file: api.FitsFile) => T): T {
  const file = api.openFits(path);
  try {
    return work(file);
  } finally {
    file.close();
  }
}

const tableOf = (order: number) =>
  withFile(join(koa, 'nirspec-products', `NS.20100429.40280_${order}_flux_tbl.fits`), (file) => {
    const table = file.readTable(1);
    return (name: string) => [...(table.column(name).values as Float64Array)].slice(0, COLS);
  });
/** A row of an image of a product, of an order. */
const spectrumOf = (path: string, name: string, order: number) =>
  withFile(path, (file) => {
    const { data, shape } = file.readImage(name);
    const cols = shape.at(-1)!;
    return [...(data as Float32Array).subarray((50 - order) * cols, (50 - order) * cols + COLS)];
  });

const rmsOf = (values: readonly number[]) =>
  Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);

function correlation(a: readonly number[], b: readonly number[]): number {
  const pairs = a.map((value, i) => [value, b[i]!] as const).filter((pair) => pair.every(Number.isFinite));
  const mean = (k: 0 | 1) => pairs.reduce((sum, pair) => sum + pair[k], 0) / pairs.length;
  const [u, v] = [mean(0), mean(1)];
  const sum = (of: (x: number, y: number) => number) => pairs.reduce((total, [x, y]) => total + of(x - u, y - v), 0);
  return sum((x, y) => x * y) / Math.sqrt(sum((x) => x * x) * sum((_, y) => y * y));
}

describe('nirspec', () => {
  it('accepts real frames that break the standard, and says how', (ctx) => {
    if (!existsSync(FRAME)) ctx.skip(ABSENT);
    for (const path of [FLAT, FRAME]) {
      expect(withFile(path, ({ warnings }) => [...warnings])).toEqual([
        expect.stringMatching(/^HDU 0: card \d+ \(GAIN\.SPE\) has characters that no keyword may have$/),
        expect.stringMatching(/^HDU 0: card \d+ \(FREQ\.SPE\) has characters that no keyword may have$/),
        'HDU 0: card 124 (TELESCOP) repeats card 8',
      ]);
    }
  });

  it('traces the orders as the Keck reduction does, to 0.2 px, and extracts the object', async (ctx) => {
    if (!existsSync(FRAME)) ctx.skip(ABSENT);
    const flat = await reduceSlit({ instrument: api.nirspec, image: FLAT, output: base });
    expect(flat.product).toBe(join(base, 'trace-keck-55315-spec-0101.fits'));
    expect(flat.summary).toMatchObject({ orders: 8, ok: 8 });
    expect(flat.warnings).toContainEqual(expect.stringContaining('TELESCOP) repeats card 8'));
    const frame = await reduceSlit({ instrument: api.nirspec, image: FRAME, traces: flat.product, output: base });
    // Nearly all values are there.
    expect(frame.summary!.missing).toBeLessThan(20);
    const compared = ORDERS.map((order) => {
      const peer = tableOf(order);
      const centre = spectrumOf(flat.product, 'CENTRE', order);
      const off = (name: string) => peer(name).map((row, x) => row - PEER_OFFSET - centre[x]!);
      const smooth = off('trace_fit (pix)');
      // The peer divides by its normalised flat.
      const light = peer('flux (cnts)').map((value, x) => value * peer('flat (cnts)')[x]!);
      return {
        order,
        rms: Number(rmsOf(smooth).toFixed(3)),
        most: Number(Math.max(...smooth.map(Math.abs)).toFixed(2)),
        rmsOfEdges: Number(rmsOf(off('trace_mean (pix)')).toFixed(2)),
        peerScatter: Number(rmsOf(peer('fit_res (pix)')).toFixed(2)),
        flux: Number(correlation(spectrumOf(frame.product, 'FLUX', order), light).toFixed(3)),
      };
    });
    console.table(compared);
    for (const { rms, most, rmsOfEdges, peerScatter, flux } of compared) {
      expect(rms).toBeLessThan(0.2);
      expect(most).toBeLessThan(0.2);
      // Its unsmoothed middles scatter about ours as about its own smooth trace, and by what these two differ.
      expect(rmsOfEdges).toBeLessThan(Math.hypot(peerScatter, 0.2));
      expect(flux).toBeGreaterThan(0.97);
    }
  });

  it('is reduced by the command line to the same bytes', async (ctx) => {
    if (!existsSync(FRAME)) ctx.skip(ABSENT);
    const flat = await reduceSlit({ instrument: api.nirspec, image: FLAT, output: join(base, 'api'), threads: 2 });
    const same = ['--instrument', 'nirspec', '-o', join(base, 'cli')];
    const built = rampline(['trace', 'build', FLAT, ...same]);
    expect([built.code, built.stderr]).toEqual([0, expect.stringContaining('(TELESCOP) repeats card 8')]);
    const made = join(base, 'cli', basename(flat.product));
    expect(readFileSync(made)).toEqual(readFileSync(flat.product));
    const frame = await reduceSlit({
      instrument: api.nirspec,
      image: FRAME,
      traces: flat.product,
      output: join(base, 'api'),
    });
    expect(rampline(['extract', FRAME, '--trace', made, ...same]).code).toBe(0);
    expect(readFileSync(join(base, 'cli', basename(frame.product)))).toEqual(readFileSync(frame.product));
    for (const words of [
      ['trace', 'build', FLAT, '--prior', made],
      ['extract', FRAME, '--trace', made, '--method', 'boxcar'],
    ]) {
      expect(rampline([...words, ...same]).code).toBe(2);
    }
  });

  it('refuses what is no flat, no frame, or has no edges', async (ctx) => {
    if (!existsSync(FRAME)) ctx.skip(ABSENT);
    const trace = (image: string, instrument = api.nirspec) =>
      reduceSlit({ instrument, image, output: join(base, 'none') });
    await expect(trace(FRAME)).rejects.toThrow("expected a flat, the header says 'object'");
    await expect(trace(FLAT, api.nirc2)).rejects.toThrow('nirc2 has no long slit that is read from single images');
    await expect(trace(FLAT, api.apogee)).rejects.toThrow('apogee has no long slit');
    const cards = {
      CURRINST: 'NIRSPEC',
      IMAGETYP: 'flatlamp',
      SAMPMODE: 2,
      MULTISPE: 1,
      ITIME: 1,
      COADDS: 1,
      'MJD-OBS': 55_315.5,
    };
    const write = (name: string, rows: number) => {
      const path = join(base, name);
      const data = new Int32Array(rows * 1024).map((_, i) => 1000 + ((i * 7919) % 61));
      const chunks = [...api.encodeFits([{ data, shape: [rows, 1024], header: Object.entries(cards) }])];
      writeFileSync(path, Buffer.concat(chunks.map((chunk) => Buffer.from(chunk))));
      return path;
    };
    await expect(trace(write('even.fits', 1024))).rejects.toThrow('expected the edges of 8 orders');
    await expect(trace(write('small.fits', 64))).rejects.toThrow(
      'expected 1024 x 1024 pixels of 32-bit integers, received 64 x 1024',
    );
  });
});
