/** The plan of a night: every job, what it needs, what it will cost, and whether it is done already and why. */
import { resolve } from 'node:path';
import { BugError, UsageError } from '../core/errors.js';
import type { Exposure } from '../core/exposure.js';
import type { Instrument } from '../core/product.js';
import { didYouMean } from '../core/suggest.js';
import { apogee } from '../instruments/apogee/index.js';
import type { JobShape } from '../stages/stage.js';
import { chipsOf, type Draft, JOIN, nightGraph, productName } from './graph.js';
import type { Job, NightOptions, Outcome, Plan } from './job.js';
import { decide, droppedUnbegun } from './settle.js';
import { type NightStage, nightStages } from './stages.js';

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

/** What a product counts for in predictions: it has no reads up the ramp. */
const PRODUCT_READS = 1;

/** What the prediction of a job is asked with. */
function shapeOf({ raw, needs, exposures }: Draft, instrument: Instrument, threads: number): JobShape {
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
  const jobs = new Map<string, Job>();
  for (const draft of ofSlices(nightGraph(exposures, stages), new Set(slices))) {
    const { stage, drop, ...facts } = draft;
    const job: Job = {
      ...facts,
      stage: stage.name,
      scope: stage.scope,
      products: stage.execution.by === 'build' ? [] : [productName(stage, draft.identity)],
      prediction: stage.predict(shapeOf(draft, instrument, threads)),
      state: 'todo',
      why: '',
    };
    jobs.set(job.id, {
      ...job,
      ...(drop === undefined ? stateOf(job, jobs, output) : { state: 'dropped', why: drop }),
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
    jobs: [...jobs.values()],
    exposures,
  };
}

/** What the runner will find of a planned job: what is to be made counts as made. */
function expected(job: Job): Outcome {
  const { id, state, why, products, key } = job;
  const common = { job: id, products, attempt: 0, seconds: 0, key };
  if (state === 'dropped') return { ...droppedUnbegun(job, why), ...common };
  return { ...common, status: state === 'done' ? 'skipped' : 'done' };
}

function stateOf(job: Job, jobs: ReadonlyMap<string, Job>, output: string): Pick<Job, 'state' | 'why' | 'key'> {
  const needed = (id: string): Job => {
    const found = jobs.get(id);
    if (found === undefined) throw new BugError(`${job.id} needs ${id}, which is not planned before it`);
    return found;
  };
  const decision = decide(job, output, (id) => ({ job: needed(id), outcome: expected(needed(id)) }));
  if (decision.drop !== undefined) return { state: 'dropped', why: decision.drop };
  const waits = [...new Set(job.needs.map((need) => need.job))].filter((id) => needed(id).state === 'todo');
  if (waits.length > 0) {
    const more = waits.length > 1 ? ` and ${waits.length - 1} more` : '';
    return { state: 'todo', why: `it waits for ${waits[0]}${more}` };
  }
  return { state: 'todo', why: 'there is no product' };
}
