/** What a simulated exposure is on disk: the raw file, the truth, and the calibrations that follow from it. */
import { DQ } from '../core/generated/dq.js';
import { version } from '../core/version.js';
import { runKernel } from '../engine/index.js';
import { type CardInput, encodeHdu, type HduInput } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import {
  AMPLIFIER_COLUMNS,
  BAD_DEAD,
  BAD_HIGH_FLAT,
  BAD_HOT,
  BAD_LOW_FLAT,
  BAD_NEGATIVE,
  BAD_NOISY,
  BAD_TELEGRAPH,
  BAD_UNSTABLE,
  CONVERTER_LIMIT,
  forReferencePixels,
  READ_COLUMNS,
  READ_MS,
  RESET_READS,
  SCIENCE_COLUMNS,
  TRAP_SECONDS,
} from './detector.js';
import { BIAS_LEVEL, type ExposurePlan, type MockExposure, OUTPUT_OFFSET } from './exposure.js';
import type { ExposureType } from './scene.js';
import { profileOf } from './traces.js';

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
  // A field without stars is an object to the observatory.
  sky: { imageType: 'Object', exposureType: 'OBJECT', quartz: 0, thar: 0, une: 0 },
  twilight: { imageType: 'TwilightFlat', exposureType: 'TWILIGHTFLAT', quartz: 0, thar: 0, une: 0 },
};

/**
 * Start of the exposure [ms since 1970]. Exposures follow each other through the night that the MJD names, and the number
 * alone fixes the time; one that is told what went before starts so long after the end of that.
 */
function startMs({ mjd, exposure, after }: ExposurePlan): number {
  const slot = (number: number): number => (mjd - MJD_OF_EPOCH) * MS_PER_DAY + (number % 120) * EXPOSURE_CADENCE_MS;
  if (after === undefined) return slot(exposure);
  return slot(after.exposure) + after.reads * READ_MS + Math.round(after.gapSeconds * 1000);
}

/** Serial number of the simulated detector. */
const serial = ({ tele, chip, detectorSeed }: ExposurePlan): string => `MOCK-${tele}-${chip}-${detectorSeed}`;

/** Cards of one read; `read` is 0-based. */
export function readCards(plan: ExposurePlan, read: number): CardInput[] {
  const { imageType, exposureType, quartz, thar, une } = TYPE_CARDS[plan.claim];
  const date = new Date(startMs(plan) + read * READ_MS).toISOString().slice(0, -1);
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
    ['DETSER', serial(plan), 'serial number of the detector'],
    ['EXPTYPE', exposureType, 'exposure type'],
    ['IMAGETYP', imageType, 'image type'],
    ['LAMPQRTZ', quartz, 'quartz lamp'],
    ['LAMPTHAR', thar, 'ThArNe lamp'],
    ['LAMPUNE', une, 'UNe lamp'],
    ['DITHPIX', 0, '[pix] dither position'],
    ['PLATEID', 0, 'plate'],
    ['CARTID', plan.tele === 'apo' ? 'FPS-N' : 'FPS-S', 'cartridge'],
    ['MAPID', 0, 'fibre map'],
    ['FIELDID', plan.pointing.field, 'field'],
    ['DESIGNID', plan.pointing.design, 'design'],
    ['CONFIGID', plan.pointing.configuration, 'configuration'],
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
    const hdu = encodeHdu(
      { data: residual, shape, header: readCards(plan, read), compress: 'RICE_1', was: 'extension' },
      false,
    );
    if (read + 1 === plan.cutAtRead) {
      yield* firstHalf(hdu);
      return;
    }
    yield* hdu;
  }
}

function* firstHalf(chunks: readonly Uint8Array[]): Generator<Uint8Array> {
  let left = Math.floor(chunks.reduce((sum, { byteLength }) => sum + byteLength, 0) / 2);
  for (const chunk of chunks) {
    const piece = chunk.subarray(0, left);
    if (piece.byteLength > 0) yield piece;
    left -= piece.byteLength;
  }
}

/** The science columns of a map. */
function science<T extends Float32Array | Uint16Array>(map: T, rows: number): T {
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

const identityCards = ({
  tele,
  chip,
  mjd,
  exposure,
  type,
  level,
  seed,
  detectorSeed,
  after,
}: ExposurePlan): CardInput[] => [
  ['TELE', tele, 'telescope'],
  ['CHIP', chip, 'detector'],
  ['MJD', mjd, 'night'],
  ['EXPOSURE', exposure, 'number in the night'],
  ['SIMTYPE', type, 'type of the simulated exposure'],
  ['SIMSEED', seed, 'seed of the simulation'],
  ['SIMDSEED', detectorSeed, 'seed of the simulated detector'],
  ...(type === 'internalflat' ? [['LEVEL', level, '[electron/read] light of the flat'] as const] : []),
  ['TAU', TRAP_SECONDS, '[s] time constant of the persistence'],
  ...(after === undefined
    ? []
    : ([
        ['AFTTYPE', after.type, 'type of the exposure before'],
        ['AFTREADS', after.reads, 'its reads'],
        ['AFTLEVEL', after.level, '[electron/read] its light, if a flat'],
        ['AFTGAP', after.gapSeconds, '[s] from its end to the start of this one'],
      ] as const)),
];

/**
 * The truth: what a perfect reduction would find. Images are [rows][2048]; indices in the tables are 0-based.
 *   RATE [DN/read], RATE_E and DARK_E [e-/read] (RATE holds light and dark current, not what traps release), GAIN,
 *   READNOISE [DN], of a single read: the white noise of the pixel alone. The 1/f noise of its amplifier comes on top of it
 *     (own part 0.7 DN rms over all times; the part in common with the reference output, 3 DN, can be subtracted), and so
 *     do the 1/12 DN^2 of the rounding,
 *   SATURATION, C2, C3, RESET, PEDESTAL,
 *   RESPONSE, of light (0: dead or no light; the mean of all exposures for unstable pixels, RATE has that of this one),
 *   ILLUMINATION, in internal flats: the light is LEVEL x ILLUMINATION x RESPONSE, PERSISTENCE [1/read] (A of Detector.trap),
 *   BADPIX (1 hot, 2 dead, 4 small well, 8 noisy, 16 telegraph noise, 32 negative dark, 64 low, 128 high, 256 unstable
 *     response),
 *   JUMPS: READ is the first read that has the charge, BIAS: of each output in each read, TELEGRAPH: the difference of the
 *     levels of each such pixel and the mean time in them,
 *   and where fibres show light, [300][2048], fibre 0 the lowest: FLUX_E [e-/read], the electrons of a fibre in a column before the
 *     pixels' response, of the whole profile, on the chip or not; CENTRE [px] and WIDTH of the profile; PROFILE [300][9][481]; all in
 *     the convention of src/core/spectra.ts; BACKGROUND_E [e-/read], the scattered light, [rows][2048], in RATE too;
 *     FIBRES: what each looks at (H of a star), what part of the light it shows on this chip, and its state; the flexure in the
 *     cards of CENTRE
 */
export async function* truthChunks(exposure: MockExposure): AsyncGenerator<Uint8Array> {
  const { plan, detector } = exposure;
  const { rows } = plan;
  const shape = [rows, SCIENCE_COLUMNS];
  yield* encodeHdu({ header: identityCards(plan) }, true);
  const image = (name: string, unit: string, data: Float32Array | Uint16Array): Uint8Array[] =>
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
  yield* image('RESPONSE', '', science(detector.response, rows));
  if (exposure.illumination !== undefined) yield* image('ILLUMINATION', '', science(exposure.illumination, rows));
  yield* await sceneChunks(exposure);
  yield* image('PERSISTENCE', '1/read', science(detector.trap, rows));
  yield* image('BADPIX', '', science(detector.bad, rows));
  const { jumps, levels } = exposure;
  const { telegraph } = detector;
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
    {
      kind: 'table',
      name: 'TELEGRAPH',
      columns: [
        { name: 'Y', values: Int32Array.from(telegraph, ({ index }) => Math.floor(index / READ_COLUMNS)) },
        { name: 'X', values: Int32Array.from(telegraph, ({ index }) => index % READ_COLUMNS) },
        { name: 'AMPLITUDE', unit: 'DN', values: Float32Array.from(telegraph, ({ amplitude }) => amplitude) },
        { name: 'LOWREADS', unit: 'read', values: Float32Array.from(telegraph, ({ dwell }) => dwell[0]) },
        { name: 'HIGHREADS', unit: 'read', values: Float32Array.from(telegraph, ({ dwell }) => dwell[1]) },
      ],
    },
  ];
  for (const hdu of hdus) yield* encodeHdu(hdu, false);
}

/** Of the truth, what fibres show alone: HDUs as in `truthChunks`, without the maps of the detector. */
export async function* spectraTruthChunks(exposure: MockExposure): AsyncGenerator<Uint8Array> {
  yield* encodeHdu({ header: identityCards(exposure.plan) }, true);
  yield* await sceneChunks(exposure);
}

/** What the fibres show; nothing of exposures without them. */
async function sceneChunks(exposure: MockExposure): Promise<Uint8Array[]> {
  const { scene, plan } = exposure;
  const background = await exposure.background();
  if (scene === undefined || background === undefined) return [];
  const { flux, centre, width, flexure, targets, throughput, states } = scene;
  const { cumulative, fibres, nodes, samples } = profileOf(scene.tables);
  const numbers = Int32Array.from({ length: fibres }, (_, fibre) => fibre);
  const cards: CardInput[] = [
    ['SHIFT', flexure.shift, '[px] flexure: shift of all traces'],
    ['SCALE', flexure.scale, 'flexure: scale about the middle row, less 1'],
    ['TILT', flexure.tilt, '[px] flexure: at the last column, against the middle'],
    ['WIDTHFAC', flexure.width, 'factor of all widths'],
  ];
  const image = (name: string, unit: string, data: Float32Array, shape: number[], header: CardInput[] = []) =>
    encodeHdu({ name, data, shape, header: [['BUNIT', unit, 'unit of the pixels'], ...header] }, false);
  const map = [fibres, SCIENCE_COLUMNS];
  return [
    ...image('FLUX_E', 'electron/read', flux, map),
    ...image('CENTRE', 'pixel', centre, map, cards),
    ...image('WIDTH', '', width, map),
    ...image('PROFILE', '', cumulative, [fibres, nodes, samples]),
    ...image('BACKGROUND_E', 'electron/read', background, [plan.rows, SCIENCE_COLUMNS]),
    ...encodeHdu(
      {
        kind: 'table',
        name: 'FIBRES',
        columns: [
          { name: 'FIBER', values: numbers },
          { name: 'FIBERID', values: numbers.map((fibre) => fibres - fibre) },
          { name: 'TARGET', values: targets.map(({ kind }) => kind) },
          { name: 'HMAG', unit: 'mag', values: Float32Array.from(targets, (one) => ('h' in one ? one.h : Number.NaN)) },
          { name: 'THROUGHPUT', values: throughput },
          { name: 'STATE', values: [...states] },
        ],
      },
      false,
    ),
  ];
}

/** Bits of data/dq.json for those of BADPIX, in calibrations of the dark and of the flat. */
const DARK_BITS: readonly (readonly [number, number])[] = [
  [BAD_HOT, DQ.HOT],
  [BAD_NEGATIVE, DQ.NEGATIVE_DARK],
  [BAD_NOISY, DQ.NOISY],
  [BAD_TELEGRAPH, DQ.TELEGRAPH],
];
const FLAT_BITS: readonly (readonly [number, number])[] = [
  [BAD_DEAD, DQ.LOW_FLAT],
  [BAD_LOW_FLAT, DQ.LOW_FLAT],
  [BAD_HIGH_FLAT, DQ.HIGH_FLAT],
  [BAD_UNSTABLE, DQ.UNSTABLE_FLAT],
];
/** Error of exact values: nothing beside any measured one, and not 0, by which nobody can divide. */
const EXACT_ERROR = 1e-6;
/** Exposures that an exact calibration claims to be made of. */
const EXACT_COUNT = 100;

/** Data-quality bits [rows][SCIENCE_COLUMNS]: those of the flagged pixels, and of the border. */
function dqMap({ detector, plan: { rows } }: MockExposure, bits: readonly (readonly [number, number])[]): Uint32Array {
  const dq = new Uint32Array(rows * SCIENCE_COLUMNS);
  const at = (index: number): number => Math.floor(index / READ_COLUMNS) * SCIENCE_COLUMNS + (index % READ_COLUMNS);
  for (const index of detector.flagged) {
    for (const [bad, bit] of bits) if (((detector.bad[index] as number) & bad) !== 0) dq[at(index)] |= bit;
  }
  forReferencePixels(rows, (index, isOutput) => {
    if (!isOutput) dq[at(index)] = DQ.REFERENCE_PIXEL;
  });
  return dq;
}

/** A map of the science columns, NaN on the border. */
function withoutBorder(map: Float32Array, rows: number): Float32Array {
  const out = science(map, rows);
  forReferencePixels(rows, (index, isOutput) => {
    if (!isOutput) out[Math.floor(index / READ_COLUMNS) * SCIENCE_COLUMNS + (index % READ_COLUMNS)] = Number.NaN;
  });
  return out;
}
/** Dark rate [DN/read]. */
function darkRate({ detector, plan: { rows } }: MockExposure): Float32Array {
  const gain = science(detector.gain, rows);
  return withoutBorder(detector.dark, rows).map((e, i) => e / (gain[i] as number));
}

/** Response over its median; NaN where a pixel is dead. */
function flatField({ detector, plan: { rows } }: MockExposure): Float32Array {
  // The median of some 50 000 pixels is within 2e-4 of that of all, and sorting four million would take longer than a read.
  const step = Math.max(1, Math.floor(detector.response.length / 65_536));
  const some = detector.response.filter((value, i) => i % step === 0 && value > 0).sort();
  const median = some[some.length >> 1] as number;
  return withoutBorder(detector.response, rows).map((value) => (value > 0 ? value / median : Number.NaN));
}

type CalibrationImage = readonly [name: string, unit: string, data: Float32Array | Uint16Array | Uint32Array];

/** What each exact calibration holds, and the cards of its own. */
const CALIBRATIONS = {
  gain: ({ detector, plan: { rows } }) => ({ images: [['GAIN', 'electron/DN', science(detector.gain, rows)]] }),
  readnoise: ({ detector, plan: { rows } }) => ({ images: [['READNOISE', 'DN', science(detector.noise, rows)]] }),
  saturation: (exposure) => ({ images: [['SATURATION', 'DN', saturationMap(exposure)]] }),
  linearity: ({ detector, plan: { rows } }) => ({
    images: [
      ['C2', '1/DN', science(detector.c2, rows)],
      ['C3', '1/DN2', science(detector.c3, rows)],
      ['LIMIT', 'DN', science(detector.well, rows)],
    ],
  }),
  resetanomaly: ({ detector, plan: { rows } }) => ({
    images: [['AMPLITUDE', 'DN', science(detector.reset, rows)]],
    cards: [['TAU', RESET_READS, '[reads] time constant']],
  }),
  dark: (exposure) => ({
    images: [
      ['RATE', 'DN/read', darkRate(exposure)],
      ['ERR', 'DN/read', exactErrors(exposure)],
      ['COUNT', '', new Uint16Array(exposure.plan.rows * SCIENCE_COLUMNS).fill(EXACT_COUNT)],
      ['DQ', '', dqMap(exposure, DARK_BITS)],
    ],
    cards: [['READTIME', READ_MS / 1000, '[s] time of one read']],
  }),
  flat: (exposure) => ({
    images: [
      ['FLAT', '', flatField(exposure)],
      ['ERR', '', exactErrors(exposure)],
      ['DQ', '', dqMap(exposure, FLAT_BITS)],
    ],
  }),
  persistence: (exposure) => ({
    images: [
      ['AMPLITUDE', '1/read', withoutBorder(exposure.detector.trap, exposure.plan.rows)],
      ['ERR', '1/read', exactErrors(exposure)],
      ['DQ', '', dqMap(exposure, [])],
    ],
    cards: [['TAU', TRAP_SECONDS, '[s] time constant']],
  }),
} satisfies Readonly<
  Record<string, (exposure: MockExposure) => { readonly images: CalibrationImage[]; readonly cards?: CardInput[] }>
>;

export type ExactKind = keyof typeof CALIBRATIONS;
export const CALIBRATION_KINDS = Object.keys(CALIBRATIONS) as readonly ExactKind[];

const exactErrors = ({ plan: { rows } }: MockExposure): Float32Array =>
  withoutBorder(new Float32Array(rows * READ_COLUMNS).fill(EXACT_ERROR), rows);

/** An exact calibration of the exposure's detector; nothing of the exposure goes into it. */
export function* calibrationChunks(exposure: MockExposure, kind: ExactKind): Generator<Uint8Array> {
  const { plan } = exposure;
  const made: { readonly images: CalibrationImage[]; readonly cards?: CardInput[] } = CALIBRATIONS[kind](exposure);
  const cards: CardInput[] = [
    ['CALKIND', kind, 'kind of calibration'],
    ['INSTRUME', apogee.name, 'instrument'],
    ['TELE', plan.tele, 'telescope'],
    ['CHIP', plan.chip, 'detector'],
    ['SERIAL', serial(plan), 'serial number of the detector'],
    ['READMODE', '', 'read mode: any'],
    ['GRADE', 'pass', 'quality: pass, warn or fail'],
    ['NINPUT', 0, 'exact, made from no exposure'],
    ['SWVER', version(), 'version of the software'],
    ['SIMDSEED', plan.detectorSeed, 'seed of the simulated detector'],
    ...(made.cards ?? []),
  ];
  yield* encodeHdu({ header: cards }, true);
  for (const [name, unit, data] of made.images) {
    const header: CardInput[] = [['BUNIT', unit, 'unit of the pixels']];
    yield* encodeHdu({ name, data, shape: [plan.rows, SCIENCE_COLUMNS], header }, false);
  }
}
