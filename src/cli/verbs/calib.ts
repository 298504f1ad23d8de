/** rampline calib build KIND FILE... */
import type { Command } from 'commander';
import { UsageError } from '../../core/errors.js';
import { didYouMean } from '../../core/suggest.js';
import { limitsOf } from '../options.js';
import type { Define } from '../reply.js';
import { table } from '../table.js';

const KINDS = ['one-over-f'];

export function defineCalib(program: Command, define: Define): void {
  const calib = program.command('calib').description('build calibrations from raw exposures');
  define(
    calib,
    {
      name: 'build',
      summary: 'fit a calibration and write it for ramp --calib',
      more:
        'one-over-f: weights of the 1/f correction from darks, oneoverf-TELE-CHIP.fits for each detector among them.\n' +
        'What is done (same darks, same kernels) is skipped; --force does it again.',
      examples: [
        ['rampline simulate --type dark --exposure 9 -o darks', 'a dark, where there is none'],
        ['rampline calib build one-over-f darks -o calib', 'weights for its three chips'],
      ],
    },
    (command) =>
      command
        .argument('<kind>', `one of ${KINDS.join(', ')}`)
        .argument('<file...>', 'raw darks, directories or @lists'),
    async ([kind, ...files], options, session) => {
      if (!KINDS.includes(kind as string)) {
        const near = didYouMean(kind as string, KINDS);
        throw new UsageError(`no calibration "${kind}" can be built${near || `; there is ${KINDS.join(', ')}`}`);
      }
      if (options.output === undefined) throw new UsageError('expected a directory for the calibrations: -o DIR');
      const { output } = options;
      const { availableParallelism } = await import('node:os');
      const { buildOneOverF } = await import('../../night/calib.js');
      const { sweepOwn } = await import('../../night/ramp.js');
      session.interrupt.onStop(() => sweepOwn(output));
      const made = await buildOneOverF({
        files: files as string[],
        output,
        threads: options.threads ?? availableParallelism(),
        force: options.force ?? false,
        limits: limitsOf(options),
        control: session.interrupt.control,
        onProgress: session.progress,
      });
      const rows = made.map(({ tele, chip, darks, status, explained, file }) => [
        `${tele} ${chip}`,
        status,
        String(darks),
        explained === undefined ? '-' : explained.map((part) => `${(100 * part).toFixed(1)} %`).join(', '),
        file,
      ]);
      return {
        json: { output, calibrations: made },
        text: table(['detector', 'is', 'darks', 'explained, by amplifier', 'file'], rows, ['darks']),
      };
    },
  );
}
