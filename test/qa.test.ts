/** Pages, comparisons and plots of calibrations, from the command line. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { calibrationCards } from '../src/calib/product.js';
import { DQ } from '../src/core/generated/dq.js';
import { type CardInput, encodeFits, openFits } from '../src/fits/index.js';
import { rampline } from './cli.js';

/** Runs a verb; `json` is its document where --json asks for one. */
function run(args: readonly string[]) {
  const ended = rampline([...args, '--log-level', 'error']);
  const json = args.includes('--json') && ended.stdout !== '' ? JSON.parse(ended.stdout) : undefined;
  return { ...ended, json };
}

const [ROWS, COLS] = [64, 2048];
let folder = '';
const at = (name: string) => join(folder, name);

function writeDark(
  name: string,
  mjd: number | undefined,
  bits: (i: number) => number,
  chip = 'a',
  value: (i: number) => number = (i) => 0.05 + 0.0001 * ((i * 7919) % 101),
): void {
  const shape = [ROWS, COLS];
  const n = ROWS * COLS;
  const header: CardInput[] = calibrationCards({
    kind: 'dark',
    instrument: 'apogee',
    tele: 'apo',
    chip,
    ...(mjd !== undefined && { dataFrom: mjd, dataTo: mjd + 0.1 }),
    grade: 'pass',
    inputs: 3,
    software: 'rampline <test>',
    kernels: {},
  });
  const rate = Float32Array.from({ length: n }, (_, i) => value(i));
  writeFileSync(
    at(name),
    Buffer.concat(
      encodeFits([
        { header },
        { name: 'RATE', data: rate, shape, header: [['BUNIT', 'DN/read']] },
        { name: 'ERR', data: new Float32Array(n).fill(0.01), shape },
        { name: 'DQ', data: Uint32Array.from({ length: n }, (_, i) => bits(i)), shape },
      ]),
    ),
  );
}

/** Void elements aside, every element that is opened is closed, in order. */
function wellFormed(html: string): void {
  const open: string[] = [];
  for (const [, end, tag, rest] of html.matchAll(/<(\/?)([a-zA-Z][\w-]*)((?:"[^"]*"|[^">])*)>/g)) {
    if (['meta', 'img', 'br', 'stop'].includes(tag as string) || rest?.endsWith('/')) continue;
    if (end === '') open.push(tag as string);
    else expect(open.pop()).toBe(tag);
  }
  expect(open).toEqual([]);
}

/** Nothing is asked of the network or of another file. */
function selfContained(html: string): void {
  for (const [, target] of html.matchAll(/(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)/g)) {
    expect(target).toMatch(/^(data:image\/png;base64,|#)/);
  }
  expect(html).not.toMatch(/<script|<link|@import|NaN|undefined|\[object/);
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rampline-qa-'));
  writeDark('dark-1.fits', 60000, (i) => (i % 500 === 7 ? DQ.HOT : 0));
  writeDark('dark-2.fits', 60100, (i) => (i % 400 === 7 ? DQ.HOT : i % 3000 === 5 ? DQ.NOISY : 0));
  writeDark('dark-b.fits', 60100, () => 0, 'b');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('calib qa', () => {
  it('writes a page that needs nothing else, JSON and a PNG, against the calibration before', () => {
    const { code, json } = run(['calib', 'qa', at('dark-2.fits'), '-o', at('pages'), '--json']);
    expect(code).toBe(0);
    expect(json.pages[0]).toMatchObject({ kind: 'dark', grade: 'pass', previous: 'dark-1.fits' });
    expect(readdirSync(at('pages')).sort()).toEqual(['qa-dark-2.html', 'qa-dark-2.json', 'qa-dark-2.png']);
    const html = readFileSync(at('pages/qa-dark-2.html'), 'utf8');
    wellFormed(html);
    selfContained(html);
    for (const words of [
      'darks clean',
      'Mask evolution',
      'dark-1.fits',
      'NOISY',
      'rampline &lt;test&gt;',
      'viewport',
    ]) {
      expect(html.toLowerCase()).toContain(words.toLowerCase());
    }
    expect(readFileSync(at('pages/qa-dark-2.png')).subarray(1, 4).toString('latin1')).toBe('PNG');
    const document = JSON.parse(readFileSync(at('pages/qa-dark-2.json'), 'utf8'));
    expect(document).toMatchObject({ schema: 'qa/1', file: 'dark-2.fits', grade: 'pass', reasons: [] });
    expect(document.images[0].amplifiers).toHaveLength(4);
    expect(document.previous).toMatchObject({ file: 'dark-1.fits', sigmas: 5 });
    expect(document.sha256).toMatch(/^[0-9a-f]{64}$/);
  });
  it('ends with 22 when a calibration fails, and says why; a first one has none before it', () => {
    writeDark('hot.fits', 50000, (i) => (i % 3 === 0 ? DQ.HOT : 0));
    const { code, stdout } = run(['calib', 'qa', at('hot.fits'), '-o', at('pages')]);
    expect(code).toBe(22);
    expect(stdout).toMatch(/dark apo a: fail: hot pixels: 33(\.\d)? %, above 10 %/);
    rmSync(at('hot.fits'));
    const document = JSON.parse(readFileSync(at('pages/qa-hot.json'), 'utf8'));
    expect(document.previous).toEqual({
      file: null,
      why: 'There is no earlier dark of apo a of quality pass or warn in the directory.',
    });
  });
  it('tells of a damaged calibration before, and goes on', () => {
    const bytes = readFileSync(at('dark-1.fits'));
    bytes[bytes.length - 5000] = 255 - (bytes[bytes.length - 5000] as number);
    mkdirSync(at('damaged'));
    writeFileSync(at('damaged/dark-1.fits'), bytes);
    writeFileSync(at('damaged/dark-2.fits'), readFileSync(at('dark-2.fits')));
    const { code } = run(['calib', 'qa', at('damaged/dark-2.fits')]);
    expect(code).toBe(0);
    const document = JSON.parse(readFileSync(at('damaged/qa-dark-2.json'), 'utf8'));
    expect(document.previous.why).toMatch(/^The calibration before cannot be compared: .*dark-1.fits/);
    const { json } = run(['calib', 'evolution', at('damaged'), '--json']);
    expect(json.series[0].points).toHaveLength(1);
    expect(json.left[0].file).toBe('dark-1.fits');
  });
  it.each([
    ['no value', () => Number.NaN, 'fail'],
    ['one value', (i: number) => (i === 20_000 ? 1 : Number.NaN), 'fail'],
    ['one value everywhere', () => 0.25, 'pass'],
    ['two values', (i: number) => (i % 50 === 0 ? 1 : 0), 'pass'],
  ] as const)('makes a page of a map of %s', (_, value, grade) => {
    writeDark('odd.fits', 40000, (i) => (Number.isNaN(value(i)) ? DQ.NO_CALIBRATION : 0), 'c', value);
    const { json } = run(['calib', 'qa', at('odd.fits'), '-o', at('pages'), '--json']);
    expect(json.pages[0].grade).toBe(grade);
    const html = readFileSync(at('pages/qa-odd.html'), 'utf8');
    wellFormed(html);
    selfContained(html);
    rmSync(at('odd.fits'));
  });
  it('takes another calibration to compare with, and refuses one of another detector', () => {
    const { json } = run([
      'calib',
      'qa',
      at('dark-1.fits'),
      '--previous',
      at('dark-2.fits'),
      '-o',
      at('pages'),
      '--json',
    ]);
    expect(json.pages[0].previous).toBe('dark-2.fits');
    const other = run(['calib', 'qa', at('dark-1.fits'), '--previous', at('dark-b.fits'), '-o', at('pages')]);
    expect(other.code).toBe(22);
    expect(other.stderr).toContain('one detector');
  });
});

describe('calib compare', () => {
  it('prints numbers, JSON and a page', () => {
    const { code, json } = run([
      'calib',
      'compare',
      at('dark-1.fits'),
      at('dark-2.fits'),
      '-o',
      at('compare.html'),
      '--json',
    ]);
    expect(code).toBe(0);
    const hot = json.bits.find(({ name }: { name: string }) => name === 'HOT');
    expect(hot.a - hot.lost + hot.gained).toBe(hot.b);
    expect(json.images[0]).toMatchObject({ beyond: 0, unequal: 0, median: 0 });
    expect(json.difference).toBeUndefined();
    const html = readFileSync(at('compare.html'), 'utf8');
    wellFormed(html);
    selfContained(html);
    const { stdout } = run(['calib', 'compare', at('dark-1.fits'), at('dark-2.fits')]);
    expect(stdout).toMatch(/HOT +\d+ +\d+ +\d+ +\d+/);
  });
  it('refuses two detectors, and a file that is no calibration', () => {
    const { code, stderr } = run(['calib', 'compare', at('dark-1.fits'), at('dark-b.fits')]);
    expect(code).toBe(22);
    expect(stderr).toContain('expected two calibrations of one detector, received apogee apo a and apogee apo b');
    writeFileSync(at('none.fits'), Buffer.concat(encodeFits([{ data: new Float32Array(4), shape: [2, 2] }])));
    expect(run(['calib', 'compare', at('none.fits'), at('dark-b.fits')]).code).toBe(21);
    rmSync(at('none.fits'));
  });
});

describe('calib evolution', () => {
  it('counts bits over time as SVG, HTML and JSON', () => {
    writeDark('undated.fits', undefined, () => DQ.HOT);
    const { code, json } = run(['calib', 'evolution', folder, '--chip', 'a', '-o', at('evolution.svg'), '--json']);
    rmSync(at('undated.fits'));
    expect(code).toBe(0);
    const [series] = json.series;
    expect(series.bits).toEqual(['HOT', 'NOISY']);
    expect(series.points.map(({ mjd }: { mjd: number }) => mjd)).toEqual([60000, 60100]);
    const inside = (i: number) => i % COLS >= 4 && i % COLS < COLS - 4 && i >= 4 * COLS && i < (ROWS - 4) * COLS;
    const hot = Array.from({ length: ROWS * COLS }, (_, i) => i).filter((i) => i % 500 === 7 && inside(i)).length;
    expect(series.points[0].counts).toEqual({ HOT: hot, NOISY: 0 });
    expect(json.left).toEqual([{ file: 'undated.fits', reason: 'it does not say when its data were taken' }]);
    const svg = readFileSync(at('evolution.svg'), 'utf8');
    wellFormed(svg);
    expect(svg).toMatch(/^<svg xmlns/);
    expect(svg).toMatch(/2023-0\d-\d\d/);
    expect(run(['calib', 'evolution', folder, '--log', '-o', at('evolution.html')]).code).toBe(0);
    const html = readFileSync(at('evolution.html'), 'utf8');
    wellFormed(html);
    selfContained(html);
    expect(run(['calib', 'evolution', folder, '-o', at('evolution.json')]).code).toBe(0);
    expect(JSON.parse(readFileSync(at('evolution.json'), 'utf8')).schema).toBe('evolution/1');
  });
  it('says what it cannot draw', () => {
    const two = run(['calib', 'evolution', folder, '-o', at('two.svg')]);
    expect(two.code).toBe(2);
    expect(two.stderr).toContain('one kind and detector');
    expect(run(['calib', 'evolution', folder, '--kind', 'flat']).code).toBe(21);
    expect(run(['calib', 'evolution', folder, '-o', at('evolution.pdf')]).code).toBe(2);
  });
});

describe('calib build', () => {
  it('writes the page, and its verdict into the product', () => {
    const raw = at('raw');
    const made = run(
      `simulate --type dark --rows 64 --reads 8 --chips a --no-truth --no-calibrations --exposure 2 -o ${raw}`.split(
        ' ',
      ),
    );
    expect(made.code).toBe(0);
    const { code, json } = run(['calib', 'build', 'dark', raw, '-o', at('calib'), '--json']);
    expect(code).toBe(0);
    const [dark] = json.calibrations;
    // One dark of eight reads: too noisy to pass, and it says so.
    expect(dark.grade).toBe('warn');
    expect(dark.remarks).toContainEqual(
      expect.stringMatching(/^warn: median error of the dark rate: [\d.]+ DN\/read, above 1 DN\/read$/),
    );
    const file = openFits(dark.file);
    const { header } = file.hdu(0);
    file.close();
    expect(header.string('GRADE', '')).toBe('warn');
    const history = header.cards.filter(({ keyword }) => keyword === 'HISTORY').map(({ comment }) => comment);
    expect(history.join('\n')).toContain('warn: median error of the dark rate');
    expect(existsSync(at(`calib/${dark.facts.page}`))).toBe(true);
    // A remark longer than a card comes back in one piece, and verdicts are not said twice.
    const said = /^what came before apR-a-52950002.apz is not known: light may persist in it$/;
    const again = run(['calib', 'qa', dark.file, '--json']).json.pages[0];
    expect(again.remarks).toEqual([expect.stringMatching(said)]);
    expect(again.reasons).toEqual(dark.remarks.filter((remark: string) => remark.startsWith('warn: ')));
    expect(JSON.parse(readFileSync(at(`calib/${dark.facts.page}`.replace('.html', '.json')), 'utf8')).grade).toBe(
      'warn',
    );
  });
});
