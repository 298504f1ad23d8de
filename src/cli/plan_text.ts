/** A plan for people: `rampline plan` and `rampline run --dry-run`. */
import { availableParallelism } from 'node:os';
import { EXIT_CODES } from '../core/errors.js';
import type { PlannedExposure, PlanSum, Sum } from '../night/dry_run.js';
import type { Job, Plan } from '../night/job.js';
import type { AskedNight } from './night_options.js';
import type { GlobalOptions, Reply, Session } from './reply.js';
import { bytesText, printable, table } from './table.js';

export interface PlanChoice {
  readonly dot?: boolean | undefined;
  /** See DryRunRequest. */
  readonly hash?: 'needed' | 'all' | 'none' | undefined;
}

/** Seconds as a person says them: 4.2 s, 12 min, 3.4 h. */
export function secondsText(seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** Jobs, time, memory and disk by stage. */
export function stagesText({ stages, ...all }: PlanSum): string {
  const row = (name: string, sum: Sum) => [
    name,
    ...[sum.jobs, sum.done, sum.todo, sum.dropped].map(String),
    secondsText(sum.cpuSeconds),
    bytesText(sum.peakBytes),
    bytesText(sum.diskBytes),
  ];
  const head = ['stage', 'jobs', 'done', 'to do', 'dropped', 'CPU', 'memory of a job', 'disk'];
  return table(head, [...stages.map((sum) => row(sum.stage, sum)), row('all', all)], head.slice(1));
}

/** What the reason of a job has in common with those of others. */
function kindOfWhy({ why }: Job): string {
  const waits = /^it waits for ([a-z][a-z0-9-]*?)-[a-z]+-\d+(?:[- ]|$)/.exec(why);
  return waits === null ? why : `it waits for ${waits[1]}`;
}

/** Jobs that are named in a line. */
const NAMED = 3;
/** Reasons that are told; --json has all. */
const REASONS = 20;

/** Jobs of one state with their reasons, each reason once. */
function reasonsText(title: string, jobs: readonly Job[]): string {
  if (jobs.length === 0) return '';
  const groups = new Map<string, Job[]>();
  for (const job of jobs) {
    const key = `${job.stage} ${kindOfWhy(job)}`;
    groups.set(key, [...(groups.get(key) ?? []), job]);
  }
  const lines = [...groups.values()].map((own) => {
    const [first] = own as [Job, ...Job[]];
    const names = own.slice(0, NAMED).map(({ id }) => id.slice(first.stage.length + 1));
    const more = own.length > NAMED ? `, ... ${own.length} in all` : '';
    return [`  ${first.stage}`, `${names.join(', ')}${more}`, kindOfWhy(first)];
  });
  const rest = lines.length > REASONS ? `  and ${lines.length - REASONS} more reasons (--json has all)\n` : '';
  const text = table([`${title}`, 'jobs', 'why'], lines.slice(0, REASONS));
  return `\n${text}${rest}`;
}

/** Dropped jobs but for those behind a dropped one, which are counted. */
function droppedText(jobs: readonly Job[]): string {
  const dropped = jobs.filter(({ state }) => state === 'dropped');
  const behind = dropped.filter(({ why }) => why.includes('because '));
  const more = behind.length === 0 ? '' : `  and ${behind.length} jobs that need one of these\n`;
  return reasonsText(
    'dropped',
    dropped.filter((job) => !behind.includes(job)),
  ).concat(more);
}

function exposuresText(exposures: readonly PlannedExposure[]): string {
  const rows = exposures.map(({ exposure, jobs }) => {
    const count = (state: Job['state']) => String(jobs.filter((job) => job.state === state).length);
    const lost = jobs.find(({ state }) => state === 'dropped');
    return [
      exposure.tele,
      String(exposure.exposure),
      exposure.kind,
      exposure.kind === 'missing' ? '-' : String(exposure.reads),
      exposure.frames.map(({ chip }) => chip).join('') || '-',
      ...(exposure.kind === 'missing' ? ['-', '-', '-'] : [count('done'), count('todo'), count('dropped')]),
      lost?.why ?? '',
    ];
  });
  const numbers = ['exposure', 'reads', 'done', 'to do', 'dropped'];
  return table(['tele', 'exposure', 'kind', 'reads', 'chips', 'done', 'to do', 'dropped', 'why'], rows, numbers);
}

/** Jobs of other slices that these need. */
function othersText({ jobs, slices }: Plan): string {
  const others = jobs.filter(({ slice }) => !slices.includes(slice));
  if (others.length === 0) return '';
  const todo = others.filter(({ state }) => state === 'todo').length;
  const names = [...new Set(others.map(({ slice }) => slice))].join(', ');
  return `${others.length} jobs are of ${names}, which these need; ${todo} of them are not done\n`;
}

function planText(plan: Plan, sum: PlanSum, exposures: readonly PlannedExposure[], jobs: number): string {
  const { tele, mjd, slices, output } = plan;
  const cost = [
    `${secondsText(sum.cpuSeconds)} of CPU`,
    `about ${secondsText(sum.wallSeconds)} with ${jobs} at once (the longest chain takes ${secondsText(sum.longestSeconds)})`,
    `up to ${bytesText(sum.memoryBytes)} of memory`,
    `${bytesText(sum.diskBytes)} of disk`,
  ];
  return (
    `Night ${mjd} of ${tele.join(' and ')}, ${exposures.length} exposures, ${slices.join(', ')}; ${printable(output)}\n\n` +
    stagesText(sum) +
    (sum.todo === 0
      ? `\nNothing is to be done: ${sum.done} jobs are done, ${sum.dropped} dropped.\n`
      : `\n${sum.todo} of ${sum.jobs} jobs to do: ${cost.join(', ')}\n`) +
    othersText(plan) +
    reasonsText(
      'to do',
      plan.jobs.filter(({ state }) => state === 'todo'),
    ) +
    reasonsText(
      'done',
      plan.jobs.filter(({ state }) => state === 'done'),
    ) +
    droppedText(plan.jobs) +
    `\n${exposuresText(exposures)}`
  );
}

/** Plans a night and says what would be done. */
export async function planReply(
  asked: AskedNight,
  { dot = false, hash }: PlanChoice,
  options: GlobalOptions,
  session: Session,
): Promise<Reply> {
  const { dryRun, planDot, plannedExposures, planSum } = await import('../night/dry_run.js');
  const plan = await dryRun({ ...asked, hash, signal: session.interrupt.signal, onProgress: session.progress });
  const jobs = options.jobs ?? availableParallelism();
  const sum = planSum(plan, jobs);
  return {
    json: { ...plan, sum },
    text: dot ? planDot(plan) : planText(plan, sum, plannedExposures(plan), jobs),
    exitCode: EXIT_CODES.ok,
  };
}
