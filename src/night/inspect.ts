/** Describes a FITS file; a raw exposure is also held against its format. */
import { basename } from 'node:path';
import { type FileReport, type InspectOptions, inspectOpen, openFits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { type ExposureReport, inspectRamp } from '../stages/ramp/inspect.js';

export interface Inspection extends FileReport {
  /** Of raw exposures. */
  readonly exposure?: ExposureReport | undefined;
}

/**
 * What `path` holds, what it leaves open and what was tolerated. Reads headers; with `verify` (default) all data, for their checksums.
 * @throws InputError when it is no FITS file or breaks a limit; StorageError when it cannot be read
 */
export async function inspect(path: string, options: InspectOptions = {}): Promise<Inspection> {
  const file = openFits(path, { verify: false, limits: options.limits ?? {}, tolerateTruncated: true });
  try {
    const report = inspectOpen(file, options);
    const identity = apogee.identify(basename(path));
    const looksRaw = identity !== undefined || /\.apz$/i.test(path);
    if (!looksRaw) return report;
    const { exposure, tolerated } = inspectRamp(file, apogee, identity);
    return { ...report, exposure, tolerated: [...report.tolerated, ...tolerated] };
  } finally {
    file.close();
  }
}
