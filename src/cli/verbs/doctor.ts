/** rampline doctor */
import type { Command } from 'commander';
import { EXIT_CODES } from '../../core/errors.js';
import type { Define } from '../reply.js';
import { table } from '../table.js';

export function defineDoctor(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'doctor',
      summary: 'what this machine offers, what is missing, and the command that mends it',
      more: 'With -o DIR: whether files written there can be made durable. Exit 70 when the engine cannot run here.',
      examples: [
        ['rampline doctor', 'look at machine and build'],
        ['rampline doctor -o /data/reduced', 'and at the disk of the products'],
      ],
    },
    (command) => command,
    async (_, options) => {
      const { examine } = await import('../../night/doctor.js');
      const findings = await examine(options.output ?? '.');
      const rows = findings.map(({ what, state, found, mend }) => [
        state,
        what,
        mend === undefined ? found : `${found}; ${mend}`,
      ]);
      const broken = findings.some(({ state }) => state === 'missing');
      return {
        json: { ok: !broken, findings },
        text: `${table(['', 'what', 'found'], rows)}\n${broken ? 'something that is needed is missing' : 'all that is needed is here'}\n`,
        exitCode: broken ? EXIT_CODES.bug : EXIT_CODES.ok,
      };
    },
  );
}
