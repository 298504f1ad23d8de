/** Which jobs of a plan are meant: by stage, exposure and chip, with what they need or with what depends on them. Pure. */
import { UsageError } from '../core/errors.js';
import { didYouMean } from '../core/suggest.js';
import type { Job, Outcome, Plan } from './job.js';
import { droppedUnbegun } from './settle.js';

export interface Selection {
  /** First and last stage, in the order of the plan's stages. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Words like '12', '12-a', 'apo-12' or 'apo-12-a'. Default: all. */
  readonly only?: readonly string[] | undefined;
}

interface Word {
  readonly tele?: string | undefined;
  readonly exposure: number;
  readonly chip?: string | undefined;
}

/** @throws UsageError for a word that names no exposure */
function parseOnly(word: string): Word {
  const match = /^(?:([a-z][a-z0-9]*)-)?0*(\d+)(?:-([a-z]))?$/.exec(word);
  if (match === null) {
    throw new UsageError(`expected --only to be EXPOSURE or EXPOSURE-CHIP, as 12 or 12-a, received "${word}"`);
  }
  const [, tele, exposure, chip] = match;
  return { tele, exposure: Number(exposure), chip };
}

/** Whether a job is of an exposure (and chip), or joins it with others. */
function isOf({ identity, exposures }: Job, { tele, exposure, chip }: Word): boolean {
  if (tele !== undefined && tele !== identity.tele) return false;
  if (chip !== undefined && identity.chip !== undefined && chip !== identity.chip) return false;
  return identity.exposure === undefined
    ? exposures.some((one) => one.exposure === exposure)
    : identity.exposure === exposure;
}

/** A word of which the night has something: one that is mistyped must not be passed over beside those that are right. */
function knownWord({ jobs, chips }: Plan, text: string): Word {
  const word = parseOnly(text);
  if (word.chip !== undefined && !chips.includes(word.chip)) {
    throw new UsageError(`the night has no chip "${word.chip}" (--only ${text}); it has ${chips.join(', ')}`);
  }
  if (jobs.some((job) => isOf(job, word))) return word;
  const numbers = jobs.flatMap(({ identity: { exposure } }) => exposure ?? []);
  const has =
    numbers.length > 0 ? `; it has ${Math.min(...numbers)} to ${Math.max(...numbers)}, some may be missing` : '';
  throw new UsageError(`the night has nothing to do for exposure ${text} (--only)${has}`);
}

/** Stages of a plan in the order of its jobs. */
export function stagesOf({ jobs }: Pick<Plan, 'jobs'>): string[] {
  return [...new Set(jobs.map(({ stage }) => stage))];
}

/** Ids of the jobs that a selection names. Throws UsageError for a stage or an exposure that there is not. */
export function chosenJobs(plan: Plan, { from, to, only }: Selection): Set<string> {
  const stages = stagesOf(plan);
  const place = (option: string, stage: string | undefined, otherwise: number): number => {
    if (stage === undefined) return otherwise;
    const at = stages.indexOf(stage);
    if (at >= 0) return at;
    const near = didYouMean(stage, stages) || `; it has ${stages.join(', ')}`;
    throw new UsageError(`the night has no stage "${stage}" (${option})${near}`);
  };
  const [first, last] = [place('--from', from, 0), place('--to', to, stages.length - 1)];
  if (first > last) throw new UsageError(`--from ${from} comes after --to ${to}: the stages are ${stages.join(', ')}`);
  const words = only?.map((word) => knownWord(plan, word));
  const chosen = plan.jobs.filter((job) => {
    const at = stages.indexOf(job.stage);
    return at >= first && at <= last && (words === undefined || words.some((word) => isOf(job, word)));
  });
  // A stage has jobs on both sides of others: what is made of a chosen job comes after it, whatever its stage.
  if (from !== undefined && to === undefined) {
    const after = withDependents(plan, new Set(chosen.map(({ id }) => id)));
    for (const job of plan.jobs) {
      const meant = words === undefined || words.some((word) => isOf(job, word));
      if (meant && after.has(job.id) && !chosen.includes(job)) chosen.push(job);
    }
  }
  if (chosen.length === 0) {
    throw new UsageError(`no job of the night is meant: ${[from, to, ...(only ?? [])].filter(Boolean).join(', ')}`);
  }
  return new Set(chosen.map(({ id }) => id));
}

/** The chosen jobs and all that depend on them. */
export function withDependents({ jobs }: Pick<Plan, 'jobs'>, chosen: ReadonlySet<string>): Set<string> {
  const all = new Set(chosen);
  for (const { id, needs } of jobs) if (needs.some(({ job }) => all.has(job))) all.add(id);
  return all;
}

/** The plan of the chosen jobs and all that they need. */
export function narrowed(plan: Plan, chosen: ReadonlySet<string>): Plan {
  const kept = new Set(chosen);
  for (const { id, needs } of plan.jobs.toReversed()) if (kept.has(id)) for (const { job } of needs) kept.add(job);
  return { ...plan, jobs: plan.jobs.filter(({ id }) => kept.has(id)) };
}

/** Jobs that are needed and not done, and that the selection leaves to another run. */
export function leftOut(plan: Plan, { from }: Selection): Map<string, Outcome> {
  const stages = stagesOf(plan);
  const first = from === undefined ? 0 : stages.indexOf(from);
  // Those that are made of what is done now come after it, whatever their stage.
  const isBefore = ({ stage }: Job) => stages.indexOf(stage) < first;
  const begun = plan.jobs.filter((job) => !isBefore(job)).map(({ id }) => id);
  const after = withDependents(plan, new Set(begun));
  const before = plan.jobs.filter((job) => isBefore(job) && job.state === 'todo' && !after.has(job.id));
  const why = `it is not done, and --from ${from} leaves it out`;
  return new Map(before.map((job) => [job.id, droppedUnbegun({ ...job, error: 'usage' }, why)]));
}
