/** Anderson's acceleration of an iteration that goes to its fixed point slowly. */
import { cholesky, solveCholesky } from '../smooth_fit.js';

/** Keeps steps that are nearly alike from being told apart by rounding. */
const RIDGE = 1e-12;

/**
 * Says where an iteration x -> g(x) goes on from what its steps so far did: at the sum of their ends, with weights of sum 1, whose residual
 * g(x) - x is the shortest (Anderson 1965; Walker and Ni 2011, SIAM J. Numer. Anal. 49, 1715, equation 2.2). A few errors that
 * shrink slowly are found and taken away so; a linear iteration with n of them is solved in n + 1 steps.
 */
export class Mixer {
  private readonly ends: Float64Array[] = [];
  private readonly residuals: Float64Array[] = [];

  /** @param depth earlier steps that count at most */
  constructor(private readonly depth: number) {}

  /**
   * What to add to `end`, the end of the latest step, to go on from there: all 0 after the first.
   * @param residual what the step changed, of what is to be judged and in units in which that counts equally
   */
  next(end: Float64Array, residual: Float64Array): Float64Array {
    this.ends.push(end.slice());
    this.residuals.push(residual.slice());
    if (this.ends.length > this.depth + 1) {
      this.ends.shift();
      this.residuals.shift();
    }
    const n = this.ends.length - 1;
    const added = new Float64Array(end.length);
    const changes = this.residuals.slice(1).map((after, j) => after.map((v, i) => v - (this.residuals[j]?.[i] ?? 0)));
    const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * (b[i] as number), 0);
    const normal = Float64Array.from({ length: n * n }, (_, i) => {
      const [row, column] = [Math.floor(i / n), i % n];
      const value = dot(changes[row] as Float64Array, changes[column] as Float64Array);
      return row === column ? value * (1 + RIDGE) : value;
    });
    // An iteration that moves no more is where it is to go.
    if (changes.some((change) => !(dot(change, change) > 0))) return added;
    const weights = Float64Array.from(changes, (change) => dot(change, residual));
    solveCholesky(cholesky(normal, n), n, weights);
    weights.forEach((weight, j) => {
      const [before, after] = [this.ends[j] as Float64Array, this.ends[j + 1] as Float64Array];
      for (let i = 0; i < added.length; i++) {
        added[i] = (added[i] as number) - weight * ((after[i] as number) - (before[i] as number));
      }
    });
    return added;
  }
}
