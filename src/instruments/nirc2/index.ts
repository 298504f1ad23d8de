/**
 * NIRC2 at Keck II: one Aladdin-3 InSb array of 1024 x 1024 behind three cameras, read in full or as a smaller region about its
 * centre. A raw file is one finished image; its header says which region, mode and time. Facts only.
 * Sources: the headers of the Keck Observatory Archive (KOA) and its keyword table; the comments of the cards themselves
 * (SAMPMODE: 1=Single; 2=CDS; 3=MCDS; DETRN: Detector Read Noise; IMAGEMD: Image data median).
 */
import { InputError, UsageError } from '../../core/errors.js';
import type { HeaderCards, ImageFacts, Instrument } from '../../core/product.js';
import { CALIBRATION_RULES } from './rules.js';

/** By SAMPMODE. */
const MODES: Readonly<Record<number, string>> = { 1: 'single', 2: 'cds', 3: 'mcds' };
const MCDS = 3;
/** DETGAIN and DETRN of all archive headers of 2022; only for headers that lack them. */
const GAIN_ELECTRONS_PER_DN = 4;
const READ_NOISE_ELECTRONS = 39;
const FULL_SIZE = 1024;

/** KOA's words for image types, and the plain ones. */
const TYPES: Readonly<Record<string, string>> = {
  dark: 'dark',
  flatlamp: 'flat',
  flatlampoff: 'flat off',
  flat: 'flat',
  object: 'object',
};

function positive(header: HeaderCards, keyword: string): number {
  const value = header.number(keyword, undefined);
  if (value === undefined || !(value > 0)) {
    const found = header.has(keyword) ? `'${header.string(keyword, '')}'` : 'none';
    throw new InputError(`expected ${keyword} to be a positive number, received ${value ?? found}`);
  }
  return value;
}

/** CAMNAME, FILTER: what the light went through, without the blanks that the archive pads with. */
const words = (header: HeaderCards, keyword: string) => header.string(keyword, '').replaceAll(/\s+/g, ' ').trim();

function describeImage(header: HeaderCards): ImageFacts | undefined {
  const name = words(header, 'CURRINST') || words(header, 'INSTRUME');
  if (name.toUpperCase() !== 'NIRC2') return undefined;
  const mode = header.number('SAMPMODE', 0);
  const word = MODES[mode];
  if (word === undefined) throw new InputError(`expected SAMPMODE to be 1, 2 or 3, received ${mode}`);
  const multisam = positive(header, 'MULTISAM');
  const cols = positive(header, 'NAXIS1');
  const rows = positive(header, 'NAXIS2');
  const integrationSeconds = positive(header, 'ITIME');
  const coadds = positive(header, 'COADDS');
  const mjd = positive(header, 'MJD-OBS');
  const type = words(header, 'KOAIMTYP').toLowerCase() || words(header, 'IMAGETYP').toLowerCase();
  const noise = header.number('DETRN', READ_NOISE_ELECTRONS);
  return {
    identity: {
      tele: 'keck',
      mjd: Math.floor(mjd),
      chip: `${cols}x${rows}`,
      exposure: header.number('FRAMENO', 0),
    },
    type: TYPES[type] ?? type,
    mjd,
    readMode: `${word}-${multisam}`,
    integrationSeconds,
    coadds,
    gainElectronsPerDn: header.number('DETGAIN', GAIN_ELECTRONS_PER_DN),
    // DETRN is the same in all modes. MCDS averages MULTISAM reads at either end; what CDS does with them is not said.
    readNoiseElectrons: mode === MCDS ? noise / Math.sqrt(multisam) : noise,
    // Raw images are integers; one of floating point was divided by its median, which is IMAGEMD.
    dnPerUnit: header.number('BITPIX', 0) < 0 ? positive(header, 'IMAGEMD') : 1,
    detector: { NAXIS1: cols, NAXIS2: rows, SAMPMODE: mode, MULTISAM: multisam },
    timing: { ITIME: integrationSeconds },
    optics: { CAMNAME: words(header, 'CAMNAME'), FILTER: words(header, 'FILTER') },
  };
}

export const nirc2: Instrument = {
  name: 'nirc2',
  readout: 'image',
  describeImage,
  // Of the whole array; a file says which region it holds.
  geometry: { readCols: FULL_SIZE, rows: FULL_SIZE, cols: FULL_SIZE, amplifiers: 4, border: 0 },
  readTimeSeconds: 1, // rates are per second
  calibrationRules: CALIBRATION_RULES,

  defaults() {
    return {
      gainElectronsPerDn: GAIN_ELECTRONS_PER_DN,
      readNoiseDn: READ_NOISE_ELECTRONS / GAIN_ELECTRONS_PER_DN,
      saturationDn: 5000 / 0.8, // NONLIN: 3 % nonlinearity at 5000 DN a coadd, 80 % of the full well
      source: 'Keck Observatory Archive headers',
    };
  },

  // Names of files tell nothing that the header does not tell better.
  identify: () => undefined,

  rawName() {
    throw new UsageError('raw files of nirc2 are named by the archive');
  },

  productName(stage, { tele, mjd, chip, exposure }) {
    return `${stage}-${tele}-${mjd}-${chip}-${String(exposure).padStart(4, '0')}.fits`;
  },
};
