/**
 * The fit of many blocks at once: unknowns that are the same functions everywhere, with coefficients that are products of polynomials
 * of low order in two directions. Each block brings its own normal equations; nothing of the whole is larger than the unknowns.
 */
import { BugError } from '../core/errors.js';
import { runKernel } from '../engine/index.js';

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
  const mean = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
    places.reduce((sum, i) => sum + (a[i] as number) * (b[i] as number), 0) / places.length;
  const functions: Float64Array[] = [];
  for (const candidate of candidates) {
    const own = Float64Array.from(candidate);
    const size = mean(own, own);
    // Twice, as once leaves rounding.
    for (const other of [...functions, ...functions]) {
      const part = mean(own, other);
      for (const i of places) own[i] = (own[i] as number) - part * (other[i] as number);
    }
    const rest = mean(own, own);
    // What the functions before it have already is none of its own; the four cubics are in the splines.
    if (rest > 1e-4 * size) functions.push(own.map((value) => value / Math.sqrt(rest)));
  }
  return functions;
}

/** A solution is there after a few tens. */
const MOST_ROUNDS = 200;

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

/** Normal equations of a block, whose unknowns are the same everywhere but for smooth factors. */
export interface Block {
  /** Values of the terms, here. */
  readonly across: Float64Array;
  /** [size][size] normal matrix, a part of `matrices`, and [size] its right side. */
  readonly matrix: Float32Array;
  readonly right: Float64Array;
}

/** Adds `scale` times v[from ...] to y[to ...], `count` values. */
function addScaled(
  scale: number,
  v: Float32Array | Float64Array,
  from: number,
  y: Float64Array,
  to: number,
  count: number,
): void {
  for (let k = 0; k < count; k++) y[to + k] = (y[to + k] as number) + scale * (v[from + k] as number);
}

/** Writes the sum of `count` vectors of `size`, each times its scale, to y[to ...]; four at a time, as y is what waits. */
function mix(
  scales: (i: number) => number,
  v: Float64Array,
  count: number,
  size: number,
  y: Float64Array,
  to: number,
): void {
  y.fill(0, to, to + size);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const [a, b, c, d] = [scales(i), scales(i + 1), scales(i + 2), scales(i + 3)];
    const [second, third, fourth] = [size, 2 * size, 3 * size];
    for (let k = 0, from = i * size; k < size; k++, from++) {
      y[to + k] =
        (y[to + k] as number) +
        (a * (v[from] as number) + b * (v[from + second] as number)) +
        (c * (v[from + third] as number) + d * (v[from + fourth] as number));
    }
  }
  for (; i < count; i++) addScaled(scales(i), v, i * size, y, to, size);
}

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
};

/**
 * Coefficients [term][size] that solve all blocks together (`matrices` has theirs, [block][size][size]), with `penalty` [size] added to the diagonal for each term; unknown i of a
 * term in which it is not `allowed` is 0. Conjugate gradients, preconditioned with the mean block (Hestenes & Stiefel 1952), which
 * is close, as the terms are orthogonal where blocks are alike. `explained` is by how much chi2 falls; `variance` that of a sum v of the
 * unknowns in a term, by the mean block.
 */
export async function solveBlocks(
  blocks: readonly Block[],
  matrices: Float32Array,
  penalty: Float64Array,
  allowed: (term: number, i: number) => boolean,
): Promise<{
  readonly coefficients: Float64Array;
  readonly explained: number;
  readonly variance: (term: number, v: Float64Array) => number;
}> {
  const [across, size] = [blocks[0]?.across.length ?? 0, penalty.length];
  if (across === 0 || size === 0) throw new BugError('expected a block at least');
  const all = across * size;
  const mean = new Float64Array(size * size);
  for (const { matrix } of blocks) addScaled(1, matrix, 0, mean, 0, size * size);
  for (let i = 0; i < size; i++) mean[i * size + i] = (mean[i * size + i] as number) + (penalty[i] as number);
  // Terms in which the same unknowns are allowed share a factor.
  const factors = new Map<string, Float64Array>();
  const free = Uint8Array.from({ length: all }, (_, i) => (allowed(Math.floor(i / size), i % size) ? 1 : 0));
  const factorOf = Array.from({ length: across }, (_, t) => {
    const mask = free.subarray(t * size, (t + 1) * size);
    const key = mask.join('');
    const factor =
      factors.get(key) ??
      cholesky(
        mean.map((value, i) => (mask[i % size] && mask[Math.floor(i / size)] ? value : 0)),
        size,
      );
    factors.set(key, factor);
    return factor;
  });
  const [vectors, products] = [new Float64Array(blocks.length * size), new Float64Array(blocks.length * size)];
  const apply = async (x: Float64Array, out: Float64Array): Promise<void> => {
    for (const [b, block] of blocks.entries())
      mix((t) => block.across[t] as number, x, across, size, vectors, b * size);
    const rows = blocks.length;
    // The matrices are symmetric: their rows, mixed by a vector, are their products with it.
    await runKernel(
      'mix-planes',
      {
        values: { data: matrices, planes: size, planeStride: size, rows, rowStride: size * size, cols: size },
        weights: { data: vectors, planes: size, planeStride: 1, rows, rowStride: size, cols: 1 },
        sum: { data: products, rows, cols: size },
      },
      {},
      { strip: size },
    );
    for (let t = 0; t < across; t++)
      mix((b) => (blocks[b] as Block).across[t] as number, products, rows, size, out, t * size);
    for (let i = 0; i < all; i++) {
      out[i] = free[i] ? (out[i] as number) + (penalty[i % size] as number) * (x[i] as number) : 0;
    }
  };
  const right = new Float64Array(all);
  for (const block of blocks)
    for (let t = 0; t < across; t++) addScaled(block.across[t] as number, block.right, 0, right, t * size, size);
  const residual = right.map((value, i) => (free[i] ? value : 0));
  const coefficients = new Float64Array(all);
  const z = new Float64Array(all);
  const precondition = (): void => {
    z.set(residual);
    for (let t = 0; t < across; t++) solveCholesky(factorOf[t] as Float64Array, size, z, t * size);
  };
  precondition();
  const direction = z.slice();
  const product = new Float64Array(all);
  let power = dot(residual, z);
  const enough = 1e-9 * power;
  for (let round = 0; round < MOST_ROUNDS && power > enough; round++) {
    await apply(direction, product);
    const along = power / dot(direction, product);
    addScaled(along, direction, 0, coefficients, 0, all);
    addScaled(-along, product, 0, residual, 0, all);
    precondition();
    const next = dot(residual, z);
    for (let i = 0; i < all; i++) direction[i] = (z[i] as number) + (next / power) * (direction[i] as number);
    power = next;
  }
  // chi2(0) - chi2(c) = 2 c'b - c'Nc = c'b + c'(b - Nc)
  const variance = (term: number, sum: Float64Array): number => {
    const masked = sum.map((value, i) => (free[term * size + i] ? value : 0));
    const solved = Float64Array.from(masked);
    solveCholesky(factorOf[term] as Float64Array, size, solved);
    return dot(masked, solved);
  };
  return { coefficients, variance, explained: dot(coefficients, right) + dot(coefficients, residual) };
}
