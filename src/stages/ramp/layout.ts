/**
 * What a raw file holds: which HDU is which read, and whether the native source can decode it row by row.
 *
 * Two layouts are known (apogee_drp, apzip): the reads as they stand, one image each; or differences: the average
 * difference of consecutive reads, the first read, and for each later read the difference from the one before less the
 * average. Which one a file has follows from the types of its images, never from its name.
 */
import { InputError } from '../../core/errors.js';
import type { FitsFile, Hdu } from '../../fits/index.js';

/** One image as native/codec/ramp.h wants it. */
export interface NativeImage {
  readonly hdu: number;
  readonly compressed: boolean;
  readonly dataOffset: number;
  readonly dataBytes: number;
  readonly tableRowBytes: number;
  readonly descriptor: number;
  readonly wideDescriptor: boolean;
  readonly heapOffset: number;
  readonly bytesPerPixel: number;
  readonly blockSize: number;
}

export interface RampLayout {
  readonly differences: boolean;
  /** HDU of each stored image, in the order of the file: average, first read, residuals; or the reads. */
  readonly images: readonly Hdu[];
  /** HDU whose header belongs to each read. */
  readonly reads: readonly Hdu[];
  readonly rows: number;
  readonly cols: number;
  /** Present where the file can be decoded row by row. */
  readonly native: readonly NativeImage[] | undefined;
  /** Why not, where it cannot: shown by inspect. */
  readonly why: string;
}

/** Shape and type of an image, compressed or not, as the pixels are. */
interface ImageFacts {
  readonly hdu: Hdu;
  readonly compressed: boolean;
  readonly bitpix: number;
  readonly unsigned: boolean;
  readonly cols: number;
  readonly rows: number;
}

function factsOf(hdu: Hdu): ImageFacts | undefined {
  const h = hdu.storedHeader;
  const compressed = h.logical('ZIMAGE', false);
  const key = (name: string) => (compressed ? `Z${name}` : name);
  const isImage = compressed || hdu.kind === 'image';
  if (!isImage || h.number(key('NAXIS'), 0) !== 2) return undefined;
  const cols = h.number(key('NAXIS1'), 0);
  const rows = h.number(key('NAXIS2'), 0);
  if (cols < 1 || rows < 1) return undefined;
  const bitpix = h.number(key('BITPIX'), 0);
  return { hdu, compressed, bitpix, unsigned: bitpix === 16 && h.number('BZERO', 0) === 32_768, cols, rows };
}

/** The image as the native source can decode it, or the reason why it cannot. */
function nativeImage({ hdu, compressed, bitpix, cols }: ImageFacts): NativeImage | string {
  const h = hdu.storedHeader;
  const common = { hdu: hdu.index, compressed, dataOffset: hdu.dataOffset, dataBytes: hdu.dataBytes };
  if (!compressed) {
    const none = { tableRowBytes: 0, descriptor: 0, wideDescriptor: false, heapOffset: 0, blockSize: 32 };
    return { ...common, ...none, bytesPerPixel: Math.abs(bitpix) / 8 };
  }
  const method = h.string('ZCMPTYPE', '');
  if (method !== 'RICE_1' && method !== 'RICE_ONE') return `compressed with ${method}`;
  if (h.number('ZTILE1', cols) !== cols || h.number('ZTILE2', 1) !== 1) return 'tiles are not rows';
  let blockSize = 32;
  let bytesPerPixel = 4;
  for (let i = 1; h.has(`ZNAME${i}`); i++) {
    if (h.string(`ZNAME${i}`, '') === 'BLOCKSIZE') blockSize = h.number(`ZVAL${i}`, 32);
    if (h.string(`ZNAME${i}`, '') === 'BYTEPIX') bytesPerPixel = h.number(`ZVAL${i}`, 4);
  }
  // The place of the descriptors: the widths of the columns before COMPRESSED_DATA. Any other column means fall-back
  // tiles or scales, which ramp files have no use for.
  if (h.number('TFIELDS', 0) !== 1 || h.string('TTYPE1', '') !== 'COMPRESSED_DATA')
    return 'the tile table has other columns';
  const format = /^1?([PQ])B/.exec(h.string('TFORM1', '').trim());
  if (format === null) return `tiles are described by ${h.string('TFORM1', '(nothing)')}`;
  const tableRowBytes = h.number('NAXIS1', 0);
  return {
    ...common,
    tableRowBytes,
    descriptor: 0,
    wideDescriptor: format[1] === 'Q',
    heapOffset: h.number('THEAP', tableRowBytes * h.number('NAXIS2', 0)),
    bytesPerPixel,
    blockSize,
  };
}

/**
 * The layout of an open raw file.
 * @throws InputError when it is no up-the-ramp exposure: no images, sizes that differ, types that fit neither layout
 */
export function rampLayout(file: FitsFile): RampLayout {
  const context = { file: file.path };
  const images = file.hdus.map(factsOf).filter((facts) => facts !== undefined);
  const [first, second] = images;
  if (first === undefined) throw new InputError('no two-dimensional image: this is no up-the-ramp exposure', context);
  for (const image of images) {
    if (image.rows !== first.rows || image.cols !== first.cols) {
      throw new InputError(
        `expected every read to be ${first.cols} x ${first.rows}, received ${image.cols} x ${image.rows}`,
        { ...context, hdu: image.hdu.index },
      );
    }
  }
  const differences = first.bitpix === 32 && second?.unsigned === true;
  for (const [i, image] of images.entries()) {
    const fits = differences && i !== 1 ? image.bitpix === 32 : image.unsigned;
    if (!fits) {
      const expected = differences && i !== 1 ? '32-bit differences' : 'unsigned 16-bit reads (BITPIX 16, BZERO 32768)';
      throw new InputError(`expected ${expected}, received BITPIX ${image.bitpix}`, {
        ...context,
        hdu: image.hdu.index,
      });
    }
  }
  const stored = images.map((image) => image.hdu);
  const native: NativeImage[] = [];
  let why = file.inMemory ? 'the file is in memory' : '';
  if (/\.gz$/i.test(file.path ?? '')) why = 'the whole file is compressed';
  for (const image of images) {
    const made = nativeImage(image);
    if (typeof made === 'string') why ||= `HDU ${image.hdu.index}: ${made}`;
    else native.push(made);
  }
  const mixed = native.some((n) => n.compressed !== native[0]?.compressed || n.blockSize !== native[0]?.blockSize);
  if (mixed) why ||= 'images are stored in different ways';
  return {
    differences,
    images: stored,
    reads: differences ? stored.slice(1) : stored,
    rows: first.rows,
    cols: first.cols,
    native: why === '' ? native : undefined,
    why,
  };
}
