/**
 * 3D to 2D: an up-the-ramp exposure of one chip to rate, error and quality images.
 *
 * Product in, product out: the stage opens one raw file, takes calibrations, runs the chain of chain.json in one native
 * call, and hands back what is to be written. It writes nothing itself.
 */
import type { CalibrationMap } from '../../calib/load.js';
import type { RampCalibrations } from '../../calib/ramp.js';
import { AlgorithmError, UsageError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import type { Identity, Instrument } from '../../core/product.js';
import { mjdFromIso } from '../../core/time.js';
import {
  type BoundArray,
  type Chain,
  type ChainReport,
  kernelNamed,
  runChain,
  runKernel,
  sharedF32,
  sharedLarge,
} from '../../engine/index.js';
import type { FitsFile, ReadOptions } from '../../fits/index.js';
import { rampChain, writes } from './chain.js';
import type { ExtensionFacts, RampExtension } from './extension.js';
import type { RampLayout } from './layout.js';
import type { RampOptions } from './options.js';
import { readSeconds, withRamp } from './source.js';

/** Exposures of at most this many reads are reduced by correlated double sampling (upstream's "dcs"). */
const DCS_READS = 5;
const NOMINAL_DROPPED_FOR_DCS = 1;

/** Times of an exposure, TAI as MJD. */
export interface RampTimes {
  /** Start of the first used read and of the last, from their DATE-OBS. */
  readonly first: number | undefined;
  readonly last: number | undefined;
  /** Middle of the reads used: t_first + INTOFF/2 + (t_last - t_first)/2. */
  readonly middle: number | undefined;
  /** The header's own: start plus half of EXPTIME. */
  readonly headerMiddle: number | undefined;
  readonly readSeconds: number;
}

export interface RampImages {
  readonly rows: number;
  readonly cols: number;
  readonly rate: Float32Array;
  readonly error: Float32Array;
  readonly chi2: Float32Array;
  readonly dq: Uint32Array;
  readonly goodDiffs: Uint16Array;
  readonly jumps: Uint16Array | undefined;
  /** Reads before saturation, of the reads used. */
  readonly lastGood: Uint16Array | undefined;
}

export interface RampResult {
  readonly identity: Identity;
  readonly method: 'fit' | 'dcs';
  readonly images: RampImages;
  /** Zero points of each used read: [read][6] as measure-zero-point's port `zero` says. */
  readonly zero: Float32Array;
  readonly readsTotal: number;
  readonly firstRead: number;
  readonly readsUsed: number;
  readonly times: RampTimes;
  /** Kernels that ran, name to "version+hash". */
  readonly kernels: Readonly<Record<string, string>>;
  readonly options: RampOptions;
  readonly report: ChainReport;
  readonly header: FitsFile['hdus'][number]['header'];
  readonly warnings: readonly string[];
}

export interface RampContext {
  readonly instrument: Instrument;
  readonly identity: Identity;
  readonly calibrations: RampCalibrations;
  readonly options: RampOptions;
  readonly fits?: ReadOptions;
  /** [cancel, rows done] on a SharedArrayBuffer. */
  readonly control?: Int32Array;
  /** Whether the images `jumps` and `lastGood` are kept; default true. DQ says what came of them in any case. */
  readonly diagnostics?: boolean;
  /** Images of an earlier result that nobody needs any more: their memory is used again if the size fits. */
  readonly images?: RampImages | undefined;
  /** Steps of another stage behind the fit; see RampExtension. */
  readonly extension?: RampExtension | undefined;
}

/** What an exposure is, beside its pixels. */
export interface RampFacts extends ExtensionFacts {
  readonly identity: Identity;
  readonly readsTotal: number;
  readonly times: RampTimes;
  /** Kernels that ran, name to "version+hash". */
  readonly kernels: Readonly<Record<string, string>>;
  readonly header: FitsFile['hdus'][number]['header'];
  readonly report: ChainReport;
  readonly warnings: readonly string[];
}

/** Which reads are used, and how. */
export function chooseReads(
  total: number,
  options: Pick<RampOptions, 'dropReads' | 'reset'>,
): { readonly method: 'fit' | 'dcs'; readonly first: number; readonly count: number } {
  if (total < 2) {
    throw new AlgorithmError(`a rate needs at least 2 reads, the exposure has ${total}`);
  }
  const method = total <= DCS_READS ? 'dcs' : 'fit';
  let first = options.reset === 'drop' ? options.dropReads : 0;
  // Short exposures cannot spare two reads: upstream drops one (firstind 2 for dcs), and none of two.
  if (method === 'dcs') first = Math.min(first, total === 2 ? 0 : NOMINAL_DROPPED_FOR_DCS);
  if (total - first < 2) {
    throw new UsageError(`dropping ${first} of ${total} reads leaves no difference`);
  }
  return { method, first, count: total - first };
}

/**
 * Reduces one exposure of one chip.
 * @param raw path of the raw file, or the file where its headers have been read already; it is closed in any case
 * @throws InputError for a file that is no exposure or is damaged, AlgorithmError where no rate can be had,
 *   CalibrationError, UsageError
 */
export async function reduceRamp(raw: string | FitsFile, context: RampContext): Promise<RampResult> {
  let images: RampImages | undefined;
  const { method, zero, ...facts } = await runRamp(raw, context, context.extension, (layout) => {
    images = makeImages(layout.rows, context.instrument, context.diagnostics ?? true, context.images);
    return images;
  });
  return {
    ...facts,
    method,
    images: images as RampImages,
    zero,
    readsUsed: facts.reads,
    options: context.options,
  };
}

/**
 * Runs the corrections of the ramp chain on one exposure and an extension in place of the fit. What the extension gathers is
 * in its own arrays. Any number of reads will do.
 * @throws InputError for a file that is no exposure or is damaged, CalibrationError, UsageError
 */
export async function gatherRamp(
  raw: string | FitsFile,
  context: Omit<RampContext, 'images' | 'diagnostics' | 'extension'>,
  extension: RampExtension,
): Promise<RampFacts & Pick<RampResult, 'zero'>> {
  const { method: _, ...facts } = await runRamp(raw, context, extension, () => undefined);
  return facts;
}

async function runRamp(
  raw: string | FitsFile,
  context: RampContext,
  extension: RampExtension | undefined,
  makeOutputs: (layout: RampLayout) => RampImages | undefined,
): Promise<RampFacts & { readonly method: 'fit' | 'dcs'; readonly zero: Float32Array }> {
  const { instrument, options } = context;
  const choose = (reads: number) =>
    extension === undefined || extension.at === 'rates'
      ? chooseReads(reads, options)
      : { method: 'fit' as const, ...readsFrom(reads, options) };
  const firstUsed = (reads: number) => choose(reads).first;
  return withRamp(raw, instrument, context.fits, firstUsed, async ({ file, layout, source, warnings, verify }) => {
    const chosen = choose(layout.reads.length);
    const images = makeOutputs(layout);
    const zero = sharedF32(chosen.count * 6);
    const readVariance = await varianceOf(context.calibrations.readNoise);
    const facts: ExtensionFacts = {
      rows: layout.rows,
      cols: instrument.geometry.cols,
      reads: chosen.count,
      firstRead: chosen.first,
      readSeconds: readSeconds(layout, instrument),
    };
    const chain = buildChain(context, facts, chosen.method, source, images, zero, readVariance, extension);
    if (images !== undefined) {
      // Memory of an earlier exposure still holds what no step writes this time.
      if (!writes(chain, 'jumps')) images.jumps?.fill(0);
      if (!writes(chain, 'lastGood')) images.lastGood?.fill(0);
    }
    const report = await runChain({ ...chain, ...(context.control && { control: context.control }) });
    verify(report);
    return {
      ...facts,
      identity: context.identity,
      method: chosen.method,
      zero,
      readsTotal: layout.reads.length,
      times: timesOf(layout, chosen.first, instrument),
      kernels: Object.fromEntries(chain.steps.map(({ kernel }) => [kernel, versionOf(kernel)])),
      report,
      header: headerOf(file, layout),
      warnings: [...file.warnings, ...warnings],
    };
  });
}

/** The reads that an extension in place of the fit gets: all but those dropped at the start. */
function readsFrom(total: number, options: Pick<RampOptions, 'dropReads' | 'reset'>): { first: number; count: number } {
  const first = options.reset === 'drop' ? options.dropReads : 0;
  if (total - first < 1) throw new AlgorithmError(`dropping ${first} of ${total} reads leaves none`);
  return { first, count: total - first };
}

function versionOf(name: string): string {
  const kernel = kernelNamed(name);
  return `${kernel.version}+${kernel.hash}`;
}

/** The header that describes the exposure: of the primary HDU, or of the first read where that one says nothing. */
function headerOf(file: FitsFile, layout: RampLayout): RampResult['header'] {
  const primary = file.hdu(0).header;
  return primary.has('DATE-OBS') || primary.has('EXPTYPE') ? primary : (layout.reads[0] ?? file.hdu(0)).header;
}

function makeImages(
  rows: number,
  { geometry }: Instrument,
  diagnostics: boolean,
  earlier: RampImages | undefined,
): RampImages {
  const { cols, border } = geometry;
  const fits = earlier?.rows === rows && earlier.cols === cols && (earlier.jumps !== undefined) === diagnostics;
  const images = fits ? earlier : allocateImages(rows, cols, diagnostics);
  const { dq } = images;
  dq.fill(0);
  // The border is geometry, known before any pixel is looked at.
  for (let y = 0; y < rows; y++) {
    const row = dq.subarray(y * cols, (y + 1) * cols);
    if (y < border || y >= rows - border) row.fill(DQ.REFERENCE_PIXEL);
    row.fill(DQ.REFERENCE_PIXEL, 0, border).fill(DQ.REFERENCE_PIXEL, cols - border);
  }
  return images;
}

/** All images in one piece of memory. */
function allocateImages(rows: number, cols: number, diagnostics: boolean): RampImages {
  const n = rows * cols;
  const floats = 3;
  const counts = diagnostics ? 3 : 1;
  const memory = sharedLarge(n * (4 * floats + 4 + 2 * counts));
  const f32 = (k: number) => new Float32Array(memory, 4 * k * n, n);
  const u16 = (k: number) => new Uint16Array(memory, 4 * (floats + 1) * n + 2 * k * n, n);
  return {
    rows,
    cols,
    rate: f32(0),
    error: f32(1),
    chi2: f32(2),
    dq: new Uint32Array(memory, 4 * floats * n, n),
    goodDiffs: u16(0),
    jumps: diagnostics ? u16(1) : undefined,
    lastGood: diagnostics ? u16(2) : undefined,
  };
}

/** Variances by the noise map they were made of: a night uses the same few maps for every exposure. */
const variances = new WeakMap<Float32Array, Float32Array>();

async function varianceOf(noise: CalibrationMap): Promise<CalibrationMap> {
  let squared = variances.get(noise.data);
  if (squared === undefined) {
    squared = new Float32Array(sharedLarge(noise.data.byteLength));
    const cols = noise.data.length;
    await runKernel('square', { value: { data: noise.data, cols }, squared: { data: squared, cols } });
    variances.set(noise.data, squared);
  }
  return { ...noise, data: squared };
}

/** Knots of the 1/f correction along a row, see subtract-one-over-f. */
const ONE_OVER_F_KNOTS = 12;

function buildChain(
  context: RampContext,
  facts: ExtensionFacts,
  method: 'fit' | 'dcs',
  source: NonNullable<Chain['source']>,
  images: RampImages | undefined,
  zero: Float32Array,
  readVariance: CalibrationMap,
  extension: RampExtension | undefined,
): Chain {
  const { options, calibrations, instrument } = context;
  const { rows, cols, reads } = facts;
  const { amplifiers } = instrument.geometry;
  const map = (m: CalibrationMap): BoundArray => ({ data: m.data, rows: m.rows, cols: m.cols, rowStride: m.rowStride });
  const output = (data: BoundArray['data']): BoundArray => ({ data, rows, cols });
  const bound: Record<string, BoundArray> = {
    gain: map(calibrations.gain),
    readVariance: map(readVariance),
    saturation: map(calibrations.saturation),
    offsets: { data: sharedF32(reads * amplifiers), planes: reads, cols: amplifiers },
    zero: { data: zero, planes: reads, cols: zero.length / reads },
    correction: {
      data: sharedF32(reads * rows * ONE_OVER_F_KNOTS),
      planes: reads,
      rows,
      cols: ONE_OVER_F_KNOTS,
      // By rows, as it is used: the knots of all reads of a row lie in a few lines of the cache, not each in a page.
      planeStride: ONE_OVER_F_KNOTS,
      rowStride: reads * ONE_OVER_F_KNOTS,
    },
    ...(images && {
      rate: output(images.rate),
      error: output(images.error),
      chi2: output(images.chi2),
      dq: output(images.dq),
      goodDiffs: output(images.goodDiffs),
      ...(images.jumps && { jumps: output(images.jumps) }),
      ...(images.lastGood && { lastGood: output(images.lastGood) }),
    }),
    ...extension?.arrays(facts),
  };
  if (calibrations.linearity !== undefined) {
    bound.c2 = map(calibrations.linearity.c2);
    bound.c3 = map(calibrations.linearity.c3);
    bound.limit = map(calibrations.linearity.limit);
  }
  if (calibrations.oneOverF !== undefined) {
    bound.weights = { data: calibrations.oneOverF.data, cols: calibrations.oneOverF.data.length };
  }
  const reset = resetTable(options, calibrations, reads);
  if (reset !== undefined) {
    bound.resetAmplitude = map(reset.amplitude);
    bound.resetDecay = { data: reset.decay, planes: reads, planeStride: 1 };
  }
  const units = { unit: options.unit, readTimeSeconds: facts.readSeconds };
  // The likelihood test leaves a weighted fit behind, which is the first of the fit's two iterations; what it starts from
  // is then unbiased to first order, so there is nothing to correct. After the clip, the fit does both itself.
  const fit = options.jumps === 'likelihood' ? { iterations: 1, debias: false } : { iterations: 2, debias: true };
  return rampChain(
    options,
    { method, reads, firstRead: facts.firstRead, rows, cols },
    source,
    bound,
    {
      'latch-saturation': { fraction: calibrations.saturationFraction },
      'find-jumps': { twoOmit: options.twoOmit },
      'fit-ramp': { ...units, ...fit },
      dcs: units,
    },
    extension && {
      at: extension.at,
      steps: typeof extension.steps === 'function' ? extension.steps(facts) : extension.steps,
    },
  );
}

/** What the reset anomaly adds to each read, as amplitude times a table; undefined where reads are dropped instead. */
function resetTable(
  options: RampOptions,
  calibrations: RampCalibrations,
  reads: number,
): { readonly amplitude: CalibrationMap; readonly decay: Float32Array } | undefined {
  if (options.reset === 'exponential' && calibrations.resetAnomaly !== undefined) {
    const { amplitude, tauReads } = calibrations.resetAnomaly;
    return { amplitude, decay: sharedF32(reads).map((_, k) => Math.exp(-k / tauReads)) };
  }
  if (options.reset === 'first-read' && calibrations.firstRead !== undefined) {
    return { amplitude: calibrations.firstRead.offset, decay: sharedF32(reads).map((_, k) => (k === 0 ? 1 : 0)) };
  }
  return undefined;
}

function timesOf(layout: RampLayout, firstUsed: number, instrument: Instrument): RampTimes {
  const start = (hdu: RampLayout['reads'][number] | undefined) => mjdFromIso(hdu?.header.string('DATE-OBS', '') ?? '');
  const first = start(layout.reads[firstUsed]);
  const last = start(layout.reads.at(-1));
  const zeroth = start(layout.reads[0]);
  const seconds = readSeconds(layout, instrument);
  const exposure = layout.reads[0]?.header.number('EXPTIME', undefined);
  const halfRead = seconds / 2 / 86_400;
  return {
    first,
    last,
    middle: first === undefined || last === undefined ? undefined : first + halfRead + (last - first) / 2,
    headerMiddle: zeroth === undefined || exposure === undefined ? undefined : zeroth + exposure / 2 / 86_400,
    readSeconds: seconds,
  };
}
