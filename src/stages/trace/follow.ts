/** Follows the fibres from the column where they were identified to both ends of the chip. */

import { legendre } from '../smooth_fit.js';
import { fitTerms } from './match.js';
import { collapseRows, type FlatImage, findPeaks } from './peaks.js';
import { CENTRE_TERMS, fitSeries, placeOf } from './series.js';

/** Distance of bands of columns [px]: traces move by 1.1 rows between them, a sixth of the fibres' distance. */
const BAND_STEP = 128;
/** Columns on either side of a band's middle. */
const BAND_REACH = 8;
/** A peak this near to where a fibre is expected is its own [spacings]. */
const TAKEN = 0.35;
/** Fibres that must be seen again in a band: else nothing is learned there. */
const LEAST_PART = 0.3;
const LEAST_FIBRES = 3;
/** Fibres do not agree better than this [px]; those that are farther off count less. */
const STABLE = 0.1;
/** Terms along x of how all fibres move: enough to begin with. */
const ORDER = 4;

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;

/** How the rows of all fibres lie in a band, against the first one: a + b v + c v^2, v from -1 to 1 over the rows. */
type Move = readonly [number, number, number];

const moved = (move: Move, v: number): number => move[0] + v * (move[1] + v * move[2]);

/** Weighted by absolute deviations, so that a wrong peak moves nothing. */
function fitMove(v: readonly number[], offsets: readonly number[], start: Move): Move {
  const span = Math.max(...v) - Math.min(...v);
  const order = v.length >= 30 && span > 0.5 ? 3 : v.length >= 8 && span > 0.2 ? 2 : 1;
  let move = start;
  for (let round = 0; round < 5; round++) {
    const now = move;
    const weights = v.map((u, i) => 1 / Math.max(STABLE, Math.abs(at(offsets, i) - moved(now, u))));
    move = fitTerms(v, offsets, weights, order);
  }
  return move;
}

/**
 * Follows the fibres.
 * @param y rows of all fibres at `column`; those that are not `measured` help nothing and are taken along
 * @returns Legendre terms of each fibre's row along x, [fibre][CENTRE_TERMS]: to about 0.1 px
 */
export async function followFibres(
  flat: FlatImage,
  y: Float64Array,
  measured: readonly boolean[],
  column: number,
  spacing: number,
): Promise<Float64Array> {
  const { rows, cols } = flat;
  const [middle, half] = [(rows - 1) / 2, rows / 2];
  const v = Array.from(y, (row) => (row - middle) / half);
  const moves: { readonly x: number; readonly move: Move }[] = [{ x: column, move: [0, 0, 0] }];
  for (const side of [-1, 1]) {
    let [before, here]: [Move, Move] = [
      [0, 0, 0],
      [0, 0, 0],
    ];
    for (let x = column + side * BAND_STEP; x >= BAND_REACH && x < cols - BAND_REACH; x += side * BAND_STEP) {
      const expected = here.map((term, i) => 2 * term - at(before, i)) as unknown as Move;
      const peaks = findPeaks(await collapseRows(flat, x, BAND_REACH), spacing);
      const found: { v: number; offset: number }[] = [];
      let whole = 0;
      y.forEach((row, i) => {
        const wanted = row + moved(expected, at(v, i));
        if (measured[i] !== true || wanted < 0 || wanted > rows - 1) return;
        whole++;
        const near = peaks.reduce(
          (best, { y: peak }) => (Math.abs(peak - wanted) < Math.abs(best - wanted) ? peak : best),
          -1e9,
        );
        if (Math.abs(near - wanted) <= TAKEN * spacing) found.push({ v: at(v, i), offset: near - row });
      });
      const enough = found.length >= Math.max(LEAST_FIBRES, LEAST_PART * whole);
      const move = enough
        ? fitMove(
            found.map((one) => one.v),
            found.map((one) => one.offset),
            expected,
          )
        : expected;
      if (enough) moves.push({ x, move });
      [before, here] = [here, move];
    }
  }
  const places = moves.map(({ x }) => placeOf(x, cols));
  const order = Math.min(ORDER, moves.length);
  const series = [0, 1, 2].map((k) =>
    fitSeries(
      places,
      moves.map(({ move }) => at(move, k)),
      order,
    ),
  );
  const terms = new Float64Array(y.length * CENTRE_TERMS);
  const origin = legendre(placeOf(column, cols), order);
  y.forEach((row, i) => {
    let there = 0;
    for (let k = 0; k < order; k++) {
      const term = moved(series.map((one) => at(one, k)) as unknown as Move, at(v, i));
      terms[i * CENTRE_TERMS + k] = term;
      there += term * at(origin, k);
    }
    terms[i * CENTRE_TERMS] = at(terms, i * CENTRE_TERMS) + row - there;
  });
  return terms;
}
