/**
 * Slurm's commands as typed functions. No shell sees a word of ours: arguments go as arrays. Answers are read in formats that
 * we ask for field by field, because --json changed its layout from one release of Slurm to the next. The environment is
 * passed through, SLURM_CONF with it.
 */
import { spawn } from 'node:child_process';
import { BugError, RetriableError, UsageError } from '../../core/errors.js';

/** One line of squeue: a job, an element of an array, or the elements of an array that wait together. */
export interface QueuedJob {
  /** Id of the job or of the whole array: what sbatch answered. */
  readonly id: number;
  /** '3', or '1-2,7' of elements that wait; undefined of a job that is no array. */
  readonly elements: string | undefined;
  /** Slurm's own word: PENDING, RUNNING, COMPLETING, ... */
  readonly state: string;
  /** Why it waits, in Slurm's word: Dependency, Resources, ... */
  readonly reason: string;
}

export interface Partition {
  readonly name: string;
  readonly isDefault: boolean;
  /** Nodes that take jobs or will when they are free. */
  readonly nodes: number;
  /** Of all those nodes together. */
  readonly cpus: number;
  /** Of the smallest of those nodes. */
  readonly nodeCpus: number;
  /** Of the smallest of those nodes [bytes]. */
  readonly memoryBytes: number;
  /** Longest time of a job [minutes]; Infinity where there is none. */
  readonly maxMinutes: number;
}

export interface Dependency {
  /** 'afterany': when the other has ended, whatever came of it; 'aftercorr': element by element, when that one was good. */
  readonly how: 'afterany' | 'aftercorr';
  readonly id: number;
}

export interface BatchRequest {
  readonly name: string;
  /** Path of the script, and the words that it is given. */
  readonly script: string;
  readonly words?: readonly string[];
  /** Working directory of the job. */
  readonly directory: string;
  /** Patterns of sbatch for the files of stdout and stderr: %A array, %a element. */
  readonly stdout: string;
  readonly stderr: string;
  /** Elements of the array, rising. */
  readonly elements: readonly number[];
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly minutes: number;
  readonly after: readonly Dependency[];
  readonly partition?: string | undefined;
  readonly account?: string | undefined;
  /** More options of sbatch, as NAME=VALUE without the dashes. */
  readonly more: readonly string[];
}

/** A call that takes longer has met a controller that does not answer. */
const TIMEOUT_MS = 60_000;
/** Slurm signals a batch script so long before its time is over [s]: more than an orderly end takes. */
export const SIGNAL_BEFORE_END_SECONDS = 30;
const MIB = 2 ** 20;

/** What stderr says when the controller, or the way to it, is at fault and not the request. */
const AWAY =
  /unable to contact|connect(?:ion)? (?:failure|refused|timed? ?out)|timed out|temporarily unable|try again|munge|zero bytes|communication|socket/i;

/**
 * Runs one of Slurm's programs and gives its stdout.
 * @throws UsageError where it is not installed or refuses the request; RetriableError where the controller is away
 */
async function slurm(program: string, args: readonly string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', (cause: NodeJS.ErrnoException) => {
      const missing = cause.code === 'ENOENT' || cause.code === 'EACCES';
      reject(
        missing
          ? new UsageError(
              `${program} is not found (${cause.code}): --executor slurm needs a machine that submits to Slurm, with ` +
                'its commands on PATH',
              { cause },
            )
          : new RetriableError(`${program}: ${cause.message}`, { cause }),
      );
    });
    child.on('close', resolve);
  });
  if (code === 0) return stdout;
  const said = stderr.trim().replace(/\s*\n\s*/g, '; ') || `it ended with ${code ?? child.signalCode}`;
  if (code === null || AWAY.test(said)) throw new RetriableError(`${program}: the controller does not answer: ${said}`);
  throw new UsageError(`${program} refuses: ${said}`);
}

/** [1, 2, 3, 7] as '1-3,7': what --array takes. */
export function elementRanges(elements: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const element of elements) {
    const open = ranges.at(-1);
    if (open !== undefined && element === open[1] + 1) open[1] = element;
    else ranges.push([element, element]);
  }
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(',');
}

/** Arguments of sbatch for a request; a pure function, so that tests see every word. */
export function batchArguments(request: BatchRequest): string[] {
  const { name, after, partition, account } = request;
  return [
    '--parsable',
    `--job-name=${name}`,
    `--array=${elementRanges(request.elements)}`,
    `--chdir=${request.directory}`,
    `--output=${request.stdout}`,
    `--error=${request.stderr}`,
    // One task with several cores on one node; what it starts shares them.
    '--nodes=1',
    '--ntasks=1',
    `--cpus-per-task=${request.cpus}`,
    `--mem=${Math.ceil(request.memoryBytes / MIB)}M`,
    `--time=${request.minutes}`,
    // What was preempted or lost its node runs again; what is done by then is skipped by its manifest.
    '--requeue',
    '--open-mode=append',
    // B: to the batch script, which has made way for us by exec.
    `--signal=B:TERM@${SIGNAL_BEFORE_END_SECONDS}`,
    ...(after.length === 0 ? [] : [`--dependency=${after.map(({ how, id }) => `${how}:${id}`).join(',')}`]),
    // An element whose aftercorr can never come true ends instead of waiting for ever.
    '--kill-on-invalid-dep=yes',
    ...(partition === undefined ? [] : [`--partition=${partition}`]),
    ...(account === undefined ? [] : [`--account=${account}`]),
    // Last, so that they win.
    ...request.more.map((option) => `--${option}`),
    request.script,
    ...(request.words ?? []),
  ];
}

/**
 * Submits an array; its id.
 * @throws UsageError where Slurm refuses the request, in Slurm's words; RetriableError where the controller is away
 */
export async function submit(request: BatchRequest): Promise<number> {
  const answer = await slurm('sbatch', batchArguments(request));
  // 'ID' or 'ID;CLUSTER'
  const id = Number(/^(\d+)(?:;|\s*$)/.exec(answer)?.[1]);
  if (!Number.isSafeInteger(id)) throw new BugError(`sbatch --parsable answered ${JSON.stringify(answer)}, not an id`);
  return id;
}

/** Lines of a squeue that was asked for %F|%K|%T|%r. */
export function parseQueue(text: string): QueuedJob[] {
  return text.split('\n').flatMap((line) => {
    const [id = '', elements = '', state = '', reason = ''] = line.split('|');
    if (!/^\d+$/.test(id)) return [];
    return [{ id: Number(id), elements: /^\d/.test(elements) ? elements : undefined, state, reason }];
  });
}

/**
 * Which of these jobs Slurm still holds: pending, running or ending. One that Slurm has forgotten is not among them.
 * @throws UsageError, RetriableError
 */
export async function queued(ids: readonly number[]): Promise<QueuedJob[]> {
  if (ids.length === 0) return [];
  try {
    return parseQueue(await slurm('squeue', ['--noheader', '--format=%F|%K|%T|%r', `--jobs=${ids.join(',')}`]));
  } catch (error) {
    // Asked for one job alone, Slurm calls an id that it has forgotten invalid.
    if (error instanceof UsageError && /invalid job id/i.test(error.message)) return [];
    throw error;
  }
}

/**
 * Cancels what is left of these jobs: what runs gets SIGTERM, and SIGKILL after the cluster's KillWait.
 * @throws UsageError, RetriableError
 */
export async function cancel(ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return;
  try {
    await slurm('scancel', ['--quiet', ...ids.map(String)]);
  } catch (error) {
    if (error instanceof UsageError && /invalid job id/i.test(error.message)) return;
    throw error;
  }
}

/** Slurm's [days-]hours:minutes:seconds, 'infinite' and the like, in minutes. */
function minutesOf(text: string): number {
  const found = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/.exec(text);
  if (found === null) return Number.POSITIVE_INFINITY;
  const [days, hours, minutes, seconds] = found.slice(1).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
  ];
  return days * 1440 + hours * 60 + minutes + seconds / 60;
}

/** Lines of a sinfo --Node that was asked for %P|%c|%m|%T|%l; nodes that are down, drained or failing do not count. */
export function parsePartitions(text: string): Partition[] {
  const partitions = new Map<string, Partition>();
  for (const line of text.split('\n')) {
    const [label = '', cpus = '', memory = '', state = '', limit = ''] = line.split('|');
    if (!/^(?:idle|mix|alloc|comp|resv|reserved|plan)/i.test(state) || /drain|down|fail/i.test(state)) continue;
    const name = label.replace(/\*$/, '');
    const before = partitions.get(name);
    partitions.set(name, {
      name,
      isDefault: label.endsWith('*'),
      nodes: (before?.nodes ?? 0) + 1,
      cpus: (before?.cpus ?? 0) + Number.parseInt(cpus, 10),
      nodeCpus: Math.min(before?.nodeCpus ?? Number.POSITIVE_INFINITY, Number.parseInt(cpus, 10)),
      memoryBytes: Math.min(before?.memoryBytes ?? Number.POSITIVE_INFINITY, Number.parseInt(memory, 10) * MIB),
      maxMinutes: minutesOf(limit),
    });
  }
  return [...partitions.values()];
}

/**
 * The partition that jobs go to: the one that is named, or the cluster's default, or its only one.
 * @throws UsageError where there is none of that name, or none that takes jobs; RetriableError where the controller is away
 */
export async function partition(name?: string): Promise<Partition> {
  const all = parsePartitions(await slurm('sinfo', ['--noheader', '--Node', '--format=%P|%c|%m|%T|%l']));
  const found =
    name === undefined ? (all.find((one) => one.isDefault) ?? all[0]) : all.find((one) => one.name === name);
  if (found !== undefined) return found;
  const names = all.map((one) => one.name).join(', ') || 'none';
  throw new UsageError(
    name === undefined
      ? 'no partition of this cluster has a node that takes jobs'
      : `partition '${name}' has no node that takes jobs, or is not there; partitions with such nodes: ${names}`,
  );
}
