/** From a calibrated image to the spectra of its fibres: traces of a flat, moved to the exposure; scattered light; extraction. */
import { AlgorithmError, BugError, InputError, RetriableError, UsageError } from '../../core/errors.js';
import type { ExposureFacts } from '../../core/exposure.js';
import { DQ } from '../../core/generated/dq.js';
import type { Instrument } from '../../core/product.js';
import {
  EXTRACTION_METHODS,
  type ExtractionMethod,
  LOW_THROUGHPUT,
  type Traces,
  type Tweak,
} from '../../core/spectra.js';
import { didYouMean } from '../../core/suggest.js';
import { runKernel } from '../../engine/index.js';
import type { CardInput, HduInput, Header } from '../../fits/index.js';
import { type Background, fitBackground, subtractBackground } from '../background.js';
import { countBits, median, rowProfile } from '../measure.js';
import { numberCard } from '../product_parts.js';
import { type RatesImage, readRates, weightsOf } from '../rates_image.js';
import { encodeSpectra, type ModelTerm, type SpectraFibre } from '../spectra_product.js';
import type { StageBody, StageContext } from '../stage.js';
import type { TraceFacts } from '../trace_product.js';
import { chooseTraces, type Throughput } from './choose.js';
import { type Drift, driftOf } from './drift.js';
import { decorrelate, extractWith } from './methods.js';
import { tweakTraces, UNCHANGED } from './tweak.js';

/** What the stage may be told. */
export interface ExtractParameters {
  readonly method: ExtractionMethod;
  /** Rows on each side of a trace in which its light is looked for. */
  readonly reach: number;
  /** Pixels this many standard deviations above the model of all fibres lose their weight; 0: none. */
  readonly reject: number;
  readonly background: boolean;
  readonly tweak: boolean;
  /** Spectra with errors that do not depend on each other besides; 'joint' alone. */
  readonly decorrelate: boolean;
}

/** Part of a fibre's columns without a value of which a person is told. */
const MANY_MISSING = 0.05;
/** Part of all values with a pixel that the model does not explain, of which a person is told. */
const MANY_OUTLIERS = 0.2;
/** Error of the traces that a tweak is meant to reach [px]; a larger one is told. */
const ERROR_ASKED = 0.01;
/** A chi2 of 0 is none: no pixel had a weight. The limit must not vanish in float32. */
const JUDGED = { low: 1e-30, high: 1e30 };
/** Bits of a whole fibre by its state. */
const OF_STATE = {
  ok: 0,
  low: DQ.LOW_THROUGHPUT,
  broken: DQ.BROKEN_FIBRE | DQ.TRACE_INTERPOLATED,
  blended: DQ.TRACE_INTERPOLATED,
  'off-chip': DQ.OFF_CHIP,
} as const;

/** @throws UsageError for a method that there is not, or numbers that make no sense */
export function checkParameters(given: StageContext['parameters']): ExtractParameters {
  const { method, reach, reject, background, tweak, decorrelate: apart } = given;
  const known = EXTRACTION_METHODS.find((one) => one === method);
  if (known === undefined) {
    throw new UsageError(
      `no extraction method "${method}"${didYouMean(String(method), EXTRACTION_METHODS) || `; there are ${EXTRACTION_METHODS.join(', ')}`}`,
    );
  }
  if (apart === true && known !== 'joint') {
    throw new UsageError(`only the method joint knows the covariances that "decorrelate" needs, received ${known}`);
  }
  const within = (name: string, value: unknown, low: number, high: number): number => {
    if (typeof value === 'number' && value >= low && value <= high) return value;
    throw new UsageError(`expected ${name} from ${low} to ${high}, received ${String(value)}`);
  };
  return {
    method: known,
    reach: within('reach', reach, 2, 16),
    reject: within('reject', reject, 0, 1e6),
    background: background === true,
    tweak: tweak === true,
    decorrelate: apart === true,
  };
}

/**
 * Variance by photons of a rate of 1, in the unit of the rates. The best slope of a ramp of n differences has rate / (gain n) of it in
 * DN/read (the limit of much light; without light it is 1.2 of that).
 */
function photonVariance(
  { unit, readSeconds }: RatesImage,
  header: Header,
  instrument: Instrument,
  detector: { readonly tele: string; readonly chip: string },
): number {
  const differences = header.number('NREAD', 0) - 1;
  if (!(differences >= 1)) return 0;
  if (unit === 'electron/s') return readSeconds > 0 ? 1 / (readSeconds * differences) : 0;
  return 1 / (instrument.defaults(detector).gainElectronsPerDn * differences);
}

/** When the light fell: what the header of the image says. */
function timeCards(header: Header): CardInput[] {
  const cards: CardInput[] = [];
  for (const keyword of ['TIMESYS', 'DATE-BEG', 'MJD-BEG', 'MJD-MID', 'NREAD', 'READTIME'] as const) {
    const card = header.cards.find((one) => one.keyword === keyword);
    if (card !== undefined) cards.push([keyword, card.value, card.comment]);
  }
  return cards;
}

/** Quality bits of whole fibres: of their state in the flat of the traces, and of their throughput in the dome flat. */
function bitsOf(traces: Traces, { values }: Throughput): Uint32Array {
  return Uint32Array.from(traces.states, (state, i) => {
    const value = values[i] ?? Number.NaN;
    const unknown = Number.isFinite(value) ? 0 : DQ.UNKNOWN_THROUGHPUT;
    const low = value < LOW_THROUGHPUT ? DQ.LOW_THROUGHPUT : 0;
    return (OF_STATE[state] | unknown | low) >>> 0;
  });
}

/** Terms of the model for the table and the header. */
function modelTerms(tweak: Tweak, background: Background | undefined, unit: string): ModelTerm[] {
  const terms: ModelTerm[] = tweak.terms.map(({ i, j, value, error }) => ({
    name: `TWEAK_${i}${j}`,
    value,
    error,
    unit: 'pix',
    text: `of P${i}(u) P${j}(v): rows that the traces moved by; u along x, v along y, -1 to 1`,
  }));
  terms.push({
    name: 'WIDTH',
    value: tweak.width,
    error: tweak.widthError,
    unit: '',
    text: 'factor of the widths against the flat',
  });
  if (background !== undefined) {
    // The errors are those of readout noise; the scatter about the model says what they really are.
    const error = median(background.gridError) * Math.sqrt(Math.max(1, background.chi2));
    terms.push({
      name: 'BACKGROUND',
      value: median(background.grid),
      error,
      unit,
      text: 'scattered light, median of a coarse grid over the chip, and its error',
    });
  }
  return terms;
}

/**
 * Extracts the spectra of one exposure of one chip.
 * @throws InputError for inputs that are not what they must be, without traces that can be used, or whose light does not lie where
 *   the traces have it; AlgorithmError where no pixel can be used; UsageError for parameters
 */
export const extract: StageBody = async (context: StageContext) => {
  const { instrument, identity, inputs, exposures, threads, control } = context;
  const parameters = checkParameters(context.parameters);
  const { method, reach, reject } = parameters;
  const image = inputs.find(({ role }) => role === 'image');
  const exposure = exposures[0] as ExposureFacts | undefined;
  const { tele, mjd, chip, exposure: number } = identity;
  if (image === undefined || exposure === undefined || chip === undefined || number === undefined) {
    throw new BugError('expected the image of one exposure of one chip');
  }
  const timings: { name: string; seconds: number }[] = [];
  const timed = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    if (Atomics.load(control, 0) !== 0) throw new RetriableError('interrupted');
    const began = performance.now();
    const result = await work();
    timings.push({ name, seconds: (performance.now() - began) / 1000 });
    return result;
  };

  const rates = await timed('read', () => readRates(image.file, threads));
  const { rows, cols, unit } = rates;
  const flats = inputs.filter(({ role }) => role === 'traces');
  const wanted = { tele, mjd, chip, exposure: number, rows, cols };
  const choice = await timed('choose', () => chooseTraces(flats, wanted));
  const { traces, facts: flat, findings } = choice.product;
  const { fibres } = traces;

  const { tweak, centre, width } = await timed('tweak', async () =>
    parameters.tweak ? tweakTraces(traces, rates, { threads }) : { tweak: NOT_ASKED, ...traces },
  );
  if (tweak.state === 'refused') {
    throw new InputError(
      `expected light where the traces of the ${flat.kind} ${flat.exposure} have it, received ${tweak.reason}; without a tweak (--no-tweak) they are taken as they are`,
      { file: image.path, hdu: image.file.hdu('SCI').index },
    );
  }
  const moved = { rows, cols, fibres, centre, width, profile: traces.profile };
  const primary = image.file.hdu(0).header;
  const photons = photonVariance(rates, primary, instrument, { tele, chip });
  // Weights that follow the noise would make faint light too small by a third of it.
  const fitted = async () => {
    const ivar = await weightsOf(rates.image, rates.error, rates.dq, rows, cols, threads, photons);
    return fitBackground({ ...moved, image: rates.image, ivar, threads });
  };
  const background = parameters.background ? await timed('background', fitted) : undefined;
  const light = background === undefined ? rates.image : await subtractBackground(rates.image, rows, cols, background);
  const pixels = { ...moved, image: light, ivar: rates.ivar, dq: rates.dq, traceDq: traces.dq };
  const options = { reach, reject, photonVariance: photons };
  const extracted = await timed('extract', () => extractWith(method, pixels, options));
  const decorrelated = parameters.decorrelate
    ? await timed('decorrelate', () => decorrelate(pixels, extracted, options))
    : undefined;

  const bits = bitsOf(traces, choice.throughput);
  const error = new Float32Array(fibres * cols);
  const spectra = (data: Float32Array | Uint32Array) => ({ data, planes: fibres, cols });
  await runKernel('finish-spectra', {
    flux: spectra(extracted.flux),
    ivar: spectra(extracted.ivar),
    error: spectra(error),
    dq: spectra(extracted.dq),
    traceDq: spectra(traces.dq),
    bits: { data: bits, planes: fibres },
  });

  const all = { row: 0, rows: fibres, x: 0, cols };
  const anything = { low: -1e30, high: 1e30 };
  const flux = await rowProfile(extracted.flux, cols, all, anything);
  const chi2 = extracted.chi2 && (await rowProfile(extracted.chi2, cols, all, JUDGED));
  const counts = await countBits(extracted.dq, cols, all);
  const count = (bit: number) => counts[31 - Math.clz32(bit)] ?? 0;
  const whole = traces.states.map((state) => state === 'ok' || state === 'low');
  const dof = chi2 === undefined ? Number.NaN : median(Array.from(chi2).filter((_, i) => whole[i]));
  const missing = count(DQ.EXTRACTION_FAILED);
  if (missing === fibres * cols) {
    throw new AlgorithmError('expected a pixel of a fibre that can be used, all are bad or have no value', {
      file: image.path,
      hdu: image.file.hdu('DQ').index,
    });
  }
  const outliers = count(DQ.MODEL_OUTLIER);

  const targets = new Map(context.fibres?.map((target) => [target.fibre, target]));
  const map = traces.states.map((state, i): SpectraFibre => {
    const fibre = findings.number[i] ?? i;
    const { role = 'unknown', target = '', ra = Number.NaN, dec = Number.NaN } = targets.get(fibre) ?? {};
    return {
      number: fibre,
      type: role,
      target,
      ra,
      dec,
      state,
      throughput: choice.throughput.values[i] ?? Number.NaN,
      throughputError: choice.throughput.errors[i] ?? Number.NaN,
      bits: bits[i] ?? 0,
      flux: flux[i] ?? Number.NaN,
      chi2: chi2?.[i] ?? Number.NaN,
    };
  });
  const trace = new Float32Array(2 * fibres * cols);
  trace.set(centre);
  trace.set(width, fibres * cols);
  const model: ModelTerm[] = [
    ...modelTerms(tweak, background, unit),
    {
      name: 'CHI2DOF',
      value: dof,
      error: Number.NaN,
      unit: '',
      text: 'median over the fibres of their mean chi2 / dof',
    },
    {
      name: 'OUTLIERS',
      value: outliers,
      error: Number.NaN,
      unit: '',
      text: 'columns of fibres with a pixel of less weight',
    },
    { name: 'PHOTVAR', value: photons, error: Number.NaN, unit, text: 'variance by photons of a rate of 1' },
  ];
  const { throughput, zero } = choice;
  const drift = driftOf(tweak, zero.apart);
  const product = encodeSpectra(
    {
      facts: { tele, mjd, chip, exposure: number, kind: exposure.kind, method, unit, flat: flat.exposure, rows },
      spectra: {
        fibres,
        cols,
        flux: extracted.flux,
        error,
        dq: extracted.dq,
        covariance: extracted.covariance,
        crosstalk: extracted.crosstalk,
        chi2: extracted.chi2,
        decorrelated,
        trace,
        map,
        model,
      },
    },
    [
      ...timeCards(primary),
      ['FLATKIND', flat.kind, 'kind of the flat'],
      ['FLATWHY', choice.why],
      ...(throughput.exposure === undefined
        ? []
        : [['THRUEXP', throughput.exposure, 'dome flat that gave the throughputs'] satisfies CardInput]),
      ['TWEAK', parameters.tweak ? tweak.state : 'off', 'whether the traces were moved: ok, faint, off'],
      ['TWEAKWHY', tweak.reason, 'why not'],
      ...numberCard(
        'TWSHIFT',
        tweak.terms.find(({ i, j }) => i === 0 && j === 0)?.value ?? 0,
        '[pix] mean shift of the traces',
      ),
      ...numberCard(
        'TWSHFERR',
        tweak.terms.find(({ i, j }) => i === 0 && j === 0)?.error ?? Number.NaN,
        '[pix] its error',
      ),
      ...numberCard('TWERRMAX', tweak.largestError, '[pix] largest error of a trace over the chip'),
      ...(drift === undefined
        ? []
        : ([
            ['DRIFTREF', zero.facts.exposure, 'flat that DRIFT is against, one for all'],
            ['DRIFTKND', zero.facts.kind, 'its kind'],
            ...numberCard('DRIFT', drift.shift.value, '[pix] mean shift against it'),
            ...numberCard('DRIFTERR', drift.shift.error, '[pix] its error'),
          ] satisfies CardInput[])),
      ['BACKGRND', background !== undefined, 'scattered light was subtracted'],
      ['REACH', reach, '[pix] rows used on each side of a trace'],
      ['REJECT', reject, '[sigma] limit above the model; 0: none'],
      ...numberCard('CHI2DOF', dof, 'median over the fibres of mean chi2 / dof'),
      ['NVALUE', fibres * cols - missing, 'values: columns of fibres with a flux'],
      ['NOUTLIER', outliers, 'values with a pixel of less weight'],
      ['NBROKEN', traces.states.filter((state) => state === 'broken').length, 'fibres without light in the flat'],
    ],
  );
  const warnings = [...choice.warnings];
  const expected = cols * whole.filter(Boolean).length;
  const absent = cols * (fibres - whole.filter(Boolean).length);
  const lost = (missing - absent) / Math.max(1, expected);
  if (tweak.largestError > ERROR_ASKED) {
    const worst = tweak.largestError.toFixed(3);
    warnings.push(
      `the light does not place all traces to ${ERROR_ASKED} px: the error is ${worst} px where it is largest`,
    );
  }
  const unexplained = outliers / (fibres * cols - missing);
  if (unexplained > MANY_OUTLIERS) {
    warnings.push(
      `${(100 * unexplained).toFixed(0)} % of the values have pixels that the model of all fibres does not explain: does the light lie where the traces have it?`,
    );
  }
  if (lost > MANY_MISSING) warnings.push(`${(100 * lost).toFixed(0)} % of the columns of whole fibres have no value`);
  return {
    cards: product.cards,
    hdus: [...product.hdus, ...covarianceOf(tweak)],
    choices: choice.inputs,
    summary: {
      method,
      flat: flat.exposure,
      tweak: parameters.tweak ? tweak.state : 'off',
      ...(Number.isFinite(dof) && { chi2: Number(dof.toFixed(3)) }),
      outliers,
      missing,
      ...overTheNight(drift, zero.facts, tweak),
    },
    warnings,
    timings,
  };
};

/** How the terms of a tweak depend on each other; nothing where none were measured. */
function covarianceOf({ terms, covariance }: Tweak): HduInput[] {
  if (covariance === undefined) return [];
  const size = terms.length;
  const data = new Float64Array(size * size);
  for (const [n, row] of covariance.entries()) data.set(row, n * size);
  const header: CardInput[] = [
    ['BUNIT', 'pix2', 'square of the unit of the terms'],
    ['COMMENT', 'Covariance of the terms TWEAK_ij of MODEL, in their order there.'],
  ];
  return [{ name: 'TWEAKCOV', data, shape: [size, size], header }];
}

/** What the page of a night plots of a tweak: each number with its error, and in its name the flat that it is against. */
function overTheNight(
  drift: Drift | undefined,
  zero: TraceFacts,
  { state, width, widthError }: Tweak,
): Record<string, number> {
  const told: Record<string, number> = {};
  const add = (name: string, { value, error }: { readonly value: number; readonly error: number }): void => {
    told[name] = Number(value.toFixed(5));
    told[`${name} error`] = Number(error.toFixed(5));
  };
  for (const term of ['shift', 'scale', 'tilt'] as const) {
    if (drift !== undefined) add(`trace ${term} against ${zero.kind} ${zero.exposure} [px]`, drift[term]);
  }
  if (state === 'ok') add('profile width against the flat used', { value: width, error: widthError });
  return told;
}

const NOT_ASKED: Tweak = { ...UNCHANGED, state: 'faint', reason: 'it was not asked for' };
