/**
 * What is measured on an image to tell what light is in it. All numbers come from windows of 32 rows spread over the chip,
 * so a strip of few rows is measured as a whole chip is; kernels average pixels, and here their tables are put together.
 */
import { BAD_BITS, cleanColumns, levelOf, quantile, type Region, rowPieces, scatter } from '../measure.js';

/** Almost five fibres, 6.6 px apart. */
const WINDOW_ROWS = 32;
/** A tenth of a full chip: enough for numbers that are compared with limits a factor of 2 apart. */
const WINDOWS = 6;
/** A row is taken in pieces; the medians of eight neighbouring ones are its levels: hot pixels and lines are in few of them. */
const PIECES = 64;
/** Over a whole row the trace of a fibre would leave the row: it moves by up to 9 rows, in an eighth of it by 1. */
const GROUPS = 8;
/** Columns with a level of their own, so that a slope is no line. */
const SEGMENTS = 8;
/** Part of the columns that shows how bright lines are: ten, three lines. */
const BRIGHTEST = 0.005;
/** Mean of the brightest 0.5 % of normal deviates [sigma]. */
const BRIGHTEST_OF_NOISE = 2.892;
/** A column this many sigma above the others is in a line. */
const LINE_SIGMAS = 5;
/** A piece of this many rows has the peak of a fibre in it. */
const PEAK_ROWS = 7;
/** Peaks without which nothing is said about their evenness. */
const LEAST_PEAKS = 6;
/** Shifts between neighbouring lines of the Fabry-Perot: 19.6 (chip c) to 31.7 px (chip a), and half of them to spare. */
const SHIFTS = { from: 14, to: 45 } as const;
/** Columns over which the distance of those lines is nearly constant. */
const COMB_COLUMNS = 510;
/** Lower quartile of a normal distribution [sigma]. */
const QUARTILE = 0.6745;
/** Fourth differences of independent values scatter by sqrt(1 + 16 + 36 + 16 + 1) of theirs. */
const FOURTH_DIFFERENCE = Math.sqrt(70);
/** Tenth and ninetieth percentile of normal deviates lie this far apart [sigma]. */
const DECILES = 2.563;

/** Names of a chip's features; levels are in DN/read. */
export const FEATURES = [
  'rows',
  'level',
  'noise',
  'bad',
  'fibres',
  'bright',
  'contrast',
  'even',
  'continuum',
  'tilt',
  'lines',
  'share',
  'peaked',
  'comb',
  'sky',
  'night',
] as const;
export type FeatureName = (typeof FEATURES)[number];

export interface ChipFeatures {
  readonly chip: string;
  /**
   * rows: rows that were measured. level: median of the pixels. noise: their robust scatter. bad: share of pixels without a good value. fibres: ninth less
   * first decile of the rows' levels, noise taken out. bright: 0.95 quantile of the rows' levels. contrast: fibres over sum
   * of the two deciles. even: lower over upper quartile of the peaks of fibres; NaN where there are few. continuum: median
   * of the columns' levels. tilt: brightest over faintest eighth of the columns. lines: mean of the brightest 0.5 % of
   * the columns above the continuum, noise taken out. share: part of the light that is in lines. peaked: lines over lines
   * and continuum. comb: highest autocorrelation of the spectrum at the shifts of a Fabry-Perot. sky: part of the light in lines that is at the places of
   * the night sky's; NaN without lines, or where the places are not known.
   * night: upper limit of the light there, three sigma above its mean.
   */
  readonly values: Readonly<Record<FeatureName, number>>;
  /** Mean level of the rows of each window along the slit [DN/read]. */
  readonly slit: readonly number[];
}

export interface ChipImage {
  readonly chip: string;
  readonly data: Float32Array;
  readonly dq: Uint32Array;
  readonly rows: number;
  readonly cols: number;
  /** DN/read of one unit of the pixels. */
  readonly scale: number;
}

/** Windows of at most 32 rows, evenly spread over the rows that see light. */
export function windowsOf(rows: number, cols: number, border: number): Region[] {
  const keep = (n: number) => (n >= 4 * border ? border : 0);
  const [row, x] = [keep(rows), keep(cols)];
  const all = { row, rows: rows - 2 * row, x, cols: cols - 2 * x };
  const height = Math.min(WINDOW_ROWS, all.rows);
  const count = Math.min(WINDOWS, Math.floor(all.rows / height));
  const spare = all.rows - count * height;
  return Array.from({ length: count }, (_, i) => ({
    ...all,
    row: all.row + i * height + Math.floor((spare * (i + 1)) / (count + 1)),
    rows: height,
  }));
}

const median = (values: ArrayLike<number>) => quantile(values, 0.5);
const ratio = (part: number, whole: number) => (whole > 0 ? Math.min(1, Math.max(0, part / whole)) : 0);

/**
 * Noise of the levels of rows: the readout moves whole rows, by more than a pixel's noise allows. Fourth differences hardly see
 * fibres: of a wave of 6.6 rows they leave 8 % of what they leave of noise.
 */
export function rowNoise(levels: readonly number[]): number {
  const at = (i: number) => levels[i] as number;
  const differences = Array.from(
    { length: Math.max(0, levels.length - 4) },
    (_, i) => at(i) - 4 * at(i + 1) + 6 * at(i + 2) - 4 * at(i + 3) + at(i + 4),
  );
  return scatter(differences) / FOURTH_DIFFERENCE;
}

interface RowNumbers {
  readonly rows: number;
  readonly fibres: number;
  readonly contrast: number;
  readonly levels: readonly number[];
  readonly peaks: readonly number[];
}

/** What the rows of a window show: light in fibres, or the same in all rows. */
async function measureRows({ data, cols, scale }: ChipImage, window: Region): Promise<RowNumbers> {
  const pieces = await rowPieces(data, cols, window, cols / PIECES);
  const inGroup = PIECES / GROUPS;
  const found: { fibres: number; contrast: number }[] = [];
  const all: number[] = [];
  const peaks: number[] = [];
  for (let group = 0; group < GROUPS; group++) {
    const rows = Array.from({ length: window.rows }, (_, i) => {
      const from = i * PIECES + group * inGroup;
      return pieces.subarray(from, from + inGroup);
    });
    const levels = rows.map((values) => scale * median(values));
    const [low, high] = [quantile(levels, 0.1), quantile(levels, 0.9)];
    const fibres = Math.max(0, high - low - DECILES * rowNoise(levels));
    found.push({ fibres, contrast: ratio(fibres, Math.abs(high + low)) });
    all.push(...levels);
    for (let i = 0; i + PEAK_ROWS <= levels.length; i += PEAK_ROWS) {
      peaks.push(Math.max(...levels.slice(i, i + PEAK_ROWS).filter(Number.isFinite)));
    }
  }
  return {
    rows: window.rows,
    fibres: median(found.map((one) => one.fibres)),
    contrast: median(found.map((one) => one.contrast)),
    levels: all,
    peaks,
  };
}

/** The spectrum of a window [DN/read]. */
async function spectrumOf({ data, cols, scale }: ChipImage, window: Region): Promise<Float64Array> {
  return (await cleanColumns(data, cols, window)).map((value) => scale * value);
}

interface ColumnNumbers {
  readonly continuum: number;
  readonly tilt: number;
  readonly lines: number;
  readonly share: number;
  readonly peaked: number;
  /** Of each column above its segment's level. */
  readonly above: Float64Array;
  /** Of a column. */
  readonly noise: number;
}

/** Where the night sky has lines: within `reach` columns of these. */
export interface SkyLines {
  readonly reach: number;
  readonly columns: readonly number[];
}

/** What the columns of a spectrum show: a continuum, or lines. Public for its tests. */
export function measureSpectrum(spectrum: Float64Array): ColumnNumbers {
  const width = Math.ceil(spectrum.length / SEGMENTS);
  const levels = Array.from({ length: SEGMENTS }, (_, i) => median(spectrum.subarray(i * width, (i + 1) * width)));
  const above = spectrum.map((value, x) => value - (levels[Math.floor(x / width)] as number));
  const sorted = above.filter(Number.isFinite).sort();
  const noise = -(sorted[Math.floor(sorted.length / 4)] ?? Number.NaN) / QUARTILE;
  const brightest = sorted.subarray(-Math.max(1, Math.round(BRIGHTEST * sorted.length)));
  const mean = brightest.reduce((sum, value) => sum + value, 0) / brightest.length;
  const lines = Math.max(0, mean - BRIGHTEST_OF_NOISE * noise);
  const continuum = median(levels);
  const inLines = sorted.reduce((sum, value) => (value > LINE_SIGMAS * noise ? sum + value : sum), 0);
  return {
    continuum,
    tilt: Math.max(...levels) / Math.max(Math.min(...levels), Number.MIN_VALUE),
    lines,
    share: ratio(inLines, inLines + Math.max(0, continuum) * sorted.length),
    peaked: ratio(lines, lines + Math.max(0, continuum)),
    above,
    noise,
  };
}

/** Share of the light in lines that is within `reach` of the given columns; NaN where there are no lines. */
export function shareAt({ above, noise }: Pick<ColumnNumbers, 'above' | 'noise'>, sky: SkyLines, x0 = 0): number {
  let [inside, all] = [0, 0];
  for (const [x, value] of above.entries()) {
    if (!(value > LINE_SIGMAS * noise)) continue;
    all += value;
    if (sky.columns.some((column) => Math.abs(column - x - x0) <= sky.reach)) inside += value;
  }
  return all > 0 && sky.columns.length > 0 ? inside / all : Number.NaN;
}

/** Highest autocorrelation of a spectrum without its continuum at the shifts of a Fabry-Perot; the median of its parts. */
export function combOf(above: Float64Array): number {
  const found: number[] = [];
  for (let from = 0; from + COMB_COLUMNS <= above.length; from += COMB_COLUMNS) {
    const part = above.subarray(from, from + COMB_COLUMNS).map((value) => (Number.isFinite(value) ? value : 0));
    // One line brighter than all others would be all that is compared.
    const top = quantile(part, 0.95);
    const mean = part.reduce((sum, value) => sum + Math.min(value, top), 0) / part.length;
    const flat = part.map((value) => Math.min(value, top) - mean);
    const power = flat.reduce((sum, value) => sum + value * value, 0) / flat.length;
    let best = 0;
    for (let shift = SHIFTS.from; shift <= SHIFTS.to; shift++) {
      let sum = 0;
      for (let x = shift; x < flat.length; x++) sum += (flat[x] as number) * (flat[x - shift] as number);
      best = Math.max(best, sum / (flat.length - shift));
    }
    found.push(power > 0 ? best / power : 0);
  }
  return found.length === 0 ? 0 : median(found);
}

/** Columns on either side of a line of the night sky that hold most of it. */
const LINE_REACH = 2;

/** Mean light at the places of the night sky's lines above the continuum, and its variance; NaN where they are not known. */
function nightOf({ above, noise }: Pick<ColumnNumbers, 'above' | 'noise'>, sky: SkyLines, x0: number) {
  let [sum, n] = [0, 0];
  for (const column of sky.columns) {
    for (const value of above.subarray(Math.max(0, column - x0 - LINE_REACH), column - x0 + LINE_REACH + 1)) {
      if (Number.isFinite(value)) [sum, n] = [sum + value, n + 1];
    }
  }
  return { light: sum / n, variance: noise ** 2 / n };
}

/** Three sigma above the mean of independent windows. */
function upperLimit(windows: readonly { readonly light: number; readonly variance: number }[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const error = Math.sqrt(mean(windows.map(({ variance }) => variance)) / windows.length);
  return Math.max(0, mean(windows.map(({ light }) => light))) + 3 * error;
}

const meanOf = (all: readonly Float64Array[]): Float64Array =>
  (all[0] as Float64Array).map((_, x) => all.reduce((sum, one) => sum + (one[x] as number), 0) / all.length);

/**
 * Measures a chip. Nothing but pixels goes in: no header says what they are.
 * @param border light-insensitive pixels on each side
 * @param sky where this detector sees lines of the night sky
 */
export async function measureChip(image: ChipImage, border: number, sky: SkyLines): Promise<ChipFeatures> {
  const { chip, data, dq, rows, cols, scale } = image;
  const levels: { level: number; noise: number; bad: number }[] = [];
  const byRow: RowNumbers[] = [];
  const byColumn: (ColumnNumbers & { sky: number; night: ReturnType<typeof nightOf> })[] = [];
  for (const window of windowsOf(rows, cols, border)) {
    const { count, median: level, scatter: noise } = await levelOf(data, dq, cols, window, BAD_BITS);
    levels.push({ level: scale * level, noise: scale * noise, bad: 1 - count / (window.rows * window.cols) });
    byRow.push(await measureRows(image, window));
    const spectrum = measureSpectrum(await spectrumOf(image, window));
    byColumn.push({
      ...spectrum,
      sky: shareAt(spectrum, sky, window.x),
      night: nightOf(spectrum, sky, window.x),
    });
  }
  const peaks = byRow.flatMap((one) => one.peaks);
  return {
    chip,
    values: {
      rows: byRow.reduce((sum, one) => sum + one.rows, 0),
      level: median(levels.map((one) => one.level)),
      noise: median(levels.map((one) => one.noise)),
      bad: median(levels.map((one) => one.bad)),
      fibres: median(byRow.map((one) => one.fibres)),
      bright: quantile(
        byRow.flatMap((one) => one.levels),
        0.95,
      ),
      contrast: median(byRow.map((one) => one.contrast)),
      even: peaks.length < LEAST_PEAKS * GROUPS ? Number.NaN : ratio(quantile(peaks, 0.25), quantile(peaks, 0.75)),
      continuum: median(byColumn.map((one) => one.continuum)),
      tilt: median(byColumn.map((one) => one.tilt)),
      lines: median(byColumn.map((one) => one.lines)),
      share: median(byColumn.map((one) => one.share)),
      peaked: median(byColumn.map((one) => one.peaked)),
      sky: median(byColumn.map((one) => one.sky)),
      night: upperLimit(byColumn.map((one) => one.night)),
      comb: combOf(meanOf(byColumn.map((one) => one.above))),
    },
    slit: byRow.map(({ levels: found }) => found.reduce((sum, value) => sum + value, 0) / found.length),
  };
}
