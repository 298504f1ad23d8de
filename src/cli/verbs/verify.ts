/** rampline verify DIR */
import type { Command } from 'commander';
import { EXIT_CODES } from '../../core/errors.js';
import type { Define } from '../reply.js';
import { printable, table } from '../table.js';

/** Findings that mean that something is wrong; unlisted files and leftovers of killed writers are only told. */
const WRONG = ['missing', 'damaged', 'unreadable'];

export function defineVerify(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'verify',
      summary: 'check that every product is what its manifest says',
      more:
        'Re-reads and hashes everything below DIR. Exit 0: all products are whole. Exit 31: one is missing, damaged or\n' +
        'unreadable. Files without a manifest and leftovers of killed runs are listed and do not count as damage.',
      examples: [
        ['rampline verify out', 'a table of what is not ok, and a count'],
        ['rampline verify out --all', 'products that are ok too'],
        ['rampline verify out --json', 'for programs'],
      ],
    },
    (command) => command.argument('<dir>', 'directory of products').option('--all', 'list products that are ok too'),
    async ([directory], options: { readonly all?: boolean }, session) => {
      const { verifyDirectory } = await import('../../store/index.js');
      const results = [];
      for await (const result of verifyDirectory(directory as string)) {
        results.push(result);
        session.log('debug', 'verified', { ...result });
        if (session.interrupt.signal.aborted) break;
      }
      const counts: Record<string, number> = {};
      for (const { status } of results) counts[status] = (counts[status] ?? 0) + 1;
      const wrong = results.filter(({ status }) => WRONG.includes(status));
      const shown = results.filter(({ status }) => options.all === true || status !== 'ok');
      const rows = shown.map(({ product, status, detail }) => [status, product, detail]);
      const summary = Object.entries(counts).map(([status, n]) => `${n} ${status}`);
      return {
        json: { directory, ok: wrong.length === 0, counts, results },
        text:
          (rows.length > 0 ? `${table(['status', 'product', 'what'], rows)}\n` : '') +
          `${printable(directory as string)}: ${summary.length === 0 ? 'nothing there' : summary.join(', ')}\n`,
        exitCode: wrong.length === 0 ? EXIT_CODES.ok : EXIT_CODES.storage,
      };
    },
  );
}
