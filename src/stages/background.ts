/**
 * Light that no fibre sent where it is: scattered in the instrument, smooth over the chip. Measured jointly with the fibres' own light,
 * so that it takes nothing from them, however faint they are.
 */
import { InputError } from '../core/errors.js';
import { PROFILE_NODES, PROFILE_SAMPLES, type Profile } from '../core/spectra.js';
import { runKernel } from '../engine/index.js';
import { filledUp, KERNEL_FIBRES } from './fibres.js';
import { cholesky, polynomials, solveCholesky } from './smooth_fit.js';

/** An exposure of a chip and where its fibres' light lies. */
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
  readonly threads?: number | undefined;
  /** From a quarter of the columns, for what is fitted again with the background; default false. */
  readonly quick?: boolean | undefined;
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
  /** Columns of cells that were used, and chi2 of the cells for each degree of freedom. */
  readonly pixels: number;
  readonly chi2: number;
}

/** Cells, and which columns of them are measured [px]. */
const CELL_ROWS = 64;
const CELL_COLS = 128;
const STEP = 8;
const QUICK_STEP = 32;
/** Highest sum of the orders in x and y: ghosts are a quarter of a chip and larger. */
const ORDER = 7;
/** Columns farther from their cell's median than so many sigma are spoilt (cosmic rays, bad pixels without a bit). */
const CLIP = 4;
/** Side of the table of coefficients of kernel evaluate-illumination. */
const SIDE = 31;

interface Cell {
  /** -1 to 1 over the chip, at the cell's centre. */
  readonly u: number;
  readonly v: number;
  readonly value: number;
  readonly weight: number;
}

/** Mean of a cell's columns, by their weights, without those far off its median. */
function cellOf(values: readonly { value: number; weight: number }[]): { value: number; weight: number; used: number } {
  const middle = values.map(({ value }) => value).toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
  const kept = values.filter(({ value, weight }) => Math.abs(value - middle) * Math.sqrt(weight) <= CLIP);
  const weight = kept.reduce((sum, one) => sum + one.weight, 0);
  const value = kept.reduce((sum, one) => sum + one.weight * one.value, 0) / weight;
  return { value: kept.length > 0 ? value : 0, weight, used: kept.length };
}

/** Orders in y and x of the terms of a fit. */
function termsOf(orderY: number, orderX: number): { readonly a: number; readonly i: number }[] {
  const most = Math.max(orderY, orderX);
  return Array.from({ length: orderY + 1 }, (_, a) => Array.from({ length: orderX + 1 }, (_unused, i) => ({ a, i })))
    .flat()
    .filter(({ a, i }) => a + i <= most);
}

/**
 * Fits the scattered light of an exposure.
 * @throws InputError where the arrays do not fit each other
 */
export async function fitBackground(input: BackgroundInput): Promise<Background> {
  const { rows, cols, fibres, threads = 1 } = input;
  const step = input.quick === true ? QUICK_STEP : STEP;
  if (
    input.image.length !== rows * cols ||
    input.ivar.length !== rows * cols ||
    input.centre.length !== fibres * cols
  ) {
    throw new InputError(
      `expected ${rows} x ${cols} pixels and ${fibres} x ${cols} positions, received ${input.image.length} and ${input.centre.length}`,
    );
  }
  const gridRows = Math.ceil(rows / CELL_ROWS);
  const gridCols = Math.ceil(cols / CELL_COLS);
  const [value, weight] = [new Float32Array(gridRows * cols), new Float32Array(gridRows * cols)];
  const fibre = (data: Float32Array, fill: number) => ({
    data: filledUp(data, fibres * cols, KERNEL_FIBRES * cols, fill),
    rows: KERNEL_FIBRES,
    cols,
  });
  const tables = PROFILE_NODES * PROFILE_SAMPLES;
  await runKernel(
    'fit-background',
    {
      image: { data: input.image, planes: rows, cols },
      ivar: { data: input.ivar, planes: rows, cols },
      centre: fibre(input.centre, Number.NaN),
      width: fibre(input.width, 1),
      profile: {
        data: filledUp(input.profile.cumulative, fibres * tables, KERNEL_FIBRES * tables, 0),
        planes: KERNEL_FIBRES,
        rows: PROFILE_NODES,
        cols: PROFILE_SAMPLES,
      },
      value: { data: value, rows: gridRows, cols },
      weight: { data: weight, rows: gridRows, cols },
    },
    { height: CELL_ROWS, step },
    { strip: cols, threads },
  );
  const place = (at: number, size: number, length: number) =>
    (2 * Math.min((at + 0.5) * size, 0.5 * (at * size + length)) - length) / length;
  const cells: Cell[] = [];
  let pixels = 0;
  for (let row = 0; row < gridRows; row++) {
    for (let col = 0; col < gridCols; col++) {
      const columns: { value: number; weight: number }[] = [];
      for (let x = col * CELL_COLS; x < Math.min((col + 1) * CELL_COLS, cols); x += step) {
        const at = row * cols + x;
        if ((weight[at] as number) > 0) columns.push({ value: value[at] as number, weight: weight[at] as number });
      }
      const cell = cellOf(columns);
      if (!(cell.weight > 0)) continue;
      pixels += cell.used;
      cells.push({ u: place(col, CELL_COLS, cols), v: place(row, CELL_ROWS, rows), ...cell });
    }
  }
  // A few cells cannot tell high orders.
  const orderY = Math.min(ORDER, Math.floor((gridRows - 1) / 2));
  const orderX = Math.min(ORDER, Math.floor((gridCols - 1) / 2));
  const terms = termsOf(orderY, orderX);
  return {
    ...solve(cells, terms, { gridRows, gridCols }, (row, col) => ({
      u: place(col, CELL_COLS, cols),
      v: place(row, CELL_ROWS, rows),
    })),
    order: Math.max(orderY, orderX),
    gridRows,
    gridCols,
    pixels,
  };
}

/** Products of Legendre polynomials at a place. */
function valuesOf(terms: readonly { a: number; i: number }[], u: number, v: number): Float64Array {
  const [x, y] = [polynomials(u, ORDER), polynomials(v, ORDER)];
  return Float64Array.from(terms, ({ a, i }) => (y[a] as number) * (x[i] as number));
}

/** Least squares over the cells; what the cells say nothing about is 0. */
function solve(
  cells: readonly Cell[],
  terms: readonly { a: number; i: number }[],
  { gridRows, gridCols }: { gridRows: number; gridCols: number },
  placeOf: (row: number, col: number) => { u: number; v: number },
): Pick<Background, 'coefficients' | 'grid' | 'gridError' | 'chi2'> {
  const n = terms.length;
  const [matrix, solution] = [new Float64Array(n * n), new Float64Array(n)];
  for (const { u, v, value, weight } of cells) {
    const p = valuesOf(terms, u, v);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++)
        matrix[i * n + j] = (matrix[i * n + j] as number) + weight * (p[i] as number) * (p[j] as number);
      solution[i] = (solution[i] as number) + weight * (p[i] as number) * value;
    }
  }
  const factor = cholesky(matrix, n);
  solveCholesky(factor, n, solution);
  const model = (p: Float64Array): number => p.reduce((sum, value, i) => sum + value * (solution[i] as number), 0);
  const chi2 = cells.reduce(
    (sum, { u, v, value, weight }) => sum + weight * (value - model(valuesOf(terms, u, v))) ** 2,
    0,
  );
  const [grid, gridError] = [new Float32Array(gridRows * gridCols), new Float32Array(gridRows * gridCols)];
  for (let at = 0; at < grid.length; at++) {
    const { u, v } = placeOf(Math.floor(at / gridCols), at % gridCols);
    const p = valuesOf(terms, u, v);
    grid[at] = model(p);
    const spread = Float64Array.from(p);
    solveCholesky(factor, n, spread);
    gridError[at] = Math.sqrt(
      Math.max(
        p.reduce((sum, value, i) => sum + value * (spread[i] as number), 0),
        0,
      ),
    );
  }
  const coefficients = new Float64Array(SIDE * SIDE);
  for (const [k, { a, i }] of terms.entries()) {
    // The polynomials here have squares of 1 in the mean; the kernel's are Legendre's own.
    coefficients[a * SIDE + i] = (solution[k] as number) * Math.sqrt((2 * a + 1) * (2 * i + 1));
  }
  return { coefficients, grid, gridError, chi2: cells.length > n ? chi2 / (cells.length - n) : Number.NaN };
}

/** The scattered light at every pixel, [row][x] [DN/read]. */
export async function evaluateBackground(
  rows: number,
  cols: number,
  background: Background,
  threads = 1,
): Promise<Float32Array> {
  const model = new Float32Array(rows * cols);
  await runKernel(
    'evaluate-illumination',
    { coefficients: { data: background.coefficients, rows: SIDE, cols: SIDE }, model: { data: model, rows, cols } },
    // Cells reach from half a pixel before the first to half a pixel behind the last.
    { order: background.order, firstX: -0.5, lastX: cols - 0.5, firstY: -0.5, lastY: rows - 0.5 },
    { threads },
  );
  return model;
}

/** `image - model`, in new memory; [row][x]. */
export async function subtractImages(
  image: Float32Array,
  model: Float32Array,
  rows: number,
  cols: number,
  threads = 1,
): Promise<Float32Array> {
  const out = new Float32Array(rows * cols);
  const map = (data: Float32Array) => ({ data, rows, cols });
  await runKernel('subtract-images', { image: map(image), model: map(model), difference: map(out) }, {}, { threads });
  return out;
}

/** `image - background`, in new memory; [row][x] [DN/read]. */
export async function subtractBackground(
  image: Float32Array,
  rows: number,
  cols: number,
  background: Background,
  threads = 1,
): Promise<Float32Array> {
  return subtractImages(image, await evaluateBackground(rows, cols, background, threads), rows, cols, threads);
}
