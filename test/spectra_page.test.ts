// The page of an exposure's spectra: what it says of good, faint, broken and badly fitted ones, and that it stands by itself.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DQ } from '../src/core/generated/dq.js';
import type { Tweak } from '../src/core/spectra.js';
import { type MockSpectraOptions, mockSpectra } from '../src/simulate/spectra.js';
import { type ChipInput, measureSpectra, pixelLight } from '../src/stages/qa/spectra/measure.js';
import {
  type ChipPart,
  chipPart,
  type ExposureHead,
  gradeOf,
  grouped,
  spectraDocument,
  spectraPage,
  troublesOf,
} from '../src/stages/qa/spectra/page.js';

const ROWS = 160;
const TWEAK: Tweak = {
  terms: [
    { i: 0, j: 0, value: 0.1234, error: 0.002 },
    { i: 0, j: 1, value: -0.012, error: 0.003 },
  ],
  width: 1.012,
  widthError: 0.003,
  largestError: 0.0056,
  state: 'ok',
  reason: '',
};
const HEAD: ExposureHead = {
  instrument: 'apogee',
  tele: 'apo',
  mjd: 60857,
  exposure: 12,
  kind: 'object',
  facts: [['traces of', 'domeflat 3: nearest in <number>']],
  missing: [],
  inputs: [['image', '2dcal-apo-60857-a-0012.fits', 'ab'.repeat(32)]],
};

/** Normal deviates that are the same in every run (sum of twelve uniforms). */
function deviates(): () => number {
  let seed = 1;
  const uniform = () => {
    seed = (seed * 16_807) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  return () => Array.from({ length: 12 }, uniform).reduce((a, b) => a + b) - 6;
}

/** A strip whose spectra, traces and model are the truth; noise on pixels and fluxes. */
async function scene(mock: Partial<MockSpectraOptions> = {}, changes: Partial<ChipInput> = {}): Promise<ChipInput> {
  const { rows, cols, fibres, image, ivar, dq, truth } = await mockSpectra({
    tele: 'apo',
    chip: 'a',
    type: 'object',
    rows: ROWS,
    ...mock,
  });
  const { states, throughput } = truth;
  const random = deviates();
  const size = fibres * cols;
  const [flux, error, chi2] = [new Float32Array(size), new Float32Array(size), new Float32Array(size)];
  const bits = new Uint32Array(size);
  for (let i = 0; i < size; i++) {
    const state = states[Math.floor(i / cols)];
    if (state === 'ok' || state === 'low') {
      error[i] = 1 + 0.1 * Math.sqrt(truth.flux[i]!);
      flux[i] = truth.flux[i]! + error[i]! * random();
      chi2[i] = 1;
    } else {
      [flux[i], error[i], bits[i]] = [Number.NaN, Number.NaN, DQ.EXTRACTION_FAILED];
    }
  }
  const covariance = new Float32Array(6 * size).fill(0.004 ** 2, 3 * size, 4 * size);
  const { centre, width, profile } = truth;
  const throughputError = new Float32Array(fibres).fill(0.01);
  return {
    chip: mock.chip ?? 'a',
    image: { rows, cols, rates: image, error: ivar.map((v) => 1 / Math.sqrt(v)), dq, unit: 'DN/read' },
    traces: {
      fibres,
      cols,
      centre,
      width,
      flux: truth.flux,
      covariance,
      dq: new Uint32Array(size),
      states,
      profile,
      throughput,
      throughputError,
    },
    own: false,
    fibreNumber: (i) => 300 - i,
    spectra: { flux, error, dq: bits, chi2, centre, width, throughput, throughputError, tweak: TWEAK },
    model: truth.exact,
    background: { rows: 2, cols: 8, values: new Float32Array(16).map((_, i) => 0.1 + 0.01 * i) },
    remarks: [],
    ...changes,
  };
}

const part = (input: ChipInput) => chipPart(input, 'apogee');
const withoutPictures = (html: string) => html.replaceAll(/data:image\/png;base64,[A-Za-z0-9+/=]+/g, 'data:PNG');

/** Void elements aside, every element that is opened is closed, in order; nothing is asked of the network or of another file. */
function stands(page: string): void {
  const html = withoutPictures(page);
  const open: string[] = [];
  for (const [, end, tag, rest] of html.matchAll(/<(\/?)([a-zA-Z][\w-]*)((?:"[^"]*"|[^">])*)>/g)) {
    if (['meta', 'img', 'br', 'stop'].includes(tag as string) || rest?.endsWith('/')) continue;
    if (end === '') open.push(tag as string);
    else expect(open.pop()).toBe(tag);
  }
  expect(open).toEqual([]);
  for (const [, target] of html.matchAll(/(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)/g)) {
    expect(target).toMatch(/^(data:PNG|#)/);
  }
  expect(html).not.toMatch(/<script|<link|@import|NaN|undefined|Infinity|\[object/);
  const ids = [...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  expect(new Set(ids).size).toBe(ids.length);
}

/** Levels of the pixels of the first pictures of a page; a PNG of one byte a pixel, filter 0. */
function levels(page: string, count: number): Uint8Array[] {
  return [...page.matchAll(/data:image\/png;base64,([A-Za-z0-9+/=]+)/g)].slice(0, count).map(([, text]) => {
    const png = Buffer.from(text as string, 'base64');
    const width = png.readUInt32BE(16);
    let at = 8;
    while (png.toString('latin1', at + 4, at + 8) !== 'IDAT') at += 12 + png.readUInt32BE(at);
    const lines = inflateSync(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
    return new Uint8Array(lines.filter((_, i) => i % (width + 1) !== 0));
  });
}

let good: ChipPart[];
beforeAll(async () => {
  good = [await part(await scene()), await part(await scene({ chip: 'b' }, { remarks: ['said & done'] }))];
}, 60_000);

describe('a good exposure', () => {
  it('passes, and says so first', () => {
    expect(troublesOf(HEAD, good)).toEqual([]);
    const page = spectraPage(HEAD, good);
    stands(page);
    expect(page).toMatch(
      /<h1>object apo 60857 0012 <span class="badge pass">pass<\/span><\/h1><p>Within their limits: all \d+ numbers of 2 chips/,
    );
    for (const what of [
      'Throughput by fibre',
      'Traces over the image',
      'Residual',
      'Three spectra',
      'Profile at 9 places',
      'Scattered light',
      'Traces moved to the exposure',
    ]) {
      expect(page.includes(what), what).toBe(true);
    }
    expect(page.includes('nearest in &lt;number&gt;')).toBe(true);
    expect(page.includes('b: said &amp; done')).toBe(true);
    expect(page.includes('unit normal')).toBe(true);
    expect(page).toContain('61.7 σ'); // 0.1234 +- 0.002
  });

  it('is small, and the same bytes again', async () => {
    expect(spectraPage(HEAD, good).length / good.length).toBeLessThan(350_000);
    expect(await part(await scene())).toEqual(good[0]);
  });

  it('has pictures that show something', () => {
    for (const pixels of levels(spectraPage(HEAD, good), 6)) {
      const [least, most] = [Math.min(...pixels), Math.max(...pixels)];
      expect(most - least).toBeGreaterThan(100);
    }
  });

  it('tells a program all numbers', () => {
    const document = spectraDocument(HEAD, good) as {
      grade: string;
      chips: {
        chip: string;
        fibres: { fibre: number; number: number; sn: number | null }[];
        numbers: Record<string, number>;
      }[];
    };
    expect(JSON.stringify(document)).not.toMatch(/NaN|undefined/);
    expect(document.grade).toBe('pass');
    expect(document.chips.map(({ chip }) => chip)).toEqual(['a', 'b']);
    const [first] = document.chips;
    expect(first?.fibres).toHaveLength(300);
    expect(first?.fibres[5]).toMatchObject({ fibre: 5, number: 295 });
    expect(first?.fibres[299]).toMatchObject({ state: 'off-chip', sn: null });
    expect(first?.numbers['tweak.shift']).toBe(0.1234);
  });
});

describe('what is measured', () => {
  it('pulls of a right model are a unit normal, with as many degrees of freedom as pixels', async () => {
    const { pulls, numbers } = await measureSpectra(await scene());
    // Nothing was fitted here: the model is the truth.
    expect(pulls?.level.scatter).toBeCloseTo(1, 2);
    expect(pulls?.deviation).toBeCloseTo(1, 2);
    expect(Math.abs(pulls?.mean ?? 1)).toBeLessThan(0.01);
    expect(numbers['pull.scatter']).toBeCloseTo(1 / (pulls?.expected ?? 0), 2);
    // 22 of 160 rows are fluxes.
    expect(pulls?.expected).toBeGreaterThan(0.9);
    expect(pulls?.expected).toBeLessThan(0.95);
  });

  it('light of a pixel is that of the table, and all of it is 1', async () => {
    const { traces } = await scene();
    const place = { fibre: 10, x: 700, cols: traces.cols };
    let sum = 0;
    for (let y = -14; y <= 14; y++) sum += pixelLight(traces.profile, place, y - 0.3, 1);
    expect(sum).toBeCloseTo(1, 5);
    expect(pixelLight(traces.profile, place, 0, 1)).toBeGreaterThan(pixelLight(traces.profile, place, 1, 1));
  });

  it('what cannot be measured is not told as a number', async () => {
    const { numbers, fibres } = await measureSpectra(
      await scene({}, { model: undefined, spectra: undefined, own: true }),
    );
    expect(numbers).not.toHaveProperty('pull.scatter');
    expect(numbers).not.toHaveProperty('chi2.median');
    expect(numbers['trace.centreError']).toBeCloseTo(0.004, 6);
    expect(fibres[3]?.sn).toBeNaN();
  });
});

describe('an exposure with a fault', () => {
  it('a model that misses the light by a pixel fails', async () => {
    const input = await scene({ type: 'domeflat' });
    const moved = new Float32Array(input.model!.length);
    moved.set(input.model!.subarray(0, -2048), 2048);
    const bad = await part({ ...input, model: moved });
    expect(bad.grade).toBe('fail');
    const sentences = troublesOf(HEAD, [bad]).map(({ grade, sentence }) => `${grade} ${sentence}`);
    expect(sentences).toContainEqual(
      expect.stringMatching(/^fail pixels beyond 5 errors from the model: a [\d.]+ %; within is at most 10$/),
    );
    stands(spectraPage(HEAD, [bad]));
  });

  it('broken, low and blended fibres are marked', async () => {
    const input = await scene({ type: 'domeflat', dead: [7, 8] });
    const states = input.traces.states.map((state, i) => (i === 12 ? 'blended' : state));
    const flat = await part({ ...input, traces: { ...input.traces, states }, own: true });
    expect(flat.measures.fibres[7]?.state).toBe('broken');
    expect(flat.measures.numbers['fibres.brokenPercent']).toBeGreaterThan(5);
    expect(gradeOf(HEAD, [flat])).toBe('warn');
    const page = spectraPage({ ...HEAD, kind: 'domeflat' }, [flat]);
    stands(page);
    expect(page.includes('Fibre 12, blended')).toBe(true);
    expect(page).toMatch(/2 broken/);
    expect(page.includes('fibres without light')).toBe(true);
  });

  it('no light gives a page without profiles, and no number that is none', async () => {
    const dark = await part(
      await scene({ brightness: 0 }, { background: { rows: 2, cols: 2, values: new Float32Array(4) } }),
    );
    const page = spectraPage(HEAD, [dark]);
    stands(page);
    expect(page.includes('No fibre has enough light for one.')).toBe(true);
  });

  it('a tweak that was refused is told with its reason', async () => {
    const input = await scene();
    const tweak: Tweak = {
      terms: [],
      width: 1,
      widthError: Number.NaN,
      largestError: Number.NaN,
      state: 'refused',
      reason: 'half a spacing',
    };
    const refused = await part({ ...input, spectra: { ...input.spectra!, tweak } });
    expect(refused.grade).toBe('warn');
    expect(spectraPage(HEAD, [refused])).toContain(
      'Refused: the traces of the flat are used as they are. half a spacing',
    );
  });

  it('a chip that is missing is a warning', () => {
    const head: ExposureHead = { ...HEAD, missing: [['c', 'nothing was extracted']] };
    expect(gradeOf(head, good)).toBe('warn');
    expect(spectraPage(head, good)).toContain('no chip c: nothing was extracted');
  });

  it('like remarks are told once', () => {
    expect(
      grouped([
        ['a', 'x'],
        ['b', 'y'],
        ['c', 'x'],
        ['c', 'x'],
      ]),
    ).toEqual([
      ['a, c', 'x'],
      ['b', 'y'],
    ]);
  });
});

describe('in a browser', () => {
  const CHROMIUM = '/usr/bin/chromium';
  const scratch = mkdtempSync(join(tmpdir(), 'rampline-spectra-page-'));
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));
  const has = spawnSync(CHROMIUM, ['--version']).status === 0;

  it('nothing is wider than a phone, no error on the console', { timeout: 60_000 }, (ctx) => {
    if (!has) return ctx.skip('chromium is not installed');
    const [file, page] = [join(scratch, 'frame.html'), join(scratch, 'page.html')];
    writeFileSync(page, spectraPage(HEAD, good.slice(0, 1)));
    const measure =
      'const { contentWindow: w } = document.querySelector("iframe");' +
      'document.title = ["measured", w.innerWidth, w.document.documentElement.scrollWidth].join(" ")';
    writeFileSync(
      file,
      `<!DOCTYPE html><title></title><iframe width="390" height="800" src="page.html"></iframe><script>onload = () => { ${measure} }</script>`,
    );
    const { stdout, stderr } = spawnSync(
      CHROMIUM,
      [
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--allow-file-access-from-files',
        `--user-data-dir=${join(scratch, 'profile')}`,
        '--enable-logging=stderr',
        '--dump-dom',
        `file://${file}`,
      ],
      { encoding: 'utf8', timeout: 50_000, maxBuffer: 2 ** 26 },
    );
    const [, inner, scroll] = /<title>measured (\d+) (\d+)<\/title>/.exec(stdout) ?? [];
    expect(Number(inner)).toBe(390);
    expect(Number(scroll)).toBeLessThanOrEqual(390);
    expect(stderr).not.toMatch(/CONSOLE/);
  });
});
