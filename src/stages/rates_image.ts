/** A calibrated 2-D product as the stages of spectra take it: rates, weights and bits. */
import { InputError } from '../core/errors.js';
import { DQ } from '../core/generated/dq.js';
import { largeBuffer, largeF32, runKernel } from '../engine/index.js';
import type { FitsFile } from '../fits/index.js';
import { BAD_BITS } from './measure.js';
import { MOST_PIXELS } from './product_parts.js';

export interface RatesImage {
  readonly rows: number;
  readonly cols: number;
  /** [row][x] in `unit` */
  readonly image: Float32Array;
  /** [row][x] standard deviation, in the same unit */
  readonly error: Float32Array;
  /** [row][x] inverse variance; 0: the pixel does not count. Bad pixels have 0 here. */
  readonly ivar: Float32Array;
  /** [row][x] */
  readonly dq: Uint32Array;
  readonly unit: RateUnit;
  /** Time of a read [s]; NaN where the header does not say. */
  readonly readSeconds: number;
}

/** Units of rates. */
export const RATE_UNITS = ['DN/read', 'electron/s'] as const;
export type RateUnit = (typeof RATE_UNITS)[number];

/**
 * Bits of pixels that nothing is taken from. A pixel that lost differences to jumps keeps an unbiased rate and an honest error, so
 * those two bits do not count.
 */
export const NO_WEIGHT_BITS = BAD_BITS & ~(DQ.JUMP | DQ.JUMPS);

/**
 * Weights of pixels: 1 / error^2; 0 for bad ones and for those without a value.
 * @param photons variance by photons of a rate of 1: that part of the variance is taken off, so that weights do not follow the noise
 */
export async function weightsOf(
  image: Float32Array,
  error: Float32Array,
  dq: Uint32Array,
  rows: number,
  cols: number,
  threads = 1,
  photons = 0,
): Promise<Float32Array> {
  const ivar = largeF32(rows * cols);
  await runKernel(
    'weigh-pixels',
    {
      value: { data: image, rows, cols },
      error: { data: error, rows, cols },
      dq: { data: dq, rows, cols },
      ivar: { data: ivar, rows, cols },
    },
    { skip: NO_WEIGHT_BITS, photons },
    { threads },
  );
  return ivar;
}

/** [row][x] weights of a flat by the mean variance of each pixel's neighbours along its row (kernel share-variance). */
export async function sharedWeights(
  ivar: Float32Array,
  rows: number,
  cols: number,
  threads = 1,
): Promise<Float32Array> {
  const shared = largeF32(rows * cols);
  const map = (data: Float32Array) => ({ data, rows, cols });
  await runKernel('share-variance', { ivar: map(ivar), shared: map(shared) }, {}, { strip: cols, threads });
  return shared;
}

/**
 * Reads the rates of a chip from a calibrated 2-D product.
 * @throws InputError for images that are missing, of different sizes, of another type or unit
 */
export async function readRates(file: FitsFile, threads = 1): Promise<RatesImage> {
  const wrong = (name: string, wanted: string, received: string) =>
    new InputError(`expected ${wanted} in ${name}, received ${received}`, {
      file: file.path,
      hdu: file.hdu(name).index,
    });
  const axes = file.hdu('SCI').axes;
  const [cols = 0, rows = 0] = axes;
  if (axes.length !== 2 || rows < 1 || cols < 1 || rows > MOST_PIXELS || cols > MOST_PIXELS) {
    throw wrong('SCI', `an image of 1 to ${MOST_PIXELS} rows and columns`, axes.join(' x ') || 'nothing');
  }
  for (const name of ['ERR', 'DQ']) {
    const received = file.hdu(name).axes;
    if (received.length !== 2 || received[0] !== cols || received[1] !== rows) {
      throw wrong(name, `${rows} x ${cols} pixels, as SCI has`, [...received].reverse().join(' x ') || 'nothing');
    }
  }
  const sci = await file.readImageAsync('SCI', { allocate: largeBuffer });
  const err = await file.readImageAsync('ERR', { allocate: largeBuffer });
  const bits = await file.readImageAsync('DQ', { allocate: largeBuffer });
  if (!(sci.data instanceof Float32Array)) throw wrong('SCI', 'float32 values', sci.type);
  if (!(err.data instanceof Float32Array)) throw wrong('ERR', 'float32 values', err.type);
  if (!(bits.data instanceof Uint32Array)) throw wrong('DQ', 'uint32 bits', bits.type);
  const unit = RATE_UNITS.find((one) => one === sci.unit);
  if (unit === undefined) throw wrong('SCI', `the unit ${RATE_UNITS.join(' or ')}`, `'${sci.unit}'`);
  const ivar = await weightsOf(sci.data, err.data, bits.data, rows, cols, threads);
  const readSeconds = file.hdu(0).header.number('READTIME', Number.NaN);
  return { rows, cols, image: sci.data, error: err.data, ivar, dq: bits.data, unit, readSeconds };
}
