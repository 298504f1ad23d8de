/** rampline extract IMAGE... --trace FILE -o DIR */
import { type Command, Option } from 'commander';
import { EXIT_CODES, UsageError } from '../../core/errors.js';
import { EXTRACTION_METHODS, type ExtractionMethod } from '../../core/spectra.js';
import type { Failure } from '../../night/failure.js';
import { collectList, limitsOf, realNumber } from '../options.js';
import type { Define, GlobalOptions, Session } from '../reply.js';
import { printable, table } from '../table.js';

interface ExtractFlags {
  readonly trace: readonly string[];
  readonly method?: ExtractionMethod;
  readonly reach?: number;
  readonly reject?: number;
  readonly fibers?: string;
  readonly instrument: string;
  readonly background: boolean;
  readonly tweak: boolean;
  readonly decorrelate?: boolean;
  readonly verify: boolean;
}

/** What became of an image. */
interface ExtractOutcome {
  readonly file: string;
  readonly status: 'done' | 'skipped' | 'failed' | 'cancelled';
  readonly product?: string;
  readonly summary?: Readonly<Record<string, number | string>> | undefined;
  readonly warnings?: readonly string[] | undefined;
  readonly failure?: Failure;
}

export function defineExtract(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'extract',
      summary: 'take the spectra of all fibres from calibrated images, with the traces of a flat',
      more:
        'IMAGE is a product of `calibrate` (2dcal-...), FILE one of `trace build` (trace-...). Of several traces the nearest\n' +
        'exposure with good ones serves; which and why is in the header and the table PROVENANCE of the product,\n' +
        '1d-TELE-MJD-CHIP-EXPOSURE.fits. Traces of another telescope or chip are refused, those of another night are taken with\n' +
        'a warning. The relative throughput of the fibres comes from the nearest dome flat among the traces.\n' +
        'One failing image does not stop the others; products that are done are skipped. A night does all this by itself: `rampline run`.',
      examples: [
        ['rampline extract out/2dcal-apo-60857-b-0015.fits --trace out/trace-apo-60857-b-0012.fits -o out', 'one chip'],
        [
          'rampline extract out/2dcal-apo-60857-b-*.fits --trace out/trace-apo-60857-b-0012.fits -o out',
          'all of one chip',
        ],
        [
          'rampline extract out/2dcal-apo-60857-b-0015.fits --trace out/trace-apo-60857-b-0012.fits --method boxcar -o simple',
          'the sum of five rows',
        ],
        [
          'rampline extract out/2dcal-apo-60857-b-0015.fits --trace out/trace-apo-60857-b-0012.fits --decorrelate -o apart',
          'DFLUX = RESOLUTION x FLUX too: errors that stand alone',
        ],
        [
          'rampline extract NS.20100429.40280.fits.gz --instrument nirspec --trace out/trace-keck-55315-spec-0101.fits -o out',
          'the object in a long slit, less the sky beside it, from a raw image',
        ],
      ],
    },
    (command) =>
      command
        .argument('<image...>', 'calibrated 2-D products (nirspec: raw images)')
        .requiredOption('--trace <file>', 'traces of a flat of the same chip; may be repeated', collectList)
        .addOption(
          new Option('--method <how>', 'how the light is taken apart (default joint)').choices(EXTRACTION_METHODS),
        )
        .option(
          '--reach <rows>',
          'rows on each side of a trace that are used (default 16)',
          realNumber('--reach', 2, 16),
        )
        .option(
          '--reject <sigma>',
          'limit for pixels above the model; 0: none (default 6)',
          realNumber('--reject', 0, 1e6),
        )
        .option('--fibers <file>', 'fibre maps: .fits, .csv, or .h5 of almanac')
        .option('--instrument <name>', 'of which the files are: apogee or nirspec', 'apogee')
        .option('--no-background', 'do not take off scattered light')
        .option(
          '--decorrelate',
          'the decorrelated form besides: DFLUX, DERR, RESOLUTION (errors that do not depend on each other; joint alone)',
        )
        .option('--no-tweak', 'take the traces as they are in the flat')
        .option('--no-verify', 'do not verify the checksums of the files'),
    async (images, options: GlobalOptions & ExtractFlags, session: Session) => {
      const { runStage } = await import('../../night/by_hand.js');
      const { stage } = await import('../../stages/extract/stage.js');
      const { method, reach, reject, background, tweak, decorrelate } = options;
      const parameters = {
        background,
        tweak,
        ...(method !== undefined && { method }),
        ...(reach !== undefined && { reach }),
        ...(reject !== undefined && { reject }),
        ...(decorrelate !== undefined && { decorrelate }),
      };
      const { instrumentNamed } = await import('../../night/instruments.js');
      const { reduceSlit } = await import('../../night/slit.js');
      const instrument = instrumentNamed(options.instrument);
      const slit = instrument.readout === 'image';
      const given = Object.entries({ method, reach, reject, decorrelate, fibers: options.fibers }).find(
        ([, value]) => value !== undefined,
      );
      if (slit && given !== undefined)
        throw new UsageError(`--${given[0]} serves fibres, not a long slit: leave it out`);
      if (slit && options.trace.length !== 1) throw new UsageError('expected one --trace for a long slit');
      const { exitCodeOf, reasonOf, toFailure } = await import('../../night/failure.js');
      const outcomes: ExtractOutcome[] = [];
      for (const image of images as readonly string[]) {
        if (session.interrupt.signal.aborted) {
          outcomes.push({ file: image, status: 'cancelled' });
          continue;
        }
        const common = {
          output: options.output ?? '.',
          force: options.force,
          verify: options.verify,
          threads: options.threads,
          limits: limitsOf(options),
          control: session.interrupt.control,
        };
        const files = [{ role: 'image', path: image }, ...options.trace.map((path) => ({ role: 'traces', path }))];
        try {
          const { status, product, summary, warnings } = slit
            ? await reduceSlit({ ...common, instrument, image, traces: options.trace[0] })
            : await runStage({ ...common, stage, files, fibers: options.fibers, parameters });
          outcomes.push({ file: image, status, product, summary, warnings });
          for (const text of warnings ?? []) session.log('warn', 'extract', { product, text });
        } catch (error) {
          const failure = toFailure(error);
          // An option that is wrong is wrong for all images.
          if (failure.error === 'usage') throw error;
          const stopped = session.interrupt.signal.aborted && failure.error === 'retriable';
          outcomes.push({ file: image, status: stopped ? 'cancelled' : 'failed', failure });
          if (!stopped) session.log('error', 'failed', { file: image, error: failure.error, message: failure.message });
        }
      }
      const failures = outcomes.flatMap(({ failure, status }) =>
        failure === undefined || status === 'cancelled' ? [] : [failure],
      );
      const stopped = outcomes.some(({ status }) => status === 'cancelled');
      const figure = (value: number | string | undefined) => printable(String(value ?? '-'));
      const rows = outcomes.map(({ file, product, status, summary = {}, failure }) => [
        printable(file),
        status,
        ...['method', 'flat', 'tweak', 'chi2', 'outliers', 'missing'].map((name) => figure(summary[name])),
        failure === undefined ? printable(product ?? '-') : printable(reasonOf(failure, file)),
      ]);
      const head = ['file', 'is', 'method', 'flat', 'tweak', 'chi2/dof', 'outliers', 'no value', 'product'];
      return {
        json: { output: options.output ?? '.', outcomes },
        text: table(head, rows, ['flat', 'chi2/dof', 'outliers', 'no value']),
        exitCode: stopped ? (session.interrupt.exitCode() ?? EXIT_CODES.interrupted) : exitCodeOf(failures),
      };
    },
  );
}
