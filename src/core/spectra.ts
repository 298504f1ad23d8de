/**
 * What the stages of spectra hand to each other: where the light of each fibre lies on a chip, how it is spread, and what was
 * extracted. Data only.
 *
 * Fibres are counted from the bottom of the chip: index 0 has the smallest row. An instrument says how that becomes its own
 * fibre number. Arrays are [fibre][x], x the column, 0-based; positions are rows, the centre of row 0 being 0.0.
 */

/** How the fibres (or orders) of an instrument lie on its chips: facts that need no exposure. */
export interface Spectrograph {
  /** Fibres of a chip; 300. */
  readonly fibres: number;
  /** The instrument's own number of a fibre index: fiberID = 300 - index for APOGEE. */
  fibreNumber(index: number): number;
  /** Median distance of neighbours [px]. */
  readonly spacing: number;
  /** Rows of all fibres at the column `column`, ascending, as metrology or an earlier measurement has them; shifts are allowed. */
  positions(detector: { readonly tele: string; readonly chip: string }): Float64Array;
  /** Column at which `positions` holds. */
  readonly column: number;
  /** All detectors of the instrument: those a swapped file may come from. */
  readonly detectors: readonly { readonly tele: string; readonly chip: string }[];
  /** Fibres after whose index there is a gap wider than usual: blocks of the slit head. */
  gaps(detector: { readonly tele: string; readonly chip: string }): readonly number[];
  /** Length of a long slit along rows [px]: its orders lie where fibres would. Absent where fibres are spots. */
  readonly slit?: number | undefined;
}

/** What became of a fibre in a flat. */
export const FIBRE_STATES = [
  'ok',
  /** Measured, and less light than LOW_THROUGHPUT of the median. */
  'low',
  /** No light: its trace is interpolated from its neighbours. */
  'broken',
  /** Too near a neighbour, or too confused, to be measured alone: its trace is interpolated. */
  'blended',
  /** Its trace leaves the chip. */
  'off-chip',
] as const;
export type FibreState = (typeof FIBRE_STATES)[number];

/** A fibre with less of the median flux of its chip is 'low' (ApogeeReduction.jl takes the same 0.2). */
export const LOW_THROUGHPUT = 0.2;

/** Profiles are tables: cumulative light from -PROFILE_REACH to +PROFILE_REACH in steps of 1 / PROFILE_PER_PIXEL px at width 1. */
export const PROFILE_REACH = 12;
export const PROFILE_PER_PIXEL = 20;
/** 481 */
export const PROFILE_SAMPLES = 2 * PROFILE_REACH * PROFILE_PER_PIXEL + 1;
/** Columns at which a chip has a profile, evenly spaced from the first column to the last; straight lines between. */
export const PROFILE_NODES = 9;

/**
 * Cumulative profiles f32 [fibre][node][sample]: 0 at the first sample, 1 at the last, never falling. The light in the pixel at row
 * y of a fibre at centre c with width w is C((y + 0.5 - c) / w) - C((y - 0.5 - c) / w), straight lines between samples. The centroid of
 * a profile within 4 px of its centre is 0: that is what `centre` means.
 */
export interface Profile {
  readonly fibres: number;
  readonly nodes: number;
  readonly samples: number;
  readonly cumulative: Float32Array;
}

/** What a flat says of the traces of a chip; the product `trace-{tele}-{mjd}-{chip}-{exposure}.fits`. */
export interface Traces {
  readonly fibres: number;
  readonly cols: number;
  /** [fibre][x] row; every value finite, interpolated where nothing was measured. */
  readonly centre: Float32Array;
  /** [fibre][x] width in units of the profile, about 1. */
  readonly width: Float32Array;
  /** [fibre][x] light of the flat in a column [DN/read]; 0 where there is none. */
  readonly flux: Float32Array;
  /** [6][fibre][x] covariance of the smooth solution: (flux,flux), (flux,centre), (flux,width), (centre,centre), (centre,width), (width,width). */
  readonly covariance: Float32Array;
  /** [fibre][x] */
  readonly dq: Uint32Array;
  readonly states: readonly FibreState[];
  readonly profile: Profile;
  /** Relative throughput and its error, 1 the median fibre; NaN: unknown. */
  readonly throughput: Float32Array;
  readonly throughputError: Float32Array;
}

/** How an exposure's traces differ from its flat's: y = centre + shift + scale * t + slow terms, t = (centre - middle row) / rows. */
export interface Tweak {
  /** Coefficients of products of Legendre polynomials P_i(u) P_j(v) [px], u along x and v along y, both -1 to 1, by (i, j) below. */
  readonly terms: readonly { readonly i: number; readonly j: number; readonly value: number; readonly error: number }[];
  /**
   * [term][term] of their values [px^2], in the order of `terms`. The light of an exposure does not fall where the polynomials tell
   * themselves apart, so terms depend on each other: the error at a place is sqrt(p^T covariance p), p the products of polynomials there.
   * The error of a term is that of its value whatever the others are.
   */
  readonly covariance?: readonly Float64Array[] | undefined;
  /** The largest such error over the chip [px]; NaN where nothing was measured. */
  readonly largestError: number;
  /** Factor of all widths, and its error. */
  readonly width: number;
  readonly widthError: number;
  /** What was measured and what is believed: 'ok', 'faint' (too little light: nothing is changed), 'refused' with the reason. */
  readonly state: 'ok' | 'faint' | 'refused';
  readonly reason: string;
}

export const EXTRACTION_METHODS = ['joint', 'horne', 'boxcar', 'upstream'] as const;
export type ExtractionMethod = (typeof EXTRACTION_METHODS)[number];

/** Spectra of a chip, all [fibre][x], as every extraction method gives them. */
export interface Extracted {
  /** [DN/read] */
  readonly flux: Float32Array;
  /** 0: no value. */
  readonly ivar: Float32Array;
  readonly dq: Uint32Array;
  /** Covariance with the next fibre and the one after it, [2][fibre][x]; only of 'joint'. */
  readonly covariance?: Float32Array | undefined;
  /** Of the pixels in the fibre's window against the model of all fibres, for each degree of freedom; not of 'boxcar'. */
  readonly chi2?: Float32Array | undefined;
  /** Light of all other fibres in this one's window, weighted as its own flux is, over its own flux's error-free value; not of 'boxcar'. */
  readonly crosstalk?: Float32Array | undefined;
}

/** Fibres on each side that the rows of a resolution matrix reach to: as far as the joint solution knows neighbours. */
export const RESOLUTION_REACH = 4;
/** 9 */
export const RESOLUTION_PLANES = 2 * RESOLUTION_REACH + 1;

/** Spectra whose errors do not depend on those of other fibres: R times the flux (Bolton and Schlegel 2010, PASP 122, 248). */
export interface Decorrelated {
  /** [fibre][x] [DN/read]; NaN: no value. */
  readonly flux: Float32Array;
  /** [fibre][x] standard deviation; NaN: no value. */
  readonly error: Float32Array;
  /**
   * [RESOLUTION_PLANES][fibre][x] R within its band: plane k has what the fibre takes of the flux of fibre + k - RESOLUTION_REACH.
   * The planes add up to 1; all are 0 where there is no value.
   */
  readonly resolution: Float32Array;
}
