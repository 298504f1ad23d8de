/** Robust level and width of an image. */
import { runKernel } from '../../engine/index.js';

/** Interquartile range of a normal distribution with sigma 1. */
const IQR_OF_SIGMA = 1.34896;

export interface Level {
  /** Pixels that count. */
  readonly count: number;
  /** NaN where no pixel counts. */
  readonly median: number;
  /** (upper quartile - lower quartile) / 1.34896 */
  readonly sigma: number;
}

/**
 * Median and scatter of the pixels of an image that are finite and have none of the bits `skip`.
 * @param image f32 [row][x], any unit
 * @param mask u32 [row][x]
 */
export async function levelOf(
  image: Float32Array,
  mask: Uint32Array,
  rows: number,
  cols: number,
  skip: number,
  threads = 1,
): Promise<Level> {
  const quartiles = new Float64Array(4);
  await runKernel(
    'measure-quartiles',
    { image: { data: image, rows, cols }, mask: { data: mask, rows, cols }, quartiles: { data: quartiles, cols: 4 } },
    { skip },
    { threads },
  );
  const [count = 0, low = Number.NaN, median = Number.NaN, high = Number.NaN] = quartiles;
  return { count, median, sigma: (high - low) / IQR_OF_SIGMA };
}

/** Pixels with each bit of a mask: 32 numbers. */
export async function countBits(mask: Uint32Array, rows: number, cols: number): Promise<Float64Array> {
  const counts = new Int32Array(rows * 32);
  await runKernel(
    'count-flags',
    { mask: { data: mask, rows, cols }, counts: { data: counts, rows, cols: 32 } },
    {},
    { strip: cols },
  );
  const sums = new Float64Array(32);
  for (const [i, n] of counts.entries()) sums[i % 32] = (sums[i % 32] as number) + n;
  return sums;
}

/** Marks the light-insensitive border, `border` pixels wide, in an empty mask [row][x]. */
export function markBorder(dq: Uint32Array, rows: number, cols: number, border: number, bit: number): void {
  for (let y = 0; y < rows; y++) {
    const row = dq.subarray(y * cols, (y + 1) * cols);
    if (y < border || y >= rows - border) row.fill(bit);
    row.fill(bit, 0, border).fill(bit, cols - border);
  }
}
