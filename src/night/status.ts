/** How far a night is, from its ledger (or products and logs), its locks and what Slurm holds. Writes nothing. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, RamplineError } from '../core/errors.js';
import { processState } from '../core/process.js';
import {
  type JobRow,
  type LedgerReading,
  type NightSelection,
  type RunRow,
  readLedger,
  rebuildLedger,
  STATE_FOLDER,
} from '../ledger/index.js';
import { type HeldLock, listLocks } from '../store/index.js';
import { ledgerPlace } from './ledger.js';
import { activeSubmissions, activeText } from './slurm/active.js';
import { NIGHT_BUILD_WORDS, nightStages } from './stages.js';

/** 'killed': it was at work when its run died. The next run takes it up. */
export type ShownState = 'to do' | 'running' | 'killed' | 'done' | 'dropped' | 'failed' | 'cancelled';
export const SHOWN_STATES: readonly ShownState[] = [
  'to do',
  'running',
  'killed',
  'done',
  'dropped',
  'failed',
  'cancelled',
];

export interface RunStatus extends Omit<RunRow, 'state'> {
  /** 'killed': its process is gone without a word; 'elsewhere': on another host, which nothing here can ask. */
  readonly state: RunRow['state'] | 'killed' | 'elsewhere' | 'in Slurm';
}

export interface JobStatus extends Omit<JobRow, 'state'> {
  readonly state: ShownState;
}

/** Jobs that were dropped or failed for one reason. */
export interface ReasonGroup {
  readonly state: 'dropped' | 'failed';
  readonly reason: string;
  /** Class of the error. */
  readonly error: string | null;
  readonly tele: string;
  readonly mjd: number;
  readonly exposures: readonly number[];
  readonly jobs: readonly string[];
}

export interface StageCount {
  readonly tele: string;
  readonly mjd: number;
  readonly stage: string;
  readonly counts: Readonly<Record<ShownState, number>>;
}

export interface StatusReport {
  readonly output: string;
  /** Where it was read. */
  readonly source: LedgerReading['source'];
  readonly because?: string | undefined;
  /** The newest first. */
  readonly runs: readonly RunStatus[];
  readonly stages: readonly StageCount[];
  readonly running: readonly JobStatus[];
  readonly reasons: readonly ReasonGroup[];
  /** Begun more than once in their run. */
  readonly again: readonly JobStatus[];
  /** The longest first. */
  readonly slowest: readonly JobStatus[];
  readonly locks: readonly HeldLock[];
  readonly submissions: readonly string[];
  /** What could not be asked. */
  readonly warnings: readonly string[];
  /** All of them, by id. */
  readonly jobs: readonly JobStatus[];
}

export interface StatusRequest extends NightSelection {
  readonly output: string;
  /** Of the ledger, see openLedger. */
  readonly ledger?: string | undefined;
  /** Makes the ledger again first. */
  readonly rebuild?: boolean | undefined;
}

/** So many of the slowest jobs are told. */
const SLOWEST = 5;

function runState(run: RunRow, inSlurm: ReadonlySet<string>): RunStatus['state'] {
  if (inSlurm.has(run.id)) return 'in Slurm';
  if (run.state !== 'running') return run.state;
  return ({ alive: 'running', dead: 'killed', unknown: 'elsewhere' } as const)[processState(run)];
}

function jobState({ state, run }: JobRow, runs: ReadonlyMap<string, RunStatus['state']>): ShownState {
  switch (state) {
    case 'planned':
      return 'to do';
    case 'skipped':
      return 'done';
    case 'running': {
      // Its run ended in whatever way, and never said what became of it.
      const owner = runs.get(run ?? '') ?? 'killed';
      return ['running', 'elsewhere', 'in Slurm'].includes(owner) ? 'running' : 'killed';
    }
    default:
      return state;
  }
}

/**
 * The sentence with which it began: 'because ID was dropped: SENTENCE' is one reason for all that comes after ID, also behind
 * a count ('0 of 3 rates are left and 1 are needed: because ...').
 */
function rootReason({ failureMessage, why }: JobStatus): string {
  const told = failureMessage ?? why ?? 'no reason was recorded';
  return /(?:^|: )because \S+ was dropped: (.*)$/s.exec(told)?.[1] ?? told;
}

function reasonGroups(jobs: readonly JobStatus[]): ReasonGroup[] {
  const groups = new Map<string, ReasonGroup & { exposures: number[]; jobs: string[] }>();
  for (const job of jobs) {
    const { state, tele, mjd, failureClass } = job;
    if (state !== 'dropped' && state !== 'failed') continue;
    const reason = rootReason(job);
    const key = JSON.stringify([state, tele, mjd, reason]);
    const group = groups.get(key) ?? { state, reason, error: failureClass, tele, mjd, exposures: [], jobs: [] };
    groups.set(key, group);
    group.jobs.push(job.id);
    if (job.exposure !== null && !group.exposures.includes(job.exposure)) group.exposures.push(job.exposure);
  }
  for (const { exposures } of groups.values()) exposures.sort((a, b) => a - b);
  return [...groups.values()].sort((a, b) => b.jobs.length - a.jobs.length);
}

function stageCounts(jobs: readonly JobStatus[]): StageCount[] {
  const order = nightStages(NIGHT_BUILD_WORDS).map(({ name }) => name);
  const place = (stage: string): number => (order.includes(stage) ? order.indexOf(stage) : order.length);
  const rows = new Map<string, StageCount & { counts: Record<ShownState, number> }>();
  for (const { tele, mjd, stage, state } of jobs) {
    const key = `${mjd} ${tele} ${stage}`;
    const none = Object.fromEntries(SHOWN_STATES.map((one) => [one, 0])) as Record<ShownState, number>;
    const row = rows.get(key) ?? { tele, mjd, stage, counts: none };
    rows.set(key, row);
    row.counts[state] += 1;
  }
  return [...rows.values()].sort(
    (a, b) => a.mjd - b.mjd || (a.tele < b.tele ? -1 : a.tele > b.tele ? 1 : place(a.stage) - place(b.stage)),
  );
}

/** Whether a run is about the nights that are asked for; one that does not say so is. */
function isAbout({ request }: RunRow, { tele, mjd }: NightSelection): boolean {
  const teles = Array.isArray(request.tele) ? (request.tele as unknown[]) : undefined;
  if (mjd !== undefined && request.mjd !== undefined && request.mjd !== mjd) return false;
  return tele === undefined || teles === undefined || tele.some((one) => teles.includes(one));
}

/** A lock's name is `TELE-MJD-SLICE.lock`. */
function lockIsAbout(name: string, { tele, mjd }: NightSelection): boolean {
  const [, lockTele, lockMjd] = /^([^-]+)-(\d+)-/.exec(name) ?? [];
  return (
    (tele === undefined || lockTele === undefined || tele.includes(lockTele)) &&
    (mjd === undefined || lockMjd === undefined || Number(lockMjd) === mjd)
  );
}

/**
 * What is known of the nights of an output directory, at any time: while a run goes on, after one was killed, without a ledger.
 * @throws InputError when there is no such directory; StorageError; RetriableError for a rebuild while a run goes on
 */
export async function nightStatus(request: StatusRequest): Promise<StatusReport> {
  const { output, tele, mjd } = request;
  if (!existsSync(output)) throw new InputError('no such directory of products', { file: output });
  const place = ledgerPlace(output, request.ledger);
  if (request.rebuild === true) await rebuildLedger(place);
  const warnings: string[] = [];
  const ask = async <T>(what: () => Promise<readonly T[]>): Promise<readonly T[]> => {
    try {
      return await what();
    } catch (error) {
      if (!(error instanceof RamplineError) || error.class === 'bug') throw error;
      warnings.push(error.describe());
      return [];
    }
  };
  const active = await ask(() => activeSubmissions(output));
  const locks = await ask(() => listLocks(join(output, STATE_FOLDER)));
  const reading = await readLedger(place, { tele, mjd });
  const inSlurm = new Set(active.map(({ run }) => run));
  const states = new Map(reading.runs.map((run) => [run.id, runState(run, inSlurm)]));
  for (const run of inSlurm) states.set(run, 'in Slurm');
  const jobs = reading.jobs.map((job): JobStatus => ({ ...job, state: jobState(job, states) }));
  const timed = jobs.filter(({ seconds }) => seconds !== null);
  return {
    output,
    source: reading.source,
    because: reading.because,
    runs: reading.runs
      .filter((run) => isAbout(run, request))
      .map((run) => ({ ...run, state: states.get(run.id) ?? run.state }))
      .reverse(),
    stages: stageCounts(jobs),
    running: jobs.filter(({ state }) => state === 'running' || state === 'killed'),
    reasons: reasonGroups(jobs),
    again: jobs.filter(({ attempts }) => attempts > 1),
    slowest: timed.sort((a, b) => (b.seconds ?? 0) - (a.seconds ?? 0)).slice(0, SLOWEST),
    locks: locks.filter(({ name }) => lockIsAbout(name, request)),
    submissions: active.map(activeText),
    warnings,
    jobs,
  };
}
