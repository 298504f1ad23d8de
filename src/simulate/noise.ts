/**
 * 1/f noise in the order of the pixel clock. Each of the five outputs sees a common part, with a gain of its own, and a
 * part that is its own; that is what makes the reference output useful and not perfect (Rauscher et al. 2022, SIRS).
 */

/** Values of one output in one line: 512 pixels and 8 clocks of overhead, one value for 8 clocks. */
export const KNOTS_PER_LINE = 65;
/** Four amplifiers and the reference output. */
export const OUTPUTS = 5;

/** Random words that a line needs: one for each output and one for the common part, for each knot. */
export const DEVIATES_PER_LINE = KNOTS_PER_LINE * (OUTPUTS + 1);

/**
 * First-order sections with time constants 4^i knots, i = 0 .. 10, all driven by the same white noise and added with weights
 * 2^-i: the sum falls as f^-1/2 in amplitude from 1 / (2 pi 4^10 knots) = 2 mHz to about 1 kHz, one section for each
 * 0.6 decade (the spectrum is straight to a few per cent). Powers of two keep the coefficients exact.
 */
const POLES = Float64Array.from({ length: 11 }, (_, i) => 1 - 4 ** -i);
const WEIGHTS = Float64Array.from({ length: 11 }, (_, i) => 2 ** -i);

/** Variance of the sum of the sections for white noise of unit variance. */
function stationaryVariance(): number {
  let sum = 0;
  for (let i = 0; i < POLES.length; i++) {
    for (let j = 0; j < POLES.length; j++) {
      sum += ((WEIGHTS[i] as number) * (WEIGHTS[j] as number)) / (1 - (POLES[i] as number) * (POLES[j] as number));
    }
  }
  return sum;
}

/** Lower triangle L of the states' covariance, L L^T, so that the noise is stationary from the first knot. */
function stationaryFactor(): Float64Array[] {
  const n = POLES.length;
  const rows = Array.from({ length: n }, () => new Float64Array(n));
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 1 / (1 - (POLES[i] as number) * (POLES[j] as number));
      for (let k = 0; k < j; k++) sum -= (rows[i]?.[k] as number) * (rows[j]?.[k] as number);
      (rows[i] as Float64Array)[j] = i === j ? Math.sqrt(Math.max(sum, 0)) : sum / (rows[j]?.[j] as number);
    }
  }
  return rows;
}

export interface OneOverFOptions {
  /** Standard deviation of the common part over all times [DN]. */
  readonly commonRms: number;
  /** Standard deviation of each output's own part over all times [DN]. */
  readonly ownRms: number;
  /** How much of the common part each output sees. */
  readonly coupling: readonly number[];
}

/** The state of the noise between lines and reads. */
export class OneOverF {
  readonly #state: Float64Array[];
  readonly #scale: number[];
  readonly #coupling: readonly number[];

  /** @param normal standard normal deviates for the states at the start */
  constructor(options: OneOverFOptions, normal: () => number) {
    const factor = stationaryFactor();
    this.#state = Array.from({ length: OUTPUTS + 1 }, () => {
      const z = Float64Array.from({ length: POLES.length }, normal);
      return Float64Array.from(factor, (row) => row.reduce((sum, l, j) => sum + l * (z[j] as number), 0));
    });
    const unit = Math.sqrt(stationaryVariance());
    this.#scale = Array.from(
      { length: OUTPUTS + 1 },
      (_, i) => (i < OUTPUTS ? options.ownRms : options.commonRms) / unit,
    );
    this.#coupling = options.coupling;
  }

  /**
   * The next `rows` lines.
   * @param deviates standard normal, [rows][stride], the first DEVIATES_PER_LINE of each row are used
   * @param knots out [DN]: [rows][OUTPUTS * KNOTS_PER_LINE]
   */
  lines(deviates: Float32Array, stride: number, knots: Float32Array, rows: number): void {
    const sections = POLES.length;
    const common = new Float64Array(KNOTS_PER_LINE);
    for (let row = 0; row < rows; row++) {
      for (let output = OUTPUTS; output >= 0; output--) {
        const state = this.#state[output] as Float64Array;
        const scale = this.#scale[output] as number;
        const coupling = this.#coupling[output] ?? 0;
        const from = row * stride + output * KNOTS_PER_LINE;
        const to = (row * OUTPUTS + output) * KNOTS_PER_LINE;
        for (let k = 0; k < KNOTS_PER_LINE; k++) {
          const drive = deviates[from + k] as number;
          let sum = 0;
          for (let i = 0; i < sections; i++) {
            const next = (state[i] as number) * (POLES[i] as number) + drive;
            state[i] = next;
            sum += next * (WEIGHTS[i] as number);
          }
          if (output === OUTPUTS) common[k] = sum * scale;
          else knots[to + k] = sum * scale + coupling * (common[k] as number);
        }
      }
    }
  }
}
