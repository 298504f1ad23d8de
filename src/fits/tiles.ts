/** Tile-compressed images (FITS 4.0, section 10): the image's own header, and what the decoder must know. */
import { type ErrorContext, InputError } from '../core/errors.js';
import { type Card, Header, type HeaderValue } from './header.js';
import { type ScalarColumn, TILE_CODECS, type TileColumn, type TileImageSpec } from './native.js';
import { columnFormats } from './table.js';
import { decodedType, type PixelType } from './types.js';

/** True of a binary table that stands for an image. */
export function isTileImage(header: Header): boolean {
  return header.logical('ZIMAGE', false);
}

export interface TileLayout {
  readonly spec: TileImageSpec;
  readonly type: PixelType;
  /** BSCALE and BZERO that the decoder leaves to the caller: of integers outside the unsigned convention. */
  readonly scale?: { readonly scale: number; readonly zero: number } | undefined;
}

const CODECS: Readonly<Record<string, number>> = {
  RICE_1: TILE_CODECS.rice,
  RICE_ONE: TILE_CODECS.rice, // what cfitsio writes together with SUBTRACTIVE_DITHER_2
  GZIP_1: TILE_CODECS.gzip1,
  GZIP_2: TILE_CODECS.gzip2,
  NOCOMPRESS: TILE_CODECS.none,
};

/** Width of the elements of the columns that may hold pixels. */
const WIDTHS: Readonly<Record<string, number>> = { B: 1, I: 2, J: 4, K: 8, E: 4, D: 8 };

/**
 * Reads the layout of a compressed image from the table's header.
 * @param applyScale false leaves BSCALE and BZERO of integers alone
 * @throws InputError when a keyword is missing or wrong, or when the algorithm is not supported
 */
export function tileLayout(
  header: Header,
  axes: readonly number[],
  context: ErrorContext,
  applyScale = true,
): TileLayout {
  const fail = (message: string) => new InputError(message, context);
  const need = (keyword: string): number => {
    const value = header.number(keyword, undefined);
    if (value === undefined || !Number.isSafeInteger(value))
      throw fail(`the keyword ${keyword} is missing or no integer`);
    return value;
  };
  const [rowBytes, rows] = axes as [number, number];
  const algorithm = header.string('ZCMPTYPE', '').trim();
  const codec = CODECS[algorithm];
  if (codec === undefined) {
    throw fail(
      algorithm === ''
        ? 'the keyword ZCMPTYPE is missing'
        : `tile compression ${algorithm} is not supported; RICE_1, GZIP_1, GZIP_2 and NOCOMPRESS are`,
    );
  }
  const bitpix = need('ZBITPIX');
  const naxis = need('ZNAXIS');
  if (naxis < 0 || naxis > 32) throw fail(`ZNAXIS = ${naxis}: a compressed image has 0 to 32 axes`);
  const zaxes: number[] = [];
  const tile: number[] = [];
  for (let i = 1; i <= naxis; i++) {
    zaxes.push(need(`ZNAXIS${i}`));
    tile.push(header.number(`ZTILE${i}`, i === 1 ? Math.max(1, zaxes[0]!) : 1)); // default: rows
  }

  const formats = columnFormats({ header, axes }, context);
  const find = (name: string) => {
    for (let i = 0; i < formats.length; i++) {
      if (
        header
          .string(`TTYPE${i + 1}`, '')
          .trim()
          .toUpperCase() === name
      )
        return formats[i];
    }
    return undefined;
  };
  const arrays = (name: string): TileColumn | undefined => {
    const format = find(name);
    if (format === undefined) return undefined;
    const width = WIDTHS[format.letter];
    if (format.descriptor === undefined || format.repeat !== 1 || width === undefined) {
      throw fail(`the column ${name} must hold variable-length arrays of numbers`);
    }
    return { offset: format.offset, wide: format.descriptor === 'Q', width };
  };
  const numbers = (name: string): ScalarColumn | undefined => {
    const format = find(name);
    if (format === undefined) return undefined;
    if (format.descriptor !== undefined || format.repeat !== 1 || WIDTHS[format.letter] === undefined) {
      throw fail(`the column ${name} must hold one number in each row`);
    }
    return { offset: format.offset, type: format.letter };
  };

  let blockSize = 32;
  let bytesPerPixel = 4;
  for (let i = 1; header.has(`ZNAME${i}`); i++) {
    const name = header.string(`ZNAME${i}`, '').trim();
    if (name === 'BLOCKSIZE') blockSize = need(`ZVAL${i}`);
    if (name === 'BYTEPIX') bytesPerPixel = need(`ZVAL${i}`);
  }

  const quantize = header.string('ZQUANTIZ', '').trim();
  const dithers: Readonly<Record<string, number>> = {
    '': 0,
    NONE: 0,
    NO_DITHER: 0,
    SUBTRACTIVE_DITHER_1: 1,
    SUBTRACTIVE_DITHER_2: 2,
  };
  const dither = dithers[quantize];
  if (dither === undefined) throw fail(`ZQUANTIZ = '${quantize}' is not supported`);
  const ditherSeed = header.number('ZDITHER0', 1);
  if (dither > 0 && !(ditherSeed >= 1 && ditherSeed <= 10000)) {
    throw fail(`ZDITHER0 must lie between 1 and 10000 (received ${ditherSeed})`);
  }

  const bscale = header.number('BSCALE', 1);
  const bzero = header.number('BZERO', 0);
  const decoded = bitpix > 0 && applyScale ? decodedType(bitpix, bscale, bzero) : decodedType(bitpix, 1, 0);
  const stored = decodedType(bitpix, 1, 0).type;
  return {
    spec: {
      codec,
      bitpix,
      axes: zaxes,
      tile,
      rows,
      rowBytes,
      heapOffset: header.number('THEAP', rowBytes * rows),
      compressed: arrays('COMPRESSED_DATA'),
      gzipped: arrays('GZIP_COMPRESSED_DATA'),
      uncompressed: arrays('UNCOMPRESSED_DATA'),
      scale: numbers('ZSCALE'),
      zero: numbers('ZZERO'),
      blank: numbers('ZBLANK'),
      scaleKeyword: header.number('ZSCALE', undefined),
      zeroKeyword: header.number('ZZERO', undefined),
      blankKeyword: header.number('ZBLANK', undefined),
      dither,
      lossless: quantize === 'NONE',
      ditherSeed,
      blockSize,
      bytesPerPixel,
      bscale,
      bzero,
      flipSign: decoded.flipSign,
    },
    type: decoded.scaled ? stored : decoded.type,
    scale: decoded.scaled ? { scale: bscale, zero: bzero } : undefined,
  };
}

/** Keywords of the table that the image never had (FITS 4.0, section 10.1 and table 36). */
const TABLE_ONLY =
  /^(XTENSION|SIMPLE|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|THEAP|(TTYPE|TFORM|TUNIT|TDIM|TNULL|TSCAL|TZERO|TDISP)\d+|ZIMAGE|ZCMPTYPE|ZBITPIX|ZNAXIS\d*|ZTILE\d+|ZNAME\d+|ZVAL\d+|ZMASKCMP|ZQUANTIZ|ZDITHER0|ZSCALE|ZZERO|ZBLANK|ZSIMPLE|ZTENSION|ZEXTEND|ZBLOCKED|ZPCOUNT|ZGCOUNT|ZHECKSUM|ZDATASUM|CHECKSUM|DATASUM)$/;

/** The header of the image as it was before compression. */
export function restoreHeader(table: Header): Header {
  const image = new Header();
  // What a file holds may be what no card can be written with: bytes outside ASCII are replaced.
  const set = (keyword: string, value: HeaderValue, comment: string): void => {
    const ascii = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?');
    image.set(keyword, typeof value === 'string' ? ascii(value) : value, ascii(comment));
  };
  const carry = (from: string, to: string): void => {
    const card = table.card(from);
    if (card !== undefined && card.type !== 'invalid') set(to, card.value, card.comment);
  };
  const naxis = Math.min(Math.max(table.number('ZNAXIS', 0), 0), 999);
  const primary = table.has('ZSIMPLE');
  if (primary) carry('ZSIMPLE', 'SIMPLE');
  else set('XTENSION', table.string('ZTENSION', 'IMAGE'), 'image extension');
  carry('ZBITPIX', 'BITPIX');
  carry('ZNAXIS', 'NAXIS');
  for (let i = 1; i <= naxis; i++) carry(`ZNAXIS${i}`, `NAXIS${i}`);
  if (!primary) {
    set('PCOUNT', table.number('ZPCOUNT', 0), 'number of parameters');
    set('GCOUNT', table.number('ZGCOUNT', 1), 'number of groups');
  }
  carry('ZEXTEND', 'EXTEND');
  carry('ZBLOCKED', 'BLOCKED');
  const keep = (card: Card): boolean =>
    !TABLE_ONLY.test(card.keyword) && !(card.keyword === 'EXTNAME' && card.value === 'COMPRESSED_IMAGE');
  for (const card of table.cards) if (keep(card) && !(primary && card.keyword === 'EXTEND')) image.append(card);
  carry('ZHECKSUM', 'CHECKSUM');
  carry('ZDATASUM', 'DATASUM');
  return image;
}
