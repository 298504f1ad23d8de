/** The product of the trace stage: how `Traces` and what was found about them lie in a FITS file, and how they are read again. */
import { AlgorithmError, InputError } from '../core/errors.js';
import { EXPOSURE_KINDS, type ExposureKind } from '../core/exposure.js';
import {
  FIBRE_STATES,
  type FibreState,
  PROFILE_NODES,
  PROFILE_PER_PIXEL,
  PROFILE_REACH,
  PROFILE_SAMPLES,
  type Traces,
} from '../core/spectra.js';
import type { CardInput, FitsFile, HduInput } from '../fits/index.js';
import { hermiteSeries } from './gauss_hermite.js';
import { histogramOf, quantile } from './measure.js';
import { imageOf, MOST_FIBRES, MOST_PIXELS, numberCard } from './product_parts.js';
import { RATE_UNITS, type RateUnit } from './rates_image.js';

/** Layout of the product; raise it when a reader could notice. */
export const TRACE_SCHEMA = 'trace/1';

/** What was found about a fibre's trace beside the trace itself; arrays [fibre]. */
export interface FibreFindings {
  /** The instrument's own numbers. */
  readonly number: Int32Array;
  /** Scatter of the measured centres about the smooth trace [px]; NaN where nothing was measured. */
  readonly rms: Float32Array;
  /** Of the pixels of the fibre's windows for each degree of freedom; NaN where nothing was measured. */
  readonly chi2: Float32Array;
  /** Columns that were measured. */
  readonly columns: Int32Array;
  /** Median flux [DN/read]. */
  readonly flux: Float32Array;
  /** Centre at the instrument's column of metrology less the metrology [px]; NaN where it has none. */
  readonly shift: Float32Array;
}

/** What the primary header says of a flat's traces. */
export interface TraceFacts {
  readonly tele: string;
  readonly mjd: number;
  readonly chip: string;
  readonly exposure: number;
  readonly kind: ExposureKind;
  /** Rows of the image. */
  readonly rows: number;
  /** Median shift of all fibres against the metrology, and its error [px]; NaN where there is none. */
  readonly shift: number;
  readonly shiftError: number;
  /** Median flux of a fibre that is 'ok', in `unit`; relative throughputs are over this. */
  readonly level: number;
  /** Of the flux: that of the image. */
  readonly unit: RateUnit;
}

/** Smooth light between and beyond the fibres, at the centres of cells that divide the image evenly. */
export interface CoarseImage {
  readonly rows: number;
  readonly cols: number;
  /** [row][col] of the cells [DN/read] */
  readonly values: Float32Array;
}

export interface TraceProduct {
  readonly traces: Traces;
  readonly findings: FibreFindings;
  readonly facts: TraceFacts;
  readonly background: CoarseImage;
}

/** Planes of COVAR. */
const COVARIANCES = 6;

const STATE_CARDS: Readonly<Record<FibreState, string>> = {
  ok: 'NOK',
  low: 'NLOW',
  broken: 'NBROKEN',
  blended: 'NBLENDED',
  'off-chip': 'NOFFCHIP',
};

/** How many fibres have each state. */
export function countStates(states: readonly FibreState[]): Record<FibreState, number> {
  const count = (state: FibreState) => states.filter((one) => one === state).length;
  return Object.fromEntries(FIBRE_STATES.map((state) => [state, count(state)])) as Record<FibreState, number>;
}

/** The profiles once more, as those write them down who take the observatory's own: a row for each fibre and node. */
function hermiteTable({ fibres, cols, profile }: Traces): HduInput {
  const { sigma, coefficients, residual } = hermiteSeries(profile);
  const rows = fibres * PROFILE_NODES;
  const node = (row: number) => row % PROFILE_NODES;
  return {
    kind: 'table',
    name: 'GH',
    columns: [
      { name: 'FIBER', values: Int32Array.from({ length: rows }, (_, row) => Math.floor(row / PROFILE_NODES)) },
      { name: 'NODE', values: Int32Array.from({ length: rows }, (_, row) => node(row)) },
      {
        name: 'X',
        unit: 'pix',
        values: Float32Array.from({ length: rows }, (_, row) => (node(row) * (cols - 1)) / (PROFILE_NODES - 1)),
      },
      ...coefficients.map((values, order) => ({ name: `C${order}`, values })),
      { name: 'RESIDUAL', values: residual },
    ],
    header: [
      ['SIGMA', Number(sigma.toPrecision(7)), '[pix] of all series, at width 1'],
      ['COMMENT', 'Density: sum of Cj He_j(t) phi(t) / SIGMA, t = y / SIGMA,'],
      ['COMMENT', 'He_j the probabilists Hermite polynomials, phi the unit normal.'],
      ['COMMENT', 'RESIDUAL: largest difference of the cumulative light to PROFILE where'],
      ['COMMENT', 'it was fitted.'],
    ],
  };
}

/**
 * Cards and HDUs of the product; the runner adds identity, stage, kernels, DQ_DEF and PROVENANCE. `more` HDUs follow BACKGROUND.
 */
export function encodeTraces(
  { traces, findings, facts, background }: TraceProduct,
  more: readonly HduInput[] = [],
): { readonly cards: CardInput[]; readonly hdus: HduInput[] } {
  const { fibres, cols, profile } = traces;
  const shape = [fibres, cols];
  const counts = countStates(traces.states);
  const unit = (text: string): CardInput[] => [['BUNIT', text, 'unit of the pixels']];
  const cards: CardInput[] = [
    ['SCHEMA', TRACE_SCHEMA, 'layout of this file'],
    ['FLATKIND', facts.kind, 'kind of the flat'],
    ['FIBRES', fibres, 'fibres of the chip'],
    ['ROWS', facts.rows, 'rows of the image'],
    ['COLS', cols, 'its columns'],
    ...FIBRE_STATES.map((state): CardInput => [STATE_CARDS[state], counts[state], `fibres that are ${state}`]),
    ...numberCard('SHIFT', facts.shift, '[px] median shift against the metrology'),
    ...numberCard('SHIFTERR', facts.shiftError, '[px] its error'),
    ...numberCard('LEVEL', facts.level, 'median flux of fibres that are ok'),
    ['RATEUNIT', facts.unit, 'unit of all fluxes'],
  ];
  const hdus: HduInput[] = [
    { name: 'CENTRE', data: traces.centre, shape, header: [...unit('pix'), ['COMMENT', 'Row, 0-based; [fibre][x].']] },
    { name: 'WIDTH', data: traces.width, shape, header: [['COMMENT', 'In units of the profile.']] },
    { name: 'FLUX', data: traces.flux, shape, header: unit(facts.unit) },
    {
      name: 'COVAR',
      data: traces.covariance,
      shape: [COVARIANCES, fibres, cols],
      header: [
        ['COMMENT', 'Planes: flux flux, flux centre, flux width, centre centre,'],
        ['COMMENT', 'centre width, width width; units as those of FLUX, CENTRE, WIDTH.'],
      ],
    },
    { name: 'DQ', data: traces.dq, shape, header: [['COMMENT', 'Bits are explained in the DQ_DEF table.']] },
    {
      kind: 'table',
      name: 'FIBRES',
      columns: [
        { name: 'FIBER', values: Int32Array.from({ length: fibres }, (_, i) => i) },
        { name: 'FIBERID', values: findings.number },
        { name: 'STATE', values: [...traces.states] },
        { name: 'THROUGHPUT', values: traces.throughput },
        { name: 'THRUERR', values: traces.throughputError },
        { name: 'FLUX', unit: facts.unit, values: findings.flux },
        { name: 'RMS', unit: 'pix', values: findings.rms },
        { name: 'CHI2', values: findings.chi2 },
        { name: 'COLUMNS', values: findings.columns },
        { name: 'SHIFT', unit: 'pix', values: findings.shift },
      ],
      header: [['COMMENT', 'FIBER: from 0 at the bottom of the chip; FIBERID: the instruments own.']],
    },
    {
      name: 'PROFILE',
      data: profile.cumulative,
      shape: [profile.fibres, profile.nodes, profile.samples],
      header: [
        ['REACH', PROFILE_REACH, '[pix] first sample is this below the centre'],
        ['PERPIX', PROFILE_PER_PIXEL, 'samples in a pixel at width 1'],
        ['COMMENT', 'Cumulative profiles [fibre][node][sample]; nodes evenly spaced along x.'],
      ],
    },
    hermiteTable(traces),
    {
      name: 'BACKGROUND',
      data: background.values,
      shape: [background.rows, background.cols],
      header: [
        ...unit(facts.unit),
        ['COMMENT', 'Light between the fibres, at the centres of cells that divide the'],
        ['COMMENT', 'image evenly.'],
      ],
    },
    ...more,
  ];
  return { cards, hdus };
}

/** Throws what is wrong with an HDU. */
type Refuse = (name: string, message: string) => never;

const refuseFile =
  (file: FitsFile): Refuse =>
  (name, message) => {
    throw new InputError(message, { file: file.path, hdu: file.hdu(name).index });
  };

/** Refuses values that are missing or beyond what makes sense. */
async function expectWithin(refuse: Refuse, name: string, data: Float32Array, low: number, high: number) {
  const all = { row: 0, rows: 1, x: 0, cols: data.length };
  const { below, above, missing } = await histogramOf(data, data.length, all, low, high);
  const bad = below + above + missing;
  if (bad > 0) refuse(name, `expected ${name} from ${low} to ${high}; ${bad} of ${data.length} values are not`);
}

/** Columns at which the order of the fibres is looked at: traces are smooth. */
const ORDER_COLUMNS = 33;

/** Fibres are counted by their rows, so no trace may cross or touch the next. */
function expectOrder(refuse: Refuse, centre: Float32Array, fibres: number, cols: number): void {
  for (let n = 0; n < ORDER_COLUMNS; n++) {
    const x = Math.round((n * (cols - 1)) / (ORDER_COLUMNS - 1));
    for (let fibre = 1; fibre < fibres; fibre++) {
      const [below, own] = [centre[(fibre - 1) * cols + x] as number, centre[fibre * cols + x] as number];
      if (own > below) continue;
      refuse(
        'CENTRE',
        `expected traces that do not cross in CENTRE, received fibre ${fibre} at row ${own.toFixed(2)} and fibre ${fibre - 1} at row ${below.toFixed(2)} of column ${x}`,
      );
    }
  }
}

/** A count of the primary header, checked before memory is taken on its word. */
function sizeOf(file: FitsFile, keyword: string, most: number): number {
  const value = file.hdu(0).header.number(keyword, Number.NaN);
  if (Number.isSafeInteger(value) && value >= 1 && value <= most) return value;
  throw new InputError(`expected ${keyword} from 1 to ${most}, received ${value}`, { file: file.path, hdu: 0 });
}

/** A trace may lie beyond the chip by this much [px]: most of those of a strip do. */
const BEYOND = MOST_PIXELS;
const MOST_WIDTH = 20;
/** Light in a column [DN/read]; more saturates in the first read. */
const MOST_FLUX = 1e7;
/** float32 sums of tables do not end at 1 exactly. */
const ROUNDING = 1e-4;

/** Refuses traces and profiles that cannot be. */
async function expectSane(
  refuse: Refuse,
  traces: Pick<Traces, 'fibres' | 'cols' | 'centre' | 'width' | 'flux' | 'covariance' | 'profile'>,
  rows: number,
): Promise<void> {
  const { fibres, cols, centre, width, flux, covariance, profile } = traces;
  const { cumulative } = profile;
  await expectWithin(refuse, 'CENTRE', centre, -BEYOND, rows + BEYOND);
  expectOrder(refuse, centre, fibres, cols);
  await expectWithin(refuse, 'WIDTH', width, 1 / MOST_WIDTH, MOST_WIDTH);
  await expectWithin(refuse, 'FLUX', flux, -MOST_FLUX, MOST_FLUX);
  await expectWithin(refuse, 'COVAR', covariance, -1e30, 1e30);
  await expectWithin(refuse, 'PROFILE', cumulative, -ROUNDING, 1 + ROUNDING);
  for (let i = 0; i < fibres * PROFILE_NODES; i++) {
    const [first, last] = [i * PROFILE_SAMPLES, (i + 1) * PROFILE_SAMPLES - 1].map((k) => cumulative[k] as number);
    if (Math.abs(first as number) <= ROUNDING && Math.abs((last as number) - 1) <= ROUNDING) continue;
    refuse(
      'PROFILE',
      `expected profiles from 0 to 1, received ${first} to ${last} for fibre ${Math.floor(i / PROFILE_NODES)}`,
    );
  }
}

/**
 * Refuses traces that `readTraces` would refuse, before they are written.
 * @param image path of the flat, for the message
 * @throws AlgorithmError with what was expected and what came of the flat
 */
export async function checkTraces({ traces, facts, background }: TraceProduct, image?: string): Promise<void> {
  const refuse: Refuse = (_name, message) => {
    throw new AlgorithmError(`the flat gives no traces: ${message}`, { file: image });
  };
  await expectSane(refuse, traces, facts.rows);
  await expectWithin(refuse, 'BACKGROUND', background.values, -MOST_FLUX, MOST_FLUX);
}

/**
 * What the primary header of a trace product says; reads no pixel.
 * @throws InputError for a file that is no trace product, or of another layout
 */
export function readTraceFacts(file: FitsFile): TraceFacts {
  const { header } = file.hdu(0);
  const stage = header.string('STAGE', '').trim();
  if (stage !== 'trace') {
    throw new InputError(`expected a product of the stage trace, received '${stage}'`, { file: file.path, hdu: 0 });
  }
  const schema = header.string('SCHEMA', '').trim();
  if (schema !== TRACE_SCHEMA) {
    throw new InputError(`expected SCHEMA '${TRACE_SCHEMA}', received '${schema}': trace the flat again`, {
      file: file.path,
      hdu: 0,
    });
  }
  const claimed = header.string('FLATKIND', '').trim();
  const kind = EXPOSURE_KINDS.find((one) => one === claimed);
  if (kind === undefined) {
    throw new InputError(`expected the kind of an exposure in FLATKIND, received '${claimed}'`, {
      file: file.path,
      hdu: 0,
    });
  }
  const named = header.string('RATEUNIT', '').trim();
  const unit = RATE_UNITS.find((one) => one === named);
  if (unit === undefined) {
    throw new InputError(`expected ${RATE_UNITS.join(' or ')} in RATEUNIT, received '${named}'`, {
      file: file.path,
      hdu: 0,
    });
  }
  return {
    tele: header.string('TELE', '').trim(),
    mjd: header.number('MJD', Number.NaN),
    chip: header.string('CHIP', '').trim(),
    exposure: header.number('EXPOSURE', Number.NaN),
    kind,
    rows: sizeOf(file, 'ROWS', MOST_PIXELS),
    shift: header.number('SHIFT', Number.NaN),
    shiftError: header.number('SHIFTERR', Number.NaN),
    level: header.number('LEVEL', Number.NaN),
    unit,
  };
}

/** Numbers of a column of FIBRES. */
function numbers<T extends Float32Array | Int32Array>(
  table: ReturnType<FitsFile['readTable']>,
  file: FitsFile,
  name: string,
  type: { new (length: number): T },
): T {
  const { values, type: received } = table.column(name);
  if (values instanceof type) return values;
  throw new InputError(`expected ${type.name} in the column ${name} of FIBRES, received ${received}`, {
    file: file.path,
  });
}

/**
 * Medians over the fibres that are ok: relative throughput (NaN where it is not known), and scatter of centres about the traces [px].
 * @throws InputError for a file that is no trace product
 */
export function readThroughputs(file: FitsFile): { readonly throughput: number; readonly rms: number } {
  const table = file.readTable('FIBRES', ['STATE', 'THROUGHPUT', 'RMS']);
  const states = table.column('STATE').values as ArrayLike<unknown>;
  const middle = (name: string) =>
    quantile(
      numbers(table, file, name, Float32Array).filter((_, i) => states[i] === 'ok'),
      0.5,
    );
  return { throughput: middle('THROUGHPUT'), rms: middle('RMS') };
}

/** STATE of each fibre, from the table FIBRES. */
function statesOf(file: FitsFile, table: ReturnType<FitsFile['readTable']>, fibres: number): FibreState[] {
  const where = { file: file.path, hdu: file.hdu('FIBRES').index };
  if (table.rows !== fibres) {
    throw new InputError(`expected ${fibres} rows in FIBRES, received ${table.rows}`, where);
  }
  return Array.from(table.column('STATE').values as ArrayLike<unknown>, (word): FibreState => {
    const state = FIBRE_STATES.find((one) => one === word);
    if (state !== undefined) return state;
    throw new InputError(`expected one of ${FIBRE_STATES.join(', ')} in STATE, received '${word}'`, where);
  });
}

/**
 * Where a trace product has the fibres, and what became of them: what is needed to compare it with another.
 * @throws InputError with the HDU, what was expected and what was received
 */
export async function readCentres(file: FitsFile): Promise<Pick<Traces, 'fibres' | 'cols' | 'centre' | 'states'>> {
  const { rows } = readTraceFacts(file);
  const fibres = sizeOf(file, 'FIBRES', MOST_FIBRES);
  const cols = sizeOf(file, 'COLS', MOST_PIXELS);
  const centre = await imageOf(file, 'CENTRE', [fibres, cols], Float32Array);
  await expectWithin(refuseFile(file), 'CENTRE', centre, -BEYOND, rows + BEYOND);
  return { fibres, cols, centre, states: statesOf(file, file.readTable('FIBRES', ['STATE']), fibres) };
}

/**
 * Reads a trace product. Centres, widths, fluxes, covariances and profiles are finite and within what makes sense; throughputs may be
 * NaN, which means that they are not known.
 * @throws InputError with the HDU, what was expected and what was received
 */
export async function readTraces(file: FitsFile): Promise<TraceProduct> {
  const facts = readTraceFacts(file);
  const fibres = sizeOf(file, 'FIBRES', MOST_FIBRES);
  const cols = sizeOf(file, 'COLS', MOST_PIXELS);
  const shape = [fibres, cols];
  const centre = await imageOf(file, 'CENTRE', shape, Float32Array);
  const width = await imageOf(file, 'WIDTH', shape, Float32Array);
  const flux = await imageOf(file, 'FLUX', shape, Float32Array);
  const covariance = await imageOf(file, 'COVAR', [COVARIANCES, ...shape], Float32Array);
  const dq = await imageOf(file, 'DQ', shape, Uint32Array);
  const cumulative = await imageOf(file, 'PROFILE', [fibres, PROFILE_NODES, PROFILE_SAMPLES], Float32Array);
  const profile = { fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
  await expectSane(refuseFile(file), { fibres, cols, centre, width, flux, covariance, profile }, facts.rows);
  const grid = file.hdu('BACKGROUND');
  const [gridCols = 0, gridRows = 0] = grid.axes;
  if (grid.axes.length !== 2 || gridRows < 1 || gridCols < 1 || gridRows * gridCols > MOST_PIXELS) {
    throw new InputError(`expected a coarse image in BACKGROUND, received ${grid.axes.join(' x ') || 'nothing'}`, {
      file: file.path,
      hdu: grid.index,
    });
  }
  const values = await imageOf(file, 'BACKGROUND', [gridRows, gridCols], Float32Array);
  await expectWithin(refuseFile(file), 'BACKGROUND', values, -MOST_FLUX, MOST_FLUX);
  const table = file.readTable('FIBRES');
  const states = statesOf(file, table, fibres);
  const floats = (name: string) => numbers(table, file, name, Float32Array);
  const integers = (name: string) => numbers(table, file, name, Int32Array);
  return {
    facts,
    traces: {
      fibres,
      cols,
      centre,
      width,
      flux,
      covariance,
      dq,
      states,
      profile,
      throughput: floats('THROUGHPUT'),
      throughputError: floats('THRUERR'),
    },
    findings: {
      number: integers('FIBERID'),
      rms: floats('RMS'),
      chi2: floats('CHI2'),
      columns: integers('COLUMNS'),
      flux: floats('FLUX'),
      shift: floats('SHIFT'),
    },
    background: { rows: gridRows, cols: gridCols, values },
  };
}
