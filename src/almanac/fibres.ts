/**
 * Fibre maps: which fibre looks at what, in one configuration (or on one plate). Read from FITS binary tables, from CSV, and
 * from the HDF5 files of sdss/almanac (`[raw/]TELE/MJD/fibers/KEY/COLUMN`, one dataset a column).
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { basename } from 'node:path';
import { InputError, UsageError } from '../core/errors.js';
import { type Column, openFits } from '../fits/index.js';
import { ascii } from './facts.js';
import { type Fail, linesOf, readText } from './fields.js';
import type { Almanac, Fibre, FibreMap, FibreRole, Finding } from './types.js';

/** Spectrographs have 300 to 500 fibres, each with a few rows at most. */
const MOST_ROWS = 20_000;
const MOST_BYTES = 64 * 2 ** 20;

/** Words of sdss/almanac, of the robots' and the plates' time, to what ApogeeReduction.jl makes of them. */
const ROLES: Readonly<Record<string, FibreRole>> = {
  science: 'sci',
  sky: 'sky',
  sky_apogee: 'sky',
  sky_boss: 'skyB',
  standard: 'tel',
  standard_apogee: 'tel',
  bonus: 'fpiguide',
  open_fiber: 'serendipitous',
};

/** Names of columns, the first that is there counts. */
const COLUMNS = {
  fiberId: ['fiber_id', 'fiberid'],
  fiberType: ['fiber_type', 'fibertype'],
  category: ['category'],
  target: ['sdss_id', 'target_id', 'target', 'catalogid', 'catalog_id', 'object'],
  ra: ['ra'],
  dec: ['dec'],
} as const;
const KEY_COLUMNS = ['config_id', 'configuration', 'plate_id', 'plate'];

/** No light of the fibres is in these, whatever configuration their headers name. */
const UNLIT: readonly Almanac['exposures'][number]['kind'][] = ['dark', 'internalflat', 'missing'];

export interface FibreRequest {
  /** Configuration or plate. */
  readonly key: string;
  /** For HDF5, which holds many nights. */
  readonly tele: string;
  readonly mjd: number;
}

/** Values of one column, as text: integers of 64 bits keep their digits. */
type TextTable = ReadonlyMap<string, readonly string[]>;

/**
 * Reads the map of one configuration. A FITS or CSV file with a column config_id or plate_id holds several; one without is
 * the map of whatever configuration it is asked for.
 * @returns undefined when the file has no such configuration
 * @throws InputError for a file that cannot be read or has no fibre numbers, UsageError for another kind of file
 */
export async function readFibreMap(path: string, request: FibreRequest): Promise<FibreMap | undefined> {
  const kind = kindOf(path);
  const table = kind === 'hdf5' ? await fromHdf5(path, request) : kind === 'fits' ? fromFits(path) : fromText(path);
  if (table === undefined) return undefined;
  const key = KEY_COLUMNS.map((name) => table.get(name)).find((values) => values !== undefined);
  const rows = [...(table.values().next().value ?? []).keys()].filter(
    (row) => kind === 'hdf5' || key === undefined || key[row] === request.key,
  );
  if (rows.length === 0) return undefined;
  return { key: request.key, source: ascii(basename(path)), fibres: fibresOf(table, rows, path) };
}

/** Whether one map serves whatever configuration: a FITS or CSV file without a column that names them. */
function servesAny(path: string): boolean {
  const kind = kindOf(path);
  if (kind === 'hdf5') return false;
  const table = kind === 'fits' ? fromFits(path) : fromText(path);
  return !KEY_COLUMNS.some((name) => table.has(name));
}

/**
 * The almanac with the fibre maps of the configurations (or plates) of its exposures of fibres, from one file; those that the file lacks are findings.
 * A file that names no configuration serves the only one of the night, or a night whose headers name none (key '').
 * @throws InputError for a file that cannot be read, and for one that does not say which of several configurations it is of
 */
export async function withFibreMaps(almanac: Almanac, path: string): Promise<Almanac> {
  const { tele, mjd } = almanac;
  const lit = almanac.exposures.filter(({ kind }) => !UNLIT.includes(kind));
  const keys = [...new Set(lit.map(fibreKey))].filter((key) => key !== '').sort();
  if (servesAny(path)) {
    if (keys.length > 1) {
      const names = `${keys.slice(0, 5).join(', ')}${keys.length > 5 ? ', ...' : ''}`;
      throw new InputError(`it has no column config_id or plate_id, and the night has ${keys.length}: ${names}`, {
        file: path,
      });
    }
    if (keys.length === 0) keys.push('');
  }
  const fibreMaps: FibreMap[] = [];
  const findings: Finding[] = [];
  const tell = (text: string): void => {
    findings.push({ severity: 'warning', what: 'fibres', exposure: 0, chip: '', text });
  };
  if (keys.length === 0) {
    await readFibreMap(path, { key: '', tele, mjd }); // a file that cannot be read is told even so
    tell(`no header names a configuration or plate, so that no fibre map of ${ascii(basename(path))} is taken`);
  }
  for (const key of keys) {
    const map = await readFibreMap(path, { key, tele, mjd });
    if (map !== undefined) fibreMaps.push(map);
    else tell(`${ascii(basename(path))} has no fibre map of configuration or plate ${key}`);
  }
  return { ...almanac, fibreMaps, findings: [...almanac.findings, ...findings] };
}

/** What a fibre map of the exposure is found by: its configuration, else its plate, else ''. */
export const fibreKey = ({
  configuration,
  plate,
}: Pick<Almanac['exposures'][number], 'configuration' | 'plate'>): string =>
  configuration !== '' ? configuration : plate;

/** The fibre map of an exposure, if the almanac has it. */
export function fibreMapOf(almanac: Almanac, exposure: Almanac['exposures'][number]): FibreMap | undefined {
  return almanac.fibreMaps.find(({ key }) => key === fibreKey(exposure));
}

function kindOf(path: string): 'fits' | 'hdf5' | 'text' {
  if (/\.(?:fits?|fts)(?:\.gz)?$/i.test(path)) return 'fits';
  if (/\.(?:h5|hdf5?)$/i.test(path)) return 'hdf5';
  if (/\.(?:csv|tsv|txt)$/i.test(path)) return 'text';
  throw new UsageError(`expected a fibre map named .fits, .csv, .tsv, .txt, .h5 or .hdf5, received "${path}"`);
}

function fibresOf(table: TextTable, rows: readonly number[], path: string): Fibre[] {
  const column = (fact: keyof typeof COLUMNS): readonly string[] | undefined =>
    COLUMNS[fact].map((name) => table.get(name)).find((values) => values !== undefined);
  const ids = column('fiberId');
  if (ids === undefined) {
    const names = [...table.keys()].join(', ');
    throw new InputError(`expected a column ${COLUMNS.fiberId.join(' or ')}; there are ${names}`, { file: path });
  }
  const [types, categories, targets, ra, dec] = (['fiberType', 'category', 'target', 'ra', 'dec'] as const).map(column);
  const angle = (text: string | undefined): number => {
    const value = Number(text || Number.NaN);
    return Number.isFinite(value) && Math.abs(value) <= 360 ? value : Number.NaN;
  };
  return rows.map((row) => {
    const fiberId = Number(ids[row] || Number.NaN);
    if (!Number.isInteger(fiberId) || Math.abs(fiberId) > 1e6) {
      throw new InputError(`row ${row + 1}: expected the number of a fibre, received "${ids[row]}"`, { file: path });
    }
    const category = ascii(categories?.[row] ?? '').trim();
    const target = ascii(targets?.[row] ?? '').trim();
    const word = category.toLowerCase();
    return {
      fiberId,
      fiberType: ascii(types?.[row] ?? '').trim(),
      category,
      role: Object.hasOwn(ROLES, word) ? ROLES[word]! : 'fail',
      target: /^(?:-\d+|0|nan)?$/i.test(target) ? '' : target,
      ra: angle(ra?.[row]),
      dec: angle(dec?.[row]),
    };
  });
}

function fromText(path: string): TextTable {
  let names: string[] | undefined;
  const columns: string[][] = [];
  let rows = 0;
  for (const { fields, fail } of linesOf(readText(path, 'a fibre map', MOST_BYTES), path)) {
    if (names === undefined) {
      names = fields.map((field) => field.toLowerCase());
      for (const [i, name] of names.entries()) if (names.indexOf(name) !== i) fail(`the column ${name} is there twice`);
      columns.push(...names.map(() => []));
      continue;
    }
    checkRow(fields, names, ++rows, fail);
    for (const [i, field] of fields.entries()) columns[i]!.push(field);
  }
  if (names === undefined || rows === 0)
    throw new InputError('expected a line of column names and rows', { file: path });
  return new Map(names.map((name, i) => [name, columns[i]!]));
}

function checkRow(fields: readonly string[], names: readonly string[], row: number, fail: Fail): void {
  if (fields.length !== names.length) fail(`expected ${names.length} fields, received ${fields.length}`);
  if (row > MOST_ROWS) fail(`more than ${MOST_ROWS} rows`);
}

const FITS_COLUMNS: readonly string[] = [...Object.values(COLUMNS).flat(), ...KEY_COLUMNS];

function fromFits(path: string): TextTable {
  const file = openFits(path);
  try {
    for (const hdu of file.hdus) {
      if (hdu.kind !== 'bintable' && hdu.kind !== 'asciitable') continue;
      const count = hdu.header.number('TFIELDS', 0);
      const names = Array.from({ length: count }, (_, i) => hdu.header.string(`TTYPE${i + 1}`, '').trim());
      if (!names.some((name) => COLUMNS.fiberId.includes(name.toLowerCase() as 'fiberid'))) continue;
      const rows = hdu.axes[1] ?? 0;
      if (rows > MOST_ROWS) {
        throw new InputError(`a fibre map of ${rows} rows is longer than ${MOST_ROWS}`, { file: path, hdu: hdu.index });
      }
      const wanted = names.filter((name) => FITS_COLUMNS.includes(name.toLowerCase()));
      const { columns } = file.readTable(hdu, wanted);
      return new Map(columns.map((column) => [column.name.toLowerCase(), textOf(column, path)]));
    }
    throw new InputError(`expected a table with a column ${COLUMNS.fiberId.join(' or ')}`, { file: path });
  } finally {
    file.close();
  }
}

function textOf({ name, values, rows, offsets }: Column, path: string): string[] {
  if (offsets !== undefined || values.length !== rows) {
    throw new InputError(`expected one value a row in the column ${name}`, { file: path });
  }
  return Array.from(values as ArrayLike<unknown>, String);
}

const HDF5_SIGNATURE = '\x89HDF\r\n\x1a\n';

/** One group of one-dimensional datasets; undefined where the file has no such group. */
async function fromHdf5(path: string, { key, tele, mjd }: FibreRequest): Promise<TextTable | undefined> {
  checkSignature(path);
  const { default: h5 } = await import('h5wasm/node');
  const library = await h5.ready;
  library.activate_throwing_error_handler(); // else the library prints its own error stack
  try {
    const file = new h5.File(path, 'r');
    try {
      for (const top of ['', 'raw/']) {
        const group = descend(h5, file, `${top}${tele}/${mjd}/fibers`.split('/'), key);
        if (group === undefined) continue;
        const table = new Map<string, string[]>();
        for (const name of group.keys()) {
          if (!FITS_COLUMNS.includes(name.toLowerCase())) continue;
          table.set(name.toLowerCase(), datasetText(h5, group.get(name), `${group.path}/${name}`, path));
        }
        const lengths = new Set([...table.values()].map((values) => values.length));
        if (lengths.size > 1) {
          throw new InputError(`the columns of ${group.path} have different lengths: ${[...lengths].join(', ')}`, {
            file: path,
          });
        }
        return table;
      }
      return undefined;
    } finally {
      file.close();
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`the HDF5 file is damaged: ${hdf5Reason((cause as Error).message)}`, { file: path, cause });
  }
}

/** The innermost line of the library's error stack, which says what was met. */
function hdf5Reason(stack: string): string {
  const reasons = [...stack.matchAll(/ in \w+\(\): (.+)/g)];
  return ascii(reasons.at(-1)?.[1] ?? stack).slice(0, 200);
}

function checkSignature(path: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    throw new InputError(`the fibre map cannot be read: ${(cause as Error).message}`, { file: path, cause });
  }
  try {
    const bytes = Buffer.alloc(HDF5_SIGNATURE.length);
    readSync(descriptor, bytes, 0, bytes.length, 0);
    if (bytes.toString('latin1') !== HDF5_SIGNATURE) throw new InputError('it is no HDF5 file', { file: path });
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`the fibre map cannot be read: ${(cause as Error).message}`, { file: path, cause });
  } finally {
    closeSync(descriptor);
  }
}

type H5 = typeof import('h5wasm/node')['default'];
type H5Group = InstanceType<H5['Group']>;

/** Goes down by names that are there, so that nothing is asked of the library that it would call an error. */
function descend(h5: H5, from: H5Group, names: readonly string[], key: string): H5Group | undefined {
  let group = from;
  for (const name of [...names, key]) {
    if (!group.keys().includes(name)) return undefined;
    const next = group.get(name);
    if (!(next instanceof h5.Group)) return undefined;
    group = next;
  }
  return group;
}

function datasetText(h5: H5, entity: unknown, name: string, file: string): string[] {
  if (!(entity instanceof h5.Dataset)) throw new InputError(`${name} is no dataset`, { file });
  const { shape } = entity;
  if (shape === null || shape.length !== 1 || shape[0]! > MOST_ROWS) {
    throw new InputError(`${name} has the shape [${shape?.join(', ') ?? ''}], expected up to ${MOST_ROWS} rows`, {
      file,
    });
  }
  if (shape[0] === 0) return [];
  const { value } = entity;
  if (!Array.isArray(value) && !ArrayBuffer.isView(value))
    throw new InputError(`${name} holds no plain values`, { file });
  return Array.from(value as ArrayLike<unknown>, String);
}
