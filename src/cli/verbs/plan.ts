/** rampline plan RAW -o DIR --tele apo --mjd N */
import type { Command } from 'commander';
import { UsageError } from '../../core/errors.js';
import { askedNight, type NightFlags, withNight } from '../night_options.js';
import { planReply } from '../plan_text.js';
import type { Define } from '../reply.js';

interface PlanFlags extends NightFlags {
  readonly dot?: boolean;
  readonly keys?: boolean;
  readonly hash: boolean;
}

export function definePlan(program: Command, define: Define): void {
  define<PlanFlags>(
    program,
    {
      name: 'plan',
      summary: 'what a night would do: jobs, time, memory, disk; what is done already and why, what is dropped and why',
      more:
        'Takes what run takes and writes nothing. RAW holds TELE/MJD/, MJD/, or the raw files themselves.\n' +
        'A job is done when the manifest of its product carries the hashes of what the job would take now; else the plan says\n' +
        'what changed. For that the raw files of products that are there are read and hashed, unless the ledger knows them.\n' +
        'Times are those of a quiet machine; memory is what a job holds beyond an idle process, and an upper bound.',
      examples: [
        ['rampline plan /data/raw -o out --tele apo --mjd 60855 --calib cal', 'a night'],
        ['rampline plan /data/raw -o out --tele apo --mjd 60855 --chip a', 'what a run of chip a alone would do'],
        ['rampline plan /data/raw -o out --tele apo --mjd 60855 --only 12-a --dot | dot -Tsvg > 12.svg', 'a picture'],
        [
          'rampline --json plan /data/raw -o out --tele apo,lco --mjd 60855 --no-hash',
          'for programs, reading headers alone',
        ],
      ],
    },
    (command) =>
      withNight(command)
        .option('--dot', 'the job graph in the DOT language of Graphviz')
        .option('--keys', 'hash all raw files: the key of every job whose inputs are made')
        .option('--no-hash', 'hash no raw file: inputs count as unchanged')
        .option('--ledger <url>', 'postgres:// URL of the ledger, which knows hashes, or none'),
    (words, options, session) => {
      if (options.keys === true && !options.hash) throw new UsageError('--keys and --no-hash exclude each other');
      const hash = options.keys === true ? 'all' : options.hash ? 'needed' : 'none';
      return planReply(askedNight(words, options), { dot: options.dot, hash }, options, session);
    },
  );
}
