/** The options of rampline run that speak of Slurm. */
import type { Command } from 'commander';
import { UsageError } from '../../core/errors.js';
import type { SlurmOptions } from '../../night/slurm/executor.js';
import { wholeNumber } from '../options.js';

export interface SlurmFlags {
  readonly partition?: string;
  readonly account?: string;
  readonly time?: number;
  readonly chunks?: number;
  readonly slurmArg?: readonly string[];
  readonly detach?: boolean;
}

/** Options of sbatch that are ours to say: others would break what the run rests on. */
const OURS: ReadonlySet<string> = new Set([
  'array',
  'chdir',
  'dependency',
  'error',
  'export',
  'job-name',
  'no-requeue',
  'nodes',
  'ntasks',
  'output',
  'parsable',
  'signal',
  'wait',
  'wrap',
]);

const MINUTES_OF_A_MONTH = 31 * 24 * 60;

export function addSlurmOptions(command: Command): Command {
  return command
    .option('--partition <name>', 'Slurm: partition (default: that of the cluster)')
    .option('--account <name>', 'Slurm: account')
    .option(
      '--time <minutes>',
      'Slurm: time limit of a chunk (default: four times what is predicted, and five minutes)',
      wholeNumber('--time', 1, MINUTES_OF_A_MONTH),
    )
    .option(
      '--chunks <n>',
      'Slurm: about so many chunks for each stage (default: three for each core of the partition, of a minute or more)',
      wholeNumber('--chunks', 1, 500),
    )
    .option('--slurm-arg <name=value>', 'Slurm: an option of sbatch, such as qos=night; may be repeated', collectArg)
    .option('--detach', 'Slurm: submit and leave; rampline status shows how far it is');
}

export function slurmOptionsOf(flags: SlurmFlags): SlurmOptions {
  for (const [name, value] of [
    ['--partition', flags.partition],
    ['--account', flags.account],
  ] as const) {
    if (value !== undefined && !/^[\w.,@+-]+$/.test(value)) {
      throw new UsageError(`expected ${name} to be a name of Slurm, received ${JSON.stringify(value)}`);
    }
  }
  return {
    partition: flags.partition,
    account: flags.account,
    minutes: flags.time,
    chunks: flags.chunks,
    more: flags.slurmArg ?? [],
    detach: flags.detach ?? false,
  };
}

function collectArg(text: string, before: readonly string[] = []): readonly string[] {
  const [, name] = /^([a-z][a-z-]*)(?:=[^\n\r\0]*)?$/.exec(text) ?? [];
  if (name === undefined) {
    throw new UsageError(
      `expected --slurm-arg NAME=VALUE with a long option of sbatch, received ${JSON.stringify(text)}`,
    );
  }
  if (OURS.has(name)) throw new UsageError(`--slurm-arg ${name}: the run decides that itself`);
  return [...before, text];
}
