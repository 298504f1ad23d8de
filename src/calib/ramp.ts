/**
 * The calibrations that the step from reads to rates uses: files that were chosen for the frame or, where there is no
 * calibration directory, the instrument's figures. CONTRACT of the files: src/calib/product.ts. Kinds:
 *
 *   gain          GAIN [e-/DN]                         required
 *   readnoise     READNOISE [DN, single read]          required
 *   saturation    SATURATION [DN, raw counts]          required
 *   linearity     C2 [1/DN], C3 [1/DN^2], LIMIT [DN]   optional: without it counts are taken as linear
 *   resetanomaly  AMPLITUDE [DN], keyword TAU [reads]  optional: exponential A exp(-t/TAU), t in reads from the first
 *   firstread     OFFSET [DN]                          optional: offset of the first read alone
 *   oneoverf      WEIGHTS                              optional: without it the windowed reference columns are used
 */
import type { Identity, Instrument, ProvenanceEntry } from '../core/product.js';
import { type CalibrationFile, type CalibrationMap, type ChosenFile, loadCalibration } from './load.js';

/** Weights of the reference correction, as measure-one-over-f takes them: see OneOverFFit. */
export interface OneOverFWeights {
  readonly data: Float32Array;
}

export interface RampCalibrations {
  readonly gain: CalibrationMap;
  /** Noise of a single read [DN]. */
  readonly readNoise: CalibrationMap;
  readonly saturation: CalibrationMap;
  /** Fraction of the saturation level up to which counts are used; the default level is already a safe one. */
  readonly saturationFraction: number;
  readonly linearity?: { readonly c2: CalibrationMap; readonly c3: CalibrationMap; readonly limit: CalibrationMap };
  readonly resetAnomaly?: { readonly amplitude: CalibrationMap; readonly tauReads: number };
  readonly firstRead?: { readonly offset: CalibrationMap };
  readonly oneOverF?: OneOverFWeights;
  /** The built-in figures that stand in for maps, if any do. */
  readonly figures: readonly ProvenanceEntry[];
}

/** Upstream's factor: counts above 0.9 of the saturation map are not used (ApogeeReduction.jl, ar3D). */
const SATURATION_FRACTION = 0.9;

function constant(value: number, rows: number, cols: number): CalibrationMap {
  return { data: new Float32Array(new SharedArrayBuffer(cols * 4)).fill(value), rows, cols, rowStride: 0 };
}

/**
 * The calibrations for one chip.
 * @param chosen files by kind; a required map that is not among them is the instrument's figure, and `figures` says so.
 *   Whether that may be is for whoever chose.
 * @throws CalibrationError for a file that changed, or of another detector, kind or size; InputError for one that is damaged
 */
export async function loadRampCalibrations(
  chosen: readonly ChosenFile[],
  instrument: Instrument,
  identity: Pick<Identity, 'tele' | 'chip'>,
  rows = instrument.geometry.rows,
): Promise<RampCalibrations> {
  const { cols } = instrument.geometry;
  const load = async (kind: string): Promise<CalibrationFile | undefined> => {
    const one = chosen.find((file) => file.kind === kind);
    return one && loadCalibration(one, identity);
  };
  const values = instrument.defaults(identity);
  const standIns: string[] = [];
  const mapOr = async (kind: string, name: string, words: string, figure: number): Promise<CalibrationMap> => {
    const file = await load(kind);
    if (file !== undefined) return file.map(name, rows, cols);
    standIns.push(words);
    return constant(figure, rows, cols);
  };
  const gain = await mapOr('gain', 'GAIN', 'gain', values.gainElectronsPerDn);
  const readNoise = await mapOr('readnoise', 'READNOISE', 'read noise', values.readNoiseDn);
  const saturation = await mapOr('saturation', 'SATURATION', 'saturation', values.saturationDn);
  const linearity = await load('linearity');
  const reset = await load('resetanomaly');
  const first = await load('firstread');
  const oneOverF = await load('oneoverf');
  return {
    gain,
    readNoise,
    saturation,
    saturationFraction: saturation.rowStride === 0 ? 1 : SATURATION_FRACTION,
    ...(linearity && {
      linearity: {
        c2: linearity.map('C2', rows, cols),
        c3: linearity.map('C3', rows, cols),
        limit: linearity.map('LIMIT', rows, cols),
      },
    }),
    ...(reset && {
      resetAnomaly: { amplitude: reset.map('AMPLITUDE', rows, cols), tauReads: reset.positive('TAU') },
    }),
    ...(first && { firstRead: { offset: first.map('OFFSET', rows, cols) } }),
    ...(oneOverF && { oneOverF: { data: weightsOf(oneOverF) } }),
    figures:
      standIns.length === 0
        ? []
        : [
            {
              role: standIns.join(', '),
              name: `${instrument.name} figures (${values.source})`,
              sha256: '',
              why:
                chosen.length === 0 ? 'no calibration directory was given' : 'no calibration of that kind was chosen',
            },
          ],
  };
}

function weightsOf(file: CalibrationFile): Float32Array {
  const image = file.images.get('WEIGHTS');
  const [rows = 1, cols = 0] = image?.shape ?? [];
  return file.map('WEIGHTS', rows, cols).data;
}
