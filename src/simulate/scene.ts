/** What shines on the detector: for each fibre a spectrum [e-/read for each column] and where its trace runs. */
import { type FibreState, LOW_THROUGHPUT } from '../core/spectra.js';
import { type Effects, STREAM } from './detector.js';
import {
  CHIP_NUMBER,
  type Chip,
  type ChipFigures,
  type Figures,
  figures,
  TELE_NUMBER,
  type Telescope,
} from './figures.js';
import { deriveSeed, exp, exp10, ln, type Seed, Sequence } from './math.js';
import {
  COLUMNS,
  FIBRES,
  type Flexure,
  flexureOf,
  type Tables,
  type TraceGeometry,
  tablesOf,
  traceGeometry,
} from './traces.js';

export type ExposureType =
  | 'object'
  | 'dark'
  | 'domeflat'
  | 'quartzflat'
  | 'internalflat'
  | 'une'
  | 'thar'
  | 'fpi'
  | 'sky'
  | 'twilight'
  | 'gradient';
export const EXPOSURE_TYPES: readonly ExposureType[] = [
  'object',
  'dark',
  'domeflat',
  'quartzflat',
  'internalflat',
  'une',
  'thar',
  'fpi',
  'sky',
  'twilight',
  'gradient',
];

/** Fibres (fiberID, 1-based from the top) that carry the FPI during science exposures (ApogeeReduction.jl). */
const FPI_FIBRE_IDS: Readonly<Record<Telescope, readonly number[]>> = { apo: [75, 225], lco: [82, 213] };

// Brightness, in electrons a read. Chosen so that an exposure looks like a real one: an H = 12.2 star collects 400 e- a
// column in 47 reads (S/N 100 in 24 exposures), the brightest sky line 10^4 e-, flats stay far below saturation.
const STAR_AT_H12 = 9;
const OH_BRIGHTEST = 300;
const SKY_CONTINUUM = 0.3;
const DOME_FLAT = 900;
const QUARTZ_FLAT = 1500;
const FPI_PEAK = 700;
const TWILIGHT = 60;
const LAMP_SCALE = { une: 0.01, thar: 0.003 } as const;
/** A lamp line may be no brighter: the lists' brightest are noted from saturated exposures. */
const LAMP_BRIGHTEST = 8000;
/** Internal flats light the detector itself; in 47 reads they fill a third of the well. */
export const INTERNAL_FLAT = 600;
/** The scene of ApogeeReduction.jl's ramp test: rates log-spaced along x, the same in every row [e-/read]. */
export const gradientAt = (x: number): number =>
  GRADIENT_FIRST * exp((x / (COLUMNS - 1)) * ln(GRADIENT_LAST / GRADIENT_FIRST));
const GRADIENT_FIRST = 10;
const GRADIENT_LAST = 4000;
/** Width of the instrument's line profile [px]; resolving power 22 500 is a FWHM of 2.2 to 3.2 px along the chips. */
const LINE_SIGMA_PX = 1.15;

/** Throughput of the broken fibres of a telescope, and the lowest fibre that may be one: strips show the lowest alone. */
const BROKEN = [0, 0, 0.05, 0.12];
const LOWEST_BROKEN = 20;
/** A fibre that differs from chip to chip: scatter of its throughput. */
const CHIP_SCATTER = 0.02;
/** Pairs of neighbours in an object: 7.5 magnitudes are a factor of 1000. */
const PAIRS = 3;
const PAIR_BRIGHT_H = 6.5;
const PAIR_FAINT_H = 14;
/** A fibre so far above a strip's last row may still light it: the profile's reach, and what a trace rises along x [px]. */
const EDGE_PX = 40;
/** Scattered light over all light of the fibres. */
const SCATTERED_PART = 0.01;

/** What of the scene can be switched off. */
export type SceneEffects = Pick<
  Effects,
  'brokenFibres' | 'neighbours' | 'profileDrift' | 'wings' | 'scatteredLight' | 'flexure'
>;

export interface ScenePlan {
  readonly tele: Telescope;
  readonly chip: Chip;
  readonly type: ExposureType;
  readonly mjd: number;
  readonly exposure: number;
  readonly rows: number;
  readonly seed: number;
  readonly detectorSeed: number;
  readonly effects: SceneEffects;
  /** Factor of all light; default 1. */
  readonly brightness?: number | undefined;
  /** Light of each fibre in each column instead of the type's [e-/read]. */
  readonly light?: ((fibre: number, x: number) => number) | undefined;
  /** Moves all traces [px]; default 0. */
  readonly shift?: number | undefined;
  /** Fibres without light, besides the broken ones. */
  readonly dead?: readonly number[] | undefined;
  /** The bright fibre of each pair of neighbours, instead of drawn ones; the faint one is the next. */
  readonly pairs?: readonly number[] | undefined;
}

export interface Scene extends TraceGeometry {
  /** [fibre][x] e-/read. */
  readonly flux: Float32Array;
  readonly tables: Tables;
  readonly flexure: Flexure;
  /** Part of the light that each fibre shows. */
  readonly throughput: Float32Array;
  readonly states: readonly FibreState[];
  readonly targets: readonly Target[];
  /** Mean scattered light [e-/read]. */
  readonly scattered: number;
}

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;

function wavelengthAt(coefficients: readonly number[], x: number): number {
  const t = (x - 1023) / 2048;
  let sum = 0;
  for (let k = coefficients.length - 1; k >= 0; k--) sum = sum * t + at(coefficients, k);
  return sum;
}

/** Column at which a wavelength falls, for the middle of the slit; may lie off the chip. Newton, fixed steps. */
export function columnOf(coefficients: readonly number[], wavelength: number): number {
  let t = (wavelength - at(coefficients, 0)) / at(coefficients, 1);
  for (let step = 0; step < 6; step++) {
    let value = 0;
    let slope = 0;
    for (let k = coefficients.length - 1; k >= 0; k--) {
      slope = slope * t + value;
      value = value * t + at(coefficients, k);
    }
    t -= (value - wavelength) / slope;
  }
  return t * 2048 + 1023;
}

/** Spectrum of narrow lines: each a Gaussian averaged over the pixel with five samples. */
function addLine(flux: Float32Array, offset: number, column: number, total: number): void {
  const reach = 5 * LINE_SIGMA_PX;
  const first = Math.max(0, Math.ceil(column - reach));
  const last = Math.min(COLUMNS - 1, Math.floor(column + reach));
  for (let x = first; x <= last; x++) {
    let sum = 0;
    for (let s = -2; s <= 2; s++) {
      const z = (x + 0.2 * s - column) / LINE_SIGMA_PX;
      sum += exp(-0.5 * z * z);
    }
    const i = offset + x;
    // 0.3989... is 1 / sqrt(2 pi)
    flux[i] = at(flux, i) + (total * sum * 0.3989422804014327) / (5 * LINE_SIGMA_PX);
  }
}

interface Place {
  readonly all: Figures;
  readonly chip: ChipFigures;
  readonly tele: Telescope;
  /** Shift of the fibre's spectrum to larger x [px]. */
  readonly shift: number;
  readonly offset: number;
}

function addList(
  flux: Float32Array,
  place: Place,
  list: readonly (readonly [number, number])[],
  scale: number,
  cap: number,
): void {
  for (const [wavelength, intensity] of list) {
    const column = columnOf(place.chip.wavelength, wavelength) + place.shift;
    if (column < -10 || column > COLUMNS + 10) continue;
    addLine(flux, place.offset, column, Math.min(Math.max(intensity, 0) * scale, cap));
  }
}

/** The comb of the Fabry-Perot: lambda = 2 L / (m + offset). */
function addComb(flux: Float32Array, place: Place, scale: number): void {
  const { cavityTwoLAngstrom, offset } = place.all.fpi[place.tele];
  const ends = [wavelengthAt(place.chip.wavelength, -20), wavelengthAt(place.chip.wavelength, COLUMNS + 20)];
  const first = Math.ceil(cavityTwoLAngstrom / Math.max(...ends) - offset);
  const last = Math.floor(cavityTwoLAngstrom / Math.min(...ends) - offset);
  for (let m = first; m <= last; m++) {
    addLine(
      flux,
      place.offset,
      columnOf(place.chip.wavelength, cavityTwoLAngstrom / (m + offset)) + place.shift,
      scale,
    );
  }
}

/** A value of a spectrum on the logarithmic grid, by straight lines between its points. */
function sample(grid: Float64Array, values: Float32Array, wavelength: number): number {
  // The grid is geometric and fine, so its index is nearly linear between neighbours: bisect.
  let low = 0;
  let high = grid.length - 1;
  if (wavelength <= at(grid, 0)) return at(values, 0);
  if (wavelength >= at(grid, high)) return at(values, high);
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at(grid, middle) <= wavelength) low = middle;
    else high = middle;
  }
  const part = (wavelength - at(grid, low)) / (at(grid, high) - at(grid, low));
  return at(values, low) + (at(values, high) - at(values, low)) * part;
}

/** Lamp continuum: a slow slope with wavelength, so that the chips differ as they do in real flats. */
const lampSlope = (wavelength: number): number => 1 + 0.25 * ((wavelength - 16000) / 1000);

function addContinuum(flux: Float32Array, place: Place, value: (wavelength: number) => number): void {
  for (let x = 0; x < COLUMNS; x++) {
    const i = place.offset + x;
    flux[i] = at(flux, i) + value(wavelengthAt(place.chip.wavelength, x - place.shift));
  }
}

/** What a fibre looks at: a star of magnitude H with a radial velocity, bare sky, a featureless hot star, or the FPI. */
export type Target =
  | { readonly kind: 'star'; readonly h: number; readonly template: number; readonly velocityKmS: number }
  | { readonly kind: 'hot'; readonly h: number }
  | { readonly kind: 'sky' }
  | { readonly kind: 'fpi' }
  | { readonly kind: 'lamp' };

function chooseTarget(seed: Seed, tele: Telescope, fibre: number, templates: number): Target {
  const numbers = new Sequence(seed, 100 + fibre);
  const u = numbers.uniform();
  const h = 8.5 + 4.3 * Math.sqrt(numbers.uniform());
  const template = numbers.below(templates);
  const velocityKmS = 60 * numbers.normal();
  if (isFpi(tele, fibre)) return { kind: 'fpi' };
  // 35 sky and 15 telluric fibres of 300, as on a plate
  if (u < 35 / 300) return { kind: 'sky' };
  if (u < 50 / 300) return { kind: 'hot', h: Math.min(h, 10.5) };
  return { kind: 'star', h, template, velocityKmS };
}

const isFpi = (tele: Telescope, fibre: number): boolean => FPI_FIBRE_IDS[tele].includes(300 - fibre);

/** `count` fibres, each with the one after it free of FPI and of the others; the lowest are left alone. */
function drawFibres(numbers: Sequence, tele: Telescope, count: number): number[] {
  const drawn: number[] = [];
  while (drawn.length < count) {
    const fibre = LOWEST_BROKEN + numbers.below(FIBRES - LOWEST_BROKEN - 1);
    const near = drawn.some((other) => Math.abs(other - fibre) < 3);
    if (!near && !isFpi(tele, fibre) && !isFpi(tele, fibre + 1)) drawn.push(fibre);
  }
  return drawn;
}

/** What each fibre looks at. It follows from the exposure alone, so the three chips see the same sky. */
function targetsOf({ tele, type, pairs, effects }: ScenePlan, seed: Seed, templates: number): Target[] {
  if (type === 'sky') return Array.from({ length: FIBRES }, () => ({ kind: 'sky' }) as const);
  if (type !== 'object') return Array.from({ length: FIBRES }, () => ({ kind: 'lamp' }) as const);
  const targets = Array.from({ length: FIBRES }, (_, fibre) => chooseTarget(seed, tele, fibre, templates));
  const drawn = effects.neighbours ? drawFibres(new Sequence(seed, STREAM.neighbours), tele, PAIRS) : [];
  for (const fibre of pairs ?? drawn) {
    targets[fibre] = { kind: 'hot', h: PAIR_BRIGHT_H };
    targets[fibre + 1] = { kind: 'hot', h: PAIR_FAINT_H };
  }
  return targets;
}

/** Part of the light that each fibre shows on a chip: the same in all exposures. */
function throughputOf({ tele, chip, detectorSeed, effects, dead = [] }: ScenePlan): Float32Array {
  // Of the fibres, which the three chips share.
  const seed = deriveSeed(1, detectorSeed, TELE_NUMBER[tele], 0);
  const numbers = new Sequence(seed, STREAM.throughput);
  const own = new Sequence(deriveSeed(1, detectorSeed, TELE_NUMBER[tele], CHIP_NUMBER[chip]), STREAM.throughput);
  const throughput = Float32Array.from({ length: FIBRES }, () => {
    const shared = Math.min(Math.max(0.85 + 0.1 * numbers.normal(), 0.3), 1.1);
    return shared * (1 + CHIP_SCATTER * own.normal());
  });
  if (effects.brokenFibres) {
    const broken = drawFibres(new Sequence(seed, STREAM.broken), tele, BROKEN.length);
    broken.forEach((fibre, i) => {
      throughput[fibre] = BROKEN[i] as number;
    });
  }
  for (const fibre of dead) throughput[fibre] = 0;
  return throughput;
}

/** Adds to each fibre of a strip what it sees. */
function addSpectra(flux: Float32Array, plan: ScenePlan, targets: readonly Target[], top: number): void {
  const { tele, chip, type, light } = plan;
  const all = figures();
  const figure = all.detectors[`${tele}-${chip}`] as ChipFigures;
  for (let fibre = 0; fibre < FIBRES; fibre++) {
    const y0 = at(figure.traceCentre, fibre);
    // Beyond a strip's rows nothing is seen of the fibre.
    if (y0 > top) continue;
    if (light !== undefined) {
      for (let x = 0; x < COLUMNS; x++) flux[fibre * COLUMNS + x] = light(fibre, x);
      continue;
    }
    const slit = (y0 - 1023.5) / 1020;
    const offset = fibre * COLUMNS;
    const place: Place = { all, chip: figure, tele, shift: figure.slitCurvaturePx * slit * slit, offset };
    if (type === 'domeflat') addContinuum(flux, place, (wavelength) => DOME_FLAT * lampSlope(wavelength));
    if (type === 'quartzflat') addContinuum(flux, place, (wavelength) => QUARTZ_FLAT * lampSlope(wavelength));
    if (type === 'une') addList(flux, place, all.une, LAMP_SCALE.une, LAMP_BRIGHTEST);
    if (type === 'thar') addList(flux, place, all.thar, LAMP_SCALE.thar, LAMP_BRIGHTEST);
    if (type === 'fpi') addComb(flux, place, FPI_PEAK);
    if (type === 'twilight') addTwilight(flux, place);
    if (type === 'object' || type === 'sky') addTarget(flux, place, targets[fibre] as Target);
  }
}

/** The seed of what is drawn for an exposure; the three chips see the same sky and the same flexure. */
export const sceneSeed = ({ tele, seed, mjd, exposure }: Pick<ScenePlan, 'tele' | 'seed' | 'mjd' | 'exposure'>): Seed =>
  deriveSeed(3, seed, TELE_NUMBER[tele], mjd, exposure);

/**
 * The scene of an exposure: the spectrum of each fibre, and where and how it falls on the chip. What the fibres look at follows
 * from the seed and the exposure, what they and the chip are from the detector seed.
 */
export function makeScene(plan: ScenePlan): Scene {
  const { tele, chip, exposure, rows, effects, brightness = 1 } = plan;
  const figure = figures().detectors[`${tele}-${chip}`] as ChipFigures;
  const seed = sceneSeed(plan);
  const detectorSeed = deriveSeed(1, plan.detectorSeed, TELE_NUMBER[tele], CHIP_NUMBER[chip]);
  const tables = tablesOf(figure, detectorSeed, effects);
  const flexure = flexureOf(exposure, seed, effects);
  const traces = traceGeometry(figure, tables, flexure, detectorSeed, effects, plan.shift ?? 0);
  const flux = new Float32Array(FIBRES * COLUMNS);
  const targets = targetsOf(plan, seed, figures().stars.length);
  addSpectra(flux, plan, targets, rows + EDGE_PX);
  const throughput = throughputOf(plan);
  let total = 0;
  for (let fibre = 0; fibre < FIBRES; fibre++) {
    const factor = brightness * at(throughput, fibre);
    let sum = 0;
    for (let i = fibre * COLUMNS; i < (fibre + 1) * COLUMNS; i++) {
      const light = at(flux, i) * factor;
      flux[i] = light;
      sum += light;
    }
    if (at(figure.traceCentre, fibre) < rows) total += sum;
  }
  const states = Array.from({ length: FIBRES }, (_, fibre): FibreState => {
    const line = traces.centre.subarray(fibre * COLUMNS, (fibre + 1) * COLUMNS);
    // The centre is smooth and monotonic in halves of a chip: its ends and middle hold its extremes to a pixel.
    const ends = [at(line, 0), at(line, COLUMNS / 2), at(line, COLUMNS - 1)];
    if (Math.min(...ends) < 0 || Math.max(...ends) > rows - 1) return 'off-chip';
    const share = at(throughput, fibre);
    return share === 0 ? 'broken' : share < LOW_THROUGHPUT ? 'low' : 'ok';
  });
  const scattered = effects.scatteredLight ? (SCATTERED_PART * total) / (rows * COLUMNS) : 0;
  return { ...traces, flux, tables, flexure, throughput, states, targets, scattered };
}

/** Twilight is sunlight: the first star's spectrum, the same in all fibres. */
function addTwilight(flux: Float32Array, place: Place): void {
  const { gridWavelength: grid, telluric, stars } = place.all;
  const sun = stars[0] as Float32Array;
  addContinuum(
    flux,
    place,
    (wavelength) => TWILIGHT * sample(grid, sun, wavelength) * sample(grid, telluric, wavelength),
  );
}

function addTarget(flux: Float32Array, place: Place, target: Target): void {
  const { gridWavelength: grid, telluric } = place.all;
  if (target.kind === 'lamp') return;
  if (target.kind === 'fpi') {
    addComb(flux, place, FPI_PEAK / 2);
    return;
  }
  const brightest = place.all.oh.reduce((most, [, intensity]) => Math.max(most, intensity), 0);
  addList(flux, place, place.all.oh, OH_BRIGHTEST / brightest, OH_BRIGHTEST);
  addContinuum(flux, place, () => SKY_CONTINUUM);
  if (target.kind === 'sky') return;
  const level = STAR_AT_H12 * exp10(0.4 * (12.2 - target.h));
  const star = target.kind === 'star' ? place.all.stars[target.template] : undefined;
  const doppler = 1 + (target.kind === 'star' ? target.velocityKmS : 0) / 299792.458;
  addContinuum(flux, place, (wavelength) => {
    const absorbed = star === undefined ? 1 : sample(grid, star, wavelength / doppler);
    return level * absorbed * sample(grid, telluric, wavelength);
  });
}
