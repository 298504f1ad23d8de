/**
 * Where the 300 fibres of each detector lie. The rows are ApogeeReduction.jl's (traceCenterPositions_*.h5): medians of real flats,
 * so they hold what is fixed at the slit head: blocks of 30 fibres, wider gaps between most of them, and each fibre's own place.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../core/addon.js';
import { UsageError } from '../../core/errors.js';
import type { Spectrograph } from '../../core/spectra.js';

const FIBRES = 300;
/** A step wider than its neighbours by this is a gap: steps within a block agree to 4 %, the gaps exceed them by 9 to 40 %. */
const GAP = 1.07;
/** Steps on either side that say what is usual here: the optics shorten them by 7 % towards the ends of the slit. */
const USUAL_REACH = 10;

interface Table {
  readonly column: number;
  /** By 'apo-a'. */
  readonly positions: Readonly<Record<string, readonly number[]>>;
}

let loaded: Table | undefined;

/** Reads the file once. It is part of the package: what is wrong with it is a bug and throws as such. */
function table(): Table {
  loaded ??= JSON.parse(
    readFileSync(join(packageRoot(), 'data', 'instruments', 'apogee_fibres.json'), 'utf8'),
  ) as Table;
  return loaded;
}

function positions({ tele, chip }: { readonly tele: string; readonly chip: string }): Float64Array {
  const found = table().positions[`${tele}-${chip}`];
  if (found === undefined) {
    throw new UsageError(`expected telescope apo or lco and chip a, b or c, received ${tele} ${chip}`);
  }
  return Float64Array.from(found);
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] as number;

function stepsOf(rows: Float64Array): number[] {
  return Array.from(rows.subarray(1), (row, i) => row - (rows[i] as number));
}

export const spectrograph: Spectrograph = {
  fibres: FIBRES,
  fibreNumber: (index) => FIBRES - index,
  /** Of all six detectors to 0.05 px. */
  spacing: 6.63,
  /** The middle of upstream's columns 925 to 1125, which are 1-based. */
  column: 1024,
  detectors: ['apo', 'lco'].flatMap((tele) => ['a', 'b', 'c'].map((chip) => ({ tele, chip }))),
  positions,
  gaps(detector) {
    const steps = stepsOf(positions(detector));
    return steps.flatMap((step, i) => {
      const usual = median(steps.slice(Math.max(0, i - USUAL_REACH), i + USUAL_REACH + 1));
      return step > GAP * usual ? [i] : [];
    });
  },
};
