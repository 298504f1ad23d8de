/** rampline trace build FILE... */
import type { Command } from 'commander';
import { EXIT_CODES, UsageError } from '../../core/errors.js';
import type { Failure } from '../../night/failure.js';
import { limitsOf } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { printable, table } from '../table.js';

interface TraceFlags {
  readonly prior?: string;
  readonly instrument: string;
  readonly verify: boolean;
}

/** What became of a flat; numbers as the stage's summary has them. */
interface TraceOutcome {
  readonly file: string;
  readonly status: 'done' | 'skipped' | 'failed' | 'cancelled';
  readonly product?: string | undefined;
  readonly seconds: number;
  readonly fibres?: Readonly<Record<string, number>> | undefined;
  /** Median shift of the fibres against the metrology, and median scatter of centres about the traces [px]. */
  readonly shift?: number | undefined;
  readonly rms?: number | undefined;
  /** Median relative throughput of the fibres that are ok; only a dome flat tells it. */
  readonly throughput?: number | undefined;
  readonly warnings?: readonly string[] | undefined;
  readonly failure?: Failure | undefined;
}

const STATES = ['ok', 'low', 'broken', 'blended', 'off-chip'] as const;

export function defineTrace(program: Command, define: Define): void {
  const trace = program.command('trace').description('find and follow the fibres on flats');
  define(
    trace,
    {
      name: 'build',
      summary: 'find, identify and follow the fibres on dome and quartz flats',
      more:
        'FILE is a calibrated 2-D product of a flat (2dcal-...fits). The product, trace-TELE-MJD-CHIP-EXPOSURE.fits, has the row, the\n' +
        'width and the light of each fibre in each column with their covariance, the profiles, and what became of each fibre:\n' +
        'ok, low (less than 0.2 of the median light), broken (no light), blended, off-chip. Fibres are identified by the gaps\n' +
        "of the slit head and need no prior; one that is given is checked. Dome flats also give the fibres' relative\n" +
        'throughput. One failing file does not stop the others; products that are done are skipped.',
      examples: [
        ['rampline trace build out/2dcal-apo-60857-b-0012.fits -o out', 'one flat'],
        ['rampline trace build out/2dcal-apo-60857-?-0012.fits -o out --json', 'its three chips, for a program'],
        [
          'rampline trace build new/2dcal-apo-60858-b-0007.fits -o new --prior out/trace-apo-60857-b-0012.fits',
          'with the traces of the night before',
        ],
        [
          'rampline trace build NS.20100429.32524.fits.gz --instrument nirspec -o out',
          'the orders of a long slit, of a raw flat',
        ],
      ],
    },
    (command) =>
      command
        .argument('<file...>', 'calibrated 2-D products of flats (nirspec: raw flats)')
        .option('--prior <file>', 'traces of an earlier flat of the same chip, checked before they are believed')
        .option('--instrument <name>', 'of which the files are: apogee or nirspec', 'apogee')
        .option('--no-verify', 'do not verify the checksums of the files'),
    async (words, options: GlobalOptions & TraceFlags, session) => {
      const { output, prior } = options;
      if (output === undefined) throw new UsageError('expected a directory for the products: -o DIR');
      const [{ runStage }, { exitCodeOf, reasonOf, toFailure }, { stage }, { openFits }, { readThroughputs }] =
        await Promise.all([
          import('../../night/by_hand.js'),
          import('../../night/failure.js'),
          import('../../stages/trace/stage.js'),
          import('../../fits/index.js'),
          import('../../stages/trace_product.js'),
        ]);
      const { instrumentNamed } = await import('../../night/instruments.js');
      const { reduceSlit } = await import('../../night/slit.js');
      const instrument = instrumentNamed(options.instrument);
      const slit = instrument.readout === 'image';
      if (slit && prior !== undefined)
        throw new UsageError('a prior serves fibres, not a long slit: leave --prior out');
      const limits = limitsOf(options);
      const files = words as unknown as string[][];
      const outcomes: TraceOutcome[] = [];
      for (const file of files.flat()) {
        const began = performance.now();
        const told = (rest: Omit<TraceOutcome, 'file' | 'seconds'>) =>
          outcomes.push({ file, seconds: (performance.now() - began) / 1000, ...rest });
        if (session.interrupt.signal.aborted) {
          told({ status: 'cancelled' });
          continue;
        }
        try {
          const common = {
            output,
            force: options.force,
            verify: options.verify,
            threads: options.threads,
            limits,
            control: session.interrupt.control,
          };
          const inputs = [
            { role: 'image', path: file },
            ...(prior === undefined ? [] : [{ role: 'prior', path: prior }]),
          ];
          const made = slit
            ? await reduceSlit({ ...common, instrument, image: file })
            : await runStage({ ...common, stage, files: inputs });
          const product = openFits(made.product, { limits });
          const { header } = product.hdu(0);
          const count = (state: string) => header.number(`N${state.replace('-', '').toUpperCase()}`, 0);
          const { throughput, rms } = readThroughputs(product);
          product.close();
          told({
            status: made.status,
            product: made.product,
            fibres: Object.fromEntries(STATES.map((state) => [state, count(state)])),
            shift: header.number('SHIFT', undefined),
            ...(Number.isFinite(rms) && { rms }),
            ...(Number.isFinite(throughput) && { throughput }),
            warnings: made.warnings,
          });
          for (const warning of made.warnings ?? []) session.log('warn', 'trace', { file, warning });
        } catch (error) {
          const failure = toFailure(error);
          const stopped = session.interrupt.signal.aborted && failure.error === 'retriable';
          told({ status: stopped ? 'cancelled' : 'failed', failure });
          session.log('error', 'failed', { file, error: failure.error, message: failure.message });
        }
      }
      const failures = outcomes.flatMap(({ failure, status }) =>
        failure === undefined || status === 'cancelled' ? [] : [failure],
      );
      const stopped = outcomes.some(({ status }) => status === 'cancelled');
      const number = (value: number | undefined, digits: number) => (value === undefined ? '-' : value.toFixed(digits));
      const rows = outcomes.map(({ file, status, fibres, shift, rms, throughput, seconds, product, failure }) => [
        file,
        status,
        ...STATES.map((state) => (fibres === undefined ? '-' : String(fibres[state]))),
        number(shift, 3),
        number(rms, 4),
        number(throughput, 3),
        seconds.toFixed(2),
        failure === undefined ? (product ?? '-') : reasonOf(failure, file),
      ]);
      const counted = [...STATES, 'shift [px]', 'rms [px]', 'throughput', 'seconds'];
      return {
        json: { output, outcomes },
        text: `${table(['file', 'is', ...counted, 'product'], rows, counted)}\n${printable(output)}\n`,
        exitCode: stopped ? (session.interrupt.exitCode() ?? EXIT_CODES.interrupted) : exitCodeOf(failures),
      };
    },
  );
}
