/** rampline status OUT */
import type { Command } from 'commander';
import type { JobStatus, ReasonGroup, RunStatus, ShownState, StatusReport } from '../../night/status.js';
import { wholeNumber } from '../options.js';
import type { Define } from '../reply.js';
import { printable, table } from '../table.js';

interface StatusFlags {
  readonly tele?: string;
  readonly mjd?: number;
  readonly failed?: boolean;
  readonly ledger?: string;
  readonly rebuild?: boolean;
}

/** So many runs are shown, beside those that go on. */
const RUNS = 5;
/** So many jobs or exposures are named in a line. */
const NAMED = 6;

export function defineStatus(program: Command, define: Define): void {
  define<StatusFlags>(
    program,
    {
      name: 'status',
      summary: 'how far a night is: runs, counts by stage, what runs now, what was dropped and why',
      more:
        'Works while a run goes on and after one was killed. It reads the ledger (OUT/state/ledger.sqlite, or the database\n' +
        'that OUT/state/ledger.json names); without one, products and logs, which say the same. A ledger is an index:\n' +
        '--rebuild makes it again. Whether a product is whole is what rampline check says.',
      examples: [
        ['rampline status out', 'all nights of an output directory'],
        ['rampline status out --tele apo --mjd 60855', 'one night of one telescope'],
        ['rampline status out --failed', 'every job that was dropped or failed, with its reason'],
        ['rampline --json status out', 'for programs: every job'],
      ],
    },
    (command) =>
      command
        .argument('<out>', 'output directory of rampline run')
        .option('--tele <name>', 'telescope')
        .option('--mjd <night>', 'night', wholeNumber('--mjd', 1, 999_999))
        .option('--failed', 'only what was dropped or failed, job by job')
        .option('--ledger <url>', 'postgres:// URL of the ledger, or none (default: what the directory itself says)')
        .option('--rebuild', 'make the ledger again from products and logs first'),
    async ([out], { tele, mjd, failed = false, ledger, rebuild }) => {
      const { nightStatus } = await import('../../night/status.js');
      const output = out as string;
      const report = await nightStatus({ output, tele: tele === undefined ? undefined : [tele], mjd, ledger, rebuild });
      const lost = report.jobs.filter(({ state }) => state === 'dropped' || state === 'failed');
      if (failed) return { json: { output, jobs: lost, reasons: report.reasons }, text: failedText(lost) };
      return { json: { ...report }, text: statusText(report) };
    },
  );
}

const clock = (time: string): string => time.replace('T', ' ').replace(/\.\d+Z$/, '');

function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 600) return `${Math.round(seconds)} s`;
  if (seconds < 36_000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

const since = (time: string | null): string =>
  time === null ? '' : duration(Math.max(0, (Date.now() - Date.parse(time)) / 1000));

/** 3, 4, 5, 9 as '3-5, 9'. */
export function ranges(numbers: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const n of numbers) {
    const last = parts.at(-1);
    if (last !== undefined && n === last[1] + 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(', ');
}

function runLine({ id, state, host, pid, begun, ended, exitCode, counts }: RunStatus): string[] {
  const end = ended === null ? '' : clock(ended);
  const jobs = Object.entries(counts)
    .filter(([, n]) => n > 0)
    .map(([name, n]) => `${n} ${name === 'todo' ? 'to do' : name}`);
  const how = exitCode === null || exitCode === 0 ? state : `${state} (exit ${exitCode})`;
  return [id, how, `${host} ${pid}`, clock(begun), end, jobs.join(', ')];
}

function reasonLine({ state, reason, tele, mjd, exposures, jobs }: ReasonGroup): string[] {
  const what = exposures.length === 0 ? jobs.slice(0, NAMED).join(', ') : `exposure ${ranges(exposures)}`;
  return [state, `${tele} ${mjd}`, what, String(jobs.length), reason];
}

function failedText(jobs: readonly JobStatus[]): string {
  if (jobs.length === 0) return 'nothing was dropped, nothing failed\n';
  const rows = jobs.map((job) => [
    job.id,
    job.state,
    job.failureClass ?? '',
    job.failureMessage ?? job.why ?? '',
    job.failureFile ?? '',
  ]);
  return table(['job', 'is', 'class', 'why', 'file'], rows);
}

/** One line for each holder: a run holds the chips of a night one by one. */
function locksText(locks: StatusReport['locks']): string {
  const lines = new Map<string, string[]>();
  for (const { name, host, pid, since: from, purpose, counts } of locks) {
    const how = counts ? 'held by' : 'left behind by';
    const who = `${how} ${host} ${pid} since ${clock(from)} (run ${purpose})`;
    lines.set(who, [...(lines.get(who) ?? []), name.replace(/\.lock$/, '')]);
  }
  return [...lines].map(([who, names]) => `${printable(`locks ${names.join(', ')}: ${who}`)}\n`).join('');
}

function statusText(report: StatusReport): string {
  const { output, source, because, runs, stages, running, reasons, again, slowest, locks, submissions } = report;
  const from = because === undefined ? source : `${source}, as ${because}`;
  const parts: string[] = [`${printable(output)}, from ${printable(from)}\n`];
  const section = (title: string, text: string): void => void parts.push(`${title}\n${text}`);
  for (const warning of report.warnings) parts.push(`note: ${printable(warning)}\n`);
  const shown = runs.filter(({ state }, i) => i < RUNS || state === 'running' || state === 'in Slurm');
  if (shown.length === 0) parts.push('no run is known\n');
  else {
    const head = ['run', 'is', 'who', 'begun', 'ended', 'plan'];
    const more = runs.length > shown.length ? `... and ${runs.length - shown.length} older\n` : '';
    parts.push(table(head, shown.map(runLine)) + more);
  }
  for (const text of submissions) parts.push(`Slurm: ${printable(text)}\n`);
  if (stages.length > 0) {
    const used = (['to do', 'running', 'killed', 'done', 'dropped', 'failed', 'cancelled'] as ShownState[]).filter(
      (state) => stages.some(({ counts }) => counts[state] > 0),
    );
    const rows = stages.map(({ tele, mjd, stage, counts }) => [
      `${tele} ${mjd}`,
      stage,
      ...used.map((state) => (counts[state] === 0 ? '' : String(counts[state]))),
    ]);
    parts.push(table(['night', 'stage', ...used], rows, used));
  }
  if (running.length > 0) {
    const rows = running.map((job) => [job.id, job.state, String(job.attempts), since(job.begun), job.place ?? '']);
    const killed = running.some(({ state }) => state === 'killed')
      ? 'killed: its run died; the next takes it up\n'
      : '';
    section('at work', table(['job', 'is', 'attempt', 'for', 'where'], rows, ['attempt', 'for']) + killed);
  }
  if (reasons.length > 0) {
    section('left out', table(['is', 'night', 'what', 'jobs', 'why'], reasons.map(reasonLine), ['jobs']));
  }
  if (again.length > 0) {
    const named = again.slice(0, NAMED).map(({ id, attempts }) => `${id} (${attempts} times)`);
    const more = again.length > NAMED ? ` and ${again.length - NAMED} more` : '';
    parts.push(`tried again: ${printable(named.join(', '))}${more}\n`);
  }
  if (slowest.length > 0) {
    const named = slowest.map(({ id, seconds }) => `${id} ${duration(seconds ?? 0)}`);
    parts.push(`slowest: ${printable(named.join(', '))}\n`);
  }
  if (locks.length > 0) parts.push(locksText(locks));
  return parts.join('\n');
}
