/** Smooth patterns over the detector: what varies from corner to corner and not from pixel to pixel. */
import { runKernel } from '../engine/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { exp, type Sequence } from './math.js';

const { readCols: READ_COLUMNS, cols: SCIENCE_COLUMNS } = apogee.geometry;
/** Terms of the kernel mock-smooth: a constant, two gradients and at most five bumps. */
const TERMS = 8;

/** A round Gaussian: u and v run from -1 to 1 over the science columns and the rows, so a strip sees the whole pattern. */
interface Bump {
  readonly u: number;
  readonly v: number;
  readonly width: number;
  readonly height: number;
}

/** 1 + gradientU u + gradientV v + bumps. */
export interface Pattern {
  readonly gradientU: number;
  readonly gradientV: number;
  readonly bumps: readonly Bump[];
}

export interface PatternLimits {
  /** Largest gradient; each is drawn between half of it and all of it, up or down. */
  readonly gradient: number;
  readonly bumps: number;
  /** Largest height of a bump; drawn as the gradients are. */
  readonly height: number;
  /** Smallest and largest width. */
  readonly width: readonly [number, number];
}

export function drawPattern(numbers: Sequence, { gradient, bumps, height, width }: PatternLimits): Pattern {
  const signed = (most: number): number => {
    const size = 0.5 + 0.5 * numbers.uniform();
    return numbers.below(2) === 0 ? -most * size : most * size;
  };
  return {
    gradientU: signed(gradient),
    gradientV: signed(gradient),
    bumps: Array.from({ length: bumps }, () => ({
      u: 2 * numbers.uniform() - 1,
      v: 2 * numbers.uniform() - 1,
      width: width[0] + (width[1] - width[0]) * numbers.uniform(),
      height: signed(height),
    })),
  };
}

/** Multiplies a map [rows][cols] by a pattern, in place; columns beyond the science ones become 0. */
export async function multiplyByPattern(
  map: Float32Array,
  rows: number,
  { gradientU, gradientV, bumps }: Pattern,
  threads: number,
  cols: number = READ_COLUMNS,
): Promise<void> {
  const gauss = (z: number): number => exp(-0.5 * z * z);
  const terms: readonly (readonly [(u: number) => number, (v: number) => number])[] = [
    [() => 1, () => 1],
    [(u) => gradientU * u, () => 1],
    [() => gradientV, (v) => v],
    ...bumps.map(
      (bump) =>
        [
          (u: number) => bump.height * gauss((u - bump.u) / bump.width),
          (v: number) => gauss((v - bump.v) / bump.width),
        ] as const,
    ),
  ];
  const across = new Float32Array(TERMS * cols);
  const along = new Float32Array(rows * TERMS);
  terms.forEach(([ofColumn, ofRow], k) => {
    for (let x = 0; x < SCIENCE_COLUMNS; x++) across[k * cols + x] = ofColumn(position(x, SCIENCE_COLUMNS));
    for (let row = 0; row < rows; row++) along[row * TERMS + k] = ofRow(position(row, rows));
  });
  await runKernel(
    'mock-smooth',
    {
      across: { data: across, rows: TERMS, cols },
      along: { data: along, rows, cols: TERMS },
      map: { data: map, rows, cols },
    },
    {},
    { threads },
  );
}

/** Centre of the i-th of n pixels, in [-1, 1]. */
const position = (i: number, n: number): number => (2 * i + 1) / n - 1;
