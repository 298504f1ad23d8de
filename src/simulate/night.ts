/**
 * A mock night: darks, flats, lamps and objects of both telescopes as the archive holds them, with five faults, and the truth
 * about all of it beside. Each exposure is one of the simulator's; here is only which, in which order, and what goes wrong.
 */
import { UsageError } from '../core/errors.js';
import type { ExposureKind } from '../core/exposure.js';
import type { Chip, Telescope } from '../instruments/apogee/index.js';
import { openStore } from '../store/index.js';
import { ALL_EFFECTS, type ExposureType, type Pointing, type SimulateOptions, simulateIfMissing } from './index.js';
import { sceneSeed } from './scene.js';
import { flexureOf } from './traces.js';

/** Types that a night is made of. */
type NightType = Exclude<ExposureType, 'gradient' | 'twilight'>;

interface NightSize {
  readonly rows: number;
  readonly reads: Readonly<Record<NightType, number>>;
  /** Light of the internal flats [e-/read]: in all their reads half of a full well at most. */
  readonly level: number;
}

/** Real numbers of reads are those of 'full' (domes and quartz of 5 to 10); the others are for tests and for looking. */
const SIZES = {
  small: {
    // The lowest fibres lie at rows 20 to 28: here are five or six.
    rows: 64,
    // Gains and read noises take darks and flats of ten reads at least; in few fibres the sky is seen after some more.
    reads: { dark: 10, internalflat: 10, domeflat: 6, quartzflat: 6, une: 6, thar: 6, fpi: 6, object: 16, sky: 16 },
    level: 2500,
  },
  demo: {
    rows: 128,
    reads: { dark: 12, internalflat: 12, domeflat: 8, quartzflat: 8, une: 10, thar: 10, fpi: 10, object: 16, sky: 16 },
    level: 2500,
  },
  full: {
    rows: 2048,
    reads: { dark: 30, internalflat: 30, domeflat: 8, quartzflat: 10, une: 40, thar: 40, fpi: 20, object: 47, sky: 47 },
    level: 1000,
  },
} as const satisfies Record<string, NightSize>;
export type NightSizeName = keyof typeof SIZES;
export const NIGHT_SIZES = Object.keys(SIZES) as readonly NightSizeName[];
export const NIGHT_TYPES = Object.keys(SIZES.small.reads) as readonly NightType[];

/**
 * What is taken before the objects and after them. The first dark has something unknown before it. The faulty dark is the last
 * one, so that no good dark follows its light.
 */
const EVENING: readonly (readonly [NightType, number])[] = [
  ['dark', 6],
  ['internalflat', 3],
  ['domeflat', 2],
  ['quartzflat', 2],
  ['une', 1],
  ['thar', 1],
  ['fpi', 1],
];
const MORNING: readonly (readonly [NightType, number])[] = [
  ['fpi', 1],
  ['une', 1],
];
const MJD = 60_857;
const OBJECTS = 8;
/** Most objects: a night's exposures start ten minutes apart and must not reach the next day. */
const MOST_OBJECTS = 120;
const MOST_SKY = 10;
/** Objects taken in a row with one configuration of the fibres. */
const OBJECTS_PER_CONFIGURATION = 3;

export type FaultKind = 'lamp-off' | 'shutter-closed' | 'mislabelled' | 'truncated' | 'missing';

interface FaultRule {
  readonly kind: FaultKind;
  readonly tele: Telescope;
  /** The n-th exposure of this type, from 1. */
  readonly type: NightType;
  readonly nth: number;
  readonly light?: NightType;
  readonly chip?: Chip;
  readonly what: string;
}

const FAULTS: readonly FaultRule[] = [
  {
    kind: 'mislabelled',
    tele: 'apo',
    type: 'dark',
    nth: 6,
    light: 'internalflat',
    what: 'the header says dark, the light is that of an internal flat',
  },
  {
    kind: 'lamp-off',
    tele: 'apo',
    type: 'domeflat',
    nth: 2,
    light: 'dark',
    what: 'a dome flat whose lamp was off: it has the light of a dark',
  },
  {
    kind: 'truncated',
    tele: 'apo',
    type: 'object',
    nth: 3,
    chip: 'a',
    what: 'the file of chip a ends in the middle of an HDU',
  },
  { kind: 'missing', tele: 'lco', type: 'quartzflat', nth: 2, what: 'the number was given and no file is there' },
  {
    kind: 'shutter-closed',
    tele: 'lco',
    type: 'object',
    nth: 5,
    light: 'dark',
    what: 'an object with the shutter closed: it has the light of a dark',
  },
];

export interface NightOptions {
  /** RAW: the files are RAW/TELE/MJD/NAME.apz. */
  readonly output: string;
  /** Default both. */
  readonly tele?: readonly Telescope[] | undefined;
  readonly chips?: readonly Chip[] | undefined;
  /** Default 60857. */
  readonly mjd?: number | undefined;
  /** Default 'demo'. */
  readonly size?: NightSizeName | undefined;
  /** Instead of the size's. */
  readonly rows?: number | undefined;
  readonly reads?: Partial<Readonly<Record<NightType, number>>> | undefined;
  /** Objects of each telescope, 0 to 120; default 8. */
  readonly objects?: number | undefined;
  /** Fields without stars of each telescope, after the objects: 0 to 10; default 0. */
  readonly sky?: number | undefined;
  /** Write what fibres show beside each raw file: truth-NAME.fits of 12 MB or more. Default false. */
  readonly truth?: boolean | undefined;
  /** Numbers of the exposures to simulate; default all. */
  readonly exposures?: readonly number[] | undefined;
  readonly seed?: number | undefined;
  readonly detectorSeed?: number | undefined;
  readonly threads?: number | undefined;
  readonly onProgress?: ((done: number, total: number, label: string) => void) | undefined;
  /** When raised, what is begun is finished and no more is made. */
  readonly signal?: AbortSignal | undefined;
}

/** What went wrong with an exposure. */
export interface NightFault {
  readonly kind: FaultKind;
  /** The only chip that it struck; absent: all. */
  readonly chip?: Chip;
  readonly what: string;
}

/** The truth about an exposure. */
export interface NightExposure {
  readonly tele: Telescope;
  /** Number in the night. */
  readonly exposure: number;
  /** As a reader of headers names it; 'missing' where there is no file. */
  readonly kind: ExposureKind;
  /** What the header says, and what shone, in the simulator's words. */
  readonly claim: NightType;
  readonly light: NightType;
  readonly reads: number;
  readonly pointing: Pointing;
  /** Flexure: how far all traces lie off their places [px]; absent where no fibre shows light. */
  readonly shift?: number;
  readonly fault?: NightFault;
}

/** `night-truth.json`: what a perfect observer of the files would say. */
export interface NightTruth {
  readonly schema: 'night-truth/1';
  readonly mjd: number;
  readonly chips: readonly Chip[];
  readonly rows: number;
  /** Of this call: all exposures, or those that were chosen. */
  readonly exposures: readonly NightExposure[];
}

export interface NightResult {
  readonly truth: NightTruth;
  /** Name of the file of the truth, and of the raw files, relative to `output`. */
  readonly truthFile: string;
  readonly files: readonly string[];
  readonly simulated: number;
  /** Files that were there. */
  readonly skipped: number;
  readonly seconds: number;
}

const KIND_OF: Readonly<Record<NightType, ExposureKind>> = {
  object: 'object',
  dark: 'dark',
  internalflat: 'internalflat',
  domeflat: 'domeflat',
  quartzflat: 'quartzflat',
  une: 'arclamp',
  thar: 'arclamp',
  fpi: 'fpi',
  sky: 'object',
};

function exposuresOf(tele: Telescope, size: NightSize, options: NightOptions): NightExposure[] {
  const { objects = OBJECTS, sky = 0, chips = ['a', 'b', 'c'], mjd = MJD, seed = 1 } = options;
  const types = [...EVENING, ['object', objects] as const, ['sky', sky] as const, ...MORNING].flatMap(([type, count]) =>
    Array.from({ length: count }, () => type),
  );
  const seen = new Map<NightType, number>();
  return types.map((type, i) => {
    const nth = (seen.get(type) ?? 0) + 1;
    seen.set(type, nth);
    // A telescope's fibres stay as the last field left them; before the first object they are those of the night before.
    const group = Math.ceil((seen.get('object') ?? 0) / OBJECTS_PER_CONFIGURATION);
    const base = tele === 'apo' ? 1000 : 2000;
    const pointing = { design: 110 * base + group, configuration: 5 * base + group, field: 50 * base + group };
    const rule = FAULTS.find(
      (one) =>
        one.tele === tele &&
        one.type === type &&
        one.nth === nth &&
        (one.chip === undefined || chips.includes(one.chip)),
    );
    const { kind, chip, what } = rule ?? {};
    const light = rule?.light ?? type;
    const hasFibres = light !== 'dark' && light !== 'internalflat';
    return {
      tele,
      exposure: i + 1,
      kind: kind === 'missing' ? 'missing' : KIND_OF[type],
      claim: type,
      light,
      reads: options.reads?.[type] ?? size.reads[type],
      pointing,
      ...(hasFibres && { shift: flexureOf(i + 1, sceneSeed({ tele, seed, mjd, exposure: i + 1 }), ALL_EFFECTS).shift }),
      ...(kind && what && { fault: { kind, what, ...(chip && { chip }) } }),
    };
  });
}

/**
 * The exposures of a night, in order, without making any.
 * @throws UsageError for an option
 */
export function planNight(options: Omit<NightOptions, 'output'>): NightTruth {
  const { size: name = 'demo', tele = ['apo', 'lco'], chips = ['a', 'b', 'c'], mjd = MJD } = options;
  const { objects = OBJECTS, sky = 0 } = options;
  const size: NightSize | undefined = SIZES[name];
  if (size === undefined)
    throw new UsageError(`expected the size to be one of ${NIGHT_SIZES.join(', ')}, received "${name}"`);
  if (tele.length === 0 || chips.length === 0) throw new UsageError('expected at least one telescope and one chip');
  if (!Number.isSafeInteger(objects) || objects < 0 || objects > MOST_OBJECTS)
    throw new UsageError(`expected 0 to ${MOST_OBJECTS} objects, received ${objects}`);
  if (!Number.isSafeInteger(sky) || sky < 0 || sky > MOST_SKY)
    throw new UsageError(`expected 0 to ${MOST_SKY} fields without stars, received ${sky}`);
  const all = tele.flatMap((one) => exposuresOf(one, size, { ...options, output: '' }));
  const last = Math.max(...all.map(({ exposure }) => exposure));
  const outside = options.exposures?.find((number) => !Number.isSafeInteger(number) || number < 1 || number > last);
  if (outside !== undefined) throw new UsageError(`expected exposures of 1 to ${last}, received ${outside}`);
  return {
    schema: 'night-truth/1',
    mjd,
    chips,
    rows: options.rows ?? size.rows,
    exposures: all.filter(({ exposure }) => options.exposures?.includes(exposure) ?? true),
  };
}

/**
 * Simulates a night into RAW/TELE/MJD, the exact calibrations of each detector into RAW/calib, and writes
 * RAW/night-truth.json. What is there by its manifest is not made again.
 * @throws UsageError for an option, StorageError when the disk fails
 */
export async function simulateNight(options: NightOptions): Promise<NightResult> {
  const began = performance.now();
  const truth = planNight(options);
  const { level } = SIZES[options.size ?? 'demo'];
  const store = await openStore(options.output);
  await store.writeJson('night-truth.json', truth);
  const wanted = truth.exposures.filter(({ kind }) => kind !== 'missing');
  const total = wanted.length * truth.chips.length;
  const detectors = new Set<string>();
  const files: string[] = [];
  let simulated = 0;
  for (const one of wanted) {
    for (const chip of truth.chips) {
      if (options.signal?.aborted === true) break;
      options.onProgress?.(files.length, total, `${one.tele} ${one.exposure} ${one.claim}, chip ${chip}`);
      const detector = `${one.tele} ${chip}`;
      const made = await simulateIfMissing(exposureOptions(one, chip, truth, level, options, !detectors.has(detector)));
      detectors.add(detector);
      files.push(made.raw);
      if (made.seconds > 0) simulated++;
    }
  }
  options.onProgress?.(files.length, total, 'simulated');
  return {
    truth,
    truthFile: 'night-truth.json',
    files,
    simulated,
    skipped: files.length - simulated,
    seconds: (performance.now() - began) / 1000,
  };
}

function exposureOptions(
  { tele, exposure, claim, light, reads, pointing, fault }: NightExposure,
  chip: Chip,
  { mjd, rows }: NightTruth,
  level: number,
  { output, seed, detectorSeed, threads, truth = false }: NightOptions,
  calibrations: boolean,
): SimulateOptions {
  return {
    tele,
    chip,
    mjd,
    exposure,
    type: light,
    claim,
    reads,
    rows,
    pointing,
    ...(light === 'internalflat' && { level }),
    ...(fault?.kind === 'truncated' && fault.chip === chip && { cutAtRead: Math.ceil(reads / 2) }),
    ...(seed !== undefined && { seed }),
    ...(detectorSeed !== undefined && { detectorSeed }),
    ...(threads !== undefined && { threads }),
    output,
    folder: `${tele}/${mjd}`,
    truth: truth && 'spectra',
    calibrations,
  };
}
