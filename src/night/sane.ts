/** Whether rates are sane: a few numbers of a 2d or 2dcal product, held to the limits of data/sane.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../core/addon.js';
import { BugError, InputError } from '../core/errors.js';
import type { FitsFile } from '../fits/index.js';
import { BAD_BITS, levelOf, type QaGeometry, scienceRegion } from '../stages/measure.js';

interface Limit {
  readonly number: keyof RateNumbers;
  readonly unit: string;
  readonly range: readonly [number, number];
  readonly doc: string;
  /** Whence the limits. */
  readonly source: string;
}

export interface RateNumbers {
  /** Pixels inside the border with a bad bit or without a rate [%]. */
  readonly badPercent: number;
  /** Good pixels without a rate or an error. */
  readonly withoutValue: number;
  /** Median error of good pixels, in the unit of the product. */
  readonly error: number;
  /** Median chi2 over the degrees of freedom of the reads used; NaN where there are none. */
  readonly reducedChi2: number;
}

let loaded: readonly Limit[] | undefined;

/** The limits. The file is part of the package: what is wrong with it is a bug. */
function limits(): readonly Limit[] {
  if (loaded !== undefined) return loaded;
  const { rates } = JSON.parse(readFileSync(join(packageRoot(), 'data', 'sane.json'), 'utf8')) as { rates: Limit[] };
  for (const { number, range, doc, source } of rates) {
    const [low, high] = range ?? [];
    if (!(Number(low) <= Number(high)) || !doc || !source) {
      throw new BugError(`data/sane.json, ${number}: expected a range, what it is and whence it is`);
    }
  }
  loaded = rates;
  return rates;
}

/** Images without which rates are of no use. */
const IMAGES = ['SCI', 'ERR', 'DQ', 'CHI2'] as const;

/**
 * Measures the rates of an open product, by kernels.
 * @throws InputError for a product without the images, or of images that do not fit together
 */
export async function rateNumbers(file: FitsFile, geometry: QaGeometry): Promise<RateNumbers> {
  const [sci, err, dq, chi2] = await Promise.all(IMAGES.map((name) => file.readImageAsync(name)));
  const [rows = 0, cols = 0] = sci!.shape;
  const images = [sci, err, chi2].map((image) => image?.data);
  if (
    rows * cols === 0 ||
    !images.every((data): data is Float32Array => data instanceof Float32Array && data.length === rows * cols) ||
    !(dq?.data instanceof Uint32Array && dq.data.length === rows * cols)
  ) {
    throw new InputError('expected SCI, ERR and CHI2 of float32 and DQ of uint32, all of one size', {
      file: file.path,
    });
  }
  const [rate, error, chi] = images as [Float32Array, Float32Array, Float32Array];
  const region = scienceRegion(rows, cols, geometry);
  const level = (data: Float32Array) => levelOf(data, dq.data as Uint32Array, cols, region, BAD_BITS);
  // An image that has a value everywhere counts the good pixels.
  const good = (await level(new Float32Array(rows * cols))).count;
  const [ofRate, ofError, ofChi] = [await level(rate), await level(error), await level(chi)];
  const pixels = region.rows * region.cols;
  // Of n reads used there are n - 1 differences, less the one rate that was fitted.
  const freedom = file.hdu(0).header.number('NREAD', 0) - 2;
  return {
    badPercent: (100 * (pixels - ofRate.count)) / pixels,
    withoutValue: good - Math.min(ofRate.count, ofError.count),
    error: ofError.median,
    reducedChi2: freedom > 0 ? ofChi.median / freedom : Number.NaN,
  };
}

/** What is not sane, one sentence each. A number that could not be measured (no degrees of freedom, no good pixel) is no finding of its own. */
export function insaneRates(numbers: RateNumbers): string[] {
  return limits().flatMap(({ number, unit, range: [low, high], doc }) => {
    const value = numbers[number];
    if (Number.isNaN(value) || (value >= low && value <= high)) return [];
    const shown = [value, low, high].map((one) => Number(one.toPrecision(4)));
    return [`${doc}: ${shown[0]}${unit && ` ${unit}`}, expected ${shown[1]} to ${shown[2]}`];
  });
}
