/** Bad input from files to verdict: what `rampline trace build` and `rampline extract` say of it, and that nothing half-written stays. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DQ } from '../src/core/generated/dq.js';
import { type CardInput, encodeFits, type HduInput, openFits } from '../src/fits/index.js';
import { type MockSpectra, type MockSpectraOptions, mockSpectra } from '../src/simulate/index.js';
import { rampline } from './cli.js';
import { rateFile } from './mock_flat.js';
import { writeTraces } from './spectra_files.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-bad-cli-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
const at = (name: string) => join(base, name);

/** A strip with 34 whole fibres, enough of a chip (150) for the gaps to tell which is which, and too few fibres for any to tell. */
const [STRIP, MANY, FEW] = [256, 1024, 64];
const SPACING = 6.6;
const MJD = 60857;
const FLAT: MockSpectraOptions = { tele: 'apo', chip: 'b', type: 'domeflat', mjd: MJD, exposure: 12, rows: STRIP };
const OBJECT: MockSpectraOptions = { ...FLAT, type: 'object', exposure: 15 };

/** Writes an image whose header says `says`, whatever it shows. */
function write(name: string, mock: MockSpectra, says: MockSpectraOptions): string {
  const path = at(`${name}.fits`);
  writeFileSync(path, Buffer.concat(rateFile(mock, says)));
  return path;
}

const made = async (name: string, shows: MockSpectraOptions, says = shows, change = (mock: MockSpectra) => mock) =>
  write(name, change(await mockSpectra(shows)), says);

/** Every pixel of the lamp is full. */
const saturated = (mock: MockSpectra) => ({ ...mock, dq: mock.dq.map((bits) => bits | DQ.SATURATED) });
/** Rows without a value that no bit marks. */
const holes = (mock: MockSpectra) => {
  const image = mock.image.slice();
  image.fill(Number.NaN, 100 * mock.cols, 130 * mock.cols);
  return { ...mock, image };
};

interface Verdict {
  readonly error: string;
  readonly exitCode: number;
  readonly message: string;
  readonly file?: string;
  readonly hdu?: number;
}

/** Files in the directory of the products: of a failure none may stay. */
const left = (output: string): string[] => {
  try {
    return readdirSync(output, { recursive: true, encoding: 'utf8' }).filter((name) => /fits|json|tmp/.test(name));
  } catch {
    return [];
  }
};

describe('rampline trace build', () => {
  const output = at('traces');
  let code: number | null;
  let outcomes: { file: string; status: string; product?: string; failure?: Verdict; warnings?: string[] }[];
  let files: Record<string, string>;

  beforeAll(async () => {
    const many = { ...FLAT, rows: MANY };
    files = {
      dark: await made('dark', { ...FLAT, exposure: 1, brightness: 0 }),
      arc: await made('arc', { ...FLAT, type: 'thar' }, { ...FLAT, exposure: 8 }),
      comb: await made('comb', { ...FLAT, type: 'fpi' }, { ...FLAT, exposure: 9 }),
      stars: await made('stars', { ...FLAT, type: 'object' }, { ...FLAT, exposure: 10 }),
      full: await made('full', { ...FLAT, exposure: 2 }, undefined, saturated),
      chip: await made('chip', { ...many, chip: 'c' }, { ...many, exposure: 3 }),
      telescope: await made('telescope', { ...many, tele: 'lco' }, { ...many, exposure: 4 }),
      few: await made('few', { ...FLAT, rows: FEW, exposure: 5, shift: SPACING / 2 }),
      half: await made('half', { ...many, exposure: 6, shift: SPACING / 2 }),
      holes: await made('holes', { ...FLAT, exposure: 7 }, undefined, holes),
    };
    const ended = rampline(['--json', '--log-level', 'error', 'trace', 'build', ...Object.values(files), '-o', output]);
    code = ended.code;
    ({ outcomes } = JSON.parse(ended.stdout));
  }, 60_000);

  const of = (name: string) => outcomes.find(({ file }) => file === files[name]);

  it.each([
    ['no lamp', 'dark', 'algorithm', 20, /no lamp: expected the light of \d+ fibres/],
    [
      'an arc lamp',
      'arc',
      'input',
      21,
      /expected the continuum of a flat, received light in \d % of the columns: lines/,
    ],
    [
      'a comb of lines',
      'comb',
      'input',
      21,
      /expected the continuum of a flat, received light in \d\d % of the columns/,
    ],
    [
      'stars',
      'stars',
      'input',
      21,
      /expected fibres that all see the same, as of a flat; .* is 0\.[0-2]\d of the upper one/,
    ],
    ['a saturated lamp', 'full', 'algorithm', 20, /saturated lamp: expected at most 12 rows .*, received \d+ of 256/],
    ['another chip under this name', 'chip', 'input', 21, /swapped detector: expected the fibres of apo b .* apo c do/],
    ['another telescope', 'telescope', 'input', 21, /swapped detector: expected the fibres of apo b .* lco . do/],
    ['half a spacing on a few rows', 'few', 'algorithm', 20, /the fibres cannot be told apart/],
  ])('%s: an error with the file and what was expected', (_, name, error, exitCode, message) => {
    const found = of(name);
    expect(found?.status).toBe('failed');
    expect(found?.failure).toMatchObject({ error, exitCode, file: files[name] });
    expect(found?.failure?.message).toMatch(message);
  });

  it('half a spacing on a chip: identified by its gaps, with a warning', () => {
    const found = of('half');
    expect(found?.status).toBe('done');
    expect(found?.warnings?.join()).toMatch(
      /lie -?3\.\d\d px from where metrology has them, .*; the gaps identify them/,
    );
  });

  it('rows without a value: told of, and the fibres there are not made up', () => {
    const found = of('holes');
    expect(found?.status).toBe('done');
    expect(found?.warnings?.join()).toMatch(/30 of 256 rows have no usable pixel/);
    expect(found?.warnings?.join()).toMatch(/fibres are (broken|blended)/);
  });

  it('ends with the code of the worst, and leaves the products of what went well alone', () => {
    expect(code).toBe(21);
    const whole = ['half', 'holes'].map((name) => of(name)?.product?.split('/').at(-1) as string);
    expect(left(output).sort()).toEqual(whole.flatMap((name) => [name, `${name}.manifest.json`]).sort());
  });
});

describe('rampline extract', () => {
  let traces: string;
  let flat: MockSpectra;
  let object: string;
  const output = at('spectra');

  beforeAll(async () => {
    mkdirSync(at('in'));
    flat = await mockSpectra(FLAT);
    traces = writeTraces(at('in'), { tele: 'apo', mjd: MJD, chip: 'b', exposure: 12 }, 'domeflat', flat);
    object = await made('object', OBJECT);
  }, 60_000);

  function extract(image: string, trace = traces, ...more: string[]) {
    const words = ['--json', '--log-level', 'error', 'extract', image, '--trace', trace, '-o', output];
    const { code, stdout } = rampline(words.concat(more));
    const { outcomes } = JSON.parse(stdout);
    expect(outcomes).toHaveLength(1);
    return { code, outcome: outcomes[0] };
  }
  /** The verdict on a failure, after which nothing is there. */
  function refused(image: string, trace = traces): Verdict {
    rmSync(output, { recursive: true, force: true });
    const { code, outcome } = extract(image, trace);
    expect(left(output)).toEqual([]);
    expect(outcome.status).toBe('failed');
    expect(outcome.failure.exitCode).toBe(code);
    return outcome.failure;
  }

  it.each<[string, Partial<MockSpectraOptions>]>([
    ['another chip', { chip: 'c' }],
    ['another telescope', { tele: 'lco' }],
    ['light half a spacing off', { shift: SPACING / 2 }],
    ['light a whole spacing off', { shift: SPACING }],
  ])('%s under this name: refused by its light, and taken only as it is asked for', async (what, shows) => {
    const image = await made('lies', { ...OBJECT, ...shows }, OBJECT);
    const verdict = refused(image);
    expect(verdict).toMatchObject({ error: 'input', exitCode: 21, file: image, hdu: 1 });
    expect(verdict.message).toMatch(
      /expected light where the traces of the domeflat 12 have it, received .*(bent|single fibres|nearly half)/,
    );
    if (what !== 'another chip') return;
    const { code, outcome } = extract(image, traces, '--no-tweak');
    expect(code).toBe(0);
    expect(outcome.warnings.join()).toMatch(/\d\d % of the values have pixels that the model of all fibres does not/);
  });

  it('a header of another chip: refused by name', () => {
    const other = writeTraces(at('in'), { tele: 'apo', mjd: MJD, chip: 'c', exposure: 12 }, 'domeflat', flat);
    expect(refused(object, other)).toMatchObject({ error: 'input', exitCode: 21, file: other, hdu: 0 });
    // A person is told which of the two files it is.
    writeFileSync(other, readFileSync(other).subarray(0, 9000));
    const { stdout } = rampline(['--log-level', 'error', 'extract', object, '--trace', other, '-o', output]);
    expect(stdout).toContain(`input: ${basename(other)}: `);
  });

  it('traces of another night: taken with a warning', () => {
    const other = writeTraces(at('in'), { tele: 'apo', mjd: MJD - 1, chip: 'b', exposure: 12 }, 'domeflat', flat);
    const { code, outcome } = extract(object, other, '--force');
    expect(code).toBe(0);
    expect(outcome.warnings).toContain(`the traces are of the night ${MJD - 1}, not of ${MJD}`);
    const file = openFits(outcome.product);
    expect(file.hdu(0).header.sentences('HISTORY')).toEqual(outcome.warnings);
    file.close();
  });

  it('traces of another layout: refused, and both are named', () => {
    const file = openFits(traces);
    const cards = file
      .hdu(0)
      .header.cards.flatMap(({ keyword, value }): CardInput[] =>
        /^(SIMPLE|BITPIX|NAXIS|EXTEND|CHECKSUM|DATASUM)$/.test(keyword) || value === undefined
          ? []
          : [[keyword, keyword === 'SCHEMA' ? 'trace/0' : value]],
      );
    const hdus = ['CENTRE', 'WIDTH'].map((name): HduInput => {
      const { data, shape } = file.readImage(name);
      return { name, data, shape };
    });
    file.close();
    const old = at('old.fits');
    writeFileSync(old, Buffer.concat(encodeFits([{ header: cards }, ...hdus])));
    const verdict = refused(object, old);
    expect(verdict).toMatchObject({ error: 'input', exitCode: 21 });
    expect(verdict.message).toMatch(/old\.fits: expected SCHEMA 'trace\/1', received 'trace\/0'/);
  });

  it('rows without a value: their fibres have none, and a warning says how many', async () => {
    const { code, outcome } = extract(await made('gap', OBJECT, undefined, holes), traces, '--force');
    expect(code).toBe(0);
    expect(outcome.warnings.join()).toMatch(/\d+ % of the columns of whole fibres have no value/);
  });

  it('no usable pixel at all: an error, not an empty product', async () => {
    const verdict = refused(await made('nothing', OBJECT, undefined, saturated));
    expect(verdict).toMatchObject({ error: 'algorithm', exitCode: 20, hdu: 3 });
    expect(verdict.message).toMatch(/expected a pixel of a fibre that can be used/);
  });

  it('no light: extracted where the flat has the traces, and the product says that nothing was measured', async () => {
    const { code, outcome } = extract(await made('black', { ...OBJECT, brightness: 0 }), traces, '--force');
    expect(code).toBe(0);
    expect(outcome.summary.tweak).toBe('faint');
  });
});
