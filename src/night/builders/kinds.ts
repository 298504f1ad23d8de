/** Which kinds of calibrations the ramp chain and the builders may take. */
import type { CalibrationBuilder } from './builder.js';

/** Those of the ramp chain, where there are some. */
export const RAMP_KINDS: readonly string[] = ['gain', 'readnoise', 'saturation', 'linearity', 'oneoverf'];

/** What is being made is not taken from what there is. */
export function kindsOf({ kinds, uses = [] }: CalibrationBuilder): string[] {
  return [...RAMP_KINDS, ...uses].filter((kind) => !(kinds as readonly string[]).includes(kind));
}
