/** The kinds of calibrations that can be built: one entry, one word of `rampline calib build`. */
import type { CalibrationBuilder } from './builder.js';
import { dark } from './dark.js';
import { firstRead } from './first_read.js';
import { flat } from './flat.js';
import { linearity } from './linearity.js';
import { oneOverF } from './one_over_f.js';
import { persistence } from './persistence.js';
import { photonTransfer } from './photon_transfer.js';
import { saturation } from './saturation.js';

export const BUILDERS: readonly CalibrationBuilder[] = [
  dark,
  firstRead,
  flat,
  linearity,
  oneOverF,
  persistence,
  photonTransfer,
  saturation,
];
