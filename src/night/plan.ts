/** The plan of a night: every job, what it needs, what it will cost, and whether it is done already and why. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { Almanac } from '../almanac/index.js';
import type { CalibrationKind, CalibrationRecord } from '../calib/product.js';
import { openRegistry, type Survey } from '../calib/registry.js';
import { BugError, RamplineError, UsageError } from '../core/errors.js';
import type { Exposure } from '../core/exposure.js';
import type { Instrument } from '../core/product.js';
import { didYouMean } from '../core/suggest.js';
import { apogee } from '../instruments/apogee/index.js';
import type { JobShape } from '../stages/stage.js';
import {
  type HashMemory,
  hashFile,
  knownHash,
  type ManifestEntry,
  type ProductRecord,
  type ProductState,
  productKey,
  productState,
} from '../store/index.js';
import { BUILT_BYTES, BUILT_BYTES_PER_PIXEL, WEIGHED_BYTES_PER_PIXEL } from './cost.js';
import { chipsOf, type Draft, JOIN, nightGraph, productName } from './graph.js';
import type { Job, NightOptions, Outcome, Plan } from './job.js';
import { type Asked, type PlannedProduct, productsOf, verdictOf } from './record.js';
import { DROPS, refusalOf } from './refused.js';
import { decide, droppedUnbegun } from './settle.js';
import {
  calibrationsOf,
  checkNightParams,
  type Execution,
  type NightStage,
  nightStages,
  ownCalibrations,
} from './stages.js';
import { recordChanges, toldTogether } from './why.js';

export interface PlanRequest {
  /** Of one night, as the almanac has them; paths of raw files absolute. */
  readonly exposures: readonly Exposure[];
  readonly mjd: number;
  /** Telescopes; default: those of the exposures. */
  readonly tele?: readonly string[] | undefined;
  /** The slice of one chip, or 'join' for what joins chips; default: the whole night. */
  readonly slices?: readonly string[] | undefined;
  readonly instrument?: Instrument | undefined;
  readonly output: string;
  readonly options: NightOptions;
  /** Native threads for one job: some of the memory is for each. */
  readonly threads?: number | undefined;
  /**
   * Which files are hashed to tell what is done: inputs of products that are there (default), all, so that every job whose
   * inputs are made has its key, or none: an input then counts as unchanged.
   */
  readonly hash?: 'needed' | 'all' | 'none' | undefined;
  /** False: nothing is compared with what is there, and no raw file is opened; every job that can be done is to be done. */
  readonly compare?: boolean | undefined;
  /** Hashes that outlive the process: the ledger's. */
  readonly memory?: HashMemory | undefined;
  /** What was refused is tried once more. */
  readonly again?: boolean | undefined;
  readonly onProgress?: ((done: number, total: number, label: string) => void) | undefined;
  /** Default: the table of ./stages.ts; for tests. */
  readonly stages?: readonly NightStage[] | undefined;
}

/** Options of a night where nothing is said. */
export const NIGHT_DEFAULTS: NightOptions = {
  calib: [],
  build: [],
  params: {},
  verify: true,
  diagnostics: false,
};

/** Exposures of an almanac with the paths of their files as a plan wants them. */
export function absoluteExposures({ root, exposures }: Pick<Almanac, 'root' | 'exposures'>): Exposure[] {
  return exposures.map((exposure) => ({
    ...exposure,
    frames: exposure.frames.map((frame) => ({ ...frame, path: resolve(root, frame.path) })),
  }));
}

/** What a product counts for in predictions: it has no reads up the ramp. */
const PRODUCT_READS = 1;

/** What the prediction of a job is asked with. */
function shapeOf(
  { raw, needs, exposures }: Draft,
  instrument: Instrument,
  threads: number,
  calibrationBytes: number,
): JobShape {
  const { rows, cols } = instrument.geometry;
  const frames = new Map(
    exposures.flatMap(({ exposure, frames: all }) => all.map((frame) => [`${exposure}-${frame.chip}`, frame])),
  );
  const [any] = frames.values();
  return {
    inputs: [
      ...raw.map(({ role, exposure, chip }) => {
        const { reads, rows: height, cols: width } = frames.get(`${exposure}-${chip}`) ?? any ?? NO_FRAME;
        return { role, reads, rows: height, cols: width };
      }),
      // A product has the science columns alone.
      ...needs
        .filter(({ how }) => how === 'input')
        .map(({ role }) => ({ role, reads: PRODUCT_READS, rows: any?.rows || rows, cols })),
    ],
    threads,
    calibrationBytes,
  };
}

const NO_FRAME = { reads: 0, rows: 0, cols: 0 };

/** The drafts of some slices, and of others those that they need. */
function ofSlices(drafts: readonly Draft[], slices: ReadonlySet<string>): Draft[] {
  const needed = new Set<string>();
  return drafts
    .toReversed()
    .filter(({ id, slice, needs }) => {
      const wanted = slices.has(slice) || needed.has(id);
      if (wanted) for (const { job } of needs) needed.add(job);
      return wanted;
    })
    .toReversed();
}

/**
 * Plans a night.
 * @throws UsageError for a telescope, chip or build that there is not; BugError for stages that do not fit together
 */
export async function planNight(request: PlanRequest): Promise<Plan> {
  const { mjd, options, instrument = apogee, threads = 1 } = request;
  const output = resolve(request.output);
  const stages = request.stages ?? nightStages(options.build);
  checkNightParams(stages, options.params);
  const known = [...new Set(request.exposures.map((exposure) => exposure.tele))].sort();
  const tele = request.tele ?? known;
  for (const one of tele) {
    if (!known.includes(one)) {
      throw new UsageError(`the night ${mjd} has no exposure of ${one}${didYouMean(one, known)}`);
    }
  }
  const exposures = request.exposures.filter((exposure) => tele.includes(exposure.tele));
  const chips = chipsOf(exposures);
  const slices = request.slices ?? [...chips, JOIN];
  for (const slice of slices) {
    if (![...chips, JOIN].includes(slice)) {
      throw new UsageError(`the night ${mjd} has no chip "${slice}"; it has ${chips.join(', ')}`);
    }
  }
  const drafts = ofSlices(nightGraph(exposures, stages), new Set(slices));
  const states = new States(request, output, drafts);
  for (const [i, draft] of drafts.entries()) {
    request.onProgress?.(i, drafts.length, draft.id);
    const { stage, drop, ...facts } = draft;
    const job: Job = {
      ...facts,
      stage: stage.name,
      scope: stage.scope,
      products: stage.execution.by === 'build' ? [] : [productName(stage, draft.identity)],
      prediction: stage.predict(shapeOf(draft, instrument, threads, await states.calibrationBytes(draft))),
      state: 'todo',
      why: '',
    };
    states.settled.set(job.id, {
      ...job,
      ...(drop === undefined ? await states.of(stage, job) : { state: 'dropped', why: drop }),
    });
  }
  return {
    schema: 'plan/1',
    instrument: instrument.name,
    tele,
    mjd,
    chips,
    slices,
    output,
    options,
    jobs: [...states.settled.values()],
    exposures,
  };
}

const DONE = 'the manifest matches: the same input, calibrations, parameters and kernels';

type Settlement = Pick<Job, 'state' | 'why' | 'error' | 'behind'> & Partial<Pick<Job, 'key' | 'products'>>;

/** Tells of one job after the other, in the order of the plan, whether it is done. */
class States {
  readonly settled = new Map<string, Job>();
  readonly #request: PlanRequest;
  readonly #output: string;
  /** Stages whose verdicts are asked. */
  readonly #gates: ReadonlySet<string>;
  readonly #executions: ReadonlyMap<string, Execution>;
  readonly #surveys = new Map<string, Survey>();
  /** sha256 of products that are done, by path: their manifests were compared with the files. */
  readonly #made = new Map<string, string>();

  constructor(request: PlanRequest, output: string, drafts: readonly Draft[]) {
    this.#request = request;
    this.#output = output;
    this.#executions = new Map(drafts.map(({ id, stage }) => [id, stage.execution]));
    this.#gates = new Set(
      drafts.flatMap(({ needs }) => needs.flatMap(({ job, how }) => (how === 'gate' ? [job] : []))),
    );
  }

  async of(stage: NightStage, job: Job): Promise<Settlement> {
    const decision = decide(job, this.#output, (id) => {
      const before = this.#needed(job, id);
      return { job: before, outcome: this.#expected(before) };
    });
    if (decision.drop !== undefined) return { state: 'dropped', why: decision.drop, behind: true };
    const waits = [...new Set(job.needs.map((need) => need.job))].filter(
      (id) => this.#needed(job, id).state === 'todo',
    );
    if (waits.length > 0) {
      const more = waits.length > 1 ? ` and ${waits.length - 1} more` : '';
      return { state: 'todo', why: `it waits for ${waits[0]}${more}` };
    }
    const { options, compare = true } = this.#request;
    if (!compare) return { state: 'todo', why: 'its inputs are there' };
    try {
      return await this.#compared(stage, { ...decision, output: this.#output, options });
    } catch (error) {
      if (!(error instanceof RamplineError) || !DROPS.includes(error.class)) throw error;
      return { state: 'dropped', why: error.message, error: error.class };
    }
  }

  /** Size of the calibrations that a job may read, from what there is for its detector and what the night builds. */
  async calibrationBytes({ stage, identity: { tele, chip }, exposures, needs }: Draft): Promise<number> {
    const { options, instrument = apogee } = this.#request;
    const own = ownCalibrations(this.#output);
    const site: CalibrationRecord[] = [];
    for (const directory of calibrationsOf(stage, options, this.#output)) {
      if (directory !== own) site.push(...(await this.#survey(directory)).records);
    }
    const built = new Set(
      needs.flatMap(({ job, how }) => {
        const execution = how === 'order' ? this.#executions.get(job) : undefined;
        return execution?.by === 'build' ? execution.builder.kinds : [];
      }),
    );
    const chips = chip === undefined ? chipsOf(exposures) : [chip];
    const pixels = (exposures[0]?.frames[0]?.rows ?? 0) * instrument.geometry.cols;
    let bytes = 0;
    for (const kind of stage.kinds) {
      for (const one of chips) {
        const files = site.filter((record) => record.kind === kind && record.tele === tele && record.chip === one);
        const made = built.has(kind as CalibrationKind) ? BUILT_BYTES + (BUILT_BYTES_PER_PIXEL[kind] ?? 0) * pixels : 0;
        const largest = Math.max(made, ...files.map((record) => record.bytes));
        const weighs =
          files.length > 1 && instrument.calibrationRules.some((rule) => rule.kind === kind && rule.interpolate);
        bytes += weighs && made === 0 ? 2 * largest + WEIGHED_BYTES_PER_PIXEL * pixels : largest;
      }
    }
    return bytes;
  }

  async #survey(directory: string): Promise<Survey> {
    const known = this.#surveys.get(resolve(directory));
    if (known !== undefined) return known;
    const registry = await openRegistry(directory);
    try {
      const survey = await registry.survey();
      this.#surveys.set(registry.directory, survey);
      return survey;
    } finally {
      await registry.close();
    }
  }

  #needed(job: Job, id: string): Job {
    const found = this.settled.get(id);
    if (found === undefined) throw new BugError(`${job.id} needs ${id}, which is not planned before it`);
    return found;
  }

  /** What the runner will find of a job: what is to be made counts as made. */
  #expected(job: Job): Outcome {
    const { id, state, why, products, key } = job;
    const common = { job: id, products, attempt: 0, seconds: 0, key };
    if (state === 'dropped') return { ...droppedUnbegun(job, why), ...common };
    if (state === 'todo') return { ...common, status: 'done' };
    const [product] = products;
    const verdict = this.#gates.has(id) && product !== undefined ? verdictOf(join(this.#output, product)) : undefined;
    return { ...common, status: 'skipped', verdict };
  }

  /** Compares what is there with what the job would write. */
  async #compared(stage: NightStage, task: Asked): Promise<Settlement> {
    const { hash = 'needed' } = this.#request;
    const [name] = task.job.products;
    const before = name === undefined ? undefined : await productState(join(this.#output, name));
    const there =
      before === undefined ? await this.#built(stage, task) : before.entry === undefined ? [] : [before.entry];
    const options = { surveys: this.#surveys };
    const inputs = task.inputs.map(({ path }) => path);
    const refusal =
      name === undefined || this.#request.again === true ? undefined : refusalOf(this.#output, name, inputs);
    if (there.length === 0 && hash !== 'all' && refusal === undefined) {
      // What cannot be done is said now; inputs need no hash for that.
      await productsOf(stage, task, async (path) => noHash(path), options);
      return { state: 'todo', why: before?.fault ?? NOT_BUILT };
    }
    const products = await productsOf(stage, task, (path) => this.#hash(path, there), options);
    const about = {
      key: productKey((products[0] as PlannedProduct).record),
      products: products.map((one) => one.name),
    };
    if (there.length === 0 && refusal?.key === about.key) {
      return { state: 'dropped', why: refusal.failure.message, error: refusal.failure.error };
    }
    const states = await Promise.all(about.products.map((one) => productState(join(this.#output, one))));
    for (const [i, { record }] of products.entries()) {
      const { entry, fault } = states[i] as ProductState;
      const why = entry?.key === productKey(record) ? fault : whyOther(record, there, fault);
      if (why !== undefined) return { state: 'todo', why, ...about };
    }
    for (const [i, { entry }] of states.entries()) {
      if (entry !== undefined) this.#made.set(join(this.#output, about.products[i] as string), entry.sha256);
    }
    return { state: 'done', why: hash === 'none' ? `${DONE} (inputs were not hashed)` : DONE, ...about };
  }

  /** Manifests of calibrations that the job made of this night before, of whichever exposures. */
  async #built(stage: NightStage, { job: { identity } }: Asked): Promise<ManifestEntry[]> {
    const directory = ownCalibrations(this.#output);
    if (stage.execution.by !== 'build' || !existsSync(directory)) return [];
    const { tele, chip, mjd } = identity;
    const starts = stage.execution.builder.kinds.map((kind) => `${kind}-${tele}-${chip}-${mjd}-`);
    const files = readdirSync(directory).filter((file) => starts.some((start) => file.startsWith(start)));
    const states = await Promise.all(
      files.filter((file) => file.endsWith('.fits')).map((file) => productState(join(directory, file))),
    );
    return states.flatMap(({ entry }) => entry ?? []);
  }

  /** @param there manifests that name it, for where no file is to be hashed */
  async #hash(path: string, there: readonly ManifestEntry[]): Promise<string> {
    const made = this.#made.get(path);
    if (made !== undefined) return made;
    const { hash = 'needed', memory } = this.#request;
    if (hash === 'none') {
      const known = memory && (await knownHash(path, memory));
      const named = there.flatMap(({ inputs }) => inputs).find(({ name }) => name === basename(path));
      return known?.sha256 ?? named?.sha256 ?? noHash(path);
    }
    return (await hashFile(path, memory && { memory })).sha256;
  }
}

/** Why what is there is another product: what changed, of several the one that differs least. */
function whyOther(record: ProductRecord, there: readonly ManifestEntry[], fault: string | undefined): string {
  const same = there.filter(({ schema }) => schema === record.schema);
  const changes = (same.length > 0 ? same : there).map((entry) => recordChanges(entry, record));
  const [least] = changes.sort((a, b) => a.length - b.length);
  if (least === undefined) return fault ?? NOT_BUILT;
  return least.length > 0 ? toldTogether(least) : (fault ?? 'its manifest has another key');
}

const NOT_BUILT = 'no calibration of these exposures, parameters and kernels was built';

/** Stands for a hash that decides nothing; no two files have the same. */
const noHash = (path: string): string => createHash('sha256').update(path).digest('hex');
