/** The runner of the step from reads to rates: skip what is done, reduce, write; one exposure of one chip is one task. */
import { availableParallelism, freemem } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { loadRampCalibrations } from '../calib/ramp.js';
import { loadRateCalibrations } from '../calib/rates.js';
import type { OnlyThese, ResolveOptions } from '../calib/registry.js';
import type { Frame } from '../calib/select.js';
import { packageRoot } from '../core/addon.js';
import { BugError, InputError, RetriableError, UsageError } from '../core/errors.js';
import { DQ } from '../core/generated/dq.js';
import type { Identity } from '../core/product.js';
import { didYouMean } from '../core/suggest.js';
import { mjdFromIso } from '../core/time.js';
import { version } from '../core/version.js';
import { checkParams, kernelNamed, openPool, runKernel } from '../engine/index.js';
import { encodeFits, type FitsFile, type FitsLimits, openFits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import {
  CALIBRATE_KERNELS,
  CALIBRATE_SCHEMA,
  type CalibrateSteps,
  calibrateSteps,
  type EarlierExposure,
  expectedPersistence,
} from '../stages/calibrate/index.js';
import { BAD_BITS, levelOf } from '../stages/measure.js';
import { rampChainDescription } from '../stages/ramp/chain.js';
import {
  chooseReads,
  type ProductName,
  type RampImages,
  type RampLayout,
  rampLayout,
  readSeconds,
  reduceRamp,
} from '../stages/ramp/index.js';
import { type RampOptions, rampOptions } from '../stages/ramp/options.js';
import { RAMP_SCHEMA, rampParameters, rampProduct } from '../stages/ramp/product.js';
import { hashFile, openStore, type ProductRecord, productKey, type Source, type Store } from '../store/index.js';
import { type Choice, chooseCalibrations, type Needs } from './choose.js';
import { readEarlier } from './earlier.js';
import { type Failure, toFailure } from './failure.js';
import { frameOfFile } from './frame.js';
import type { NightOptions } from './job.js';
import { type RawFile, selectRawFiles } from './select.js';

/** What a reduction of one exposure is told; small enough to be sent to a worker. */
export interface RampTask {
  readonly path: string;
  readonly identity: Identity;
  readonly output: string;
  /** Name of the product in `output`; default: the instrument's, at the top. */
  readonly product?: string | undefined;
  /** Why this file is reduced, for PROVENANCE. */
  readonly why?: string | undefined;
  readonly options: Partial<RampOptions>;
  /** Directory of calibrations, or several that are asked together. */
  readonly calib?: string | readonly string[] | undefined;
  readonly pin?: string | undefined;
  /** Take the instrument's figures where no gain, read noise or saturation is chosen, although there are directories. */
  readonly figures?: boolean | undefined;
  /** Of one of those directories these files alone are candidates. */
  readonly only?: OnlyThese | undefined;
  readonly calibrate: boolean;
  readonly previous: readonly string[];
  readonly verify: boolean;
  readonly force: boolean;
  readonly diagnostics: boolean;
  readonly limits: Partial<FitsLimits>;
  /** [cancel, rows done] on shared memory. */
  readonly control: Int32Array;
}

export interface RampOutcome {
  readonly file: string;
  readonly status: 'done' | 'skipped' | 'failed' | 'cancelled';
  /** Path of the product, where there is one. */
  readonly product?: string | undefined;
  /** Its key, as its manifest has it. */
  readonly key?: string | undefined;
  readonly seconds: number;
  readonly summary?: RampSummary | undefined;
  /** Seconds of each step, summed over threads. */
  readonly timings?: readonly { readonly name: string; readonly seconds: number }[] | undefined;
  readonly warnings?: readonly string[] | undefined;
  readonly failure?: Failure | undefined;
}

export interface RampSummary {
  readonly method: 'fit' | 'dcs';
  readonly reads: number;
  readonly readsUsed: number;
  /** Pixels with at least one difference dropped as a jump. */
  readonly jumps: number;
  /** Pixels that saturate, before the first usable read or later. */
  readonly saturated: number;
  readonly noData: number;
  /** Pixels without a valid calibration. */
  readonly noCalibration: number;
  /** Medians of good pixels of a sample of rows: rate and its error, in the unit of the product; left out where none is good. */
  readonly level?: number | undefined;
  readonly error?: number | undefined;
  /** Median chi2 over the degrees of freedom of a pixel that used all reads; left out where there are none. */
  readonly chi2?: number | undefined;
  /** Median over the reads of the side columns [DN]. */
  readonly zeroPoint?: number | undefined;
}

export interface RampRequest {
  /** Raw files, directories with raw files, `@list` files. */
  readonly files: readonly string[];
  /** Directory of the products. */
  readonly output: string;
  readonly options?: Partial<RampOptions>;
  /** Directory of calibrations; without it the instrument's figures are used. */
  readonly calib?: string | undefined;
  /** Name of a frozen set of that directory, to take exactly that. */
  readonly pin?: string | undefined;
  /** Also subtract the dark and divide by the flat: products are 2dcal. Needs `calib`. */
  readonly calibrate?: boolean;
  /** 2-D products of exposures before, whose light may persist. Needs `calibrate`. */
  readonly previous?: readonly string[];
  /** Whether checksums of the raw files are verified; default true. */
  readonly verify?: boolean;
  /** Do again what is done. */
  readonly force?: boolean;
  /** Also write the images NJUMPS and LASTGOOD. */
  readonly diagnostics?: boolean;
  /** Exposures at once. Default: cores, as far as memory goes, when there are several files. */
  readonly jobs?: number | undefined;
  /** Native threads for one exposure. Default: all cores shared between the jobs. */
  readonly threads?: number | undefined;
  readonly limits?: Partial<FitsLimits>;
  /** Ends the run in order: what is written is whole, what is not begun is left. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((rowsDone: number, rowsTotal: number, label: string) => void) | undefined;
  readonly onOutcome?: ((outcome: RampOutcome) => void) | undefined;
}

/** What one exposure may take [bytes]: the cube of 47 reads, decoders and images; half of it with --low-memory. */
const TASK_BYTES = 2 ** 30;
const PROGRESS_MS = 100;

/** Every kernel that the chain may run. Which of them do follows from parameters and calibrations, which the key has too. */
function kernelsOf(calibrate: boolean): Record<string, string> {
  const chain = rampChainDescription().steps.map(({ kernel }) => kernel);
  const names = [...new Set([...chain, ...(calibrate ? CALIBRATE_KERNELS : [])])];
  return Object.fromEntries(names.map((name) => [name, `${kernelNamed(name).version}+${kernelNamed(name).hash}`]));
}

/** Kernels that take parameters from the user. */
function kernelChoices(calibrate: boolean): string[] {
  const chain = rampChainDescription().steps.map(({ kernel }) => kernel);
  return [...new Set([...chain, ...(calibrate ? ['calibrate-rates'] : [])])];
}

/**
 * Checks names of kernels and their parameters before anything runs.
 * @throws UsageError with the nearest name
 */
function checkChoices(options: RampOptions, calibrate: boolean): void {
  const known = kernelChoices(calibrate);
  for (const name of [...options.off, ...Object.keys(options.params)]) {
    if (!known.includes(name)) throw new UsageError(`the ramp chain has no kernel "${name}"${didYouMean(name, known)}`);
  }
  for (const [name, params] of Object.entries(options.params)) checkParams(kernelNamed(name), params);
}

const WANTED: Readonly<Record<RampOptions['reset'], readonly string[]>> = {
  drop: [],
  exponential: ['resetanomaly'],
  'first-read': ['firstread'],
};

/** Kinds for which the instrument has a figure where no calibration is chosen. */
const FIGURES: readonly string[] = ['gain', 'readnoise', 'saturation'];

/** Kinds of calibrations that a reduction takes. */
function needsOf(
  { calib, figures, calibrate, previous }: Pick<RampTask, 'calib' | 'figures' | 'calibrate' | 'previous'>,
  { reset }: RampOptions,
): Needs {
  const detector = calib === undefined || calib.length === 0 || figures === true ? [] : FIGURES;
  return {
    required: [
      ...detector,
      ...WANTED[reset],
      ...(calibrate ? ['dark', 'flat'] : []),
      ...(previous.length > 0 ? ['persistence'] : []),
    ],
    optional: ['linearity', 'oneoverf', ...(figures === true ? FIGURES : [])],
  };
}

/** Rows between those that are looked at for medians: 128 of 2048 rows tell them within a percent of the scatter. */
const SAMPLE_ROWS = 16;
/** Columns of the zero table, the side columns first. */
const ZERO_COLUMNS = 6;

async function levels({ images, readsUsed, zero }: Awaited<ReturnType<typeof reduceRamp>>) {
  const { rows, cols, dq } = images;
  const region = { row: 0, rows: Math.ceil(rows / SAMPLE_ROWS), x: 0, cols };
  const median = async (image: Float32Array): Promise<number | undefined> => {
    const found = (await levelOf(image, dq, SAMPLE_ROWS * cols, region, BAD_BITS)).median;
    return Number.isFinite(found) ? found : undefined;
  };
  const freedom = readsUsed - 2;
  const chi2 = freedom > 0 ? await median(images.chi2) : undefined;
  const sides = Array.from({ length: readsUsed }, (_, read) => zero[read * ZERO_COLUMNS] ?? Number.NaN)
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  return {
    level: await median(images.rate),
    error: await median(images.error),
    chi2: chi2 === undefined ? undefined : chi2 / freedom,
    zeroPoint: sides[sides.length >> 1],
  };
}

async function summarise(result: Awaited<ReturnType<typeof reduceRamp>>): Promise<RampSummary> {
  const { rows, cols, dq } = result.images;
  const bits = 32;
  const counts = new Int32Array(rows * bits);
  await runKernel(
    'count-flags',
    { mask: { data: dq, rows, cols }, counts: { data: counts, rows, cols: bits } },
    {},
    { strip: cols },
  );
  const total = (mask: number) => {
    const bit = Math.log2(mask);
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += counts[row * bits + bit]!;
    return sum;
  };
  return {
    ...(await levels(result)),
    method: result.method,
    reads: result.readsTotal,
    readsUsed: result.readsUsed,
    jumps: total(DQ.JUMP) + total(DQ.JUMPS),
    saturated: total(DQ.PARTLY_SATURATED) + total(DQ.SATURATED),
    noData: total(DQ.NO_DATA),
    noCalibration: total(DQ.NO_CALIBRATION),
  };
}

/** Images of this thread's last exposure, which is written: the next one is spared the first touch of their memory. */
let spare: RampImages | undefined;

/** Reduces one exposure and writes its product, or finds it done. Throws what goes wrong. */
export async function reduceAndWrite(task: RampTask, store: Store): Promise<Omit<RampOutcome, 'file' | 'seconds'>> {
  // Before anything else, so that a missing file is told as such, whatever else is wrong.
  const raw = openFits(task.path, { verify: task.verify, limits: task.limits });
  try {
    return await reduceOpened(raw, task, store);
  } finally {
    raw.close();
  }
}

/** Options of the ramp stage that a night takes under `ramp` of its parameters. */
type RampParams = Partial<Pick<RampOptions, 'dropReads' | 'reset' | 'jumps' | 'twoOmit' | 'unit' | 'off'>>;

/** A command line gives a list as one word: 'linearise,find-jumps'. */
function rampParamsOf({ params: { ramp } }: NightOptions): RampParams {
  const off = ramp?.off;
  return { ...ramp, ...(typeof off === 'string' && { off: off.split(',') }) };
}

/** Why a night's raw file is an input. */
export const OF_THE_NIGHT = 'an exposure of the night';

/**
 * What a night tells the reduction of one raw file; threads, memory and control are the executor's and decide no byte.
 * @param calib directories of calibrations, and which files of the night's own
 * @param product its name relative to `output`
 */
export function nightRampTask(
  raw: { readonly path: string; readonly identity: Identity },
  output: string,
  product: string,
  calibrate: boolean,
  options: NightOptions,
  { calib, only }: Pick<RampTask, 'calib' | 'only'>,
): Omit<RampTask, 'control'> {
  const kernels = kernelChoices(calibrate);
  const params = Object.fromEntries(Object.entries(options.params).filter(([name]) => kernels.includes(name)));
  return {
    ...raw,
    output,
    product,
    why: OF_THE_NIGHT,
    options: { ...rampParamsOf(options), params },
    calib,
    pin: options.pin,
    // Of darks and flats the night makes its gains and read noises: their own rates cannot wait for those.
    figures: !calibrate,
    only,
    calibrate,
    previous: [],
    verify: options.verify,
    force: false,
    diagnostics: options.diagnostics,
    limits: {},
  };
}

/** What decides the bytes of a product of this step, but for the hashes of its inputs. */
export interface RampRecipe {
  /** Relative to the output directory. */
  readonly name: string;
  readonly options: RampOptions;
  readonly calibrateParams: Readonly<Record<string, unknown>> | undefined;
  readonly choice: Choice;
  /** Of its manifest: what the key is made of. */
  recordOf(sha256: string, earlier?: readonly Source[]): ProductRecord;
}

/**
 * Chooses what the reduction of one exposure takes, without reading any pixel.
 * @param frame of the raw file, for the choice of calibrations
 * @throws CalibrationError, UsageError, InputError
 */
export async function rampRecipe(
  task: Pick<
    RampTask,
    | 'path'
    | 'identity'
    | 'product'
    | 'why'
    | 'options'
    | 'calib'
    | 'pin'
    | 'figures'
    | 'only'
    | 'calibrate'
    | 'previous'
    | 'diagnostics'
  > &
    Pick<ResolveOptions, 'surveys'>,
  frame: Frame,
): Promise<RampRecipe> {
  const { 'calibrate-rates': calibrateParams, ...params } = task.options.params ?? {};
  const options = rampOptions({ ...task.options, params });
  const choice = await chooseCalibrations(task.calib, apogee, frame, needsOf(task, options), task);
  const chosen = new Set(choice.files.map(({ kind }) => kind));
  const figures = FIGURES.every((kind) => chosen.has(kind)) ? undefined : apogee.defaults(task.identity);
  const shares = choice.files.filter(({ weight }) => weight !== 1);
  return {
    name: task.product ?? apogee.productName(task.calibrate ? '2dcal' : '2d', task.identity),
    options,
    calibrateParams,
    choice,
    recordOf: (sha256, earlier = []) => ({
      schema: task.calibrate ? CALIBRATE_SCHEMA : RAMP_SCHEMA,
      software: `rampline ${version()}`,
      inputs: [
        { name: basename(task.path), sha256, role: 'raw', why: task.why ?? 'named on the command line' },
        ...earlier,
      ],
      calibrations: choice.entries.filter((entry): entry is Source => entry.sha256 !== '' && entry.used !== false),
      parameters: {
        ...rampParameters(options),
        diagnostics: task.diagnostics,
        ...(figures === undefined ? {} : { figures: { ...figures } }),
        ...(shares.length > 0 && { shares: shares.map(({ sha256: of, weight }) => `${weight} of ${of}`) }),
        ...(calibrateParams && { 'calibrate-rates': { ...calibrateParams } as Record<string, number> }),
      },
      kernels: kernelsOf(task.calibrate),
    }),
  };
}

async function reduceOpened(
  raw: FitsFile,
  task: RampTask,
  store: Store,
): Promise<Omit<RampOutcome, 'file' | 'seconds'>> {
  const layout = task.calib === undefined ? undefined : rampLayout(raw);
  const recipe = await rampRecipe(task, frameOfFile(raw, task.identity, apogee));
  const { name, options, choice } = recipe;
  const product = store.pathOf(name);
  const earlier = await Promise.all(task.previous.map((path) => readEarlier(path, task.identity)));
  const recordOf = (sha256: string) =>
    recipe.recordOf(
      sha256,
      earlier.map(({ source }) => source),
    );
  const before = task.force ? undefined : await store.readManifest(name);
  // The hash is needed at once where a product may be done already, else only for the manifest: then it runs beside.
  let hashed = before === undefined ? undefined : await hashFile(task.path);
  if (hashed !== undefined) {
    const key = productKey(recordOf(hashed.sha256));
    if (await store.isDone(name, key)) return { status: 'skipped', product, key };
  }
  const rows = layout?.rows ?? apogee.geometry.rows;
  const calibrations = await loadRampCalibrations(choice.files, apogee, task.identity, rows);
  const steps = task.calibrate
    ? await stepsBehind(task, choice.files, options, recipe.calibrateParams, earlier, layout as RampLayout)
    : undefined;
  const images = spare;
  spare = undefined;
  const [result, hash] = await Promise.all([
    reduceRamp(raw, {
      instrument: apogee,
      identity: task.identity,
      calibrations,
      options,
      control: task.control,
      diagnostics: task.diagnostics,
      images,
      extension: steps,
    }),
    hashed ?? hashFile(task.path),
  ]);
  hashed = hash;
  const record = recordOf(hashed.sha256);
  const provenance = [...record.inputs, ...choice.entries, ...calibrations.figures];
  const as: ProductName | undefined = task.calibrate
    ? {
        prefix: '2dcal',
        stage: 'ramp, calibrate',
        schema: CALIBRATE_SCHEMA,
        cards: [['PERSIST', earlier.length, 'earlier exposures looked at for persistence']],
      }
    : undefined;
  const made = rampProduct(result, apogee, provenance, record.software, task.diagnostics, as);
  const summary = await summarise(result);
  if (Atomics.load(task.control, 0) !== 0) throw new RetriableError('interrupted');
  const hdus = made.hdus.map((hdu) => (hdu.kind === 'table' ? hdu : { ...hdu, overwrite: true }));
  const { key } = await store.writeProduct(name, encodeFits(hdus), record);
  spare = result.images;
  return { status: 'done', product, key, summary, timings: result.report.timings, warnings: result.warnings };
}

/** The steps of 2-D calibration for one exposure. */
async function stepsBehind(
  task: RampTask,
  files: Choice['files'],
  { unit, threads, dropReads, reset }: RampOptions,
  params: Readonly<Record<string, unknown>> | undefined,
  earlier: readonly EarlierExposure[],
  layout: RampLayout,
): Promise<CalibrateSteps> {
  const rates = await loadRateCalibrations(files, apogee, task.identity, layout.rows);
  let expected: Float32Array | undefined;
  if (earlier.length > 0) {
    if (rates.persistence === undefined) throw new BugError('the persistence calibration was not asked for');
    const { first, count } = chooseReads(layout.reads.length, { dropReads, reset });
    const start = layout.reads[first]?.header.string('DATE-OBS', '') ?? '';
    const begin = mjdFromIso(start);
    if (begin === undefined) {
      throw new InputError(`expected DATE-OBS of the first read used, received '${start}'`, { file: task.path });
    }
    const seconds = count * readSeconds(layout, apogee);
    expected = await expectedPersistence(rates.persistence, earlier, begin, seconds, threads);
  }
  return calibrateSteps(rates, { unit, threads, params }, expected);
}

/** The compiled worker: the pool runs plain JavaScript, also when this file runs from its TypeScript source in tests. */
function workerFile(): URL {
  return pathToFileURL(join(packageRoot(), 'build', 'js', 'night', 'worker.js'));
}

/** One task from beginning to end. Never throws: what goes wrong is part of the outcome. */
export async function runRampTask(task: RampTask): Promise<RampOutcome> {
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const cancelled = () => Atomics.load(task.control, 0) !== 0;
  if (cancelled()) return { file: task.path, status: 'cancelled', seconds: 0 };
  try {
    const outcome = await reduceAndWrite(task, await openStore(task.output));
    return { file: task.path, ...outcome, seconds: seconds() };
  } catch (error) {
    if (cancelled()) return { file: task.path, status: 'cancelled', seconds: seconds() };
    const failure = toFailure(error);
    return {
      file: task.path,
      status: 'failed',
      seconds: seconds(),
      failure: { ...failure, file: failure.file ?? task.path },
    };
  }
}

/** Products that two files would both be: one would overwrite the other. */
function refuseCollisions(files: readonly RawFile[], calibrate: boolean): void {
  const byProduct = new Map<string, string>();
  for (const { path, identity } of files) {
    const name = apogee.productName(calibrate ? '2dcal' : '2d', identity);
    const other = byProduct.get(name);
    if (other !== undefined) throw new UsageError(`${path} and ${other} would both become ${name}`);
    byProduct.set(name, path);
  }
}

/**
 * Exposures of one worker from which on a cube of reads pays. The first touch of its 380 MB costs 0.4 to 1 s of CPU, once;
 * decoding twice instead costs 0.2 s for each exposure.
 */
const CUBE_PAYS_FROM = 4;

/** Whether to decode twice rather than keep a cube, where the user has not said it; the bytes are the same. */
export function preferLowMemory(files: number, jobs: number): boolean {
  return files < CUBE_PAYS_FROM * jobs;
}

/** How many exposures at once, and threads for each. */
export function shareCores(
  files: number,
  wanted: { readonly jobs?: number | undefined; readonly threads?: number | undefined; readonly lowMemory: boolean },
  machine = { cores: availableParallelism(), freeBytes: freemem() },
): { readonly jobs: number; readonly threads: number } {
  const fits = Math.max(1, Math.floor(machine.freeBytes / (TASK_BYTES / (wanted.lowMemory ? 2 : 1))));
  const jobs = Math.max(1, Math.min(files, wanted.jobs ?? Math.min(machine.cores, fits)));
  return { jobs, threads: wanted.threads ?? Math.max(1, Math.floor(machine.cores / jobs)) };
}

/**
 * Reduces raw exposures to 2-D products in `output`. A product that is done (its manifest carries the hash of the same
 * input, calibrations, parameters and kernels) is skipped. One failing file does not stop the others; outcomes are in the
 * order of the files.
 * @throws UsageError, InputError for what is wrong before any file is begun
 */
export async function ramp(request: RampRequest): Promise<RampOutcome[]> {
  const options = rampOptions(request.options);
  const { calib, calibrate = false, previous = [] } = request;
  checkChoices(options, calibrate);
  if (calibrate && calib === undefined) {
    throw new UsageError('2-D calibration needs a directory of calibrations: --calib DIR');
  }
  if (previous.length > 0 && !calibrate) throw new UsageError('earlier exposures matter to 2-D calibration only');
  const files = selectRawFiles(request.files, apogee);
  if (files.length === 0) throw new UsageError('expected at least one raw file');
  refuseCollisions(files, calibrate);
  const { jobs, threads } = shareCores(files.length, { ...request, lowMemory: options.lowMemory });
  const lowMemory = request.options?.lowMemory ?? preferLowMemory(files.length, jobs);
  const tasks = files.map(
    ({ path, identity }): RampTask => ({
      path,
      identity,
      output: resolve(request.output),
      options: { ...options, threads, lowMemory },
      calib,
      pin: request.pin,
      calibrate,
      previous,
      verify: request.verify ?? true,
      force: request.force ?? false,
      diagnostics: request.diagnostics ?? false,
      limits: request.limits ?? {},
      control: new Int32Array(new SharedArrayBuffer(8)),
    }),
  );
  const cancel = () => {
    for (const { control } of tasks) Atomics.store(control, 0, 1);
  };
  request.signal?.addEventListener('abort', cancel);
  if (request.signal?.aborted === true) cancel();
  const done: RampOutcome[] = [];
  const finish = (outcome: RampOutcome): RampOutcome => {
    done.push(outcome);
    request.onOutcome?.(outcome);
    return outcome;
  };
  const { rows } = apogee.geometry;
  const report = () => {
    const begun = tasks.reduce((sum, { control }) => sum + Math.min(Atomics.load(control, 1), 2 * rows) / 2, 0);
    const label = `${done.length} of ${tasks.length} exposures`;
    request.onProgress?.(Math.max(begun, done.length * rows), tasks.length * rows, label);
  };
  const timer = request.onProgress === undefined ? undefined : setInterval(report, PROGRESS_MS);
  try {
    // Detector by detector, as a worker holds the calibrations of one.
    const detector = ({ identity: { tele, chip } }: RampTask) => `${tele} ${chip}`;
    const ordered = tasks.toSorted((a, b) => (detector(a) < detector(b) ? -1 : detector(a) > detector(b) ? 1 : 0));
    const outcomes = new Map<RampTask, RampOutcome>();
    if (jobs === 1) {
      for (const task of ordered) outcomes.set(task, finish(await runRampTask(task)));
      return tasks.map((task) => outcomes.get(task)!);
    }
    const pool = await openPool<RampTask, RampOutcome>(workerFile(), jobs);
    try {
      await Promise.all(ordered.map(async (task) => outcomes.set(task, finish(await pool.run(task)))));
      return tasks.map((task) => outcomes.get(task)!);
    } finally {
      cancel(); // after an error of the pool itself: no task may go on unseen
      await pool.close();
    }
  } finally {
    if (timer !== undefined) clearInterval(timer);
    request.signal?.removeEventListener('abort', cancel);
  }
}

/** Removes temporary files of this process from the output directory, after an interrupt. */
export async function sweepOwn(output: string): Promise<void> {
  await (await openStore(join(output))).sweep('', true);
}
