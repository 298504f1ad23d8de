// `rampline qa` from files to pages: products beside one another, the manifest, equal bytes, and what it refuses.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFits } from '../src/fits/index.js';
import { runStage } from '../src/night/by_hand.js';
import { mockSpectra } from '../src/simulate/index.js';
import { stage as extract } from '../src/stages/extract/stage.js';
import { verifyProduct } from '../src/store/index.js';
import { rampline } from './cli.js';
import { writeImage, writeTraces } from './spectra_files.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-spectra-qa-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
const at = (name: string) => join(base, 'apo', name);
const QA = 'qa-apo-60857-0015';

function run(args: readonly string[]) {
  const ended = rampline([...args, '--json', '--log-level', 'error']);
  return { ...ended, json: ended.stdout === '' ? undefined : JSON.parse(ended.stdout) };
}

beforeAll(async () => {
  mkdirSync(join(base, 'apo'));
  for (const chip of ['a', 'b'] as const) {
    const common = { tele: 'apo', chip, rows: 128, measuredVariance: true } as const;
    const id = (exposure: number) => ({ tele: 'apo', mjd: 60857, chip, exposure });
    const object = await mockSpectra({ ...common, type: 'object', exposure: 15 });
    const flat = await mockSpectra({ ...common, type: 'domeflat', exposure: 12 });
    const { centre, width } = object.truth;
    const image = writeImage(join(base, 'apo'), id(15), 'object', object);
    const traces = writeTraces(join(base, 'apo'), id(12), 'domeflat', flat, { centre, width });
    await runStage({
      stage: extract,
      files: [
        { role: 'image', path: image },
        { role: 'traces', path: traces },
      ],
      parameters: { tweak: false },
      output: join(base, 'apo'),
    });
  }
}, 60_000);

describe('rampline qa', () => {
  it('finds the chips of an exposure beside one named file, and writes page, numbers and product', () => {
    const { json, code, stderr } = run(['qa', at('1d-apo-60857-b-0015.fits')]);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const [page] = json.pages;
    expect(page).toMatchObject({ tele: 'apo', mjd: 60857, exposure: 15, chips: ['a', 'b'], status: 'done' });
    expect(page.page).toBe(at(`${QA}.html`));
    const html = readFileSync(page.page, 'utf8');
    expect(html.includes('<h1>object apo 60857 0015')).toBe(true);
    expect(html.includes('domeflat 12')).toBe(true);
    expect(html.includes('1d-apo-60857-a-0015.fits')).toBe(true);
    expect(statSync(page.page).size).toBeLessThan(1_000_000);
    const document = JSON.parse(readFileSync(page.json, 'utf8'));
    const { numbers } = document.chips[0];
    expect(numbers['chi2.median']).toBeGreaterThan(0.8);
    expect(numbers['chi2.median']).toBeLessThan(1.2);
    expect(numbers['pull.scatter']).toBeGreaterThan(0.95);
    expect(numbers['pull.scatter']).toBeLessThan(1.05);
    expect(document.grade).toBe(page.grade);
    const file = openFits(page.product);
    try {
      expect(file.hdu(0).header.string('GRADE', '').trim()).toBe(page.grade);
      const table = file.readTable('QA');
      const names = table.column('NUMBER').values as readonly string[];
      const row = names.indexOf('pull.scatter');
      expect((table.column('VALUE').values as Float64Array)[row]).toBe(numbers['pull.scatter']);
    } finally {
      file.close();
    }
  });

  it('is done until a file beside the product is gone, and gives the same bytes again', async () => {
    const read = (extension: string) => readFileSync(at(`${QA}.${extension}`));
    const before = ['html', 'json', 'fits'].map(read);
    expect(run(['qa', at('1d-apo-60857-a-0015.fits')]).json.pages[0].status).toBe('skipped');
    expect(await verifyProduct(at(`${QA}.fits`))).toEqual({ status: 'ok', detail: '' });
    rmSync(at(`${QA}.html`));
    expect((await verifyProduct(at(`${QA}.fits`))).detail).toMatch(/\.html, written with it, is gone/);
    expect(run(['qa', at('1d-apo-60857-a-0015.fits')]).json.pages[0].status).toBe('done');
    expect(['html', 'json', 'fits'].map(read)).toEqual(before);
    expect(readdirSync(join(base, 'apo')).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('refuses what is neither spectra nor traces, and what lacks its image', () => {
    const wrong = rampline(['qa', at('2dcal-apo-60857-a-0015.fits')]);
    expect(wrong.code).toBe(21);
    expect(wrong.stderr).toMatch(/expected spectra \(1d-\) or traces \(trace-\), received a product of 'calibrate'/);
    const alone = join(base, 'alone');
    mkdirSync(alone);
    const name = '1d-apo-60857-a-0015.fits';
    writeFileSync(join(alone, name), readFileSync(at(name)));
    const { code, stderr } = rampline(['qa', join(alone, name)]);
    expect(code).toBe(21);
    expect(stderr).toMatch(/made from 2dcal-apo-60857-a-0015\.fits \(image\), which is not beside it/);
  });

  it('goes on behind a file that it cannot write a page for', () => {
    const alone = join(base, 'alone', '1d-apo-60857-a-0015.fits');
    const cut = join(base, 'cut.fits');
    writeFileSync(cut, 'SIMPLE  =');
    const { code, json } = run(['qa', alone, cut, at('1d-apo-60857-a-0015.fits')]);
    expect(code).toBe(21);
    expect(json.pages).toHaveLength(1);
    expect(json.pages[0]).toMatchObject({ exposure: 15, chips: ['a', 'b'] });
    expect(json.failures.map(({ file }: { file: string }) => file)).toEqual([cut, alone]);
    expect(json.failures[1].failure.message).toMatch(/which is not beside it/);
  });
});
