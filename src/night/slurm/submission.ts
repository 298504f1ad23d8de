/**
 * A submission: what the processes of a run through Slurm know of one another, as files in OUTPUT/state/slurm-RUN, on a file
 * system that all nodes share. Written once: plan.json, chunks.json, run.sh. Appended to: jobs.jsonl (ids that Slurm gave),
 * events-LEVEL-CHUNK.jsonl (by that chunk alone, so that lines are whole on network file systems too), and Slurm's own
 * ARRAY-ELEMENT.out and .err.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BugError, InputError, UsageError } from '../../core/errors.js';
import { openStore, type Store } from '../../store/index.js';
import type { RunLimits } from '../executor.js';
import type { NightEvent, Outcome, Plan } from '../job.js';
import type { Level } from './chunks.js';

const SCHEMA = 'slurm/1';

/** chunks.json: how the plan was cut, and how its jobs are to be run. */
export interface Submission {
  readonly schema: typeof SCHEMA;
  readonly run: string;
  readonly levels: readonly Level[];
  /** Of one chunk; its memory is that of its level. */
  readonly limits: RunLimits;
  readonly isolate: boolean;
  /** Ids of jobs that are done again although they are done. */
  readonly force: readonly string[];
  /** Outcomes of jobs in no chunk that a job in one needs: done before, dropped by the plan, or left out. */
  readonly settled: readonly Outcome[];
}

/** Directory of a run's submission, relative to the output directory. */
export const submissionName = (run: string): string => `state/slurm-${run}`;

/** Name of a job array in Slurm. */
export const arrayName = (run: string, level: number, stage: string): string => `rampline-${run}-${level}-${stage}`;

/** Name of the file that a chunk writes its events to. */
export const eventsName = (level: number, chunk: number): string => `events-${level}-${chunk}.jsonl`;

/**
 * A word for the shell between single quotes, where nothing but the quote itself has a meaning.
 * @throws UsageError for control characters, which no path of ours has
 */
export function quoted(word: string): string {
  if (/\p{Cc}/u.test(word)) throw new UsageError(`${JSON.stringify(word)} cannot be a word of a batch script`);
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** The script of every element. It makes way for the process (exec), so that Slurm's signals reach that one. */
export function batchScript(node: string, main: string, directory: string): string {
  return (
    '#!/bin/sh\n' +
    '# An element of a job array of Rampline: the level is the argument, the chunk is the element.\n' +
    `exec ${quoted(node)} ${quoted(main)} --log-level warn run-chunk --submission ${quoted(directory)} ` +
    '--level "$1" --index "$SLURM_ARRAY_TASK_ID"\n'
  );
}

/** Writes plan, chunks and script; the store of the submission's directory. */
export async function writeSubmission(
  plan: Plan,
  submission: Submission,
  program: { readonly node: string; readonly main: string },
): Promise<Store> {
  const store = await openStore(join(plan.output, submissionName(submission.run)));
  await store.writeJson('plan.json', plain(plan));
  await store.writeJson('chunks.json', plain(submission));
  await store.writeFile('run.sh', batchScript(program.node, program.main, store.directory));
  return store;
}

/** Without the members that are undefined, which JSON has no word for. */
const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** Keeps an id that Slurm gave: when the submitter dies between two arrays, those before are known. */
export async function noteArray(store: Store, level: number, id: number): Promise<void> {
  await store.appendLines('jobs.jsonl', [JSON.stringify({ level, id })]);
}

export async function appendEvents(
  store: Store,
  level: number,
  chunk: number,
  events: readonly NightEvent[],
): Promise<void> {
  await store.appendLines(
    eventsName(level, chunk),
    events.map((event) => JSON.stringify(event)),
  );
}

/** Keeps that Slurm has none of its arrays any more, so that nobody asks again. */
export async function noteEnded(store: Store): Promise<void> {
  await store.appendLines('jobs.jsonl', [JSON.stringify({ ended: true })]);
}

/** Ids of the arrays that Slurm may still have. */
export async function openArrays(directory: string): Promise<number[]> {
  const lines = (await readLines(join(directory, 'jobs.jsonl'))) as {
    readonly id?: unknown;
    readonly ended?: unknown;
  }[];
  if (lines.some((line) => line?.ended === true)) return [];
  return lines.flatMap((line) => (Number.isSafeInteger(line?.id) ? [line.id as number] : []));
}

/**
 * Plan and chunks of a submission.
 * @throws InputError where there is none, or one of another layout
 */
export async function readSubmission(
  directory: string,
): Promise<{ readonly plan: Plan; readonly submission: Submission }> {
  const plan = (await readJson(join(directory, 'plan.json'))) as Partial<Plan>;
  const submission = (await readJson(join(directory, 'chunks.json'))) as Partial<Submission>;
  if (plan.schema !== 'plan/1' || !Array.isArray(plan.jobs)) {
    throw new InputError(`expected a plan of schema plan/1, received ${String(plan.schema)}`, {
      file: join(directory, 'plan.json'),
    });
  }
  if (submission.schema !== SCHEMA || !Array.isArray(submission.levels)) {
    throw new InputError(`expected chunks of schema ${SCHEMA}, received ${String(submission.schema)}`, {
      file: join(directory, 'chunks.json'),
    });
  }
  return { plan: plan as Plan, submission: submission as Submission };
}

async function readJson(path: string): Promise<object> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new InputError(`cannot read the submission: ${(cause as Error).message}`, { file: path, cause });
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    throw new InputError('is not JSON', { file: path, cause });
  }
  throw new InputError('expected a JSON object', { file: path });
}

/** Values of a file of JSON lines; none where there is no file. A line that is cut is passed over. */
async function readLines(path: string): Promise<unknown[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new InputError(`cannot read the events of a chunk: ${(error as Error).message}`, {
      file: path,
      cause: error,
    });
  }
  return text.split('\n').flatMap((line): unknown[] => {
    try {
      return [JSON.parse(line)];
    } catch {
      return [];
    }
  });
}

/** What a chunk told so far. */
export async function readEvents(directory: string, level: number, chunk: number): Promise<NightEvent[]> {
  return (await readLines(join(directory, eventsName(level, chunk)))) as NightEvent[];
}

/** Outcomes of the jobs that a chunk settled. Where it ran twice, the first counts: the second found the work done. */
export function outcomesOf(events: readonly NightEvent[]): Map<string, Outcome> {
  const outcomes = new Map<string, Outcome>();
  for (const { event, job, outcome } of events) {
    if (event !== 'end' || job === undefined || outcome === undefined) continue;
    const before = outcomes.get(job);
    // A run that was stopped leaves jobs cancelled or failed, which the next one makes good.
    if (before === undefined || before.status === 'cancelled' || before.status === 'failed') outcomes.set(job, outcome);
  }
  return outcomes;
}

/** Levels of a submission that a level waits for, and where each job is. */
export function places(levels: readonly Level[]): Map<string, { readonly level: number; readonly chunk: number }> {
  const all = new Map<string, { readonly level: number; readonly chunk: number }>();
  levels.forEach(({ chunks }, level) => {
    chunks.forEach(({ jobs }, chunk) => {
      for (const id of jobs) {
        if (all.has(id)) throw new BugError(`${id} is in two chunks`);
        all.set(id, { level, chunk });
      }
    });
  });
  return all;
}
