/**
 * Refuses a map that is another detector's. LCO was reduced for 15 months with gain maps that were APO's: nothing in a map tells
 * whose it is, but two detectors never agree in every pixel.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type CalibrationKind, KIND_IMAGES, readCalibrationRecord } from '../calib/product.js';
import { CalibrationError } from '../core/errors.js';
import type { Identity } from '../core/product.js';
import { runKernel } from '../engine/index.js';
import { type FitsLimits, openFits } from '../fits/index.js';

/** A map that has this part of its pixels from another detector's is a copy with some pixels mended. */
export const COPY_FRACTION = 0.99;

/** Part of the pixels that are equal in both; NaN equals NaN. */
async function equalFraction(
  a: Float32Array,
  b: Float32Array,
  rows: number,
  cols: number,
  threads: number,
): Promise<number> {
  const counts = () => new Int32Array(rows);
  const row = (data: Int32Array | Float64Array) => ({ data, rows, cols: 1 });
  const changed = counts();
  await runKernel(
    'compare-images',
    {
      a: { data: new Float64Array(a), rows, cols },
      b: { data: new Float64Array(b), rows, cols },
      changed: row(changed),
      different: row(counts()),
      unpaired: row(counts()),
      first: row(counts()),
      last: row(counts()),
      largest: row(new Float64Array(rows)),
      relative: row(new Float64Array(rows)),
    },
    {},
    { threads, strip: cols },
  );
  return 1 - changed.reduce((sum, n) => sum + n, 0) / (rows * cols);
}

export interface MapToCheck {
  readonly kind: string;
  readonly identity: Pick<Identity, 'tele' | 'chip'>;
  /** EXTNAME of the image, as KIND_IMAGES has it. */
  readonly name: string;
  readonly data: Float32Array;
  readonly rows: number;
  readonly cols: number;
}

/**
 * Compares a map with those of the same kind and of other detectors in directories of calibrations. Files that are no calibrations, or
 * are damaged, are not its business and are passed over.
 * @throws CalibrationError naming the file whose map this is
 */
export async function refuseCopy(
  map: MapToCheck,
  directories: readonly (string | undefined)[],
  options: { readonly threads?: number; readonly limits?: Partial<FitsLimits> } = {},
): Promise<void> {
  const { kind, identity, name, data, rows, cols } = map;
  const known = new Set(directories.filter((directory) => directory !== undefined && existsSync(directory)));
  for (const directory of known as Set<string>) {
    for (const entry of readdirSync(directory).sort()) {
      if (!entry.endsWith('.fits')) continue;
      const path = join(directory, entry);
      const other = readOther(path, map, options.limits);
      if (other === undefined) continue;
      const equal = await equalFraction(data, other.data, rows, cols, options.threads ?? 1);
      if (equal >= COPY_FRACTION) {
        throw new CalibrationError(
          `${(100 * equal).toFixed(2)} % of the pixels of ${name} of ${identity.tele} chip ${identity.chip} are those of ${entry}, the ${kind} of ${other.tele} chip ${other.chip}: two detectors are never so alike`,
          { file: path },
        );
      }
    }
  }
}

function readOther(
  path: string,
  { kind, identity, name, rows, cols }: MapToCheck,
  limits: Partial<FitsLimits> | undefined,
): { readonly data: Float32Array; readonly tele: string; readonly chip: string } | undefined {
  try {
    const file = openFits(path, { limits: limits ?? {} });
    try {
      const { header } = file.hdu(0);
      const [tele, chip] = [header.string('TELE', '').trim(), header.string('CHIP', '').trim()];
      if (header.string('CALKIND', '').trim() !== kind) return undefined;
      if (tele === identity.tele && chip === identity.chip) return undefined;
      const { data, shape } = file.readImage(name);
      return data instanceof Float32Array && shape.join() === [rows, cols].join() ? { data, tele, chip } : undefined;
    } finally {
      file.close();
    }
  } catch {
    return undefined;
  }
}

/** Kinds whose maps are properties of one detector, pixel by pixel, so that a copy cannot be told by looking at one. */
const CHECKED_KINDS: readonly CalibrationKind[] = ['gain', 'readnoise'];

/**
 * The same for a file that is there already, before it is registered.
 * @throws CalibrationError naming the file whose map this is
 */
export async function refuseCopiedFile(
  path: string,
  directories: readonly string[],
  limits: Partial<FitsLimits> = {},
): Promise<void> {
  const { kind, tele, chip } = await readCalibrationRecord(path, { limits });
  if (!CHECKED_KINDS.includes(kind)) return;
  const [name] = KIND_IMAGES[kind] as [string];
  const file = openFits(path, { limits });
  try {
    const { data, shape } = file.readImage(name);
    const [rows = 0, cols = 0] = shape;
    if (!(data instanceof Float32Array)) return;
    await refuseCopy({ kind, identity: { tele, chip }, name, data, rows, cols }, directories, { limits });
  } finally {
    file.close();
  }
}
