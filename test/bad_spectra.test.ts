/** Products that are not what they say: refused with the file, the HDU, what was expected and what was received. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { AlgorithmError, InputError } from '../src/core/errors.js';
import { PROFILE_NODES, PROFILE_SAMPLES, type Traces } from '../src/core/spectra.js';
import { type CardInput, encodeFits, type HduInput, openFits } from '../src/fits/index.js';
import { readRates } from '../src/stages/rates_image.js';
import { checkTraces, encodeTraces, readTraces, type TraceProduct } from '../src/stages/trace_product.js';

const FIBRES = 4;
const COLS = 64;
const folder = mkdtempSync(join(tmpdir(), 'rampline-bad-spectra-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A small product as the trace stage writes it. */
function whole(): TraceProduct {
  const table = (of: (fibre: number, x: number) => number) =>
    Float32Array.from({ length: FIBRES * COLS }, (_, i) => of(Math.floor(i / COLS), i % COLS));
  const all = (value: number) => new Float32Array(FIBRES).fill(value);
  const traces: Traces = {
    fibres: FIBRES,
    cols: COLS,
    centre: table((fibre) => 10 + 6.6 * fibre),
    width: table(() => 1),
    flux: table(() => 100),
    covariance: new Float32Array(6 * FIBRES * COLS),
    dq: new Uint32Array(FIBRES * COLS),
    states: ['ok', 'ok', 'low', 'broken'],
    profile: {
      fibres: FIBRES,
      nodes: PROFILE_NODES,
      samples: PROFILE_SAMPLES,
      cumulative: Float32Array.from(
        { length: FIBRES * PROFILE_NODES * PROFILE_SAMPLES },
        (_, i) => (i % PROFILE_SAMPLES) / (PROFILE_SAMPLES - 1),
      ),
    },
    throughput: all(1),
    throughputError: all(0.01),
  };
  return {
    traces,
    findings: {
      number: Int32Array.from({ length: FIBRES }, (_, i) => FIBRES - i),
      rms: all(0.01),
      chi2: all(1),
      columns: new Int32Array(FIBRES).fill(COLS),
      flux: all(100),
      shift: all(0),
    },
    facts: {
      tele: 'apo',
      mjd: 60857,
      chip: 'b',
      exposure: 3,
      kind: 'quartzflat',
      rows: 48,
      shift: 0,
      shiftError: 0.01,
      level: 100,
      unit: 'DN/read',
    },
    background: { rows: 2, cols: 2, values: new Float32Array(4) },
  };
}

let files = 0;
function write(hdus: readonly HduInput[]): string {
  const path = join(folder, `${files++}.fits`);
  writeFileSync(path, Buffer.concat(encodeFits(hdus)));
  return path;
}

interface Damage {
  readonly cards?: (cards: CardInput[]) => CardInput[];
  readonly hdus?: (hdus: HduInput[]) => HduInput[];
}

function traceFile(
  change: (product: TraceProduct) => void,
  { cards = (c) => c, hdus = (h) => h }: Damage = {},
): string {
  const product = whole();
  change(product);
  const encoded = encodeTraces(product);
  const identity: CardInput[] = [
    ['STAGE', 'trace'],
    ['TELE', 'apo'],
    ['MJD', 60857],
    ['CHIP', 'b'],
    ['EXPOSURE', 3],
  ];
  return write([{ header: cards([...identity, ...encoded.cards]) }, ...hdus(encoded.hdus)]);
}

/** The error that reading a file gives: of the class for input, with the file in it. */
async function refusal<T>(path: string, read: (file: ReturnType<typeof openFits>) => Promise<T>): Promise<InputError> {
  const file = openFits(path);
  try {
    await read(file);
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).context.file).toBe(path);
    return error as InputError;
  } finally {
    file.close();
  }
  throw new Error('the file was taken');
}

const nothing = () => undefined;
const shorter = (name: string) => (hdus: HduInput[]) =>
  hdus.map((hdu) =>
    hdu.name === name && hdu.kind !== 'table' && hdu.data instanceof Float32Array
      ? { ...hdu, data: hdu.data.subarray(0, (FIBRES - 1) * COLS), shape: [FIBRES - 1, COLS] }
      : hdu,
  );
const with_ = (keyword: string, value: string | number) => (cards: CardInput[]) =>
  cards.map((card): CardInput => (card[0] === keyword ? [keyword, value] : card));

describe('traces', () => {
  it('that are whole are taken', async () => {
    const file = openFits(traceFile(nothing));
    const { traces, facts } = await readTraces(file);
    file.close();
    expect(traces.states).toEqual(['ok', 'ok', 'low', 'broken']);
    expect(facts).toMatchObject({ tele: 'apo', chip: 'b', kind: 'quartzflat', rows: 48 });
  });

  const centre = (fibre: number, x: number, value: number) => (product: TraceProduct) => {
    product.traces.centre[fibre * COLS + x] = value;
  };
  const crossing = ({ traces }: TraceProduct) => traces.centre.fill(8, 2 * COLS, 3 * COLS);
  it.each<[string, (product: TraceProduct) => unknown, Damage, RegExp]>([
    ['NaN in a centre', centre(1, 7, Number.NaN), {}, /expected CENTRE from .*; 1 of 256 values are not/],
    ['a centre far beyond the chip', centre(1, 7, 1e9), {}, /expected CENTRE from .*; 1 of 256 values are not/],
    ['crossing traces', crossing, {}, /do not cross in CENTRE, received fibre 2 at row 8.00 and fibre 1 at row 16.60/],
    ['a width of 0', ({ traces }) => traces.width.fill(0, 3, 4), {}, /expected WIDTH from/],
    ['fewer fibres in CENTRE', nothing, { hdus: shorter('CENTRE') }, /expected 4 x 64 in CENTRE, received 3 x 64/],
    ['fewer fibres in FLUX', nothing, { hdus: shorter('FLUX') }, /expected 4 x 64 in FLUX, received 3 x 64/],
    [
      'a header that lies of the fibres',
      nothing,
      { cards: with_('FIBRES', 300) },
      /expected 300 x 64 in CENTRE, received 4/,
    ],
    [
      'a header of 10^9 fibres',
      nothing,
      { cards: with_('FIBRES', 1e9) },
      /expected FIBRES from 1 to 4096, received 1000000000/,
    ],
    [
      'another product',
      nothing,
      { cards: with_('STAGE', 'extract') },
      /expected a product of the stage trace, received 'extract'/,
    ],
    ['no HDU of profiles', nothing, { hdus: (hdus) => hdus.filter(({ name }) => name !== 'PROFILE') }, /PROFILE/],
    [
      'a profile that ends at 0.5',
      ({ traces }) => traces.profile.cumulative.fill(0.5, 400, 481),
      {},
      /expected profiles from 0 to 1/,
    ],
  ])('with %s are refused', async (_, change, damage, said) => {
    const error = await refusal(
      traceFile((product) => void change(product), damage),
      readTraces,
    );
    expect(error.message).toMatch(said);
    if (damage.cards !== undefined || damage.hdus !== undefined) return;
    // What reading refuses is not written.
    const product = whole();
    change(product);
    const made = await checkTraces(product, 'flat.fits').catch((cause: unknown) => cause);
    expect(made).toBeInstanceOf(AlgorithmError);
    expect((made as AlgorithmError).message).toMatch(said);
    expect((made as AlgorithmError).context.file).toBe('flat.fits');
  });
});

describe('a calibrated image', () => {
  const image = (rows: number, name: string): HduInput => ({
    name,
    data: name === 'DQ' ? new Uint32Array(rows * COLS) : new Float32Array(rows * COLS).fill(1),
    shape: [rows, COLS],
    header: [['BUNIT', 'DN/read']],
  });

  it('of errors with other rows is refused', async () => {
    const path = write([{}, image(48, 'SCI'), image(40, 'ERR'), image(48, 'DQ')]);
    const error = await refusal(path, readRates);
    expect(error.message).toMatch(/expected 48 x 64 pixels, as SCI has in ERR, received 40 x 64/);
    expect(error.context.hdu).toBe(2);
  });

  it('in another unit is refused', async () => {
    const sci = { ...image(48, 'SCI'), header: [['BUNIT', 'mJy'] satisfies CardInput] } as HduInput;
    const error = await refusal(write([{}, sci, image(48, 'ERR'), image(48, 'DQ')]), readRates);
    expect(error.message).toMatch(/received 'mJy'/);
  });
});
