/**
 * What a job finds when all that it needs is settled: its inputs, fewer where exposures were left out, or why it cannot be
 * done. Pure: every executor asks this, so that all of them drop the same jobs for the same reasons.
 */
import { join } from 'node:path';
import { EXIT_CODES } from '../core/errors.js';
import type { Failure } from './failure.js';
import type { Job, Outcome, Task } from './job.js';

/** A job that is settled. */
export interface Settled {
  readonly job: Job;
  readonly outcome: Outcome;
}

/** What is left for a job, or the sentence that says why it is dropped. */
export type Decision =
  | { readonly drop: string }
  | {
      readonly drop?: undefined;
      /** As planned, without the exposures and raw files that were left out. */
      readonly job: Job;
      /** Absolute paths. */
      readonly inputs: Task['inputs'];
    };

const isMade = ({ status }: Outcome) => status === 'done' || status === 'skipped';

/** Why something behind a dropped job is dropped: names the job where it began, however long the way. */
function because({ job, outcome }: Settled): string {
  const message = outcome.failure?.message ?? 'no reason was recorded';
  return message.startsWith('because ') ? message : `because ${job.id} was dropped: ${message}`;
}

/** The outcome of a job that is dropped before it began. */
export function droppedUnbegun(job: Job, reason: string): Outcome {
  const { error = 'input' } = job;
  const failure: Failure = { error, exitCode: EXIT_CODES[error], message: reason };
  return { job: job.id, status: 'dropped', products: [], attempt: 0, seconds: 0, failure };
}

/** Exposures that gates take out of a job, with the reason. */
function gatedOut(job: Job, settledOf: (id: string) => Settled): Map<number | undefined, string> {
  const out = new Map<number | undefined, string>();
  for (const { job: id, how, exposure, behind = false } of job.needs) {
    if (how !== 'gate') continue;
    const gate = settledOf(id);
    const { verdict } = gate.outcome;
    const drops = isMade(gate.outcome) && verdict?.verdict === 'drop';
    if (behind) {
      if (drops && !out.has(exposure)) out.set(exposure, `its light may persist: ${id} says: ${verdict.reason}`);
    } else if (!isMade(gate.outcome)) out.set(exposure, because(gate));
    else if (drops) out.set(exposure, `${id} says: ${verdict.reason}`);
  }
  return out;
}

/** One thing that a job reads. */
interface Wanted {
  readonly role: string;
  readonly exposure?: number | undefined;
  /** Undefined for a raw file, which is simply there. */
  readonly from?: Settled | undefined;
  readonly paths: Task['inputs'];
}

/**
 * Decides about a job whose needs are all settled.
 * @param output directory of the products
 * @param settledOf each job that it needs
 */
export function decide(job: Job, output: string, settledOf: (id: string) => Settled): Decision {
  const gated = gatedOut(job, settledOf);
  const refused = gated.get(undefined);
  if (refused !== undefined) return { drop: refused };
  const { tele, mjd } = job.identity;
  const wanted: Wanted[] = [
    ...job.raw.map(({ role, path, exposure, chip }) => ({
      role,
      exposure,
      paths: [{ role, path, identity: { tele, mjd, chip, exposure } }],
    })),
    ...job.needs
      .filter(({ how }) => how === 'input')
      .map(({ role, job: id, exposure }) => {
        const from = settledOf(id);
        const paths = from.outcome.products.map((name) => ({
          role,
          path: join(output, name),
          identity: from.job.identity,
        }));
        return { role, exposure, from, paths };
      }),
  ];
  const admitted = wanted.filter(({ exposure }) => exposure === undefined || !gated.has(exposure));
  const left = admitted.filter(({ from }) => from === undefined || isMade(from.outcome));
  for (const role of new Set(wanted.map((one) => one.role))) {
    const ofRole = (list: readonly Wanted[]) => list.filter((one) => one.role === role);
    const all = ofRole(admitted).length;
    const least = Math.max(1, job.least[role] ?? all);
    const rest = ofRole(left).length;
    if (rest >= least) continue;
    const lost = ofRole(admitted).find((one) => !left.includes(one))?.from;
    const [first = 'no reason was recorded'] = lost === undefined ? gated.values() : [because(lost)];
    if (ofRole(wanted).length === 1 || job.least[role] === undefined) return { drop: first };
    return { drop: `${rest} of ${ofRole(wanted).length} ${role} are left and ${least} are needed: ${first}` };
  }
  // Of a job of one exposure others are inputs, of which some may be left out: it is about its own all the same.
  const joins = job.identity.exposure === undefined;
  const without = new Set(joins ? wanted.flatMap(({ exposure }) => exposure ?? []) : []);
  for (const { exposure } of left) if (exposure !== undefined) without.delete(exposure);
  const rest: Job = {
    ...job,
    exposures: job.exposures.filter(({ exposure }) => !without.has(exposure) && !gated.has(exposure)),
    raw: job.raw.filter(({ exposure }) => !without.has(exposure)),
  };
  if (rest.exposures.length === 0 && job.exposures.length > 0) {
    const [first = 'no reason was recorded'] = gated.values();
    return { drop: first };
  }
  return { job: rest, inputs: [...left.flatMap(({ paths }) => paths), ...builtFor(job, output, settledOf)] };
}

/** Calibrations that the night built for this job: of those in OUTPUT/calib they alone are its own. */
function builtFor(job: Job, output: string, settledOf: (id: string) => Settled): Task['inputs'] {
  return job.needs
    .filter(({ role, how }) => role === 'calibration' && how === 'order')
    .flatMap(({ role, job: id }) => {
      const { job: build, outcome } = settledOf(id);
      const names = isMade(outcome) ? outcome.products : [];
      return names.map((name) => ({ role, path: join(output, name), identity: build.identity }));
    });
}
