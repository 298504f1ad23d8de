/**
 * How NIRC2's calibrations are chosen. A dark belongs to a region and a read mode, a flat to a region. The limits are cautious
 * guesses, not the observatory's: darks of an InSb array follow its temperature (a month), flats the dust (half a year).
 */
import type { CalibrationRule } from '../../core/product.js';

const rule = (kind: string, match: CalibrationRule['match'], limitDays: number, warnDays: number): CalibrationRule => ({
  kind,
  usedBy: 'calibrate',
  required: true,
  match,
  grades: ['pass', 'warn'],
  nearest: { side: 'either', limitDays, warnDays },
  interpolate: false,
});

export const CALIBRATION_RULES: readonly CalibrationRule[] = [
  rule('dark', ['instrument', 'tele', 'chip', 'readMode'], 30, 7),
  rule('flat', ['instrument', 'tele', 'chip'], 180, 30),
];
