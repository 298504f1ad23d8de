/**
 * Reads FITS files: headers on opening, data when asked for. Everything a header claims is checked against the bytes that
 * are there before memory is taken.
 */

import { type ErrorContext, InputError, RetriableError, UsageError } from '../core/errors.js';
import { BLOCK_BYTES, Header } from './header.js';
import { DEFAULT_LIMITS, type FitsLimits, INFLATE_FREE_BYTES } from './limits.js';
import { type AnyTypedArray, type CodecBinding, check, loadCodec, type ScannedHeader } from './native.js';
import { type ByteSource, memorySource, openSource } from './source.js';
import { decodeAsciiTable, decodeBinTable, type FitsTable } from './table.js';
import { isTileImage, restoreHeader, type TileLayout, tileLayout } from './tiles.js';
import { arrayOver, BYTES_OF, decodedType, type PixelType, storedType } from './types.js';

export interface ReadOptions {
  /**
   * Whether CHECKSUM and DATASUM, where a header has them, are verified when the data are read: true (the default) makes
   * a mismatch an InputError, 'warn' adds it to the file's warnings, false does not look.
   */
  readonly verify?: boolean | 'warn';
  readonly limits?: Partial<FitsLimits>;
  /** Accepts a last HDU whose data end early; missing pixels are zero and a warning says so. */
  readonly tolerateTruncated?: boolean;
  /** For a file that is given as bytes: what errors call it. */
  readonly name?: string;
}

export type HduKind = 'image' | 'bintable' | 'asciitable' | 'groups' | 'other';
export type ChecksumState = 'good' | 'bad' | 'absent';

export interface Hdu {
  readonly index: number;
  /** A tile-compressed image counts as an image. */
  readonly kind: HduKind;
  /** EXTNAME, or '' where there is none. */
  readonly name: string;
  /** EXTVER, 1 where there is none. */
  readonly version: number;
  /** Of a tile-compressed image: the image's own, as it was before compression. */
  readonly header: Header;
  /** As it stands in the file; the same object as `header` unless the image is compressed. */
  readonly storedHeader: Header;
  /** ZCMPTYPE of a tile-compressed image. */
  readonly compression?: string | undefined;
  /** Byte offsets in the file (in the inflated file for .gz). */
  readonly headerOffset: number;
  readonly dataOffset: number;
  /** Bytes of the data without padding: claimed, and present. They differ only with tolerateTruncated. */
  readonly dataBytes: number;
  readonly dataPresent: number;
  /** NAXIS1 first; of the image where it is compressed. */
  readonly axes: readonly number[];
  readonly bitpix: number;
  /** NAXIS1 first, of the HDU as stored. */
  readonly storedAxes: readonly number[];
  readonly pcount: number;
  readonly gcount: number;
  /** The header's bytes as they stand in the file. */
  readonly headerBytes: Uint8Array;
}

export interface FitsImage {
  readonly data: AnyTypedArray;
  readonly type: PixelType;
  /** Slowest axis first, as numpy has it: [NAXISn, ..., NAXIS1]. */
  readonly shape: readonly number[];
  /** True when BSCALE and BZERO made floating-point numbers of integers. */
  readonly scaled: boolean;
  /** The integer that means "no value"; undefined where there is none or where such pixels have become NaN. */
  readonly blank?: bigint | undefined;
  readonly unit: string;
}

export interface ImageOptions {
  /** Gives the memory for the pixels, a SharedArrayBuffer for instance; at least `bytes` long. */
  readonly allocate?: (bytes: number) => ArrayBufferLike;
  /** False leaves BSCALE and BZERO alone: the stored numbers. Default true. */
  readonly scale?: boolean;
  /**
   * The file was opened from bytes that nobody needs any more: the pixels of a plain image are made where its bytes lie,
   * which spares as much memory and its first touch. An image can then be read once.
   */
  readonly inPlace?: boolean;
}

const KINDS: readonly HduKind[] = ['image', 'image', 'bintable', 'asciitable', 'groups', 'other'];
/** The first piece of a header that is read: ten blocks hold 360 cards. */
const FIRST_PIECE = 10 * BLOCK_BYTES;

/**
 * Opens a file (a path, or its bytes) and reads its headers. The name is only a name: nothing in it is interpreted.
 * @throws InputError when it is no FITS file or breaks a limit; StorageError when it cannot be read.
 */
export function openFits(source: string | Uint8Array, options: ReadOptions = {}): FitsFile {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const codec = loadCodec();
  const path = typeof source === 'string' ? source : options.name;
  const bytes = typeof source === 'string' ? openSource(source) : memorySource(source);
  try {
    return new FitsFile(codec, path, inflate(codec, path, bytes, limits), limits, options);
  } catch (error) {
    bytes.close();
    throw error;
  }
}

const NOT_SUPPORTED: readonly [magic: string, what: string][] = [
  ['\x1f\x9d', 'compress (.Z)'],
  ['BZh', 'bzip2'],
  ['\xfd7zXZ', 'xz'],
  ['PK\x03\x04', 'zip'],
];

/** A gzip file becomes its contents in memory; other compressed files are named and refused. */
function inflate(codec: CodecBinding, file: string | undefined, source: ByteSource, limits: FitsLimits): ByteSource {
  const start = new Uint8Array(Math.min(6, source.size));
  source.read(0, start);
  const magic = Buffer.from(start).toString('latin1');
  const other = NOT_SUPPORTED.find(([bytes]) => magic.startsWith(bytes));
  if (other !== undefined) throw new InputError(`files compressed by ${other[1]} are not supported`, { file });
  if (!magic.startsWith('\x1f\x8b')) return source;

  const packed = source.view(0, source.size) ?? allocate(source.size, file);
  if (source.view(0, 0) === undefined) source.read(0, packed);
  const most = Math.min(limits.inflatedBytes, Math.max(INFLATE_FREE_BYTES, source.size * limits.inflateRatio));
  const claim = codec.gzipClaim(packed);
  check(claim.status, { file });
  // The trailer holds the size of the last member only, so it is where to begin, not what to believe.
  for (let room = Math.max(claim.claimed, BLOCK_BYTES); ; room = Math.min(room * 2, most)) {
    if (room > most) {
      throw new InputError(`the gzip file inflates to ${room} bytes, more than the limit of ${most}`, { file });
    }
    const out = allocate(room, file);
    const result = codec.gunzip(packed, out);
    check(result.status, { file });
    if (result.complete) {
      source.close();
      return memorySource(out.subarray(0, result.written));
    }
    if (room === most) throw new InputError(`the gzip file inflates to more than the limit of ${most} bytes`, { file });
  }
}

function allocate(bytes: number, file: string | undefined): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new RetriableError(`no memory for ${bytes} bytes`, { file, cause });
  }
}

export class FitsFile {
  readonly path: string | undefined;
  /** Whether its bytes are in memory: given so, or inflated. `path` is then a name for errors at most. */
  readonly inMemory: boolean;
  readonly hdus: readonly Hdu[];
  /** What was tolerated: odd cards, bytes after the last HDU, missing padding. */
  readonly warnings: string[] = [];
  readonly limits: FitsLimits;
  readonly #codec: CodecBinding;
  readonly #source: ByteSource;
  readonly #options: ReadOptions;
  readonly #verified = new Map<number, { checksum: ChecksumState; datasum: ChecksumState }>();

  /** @internal use openFits */
  constructor(
    codec: CodecBinding,
    path: string | undefined,
    source: ByteSource,
    limits: FitsLimits,
    options: ReadOptions,
  ) {
    this.#codec = codec;
    this.path = path;
    this.inMemory = source.view(0, 0) !== undefined;
    this.#source = source;
    this.limits = limits;
    this.#options = options;
    this.hdus = this.#scan();
  }

  get size(): number {
    return this.#source.size;
  }

  /** Releases the file; data can no longer be read. */
  close(): void {
    this.#source.close();
  }

  /** An HDU by index or by EXTNAME (case does not matter; the first one of that name and version). */
  hdu(which: number | string, version?: number): Hdu {
    const found =
      typeof which === 'number'
        ? this.hdus[which]
        : this.hdus.find(
            (h) => h.name.toUpperCase() === which.toUpperCase() && (version === undefined || h.version === version),
          );
    if (found === undefined) {
      throw new InputError(
        typeof which === 'number'
          ? `there is no HDU ${which}; the file has ${this.hdus.length}`
          : `there is no HDU named ${which}; there are ${this.hdus.map((h) => h.name || `#${h.index}`).join(', ')}`,
        { file: this.path },
      );
    }
    return found;
  }

  /** The bytes of an HDU's data as stored, without padding; verified. A view of the file where that is in memory. */
  readData(which: Hdu | number | string): Uint8Array {
    const hdu = this.#resolve(which);
    const data = this.#bytes(hdu.dataOffset, hdu.dataPresent);
    this.#verifyData(hdu, data);
    return data;
  }

  /** Verifies CHECKSUM and DATASUM whatever the options say, and throws nothing when they are wrong. */
  verify(which: Hdu | number | string): { checksum: ChecksumState; datasum: ChecksumState } {
    const hdu = this.#resolve(which);
    const data = this.#bytes(hdu.dataOffset, hdu.dataPresent);
    return this.#checksums(hdu, data.byteLength, () => this.#codec.checksum(0, data, 0));
  }

  /**
   * Verifies an HDU whose stored bytes were summed elsewhere (by a source that read them on its own), as reading would.
   * @param sum the ones' complement sum of the data, without padding
   * @throws InputError when a checksum is wrong, unless the options say otherwise
   */
  verifySum(which: Hdu | number | string, sum: number): void {
    const hdu = this.#resolve(which);
    this.#judge(
      hdu,
      this.#checksums(hdu, hdu.dataPresent, () => sum),
    );
  }

  /** What the reads so far have found; undefined where an HDU's data were not read or not verified. */
  verified(which: Hdu | number | string): { checksum: ChecksumState; datasum: ChecksumState } | undefined {
    return this.#verified.get(this.#resolve(which).index);
  }

  /**
   * The pixels of an image, native-endian. Integers stay integers (u16, u32, u64 and i8 by the BZERO convention, exactly);
   * any other BSCALE or BZERO gives float32 (for 8 and 16 bits and float32) or float64.
   */
  readImage(which: Hdu | number | string, options: ImageOptions = {}): FitsImage {
    const hdu = this.#image(which);
    if (hdu.compression === undefined) return this.#plainImage(hdu, options);
    const { layout, data } = this.readTiles(hdu, options);
    const pixels = this.#tilePixels(hdu, layout, data, options);
    check(this.#codec.decodeTiles(layout.spec, data, pixels), this.#context(hdu));
    return this.#tileImage(hdu, layout, pixels, options);
  }

  /** As readImage; compressed tiles are decoded off the JavaScript thread. */
  async readImageAsync(which: Hdu | number | string, options: ImageOptions = {}): Promise<FitsImage> {
    const hdu = this.#image(which);
    if (hdu.compression === undefined) return this.#plainImage(hdu, options);
    const { layout, data } = this.readTiles(hdu, options);
    const pixels = this.#tilePixels(hdu, layout, data, options);
    check(await this.#codec.decodeTilesAsync(layout.spec, data, pixels), this.#context(hdu));
    return this.#tileImage(hdu, layout, pixels, options);
  }

  /**
   * The compressed tiles of an image and what a decoder must know of them, for those who decode rows themselves. The data
   * are verified; the layout's geometry is not yet (native decoders check every access).
   */
  readTiles(
    which: Hdu | number | string,
    options: Pick<ImageOptions, 'scale'> = {},
  ): { layout: TileLayout; data: Uint8Array } {
    const hdu = this.#image(which);
    if (hdu.compression === undefined) throw this.#error(hdu, `HDU ${hdu.index} is not tile-compressed`);
    if (hdu.dataPresent < hdu.dataBytes) throw this.#error(hdu, 'the compressed image is cut short');
    const layout = tileLayout(hdu.storedHeader, hdu.storedAxes, this.#context(hdu), options.scale ?? true);
    return { layout, data: this.readData(hdu) };
  }

  #image(which: Hdu | number | string): Hdu {
    const hdu = this.#resolve(which);
    if (hdu.kind !== 'image') throw this.#error(hdu, `HDU ${hdu.index} is not an image (${hdu.kind})`);
    return hdu;
  }

  #memory(bytes: number, options: ImageOptions): ArrayBufferLike {
    const buffer = options.allocate?.(bytes) ?? allocate(bytes, this.path).buffer;
    if (buffer.byteLength < bytes) throw new UsageError(`allocate gave ${buffer.byteLength} bytes, not ${bytes}`);
    return buffer;
  }

  /** Memory for the decoded tiles, taken only when the bytes present can hold them. */
  #tilePixels(hdu: Hdu, layout: TileLayout, data: Uint8Array, options: ImageOptions): AnyTypedArray {
    const { status, pixels } = this.#codec.checkTiles(layout.spec, data);
    check(status, this.#context(hdu));
    const bytes = pixels * BYTES_OF[layout.type];
    if (bytes > this.limits.dataBytes) {
      throw this.#error(hdu, `the image has ${bytes} bytes, more than the limit of ${this.limits.dataBytes}`);
    }
    const buffer = layout.scale === undefined ? this.#memory(bytes, options) : allocate(bytes, this.path).buffer;
    return arrayOver(layout.type, buffer, 0, pixels);
  }

  #tileImage(hdu: Hdu, layout: TileLayout, pixels: AnyTypedArray, options: ImageOptions): FitsImage {
    const { spec, scale, type } = layout;
    const shape = [...spec.axes].reverse();
    const unit = hdu.header.string('BUNIT', '');
    const blank = spec.bitpix > 0 ? (hdu.header.integer('BLANK') ?? hdu.storedHeader.integer('ZBLANK')) : undefined;
    if (scale === undefined) {
      const zero = spec.flipSign ? spec.bzero : 0;
      return { data: pixels, type, shape, scaled: false, unit, blank: unflip(blank, zero) };
    }
    const out = decodedType(spec.bitpix, scale.scale, scale.zero).type;
    const data = arrayOver(out, this.#memory(pixels.length * BYTES_OF[out], options), 0, pixels.length);
    const wide = out === 'f64';
    check(
      this.#codec.scale(pixels, pixels.length, spec.bitpix, scale.scale, scale.zero, blank, wide, data),
      this.#context(hdu),
    );
    return { data, type: out, shape, scaled: true, unit };
  }

  #plainImage(hdu: Hdu, options: ImageOptions): FitsImage {
    const header = hdu.header;
    const apply = options.scale ?? true;
    const scale = apply ? header.number('BSCALE', 1) : 1;
    const zero = apply ? header.number('BZERO', 0) : 0;
    const { type, flipSign, scaled } = decodedType(hdu.bitpix, scale, zero);
    const blank = hdu.bitpix > 0 ? header.integer('BLANK') : undefined;
    const stored = storedType(hdu.bitpix);
    const width = BYTES_OF[stored];
    const count = hdu.dataBytes / width;
    const shape = [...hdu.axes].reverse();
    const unit = header.string('BUNIT', '');
    const context = this.#context(hdu);

    // Where the file is on disk its bytes are read into the pixels' own memory and turned round in place.
    const inMemory = this.#source.view(hdu.dataOffset, hdu.dataPresent);
    const whole = inMemory?.byteLength === hdu.dataBytes && inMemory.byteOffset % width === 0;
    const bytes =
      options.inPlace === true && !scaled && whole
        ? inMemory
        : new Uint8Array(
            scaled ? allocate(hdu.dataBytes, this.path).buffer : this.#memory(hdu.dataBytes, options),
            0,
            hdu.dataBytes,
          );
    if (inMemory === undefined) this.#source.read(hdu.dataOffset, bytes.subarray(0, hdu.dataPresent));
    const raw = inMemory ?? bytes.subarray(0, hdu.dataPresent);
    this.#verifyData(hdu, raw);
    const present = Math.floor(hdu.dataPresent / width);
    if (present < count) {
      bytes.fill(0, present * width);
      this.warnings.push(`HDU ${hdu.index}: ${count - present} of ${count} pixels are missing`);
    }
    check(this.#codec.swap(raw, present, width, flipSign, bytes), context);
    if (!scaled) {
      const data = arrayOver(type, bytes.buffer, bytes.byteOffset, count);
      return { data, type, shape, scaled, unit, blank: unflip(blank, flipSign ? zero : 0) };
    }
    const data = arrayOver(type, this.#memory(count * BYTES_OF[type], options), 0, count);
    check(this.#codec.scale(bytes, count, hdu.bitpix, scale, zero, blank, type === 'f64', data), context);
    return { data, type, shape, scaled, unit };
  }

  /** All columns of a table, or those named. */
  readTable(which: Hdu | number | string, columns?: readonly string[]): FitsTable {
    const hdu = this.#resolve(which);
    if (hdu.kind !== 'bintable' && hdu.kind !== 'asciitable') {
      throw this.#error(hdu, `HDU ${hdu.index} is not a table (${hdu.kind})`);
    }
    if (hdu.dataPresent < hdu.dataBytes) throw this.#error(hdu, 'the table is cut short');
    const data = this.readData(hdu);
    const decode = hdu.kind === 'bintable' ? decodeBinTable : decodeAsciiTable;
    return decode(this.#codec, { header: hdu.header, axes: hdu.storedAxes }, data, this.#context(hdu), columns);
  }

  #resolve(which: Hdu | number | string): Hdu {
    return typeof which === 'object' ? which : this.hdu(which);
  }

  #context(hdu: Hdu): ErrorContext {
    return { file: this.path, hdu: hdu.index };
  }

  #error(hdu: Hdu, message: string): InputError {
    return new InputError(message, this.#context(hdu));
  }

  #bytes(offset: number, length: number): Uint8Array {
    const view = this.#source.view(offset, length);
    if (view !== undefined) return view;
    const bytes = allocate(length, this.path);
    this.#source.read(offset, bytes);
    return bytes;
  }

  #scan(): Hdu[] {
    const size = this.#source.size;
    if (size === 0) throw new InputError('the file is empty', { file: this.path });
    const hdus: Hdu[] = [];
    for (let offset = 0; offset < size; ) {
      const index = hdus.length;
      if (index > 0 && !this.#startsExtension(offset)) {
        this.warnings.push(`${size - offset} bytes after the last HDU are no extension and are not read`);
        break;
      }
      if (index >= this.limits.hdus) {
        throw new InputError(`more than ${this.limits.hdus} HDUs, which is the limit`, { file: this.path, offset });
      }
      const { scan, bytes } = this.#scanHeader(offset, index);
      const hdu = describeHdu(scan, bytes, offset, index, this.limits.axes);
      this.warnings.push(...hdu.storedHeader.warnings.map((warning) => `HDU ${index}: ${warning}`));
      hdus.push(hdu);
      offset = hdu.dataOffset + Math.ceil(scan.dataBytes / BLOCK_BYTES) * BLOCK_BYTES;
      if (offset > size) this.warnings.push(`HDU ${index}: the file ends ${offset - size} bytes before its last block`);
    }
    return hdus;
  }

  #startsExtension(offset: number): boolean {
    if (this.#source.size - offset < 8) return false;
    return Buffer.from(this.#bytes(offset, 8)).toString('latin1') === 'XTENSION';
  }

  /** Reads as much of a header as it takes to find its END. */
  #scanHeader(offset: number, index: number): { scan: ScannedHeader; bytes: Uint8Array } {
    const left = this.#source.size - offset;
    for (let piece = FIRST_PIECE; ; piece *= 4) {
      const bytes = this.#bytes(offset, Math.min(piece, left));
      const scan = this.#codec.scanHeader(
        bytes,
        left,
        index === 0,
        this.#options.tolerateTruncated ?? false,
        this.limits.cards,
        this.limits.axes,
        this.limits.dataBytes,
      );
      const at = scan.status.offset < 0 ? offset : offset + scan.status.offset;
      check({ ...scan.status, offset: at }, { file: this.path, hdu: index });
      if (scan.complete) return { scan, bytes: bytes.slice(0, scan.headerBytes) };
      if (piece >= left) {
        throw new InputError('the header has no END', { file: this.path, hdu: index, offset });
      }
    }
  }

  #verifyData(hdu: Hdu, data: Uint8Array): void {
    const mode = this.#options.verify ?? true;
    if (mode === false || this.#verified.has(hdu.index)) return;
    this.#judge(
      hdu,
      this.#checksums(hdu, data.byteLength, () => this.#codec.checksum(0, data, 0)),
    );
  }

  #judge(hdu: Hdu, state: { checksum: ChecksumState; datasum: ChecksumState }): void {
    const mode = this.#options.verify ?? true;
    if (mode === false) return;
    for (const name of ['datasum', 'checksum'] as const) {
      if (state[name] !== 'bad') continue;
      const message = `${name.toUpperCase()} does not agree with the bytes: the file is damaged, or was edited without renewing it`;
      if (mode !== 'warn') throw this.#error(hdu, message);
      this.warnings.push(`HDU ${hdu.index}: ${message}`);
    }
  }

  #checksums(hdu: Hdu, bytes: number, sumOfData: () => number): { checksum: ChecksumState; datasum: ChecksumState } {
    const datasum = /^\d{1,10}$/.exec(hdu.storedHeader.string('DATASUM', '').trim())?.[0];
    const hasChecksum = hdu.storedHeader.string('CHECKSUM', '').trim() !== '';
    const state = { checksum: 'absent' as ChecksumState, datasum: 'absent' as ChecksumState };
    if (datasum !== undefined || hasChecksum) {
      let sum = sumOfData();
      const end = hdu.dataOffset + bytes;
      const rest = Math.min((BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES, this.#source.size - end);
      if (rest > 0) sum = this.#codec.checksum(sum, this.#bytes(end, rest), bytes);
      // Minus zero and zero are one value in ones' complement.
      if (datasum !== undefined) {
        state.datasum = sum % 0xffffffff === Number(datasum) % 0xffffffff ? 'good' : 'bad';
      }
      if (hasChecksum) {
        const total = this.#codec.checksum(sum, hdu.headerBytes, 0);
        state.checksum = total % 0xffffffff === 0 ? 'good' : 'bad';
      }
    }
    this.#verified.set(hdu.index, state);
    return state;
  }
}

/** An HDU from its scanned header, whose bytes begin at `offset` of the file. */
function describeHdu(scan: ScannedHeader, bytes: Uint8Array, offset: number, index: number, mostAxes: number): Hdu {
  const stored = Header.fromScan(bytes, scan);
  const compressed = scan.kind === 2 && isTileImage(stored);
  const header = compressed ? restoreHeader(stored) : stored;
  return {
    index,
    kind: compressed ? 'image' : KINDS[scan.kind]!,
    name: header.string('EXTNAME', '').trimEnd(),
    version: header.number('EXTVER', 1),
    header,
    storedHeader: stored,
    compression: compressed ? stored.string('ZCMPTYPE', '').trim() : undefined,
    headerOffset: offset,
    dataOffset: offset + scan.headerBytes,
    dataBytes: scan.dataBytes,
    dataPresent: scan.dataPresent,
    axes: compressed ? imageAxes(stored, mostAxes) : scan.axes,
    bitpix: compressed ? stored.number('ZBITPIX', 0) : scan.bitpix,
    storedAxes: scan.axes,
    pcount: scan.pcount,
    gcount: scan.gcount,
    headerBytes: bytes,
  };
}

/** Gives bytes of a file from `offset`; fewer than `length` only where the file ends. */
export type ReadPiece = (offset: number, length: number) => Promise<Uint8Array>;

/**
 * The first HDUs of a file by their headers alone, without opening it whole: an almanac asks a thousand files so. Data that
 * end early are no error here: `dataPresent` tells.
 * @param size bytes of the file; what lies beyond is not asked for
 * @param piece bytes of the first reading, which serves as many headers as lie in it
 * @returns fewer than `count` HDUs where the file has no more
 * @throws InputError for what is no FITS header or breaks a limit
 */
export async function readFirstHdus(
  read: ReadPiece,
  size: number,
  count: number,
  options: { readonly file?: string; readonly piece: number; readonly limits?: Partial<FitsLimits> },
): Promise<Hdu[]> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const codec = loadCodec();
  const { file } = options;
  if (size === 0) throw new InputError('the file is empty', { file });
  let start = 0;
  let held = new Uint8Array(0);
  const from = async (offset: number, length: number): Promise<Uint8Array> => {
    const wanted = Math.min(length, size - offset);
    if (offset < start || offset + wanted > start + held.length) {
      start = offset;
      held = (await read(offset, Math.min(Math.max(wanted, options.piece), size - offset))) as Uint8Array<ArrayBuffer>;
      if (held.length < wanted) throw new InputError('it was cut short while it was read', { file, offset });
    }
    return held.subarray(offset - start);
  };
  const hdus: Hdu[] = [];
  for (let offset = 0; hdus.length < count && offset < size; ) {
    const index = hdus.length;
    const left = size - offset;
    // Bytes after the last HDU that are no extension are no error when a file is opened, so they are none here.
    if (index > 0 && (left < 8 || Buffer.from(await from(offset, 8)).toString('latin1', 0, 8) !== 'XTENSION')) break;
    let scan: ScannedHeader;
    let bytes: Uint8Array;
    for (let piece = BLOCK_BYTES; ; piece *= 4) {
      bytes = await from(offset, piece);
      scan = codec.scanHeader(bytes, left, index === 0, true, limits.cards, limits.axes, limits.dataBytes);
      const at = scan.status.offset < 0 ? offset : offset + scan.status.offset;
      check({ ...scan.status, offset: at }, { file, hdu: index });
      if (scan.complete) break;
      if (piece >= left) throw new InputError('the header has no END', { file, hdu: index, offset });
    }
    const hdu = describeHdu(scan, bytes.slice(0, scan.headerBytes), offset, index, limits.axes);
    hdus.push(hdu);
    offset = hdu.dataOffset + Math.ceil(scan.dataBytes / BLOCK_BYTES) * BLOCK_BYTES;
  }
  return hdus;
}

/** ZNAXISn as they stand; whether they can be true is asked when the image is read. */
function imageAxes(header: Header, most: number): number[] {
  const naxis = Math.min(Math.max(header.number('ZNAXIS', 0), 0), most);
  return Array.from({ length: naxis }, (_, i) => header.number(`ZNAXIS${i + 1}`, 0));
}

/** BLANK is a stored value; what the caller sees is the value after the unsigned convention. */
function unflip(blank: bigint | undefined, zero: number): bigint | undefined {
  return blank === undefined ? undefined : blank + BigInt(zero);
}
