/** Flux, centre and width of each fibre as Legendre series along x: how the kernels smooth-traces and draw-traces have them. */
import { runKernel } from '../../engine/index.js';
import { legendre } from '../smooth_fit.js';

/** Most terms of each series. */
export const FLUX_TERMS = 12;
export const CENTRE_TERMS = 10;
export const WIDTH_TERMS = 6;
/** 28: a fibre's terms, of the flux first, then of the centre, then of the width. */
export const TERMS = FLUX_TERMS + CENTRE_TERMS + WIDTH_TERMS;
export const CENTRE_FROM = FLUX_TERMS;
export const WIDTH_FROM = FLUX_TERMS + CENTRE_TERMS;
/** 406: entries of the lower triangle of their covariance. */
export const ENTRIES = (TERMS * (TERMS + 1)) / 2;

/** u of a column: -1 the first, 1 the last. */
export const placeOf = (x: number, cols: number): number => (cols > 1 ? (2 * x) / (cols - 1) - 1 : 0);

/** The value of `count` terms from `from` on, at a place whose polynomials are `p`. */
export function seriesAt(terms: Float64Array, from: number, count: number, p: Float64Array): number {
  let sum = 0;
  for (let k = 0; k < count; k++) sum += (terms[from + k] as number) * (p[k] as number);
  return sum;
}

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;

/** Least squares of a Legendre series through values at places u. */
export function fitSeries(u: readonly number[], values: readonly number[], order: number): Float64Array {
  const rows = Array.from({ length: order }, () => new Float64Array(order + 1));
  u.forEach((place, i) => {
    const p = legendre(place, order);
    rows.forEach((row, a) => {
      for (let b = 0; b < order; b++) row[b] = at(row, b) + at(p, a) * at(p, b);
      row[order] = at(row, order) + at(p, a) * at(values, i);
    });
  });
  rows.forEach((pivot, a) => {
    for (const row of rows) {
      if (row === pivot) continue;
      const factor = at(row, a) / at(pivot, a);
      for (let b = a; b <= order; b++) row[b] = at(row, b) - factor * at(pivot, b);
    }
  });
  return Float64Array.from(rows, (row, a) => at(row, order) / at(row, a));
}

/** Traces in every column, [fibre][x]. */
export interface Drawn {
  readonly flux: Float32Array;
  readonly centre: Float32Array;
  readonly width: Float32Array;
}

/** Memory for traces of a chip. */
export function newTraces(fibres: number, cols: number): Drawn {
  const map = () => new Float32Array(fibres * cols);
  return { flux: map(), centre: map(), width: map() };
}

/**
 * Evaluates series in every column, into `to`.
 * @param terms f64 [fibre][28]
 * @param covariance f64 [fibre][406]; with it `errors` f32 [6][fibre][x] is written
 */
export async function drawTraces(
  terms: Float64Array,
  cols: number,
  to: Drawn,
  threads = 1,
  covariance?: { readonly of: Float64Array; readonly errors: Float32Array },
): Promise<void> {
  const rows = terms.length / TERMS;
  const map = (data: Float32Array) => ({ data, rows, cols });
  await runKernel(
    'draw-traces',
    {
      terms: { data: terms, rows, cols: TERMS },
      flux: map(to.flux),
      centre: map(to.centre),
      width: map(to.width),
      ...(covariance !== undefined && {
        covariance: { data: covariance.of, rows, cols: ENTRIES },
        errors: { data: covariance.errors, planes: 6, rows, cols },
      }),
    },
    { columns: cols },
    { threads, strip: cols },
  );
}
