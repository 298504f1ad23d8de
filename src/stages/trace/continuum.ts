/** Whether the light of a flat is what traces are found on: a continuum along x, the same in all fibres. */
import { InputError } from '../../core/errors.js';
import { cleanColumns, median, quantile } from '../measure.js';
import type { Identification } from './identify.js';
import type { FlatImage } from './peaks.js';

/** Lines lie at other columns in other fibres: windows of so few rows keep them apart. */
const WINDOW_ROWS = 64;
/** Spread over the chip. */
const WINDOWS = 8;
/** A part of the columns, ten of a chip: two lines of a lamp, and more than there are hot columns. */
const BRIGHTEST = 0.005;
/** Quantiles of noise [sigma]: that of the brightest columns, and 0.16. */
const BRIGHTEST_OF_NOISE = 2.58;
/** Lines stand out of their noise by more. */
const SIGNIFICANT = 5;
/** A column with less of the brightest ones' light has none. Lamps change by less than a third over a chip. */
const LIT = 0.2;
/** Of a lamp with a comb of lines a fifth of the columns are lit, of a continuum all but bad ones. */
const LEAST_LIT = 0.5;
/** Lower over upper quartile of the fibres' light: throughputs differ by some 10 %, stars of a plate by a factor of 30. */
const LEAST_EVEN = 0.35;
/** Fewer fibres do not tell whether they are even. */
const LEAST_FIBRES = 12;

/** Part of the columns that have light; 1 where no column stands out of the others. */
function litPart(levels: Float64Array): number {
  const usual = median(levels);
  const noise = usual - quantile(levels, 0.16);
  const bright = quantile(levels, 1 - BRIGHTEST) - BRIGHTEST_OF_NOISE * noise;
  if (!(bright - usual > SIGNIFICANT * noise)) return 1;
  const known = levels.filter(Number.isFinite);
  return known.filter((level) => level > LIT * bright).length / known.length;
}

/**
 * Part of the columns of an image that have light.
 * @returns 0 to 1, the median over windows of rows; 1 for an image without light, which has no lines
 */
export async function litColumns({ image, rows, cols }: FlatImage): Promise<number> {
  const height = Math.min(WINDOW_ROWS, rows);
  const count = Math.min(WINDOWS, Math.floor(rows / height));
  const parts: number[] = [];
  for (let i = 0; i < count; i++) {
    const row = Math.floor(((rows - height) * (i + 0.5)) / count);
    parts.push(litPart(await cleanColumns(image, cols, { row, rows: height, x: 0, cols })));
  }
  return median(parts);
}

/** @throws InputError where light is in lines: of an arc lamp, a Fabry-Perot or the night sky */
export async function refuseLines(flat: FlatImage, where: { readonly file: string; readonly hdu: number }) {
  const lit = await litColumns(flat);
  if (lit >= LEAST_LIT) return;
  throw new InputError(
    `expected the continuum of a flat, received light in ${(100 * lit).toFixed(0)} % of the columns: lines, as an arc lamp or the sky has`,
    where,
  );
}

/** @throws InputError where fibres are as different as stars are */
export function refuseUneven({ fibres }: Identification, where: { readonly file: string; readonly hdu: number }): void {
  const light = fibres.filter(({ measured }) => measured).map(({ flux }) => flux);
  if (light.length < LEAST_FIBRES) return;
  const even = quantile(light, 0.25) / quantile(light, 0.75);
  if (even >= LEAST_EVEN) return;
  throw new InputError(
    `expected fibres that all see the same, as of a flat; the lower quartile of their light is ${even.toFixed(2)} of the upper one, expected ${LEAST_EVEN} at least`,
    where,
  );
}
