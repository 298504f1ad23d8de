/** Submissions that Slurm still holds: a night that goes on although nobody waits for it. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RetriableError, UsageError } from '../../core/errors.js';
import { openStore } from '../../store/index.js';
import { JOIN } from '../graph.js';
import type { Plan } from '../job.js';
import { type QueuedJob, queued } from './client.js';
import { noteEnded, openArrays, readSubmission } from './submission.js';

export interface ActiveSubmission {
  readonly directory: string;
  readonly run: string;
  readonly tele: readonly string[];
  readonly mjd: number;
  readonly slices: readonly string[];
  /** What squeue says of its arrays. */
  readonly queue: readonly QueuedJob[];
}

/** What a run is about. */
type Scope = Pick<Plan, 'output' | 'tele' | 'mjd' | 'slices'>;

/** Between two looks at the queue while waiting for others [ms]. */
const POLL_MS = 2000;

/**
 * Submissions into an output directory that have not ended. Slurm is asked only where one may be among them.
 * @throws UsageError where that is so and Slurm's commands are not found; RetriableError where the controller is away
 */
export async function activeSubmissions(output: string): Promise<ActiveSubmission[]> {
  const state = join(output, 'state');
  const names = await readdir(state).catch(() => []);
  const active: ActiveSubmission[] = [];
  for (const name of names.filter((one) => one.startsWith('slurm-')).sort()) {
    const directory = join(state, name);
    const ids = await openArrays(directory);
    if (ids.length === 0) continue;
    const queue = await queued(ids).catch((error: unknown) => {
      if (!(error instanceof UsageError)) throw error;
      throw new UsageError(
        `arrays ${ids.join(', ')} of Slurm may be at work on this output, and Slurm cannot be asked: ${error.message}; go on ` +
          'where it can, or remove the submission if it has ended',
        { file: directory, cause: error },
      );
    });
    if (queue.length === 0) {
      await noteEnded(await openStore(directory));
      continue;
    }
    const { plan, submission } = await readSubmission(directory);
    active.push({ directory, run: submission.run, tele: plan.tele, mjd: plan.mjd, slices: plan.slices, queue });
  }
  return active;
}

const idsOf = (queue: readonly QueuedJob[]) => [...new Set(queue.map(({ id }) => id))].sort((a, b) => a - b);
const meet = (a: readonly string[], b: readonly string[]) => a.some((one) => b.includes(one));
const sameNight = (scope: Scope, { tele, mjd }: ActiveSubmission) => scope.mjd === mjd && meet(scope.tele, tele);

/** Ids of arrays that a run goes after: what joins a night's chips waits for submissions of these. */
export async function arraysBefore(scope: Scope): Promise<number[]> {
  if (!scope.slices.includes(JOIN)) return [];
  const active = await activeSubmissions(scope.output);
  const before = active.filter((one) => sameNight(scope, one) && !meet(scope.slices, one.slices));
  return idsOf(before.flatMap(({ queue }) => queue));
}

/** One sentence for a person: what it does and how far it is. */
export function activeText({ run, queue }: ActiveSubmission): string {
  const ids = idsOf(queue);
  const waiting = queue.filter(({ state }) => state === 'PENDING').length;
  return (
    `run ${run} is at work on it through Slurm (arrays ${ids.join(', ')}: ${queue.length - waiting} chunks run, ` +
    `${waiting === 0 ? 'none waits' : 'others wait'})`
  );
}

/**
 * Makes sure that no submission is at work on the same slices.
 * @param wait until they have ended
 * @param say told once what is waited for
 * @throws RetriableError where there is one and nobody waits, or the signal comes
 */
export async function waitForSubmissions(
  scope: Scope,
  { wait, signal, say }: { wait: boolean; signal?: AbortSignal | undefined; say: (text: string) => void },
): Promise<void> {
  for (let told = false; ; told = true) {
    const active = await activeSubmissions(scope.output);
    const [other] = active.filter((one) => sameNight(scope, one) && meet(scope.slices, one.slices));
    if (other === undefined) return;
    const text = activeText(other);
    if (!wait) {
      throw new RetriableError(
        `${text}; wait for it with --wait, look with rampline status, or end it with scancel ${idsOf(other.queue).join(' ')}`,
        { file: other.directory },
      );
    }
    if (!told) say(`${text}; waiting for it`);
    await sleep(POLL_MS, undefined, { signal }).catch(() => {
      throw new RetriableError('interrupted');
    });
  }
}
