/**
 * The verdict on a calibration: numbers measured on its images, each held to limits that are data (data/qa.json). The
 * runner of builds calls it before it writes a product, and the page of a product calls it on the file, so that both say
 * the same.
 */
import { type CalibrationKind, GRADES, type Grade, KIND_IMAGES } from '../../calib/product.js';
import { DQ_BITS } from '../../core/generated/dq.js';
import {
  amplifierRegions,
  BAD_BITS,
  type Between,
  type Cells,
  cellsOf,
  columnProfile,
  countBits,
  type Histogram,
  histogramOf,
  type Level,
  levelOf,
  median,
  type QaGeometry,
  quantile,
  type Region,
  rowProfile,
  sampleOf,
  scatter,
  scienceRegion,
} from '../measure.js';
import { type CalibrationComparison, compareCalibrations, isDetectorMap } from './compare.js';
import { type CalibrationMaps, errorName } from './maps.js';
import { type Threshold, thresholds } from './thresholds.js';

export interface AmplifierLevel {
  /** 1-based. */
  readonly amplifier: number;
  readonly median: number;
  readonly scatter: number;
  /** Median error; NaN where there is no error image. */
  readonly error: number;
  /** Pixels with a bad bit or without a value [%]. */
  readonly badPercent: number;
}

/** What was measured on one image, inside the border. Level, profiles and cells are of good pixels or between limits. */
export interface ImageMeasures {
  readonly name: string;
  readonly unit: string;
  readonly level: Level;
  readonly error: number;
  /** Pixels without a finite value [%]. */
  readonly invalidPercent: number;
  /** Pixels with a bad bit or without a value [%]. */
  readonly badPercent: number;
  readonly amplifiers: readonly AmplifierLevel[];
  /** Largest step of the column profile from one amplifier to the next, between the medians of 16 columns on each side. */
  readonly amplifierStep: number;
  readonly histogram: Histogram;
  /** Values that count in profiles and cells. */
  readonly limits: Between;
  /** First row and column of the profiles. */
  readonly region: Region;
  readonly rowProfile: Float64Array;
  readonly columnProfile: Float64Array;
  readonly cells: Cells;
  /** Robust scatter of the means of the cells: what is left at large scales. */
  readonly largeScale: number;
}

export interface Check {
  readonly group: string;
  readonly number: string;
  readonly unit: string;
  /** null: it could not be measured. */
  readonly value: number | null;
  readonly verdict: Grade | 'not measured';
  readonly warn: Threshold['warn'];
  readonly fail: Threshold['fail'];
  /** One sentence for the operator; for a pass, what the number is. */
  readonly reason: string;
  readonly source: string;
}

export interface Assessment {
  readonly kind: CalibrationKind;
  readonly grade: Grade;
  readonly checks: readonly Check[];
  /** By name; what could not be measured is absent. */
  readonly numbers: Readonly<Record<string, number>>;
  readonly images: readonly ImageMeasures[];
  /** Pixels inside the border with each bit that occurs; undefined without DQ. */
  readonly bits: readonly { readonly bit: number; readonly name: string; readonly count: number }[] | undefined;
  readonly pixels: number;
  readonly previous: CalibrationComparison | undefined;
}

/** Pixels of a cell's side: the noise of its mean is 1/32 of a pixel's, and a fibre's traces (7 pixels apart) average out. */
const CELL = 32;
/** Columns on each side of a boundary between amplifiers. */
const STEP_COLUMNS = 16;
/** Values farther than this from the median do not count in profiles and cells, in units of the scatter. */
const CLIP = 8;
/** Range of the histogram around the median, in the same unit. */
const HISTOGRAM = 12;

const isBorderBit = (name: string) => name === 'REFERENCE_PIXEL' || name === 'REFERENCE_ARRAY';

/** What more pixels than this have on one side is a feature, such as a region that persists, and no outlier. */
const FEATURE = 0.015;

/** A range around the median, twice as far as features reach; where quartiles coincide, that of a sample; never empty. */
function around(level: Level, sample: Float32Array, width: number): Between {
  const half = width * level.scatter;
  if (half > 0) {
    const side = (edge: number) => (Math.abs(edge - level.median) > half ? 2 * Math.abs(edge - level.median) : half);
    return {
      low: level.median - side(quantile(sample, FEATURE)),
      high: level.median + side(quantile(sample, 1 - FEATURE)),
    };
  }
  const [low, high] = [quantile(sample, 0.001), quantile(sample, 0.999)];
  if (high > low) return { low: low - 0.05 * (high - low), high: high + 0.05 * (high - low) };
  const centre = Number.isFinite(level.median) ? level.median : 0;
  const margin = Math.abs(centre) * 0.01 || 1;
  return { low: centre - margin, high: centre + margin };
}

function stepOf(profile: Float64Array, region: Region, amplifiers: readonly Region[]): number {
  const steps = amplifiers.slice(1).map(({ x }) => {
    const at = x - region.x;
    const side = (from: number, to: number) => median(profile.subarray(Math.max(0, from), to));
    return Math.abs(side(at, at + STEP_COLUMNS) - side(at - STEP_COLUMNS, at));
  });
  const known = steps.filter(Number.isFinite);
  return known.length === 0 ? Number.NaN : Math.max(...known);
}

async function measureImage(maps: CalibrationMaps, name: string, geometry: QaGeometry): Promise<ImageMeasures> {
  const { kind, rows, cols, dq } = maps;
  const image = maps.images.get(name) as { data: Float32Array; unit: string };
  const error = maps.images.get(errorName(kind, name))?.data;
  const region = isDetectorMap(kind) ? scienceRegion(rows, cols, geometry) : { row: 0, rows, x: 0, cols };
  const stripes = isDetectorMap(kind) ? amplifierRegions(rows, cols, geometry) : [];
  const measure = async (where: Region) => {
    const pixels = where.rows * where.cols;
    const good = await levelOf(image.data, dq, cols, where, BAD_BITS);
    const all = await levelOf(image.data, undefined, cols, where, 0);
    const level = good.count > 0 ? good : all;
    const errors = error === undefined ? undefined : await levelOf(error, dq, cols, where, BAD_BITS);
    return {
      level,
      error: errors?.median ?? Number.NaN,
      invalidPercent: 100 * (1 - all.count / pixels),
      badPercent: 100 * (1 - good.count / pixels),
    };
  };
  const whole = await measure(region);
  const amplifiers: AmplifierLevel[] = [];
  for (const [i, stripe] of stripes.entries()) {
    const { level, error: amplifierError, badPercent } = await measure(stripe);
    amplifiers.push({
      amplifier: i + 1,
      median: level.median,
      scatter: level.scatter,
      error: amplifierError,
      badPercent,
    });
  }
  const sample = sampleOf(image.data);
  const limits = around(whole.level, sample, CLIP);
  const wide = around(whole.level, sample, HISTOGRAM);
  const size = Math.max(1, Math.min(CELL, region.rows, region.cols));
  const columns = await columnProfile(image.data, cols, region, limits);
  const cells = await cellsOf(image.data, cols, region, size, limits);
  return {
    name,
    unit: image.unit,
    ...whole,
    amplifiers,
    amplifierStep: stepOf(columns, region, stripes),
    histogram: await histogramOf(image.data, cols, region, wide.low, wide.high),
    limits,
    region,
    rowProfile: await rowProfile(image.data, cols, region, limits),
    columnProfile: columns,
    cells,
    largeScale: scatter(cells.values),
  };
}

/** Every number that a limit may ask for. Those that could not be measured are left out. */
function numbersOf(
  maps: CalibrationMaps,
  images: readonly ImageMeasures[],
  bits: readonly number[] | undefined,
  pixels: number,
  previous: CalibrationComparison | undefined,
): Record<string, number> {
  const numbers: Record<string, number> = {};
  const put = (name: string, value: number) => {
    if (Number.isFinite(value)) numbers[name] = value;
  };
  for (const { name, level, error, invalidPercent, badPercent, amplifierStep, largeScale } of images) {
    const size = Math.abs(level.median);
    put(`${name}.median`, level.median);
    put(`${name}.scatter`, level.scatter);
    put(`${name}.scatterPercent`, (100 * level.scatter) / size);
    put(`${name}.error`, error);
    put(`${name}.errorPercent`, (100 * error) / size);
    put(`${name}.invalidPercent`, invalidPercent);
    put(`${name}.badPercent`, badPercent);
    put(`${name}.amplifierStep`, amplifierStep);
    put(`${name}.amplifierStepPercent`, (100 * amplifierStep) / size);
    put(`${name}.largeScale`, largeScale);
  }
  for (const { bit, name } of DQ_BITS) {
    if (bits !== undefined) put(`dq.${name}`, (100 * (bits[bit] as number)) / pixels);
  }
  for (const [keyword, value] of Object.entries(maps.cards)) put(`card.${keyword}`, value);
  if (maps.kind === 'linearity') {
    const at = (name: string) => numbers[`${name}.median`] ?? Number.NaN;
    put('departurePercent', 100 * (at('C2') * at('LIMIT') + at('C3') * at('LIMIT') ** 2));
  }
  if (maps.kind === 'oneoverf') {
    const parts = Object.entries(maps.cards).filter(([keyword]) => /^EXPL\d+$/.test(keyword));
    put('explained.least', Math.min(...parts.map(([, part]) => part)));
  }
  const first = previous?.images[0];
  if (previous !== undefined && first !== undefined) {
    put('previous.becameBadPercent', (100 * first.onlyA) / previous.pixels);
    put('previous.recoveredPercent', (100 * first.onlyB) / previous.pixels);
    if (first.errors) put('previous.changedPercent', (100 * first.beyond) / first.compared);
    put(
      'previous.shiftPercent',
      (100 * Math.abs(first.median ?? Number.NaN)) / Math.abs(images[0]?.level.median ?? Number.NaN),
    );
  }
  return numbers;
}

const shown = (value: number) => String(Number(value.toPrecision(3)));
const within = (value: number, [low, high]: Threshold['warn']) =>
  (low === null || value >= low) && (high === null || value <= high);

/** "3.2 % above the limit 2 %" */
function breach(value: number, [low, high]: Threshold['warn'], unit: string): string {
  const text = (v: number) => `${shown(v)}${unit === '' ? '' : ` ${unit}`}`;
  return low !== null && value < low
    ? `${text(value)}, below ${text(low)}`
    : `${text(value)}, above ${text(high as number)}`;
}

/** Holds a number to its limits. */
export function judge(threshold: Threshold, value: number | undefined): Check {
  const { group, number, unit, warn, fail, doc, source } = threshold;
  const check = { group, number, unit, warn, fail, source };
  if (value === undefined) return { ...check, value: null, verdict: 'not measured', reason: doc };
  if (fail !== null && !within(value, fail)) {
    return { ...check, value, verdict: 'fail', reason: `${doc}: ${breach(value, fail, unit)}` };
  }
  if (!within(value, warn)) return { ...check, value, verdict: 'warn', reason: `${doc}: ${breach(value, warn, unit)}` };
  return { ...check, value, verdict: 'pass', reason: doc };
}

/** The worse of grades. */
export function worse(...grades: readonly Grade[]): Grade {
  return GRADES[Math.max(0, ...grades.map((grade) => GRADES.indexOf(grade)))] as Grade;
}

/**
 * Measures a calibration and holds its numbers to the limits for its kind and instrument.
 * @param maps of the calibration; arrays are only read
 * @param previous the calibration of the same kind and detector before it, where there is one
 * @param limits thresholds; those of data/qa.json where none are given
 * @throws CalibrationError when `previous` is of another kind, detector or size
 */
export async function assessCalibration(
  maps: CalibrationMaps,
  geometry: QaGeometry,
  previous?: CalibrationMaps,
  limits: readonly Threshold[] = thresholds(),
): Promise<Assessment> {
  const { kind, cols, dq } = maps;
  const images: ImageMeasures[] = [];
  for (const name of KIND_IMAGES[kind]) images.push(await measureImage(maps, name, geometry));
  const region = (images[0] as ImageMeasures).region;
  const pixels = region.rows * region.cols;
  const counts = dq === undefined ? undefined : await countBits(dq, cols, region);
  const comparison =
    previous === undefined || !isDetectorMap(kind) ? undefined : await compareCalibrations(previous, maps, geometry);
  const numbers = numbersOf(maps, images, counts, pixels, comparison);
  const checks = limits
    .filter((one) => one.kinds.includes(kind) || (one.kinds.includes('*') && isDetectorMap(kind)))
    .filter((one) => one.instrument === undefined || one.instrument === maps.instrument)
    .map((one) => judge(one, numbers[one.number]));
  const bits = counts?.flatMap((count, bit) => {
    const name = DQ_BITS.find((one) => one.bit === bit)?.name ?? `bit ${bit}`;
    return count > 0 && !isBorderBit(name) ? [{ bit, name, count }] : [];
  });
  const grades = checks.flatMap(({ verdict }) => (verdict === 'not measured' ? [] : [verdict]));
  return { kind, grade: worse(...grades), checks, numbers, images, bits, pixels, previous: comparison };
}
