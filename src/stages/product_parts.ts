/** What those who write and read the products of spectra share. */
import { InputError } from '../core/errors.js';
import type { CardInput, FitsFile, FitsImage } from '../fits/index.js';

/** More than any detector has along a side, and more fibres than any chip: what a header may claim before memory is taken on its word. */
export const MOST_PIXELS = 16_384;
export const MOST_FIBRES = 4096;

/** A card of a number, with seven digits. A card cannot hold NaN: it is left out. */
export const numberCard = (keyword: string, value: number, comment: string): CardInput[] =>
  Number.isFinite(value) ? [[keyword, Number(value.toPrecision(7)), comment]] : [];

/**
 * Reads an image of that shape [slowest axis first] and type, its size checked first.
 * @throws InputError with the HDU, what was expected and what was received
 */
export async function imageOf<T extends FitsImage['data']>(
  file: FitsFile,
  name: string,
  shape: readonly number[],
  type: { new (length: number): T },
): Promise<T> {
  const hdu = file.hdu(name);
  const received = [...hdu.axes].reverse();
  const where = { file: file.path, hdu: hdu.index };
  if (received.length !== shape.length || shape.some((n, i) => n !== received[i])) {
    throw new InputError(
      `expected ${shape.join(' x ')} in ${name}, received ${received.join(' x ') || 'nothing'}`,
      where,
    );
  }
  const { data, type: stored } = await file.readImageAsync(hdu);
  if (data instanceof type) return data;
  throw new InputError(`expected ${type.name} in ${name}, received ${stored}`, where);
}
