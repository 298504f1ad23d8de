/** The plan of a night without running it, and what it comes to. Writes nothing. */

import type { Exposure } from '../core/exposure.js';
import { hashesOf } from '../ledger/index.js';
import { JOIN } from './graph.js';
import type { Job, Plan } from './job.js';
import { ledgerPlace } from './ledger.js';
import { planNight } from './plan.js';
import { type NightRequest, nightExposures, nightOptions } from './run.js';
import { chosenJobs, narrowed, stagesOf } from './selection.js';

export interface DryRunRequest
  extends Pick<
    NightRequest,
    | 'raw'
    | 'output'
    | 'tele'
    | 'mjd'
    | 'slices'
    | 'options'
    | 'bad'
    | 'threads'
    | 'from'
    | 'to'
    | 'only'
    | 'ledger'
    | 'signal'
    | 'onProgress'
  > {
  /** See PlanRequest. */
  readonly hash?: 'needed' | 'all' | 'none' | undefined;
}

/**
 * Plans a night as `runNight` would, and makes nothing.
 * @throws as runNight before any job is begun
 */
export async function dryRun(request: DryRunRequest): Promise<Plan> {
  const { mjd, tele, output, slices, threads, hash, onProgress } = request;
  const exposures = await nightExposures(request);
  const memory = await hashesOf(ledgerPlace(output, request.ledger));
  try {
    const options = nightOptions(request.options);
    const plan = await planNight({ exposures, mjd, tele, slices, output, options, threads, hash, memory, onProgress });
    return narrowed(plan, chosenJobs(plan, request));
  } finally {
    await memory?.close();
  }
}

/** What some jobs come to. */
export interface Sum {
  readonly jobs: number;
  readonly done: number;
  readonly todo: number;
  readonly dropped: number;
  /** Of those to do: CPU time, the largest of a job's memory, and disk. */
  readonly cpuSeconds: number;
  readonly peakBytes: number;
  readonly diskBytes: number;
}

export interface PlanSum extends Sum {
  readonly stages: readonly (Sum & { readonly stage: string })[];
  /** Of the jobs to do on the longest way through the graph: no number of workers is faster. */
  readonly longestSeconds: number;
  /** With so many jobs at once; what they share of a disk or of memory is not counted. */
  readonly wallSeconds: number;
  /** Of the largest jobs that may run at once. */
  readonly memoryBytes: number;
}

function sumOf(jobs: readonly Job[]): Sum {
  const todo = jobs.filter(({ state }) => state === 'todo');
  const sum = (of: (job: Job) => number) => todo.reduce((all, job) => all + of(job), 0);
  const count = (state: Job['state']) => jobs.filter((job) => job.state === state).length;
  return {
    jobs: jobs.length,
    done: count('done'),
    todo: todo.length,
    dropped: count('dropped'),
    cpuSeconds: sum(({ prediction }) => prediction.cpuSeconds),
    peakBytes: todo.reduce((most, { prediction }) => Math.max(most, prediction.peakBytes), 0),
    diskBytes: sum(({ prediction }) => prediction.diskBytes),
  };
}

/** @param atOnce jobs that run at once */
export function planSum(plan: Pick<Plan, 'jobs'>, atOnce: number): PlanSum {
  const ends = new Map<string, number>();
  for (const { id, needs, state, prediction } of plan.jobs) {
    const begin = needs.reduce((latest, { job }) => Math.max(latest, ends.get(job) ?? 0), 0);
    ends.set(id, begin + (state === 'todo' ? prediction.cpuSeconds : 0));
  }
  const all = sumOf(plan.jobs);
  const longestSeconds = Math.max(0, ...ends.values());
  const largest = plan.jobs
    .filter(({ state }) => state === 'todo')
    .map(({ prediction }) => prediction.peakBytes)
    .sort((a, b) => b - a)
    .slice(0, atOnce);
  return {
    ...all,
    stages: stagesOf(plan).map((stage) => ({ stage, ...sumOf(plan.jobs.filter((job) => job.stage === stage)) })),
    longestSeconds,
    wallSeconds: Math.max(longestSeconds, all.cpuSeconds / atOnce),
    memoryBytes: largest.reduce((sum, bytes) => sum + bytes, 0),
  };
}

/** What a plan says about an exposure. */
export interface PlannedExposure {
  readonly exposure: Exposure;
  /** Its own jobs, and those that join its chips. */
  readonly jobs: readonly Job[];
}

export function plannedExposures({ exposures, jobs }: Pick<Plan, 'exposures' | 'jobs'>): PlannedExposure[] {
  const own = new Map<string, Job[]>();
  for (const job of jobs) {
    const { tele, exposure } = job.identity;
    if (exposure !== undefined) own.set(`${tele} ${exposure}`, [...(own.get(`${tele} ${exposure}`) ?? []), job]);
  }
  return exposures.map((exposure) => ({ exposure, jobs: own.get(`${exposure.tele} ${exposure.exposure}`) ?? [] }));
}

/** A string of the DOT language. */
const quoted = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

const COLOURS: Readonly<Record<Job['state'], string>> = { done: '#b7e1cd', todo: '#ffffff', dropped: '#f4c7c3' };
const STYLES = { input: 'solid', gate: 'dashed', order: 'dotted' } as const;

/**
 * The graph in the DOT language of Graphviz: a box for each job, green when it is done and red when it is dropped; a solid
 * arrow is an input, a dashed one a verdict, a dotted one an order. A frame for each telescope and slice.
 */
export function planDot({ jobs, mjd }: Pick<Plan, 'jobs' | 'mjd'>): string {
  const frames = new Map<string, Job[]>();
  for (const job of jobs) {
    const frame = `${job.identity.tele} ${job.slice === JOIN ? 'chips joined' : `chip ${job.slice}`}`;
    frames.set(frame, [...(frames.get(frame) ?? []), job]);
  }
  const lines = [
    `digraph ${quoted(`night ${mjd}`)} {`,
    '  rankdir=LR;',
    '  node [shape=box, style=filled, fontname="sans-serif"];',
  ];
  for (const [i, [frame, own]] of [...frames].entries()) {
    lines.push(`  subgraph cluster_${i} {`, `    label=${quoted(frame)};`);
    for (const { id, state, why } of own) {
      lines.push(`    ${quoted(id)} [fillcolor=${quoted(COLOURS[state])}, tooltip=${quoted(`${state}: ${why}`)}];`);
    }
    lines.push('  }');
  }
  for (const { id, needs } of jobs) {
    for (const { job, how, role } of needs) {
      lines.push(`  ${quoted(job)} -> ${quoted(id)} [style=${STYLES[how]}, tooltip=${quoted(role)}];`);
    }
  }
  return `${lines.join('\n')}\n}\n`;
}
