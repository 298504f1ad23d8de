/** Holds what a run said of a mock night against its truth: whether each fault was found, and nothing else dropped. */
import { join } from 'node:path';
import type { NightExposure, NightFault, NightTruth } from '../simulate/night.js';
import type { Job, Outcome, Plan } from './job.js';
import { verdictOf } from './record.js';

/** What became of one exposure, beside the truth about it. */
export interface JudgedExposure {
  readonly tele: string;
  readonly exposure: number;
  /** As the almanac read it from headers; '' where it does not know the number. */
  readonly kind: string;
  /** Of the classifier; '' where there is none. */
  readonly verdict: string;
  /** Jobs of the exposure whose products are whole, and those that were dropped or failed. */
  readonly made: number;
  readonly lost: number;
  /** Why something was dropped, or what the verdict says; '' for a good exposure. */
  readonly reason: string;
  readonly fault: NightFault | undefined;
  /** The fault was found and told; for an exposure without one: it was taken for what it is, and nothing dropped. */
  readonly right: boolean;
}

const isMade = ({ status }: Outcome): boolean => status === 'done' || status === 'skipped';

/** What was said when the job was done; of a job that was skipped, what its product says. */
function verdictFor({ job, outcome }: { readonly job: Job; readonly outcome: Outcome }, output: string) {
  const [product] = outcome.products;
  if (outcome.verdict !== undefined || product === undefined || job.scope !== 'exposure') return outcome.verdict;
  return verdictOf(join(output, product));
}

/** @param outcomes of all jobs of the plan that were settled */
export function judgeNight(truth: NightTruth, plan: Plan, outcomes: readonly Outcome[]): JudgedExposure[] {
  const outcomeOf = new Map(outcomes.map((outcome) => [outcome.job, outcome]));
  return truth.exposures.map((one) => {
    const { tele, exposure, fault } = one;
    const known = plan.exposures.find((other) => other.tele === tele && other.exposure === exposure);
    const jobs = plan.jobs.filter(({ identity }) => identity.tele === tele && identity.exposure === exposure);
    const settled = jobs.flatMap((job) => {
      const outcome = outcomeOf.get(job.id);
      return outcome === undefined ? [] : [{ job, outcome }];
    });
    const lost = settled.filter(({ outcome }) => !isMade(outcome));
    const [{ verdict = '', reason = '' } = {}] = settled.flatMap((one) => verdictFor(one, plan.output) ?? []);
    const dropped = lost.map(({ job, outcome }) => `${job.id}: ${outcome.failure?.message ?? 'no reason'}`);
    const facts = {
      kind: known?.kind ?? '',
      verdict,
      made: settled.length - lost.length,
      lost: lost.length,
      reason: (verdict === 'drop' ? reason : dropped[0]) ?? known?.drop?.reason ?? (verdict === 'ok' ? '' : reason),
    };
    const chips = new Set(lost.flatMap(({ job }) => job.identity.chip ?? []));
    return { tele, exposure, ...facts, fault, right: isRight(one, facts, jobs.length, chips) };
  });
}

function isRight(
  { kind, fault }: NightExposure,
  found: Pick<JudgedExposure, 'kind' | 'verdict' | 'made' | 'lost'>,
  jobs: number,
  lostChips: ReadonlySet<string>,
): boolean {
  if (found.kind !== kind) return false;
  switch (fault?.kind) {
    case 'missing':
      return jobs === 0;
    case 'truncated':
      // The other chips are as good as ever.
      return found.verdict !== 'drop' && found.made > 0 && lostChips.size === 1 && lostChips.has(fault.chip ?? '');
    case 'mislabelled':
    case 'lamp-off':
    case 'shutter-closed':
      return found.verdict === 'drop';
    default:
      return found.verdict !== 'drop' && jobs > 0 && found.made === jobs;
  }
}
