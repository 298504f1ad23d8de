/** Two calibrations of one kind and detector against each other: values beyond their errors, and bits gained and lost. */
import { type CalibrationKind, KIND_IMAGES } from '../../calib/product.js';
import { CalibrationError } from '../../core/errors.js';
import { DQ_BITS } from '../../core/generated/dq.js';
import {
  amplifierRegions,
  BAD_BITS,
  compareRegion,
  countBits,
  countCommonBits,
  levelOf,
  type MapCounts,
  type QaGeometry,
  type Region,
  scienceRegion,
} from '../measure.js';
import { type CalibrationMaps, errorName } from './maps.js';

/** A change is one beyond this many combined errors: by chance 2.4 of 4,177,936 pixels of a detector. */
export const CHANGE_SIGMAS = 5;

export interface ImageComparison extends MapCounts {
  readonly name: string;
  readonly unit: string;
  /** false: neither file has errors, so that any difference lies beyond. */
  readonly errors: boolean;
  /** Median and robust scatter of b - a over the pixels compared; null where there is none. */
  readonly median: number | null;
  readonly scatter: number | null;
  /** Robust scatter of (b - a) / error: 1 where the errors are right and nothing changed. */
  readonly significance: number | null;
  readonly amplifiers: readonly MapCounts[];
}

export interface BitCounts {
  readonly a: number;
  readonly b: number;
  readonly gained: number;
  readonly lost: number;
}

export interface BitComparison extends BitCounts {
  readonly bit: number;
  readonly name: string;
  readonly bad: boolean;
  readonly amplifiers: readonly BitCounts[];
}

export interface CalibrationComparison {
  readonly kind: CalibrationKind;
  readonly tele: string;
  readonly chip: string;
  readonly sigmas: number;
  /** Pixels inside the border. */
  readonly pixels: number;
  readonly images: readonly ImageComparison[];
  /** Bits that a pixel of either has. Undefined where one of the files has no DQ. */
  readonly bits: readonly BitComparison[] | undefined;
  /** Differences b - a of the first image, f32 [row][x], NaN where one has no good value: for a picture. */
  readonly difference: Float32Array;
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

/** Throws CalibrationError unless both are of one kind, detector and size. */
function requireAlike(a: CalibrationMaps, b: CalibrationMaps): void {
  const detector = ({ instrument, tele, chip }: CalibrationMaps) => `${instrument} ${tele} ${chip}`.trim();
  const size = ({ rows, cols }: CalibrationMaps) => `${rows} x ${cols} pixels`;
  for (const [what, one, two] of [
    ['kind', a.kind, b.kind],
    ['detector', detector(a), detector(b)],
    ['size', size(a), size(b)],
  ] as const) {
    if (one !== two) throw new CalibrationError(`expected two calibrations of one ${what}, received ${one} and ${two}`);
  }
}

async function compareBits(a: Uint32Array, b: Uint32Array, width: number, regions: readonly Region[]) {
  const counts: { inA: number[]; inB: number[]; both: number[] }[] = [];
  for (const region of regions) {
    counts.push({
      inA: await countBits(a, width, region),
      inB: await countBits(b, width, region),
      both: await countCommonBits(a, b, width, region),
    });
  }
  const of = (which: number, bit: number): BitCounts => {
    const { inA, inB, both } = counts[which] as (typeof counts)[number];
    const [one, two, shared] = [inA[bit] as number, inB[bit] as number, both[bit] as number];
    return { a: one, b: two, gained: two - shared, lost: one - shared };
  };
  return Array.from({ length: 32 }, (_, bit): BitComparison => {
    const known = DQ_BITS.find((one) => one.bit === bit);
    return {
      bit,
      name: known?.name ?? `bit ${bit}`,
      bad: known?.bad ?? false,
      ...of(0, bit),
      amplifiers: regions.slice(1).map((__, i) => of(i + 1, bit)),
    };
  }).filter((one) => one.a + one.b > 0);
}

/**
 * What changed from a to b. Only pixels inside the light-insensitive border count; a pixel with a bad bit has no value in
 * that map, so `onlyA` are the pixels that became bad and `onlyB` those that recovered.
 * @param sigmas a change is a difference beyond this many combined errors
 * @throws CalibrationError for two of different kinds, detectors or sizes
 */
export async function compareCalibrations(
  a: CalibrationMaps,
  b: CalibrationMaps,
  geometry: QaGeometry,
  sigmas = CHANGE_SIGMAS,
): Promise<CalibrationComparison> {
  requireAlike(a, b);
  const { kind, rows, cols } = a;
  const science = scienceRegion(rows, cols, geometry);
  const regions = isDetectorMap(kind) ? [science, ...amplifierRegions(rows, cols, geometry)] : [science];
  const images: ImageComparison[] = [];
  let first: Float32Array | undefined;
  for (const name of KIND_IMAGES[kind]) {
    const pair = (maps: CalibrationMaps) => ({
      value: maps.images.get(name)?.data as Float32Array,
      error: maps.images.get(errorName(kind, name))?.data,
      dq: maps.dq,
    });
    const [one, two] = [pair(a), pair(b)];
    const out = {
      difference: new Float32Array(rows * cols).fill(Number.NaN),
      significance: new Float32Array(rows * cols).fill(Number.NaN),
    };
    first ??= out.difference;
    const counts: MapCounts[] = [];
    for (const region of regions) {
      counts.push(await compareRegion(one, two, cols, region, { sigmas, skip: BAD_BITS }, out));
    }
    const level = await levelOf(out.difference, undefined, cols, science, 0);
    const ratio = await levelOf(out.significance, undefined, cols, science, 0);
    const errors = one.error !== undefined || two.error !== undefined;
    images.push({
      name,
      unit: a.images.get(name)?.unit ?? '',
      ...(counts[0] as MapCounts),
      errors,
      median: finite(level.median),
      scatter: finite(level.scatter),
      significance: errors ? finite(ratio.scatter) : null,
      amplifiers: counts.slice(1),
    });
  }
  const bits = a.dq === undefined || b.dq === undefined ? undefined : await compareBits(a.dq, b.dq, cols, regions);
  const pixels = science.rows * science.cols;
  return { kind, tele: a.tele, chip: a.chip, sigmas, pixels, images, bits, difference: first as Float32Array };
}

/** Whether the images of a kind are maps of the detector; the weights of the 1/f correction are a table of numbers. */
export function isDetectorMap(kind: CalibrationKind): boolean {
  return kind !== 'oneoverf';
}
