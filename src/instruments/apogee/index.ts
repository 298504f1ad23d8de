/**
 * APOGEE: two spectrographs (APO, LCO), three HAWAII-2RG chips each. Facts only; nothing here computes.
 * Sources: apogee_drp's data model (names, exposure numbers, detector files) and ApogeeReduction.jl (first used read).
 */
import { UsageError } from '../../core/errors.js';
import type { Identity, Instrument } from '../../core/product.js';

export type Telescope = 'apo' | 'lco';
export type Chip = 'a' | 'b' | 'c';

import { spectrograph } from './fibres.js';
import { NIGHT_RULES } from './night.js';
import { CALIBRATION_RULES } from './rules.js';

/** MJD from which exposure numbers count nights. */
const MJD_ORIGIN = 55562;
const EXPOSURES_PER_NIGHT = 10_000;

/** DRP detector files: gain and read noise in DN of a single read, chips a, b, c. */
const GAIN: Readonly<Record<Telescope, number>> = { apo: 1.9, lco: 3.0 };
const READ_NOISE: Readonly<Record<Telescope, Readonly<Record<Chip, number>>>> = {
  apo: { a: 13, b: 11, c: 10 },
  lco: { a: 7, b: 8, c: 4 },
};
/** DRP's refcorrect takes raw counts above this as saturated. */
const SATURATION_DN = 55_000;

const PREFIX: Readonly<Record<Telescope, string>> = { apo: 'apR', lco: 'asR' };
const RAW_NAME = /^(ap|as)R-([abc])-(\d{8})\.(apz|fits)(\.gz)?$/;

/** The detector, if it is one of the six. */
function known({ tele, chip }: Pick<Identity, 'tele' | 'chip'>): { tele: Telescope; chip: Chip } {
  if (!(tele in GAIN && chip in READ_NOISE.apo)) {
    throw new UsageError(`expected telescope apo or lco and chip a, b or c, received ${tele} ${chip}`);
  }
  return { tele: tele as Telescope, chip: chip as Chip };
}

export const apogee: Instrument = {
  name: 'apogee',
  readout: 'ramp',
  geometry: { readCols: 2560, rows: 2048, cols: 2048, amplifiers: 4, border: 4 },
  readTimeSeconds: 10.647,
  calibrationRules: CALIBRATION_RULES,
  night: NIGHT_RULES,
  spectrograph,

  defaults(identity) {
    const { tele, chip } = known(identity);
    return {
      gainElectronsPerDn: GAIN[tele],
      readNoiseDn: READ_NOISE[tele][chip],
      saturationDn: SATURATION_DN,
      source: 'apogee_drp detector files',
    };
  },

  identify(fileName) {
    const match = RAW_NAME.exec(fileName);
    if (match === null) return undefined;
    const number = Number(match[3]);
    return {
      tele: match[1] === 'ap' ? 'apo' : 'lco',
      mjd: Math.floor(number / EXPOSURES_PER_NIGHT) + MJD_ORIGIN,
      chip: match[2] as Chip,
      exposure: number % EXPOSURES_PER_NIGHT,
    };
  },

  rawName(identity, format) {
    const number = (identity.mjd - MJD_ORIGIN) * EXPOSURES_PER_NIGHT + identity.exposure;
    const { tele, chip } = known(identity);
    return `${PREFIX[tele]}-${chip}-${String(number).padStart(8, '0')}.${format}`;
  },

  productName(stage, { tele, mjd, chip, exposure }) {
    return `${stage}-${tele}-${mjd}-${chip}-${String(exposure).padStart(4, '0')}.fits`;
  },
};
