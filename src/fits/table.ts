/** Columns of binary and ASCII tables (FITS 4.0, sections 7.2 and 7.3). */

import { type ErrorContext, InputError } from '../core/errors.js';
import type { Header } from './header.js';
import { type AnyTypedArray, type CodecBinding, check } from './native.js';
import { arrayOver, BYTES_OF, decodedType, type PixelType, storedType } from './types.js';

/** A column's format: what TFORM says of a binary table. */
export interface ColumnFormat {
  /** TFORM letter of the elements; of the arrays in the heap for P and Q. */
  readonly letter: string;
  /** Elements in a row; 0 or 1 descriptors for P and Q. */
  readonly repeat: number;
  /** 'P' or 'Q' for variable-length arrays. */
  readonly descriptor?: 'P' | 'Q' | undefined;
  /** Byte offset in the row. */
  readonly offset: number;
  /** Bytes in the row. */
  readonly bytes: number;
}

export interface Column {
  readonly name: string;
  readonly unit: string;
  /** TFORM as it stands. */
  readonly form: string;
  readonly rows: number;
  /** Elements in each row; for text the characters. Variable-length columns have -1. */
  readonly repeat: number;
  /** Shape of one row, slowest axis first: TDIM where it applies, else [repeat]. Complex numbers add no axis. */
  readonly shape: readonly number[];
  /**
   * Values of all rows one after another. Numbers are typed arrays (unsigned conventions exact, complex numbers as pairs,
   * float64 where TSCAL or TZERO scale; logical and bit columns Uint8Array of 0 and 1, with 255 for an undefined
   * logical); text is an array of strings without trailing blanks.
   */
  readonly values: AnyTypedArray | string[];
  readonly type: PixelType | 'logical' | 'bit' | 'text' | 'complex64' | 'complex128';
  /** Variable-length columns: row i is values[offsets[i] .. offsets[i + 1]]. Counts elements (bytes for bits). */
  readonly offsets?: BigInt64Array | undefined;
  /** The integer that means "no value" (TNULL), where values are integers. */
  readonly nullValue?: bigint | undefined;
}

export interface FitsTable {
  readonly rows: number;
  readonly columns: readonly Column[];
  /** A column by name; case does not matter. */
  column(name: string): Column;
}

/** Bytes, stored BITPIX-like type, and parts (2 for complex) of each TFORM letter that holds numbers. */
const NUMERIC: Readonly<Record<string, { width: number; bitpix: number; parts: number }>> = {
  B: { width: 1, bitpix: 8, parts: 1 },
  I: { width: 2, bitpix: 16, parts: 1 },
  J: { width: 4, bitpix: 32, parts: 1 },
  K: { width: 8, bitpix: 64, parts: 1 },
  E: { width: 4, bitpix: -32, parts: 1 },
  D: { width: 8, bitpix: -64, parts: 1 },
  C: { width: 4, bitpix: -32, parts: 2 },
  M: { width: 8, bitpix: -64, parts: 2 },
};

interface TableHdu {
  readonly header: Header;
  readonly axes: readonly number[];
}

/** Bytes that `count` elements of a TFORM letter take in a row or in the heap. */
function bytesOf(letter: string, count: number): number | undefined {
  if (letter === 'X') return Math.ceil(count / 8);
  if (letter === 'L' || letter === 'A') return count;
  const numeric = NUMERIC[letter];
  return numeric === undefined ? undefined : count * numeric.width * numeric.parts;
}

/** The formats of all columns, checked against NAXIS1. */
export function columnFormats(hdu: TableHdu, context: ErrorContext): ColumnFormat[] {
  const fields = hdu.header.number('TFIELDS', 0);
  const rowBytes = hdu.axes[0]!;
  const formats: ColumnFormat[] = [];
  let offset = 0;
  for (let i = 1; i <= fields; i++) {
    const form = hdu.header.string(`TFORM${i}`, undefined);
    if (form === undefined) throw new InputError(`the keyword TFORM${i} is missing`, context);
    const match = /^\s*(\d{0,10})([LXBIJKAEDCMPQ])(.*)$/.exec(form.toUpperCase());
    if (match === null) throw new InputError(`TFORM${i} = '${form}' is no format of a binary table`, context);
    const repeat = match[1] === '' ? 1 : Number(match[1]);
    let letter = match[2]!;
    let descriptor: 'P' | 'Q' | undefined;
    let bytes: number | undefined;
    if (letter === 'P' || letter === 'Q') {
      descriptor = letter;
      letter = match[3]![0] ?? '';
      if (repeat > 1 || bytesOf(letter, 1) === undefined) {
        throw new InputError(`TFORM${i} = '${form}' is no format of a variable-length column`, context);
      }
      bytes = repeat * (descriptor === 'P' ? 8 : 16);
    } else {
      bytes = bytesOf(letter, repeat);
    }
    formats.push({ letter, repeat, descriptor, offset, bytes: bytes! });
    offset += bytes!;
  }
  if (offset > rowBytes) {
    throw new InputError(`the columns take ${offset} bytes in a row of NAXIS1 = ${rowBytes}`, context);
  }
  return formats;
}

function selectColumns(header: Header, names: readonly string[] | undefined, context: ErrorContext): number[] {
  const fields = header.number('TFIELDS', 0);
  const all = Array.from({ length: fields }, (_, i) => i);
  if (names === undefined) return all;
  return names.map((name) => {
    const found = all.find((i) => columnName(header, i).toUpperCase() === name.toUpperCase());
    if (found === undefined)
      throw noColumn(
        name,
        all.map((i) => columnName(header, i)),
        context,
      );
    return found;
  });
}

function columnName(header: Header, i: number): string {
  return header.string(`TTYPE${i + 1}`, `col${i + 1}`).trim();
}

function noColumn(name: string, names: readonly string[], context: ErrorContext): InputError {
  return new InputError(`there is no column ${name}; there are ${names.join(', ')}`, context);
}

function makeTable(rows: number, columns: readonly Column[], context: ErrorContext): FitsTable {
  return {
    rows,
    columns,
    column(name) {
      const found = columns.find((column) => column.name.toUpperCase() === name.toUpperCase());
      if (found === undefined)
        throw noColumn(
          name,
          columns.map((column) => column.name),
          context,
        );
      return found;
    },
  };
}

/** TDIM as a shape, slowest axis first; undefined where it is missing or does not agree with the repeat count. */
function tdim(header: Header, i: number, repeat: number): number[] | undefined {
  const text = header.string(`TDIM${i + 1}`, undefined);
  const match = text === undefined ? null : /^\s*\(([\d\s,]+)\)\s*$/.exec(text);
  if (match === null) return undefined;
  const axes = match[1]!.split(',').map(Number).reverse();
  return axes.reduce((product, n) => product * n, 1) <= repeat ? axes : undefined;
}

/** Decodes the columns of a binary table from the HDU's data. Errors: InputError with the HDU. */
export function decodeBinTable(
  codec: CodecBinding,
  hdu: TableHdu,
  data: Uint8Array,
  context: ErrorContext,
  names?: readonly string[],
): FitsTable {
  const { header } = hdu;
  const [rowBytes, rows] = hdu.axes as [number, number];
  const formats = columnFormats(hdu, context);
  const heapOffset = header.number('THEAP', rowBytes * rows);
  const columns = selectColumns(header, names, context).map((i) =>
    decodeColumn(codec, header, data, rows, rowBytes, heapOffset, formats[i]!, i, context),
  );
  return makeTable(rows, columns, context);
}

function decodeColumn(
  codec: CodecBinding,
  header: Header,
  data: Uint8Array,
  rows: number,
  stride: number,
  heapOffset: number,
  format: ColumnFormat,
  i: number,
  context: ErrorContext,
): Column {
  const { letter, offset } = format;
  const base = {
    name: columnName(header, i),
    unit: header.string(`TUNIT${i + 1}`, ''),
    form: header.string(`TFORM${i + 1}`, ''),
    rows,
  };
  const numeric = NUMERIC[letter];
  const width = numeric?.width ?? 1;
  const parts = numeric?.parts ?? 1;
  const scale = header.number(`TSCAL${i + 1}`, 1);
  const zero = header.number(`TZERO${i + 1}`, 0);
  const nullCard = header.integer(`TNULL${i + 1}`);
  const isInteger = numeric !== undefined && numeric.bitpix > 0;
  const decoded = numeric === undefined ? undefined : decodedType(numeric.bitpix, scale, zero);
  const flipSign = decoded?.flipSign ?? false;
  const stored = numeric === undefined ? 'u8' : storedType(numeric.bitpix);
  const variable = format.descriptor !== undefined;

  let repeat = variable ? -1 : format.repeat;
  let shape: readonly number[] = variable ? [] : (tdim(header, i, format.repeat) ?? [format.repeat]);
  let offsets: BigInt64Array | undefined;
  let raw: AnyTypedArray;
  if (variable && format.repeat === 0) {
    offsets = new BigInt64Array(rows + 1);
    raw = arrayOver(stored, new ArrayBuffer(0), 0, 0);
  } else if (variable) {
    const bits = letter === 'X' ? 1 : 8 * width * parts;
    const wide = format.descriptor === 'Q';
    offsets = new BigInt64Array(rows + 1);
    check(codec.measureHeap(data, rows, stride, offset, wide, heapOffset, bits, offsets), context);
    const count = Number(offsets[rows]) * parts;
    raw = arrayOver(stored, new ArrayBuffer(count * BYTES_OF[stored]), 0, count);
    check(codec.gatherHeap(data, rows, stride, offset, wide, heapOffset, bits, offsets, width, flipSign, raw), context);
  } else if (letter === 'X') {
    const bits = new Uint8Array(rows * format.repeat);
    check(codec.unpackBits(data, rows, stride, offset, format.repeat, bits), context);
    return { ...base, repeat, shape, values: bits, type: 'bit' };
  } else {
    const count = rows * format.repeat * parts;
    raw = arrayOver(stored, new ArrayBuffer(count * BYTES_OF[stored]), 0, count);
    check(codec.gather(data, rows, stride, offset, format.repeat * parts, width, flipSign, raw), context);
  }

  if (letter === 'X') return { ...base, repeat, shape, values: raw, type: 'bit', offsets };
  if (letter === 'L') {
    const values = (raw as Uint8Array).map((code) => (code === 0x54 ? 1 : code === 0x46 ? 0 : 255));
    return { ...base, repeat, shape, values, type: 'logical', offsets };
  }
  if (letter === 'A') {
    // rAw gives strings of w characters; TDIM does the same and more, with its first axis as the length.
    const sub = /A(\d+)$/.exec(base.form.toUpperCase());
    let length = shape.at(-1) ?? 0;
    if (!variable && sub !== null && shape.length === 1 && Number(sub[1]) > 0 && Number(sub[1]) < format.repeat) {
      length = Number(sub[1]);
      shape = [Math.floor(format.repeat / length), length];
    }
    const bytes = raw as Uint8Array;
    const values: string[] = [];
    if (offsets !== undefined) {
      for (let row = 0; row < rows; row++) values.push(text(bytes, Number(offsets[row]), Number(offsets[row + 1])));
    } else {
      const strings =
        length === 0
          ? 1
          : Math.max(
              1,
              shape.slice(0, -1).reduce((product, n) => product * n, 1),
            );
      for (let row = 0; row < rows; row++) {
        for (let s = 0; s < strings; s++) {
          const at = row * format.repeat + s * length;
          values.push(text(bytes, at, at + length));
        }
      }
    }
    repeat = variable ? -1 : format.repeat;
    return { ...base, repeat, shape, values, type: 'text', offsets };
  }

  const { type, scaled } = decoded!;
  if (parts === 2 && !scaled) {
    return { ...base, repeat, shape, values: raw, type: width === 4 ? 'complex64' : 'complex128', offsets };
  }
  if (!scaled) {
    const values = arrayOver(type, raw.buffer, raw.byteOffset, raw.length);
    const nullValue = isInteger && nullCard !== undefined ? nullCard + BigInt(zero) : undefined;
    return { ...base, repeat, shape, values, type, offsets, nullValue };
  }
  const values = new Float64Array(raw.length);
  const blank = isInteger ? nullCard : undefined;
  check(codec.scale(raw, raw.length, numeric!.bitpix, scale, zero, blank, true, values), context);
  if (parts === 2) for (let k = 1; k < values.length; k += 2) values[k] = values[k]! - zero; // TZERO is real
  return { ...base, repeat, shape, values, type: parts === 2 ? 'complex128' : 'f64', offsets };
}

/** Text ends at a NUL (FITS 4.0, section 7.3.3.1); trailing blanks mean nothing. */
function text(bytes: Uint8Array, begin: number, end: number): string {
  const nul = bytes.indexOf(0, begin);
  const stop = nul >= begin && nul < end ? nul : end;
  return Buffer.from(bytes.buffer, bytes.byteOffset + begin, stop - begin)
    .toString('latin1')
    .trimEnd();
}

/** Decodes an ASCII table: A columns as text, I, F, E and D columns as float64 with NaN for TNULL. */
export function decodeAsciiTable(
  _codec: CodecBinding,
  hdu: TableHdu,
  data: Uint8Array,
  context: ErrorContext,
  names?: readonly string[],
): FitsTable {
  const { header } = hdu;
  const [rowBytes, rows] = hdu.axes as [number, number];
  const lines = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('latin1');
  const columns = selectColumns(header, names, context).map((i): Column => {
    const form = header.string(`TFORM${i + 1}`, '');
    const match = /^\s*([AIFED])(\d+)(?:\.(\d+))?/.exec(form.toUpperCase());
    const begin = header.number(`TBCOL${i + 1}`, 0) - 1;
    if (match === null) throw new InputError(`TFORM${i + 1} = '${form}' is no format of an ASCII table`, context);
    const width = Number(match[2]);
    if (begin < 0 || begin + width > rowBytes) {
      throw new InputError(`column ${i + 1} reaches beyond its row of NAXIS1 = ${rowBytes} characters`, context);
    }
    const fields = Array.from({ length: rows }, (_, row) => lines.substr(row * rowBytes + begin, width));
    const base = { name: columnName(header, i), unit: header.string(`TUNIT${i + 1}`, ''), form, rows };
    if (match[1] === 'A') {
      return { ...base, repeat: width, shape: [width], values: fields.map((f) => f.trimEnd()), type: 'text' };
    }
    const nullText = header.string(`TNULL${i + 1}`, undefined)?.trim();
    const scale = header.number(`TSCAL${i + 1}`, 1);
    const zero = header.number(`TZERO${i + 1}`, 0);
    const decimals = Number(match[3] ?? 0);
    const values = new Float64Array(rows);
    fields.forEach((field, row) => {
      const trimmed = field.trim();
      if (trimmed === nullText) {
        values[row] = Number.NaN;
        return;
      }
      if (trimmed === '') {
        values[row] = zero; // a blank field is the number 0
        return;
      }
      const number = /^[+-]?(\d+\.?\d*|\.\d+)(?:[EDed]?[+-]?\d+)?$/.test(trimmed)
        ? Number(trimmed.replace(/[Dd]/, 'E').replace(/(\d|\.)([+-]\d+)$/, '$1E$2'))
        : Number.NaN;
      if (Number.isNaN(number))
        throw new InputError(`row ${row + 1} of ${base.name} holds "${field}", no number`, context);
      // Without a decimal point the last d digits are decimals (FITS 4.0, section 7.2.5).
      const implied = match[1] !== 'I' && !trimmed.includes('.') ? 10 ** -decimals : 1;
      values[row] = number * implied * scale + zero;
    });
    return { ...base, repeat: 1, shape: [1], values, type: 'f64' };
  });
  return makeTable(rows, columns, context);
}
