/** Where the raw files of a night lie. Names alone: nothing is opened. */
import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError, StorageError } from '../core/errors.js';
import type { NightRules } from '../core/night_rules.js';
import type { Identity, Instrument } from '../core/product.js';

export interface FoundFile {
  /** Relative to the root, with '/'. */
  readonly path: string;
  /** Its folder, relative to the root; '' for the root itself. */
  readonly folder: string;
  readonly identity: Identity;
}

export interface FoundFiles {
  /** In expected folders, best folder and format first where an exposure of a chip has several. */
  readonly raw: readonly FoundFile[];
  /** Of the night, in other folders. */
  readonly elsewhere: readonly FoundFile[];
  /** In the night's folder, of another night or telescope by their names. */
  readonly foreign: readonly FoundFile[];
}

/** Folders below the root that are searched for files out of place, and how deep: an archive has thousands of nights. */
const MOST_FOLDERS = 2000;
const DEEPEST = 4;

const fill = (folder: string, tele: string, mjd: number): string =>
  folder.replace('{tele}', tele).replace('{mjd}', String(mjd));

/** The folders that the rules name, for this night. */
export function expectedFolders(rules: NightRules, tele: string, mjd: number): string[] {
  return rules.folders.map((folder) => fill(folder, tele, mjd));
}

/** The ending that says the format: 'apz' of x.apz, 'fits' of x.fits.gz. */
export const formatOf = (name: string): string => /\.([^.]+?)(?:\.gz)?$/.exec(name)?.[1] ?? '';

async function list(directory: string, must: boolean): Promise<Dirent[]> {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const absent = code === 'ENOENT' || code === 'ENOTDIR';
    if (must && code === 'ENOTDIR') {
      throw new InputError('expected a directory of raw files, received a file', { file: directory, cause });
    }
    if (must && absent) throw new InputError('no such directory', { file: directory, cause });
    if (must) throw new StorageError(`the directory cannot be listed: ${message}`, { file: directory, cause });
    return [];
  }
}

/**
 * Looks in the expected folders, and below the root for raw files of the night that lie elsewhere. Folders of other nights
 * (names of digits) are not entered.
 * @throws InputError when the root is no directory, StorageError when it cannot be listed
 */
export async function findRaw(
  root: string,
  { tele, mjd, instrument, rules }: { tele: string; mjd: number; instrument: Instrument; rules: NightRules },
): Promise<FoundFiles> {
  const expected = expectedFolders(rules, tele, mjd);
  const formats = Object.keys(rules.datamodel.formats);
  const raw: FoundFile[] = [];
  const elsewhere: FoundFile[] = [];
  const foreign: FoundFile[] = [];
  const queue = [...new Set(['', ...expected])].map((folder) => ({ folder, depth: folder.split('/').length }));
  const seen = new Set(queue.map(({ folder }) => folder));
  for (let i = 0; i < queue.length && i < MOST_FOLDERS; i++) {
    const { folder, depth } = queue[i]!;
    for (const entry of await list(join(root, folder), folder === '')) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        const otherNight = /^\d+$/.test(entry.name) && entry.name !== String(mjd);
        if (!seen.has(path) && !otherNight && !entry.name.startsWith('.') && depth < DEEPEST) {
          seen.add(path);
          queue.push({ folder: path, depth: depth + 1 });
        }
        continue;
      }
      const identity = instrument.identify(entry.name);
      if (identity === undefined) continue;
      const file = { path, folder, identity };
      if (identity.mjd === mjd && identity.tele === tele) (expected.includes(folder) ? raw : elsewhere).push(file);
      // A folder of both telescopes may hold the other's files; the root may hold any night's.
      else if (folder === `${tele}/${mjd}` || (folder === String(mjd) && identity.mjd !== mjd)) foreign.push(file);
    }
  }
  const rank = ({ path, folder }: FoundFile): number =>
    expected.indexOf(folder) * 100 + formats.indexOf(formatOf(path)) * 2 + (path.endsWith('.gz') ? 1 : 0);
  const order = (a: FoundFile, b: FoundFile): number =>
    a.identity.exposure - b.identity.exposure ||
    (a.identity.chip < b.identity.chip ? -1 : a.identity.chip > b.identity.chip ? 1 : 0) ||
    rank(a) - rank(b) ||
    (a.path < b.path ? -1 : 1);
  return { raw: raw.sort(order), elsewhere: elsewhere.sort(order), foreign: foreign.sort(order) };
}
