/**
 * Where the light of each fibre lies on a chip and how it is spread: trace, width and profile, and how they move from exposure
 * to exposure. Centres and profiles are in the convention of src/core/spectra.ts: the centroid within 4 px is the centre.
 */
import { PROFILE_NODES, PROFILE_PER_PIXEL, PROFILE_REACH, PROFILE_SAMPLES, type Profile } from '../core/spectra.js';
import { type Effects, STREAM } from './detector.js';
import type { ChipFigures } from './figures.js';
import { exp, type Seed, Sequence } from './math.js';

export const FIBRES = 300;
export const COLUMNS = 2048;
/** Samples of a fine cumulative profile: -12 px to +12 px in steps of 0.01 px at width 1, as mock-scene takes them. */
export const FINE_SAMPLES = 2401;
const FINE_PER_PIXEL = 100;
/** The measured profiles reach as far; on a wider grid than the fine tables because they are moved onto their centroids. */
const RAW_REACH = 15.5;
const RAW_SAMPLES = 3101;
/** px on both sides of the centre within which its profile's centroid is 0. */
const CENTROID_REACH = 4;

/** How much the Gauss-Hermite heights differ at the ends of a chip from those in its middle, which were measured. */
const SHAPE_DRIFT = 0.2;
/** Light in the broad wings: the mean, and how much more at the right end of a chip than at the left. */
const WING_PART = 0.02;
const WING_DRIFT = 0.01;
/** Half width at half maximum of the wings before they are cut to end at 12 px [px]. */
const WING_PX = 3;
/** Largest coefficient of the terms by which the width varies over a chip. */
const WIDTH_DRIFT = 0.03;
/** How much the width changes from the first exposure of a night to the 120th, and its scatter. */
const WIDTH_NIGHT = 0.01;
const WIDTH_SCATTER = 0.002;
/** How far the traces move in a night [px], their scatter from exposure to exposure, and that of the slope along x. */
const SHIFT_NIGHT = 0.3;
const SHIFT_SCATTER = 0.05;
const TILT_SCATTER = 0.01;
/** Scatter of the distance of fibres: 0.02 px at the ends of the slit. */
const SCALE_SCATTER = 2e-5;
/** Exposures of a night, as DATE-OBS counts them. */
const NIGHT_EXPOSURES = 120;

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;

/** How an exposure's traces differ from the detector's: y = 1023.5 + (y0 - 1023.5) (1 + scale) + shift + tilt u, u in [-1, 1] along x. */
export interface Flexure {
  /** [px] */
  readonly shift: number;
  readonly scale: number;
  /** [px] */
  readonly tilt: number;
  /** Factor of all widths. */
  readonly width: number;
}

/** The flexure of the `exposure`-th of a night: a slow drift, which all exposures share, and an offset of its own. */
export function flexureOf(exposure: number, seed: Seed, effects: Pick<Effects, 'flexure' | 'profileDrift'>): Flexure {
  const numbers = new Sequence(seed, STREAM.flexure);
  const [offset, scale, tilt, width] = [numbers.normal(), numbers.normal(), numbers.normal(), numbers.normal()];
  const time = (exposure % NIGHT_EXPOSURES) / NIGHT_EXPOSURES;
  return {
    // Fast after sunset and slow towards the morning, as the temperature falls.
    shift: effects.flexure ? SHIFT_NIGHT * time * (2 - time) + SHIFT_SCATTER * offset : 0,
    scale: effects.flexure ? SCALE_SCATTER * scale : 0,
    tilt: effects.flexure ? TILT_SCATTER * tilt : 0,
    width: effects.profileDrift ? 1 + WIDTH_NIGHT * (time - 0.5) + WIDTH_SCATTER * width : 1,
  };
}

/** Profiles of a chip at its two ends, and where the light's centroid lies off the Gauss-Hermite centre. */
export interface Tables {
  /** [fibre][FINE_SAMPLES] cumulative, at column 0 and at the last. */
  readonly left: Float32Array;
  readonly right: Float32Array;
  /** [fibre] px at width 1. */
  readonly leftCentroid: Float64Array;
  readonly rightCentroid: Float64Array;
}

/** Cumulative Gauss-Hermite functions, one for each order, on the raw grid. */
function hermiteBasis(orders: number): Float64Array[] {
  const basis = Array.from({ length: orders }, () => new Float64Array(RAW_SAMPLES));
  const density = (z: number): number => exp(-0.5 * z * z) * 0.3989422804014327;
  let integral = 0;
  for (let i = 0; i < RAW_SAMPLES; i++) {
    const z = i / FINE_PER_PIXEL - RAW_REACH;
    // Simpson's rule over the step before
    if (i > 0) integral += (density(z - 0.01) + 4 * density(z - 0.005) + density(z)) * (0.01 / 6);
    (basis[0] as Float64Array)[i] = integral;
    // -He_{j-1}(z) phi(z), with He_{k+1} = z He_k - k He_{k-1}
    let before = 0;
    let hermite = 1;
    for (let j = 1; j < orders; j++) {
      (basis[j] as Float64Array)[i] = -hermite * density(z);
      [before, hermite] = [hermite, z * hermite - (j - 1) * before];
    }
  }
  return basis;
}

/** A cumulative table at position `at` of its grid, by straight lines. */
function between(table: Float64Array, place: number): number {
  const i = Math.min(Math.max(Math.floor(place), 0), table.length - 2);
  return at(table, i) + (at(table, i + 1) - at(table, i)) * Math.min(Math.max(place - i, 0), 1);
}

/** Centroid of the light within 4 px of itself, of a cumulative profile on the raw grid [px]. */
function centroidOf(table: Float64Array): number {
  const reach = CENTROID_REACH * FINE_PER_PIXEL;
  let centre = 0;
  // The window moves by a hundredth of what the centroid does: four rounds leave nothing.
  for (let round = 0; round < 4; round++) {
    const middle = (centre + RAW_REACH) * FINE_PER_PIXEL;
    const [low, high] = [between(table, middle - reach), between(table, middle + reach)];
    // By parts: the integral of z dC is [z C] less that of C, trapezoids about the middle.
    let area = 0.5 * (low + high);
    for (let k = 1 - reach; k < reach; k++) area += between(table, middle + k);
    centre += (CENTROID_REACH * (low + high) - area / FINE_PER_PIXEL) / (high - low);
  }
  return centre;
}

/** Broad wings, cumulative on the fine grid: 1 / (1 + (z / WING_PX)^2) less its value at 12 px, symmetric. */
function wingTable(): Float64Array {
  const table = new Float64Array(FINE_SAMPLES);
  const edge = 1 / (1 + (PROFILE_REACH / WING_PX) ** 2);
  const density = (z: number): number => 1 / (1 + (z / WING_PX) * (z / WING_PX)) - edge;
  for (let i = 1; i < FINE_SAMPLES; i++) {
    const z = i / FINE_PER_PIXEL - PROFILE_REACH;
    table[i] = at(table, i - 1) + density(z - 0.01) + 4 * density(z - 0.005) + density(z);
  }
  const total = at(table, FINE_SAMPLES - 1);
  return table.map((value) => value / total);
}

/** Cumulative profiles of a chip, never falling and from 0 to 1 (ApogeeReduction.jl's trace profiles, with wings and drift). */
function makeTables(chip: ChipFigures, seed: Seed, effects: Pick<Effects, 'profileDrift' | 'wings'>): Tables {
  const basis = hermiteBasis(chip.profileHeights.length);
  const wing = wingTable();
  const numbers = new Sequence(seed, STREAM.shape);
  const signs = chip.profileHeights.map(() => (numbers.below(2) === 0 ? -1 : 1));
  const end = (side: number) => {
    const table = new Float32Array(FIBRES * FINE_SAMPLES);
    const centroid = new Float64Array(FIBRES);
    const part = effects.wings ? WING_PART + (effects.profileDrift ? 0.5 * side * WING_DRIFT : 0) : 0;
    const sum = new Float64Array(RAW_SAMPLES);
    for (let fibre = 0; fibre < FIBRES; fibre++) {
      const index = Math.min(Math.max(fibre + 1, chip.profileFibres[0]), chip.profileFibres[1]);
      sum.fill(0);
      chip.profileHeights.forEach((coefficients, j) => {
        const drift = j > 0 && effects.profileDrift ? 1 + side * SHAPE_DRIFT * at(signs, j) : 1;
        const height = drift * coefficients.reduce((value, c) => value * index + c, 0);
        const term = basis[j] as Float64Array;
        for (let i = 0; i < RAW_SAMPLES; i++) sum[i] = at(sum, i) + height * at(term, i);
      });
      // The expansion dips below 0 in the wings; light does not.
      for (let i = 1; i < RAW_SAMPLES; i++) sum[i] = Math.max(at(sum, i), at(sum, i - 1));
      centroid[fibre] = centroidOf(sum);
      const first = (at(centroid, fibre) + RAW_REACH - PROFILE_REACH) * FINE_PER_PIXEL;
      const low = between(sum, first);
      const range = between(sum, first + FINE_SAMPLES - 1) - low;
      for (let i = 0; i < FINE_SAMPLES; i++) {
        table[fibre * FINE_SAMPLES + i] = (1 - part) * ((between(sum, first + i) - low) / range) + part * at(wing, i);
      }
    }
    return { table, centroid };
  };
  const left = end(-1);
  const right = effects.profileDrift ? end(1) : left;
  return { left: left.table, right: right.table, leftCentroid: left.centroid, rightCentroid: right.centroid };
}

/** The tables of each chip that was asked for: they cost more than the rest of a scene, and a night asks again and again. */
const made = new Map<string, Tables>();

/** `seed` is the detector's: a chip's profiles are the same in all exposures. */
export function tablesOf(chip: ChipFigures, seed: Seed, effects: Pick<Effects, 'profileDrift' | 'wings'>): Tables {
  const key = [chip.traceCentre[0], seed.low, seed.high, effects.profileDrift, effects.wings].join(' ');
  const tables = made.get(key) ?? makeTables(chip, seed, effects);
  made.set(key, tables);
  return tables;
}

/** The profiles as a reduction writes them: nine nodes along x, samples every 0.05 px. */
export function profileOf({ left, right }: Tables): Profile {
  const cumulative = new Float32Array(FIBRES * PROFILE_NODES * PROFILE_SAMPLES);
  const step = FINE_PER_PIXEL / PROFILE_PER_PIXEL;
  let to = 0;
  for (let fibre = 0; fibre < FIBRES; fibre++) {
    for (let node = 0; node < PROFILE_NODES; node++) {
      const part = node / (PROFILE_NODES - 1);
      for (let sample = 0; sample < PROFILE_SAMPLES; sample++) {
        const i = fibre * FINE_SAMPLES + sample * step;
        cumulative[to++] = (1 - part) * at(left, i) + part * at(right, i);
      }
    }
  }
  return { fibres: FIBRES, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
}

/** Where the traces run in an exposure. */
export interface TraceGeometry {
  /** [fibre][x] row of the centroid. */
  readonly centre: Float32Array;
  /** [fibre][x] */
  readonly width: Float32Array;
  /** First and last row that a fibre lights. */
  readonly low: Float32Array;
  readonly high: Float32Array;
}

/** `seed` is the detector's; `extra` moves all traces [px]. */
export function traceGeometry(
  chip: ChipFigures,
  tables: Tables,
  flexure: Flexure,
  seed: Seed,
  effects: Pick<Effects, 'profileDrift'>,
  extra: number,
): TraceGeometry {
  const centre = new Float32Array(FIBRES * COLUMNS);
  const width = new Float32Array(FIBRES * COLUMNS);
  const low = new Float32Array(FIBRES);
  const high = new Float32Array(FIBRES);
  const numbers = new Sequence(seed, STREAM.width);
  const drift = Array.from({ length: 5 }, () =>
    effects.profileDrift ? WIDTH_DRIFT * (2 * numbers.uniform() - 1) : 0,
  ) as [number, number, number, number, number];
  for (let fibre = 0; fibre < FIBRES; fibre++) {
    const y0 = (at(chip.traceCentre, fibre) - 1023.5) * (1 + flexure.scale);
    const v = (2 * fibre + 1) / FIBRES - 1;
    const across = 1 + drift[2] * v + drift[3] * (v * v - 1 / 3);
    const [zLeft, zRight] = [at(tables.leftCentroid, fibre), at(tables.rightCentroid, fibre)];
    let least = Number.POSITIVE_INFINITY;
    let most = Number.NEGATIVE_INFINITY;
    for (let x = 0; x < COLUMNS; x++) {
      const t = (x - 1023) / 2048;
      const u = (2 * x + 1) / COLUMNS - 1;
      const w = flexure.width * (across + u * (drift[0] + drift[4] * v) + drift[1] * (u * u - 1 / 3));
      const hermite =
        1023.5 + y0 * (1 + t * (chip.magnification[0] + t * chip.magnification[1])) + flexure.shift + flexure.tilt * u;
      const y = hermite + extra + w * (zLeft + ((zRight - zLeft) * x) / (COLUMNS - 1));
      centre[fibre * COLUMNS + x] = y;
      width[fibre * COLUMNS + x] = w;
      least = Math.min(least, y - PROFILE_REACH * w);
      most = Math.max(most, y + PROFILE_REACH * w);
    }
    low[fibre] = Math.floor(least);
    high[fibre] = Math.ceil(most);
  }
  return { centre, width, low, high };
}
