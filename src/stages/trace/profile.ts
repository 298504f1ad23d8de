/** The profile of a chip's fibres, measured from the light of a flat: how a fibre's light spreads over rows. */
import { InputError } from '../../core/errors.js';
import type { Profile } from '../../core/spectra.js';
import { PROFILE_NODES, PROFILE_PER_PIXEL, PROFILE_REACH, PROFILE_SAMPLES } from '../../core/spectra.js';
import { runKernel } from '../../engine/index.js';
import { erf } from '../gauss_hermite.js';
import { type Basis, basisOf, COMPONENTS } from './profile_basis.js';
import { type Block, polynomials, solveBlocks } from './smooth_fit.js';

/** Fibres that the kernels know; fewer are filled up with fibres without light. */
const KERNEL_FIBRES = 300;
/** Fibres of a block, whose profile is taken as one: their mean is what is fitted, so that the block's extent cancels to first order. */
const BLOCK_FIBRES = 6;
/** Nodes of kernel gather-profile along x, and the size of its moments. */
const NODES = 8;
const SIDE = 48;
/** Degree in the fibre as the observatory's own profiles have it; in x focus and tilt of a chip are a parabola. */
const FIBRE_DEGREE = 7;
const COLUMN_DEGREE = 2;
/** Columns of a flat that are used, of 2048: its light is enough that noise does not matter, and time does. */
const COLUMNS_USED = 512;

/** What a flat shows and what is known of its traces so far. */
export interface ProfileInput {
  readonly rows: number;
  readonly cols: number;
  /** [row][x] [DN/read] */
  readonly image: Float32Array;
  /** [row][x]; 0: the pixel does not count. Bad pixels have 0 here. */
  readonly ivar: Float32Array;
  /** [fibre][x] row; finite. */
  readonly centre: Float32Array;
  /** [fibre][x] in units of the profile that is wanted: 1 where the profile is to hold all of the width. */
  readonly width: Float32Array;
  /** [fibre][x] light in a column [DN/read]; 0 where a fibre has none. */
  readonly flux: Float32Array;
  readonly fibres: number;
  /** [row][x] What the image should show; pixels far from it do not count (cosmic rays, hot pixels). */
  readonly expected?: Float32Array | undefined;
}

export interface ProfileOptions {
  /** Which functions: free ones, or a Gauss-Hermite series; default empirical. */
  readonly kind?: 'empirical' | 'gauss-hermite';
  readonly threads?: number;
}

export interface MeasuredProfile {
  readonly profile: Profile;
  /**
   * [fibre][node] What to add to the centres, so that the centroid of the profile within 4 px is 0 there: the profile was measured about
   * the given centres and moved by this [px].
   */
  readonly shift: Float32Array;
  /** [fibre][node] What the given flux is to be multiplied by, as the profile holds all light within its reach. */
  readonly scale: Float32Array;
  /** [fibre][node] scattered light beside the fibre that was fitted with the profile [DN/read]. */
  readonly background: Float32Array;
  /** Chi2 of the fit for each degree of freedom. */
  readonly chi2: number;
  readonly pixels: number;
}

/** A Gaussian profile of every fibre: what a first fit of traces starts from. */
export function gaussianProfile(fibres: number, sigma = 1): Profile {
  const table = new Float32Array(PROFILE_SAMPLES);
  for (let i = 0; i < PROFILE_SAMPLES; i++) {
    table[i] = 0.5 + 0.5 * erf((i / PROFILE_PER_PIXEL - PROFILE_REACH) / sigma / Math.SQRT2);
  }
  table[0] = 0;
  table[PROFILE_SAMPLES - 1] = 1;
  const cumulative = new Float32Array(fibres * PROFILE_NODES * PROFILE_SAMPLES);
  for (let i = 0; i < fibres * PROFILE_NODES; i++) cumulative.set(table, i * PROFILE_SAMPLES);
  return { fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
}


/** [KERNEL_FIBRES][cols], filled up with `fill`. */
function filledUp(data: Float32Array, fibres: number, cols: number, fill: number): Float32Array {
  if (fibres === KERNEL_FIBRES) return data;
  const full = new Float32Array(KERNEL_FIBRES * cols).fill(fill);
  full.set(data.subarray(0, fibres * cols));
  return full;
}

interface Solution {
  readonly basis: Basis;
  readonly columnDegree: number;
  readonly fibreDegree: number;
  /** [fibre term][column term][functions and background] */
  readonly coefficients: Float64Array;
  /** u of a fibre and of a column, -1 to 1. */
  readonly fibreAt: (fibre: number) => number;
  readonly chi2: number;
  readonly pixels: number;
}

/** Whether a fibre has light anywhere. */
const isLit = (flux: Float32Array, fibre: number, cols: number): boolean => {
  for (let x = 0; x < cols; x += 16) if ((flux[fibre * cols + x] as number) > 0) return true;
  return false;
};

async function solve(input: ProfileInput, basis: Basis, threads: number): Promise<Solution> {
  const { rows, cols, fibres } = input;
  const lit = Array.from({ length: fibres }, (_, f) => f).filter((f) => isLit(input.flux, f, cols));
  if (lit.length < 3) throw new InputError(`expected light in three fibres at least, received it in ${lit.length}`);
  const [first = 0, last = 0] = [lit[0], lit.at(-1)];
  const rowsOfBlocks = Math.ceil(fibres / BLOCK_FIBRES);
  const moments = new Float64Array(NODES * rowsOfBlocks * SIDE * SIDE);
  const plane = (data: Float32Array) => ({ data, planes: rows, cols });
  const fibre = (data: Float32Array, fill: number) => ({
    data: filledUp(data, fibres, cols, fill),
    rows: KERNEL_FIBRES,
    cols,
  });
  await runKernel(
    'gather-profile',
    {
      image: plane(input.image),
      ivar: plane(input.ivar),
      ...(input.expected !== undefined && { expected: plane(input.expected) }),
      centre: fibre(input.centre, Number.NaN),
      width: fibre(input.width, 1),
      flux: fibre(input.flux, 0),
      basis: { data: basis.table, rows: PROFILE_SAMPLES, cols: COMPONENTS },
      moments: { data: moments, planes: NODES, rows: rowsOfBlocks, cols: SIDE * SIDE },
    },
    { fibres: BLOCK_FIBRES, step: Math.max(1, Math.floor(cols / COLUMNS_USED)) },
    { strip: cols, threads },
  );
  // A few fibres cannot tell a polynomial of high degree.
  const fibreDegree = Math.min(FIBRE_DEGREE, Math.floor((last - first + 1) / (3 * BLOCK_FIBRES)));
  const columnDegree = COLUMN_DEGREE;
  const fibreAt = (f: number) => Math.min(Math.max((2 * (f - first)) / Math.max(last - first, 1) - 1, -1), 1);
  const n = basis.count + 1;
  const place = (k: number) => (k < basis.count ? k : COMPONENTS);
  const blocks: Block[] = [];
  let squares = 0;
  for (let b = 0; b < rowsOfBlocks; b++) {
    const own = lit.filter((f) => Math.floor(f / BLOCK_FIBRES) === b);
    if (own.length === 0) continue;
    const p = new Float64Array(fibreDegree + 1);
    for (const f of own) polynomials(fibreAt(f), fibreDegree).forEach((value, j) => { p[j] = (p[j] as number) + value / own.length; });
    for (let node = 0; node < NODES; node++) {
      // The mean of a polynomial over the node, by five points.
      const q = new Float64Array(columnDegree + 1);
      for (let i = 0; i < 5; i++) {
        polynomials((2 * (node + (i + 0.5) / 5)) / NODES - 1, columnDegree).forEach((value, m) => { q[m] = (q[m] as number) + value / 5; });
      }
      const from = (node * rowsOfBlocks + b) * SIDE * SIDE;
      const at = (i: number, j: number) => moments[from + i * SIDE + j] as number;
      const matrix = new Float64Array(n * n);
      const right = new Float64Array(n);
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) matrix[i * n + j] = at(place(i), place(j));
        right[i] = at(place(i), SIDE - 1);
      }
      squares += at(SIDE - 1, SIDE - 1);
      blocks.push({ matrix, right, terms: Float64Array.from([...p].flatMap((a) => [...q].map((c) => a * c))) });
    }
  }
  const coefficients = solveBlocks(blocks, n, penaltyOf(basis, blocks, n));
  // chi2 = d'Wd - 2 a'b + a'Na
  let chi2 = squares;
  const terms = (fibreDegree + 1) * (columnDegree + 1);
  for (const { matrix, right, terms: t } of blocks) {
    const v = new Float64Array(n);
    for (let i = 0; i < terms; i++) for (let k = 0; k < n; k++) v[k] = (v[k] as number) + (t[i] as number) * (coefficients[i * n + k] as number);
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += (matrix[i * n + j] as number) * (v[j] as number);
      chi2 += (v[i] as number) * (sum - 2 * (right[i] as number));
    }
  }
  return { basis, columnDegree, fibreDegree, coefficients, fibreAt, chi2, pixels: 0 };
}

/** Roughness of neighbouring functions costs a little: what the pixels say nothing about is smooth. */
function penaltyOf(basis: Basis, blocks: readonly Block[], n: number): Float64Array {
  const penalty = new Float64Array(n * n);
  let most = 0;
  for (let k = 0; k < basis.count; k++) most = Math.max(most, blocks.reduce((sum, { matrix }) => sum + (matrix[k * n + k] as number), 0));
  for (let k = 0; k < basis.count; k++) penalty[k * n + k] = 1e-10 * most;
  return penalty;
}

/** Value at `s` samples of a table, by a cubic through four samples: straight lines would flatten what is moved. */
function cubic(table: Float64Array, s: number): number {
  const last = table.length - 1;
  if (s <= 0) return table[0] as number;
  if (s >= last) return table[last] as number;
  const i = Math.min(Math.max(Math.floor(s), 1), last - 2);
  const t = s - i;
  const [a, b, c, d] = [table[i - 1], table[i], table[i + 1], table[i + 2]] as [number, number, number, number];
  return (
    (-a * t * (t - 1) * (t - 2)) / 6 + (b * (t + 1) * (t - 1) * (t - 2)) / 2 - (c * (t + 1) * t * (t - 2)) / 2 + (d * (t + 1) * t * (t - 1)) / 6
  );
}

/** Light within `CENTROID_REACH` px of the centre says where a profile's centre is. */
const CENTROID_REACH = 4;

/** Centroid of the light within 4 px of the table's middle [px at width 1]. */
export function centroidOf(table: ArrayLike<number>): number {
  const from = (PROFILE_REACH - CENTROID_REACH) * PROFILE_PER_PIXEL;
  const to = (PROFILE_REACH + CENTROID_REACH) * PROFILE_PER_PIXEL;
  let sum = 0;
  for (let s = from; s < to; s++) {
    sum += ((table[s + 1] as number) - (table[s] as number)) * ((s + 0.5) / PROFILE_PER_PIXEL - PROFILE_REACH);
  }
  return sum / ((table[to] as number) - (table[from] as number));
}

/** Writes the profile of a place into `out`: from 0 to 1, never falling, centroid 0; gives by how much it was moved and scaled. */
function tabulate(parts: Float64Array, basis: Basis, out: Float32Array): { shift: number; scale: number } {
  const table = new Float64Array(PROFILE_SAMPLES);
  for (let k = 0; k < basis.count; k++) {
    // Light is not negative.
    const part = basis.positive ? Math.max(parts[k] as number, 0) : (parts[k] as number);
    for (let s = 0; s < PROFILE_SAMPLES; s++) table[s] = (table[s] as number) + part * (basis.table[s * COMPONENTS + k] as number);
  }
  for (let s = 1; s < PROFILE_SAMPLES; s++) table[s] = Math.max(table[s] as number, table[s - 1] as number);
  const scale = (table[PROFILE_SAMPLES - 1] as number) - (table[0] as number);
  let shift = 0;
  let moved = table;
  // The window of the centroid moves with the profile, so that a few rounds are needed.
  for (let round = 0; round < 4; round++) {
    shift += centroidOf(moved);
    const by = shift * PROFILE_PER_PIXEL;
    moved = table.map((_, s) => cubic(table, s + by));
  }
  const [low, high] = [moved[0] as number, moved[PROFILE_SAMPLES - 1] as number];
  let before = 0;
  for (let s = 0; s < PROFILE_SAMPLES; s++) {
    before = Math.max(before, ((moved[s] as number) - low) / (high - low));
    out[s] = before;
  }
  return { shift, scale };
}

/**
 * Measures how the light of each fibre spreads, jointly with that of its neighbours and with scattered light: free functions, or a
 * Gauss-Hermite series, whose coefficients are polynomials in fibre and x. The light given in `flux` is taken as it is.
 * @throws InputError where fewer than three fibres have light
 */
export async function measureProfile(input: ProfileInput, options: ProfileOptions = {}): Promise<MeasuredProfile> {
  const { fibres } = input;
  const basis = basisOf(options.kind ?? 'empirical');
  const solution = await solve(input, basis, options.threads ?? 1);
  const n = basis.count + 1;
  const places = fibres * PROFILE_NODES;
  const cumulative = new Float32Array(places * PROFILE_SAMPLES);
  const [shift, scale, background] = [new Float32Array(places), new Float32Array(places), new Float32Array(places)];
  const parts = new Float64Array(n);
  for (let f = 0; f < fibres; f++) {
    const p = polynomials(solution.fibreAt(f), solution.fibreDegree);
    for (let node = 0; node < PROFILE_NODES; node++) {
      const q = polynomials((2 * node) / (PROFILE_NODES - 1) - 1, solution.columnDegree);
      parts.fill(0);
      let term = 0;
      for (const a of p) {
        for (const c of q) {
          for (let k = 0; k < n; k++) parts[k] = (parts[k] as number) + a * c * (solution.coefficients[term * n + k] as number);
          term++;
        }
      }
      const at = f * PROFILE_NODES + node;
      const out = cumulative.subarray(at * PROFILE_SAMPLES, (at + 1) * PROFILE_SAMPLES);
      const made = tabulate(parts, basis, out);
      shift[at] = made.shift;
      scale[at] = made.scale;
      background[at] = parts[basis.count] as number;
    }
  }
  return {
    profile: { fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative },
    shift,
    scale,
    background,
    chi2: solution.chi2,
    pixels: solution.pixels,
  };
}
