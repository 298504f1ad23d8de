/**
 * Writes FITS as chunks of bytes; who puts them on a disk is not known here. Every HDU gets CHECKSUM and DATASUM.
 */
import { addon } from '../core/addon.js';
import { UsageError } from '../core/errors.js';
import { BLOCK_BYTES, Header, type HeaderValue } from './header.js';
import { type AnyTypedArray, type CodecBinding, check, loadCodec, TILE_CODECS } from './native.js';
import { BYTES_OF, FITS_OF, typeOfArray } from './types.js';

/** A card for the header of a new HDU: keyword, value, comment. */
export type CardInput = readonly [keyword: string, value: HeaderValue, comment?: string];

export interface ImageInput {
  /** Native-endian pixels; absent for an HDU without data. u16, u32, u64 and i8 are written by the BZERO convention. */
  readonly data?: AnyTypedArray | undefined;
  /** Slowest axis first; default [length]. */
  readonly shape?: readonly number[] | undefined;
  readonly name?: string | undefined;
  readonly version?: number | undefined;
  /** Cards to carry: structural keywords among them are ignored. */
  readonly header?: Header | readonly CardInput[] | undefined;
  /** Row tiles, lossless. RICE_1 for integers, GZIP_2 for any type but 64-bit integers. The primary HDU cannot be compressed. */
  readonly compress?: 'RICE_1' | 'GZIP_2' | undefined;
  /**
   * For compressed images: where the image stood before compression. The HDU then says so, and carries the checksums that
   * the image had there (ZHECKSUM, ZDATASUM), as fpack leaves it; a primary HDU goes back to its place on unpacking.
   */
  readonly was?: 'primary' | 'extension' | undefined;
  /**
   * Nobody needs the pixels any more: their stored form is made where they are, which spares as much memory and its first
   * touch. What is compressed leaves them alone.
   */
  readonly overwrite?: boolean | undefined;
}

export interface ColumnInput {
  readonly name: string;
  /** A TFORM letter with an optional repeat count, e.g. 'J', '3E', '20A', '11X', 'L', 'C', 'PE', 'QJ'; default by the array. */
  readonly form?: string | undefined;
  readonly unit?: string | undefined;
  /**
   * Values of all rows one after another. Numbers: typed arrays (unsigned ones by TZERO; pairs for C and M). L: bytes or
   * booleans, with 255 or null for undefined. X: bytes of 0 and 1. Text: strings. P and Q: one typed array for each row.
   */
  readonly values: AnyTypedArray | readonly string[] | readonly (boolean | null)[] | readonly AnyTypedArray[];
  /** TDIM: shape of a row, slowest axis first. */
  readonly shape?: readonly number[] | undefined;
  /** TNULL, as the caller sees the value. */
  readonly nullValue?: number | bigint | undefined;
}

export interface TableInput {
  readonly columns: readonly ColumnInput[];
  readonly name?: string | undefined;
  readonly version?: number | undefined;
  readonly header?: Header | readonly CardInput[] | undefined;
}

export type HduInput = ({ readonly kind?: 'image' } & ImageInput) | ({ readonly kind: 'table' } & TableInput);

/** Level of deflate in GZIP_2 tiles: libdeflate's 1 is within a few percent of 6 on shuffled pixels at half the time. */
const DEFLATE_LEVEL = 1;
// A compressed image keeps these, so that unpacking gives back the very cards.
const BITPIX_COMMENT = 'bits of a stored value';
const CHECKSUM_COMMENTS = { CHECKSUM: 'HDU checksum', DATASUM: 'data unit checksum' } as const;
const PRIMARY_COMMENT = 'conforms to FITS standard 4.0';
const EXTEND_COMMENT = 'extensions may follow';
const RICE_BLOCK = 32; // what fpack writes
const STRUCTURAL =
  /^(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|GROUPS|EXTEND|BLOCKED|TFIELDS|THEAP|(TTYPE|TFORM|TUNIT|TDIM|TNULL|TSCAL|TZERO|TDISP)\d+|BSCALE|BZERO|BLANK|EXTNAME|EXTVER|CHECKSUM|DATASUM|ZIMAGE|ZTABLE|ZCMPTYPE|ZBITPIX|ZNAXIS\d*|ZTILE\d+|ZNAME\d+|ZVAL\d+|ZQUANTIZ|ZDITHER0|ZSIMPLE|ZTENSION|ZEXTEND|ZBLOCKED|ZPCOUNT|ZGCOUNT|ZHECKSUM|ZDATASUM|ZSCALE|ZZERO|ZBLANK|END|CONTINUE)$/;

/** Strings, headers and data of a whole file, in order, each a chunk; together they are the file. */
export function encodeFits(hdus: readonly HduInput[]): Uint8Array[] {
  if (hdus.length === 0) throw new UsageError('a FITS file has at least one HDU');
  return hdus.flatMap((hdu, i) => encodeHdu(hdu, i === 0));
}

/**
 * One HDU: header and data with their padding. The first of a file is its primary: an image, not compressed.
 * @throws UsageError when an input cannot be written as asked
 */
export function encodeHdu(hdu: HduInput, primary: boolean): Uint8Array[] {
  const codec = loadCodec();
  if (hdu.kind === 'table') {
    if (primary) throw new UsageError('the primary HDU cannot be a table');
    return encodeTable(codec, hdu);
  }
  if (hdu.compress !== undefined && hdu.data !== undefined) {
    if (primary) throw new UsageError('the primary HDU cannot be compressed; begin with an HDU without data');
    return encodeTiles(codec, hdu, hdu.data, hdu.compress);
  }
  return encodeImage(codec, hdu, primary);
}

function shapeOf(input: ImageInput): readonly number[] {
  const length = input.data?.length ?? 0;
  const shape = input.shape ?? (input.data === undefined ? [] : [length]);
  const product = shape.length === 0 ? 0 : shape.reduce((p, n) => p * n, 1);
  if (product !== length || shape.some((n) => !Number.isSafeInteger(n) || n < 0)) {
    throw new UsageError(`an image of shape [${shape.join(', ')}] does not have ${length} pixels`);
  }
  return shape;
}

/** NAXIS1 is the fastest axis, which `shape` has last. */
function setAxes(header: Header, prefix: string, shape: readonly number[]): void {
  for (let i = 1; i <= shape.length; i++) header.set(`${prefix}${i}`, shape[shape.length - i]!);
}

/** Keywords that an image of this type needs besides its size. */
function setScaling(header: Header, bzero: number): void {
  if (bzero === 0) return;
  header.set('BSCALE', 1, 'value = stored * BSCALE + BZERO');
  // 2^63 must be written with all its digits: readers compare it exactly.
  header.set('BZERO', bzero === 2 ** 63 ? 9223372036854775808n : bzero, 'offset of the unsigned convention');
}

function finishHeader(header: Header, input: { name?: string | undefined; version?: number | undefined }): void {
  if (input.name !== undefined && input.name !== '') header.set('EXTNAME', input.name, 'name of this HDU');
  if (input.version !== undefined) header.set('EXTVER', input.version, 'version of this HDU');
}

function carryCards(header: Header, cards: Header | readonly CardInput[] | undefined): void {
  if (cards === undefined) return;
  if (cards instanceof Header) {
    for (const card of cards.cards) if (!STRUCTURAL.test(card.keyword)) header.append(card);
    return;
  }
  for (const [keyword, value, comment] of cards) {
    if (keyword === 'COMMENT' || keyword === 'HISTORY') header.addCommentary(keyword, String(value));
    else if (!STRUCTURAL.test(keyword)) header.set(keyword, value, comment);
  }
}

function encodeImage(codec: CodecBinding, input: ImageInput, primary: boolean): Uint8Array[] {
  const shape = shapeOf(input);
  const fits = FITS_OF[input.data === undefined ? 'u8' : typeOfArray(input.data)];
  const header = new Header();
  if (primary) header.set('SIMPLE', true, PRIMARY_COMMENT);
  else header.set('XTENSION', 'IMAGE', 'image extension');
  header.set('BITPIX', fits.bitpix, BITPIX_COMMENT);
  header.set('NAXIS', shape.length, 'number of axes');
  setAxes(header, 'NAXIS', shape);
  if (primary) {
    header.set('EXTEND', true, EXTEND_COMMENT);
  } else {
    header.set('PCOUNT', 0, 'no parameters');
    header.set('GCOUNT', 1, 'one group');
  }
  if (input.data !== undefined) setScaling(header, fits.bzero);
  finishHeader(header, input);
  carryCards(header, input.header);
  const width = Math.abs(fits.bitpix) / 8;
  const count = input.data?.length ?? 0;
  if (input.overwrite === true && input.data !== undefined) {
    const { buffer, byteOffset, byteLength } = input.data;
    const stored = new Uint8Array(buffer, byteOffset, byteLength);
    check(codec.storeBigEndian(input.data, count, width, fits.bzero !== 0, stored), {});
    return withChecksums(codec, header, [stored, zeros(-byteLength)]);
  }
  const data = padded(count * width);
  if (input.data !== undefined) check(codec.storeBigEndian(input.data, count, width, fits.bzero !== 0, data), {});
  return withChecksums(codec, header, [data]);
}

/** A tile-compressed image: a table with one row for each row of pixels. */
function encodeTiles(
  codec: CodecBinding,
  input: ImageInput,
  array: AnyTypedArray,
  algorithm: 'RICE_1' | 'GZIP_2',
): Uint8Array[] {
  const shape = shapeOf(input);
  const type = typeOfArray(array);
  const fits = FITS_OF[type];
  const width = BYTES_OF[type];
  if (fits.bitpix === 64) {
    // The standard allows it and this reader takes it, but cfitsio 4.2 and astropy 5.2 do not.
    throw new UsageError('64-bit integers are written without compression: other readers refuse them compressed');
  }
  if (algorithm === 'RICE_1' && fits.bitpix < 0) {
    throw new UsageError(`RICE_1 is lossless for integers only, not for ${type}; GZIP_2 holds floating point`);
  }
  if (array.length === 0) return encodeImage(codec, input, false);
  const rowPixels = shape.at(-1)!;
  const rows = array.length / rowPixels;
  const native = algorithm === 'RICE_1' ? TILE_CODECS.rice : TILE_CODECS.gzip2;
  const bound = codec.encodedRowBound(native, rowPixels, width, RICE_BLOCK);
  const heap = new Uint8Array(bound * rows); // pages that are not written to are never taken
  const lengths = new BigInt64Array(rows);
  const scratch = new Uint8Array(rowPixels * width * 2);
  const flip = fits.bzero !== 0;
  const result = codec.encodeRows(
    native,
    array,
    rows,
    rowPixels,
    width,
    flip,
    RICE_BLOCK,
    DEFLATE_LEVEL,
    scratch,
    lengths,
    heap,
  );
  check(result.status, {});

  const wide = result.written > 2 ** 31 - 1;
  const descriptors = new DataView(new ArrayBuffer(rows * (wide ? 16 : 8)));
  let offset = 0;
  let longest = 0;
  for (let i = 0; i < rows; i++) {
    const length = Number(lengths[i]);
    if (wide) {
      descriptors.setBigInt64(16 * i, BigInt(length));
      descriptors.setBigInt64(16 * i + 8, BigInt(offset));
    } else {
      descriptors.setInt32(8 * i, length);
      descriptors.setInt32(8 * i + 4, offset);
    }
    offset += length;
    longest = Math.max(longest, length);
  }

  const header = new Header();
  header.set('XTENSION', 'BINTABLE', 'binary table extension');
  header.set('BITPIX', 8, 'bits of a stored value');
  header.set('NAXIS', 2, 'number of axes');
  header.set('NAXIS1', wide ? 16 : 8, 'bytes in a row');
  header.set('NAXIS2', rows, 'rows: one for each tile');
  header.set('PCOUNT', result.written, 'bytes in the heap');
  header.set('GCOUNT', 1, 'one group');
  header.set('TFIELDS', 1, 'columns');
  header.set('TTYPE1', 'COMPRESSED_DATA', 'compressed tiles');
  header.set('TFORM1', `1${wide ? 'Q' : 'P'}B(${longest})`, 'variable-length array of bytes');
  header.set('ZIMAGE', true, 'this table is a compressed image');
  const wasPrimary = input.was === 'primary';
  if (wasPrimary) header.set('ZSIMPLE', true, PRIMARY_COMMENT);
  else header.set('ZTENSION', 'IMAGE', 'image extension');
  header.set('ZBITPIX', fits.bitpix, BITPIX_COMMENT);
  header.set('ZNAXIS', shape.length, 'number of axes');
  setAxes(header, 'ZNAXIS', shape);
  if (wasPrimary) {
    header.set('ZEXTEND', true, EXTEND_COMMENT);
  } else {
    header.set('ZPCOUNT', 0, 'no parameters');
    header.set('ZGCOUNT', 1, 'one group');
  }
  setAxes(
    header,
    'ZTILE',
    shape.map((n, i) => (i === shape.length - 1 ? n : 1)),
  );
  header.set('ZCMPTYPE', algorithm, 'compression algorithm');
  if (fits.bitpix < 0) header.set('ZQUANTIZ', 'NONE', 'lossless');
  if (algorithm === 'RICE_1') {
    header.set('ZNAME1', 'BLOCKSIZE');
    header.set('ZVAL1', RICE_BLOCK, 'pixels in a block');
    header.set('ZNAME2', 'BYTEPIX');
    header.set('ZVAL2', width, 'bytes of a pixel');
  }
  setScaling(header, fits.bzero);
  finishHeader(header, input);
  carryCards(header, input.header);
  if (input.was !== undefined) {
    const plain = encodeImage(codec, input, wasPrimary)[0]!;
    for (const [keyword, value, comment] of checksumCards(plain)) header.set(keyword, value, comment);
  }
  const table = new Uint8Array(descriptors.buffer);
  const filled = heap.slice(0, result.written); // lets the spare memory go
  return withChecksums(codec, header, [table, filled, zeros(-(table.length + filled.length))]);
}

/** ZHECKSUM and ZDATASUM of a compressed image from the header bytes of the image as it stood. */
function checksumCards(header: Uint8Array): [string, string, string][] {
  const text = new TextDecoder('latin1').decode(header);
  return (['CHECKSUM', 'DATASUM'] as const).map((keyword) => {
    const value = new RegExp(`${keyword.padEnd(8)}= '([^']*)'`).exec(text)?.[1] ?? '';
    return [keyword === 'CHECKSUM' ? 'ZHECKSUM' : 'ZDATASUM', value.trim(), CHECKSUM_COMMENTS[keyword]];
  });
}

interface EncodedColumn {
  readonly form: string;
  readonly rowBytes: number;
  /** Row-major big-endian bytes, rowBytes for each row. */
  readonly bytes: Uint8Array;
  readonly cards: readonly (readonly [keyword: string, value: HeaderValue, comment: string])[];
}

const LETTER_OF = { u8: 'B', i8: 'B', i16: 'I', u16: 'I', i32: 'J', u32: 'J', i64: 'K', u64: 'K', f32: 'E', f64: 'D' };

function encodeTable(codec: CodecBinding, input: TableInput): Uint8Array[] {
  const heap: Uint8Array[] = [];
  let heapBytes = 0;
  const store = (bytes: Uint8Array): number => {
    heap.push(bytes);
    heapBytes += bytes.length;
    return heapBytes - bytes.length;
  };
  const encoded = input.columns.map((column) => encodeColumn(codec, column, store));
  const counts = new Set(encoded.filter((c) => c.rowBytes > 0).map((c) => c.bytes.length / c.rowBytes));
  if (counts.size > 1) throw new UsageError(`the columns have different numbers of rows: ${[...counts].join(', ')}`);
  const rows = [...counts][0] ?? 0;
  const rowBytes = encoded.reduce((sum, c) => sum + c.rowBytes, 0);

  const table = new Uint8Array(rows * rowBytes);
  let at = 0;
  for (const column of encoded) {
    for (let row = 0; row < rows; row++) {
      table.set(column.bytes.subarray(row * column.rowBytes, (row + 1) * column.rowBytes), row * rowBytes + at);
    }
    at += column.rowBytes;
  }

  const header = new Header();
  header.set('XTENSION', 'BINTABLE', 'binary table extension');
  header.set('BITPIX', 8, 'bits of a stored value');
  header.set('NAXIS', 2, 'number of axes');
  header.set('NAXIS1', rowBytes, 'bytes in a row');
  header.set('NAXIS2', rows, 'rows');
  header.set('PCOUNT', heapBytes, 'bytes in the heap');
  header.set('GCOUNT', 1, 'one group');
  header.set('TFIELDS', encoded.length, 'columns');
  input.columns.forEach((column, i) => {
    header.set(`TTYPE${i + 1}`, column.name, 'name of the column');
    header.set(`TFORM${i + 1}`, encoded[i]!.form, 'its format');
    if (column.unit !== undefined && column.unit !== '') header.set(`TUNIT${i + 1}`, column.unit, 'its unit');
    for (const [keyword, value, comment] of encoded[i]!.cards) header.set(`${keyword}${i + 1}`, value, comment);
  });
  finishHeader(header, input);
  carryCards(header, input.header);
  return withChecksums(codec, header, [table, ...heap, zeros(-(table.length + heapBytes))]);
}

function encodeColumn(codec: CodecBinding, column: ColumnInput, store: (bytes: Uint8Array) => number): EncodedColumn {
  const { values, name } = column;
  const fail = (message: string) => new UsageError(`column ${name}: ${message}`);
  const cards: [string, HeaderValue, string][] = [];
  const match = /^(\d*)([LXBIJKAEDCM]|[PQ][LXBIJKAEDCM])$/.exec(column.form ?? defaultForm(values));
  if (match === null) throw fail(`"${column.form}" is no format`);
  const letter = match[2]!.at(-1)!;
  const descriptor = match[2]!.length === 2 ? match[2]![0]! : undefined;
  const repeat = match[1] === '' ? 1 : Number(match[1]);
  if (column.shape !== undefined) {
    if (column.shape.reduce((p, n) => p * n, 1) !== repeat) throw fail(`its shape does not have ${repeat} elements`);
    cards.push(['TDIM', `(${[...column.shape].reverse().join(',')})`, 'shape of a row']);
  }

  const one = (array: ColumnInput['values']): Uint8Array => encodeValues(codec, array, letter, repeat, fail);
  if (descriptor !== undefined) {
    if (!Array.isArray(values)) throw fail('a variable-length column takes one array for each row');
    const arrays = values as unknown as readonly (AnyTypedArray | string)[];
    addConvention(arrays.find((a) => typeof a !== 'string') as AnyTypedArray | undefined, letter, column, cards);
    const parts = letter === 'C' || letter === 'M' ? 2 : 1;
    const wide = descriptor === 'Q';
    const out = new DataView(new ArrayBuffer(arrays.length * (wide ? 16 : 8)));
    let longest = 0;
    arrays.forEach((array, row) => {
      const bytes =
        typeof array === 'string'
          ? Buffer.from(array, 'latin1')
          : letter === 'X'
            ? packBits(array as Uint8Array, array.length, 1)
            : one(array);
      const offset = store(bytes);
      const count = array.length / parts;
      longest = Math.max(longest, count);
      if (wide) {
        out.setBigInt64(16 * row, BigInt(count));
        out.setBigInt64(16 * row + 8, BigInt(offset));
      } else {
        if (offset > 2 ** 31 - 1) throw fail('its heap is larger than 2 GiB: use Q instead of P');
        out.setInt32(8 * row, count);
        out.setInt32(8 * row + 4, offset);
      }
    });
    const form = `1${descriptor}${letter}(${longest})`;
    return { form, rowBytes: wide ? 16 : 8, bytes: new Uint8Array(out.buffer), cards };
  }

  if (letter !== 'A' && letter !== 'L' && letter !== 'X') addConvention(values as AnyTypedArray, letter, column, cards);
  const bytes = one(values);
  const rowBytes = letter === 'X' ? Math.ceil(repeat / 8) : repeat * elementBytes(letter);
  return { form: `${repeat}${letter}`, rowBytes, bytes, cards };
}

function elementBytes(letter: string): number {
  return { L: 1, A: 1, B: 1, I: 2, J: 4, K: 8, E: 4, D: 8, C: 8, M: 16 }[letter]!;
}

/** TZERO of unsigned and signed-byte columns, and TNULL as it is stored. */
function addConvention(
  array: AnyTypedArray | undefined,
  letter: string,
  column: ColumnInput,
  cards: [string, HeaderValue, string][],
): void {
  const zero = array === undefined ? 0 : FITS_OF[typeOfArray(array)].bzero;
  if (zero !== 0) {
    cards.push(['TSCAL', 1, 'value = stored * TSCAL + TZERO']);
    cards.push(['TZERO', zero === 2 ** 63 ? 9223372036854775808n : zero, 'offset of the unsigned convention']);
  }
  if (column.nullValue !== undefined) {
    if (!'BIJK'.includes(letter)) throw new UsageError(`column ${column.name}: only integers have a null value`);
    const stored = BigInt(column.nullValue) - BigInt(zero);
    cards.push(['TNULL', stored, 'stored value that means undefined']);
  }
}

function defaultForm(values: ColumnInput['values']): string {
  if (ArrayBuffer.isView(values)) return LETTER_OF[typeOfArray(values)];
  const first = values[0];
  if (typeof first === 'boolean' || first === null) return 'L';
  if (typeof first === 'string') {
    return `${(values as readonly string[]).reduce((longest, text) => Math.max(longest, text.length), 1)}A`;
  }
  return first === undefined ? '1A' : `P${LETTER_OF[typeOfArray(first as AnyTypedArray)]}`;
}

function encodeValues(
  codec: CodecBinding,
  values: ColumnInput['values'] | AnyTypedArray,
  letter: string,
  repeat: number,
  fail: (message: string) => UsageError,
): Uint8Array {
  if (letter === 'A') {
    if (!Array.isArray(values)) throw fail('a text column takes strings');
    const bytes = new Uint8Array(values.length * repeat).fill(0x20);
    (values as readonly string[]).forEach((text, row) => {
      if (text.length > repeat) throw fail(`"${text}" is longer than ${repeat} characters`);
      if (/[^\x20-\x7e]/.test(text)) throw fail(`"${text}" has characters outside ASCII`);
      for (let i = 0; i < text.length; i++) bytes[row * repeat + i] = text.charCodeAt(i);
    });
    return bytes;
  }
  if (letter === 'L') {
    return Uint8Array.from(values as ArrayLike<boolean | number | null>, (v) =>
      v === null || v === 255 ? 0 : v ? 0x54 : 0x46,
    );
  }
  if (!ArrayBuffer.isView(values)) throw fail('a column of numbers takes a typed array');
  const array = values as AnyTypedArray;
  if (letter === 'X') return packBits(array as Uint8Array, repeat, array.length / repeat);
  const type = typeOfArray(array);
  const expected = { C: 'E', M: 'D' }[letter] ?? letter;
  if (LETTER_OF[type] !== expected) throw fail(`an array of ${type} does not fit the format ${letter}`);
  const out = new Uint8Array(array.byteLength);
  check(codec.storeBigEndian(array, array.length, BYTES_OF[type], FITS_OF[type].bzero !== 0, out), {});
  return out;
}

function packBits(bits: Uint8Array, repeat: number, rows: number): Uint8Array {
  const rowBytes = Math.ceil(repeat / 8);
  const out = new Uint8Array(rowBytes * rows);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < repeat; i++) if (bits[row * repeat + i]) out[row * rowBytes + (i >> 3)]! |= 0x80 >> (i & 7);
  }
  return out;
}

/** Memory for `bytes` of data, with its padding of zeros. */
function padded(bytes: number): Uint8Array {
  const whole = new Uint8Array(Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES);
  addon().adviseHuge(whole);
  return whole;
}

/** Padding after -negativeLength bytes. */
function zeros(negativeLength: number): Uint8Array {
  return new Uint8Array(((negativeLength % BLOCK_BYTES) + BLOCK_BYTES) % BLOCK_BYTES);
}

/** The header with CHECKSUM and DATASUM (FITS 4.0, section 4.4.2.7), then the data. */
function withChecksums(codec: CodecBinding, header: Header, data: readonly Uint8Array[]): Uint8Array[] {
  let sum = 0;
  let offset = 0;
  for (const chunk of data) {
    sum = codec.checksum(sum, chunk, offset);
    offset += chunk.length;
  }
  // Readers of before FITS 4.0 want to be told of long strings.
  if (header.records().some((record) => record.startsWith('CONTINUE')) && !header.has('LONGSTRN')) {
    header.set('LONGSTRN', 'OGIP 1.0', 'long strings are used');
  }
  header.set('CHECKSUM', '0'.repeat(16), CHECKSUM_COMMENTS.CHECKSUM);
  header.set('DATASUM', String(sum), CHECKSUM_COMMENTS.DATASUM);
  const total = codec.checksum(sum, header.toBytes(), 0);
  header.set('CHECKSUM', codec.checksumEncode(total, true));
  return [header.toBytes(), ...data.filter((chunk) => chunk.length > 0)];
}
