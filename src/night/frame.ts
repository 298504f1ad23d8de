/** What selection knows of a raw exposure: the detector from its name, the time from its headers. */
import { basename } from 'node:path';
import type { Frame } from '../calib/select.js';
import { InputError } from '../core/errors.js';
import type { Identity, Instrument } from '../core/product.js';
import { mjdFromIso } from '../core/time.js';
import { type FitsFile, type FitsLimits, openFits } from '../fits/index.js';
import { withImage } from './instruments.js';

/**
 * The frame of a raw file: see frameOfFile.
 * @throws InputError when its name tells no exposure, or when it is no FITS file; StorageError
 */
export function frameOf(path: string, instrument: Instrument, limits: Partial<FitsLimits> = {}): Frame {
  if (instrument.readout === 'image') return frameOfImage(path, instrument, limits);
  const identity = instrument.identify(basename(path));
  if (identity === undefined) {
    throw new InputError(`the name tells no exposure of ${instrument.name}`, { file: path });
  }
  const file = openFits(path, { verify: false, limits });
  try {
    return frameOfFile(file, identity, instrument);
  } finally {
    file.close();
  }
}

/** Of an image the instrument's header dictionary says all. */
function frameOfImage(path: string, instrument: Instrument, limits: Partial<FitsLimits>): Frame {
  return withImage(path, instrument, limits, (_, image) => {
    if (image === undefined) throw new InputError(`this is no image of ${instrument.name}`, { file: path });
    const { identity, mjd, readMode } = image.facts;
    return { instrument: instrument.name, tele: identity.tele, chip: identity.chip, mjd, readMode };
  });
}

/** The frame of an open raw file: it begins at the earliest DATE-OBS of its headers, or else with the night of its name. */
export function frameOfFile(file: FitsFile, identity: Identity, instrument: Instrument): Frame {
  const text = (keyword: string) =>
    file.hdus.flatMap(({ header }) => (header.has(keyword) ? [header.string(keyword, '').trim()] : []));
  const starts = text('DATE-OBS').flatMap((iso) => mjdFromIso(iso) ?? []);
  const [readMode] = text('READMODE');
  const [serial] = text('DETSER');
  return {
    instrument: instrument.name,
    tele: identity.tele,
    chip: identity.chip,
    mjd: starts.length === 0 ? identity.mjd : Math.min(...starts),
    ...(readMode && { readMode }),
    ...(serial && { serial }),
  };
}
