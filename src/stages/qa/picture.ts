/** Pictures of images: limits by zscale, an asinh stretch, PNG. */
import { deflateSync } from 'node:zlib';
import { AlgorithmError } from '../../core/errors.js';
import { runKernel } from '../../engine/index.js';

export interface Limits {
  readonly low: number;
  readonly high: number;
}

const SAMPLES = 2000;
const MIN_KEPT = 0.5;
const REJECT_SIGMA = 2.5;
const ITERATIONS = 5;

/**
 * Display limits as IRAF's zscale finds them: a straight line through the sorted sample, clipped iteratively, its slope
 * divided by the contrast. The same names and constants as IRAF 2.16's display task (contrast 0.25, 2.5 sigma, 5 rounds).
 * @param data any numeric pixels; non-finite ones do not count
 * @returns limits inside the range of the sample; low < high unless the sample is constant
 * @throws AlgorithmError when no pixel is finite
 */
export function zscale(data: ArrayLike<number>, contrast = 0.25): Limits {
  const step = Math.max(1, Math.floor(data.length / SAMPLES));
  const sample: number[] = [];
  for (let i = Math.floor(step / 2); i < data.length; i += step) {
    const value = data[i] as number;
    if (Number.isFinite(value)) sample.push(value);
  }
  if (sample.length === 0) throw new AlgorithmError('no finite pixel to choose display limits from');
  sample.sort((a, b) => a - b);
  const n = sample.length;
  const low = sample[0] as number;
  const high = sample[n - 1] as number;
  const middle = (n - 1) / 2;
  const median = ((sample[Math.floor(middle)] as number) + (sample[Math.ceil(middle)] as number)) / 2;
  let kept = sample.map((value, i) => ({ x: i - middle, value }));
  let slope = 0;
  let count = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ITERATIONS && kept.length < count && kept.length >= n * MIN_KEPT; round++) {
    count = kept.length;
    const meanX = kept.reduce((sum, p) => sum + p.x, 0) / count;
    const meanY = kept.reduce((sum, p) => sum + p.value, 0) / count;
    const xx = kept.reduce((sum, p) => sum + (p.x - meanX) ** 2, 0);
    const xy = kept.reduce((sum, p) => sum + (p.x - meanX) * (p.value - meanY), 0);
    slope = xx > 0 ? xy / xx : 0;
    const residual = (p: { x: number; value: number }) => p.value - meanY - slope * (p.x - meanX);
    const sigma = Math.sqrt(kept.reduce((sum, p) => sum + residual(p) ** 2, 0) / count);
    kept = kept.filter((p) => Math.abs(residual(p)) <= REJECT_SIGMA * sigma);
  }
  if (kept.length < n * MIN_KEPT) return { low, high };
  const steep = slope / contrast;
  return { low: Math.max(low, median - middle * steep), high: Math.min(high, median + middle * steep) };
}

const PNG_SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = (CRC_TABLE[(c ^ byte) & 0xff] as number) ^ (c >>> 8);
  return ~c >>> 0;
}

function pngChunk(type: string, data: Uint8Array): Buffer {
  const chunk = Buffer.alloc(12 + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, 'latin1');
  chunk.set(data, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return chunk;
}

/** Up to 256 colours, red, green and blue of each; level 0 may be transparent. */
export interface Palette {
  readonly colours: Uint8Array;
  readonly clearZero: boolean;
}

/**
 * Pixels as a PNG (ISO/IEC 15948): 8-bit greyscale, or indices of a palette.
 * @param grey rows from top to bottom
 */
export function encodePng(grey: Uint8Array, width: number, height: number, palette?: Palette): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, palette === undefined ? 0 : 3, 0, 0, 0], 8);
  const lines = Buffer.alloc(height * (width + 1)); // filter type 0 in front of each line
  for (let y = 0; y < height; y++) lines.set(grey.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  return Buffer.concat([
    PNG_SIGNATURE,
    pngChunk('IHDR', header),
    ...(palette === undefined ? [] : [pngChunk('PLTE', palette.colours)]),
    ...(palette?.clearZero === true ? [pngChunk('tRNS', Uint8Array.of(0))] : []),
    pngChunk('IDAT', deflateSync(lines, { level: 6 })),
    pngChunk('IEND', new Uint8Array()),
  ]);
}

/**
 * A picture of an image, row 0 at the bottom as in ds9.
 * @param image f32 [row][x], rows * cols values
 * @param limits display limits; zscale where none are given
 */
export async function drawImage(
  image: Float32Array,
  rows: number,
  cols: number,
  limits?: Limits,
): Promise<{ readonly png: Buffer; readonly limits: Limits }> {
  const used = limits ?? zscale(image);
  const grey = new Uint8Array(rows * cols);
  await runKernel(
    'stretch-asinh',
    { image: { data: image, rows, cols }, grey: { data: grey, rows, cols } },
    { low: used.low, high: used.high > used.low ? used.high : used.low + 1 },
  );
  return { png: encodePng(upward(grey, rows, cols), cols, rows), limits: used };
}

/** Rows from bottom to top become rows from top to bottom. */
function upward(levels: Uint8Array, rows: number, cols: number): Uint8Array {
  const flipped = new Uint8Array(levels.length);
  for (let y = 0; y < rows; y++) flipped.set(levels.subarray(y * cols, (y + 1) * cols), (rows - 1 - y) * cols);
  return flipped;
}

/** Levels 1 to 255 from one colour through others to the last; level 0 (missing) is transparent. */
function rampPalette(stops: readonly (readonly [number, number, number])[]): Palette {
  const colours = new Uint8Array(768);
  for (let level = 1; level < 256; level++) {
    const t = ((level - 1) / 254) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(t));
    const [from, to] = [stops[k]!, stops[k + 1]!];
    for (let c = 0; c < 3; c++) colours[3 * level + c] = Math.round(from[c]! + (t - k) * (to[c]! - from[c]!));
  }
  return { colours, clearZero: true };
}

/** Black to white. */
export const GREY_STOPS = [
  [0, 0, 0],
  [255, 255, 255],
] as const;
/** Blue through near white to red (after Moreland 2009, Diverging Color Maps for Scientific Visualization, fig. 6). */
export const DIVERGING_STOPS = [
  [59, 76, 192],
  [221, 221, 221],
  [180, 4, 38],
] as const;

export interface MapStyle {
  readonly stops: readonly (readonly [number, number, number])[];
  /** Strength of the asinh stretch; linear where it is small. */
  readonly softening: number;
}

/** Calibrations are smooth maps with few outliers: a gentler stretch than that of the sky. */
export const IMAGE_STYLE: MapStyle = { stops: GREY_STOPS, softening: 2 };
/** So small a softening that the stretch is linear. */
export const DIFFERENCE_STYLE: MapStyle = { stops: DIVERGING_STOPS, softening: 1e-3 };

/** A picture of a map for a page, row 0 at the bottom; missing pixels are transparent. */
export async function drawMap(
  image: Float32Array,
  rows: number,
  cols: number,
  { low, high }: Limits,
  { stops, softening }: MapStyle,
): Promise<Buffer> {
  const levels = new Uint8Array(rows * cols);
  await runKernel(
    'stretch-asinh',
    { image: { data: image, rows, cols }, grey: { data: levels, rows, cols } },
    { low, high: high > low ? high : low + 1, softening, floor: 1 },
  );
  return encodePng(upward(levels, rows, cols), cols, rows, rampPalette(stops));
}

/** A picture of a map of bits, row 0 at the bottom: level 0 is transparent, level n has colour n - 1. */
export function drawFlags(levels: Uint8Array, rows: number, cols: number, colours: readonly string[]): Buffer {
  const table = new Uint8Array(3 * (colours.length + 1));
  for (const [i, colour] of colours.entries()) table.set(Buffer.from(colour.slice(1), 'hex'), 3 * (i + 1));
  return encodePng(upward(levels, rows, cols), cols, rows, { colours: table, clearZero: true });
}
