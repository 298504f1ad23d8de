/** The instruments there are, and what a raw file of each says of itself. */
import { basename } from 'node:path';
import { InputError, RamplineError, UsageError } from '../core/errors.js';
import type { Identity, ImageFacts, Instrument } from '../core/product.js';
import { didYouMean } from '../core/suggest.js';
import { type FitsFile, type FitsLimits, type Hdu, openFits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { nirc2 } from '../instruments/nirc2/index.js';
import { nirspec } from '../instruments/nirspec/index.js';

export const INSTRUMENTS: readonly Instrument[] = [apogee, nirc2, nirspec];

/**
 * The instrument of that name.
 * @throws UsageError with the nearest name
 */
export function instrumentNamed(name: string): Instrument {
  const found = INSTRUMENTS.find((one) => one.name === name);
  if (found !== undefined) return found;
  const names = INSTRUMENTS.map((one) => one.name);
  throw new UsageError(`no instrument "${name}"${didYouMean(name, names) || `; there are ${names.join(', ')}`}`);
}

export interface DescribedImage {
  readonly hdu: Hdu;
  readonly facts: ImageFacts;
}

/**
 * The image of an open file of an instrument that takes images: in the primary HDU, or the first extension of a compressed file.
 * @throws InputError for a header that lacks what it must say; undefined where it is another instrument's
 */
export function describedImage(file: FitsFile, instrument: Instrument): DescribedImage | undefined {
  for (const hdu of file.hdus.slice(0, 2)) {
    if (hdu.kind !== 'image' || hdu.axes.length !== 2) continue;
    try {
      const facts = instrument.describeImage?.(hdu.header);
      if (facts !== undefined) return { hdu, facts };
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      throw new InputError(error.message, { file: file.path, hdu: hdu.index, cause: error });
    }
  }
  return undefined;
}

const FITS_NAME = /\.fi?ts(\.gz|\.fz)?$/i;

/** Opens a file for as long as `work` takes. */
export function withImage<T>(
  path: string,
  instrument: Instrument,
  limits: Partial<FitsLimits>,
  work: (file: FitsFile, image: DescribedImage | undefined) => T,
): T {
  const file = openFits(path, { limits });
  try {
    return work(file, describedImage(file, instrument));
  } finally {
    file.close();
  }
}

/**
 * Which exposure a raw file is: by its name, or by its header for instruments of which the header tells everything.
 * @returns undefined when it is none of this instrument's
 * @throws InputError, StorageError where the header is asked and cannot be read
 */
export function identityOf(path: string, instrument: Instrument): Identity | undefined {
  if (instrument.readout === 'ramp') return instrument.identify(basename(path));
  return withImage(path, instrument, {}, (_, image) => image?.facts.identity);
}

/** The same for a file that was come across in a directory: what cannot be read is none. */
export function identityBeside(path: string, instrument: Instrument): Identity | undefined {
  if (instrument.readout === 'image' && !FITS_NAME.test(path)) return undefined;
  try {
    return identityOf(path, instrument);
  } catch (error) {
    if (error instanceof RamplineError) return undefined;
    throw error;
  }
}
