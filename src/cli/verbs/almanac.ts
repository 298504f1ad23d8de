/** rampline almanac scan | show | diff | check */
import { statSync } from 'node:fs';
import type { Command } from 'commander';
import type { Almanac, Cell, TableRows } from '../../almanac/index.js';
import { EXIT_CODES, InputError, UsageError } from '../../core/errors.js';
import { limitsOf, wholeNumber } from '../options.js';
import type { Define, GlobalOptions, Session } from '../reply.js';
import { printable, table } from '../table.js';

interface Night {
  readonly tele?: string;
  readonly mjd?: number;
  readonly instrument: string;
  readonly bad?: readonly string[];
  readonly fibers?: string;
}

/** Collects values of an option that may be given more than once. */
const collect = (text: string, before: readonly string[] = []): string[] => [...before, text];

const withNight = (command: Command): Command =>
  command
    .option('--tele <name>', 'telescope: apo or lco')
    .option('--mjd <n>', 'night (SJD)', wholeNumber('--mjd', 0, 999_999))
    .option('--instrument <name>', 'of which the raw files are', 'apogee');

const withLists = (command: Command): Command =>
  command
    .option('--bad <file>', 'list of bad exposures: tele mjd exposure [chip] reason (may be given again)', collect)
    .option('--fibers <file>', 'fibre maps: .fits, .csv, or .h5 of almanac');

/** What a night is listed from: the product of a scan, or a directory of raw files. */
async function load(path: string, options: Night & GlobalOptions, session: Session): Promise<Almanac> {
  const { applyBadList, mergeBadLists, readAlmanac, readBadList, scanNight, withFibreMaps } = await import(
    '../../almanac/index.js'
  );
  const { instrumentNamed } = await import('../../night/instruments.js');
  const lists = (options.bad ?? []).map((file) => readBadList(file));
  const bad = lists.length === 0 ? undefined : mergeBadLists(...lists);
  const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
  let almanac: Almanac;
  if (!isDirectory) {
    almanac = readAlmanac(path);
    if (bad !== undefined) almanac = applyBadList(almanac, bad);
  } else {
    const { tele, mjd } = options;
    if (tele === undefined || mjd === undefined) {
      throw new UsageError(`${path} is a directory of raw files: expected --tele and --mjd of the night`);
    }
    almanac = await scanNight(path, {
      tele,
      mjd,
      instrument: instrumentNamed(options.instrument),
      bad,
      limits: limitsOf(options),
      progress: (done, total) => session.progress(done, total, `reading headers of ${tele} ${mjd}`),
      signal: session.interrupt.signal,
    });
    if (almanac.exposures.length === 0) {
      throw new InputError(`no raw file of ${tele} ${mjd} is there${elsewhere(almanac)}`, { file: path });
    }
  }
  return options.fibers === undefined ? almanac : withFibreMaps(almanac, options.fibers);
}

/** Where files of the night were seen that were not taken. */
const elsewhere = ({ findings }: Almanac): string => {
  const found = findings.find(({ what }) => what === 'folder' || what === 'identity');
  return found === undefined ? '' : `; ${found.text}`;
};

const dropped = ({ drop, frames }: Almanac['exposures'][number]): string => {
  if (drop !== undefined) return `${drop.reason} (${drop.by})`;
  return frames.flatMap((frame) => (frame.drop === undefined ? [] : `${frame.chip}: ${frame.drop.reason}`)).join('; ');
};

/** A night in a few lines: how many of which kind, and what is not reduced. */
function summary(almanac: Almanac): string {
  const kinds = new Map<string, Almanac['exposures'][number][]>();
  for (const exposure of almanac.exposures) kinds.set(exposure.kind, [...(kinds.get(exposure.kind) ?? []), exposure]);
  const rows = [...kinds].map(([kind, all]) => {
    const reads = all.map((exposure) => exposure.reads);
    const [least, most] = [Math.min(...reads), Math.max(...reads)];
    return [
      kind,
      String(all.length),
      least === most ? String(most) : `${least} to ${most}`,
      String(all.flatMap(({ frames }) => frames).length),
      String(all.filter(({ drop }) => drop !== undefined).length),
    ];
  });
  return table(['kind', 'exposures', 'reads', 'files', 'dropped'], rows, ['exposures', 'reads', 'files', 'dropped']);
}

const findingsText = ({ findings }: Pick<Almanac, 'findings'>): string =>
  table(
    ['is', 'exposure', 'chip', 'what', 'text'],
    findings.map(({ severity, exposure, chip, what, text }) => [
      severity,
      exposure === 0 ? '-' : String(exposure),
      chip || '-',
      what,
      text,
    ]),
    ['exposure'],
  );

function countsOf({ findings }: Almanac): { errors: number; warnings: number } {
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  return { errors, warnings: findings.length - errors };
}

/** For people; --csv and --json have all columns. */
const SHOWN: Readonly<Record<string, readonly string[]>> = {
  exposures: 'exposure kind reads chips start exptime config sequence dropby dropwhy comment'.split(' '),
};

function rowsText(rows: TableRows, name: string): string {
  const names = (SHOWN[name] ?? rows.columns).filter((column) => rows.columns.includes(column));
  const shown = rows.columns.filter((column) => names.includes(column) || column === 'tele' || column === 'mjd');
  const cell = (value: Cell, column: string): string => {
    if (typeof value === 'number' && Number.isNaN(value)) return '-';
    if (typeof value === 'boolean') return value ? 'yes' : 'no';
    return column === 'start' ? Number(value).toFixed(5) : String(value) || '-';
  };
  const cells = rows.rows.map((row) => shown.map((column) => cell(row[rows.columns.indexOf(column)]!, column)));
  return table(shown, cells, rows.numeric);
}

export function defineAlmanac(program: Command, define: Define): void {
  const almanac = program.command('almanac').description('know what raw files a night has, from their headers');

  define<Night>(
    almanac,
    {
      name: 'scan',
      summary: 'list a night: kinds, lamps, sequences, holes, cut files, bad exposures, fibre maps',
      more:
        'RAW holds TELE/MJD/, MJD/ or the files themselves. 32 KiB of each file are read. With -o DIR the almanac is written\n' +
        'as DIR/TELE/MJD/almanac-TELE-MJD.fits. What is wrong is listed and recorded, it is no failure here: see almanac check.\n' +
        'A list of bad exposures is a text, TSV or CSV file with a line for each: tele mjd exposure [chip] reason.',
      examples: [
        ['rampline almanac scan raw --tele apo --mjd 60855', 'what is there'],
        [
          'rampline almanac scan raw --tele apo --mjd 60855 -o out --bad bad.txt --fibers almanac.h5',
          'kept, with lists',
        ],
      ],
    },
    (command) => withLists(withNight(command.argument('<raw>', 'directory of raw files'))),
    async ([raw], options, session) => {
      const found = await load(raw as string, options, session);
      const { tele, mjd, exposures, fibreMaps } = found;
      const counts = countsOf(found);
      let product: string | undefined;
      if (options.output !== undefined) {
        const { almanacName, writeAlmanac } = await import('../../almanac/index.js');
        const { openStore } = await import('../../store/index.js');
        const store = await openStore(options.output);
        session.interrupt.onStop(() => store.sweep('', true));
        await writeAlmanac(store, almanacName(tele, mjd), found);
        product = store.pathOf(almanacName(tele, mjd));
      }
      const drops = exposures.filter((exposure) => exposure.kind !== 'missing' && dropped(exposure) !== '');
      const lines = [
        summary(found),
        ...(drops.length === 0
          ? []
          : [
              table(
                ['exposure', 'kind', 'not reduced, because'],
                drops.map((exposure) => [String(exposure.exposure), exposure.kind, dropped(exposure)]),
                ['exposure'],
              ),
            ]),
        ...(found.findings.length === 0 ? [] : [findingsText(found)]),
        `${tele} ${mjd}: ${exposures.filter(({ kind }) => kind !== 'missing').length} exposures, ` +
          `${fibreMaps.length} fibre maps, ${counts.errors} errors, ${counts.warnings} warnings\n` +
          (product === undefined ? '' : `${printable(product)}\n`),
      ];
      return { json: { ...found, root: raw, product, ...counts }, text: lines.join('\n') };
    },
  );

  define<Night & { readonly where?: readonly string[]; readonly table: string; readonly csv?: boolean }>(
    almanac,
    {
      name: 'show',
      summary: 'ask an almanac, or raw directories: rows that fit all questions',
      more:
        'Questions are NAME OPERATOR VALUE with = != < <= > >= and ~ (contains); several must all be true. Tables: exposures,\n' +
        'files, sequences, findings, fibermap, datamodel. --csv and --json print all columns.',
      examples: [
        ['rampline almanac show out/apo/60855/almanac-apo-60855.fits', 'every exposure'],
        ["rampline almanac show raw --tele apo --mjd 60855 --where kind=dark --where 'reads>=30'", 'long darks'],
        ['rampline almanac show almanac-*.fits --where dropby!= --csv', 'what was dropped in many nights'],
      ],
    },
    (command) =>
      withLists(withNight(command.argument('<almanac...>', 'almanac files, or directories of raw files')))
        .option('--where <question>', 'for example kind=dark (may be given again)', collect)
        .option('--table <name>', 'which table', 'exposures')
        .option('--csv', 'comma-separated values'),
    async (paths, options, session) => {
      const { csvText, parseWhere, select, tableOf } = await import('../../almanac/index.js');
      const questions = (options.where ?? []).map(parseWhere);
      const name = options.table.toLowerCase();
      const parts: TableRows[] = [];
      for (const path of paths as string[]) {
        const { tele, mjd, ...rest } = await load(path, options, session);
        const one = tableOf({ tele, mjd, ...rest }, name);
        const whose = { ...one, columns: ['tele', 'mjd', ...one.columns], numeric: ['mjd', ...one.numeric] };
        parts.push(select({ ...whose, rows: one.rows.map((row) => [tele, mjd, ...row]) }, questions));
      }
      const all = { ...parts[0]!, rows: parts.flatMap(({ rows }) => rows) };
      const json = all.rows.map((row) =>
        Object.fromEntries(all.columns.map((column, i) => [column, Number.isNaN(row[i]) ? null : row[i]])),
      );
      return {
        json: { table: name, where: questions, rows: json },
        text: options.csv === true ? csvText(all) : `${rowsText(all, name)}\n${all.rows.length} rows\n`,
      };
    },
  );

  define<Night>(
    almanac,
    {
      name: 'diff',
      summary: 'what changed between two almanacs, or an almanac and the raw files of today',
      more:
        'Exit 0: nothing. Exit 1: exposures or the look of the files changed. Exit 2: an exposure is missing on one side.\n' +
        'Of a directory the night is that of the almanac on the other side, unless --tele and --mjd say another.',
      examples: [
        ['rampline almanac diff out/apo/60855/almanac-apo-60855.fits raw', 'did anything arrive or change since?'],
        ['rampline almanac diff almanac-apo-60855.fits almanac-apo-60856.fits', 'did the files change their look?'],
      ],
    },
    (command) =>
      withNight(
        command
          .argument('<a>', 'almanac file or directory of raw files')
          .argument('<b>', 'almanac file or directory of raw files'),
      ),
    async (paths, options, session) => {
      const { compareAlmanacs } = await import('../../almanac/index.js');
      const [a, b] = paths as [string, string];
      const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true;
      let night: Night & GlobalOptions = options;
      const read = async (path: string): Promise<Almanac> => {
        const found = await load(path, night, session);
        night = { ...night, tele: night.tele ?? found.tele, mjd: night.mjd ?? found.mjd };
        return found;
      };
      // A file first: it says of which night a directory is asked.
      const second = isFile(a) ? undefined : await read(b);
      const one = await read(a);
      const two = second ?? (await read(b));
      const found = compareAlmanacs(one, two);
      const lines = [
        ...(found.exposures.length === 0
          ? []
          : [
              table(
                ['exposure', 'is', 'what'],
                found.exposures.map(({ exposure, is, text }) => [String(exposure), is, text]),
                ['exposure'],
              ),
            ]),
        ...(found.datamodel.length === 0
          ? []
          : [
              table(
                ['datamodel'],
                found.datamodel.map(({ text }) => [text]),
              ),
            ]),
        `${found.exposures.length} exposures and ${found.datamodel.length} features of the files changed: ${found.status}\n`,
      ];
      return {
        json: { a, b, ...found },
        text: lines.join('\n'),
        exitCode: { identical: 0, differs: 1, missing: 2 }[found.status],
      };
    },
  );

  define<Night>(
    almanac,
    {
      name: 'check',
      summary: 'is the night whole? Holes, chips, cut files, chips that disagree, files that look other than expected',
      more: 'Exit 0: no error (warnings do not count). Exit 21: something is missing, damaged or not what it must be.',
      examples: [
        ['rampline almanac check raw --tele apo --mjd 60855', 'before the night is reduced'],
        ['rampline --json almanac check out/apo/60855/almanac-apo-60855.fits', 'for a program'],
      ],
    },
    (command) => withLists(withNight(command.argument('<almanac>', 'almanac file or directory of raw files'))),
    async ([path], options, session) => {
      const found = await load(path as string, options, session);
      const { errors, warnings } = countsOf(found);
      const { tele, mjd, findings } = found;
      return {
        json: { tele, mjd, ok: errors === 0, errors, warnings, findings },
        text: `${findings.length === 0 ? '' : `${findingsText(found)}\n`}${tele} ${mjd}: ${errors} errors, ${warnings} warnings\n`,
        exitCode: errors === 0 ? EXIT_CODES.ok : EXIT_CODES.input,
      };
    },
  );
}
