/** The truth that results are held against, in double precision. */
import { RAMP } from './rival.mjs';

/** y = x + c2 x^2 + c3 x^3 */
export function polynomial(x, c2, c3) {
  return Float64Array.from(x, (v) => v + c2 * v * v + c3 * v * v * v);
}

/** The mean without the largest and the smallest; of one or two the mean. */
function trimmedMean(d, good, n) {
  let sum = 0;
  let most = -Infinity;
  let least = Infinity;
  let count = 0;
  for (let k = 0; k < n; k++) {
    if (!good[k]) continue;
    const v = d[k];
    sum += v;
    if (v > most) most = v;
    if (v < least) least = v;
    count++;
  }
  if (count > 2) return (sum - most - least) / (count - 2);
  return count > 0 ? sum / count : 0;
}

/**
 * Jump test and fit of every pixel as the README files of the kernels estimate-rate, find-jumps and fit-ramp state them:
 * Brandt (2024) for single reads, in one forward and one backward sweep over the tri-diagonal covariance.
 * @param diffs f32 [plane][pixel], DN; NaN is missing. Not changed.
 * @param gain, variance f32 [pixel]: e-/DN, DN^2
 * @returns rate [DN/read], chi2, jumps, and the rate's standard deviation
 */
export function fitRamps(diffs, gain, variance, { planes: n, threshold } = RAMP) {
  const pixels = gain.length;
  const rates = new Float64Array(pixels);
  const errors = new Float64Array(pixels);
  const chi2s = new Float64Array(pixels);
  const jumps = new Uint16Array(pixels);
  const [d, p, zd, z1, y, h, diag] = Array.from({ length: 7 }, () => new Float64Array(n));
  const good = new Uint8Array(n);
  for (let i = 0; i < pixels; i++) {
    const g = gain[i];
    const v = variance[i];
    let count = 0;
    for (let k = 0; k < n; k++) {
      const value = diffs[k * pixels + i];
      d[k] = value;
      good[k] = Number.isNaN(value) ? 0 : 1;
      count += good[k];
    }
    if (count === 0) continue;
    let start = trimmedMean(d, good, n);
    let rate = start;
    for (let fitting = false; ; ) {
      const x = Math.max(start, 0) / (g * v);
      let p0 = 0;
      let zd0 = 0;
      let z0 = 0;
      let c = 0;
      let b = 0;
      for (let k = 0; k < n; k++) {
        zd0 = (good[k] ? d[k] - start : 0) + p0 * zd0;
        z0 = 1 + p0 * z0;
        p0 = good[k] ? 1 / (x + 2 - p0) : 0;
        zd[k] = zd0;
        z1[k] = z0;
        p[k] = p0;
        c += p0 * z0 * z0;
        b += p0 * z0 * zd0;
      }
      const change = b / c;
      rate = start + change;
      let y0 = 0;
      let h0 = 0;
      let d0 = 0;
      let best = 0;
      let worst = -1;
      let square = 0;
      for (let k = n - 1; k >= 0; k--) {
        y0 = y[k] = p[k] * (zd[k] - change * z1[k] + y0);
        h0 = h[k] = p[k] * (z1[k] + h0);
        d0 = diag[k] = p[k] + p[k] * p[k] * d0;
        if (!good[k]) continue;
        square += (d[k] - rate) * y0;
        const fall = (y0 * y0) / (d0 - (h0 * h0) / c) / v;
        if (fall > best) {
          best = fall;
          worst = k;
        }
      }
      if (fitting) {
        rates[i] = rate;
        errors[i] = Math.sqrt(v / c);
        chi2s[i] = count > 1 ? Math.max(0, square / v) : 0;
        break;
      }
      if (best > threshold && count >= 3) {
        good[worst] = 0;
        count--;
        jumps[i]++;
        start = trimmedMean(d, good, n);
      } else {
        start = rate; // one more fit, with the photon noise of this one
        fitting = true;
      }
    }
  }
  return { rates, chi2s, jumps, errors };
}

/** b of A b = u for a symmetric positive matrix A (rows of length n), by Cholesky's method; A is overwritten. */
function solve(A, u, n) {
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let s = A[i * n + j];
      for (let k = 0; k < j; k++) s -= A[i * n + k] * A[j * n + k];
      A[i * n + j] = i === j ? Math.sqrt(s) : s / A[j * n + j];
    }
  }
  const b = Float64Array.from(u);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) b[i] -= A[i * n + k] * b[k];
    b[i] /= A[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) b[i] -= A[k * n + i] * b[k];
    b[i] /= A[i * n + i];
  }
  return b;
}

/** Generalised least squares with the whole covariance matrix of the differences `at`, nothing clever. */
function denseFit(d, at, rate, g, v) {
  const n = at.length;
  const covariance = () =>
    Float64Array.from({ length: n * n }, (_, e) => {
      const apart = Math.abs(at[Math.floor(e / n)] - at[e % n]);
      return apart === 0 ? 2 * v + Math.max(rate, 0) / g : apart === 1 ? -v : 0;
    });
  const values = Float64Array.from(at, (k) => d[k]);
  const h = solve(covariance(), new Float64Array(n).fill(1), n);
  const c = h.reduce((s, w) => s + w, 0);
  const fitted = h.reduce((s, w, i) => s + w * values[i], 0) / c;
  const residual = values.map((value) => value - fitted);
  const chi2 = solve(covariance(), residual, n).reduce((s, w, i) => s + w * residual[i], 0);
  return { rate: fitted, chi2 };
}

/** As fitRamps for one pixel, by refitting without each difference in turn: slow, and without a formula to get wrong. */
export function fitDensely(d, g, v, threshold = RAMP.threshold) {
  let at = [...d.keys()].filter((k) => !Number.isNaN(d[k]));
  const estimate = () => {
    const good = new Uint8Array(d.length);
    for (const k of at) good[k] = 1;
    return trimmedMean(d, good, d.length);
  };
  let jumps = 0;
  for (;;) {
    const start = estimate();
    const all = denseFit(d, at, start, g, v);
    let best = 0;
    let worst = -1;
    for (const k of at.length >= 3 ? at : []) {
      const rest = at.filter((other) => other !== k);
      const fall = all.chi2 - denseFit(d, rest, start, g, v).chi2;
      if (fall > best) {
        best = fall;
        worst = k;
      }
    }
    if (best <= threshold) {
      const last = denseFit(d, at, all.rate, g, v);
      return { rate: last.rate, chi2: last.chi2, jumps };
    }
    at = at.filter((k) => k !== worst);
    jumps++;
  }
}
