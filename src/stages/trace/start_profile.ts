/** The profile that traces are fitted with before theirs is measured. */
import { PROFILE_NODES, PROFILE_PER_PIXEL, PROFILE_REACH, PROFILE_SAMPLES, type Profile } from '../../core/spectra.js';
import { erf } from '../gauss_hermite.js';

/** Light in broad wings, and their half width at half maximum [px]: about what gratings and optics scatter near a line. */
const WING_PART = 0.02;
const WING_PX = 3;

/**
 * A Gaussian of 1 px on broad wings, the same for all fibres. Without wings each fibre would be given those of its neighbours as light
 * of its own, and where all fibres are alike nothing measured later could tell.
 */
export function startProfile(fibres: number): Profile {
  const edge = Math.atan(PROFILE_REACH / WING_PX);
  const table = Float32Array.from({ length: PROFILE_SAMPLES }, (_, i) => {
    const z = i / PROFILE_PER_PIXEL - PROFILE_REACH;
    const [core, wing] = [0.5 + 0.5 * erf(z / Math.SQRT2), 0.5 + (0.5 * Math.atan(z / WING_PX)) / edge];
    return (1 - WING_PART) * core + WING_PART * wing;
  });
  table[0] = 0;
  table[PROFILE_SAMPLES - 1] = 1;
  const cumulative = new Float32Array(fibres * PROFILE_NODES * PROFILE_SAMPLES);
  for (let i = 0; i < fibres * PROFILE_NODES; i++) cumulative.set(table, i * PROFILE_SAMPLES);
  return { fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
}
