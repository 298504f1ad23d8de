/**
 * NIRSPEC at Keck II before 2018: an Aladdin-3 InSb array of 1024 x 1024 behind an echelle, orders side by side, each as high as the
 * slit is long. A raw file is one finished image. Facts only.
 * Sources: the headers of the Keck Observatory Archive (KOA); the tables of the Keck reduction of NS.20100429.40280 for rows of odd orders.
 */
import { InputError, UsageError } from '../../core/errors.js';
import type { HeaderCards, ImageFacts, Instrument } from '../../core/product.js';
import type { Spectrograph } from '../../core/spectra.js';

const SIZE = 1024;
/** DETGAIN and DETRN of the archive's headers; only for headers that lack them. */
const GAIN_ELECTRONS_PER_DN = 5;
const READ_NOISE_ELECTRONS = 10;
/** By SAMPMODE. */
const MODES: Readonly<Record<number, string>> = { 1: 'single', 2: 'cds', 3: 'mcds' };

/** KOA's words for image types, and the plain ones. */
const TYPES: Readonly<Record<string, string>> = {
  dark: 'dark',
  flatlamp: 'flat',
  flatlampoff: 'flat off',
  flat: 'flat',
  object: 'object',
};

/**
 * Middle rows of orders 50 (lowest) to 43 at column 512, in filter NIRSPEC-5 with ECHLPOS 63.31 and DISPPOS 36.93. Turning the
 * echelle moves all of them; their distances, which grow from 112 to 145, tell which is which.
 */
const ORDER_ROWS = [57, 169.5, 285.5, 406, 531, 662.4, 800, 944.7];
const HIGHEST_ORDER = 50;
/** The slit of 12 arcsec [px]. */
const SLIT_ROWS = 58.5;

export const spectrograph: Spectrograph = {
  fibres: ORDER_ROWS.length,
  fibreNumber: (index) => HIGHEST_ORDER - index,
  spacing: 124,
  positions: () => Float64Array.from(ORDER_ROWS),
  column: 512,
  detectors: [{ tele: 'keck', chip: 'spec' }],
  gaps: () => [],
  slit: SLIT_ROWS,
};

function positive(header: HeaderCards, keyword: string): number {
  const value = header.number(keyword, undefined);
  if (value === undefined || !(value > 0)) {
    const found = header.has(keyword) ? `'${header.string(keyword, '')}'` : 'none';
    throw new InputError(`expected ${keyword} to be a positive number, received ${value ?? found}`);
  }
  return value;
}

const word = (header: HeaderCards, keyword: string) => header.string(keyword, '').trim();

function describeImage(header: HeaderCards): ImageFacts | undefined {
  if ((word(header, 'CURRINST') || word(header, 'INSTRUME')).toUpperCase() !== 'NIRSPEC') return undefined;
  const mode = MODES[header.number('SAMPMODE', 0)];
  if (mode === undefined) {
    throw new InputError(`expected SAMPMODE to be 1, 2 or 3, received ${header.number('SAMPMODE', 0)}`);
  }
  // The archive cuts keywords to eight letters: MULTISPEC.
  const multiple = positive(header, 'MULTISPE');
  const [cols, rows] = [positive(header, 'NAXIS1'), positive(header, 'NAXIS2')];
  const [integrationSeconds, coadds] = [positive(header, 'ITIME'), positive(header, 'COADDS')];
  const mjd = positive(header, 'MJD-OBS');
  const type = word(header, 'IMAGETYP').toLowerCase();
  return {
    identity: { tele: 'keck', mjd: Math.floor(mjd), chip: 'spec', exposure: header.number('FILENUM', 0) },
    type: TYPES[type] ?? type,
    mjd,
    readMode: `${mode}-${multiple}`,
    integrationSeconds,
    coadds,
    gainElectronsPerDn: header.number('DETGAIN', GAIN_ELECTRONS_PER_DN),
    readNoiseElectrons: header.number('DETRN', READ_NOISE_ELECTRONS),
    dnPerUnit: 1,
    detector: { NAXIS1: cols, NAXIS2: rows, SAMPMODE: header.number('SAMPMODE', 0), MULTISPE: multiple },
    timing: { ITIME: integrationSeconds },
    optics: {
      FILNAME: word(header, 'FILNAME'),
      SLITNAME: word(header, 'SLITNAME'),
      ECHLPOS: header.number('ECHLPOS', 0),
      DISPPOS: header.number('DISPPOS', 0),
    },
  };
}

export const nirspec: Instrument = {
  name: 'nirspec',
  readout: 'image',
  describeImage,
  geometry: { readCols: SIZE, rows: SIZE, cols: SIZE, amplifiers: 4, border: 0 },
  readTimeSeconds: 1, // rates are per second
  calibrationRules: [],
  spectrograph,

  defaults() {
    return {
      gainElectronsPerDn: GAIN_ELECTRONS_PER_DN,
      readNoiseDn: READ_NOISE_ELECTRONS / GAIN_ELECTRONS_PER_DN,
      saturationDn: 25_000, // nothing uses it: the archive counts such pixels (NPIXSAT), none in frames of up to 15 000 DN
      source: 'Keck Observatory Archive headers',
    };
  },

  // Names of files tell nothing that the header does not tell better.
  identify: () => undefined,

  rawName() {
    throw new UsageError('raw files of nirspec are named by the archive');
  },

  productName(stage, { tele, mjd, chip, exposure }) {
    return `${stage}-${tele}-${mjd}-${chip}-${String(exposure).padStart(4, '0')}.fits`;
  },
};
