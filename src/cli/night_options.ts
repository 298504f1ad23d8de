/** The options by which a night is named, for the verbs that plan or run one. */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.js';
import { JOIN } from '../night/graph.js';
import type { NightOptions } from '../night/job.js';
import { collectList, collectParams, wholeNumber } from './options.js';
import type { GlobalOptions } from './reply.js';

export interface NightFlags {
  readonly tele?: readonly string[];
  readonly mjd?: number;
  readonly chip?: readonly string[];
  readonly join?: boolean;
  readonly calib?: readonly string[];
  readonly pin?: string;
  readonly build?: readonly string[];
  readonly bad?: readonly string[];
  readonly fibers?: string;
  readonly set?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly verify: boolean;
  readonly diagnostics?: boolean;
  readonly from?: string;
  readonly to?: string;
  readonly only?: readonly string[];
  readonly ledger?: string;
}

export function withNight(command: Command): Command {
  return command
    .argument('<raw>', 'directory of raw files')
    .option('--tele <names>', 'telescopes: apo, lco or apo,lco', collectList)
    .option('--mjd <n>', 'night (SJD)', wholeNumber('--mjd', 0, 999_999))
    .option('--chip <names>', 'only these chips; runs of different chips may go side by side', collectList)
    .option('--join', 'what joins chips, and what of the chips that needs and is not done')
    .option('--calib <dir>', 'directory of calibrations; may be repeated', collectList)
    .option('--pin <name>', 'take exactly the calibrations frozen under this name')
    .option(
      '--build <words>',
      'calibrations that the night builds of its own exposures: one-over-f, photon-transfer, dark, flat, or all',
      collectList,
    )
    .option('--bad <file>', 'list of bad exposures: tele mjd exposure [chip] reason; may be repeated', collectList)
    .option('--fibers <file>', 'fibre maps: .fits, .csv, or .h5 of almanac; spectra then say what their fibres look at')
    .option('--set <name.param=value>', 'a parameter of a stage or kernel; may be repeated', collectParams)
    .option('--no-verify', 'do not verify the checksums of raw files')
    .option('--diagnostics', 'also write the images NJUMPS and LASTGOOD')
    .option('--from <stage>', 'begin with this stage: what comes before must be done')
    .option('--to <stage>', 'end with this stage')
    .option('--only <exposures>', 'only these and what they need: 12, 12-a, apo-12-a; may be repeated', collectList);
}

/** What the options say of a night. */
export interface AskedNight {
  readonly raw: string;
  readonly output: string;
  readonly tele: readonly string[];
  readonly mjd: number;
  readonly slices: readonly string[] | undefined;
  readonly options: Partial<NightOptions>;
  readonly bad: readonly string[] | undefined;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly only: readonly string[] | undefined;
  readonly ledger: string | undefined;
  readonly threads: number | undefined;
}

/** @throws UsageError for what is missing, or excludes one another */
export function askedNight(words: readonly unknown[], options: GlobalOptions & NightFlags): AskedNight {
  const { output, tele, mjd } = options;
  if (output === undefined) throw new UsageError('expected a directory for the products: -o DIR');
  if (tele === undefined || mjd === undefined) throw new UsageError('expected --tele and --mjd of the night');
  if (options.chip !== undefined && options.join === true) throw new UsageError('--chip and --join exclude each other');
  return {
    raw: String(words[0]),
    output,
    tele,
    mjd,
    slices: options.join === true ? [JOIN] : options.chip,
    options: {
      calib: options.calib ?? [],
      pin: options.pin,
      build: options.build,
      params: options.set ?? {},
      fibers: options.fibers,
      verify: options.verify,
      diagnostics: options.diagnostics ?? false,
    },
    bad: options.bad,
    from: options.from,
    to: options.to,
    only: options.only,
    ledger: options.ledger,
    threads: options.threads,
  };
}
