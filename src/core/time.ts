/** Times. Instants are TAI unless a name says otherwise; leap seconds are therefore nobody's business here. */

const MS_PER_DAY = 86_400_000;
/** MJD of 1970-01-01. */
const MJD_UNIX_EPOCH = 40_587;
const ISO = /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2}):(\d{2}(?:\.\d+)?))?$/;

/**
 * The MJD of an ISO 8601 instant as FITS writes it ("2025-07-01T04:05:06.789"), in the time scale of the text.
 * @returns undefined when the text is no such instant
 */
export function mjdFromIso(text: string): number | undefined {
  const match = ISO.exec(text.trim());
  if (match === null) return undefined;
  const [year, month, day, hour, minute] = match.slice(1, 6).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const second = Number(match[6] ?? 0);
  const midnight = Date.UTC(year, month - 1, day);
  const date = new Date(midnight);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  if (hour > 23 || minute > 59 || second >= 61) return undefined;
  return midnight / MS_PER_DAY + MJD_UNIX_EPOCH + (hour * 3600 + minute * 60 + second) / 86_400;
}

/** ISO 8601 with milliseconds and no zone, as FITS wants it. */
export function isoFromMjd(mjd: number): string {
  return new Date(Math.round((mjd - MJD_UNIX_EPOCH) * MS_PER_DAY)).toISOString().slice(0, 23);
}
