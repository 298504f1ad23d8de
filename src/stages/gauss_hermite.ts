/** Gauss-Hermite series, as the profiles of fibres are written in. */

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
