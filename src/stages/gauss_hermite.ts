/** Gauss-Hermite series, as the profiles of fibres are written in. */
import { PROFILE_PER_PIXEL, PROFILE_REACH, type Profile } from '../core/spectra.js';
import { cholesky, solveCholesky } from './smooth_fit.js';

/** The error function, to 1e-12: its Maclaurin series below 3, the continued fraction of Laplace (1805) for 1 - erf above. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
      if (term === 0) break;
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = a;
  for (let n = 60; n > 0; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / fraction / Math.sqrt(Math.PI));
}

/**
 * Cumulative functions of a Gauss-Hermite series at z for sigma 1: [0] the normal distribution, [j] -He_{j-1}(z) phi(z) with He the
 * probabilists' Hermite polynomials (ApogeeReduction.jl's trace profiles).
 */
export function hermiteFunctions(z: number, orders: number): Float64Array {
  const density = Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);
  const values = new Float64Array(orders);
  values[0] = 0.5 + 0.5 * erf(z / Math.SQRT2);
  let before = 0;
  let hermite = 1;
  for (let j = 1; j < orders; j++) {
    values[j] = -hermite * density;
    [before, hermite] = [hermite, z * hermite - (j - 1) * before];
  }
  return values;
}

/** Terms of a series, as the observatory's own traces have them. */
export const HERMITE_TERMS = 7;
/** Light is fitted within this of the centre [px]: farther out a profile has wings, which no such series has. */
const FITTED = 5;
/** In parts of 0.2 px. */
const SAMPLES_OF_PART = PROFILE_PER_PIXEL / 5;
const PARTS = (2 * FITTED * PROFILE_PER_PIXEL) / SAMPLES_OF_PART;
const FIRST_SAMPLE = (PROFILE_REACH - FITTED) * PROFILE_PER_PIXEL;
/** Of sigma [px]; a profile beyond is none that a fibre has. */
const SIGMAS = [0.3, 4] as const;
/** Each leaves a tenth and less of what was left. */
const SIGMA_ROUNDS = 8;

/** Profiles as Gauss-Hermite series: density sum of c_j He_j(t) phi(t) / sigma, t = y / sigma. */
export interface HermiteSeries {
  /** [px] at width 1; that for which the mean profile of the chip has no second term. */
  readonly sigma: number;
  /** [term][fibre * nodes + node] */
  readonly coefficients: readonly Float32Array[];
  /** [fibre * nodes + node] largest difference to the profile's cumulative light, within 5 px. */
  readonly residual: Float32Array;
}

/** What the functions of a sigma have in each part, and what takes the nearest series from the parts of a profile: both [part][term]. */
function hermiteFit(sigma: number): { readonly functions: Float64Array; readonly solution: Float64Array } {
  const n = HERMITE_TERMS;
  const functions = new Float64Array(PARTS * n);
  let before = hermiteFunctions(-FITTED / sigma, n);
  for (let i = 0; i < PARTS; i++) {
    const edge = hermiteFunctions((((i + 1) * SAMPLES_OF_PART) / PROFILE_PER_PIXEL - FITTED) / sigma, n);
    for (let j = 0; j < n; j++) functions[i * n + j] = (edge[j] as number) - (before[j] as number);
    before = edge;
  }
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < PARTS; i++) {
    for (let j = 0; j < n * n; j++) {
      const product = (functions[i * n + Math.floor(j / n)] as number) * (functions[i * n + (j % n)] as number);
      matrix[j] = (matrix[j] as number) + product;
    }
  }
  const factor = cholesky(matrix, n);
  const solution = functions.slice();
  for (let i = 0; i < PARTS; i++) solveCholesky(factor, n, solution, i * n);
  return { functions, solution };
}

/** The series nearest to each profile (least squares of the light in parts of 0.2 px). */
export function hermiteSeries({ fibres, nodes, samples, cumulative }: Profile): HermiteSeries {
  const [n, places] = [HERMITE_TERMS, fibres * nodes];
  const light = new Float64Array(places * PARTS);
  const mean = new Float64Array(PARTS);
  for (let place = 0, k = 0; place < places; place++) {
    let from = place * samples + FIRST_SAMPLE;
    for (let i = 0; i < PARTS; i++, k++, from += SAMPLES_OF_PART) {
      light[k] = (cumulative[from + SAMPLES_OF_PART] as number) - (cumulative[from] as number);
      mean[i] = (mean[i] as number) + (light[k] as number) / places;
    }
  }
  const series = new Float64Array(n);
  const solve = (solution: Float64Array, parts: Float64Array, first: number): void => {
    series.fill(0);
    for (let i = 0; i < PARTS; i++) {
      const part = parts[first + i] as number;
      for (let j = 0; j < n; j++) series[j] = (series[j] as number) + part * (solution[i * n + j] as number);
    }
  };
  let sigma = 1;
  for (let round = 0; round < SIGMA_ROUNDS; round++) {
    solve(hermiteFit(sigma).solution, mean, 0);
    // The variance of such a series is sigma^2 (1 + 2 c2 / c0).
    const change = 1 + (2 * (series[2] as number)) / (series[0] as number);
    const factor = Number.isFinite(change) ? Math.sqrt(Math.max(0.25, Math.min(4, change))) : 1;
    sigma = Math.max(SIGMAS[0], Math.min(SIGMAS[1], sigma * factor));
  }
  const { functions, solution } = hermiteFit(sigma);
  const coefficients = Array.from({ length: n }, () => new Float32Array(places));
  const residual = new Float32Array(places);
  for (let place = 0; place < places; place++) {
    solve(solution, light, place * PARTS);
    for (let j = 0; j < n; j++) (coefficients[j] as Float32Array)[place] = series[j] as number;
    let [sum, largest] = [0, 0];
    for (let i = 0; i < PARTS; i++) {
      let model = 0;
      for (let j = 0; j < n; j++) model += (functions[i * n + j] as number) * (series[j] as number);
      sum += (light[place * PARTS + i] as number) - model;
      largest = Math.max(largest, Math.abs(sum));
    }
    residual[place] = largest;
  }
  return { sigma, coefficients, residual };
}
