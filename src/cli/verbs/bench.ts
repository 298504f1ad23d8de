/** rampline bench */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { packageRoot } from '../../core/addon.js';
import { AlgorithmError, UsageError } from '../../core/errors.js';
import type { Define } from '../reply.js';

export function defineBench(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'bench',
      summary: 'measure speed (in a checkout)',
      more: 'Runs bench/run.mjs, the same as npm run bench; words after -- go to it. Ratios of CPU time in one run count.',
      examples: [
        ['rampline bench', 'all benches; results go to bench/results'],
        ['rampline bench -- --smoke', 'small sizes: does it run?'],
      ],
    },
    (command) => command.argument('[words...]', 'passed on to the harness'),
    async (words, options, session) => {
      const script = join(packageRoot(), 'bench', 'run.mjs');
      if (!existsSync(script)) throw new UsageError(`benches need a checkout of the sources: there is no ${script}`);
      // The harness' own output goes to stderr: stdout carries the reply.
      const child = spawn(process.execPath, [script, ...(words as string[])], { stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
        if (!options.json) process.stderr.write(piece);
      });
      session.interrupt.signal.addEventListener('abort', () => child.kill('SIGTERM'));
      const code = await new Promise<number | null>((resolve, reject) => {
        child.on('error', reject).on('close', resolve);
      });
      if (code !== 0) throw new AlgorithmError(`the benches ended with ${code ?? 'a signal'}`);
      return { json: { script, output: text }, text: '' };
    },
  );
}
