/**
 * Orders of an echelle with a long slit: their edges on a flat, and an object in the slit, found and followed by the kernels of fibres.
 * The step of the light from row to row makes a peak of an edge.
 */
import { AlgorithmError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import {
  type FibreState,
  PROFILE_NODES,
  PROFILE_PER_PIXEL,
  PROFILE_REACH,
  PROFILE_SAMPLES,
  type Profile,
  type Spectrograph,
  type Traces,
} from '../../core/spectra.js';
import { runKernel } from '../../engine/index.js';
import { levelOf } from '../measure.js';
import { FIGURE, type FitInput, type FitStep, startSeries, TraceFitter } from './fit.js';
import type { Detector } from './identify.js';
import { assignments, at, medianOf } from './match.js';
import { collapseRows, type FlatImage, findPeaks, type Peak } from './peaks.js';
import { CENTRE_TERMS, drawTraces, fitSeries, newTraces, placeOf } from './series.js';

/** A frame of rates with errors; [row][x] */
export interface SlitFrame {
  readonly image: Float32Array;
  readonly error: Float32Array;
  readonly rows: number;
  readonly cols: number;
}

/** Columns on either side of a band: orders tilt by up to 0.03, so that an edge moves by half a pixel in it. */
const BAND_REACH = 8;
/** Distance of peaks at least [px]. */
const PEAK_SPACING = 10;
/** Steps along x in which peaks are followed, and how far they may be from where they are expected [px]. */
const FOLLOW_STEP = 32;
const FOLLOW_REACH = 2.5;
const FOLLOW_TERMS = 5;
/** An edge is higher than this part of the lowest of as many peaks as there are orders. */
const LEAST_EDGE = 0.4;
/** Orders whose edges must be found. */
const LEAST_ORDERS = 0.7;
/** Sigma of an edge, as the slit is imaged [px]. */
const EDGE_SIGMA = 1.2;
/** Half of the profile of a slit [px], which its width then scales: PROFILE_REACH leaves no room for more. */
const SLIT_HALF = 10;
/** An object lies this far inside the slit at least [px], and within this of where it lies in the other orders. */
const INSIDE = 5;
const SAME_PLACE = 3;
/** The object's own column band: its light is fainter than a lamp's. */
const OBJECT_REACH = 16;
/** Seeing of half an arcsecond, where a peak does not tell its width [px]. */
const OBJECT_SIGMA = 1.5;
/** smooth-traces' figures of a fibre. */
const FIGURES = 8;

/** Terms along x of light, place and width; the last steps without pixels that are off by 6 sigma or by the model's error. */
const STEPS: readonly FitStep[] = [
  { flux: 8, centre: 0, width: 0, clip: 0, every: 1, pedestal: false },
  { flux: 8, centre: 4, width: 1, clip: 0, every: 1, pedestal: false },
  { flux: 8, centre: 4, width: 3, clip: 6, every: 1, pedestal: false },
  { flux: 10, centre: 4, width: 3, clip: 6, every: 1, pedestal: false },
  { flux: 10, centre: 4, width: 3, clip: 6, every: 1, pedestal: false },
];

/** What was found of the edges or of an object, [order][x]. */
interface Followed {
  readonly centre: Float32Array;
  readonly width: Float32Array;
  readonly flux: Float32Array;
  /** Standard deviation of the centre [px]. */
  readonly error: Float32Array;
  readonly figures: Float64Array;
  readonly held: readonly boolean[];
}

/** The same profile for all orders, from its share of light below z. */
function profileOf(fibres: number, below: (z: number) => number): Profile {
  const table = Float32Array.from({ length: PROFILE_SAMPLES }, (_, i) => below(i / PROFILE_PER_PIXEL - PROFILE_REACH));
  const [low, high] = [at(table, 0), at(table, PROFILE_SAMPLES - 1)];
  const one = table.map((value) => (value - low) / (high - low));
  const cumulative = new Float32Array(fibres * PROFILE_NODES * PROFILE_SAMPLES);
  for (let i = 0; i < fibres * PROFILE_NODES; i++) cumulative.set(one, i * PROFILE_SAMPLES);
  return { fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
}

/** Of a normal distribution with sigma 1 (Zelen and Severo 1964: Abramowitz and Stegun 26.2.17, to 7.5e-8). */
function normalBelow(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const series = ((((1.330274429 * t - 1.821255978) * t + 1.781477937) * t - 0.356563782) * t + 0.31938153) * t;
  const tail = (Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI)) * series;
  return z > 0 ? 1 - tail : tail;
}

export const gaussProfile = (fibres: number): Profile => profileOf(fibres, normalBelow);
/** Even over 2 SLIT_HALF px at width 1. */
export const slitProfile = (fibres: number): Profile =>
  profileOf(fibres, (z) => Math.min(1, Math.max(0, (z + SLIT_HALF) / (2 * SLIT_HALF))));
export const SLIT_UNIT = 2 * SLIT_HALF;

/** One image less another, with weights. */
async function subtract(a: SlitFrame, b: Pick<SlitFrame, 'image' | 'error'>, rows: number): Promise<FlatImage> {
  const { cols } = a;
  const [image, ivar] = [new Float32Array(rows * cols), new Float32Array(rows * cols)];
  const map = (data: Float32Array) => ({ data, rows, cols });
  await runKernel('row-step', {
    above: map(a.image),
    below: map(b.image),
    aboveError: map(a.error),
    belowError: map(b.error),
    step: map(image),
    ivar: map(ivar),
  });
  return { image, ivar, dq: new Uint32Array(rows * cols), rows, cols };
}

/** Light by row about a column; what is below 0, the holes of the other edges, is no light. */
async function lightAt(flat: FlatImage, column: number, reach: number): Promise<readonly Peak[]> {
  const collapsed = await collapseRows(flat, column, reach);
  return findPeaks({ ...collapsed, profile: collapsed.profile.map((value) => Math.max(value, 0)) }, PEAK_SPACING);
}

/**
 * Follows each peak for itself from `column` to both ends, where it was a few columns before and as it moved.
 * @returns Legendre terms of the rows [peak][CENTRE_TERMS]
 */
async function followPeaks(
  flat: FlatImage,
  start: readonly (Peak | undefined)[],
  y: Float64Array,
  column: number,
  reach: number,
): Promise<Float64Array> {
  const { cols } = flat;
  const seen = start.map((peak, i) => [{ x: column, y: at(y, i), height: peak?.height ?? Number.NaN }]);
  for (const side of [-1, 1]) {
    const last = seen.map((points) => points[0] as { x: number; y: number; height: number });
    const slopes = seen.map(() => 0);
    for (let x = column + side * FOLLOW_STEP; x >= reach && x < cols - reach; x += side * FOLLOW_STEP) {
      const peaks = await lightAt(flat, x, reach);
      seen.forEach((points, i) => {
        const before = last[i] as { x: number; y: number; height: number };
        const wanted = before.y + at(slopes, i) * (x - before.x);
        const near = peaks
          .filter((peak) => peak.height > LEAST_EDGE * before.height && Math.abs(peak.y - wanted) < FOLLOW_REACH)
          .toSorted((a, b) => Math.abs(a.y - wanted) - Math.abs(b.y - wanted))[0];
        if (near === undefined) return;
        const point = { x, y: near.y, height: near.height };
        points.push(point);
        // Half of what is new: one wrong peak turns a trace by little.
        slopes[i] = (at(slopes, i) + (near.y - before.y) / (x - before.x)) / 2;
        last[i] = point;
      });
    }
  }
  const terms = new Float64Array(y.length * CENTRE_TERMS);
  seen.forEach((points, i) => {
    const order = Math.min(FOLLOW_TERMS, points.length);
    terms.set(
      fitSeries(
        points.map(({ x }) => placeOf(x, cols)),
        points.map((point) => point.y),
        order,
      ),
      i * CENTRE_TERMS,
    );
  });
  return terms;
}

/** Follows peaks over all columns and fits them. */
async function fitPeaks(
  flat: FlatImage,
  start: readonly (Peak | undefined)[],
  y: Float64Array,
  options: SlitOptions,
  sigma: number,
  reach: number,
): Promise<Followed> {
  const { rows, cols, image, ivar } = flat;
  const { spectrograph, threads = 1 } = options;
  const centre = await followPeaks(flat, start, y, spectrograph.column, reach);
  const measured = start.map((peak) => peak !== undefined);
  return fitFrom(
    { rows, cols, image, ivar, profile: gaussProfile(y.length), expected: y, threads },
    centre,
    sigma,
    measured,
  );
}

async function fitFrom(
  input: FitInput,
  centre: Float64Array,
  sigma: number,
  measured: readonly boolean[],
): Promise<Followed> {
  const { cols, threads = 1 } = input;
  const fitter = new TraceFitter(
    cols,
    startSeries(
      centre,
      sigma,
      measured.map((is) => !is),
    ),
  );
  for (const step of STEPS) await fitter.step(input, step);
  const { terms, covariance, figures, held } = fitter.fitted;
  const fibres = measured.length;
  const [drawn, errors] = [newTraces(fibres, cols), new Float32Array(6 * fibres * cols)];
  await drawTraces(terms, cols, drawn, threads, { of: covariance, errors });
  const error = errors.subarray(3 * fibres * cols, 4 * fibres * cols).map(Math.sqrt);
  return { ...drawn, error, figures, held };
}

/** One side of all orders. */
async function followEdges(steps: FlatImage, expected: Float64Array, options: SlitOptions) {
  const { spectrograph, file } = options;
  const slit = spectrograph.slit as number;
  const { column } = spectrograph;
  const peaks = await lightAt(steps, column, BAND_REACH);
  const heights = peaks.map(({ height }) => height).sort((a, b) => b - a);
  const lowest = LEAST_EDGE * (heights[expected.length - 1] ?? 0);
  const edges = peaks.filter(({ height }) => height > lowest);
  const fail = (found: number) => {
    throw new AlgorithmError(
      `expected the edges of ${expected.length} orders, or ${Math.ceil(LEAST_ORDERS * expected.length)} at least, received ${found}: no lamp, or another setting of the echelle`,
      { file },
    );
  };
  if (edges.length < 2) fail(edges.length);
  const [best] = assignments(edges, { rows: expected, spacing: slit, height: steps.rows }, slit);
  const start = [...(best?.peak ?? [])].map((k) => edges[k]);
  const found = start.filter((peak) => peak !== undefined).length;
  if (best === undefined || found < LEAST_ORDERS * expected.length) return fail(found);
  const y = expected.map((row, i) => start[i]?.y ?? row + best.bend.terms[0]);
  return {
    ...(await fitPeaks(steps, start, y, options, EDGE_SIGMA, BAND_REACH)),
    measured: start.map((peak) => peak !== undefined),
  };
}

export interface SlitOptions {
  readonly spectrograph: Spectrograph;
  readonly detector: Detector;
  readonly file?: string | undefined;
  readonly threads?: number | undefined;
}

export interface SlitTraces {
  /** A trace is the middle of the slit; its width times SLIT_UNIT is the slit's length. */
  readonly traces: Traces;
  /** Scatter of the edges about the smooth ones [px], and the columns that were measured; [order] */
  readonly rms: Float32Array;
  readonly chi2: Float32Array;
  readonly columns: Int32Array;
  /** Middle of the slit less where the instrument has it, at its column [px]. */
  readonly shift: Float32Array;
}

/**
 * Traces the orders of a flat by the edges of the slit.
 * @throws AlgorithmError where the edges of too few orders are found
 */
export async function traceSlits(flat: SlitFrame, options: SlitOptions): Promise<SlitTraces> {
  const { spectrograph, detector } = options;
  const { rows, cols } = flat;
  const fibres = spectrograph.fibres;
  const slit = spectrograph.slit as number;
  const above = { ...flat, image: flat.image.subarray(cols), error: flat.error.subarray(cols) };
  const middle = spectrograph.positions(detector);
  // The step between rows r and r + 1 is row r of its image, and an edge at r + 0.5.
  const low = await followEdges(
    await subtract(above, flat, rows - 1),
    middle.map((row) => row - slit / 2 - 0.5),
    options,
  );
  const high = await followEdges(
    await subtract(flat, above, rows - 1),
    middle.map((row) => row + slit / 2 - 0.5),
    options,
  );
  const size = fibres * cols;
  const centre = low.centre.map((row, i) => (row + at(high.centre, i)) / 2 + 0.5);
  const width = low.centre.map((row, i) => (at(high.centre, i) - row) / SLIT_UNIT);
  // What is beyond an edge is the step's own light; over the slit's length it is that of a column.
  const flux = low.flux.map((step, i) => ((step + at(high.flux, i)) / 2) * SLIT_UNIT * at(width, i));
  const variance = low.error.map((error, i) => (error ** 2 + at(high.error, i) ** 2) / 4);
  const covariance = new Float32Array(6 * size);
  covariance.set(variance, 3 * size);
  const states = Array.from({ length: fibres }, (_, i): FibreState => {
    if (low.measured[i] !== true && high.measured[i] !== true) return 'off-chip';
    return low.held[i] === true || high.held[i] === true ? 'blended' : 'ok';
  });
  const dq = new Uint32Array(size);
  states.forEach((state, i) => {
    if (state !== 'ok') dq.fill(DQ.TRACE_INTERPOLATED, i * cols, (i + 1) * cols);
  });
  const both = (figure: number, join: (a: number, b: number) => number) =>
    Array.from({ length: fibres }, (_, i) =>
      join(at(low.figures, i * FIGURES + figure), at(high.figures, i * FIGURES + figure)),
    );
  const traces: Traces = {
    fibres,
    cols,
    centre,
    width,
    flux,
    covariance,
    dq,
    states,
    profile: slitProfile(fibres),
    throughput: new Float32Array(fibres).fill(Number.NaN),
    throughputError: new Float32Array(fibres).fill(Number.NaN),
  };
  return {
    traces,
    rms: Float32Array.from(both(FIGURE.rms, (a, b) => Math.hypot(a, b) / 2)),
    chi2: Float32Array.from(both(FIGURE.chi2, (a, b) => (a + b) / 2)).map(
      (value, i) =>
        value /
        Math.max(
          1,
          at(
            both(FIGURE.freedom, (a, b) => (a + b) / 2),
            i,
          ),
        ),
    ),
    columns: Int32Array.from(both(FIGURE.bins, Math.min), (bins) => Math.round((bins * cols) / 128)),
    shift: Float32Array.from(middle, (row, i) => at(centre, i * cols + spectrograph.column) - row),
  };
}

export interface SlitObject {
  /** [order][x] */
  readonly centre: Float32Array;
  readonly error: Float32Array;
  /** Sigma of a Gaussian [px]. */
  readonly width: Float32Array;
  /** From the middle of the slit, at the instrument's column; [order] [px] */
  readonly offsets: Float32Array;
  readonly states: readonly FibreState[];
}

/**
 * Finds the brightest object in the slit and follows it in every order.
 * @param orders of a flat, as traceSlits has them
 * @throws AlgorithmError where no object is seen in most orders
 */
export async function traceObject(
  frame: SlitFrame,
  orders: Pick<Traces, 'fibres' | 'cols' | 'centre' | 'width' | 'states'>,
  options: SlitOptions,
): Promise<SlitObject> {
  const { spectrograph, file } = options;
  const { rows, cols } = frame;
  const { column } = spectrograph;
  const { fibres } = orders;
  // Most of the image is sky and what the detector itself shows.
  const { median } = await levelOf(frame.image, undefined, cols, { row: 0, rows, x: 0, cols }, 0);
  const level = {
    image: new Float32Array(rows * cols).fill(median),
    error: new Float32Array(rows * cols).fill(1e-6 * Math.max(1, Math.abs(median))),
  };
  const light = await subtract(frame, level, rows);
  const peaks = await lightAt(light, column, OBJECT_REACH);
  const middle = Float64Array.from({ length: fibres }, (_, i) => at(orders.centre, i * cols + column));
  const brightest = [...middle].map((row, i) => {
    const half = (at(orders.width, i * cols + column) * SLIT_UNIT) / 2 - INSIDE;
    const inside = orders.states[i] === 'off-chip' ? [] : peaks.filter(({ y }) => Math.abs(y - row) < half);
    return inside.toSorted((a, b) => b.flux - a.flux)[0];
  });
  const offset = medianOf(brightest.flatMap((peak, i) => (peak === undefined ? [] : [peak.y - at(middle, i)])));
  const start = brightest.map((peak, i) =>
    peak !== undefined && Math.abs(peak.y - at(middle, i) - offset) < SAME_PLACE ? peak : undefined,
  );
  const found = start.filter((peak) => peak !== undefined).length;
  if (found < LEAST_ORDERS * fibres) {
    throw new AlgorithmError(
      `expected an object at the same place of the slit in ${Math.ceil(LEAST_ORDERS * fibres)} orders at least, received ${found}`,
      { file },
    );
  }
  const y = middle.map((row, i) => start[i]?.y ?? row + offset);
  const sigma = medianOf(start.flatMap((peak) => (peak === undefined ? [] : [peak.sigma])));
  const followed = await fitPeaks(
    light,
    start,
    y,
    options,
    Number.isFinite(sigma) ? sigma : OBJECT_SIGMA,
    OBJECT_REACH,
  );
  return {
    centre: followed.centre,
    error: followed.error,
    width: followed.width,
    offsets: Float32Array.from(middle, (row, i) => at(followed.centre, i * cols + column) - row),
    states: followed.held.map((held) => (held ? 'blended' : 'ok')),
  };
}
