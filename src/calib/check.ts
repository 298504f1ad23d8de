/** Whether a registry serves a time: what is missing, what stands in, what ends soon. Pure. */
import type { CalibrationRule } from '../core/product.js';
import { isoFromMjd } from '../core/time.js';
import type { CalibrationRecord } from './product.js';
import { type Frame, selectCalibrations } from './select.js';

export interface Finding {
  readonly level: 'error' | 'warning';
  readonly tele: string;
  readonly chip: string;
  readonly kind: string;
  /** 'missing', 'outside' (nearest or interpolated), 'expires', 'overlap', 'grade'. */
  readonly what: 'missing' | 'outside' | 'expires' | 'overlap' | 'grade';
  readonly text: string;
}

/**
 * What selection would say of a frame of each detector at one time, and which of the windows that it uses end within
 * `withinDays` with nothing to follow.
 */
export function checkCalibrations(
  rules: readonly CalibrationRule[],
  records: readonly CalibrationRecord[],
  frames: readonly Frame[],
  withinDays: number,
): Finding[] {
  return frames.flatMap((frame) => {
    const { tele, chip, mjd } = frame;
    const at = (time: number) => selectCalibrations(rules, { ...frame, mjd: time }, records).results;
    return at(mjd).flatMap(({ rule, how, candidates, ambiguities, warnings, summary }): Finding[] => {
      const { kind } = rule;
      const of = { tele, chip, kind };
      if (how === 'none') return rule.required ? [{ level: 'error', ...of, what: 'missing', text: summary }] : [];
      const warn = (what: Finding['what'], text: string): Finding => ({ level: 'warning', ...of, what, text });
      if (how !== 'inside') return [warn('outside', summary), ...warnings.map((text) => warn('outside', text))];
      const findings = [
        ...ambiguities.map((text) => warn('overlap', text)),
        ...warnings.map((text) => warn('grade', text)),
      ];
      const end = candidates.find(({ verdict }) => verdict === 'used')?.record.validTo;
      if (end !== undefined && end - mjd <= withinDays) {
        const after = at(end).find((result) => result.rule.kind === kind);
        if (after?.how !== 'inside') {
          findings.push(
            warn(
              'expires',
              `its window ends in ${Number((end - mjd).toFixed(2))} d, at MJD ${end} (${isoFromMjd(end).slice(0, 16)}), and none contains that time`,
            ),
          );
        }
      }
      return findings;
    });
  });
}
