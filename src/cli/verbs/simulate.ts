/** rampline simulate */
import { type Command, Option } from 'commander';
import { UsageError } from '../../core/errors.js';
import { didYouMean } from '../../core/suggest.js';
import type { Chip, Telescope } from '../../instruments/apogee/index.js';
import type { After, ExposureType } from '../../simulate/index.js';
import { chipsOf, realNumber, wholeNumber } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { bytesText, table } from '../table.js';
import { defineSimulateNight } from './simulate_night.js';

interface SimulateFlags {
  readonly tele: Telescope;
  readonly mjd: number;
  readonly exposure: number;
  readonly chips: string;
  readonly reads: number;
  readonly rows: number;
  readonly type: string;
  readonly level?: number;
  readonly after?: string;
  readonly gap?: number;
  readonly seed: number;
  readonly detectorSeed: number;
  readonly format: 'apz' | 'raw';
  readonly effects?: string;
  readonly without?: string;
  readonly truth: boolean;
  readonly calibrations: boolean;
}

export function defineSimulate(program: Command, define: Define): void {
  const simulate = program
    .command('simulate')
    .description('make raw exposures of the mock detector, with the truth beside them')
    .addHelpText('after', '\nrampline simulate without a word is rampline simulate exposure.');
  define(
    simulate,
    {
      name: 'exposure',
      isDefault: true,
      summary: 'make one exposure (this is done where no word is given)',
      more:
        'Writes NAME.apz (or .fits), truth-NAME.fits and calib/KIND-TELE-CHIP.fits. The same options give the same bytes on\n' +
        'every machine. --effects none and --without name,... switch effects off; a wrong name lists them all.',
      examples: [
        ['rampline simulate -o raw', 'three chips, 47 reads, full size, every effect'],
        ['rampline simulate --reads 12 --rows 64 -o raw', 'a quick strip'],
        ['rampline simulate --type dark --without cosmicRays -o darks', 'for a 1/f calibration'],
        ['rampline simulate --type dark --exposure 2 --after internalflat:20:4000 -o raw', 'a dark after a deep flat'],
        ['rampline simulate night --size small -o raw', 'a whole night of both telescopes, with faults'],
        ['rampline simulate --effects photons,scene,readNoise -o raw', 'these effects alone'],
      ],
    },
    (command) =>
      command
        .argument('[word]', 'none: for a whole night see rampline simulate night')
        .addOption(new Option('--tele <tele>', 'telescope').choices(['apo', 'lco']).default('apo'))
        .option('--mjd <n>', 'night', wholeNumber('--mjd', 55_562, 65_561), 60_857)
        .option('--exposure <n>', 'number in the night', wholeNumber('--exposure', 0, 9999), 1)
        .option('--chips <letters>', 'detectors, of a, b, c', 'abc')
        .option('--reads <n>', 'reads', wholeNumber('--reads', 1, 1000), 47)
        .option('--rows <n>', 'rows of the detector', wholeNumber('--rows', 16, 2048), 2048)
        .option(
          '--type <type>',
          'object, sky, dark, domeflat, quartzflat, twilight, internalflat, une, thar, fpi',
          'object',
        )
        .option(
          '--level <e>',
          'light of an internalflat, electrons a read (default: 600)',
          realNumber('--level', 1e-3, 5000),
        )
        .option('--after <exposure>', 'persistence of an exposure before: TYPE:READS[:LEVEL[:NUMBER IN THE NIGHT]]')
        .option(
          '--gap <s>',
          'seconds from the end of that exposure to the start of this one (default: 10)',
          realNumber('--gap', 0, 86_400),
        )
        .option(
          '--seed <n>',
          'of everything random in the exposure',
          wholeNumber('--seed', 0, Number.MAX_SAFE_INTEGER),
          1,
        )
        .option('--detector-seed <n>', 'of the detector', wholeNumber('--detector-seed', 0, Number.MAX_SAFE_INTEGER), 1)
        .addOption(new Option('--format <format>', 'compressed or as it stands').choices(['apz', 'raw']).default('apz'))
        .option('--effects <names>', 'all, none, or these alone (comma separated)')
        .option('--without <names>', 'all effects but these (comma separated)')
        .option('--no-truth', 'no truth beside the raw file')
        .option('--no-calibrations', 'no calibration files'),
    async ([word], options: GlobalOptions & SimulateFlags, session) => {
      if (word !== undefined) {
        const known = ['exposure', 'night'];
        const near = didYouMean(String(word), known);
        throw new UsageError(`nothing "${word}" to simulate${near || `; there are ${known.join(', ')}`}`);
      }
      if (options.output === undefined) throw new UsageError('expected a directory for the files: -o DIR');
      const { output } = options;
      const chips = chipsOf(options.chips);
      const { availableParallelism } = await import('node:os');
      const { ALL_EFFECTS, EXPOSURE_TYPES, NO_EFFECTS, simulateExposure } = await import('../../simulate/index.js');
      const { sweepOwn } = await import('../../night/ramp.js');
      const type = EXPOSURE_TYPES.find((name) => name === options.type);
      if (type === undefined) {
        const near = didYouMean(options.type, EXPOSURE_TYPES);
        throw new UsageError(
          `expected --type to be one of ${EXPOSURE_TYPES.join(', ')}, received "${options.type}"${near}`,
        );
      }
      const after = readAfter(options.after, options.gap);
      const names = (text: string | undefined): string[] => {
        const list = (text ?? '').split(',').filter((name) => name !== '');
        for (const name of list) {
          if (name in ALL_EFFECTS) continue;
          const near = didYouMean(name, Object.keys(ALL_EFFECTS));
          throw new UsageError(`no effect "${name}"${near || `; there are ${Object.keys(ALL_EFFECTS).join(', ')}`}`);
        }
        return list;
      };
      const all = options.effects === undefined || options.effects === 'all';
      const chosen = options.effects === 'none' ? [] : all ? Object.keys(ALL_EFFECTS) : names(options.effects);
      const without = names(options.without);
      const effects = {
        ...NO_EFFECTS,
        ...Object.fromEntries(chosen.filter((name) => !without.includes(name)).map((name) => [name, true])),
      };
      session.interrupt.onStop(async () => {
        await sweepOwn(output);
      });
      const made = [];
      for (const [i, chip] of chips.entries()) {
        session.progress(i, chips.length, `simulating chip ${chip}`);
        made.push({
          chip,
          ...(await simulateExposure({
            tele: options.tele,
            chip: chip as Chip,
            mjd: options.mjd,
            exposure: options.exposure,
            type,
            ...(options.level !== undefined && { level: options.level }),
            after,
            reads: options.reads,
            rows: options.rows,
            seed: options.seed,
            detectorSeed: options.detectorSeed,
            effects,
            format: options.format,
            output,
            truth: options.truth,
            calibrations: options.calibrations,
            threads: options.threads ?? availableParallelism(),
          })),
        });
        session.progress(i + 1, chips.length, `simulated chip ${chip}`);
        if (session.interrupt.signal.aborted) break;
      }
      const rows = made.map(({ raw, rawBytes, bitsPerPixel, jumps, seconds }) => [
        raw,
        bytesText(rawBytes),
        bitsPerPixel.toFixed(2),
        String(jumps),
        seconds.toFixed(1),
      ]);
      const head = ['raw file', 'size', 'bits/pixel', 'jumps', 'seconds'];
      return {
        json: { output, exposures: made },
        text: table(head, rows, head.slice(1)),
        exitCode: session.interrupt.exitCode() ?? 0,
      };
    },
  );
  defineSimulateNight(simulate, define);
}

/** --after TYPE:READS[:LEVEL[:NUMBER]] and --gap; the simulator checks the values. */
function readAfter(text: string | undefined, gap: number | undefined): After | undefined {
  if (text === undefined) {
    if (gap !== undefined) throw new UsageError('expected --after with --gap: the gap is the time since that exposure');
    return undefined;
  }
  const [type, ...parts] = text.split(':');
  const [reads, level, exposure, ...more] = parts.map(Number);
  if (reads === undefined || more.length > 0 || parts.some((part) => part === '' || !Number.isFinite(Number(part)))) {
    throw new UsageError(`expected --after to be TYPE:READS[:LEVEL[:NUMBER]], received "${text}"`);
  }
  return { type: type as ExposureType, reads, level, exposure, gapSeconds: gap };
}
