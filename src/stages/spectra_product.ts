/** The 1-D product: how extracted spectra, their traces and what is known of their fibres lie in a FITS file, and how they are read. */
import { InputError } from '../core/errors.js';
import { EXPOSURE_KINDS, type ExposureKind } from '../core/exposure.js';
import {
  type Decorrelated,
  EXTRACTION_METHODS,
  type ExtractionMethod,
  FIBRE_STATES,
  type FibreState,
  RESOLUTION_PLANES,
  RESOLUTION_REACH,
} from '../core/spectra.js';
import type { CardInput, FitsFile, FitsImage, FitsTable, HduInput } from '../fits/index.js';
import { histogramOf } from './measure.js';
import { imageOf, MOST_FIBRES, MOST_PIXELS } from './product_parts.js';
import { RATE_UNITS, type RateUnit } from './rates_image.js';

/** Layout of the product; raise it when a reader could notice. */
export const SPECTRA_SCHEMA = '1d/1';

/** What is known of a fibre; FIBERMAP has a row for each, by index from the bottom of the chip. */
export interface SpectraFibre {
  /** The instrument's own number. */
  readonly number: number;
  /** What it looks at: 'sci', 'sky', 'tel', ...; 'unknown' where no fibre map says. */
  readonly type: string;
  /** Identifier in a catalogue; '' where there is none or nothing is known. */
  readonly target: string;
  /** [deg]; NaN: not known. */
  readonly ra: number;
  readonly dec: number;
  /** Of its trace in the flat. */
  readonly state: FibreState;
  /** Relative throughput on this chip, 1 the median fibre, and its error; NaN: not known. */
  readonly throughput: number;
  readonly throughputError: number;
  /** Quality bits of the whole fibre. */
  readonly bits: number;
  /** Means over the columns that have a value; NaN where none has. */
  readonly flux: number;
  readonly chi2: number;
}

/** A number of the model by which the spectra were extracted: a row of MODEL. */
export interface ModelTerm {
  readonly name: string;
  readonly value: number;
  /** NaN: it has none. */
  readonly error: number;
  readonly unit: string;
  readonly text: string;
}

/** What the primary header says. */
export interface SpectraFacts {
  readonly tele: string;
  readonly mjd: number;
  readonly chip: string;
  readonly exposure: number;
  readonly kind: ExposureKind;
  readonly method: ExtractionMethod;
  /** Of flux and error. */
  readonly unit: RateUnit;
  /** Exposure of the flat whose traces were taken. */
  readonly flat: number;
  /** Rows of the image. */
  readonly rows: number;
}

/** Spectra of a chip; arrays [fibre][x]. */
export interface Spectra {
  readonly fibres: number;
  readonly cols: number;
  /** NaN where there is no value. */
  readonly flux: Float32Array;
  /** Standard deviation; NaN where there is no value. */
  readonly error: Float32Array;
  readonly dq: Uint32Array;
  /** Covariance with the next fibre and the one after it, [2][fibre][x]; only of 'joint'. */
  readonly covariance?: Float32Array | undefined;
  readonly crosstalk?: Float32Array | undefined;
  readonly chi2?: Float32Array | undefined;
  /** The same light with errors that do not depend on each other; only of 'joint', and only where it was asked for. */
  readonly decorrelated?: Decorrelated | undefined;
  /** Centre [row] and width [units of the profile] of the traces as they were used, [2][fibre][x]. */
  readonly trace: Float32Array;
  readonly map: readonly SpectraFibre[];
  readonly model: readonly ModelTerm[];
}

export interface SpectraProduct {
  readonly spectra: Spectra;
  readonly facts: SpectraFacts;
}

/**
 * FITS knows 'adu' and no read: a rate in DN/read is DN counted in the time of one read. With it astropy and specutils take the
 * unit; the primary header has ours in RATEUNIT.
 */
const FITS_UNIT: Readonly<Record<RateUnit, string>> = { 'DN/read': 'adu', 'electron/s': 'electron/s' };

/** Columns and fibres counted from 0. Without wavelengths the axis is linear in pixels. */
const AXES: readonly CardInput[] = [
  ['WCSAXES', 2, 'column and fibre'],
  ['CTYPE1', 'LINEAR', 'column, from 0'],
  ['CUNIT1', 'pixel', ''],
  ['CRPIX1', 1, ''],
  ['CRVAL1', 0, ''],
  ['CDELT1', 1, ''],
  ['CTYPE2', 'LINEAR', 'fibre index, from 0 at the bottom of the chip'],
  ['CRPIX2', 1, ''],
  ['CRVAL2', 0, ''],
  ['CDELT2', 1, ''],
];

/** Cards and HDUs of the product. The runner adds identity, stage and kernels to the cards, and DQ_DEF and PROVENANCE. */
export function encodeSpectra(
  { spectra, facts }: SpectraProduct,
  more: readonly CardInput[] = [],
): { readonly cards: CardInput[]; readonly hdus: HduInput[] } {
  const { fibres, cols, map, model, covariance, crosstalk, chi2, decorrelated } = spectra;
  const shape = [fibres, cols];
  const unit = FITS_UNIT[facts.unit];
  const image = (name: string, data: FitsImage['data'], header: readonly CardInput[], planes = 1): HduInput => ({
    name,
    data,
    shape: planes === 1 ? shape : [planes, ...shape],
    header,
  });
  const note = (text: string): CardInput => ['COMMENT', text];
  const rate: CardInput = ['BUNIT', unit, `${facts.unit}, see RATEUNIT of the primary header`];
  const optional = (data: Float32Array | undefined, hdu: (data: Float32Array) => HduInput) =>
    data === undefined ? [] : [hdu(data)];
  const cards: CardInput[] = [
    ['SCHEMA', SPECTRA_SCHEMA, 'layout of this file'],
    ['EXPKIND', facts.kind, 'kind of the exposure'],
    ['METHOD', facts.method, 'how the spectra were extracted'],
    ['RATEUNIT', facts.unit, 'unit of FLUX and ERR'],
    ['FLATEXP', facts.flat, 'exposure of the flat that gave the traces'],
    ['FIBRES', fibres, 'fibres of the chip'],
    ['COLS', cols, 'columns of a spectrum'],
    ['ROWS', facts.rows, 'rows of the image'],
    ...more,
  ];
  const hdus: HduInput[] = [
    image('FLUX', spectra.flux, [
      rate,
      ...AXES,
      note('Light of each fibre in each column, [fibre][x]; NaN: no value.'),
    ]),
    image('ERR', spectra.error, [rate, ...AXES, note('Standard deviation of FLUX; NaN: no value.')]),
    image('DQ', spectra.dq, [...AXES, note('Bits are explained in the DQ_DEF table.')]),
    ...optional(covariance, (data) =>
      image(
        'COVAR',
        data,
        [
          ['BUNIT', unit === 'adu' ? 'adu2' : 'electron2/s2', 'square of the unit of FLUX'],
          note('Covariance with the next fibre (plane 1) and the one after it (plane 2).'),
        ],
        2,
      ),
    ),
    ...optional(crosstalk, (data) =>
      image('XTALK', data, [
        ...AXES,
        note("Light of the other fibres in this one's window over its own flux,"),
        note('weighted as its flux is. No unit.'),
      ]),
    ),
    ...optional(chi2, (data) =>
      image('CHI2', data, [...AXES, note("Of the pixels in the fibre's window, for each degree of freedom.")]),
    ),
    ...(decorrelated === undefined
      ? []
      : [
          image('DFLUX', decorrelated.flux, [
            rate,
            ...AXES,
            note('FLUX in the decorrelated form, RESOLUTION times FLUX; NaN: no value.'),
          ]),
          image('DERR', decorrelated.error, [
            rate,
            ...AXES,
            note('Standard deviation of DFLUX; no two values of a column depend on each other.'),
          ]),
          image(
            'RESOLUTION',
            decorrelated.resolution,
            [
              note(
                `Plane k, from 1: what DFLUX of a fibre takes of FLUX of the fibre k - ${RESOLUTION_REACH + 1} further on.`,
              ),
              note('The planes add up to 1; all are 0 where DFLUX has no value.'),
            ],
            RESOLUTION_PLANES,
          ),
        ]),
    image(
      'TRACE',
      spectra.trace,
      [note('Plane 1: row of the centre [pix], from 0.'), note('Plane 2: width in units of the profile of the flat.')],
      2,
    ),
    {
      kind: 'table',
      name: 'FIBERMAP',
      columns: [
        { name: 'FIBER', values: Int32Array.from(map.keys()) },
        { name: 'FIBERID', values: Int32Array.from(map, ({ number }) => number) },
        { name: 'TYPE', values: map.map(({ type }) => type) },
        { name: 'TARGET', values: map.map(({ target }) => target) },
        { name: 'RA', unit: 'deg', values: Float64Array.from(map, ({ ra }) => ra) },
        { name: 'DEC', unit: 'deg', values: Float64Array.from(map, ({ dec }) => dec) },
        { name: 'STATUS', values: map.map(({ state }) => state) },
        { name: 'THROUGHPUT', values: Float32Array.from(map, ({ throughput }) => throughput) },
        { name: 'THRUERR', values: Float32Array.from(map, ({ throughputError }) => throughputError) },
        { name: 'BITS', values: Uint32Array.from(map, ({ bits }) => bits) },
        { name: 'FLUX', unit, values: Float32Array.from(map, ({ flux }) => flux) },
        { name: 'CHI2', values: Float32Array.from(map, ({ chi2: mean }) => mean) },
      ],
      header: [
        note('FIBER: from 0 at the bottom of the chip; FIBERID: the instruments own.'),
        note('THROUGHPUT: relative, on this chip, 1 the median fibre; NaN: unknown.'),
        note('BITS: of the whole fibre, as in DQ_DEF. FLUX, CHI2: means over x.'),
      ],
    },
    {
      kind: 'table',
      name: 'MODEL',
      columns: [
        { name: 'NAME', values: model.map(({ name }) => name) },
        { name: 'VALUE', values: Float64Array.from(model, ({ value }) => value) },
        { name: 'ERROR', values: Float64Array.from(model, ({ error }) => error) },
        { name: 'UNIT', values: model.map((term) => term.unit) },
        { name: 'MEANING', values: model.map(({ text }) => text) },
      ],
      header: [note('By what the spectra were extracted, in numbers; ERROR NaN: it has none.')],
    },
  ];
  return { cards, hdus };
}

/** A whole number of the primary header, checked before memory is taken on its word. */
function whole(file: FitsFile, keyword: string, least: number, most: number): number {
  const value = file.hdu(0).header.number(keyword, Number.NaN);
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw new InputError(`expected ${keyword} from ${least} to ${most}, received ${value}`, { file: file.path, hdu: 0 });
}

/** A word of the primary header that must be one of a few. */
function word<T extends string>(file: FitsFile, keyword: string, among: readonly T[]): T {
  const received = file.hdu(0).header.string(keyword, '').trim();
  const found = among.find((one) => one === received);
  if (found !== undefined) return found;
  throw new InputError(`expected ${keyword} to be one of ${among.join(', ')}, received '${received}'`, {
    file: file.path,
    hdu: 0,
  });
}

/**
 * What the primary header of a 1-D product says; reads no pixel.
 * @throws InputError for a file that is no 1-D product
 */
export function readSpectraFacts(file: FitsFile): SpectraFacts {
  const { header } = file.hdu(0);
  word(file, 'SCHEMA', [SPECTRA_SCHEMA]);
  return {
    tele: header.string('TELE', '').trim(),
    mjd: whole(file, 'MJD', 0, 1e6),
    chip: header.string('CHIP', '').trim(),
    exposure: whole(file, 'EXPOSURE', 0, 1e6),
    kind: word(file, 'EXPKIND', EXPOSURE_KINDS),
    method: word(file, 'METHOD', EXTRACTION_METHODS),
    unit: word(file, 'RATEUNIT', RATE_UNITS),
    flat: whole(file, 'FLATEXP', 0, 1e6),
    rows: whole(file, 'ROWS', 1, MOST_PIXELS),
  };
}

/** How many values of an array are missing; those that are not must lie in the range. */
async function missingOf(file: FitsFile, name: string, data: Float32Array, low: number, high: number): Promise<number> {
  const all = { row: 0, rows: 1, x: 0, cols: data.length };
  const { below, above, missing } = await histogramOf(data, data.length, all, low, high);
  if (below + above === 0) return missing;
  throw new InputError(`expected ${name} from ${low} to ${high}; ${below + above} of ${data.length} values are not`, {
    file: file.path,
    hdu: file.hdu(name).index,
  });
}

function numbers(file: FitsFile, table: FitsTable, name: string): ArrayLike<number> {
  const { values, type } = table.column(name);
  if (!Array.isArray(values) && values.length === table.rows && !(values instanceof BigInt64Array)) {
    return values as ArrayLike<number>;
  }
  throw new InputError(`expected a number in each row of the column ${name}, received ${type}`, { file: file.path });
}

function words(file: FitsFile, table: FitsTable, name: string): readonly string[] {
  const { values, type } = table.column(name);
  if (Array.isArray(values)) return values;
  throw new InputError(`expected text in the column ${name}, received ${type}`, { file: file.path });
}

/**
 * FIBERMAP of a 1-D product.
 * @throws InputError where the table, a column or a word is not what it must be
 */
export function readFiberMap(file: FitsFile): SpectraFibre[] {
  const table = file.readTable('FIBERMAP');
  const fibres = whole(file, 'FIBRES', 1, MOST_FIBRES);
  const where = { file: file.path, hdu: file.hdu('FIBERMAP').index };
  if (table.rows !== fibres) throw new InputError(`expected ${fibres} rows in FIBERMAP, received ${table.rows}`, where);
  const [index, number, ra, dec, throughput, throughputError, bits, flux, chi2] = [
    'FIBER',
    'FIBERID',
    'RA',
    'DEC',
    'THROUGHPUT',
    'THRUERR',
    'BITS',
    'FLUX',
    'CHI2',
  ].map((name) => numbers(file, table, name));
  const [type, target, status] = ['TYPE', 'TARGET', 'STATUS'].map((name) => words(file, table, name));
  return Array.from({ length: fibres }, (_, i): SpectraFibre => {
    const at = (column: ArrayLike<number> | undefined) => column?.[i] ?? Number.NaN;
    const state = FIBRE_STATES.find((one) => one === status?.[i]);
    if (state === undefined) {
      throw new InputError(`expected one of ${FIBRE_STATES.join(', ')} in STATUS, received '${status?.[i]}'`, where);
    }
    if (at(index) !== i) throw new InputError(`expected FIBER ${i} in row ${i + 1}, received ${at(index)}`, where);
    return {
      number: at(number),
      type: type?.[i] ?? '',
      target: target?.[i] ?? '',
      ra: at(ra),
      dec: at(dec),
      state,
      throughput: at(throughput),
      throughputError: at(throughputError),
      bits: at(bits),
      flux: at(flux),
      chi2: at(chi2),
    };
  });
}

/** MODEL of a 1-D product. @throws InputError where the table or a column is not what it must be */
export function readModel(file: FitsFile): ModelTerm[] {
  const table = file.readTable('MODEL');
  const [value, error] = ['VALUE', 'ERROR'].map((name) => numbers(file, table, name));
  const [name, unit, text] = ['NAME', 'UNIT', 'MEANING'].map((column) => words(file, table, column));
  return Array.from({ length: table.rows }, (_, i) => ({
    name: name?.[i] ?? '',
    value: value?.[i] ?? Number.NaN,
    error: error?.[i] ?? Number.NaN,
    unit: unit?.[i] ?? '',
    text: text?.[i] ?? '',
  }));
}

/** Errors and fluxes beyond this are none [DN/read or electron/s]. */
const MOST_RATE = 1e30;

/**
 * Reads a 1-D product. Every value is finite or missing, errors are positive, and flux and error are missing together.
 * @throws InputError with the HDU, what was expected and what was received
 */
export async function readSpectra(file: FitsFile): Promise<SpectraProduct> {
  const facts = readSpectraFacts(file);
  const fibres = whole(file, 'FIBRES', 1, MOST_FIBRES);
  const cols = whole(file, 'COLS', 1, MOST_PIXELS);
  const shape = [fibres, cols];
  const has = (name: string) => file.hdus.some((hdu) => hdu.name === name);
  const optional = (name: string, planes = 1) =>
    has(name) ? imageOf(file, name, planes === 1 ? shape : [planes, ...shape], Float32Array) : undefined;
  const flux = await imageOf(file, 'FLUX', shape, Float32Array);
  const error = await imageOf(file, 'ERR', shape, Float32Array);
  const dq = await imageOf(file, 'DQ', shape, Uint32Array);
  const trace = await imageOf(file, 'TRACE', [2, ...shape], Float32Array);
  const covariance = await optional('COVAR', 2);
  const crosstalk = await optional('XTALK');
  const chi2 = await optional('CHI2');
  const apart = await optional('DFLUX');
  const decorrelated = apart && {
    flux: apart,
    error: await imageOf(file, 'DERR', shape, Float32Array),
    resolution: await imageOf(file, 'RESOLUTION', [RESOLUTION_PLANES, ...shape], Float32Array),
  };
  const lost = await missingOf(file, 'FLUX', flux, -MOST_RATE, MOST_RATE);
  const unsure = await missingOf(file, 'ERR', error, 0, MOST_RATE);
  if (lost !== unsure) {
    throw new InputError(`expected an error for each flux, received ${lost} missing fluxes and ${unsure} errors`, {
      file: file.path,
      hdu: file.hdu('ERR').index,
    });
  }
  if (decorrelated !== undefined) {
    const without = await missingOf(file, 'DFLUX', decorrelated.flux, -MOST_RATE, MOST_RATE);
    const blind = await missingOf(file, 'DERR', decorrelated.error, 0, MOST_RATE);
    if (without !== blind) {
      throw new InputError(
        `expected an error for each value of DFLUX, received ${without} missing and ${blind} errors`,
        {
          file: file.path,
          hdu: file.hdu('DERR').index,
        },
      );
    }
  }
  if ((await missingOf(file, 'TRACE', trace, -MOST_PIXELS, 2 * MOST_PIXELS)) > 0) {
    throw new InputError('expected a finite centre and width in every column of TRACE', {
      file: file.path,
      hdu: file.hdu('TRACE').index,
    });
  }
  return {
    facts,
    spectra: {
      fibres,
      cols,
      flux,
      error,
      dq,
      covariance,
      crosstalk,
      chi2,
      decorrelated,
      trace,
      map: readFiberMap(file),
      model: readModel(file),
    },
  };
}

/** What is wrong with a finished product, by its header and tables; empty: nothing. */
export function saneSpectra(file: FitsFile): readonly string[] {
  try {
    const findings: string[] = [];
    readSpectraFacts(file);
    const map = readFiberMap(file);
    const { header } = file.hdu(0);
    const values = header.number('NVALUE', 0);
    if (!(values > 0)) findings.push('no fibre has a value in any column');
    for (const { number, throughput, throughputError } of map) {
      const known = Number.isFinite(throughput);
      if (known !== Number.isFinite(throughputError) || throughput < 0 || throughputError < 0) {
        findings.push(`fibre ${number} has the throughput ${throughput} +- ${throughputError}`);
      }
    }
    readModel(file);
    return findings;
  } catch (error) {
    if (error instanceof InputError) return [error.message];
    throw error;
  }
}
