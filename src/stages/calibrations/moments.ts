/** Means of the amplifiers of an image, and of blocks of rows of them; where a function of one variable is least. */
import { runKernel } from '../../engine/index.js';

const AMPLIFIERS = 4;
/** Number, sum and sum of squares. */
const MOMENTS = 3;
/** Values this far from the mean do not count, and how often that is judged anew: each round narrows the tails' pull. */
const CLIP_SIGMAS = 4;
const CLIP_ROUNDS = 6;

export interface Mean {
  readonly count: number;
  /** NaN where nothing counts. */
  readonly mean: number;
  /** Standard deviation of the values that count. */
  readonly sigma: number;
}

interface Planes {
  /** [plane][row][x]; values that are NaN do not count. */
  readonly data: Float32Array;
  readonly planes: number;
  readonly rows: number;
  readonly cols: number;
  /** [row][x]; pixels with any bit do not count. */
  readonly dq: Uint32Array;
}

const meanOf = (count: number, sum: number, squares: number): Mean => {
  const mean = sum / count;
  return { count, mean, sigma: Math.sqrt(Math.max(squares / count - mean * mean, 0)) };
};

/** Sums of rows [from, to) of one amplifier in the table of row-moments. */
function gather(table: Float64Array, plane: number, rows: number, amplifier: number, from: number, to: number): Mean {
  let [count, sum, squares] = [0, 0, 0];
  for (let row = from; row < to; row++) {
    const at = ((plane * rows + row) * AMPLIFIERS + amplifier) * MOMENTS;
    count += table[at] as number;
    sum += table[at + 1] as number;
    squares += table[at + 2] as number;
  }
  return meanOf(count, sum, squares);
}

async function rowMoments(
  { data, planes, rows, cols, dq }: Planes,
  low: Float32Array,
  high: Float32Array,
  threads: number,
) {
  const moments = new Float64Array(planes * rows * AMPLIFIERS * MOMENTS);
  const limit = (values: Float32Array) => ({ data: values, planes, planeStride: AMPLIFIERS, cols: AMPLIFIERS });
  await runKernel(
    'row-moments',
    {
      value: { data, planes, rows, cols },
      dq: { data: dq, rows, cols },
      low: limit(low),
      high: limit(high),
      moments: { data: moments, planes, rows, cols: AMPLIFIERS * MOMENTS },
    },
    {},
    { threads, strip: cols },
  );
  return moments;
}

/** Means of each plane and amplifier, [plane][amplifier], without values 4 sigma off. */
export async function robustMeans(image: Planes, threads = 1): Promise<Mean[][]> {
  const { planes, rows } = image;
  const low = new Float32Array(planes * AMPLIFIERS).fill(-Infinity);
  const high = new Float32Array(planes * AMPLIFIERS).fill(Infinity);
  let means: Mean[][] = [];
  for (let round = 0; round < CLIP_ROUNDS; round++) {
    const table = await rowMoments(image, low, high, threads);
    means = Array.from({ length: planes }, (_, plane) =>
      Array.from({ length: AMPLIFIERS }, (__, amplifier) => gather(table, plane, rows, amplifier, 0, rows)),
    );
    for (const [i, { mean, sigma }] of means.flat().entries()) {
      low[i] = mean - CLIP_SIGMAS * sigma;
      high[i] = mean + CLIP_SIGMAS * sigma;
    }
  }
  return means;
}

/** Means of blocks of `height` rows of each amplifier, all values counted: [plane][block], amplifier by amplifier. */
export async function blockMeans(image: Planes, height: number, threads = 1): Promise<Mean[][]> {
  const { planes, rows } = image;
  const table = await rowMoments(
    image,
    new Float32Array(planes * AMPLIFIERS).fill(-Infinity),
    new Float32Array(planes * AMPLIFIERS).fill(Infinity),
    threads,
  );
  const perAmplifier = Math.ceil(rows / height);
  return Array.from({ length: planes }, (_, plane) =>
    Array.from({ length: AMPLIFIERS * perAmplifier }, (__, block) => {
      const from = (block % perAmplifier) * height;
      return gather(table, plane, rows, Math.floor(block / perAmplifier), from, Math.min(from + height, rows));
    }),
  );
}

export interface Least {
  readonly at: number;
  readonly value: number;
  /** How far to either side the function rises by 1, the mean of both; Infinity where it does not within the range. */
  readonly error: number;
}

const GRID = 60;
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** Where a function of x in [low, high] is least, and its width for a rise by `rise`. Logarithmic grid, golden section. */
export function leastOnLog(f: (x: number) => number, low: number, high: number, rise = 1): Least {
  const step = Math.log(high / low) / GRID;
  const grid = Array.from({ length: GRID + 1 }, (_, i) => low * Math.exp(i * step));
  const values = grid.map(f);
  const best = values.indexOf(Math.min(...values));
  let [a, b] = [grid[Math.max(best - 1, 0)] as number, grid[Math.min(best + 1, GRID)] as number];
  for (let i = 0; i < 60; i++) {
    const [left, right] = [b - GOLDEN * (b - a), a + GOLDEN * (b - a)];
    if (f(left) < f(right)) b = right;
    else a = left;
  }
  const at = (a + b) / 2;
  const value = f(at);
  const side = (end: number): number => {
    if (!(f(end) > value + rise)) return Infinity;
    let [inside, outside] = [at, end];
    for (let i = 0; i < 60; i++) {
      const middle = (inside + outside) / 2;
      if (f(middle) > value + rise) outside = middle;
      else inside = middle;
    }
    return Math.abs(inside - at);
  };
  return { at, value, error: (side(low) + side(high)) / 2 };
}
