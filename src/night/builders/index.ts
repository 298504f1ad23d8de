/** The kinds of calibrations that can be built: one entry, one word of `rampline calib build`. */
import type { CalibrationBuilder } from './builder.js';
import { dark } from './dark.js';
import { flat } from './flat.js';
import { oneOverF } from './one_over_f.js';
import { photonTransfer } from './photon_transfer.js';

export const BUILDERS: readonly CalibrationBuilder[] = [dark, flat, oneOverF, photonTransfer];
