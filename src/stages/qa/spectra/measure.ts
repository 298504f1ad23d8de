/** What the page of an exposure's spectra measures on one chip: numbers that limits are for, and small tables to draw. */
import {
  type Extracted,
  type FibreState,
  PROFILE_PER_PIXEL,
  PROFILE_REACH,
  type Profile,
  type Traces,
  type Tweak,
} from '../../../core/spectra.js';
import { runKernel } from '../../../engine/index.js';
import {
  type Histogram,
  histogramOf,
  type Level,
  levelOf,
  median,
  type Region,
  rowProfile,
  scatter,
} from '../../measure.js';
import { NO_WEIGHT_BITS } from '../../rates_image.js';

/** The calibrated image of a chip; all arrays [row][x]. */
export interface ChipImage {
  readonly rows: number;
  readonly cols: number;
  readonly rates: Float32Array;
  readonly error: Float32Array;
  readonly dq: Uint32Array;
  readonly unit: string;
}

/** Smooth light between the fibres, at the centres of cells that divide the image evenly. */
export interface CoarseLight {
  readonly rows: number;
  readonly cols: number;
  readonly values: Float32Array;
}

/** Spectra of a chip as its product has them. */
export interface ChipSpectra extends Pick<Extracted, 'flux' | 'dq' | 'chi2' | 'crosstalk'> {
  /** [fibre][x]; not above 0, or not finite: no value. */
  readonly error: Float32Array;
  /** Traces moved to the exposure, [fibre][x]. */
  readonly centre: Float32Array;
  readonly width: Float32Array;
  readonly tweak?: Tweak | undefined;
  /** Relative throughput and its error as the product has them, [fibre]; NaN: unknown. */
  readonly throughput: Float32Array;
  readonly throughputError: Float32Array;
}

/** All that the page is told of one chip. */
export interface ChipInput {
  readonly chip: string;
  readonly image: ChipImage;
  /** Of the flat whose traces were used; of the exposure itself where `own`. */
  readonly traces: Traces;
  readonly own: boolean;
  /** Instrument's own number of each fibre. */
  readonly fibreNumber: (index: number) => number;
  /** What a fibre looks at, for a caption: ' sky'; '' where it is not known. */
  readonly fibreShows?: ((index: number) => string) | undefined;
  /** Absent for a flat of which nothing was extracted. */
  readonly spectra?: ChipSpectra | undefined;
  /** Light of all fibres and between them as the product has it, [row][x]; without it there is no residual. */
  readonly model?: Float32Array | undefined;
  readonly background?: CoarseLight | undefined;
  /** What the stages before had to say. */
  readonly remarks: readonly string[];
}

/** Numbers of one fibre; NaN: not measured. */
export interface FibreNumbers {
  readonly index: number;
  readonly number: number;
  readonly state: FibreState;
  /** Mean flux, mean S/N in a column, mean chi2/dof, mean cross-talk. */
  readonly flux: number;
  readonly sn: number;
  readonly chi2: number;
  readonly crosstalk: number;
  readonly throughput: number;
  readonly throughputError: number;
}

export interface ChipMeasures {
  /** By name, as data/qa.json has them; what could not be measured is absent. */
  readonly numbers: Readonly<Record<string, number>>;
  readonly fibres: readonly FibreNumbers[];
  /** (data - model) / error of every good pixel; undefined without a model. */
  readonly pulls?: PullMeasures | undefined;
  /** data - model, and that over the error, [row][x]; NaN where a pixel has no value. */
  readonly residual?: { readonly difference: Float32Array; readonly significance: Float32Array } | undefined;
  /** Flux in a column over its error, [fibre][x]. */
  readonly sn?: Float32Array | undefined;
}

export interface PullMeasures {
  readonly histogram: Histogram;
  readonly level: Level;
  readonly mean: number;
  /** Standard deviation of those within the histogram. */
  readonly deviation: number;
  /** What a right model gives: less than 1, as a flux is fitted to each column of a fibre. */
  readonly expected: number;
  /** Beyond 5 errors [%] */
  readonly beyondPercent: number;
}

/** Range of the histogram of pulls. */
export const PULLS = 8;
/** Beyond this a pull is an outlier: chance gives 6e-5 %. */
const OUTLIER = 5;
/** Largest chi2/dof that counts for a fibre's mean: beyond it a defect speaks, not the fibre. */
const MOST_CHI2 = 100;
/** S/N above which a flux tells something of the fibre. */
const MEASURED_SN = 3;

const whole = (rows: number, cols: number): Region => ({ row: 0, rows, x: 0, cols });

/** b - a and that over the error of b. */
async function significanceOf(
  a: Float32Array,
  b: Float32Array,
  error: Float32Array,
  dq: Uint32Array | undefined,
  rows: number,
  cols: number,
): Promise<{ readonly difference: Float32Array; readonly significance: Float32Array }> {
  const [difference, significance] = [new Float32Array(rows * cols), new Float32Array(rows * cols)];
  const image = <T extends Float32Array | Uint32Array | Int32Array>(data: T) => ({ data, rows, cols });
  await runKernel(
    'compare-maps',
    {
      a: image(a),
      b: image(b),
      errorB: image(error),
      ...(dq !== undefined && { maskB: image(dq) }),
      difference: image(difference),
      significance: image(significance),
      counts: { data: new Int32Array(rows * 5), rows, cols: 5 },
    },
    { skip: NO_WEIGHT_BITS },
    { strip: cols },
  );
  return { difference, significance };
}

async function pullsOf(significance: Float32Array, rows: number, cols: number, fitted: number): Promise<PullMeasures> {
  const region = whole(rows, cols);
  const histogram = await histogramOf(significance, cols, region, -PULLS, PULLS);
  const level = await levelOf(significance, undefined, cols, region, 0);
  const { counts, below, above } = histogram;
  const width = (2 * PULLS) / counts.length;
  const middle = (i: number) => -PULLS + (i + 0.5) * width;
  const sum = (f: (x: number) => number) => counts.reduce((all, n, i) => all + n * f(middle(i)), 0);
  const inside = sum(() => 1);
  const mean = sum((x) => x) / inside;
  const outside = counts.reduce((all, n, i) => all + (Math.abs(middle(i)) > OUTLIER ? n : 0), below + above);
  return {
    histogram,
    level,
    mean,
    deviation: Math.sqrt(sum((x) => (x - mean) ** 2) / inside),
    expected: Math.sqrt(Math.max(0, 1 - fitted / level.count)),
    beyondPercent: (100 * outside) / (inside + below + above),
  };
}

/** Means of each row of [fibre][x]. */
async function means(data: Float32Array | undefined, fibres: number, cols: number, low: number, high: number) {
  if (data === undefined) return undefined;
  return rowProfile(data, cols, whole(fibres, cols), { low, high });
}

const shiftOf = ({ terms }: Tweak) => terms.find(({ i, j }) => i === 0 && j === 0);

/** Measures one chip. Arrays are only read. */
export async function measureSpectra(input: ChipInput): Promise<ChipMeasures> {
  const { image, traces, spectra, model } = input;
  const { fibres, cols, states } = traces;
  const numbers: Record<string, number> = {};
  const put = (name: string, value: number | undefined) => {
    if (value !== undefined && Number.isFinite(value)) numbers[name] = value;
  };
  const residual =
    model === undefined
      ? undefined
      : await significanceOf(model, image.rates, image.error, image.dq, image.rows, image.cols);
  const share = (state: FibreState, of: number) => (100 * states.filter((one) => one === state).length) / of;
  const onChip = states.filter((state) => state !== 'off-chip').length;
  for (const state of ['low', 'broken', 'blended'] as const) put(`fibres.${state}Percent`, share(state, onChip));
  put('fibres.onChip', onChip);

  const flux = spectra?.flux ?? traces.flux;
  const fluxMeans = await means(flux, fibres, cols, -1e30, 1e30);
  const sn =
    spectra === undefined
      ? undefined
      : (await significanceOf(new Float32Array(fibres * cols), spectra.flux, spectra.error, spectra.dq, fibres, cols))
          .significance;
  const snMeans = await means(sn, fibres, cols, -1e30, 1e30);
  // 0 is no value: there was nothing to compare.
  const chi2Means = await means(spectra?.chi2, fibres, cols, 1e-9, MOST_CHI2);
  const crosstalkMeans = await means(spectra?.crosstalk, fibres, cols, -1e3, 1e3);
  const { throughput, throughputError } = spectra ?? traces;
  const table = states.map(
    (state, index): FibreNumbers => ({
      index,
      number: input.fibreNumber(index),
      state,
      flux: fluxMeans?.[index] ?? Number.NaN,
      sn: snMeans?.[index] ?? Number.NaN,
      chi2: chi2Means?.[index] ?? Number.NaN,
      crosstalk: crosstalkMeans?.[index] ?? Number.NaN,
      throughput: throughput[index] ?? Number.NaN,
      throughputError: throughputError[index] ?? Number.NaN,
    }),
  );
  const good = table.filter(({ state }) => state === 'ok' || state === 'low');

  if (input.own) {
    const centres = traces.covariance.subarray(3 * fibres * cols, 4 * fibres * cols);
    const { median: variance } = await levelOf(centres, traces.dq, cols, whole(fibres, cols), NO_WEIGHT_BITS);
    put('trace.centreError', Math.sqrt(variance));
    put('trace.width', (await levelOf(traces.width, traces.dq, cols, whole(fibres, cols), NO_WEIGHT_BITS)).median);
    put('throughput.scatterPercent', 100 * scatter(good.map((one) => one.throughput)));
  }
  put('fibres.throughputKnownPercent', (100 * good.filter((one) => one.throughput > 0).length) / good.length);
  if (input.background !== undefined) {
    put('background.median', median(input.background.values));
    put('background.percent', (100 * median(input.background.values)) / median(good.map((one) => one.flux)));
  }
  let pulls: PullMeasures | undefined;
  if (spectra !== undefined) {
    put('flux.median', median(good.map((one) => one.flux)));
    put('sn.median', median(good.map((one) => one.sn)));
    put('chi2.median', median(good.map((one) => one.chi2)));
    put('crosstalk.median', median(good.map((one) => one.crosstalk)));
    const { count } = await levelOf(sn as Float32Array, undefined, cols, whole(fibres, cols), 0);
    const wanted = table.filter((one) => good.includes(one) || Number.isFinite(one.sn)).length;
    put('spectra.noValuePercent', 100 * (1 - count / (wanted * cols)));
    if (residual !== undefined) {
      const fitted = good.filter((one) => Number.isFinite(one.sn)).length * cols;
      pulls = await pullsOf(residual.significance, image.rows, image.cols, fitted);
      put('pull.mean', pulls.mean);
      put('pull.scatter', pulls.level.scatter / pulls.expected);
      put('pull.deviation', pulls.deviation / pulls.expected);
      put('pull.beyondPercent', pulls.beyondPercent);
    }
    const { tweak } = spectra;
    if (tweak !== undefined) {
      put('tweak.refused', tweak.state === 'refused' ? 1 : 0);
      if (tweak.state === 'ok') {
        put('tweak.shift', shiftOf(tweak)?.value);
        put('tweak.shiftError', shiftOf(tweak)?.error);
        put('tweak.width', tweak.width);
      }
    }
  }
  return { numbers, fibres: table, pulls, residual, sn };
}

/** Fibres with light of their own, faintest first. */
export function measuredFibres({ fibres, sn }: ChipMeasures): FibreNumbers[] {
  return litFibres(fibres).filter((one) => (sn === undefined ? one.flux > 0 : one.sn > MEASURED_SN));
}

/** Fibres that have a flux at all, faintest first. */
export function litFibres(fibres: readonly FibreNumbers[]): FibreNumbers[] {
  return fibres
    .filter(({ state, flux }) => (state === 'ok' || state === 'low') && Number.isFinite(flux))
    .toSorted((a, b) => a.flux - b.flux);
}

/** Light of a profile in a pixel `offset` rows above its centre. */
export function pixelLight(
  { nodes, samples, cumulative }: Profile,
  place: { readonly fibre: number; readonly x: number; readonly cols: number },
  offset: number,
  width: number,
): number {
  const at = (place.x / Math.max(1, place.cols - 1)) * (nodes - 1);
  const node = Math.min(nodes - 2, Math.floor(at));
  const part = at - node;
  const table = (which: number, y: number) => {
    const k = Math.min(Math.max((y / width + PROFILE_REACH) * PROFILE_PER_PIXEL, 0), samples - 1);
    const low = Math.min(samples - 2, Math.floor(k));
    const first = (place.fibre * nodes + which) * samples + low;
    const [a, b] = [cumulative[first] as number, cumulative[first + 1] as number];
    return a + (k - low) * (b - a);
  };
  const light = (which: number) => table(which, offset + 0.5) - table(which, offset - 0.5);
  return (1 - part) * light(node) + part * light(node + 1);
}

/** A profile at one place and what the pixels of columns around it say of it. */
export interface ProfilePlace {
  readonly fibre: FibreNumbers;
  readonly x: number;
  /** Rows from the centre, light in a pixel as a part of all. */
  readonly table: readonly (readonly [number, number])[];
  /** The same of pixels, means of bins of 1 / PROFILE_BINS px, and their errors. */
  readonly points: readonly (readonly [number, number])[];
  readonly errors: readonly number[];
}

/** Columns of pixels that a profile is compared with; it hardly changes over them. */
export const PROFILE_COLUMNS = 64;
/** Rows each way. */
const PROFILE_ROWS = 10;
/** In a pixel: a trace crosses parts of one over these columns. */
const PROFILE_BINS = 4;

/** Three fibres of low, middle and high rows at three columns. */
export function profilePlaces(input: ChipInput, measures: ChipMeasures): ProfilePlace[] {
  const { traces, spectra, image, model } = input;
  const { cols, profile } = traces;
  const known = measuredFibres(measures).toSorted((a, b) => a.index - b.index);
  if (known.length === 0) return [];
  const chosen = [0.1, 0.5, 0.9].map((p) => known[Math.round(p * (known.length - 1))] as FibreNumbers);
  const { flux, centre, width } = spectra ?? traces;
  return [...new Set(chosen)].flatMap((fibre) =>
    [0.1, 0.5, 0.9].map((p): ProfilePlace => {
      const x0 = Math.round(p * (cols - 1));
      const at = (x: number) => fibre.index * cols + x;
      const lightAt = (x: number, offset: number) =>
        pixelLight(profile, { fibre: fibre.index, x, cols }, offset, width[at(x)] as number);
      const bins = Array.from({ length: 2 * PROFILE_ROWS * PROFILE_BINS + 1 }, () => ({
        light: 0,
        own: 0,
        variance: 0,
      }));
      for (let x = Math.max(0, x0 - PROFILE_COLUMNS / 2); x < Math.min(cols, x0 + PROFILE_COLUMNS / 2); x++) {
        const [light, y0] = [flux[at(x)] as number, centre[at(x)] as number];
        // Also where noise made it negative: means of those above 0 alone would be too wide.
        if (!Number.isFinite(light)) continue;
        for (let y = Math.ceil(y0 - PROFILE_ROWS); y <= y0 + PROFILE_ROWS; y++) {
          if (y < 0 || y >= image.rows) continue;
          const i = y * image.cols + x;
          const [value, error] = [image.rates[i] as number, image.error[i] as number];
          if (((image.dq[i] as number) & NO_WEIGHT_BITS) !== 0 || !(error > 0)) continue;
          // Without the light of the others, which the model knows.
          const others = model === undefined ? 0 : (model[i] as number) - light * lightAt(x, y - y0);
          const bin = bins[Math.round((y - y0 + PROFILE_ROWS) * PROFILE_BINS)];
          if (bin === undefined || !Number.isFinite(value - others)) continue;
          bin.light += light;
          bin.own += value - others;
          bin.variance += error * error;
        }
      }
      const found = bins.map(({ light, own, variance }, i) => ({
        point: [i / PROFILE_BINS - PROFILE_ROWS, own / light] as const,
        error: Math.sqrt(variance) / light,
      }));
      const known = found.filter(({ error }) => error > 0 && Number.isFinite(error));
      const table = Array.from({ length: 20 * PROFILE_ROWS + 1 }, (_, i) => {
        const offset = i / 10 - PROFILE_ROWS;
        return [offset, lightAt(x0, offset)] as const;
      });
      return {
        fibre,
        x: x0,
        table,
        points: known.map(({ point }) => point),
        errors: known.map(({ error }) => error),
      };
    }),
  );
}
