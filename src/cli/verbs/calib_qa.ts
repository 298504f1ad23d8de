/** rampline calib qa | compare | evolution */
import type { Command } from 'commander';
import { EXIT_CODES } from '../../core/errors.js';
import { limitsOf, realNumber } from '../options.js';
import type { Define } from '../reply.js';
import { printable, table } from '../table.js';

const shown = (value: number | null): string => (value === null ? '-' : String(Number(value.toPrecision(4))));

export function defineCalibQa(calib: Command, define: Define): void {
  define<{ readonly previous?: string }>(
    calib,
    {
      name: 'qa',
      summary: 'judge calibrations, and write a page about each: pictures, numbers, verdicts',
      more:
        'Writes qa-NAME.html (it needs nothing else), qa-NAME.json and qa-NAME.png beside the file, or into -o DIR. Limits are\n' +
        'those of data/qa.json; "before" is the calibration of the same kind and detector that comes before it in its directory.\n' +
        'Exit 0: pass or warn. Exit 22: one fails.',
      examples: [
        ['rampline calib qa calib/dark-apo-a-60857-1f2e3d4c.fits -o pages', 'one page'],
        ['rampline calib qa new.fits --previous old.fits', 'against a calibration of your choice'],
      ],
    },
    (command) =>
      command
        .argument('<file...>', 'calibration files')
        .option('--previous <file>', 'compare with this calibration (default: the one before in the directory)'),
    async (files, options, session) => {
      const { writeQa } = await import('../../night/qa.js');
      const pages = [];
      const paths = files as string[];
      for (const [i, file] of paths.entries()) {
        session.progress(i, paths.length, file);
        pages.push(
          await writeQa(file, { output: options.output, previous: options.previous, limits: limitsOf(options) }),
        );
      }
      const rows = pages.map(({ kind, tele, chip, grade, previous, page }) => [
        kind,
        `${tele} ${chip}`,
        grade,
        previous || '-',
        page,
      ]);
      const reasons = pages.flatMap(({ kind, tele, chip, reasons: why, remarks }) =>
        [...why, ...remarks].map((reason) => `${kind} ${tele} ${chip}: ${reason}`),
      );
      return {
        json: { pages },
        text:
          table(['kind', 'detector', 'grade', 'before', 'page'], rows) +
          reasons.map((line) => `${printable(line)}\n`).join(''),
        exitCode: pages.some(({ grade }) => grade === 'fail') ? EXIT_CODES.calibration : EXIT_CODES.ok,
      };
    },
  );

  define<{ readonly sigmas?: number }>(
    calib,
    {
      name: 'compare',
      summary: 'what changed from one calibration to another: values beyond their errors, bits gained and lost',
      more:
        'Both must be of one kind, detector and size; A is the earlier. Only pixels inside the light-insensitive border count.\n' +
        'Exit 0, whatever is found; with -o PAGE.html also a page with a picture of the difference.',
      examples: [
        ['rampline calib compare old/dark-apo-a.fits new/dark-apo-a.fits', 'bits and values of two darks'],
        ['rampline calib compare a.fits b.fits --json', 'for a program'],
      ],
    },
    (command) =>
      command
        .argument('<a>', 'a calibration')
        .argument('<b>', 'a later one')
        .option(
          '--sigmas <n>',
          'a change is beyond this many combined errors (default 5)',
          realNumber('--sigmas', 0, 1e4),
        ),
    async ([a, b], options) => {
      const { compareCalibrationFiles } = await import('../../night/qa.js');
      const found = await compareCalibrationFiles(a as string, b as string, {
        output: options.output,
        sigmas: options.sigmas,
        limits: limitsOf(options),
      });
      const images = found.images.flatMap((one) =>
        [one, ...one.amplifiers].map((part, i) => [
          i === 0 ? one.name : `  amplifier ${i}`,
          String(part.compared),
          String(part.beyond),
          String(part.onlyA),
          String(part.onlyB),
          ...(i === 0 ? [shown(one.median), shown(one.scatter), shown(one.significance)] : ['', '', '']),
        ]),
      );
      const bits = (found.bits ?? []).flatMap((one) =>
        [one, ...one.amplifiers].map((part, i) => [
          i === 0 ? one.name : `  amplifier ${i}`,
          ...[part.a, part.b, part.gained, part.lost].map(String),
        ]),
      );
      const beyond = `beyond ${found.sigmas} sigma`;
      const bitTable =
        found.bits === undefined
          ? 'one of the files has no image DQ\n'
          : bits.length === 0
            ? 'no pixel has a bit in either\n'
            : table(['bit', 'in A', 'in B', 'gained', 'lost'], bits, ['in A', 'in B', 'gained', 'lost']);
      const noErrors = found.images.some(({ errors }) => !errors) ? 'without errors any difference is beyond\n' : '';
      return {
        json: { ...found },
        text:
          `${printable(`${found.kind} ${found.tele} ${found.chip}, ${found.pixels} pixels inside the border`)}\n\n` +
          `${table(['image', 'compared', beyond, 'became bad', 'recovered', 'median B - A', 'scatter', 'in errors'], images, ['compared', beyond, 'became bad', 'recovered', 'median B - A', 'scatter', 'in errors'])}${noErrors}\n` +
          bitTable +
          (found.page === undefined ? '' : `\n${printable(found.page)}\n`),
      };
    },
  );

  define<{ readonly kind?: string; readonly tele?: string; readonly chip?: string; readonly log?: boolean }>(
    calib,
    {
      name: 'evolution',
      summary: 'how many pixels have each bad-pixel bit, over the calibrations of a directory',
      more:
        'The time of a calibration is the begin of its data, else of its window. -o FILE.svg draws one kind and detector,\n' +
        'FILE.html all that were asked for, FILE.json has the numbers.',
      examples: [
        [
          'rampline calib evolution calib --kind dark --tele apo --chip a -o evolution.svg',
          'bad pixels of one detector',
        ],
        ['rampline calib evolution calib --log -o evolution.html', 'every kind and detector on one page'],
      ],
    },
    (command) =>
      command
        .argument('<dir>', 'directory of calibrations')
        .option('--kind <kind>', 'kind of calibration')
        .option('--tele <name>', 'telescope')
        .option('--chip <name>', 'detector')
        .option('--log', 'logarithmic axis'),
    async ([directory], options, session) => {
      const { bitEvolution } = await import('../../night/qa.js');
      const { kind, tele, chip, log, output } = options;
      const found = await bitEvolution(directory as string, {
        kind,
        tele,
        chip,
        log,
        output,
        limits: limitsOf(options),
        onProgress: session.progress,
      });
      const tables = found.series.map(({ kind: what, tele: where, chip: which, bits, points }) => {
        const rows = points.map(({ file, mjd, grade, counts }) => [
          file,
          mjd.toFixed(2),
          grade,
          ...bits.map((bit) => String(counts[bit])),
        ]);
        return `${printable(`${what} ${where} ${which}`)}\n${table(['calibration', 'MJD', 'grade', ...bits], rows, ['MJD', ...bits])}`;
      });
      const left = found.left.map(({ file, reason }) => `left out: ${printable(`${file}: ${reason}`)}\n`);
      return {
        json: { directory, ...found },
        text: `${tables.join('\n')}${left.join('')}${found.output === '' ? '' : `${printable(found.output)}\n`}`,
      };
    },
  );
}
