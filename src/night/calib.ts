/** The runner of calibration builds: raw exposures in, one immutable product for each kind and detector out. */
import { basename } from 'node:path';
import { CALIBRATION_SCHEMA, type CalibrationKind, calibrationCards, type Grade } from '../calib/product.js';
import { dqTable, provenanceTable } from '../calib/provenance.js';
import { loadRampCalibrations } from '../calib/ramp.js';
import type { OnlyThese } from '../calib/registry.js';
import { BugError, InputError, UsageError } from '../core/errors.js';
import type { Instrument } from '../core/product.js';
import { didYouMean } from '../core/suggest.js';
import { version } from '../core/version.js';
import { checkParams, kernelNamed } from '../engine/index.js';
import { type CardInput, encodeFits, type FitsLimits, type HduInput, openFits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { worse } from '../stages/qa/assess.js';
import { thresholdsHash } from '../stages/qa/thresholds.js';
import { rampChainDescription, rampLayout } from '../stages/ramp/index.js';
import { hashFile, openStore, type ProductRecord, productKey, type Source } from '../store/index.js';
import type { BuildInput, BuiltCalibration, CalibrationBuilder } from './builders/builder.js';
import { BUILDERS } from './builders/index.js';
import { kindsOf } from './builders/kinds.js';
import { type Choice, chooseCalibrations } from './choose.js';
import { frameOf } from './frame.js';
import { assessBuilt, hasQa, writeQa } from './qa.js';
import { type RawFile, selectRawFiles } from './select.js';

export interface BuildRequest {
  /** Which: a word of BUILDERS. */
  readonly word: string;
  /** Of which the files are; default APOGEE. */
  readonly instrument?: Instrument | undefined;
  /** Raw exposures: files, directories or @lists. */
  readonly files: readonly string[];
  /** Directory of the calibrations: what `ramp --calib` is given. */
  readonly output: string;
  /** Directories of calibrations that the ramp chain takes while building; without any the instrument's figures. */
  readonly calib?: string | readonly string[] | undefined;
  /**
   * Of one of those directories these files alone are candidates; what else lies in `output` then decides nothing of the product.
   */
  readonly only?: OnlyThese | undefined;
  /** Parameters of kernels, and of the builder under its word. */
  readonly params?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Window in which the product may be used, MJD. Default: from the night of its first exposure on, with an open end. */
  readonly validFrom?: number | 'open' | undefined;
  readonly validTo?: number | undefined;
  readonly threads?: number | undefined;
  /** Do again what is done. */
  readonly force?: boolean;
  readonly limits?: Partial<FitsLimits>;
  /** [cancel, rows done] on shared memory. */
  readonly control?: Int32Array | undefined;
  readonly onProgress?: ((done: number, total: number, label: string) => void) | undefined;
}

export interface BuildOutcome {
  readonly kind: string;
  readonly tele: string;
  readonly chip: string;
  readonly inputs: number;
  readonly file: string;
  readonly status: 'done' | 'skipped';
  readonly grade?: Grade;
  readonly remarks?: readonly string[];
  readonly facts?: BuiltCalibration['facts'];
  /** Seconds of each step, summed over threads; told once, with the first product of a detector. */
  readonly timings?: readonly { readonly name: string; readonly seconds: number }[];
}

/**
 * The builder of that word.
 * @throws UsageError with the nearest word
 */
export function builderOf(word: string): CalibrationBuilder {
  const builder = BUILDERS.find((one) => one.word === word);
  if (builder !== undefined) return builder;
  const words = BUILDERS.map((one) => one.word);
  throw new UsageError(
    `no calibration "${word}" can be built${didYouMean(word, words) || `; there are ${words.join(', ')}`}`,
  );
}

/** Files of each detector, by time. Images of one array are one detector's: of which region they are, the builder compares. */
function byDetector(files: readonly RawFile[], { readout }: Instrument): RawFile[][] {
  const detectors = new Map<string, RawFile[]>();
  for (const file of files) {
    const name = readout === 'image' ? file.identity.tele : `${file.identity.tele}-${file.identity.chip}`;
    detectors.set(name, [...(detectors.get(name) ?? []), file]);
  }
  const time = ({ identity }: RawFile) => identity.mjd * 10_000 + identity.exposure;
  return [...detectors.values()].map((list) => list.sort((a, b) => time(a) - time(b)));
}

/** sha256 of a file. */
export type Hasher = (path: string) => Promise<string>;

const sha256Of: Hasher = async (path) => (await hashFile(path)).sha256;

/** Hashes inputs; the same bytes under two names would count twice, so they are refused. */
async function hashed(
  files: readonly RawFile[],
  role: string,
  instrument: Instrument,
  limits: Partial<FitsLimits>,
  hash: Hasher,
): Promise<BuildInput[]> {
  const seen = new Map<string, string>();
  const inputs: BuildInput[] = [];
  for (const { path, identity } of files) {
    const sha256 = await hash(path);
    const other = seen.get(sha256);
    if (other !== undefined)
      throw new InputError(`the same bytes as ${other}: an exposure counts once`, { file: path });
    seen.set(sha256, path);
    const frame = frameOf(path, instrument, limits);
    const { serial } = inputs[0]?.frame ?? frame;
    if (frame.serial !== serial) {
      throw new InputError(
        `expected a file of the detector '${serial ?? ''}' as ${inputs[0]?.source.name}, received '${frame.serial ?? ''}'`,
        { file: path },
      );
    }
    inputs.push({ path, identity, frame, source: { name: basename(path), sha256, role, why: 'named by the user' } });
  }
  return inputs;
}

/** The night of the first input [MJD], or its time if that is before it. */
function nightOf(inputs: readonly BuildInput[]): number {
  return Math.min(...inputs.map(({ identity, frame }) => Math.min(identity.mjd, frame.mjd)));
}

/** Begin of the first input and of the last [MJD]. */
function spanOf(inputs: readonly BuildInput[]): { readonly from: number; readonly to: number } {
  const times = inputs.map(({ frame }) => frame.mjd);
  return { from: Math.min(...times), to: Math.max(...times) };
}

const NOTHING: Choice & { readonly rows?: number } = { files: [], entries: [] };

/** What the directory of calibrations has for the reads of the first exposure; nothing of it is required. */
async function chosenFor(
  { path, frame }: BuildInput,
  { calib, only, limits = {} }: BuildRequest,
  instrument: Instrument,
  builder: CalibrationBuilder,
): Promise<Choice & { readonly rows?: number }> {
  const needs = { required: [], optional: kindsOf(builder) };
  const choice = await chooseCalibrations(calib, instrument, frame, needs, { only });
  if (instrument.readout === 'image') return choice;
  const file = openFits(path, { limits });
  try {
    const layout = rampLayout(file);
    return { ...choice, rows: layout.rows };
  } finally {
    file.close();
  }
}

/** Shares of less than this are told together. */
const SMALL_SHARE = 0.01;

/** What took how much of the time, the largest first: '12.3 s in all threads: decode 70 %, fit-ramp 12 %, ...'. */
function sharesOf(seconds: Readonly<Record<string, number>>): string {
  const total = Object.values(seconds).reduce((sum, s) => sum + s, 0);
  const percent = (s: number) => `${((100 * s) / total).toFixed(1)} %`;
  const parts = Object.entries(seconds).sort(([, a], [, b]) => b - a);
  const large = parts.filter(([, s]) => s >= SMALL_SHARE * total);
  const rest = parts.slice(large.length).reduce((sum, [, s]) => sum + s, 0);
  const told = [...large.map(([name, s]) => `${name} ${percent(s)}`), `others ${percent(rest)}`];
  return `${total.toFixed(1)} s in all threads: ${told.join(', ')}`;
}

/** A request whose words were checked. */
interface CheckedRequest {
  readonly request: BuildRequest;
  readonly builder: CalibrationBuilder;
  readonly instrument: Instrument;
  /** Of the builder, defaults filled in. */
  readonly values: Readonly<Record<string, number>>;
  readonly kernelParams: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly kernels: Readonly<Record<string, string>>;
}

function checked(request: BuildRequest): CheckedRequest {
  const builder = builderOf(request.word);
  const { instrument = apogee } = request;
  const ramps = instrument.readout === 'ramp';
  if (!ramps && builder.imageKernels === undefined) {
    throw new UsageError(`${builder.word} is built from reads up the ramp; ${instrument.name} takes single images`);
  }
  const { [builder.word]: own = {}, ...kernelParams } = request.params ?? {};
  const values = checkParams({ name: builder.word, params: builder.params }, own);
  for (const [name, params] of Object.entries(kernelParams)) checkParams(kernelNamed(name), params);
  const chain = builder.rampChain ? rampChainDescription().steps.map((step) => step.kernel) : [];
  const names = ramps ? [...new Set([...chain, ...builder.kernels])] : (builder.imageKernels ?? []);
  const kernels = Object.fromEntries(
    names.map((name) => [name, `${kernelNamed(name).version}+${kernelNamed(name).hash}`]),
  );
  return { request, builder, instrument, values, kernelParams, kernels };
}

/** What a build makes for one detector, known before any pixel is read. */
interface Recipe {
  readonly inputs: readonly BuildInput[];
  readonly choice: Choice & { readonly rows?: number };
  readonly validFrom: number | undefined;
  readonly products: readonly {
    readonly kind: CalibrationKind;
    /** Relative to the output directory. */
    readonly name: string;
    readonly key: string;
    readonly record: ProductRecord;
  }[];
}

async function recipeOf(
  { request, builder, instrument, values, kernelParams, kernels }: CheckedRequest,
  detector: readonly RawFile[],
  hash: Hasher,
): Promise<Recipe> {
  const { validTo, limits = {} } = request;
  const inputs = await hashed(detector, builder.role, instrument, limits, hash);
  const validFrom = request.validFrom === 'open' ? undefined : (request.validFrom ?? nightOf(inputs));
  if (validFrom !== undefined && validTo !== undefined && validFrom >= validTo) {
    throw new UsageError(`expected the window to begin before it ends, received ${validFrom} to ${validTo}`);
  }
  const choice = builder.rampChain ? await chosenFor(inputs[0] as BuildInput, request, instrument, builder) : NOTHING;
  const record = (kind: CalibrationKind): ProductRecord => ({
    schema: `${CALIBRATION_SCHEMA} ${kind}`,
    software: `rampline ${version()}`,
    inputs: inputs.map(({ source }) => source),
    calibrations: choice.entries.filter((entry): entry is Source => entry.sha256 !== '' && entry.used !== false),
    parameters: {
      ...values,
      kernels: kernelParams as Record<string, Record<string, number>>,
      // The grade is part of the product, and these decide it.
      limits: thresholdsHash(),
      ...(validFrom !== undefined && { validFrom }),
      ...(validTo !== undefined && { validTo }),
    },
    kernels,
  });
  const { tele, chip, mjd } = (inputs.at(-1) as BuildInput).identity;
  const products = builder.kinds.map((kind) => {
    const about = record(kind);
    const key = productKey(about);
    return { kind, key, record: about, name: `${kind}-${tele}-${chip}-${mjd}-${key.slice(0, 8)}.fits` };
  });
  return { inputs, choice, validFrom, products };
}

/**
 * What a build would write for the one detector of its files: names relative to its output, and records of the manifests.
 * @param hash of a file, where a caller knows some
 * @throws as buildCalibration, for what is wrong before any pixel is read
 */
export async function buildRecipe(request: BuildRequest, hash: Hasher = sha256Of): Promise<Recipe['products']> {
  const check = checked(request);
  const files = selectRawFiles(request.files, check.instrument);
  const [detector, ...more] = byDetector(files, check.instrument);
  if (detector === undefined || more.length > 0) throw new BugError('expected files of one detector');
  return (await recipeOf(check, detector, hash)).products;
}

/**
 * Builds calibrations of one kind, for each detector among the inputs. What is done (the same inputs, parameters,
 * calibrations and kernels) is skipped.
 * @throws InputError, AlgorithmError, CalibrationError, StorageError, UsageError
 */
export async function buildCalibration(request: BuildRequest): Promise<BuildOutcome[]> {
  const check = checked(request);
  const { builder, instrument, values, kernelParams, kernels } = check;
  const ramps = instrument.readout === 'ramp';
  const { validTo } = request;
  const files = selectRawFiles(request.files, instrument);
  if (files.length === 0) throw new UsageError(`expected at least one raw ${builder.role}`);
  const store = await openStore(request.output);
  const outcomes: BuildOutcome[] = [];
  let before = 0;
  for (const detector of byDetector(files, instrument)) {
    const began = performance.now();
    const { inputs, choice, validFrom, products } = await recipeOf(check, detector, sha256Of);
    const hashing = (performance.now() - began) / 1000;
    const { identity } = inputs.at(-1) as BuildInput;
    const { tele, chip } = identity;
    const calibrations = await loadRampCalibrations(ramps ? choice.files : [], instrument, identity, choice.rows);
    const corrections = [...choice.entries, ...(builder.rampChain && ramps ? calibrations.figures : [])];
    const common = { tele, chip, inputs: inputs.length };
    const done = await Promise.all(products.map(({ name, key }) => store.isDone(name, key)));
    if (request.force !== true && done.every((one) => one)) {
      for (const { kind, name } of products) {
        const file = store.pathOf(name);
        if (!hasQa(file)) await writeQa(file, { limits: request.limits ?? {} });
        outcomes.push({ kind, ...common, file, status: 'skipped' });
      }
    } else {
      const built = await builder.build({
        instrument,
        inputs,
        params: values,
        kernelParams,
        calibrations,
        files: choice.files,
        directories: [request.output, ...[request.calib ?? []].flat()],
        threads: request.threads ?? 1,
        limits: request.limits ?? {},
        control: request.control,
        progress: (n) => request.onProgress?.(before + n, files.length, basename(inputs[n]?.path ?? '')),
      });
      for (const [at, { kind, name, record }] of products.entries()) {
        const one = built.find((product) => product.kind === kind);
        if (one === undefined) continue;
        const file = store.pathOf(name);
        if (request.force !== true && done[at] === true) {
          // Whoever was stopped between the products of one build: what is whole stays as it is.
          if (!hasQa(file)) await writeQa(file, { limits: request.limits ?? {} });
          outcomes.push({ kind, ...common, file, status: 'skipped' });
          continue;
        }
        const { serial = '', readMode = '' } = inputs[0]?.frame ?? {};
        const time = one.dataFrom ?? spanOf(inputs).from ?? validFrom;
        const detector = { kind, instrument: instrument.name, tele, chip, serial, readMode, time };
        // What a night builds follows from its key alone: the one before is compared on the page, and has no part in the grade.
        const compareIn = request.only === undefined ? request.output : undefined;
        const verdict = await assessBuilt(detector, one.hdus, one.cards, compareIn, request.limits);
        const grade = worse(one.grade, verdict.grade);
        const remarks = [...one.remarks, ...verdict.reasons];
        const header: CardInput[] = [
          ...calibrationCards({
            kind,
            instrument: instrument.name,
            tele,
            chip,
            validFrom,
            validTo,
            ...(inputs[0]?.frame.serial && { serial: inputs[0].frame.serial }),
            ...(inputs[0]?.frame.readMode && { readMode: inputs[0].frame.readMode }),
            dataFrom: one.dataFrom ?? spanOf(inputs).from,
            dataTo: one.dataTo ?? spanOf(inputs).to,
            grade,
            inputs: inputs.length,
            software: `rampline ${version()}`,
            kernels,
          }),
          ...one.cards,
          ...remarks.map((remark): CardInput => ['HISTORY', remark]),
        ];
        const made = [...inputs.map(({ source }) => source), ...corrections];
        const provenance = provenanceTable([...made, ...verdict.compared]);
        const hdus: HduInput[] = [{ header }, ...one.hdus, dqTable(), provenance];
        await store.writeProduct(name, encodeFits(hdus), record);
        const { page } = await writeQa(file, { limits: request.limits ?? {} });
        const seconds = one.seconds && { 'read and hash': hashing, ...one.seconds };
        const facts = { ...one.facts, page: basename(page), ...(seconds && { time: sharesOf(seconds) }) };
        // Products that were made in one go took that time together.
        const timings =
          seconds && kind === builder.kinds[0]
            ? Object.entries(seconds).map(([step, time]) => ({ name: step, seconds: time }))
            : [];
        outcomes.push({ kind, ...common, file, status: 'done', grade, remarks, facts, timings });
      }
    }
    before += inputs.length;
  }
  request.onProgress?.(files.length, files.length, 'done');
  return outcomes;
}
