/**
 * Lists of bad exposures: of the user, and of the pipeline itself, in one format. A line an exposure: telescope, night, number,
 * chip (left out, empty or '-': all chips), reason. Fields are separated by tabs, by commas (CSV, quotes allowed) or by blanks.
 * '#' begins a comment. A first line that names the columns may order them otherwise, and may add `by` (user or pipeline).
 */
import type { Drop, Exposure } from '../core/exposure.js';
import { didYouMean } from '../core/suggest.js';
import { ascii } from './facts.js';
import { type Fail, linesOf, readText } from './fields.js';
import type { Almanac, Finding } from './types.js';

export interface BadExposure {
  readonly tele: string;
  readonly mjd: number;
  readonly exposure: number;
  /** Absent: all chips. */
  readonly chip?: string | undefined;
  readonly reason: string;
  readonly by: 'user' | 'pipeline';
}

const COLUMNS = ['tele', 'mjd', 'exposure', 'chip', 'reason', 'by'] as const;
type ColumnName = (typeof COLUMNS)[number];
const REQUIRED: readonly ColumnName[] = ['tele', 'mjd', 'exposure', 'reason'];
/** A list for every night of twenty years would be a megabyte. */
const MOST_BYTES = 16 * 2 ** 20;
const ALL_CHIPS = ['', '-', '*', 'all'];

/**
 * Reads a list.
 * @param by whose it is where no column says so
 * @throws InputError naming file and line
 */
export function readBadList(path: string, by: BadExposure['by'] = 'user'): BadExposure[] {
  const text = readText(path, 'a list of bad exposures', MOST_BYTES);
  return parseBadList(text, path, by);
}

/**
 * The entries of a list's text.
 * @param name of the file, for errors
 * @throws InputError naming file and line
 */
export function parseBadList(text: string, name: string, by: BadExposure['by'] = 'user'): BadExposure[] {
  const entries: BadExposure[] = [];
  let columns: readonly ColumnName[] | undefined;
  let first = true;
  for (const { fields, fail } of linesOf(text, name)) {
    const words = fields.map((field) => field.toLowerCase());
    const isHead = first && words.some((word) => word === 'tele' || word === 'exposure');
    first = false;
    if (isHead) {
      columns = headOf(words, fail);
      continue;
    }
    const value = columns === undefined ? byPosition(fields, fail) : byName(fields, columns, fail);
    entries.push(entryOf(value, by, fail));
  }
  return entries;
}

function headOf(words: readonly string[], fail: Fail): ColumnName[] {
  for (const [i, word] of words.entries()) {
    if (!COLUMNS.includes(word as ColumnName)) fail(`no column "${word}" is known${didYouMean(word, COLUMNS)}`);
    if (words.indexOf(word) !== i) fail(`the column ${word} is named twice`);
  }
  for (const name of REQUIRED) if (!words.includes(name)) fail(`the column ${name} is missing`);
  return words as ColumnName[];
}

/** tele mjd exposure [chip] reason: the fourth field is a chip if it looks like one and something follows. */
function byPosition(fields: readonly string[], fail: Fail): Partial<Record<ColumnName, string>> {
  const [tele, mjd, exposure, fourth, ...rest] = fields;
  if (fourth === undefined) fail(`expected tele mjd exposure [chip] reason, received ${fields.length} fields`);
  const isChip = rest.length > 0 && (ALL_CHIPS.includes(fourth!) || /^[a-z]$/.test(fourth!));
  const reason = (isChip ? rest : [fourth!, ...rest]).join(' ').trim();
  return { tele: tele!, mjd: mjd!, exposure: exposure!, chip: isChip ? fourth! : '', reason };
}

function byName(
  fields: readonly string[],
  columns: readonly ColumnName[],
  fail: Fail,
): Partial<Record<ColumnName, string>> {
  const out: Partial<Record<ColumnName, string>> = {};
  if (fields.length < columns.length && columns.at(-1) !== 'by' && columns.at(-1) !== 'chip') {
    fail(`expected ${columns.length} fields (${columns.join(' ')}), received ${fields.length}`);
  }
  // Words of a reason that was not quoted belong to it where it is the last column.
  if (fields.length > columns.length && columns.at(-1) !== 'reason') {
    fail(`expected ${columns.length} fields (${columns.join(' ')}), received ${fields.length}`);
  }
  for (const [i, name] of columns.entries()) {
    out[name] = i === columns.length - 1 && name === 'reason' ? fields.slice(i).join(' ') : (fields[i] ?? '');
  }
  return out;
}

function entryOf(value: Partial<Record<ColumnName, string>>, by: BadExposure['by'], fail: Fail): BadExposure {
  const whole = (name: 'mjd' | 'exposure', most: number): number => {
    const text = value[name] ?? '';
    if (!/^\d{1,8}$/.test(text) || Number(text) > most)
      fail(`expected ${name} to be a whole number up to ${most}, received "${text}"`);
    return Number(text);
  };
  const tele = value.tele ?? '';
  if (!/^[a-z][a-z0-9-]*$/.test(tele)) fail(`expected a telescope such as apo, received "${tele}"`);
  const chip = value.chip ?? '';
  if (!ALL_CHIPS.includes(chip) && !/^[a-z0-9]+$/.test(chip))
    fail(`expected a chip such as a, or -, received "${chip}"`);
  const reason = ascii(value.reason ?? '').trim();
  if (reason === '') fail('expected a reason');
  const who = value.by ?? '';
  if (!['', 'user', 'pipeline'].includes(who)) fail(`expected by to be user or pipeline, received "${who}"`);
  return {
    tele,
    mjd: whole('mjd', 999_999),
    exposure: whole('exposure', 9999),
    chip: ALL_CHIPS.includes(chip) ? undefined : chip,
    reason,
    by: who === '' ? by : (who as BadExposure['by']),
  };
}

const order = (a: BadExposure, b: BadExposure): number =>
  (a.tele < b.tele ? -1 : a.tele > b.tele ? 1 : 0) ||
  a.mjd - b.mjd ||
  a.exposure - b.exposure ||
  ((a.chip ?? '') < (b.chip ?? '') ? -1 : (a.chip ?? '') > (b.chip ?? '') ? 1 : 0);

/** Several lists as one, sorted: of what is named more than once the user's entry stays, else the first. */
export function mergeBadLists(...lists: readonly (readonly BadExposure[])[]): BadExposure[] {
  const merged = new Map<string, BadExposure>();
  for (const entry of lists.flat()) {
    const key = `${entry.tele} ${entry.mjd} ${entry.exposure} ${entry.chip ?? ''}`;
    const other = merged.get(key);
    if (other === undefined || (other.by === 'pipeline' && entry.by === 'user')) merged.set(key, entry);
  }
  return [...merged.values()].sort(order);
}

/** The text of a list, which `readBadList` reads back: tabs, sorted. */
export function badListText(entries: readonly BadExposure[]): string {
  const clean = (text: string): string => ascii(text.replace(/[\t\r\n]+/g, ' ').replaceAll('#', '')).trim();
  const lines = mergeBadLists(entries).map(({ tele, mjd, exposure, chip, reason, by }) =>
    [tele, mjd, exposure, chip ?? '-', clean(reason), by].join('\t'),
  );
  return `${['tele\tmjd\texposure\tchip\treason\tby', ...lines].join('\n')}\n`;
}

/**
 * The almanac with the list's exposures dropped. The user's word stands above every rule, the pipeline's below. Entries of
 * other nights are left alone; one that speaks of nothing is a finding.
 */
export function applyBadList(almanac: Almanac, entries: readonly BadExposure[]): Almanac {
  const exposures = new Map(almanac.exposures.map((exposure) => [exposure.exposure, exposure]));
  const findings: Finding[] = [];
  for (const { tele, mjd, exposure: number, chip, reason, by } of mergeBadLists(entries)) {
    if (tele !== almanac.tele || mjd !== almanac.mjd) continue;
    const exposure = exposures.get(number);
    const frame = exposure?.frames.find((one) => one.chip === chip);
    if (exposure === undefined || exposure.kind === 'missing' || (chip !== undefined && frame === undefined)) {
      const what = `exposure ${number}${chip === undefined ? '' : ` chip ${chip}`}`;
      const text = `the ${by}'s list of bad exposures names ${what}, which is not there`;
      findings.push({ severity: 'warning', what: 'list', exposure: number, chip: chip ?? '', text });
      continue;
    }
    const drop: Drop = { by, reason };
    const better = (old: Drop | undefined): Drop =>
      old === undefined || (by === 'user' && old.by !== 'user') ? drop : old;
    const changed: Exposure =
      chip === undefined
        ? { ...exposure, drop: better(exposure.drop) }
        : {
            ...exposure,
            frames: exposure.frames.map((one) => (one.chip === chip ? { ...one, drop: better(one.drop) } : one)),
          };
    exposures.set(number, changed);
  }
  return { ...almanac, exposures: [...exposures.values()], findings: [...almanac.findings, ...findings] };
}
