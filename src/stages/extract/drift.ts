/**
 * A common zero for the traces of a night. A tweak says how an exposure lies against the flat that gave its traces; where exposures
 * took different flats, those flats differ too, by what their traces say.
 */
import type { Traces, Tweak } from '../../core/spectra.js';
import { median } from '../measure.js';

export type FlatTraces = Pick<Traces, 'fibres' | 'cols' | 'centre' | 'states'>;

/** How traces lie against others: shift, and along the rows (scale) and the columns (tilt) by Legendre polynomials of degree 1 [px]. */
export interface Drift {
  readonly shift: Term;
  readonly scale: Term;
  readonly tilt: Term;
}
interface Term {
  readonly value: number;
  readonly error: number;
}

/** Columns of a fibre that are compared: traces are smooth series of x. */
const COLUMNS = 16;
/** Fibres farther from the median, in units of their scatter, do not count: one of the flats has them wrong. */
const CLIP = 5;
/** From the median deviation to sigma. */
const TO_SIGMA = 1.4826;
/** Fewer fibres tell no error. */
const FEWEST = 5;

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const SAME: Drift = { shift: { value: 0, error: 0 }, scale: { value: 0, error: 0 }, tilt: { value: 0, error: 0 } };

/**
 * Where the traces of a flat lie, less those of another: by the fibres that both have measured, errors by their scatter.
 * @param rows of the image
 * @returns undefined where fewer than 5 fibres can be compared
 */
export function flatsApart(flat: FlatTraces, zero: FlatTraces, rows: number): Drift | undefined {
  if (flat.centre === zero.centre) return SAME;
  const { fibres, cols } = zero;
  const measured = ({ states }: FlatTraces, i: number) => states[i] === 'ok' || states[i] === 'low';
  const columns = Array.from({ length: COLUMNS }, (_, k) => Math.floor(((k + 0.5) * cols) / COLUMNS));
  const along = columns.map((x) => (2 * x) / (cols - 1) - 1);
  const u0 = mean(along);
  const squares = along.reduce((sum, u) => sum + (u - u0) ** 2, 0);
  const all: { readonly v: number; readonly shift: number; readonly tilt: number }[] = [];
  for (let fibre = 0; fibre < Math.min(fibres, flat.fibres); fibre++) {
    if (!(measured(flat, fibre) && measured(zero, fibre))) continue;
    const at = (traces: FlatTraces) => columns.map((x) => traces.centre[fibre * cols + x] as number);
    const rest = at(zero);
    const apart = at(flat).map((y, k) => y - (rest[k] as number));
    const tilt = apart.reduce((sum, y, k) => sum + ((along[k] as number) - u0) * y, 0) / squares;
    all.push({ v: (2 * mean(rest)) / (rows - 1) - 1, shift: mean(apart) - tilt * u0, tilt });
  }
  const middle = median(all.map(({ shift }) => shift));
  const scatter = TO_SIGMA * median(all.map(({ shift }) => Math.abs(shift - middle)));
  const good = all.filter(({ shift }) => Math.abs(shift - middle) <= CLIP * scatter);
  if (good.length < FEWEST) return undefined;
  const [v0, y0] = [mean(good.map(({ v }) => v)), mean(good.map(({ shift }) => shift))];
  const spread = good.reduce((sum, { v }) => sum + (v - v0) ** 2, 0);
  const scale = good.reduce((sum, { v, shift }) => sum + (v - v0) * (shift - y0), 0) / spread;
  const left = good.reduce((sum, { v, shift }) => sum + (shift - y0 - scale * (v - v0)) ** 2, 0);
  const noise = Math.sqrt(left / (good.length - 2));
  const tilt = mean(good.map((one) => one.tilt));
  const tilts = good.reduce((sum, one) => sum + (one.tilt - tilt) ** 2, 0) / (good.length - 1);
  return {
    shift: { value: y0 - scale * v0, error: noise * Math.sqrt(1 / good.length + v0 ** 2 / spread) },
    scale: { value: scale, error: noise / Math.sqrt(spread) },
    tilt: { value: tilt, error: Math.sqrt(tilts / good.length) },
  };
}

/** The drift of an exposure whose traces moved by `tweak` against a flat that lies `apart` from the zero. */
export function driftOf({ state, terms }: Tweak, apart: Drift | undefined): Drift | undefined {
  if (state !== 'ok' || apart === undefined) return undefined;
  const plus = (flat: Term, n: number, m: number): Term => {
    const own = terms.find(({ i, j }) => i === n && j === m) ?? { value: 0, error: 0 };
    return { value: own.value + flat.value, error: Math.hypot(own.error, flat.error) };
  };
  return { shift: plus(apart.shift, 0, 0), scale: plus(apart.scale, 0, 1), tilt: plus(apart.tilt, 1, 0) };
}
