/**
 * Which fibre is which: peaks across the dispersion against the rows that metrology or an earlier flat has. Fibres look alike and lie
 * evenly, so the nearest row is no evidence after a shift of half a spacing; the steps between blocks of the slit head are. Every
 * assignment, one fibre on or off, is tried as a whole, and the best must beat the second best.
 */
import { AlgorithmError, InputError } from '../../core/errors.js';
import { type FibreState, LOW_THROUGHPUT, type Spectrograph } from '../../core/spectra.js';
import {
  type Assignment,
  assignments,
  at,
  type Bend,
  bent,
  CAP,
  type Expected,
  MANY,
  medianOf,
  PLAIN,
  STABLE,
  WHOLE,
} from './match.js';
import { type CollapsedRows, collapseRows, type FlatImage, findPeaks, type Peak, usableRows } from './peaks.js';

export interface Detector {
  readonly tele: string;
  readonly chip: string;
}

/** A fibre at the column where it was looked for. */
export interface FoundFibre {
  /** Row: measured to 0.02 px, or predicted from the fibres around it. */
  readonly y: number;
  /** Of the noise; NaN where it is predicted. */
  readonly yError: number;
  readonly measured: boolean;
  readonly state: FibreState;
  /** Light within 3 px; 0 where it is predicted. */
  readonly flux: number;
  /** Width of a Gaussian [px]; NaN where it is predicted. */
  readonly sigma: number;
}

export interface Identification {
  /** All fibres of the instrument, by index. */
  readonly fibres: readonly FoundFibre[];
  /** Of the rows against those expected, at the middle row [px] and [px/px]. */
  readonly shift: number;
  readonly scale: number;
  /** Of measured rows about the expected ones after shift, scale and bend [px]. */
  readonly rms: number;
  /** Chi-square of the second best assignment over that of the best; 0: they cannot be told apart. */
  readonly margin: number;
  /** Where the expected rows came from. */
  readonly from: 'metrology' | 'prior';
  /** Peaks that are no fibre's. */
  readonly extra: readonly Peak[];
  /** First and last row that can be used: the border cannot. */
  readonly rows: readonly [number, number];
  readonly warnings: readonly string[];
}

export interface IdentifyOptions {
  readonly spectrograph: Spectrograph;
  readonly detector: Detector;
  /** Rows of all fibres in an earlier flat at the same column; checked before it is believed. */
  readonly prior?: Float64Array | undefined;
  /** Named in errors. */
  readonly file?: string | undefined;
}

/** Assignments are tried up to this many spacings away from the expected rows. */
const REACH = 3.5;
/** A lead that is below this could be chance: one fibre more or less at its place is 9. */
const LEAST_MARGIN = 30;
/** Two peaks that are closer than this part of a spacing cannot be measured alone. */
const TOO_NEAR = 0.6;
/** A peak wider than those about it by this is two (1.2 px apart makes 1.2), where noise does not make it so. */
const TOO_WIDE = 1.15;
const WIDTH_REACH = 10;
const WIDTH_SIGNIFICANT = 50;
/** The scale of a chip changes less than this; chips b and c differ by 0.0015 [px/px]. */
const LEAST_SWAP = 7e-4;
const USUAL_SCALE = 5e-4;
/** A shift by more of a spacing is told [spacings]. */
const NEAR_HALF = 0.4;
/** A lamp with fewer fibres than this part shows nothing that could be trusted. */
const LEAST_FIBRES = 0.5;

const nameOf = ({ tele, chip }: Detector) => `${tele} ${chip}`;
const scaleOf = ({ terms, half }: Bend) => terms[1] / half;
/** Rows and scale together, to choose between detectors: the scale of a chip is its own. */
const evidence = (one: Assignment) => one.cost + (2 * CAP * scaleOf(one.bend)) ** 2 / USUAL_SCALE ** 2;

/**
 * Says which fibre each peak is.
 * @param collapsed light by row at the spectrograph's column, as collapseRows gives it
 * @throws AlgorithmError where there is no light, too much of it, too little that can be used, or no assignment that stands out
 * @throws InputError where the fibres lie as those of another detector do
 */
export function identifyFibres(collapsed: CollapsedRows, options: IdentifyOptions): Identification {
  const { spectrograph, detector, file } = options;
  const height = collapsed.profile.length;
  const fail = (message: string): never => {
    throw new AlgorithmError(message, { file });
  };
  const usable = usableRows(collapsed);
  const full = [...collapsed.full].filter((n) => n > collapsed.width / 2).length;
  if (full > height / 20) {
    fail(
      `saturated lamp: expected at most ${Math.floor(height / 20)} rows that are saturated in most columns, received ${full} of ${height}`,
    );
  }
  const lost = usable.filter((one) => !one).length;
  if (lost > height / 4)
    fail(`expected usable pixels in three rows of four at least, ${lost} of ${height} rows have none`);
  const expected = { rows: spectrograph.positions(detector), spacing: spectrograph.spacing, height };
  const whole = [...expected.rows].filter((row) => row >= WHOLE && row <= height - 1 - WHOLE).length;
  const least = Math.max(1, Math.ceil(LEAST_FIBRES * whole));
  const peaks = findPeaks(collapsed, expected.spacing);
  if (peaks.length === 0) fail(`no lamp: expected the light of ${whole} fibres, no row is brighter than its noise`);
  if (peaks.length < least) fail(`too few fibres: expected ${least} of ${whole} at least, received ${peaks.length}`);
  const warnings: string[] = [];
  // The border is never usable.
  const inner = usable.slice(usable.indexOf(true), usable.lastIndexOf(true)).filter((one) => !one).length;
  if (inner > 0) warnings.push(`${inner} of ${height} rows have no usable pixel`);

  const many = whole >= MANY;
  const tried = assignments(peaks, expected, many ? REACH * expected.spacing : expected.spacing);
  let best = tried[0] as Assignment;
  let margin = (tried[1]?.cost ?? Number.POSITIVE_INFINITY) - best.cost;
  if (many) refuseOther(best, peaks, expected, options);

  let from: Identification['from'] = 'metrology';
  const told = options.prior === undefined ? undefined : fromPrior(options.prior, best, margin, peaks, expected);
  if (told !== undefined) {
    warnings.push(...told.warnings);
    if (told.assignment !== undefined) {
      best = told.assignment;
      if (margin < LEAST_MARGIN) margin = told.margin;
      from = 'prior';
    }
  }
  if (from === 'metrology' && margin < LEAST_MARGIN) {
    // The gaps do not tell, so the nearest row must, and that is fair only well within half a spacing.
    const near = tried.filter(({ bend }) => Math.abs(bend.terms[0]) <= NEAR_HALF * expected.spacing);
    if (many || near.length === 0) {
      fail(
        `the fibres cannot be told apart: the second best assignment (${shiftText(tried[1] as Assignment)}) is as good as the best (${shiftText(best)}), ` +
          `chi-square ${margin.toFixed(0)} more, expected ${LEAST_MARGIN}`,
      );
    }
    best = near[0] as Assignment;
  }
  const shift = from === 'prior' ? medianShift(best, peaks, expected) : best.bend.terms[0];
  if (Math.abs(shift) > NEAR_HALF * expected.spacing) {
    warnings.push(
      `the fibres lie ${shift.toFixed(2)} px from where metrology has them, ${(Math.abs(shift) / expected.spacing).toFixed(2)} of their spacing; the gaps identify them`,
    );
  }
  const scale = scaleOf(best.bend);
  const { fibres, extra } = describe(
    best,
    peaks,
    expected,
    from === 'prior' ? (options.prior as Float64Array) : expected.rows,
    usable,
  );
  const measured = fibres.filter((one) => one.measured).length;
  const on = fibres.filter((one) => one.state !== 'off-chip').length;
  if (measured < least) fail(`too few fibres: expected ${least} of ${on} at least, received ${measured}`);
  const ends = [usable.indexOf(true), usable.lastIndexOf(true)] as const;
  return { fibres, shift, scale, rms: best.rms, margin, from, extra, rows: ends, warnings };
}

const shiftText = ({ bend }: Assignment) => `shift ${bend.terms[0].toFixed(2)} px`;

function medianShift(one: Assignment, peaks: readonly Peak[], { rows }: Expected): number {
  return medianOf([...one.peak].flatMap((k, i) => (k < 0 ? [] : [(peaks[k] as Peak).y - at(rows, i)])));
}

/** Part of the fibres that lie more than 1 px from where they should, or are not there. */
function strangers(one: Assignment, { rows, height }: Expected): number {
  const on = [...rows.keys()].filter((i) => {
    const y = bent(one.bend, at(rows, i));
    return y >= WHOLE && y <= height - 1 - WHOLE;
  });
  return on.filter((i) => Math.abs(at(one.residual, i)) > PLAIN).length / Math.max(1, on.length);
}

/** @throws InputError where another detector of the instrument explains the fibres and this one does not */
function refuseOther(own: Assignment, peaks: readonly Peak[], expected: Expected, options: IdentifyOptions): void {
  const { spectrograph, detector, file } = options;
  const scale = scaleOf(own.bend);
  const odd = strangers(own, expected);
  const strange = odd > 0.05 || own.rms > 2 * STABLE;
  if (!strange && Math.abs(scale) < LEAST_SWAP) return;
  const others = spectrograph.detectors
    .filter(({ tele, chip }) => tele !== detector.tele || chip !== detector.chip)
    .map((other) => {
      const rows = spectrograph.positions(other);
      return { other, found: assignments(peaks, { ...expected, rows }, REACH * expected.spacing)[0] as Assignment };
    })
    .sort((a, b) => evidence(a.found) - evidence(b.found));
  const first = others[0];
  if (first !== undefined && evidence(first.found) + LEAST_MARGIN < evidence(own)) {
    const text = (one: Assignment) =>
      `scale ${scaleOf(one.bend).toExponential(1)}, ${(100 * strangers(one, expected)).toFixed(0)} % of the fibres more than ${PLAIN} px off`;
    throw new InputError(
      `swapped detector: expected the fibres of ${nameOf(detector)} (${text(own)}), they lie as those of ${nameOf(first.other)} do (${text(first.found)})`,
      { file },
    );
  }
  if (strange) {
    throw new AlgorithmError(
      `expected the fibres of ${nameOf(detector)}: ${(100 * odd).toFixed(0)} % lie more than ${PLAIN} px off, rms ${own.rms.toFixed(2)} px, and no other detector fits`,
      { file },
    );
  }
}

/** What an earlier flat adds: rows nearer to the truth, if it is one of this detector. */
function fromPrior(prior: Float64Array, own: Assignment, margin: number, peaks: readonly Peak[], expected: Expected) {
  const { spacing, rows } = expected;
  const refused = (reason: string) => ({
    warnings: [`the earlier traces are not used: ${reason}`],
    assignment: undefined,
    margin: 0,
  });
  if (prior.length !== rows.length) return refused(`expected ${rows.length} fibres, received ${prior.length}`);
  if (!prior.every((row, i) => Number.isFinite(row) && (i === 0 || row > at(prior, i - 1)))) {
    return refused('their rows are not finite and ascending');
  }
  // Where the gaps told the fibres, the prior must have the same ones; else metrology must be near enough to say that.
  const against =
    margin >= LEAST_MARGIN
      ? [...own.peak].flatMap((k, i) => (k < 0 ? [] : [(peaks[k] as Peak).y - at(prior, i)]))
      : [...rows].map((row, i) => row - at(prior, i)).filter((_, i) => at(rows, i) < expected.height);
  const offset = medianOf(against);
  const scatter = medianOf(against.map((value) => Math.abs(value - offset)));
  if (Math.abs(offset) > spacing / 2) {
    return refused(
      `they lie ${offset.toFixed(2)} px from these fibres, more than half of a spacing: a fibre off, or another detector's`,
    );
  }
  if (scatter > 3 * STABLE) {
    return refused(
      `their fibres lie otherwise (median deviation ${scatter.toFixed(2)} px), as those of another detector do`,
    );
  }
  const tried = assignments(peaks, { ...expected, rows: prior }, spacing / 2);
  const near = tried.filter(
    ({ bend }) => Math.abs(bend.terms[0] - (margin >= LEAST_MARGIN ? offset : 0)) <= spacing / 2,
  );
  const assignment = near[0];
  if (assignment === undefined) return refused('no peaks lie near them');
  const second = tried.find((one) => one !== assignment);
  return { warnings: [], assignment, margin: Math.max(margin, (second?.cost ?? assignment.cost) - assignment.cost) };
}

/** States of all fibres, and rows of those without a peak. */
function describe(
  one: Assignment,
  peaks: readonly Peak[],
  { spacing, height }: Expected,
  rows: Float64Array,
  usable: readonly boolean[],
) {
  const peakOf = (i: number) => peaks[at(one.peak, i)];
  const flux = medianOf([...one.peak].filter((k) => k >= 0).map((k) => (peaks[k] as Peak).flux));
  const usual = peaks.map((_, k) =>
    medianOf(peaks.slice(Math.max(0, k - WIDTH_REACH), k + WIDTH_REACH + 1).map(({ sigma }) => sigma)),
  );
  const crowded = peaks.map(
    ({ y, sigma, significance }, k) =>
      (sigma > TOO_WIDE * at(usual, k) && significance > WIDTH_SIGNIFICANT) ||
      y - (peaks[k - 1]?.y ?? Number.NEGATIVE_INFINITY) < TOO_NEAR * spacing ||
      (peaks[k + 1]?.y ?? Number.POSITIVE_INFINITY) - y < TOO_NEAR * spacing,
  );
  // A peak that is off its row and does not look like a fibre is none.
  const looksAlike = (peak: Peak, k: number) =>
    peak.flux > 0.3 * flux &&
    peak.flux < 3 * flux &&
    Math.abs(Math.log(peak.sigma / at(usual, k))) < Math.log(TOO_WIDE);
  const taken = [...rows.keys()].map((i) => {
    const peak = peakOf(i);
    return peak !== undefined && (Math.abs(at(one.residual, i)) <= PLAIN || looksAlike(peak, at(one.peak, i)));
  });
  const plain = [...rows.keys()].filter((i) => taken[i] === true && crowded[at(one.peak, i)] !== true);
  /** What the nearest measured fibres on either side deviate. */
  const local = (i: number) => {
    const above = plain.findIndex((k) => k > i);
    const end = above < 0 ? plain.length : above;
    const mean = (list: readonly number[]) => medianOf(list.map((k) => at(one.residual, k)));
    const [low, high] = [plain.slice(Math.max(0, end - 3), end), plain.slice(end, end + 3)];
    if (low.length === 0 || high.length === 0) return mean([...low, ...high]) || 0;
    const part = (i - (low.at(-1) as number)) / ((high[0] as number) - (low.at(-1) as number));
    return mean(low) * (1 - part) + mean(high) * part;
  };
  const fibres = [...rows].map((row, i): FoundFibre => {
    const peak = taken[i] === true ? peakOf(i) : undefined;
    const alone = peak !== undefined && crowded[at(one.peak, i)] !== true;
    const y = alone ? peak.y : bent(one.bend, row) + local(i);
    const none = { y, yError: Number.NaN, measured: false, flux: 0, sigma: Number.NaN };
    if (y < WHOLE || y > height - 1 - WHOLE) return { ...none, state: 'off-chip' };
    if (alone) {
      const { yError, flux: light, sigma } = peak;
      return { y, yError, measured: true, flux: light, sigma, state: light < LOW_THROUGHPUT * flux ? 'low' : 'ok' };
    }
    const confused =
      peak !== undefined ||
      usable[Math.round(y)] !== true ||
      crowded.some((is, k) => is && Math.abs((peaks[k] as Peak).y - y) < spacing);
    return { ...none, state: confused ? 'blended' : 'broken' };
  });
  const used = new Set([...one.peak].filter((k, i) => k >= 0 && taken[i] === true));
  return { fibres, extra: peaks.filter((_, k) => !used.has(k)) };
}

/**
 * Finds and identifies the fibres of a flat at the spectrograph's column.
 * @throws as identifyFibres
 */
export async function findFibres(flat: FlatImage, options: IdentifyOptions): Promise<Identification> {
  return identifyFibres(await collapseRows(flat, options.spectrograph.column), options);
}
