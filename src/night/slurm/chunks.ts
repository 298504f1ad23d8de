/**
 * A plan as job arrays: pure, no file and no Slurm. Jobs of one stage at one depth of the graph are a level, a level is an
 * array, an element of the array is a chunk: some jobs of that level, those of one detector together.
 */
import { UsageError } from '../../core/errors.js';
import type { Job, Plan } from '../job.js';

export interface Chunk {
  /** Ids, in the order of the plan. */
  readonly jobs: readonly string[];
  /** Predicted, of all its jobs together. */
  readonly cpuSeconds: number;
}

export interface LevelDependency {
  /** Index of the other level. */
  readonly level: number;
  /** 'aftercorr': chunk i of this level reads from chunk i of that one alone. */
  readonly how: 'afterany' | 'aftercorr';
}

/** One job array. */
export interface Level {
  readonly stage: string;
  readonly chunks: readonly Chunk[];
  readonly after: readonly LevelDependency[];
  /** For each chunk. */
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly minutes: number;
}

/** What is known of the cluster, and what was asked for. */
export interface ChunkShape {
  /** Cores of all nodes together. */
  readonly cpus: number;
  /** Of one node. */
  readonly nodeCpus: number;
  /** Of one node [bytes]. */
  readonly memoryBytes: number;
  /** Native threads of a job: cores of a chunk. */
  readonly threads: number;
  /** Resident memory of a chunk's process before its first job [bytes]. */
  readonly idleBytes: number;
  /** About so many chunks a level, instead of what follows from the cluster. */
  readonly chunks?: number | undefined;
  /** Time limit of a chunk instead of what follows from the predictions [minutes]. */
  readonly minutes?: number | undefined;
  /** Longest time that the partition allows [minutes]. */
  readonly maxMinutes: number;
}

/** Chunks for each core: enough that cores which are done early find more, few enough that starting them costs little. */
const CHUNKS_PER_CORE = 3;
/** A chunk is no shorter, where there is more to do [CPU s]: Slurm and Node take a few seconds to start one. */
const LEAST_SECONDS = 60;
/** Slurm's MaxArraySize is 1001 where nobody changed it; cuts at detectors may double what is aimed at. */
const MOST_CHUNKS = 500;
/** Time limits: predictions are for one machine and quiet disks. */
const TIME_FACTOR = 4;
const TIME_SPARE_MINUTES = 5;
/** Memory: a reserve over what is predicted, as Slurm kills what goes past its request. */
const MEMORY_FACTOR = 1.25;

/** A level while its chunks are found. */
interface Draft {
  readonly stage: string;
  readonly jobs: readonly Job[];
}

/** Longest chain of jobs that are to do, below each job that is to do. */
function depths(jobs: readonly Job[]): Map<string, number> {
  const depth = new Map<string, number>();
  // In the order of the plan every job comes after its needs; what is done or dropped has no depth and waits for nothing.
  for (const { id, needs } of jobs) depth.set(id, 1 + Math.max(-1, ...needs.map(({ job }) => depth.get(job) ?? -1)));
  return depth;
}

const detectorOf = ({ identity: { tele, chip } }: Job): string => `${tele} ${chip ?? ''}`;

/** Jobs in chunks of about `goal` CPU seconds: those of a detector follow one another, and a chunk rather ends between two. */
function cut(jobs: readonly Job[], goal: number): Chunk[] {
  const detectors = new Map<string, Job[]>();
  for (const job of jobs) {
    const name = detectorOf(job);
    const list = detectors.get(name);
    if (list === undefined) detectors.set(name, [job]);
    else list.push(job);
  }
  const chunks: { jobs: string[]; cpuSeconds: number }[] = [];
  let open: { jobs: string[]; cpuSeconds: number } | undefined;
  for (const list of detectors.values()) {
    for (const { id, prediction } of list) {
      if (open === undefined) {
        open = { jobs: [], cpuSeconds: 0 };
        chunks.push(open);
      }
      open.jobs.push(id);
      open.cpuSeconds += prediction.cpuSeconds;
      if (open.cpuSeconds >= goal) open = undefined;
    }
    if (open !== undefined && open.cpuSeconds >= Math.max(LEAST_SECONDS, goal / 2)) open = undefined;
  }
  const [before, last] = chunks.slice(-2);
  if (before !== undefined && last !== undefined && last.cpuSeconds < Math.min(LEAST_SECONDS, goal / 2)) {
    before.jobs.push(...last.jobs);
    before.cpuSeconds += last.cpuSeconds;
    chunks.pop();
  }
  return chunks;
}

/** How many chunks a level had best have. */
function aim(jobs: readonly Job[], shape: ChunkShape): number {
  const seconds = jobs.reduce((sum, { prediction }) => sum + prediction.cpuSeconds, 0);
  const slots = Math.max(1, Math.floor(shape.cpus / shape.threads));
  const wanted = shape.chunks ?? Math.min(slots * CHUNKS_PER_CORE, Math.floor(seconds / LEAST_SECONDS));
  return Math.max(1, Math.min(wanted, jobs.length, MOST_CHUNKS));
}

/**
 * The chunks of a level that goes with another: chunk i holds the jobs that read from chunk i. Undefined where some job
 * reads from several chunks, or where its own cut would give clearly fewer chunks.
 */
function follow(jobs: readonly Job[], before: readonly Chunk[], goal: number): Chunk[] | undefined {
  if (before.length > 2 * goal) return undefined;
  const home = new Map(before.flatMap((chunk, index) => chunk.jobs.map((id) => [id, index] as const)));
  const chunks = before.map(() => ({ jobs: [] as string[], cpuSeconds: 0 }));
  for (const { id, needs, prediction } of jobs) {
    const homes = new Set(needs.flatMap(({ job }) => home.get(job) ?? []));
    const [index] = homes;
    const chunk = index === undefined || homes.size > 1 ? undefined : chunks[index];
    if (chunk === undefined) return undefined;
    chunk.jobs.push(id);
    chunk.cpuSeconds += prediction.cpuSeconds;
  }
  // Arrays whose elements correspond have the same elements.
  return chunks.every((chunk) => chunk.jobs.length > 0) ? chunks : undefined;
}

/**
 * Cuts what a plan has to do into job arrays.
 * @param todo ids of the jobs that are to run: those in state 'todo', and those that are done again
 * @throws UsageError where a job needs more memory than a node has, or more time than the partition allows
 */
export function chunkPlan(plan: Plan, todo: ReadonlySet<string>, shape: ChunkShape): Level[] {
  const jobs = plan.jobs.filter(({ id }) => todo.has(id));
  const depth = depths(jobs);
  const drafts = new Map<string, { depth: number; stage: string; jobs: Job[] }>();
  for (const job of jobs) {
    const at = depth.get(job.id) as number;
    const name = `${at} ${job.stage}`;
    const draft = drafts.get(name);
    if (draft === undefined) drafts.set(name, { depth: at, stage: job.stage, jobs: [job] });
    else draft.jobs.push(job);
  }
  // By depth, so that a level is submitted after those that it waits for.
  const ordered: Draft[] = [...drafts.values()].sort((a, b) => a.depth - b.depth);
  const levelOf = new Map(ordered.flatMap((draft, index) => draft.jobs.map(({ id }) => [id, index] as const)));
  const levels: Level[] = [];
  for (const draft of ordered) {
    const needed = new Set(draft.jobs.flatMap(({ needs }) => needs.flatMap(({ job }) => levelOf.get(job) ?? [])));
    const number = aim(draft.jobs, shape);
    const seconds = draft.jobs.reduce((sum, { prediction }) => sum + prediction.cpuSeconds, 0);
    let chunks: readonly Chunk[] | undefined;
    const after: LevelDependency[] = [];
    for (const level of [...needed].sort((a, b) => a - b)) {
      const before = (levels[level] as Level).chunks;
      const along = chunks === undefined ? follow(draft.jobs, before, number) : undefined;
      if (along !== undefined) chunks = along;
      after.push({ level, how: along === undefined ? 'afterany' : 'aftercorr' });
    }
    chunks ??= cut(draft.jobs, seconds / number);
    levels.push({ stage: draft.stage, chunks, after, ...requestOf(draft, chunks, shape) });
  }
  return levels;
}

/** Cores, memory and time of each element of an array: those of its largest. */
function requestOf(
  { stage, jobs }: Draft,
  chunks: readonly Chunk[],
  shape: ChunkShape,
): Pick<Level, 'cpus' | 'memoryBytes' | 'minutes'> {
  const request = (bytes: number): number => Math.ceil((bytes + shape.idleBytes) * MEMORY_FACTOR);
  // The way of less memory where a node has no room for the other.
  const needOf = ({ prediction: { peakBytes, lowMemoryBytes = peakBytes } }: Job): number =>
    request(peakBytes) <= shape.memoryBytes ? peakBytes : lowMemoryBytes;
  const largest = jobs.reduce((a, b) => (needOf(b) > needOf(a) ? b : a));
  const memoryBytes = request(needOf(largest));
  if (memoryBytes > shape.memoryBytes) {
    throw new UsageError(
      `${largest.id} is predicted to need ${gigabytes(memoryBytes)} with its reserve and the smallest node of the ` +
        `partition has ${gigabytes(shape.memoryBytes)}: choose another with --partition`,
    );
  }
  // Even a chunk of one thread's work is given the time that one core takes: threads only help.
  const seconds = Math.max(...chunks.map((chunk) => chunk.cpuSeconds));
  const wanted = Math.ceil((seconds * TIME_FACTOR) / 60) + TIME_SPARE_MINUTES;
  const minutes = shape.minutes ?? Math.min(wanted, Math.floor(shape.maxMinutes));
  if (minutes > shape.maxMinutes || minutes * 60 < seconds) {
    throw new UsageError(
      `a chunk of ${stage} is predicted to take ${Math.ceil(seconds / 60)} min and may take ` +
        `${Math.min(minutes, shape.maxMinutes)} min: more chunks (--chunks), more time (--time) or another partition`,
    );
  }
  return { cpus: Math.min(shape.threads, shape.nodeCpus), memoryBytes, minutes };
}

const gigabytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
