/** What shines on the detector: for each fibre a spectrum [e-/read for each column] and where its trace runs. */
import { type Chip, type ChipFigures, type Figures, figures, type Telescope } from './figures.js';
import { exp, exp10, ln, type Seed, Sequence } from './math.js';

export const FIBRES = 300;
export const COLUMNS = 2048;
/** Length of a cumulative profile table: -15.5 px to +15.5 px in steps of 0.01 px. */
export const PROFILE_SAMPLES = 3101;
const PROFILE_REACH = 15.5;

export type ExposureType =
  | 'object'
  | 'dark'
  | 'domeflat'
  | 'quartzflat'
  | 'internalflat'
  | 'une'
  | 'thar'
  | 'fpi'
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

export interface Scene {
  /** [fibre][x] e-/read. */
  readonly flux: Float32Array;
  /** [fibre][x] row of the trace. */
  readonly centre: Float32Array;
  /** First and last row that a fibre lights. */
  readonly low: Float32Array;
  readonly high: Float32Array;
  /** [fibre][PROFILE_SAMPLES] cumulative profile. */
  readonly profile: Float32Array;
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

/** Cumulative Gauss-Hermite profiles, monotonic and from 0 to 1 (ApogeeReduction.jl's trace profiles). */
function profileTables(chip: ChipFigures): Float32Array {
  const orders = chip.profileHeights.length;
  const basis = Array.from({ length: orders }, () => new Float64Array(PROFILE_SAMPLES));
  const density = (z: number): number => exp(-0.5 * z * z) * 0.3989422804014327;
  let integral = 0;
  for (let i = 0; i < PROFILE_SAMPLES; i++) {
    const z = i / 100 - PROFILE_REACH;
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
  const tables = new Float32Array(FIBRES * PROFILE_SAMPLES);
  const sum = new Float64Array(PROFILE_SAMPLES);
  for (let fibre = 0; fibre < FIBRES; fibre++) {
    const index = Math.min(Math.max(fibre + 1, chip.profileFibres[0]), chip.profileFibres[1]);
    sum.fill(0);
    chip.profileHeights.forEach((coefficients, j) => {
      const height = coefficients.reduce((value, c) => value * index + c, 0);
      const term = basis[j] as Float64Array;
      for (let i = 0; i < PROFILE_SAMPLES; i++) sum[i] = at(sum, i) + height * at(term, i);
    });
    // The expansion dips below 0 in the wings; light does not.
    const start = at(sum, 0);
    for (let i = 1; i < PROFILE_SAMPLES; i++) sum[i] = Math.max(at(sum, i), at(sum, i - 1));
    const range = at(sum, PROFILE_SAMPLES - 1) - start;
    for (let i = 0; i < PROFILE_SAMPLES; i++) tables[fibre * PROFILE_SAMPLES + i] = (at(sum, i) - start) / range;
  }
  return tables;
}

/** The tables of each chip that was asked for: they cost more than the rest of a scene, and a night asks again and again. */
const profiles = new Map<ChipFigures, Float32Array>();

function profilesOf(chip: ChipFigures): Float32Array {
  const tables = profiles.get(chip) ?? profileTables(chip);
  profiles.set(chip, tables);
  return tables;
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
type Target =
  | { readonly kind: 'star'; readonly h: number; readonly template: number; readonly velocityKmS: number }
  | { readonly kind: 'hot'; readonly h: number }
  | { readonly kind: 'sky' }
  | { readonly kind: 'fpi' };

function chooseTarget(numbers: Sequence, tele: Telescope, fibre: number, templates: number): Target {
  const u = numbers.uniform();
  const h = 8.5 + 4.3 * Math.sqrt(numbers.uniform());
  const template = numbers.below(templates);
  const velocityKmS = 60 * numbers.normal();
  if (FPI_FIBRE_IDS[tele].includes(300 - fibre)) return { kind: 'fpi' };
  // 35 sky and 15 telluric fibres of 300, as on a plate
  if (u < 35 / 300) return { kind: 'sky' };
  if (u < 50 / 300) return { kind: 'hot', h: Math.min(h, 10.5) };
  return { kind: 'star', h, template, velocityKmS };
}

/**
 * The scene of an exposure. The fibres' targets and throughputs come from the seed alone, so the three chips of an
 * exposure see the same sky.
 */
export function makeScene(tele: Telescope, chip: Chip, type: ExposureType, rows: number, seed: Seed): Scene {
  const all = figures();
  const figure = all.detectors[`${tele}-${chip}`] as ChipFigures;
  const flux = new Float32Array(FIBRES * COLUMNS);
  const centre = new Float32Array(FIBRES * COLUMNS);
  const low = new Float32Array(FIBRES);
  const high = new Float32Array(FIBRES);
  for (let fibre = 0; fibre < FIBRES; fibre++) {
    const numbers = new Sequence(seed, 100 + fibre);
    const throughput = Math.min(Math.max(0.85 + 0.1 * numbers.normal(), 0.3), 1.1);
    const y0 = at(figure.traceCentre, fibre);
    const slit = (y0 - 1023.5) / 1020;
    const offset = fibre * COLUMNS;
    let least = y0;
    let most = y0;
    for (let x = 0; x < COLUMNS; x++) {
      const t = (x - 1023) / 2048;
      const y = 1023.5 + (y0 - 1023.5) * (1 + t * (figure.magnification[0] + t * figure.magnification[1]));
      centre[offset + x] = y;
      least = Math.min(least, y);
      most = Math.max(most, y);
    }
    low[fibre] = Math.max(0, Math.floor(least - PROFILE_REACH - 1));
    high[fibre] = most + PROFILE_REACH + 1;
    // Beyond a strip's rows nothing is seen of the fibre.
    if (least - PROFILE_REACH - 1 > rows) continue;
    const place: Place = { all, chip: figure, tele, shift: figure.slitCurvaturePx * slit * slit, offset };
    if (type === 'domeflat') addContinuum(flux, place, (wavelength) => DOME_FLAT * lampSlope(wavelength));
    if (type === 'quartzflat') addContinuum(flux, place, (wavelength) => QUARTZ_FLAT * lampSlope(wavelength));
    if (type === 'une') addList(flux, place, all.une, LAMP_SCALE.une, LAMP_BRIGHTEST);
    if (type === 'thar') addList(flux, place, all.thar, LAMP_SCALE.thar, LAMP_BRIGHTEST);
    if (type === 'fpi') addComb(flux, place, FPI_PEAK);
    if (type === 'object') addTarget(flux, place, chooseTarget(numbers, tele, fibre, all.stars.length));
    for (let x = 0; x < COLUMNS; x++) flux[offset + x] = at(flux, offset + x) * throughput;
  }
  return { flux, centre, low, high, profile: profilesOf(figure) };
}

function addTarget(flux: Float32Array, place: Place, target: Target): void {
  const { gridWavelength: grid, telluric } = place.all;
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
