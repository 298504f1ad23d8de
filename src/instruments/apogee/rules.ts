/**
 * How APOGEE's calibrations are chosen. Limits: apogee_drp's calibration lists (apogee-n.par) give detector files windows of
 * 3 years and more and darks and flats windows of 1 to 3 years, and both spectrographs were opened about once a year. What
 * lies outside its window is therefore trusted for half a year where dust and persistence of lamps change it (dark, flat),
 * and for two years where it belongs to the detector; the warnings come at a sixth and at half of that.
 */
import type { CalibrationRule } from '../../core/product.js';

const DETECTOR = { side: 'either', limitDays: 730, warnDays: 365 } as const;
const SEASON = { side: 'either', limitDays: 180, warnDays: 30 } as const;

const rule = (
  kind: string,
  usedBy: CalibrationRule['usedBy'],
  required: boolean,
  nearest: CalibrationRule['nearest'],
  interpolate = false,
): CalibrationRule => ({
  kind,
  usedBy,
  required,
  match: ['instrument', 'tele', 'chip', 'readMode', 'serial'],
  grades: ['pass', 'warn'],
  nearest,
  interpolate,
});

export const CALIBRATION_RULES: readonly CalibrationRule[] = [
  rule('gain', 'ramp', true, DETECTOR),
  rule('readnoise', 'ramp', true, DETECTOR),
  rule('saturation', 'ramp', true, DETECTOR),
  rule('linearity', 'ramp', false, DETECTOR),
  rule('resetanomaly', 'ramp', false, DETECTOR),
  rule('firstread', 'ramp', false, DETECTOR),
  rule('oneoverf', 'ramp', false, DETECTOR),
  rule('dark', 'calibrate', true, SEASON, true),
  rule('flat', 'calibrate', true, SEASON),
  rule('persistence', 'calibrate', false, DETECTOR),
];
