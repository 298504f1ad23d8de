/** Reads the logs of a night: one JSON event a line. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { StorageError } from '../core/errors.js';
import type { NightEvent } from './job.js';
import { logOf } from './log.js';

/** Directory of a night's logs relative to the output directory. */
export const logFolder = (tele: string, mjd: number): string => dirname(logOf({ tele, mjd }));

function isEvent(value: unknown): value is NightEvent {
  const { time, run, event } = (value ?? {}) as Record<string, unknown>;
  return typeof time === 'string' && typeof run === 'string' && typeof event === 'string';
}

/**
 * All events of one telescope's night, file after file; none where nothing was run. A line that is no event (the last one of a
 * writer that was killed) is left out.
 * @throws StorageError when the system refuses to read a log
 */
export function readEvents(output: string, tele: string, mjd: number): NightEvent[] {
  const directory = join(output, logFolder(tele, mjd));
  if (!existsSync(directory)) return [];
  const events: NightEvent[] = [];
  try {
    for (const name of readdirSync(directory).sort()) {
      if (!name.endsWith('.jsonl')) continue;
      for (const line of readFileSync(join(directory, name), 'utf8').split('\n')) {
        const event = parsed(line);
        if (isEvent(event)) events.push(event);
      }
    }
  } catch (cause) {
    throw new StorageError(`the logs cannot be read: ${(cause as Error).message}`, { file: directory, cause });
  }
  return events;
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
