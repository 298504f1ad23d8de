/** Builds calibrations from raw exposures. */
import { basename } from 'node:path';
import { UsageError } from '../core/errors.js';
import type { Chip, Telescope } from '../core/product.js';
import { version } from '../core/version.js';
import { kernelNamed } from '../engine/index.js';
import { encodeFits, type FitsLimits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { DARK_DROPPED_READS, fitOneOverF, oneOverFName, type RawDark } from '../stages/ramp/index.js';
import { hashFile, openStore, type ProductRecord, productKey, type Source } from '../store/index.js';
import { selectRawFiles } from './select.js';

/** Layout of the calibration file; raise it when a reader could notice. */
const ONE_OVER_F_SCHEMA = 'oneoverf/1';

export interface OneOverFRequest {
  /** Raw darks: files, directories or @lists. */
  readonly files: readonly string[];
  /** Directory of the calibrations: what `ramp --calib` is given. */
  readonly output: string;
  readonly threads?: number | undefined;
  /** Do again what is done. */
  readonly force?: boolean;
  readonly limits?: Partial<FitsLimits>;
  /** [cancel, rows done] on shared memory. */
  readonly control?: Int32Array | undefined;
  readonly onProgress?: ((done: number, total: number, label: string) => void) | undefined;
}

export interface OneOverFCalibration {
  readonly tele: Telescope;
  readonly chip: Chip;
  readonly darks: number;
  readonly file: string;
  readonly status: 'done' | 'skipped';
  /** Part of each amplifier's power of half-row means below 100 Hz that the references explain. */
  readonly explained?: readonly number[];
  readonly maxFrequencyHz?: number;
}

/**
 * Fits the weights of the 1/f correction, one file `oneoverf-{tele}-{chip}.fits` for each detector among the darks.
 * What is done (the same darks, the same kernels) is skipped.
 * @throws InputError, AlgorithmError, StorageError, UsageError
 */
export async function buildOneOverF(request: OneOverFRequest): Promise<OneOverFCalibration[]> {
  const files = selectRawFiles(request.files, apogee);
  if (files.length === 0) throw new UsageError('expected at least one raw dark');
  const detectors = new Map<string, typeof files>();
  for (const file of files) {
    const name = oneOverFName(file.identity);
    detectors.set(name, [...(detectors.get(name) ?? []), file]);
  }
  const store = await openStore(request.output);
  const kernel = kernelNamed('gather-row-means');
  const made: OneOverFCalibration[] = [];
  let before = 0;
  for (const [name, ofDetector] of detectors) {
    const darks: (RawDark & { source: Source })[] = [];
    for (const { path, identity } of ofDetector) {
      const { sha256 } = await hashFile(path);
      darks.push({ path, identity, source: { name: basename(path), sha256, role: 'dark', why: 'named by the user' } });
    }
    const record: ProductRecord = {
      schema: ONE_OVER_F_SCHEMA,
      software: `rampline ${version()}`,
      inputs: darks.map(({ source }) => source),
      calibrations: [],
      parameters: { dropReads: DARK_DROPPED_READS },
      kernels: { [kernel.name]: `${kernel.version}+${kernel.hash}` },
    };
    const { tele, chip } = (darks[0] as RawDark).identity;
    const common = { tele, chip, darks: darks.length, file: store.pathOf(name) };
    if (request.force !== true && (await store.isDone(name, productKey(record)))) {
      made.push({ ...common, status: 'skipped' });
    } else {
      const { hdus, fit } = await fitOneOverF(darks, apogee, {
        threads: request.threads ?? 1,
        fits: { limits: request.limits ?? {} },
        control: request.control,
        onDark: (done, path) => request.onProgress?.(before + done, files.length, basename(path)),
      });
      await store.writeProduct(name, encodeFits(hdus), record);
      made.push({ ...common, status: 'done', explained: fit.explained, maxFrequencyHz: fit.maxFrequencyHz });
    }
    before += darks.length;
  }
  request.onProgress?.(files.length, files.length, 'done');
  return made;
}
