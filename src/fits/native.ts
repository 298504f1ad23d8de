/** The part of the addon that decodes bytes: the typed interface of native/binding/codec.cc. */
import { addon } from '../core/addon.js';
import { BugError, type ErrorContext, errorFromStatus, type NativeStatus } from '../core/errors.js';

export type AnyTypedArray =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | Float32Array
  | Float64Array;

/** What `codec.scanHeader` found; the fields after `complete` are there when the status is ok and the header complete. */
export interface ScannedHeader {
  readonly status: NativeStatus;
  /** False when END does not lie within the bytes given: come back with more. */
  readonly complete: boolean;
  /** 0 primary, 1 image, 2 binary table, 3 ASCII table, 4 random groups, 5 other. */
  readonly kind: number;
  readonly bitpix: number;
  /** NAXIS1 first. */
  readonly axes: number[];
  readonly pcount: number;
  readonly gcount: number;
  readonly tfields: number;
  readonly headerBytes: number;
  readonly dataBytes: number;
  readonly dataPresent: number;
  /** Eight bytes for each card: kind, flags, then begin and end of keyword, value and comment within the record. */
  readonly spans: Uint8Array;
  /** Two numbers for each card: the value, or the real and the imaginary part. */
  readonly numbers: Float64Array;
}

/** A tile-compressed image as its table's header describes it; native/codec/tile.h says what each field means. */
export interface TileImageSpec {
  /** One of TILE_CODECS. */
  readonly codec: number;
  readonly bitpix: number;
  /** ZNAXISn and ZTILEn, first axis first. */
  readonly axes: readonly number[];
  readonly tile: readonly number[];
  readonly rows: number;
  readonly rowBytes: number;
  readonly heapOffset: number;
  /** Byte offset in the row, Q instead of P, element width in bytes; absent columns are undefined. */
  readonly compressed?: TileColumn | undefined;
  readonly gzipped?: TileColumn | undefined;
  readonly uncompressed?: TileColumn | undefined;
  readonly scale?: ScalarColumn | undefined;
  readonly zero?: ScalarColumn | undefined;
  readonly blank?: ScalarColumn | undefined;
  readonly scaleKeyword?: number | undefined;
  readonly zeroKeyword?: number | undefined;
  readonly blankKeyword?: number | undefined;
  /** 0 none, 1 and 2 SUBTRACTIVE_DITHER_1 and _2. */
  readonly dither: number;
  /** ZQUANTIZ = 'NONE'. */
  readonly lossless: boolean;
  /** ZDITHER0, 1 to 10000. */
  readonly ditherSeed: number;
  readonly blockSize: number;
  readonly bytesPerPixel: number;
  /** BSCALE and BZERO of floating-point images, applied here because cfitsio does so. */
  readonly bscale: number;
  readonly bzero: number;
  /** Integers only: the unsigned convention. */
  readonly flipSign: boolean;
}
/** TileCodec of native/codec/tile.h. */
export const TILE_CODECS = { rice: 0, gzip1: 1, gzip2: 2, none: 3 } as const;

export interface TileColumn {
  readonly offset: number;
  readonly wide: boolean;
  readonly width: number;
}
export interface ScalarColumn {
  readonly offset: number;
  /** TFORM letter: B, I, J, K, E or D. */
  readonly type: string;
}

/** native/binding/codec.cc. Widths and offsets are in bytes; `out` arrays are written in place. */
export interface CodecBinding {
  scanHeader(
    bytes: Uint8Array,
    available: number,
    first: boolean,
    tolerateTruncated: boolean,
    maxCards: number,
    maxAxes: number,
    maxBytes: number,
  ): ScannedHeader;
  /** Big-endian to native; `out` may be `bytes` itself. */
  swap(bytes: AnyTypedArray, count: number, width: number, flipSign: boolean, out: AnyTypedArray): NativeStatus;
  /** Native to big-endian. */
  storeBigEndian(
    values: AnyTypedArray,
    count: number,
    width: number,
    flipSign: boolean,
    out: AnyTypedArray,
  ): NativeStatus;
  gather(
    bytes: Uint8Array,
    rows: number,
    stride: number,
    offset: number,
    repeat: number,
    width: number,
    flipSign: boolean,
    out: AnyTypedArray,
  ): NativeStatus;
  /** Native-endian elements of type `bitpix` to float32 or, when wide, float64. */
  scale(
    values: AnyTypedArray,
    count: number,
    bitpix: number,
    scale: number,
    zero: number,
    blank: bigint | undefined,
    wide: boolean,
    out: AnyTypedArray,
  ): NativeStatus;
  unpackBits(
    bytes: Uint8Array,
    rows: number,
    stride: number,
    offset: number,
    repeat: number,
    out: Uint8Array,
  ): NativeStatus;
  measureHeap(
    bytes: Uint8Array,
    rows: number,
    stride: number,
    offset: number,
    wide: boolean,
    heapOffset: number,
    elementBits: number,
    offsets: BigInt64Array,
  ): NativeStatus;
  gatherHeap(
    bytes: Uint8Array,
    rows: number,
    stride: number,
    offset: number,
    wide: boolean,
    heapOffset: number,
    elementBits: number,
    offsets: BigInt64Array,
    width: number,
    flipSign: boolean,
    out: AnyTypedArray,
  ): NativeStatus;
  /** The ones' complement sum of `state` and bytes that begin `offset` bytes into the stream. */
  checksum(state: number, bytes: Uint8Array, offset: number): number;
  checksumEncode(value: number, complement: boolean): string;
  /** Whether the bytes can hold the image that the spec describes; allocates nothing. */
  checkTiles(spec: TileImageSpec, data: Uint8Array): { status: NativeStatus; pixels: number };
  decodeTiles(spec: TileImageSpec, data: Uint8Array, out: AnyTypedArray): NativeStatus;
  decodeTilesAsync(spec: TileImageSpec, data: Uint8Array, out: AnyTypedArray): Promise<NativeStatus>;
  gzipClaim(bytes: Uint8Array): { status: NativeStatus; claimed: number };
  gunzip(bytes: Uint8Array, out: Uint8Array): { status: NativeStatus; written: number; complete: boolean };
  encodedRowBound(codec: number, rowPixels: number, width: number, blockSize: number): number;
  encodeRows(
    codec: number,
    array: AnyTypedArray,
    rows: number,
    rowPixels: number,
    width: number,
    flipSign: boolean,
    blockSize: number,
    level: number,
    scratch: Uint8Array,
    lengths: BigInt64Array,
    heap: Uint8Array,
  ): { status: NativeStatus; written: number };
}

/** The codec functions of the addon, which is loaded on the first call. */
export function loadCodec(): CodecBinding {
  const { codec } = addon() as unknown as { codec?: CodecBinding };
  if (codec === undefined)
    throw new BugError('the addon was built from other sources: it has no codec; run npm run build');
  return codec;
}

/** Turns a status that is not ok into its error. */
export function check(status: NativeStatus, context: ErrorContext): void {
  if (status.code !== 0) throw errorFromStatus(status, context);
}
