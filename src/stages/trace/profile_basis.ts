/** Functions that a profile is a sum of: cumulative, from 0 to 1, on the samples of a profile's table. */
import { PROFILE_PER_PIXEL, PROFILE_REACH, PROFILE_SAMPLES } from '../../core/spectra.js';
import { hermiteFunctions } from '../gauss_hermite.js';

/** Functions that kernel gather-profile takes, at most. */
export const COMPONENTS = 46;
/** Values from one sample to the next: whole registers. */
export const COMPONENTS_STRIDE = 48;

export interface Basis {
  readonly count: number;
  /** f32 [sample][COMPONENTS_STRIDE]; functions beyond `count` are 0. */
  readonly table: Float32Array;
  /** f32 [COMPONENTS][sample] the same. */
  readonly byFunction: Float32Array;
  /** Whether the functions are cumulative light by themselves, so that none may have a negative part in a profile. */
  readonly positive: boolean;
  /** Distances of the functions' middles from the centre [px]. */
  readonly middle: readonly number[];
}

/**
 * Knots above the centre [px]. 0.4 px resolve a profile of sigma 0.8 px to 1e-4 (the error of a cubic spline is h^4 f'''' / 384). Wings have
 * few, as those of gratings and dust are smooth: fibres are 6.6 px apart, and a wing that could have a bump there would take the
 * neighbours' light, which shows only beside gaps. Multiples of the table's step, so that sums over steps are exact.
 */
const KNOTS = [0, 0.4, 0.8, 1.2, 1.6, 2, 2.4, 2.8, 3.2, 3.6, 4, 4.6, 6.6, 12];

/**
 * What lies farther from the centre [px] is wings, and symmetric. Where fibres are packed as densely as here, light moved from one wing of all
 * of them to the other changes nothing but beside gaps: left free it takes up noise and, through the fluxes, feeds on itself.
 */
export const WING_FROM = 4.5;

/** The functions of a table, one after the other. */
const transposed = (table: Float32Array): Float32Array =>
  Float32Array.from(
    { length: COMPONENTS * PROFILE_SAMPLES },
    (_, i) => table[(i % PROFILE_SAMPLES) * COMPONENTS_STRIDE + Math.floor(i / PROFILE_SAMPLES)] as number,
  );

/** Cubic B-spline over five knots, by the recurrence of Cox (1972) and de Boor (1972). */
function spline(knots: readonly number[], k: number, degree: number, z: number): number {
  const at = (i: number) => knots[i] as number;
  if (degree === 0) return z >= at(k) && z < at(k + 1) ? 1 : 0;
  const [left, right] = [at(k + degree) - at(k), at(k + degree + 1) - at(k + 1)];
  const rising = left > 0 ? ((z - at(k)) / left) * spline(knots, k, degree - 1, z) : 0;
  const falling = right > 0 ? ((at(k + degree + 1) - z) / right) * spline(knots, k + 1, degree - 1, z) : 0;
  return rising + falling;
}

/** Densities that are cubic B-splines: what an empirical profile is a sum of. */
function splineBasis(): Basis {
  const inner = [
    ...KNOTS.slice(1)
      .map((z) => -z)
      .reverse(),
    ...KNOTS,
  ];
  // The outermost functions fall to 0 at the ends, with the slope that they like.
  const knots = [-PROFILE_REACH, -PROFILE_REACH, ...inner, PROFILE_REACH, PROFILE_REACH];
  const count = knots.length - 4;
  const table = new Float32Array(PROFILE_SAMPLES * COMPONENTS_STRIDE);
  const middle: number[] = [];
  // Two points of Gauss integrate a cubic exactly.
  const gauss = 0.5 / Math.sqrt(3);
  for (let k = 0; k < count; k++) {
    const sums = new Float64Array(PROFILE_SAMPLES);
    for (let s = 1; s < PROFILE_SAMPLES; s++) {
      const z = (s - 0.5) / PROFILE_PER_PIXEL - PROFILE_REACH;
      const step =
        spline(knots, k, 3, z - gauss / PROFILE_PER_PIXEL) + spline(knots, k, 3, z + gauss / PROFILE_PER_PIXEL);
      sums[s] = (sums[s - 1] as number) + step;
    }
    const total = sums[PROFILE_SAMPLES - 1] as number;
    for (let s = 0; s < PROFILE_SAMPLES; s++) table[s * COMPONENTS_STRIDE + k] = (sums[s] as number) / total;
    middle.push(knots.slice(k + 1, k + 4).reduce((sum, z) => sum + z / 3, 0));
  }
  const isWing = (k: number) => Math.abs(middle[k] as number) > WING_FROM;
  const kept = [...middle.keys()].filter((k) => !isWing(k) || (middle[k] as number) < 0);
  const folded = new Float32Array(table.length);
  for (let s = 0; s < PROFILE_SAMPLES; s++) {
    const at = (k: number) => table[s * COMPONENTS_STRIDE + k] as number;
    for (const [i, k] of kept.entries()) {
      // The knots are symmetric, so the function across from k is the k-th from the end.
      folded[s * COMPONENTS_STRIDE + i] = isWing(k) ? 0.5 * (at(k) + at(count - 1 - k)) : at(k);
    }
  }
  return {
    count: kept.length,
    table: folded,
    byFunction: transposed(folded),
    positive: true,
    middle: kept.map((k) => middle[k] as number),
  };
}

/** Gauss-Hermite functions of sigma 1: (0) the Gaussian, (j) -He_{j-1}(z) phi(z), as ApogeeReduction.jl integrates them. */
function hermiteBasis(orders: number): Basis {
  const table = new Float32Array(PROFILE_SAMPLES * COMPONENTS_STRIDE);
  for (let s = 0; s < PROFILE_SAMPLES; s++) {
    table.set(hermiteFunctions(s / PROFILE_PER_PIXEL - PROFILE_REACH, orders), s * COMPONENTS_STRIDE);
  }
  for (let k = 0; k < orders; k++) {
    table[k] = 0;
    table[(PROFILE_SAMPLES - 1) * COMPONENTS_STRIDE + k] = k === 0 ? 1 : 0;
  }
  return {
    count: orders,
    table,
    byFunction: transposed(table),
    positive: false,
    middle: Array.from({ length: orders }, () => 0),
  };
}

/** Orders of the Gauss-Hermite series, as the observatory's own. */
export const HERMITE_ORDERS = 7;

const made = new Map<string, Basis>();

/** The functions of a kind of profile; made once. */
export function basisOf(kind: 'empirical' | 'gauss-hermite'): Basis {
  const basis = made.get(kind) ?? (kind === 'empirical' ? splineBasis() : hermiteBasis(HERMITE_ORDERS));
  made.set(kind, basis);
  return basis;
}
