/** Functions that are smooth over a chip, and small normal equations. */

/** P_0 to P_{count-1} at u (Bonnet's recurrence). */
export function legendre(u: number, count: number): Float64Array {
  const p = new Float64Array(Math.max(count, 2));
  p[0] = 1;
  p[1] = u;
  for (let k = 1; k < count - 1; k++) {
    p[k + 1] = ((2 * k + 1) * u * (p[k] as number) - k * (p[k - 1] as number)) / (k + 1);
  }
  return p.subarray(0, count);
}

/** Legendre polynomials up to `degree`, times sqrt(2 j + 1), so that their squares are 1 in the mean. */
export const polynomials = (u: number, degree: number): Float64Array =>
  legendre(u, degree + 1).map((value, j) => Math.sqrt(2 * j + 1) * value);

/** Cubic B-splines with knots every `step` from 0 to `length`, at z; all that reach the place. */
function splines(z: number, length: number, step: number): Float64Array {
  const count = Math.max(Math.round(length / step), 1);
  const values = new Float64Array(count + 3);
  const t = (Math.min(Math.max(z, 0), length) / length) * count;
  const i = Math.min(Math.floor(t), count - 1);
  const u = t - i;
  values[i] = (1 - u) ** 3 / 6;
  values[i + 1] = (3 * u ** 3 - 6 * u ** 2 + 4) / 6;
  values[i + 2] = (-3 * u ** 3 + 3 * u ** 2 + 3 * u + 1) / 6;
  values[i + 3] = u ** 3 / 6;
  return values;
}

/**
 * The splines that `smoothFunctions` are sums of, each 0 but at a few places: [function][place]. Sums of one are sums of the other.
 */
export function localFunctions(length: number, step: number): Float64Array[] {
  const local = Array.from({ length: length + 1 }, (_, i) => splines(i, Math.max(length, 1), step));
  return Array.from(local[0] as Float64Array, (_, j) => Float64Array.from(local, (p) => p[j] as number));
}

/**
 * Smooth functions of a whole number 0 .. length: polynomials of degree 0 to 3 first, then what cubic splines with knots every `step` have
 * beyond them. Their squares are 1 in the mean, and products of two of them 0 (Gram and Schmidt). [function][place]
 */
export function smoothFunctions(length: number, step: number): Float64Array[] {
  const places = Array.from({ length: length + 1 }, (_, i) => i);
  const u = (i: number) => (length === 0 ? 0 : (2 * i) / length - 1);
  const cubics = places.map((i) => polynomials(u(i), 3));
  const local = places.map((i) => splines(i, Math.max(length, 1), step));
  const candidates = [
    ...Array.from({ length: 4 }, (_, j) => cubics.map((p) => p[j] as number)),
    ...Array.from({ length: (local[0] as Float64Array).length }, (_, j) => local.map((p) => p[j] as number)),
  ];
  const mean = (a: Float64Array, b: Float64Array): number => {
    let sum = 0;
    for (let i = 0; i <= length; i++) sum += (a[i] as number) * (b[i] as number);
    return sum / places.length;
  };
  const functions: Float64Array[] = [];
  for (const candidate of candidates) {
    const own = Float64Array.from(candidate);
    const size = mean(own, own);
    // Twice, as once leaves rounding.
    for (const other of [...functions, ...functions]) {
      const part = mean(own, other);
      for (let i = 0; i <= length; i++) own[i] = (own[i] as number) - part * (other[i] as number);
    }
    const rest = mean(own, own);
    // What the functions before it have already is none of its own; the four cubics are in the splines.
    if (rest > 1e-4 * size) functions.push(own.map((value) => value / Math.sqrt(rest)));
  }
  return functions;
}

/** Cholesky's factor of a symmetric matrix [n][n], in its lower triangle; a pivot that is not positive becomes 0. */
export function cholesky(matrix: Float64Array, n: number): Float64Array {
  const l = Float64Array.from(matrix);
  const at = (i: number, j: number) => l[i * n + j] as number;
  for (let j = 0; j < n; j++) {
    let pivot = at(j, j);
    for (let k = 0; k < j; k++) pivot -= at(j, k) ** 2;
    // Rounding of sums of as many terms as pixels stays far below this.
    const root = pivot > 1e-12 * (matrix[j * n + j] as number) ? Math.sqrt(pivot) : 0;
    l[j * n + j] = root;
    for (let i = j + 1; i < n; i++) {
      let sum = at(i, j);
      for (let k = 0; k < j; k++) sum -= at(i, k) * at(j, k);
      l[i * n + j] = root > 0 ? sum / root : 0;
    }
  }
  return l;
}

/** Solves l l' v = v in place, from v[from]; unknowns without a pivot become 0. By rows both ways, as they lie in memory. */
export function solveCholesky(l: Float64Array, n: number, v: Float64Array, from = 0): void {
  for (let i = 0; i < n; i++) {
    const [row, pivot] = [i * n, l[i * n + i] as number];
    let sum = v[from + i] as number;
    for (let k = 0; k < i; k++) sum -= (l[row + k] as number) * (v[from + k] as number);
    v[from + i] = pivot > 0 ? sum / pivot : 0;
  }
  for (let i = n - 1; i >= 0; i--) {
    const [row, pivot] = [i * n, l[i * n + i] as number];
    const value = pivot > 0 ? (v[from + i] as number) / pivot : 0;
    v[from + i] = value;
    for (let k = 0; k < i; k++) v[from + k] = (v[from + k] as number) - (l[row + k] as number) * value;
  }
}
