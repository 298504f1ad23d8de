/** The profile of a chip's fibres, measured from the light of a flat: how a fibre's light spreads over rows. */
import type { Profile } from '../../core/spectra.js';
import { PROFILE_NODES, PROFILE_PER_PIXEL, PROFILE_REACH, PROFILE_SAMPLES } from '../../core/spectra.js';
import { erf } from '../gauss_hermite.js';

/** What a flat shows and what is known of its traces so far. */
export interface ProfileInput {
  readonly rows: number;
  readonly cols: number;
  /** [row][x] [DN/read] */
  readonly image: Float32Array;
  /** [row][x]; 0: the pixel does not count. Bad pixels have 0 here. */
  readonly ivar: Float32Array;
  /** [fibre][x] row; finite. */
  readonly centre: Float32Array;
  /** [fibre][x] in units of the profile that is wanted: 1 where the profile is to hold all of the width. */
  readonly width: Float32Array;
  /** [fibre][x] light in a column [DN/read]; 0 where a fibre has none. */
  readonly flux: Float32Array;
  readonly fibres: number;
}

export interface MeasuredProfile {
  readonly profile: Profile;
  /**
   * [fibre][node] What to add to the centres, so that the centroid of the profile within 4 px is 0 there: the profile was measured about
   * the given centres and moved by this [px].
   */
  readonly shift: Float32Array;
  /** [fibre][node] What the given flux is to be multiplied by, as the profile holds all light within its reach. */
  readonly scale: Float32Array;
}

/** A Gaussian profile of every fibre: what a first fit of traces starts from. */
export function gaussianProfile(fibres: number, sigma = 1): Profile {
  const table = new Float32Array(PROFILE_SAMPLES);
  for (let i = 0; i < PROFILE_SAMPLES; i++) {
    table[i] = 0.5 + 0.5 * erf((i / PROFILE_PER_PIXEL - PROFILE_REACH) / sigma / Math.SQRT2);
  }
  table[0] = 0;
  table[PROFILE_SAMPLES - 1] = 1;
  const cumulative = new Float32Array(fibres * PROFILE_NODES * PROFILE_SAMPLES);
  for (let i = 0; i < fibres * PROFILE_NODES; i++) cumulative.set(table, i * PROFILE_SAMPLES);
  return { fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
}

/**
 * Measures the profile. Until it does, it gives back a Gaussian of 1 px, which is what the traces were fitted with.
 * @throws InputError where fewer than three fibres have light
 */
export async function measureProfile(input: ProfileInput): Promise<MeasuredProfile> {
  const { fibres } = input;
  return {
    profile: gaussianProfile(fibres),
    shift: new Float32Array(fibres * PROFILE_NODES),
    scale: new Float32Array(fibres * PROFILE_NODES).fill(1),
  };
}
