/** The verbs and their options. What a verb does is loaded when it runs, so that starting costs little. */
import { Command, Option } from 'commander';
import { EXIT_CODES } from '../core/errors.js';
import { version } from '../core/version.js';
import { applyConfig } from './config.js';
import { byteSize, wholeNumber } from './options.js';
import { type Define, LOG_LEVELS, type Reply, type Session, type VerbText } from './reply.js';
import { defineVerbs } from './verbs/index.js';

export interface Sink {
  readonly take: (reply: Reply) => void;
  readonly write: (text: string) => void;
}

const EXIT_TABLE: readonly (readonly [number, string])[] = [
  [EXIT_CODES.ok, 'ok'],
  [EXIT_CODES.usage, 'usage: an option or argument is wrong'],
  [EXIT_CODES.algorithm, 'algorithm: the input is well formed, and the method has no result for it'],
  [EXIT_CODES.input, 'input: a file is missing, damaged or not what it must be'],
  [EXIT_CODES.calibration, 'calibration: none is valid, or one must not be used'],
  [EXIT_CODES.retriable, 'retriable: nothing was changed, the same call may succeed later'],
  [EXIT_CODES.storage, 'storage: disk full, permission, an I/O error, a product that is not what was written'],
  [EXIT_CODES.bug, 'bug: a promise of this program was broken by this program'],
  [EXIT_CODES.interrupted, 'interrupted by SIGINT; nothing is half-done'],
  [EXIT_CODES.terminated, 'interrupted by SIGTERM; nothing is half-done'],
];

const GLOBAL_HELP = `
Exit codes (diff: 1 the products differ, 2 something is missing on one side):
${EXIT_TABLE.map(([code, text]) => `  ${String(code).padStart(3)}  ${text}`).join('\n')}
  When several files fail the most serious class decides: bug, storage, calibration, input, algorithm, usage, retriable.

Results go to stdout, as one JSON document with --json (errors too). Messages and progress go to stderr: a bar on a
terminal, one JSON object a line off it; --log-level warn keeps them back.
--config FILE is a JSON object of long option names: {"output": "out", "jumps": "iqr", "off": ["linearise"]}.

Examples:
  $ rampline simulate --reads 12 --rows 64 -o raw     a small exposure of three chips
  $ rampline ramp raw -o out                          reduce all of it
  $ rampline view out/2d-apo-60857-b-0001.fits        a picture
  $ rampline --json verify out                        check it, for a program
`;

export function examplesText(text: VerbText): string {
  const width = Math.max(...text.examples.map(([command]) => command.length));
  const lines = text.examples.map(([command, what]) => `  $ ${command.padEnd(width)}   ${what}`);
  return `\n${text.more === undefined ? '' : `${text.more}\n\n`}Examples:\n${lines.join('\n')}\n`;
}

export function buildProgram(session: Session, sink: Sink): Command {
  const program = new Command('rampline');
  program
    .description('Reduces raw detector reads to archived science products.')
    .version(version(), '-V, --version', 'print the version')
    .option('--json', 'print one JSON document on stdout')
    .option('-o, --output <path>', 'directory of the products (view: the picture)')
    .option('--jobs <n>', 'exposures at once', wholeNumber('--jobs', 1, 1024))
    .option('--threads <n>', 'native threads for one exposure', wholeNumber('--threads', 1, 1024))
    .option('--force', 'do again what is done')
    .option('--config <file>', 'options from a JSON file')
    .addOption(new Option('--log-level <level>', 'messages on stderr').choices(LOG_LEVELS).default('info'))
    .addOption(limit('--max-hdus <n>', 'HDUs in a FITS file', wholeNumber('--max-hdus', 1, 1e9)))
    .addOption(limit('--max-cards <n>', 'cards in a header', wholeNumber('--max-cards', 1, 1e9)))
    .addOption(limit('--max-axes <n>', 'axes of an image', wholeNumber('--max-axes', 1, 999)))
    .addOption(limit('--max-bytes <size>', 'bytes of one HDU', byteSize('--max-bytes')))
    .addOption(limit('--max-inflated <size>', 'bytes that a .gz may inflate to', byteSize('--max-inflated')))
    .addOption(
      limit('--max-ratio <n>', 'how many times its size a .gz may inflate to', wholeNumber('--max-ratio', 1, 1e6)),
    )
    .helpCommand('help [verb]', 'explain a verb')
    .addHelpText('after', GLOBAL_HELP)
    .configureHelp({ showGlobalOptions: false, helpWidth: 120 })
    .showSuggestionAfterError(true);
  const define: Define = (parent, text, shape, run) => {
    const command = shape(parent.command(text.name, { isDefault: text.isDefault ?? false }).description(text.summary));
    command.configureHelp({ showGlobalOptions: true, helpWidth: 120 }).addHelpText('after', examplesText(text));
    command.action(async (...given: unknown[]) => {
      const self = given.at(-1) as Command;
      const { config } = self.optsWithGlobals<{ config?: string }>();
      if (config !== undefined) applyConfig(config, self);
      const options = self.optsWithGlobals();
      const args = given
        .slice(0, -2)
        .flat()
        .filter((word) => word !== undefined);
      sink.take(await run(args, options as never, session));
    });
    return command;
  };
  defineVerbs(program, define);
  const quiet = (command: Command): void => {
    command.exitOverride().configureOutput({ writeOut: sink.write, writeErr: () => undefined });
    command.commands.forEach(quiet);
  };
  quiet(program);
  return program;
}

function limit(flags: string, what: string, parse: (text: string) => number): Option {
  return new Option(flags, `limit: ${what}`).argParser(parse);
}
