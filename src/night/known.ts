/** What of a plan is settled before anything runs. */
import { join } from 'node:path';
import type { Job, Outcome, Plan } from './job.js';
import { hasQa } from './qa.js';
import { verdictOf } from './record.js';
import { droppedUnbegun } from './settle.js';

/**
 * Outcomes of jobs that are done or dropped when the run begins. A job counts as done only where all that it read is done,
 * too; every other is given to a task, which asks its manifest again.
 * @param force ids of jobs that are done again
 * @param elsewhere outcomes that others settled, which decide for those behind them
 */
export function knownOutcomes(
  plan: Plan,
  force: ReadonlySet<string>,
  elsewhere: ReadonlyMap<string, Outcome> = new Map(),
): Map<string, Outcome> {
  const gates = new Set(
    plan.jobs.flatMap(({ needs }) => needs.filter(({ how }) => how === 'gate').map(({ job }) => job)),
  );
  const known = new Map(elsewhere);
  for (const job of plan.jobs) {
    if (known.has(job.id)) continue;
    if (job.state === 'dropped') known.set(job.id, droppedUnbegun(job, job.why));
    if (job.state !== 'done' || force.has(job.id) || !job.needs.every((need) => known.has(need.job))) continue;
    // A build that was killed between its product and the page about it still has the page to write.
    if (isBuild(job) && !job.products.every((name) => hasQa(join(plan.output, name)))) continue;
    try {
      const [product] = job.products;
      const verdict = gates.has(job.id) && product !== undefined ? verdictOf(join(plan.output, product)) : undefined;
      known.set(job.id, {
        job: job.id,
        status: 'skipped',
        products: job.products,
        key: job.key,
        attempt: 0,
        seconds: 0,
        ...(verdict && { verdict }),
      });
    } catch {
      // The product went away since the plan was made: a task makes it again.
    }
  }
  return known;
}

const isBuild = ({ stage }: Job): boolean => stage.startsWith('build-');
