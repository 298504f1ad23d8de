/** The 2-D product: what a RampResult becomes in a FITS file, and what its manifest says. */
import { dqTable, provenanceTable } from '../../calib/provenance.js';
import type { Instrument, ProvenanceEntry } from '../../core/product.js';
import { isoFromMjd } from '../../core/time.js';
import { type CardInput, type HduInput, Header } from '../../fits/index.js';
import type { RampResult } from './reduce.js';

/** Layout of the product; raise it when a reader could notice. */
export const RAMP_SCHEMA = 'ramp-2d/1';

export interface RampProduct {
  /** `2d-{tele}-{mjd}-{chip}-{exposure}.fits` */
  readonly name: string;
  readonly hdus: readonly HduInput[];
  readonly schema: string;
  /** What changes the pixels; with inputs, calibrations and kernels it makes the key. */
  readonly parameters: Readonly<Record<string, number | string | boolean | readonly string[]>>;
  readonly kernels: Readonly<Record<string, string>>;
}

/** Choices that change the product. Threads, memory and fusing do not, and are left out on purpose. */
export function rampParameters(options: RampResult['options']): RampProduct['parameters'] {
  const { dropReads, reset, jumps, twoOmit, unit, off, params } = options;
  const flat = Object.entries(params).flatMap(([kernel, values]) =>
    Object.entries(values).map(([name, value]) => [`${kernel}.${name}`, value as number | string | boolean] as const),
  );
  return { dropReads, reset, jumps, twoOmit, unit, off: [...off].sort(), ...Object.fromEntries(flat) };
}

/**
 * Cards of the raw header that describe how bytes were stored, not the exposure. DATE is when the raw file was written; a
 * product has none, since the same inputs give the same bytes whenever it is made: its manifest says when.
 */
const STORAGE =
  /^(SIMPLE|DATE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|TFIELDS|T[A-Z]{4}\d+|THEAP|Z[A-Z]+\d*|CHECKSUM|DATASUM|EXTNAME|EXTVER|BZERO|BSCALE|INHERIT|READ)$/;

/**
 * The raw header by rule: every card that describes the exposure is carried over as it stands; what describes storage is
 * not; and a card that the product sets itself is kept as `RAW` plus its name where that fits.
 */
function carriedCards(raw: Header, own: ReadonlySet<string>): Header {
  const carried = new Header();
  for (const card of raw.cards) {
    if (STORAGE.test(card.keyword)) continue;
    if (!own.has(card.keyword)) carried.append(card);
    else if (card.keyword.length <= 5)
      carried.set(`RAW${card.keyword}`, card.value, card.comment, { real: card.type === 'real' });
  }
  return carried;
}

/** What a product is called: the rates as they come out of the fit, or calibrated by steps behind it. */
export interface ProductName {
  /** First word of the file name. */
  readonly prefix: string;
  readonly stage: string;
  readonly schema: string;
  /** Cards beyond those of every product. */
  readonly cards: readonly CardInput[];
}

const RATES: ProductName = { prefix: '2d', stage: 'ramp', schema: RAMP_SCHEMA, cards: [] };

function primaryCards(
  result: RampResult,
  instrument: Instrument,
  software: string,
  { stage, cards: more }: ProductName,
): CardInput[] {
  const { identity, times, options } = result;
  const cards: CardInput[] = [
    ['INSTRUME', instrument.name.toUpperCase(), 'instrument'],
    ['TELE', identity.tele, 'telescope'],
    ['MJD', identity.mjd, 'night (SJD)'],
    ['CHIP', identity.chip, 'detector'],
    ['EXPOSURE', identity.exposure, 'number in the night'],
    ['STAGE', stage, 'what made the rates: ramp, or ramp and calibrate'],
    ['TIMESYS', 'TAI', 'of the times below'],
    ['NREADRAW', result.readsTotal, 'reads in the raw file'],
    ['READ1', result.firstRead + 1, 'first read used, from 1'],
    ['NREAD', result.readsUsed, 'reads used'],
    ['READTIME', times.readSeconds, '[s] time of a read'],
    ['METHOD', result.method, 'fit: least squares; dcs: double sampling'],
    ['JUMPS', options.jumps, 'test for jumps'],
    ['RESET', options.reset, 'how the first reads are treated'],
    ['SWVER', software, 'program'],
    ...more,
  ];
  const time = (keyword: string, mjd: number | undefined, comment: string) => {
    if (mjd !== undefined) cards.push([keyword, mjd, comment]);
  };
  if (times.first !== undefined) cards.push(['DATE-BEG', isoFromMjd(times.first), 'start of the first read used']);
  time('MJD-BEG', times.first, '[d] start of the first read used');
  time('MJD-MID', times.middle, '[d] middle of the reads used');
  time('MJDMIDHD', times.headerMiddle, "[d] the raw header's own: start + EXPTIME/2");
  let i = 1;
  for (const [name, version] of Object.entries(result.kernels))
    cards.push([`KERN${i++}`, `${name} ${version}`, 'kernel, version, hash']);
  return cards;
}

/** Columns of measure-zero-point's `zero` table. */
const ZERO_COLUMNS = ['SIDE', 'REFERENCE', 'AMP1', 'AMP2', 'AMP3', 'AMP4'] as const;

function zeroTable(result: RampResult): HduInput {
  const n = result.readsUsed;
  const column = (c: number) =>
    Float32Array.from({ length: n }, (_, k) => result.zero[k * ZERO_COLUMNS.length + c] ?? 0);
  return {
    kind: 'table',
    name: 'READZERO',
    columns: [
      { name: 'READ', values: Int32Array.from({ length: n }, (_, k) => result.firstRead + k + 1) },
      ...ZERO_COLUMNS.map((name, c) => ({ name, unit: 'DN', values: column(c) })),
    ],
    header: [
      ['COMMENT', 'Zero points of each read used: medians of the side columns and of the reference'],
      ['COMMENT', 'output, and the offset of each amplifier against the mean of amplifiers 1 and 4.'],
    ],
  };
}

/**
 * The product of a result.
 * @param provenance what went into it and what was refused, hashed by whoever may read files
 * @param as what it is: uncalibrated rates by default
 * @param diagnostics also write NJUMPS and LASTGOOD images
 */
export function rampProduct(
  result: RampResult,
  instrument: Instrument,
  provenance: readonly ProvenanceEntry[],
  software: string,
  diagnostics = false,
  as = RATES,
): RampProduct {
  const { images, options } = result;
  const shape = [images.rows, images.cols];
  const unit = options.unit === 'dn-per-read' ? 'DN/read' : 'electron/s';
  const own = primaryCards(result, instrument, software, as);
  const primary = new Header();
  for (const [keyword, value, comment] of own) primary.set(keyword, value, comment);
  const names = new Set([...own.map(([keyword]) => keyword), 'SIMPLE', 'BITPIX', 'NAXIS', 'EXTEND']);
  for (const card of carriedCards(result.header, names).cards) primary.append(card);
  const bunit = (text: string): CardInput[] => [['BUNIT', text, 'unit of the pixels']];
  return {
    name: instrument.productName(as.prefix, result.identity),
    schema: as.schema,
    parameters: { ...rampParameters(options), diagnostics },
    kernels: result.kernels,
    hdus: [
      { header: primary },
      { name: 'SCI', data: images.rate, shape, header: bunit(unit) },
      { name: 'ERR', data: images.error, shape, header: bunit(unit) },
      { name: 'DQ', data: images.dq, shape, header: [['COMMENT', 'Bits are explained in the DQ_DEF table.']] },
      {
        name: 'CHI2',
        data: images.chi2,
        shape,
        header: [['COMMENT', 'Of NREADS - 1 degrees of freedom (differences used less one).']],
      },
      {
        name: 'NREADS',
        data: images.goodDiffs,
        shape,
        header: [['COMMENT', 'Differences of consecutive reads that the fit used.']],
      },
      ...(diagnostics && images.jumps !== undefined && images.lastGood !== undefined
        ? ([
            { name: 'NJUMPS', data: images.jumps, shape, header: [['COMMENT', 'Differences dropped as jumps.']] },
            {
              name: 'LASTGOOD',
              data: images.lastGood,
              shape,
              header: [['COMMENT', 'Reads before saturation, of the reads used.']],
            },
          ] satisfies HduInput[])
        : []),
      zeroTable(result),
      dqTable(),
      provenanceTable(provenance),
    ],
  };
}
