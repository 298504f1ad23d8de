/** Which exposures have spectra, and which of them show where the fibres lie. */
import type { Exposure, ExposureKind } from '../core/exposure.js';

/**
 * A strip of fewer rows holds fewer than six fibres on some chip: the sixth lies at row 61.3 at most, with most of its light within ten
 * rows. A profile cannot be told from so few. Nothing is traced or extracted there.
 */
const LEAST_ROWS = 72;

/** No light of fibres is in these. */
const WITHOUT_FIBRES: readonly ExposureKind[] = ['dark', 'internalflat', 'missing'];

/** Rows of the chips; a header that does not say leaves the question to the images. */
const isHigh = ({ frames }: Exposure): boolean => frames.every(({ rows }) => rows === 0 || rows >= LEAST_ROWS);

/** Whether the exposure has light of fibres to extract. */
export function hasSpectra(exposure: Exposure): boolean {
  return !WITHOUT_FIBRES.includes(exposure.kind) && isHigh(exposure);
}

/** Whether the exposure lights all fibres evenly, without lines: what traces are found on. */
export function isTraceFlat(exposure: Exposure): boolean {
  return (exposure.kind === 'domeflat' || exposure.kind === 'quartzflat') && isHigh(exposure);
}
