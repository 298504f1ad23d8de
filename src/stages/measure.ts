/** What QA and the classifier measure on an image. Pixels are touched by kernels alone; here their sums are put together. */
import { DQ_BITS } from '../core/generated/dq.js';
import { type BoundArray, type PixelArray, runKernel } from '../engine/index.js';

/** Interquartile range of a normal distribution with sigma 1. */
const IQR_OF_SIGMA = 1.34896;

/** Bits that make a pixel bad, as one mask. */
export const BAD_BITS = DQ_BITS.filter((bit) => bit.bad).reduce((mask, bit) => mask | (2 ** bit.bit), 0);

/** Amplifiers are stripes of equal width, side by side; the border is light-insensitive on all four sides. */
export interface QaGeometry {
  readonly amplifiers: number;
  readonly border: number;
}

/** A rectangle of the detector. */
export interface Region {
  readonly row: number;
  readonly rows: number;
  readonly x: number;
  readonly cols: number;
}

/** The detector without its border; with it where hardly anything would be left (a strip of a few rows). */
export function scienceRegion(rows: number, cols: number, { border }: QaGeometry): Region {
  const keep = (n: number) => (n > 4 * border ? border : 0);
  const [row, x] = [keep(rows), keep(cols)];
  return { row, rows: rows - 2 * row, x, cols: cols - 2 * x };
}

/** The part of each amplifier inside the science region. */
export function amplifierRegions(rows: number, cols: number, geometry: QaGeometry): Region[] {
  const science = scienceRegion(rows, cols, geometry);
  const width = cols / geometry.amplifiers;
  return Array.from({ length: geometry.amplifiers }, (_, i) => {
    const from = Math.max(science.x, Math.round(i * width));
    const to = Math.min(science.x + science.cols, Math.round((i + 1) * width));
    return { row: science.row, rows: science.rows, x: from, cols: to - from };
  });
}

/** The rectangle of an image [row][x] that is `width` wide, in place. */
function part(data: PixelArray, width: number, { row, rows, x, cols }: Region): BoundArray {
  return { data: data.subarray(row * width + x) as PixelArray, rows, cols, rowStride: width };
}

export interface Level {
  /** Pixels that count. */
  readonly count: number;
  /** NaN where no pixel counts. */
  readonly median: number;
  /** (upper quartile - lower quartile) / 1.34896 */
  readonly scatter: number;
}

/** Median and robust scatter of the finite pixels of a region that have none of the bits `skip`. */
export async function levelOf(
  data: Float32Array,
  dq: Uint32Array | undefined,
  width: number,
  region: Region,
  skip: number,
): Promise<Level> {
  const quartiles = new Float64Array(4);
  await runKernel(
    'measure-quartiles',
    {
      image: part(data, width, region),
      ...(dq !== undefined && { mask: part(dq, width, region) }),
      quartiles: { data: quartiles, cols: 4 },
    },
    { skip },
  );
  const [count = 0, low = Number.NaN, median = Number.NaN, high = Number.NaN] = quartiles;
  return { count, median, scatter: (high - low) / IQR_OF_SIGMA };
}

function sumByColumn(table: Int32Array, width: number): number[] {
  const sums = Array.from({ length: width }, () => 0);
  for (const [i, n] of table.entries()) sums[i % width] = (sums[i % width] as number) + n;
  return sums;
}

/** Pixels of a region with each of the 32 bits. */
export async function countBits(dq: Uint32Array, width: number, region: Region): Promise<number[]> {
  const counts = new Int32Array(region.rows * 32);
  await runKernel(
    'count-flags',
    { mask: part(dq, width, region), counts: { data: counts, rows: region.rows, cols: 32 } },
    {},
    { strip: region.cols },
  );
  return sumByColumn(counts, 32);
}

/** Pixels of a region that have each of the 32 bits in both masks. */
export async function countCommonBits(
  a: Uint32Array,
  b: Uint32Array,
  width: number,
  region: Region,
): Promise<number[]> {
  const counts = new Int32Array(region.rows * 32);
  await runKernel(
    'count-common-flags',
    {
      a: part(a, width, region),
      b: part(b, width, region),
      counts: { data: counts, rows: region.rows, cols: 32 },
    },
    {},
    { strip: region.cols },
  );
  return sumByColumn(counts, 32);
}

export interface MapPair {
  readonly value: Float32Array;
  readonly error?: Float32Array | undefined;
  readonly dq?: Uint32Array | undefined;
}

export interface MapCounts {
  /** Pixels with a good value in both. */
  readonly compared: number;
  /** Of them, those that differ by more than the limit. */
  readonly beyond: number;
  readonly onlyA: number;
  readonly onlyB: number;
  /** Of those compared, those that are not equal. */
  readonly unequal: number;
}

/**
 * Compares a region of two maps with their errors; `difference` (b - a) and `significance` [row][x] are written there.
 * @param skip a pixel with any of these bits has no value in that map
 */
export async function compareRegion(
  a: MapPair,
  b: MapPair,
  width: number,
  region: Region,
  params: { readonly sigmas: number; readonly skip: number },
  out: { readonly difference: Float32Array; readonly significance: Float32Array },
): Promise<MapCounts> {
  const counts = new Int32Array(region.rows * 5);
  const optional = (name: string, data: PixelArray | undefined) =>
    data === undefined ? {} : { [name]: part(data, width, region) };
  await runKernel(
    'compare-maps',
    {
      a: part(a.value, width, region),
      b: part(b.value, width, region),
      ...optional('errorA', a.error),
      ...optional('errorB', b.error),
      ...optional('maskA', a.dq),
      ...optional('maskB', b.dq),
      difference: part(out.difference, width, region),
      significance: part(out.significance, width, region),
      counts: { data: counts, rows: region.rows, cols: 5 },
    },
    params,
    { strip: region.cols },
  );
  const [compared, beyond, onlyA, onlyB, unequal] = sumByColumn(counts, 5) as [number, number, number, number, number];
  return { compared, beyond, onlyA, onlyB, unequal };
}

export interface Histogram {
  readonly low: number;
  readonly high: number;
  /** 256 bins of equal width. */
  readonly counts: readonly number[];
  readonly below: number;
  readonly above: number;
  readonly missing: number;
}

/** Counts of the values of a region, flagged pixels among them. */
export async function histogramOf(
  data: Float32Array,
  width: number,
  region: Region,
  low: number,
  high: number,
): Promise<Histogram> {
  const [counts, outside] = [new Int32Array(256), new Int32Array(3)];
  await runKernel(
    'histogram',
    {
      image: part(data, width, region),
      counts: { data: counts, cols: 256 },
      outside: { data: outside, cols: 3 },
    },
    { low, high },
  );
  const [below, above, missing] = [...outside] as [number, number, number];
  return { low, high, counts: [...counts], below, above, missing };
}

/** Values that count for a mean. */
export interface Between {
  readonly low: number;
  readonly high: number;
}

/** Mean of each row of a region; NaN where nothing counts. */
export async function rowProfile(
  data: Float32Array,
  width: number,
  region: Region,
  limits: Between,
): Promise<Float64Array> {
  const mean = new Float64Array(region.rows);
  await runKernel(
    'average-cells',
    {
      image: part(data, width, region),
      mean: { data: mean, rows: region.rows },
      count: { data: new Int32Array(region.rows), rows: region.rows },
    },
    { ...limits },
    { strip: region.cols },
  );
  return mean;
}

/** Mean of each column of a region, over every `step`-th row of it: rows are the planes of its cells. */
export async function columnProfile(
  data: Float32Array,
  width: number,
  region: Region,
  limits?: Between,
  step = 1,
): Promise<Float64Array> {
  const { row, rows, x, cols } = region;
  const mean = new Float64Array(cols);
  await runKernel(
    'average-cells',
    {
      image: {
        data: data.subarray(row * width + x),
        planes: Math.ceil(rows / step),
        planeStride: width * step,
        rows: cols,
        rowStride: 1,
        cols: 1,
      },
      mean: { data: mean, rows: cols },
      count: { data: new Int32Array(cols), rows: cols },
    },
    { ...limits },
  );
  return mean;
}

/** A hot pixel is in one of the means of every fourth row, a fibre in all. */
const COMBS_OF_ROWS = 4;

/** The second smallest of four; NaN if one is. */
function secondSmallest(a: number, b: number, c: number, d: number): number {
  return Math.min(Math.max(Math.min(a, b), Math.min(c, d)), Math.max(a, b), Math.max(c, d));
}

/** Level of each column of a region of four rows or more: the second smallest of four means, each of every fourth row. */
export async function cleanColumns(data: Float32Array, width: number, region: Region): Promise<Float64Array> {
  const parts: Float64Array[] = [];
  for (let i = 0; i < COMBS_OF_ROWS; i++) {
    const part = { ...region, row: region.row + i, rows: region.rows - i };
    parts.push(await columnProfile(data, width, part, undefined, COMBS_OF_ROWS));
  }
  const [a, b, c, d] = parts as [Float64Array, Float64Array, Float64Array, Float64Array];
  return a.map((value, x) => secondSmallest(value, b[x] as number, c[x] as number, d[x] as number));
}

/**
 * Means of pieces of rows, `cols` columns each, over the whole width: [row][piece]. NaN where nothing counts.
 * @param cols must divide the width
 */
export async function rowPieces(
  data: Float32Array,
  width: number,
  { row, rows }: Pick<Region, 'row' | 'rows'>,
  cols: number,
): Promise<Float64Array> {
  const cells = (rows * width) / cols;
  const mean = new Float64Array(cells);
  await runKernel(
    'average-cells',
    {
      image: { data: data.subarray(row * width, (row + rows) * width), rows: cells, cols },
      mean: { data: mean, rows: cells },
      count: { data: new Int32Array(cells), rows: cells },
    },
    {},
    { strip: cols },
  );
  return mean;
}

export interface Cells {
  readonly rows: number;
  readonly cols: number;
  /** Pixels of a cell's side. */
  readonly size: number;
  /** Mean of each cell [row][x]; NaN where nothing counts. */
  readonly values: Float64Array;
}

/** Means of square cells. What does not fill a cell at the upper and right edges is left out. */
export async function cellsOf(
  data: Float32Array,
  width: number,
  region: Region,
  size: number,
  limits?: Between,
): Promise<Cells> {
  return { ...(await blocksOf(data, width, region, { rows: size, cols: size }, limits)), size };
}

/** Means of cells of any shape, as `cellsOf`. */
export async function blocksOf(
  data: Float32Array,
  width: number,
  region: Region,
  block: { readonly rows: number; readonly cols: number },
  limits?: Between,
): Promise<Omit<Cells, 'size'>> {
  const [rows, cols] = [Math.floor(region.rows / block.rows), Math.floor(region.cols / block.cols)];
  const values = new Float64Array(rows * cols);
  const count = new Int32Array(cols);
  for (let i = 0; i < rows; i++) {
    const first = (region.row + i * block.rows) * width + region.x;
    await runKernel(
      'average-cells',
      {
        image: {
          data: data.subarray(first),
          planes: block.rows,
          planeStride: width,
          rows: cols,
          rowStride: block.cols,
          cols: block.cols,
        },
        mean: { data: values.subarray(i * cols, (i + 1) * cols), rows: cols },
        count: { data: count, rows: cols },
      },
      { ...limits },
      { strip: block.cols },
    );
  }
  return { rows, cols, values };
}

/** The lowest bit, plus 1, of those in `select` that any pixel of a cell has; 0 where none has: u8 [row][x] of the cells. */
export async function poolFlags(
  dq: Uint32Array,
  rows: number,
  width: number,
  size: number,
  select: number,
): Promise<{ readonly rows: number; readonly cols: number; readonly colours: Uint8Array }> {
  const [down, across] = [Math.floor(rows / size), Math.floor(width / size)];
  const colours = new Uint8Array(down * across);
  for (let i = 0; i < down; i++) {
    await runKernel(
      'pool-flags',
      {
        mask: {
          data: dq.subarray(i * size * width),
          planes: size,
          planeStride: width,
          rows: across,
          rowStride: size,
          cols: size,
        },
        colour: { data: colours.subarray(i * across, (i + 1) * across), rows: across },
      },
      { select },
      { strip: size },
    );
  }
  return { rows: down, cols: across, colours };
}

/** Median of a small list; NaN of none. Values that are not finite do not count. */
export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}

/** IQR / 1.34896 of a small list. */
export function scatter(values: ArrayLike<number>): number {
  return (quantile(values, 0.75) - quantile(values, 0.25)) / IQR_OF_SIGMA;
}

/** Quantile of type 7 (Hyndman and Fan 1996) of a small list; NaN of none. */
export function quantile(values: ArrayLike<number>, p: number): number {
  // The loop takes half the time of from and filter, which counts where thousands of rows have a median each.
  const finite = new Float64Array(values.length);
  let n = 0;
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i])) finite[n++] = values[i] as number;
  if (n === 0) return Number.NaN;
  const sorted = finite.subarray(0, n).sort();
  const h = (sorted.length - 1) * p;
  const k = Math.floor(h);
  const low = sorted[k] as number;
  return low + (h - k) * ((sorted[Math.min(k + 1, sorted.length - 1)] as number) - low);
}

/** A few thousand pixels spread over an image, for limits of a plot where quartiles coincide. */
export function sampleOf(data: Float32Array, most = 4096): Float32Array {
  // An odd step does not stay in one column of an even width.
  const step = Math.max(1, Math.floor(data.length / most)) | 1;
  return Float32Array.from({ length: Math.ceil(data.length / step) }, (_, i) => data[i * step] as number);
}
