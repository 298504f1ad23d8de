/** rampline calib build KIND FILE... */
import type { Command } from 'commander';
import { EXIT_CODES, UsageError } from '../../core/errors.js';
import { collectParams, limitsOf, timeOf } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { printable, table } from '../table.js';
import { defineCalibQa } from './calib_qa.js';
import { defineCalibRegistry } from './calib_registry.js';
import { defineCalibTimeline } from './calib_timeline.js';

interface BuildFlags {
  readonly instrument: string;
  readonly calib?: string;
  readonly set?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly validFrom?: string;
  readonly validTo?: string;
}

export function defineCalib(program: Command, define: Define): void {
  const calib = program.command('calib').description('build, register, choose and explain calibrations');
  define(
    calib,
    {
      name: 'build',
      summary: 'build calibrations from raw exposures, for each detector among them',
      more:
        'KIND is one of:\n' +
        `${KIND_LINES}\n` +
        'A product of grade fail is written with its page and never chosen; the command then ends with 22.\n' +
        'Products are KIND-TELE-CHIP-MJD-KEY.fits: other inputs make another file, and what is done is skipped.\n' +
        '--set KIND.PARAM=VALUE sets a parameter of the builder, --set KERNEL.PARAM=VALUE one of a kernel.',
      examples: [
        ['rampline simulate --type dark --exposure 9 -o darks', 'a dark, where there is none'],
        ['rampline calib build one-over-f darks -o calib', 'weights for its three chips'],
        ['rampline calib build dark n05*.fits --instrument nirc2 -o calib', 'a dark of single images'],
      ],
    },
    (command) =>
      command
        .argument('<kind>', 'kind of calibration')
        .argument('<file...>', 'raw exposures, directories or @lists')
        .option('--instrument <name>', 'of which the files are: apogee or nirc2', 'apogee')
        .option('--calib <dir>', 'calibrations that the reads are corrected with while building')
        .option(
          '--valid-from <time>',
          'begin of the window in which it may be used, MJD, ISO or open (default: the night of its first exposure)',
        )
        .option('--valid-to <time>', 'end of that window (default open)')
        .option('--set <name.param=value>', 'set a parameter; may be repeated', collectParams),
    async ([kind, ...files], options: GlobalOptions & BuildFlags, session) => {
      if (options.output === undefined) throw new UsageError('expected a directory for the calibrations: -o DIR');
      const { output } = options;
      const { availableParallelism } = await import('node:os');
      const { buildCalibration } = await import('../../night/calib.js');
      const { instrumentNamed } = await import('../../night/instruments.js');
      const { sweepOwn } = await import('../../night/ramp.js');
      session.interrupt.onStop(() => sweepOwn(output));
      const made = await buildCalibration({
        word: kind as string,
        instrument: instrumentNamed(options.instrument),
        files: files as string[],
        output,
        calib: options.calib,
        params: options.set ?? {},
        validFrom: options.validFrom === 'open' ? 'open' : timeOf('--valid-from', options.validFrom),
        validTo: timeOf('--valid-to', options.validTo),
        threads: options.threads ?? availableParallelism(),
        force: options.force ?? false,
        limits: limitsOf(options),
        control: session.interrupt.control,
        onProgress: session.progress,
      });
      const rows = made.map(({ kind: what, tele, chip, inputs, status, grade, file }) => [
        what,
        `${tele} ${chip}`,
        status,
        String(inputs),
        grade ?? '-',
        file,
      ]);
      const notes = made.flatMap(({ kind: what, tele, chip, facts = {}, remarks = [] }) => [
        ...Object.entries(facts).map(([name, value]) => `${what} ${tele} ${chip}: ${name} ${show(value)}`),
        ...remarks.map((remark) => `${what} ${tele} ${chip}: ${remark}`),
      ]);
      return {
        json: { output, calibrations: made },
        text:
          table(['kind', 'detector', 'is', 'inputs', 'grade', 'file'], rows, ['inputs']) +
          notes.map((line) => `${printable(line)}\n`).join(''),
        // Written all the same, so that it can be looked at; no frame will ever get it.
        exitCode: made.some(({ grade }) => grade === 'fail') ? EXIT_CODES.calibration : EXIT_CODES.ok,
      };
    },
  );
  defineCalibRegistry(calib, define);
  defineCalibTimeline(calib, define);
  defineCalibQa(calib, define);
}

/** Told in the help before anything heavy is loaded; test/calib.test.ts compares it with BUILDERS. */
const KIND_LINES = [
  '  dark             dark rate and bad pixels from darks, streamed',
  '  first-read       offset of the first read and the decay of the reset anomaly from darks',
  '  flat             response of the pixels from flats, without their illumination',
  '  linearity        nonlinearity of each pixel from flats, the deeper the better',
  '  one-over-f       weights of the 1/f correction from darks',
  '  persistence      map and decay of the persistence from a bright flat and the darks after it',
  '  photon-transfer  gain and read noise from darks and pairs of flats',
  '  saturation       counts at which pixels are full, from deep flats',
].join('\n');

const show = (value: number | string | readonly number[]): string =>
  typeof value === 'string'
    ? value
    : [value]
        .flat()
        .map((v) => Number(v).toPrecision(4))
        .join(', ');
