/** Compares two products, or two directories product by product. */
import { existsSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { InputError, UsageError } from '../core/errors.js';
import { type DiffOptions, type DiffStatus, diffFiles, type HduDiff, worst } from '../stages/qa/diff.js';
import { listTree } from '../store/index.js';

export interface ProductDiff {
  readonly product: string;
  readonly status: DiffStatus;
  readonly hdus: readonly HduDiff[];
  /** Which side it is on, where it is missing on the other. */
  readonly detail: string;
}

export interface Comparison {
  readonly status: DiffStatus;
  readonly products: readonly ProductDiff[];
}

const FITS = /\.(?:fits|fit|fts|fz|apz)(?:\.gz)?$/i;

/**
 * Compares files A and B, or every FITS file below directory A with the one of that name below B.
 * @throws InputError when one is not there or is no FITS file, UsageError for a file against a directory
 */
export async function diff(a: string, b: string, options: DiffOptions = {}): Promise<Comparison> {
  for (const path of [a, b]) if (!existsSync(path)) throw new InputError('no such file or directory', { file: path });
  const [dirA, dirB] = [statSync(a).isDirectory(), statSync(b).isDirectory()];
  if (dirA !== dirB) throw new UsageError('expected two files or two directories, received one of each');
  if (!dirA) {
    const { status, hdus } = await diffFiles(a, b, options);
    return { status, products: [{ product: basename(a), status, hdus, detail: '' }] };
  }
  const fits = async (directory: string) =>
    new Map(
      (await listTree(directory))
        .filter(({ kind, name }) => kind === 'file' && FITS.test(name))
        .map(({ name, path }) => [name, path]),
    );
  const [left, right] = [await fits(a), await fits(b)];
  const products: ProductDiff[] = [];
  for (const product of [...new Set([...left.keys(), ...right.keys()])].sort()) {
    const [one, two] = [left.get(product), right.get(product)];
    if (one === undefined || two === undefined) {
      products.push({ product, status: 'missing', hdus: [], detail: `only in ${one === undefined ? b : a}` });
    } else {
      products.push({ product, ...(await diffFiles(one, two, options)), detail: '' });
    }
  }
  return { status: worst(products.map(({ status }) => status)), products };
}
