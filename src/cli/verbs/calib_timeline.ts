/** rampline calib timeline | check */
import type { Command } from 'commander';
import { EXIT_CODES } from '../../core/errors.js';
import { realNumber, timeOf } from '../options.js';
import type { Define } from '../reply.js';
import { printable, table } from '../table.js';
import { mjdText, now, withDetector, withRegistry } from './calib_registry.js';

interface Flags {
  readonly registry?: string;
  readonly at?: string;
  readonly tele?: string;
  readonly chip?: string;
  readonly instrument?: string;
  readonly within?: number;
}

export function defineCalibTimeline(calib: Command, define: Define): void {
  define<Flags>(
    calib,
    {
      name: 'timeline',
      summary: 'validity windows over time: a table, and a picture (SVG) with -o',
      more: 'The picture has a lane for each kind and detector; gaps are hatched, overlaps red, a line shows --at or now.',
      examples: [
        ['rampline calib timeline calib -o calib.svg', 'as of now'],
        ['rampline --json calib timeline calib --at 60857', 'windows, overlaps and gaps for a program'],
      ],
    },
    (command) =>
      withRegistry(command.argument('<dir>', 'directory of calibrations')).option('--at <time>', 'MJD or ISO time'),
    async ([dir], options) => {
      const { drawTimeline } = await import('../../night/registry.js');
      const mjd = timeOf('--at', options.at) ?? now();
      const place = { directory: dir as string, url: options.registry };
      const report = await drawTimeline(mjd, place, options.output);
      const span = ({ from, to }: { from?: number | undefined; to?: number | undefined }) =>
        `${mjdText(from)} to ${mjdText(to)}`;
      const rows = report.lanes.map(({ kind, tele, chip, mode, windows, overlaps, gaps }) => [
        kind,
        `${tele} ${chip} ${mode}`.trim(),
        String(windows.length),
        windows
          .filter(({ current }) => current)
          .map(({ file }) => file)
          .join(', ') || '-',
        overlaps.map(span).join(', ') || '-',
        gaps.map(span).join(', ') || '-',
      ]);
      const head = ['kind', 'detector', 'windows', `at ${mjdText(mjd)}`, 'overlaps', 'gaps'];
      return {
        json: { directory: dir, ...report },
        text: `${table(head, rows, ['windows'])}${report.picture === undefined ? '' : `${printable(report.picture)}\n`}`,
      };
    },
  );

  define<Flags>(
    calib,
    {
      name: 'check',
      summary: 'whether a time is served: what is missing, stands in, overlaps or ends soon',
      more:
        'Ends with 22 when something required is missing; warnings alone end with 0. It reads headers, not pixels: every use of a\n' +
        'file compares its hash, and rampline verify DIR does so for all.',
      examples: [
        ['rampline calib check calib --at 2025-07-01 --within 14', 'before a night'],
        ['rampline calib check calib --tele lco --chip a', 'one detector, now'],
      ],
    },
    (command) =>
      withDetector(withRegistry(command.argument('<dir>', 'directory of calibrations')))
        .option('--at <time>', 'MJD or ISO time (default now)')
        .option('--instrument <name>', 'whose rules choose: apogee or nirc2', 'apogee')
        .option('--within <days>', 'tell windows that end so soon (default 7)', realNumber('--within', 0, 1e5)),
    async ([dir], options) => {
      const { checkRegistry } = await import('../../night/registry.js');
      const { instrumentNamed } = await import('../../night/instruments.js');
      const { tele, chip, within = 7 } = options;
      const instrument = instrumentNamed(options.instrument ?? 'apogee');
      const report = await checkRegistry(
        { mjd: timeOf('--at', options.at) ?? now(), withinDays: within, tele, chip },
        { directory: dir as string, url: options.registry, instrument },
      );
      const { findings, unusable, detectors } = report;
      const missing = findings.filter(({ level }) => level === 'error').length;
      const rows = findings.map((f) => [f.level, f.kind, `${f.tele} ${f.chip}`, f.what, f.text]);
      const lines = [
        ...unusable.map(({ file, reason }) => `unusable ${file}: ${reason}`),
        `MJD ${mjdText(report.mjd)}, ${detectors.length} detectors: ${missing} missing, ${findings.length - missing} warnings, ${unusable.length} unusable files`,
      ];
      return {
        json: { directory: dir, within, ...report },
        text: `${rows.length === 0 ? '' : table(['level', 'kind', 'detector', 'what', 'why'], rows)}${lines.map((line) => `${printable(line)}\n`).join('')}`,
        exitCode: missing > 0 ? EXIT_CODES.calibration : EXIT_CODES.ok,
      };
    },
  );
}
