/**
 * The fit of many blocks at once: unknowns that are the same functions everywhere, with coefficients that are products of polynomials
 * of low order in two directions. Each block brings its own normal equations; nothing of the whole is larger than the unknowns.
 */
import { BugError } from '../../core/errors.js';

/** Legendre polynomials up to `degree`, times sqrt(2 j + 1), so that their squares are 1 in the mean. */
export function polynomials(u: number, degree: number): Float64Array {
  const p = new Float64Array(degree + 1);
  let value = 1;
  let before = 0;
  for (let j = 0; j <= degree; j++) {
    p[j] = Math.sqrt(2 * j + 1) * value;
    [before, value] = [value, ((2 * j + 1) * u * value - j * before) / (j + 1)];
  }
  return p;
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

/** Solves l l' v = v in place, from v[from]; unknowns without a pivot become 0. */
export function solveCholesky(l: Float64Array, n: number, v: Float64Array, from = 0): void {
  const at = (i: number, j: number) => l[i * n + j] as number;
  for (let i = 0; i < n; i++) {
    let sum = v[from + i] as number;
    for (let k = 0; k < i; k++) sum -= at(i, k) * (v[from + k] as number);
    v[from + i] = at(i, i) > 0 ? sum / at(i, i) : 0;
  }
  for (let i = n - 1; i >= 0; i--) {
    let sum = v[from + i] as number;
    for (let k = i + 1; k < n; k++) sum -= at(k, i) * (v[from + k] as number);
    v[from + i] = at(i, i) > 0 ? sum / at(i, i) : 0;
  }
}

export interface Block {
  /** [n][n] normal matrix, and [n] its right side. */
  readonly matrix: Float64Array;
  readonly right: Float64Array;
  /** Values of the polynomials of both directions in this block, all products in order. */
  readonly terms: Float64Array;
}

/**
 * Coefficients [term][n] that solve all blocks together, with `penalty` [n][n] added for each term: conjugate gradients, preconditioned
 * with the mean block (Hestenes & Stiefel 1952), which is close, as the terms are orthogonal where blocks are alike.
 */
export function solveBlocks(blocks: readonly Block[], n: number, penalty: Float64Array): Float64Array {
  const terms = blocks[0]?.terms.length ?? 0;
  if (terms === 0) throw new BugError('expected a block at least');
  const size = terms * n;
  const mean = Float64Array.from(penalty);
  for (const { matrix } of blocks) for (let i = 0; i < n * n; i++) mean[i] = (mean[i] as number) + (matrix[i] as number);
  const factor = cholesky(mean, n);
  const v = new Float64Array(n);
  const y = new Float64Array(n);
  const apply = (x: Float64Array, out: Float64Array): void => {
    out.fill(0);
    for (const block of blocks) {
      v.fill(0);
      for (let t = 0; t < terms; t++) {
        const p = block.terms[t] as number;
        for (let k = 0; k < n; k++) v[k] = (v[k] as number) + p * (x[t * n + k] as number);
      }
      for (let i = 0; i < n; i++) {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += (block.matrix[i * n + k] as number) * (v[k] as number);
        y[i] = sum;
      }
      for (let t = 0; t < terms; t++) {
        const p = block.terms[t] as number;
        for (let k = 0; k < n; k++) out[t * n + k] = (out[t * n + k] as number) + p * (y[k] as number);
      }
    }
    for (let t = 0; t < terms; t++) {
      for (let i = 0; i < n; i++) {
        let sum = out[t * n + i] as number;
        for (let k = 0; k < n; k++) sum += (penalty[i * n + k] as number) * (x[t * n + k] as number);
        out[t * n + i] = sum;
      }
    }
  };
  const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
  const residual = new Float64Array(size);
  for (const { right, terms: p } of blocks) {
    for (let t = 0; t < terms; t++) {
      for (let k = 0; k < n; k++) residual[t * n + k] = (residual[t * n + k] as number) + (p[t] as number) * (right[k] as number);
    }
  }
  const solution = new Float64Array(size);
  const precondition = (r: Float64Array): Float64Array => {
    const z = Float64Array.from(r);
    for (let t = 0; t < terms; t++) solveCholesky(factor, n, z, t * n);
    return z;
  };
  let z = precondition(residual);
  const direction = Float64Array.from(z);
  const product = new Float64Array(size);
  let power = dot(residual, z);
  const enough = 1e-16 * power;
  for (let step = 0; step < 200 && power > enough; step++) {
    apply(direction, product);
    const along = power / dot(direction, product);
    for (let i = 0; i < size; i++) {
      solution[i] = (solution[i] as number) + along * (direction[i] as number);
      residual[i] = (residual[i] as number) - along * (product[i] as number);
    }
    z = precondition(residual);
    const next = dot(residual, z);
    for (let i = 0; i < size; i++) direction[i] = (z[i] as number) + (next / power) * (direction[i] as number);
    power = next;
  }
  return solution;
}
