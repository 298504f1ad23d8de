/** The ledger as the product tree tells it: logs first, then manifests of what no log speaks of. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { BugError, StorageError } from '../core/errors.js';
import { listTree, readManifest } from '../store/index.js';
import type { LedgerEvent } from './events.js';
import { Fold, parseJobId, type Rows } from './fold.js';

/** Job of a product by its name; undefined for what is no product of a job. */
export type JobOfProduct = (name: string) => { readonly id: string; readonly stage: string } | undefined;

/**
 * The job of `PREFIX-TELE-MJD[-CHIP][-EXPOSURE].fits`.
 * @param stages name of the stage by the prefix of its products
 */
export function jobOfProduct(stages: Readonly<Record<string, string>>): JobOfProduct {
  return (name) => {
    const file = /^([a-z0-9]+)-(.*)\.fits$/.exec(basename(name));
    const stage = file === null ? undefined : stages[file[1] as string];
    const id = `${stage}-${file?.[2]}`;
    return stage === undefined || parseJobId(id, stage) === undefined ? undefined : { id, stage };
  };
}

/** Of an output directory: locks, the ledger, submissions. */
export const STATE_FOLDER = 'state';

export interface TreeLedger extends Rows {
  readonly unreadable: readonly UnreadableLine[];
}

function isEvent(value: unknown): value is LedgerEvent {
  const { time, run, event } = (value ?? {}) as Record<string, unknown>;
  return typeof time === 'string' && typeof run === 'string' && typeof event === 'string';
}

/** A line of a log that could not be read: the last one of a killed writer. */
export interface UnreadableLine {
  readonly file: string;
  readonly line: number;
}

/** Events of a file, in its order. */
function* eventsOf(file: string, unreadable: UnreadableLine[]): Generator<LedgerEvent> {
  for (const [i, text] of lines(file).entries()) {
    if (text === '') continue;
    try {
      const event: unknown = JSON.parse(text);
      if (!isEvent(event)) throw new SyntaxError('no event');
      yield event;
    } catch {
      unreadable.push({ file, line: i + 1 });
    }
  }
}

/**
 * Takes in what runs elsewhere wrote below OUTPUT/state, where it is newer than what is known: nobody may have waited for them
 * to hand it on.
 */
export function takeNews(fold: Fold, output: string, unreadable: UnreadableLine[] = []): void {
  for (const file of logFiles(join(output, STATE_FOLDER), /\bevents[^/]*\.jsonl$/)) {
    for (const event of eventsOf(file, unreadable)) {
      const known = fold.jobs.get(event.job ?? '');
      if (event.job !== undefined && (known === undefined || event.time > known.updated)) apply(fold, event);
    }
  }
}

/** An event of a job whose id is none is not this program's: it is passed over. */
function apply(fold: Fold, event: LedgerEvent): void {
  try {
    fold.apply(event);
  } catch (error) {
    if (!(error instanceof BugError)) throw error;
  }
}

/**
 * Reads the logs and manifests of an output directory.
 * @throws StorageError
 */
export async function ledgerOfTree(output: string, job: JobOfProduct): Promise<TreeLedger> {
  const fold = new Fold({ strict: false });
  const unreadable: UnreadableLine[] = [];
  // A job's lines are all in one file, and so are a run's: the files need no common order.
  for (const file of logFiles(join(output, 'log'), /\.jsonl$/)) {
    for (const event of eventsOf(file, unreadable)) apply(fold, event);
  }
  takeNews(fold, output, unreadable);
  for (const { name, path, kind } of existsSync(output) ? await listTree(output) : []) {
    const made = kind === 'file' ? job(name) : undefined;
    if (made === undefined) continue;
    const before = fold.jobs.get(made.id);
    if (before?.state === 'done' && before.key !== null && before.products.length > 0) continue;
    const manifest = await readManifest(path);
    if (manifest === undefined) continue;
    const parts = parseJobId(made.id, made.stage)!;
    if (before === undefined) {
      const message = 'its product is there';
      const event = { time: manifest.created, run: '', event: 'planned', state: 'done', job: made.id } as const;
      fold.apply({ ...event, stage: parts.stage, key: manifest.key, message });
    }
    const row = fold.jobs.get(made.id)!;
    const products = row.products.length > 0 ? row.products : [name];
    const settled = ['done', 'skipped', 'dropped'].includes(row.state);
    // Killed between the product and its line in the log: the product is what counts.
    const state = settled ? row.state : 'done';
    const run = row.run === '' ? null : row.run;
    fold.jobs.set(row.id, {
      ...row,
      run,
      state,
      was: settled ? row.was : null,
      key: row.key ?? manifest.key,
      products,
    });
  }
  return { ...fold.rows(), unreadable };
}

function logFiles(directory: string, named: RegExp): string[] {
  if (!existsSync(directory)) return [];
  try {
    return (readdirSync(directory, { recursive: true }) as string[])
      .filter((name) => named.test(name))
      .sort()
      .map((name) => join(directory, name));
  } catch (cause) {
    throw new StorageError(`cannot be listed: ${(cause as Error).message}`, { file: directory, cause });
  }
}

function lines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch (cause) {
    throw new StorageError(`cannot be read: ${(cause as Error).message}`, { file, cause });
  }
}
