import { describe, expect, it } from 'vitest';
import { isoFromMjd, mjdFromIso } from './time.js';

describe('times', () => {
  it('knows the epochs', () => {
    expect(mjdFromIso('1970-01-01')).toBe(40587);
    expect(mjdFromIso('2000-01-01T12:00:00')).toBe(51544.5); // J2000
    expect(mjdFromIso('2025-07-01T06:00:00.000')).toBe(60857.25);
  });
  it('refuses what is no instant', () => {
    for (const text of ['', 'yesterday', '2025-02-30', '2025-13-01', '2025-01-01T25:00:00', '01/02/99']) {
      expect(mjdFromIso(text)).toBeUndefined();
    }
  });
  it('goes round to the millisecond', () => {
    const iso = '2025-07-01T04:05:06.789';
    expect(isoFromMjd(mjdFromIso(iso) ?? 0)).toBe(iso);
  });
});
