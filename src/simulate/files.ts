/** What a simulated exposure is on disk: the raw file, the truth, and the calibrations that follow from it. */
import { runKernel } from '../engine/index.js';
import { type CardInput, encodeHdu, type HduInput } from '../fits/index.js';
import { AMPLIFIER_COLUMNS, CONVERTER_LIMIT, READ_COLUMNS, RESET_READS, SCIENCE_COLUMNS } from './detector.js';
import { BIAS_LEVEL, type ExposurePlan, type MockExposure, OUTPUT_OFFSET } from './exposure.js';
import type { ExposureType } from './scene.js';

/** Time of one read [ms]: 2048 lines of 520 clocks of 10 microseconds. */
export const READ_MS = 10_647;
const EXPOSURE_CADENCE_MS = 600_000;
const MS_PER_DAY = 86_400_000;
/** MJD of 1970-01-01. */
const MJD_OF_EPOCH = 40_587;

interface TypeCards {
  readonly imageType: string;
  readonly exposureType: string;
  readonly quartz: number;
  readonly thar: number;
  readonly une: number;
}

const TYPE_CARDS: Readonly<Record<ExposureType, TypeCards>> = {
  object: { imageType: 'Object', exposureType: 'OBJECT', quartz: 0, thar: 0, une: 0 },
  dark: { imageType: 'Dark', exposureType: 'DARK', quartz: 0, thar: 0, une: 0 },
  domeflat: { imageType: 'DomeFlat', exposureType: 'DOMEFLAT', quartz: 0, thar: 0, une: 0 },
  quartzflat: { imageType: 'QuartzFlat', exposureType: 'QUARTZFLAT', quartz: 1, thar: 0, une: 0 },
  internalflat: { imageType: 'InternalFlat', exposureType: 'INTERNALFLAT', quartz: 0, thar: 0, une: 0 },
  gradient: { imageType: 'InternalFlat', exposureType: 'INTERNALFLAT', quartz: 0, thar: 0, une: 0 },
  une: { imageType: 'ArcLamp', exposureType: 'ARCLAMP', quartz: 0, thar: 0, une: 1 },
  thar: { imageType: 'ArcLamp', exposureType: 'ARCLAMP', quartz: 0, thar: 1, une: 0 },
  // An arc exposure with neither lamp is the Fabry-Perot (ApogeeReduction.jl).
  fpi: { imageType: 'ArcLamp', exposureType: 'ARCLAMP', quartz: 0, thar: 0, une: 0 },
};

/** Cards of one read; `read` is 0-based. */
export function readCards(plan: ExposurePlan, read: number): CardInput[] {
  const { imageType, exposureType, quartz, thar, une } = TYPE_CARDS[plan.type];
  // Exposures follow each other through the night that the MJD names; the number alone fixes the time.
  const start = (plan.mjd - MJD_OF_EPOCH) * MS_PER_DAY + (plan.exposure % 120) * EXPOSURE_CADENCE_MS;
  const date = new Date(start + read * READ_MS).toISOString().slice(0, -1);
  return [
    ['DATE-OBS', date, 'TAI at the start of this read'],
    ['TIMESYS', 'TAI', 'time scale of DATE-OBS'],
    ['INTOFF', READ_MS, '[ms] time of one read'],
    ['INTDELAY', 0, '[s] delay before the first read'],
    ['EXPTIME', (plan.reads * READ_MS) / 1000, '[s] total exposure time'],
    ['NREAD', plan.reads, 'number of reads'],
    ['NFRAMES', plan.reads, 'number of frames'],
    ['FRAMENUM', read + 1, 'this read, counted from 1'],
    ['CHIP', plan.chip, 'detector: a, b, c = red, green, blue'],
    ['EXPTYPE', exposureType, 'exposure type'],
    ['IMAGETYP', imageType, 'image type'],
    ['LAMPQRTZ', quartz, 'quartz lamp'],
    ['LAMPTHAR', thar, 'ThArNe lamp'],
    ['LAMPUNE', une, 'UNe lamp'],
    ['DITHPIX', 0, '[pix] dither position'],
    ['PLATEID', 0, 'plate'],
    ['CARTID', plan.tele === 'apo' ? 'FPS-N' : 'FPS-S', 'cartridge'],
    ['MAPID', 0, 'fibre map'],
    ['FIELDID', 0, 'field'],
    ['DESIGNID', 0, 'design'],
    ['CONFIGID', 0, 'configuration'],
    ['SEEING', 1.2, '[arcsec]'],
    ['OBSCMNT', 'simulated', 'comment of the observer'],
    ['SIMSEED', plan.seed, 'seed of the simulation'],
    ['SIMDSEED', plan.detectorSeed, 'seed of the simulated detector'],
  ];
}

/** The reads as they stand: an empty primary and one u16 image for each read. */
export async function* rawChunks(exposure: MockExposure): AsyncGenerator<Uint8Array> {
  const { plan } = exposure;
  yield* encodeHdu({ header: readCards(plan, 0) }, true);
  for await (const { read, counts } of exposure.expose(() => true)) {
    yield* encodeHdu({ data: counts, shape: [plan.rows, READ_COLUMNS], header: readCards(plan, read) }, false);
  }
}

/**
 * The .apz layout: an empty primary, the average difference, the first read, and for each later read its difference from
 * the read before less the average; RICE_1 with one tile a row, as fpack leaves it. The exposure runs twice, because the
 * average comes first in the file and needs the last read.
 */
export async function* apzChunks(exposure: MockExposure): AsyncGenerator<Uint8Array> {
  const { plan } = exposure;
  const { rows, reads, threads } = plan;
  const last = reads - 1;
  const image = <T>(data: T) => ({ data, rows, cols: READ_COLUMNS });
  const shape = [rows, READ_COLUMNS];
  const options = { threads, strip: READ_COLUMNS };
  const average = new Int32Array(rows * READ_COLUMNS);
  const first = new Uint16Array(rows * READ_COLUMNS);
  for await (const { read, counts } of exposure.expose((r) => r === 0 || r === last)) {
    if (read === 0) first.set(counts);
    if (read !== last || reads === 1) continue;
    const ports = { first: image(first), last: image(counts), average: image(average) };
    await runKernel('mock-average', ports, { differences: last }, options);
  }
  yield* encodeHdu({}, true);
  yield* encodeHdu({ data: average, shape, header: readCards(plan, 0), compress: 'RICE_1', was: 'primary' }, false);
  yield* encodeHdu({ data: first, shape, header: readCards(plan, 0), compress: 'RICE_1', was: 'extension' }, false);
  if (reads === 1) return;
  const residual = new Int32Array(rows * READ_COLUMNS);
  for await (const { read, counts, before } of exposure.expose(() => true)) {
    if (read === 0) continue;
    const ports = {
      before: image(before),
      after: image(counts),
      average: image(average),
      residual: image(residual),
    };
    await runKernel('mock-residual', ports, {}, options);
    yield* encodeHdu(
      { data: residual, shape, header: readCards(plan, read), compress: 'RICE_1', was: 'extension' },
      false,
    );
  }
}

/** The science columns of a map. */
function science<T extends Float32Array | Uint8Array>(map: T, rows: number): T {
  const out = new (map.constructor as new (n: number) => T)(rows * SCIENCE_COLUMNS);
  for (let row = 0; row < rows; row++) {
    out.set(map.subarray(row * READ_COLUMNS, row * READ_COLUMNS + SCIENCE_COLUMNS), row * SCIENCE_COLUMNS);
  }
  return out;
}

/** Raw counts at which each pixel saturates [DN]. */
function saturationMap(exposure: MockExposure): Float32Array {
  const out = science(exposure.detector.well, exposure.plan.rows);
  for (let i = 0; i < out.length; i++) {
    const output = Math.floor((i % SCIENCE_COLUMNS) / AMPLIFIER_COLUMNS);
    out[i] = Math.min((out[i] as number) + BIAS_LEVEL + (OUTPUT_OFFSET[output] as number), CONVERTER_LIMIT);
  }
  return out;
}

const identityCards = ({ tele, chip, mjd, exposure, type, seed, detectorSeed }: ExposurePlan): CardInput[] => [
  ['TELE', tele, 'telescope'],
  ['CHIP', chip, 'detector'],
  ['MJD', mjd, 'night'],
  ['EXPOSURE', exposure, 'number in the night'],
  ['SIMTYPE', type, 'type of the simulated exposure'],
  ['SIMSEED', seed, 'seed of the simulation'],
  ['SIMDSEED', detectorSeed, 'seed of the simulated detector'],
];

/**
 * The truth: what a perfect reduction would find. Images are [rows][2048]; indices in the tables are 0-based.
 *   RATE [DN/read], RATE_E and DARK_E [e-/read] (RATE holds light and dark current), GAIN, READNOISE, SATURATION, C2, C3,
 *   RESET, PEDESTAL, BADPIX (1 hot, 2 dead, 4 small well, 8 noisy),
 *   JUMPS: READ is the first read that has the charge, BIAS: of each output in each read
 */
export function* truthChunks(exposure: MockExposure): Generator<Uint8Array> {
  const { plan, detector } = exposure;
  const { rows } = plan;
  const shape = [rows, SCIENCE_COLUMNS];
  yield* encodeHdu({ header: identityCards(plan) }, true);
  const image = (name: string, unit: string, data: Float32Array | Uint8Array): Uint8Array[] =>
    encodeHdu({ name, data, shape, header: [['BUNIT', unit, 'unit of the pixels']] }, false);
  const electrons = science(exposure.rate, rows);
  const gain = science(detector.gain, rows);
  yield* image(
    'RATE',
    'DN/read',
    electrons.map((e, i) => e / (gain[i] as number)),
  );
  yield* image('RATE_E', 'electron/read', electrons);
  yield* image('DARK_E', 'electron/read', science(detector.dark, rows));
  yield* image('GAIN', 'electron/DN', gain);
  yield* image('READNOISE', 'DN', science(detector.noise, rows));
  yield* image('SATURATION', 'DN', saturationMap(exposure));
  yield* image('C2', '1/DN', science(detector.c2, rows));
  yield* image('C3', '1/DN2', science(detector.c3, rows));
  yield* image('RESET', 'DN', science(detector.reset, rows));
  yield* image('PEDESTAL', 'DN', science(exposure.pedestal, rows));
  yield* image('BADPIX', '', science(detector.bad, rows));
  const { jumps, levels } = exposure;
  const list = (value: (jump: (typeof jumps)[number]) => number) => Int32Array.from(jumps, value);
  const hdus: HduInput[] = [
    {
      kind: 'table',
      name: 'JUMPS',
      columns: [
        { name: 'READ', values: list((jump) => jump.read) },
        { name: 'Y', values: list((jump) => jump.row) },
        { name: 'X', values: list((jump) => jump.x) },
        {
          name: 'AMPLITUDE',
          unit: 'DN',
          values: Float32Array.from(
            jumps,
            ({ row, x, electrons: e }) => e / (detector.gain[row * READ_COLUMNS + x] as number),
          ),
        },
        { name: 'ELECTRONS', unit: 'electron', values: list((jump) => jump.electrons) },
      ],
    },
    {
      kind: 'table',
      name: 'BIAS',
      columns: [
        { name: 'READ', values: Int32Array.from(levels, (_, read) => read) },
        ...['AMP1', 'AMP2', 'AMP3', 'AMP4', 'REFOUT'].map((name, output) => ({
          name,
          unit: 'DN',
          values: Float32Array.from(levels, (level) => level[output] as number),
        })),
      ],
    },
  ];
  for (const hdu of hdus) yield* encodeHdu(hdu, false);
}

/** The calibrations of a detector, exact: file name and HDUs of each. */
export function calibrationFiles(exposure: MockExposure): { name: string; hdus: () => Generator<Uint8Array> }[] {
  const { plan, detector } = exposure;
  const { rows, tele, chip } = plan;
  const file = (
    kind: string,
    images: readonly (readonly [string, string, () => Float32Array])[],
    more: CardInput[] = [],
  ) => ({
    name: `${kind}-${tele}-${chip}.fits`,
    *hdus() {
      const cards: CardInput[] = [
        ['CALKIND', kind, 'kind of calibration'],
        ['TELE', tele, 'telescope'],
        ['CHIP', chip, 'detector'],
        ['SIMDSEED', plan.detectorSeed, 'seed of the simulated detector'],
        ...more,
      ];
      yield* encodeHdu({ header: cards }, true);
      for (const [name, unit, make] of images) {
        const header: CardInput[] = [['BUNIT', unit, 'unit of the pixels']];
        yield* encodeHdu({ name, data: make(), shape: [rows, SCIENCE_COLUMNS], header }, false);
      }
    },
  });
  return [
    file('gain', [['GAIN', 'electron/DN', () => science(detector.gain, rows)]]),
    file('readnoise', [['READNOISE', 'DN', () => science(detector.noise, rows)]]),
    file('saturation', [['SATURATION', 'DN', () => saturationMap(exposure)]]),
    file('linearity', [
      ['C2', '1/DN', () => science(detector.c2, rows)],
      ['C3', '1/DN2', () => science(detector.c3, rows)],
      ['LIMIT', 'DN', () => science(detector.well, rows)],
    ]),
    file(
      'resetanomaly',
      [['AMPLITUDE', 'DN', () => science(detector.reset, rows)]],
      [['TAU', RESET_READS, '[reads] time constant']],
    ),
  ];
}
