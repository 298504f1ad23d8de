/** The calibrations of 2-D rates: dark and flat, and where there is one the persistence of the detector. */
import { CalibrationError } from '../core/errors.js';
import type { Identity, Instrument } from '../core/product.js';
import { type CalibrationFile, type CalibrationMap, type ChosenFile, loadCalibration } from './load.js';

/** A map with its standard deviation and quality bits. */
export interface RateMap {
  readonly value: CalibrationMap;
  readonly error: CalibrationMap;
  readonly dq: CalibrationMap<Uint32Array>;
}

/** One map, or two with the part that the later one has. */
export interface RateMaps {
  readonly maps: readonly [RateMap] | readonly [RateMap, RateMap];
  /** Of the way from the first to the second; 0 where there is one. */
  readonly fraction: number;
}

export interface RateCalibrations {
  /** Rates in DN for reads of `readSeconds`. */
  readonly dark: RateMaps & { readonly readSeconds: number };
  /** Response, of median 1. */
  readonly flat: RateMaps;
  readonly persistence?: { readonly amplitude: CalibrationMap; readonly tauSeconds: number };
}

/**
 * Loads what 2-D calibration needs.
 * @param chosen files by kind, dark and flat among them
 * @throws CalibrationError for a file that changed, or of another detector, kind or size, or darks of two read times; InputError for one that is damaged
 */
export async function loadRateCalibrations(
  chosen: readonly ChosenFile[],
  instrument: Instrument,
  identity: Pick<Identity, 'tele' | 'chip'>,
  rows = instrument.geometry.rows,
): Promise<RateCalibrations> {
  const { cols } = instrument.geometry;
  const filesOf = async (kind: string): Promise<CalibrationFile[]> => {
    const files: CalibrationFile[] = [];
    for (const one of chosen) if (one.kind === kind) files.push(await loadCalibration(one, identity));
    return files;
  };
  const maps = (kind: string, files: readonly CalibrationFile[], name: string): RateMaps => {
    const [first, second] = files.map(
      (file): RateMap => ({
        value: file.map(name, rows, cols),
        error: file.map('ERR', rows, cols),
        dq: file.bits('DQ', rows, cols),
      }),
    );
    const later = chosen.filter((file) => file.kind === kind)[1];
    return second === undefined
      ? { maps: [first as RateMap], fraction: 0 }
      : { maps: [first as RateMap, second], fraction: later?.weight ?? 0 };
  };
  const darks = await filesOf('dark');
  const [readSeconds, other = readSeconds] = darks.map((file) => file.positive('READTIME')) as [number, number?];
  if (other !== readSeconds) {
    throw new CalibrationError(
      `darks of different read times cannot be interpolated: READTIME ${readSeconds} s and ${other} s`,
      { file: chosen.filter(({ kind }) => kind === 'dark')[1]?.path },
    );
  }
  const flats = await filesOf('flat');
  const [persistence] = await filesOf('persistence');
  return {
    dark: { ...maps('dark', darks, 'RATE'), readSeconds },
    flat: maps('flat', flats, 'FLAT'),
    ...(persistence && {
      persistence: {
        amplitude: persistence.map('AMPLITUDE', rows, cols),
        tauSeconds: persistence.positive('TAU'),
      },
    }),
  };
}
