/** What the files of a night look like, counted, and what of it is new: a change of layout is told, it is no error. */
import type { ExpectedHdu, NightRules } from '../core/night_rules.js';
import type { DatamodelChange, DatamodelEntry, Severity } from './types.js';

/** Keywords that one line of a change names. */
const MOST_NAMES = 12;

interface Counted {
  readonly format: string;
  readonly path: string;
  /** As `readFacts` gives them. */
  readonly features: readonly string[];
}

/** Counts features over files; sorted, so that the order of reading does not show. */
export function countFeatures(
  files: readonly Counted[],
  folders: readonly { readonly path: string; readonly folder: string }[],
): DatamodelEntry[] {
  const counts = new Map<string, { files: number; first: string }>();
  const add = (key: string, count: number, path: string): void => {
    const entry = counts.get(key);
    if (entry === undefined) counts.set(key, { files: count, first: path });
    else {
      entry.files += count;
      if (path < entry.first) entry.first = path;
    }
  };
  for (const { path, folder } of folders) add(`\t-1\tfolder\t\t${folder}`, 1, path);
  // Nearly all files of a night look the same: each look is taken apart once.
  const looks = new Map<string, { one: Counted; files: number; first: string }>();
  for (const one of files) {
    const key = `${one.format}\n${one.features.join('\n')}`;
    const look = looks.get(key);
    if (look === undefined) looks.set(key, { one, files: 1, first: one.path });
    else {
      look.files++;
      if (one.path < look.first) look.first = one.path;
    }
  }
  for (const { one, files: count, first } of looks.values()) {
    for (const feature of one.features) add(`${one.format}\t${feature}`, count, first);
  }
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, { files: n, first }]) => {
      const [format, hdu, what, name, value] = key.split('\t') as [
        string,
        string,
        DatamodelEntry['what'],
        string,
        string,
      ];
      return { format, hdu: Number(hdu), what, name, value, files: n, first: first.replace(/[^\x20-\x7e]/g, '?') };
    });
}

/** Files of a format that could be read, by the feature that each of them has exactly one of. */
function filesOf(entries: readonly DatamodelEntry[], format: string): number {
  let n = 0;
  for (const e of entries) if (e.format === format && e.hdu === 0 && e.what === 'kind') n += e.files;
  return n;
}

const where = ({ files, first }: { readonly files: number; readonly first: string }, of: number): string =>
  `in ${files} of ${of} files, first ${first}`;

/** Cards that came with the same files are one line. */
function cardLines(
  cards: readonly { readonly name: string; readonly type: string; readonly where: string }[],
  verb: string,
): string[] {
  const groups = new Map<string, string[]>();
  for (const card of cards) {
    groups.set(card.where, [...(groups.get(card.where) ?? []), `${card.name} (${card.type})`]);
  }
  return [...groups].map(([place, names]) => {
    const shown = names.slice(0, MOST_NAMES).join(', ');
    const rest = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : '';
    return `${names.length === 1 ? 'card' : 'cards'} ${shown}${rest} ${verb} ${place}`;
  });
}

const axesText = (value: string): string => (value === '' ? 'no image' : value);

/** What differs from what the instrument's rules expect. */
export function expectedChanges(entries: readonly DatamodelEntry[], rules: NightRules): DatamodelChange[] {
  const changes: DatamodelChange[] = [];
  const say = (severity: Severity, text: string): void => {
    changes.push({ severity, text });
  };
  for (const entry of entries) {
    if (entry.what !== 'folder' || rules.folders.includes(entry.value)) continue;
    say('warning', `folder ${entry.value} appeared: ${entry.files} files, first ${entry.first}`);
  }
  for (const format of formatsOf(entries)) {
    const hdus = rules.datamodel.formats[format];
    const of = filesOf(entries, format);
    const own = entries.filter((entry) => entry.format === format);
    if (hdus === undefined) {
      say('warning', `format .${format} appeared: ${of} files`);
      continue;
    }
    for (const [hdu, expected] of hdus.entries()) layoutChanges(own, hdu, expected, of, say);
    const found = own.filter(({ what }) => what === 'card');
    const known = new Map(rules.datamodel.cards.map((card) => [card.keyword, card]));
    const news = found.filter(({ name }) => !known.has(name));
    for (const line of cardLines(
      news.map((entry) => ({ name: entry.name, type: entry.value, where: `HDU ${entry.hdu} ${where(entry, of)}` })),
      'appeared in',
    )) {
      say('warning', line);
    }
    for (const entry of found) {
      const card = known.get(entry.name);
      if (card === undefined || card.type === entry.value) continue;
      say(
        'warning',
        `card ${entry.name} is a ${entry.value} in HDU ${entry.hdu}, expected a ${card.type}: ${where(entry, of)}`,
      );
    }
    for (const { keyword, required } of rules.datamodel.cards) {
      if (!required) continue;
      const synonyms = Object.values(rules.dictionary).find((names: readonly string[]) => names.includes(keyword));
      const having = found.filter(({ name }) => name === keyword || (synonyms ?? []).includes(name));
      // A card may stand in both headers, and so may its synonym: the most that one of them has is sure.
      const most = Math.max(0, ...having.map(({ files }) => files));
      if (most < of) say('error', `card ${keyword} is missing in ${of - most} of ${of} files (.${format})`);
    }
  }
  return changes;
}

function formatsOf(entries: readonly DatamodelEntry[]): string[] {
  return [...new Set(entries.map(({ format }) => format))].filter((format) => format !== '').sort();
}

function layoutChanges(
  own: readonly DatamodelEntry[],
  hdu: number,
  expected: ExpectedHdu,
  of: number,
  say: (severity: Severity, text: string) => void,
): void {
  const of_ = (what: DatamodelEntry['what']) => own.filter((entry) => entry.hdu === hdu && entry.what === what);
  const present = of_('kind').reduce((n, { files }) => n + files, 0);
  if (present < of) say('error', `HDU ${hdu} is missing in ${of - present} of ${of} files`);
  for (const entry of of_('kind')) {
    if (entry.value !== expected.kind)
      say('error', `HDU ${hdu} is a ${entry.value}, expected a ${expected.kind}: ${where(entry, of)}`);
  }
  const axes = expected.axes.join(' x ');
  for (const entry of of_('axes')) {
    if (entry.value === axes) continue;
    // Fewer rows are a window of the detector, which can be reduced; another number of columns or axes cannot.
    const [cols, , ...more] = entry.value.split(' x ');
    const rowsAlone = axes !== '' && cols === String(expected.axes[0]) && more.length === 0;
    const text = `HDU ${hdu} is ${axesText(entry.value)}, expected ${axesText(axes)}: ${where(entry, of)}`;
    say(rowsAlone ? 'warning' : 'error', text);
  }
  for (const [what, wanted] of [
    ['bitpix', expected.axes.length === 0 ? undefined : String(expected.bitpix)],
    ['compression', expected.compression],
  ] as const) {
    if (wanted === undefined) continue;
    for (const entry of of_(what)) {
      if (entry.value === wanted) continue;
      const word = what === 'bitpix' ? 'BITPIX' : 'compression';
      say(
        'error',
        `HDU ${hdu} has ${word} ${entry.value || 'none'}, expected ${wanted || 'none'}: ${where(entry, of)}`,
      );
    }
  }
}

/** What differs between the files of two nights, or of one night before and after: features that are on one side alone. */
export function datamodelChanges(
  before: readonly DatamodelEntry[],
  after: readonly DatamodelEntry[],
): DatamodelChange[] {
  const keyOf = ({ format, hdu, what, name, value }: DatamodelEntry): string =>
    [format, hdu, what, name, value].join('\t');
  const changes: DatamodelChange[] = [];
  const side = (one: readonly DatamodelEntry[], other: readonly DatamodelEntry[], appeared: boolean): void => {
    const known = new Set(other.map(keyOf));
    const only = one.filter((entry) => !known.has(keyOf(entry)));
    const verb = appeared ? 'appeared' : 'is gone';
    for (const entry of only.filter(({ what }) => what !== 'card')) {
      const { format, hdu, what, value } = entry;
      const thing =
        what === 'folder' ? `folder ${value || 'of the root'}` : `.${format} HDU ${hdu} ${what} ${value || 'none'}`;
      const of = what === 'folder' ? entry.files : filesOf(one, format);
      changes.push({ severity: 'warning', text: `${thing} ${verb}: ${where(entry, of)}` });
    }
    const cards = only
      .filter(({ what }) => what === 'card')
      .map((entry) => ({
        name: entry.name,
        type: entry.value,
        where: `.${entry.format} HDU ${entry.hdu} ${where(entry, filesOf(one, entry.format))}`,
      }));
    for (const text of cardLines(cards, appeared ? 'appeared in' : 'vanished from'))
      changes.push({ severity: 'warning', text });
  };
  side(before, after, false);
  side(after, before, true);
  return changes;
}
