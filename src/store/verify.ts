/** What is in a directory, and whether it is what the manifests say. */
import { join } from 'node:path';
import { RamplineError } from '../core/errors.js';
import { inputFailure, nodeFs, type StoreFs } from './fs.js';
import { isManifestName, isTemporaryName, MANIFEST_SUFFIX } from './names.js';
import { compareProduct, readManifestFile } from './store.js';

export interface TreeEntry {
  /** Relative to the directory, with '/'. */
  readonly name: string;
  /** Joined with the directory as it was given. */
  readonly path: string;
  /** 'other': neither a file nor a directory (device, FIFO, socket), or a link to nothing. */
  readonly kind: 'file' | 'manifest' | 'temporary' | 'other';
}

/**
 * Every file below a directory, sorted by name within each directory. Links to files count as files; links to directories
 * are not entered (they may form a ring) and are left out.
 * @throws InputError when the directory is not there, StorageError when it cannot be read
 */
export async function listTree(directory: string, options: { fs?: StoreFs } = {}): Promise<TreeEntry[]> {
  const { fs = nodeFs } = options;
  const entries: TreeEntry[] = [];
  const visit = async (path: string, prefix: string): Promise<void> => {
    const found = await fs.readdir(path);
    found.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const item of found) {
      const name = prefix + item.name;
      const itemPath = join(path, item.name);
      if (item.isDirectory()) {
        await visit(itemPath, `${name}/`);
        continue;
      }
      let isFile = item.isFile();
      if (item.isSymbolicLink()) {
        const target = await fs.stat(itemPath).catch(() => undefined);
        if (target?.isDirectory()) continue;
        isFile = target?.isFile() ?? false;
      }
      const kind = isTemporaryName(item.name) ? 'temporary' : isManifestName(item.name) ? 'manifest' : 'file';
      entries.push({ name, path: itemPath, kind: isFile ? kind : 'other' });
    }
  };
  try {
    await visit(directory, '');
  } catch (error) {
    throw inputFailure(error, 'list the directory', directory);
  }
  return entries;
}

/**
 * - ok: the manifest is whole and the product has its size and sha256
 * - missing: a manifest, no product
 * - damaged: the product is not what its manifest says, or the manifest itself is damaged
 * - unlisted: no manifest (a report, a foreign file, or a product whose writer was killed before the entry)
 * - leftover: a temporary file; the next run sweeps it when its writer is dead
 * - unreadable: the system refuses to read it (permission, I/O error)
 */
export type VerifyStatus = 'ok' | 'missing' | 'damaged' | 'unlisted' | 'leftover' | 'unreadable';

export interface VerifyResult {
  /** Relative to the directory, with '/'. */
  readonly product: string;
  readonly status: VerifyStatus;
  /** One sentence; empty when ok. */
  readonly detail: string;
}

/**
 * Re-reads everything below a directory, one result for each product (or stray file), sorted by name. One bad file does not
 * stop the rest.
 * @throws InputError when the directory is not there, StorageError when it cannot be listed
 */
export async function* verifyDirectory(
  directory: string,
  options: { fs?: StoreFs } = {},
): AsyncGenerator<VerifyResult, void, void> {
  const { fs = nodeFs } = options;
  const entries = await listTree(directory, { fs });
  const listed = new Set(entries.filter(({ kind }) => kind === 'manifest').map(({ name }) => name));
  const companions = new Set<string>();
  for (const { path, name } of entries.filter(({ kind }) => kind === 'manifest')) {
    const entry = await readManifestFile(fs, path).catch(() => ''); // verifyOne says what is wrong with it
    const folder = name.slice(0, name.lastIndexOf('/') + 1);
    if (typeof entry !== 'string') for (const one of entry.companions ?? []) companions.add(folder + one.name);
  }
  for (const { name, path, kind } of entries) {
    if (kind === 'temporary') {
      yield { product: name, status: 'leftover', detail: 'a temporary file: its writer is at work or was killed' };
    } else if (kind === 'manifest') {
      const product = name.slice(0, -MANIFEST_SUFFIX.length);
      yield { product, ...(await verifyOne(fs, path)) };
    } else if (!listed.has(name + MANIFEST_SUFFIX) && !companions.has(name)) {
      const detail = kind === 'other' ? 'it is not a regular file' : 'it has no manifest';
      yield { product: name, status: 'unlisted', detail };
    }
  }
}

/** Re-reads one product and its manifest: whether the one is what the other says. Never 'unlisted' or 'leftover'. */
export async function verifyProduct(
  path: string,
  options: { fs?: StoreFs } = {},
): Promise<Pick<VerifyResult, 'status' | 'detail'>> {
  return verifyOne(options.fs ?? nodeFs, path + MANIFEST_SUFFIX);
}

async function verifyOne(fs: StoreFs, manifestPath: string): Promise<{ status: VerifyStatus; detail: string }> {
  try {
    const entry = await readManifestFile(fs, manifestPath);
    if (typeof entry === 'string') return { status: 'damaged', detail: entry };
    const path = manifestPath.slice(0, -MANIFEST_SUFFIX.length);
    return (await compareProduct(fs, path, entry, 'hash')) ?? { status: 'ok', detail: '' };
  } catch (error) {
    if (error instanceof RamplineError) return { status: 'unreadable', detail: error.message };
    throw error;
  }
}
