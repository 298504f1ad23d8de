/** rampline calib add | list | explain | pin | reindex */
import type { Command } from 'commander';
import { EXIT_CODES, UsageError } from '../../core/errors.js';
import { limitsOf, timeOf } from '../options.js';
import type { Define } from '../reply.js';
import { printable, table } from '../table.js';

interface Place {
  readonly registry?: string;
}
interface At {
  readonly at?: string;
  readonly tele?: string;
  readonly chip?: string;
}

export const withRegistry = (command: Command): Command =>
  command.option('--registry <url>', 'postgres:// URL of the registry (default: what the directory itself says)');
export const withDetector = (command: Command): Command =>
  command.option('--tele <name>', 'telescope').option('--chip <name>', 'detector');

/** MJD of this moment, UTC. */
export const now = (): number => Date.now() / 86_400_000 + 40_587;

export const mjdText = (mjd: number | undefined): string =>
  mjd === undefined ? 'open' : String(Number(mjd.toFixed(4)));

export function defineCalibRegistry(calib: Command, define: Define): void {
  define<Place>(
    calib,
    {
      name: 'add',
      summary: 'register calibration files in a directory, after verifying every byte of them',
      more:
        'Files from elsewhere are copied into DIR. The first add makes DIR/registry.sqlite with all that is there; with\n' +
        '--registry postgres://host/database it makes DIR/registry.json, which names the database for every later command\n' +
        '(without a password: PGPASSWORD or ~/.pgpass). The same file again changes nothing; another content of the same\n' +
        'name is refused.',
      examples: [
        ['rampline calib add new/dark-apo-a-60857-1f2e3d4c.fits -o calib', 'one more dark'],
        ['rampline calib add new/*.fits -o /shared/calib --registry postgres://db/rampline', 'for many machines'],
      ],
    },
    (command) => withRegistry(command.argument('<file...>', 'calibration files (calib build makes them)')),
    async (files, options, session) => {
      if (options.output === undefined) throw new UsageError('expected the directory of the calibrations: -o DIR');
      const { addCalibrations } = await import('../../night/registry.js');
      const { exitCodeOf } = await import('../../night/failure.js');
      const outcomes = await addCalibrations(files as string[], { directory: options.output, url: options.registry });
      const failures = outcomes.flatMap(({ failure }) => (failure === undefined ? [] : [failure]));
      for (const { error, message, file } of failures) session.log('error', 'refused', { file, error, message });
      const rows = outcomes.map(({ file, status, record, failure }) => [
        record?.file ?? file,
        status === 'present' ? 'registered before' : status,
        record === undefined ? '-' : `${record.kind} ${record.tele} ${record.chip}`,
        record === undefined ? (failure?.message ?? '') : record.sha256.slice(0, 16),
      ]);
      return {
        json: { directory: options.output, outcomes },
        text: table(['file', 'is', 'of', 'sha256'], rows),
        exitCode: exitCodeOf(failures),
      };
    },
  );

  define<Place>(
    calib,
    {
      name: 'list',
      summary: 'the calibrations of a directory, its pins, and files that cannot be used',
      examples: [
        ['rampline calib list calib', 'what there is'],
        ['rampline --json calib list calib', 'with inputs, kernels and hashes'],
      ],
    },
    (command) => withRegistry(command.argument('<dir>', 'directory of calibrations')),
    async ([dir], options) => {
      const { listCalibrations } = await import('../../night/registry.js');
      const listing = await listCalibrations({ directory: dir as string, url: options.registry });
      const rows = listing.records.map((r) => [
        r.kind,
        `${r.tele} ${r.chip}`,
        mjdText(r.validFrom),
        mjdText(r.validTo),
        r.grade,
        r.dataTo === undefined ? '-' : mjdText(r.dataTo),
        r.file,
        r.sha256.slice(0, 16),
      ]);
      const head = ['kind', 'detector', 'from', 'to', 'grade', 'data end', 'file', 'sha256'];
      const lines = [
        table(head, rows, ['from', 'to', 'data end']),
        `${rows.length} calibrations (${listing.backend === 'scan' ? 'headers of the files, no database' : listing.backend})`,
        ...listing.pins.map(
          ({ name, mjd, entries }) => `pin ${name}: ${entries.length} files, for MJD ${mjdText(mjd)}`,
        ),
        ...listing.unusable.map(({ file, reason }) => `unusable ${file}: ${reason}`),
      ];
      return {
        json: { directory: dir, ...listing },
        text: `${lines
          .map((l) => l.trimEnd())
          .map((l) => (l.includes('\n') ? l : printable(l)))
          .join('\n')}\n`,
      };
    },
  );

  define<
    Place &
      At & {
        readonly calib?: string;
        readonly instrument?: string;
        readonly pin?: string;
        readonly for?: string;
        readonly all?: boolean;
      }
  >(
    calib,
    {
      name: 'explain',
      summary: 'which calibrations a frame gets, and why: every rule, every candidate, the numbers compared',
      more:
        'FRAME is a raw file, a directory or @LIST as for ramp; or give --tele, --chip and --at. Ends with 22 when something\n' +
        'required is missing.',
      examples: [
        ['rampline calib explain raw/apR-b-52950001.apz --calib calib', 'one exposure'],
        ['rampline calib explain --tele apo --chip b --at 2025-07-01T04:00:00 --calib calib', 'any time'],
        ['rampline calib explain raw --calib calib --pin dr20', 'with a frozen set'],
      ],
    },
    (command) =>
      withDetector(withRegistry(command.argument('[frame...]', 'raw files')))
        .option('--calib <dir>', 'directory of calibrations')
        .option('--instrument <name>', 'whose rules choose: apogee or nirc2', 'apogee')
        .option('--at <time>', 'MJD or ISO time')
        .option('--for <stage>', 'ramp or calibrate (default both)')
        .option('--pin <name>', 'exactly the set of this pin')
        .option('--all', 'also list the candidates of other detectors, one by one (--json always has them)'),
    async (words, options) => {
      if (options.calib === undefined) throw new UsageError('expected the directory of the calibrations: --calib DIR');
      const stages = (['ramp', 'calibrate'] as const).filter((stage) => (options.for ?? stage) === stage);
      if (stages.length === 0)
        throw new UsageError(`expected --for to be ramp or calibrate, received "${options.for}"`);
      const byWords = [options.tele, options.chip, options.at].some((word) => word !== undefined);
      if (words.length > 0 && byWords)
        throw new UsageError('expected raw files or --tele, --chip and --at, received both');
      const { explainFrames, frameFromWords, framesOf } = await import('../../night/registry.js');
      const { explanationText } = await import('../../calib/select.js');
      const { instrumentNamed } = await import('../../night/instruments.js');
      const instrument = instrumentNamed(options.instrument ?? 'apogee');
      const frames =
        words.length > 0
          ? framesOf(words as string[], instrument, limitsOf(options))
          : [{ name: '', frame: frameFromWords(options.tele, options.chip, timeOf('--at', options.at)) }];
      const place = { directory: options.calib, url: options.registry, instrument };
      const explanations = await explainFrames(
        frames.map(({ frame }) => frame),
        place,
        { stages, pin: options.pin },
      );
      const named = explanations.map((explanation, i) => ({ name: frames[i]?.name, ...explanation }));
      return {
        json: { calib: options.calib, explanations: named },
        text: named
          .map(({ name, ...explanation }) => {
            const text = explanationText(explanation, { all: options.all ?? false })
              .split('\n')
              .map(printable)
              .join('\n');
            return name === '' ? text : `${printable(name ?? '')}: ${text}`;
          })
          .join('\n'),
        exitCode: explanations.some(({ missing }) => missing.length > 0) ? EXIT_CODES.calibration : EXIT_CODES.ok,
      };
    },
  );

  define<Place & At & { readonly calib?: string; readonly instrument?: string }>(
    calib,
    {
      name: 'pin',
      summary: 'freeze the set that is chosen at a time under a name, for reproducible reductions',
      more:
        'ramp --calib DIR --pin NAME then takes exactly that set, whatever is added later. A name is given once. Kept in\n' +
        'DIR/pins/NAME.json.',
      examples: [
        ['rampline calib pin dr20 --calib calib --at 60857.3', 'all detectors'],
        ['rampline calib pin test-b --calib calib --tele apo --chip b', 'one detector, now'],
      ],
    },
    (command) =>
      withDetector(withRegistry(command.argument('<name>', 'letters, digits, ".", "_" and "-"')))
        .option('--calib <dir>', 'directory of calibrations')
        .option('--instrument <name>', 'whose rules choose: apogee or nirc2', 'apogee')
        .option('--at <time>', 'MJD or ISO time (default now)'),
    async ([name], options) => {
      if (options.calib === undefined) throw new UsageError('expected the directory of the calibrations: --calib DIR');
      const { instrumentNamed } = await import('../../night/instruments.js');
      const { pinCalibrations } = await import('../../night/registry.js');
      const { status, pin, missing } = await pinCalibrations(
        { name: name as string, mjd: timeOf('--at', options.at) ?? now(), tele: options.tele, chip: options.chip },
        {
          directory: options.calib,
          url: options.registry,
          instrument: instrumentNamed(options.instrument ?? 'apogee'),
        },
      );
      const rows = pin.entries.map((e) => [e.kind, `${e.tele} ${e.chip}`, String(e.weight), e.sha256.slice(0, 16)]);
      return {
        json: { calib: options.calib, status, ...pin, missing },
        text: `${table(['kind', 'detector', 'weight', 'sha256'], rows, ['weight'])}${status === 'added' ? 'pinned' : 'pinned before'} as ${printable(pin.name)}, for MJD ${mjdText(pin.mjd)}\n${missing.map((what) => `without ${printable(what)}\n`).join('')}`,
      };
    },
  );

  define<Place>(
    calib,
    {
      name: 'reindex',
      summary: 'make the database of a directory again from its files',
      more: 'Every file is read whole. Damaged files are named and left out; the exit code is then 22.',
      examples: [['rampline calib reindex calib', 'after files were copied or removed by hand']],
    },
    (command) => withRegistry(command.argument('<dir>', 'directory of calibrations')),
    async ([dir], options) => {
      const { reindexCalibrations } = await import('../../night/registry.js');
      const { added, removed, unusable } = await reindexCalibrations({
        directory: dir as string,
        url: options.registry,
      });
      const lines = [
        ...added.map((file) => `added    ${file}`),
        ...removed.map((file) => `removed  ${file}`),
        ...unusable.map(({ file, reason }) => `refused  ${file}: ${reason}`),
        `${added.length} added, ${removed.length} removed, ${unusable.length} refused`,
      ];
      return {
        json: { directory: dir, added, removed, unusable },
        text: `${lines.map(printable).join('\n')}\n`,
        exitCode: unusable.length > 0 ? EXIT_CODES.calibration : EXIT_CODES.ok,
      };
    },
  );
}
