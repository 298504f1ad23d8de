/** Light across the dispersion: profiles of bands of columns (by the kernel trace-find) and the peaks in them. */
import { DQ } from '../../core/generated/dq.js';
import { runKernel } from '../../engine/index.js';
import { BAD_BITS } from '../measure.js';

/** A calibrated image; all [row][x]. */
export interface FlatImage {
  readonly image: Float32Array;
  /** 0: no weight. */
  readonly ivar: Float32Array;
  readonly dq: Uint32Array;
  readonly rows: number;
  readonly cols: number;
}

/** The light of a band of columns, by row. */
export interface CollapsedRows {
  /** NaN where no pixel counts. */
  readonly profile: Float64Array;
  readonly error: Float64Array;
  /** Pixels that count, and those that are saturated. */
  readonly count: Int32Array;
  readonly full: Int32Array;
  /** Columns of the band. */
  readonly width: number;
}

export interface Peak {
  /** Row, to 0.01 px for an even profile and 0.1 px for a skew one; its error is that of the noise alone. */
  readonly y: number;
  readonly yError: number;
  /** Above the lowest level nearby, in the smoothed profile [image units]. */
  readonly height: number;
  /** Light within 3 px, above the lowest level nearby [image units x px]. */
  readonly flux: number;
  /** Height over its error. */
  readonly significance: number;
  /** Of a Gaussian [px]. */
  readonly sigma: number;
}

/** Columns on either side of the middle of a band (upstream's 100). */
const BAND_REACH = 100;
/** A peak is higher than its noise by this. */
const SIGNIFICANT = 6;
/** Bumps in the wings of profiles are lower than this part of the median peak; fibres that are broken, too. */
const FAINTEST = 0.02;
/** Sigma of the window of centroids [px]: that of the fibres. */
const WINDOW = 1;
/** Light is added up so far from the peak: half of the fibres' distance. */
const FLUX_REACH = 3;
/** Fewer columns than this part of a band say nothing of a row. */
const LEAST_PART = 0.1;

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;

/**
 * Collapses a band of columns about `column`, `reach` on either side (fewer at the image's edge).
 * @returns profile [row] in units of the image, with its error
 */
export async function collapseRows(flat: FlatImage, column: number, reach = BAND_REACH): Promise<CollapsedRows> {
  const { rows, cols } = flat;
  const first = Math.max(0, Math.round(column) - reach);
  const width = Math.min(cols, Math.round(column) + reach + 1) - first;
  const band = <T extends Float32Array | Uint32Array>(data: T) => ({
    data: data.subarray(first) as T,
    rows,
    cols: width,
    rowStride: cols,
  });
  const [profile, error] = [new Float64Array(rows), new Float64Array(rows)];
  const [count, full] = [new Int32Array(rows), new Int32Array(rows)];
  await runKernel(
    'trace-find',
    {
      image: band(flat.image),
      ivar: band(flat.ivar),
      dq: band(flat.dq),
      profile: { data: profile, rows },
      error: { data: error, rows },
      count: { data: count, rows },
      full: { data: full, rows },
    },
    { skip: BAD_BITS, saturated: DQ.SATURATED },
  );
  return { profile, error, count, full, width };
}

/** Rows of which a band says something. */
export function usableRows({ profile, count, width }: CollapsedRows): boolean[] {
  return Array.from(profile, (value, row) => Number.isFinite(value) && at(count, row) >= LEAST_PART * width);
}

/** Straight lines over rows that say nothing. */
function filled(values: Float64Array, usable: readonly boolean[]): Float64Array {
  const out = Float64Array.from(values);
  let before = -1;
  for (let row = 0; row <= out.length; row++) {
    if (row < out.length && usable[row] !== true) continue;
    const [low, high] = [before < 0 ? row : before, row < out.length ? row : before];
    for (let y = before + 1; y < row; y++) {
      const part = high > low ? (y - low) / (high - low) : 0;
      out[y] = high < 0 || low >= out.length ? 0 : at(out, low) * (1 - part) + at(out, high) * part;
    }
    before = row;
  }
  return out;
}

/** Position, its error and the width in a Gaussian window that follows the centroid. */
function centroid(light: Float64Array, error: Float64Array, start: number, floor: number) {
  let y = start;
  let [sum, second, noise] = [0, 0, 0];
  const last = light.length - 1;
  for (let step = 0; step < 12; step++) {
    let moment = 0;
    [sum, second, noise] = [0, 0, 0];
    for (let row = Math.max(0, Math.ceil(y - 4)); row <= Math.min(last, Math.floor(y + 4)); row++) {
      const d = row - y;
      const weight = Math.exp(-0.5 * (d / WINDOW) ** 2);
      const value = weight * (at(light, row) - floor);
      sum += value;
      moment += value * d;
      second += value * d * d;
      noise += (weight * d * at(error, row)) ** 2;
    }
    if (!(sum > 0)) break;
    // Twice: the window pulls back half of the way for a peak as wide as itself.
    y += (2 * moment) / sum;
    if (Math.abs(y - start) > 1.5) break;
  }
  const variance = second / sum;
  // The window multiplies the profile: 1/variance = 1/sigma^2 + 1/WINDOW^2
  const sigma =
    variance > 0 && variance < WINDOW ** 2 ? 1 / Math.sqrt(1 / variance - 1 / WINDOW ** 2) : Number.POSITIVE_INFINITY;
  return { y, yError: (2 * Math.sqrt(noise)) / sum, sigma };
}

/**
 * Peaks of a profile, ascending. Smoothed by (1 2 1) / 4 a peak is higher than its neighbours, than SIGNIFICANT errors above the
 * lowest level within a fibre's distance, and than FAINTEST of the median peak.
 * @param spacing usual distance of neighbours [px]
 */
export function findPeaks(collapsed: CollapsedRows, spacing: number): Peak[] {
  const usable = usableRows(collapsed);
  const light = filled(collapsed.profile, usable);
  const error = filled(collapsed.error, usable);
  const rows = light.length;
  const near = (row: number) => at(light, Math.min(Math.max(row, 0), rows - 1));
  const smooth = Float64Array.from(light, (value, row) => (near(row - 1) + 2 * value + near(row + 1)) / 4);
  const reach = Math.round(spacing);
  const found: Peak[] = [];
  for (let row = 1; row < rows - 1; row++) {
    if (usable[row] !== true || !(at(smooth, row) > at(smooth, row - 1) && at(smooth, row) >= at(smooth, row + 1)))
      continue;
    let floor = Number.POSITIVE_INFINITY;
    for (let y = Math.max(0, row - reach); y <= Math.min(rows - 1, row + reach); y++)
      floor = Math.min(floor, at(smooth, y));
    const height = at(smooth, row) - floor;
    // sqrt(1 + 4 + 1) / 4: error of the smoothed value; an error of 0 is that of an image without noise
    const significance = height / (0.612 * at(error, row) || Number.MIN_VALUE);
    if (!(significance > SIGNIFICANT)) continue;
    let flux = 0;
    for (let y = Math.max(0, row - FLUX_REACH); y <= Math.min(rows - 1, row + FLUX_REACH); y++)
      flux += at(light, y) - floor;
    found.push({ ...centroid(light, error, row, floor), flux, significance, height });
  }
  const heights = found.map(({ height }) => height).sort((a, b) => a - b);
  // Of noise there are many faint peaks and of 300 fibres few are faint: the upper quartile is that of fibres either way.
  const usual = heights[Math.floor(0.75 * heights.length)] ?? 0;
  return found.filter(({ height, y }) => height > FAINTEST * usual && Number.isFinite(y));
}
