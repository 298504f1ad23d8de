/** rampline run-chunk: what the elements of a job array run; not for people, and so not in the help. */
import type { Command } from 'commander';
import { EXIT_CODES } from '../../core/errors.js';
import { wholeNumber } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';

interface ChunkFlags {
  readonly submission: string;
  readonly level: number;
  readonly index: number;
}

export function defineRunChunk(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'run-chunk',
      summary: 'run one chunk of a submission to Slurm',
      hidden: true,
      more: 'Slurm starts it for each element of the job arrays that rampline run --executor slurm submits.',
      examples: [
        ['rampline run-chunk --submission out/state/slurm-RUN --level 0 --index 3', 'by hand, to see why one failed'],
      ],
    },
    (command) =>
      command
        .requiredOption('--submission <dir>', 'directory of the submission')
        .requiredOption('--level <n>', 'which array', wholeNumber('--level', 0, 1e6))
        .requiredOption('--index <n>', 'which chunk of it', wholeNumber('--index', 0, 1e6)),
    async (_words, { submission, level, index }: GlobalOptions & ChunkFlags, session) => {
      const { localExecutor } = await import('../../night/local.js');
      const { runChunk } = await import('../../night/slurm/chunk.js');
      const { logSink, NightLog } = await import('../../night/log.js');
      let log: InstanceType<typeof NightLog> | undefined;
      const report = await runChunk({
        directory: submission,
        level,
        index,
        executor: localExecutor(),
        logs: (plan, run) => {
          log = new NightLog(plan.output);
          return logSink(log, run);
        },
        signal: session.interrupt.signal,
      });
      await log?.flush();
      const { outcomes, unready, stopped, hung } = report;
      const count = (status: string) => outcomes.filter((one) => one.status === status).length;
      const states = ['done', 'skipped', 'dropped', 'failed', 'cancelled'] as const;
      const text = [
        ...states.filter((status) => count(status) > 0).map((status) => `${count(status)} ${status}`),
        ...(unready.length > 0 ? [`${unready.length} not begun: what they need is not settled`] : []),
      ].join(', ');
      const unfinished = unready.length > 0 || count('cancelled') > 0;
      const exitCode = stopped?.exitCode ?? (unfinished ? EXIT_CODES.retriable : EXIT_CODES.ok);
      // A thread that does not end would keep the process until its time is over.
      if (hung === true) setTimeout(() => process.exit(exitCode || EXIT_CODES.bug), 1000);
      return {
        json: { submission, level, index, outcomes, unready, stopped: stopped ?? null },
        text: `chunk ${index} of level ${level}: ${text}\n`,
        exitCode,
      };
    },
  );
}
