/** Calibrations for a frame: what the registry of a directory chooses by the instrument's rules, or the built-in figures. */
import type { ChosenFile } from '../calib/load.js';
import { loadRampCalibrations, type RampCalibrations } from '../calib/ramp.js';
import { type ResolveOptions, resolveCalibrations } from '../calib/registry.js';
import { type Frame, toProvenance } from '../calib/select.js';
import { CalibrationError } from '../core/errors.js';
import type { Identity, Instrument, ProvenanceEntry } from '../core/product.js';

export interface Choice {
  readonly files: readonly ChosenFile[];
  /** What was chosen and what was refused, and why. */
  readonly entries: readonly ProvenanceEntry[];
}

/** Kinds that a reduction takes; what is not named is not looked for. */
export interface Needs {
  readonly required: readonly string[];
  readonly optional: readonly string[];
}

/**
 * Chooses calibrations for one frame.
 * @param directory of calibrations, or several that are asked together; undefined or none: nothing is chosen, and the
 *   instrument's figures do
 * @throws CalibrationError (exit code 22) naming all that is missing and what was refused
 */
export async function chooseCalibrations(
  directory: string | readonly string[] | undefined,
  instrument: Instrument,
  frame: Frame,
  { required, optional }: Needs,
  { pin, only, surveys }: Pick<ResolveOptions, 'pin' | 'only' | 'surveys'> = {},
): Promise<Choice> {
  if (directory === undefined || directory.length === 0) {
    if (required.length > 0) {
      throw new CalibrationError(
        `no calibration directory was given (--calib DIR), and ${required.join(' and ')} ${required.length === 1 ? 'is' : 'are'} needed`,
      );
    }
    return { files: [], entries: [] };
  }
  const kinds = [...required, ...optional];
  const { explanation, files } = await resolveCalibrations(directory, instrument, frame, ['ramp', 'calibrate'], {
    pin,
    only,
    surveys,
    kinds,
    wanted: required,
    allowMissing: required.length === 0,
  });
  return {
    files: [...files].flatMap(([kind, chosen]) =>
      // The earlier of two that are interpolated first.
      chosen
        .toSorted(
          (a, b) => (a.record.validTo ?? Number.POSITIVE_INFINITY) - (b.record.validTo ?? Number.POSITIVE_INFINITY),
        )
        .map(({ path, sha256, weight }): ChosenFile => ({ kind, path, sha256, weight })),
    ),
    entries: toProvenance(explanation),
  };
}

/**
 * Chooses and loads what the step from reads to rates needs, for programs that run it themselves.
 * @param directory of calibrations; undefined for the instrument's figures
 * @param rows of the exposure, where it has fewer than the detector
 * @param wanted kinds that the reduction cannot do without, beyond those that every reduction needs
 * @throws CalibrationError, InputError
 */
export async function rampCalibrations(
  directory: string | undefined,
  instrument: Instrument,
  identity: Identity,
  rows?: number,
  wanted: readonly string[] = [],
): Promise<RampCalibrations> {
  const required = directory === undefined ? wanted : ['gain', 'readnoise', 'saturation', ...wanted];
  const frame = { instrument: instrument.name, tele: identity.tele, chip: identity.chip, mjd: identity.mjd };
  const { files } = await chooseCalibrations(directory, instrument, frame, {
    required,
    optional: ['linearity', 'oneoverf'],
  });
  return loadRampCalibrations(files, instrument, identity, rows);
}
