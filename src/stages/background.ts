/**
 * Light that no fibre sent where it is: scattered in the instrument, smooth over the chip. Measured jointly with the fibres' own light,
 * so that it takes nothing from them, however faint they are.
 */
import { InputError } from '../core/errors.js';
import { PROFILE_NODES, PROFILE_SAMPLES, type Profile } from '../core/spectra.js';
import { runChain, runKernel } from '../engine/index.js';
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
  /** Its error, at the same places; NaN where it was to be quick. */
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
function cellOf(values: Float64Array, weights: Float64Array): { value: number; weight: number; used: number } {
  const middle = values.slice().sort()[Math.floor(values.length / 2)] ?? 0;
  let [value, weight, used] = [0, 0, 0];
  for (let i = 0; i < values.length; i++) {
    const [v, w] = [values[i] as number, weights[i] as number];
    if (!(Math.abs(v - middle) * Math.sqrt(w) <= CLIP)) continue;
    value += w * v;
    weight += w;
    used++;
  }
  return { value: used > 0 ? value / weight : 0, weight, used };
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
  const [values, weights] = [new Float64Array(CELL_COLS), new Float64Array(CELL_COLS)];
  let pixels = 0;
  for (let row = 0; row < gridRows; row++) {
    for (let col = 0; col < gridCols; col++) {
      let count = 0;
      for (let x = col * CELL_COLS; x < Math.min((col + 1) * CELL_COLS, cols); x += step) {
        const at = row * cols + x;
        if (!((weight[at] as number) > 0)) continue;
        values[count] = value[at] as number;
        weights[count++] = weight[at] as number;
      }
      const cell = cellOf(values.subarray(0, count), weights.subarray(0, count));
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
    ...solve(
      cells,
      terms,
      { gridRows, gridCols },
      (row, col) => ({ u: place(col, CELL_COLS, cols), v: place(row, CELL_ROWS, rows) }),
      input.quick === true,
    ),
    order: Math.max(orderY, orderX),
    gridRows,
    gridCols,
    pixels,
  };
}

/** Products of Legendre polynomials at a place. */
function valuesOf(terms: readonly { a: number; i: number }[], u: number, v: number): Float64Array {
  const [x, y] = [polynomials(u, ORDER), polynomials(v, ORDER)];
  const values = new Float64Array(terms.length);
  for (let k = 0; k < values.length; k++) {
    const { a, i } = terms[k] as { a: number; i: number };
    values[k] = (y[a] as number) * (x[i] as number);
  }
  return values;
}

/** Adds w p p' to the lower triangle of a matrix, which is what is looked at. */
function addSquare(matrix: Float64Array, p: Float64Array, weight: number): void {
  const n = p.length;
  for (let i = 0; i < n; i++) {
    const factor = weight * (p[i] as number);
    for (let j = 0; j <= i; j++) matrix[i * n + j] = (matrix[i * n + j] as number) + factor * (p[j] as number);
  }
}

/** y += f p */
function addTimes(y: Float64Array, f: number, p: Float64Array): void {
  for (let i = 0; i < p.length; i++) y[i] = (y[i] as number) + f * (p[i] as number);
}

function dot(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += (p[i] as number) * (q[i] as number);
  return sum;
}

/** Least squares over the cells; what the cells say nothing about is 0. */
function solve(
  cells: readonly Cell[],
  terms: readonly { a: number; i: number }[],
  { gridRows, gridCols }: { gridRows: number; gridCols: number },
  placeOf: (row: number, col: number) => { u: number; v: number },
  quick: boolean,
): Pick<Background, 'coefficients' | 'grid' | 'gridError' | 'chi2'> {
  const n = terms.length;
  const [matrix, solution] = [new Float64Array(n * n), new Float64Array(n)];
  const values = cells.map(({ u, v }) => valuesOf(terms, u, v));
  for (const [c, { value, weight }] of cells.entries()) {
    const p = values[c] as Float64Array;
    addSquare(matrix, p, weight);
    addTimes(solution, weight * value, p);
  }
  const factor = cholesky(matrix, n);
  solveCholesky(factor, n, solution);
  const chi2 = cells.reduce(
    (sum, { value, weight }, c) => sum + weight * (value - dot(values[c] as Float64Array, solution)) ** 2,
    0,
  );
  const [grid, gridError] = [new Float32Array(gridRows * gridCols), new Float32Array(gridRows * gridCols)];
  for (let at = 0; at < grid.length; at++) {
    const { u, v } = placeOf(Math.floor(at / gridCols), at % gridCols);
    const p = valuesOf(terms, u, v);
    grid[at] = dot(p, solution);
    gridError[at] = Number.NaN;
    if (quick) continue;
    const spread = Float64Array.from(p);
    solveCholesky(factor, n, spread);
    gridError[at] = Math.sqrt(Math.max(dot(p, spread), 0));
  }
  const coefficients = new Float64Array(SIDE * SIDE);
  for (const [k, { a, i }] of terms.entries()) {
    // The polynomials here have squares of 1 in the mean; the kernel's are Legendre's own.
    coefficients[a * SIDE + i] = (solution[k] as number) * Math.sqrt((2 * a + 1) * (2 * i + 1));
  }
  return { coefficients, grid, gridError, chi2: cells.length > n ? chi2 / (cells.length - n) : Number.NaN };
}

/** Cells reach from half a pixel before the first to half a pixel behind the last. */
const placesOf = (rows: number, cols: number, { order }: Background) => ({
  order,
  firstX: -0.5,
  lastX: cols - 0.5,
  firstY: -0.5,
  lastY: rows - 0.5,
});

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
    placesOf(rows, cols, background),
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

/** `image - background`, in `out`; [row][x] [DN/read]. The background is made in the cache, a piece of a row at a time. */
export async function subtractBackground(
  image: Float32Array,
  rows: number,
  cols: number,
  background: Background,
  threads = 1,
  out: Float32Array = new Float32Array(rows * cols),
): Promise<Float32Array> {
  await runChain({
    arrays: {
      coefficients: { data: background.coefficients, rows: SIDE, cols: SIDE },
      image: { data: image, rows, cols },
      model: { block: 'f32', planes: 1 },
      out: { data: out, rows, cols },
    },
    steps: [
      {
        kernel: 'evaluate-illumination',
        ports: { coefficients: 'coefficients', model: 'model' },
        params: placesOf(rows, cols, background),
      },
      { kernel: 'subtract-images', ports: { image: 'image', model: 'model', difference: 'out' } },
    ],
    options: { threads, rows, cols },
  });
  return out;
}
