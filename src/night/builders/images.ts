/** Exposures of instruments that hand out single images, brought to the rates that builders take. */
import { basename } from 'node:path';
import { InputError } from '../../core/errors.js';
import type { ImageFacts, Instrument } from '../../core/product.js';
import { type BoundArray, runKernel } from '../../engine/index.js';
import { type CardInput, type FitsLimits, openFits } from '../../fits/index.js';
import { describedImage } from '../instruments.js';

export interface TakenImage {
  readonly path: string;
  readonly facts: ImageFacts;
  readonly rows: number;
  readonly cols: number;
  /** Writes rate and error [DN/s]. */
  readonly rates: (rate: BoundArray, error: BoundArray) => Promise<void>;
}

/**
 * Reads an image.
 * @param type 'dark' or 'flat': what the header must say, where it says anything
 * @param like the first image: detector, and times of darks or optics of flats, must be the same
 * @throws InputError for another type, pixels of no known type, or an image that does not belong to the first, naming both
 */
export function takeImage(
  path: string,
  type: 'dark' | 'flat',
  instrument: Instrument,
  limits: Partial<FitsLimits>,
  like: Pick<TakenImage, 'path' | 'facts'> | undefined,
): TakenImage {
  const file = openFits(path, { limits });
  try {
    const found = describedImage(file, instrument);
    if (found === undefined) throw new InputError(`this is no image of ${instrument.name}`, { file: path });
    const { facts, hdu } = found;
    if (facts.type !== '' && facts.type !== type) {
      throw new InputError(`expected a ${type}, the header says '${facts.type}'`, { file: path, hdu: hdu.index });
    }
    if (like !== undefined) {
      const must = (of: ImageFacts) => ({ ...of.detector, ...(type === 'flat' ? of.optics : of.timing) });
      const received: Readonly<Record<string, string | number>> = must(facts);
      for (const [keyword, value] of Object.entries(must(like.facts))) {
        if (received[keyword] === value) continue;
        throw new InputError(
          `expected ${keyword} ${value} as in ${basename(like.path)}, received ${received[keyword]}: they are not of one kind`,
          { file: path, hdu: hdu.index },
        );
      }
    }
    const { data, shape } = file.readImage(hdu);
    const [rows, cols] = shape as [number, number];
    // Raw images are 32-bit integers; narrower ones are too.
    const counts = data instanceof Int16Array || data instanceof Uint16Array ? Int32Array.from(data) : data;
    if (!(counts instanceof Int32Array || counts instanceof Float32Array)) {
      throw new InputError('expected pixels of 16 or 32 bits', { file: path, hdu: hdu.index });
    }
    return {
      path,
      facts,
      rows,
      cols,
      rates: async (rate, error) => {
        await runKernel(
          'image-to-rate',
          { [counts instanceof Int32Array ? 'counts' : 'values']: { data: counts, rows, cols }, rate, error },
          {
            seconds: facts.integrationSeconds,
            coadds: facts.coadds,
            dnPerUnit: facts.dnPerUnit,
            gain: facts.gainElectronsPerDn,
            readNoise: facts.readNoiseElectrons,
          },
        );
      },
    };
  } finally {
    file.close();
  }
}

/** Cards that say how the images were taken. */
export function imageCards({ facts }: TakenImage): CardInput[] {
  const all = { ...facts.detector, ...facts.timing, ...facts.optics };
  return [
    ...Object.entries(all)
      .filter(([keyword]) => !keyword.startsWith('NAXIS'))
      .map(([keyword, value]): CardInput => [keyword, value, 'of the first image']),
    ['DETGAIN', facts.gainElectronsPerDn, '[electron/DN] of the first image'],
    ['READNOI', facts.readNoiseElectrons, '[electron] of one coadd, for the errors'],
  ];
}
