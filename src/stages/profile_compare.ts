/** How the profiles of two flats differ, and what that would do to spectra: "should we be evolving it?" */
import { PROFILE_NODES, PROFILE_PER_PIXEL, PROFILE_REACH, PROFILE_SAMPLES, type Traces } from '../core/spectra.js';

/** A profile at a place of the chip as it lies on the detector: with its width, on a grid of px. */
export interface PlaceProfile {
  /** Cumulative light from -PROFILE_REACH to PROFILE_REACH px, PROFILE_SAMPLES values. */
  readonly cumulative: Float64Array;
  /** Full width at half maximum of what the pixels see, interpolated [px]. */
  readonly fwhm: number;
  /** Part of the light beyond 4 px. */
  readonly wings: number;
  /** Third moment of the light within 4 px over the 3/2 power of the second: 0 for a symmetric profile. */
  readonly asymmetry: number;
  /** Statistical error of the cumulative light at the centre; NaN: not known. */
  readonly error: number;
}

export interface PlaceComparison {
  readonly fibre: number;
  readonly column: number;
  readonly a: PlaceProfile;
  readonly b: PlaceProfile;
  /** Largest difference of the cumulative light, and the same over its error (NaN: not known). */
  readonly difference: number;
  readonly significance: number;
  /** What spectra of b extracted with the profile of a would have too much, as a part of their light: the worst of all phases. */
  readonly flux: number;
  /** Light of a fibre that would be left in one `spacing` px beside it. */
  readonly crosstalk: number;
}

export type ProfileVerdict = 'same' | 'changed' | 'evolve';

export interface ProfileComparison {
  readonly places: readonly PlaceComparison[];
  readonly verdict: ProfileVerdict;
  readonly reason: string;
}

/** Columns at which profiles are compared: nodes of the tables near the ends, and the middle. */
const NODES = [1, 4, 7] as const;
/** Light within so many px says what a profile's core is. */
const CORE = 4;
/** Beyond so many errors profiles differ: nine places with some freedom each, and errors that are statistical only. */
const SIGNIFICANT = 5;
/** What spectra may suffer: a ratio to truth of 1 +- 5e-4, and 1e-4 of a neighbour (the goals of the extraction). */
const FLUX_LIMIT = 5e-4;
const CROSSTALK_LIMIT = 1e-4;

const valueAt = (table: ArrayLike<number>, z: number): number => {
  const at = Math.min(Math.max((z + PROFILE_REACH) * PROFILE_PER_PIXEL, 0), PROFILE_SAMPLES - 1);
  const i = Math.min(Math.floor(at), PROFILE_SAMPLES - 2);
  const [low, high] = [table[i] as number, table[i + 1] as number];
  return low + (high - low) * (at - i);
};

/** Light in the pixel whose middle is z px above the centre. */
const pixelAt = (table: ArrayLike<number>, z: number): number => valueAt(table, z + 0.5) - valueAt(table, z - 0.5);

/** What a trace product says of the profile of a fibre at a node; `error` [fibre][node] as the profile was measured. */
export function profileAt(traces: Traces, fibre: number, node: number, error?: Float32Array): PlaceProfile {
  const { profile, cols } = traces;
  const column = Math.round((node * (cols - 1)) / (PROFILE_NODES - 1));
  const width = traces.width[fibre * cols + column] as number;
  const from = (fibre * PROFILE_NODES + node) * PROFILE_SAMPLES;
  const table = profile.cumulative.subarray(from, from + PROFILE_SAMPLES);
  const cumulative = Float64Array.from({ length: PROFILE_SAMPLES }, (_, s) =>
    valueAt(table, (s / PROFILE_PER_PIXEL - PROFILE_REACH) / width),
  );
  const peak = Math.max(...Array.from({ length: 41 }, (_, i) => pixelAt(cumulative, (i - 20) * 0.05)));
  // Where the pixel's light is half of the peak's, by halving.
  const half = (side: -1 | 1): number => {
    let [inner, outer] = [0, CORE];
    for (let round = 0; round < 40; round++) {
      const middle = 0.5 * (inner + outer);
      if (pixelAt(cumulative, side * middle) > 0.5 * peak) inner = middle;
      else outer = middle;
    }
    return inner;
  };
  let [second, third, sum] = [0, 0, 0];
  for (let s = (PROFILE_REACH - CORE) * PROFILE_PER_PIXEL; s < (PROFILE_REACH + CORE) * PROFILE_PER_PIXEL; s++) {
    const z = (s + 0.5) / PROFILE_PER_PIXEL - PROFILE_REACH;
    const light = (cumulative[s + 1] as number) - (cumulative[s] as number);
    sum += light;
    second += light * z * z;
    third += light * z ** 3;
  }
  return {
    cumulative,
    fwhm: half(-1) + half(1),
    wings: valueAt(cumulative, -CORE) + 1 - valueAt(cumulative, CORE),
    asymmetry: third / sum / (second / sum) ** 1.5,
    error: error?.[fibre * PROFILE_NODES + node] ?? Number.NaN,
  };
}

/** Worst effect over the phases of the pixels of extracting light of profile `b` with profile `a`, weighted by photon noise. */
function effectOf(a: PlaceProfile, b: PlaceProfile, spacing: number): { flux: number; crosstalk: number } {
  let [flux, crosstalk] = [0, 0];
  for (let phase = 0; phase < 1; phase += 0.1) {
    const rows = Array.from({ length: 2 * PROFILE_REACH + 1 }, (_, i) => i - PROFILE_REACH - phase);
    const own = rows.map((z) => pixelAt(a.cumulative, z));
    const light = rows.map((z) => pixelAt(b.cumulative, z));
    // Photons, and a floor of noise of a hundredth of the light.
    const weight = own.map((p) => 1 / (p + 0.01));
    const dot = (p: readonly number[], q: readonly number[]) =>
      p.reduce((all, value, i) => all + value * (q[i] as number) * (weight[i] as number), 0);
    const ratio = dot(own, light) / dot(own, own);
    flux = Math.max(flux, Math.abs(ratio - 1));
    for (const side of [-spacing, spacing]) {
      const beside = rows.map((z) => pixelAt(a.cumulative, z - side));
      const left = light.map((value, i) => value - ratio * (own[i] as number));
      const square = beside.reduce((all, value) => all + value * value, 0);
      crosstalk = Math.max(
        crosstalk,
        Math.abs(left.reduce((all, value, i) => all + value * (beside[i] as number), 0)) / square,
      );
    }
  }
  return { flux, crosstalk };
}

/**
 * Compares the profiles of two flats of one chip at nine places, with fibres that are 'ok' in both.
 * @param errors of the profiles, [fibre][node]
 */
export function compareProfiles(
  a: Traces,
  b: Traces,
  spacing: number,
  errors: { readonly a?: Float32Array | undefined; readonly b?: Float32Array | undefined } = {},
): ProfileComparison {
  const both = a.states.flatMap((state, i) => (state === 'ok' && b.states[i] === 'ok' ? [i] : []));
  const fibres = [1 / 6, 1 / 2, 5 / 6].map((part) => both[Math.floor(part * both.length)]);
  const places = fibres.flatMap((fibre) =>
    fibre === undefined
      ? []
      : NODES.map((node): PlaceComparison => {
          const [one, other] = [profileAt(a, fibre, node, errors.a), profileAt(b, fibre, node, errors.b)];
          const difference = one.cumulative.reduce((most, value, s) => {
            const step = (other.cumulative[s] as number) - value;
            return Math.abs(step) > Math.abs(most) ? step : most;
          }, 0);
          return {
            fibre,
            column: Math.round((node * (a.cols - 1)) / (PROFILE_NODES - 1)),
            a: one,
            b: other,
            difference,
            significance: Math.abs(difference) / Math.hypot(one.error, other.error),
            ...effectOf(one, other, spacing),
          };
        }),
  );
  return { places, ...verdictOf(places) };
}

function verdictOf(places: readonly PlaceComparison[]): Pick<ProfileComparison, 'verdict' | 'reason'> {
  if (places.length === 0) return { verdict: 'same', reason: 'no fibre is ok in both' };
  const most = (value: (place: PlaceComparison) => number) => Math.max(...places.map(value));
  const [flux, crosstalk] = [most((place) => place.flux), most((place) => place.crosstalk)];
  const known = places.every(({ significance }) => Number.isFinite(significance));
  const significance = known ? most((place) => place.significance) : Number.NaN;
  const effect = `up to ${flux.toExponential(1)} of the flux and ${crosstalk.toExponential(1)} of a neighbour's light`;
  if (known && significance < SIGNIFICANT)
    return { verdict: 'same', reason: `nothing beyond ${significance.toFixed(1)} sigma; ${effect}` };
  const sigma = known ? `${significance.toFixed(1)} sigma` : 'significance not known';
  return flux < FLUX_LIMIT && crosstalk < CROSSTALK_LIMIT
    ? { verdict: 'changed', reason: `${sigma}, but only ${effect}: one profile does for both` }
    : {
        verdict: 'evolve',
        reason: `${sigma}; ${effect}: extract each exposure with the profile of the flat nearest to it`,
      };
}
