/** rampline ramp FILE... -o DIR, and rampline calibrate, which goes on to dark and flat. */
import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { EXIT_CODES, UsageError } from '../../core/errors.js';
import type { Failure } from '../../night/failure.js';
import { JUMP_METHODS, RESET_METHODS, UNITS } from '../../stages/ramp/options.js';
import { collectList, collectParams, limitsOf, wholeNumber } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { printable, table } from '../table.js';

interface RampFlags {
  readonly dropReads?: number;
  readonly reset?: (typeof RESET_METHODS)[number];
  readonly jumps?: (typeof JUMP_METHODS)[number];
  readonly twoOmit?: boolean;
  readonly unit?: (typeof UNITS)[number];
  readonly lowMemory?: boolean;
  readonly off?: readonly string[];
  readonly set?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly calib?: string;
  readonly pin?: string;
  readonly previous?: readonly string[];
  readonly verify: boolean;
  readonly diagnostics?: boolean;
}

const FILES =
  'FILE is a raw file, a directory (all raw files in it), or @LIST (a file with one of these a line); ./@name is a file\n' +
  'of that name. Products that are done are skipped: their manifest carries the hashes of input, calibrations,\n' +
  'parameters and kernels. Several exposures run at once (--jobs, default: the cores, as memory allows); one alone gets\n' +
  'all cores as threads. One failing file does not stop the others.';

export function defineRamp(program: Command, define: Define): void {
  defineReduction(program, define, {
    name: 'ramp',
    summary: 'reduce raw up-the-ramp exposures to 2-D rate images',
    more: FILES,
    examples: [
      ['rampline ramp apR-b-52950001.apz -o out', 'one chip'],
      ['rampline ramp /data/apogee/60857 -o out --calib cal', 'a night, with calibrations'],
      ['rampline ramp @tonight.txt -o out --jobs 6 --threads 1', 'files named in a list'],
      ['rampline ramp raw -o out --jumps iqr --off subtract-one-over-f', 'another jump test, no 1/f correction'],
      ['rampline ramp raw -o out --set find-jumps.threshold=25', 'a kernel parameter (rampline kernels describe NAME)'],
    ],
  });
}

export function defineCalibrate(program: Command, define: Define): void {
  defineReduction(program, define, {
    name: 'calibrate',
    summary: 'reduce raw exposures to calibrated 2-D images: ramp, dark, flat, bad pixels',
    more:
      'What `ramp` does, and dark subtraction, flat division and the bits of bad pixels in the same pass; products are\n' +
      '2dcal-TELE-MJD-CHIP-EXPOSURE.fits. Calibrations are chosen for each frame by the rules of its instrument;\n' +
      '`rampline calib explain` tells which and why, and so does the table PROVENANCE of the product.\n' +
      FILES,
    examples: [
      ['rampline calibrate apR-b-52950001.apz -o out --calib cal', 'one chip'],
      [
        'rampline calibrate /data/apogee/60857 -o out --calib cal --pin dr20',
        'a night, with a frozen set of calibrations',
      ],
      [
        'rampline calibrate raw/apR-b-52950007.apz -o out --calib cal --previous out/2dcal-apo-60857-b-0006.fits',
        'flag light that persists',
      ],
    ],
  });
}

/** The message, with the file that is to blame where that is not the one being reduced. */
function told(reduced: string, { file, message }: Failure): string {
  return file === undefined || basename(file) === basename(reduced) ? message : `${file}: ${message}`;
}

function defineReduction(
  program: Command,
  define: Define,
  words: {
    readonly name: 'ramp' | 'calibrate';
    readonly summary: string;
    readonly more: string;
    readonly examples: readonly (readonly [string, string])[];
  },
): void {
  const calibrate = words.name === 'calibrate';
  define(
    program,
    words,
    (command) =>
      command
        .argument('<file...>', 'raw files, directories or @lists')
        .option(
          '--calib <dir>',
          calibrate
            ? 'directory of calibrations (required)'
            : 'directory of calibrations; without it typical figures of the detectors are used',
        )
        .option('--pin <name>', 'take exactly the calibrations frozen under this name (rampline calib pin)')
        .addOption(
          new Option(
            '--previous <product>',
            '2-D product of an exposure before, whose light may persist; may be repeated',
          )
            .argParser(collectList)
            .hideHelp(!calibrate),
        )
        .option('--drop-reads <n>', 'reads dropped at the start (default 2)', wholeNumber('--drop-reads', 0, 10_000))
        .addOption(new Option('--reset <how>', 'treat the reset anomaly (default drop)').choices(RESET_METHODS))
        .addOption(new Option('--jumps <test>', 'find jumps (default likelihood)').choices(JUMP_METHODS))
        .option('--two-omit', 'also test pairs of neighbouring differences')
        .addOption(new Option('--unit <unit>', 'unit of the rates (default dn-per-read)').choices(UNITS))
        .option(
          '--low-memory',
          'decode twice and keep no cube: a third of the memory (default for up to 3 files a job)',
        )
        .option('--no-low-memory', 'decode once and keep the cube of reads: faster for many files')
        .option('--off <kernel>', 'leave a kernel of the chain out; may be repeated', collectList)
        .option('--set <kernel.param=value>', 'set a kernel parameter; may be repeated', collectParams)
        .option('--diagnostics', 'also write the images NJUMPS and LASTGOOD')
        .option('--no-verify', 'do not verify the checksums of the raw files'),
    async (files, options: GlobalOptions & RampFlags, session) => {
      if (options.output === undefined) throw new UsageError('expected a directory for the products: -o DIR');
      const { output } = options;
      const { ramp, sweepOwn } = await import('../../night/ramp.js');
      const { exitCodeOf } = await import('../../night/failure.js');
      session.interrupt.onStop(() => sweepOwn(output));
      const began = performance.now();
      const outcomes = await ramp({
        files: files as string[],
        output,
        options: {
          ...(options.dropReads === undefined ? {} : { dropReads: options.dropReads }),
          ...(options.reset === undefined ? {} : { reset: options.reset }),
          ...(options.jumps === undefined ? {} : { jumps: options.jumps }),
          ...(options.unit === undefined ? {} : { unit: options.unit }),
          twoOmit: options.twoOmit ?? false,
          ...(options.lowMemory === undefined ? {} : { lowMemory: options.lowMemory }),
          off: options.off ?? [],
          params: options.set ?? {},
        },
        calib: options.calib,
        pin: options.pin,
        calibrate,
        previous: options.previous ?? [],
        verify: options.verify,
        force: options.force ?? false,
        diagnostics: options.diagnostics ?? false,
        jobs: options.jobs,
        threads: options.threads,
        limits: limitsOf(options),
        signal: session.interrupt.signal,
        onProgress: session.progress,
        onOutcome: ({ file, status, seconds, failure, warnings }) => {
          session.log(failure === undefined ? 'debug' : 'error', status, {
            file,
            seconds: Number(seconds.toFixed(3)),
            ...(failure === undefined ? {} : { error: failure.error, message: told(file, failure) }),
          });
          for (const warning of warnings ?? []) session.log('debug', 'tolerated', { file, warning });
        },
      });
      const seconds = (performance.now() - began) / 1000;
      const failures = outcomes.flatMap(({ failure }) => (failure === undefined ? [] : [failure]));
      const stopped = outcomes.some(({ status }) => status === 'cancelled');
      const number = (value: number | undefined) => (value === undefined ? '-' : String(value));
      const rows = outcomes.map(({ file, status, summary, seconds: time, product, failure }) => [
        file,
        status,
        number(summary?.reads),
        time.toFixed(2),
        number(summary?.jumps),
        number(summary?.saturated),
        ...(calibrate ? [number(summary?.noCalibration)] : []),
        failure === undefined ? (product ?? '-') : `${failure.error}: ${told(file, failure)}`,
      ]);
      const counted = ['reads', 'seconds', 'jumps', 'saturated', ...(calibrate ? ['uncalibrated'] : [])];
      const head = ['file', 'is', ...counted, 'product'];
      const count = (status: string) => outcomes.filter((outcome) => outcome.status === status).length;
      const counts = ['done', 'skipped', 'failed', 'cancelled'].filter((status) => count(status) > 0);
      return {
        json: { output, seconds, outcomes },
        text:
          table(head, rows, counted) +
          `\n${counts.map((status) => `${count(status)} ${status}`).join(', ')} in ${seconds.toFixed(2)} s; ${printable(output)}\n`,
        exitCode: stopped ? (session.interrupt.exitCode() ?? EXIT_CODES.interrupted) : exitCodeOf(failures),
      };
    },
  );
}
