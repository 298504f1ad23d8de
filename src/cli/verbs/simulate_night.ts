/** rampline simulate night */
import { type Command, Option } from 'commander';
import { UsageError } from '../../core/errors.js';
import { didYouMean } from '../../core/suggest.js';
import type { Chip, Telescope } from '../../instruments/apogee/index.js';
import type { NightSizeName } from '../../simulate/night.js';
import { chipsOf, collectList, numberList, wholeNumber } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { table } from '../table.js';

interface NightFlags {
  readonly tele: readonly string[];
  readonly mjd: number;
  readonly chips: string;
  readonly size: NightSizeName;
  readonly rows?: number;
  readonly reads?: readonly string[];
  readonly objects: number;
  readonly sky: number;
  readonly exposures?: readonly number[];
  readonly seed: number;
  readonly detectorSeed: number;
  readonly truth: boolean;
}

export function defineSimulateNight(simulate: Command, define: Define): void {
  define(
    simulate,
    {
      name: 'night',
      summary: 'make a night: darks, flats, lamps, objects, and five faults with the truth about them',
      more:
        'Writes TELE/MJD/NAME.apz as the archive has them, calib/KIND-TELE-CHIP.fits (exact), and night-truth.json: what each\n' +
        'exposure is and what is wrong with it. At apo a dark that is an internal flat, a dome flat without its lamp and an\n' +
        'object whose file of chip a is cut; at lco a missing quartz flat and an object with the shutter closed.\n' +
        'Sizes: small 64 rows and 6 to 16 reads, demo 128 and 8 to 16, full 2048 and 8 to 47 (0.1 to 0.5 GB an exposure).\n' +
        'What is there is not made again; the same options give the same bytes on every machine.',
      examples: [
        ['rampline simulate night --size small -o raw', 'for a first try'],
        [
          'rampline simulate night --size full --tele apo --exposures 1-12 -o /big/raw',
          'twelve exposures of full size',
        ],
        ['rampline simulate night --reads object=24,dark=20 --rows 256 -o raw', 'sizes of your own'],
      ],
    },
    (command) =>
      command
        .option('--tele <names>', 'telescopes, comma separated (default: apo,lco)', collectList)
        .option('--mjd <n>', 'night', wholeNumber('--mjd', 55_562, 65_561), 60_857)
        .option('--chips <letters>', 'detectors, of a, b, c', 'abc')
        .addOption(new Option('--size <size>', 'rows and reads').choices(['small', 'demo', 'full']).default('demo'))
        .option('--rows <n>', 'rows of the detector instead', wholeNumber('--rows', 16, 2048))
        .option('--reads <type=n,...>', 'reads of these types instead', collectList)
        .option('--objects <n>', 'objects of each telescope', wholeNumber('--objects', 0, 120), 8)
        .option('--sky <n>', 'fields without stars of each telescope', wholeNumber('--sky', 0, 10), 0)
        .option('--exposures <numbers>', 'only these, such as 1-12,15', numberList('--exposures', 9999))
        .option(
          '--seed <n>',
          'of everything random in the exposures',
          wholeNumber('--seed', 0, Number.MAX_SAFE_INTEGER),
          1,
        )
        .option(
          '--detector-seed <n>',
          'of the detectors',
          wholeNumber('--detector-seed', 0, Number.MAX_SAFE_INTEGER),
          1,
        )
        .option(
          '--truth',
          'write truth-NAME.fits too: light, traces and profiles of all fibres, 12 MB and more a file',
          false,
        ),
    async (_, options: GlobalOptions & NightFlags, session) => {
      if (options.output === undefined) throw new UsageError('expected a directory for the files: -o DIR');
      const { output, mjd, size, rows, objects, sky, exposures, seed, detectorSeed } = options;
      const { availableParallelism } = await import('node:os');
      const { NIGHT_TYPES, simulateNight } = await import('../../simulate/night.js');
      const { sweepOwn } = await import('../../night/ramp.js');
      const tele = [...new Set(options.tele ?? ['apo', 'lco'])];
      for (const one of tele) {
        if (one !== 'apo' && one !== 'lco')
          throw new UsageError(`expected --tele to be of apo, lco, received "${one}"`);
      }
      session.interrupt.onStop(() => sweepOwn(output));
      const made = await simulateNight({
        output,
        tele: tele as Telescope[],
        chips: chipsOf(options.chips) as Chip[],
        mjd,
        size,
        rows,
        reads: readsOf(options.reads ?? [], NIGHT_TYPES),
        objects,
        sky,
        exposures,
        seed,
        detectorSeed,
        truth: options.truth,
        threads: options.threads ?? availableParallelism(),
        onProgress: session.progress,
        signal: session.interrupt.signal,
      });
      const lines = made.truth.exposures.map(({ tele: at, exposure, claim, reads, pointing, fault }) => [
        at,
        String(exposure),
        claim,
        String(reads),
        String(pointing.configuration),
        fault === undefined ? '' : `${fault.kind}: ${fault.what}`,
      ]);
      const head = ['tele', 'exposure', 'header', 'reads', 'configuration', 'fault'];
      const summary = `${made.simulated} files simulated in ${made.seconds.toFixed(1)} s, ${made.skipped} were there`;
      const { truth, ...rest } = made;
      return {
        json: { output, ...rest, ...truth },
        text: `${table(head, lines, ['exposure', 'reads', 'configuration'])}\n${summary}\n`,
        exitCode: session.interrupt.exitCode() ?? 0,
      };
    },
  );
}

/** object=24,dark=20 */
function readsOf<Type extends string>(pairs: readonly string[], types: readonly Type[]): Record<string, number> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name = '', count = '', ...more] = pair.split('=');
      if (more.length > 0 || count === '') throw new UsageError(`expected --reads TYPE=N,..., received "${pair}"`);
      if (!(types as readonly string[]).includes(name)) {
        const near = didYouMean(name, types);
        throw new UsageError(`no type "${name}" in a night${near || `; there are ${types.join(', ')}`}`);
      }
      return [name, wholeNumber(`--reads ${name}`, 1, 1000)(count)];
    }),
  );
}
