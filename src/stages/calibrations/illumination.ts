/**
 * The illumination of a flat: a masked weighted least-squares fit of products of Legendre polynomials P_i(u) P_a(v), i and a up
 * to the order, to all pixels of a detector, without a matrix of pixels. Kernels sum rows (legendre-moments, whose README has
 * the maths); here the row sums become the normal matrix of (order + 1)^2 coefficients, which is solved.
 */
import { AlgorithmError } from '../../core/errors.js';
import { runKernel } from '../../engine/index.js';
import { legendre } from '../smooth_fit.js';

/** Highest order that the kernels know. */
export const MAX_ORDER = 30;
const SIDE = MAX_ORDER + 1;
/** Of legendre-moments: sums of the weights first, then those of the image. */
const PLAIN = 2 * MAX_ORDER + 1;
const MOMENTS = PLAIN + SIDE;

/** What of the detector is fitted: u and v go from -1 to 1 across it. */
export interface Area {
  readonly rows: number;
  readonly cols: number;
  /** Pixels on each side that see no light. */
  readonly border: number;
}

export interface IlluminationFit {
  /** [order in y][order in x], 31 x 31, unit of the image; 0 beyond the order. */
  readonly coefficients: Float64Array;
  /** Of the normal matrix of orthonormal polynomials with unit weights on the mean: 1 for a full detector. */
  readonly condition: number;
}

/** P_m P_n = sum_r product(m, n)[r] P_{m + n - 2r} (Adams 1878). */
function productOf(m: number, n: number): Float64Array {
  const a = (r: number): number => {
    let value = 1;
    for (let k = 1; k <= r; k++) value *= (2 * k - 1) / k;
    return value;
  };
  return Float64Array.from({ length: Math.min(m, n) + 1 }, (_, r) => {
    const share = (a(r) * a(m - r) * a(n - r)) / a(m + n - r);
    return (share * (2 * m + 2 * n - 4 * r + 1)) / (2 * m + 2 * n - 2 * r + 1);
  });
}

/**
 * The lower triangle of L with L L' = matrix, in place.
 * @returns false where the matrix is not positive definite to double precision
 */
function cholesky(matrix: Float64Array, n: number): boolean {
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = matrix[i * n + j] as number;
      for (let k = 0; k < j; k++) sum -= (matrix[i * n + k] as number) * (matrix[j * n + k] as number);
      if (i > j) matrix[i * n + j] = sum / (matrix[j * n + j] as number);
      else if (!(sum > 1e-14 * (matrix[j * n + j] as number))) return false;
      else matrix[j * n + j] = Math.sqrt(sum);
    }
  }
  return true;
}

/** Solves L L' x = b. */
function solve(lower: Float64Array, n: number, b: Float64Array): Float64Array {
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] = (x[i] as number) - (lower[i * n + k] as number) * (x[k] as number);
    x[i] = (x[i] as number) / (lower[i * n + i] as number);
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] = (x[i] as number) - (lower[k * n + i] as number) * (x[k] as number);
    x[i] = (x[i] as number) / (lower[i * n + i] as number);
  }
  return x;
}

/** The largest value of v -> step(v) by the power method: a few digits are enough to judge a condition. */
function largestEigenvalue(n: number, step: (v: Float64Array) => Float64Array): number {
  // A start that is orthogonal to nothing in particular, the same every time.
  let v: Float64Array = Float64Array.from({ length: n }, (_, i) => 1 + ((i * 7919) % 104_729) / 104_729);
  let size = 0;
  for (let round = 0; round < 30; round++) {
    const norm = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
    v = step(v.map((x) => x / norm));
    size = Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));
  }
  return size;
}

function times(matrix: Float64Array, n: number, v: Float64Array): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < n; k++) sum += (matrix[i * n + k] as number) * (v[k] as number);
    return sum;
  });
}

/**
 * Fits the illumination.
 * @param image f32 [row][x]
 * @param model what the image is about, for the weights 1/model^2: f32 [row][x], or one row that stands for all
 * @param bad u8 [row][x]: pixels that do not count
 * @param order of the polynomials, 0 to 30
 * @param worstCondition a fit of a worse conditioned matrix is refused
 * @throws AlgorithmError where too few good pixels are left to tell the polynomials apart
 */
export async function fitIllumination(
  image: Float32Array,
  model: Float32Array,
  bad: Uint8Array,
  { rows, cols, border }: Area,
  order: number,
  worstCondition: number,
  threads = 1,
): Promise<IlluminationFit> {
  const moments = new Float64Array(new SharedArrayBuffer(rows * MOMENTS * 8));
  await runKernel(
    'legendre-moments',
    {
      image: { data: image, rows, cols },
      model: { data: model, rows, cols, rowStride: model.length === cols ? 0 : cols },
      bad: { data: bad, rows, cols },
      moments: { data: moments, rows, cols: MOMENTS },
    },
    { order, first: border, last: cols - 1 - border },
    { strip: cols, threads },
  );
  const side = order + 1;
  const highest = 2 * order;
  // plain[k][l] = sum w P_k(u) P_l(v), right[i][a] = sum w image P_i(u) P_a(v)
  const plain = new Float64Array((highest + 1) ** 2);
  const right = new Float64Array(side * side);
  for (let y = border; y < rows - border; y++) {
    const p = legendre((2 * y - (rows - 1)) / (rows - 1 - 2 * border), highest + 1);
    for (let k = 0; k <= highest; k++) {
      const m = moments[y * MOMENTS + k] as number;
      for (let l = 0; l <= highest; l++) plain[k * (highest + 1) + l]! += m * (p[l] as number);
    }
    for (let i = 0; i <= order; i++) {
      const m = moments[y * MOMENTS + PLAIN + i] as number;
      for (let a = 0; a <= order; a++) right[i * side + a]! += m * (p[a] as number);
    }
  }
  const weight = plain[0] as number;
  if (!(weight > 0)) throw new AlgorithmError('no good pixel is left to fit the illumination to');
  const products = Array.from({ length: side * side }, (_, at) => productOf(Math.floor(at / side), at % side));
  const product = (m: number, k: number) => products[m * side + k] as Float64Array;
  // Polynomials of unit mean square, and weights of mean 1: the matrix of a full detector is the identity.
  const scale = Float64Array.from({ length: side }, (_, k) => Math.sqrt(2 * k + 1));
  const n = side * side;
  const matrix = new Float64Array(n * n);
  const inner = new Float64Array(highest + 1);
  for (let i = 0; i < side; i++) {
    for (let j = 0; j <= i; j++) {
      inner.fill(0);
      for (const [r, share] of product(i, j).entries()) {
        const k = i + j - 2 * r;
        for (let l = 0; l <= highest; l++) inner[l]! += share * (plain[k * (highest + 1) + l] as number);
      }
      for (let a = 0; a < side; a++) {
        for (let b = 0; b < side; b++) {
          const shares = product(a, b);
          let sum = 0;
          for (let r = 0; r < shares.length; r++) sum += (shares[r] as number) * (inner[a + b - 2 * r] as number);
          const units = (scale[i] as number) * (scale[j] as number) * (scale[a] as number) * (scale[b] as number);
          const value = (sum * units) / weight;
          matrix[(i * side + a) * n + j * side + b] = value;
          matrix[(j * side + b) * n + i * side + a] = value;
        }
      }
    }
  }
  const unit = (i: number, a: number) => (scale[i] as number) * (scale[a] as number);
  const target = Float64Array.from(right, (r, at) => (r * unit(Math.floor(at / side), at % side)) / weight);
  const lower = Float64Array.from(matrix);
  const definite = cholesky(lower, n);
  const condition = definite
    ? largestEigenvalue(n, (v) => times(matrix, n, v)) * largestEigenvalue(n, (v) => solve(lower, n, v))
    : Number.POSITIVE_INFINITY;
  if (!(condition <= worstCondition)) {
    throw new AlgorithmError(
      `too few good pixels for an illumination of order ${order}: the normal matrix has condition ${condition.toPrecision(2)}, at most ${worstCondition.toPrecision(2)} is allowed (a lower order needs fewer)`,
    );
  }
  const solved = solve(lower, n, target);
  const coefficients = new Float64Array(new SharedArrayBuffer(SIDE * SIDE * 8));
  for (let i = 0; i < side; i++) {
    for (let a = 0; a < side; a++) coefficients[a * SIDE + i] = (solved[i * side + a] as number) * unit(i, a);
  }
  return { coefficients, condition };
}

/** Evaluates a fit at every pixel: f32 [row][x]. */
export async function evaluateIllumination(
  { coefficients }: IlluminationFit,
  { rows, cols, border }: Area,
  order: number,
  model: Float32Array,
  threads = 1,
): Promise<void> {
  await runKernel(
    'evaluate-illumination',
    { coefficients: { data: coefficients, rows: SIDE, cols: SIDE }, model: { data: model, rows, cols } },
    { order, firstX: border, lastX: cols - 1 - border, firstY: border, lastY: rows - 1 - border },
    { threads },
  );
}
