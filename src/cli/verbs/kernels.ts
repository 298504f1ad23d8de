/** rampline kernels list | describe NAME | chain STAGE */
import type { Command } from 'commander';
import { UsageError } from '../../core/errors.js';
import { didYouMean } from '../../core/suggest.js';
import type { Define } from '../reply.js';
import { table } from '../table.js';

/** Stages that run a chain. */
const STAGES = ['ramp'];

export function defineKernels(program: Command, define: Define): void {
  const kernels = program.command('kernels').description('what touches the pixels: list, describe, chain');
  define(
    kernels,
    { name: 'list', summary: 'one line for each kernel', examples: [['rampline kernels list', 'all of them']] },
    (command) => command,
    async () => {
      const { KERNELS, listKernels } = await import('../../engine/index.js');
      const short = KERNELS.map(({ name, version, hash, class: kind, stage, summary }) => ({
        name,
        version,
        hash,
        class: kind,
        stage,
        summary,
      }));
      return { json: { kernels: short }, text: listKernels() };
    },
  );
  define(
    kernels,
    {
      name: 'describe',
      summary: 'arrays, parameters, tolerance and source of one kernel',
      examples: [
        ['rampline kernels describe linearise', 'what it takes and gives'],
        ['rampline kernels describe fit-ramp --json', 'its kernel.json'],
      ],
    },
    (command) => command.argument('<name>', 'name of a kernel'),
    async ([name]) => {
      const { describeKernel, findKernel } = await import('../../engine/index.js');
      const kernel = findKernel(name as string);
      return { json: { kernel }, text: describeKernel(kernel) };
    },
  );
  define(
    kernels,
    {
      name: 'chain',
      summary: 'the kernels of a stage in the order in which they run',
      more: 'What is optional can be left out with ramp --off NAME; what is off by default follows from options.',
      examples: [['rampline kernels chain ramp', 'from raw reads to rates']],
    },
    (command) => command.argument('<stage>', `one of ${STAGES.join(', ')}`),
    async ([stage]) => {
      if (!STAGES.includes(stage as string)) {
        const near = didYouMean(stage as string, STAGES);
        throw new UsageError(`no stage "${stage}" has a chain${near || `; there is ${STAGES.join(', ')}`}`);
      }
      const { kernelNamed } = await import('../../engine/index.js');
      const { rampChainDescription } = await import('../../stages/ramp/chain.js');
      const { name, doc, steps } = rampChainDescription();
      const rows = steps.map((step, i) => {
        const kernel = kernelNamed(step.kernel);
        const when = Object.entries(step.when ?? {}).map(([option, value]) => `with ${option} ${value}`);
        const state = step.optional !== true ? 'always' : step.default === false ? 'off' : 'on';
        return [String(i + 1), step.kernel, kernel.class, [state, ...when].join(', '), kernel.summary];
      });
      return {
        json: { name, doc, steps },
        text: `${doc}\n\n${table(['', 'kernel', 'class', 'runs', 'what it does'], rows)}`,
      };
    },
  );
}
