/** A night that is as small as one can be: six exposures, 32 rows (the 1/f correction takes no fewer). */
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { expect } from 'vitest';
import type { NightEvent } from '../src/night/job.js';
import { rampline } from './cli.js';

export const MJD = 60_857;

export interface MiniNight {
  /** To be removed at the end. */
  readonly base: string;
  /** Raw files and their calibrations. */
  readonly raw: string;
  /** The words of a run into a directory. */
  args(output: string, ...more: string[]): string[];
}

/** Three darks, two internal flats, an object. */
const EXPOSURES = '1-3,7,8,17';

/** Simulates it. */
export function makeNight(): MiniNight {
  const base = mkdtempSync(join(tmpdir(), 'rampline-night-'));
  const raw = join(base, 'raw');
  const what = ['--size', 'small', '--rows', '32', '--tele', 'apo', '--exposures', EXPOSURES];
  const ended = rampline(['simulate', 'night', ...what, '-o', raw, '--log-level', 'error']);
  expect(ended.stderr).toBe('');
  expect(ended.code).toBe(0);
  const night = ['--tele', 'apo', '--mjd', String(MJD), '--calib', join(raw, 'calib')];
  const build = ['--build', 'one-over-f,photon-transfer,dark'];
  return {
    base,
    raw,
    args: (output, ...more) => ['run', raw, '-o', output, ...night, ...build, '--threads', '1', ...more],
  };
}

/** All files below a directory, relative to it. */
function files(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

/**
 * What a night made, by name: products as they are, manifests without the time, inode and the hash over them. Logs, locks and
 * the ledger are no products.
 */
export function treeOf(output: string): Map<string, string> {
  const tree = new Map<string, string>();
  for (const name of files(output)) {
    if (name.startsWith('log/') || name.startsWith('state/')) continue;
    const bytes = readFileSync(join(output, name));
    if (name.endsWith('.manifest.json')) {
      const { created: _, inode: __, mtimeNs: ___, check: ____, ...rest } = JSON.parse(bytes.toString('utf8'));
      tree.set(name, JSON.stringify(rest));
    } else tree.set(name, bytes.toString('latin1'));
  }
  return tree;
}

/** Names whose content is not the same in both. */
export function differences(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): string[] {
  return [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name)).sort();
}

/** Every event of the logs; a last line that was cut is passed over. */
export function eventsOf(output: string): NightEvent[] {
  const directory = join(output, 'log');
  return files(directory).flatMap((name) =>
    readFileSync(join(directory, name), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .flatMap((line) => {
        try {
          return [JSON.parse(line) as NightEvent];
        } catch {
          return [];
        }
      }),
  );
}
