/** The tracer at work: a flat in; positions, widths, light and profiles of all fibres out. */
import { AlgorithmError, BugError, InputError, RetriableError } from '../../core/errors.js';
import type { ExposureKind } from '../../core/exposure.js';
import { DQ } from '../../core/generated/dq.js';
import { type FibreState, LOW_THROUGHPUT, PROFILE_NODES, type Spectrograph } from '../../core/spectra.js';
import { sharedLarge } from '../../engine/index.js';
import { fitBackground, subtractBackground } from '../background.js';
import { quantile } from '../measure.js';
import { readRates, sharedWeights } from '../rates_image.js';
import { legendre } from '../smooth_fit.js';
import type { StageBody, StageContext, StageResult } from '../stage.js';
import {
  checkTraces,
  countStates,
  encodeTraces,
  type FibreFindings,
  readTraces,
  type TraceProduct,
} from '../trace_product.js';
import { refuseLines, refuseUneven } from './continuum.js';
import { FIGURE, FIGURES, type FitStep, type Fitted, smoothWidths, startSeries, TraceFitter } from './fit.js';
import { followFibres } from './follow.js';
import { findFibres, type Identification } from './identify.js';
import { Mixer } from './mixing.js';
import { type MeasuredProfile, measureProfile, ProfileMemory, profileKindOf } from './profile.js';
import {
  CENTRE_FROM,
  CENTRE_TERMS,
  drawTraces,
  ENTRIES,
  FLUX_TERMS,
  fitSeries,
  newTraces,
  placeOf,
  seriesAt,
  TERMS,
  WIDTH_FROM,
} from './series.js';
import { startProfile } from './start_profile.js';

/** Light that shows where fibres lie; by hand a flat of the sky or of a black body may be taken too. */
const FLATS: readonly ExposureKind[] = ['domeflat', 'quartzflat', 'twilightflat', 'blackbody'];
/** Only the dome lights all fibres as the sky does. */
const EVEN: ExposureKind = 'domeflat';

/** First a profile that is not theirs: fluxes, then all with few terms. A quarter of the bins is enough for what follows. */
const ROUGH: readonly FitStep[] = [
  { flux: 4, centre: 0, width: 0, clip: 0, every: 8, pedestal: true },
  { flux: 6, centre: 4, width: 2, clip: 0, every: 4, pedestal: true },
  { flux: 6, centre: 5, width: 3, clip: 0, every: 4, pedestal: true },
];
/** The same with widths that are smooth over the fibres. */
const SMOOTH: FitStep = { flux: 6, centre: 5, width: 0, clip: 0, every: 8, pedestal: true };
/** With the profile and the background that those measured, and the widths of before: what is wrong with them is in the profile. */
const MIDDLE: FitStep = { flux: 8, centre: 6, width: 0, clip: 0, every: 4, pedestal: false };
/**
 * Rounds of a profile and the traces that it gives, before that of record: one of few terms, the others of all. What light belongs to wings,
 * to scattered light and to the fibres is told apart slowly: a round leaves up to nine tenths of what is wrong with that and nothing of
 * other errors. So rounds of all terms go on from what those before them did. More of them change nothing that shows.
 */
const ROUNDS = 6;
/** Terms of a fibre's light along x whose changes say what goes slowly: all of the chip has it, and it is smooth. */
const SLOW_TERMS = 4;
/** With the profile of record: the last step alone decides, and drops what no fibre explains. */
const FINE: readonly FitStep[] = [
  { flux: 8, centre: 6, width: 4, clip: 0, every: 4, pedestal: false },
  { flux: 8, centre: 7, width: 4, clip: 6, every: 1, pedestal: false },
];
/** Places along x at which levels are compared. */
const PLACES = 33;
/** A fibre whose light is less than this part of the others' has none. */
const BROKEN = 0.02;
/** Places of a flat's light scatter by hundredths of a pixel about smooth lines, at 3 % of the normal light by tenths; noise by pixels. */
const MOST_SCATTER = 0.5;
/** Names of fibres in a warning. */
const MOST_NAMED = 20;

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;
const median = (values: readonly number[]): number => (values.length === 0 ? Number.NaN : quantile(values, 0.5));

function spectrographOf({ instrument }: StageContext, file: string): Spectrograph {
  if (instrument.spectrograph !== undefined) return instrument.spectrograph;
  throw new InputError(`${instrument.name} has no fibres`, { file });
}

/** What the profile's measurement found about the series that it was measured with. */
function correct(terms: Float64Array, { shift, scale }: MeasuredProfile): void {
  const places = Array.from({ length: PROFILE_NODES }, (_, node) => (2 * node) / (PROFILE_NODES - 1) - 1);
  for (let i = 0; i < terms.length / TERMS; i++) {
    const nodes = (table: Float32Array) => [...table.subarray(i * PROFILE_NODES, (i + 1) * PROFILE_NODES)];
    fitSeries(places, nodes(shift), 3).forEach((value, k) => {
      terms[i * TERMS + CENTRE_FROM + k] = at(terms, i * TERMS + CENTRE_FROM + k) + value;
    });
    const factor = median(nodes(scale));
    for (let k = 0; k < FLUX_TERMS; k++) terms[i * TERMS + k] = at(terms, i * TERMS + k) * factor;
  }
}

/**
 * What goes slowly is small: thousandths of a pixel and of the fibres' usual light. A fibre that is to go farther than this (cut by an edge)
 * goes as far as a round alone moved it.
 */
const FURTHEST = { px: 0.02, part: 0.02 };

/** Moves light and places of the fibres on from where a round moved them. */
function goOn(mixer: Mixer, { terms, held }: Fitted, before: Float64Array): void {
  const free = [...held.keys()].filter((i) => held[i] !== true);
  const usual = median(free.map((i) => Math.abs(at(terms, i * TERMS))));
  const slow = free.flatMap((i) =>
    Array.from({ length: SLOW_TERMS }, (_, k) => (at(terms, i * TERMS + k) - at(before, i * TERMS + k)) / usual),
  );
  const added = mixer.next(terms, Float64Array.from(slow));
  for (let from = 0; from < terms.length; from += TERMS) {
    const most = (first: number, last: number) => Math.max(...added.subarray(from + first, from + last).map(Math.abs));
    if (most(CENTRE_FROM, WIDTH_FROM) > FURTHEST.px || most(0, FLUX_TERMS) > FURTHEST.part * usual) continue;
    for (let k = from; k < from + WIDTH_FROM; k++) terms[k] = at(terms, k) + at(added, k);
  }
}

/** Widths in units of the chip's usual one, which the profile is to hold. */
function normaliseWidths(terms: Float64Array, held: readonly boolean[]): void {
  const fibres = [...held.keys()];
  const usual = median(fibres.filter((i) => held[i] !== true).map((i) => at(terms, i * TERMS + WIDTH_FROM)));
  for (const i of fibres) {
    for (let k = WIDTH_FROM; k < TERMS; k++) terms[i * TERMS + k] = at(terms, i * TERMS + k) / usual;
  }
}

/** Flux of each fibre at places along x. */
function levelsOf(terms: Float64Array): number[][] {
  const polynomials = Array.from({ length: PLACES }, (_, n) => legendre((2 * n) / (PLACES - 1) - 1, FLUX_TERMS));
  return Array.from({ length: terms.length / TERMS }, (_, i) =>
    polynomials.map((p) => seriesAt(terms, i * TERMS, FLUX_TERMS, p)),
  );
}

/** Rows at either side of a trace that must be usable: with less of its light a fibre's place and profile are a guess. */
const CORE = 3;

/** Which fibres leave the usable rows in some columns, by the series of where they lie. */
function beyondRows(centre: Float64Array, [first, last]: readonly [number, number], cols: number): boolean[] {
  const places = Array.from({ length: PLACES }, (_, n) =>
    legendre(placeOf((n * (cols - 1)) / (PLACES - 1), cols), CENTRE_TERMS),
  );
  return Array.from({ length: centre.length / CENTRE_TERMS }, (_, i) =>
    places.some((p) => {
      const row = seriesAt(centre, i * CENTRE_TERMS, CENTRE_TERMS, p);
      return row < first + CORE || row > last - CORE;
    }),
  );
}

/** What became of each fibre, by where it was found and how much light it has. */
function statesOf(
  found: Identification,
  beyond: readonly boolean[],
  held: readonly boolean[],
  ratio: readonly number[],
): FibreState[] {
  return found.fibres.map(({ state }, i) => {
    if (beyond[i] === true) return 'off-chip';
    if (state === 'off-chip' || state === 'blended') return state;
    if (state === 'broken' || held[i] === true)
      return at(ratio, i) < BROKEN || state === 'broken' ? 'broken' : 'blended';
    return at(ratio, i) < LOW_THROUGHPUT ? 'low' : 'ok';
  });
}

const BITS: Readonly<Record<FibreState, number>> = {
  ok: 0,
  low: DQ.LOW_THROUGHPUT,
  broken: DQ.BROKEN_FIBRE,
  blended: 0,
  'off-chip': DQ.OFF_CHIP,
};

function fibreList(words: string, which: readonly number[], { fibreNumber }: Spectrograph): string[] {
  if (which.length === 0) return [];
  const named = which.slice(0, MOST_NAMED).map((i) => `${i} (fibre ${fibreNumber(i)})`);
  const more = which.length > MOST_NAMED ? ` and ${which.length - MOST_NAMED} more` : '';
  return [`${which.length} ${which.length === 1 ? 'fibre is' : 'fibres are'} ${words}: ${named.join(', ')}${more}`];
}

/**
 * Traces a flat.
 * @throws InputError for an exposure that is no flat, or of another detector; AlgorithmError where the light does not show the fibres
 */
export const trace: StageBody = async (context: StageContext): Promise<StageResult> => {
  const { identity, exposures, inputs, threads, control } = context;
  const input = inputs.find(({ role }) => role === 'image');
  const { tele, chip, mjd, exposure } = identity;
  const [facts] = exposures;
  if (input === undefined || chip === undefined || exposure === undefined || facts === undefined) {
    throw new BugError('expected the image of one chip of one exposure to trace');
  }
  const { path } = input;
  const spectrograph = spectrographOf(context, path);
  const { fibres, column, spacing } = spectrograph;
  if (!FLATS.includes(facts.kind)) {
    throw new InputError(`expected a flat (${FLATS.join(', ')}), received an exposure of the kind ${facts.kind}`, {
      file: path,
    });
  }
  const seconds: Record<string, number> = {};
  const timed = async <T>(step: string, work: () => Promise<T>): Promise<T> => {
    if (Atomics.load(control, 0) !== 0) throw new RetriableError('interrupted');
    const began = performance.now();
    const result = await work();
    seconds[step] = (seconds[step] ?? 0) + (performance.now() - began) / 1000;
    return result;
  };

  const flat = await timed('read', () => readRates(input.file, threads));
  const { rows, cols } = flat;
  const where = { file: path, hdu: input.file.hdu('SCI').index };
  await timed('find', () => refuseLines(flat, where));
  const detector = { tele, chip };
  const expected = spectrograph.positions(detector);
  const earlier = inputs.find(({ role }) => role === 'prior');
  const before = earlier && (await timed('read', () => readTraces(earlier.file))).traces;
  if (before !== undefined && (before.fibres !== fibres || before.cols !== cols)) {
    throw new InputError(
      `expected ${fibres} fibres and ${cols} columns, received ${before.fibres} and ${before.cols}`,
      {
        file: earlier?.path,
      },
    );
  }
  const found = await timed('find', () =>
    findFibres(flat, {
      spectrograph,
      detector,
      file: path,
      prior: before && Float64Array.from({ length: fibres }, (_, i) => at(before.centre, i * cols + column)),
    }),
  );
  refuseUneven(found, where);
  const measured = found.fibres.map((fibre) => fibre.measured && fibre.state !== 'off-chip');
  const followed = await timed('follow', () =>
    followFibres(
      flat,
      Float64Array.from(found.fibres, ({ y }) => y),
      measured,
      column,
      spacing,
    ),
  );
  const width = median(found.fibres.flatMap(({ sigma }, i) => (measured[i] === true ? [sigma] : [])));
  const beyond = beyondRows(followed, found.rows, cols);
  const fitter = new TraceFitter(
    cols,
    startSeries(
      followed,
      width,
      measured.map((is, i) => !is || beyond[i] === true),
    ),
    beyond,
  );
  const ivar = await timed('read', () => sharedWeights(flat.ivar, rows, cols, threads));
  const common = { rows, cols, ivar, expected, threads };

  const start = { ...common, image: flat.image, profile: startProfile(fibres) };
  for (const step of ROUGH) await timed('fit', () => fitter.step(start, step));
  const drawn = fitter.drawn;
  const part = (data: Float32Array) => data.subarray(0, fibres * cols);
  const lines = () => ({ fibres, centre: part(drawn.centre), width: part(drawn.width), flux: part(drawn.flux) });
  const kind = profileKindOf(context.parameters.profile);
  smoothWidths(fitter.fitted.terms, fitter.fitted.held);
  normaliseWidths(fitter.fitted.terms, fitter.fitted.held);
  for (let i = 0; i < 2; i++) await timed('fit', () => fitter.step(start, SMOOTH));
  const light = new Float32Array(sharedLarge(4 * rows * cols));
  const memory = new ProfileMemory();
  const measure = async (how: { readonly coarse: boolean; readonly quick: boolean }) => {
    await timed('fit', () => fitter.draw(threads));
    const shape = await timed('profile', () =>
      measureProfile({ ...flat, ivar, ...lines(), beyond }, { threads, kind, memory, ...how }),
    );
    correct(fitter.fitted.terms, shape);
    await timed('fit', () => fitter.draw(threads));
    const scattered = await timed('background', () =>
      fitBackground({ ...flat, ivar, ...lines(), profile: shape.profile, threads, quick: how.quick }),
    );
    const image = await timed('background', () =>
      subtractBackground(flat.image, rows, cols, scattered, threads, light),
    );
    return { ...shape, scattered, image };
  };
  const mixer = new Mixer(ROUNDS);
  for (let round = 0; round < ROUNDS; round++) {
    const coarse = round === 0;
    const before = Float64Array.from(fitter.fitted.terms);
    // What is told apart slowly stays as the last rounds have it, with the noise of the columns that those look at: so at all of them.
    const { profile, image } = await measure({ coarse, quick: coarse });
    await timed('fit', () => fitter.step({ ...common, image, profile }, MIDDLE));
    if (!coarse) goOn(mixer, fitter.fitted, before);
  }
  const { profile, error: profileError, scattered: background, image } = await measure({ coarse: false, quick: false });
  for (const step of FINE) await timed('fit', () => fitter.step({ ...common, image, profile }, step));

  const { terms, covariance, figures, held } = fitter.fitted;
  const rms = median([...held.keys()].flatMap((i) => (held[i] === true ? [] : at(figures, i * FIGURES + FIGURE.rms))));
  if (!(rms <= MOST_SCATTER)) {
    throw new AlgorithmError(
      `no light of fibres: what was taken for it scatters by ${rms.toPrecision(3)} pixels (rms) about smooth lines, expected ${MOST_SCATTER} at most`,
      { file: path },
    );
  }
  const levels = levelsOf(terms);
  const free = [...held.keys()].filter((i) => held[i] !== true);
  const usual = Array.from({ length: PLACES }, (_, n) => median(free.map((i) => at(levels[i] ?? [], n))));
  const ratio = levels.map((own) => median(own.map((flux, n) => flux / at(usual, n))));
  const states = statesOf(found, beyond, held, ratio);
  states.forEach((state, i) => {
    // Of a fibre that leaves the chip a few columns say little, and a series through them nothing elsewhere.
    if (state === 'broken' || state === 'off-chip') terms.fill(0, i * TERMS, i * TERMS + FLUX_TERMS);
  });
  const traces = newTraces(fibres, cols);
  const errors = new Float32Array(6 * fibres * cols);
  await timed('draw', () => drawTraces(terms, cols, traces, threads, { of: covariance, errors }));

  const even = facts.kind === EVEN;
  const isKnown = (state: FibreState) => even && state !== 'off-chip' && state !== 'blended';
  const dq = new Uint32Array(fibres * cols);
  states.forEach((state, i) => {
    const bits =
      BITS[state] | (held[i] === true ? DQ.TRACE_INTERPOLATED : 0) | (isKnown(state) ? 0 : DQ.UNKNOWN_THROUGHPUT);
    dq.fill(bits, i * cols, (i + 1) * cols);
  });
  const level = median(levels.flatMap((own, i) => (states[i] === 'ok' ? [median(own)] : [])));
  const figure = (i: number, which: number) => at(figures, i * FIGURES + which);
  const here = legendre(placeOf(column, cols), CENTRE_TERMS);
  const each = (value: (i: number) => number) => Float32Array.from({ length: fibres }, (_, i) => value(i));
  const shift = each((i) =>
    held[i] === true ? Number.NaN : seriesAt(terms, i * TERMS + CENTRE_FROM, CENTRE_TERMS, here) - at(expected, i),
  );
  const shifts = free.map((i) => at(shift, i));
  const findings: FibreFindings = {
    number: Int32Array.from({ length: fibres }, (_, i) => spectrograph.fibreNumber(i)),
    rms: each((i) => (held[i] === true ? Number.NaN : figure(i, FIGURE.rms))),
    chi2: each((i) =>
      figure(i, FIGURE.freedom) > 0 ? figure(i, FIGURE.chi2) / figure(i, FIGURE.freedom) : Number.NaN,
    ),
    columns: Int32Array.from({ length: fibres }, (_, i) =>
      held[i] === true ? 0 : Math.round(figure(i, FIGURE.light)),
    ),
    flux: each((i) => (states[i] === 'broken' || states[i] === 'off-chip' ? 0 : median(levels[i] ?? []))),
    shift,
  };
  const product: TraceProduct = {
    traces: {
      fibres,
      cols,
      ...traces,
      covariance: errors,
      dq,
      states,
      profile,
      throughput: each((i) =>
        isKnown(states[i] as FibreState) ? (states[i] === 'broken' ? 0 : at(ratio, i)) : Number.NaN,
      ),
      // Of the mean flux, over the level.
      throughputError: each((i) =>
        isKnown(states[i] as FibreState) ? Math.sqrt(Math.max(0, at(covariance, i * ENTRIES))) / level : Number.NaN,
      ),
    },
    findings,
    facts: {
      tele,
      mjd,
      chip,
      exposure,
      kind: facts.kind,
      rows,
      shift: median(shifts),
      shiftError: (1.2533 * (quantile(shifts, 0.84) - quantile(shifts, 0.16))) / 2 / Math.sqrt(shifts.length),
      level,
      unit: flat.unit,
    },
    background: { rows: background.gridRows, cols: background.gridCols, values: background.grid },
  };
  await timed('draw', () => checkTraces(product, path));
  const counts = countStates(states);
  const which = (state: FibreState) => [...states.keys()].filter((i) => states[i] === state);
  return {
    ...encodeTraces(product, [
      {
        name: 'PROFERR',
        data: profileError,
        shape: [fibres, PROFILE_NODES],
        header: [['COMMENT', 'Error of the light below the centre, as a part of all; [fibre][node].']],
      },
    ]),
    summary: {
      ok: counts.ok,
      low: counts.low,
      broken: counts.broken,
      blended: counts.blended,
      'off-chip': counts['off-chip'],
      shift: Number(product.facts.shift.toFixed(4)),
      rms: Number(rms.toFixed(5)),
      chi2: Number(median(free.map((i) => at(findings.chi2, i))).toFixed(4)),
      level: Number(level.toPrecision(5)),
    },
    warnings: [
      ...found.warnings,
      ...fibreList('broken', which('broken'), spectrograph),
      ...fibreList(`below ${LOW_THROUGHPUT} of the median light`, which('low'), spectrograph),
      ...fibreList('blended and interpolated', which('blended'), spectrograph),
    ],
    timings: Object.entries(seconds).map(([name, value]) => ({ name, seconds: value })),
  };
};
