/** rampline diff A B */
import type { Command } from 'commander';
import { limitsOf, realNumber } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { table } from '../table.js';

export function defineDiff(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'diff',
      summary: 'compare two products, or two directories, HDU by HDU',
      more:
        'Exit 0: identical or within the tolerance. Exit 1: they differ. Exit 2: an HDU or a product is missing on one\n' +
        'side. A file that cannot be read is an error with its own code. PROVENANCE, DATE, checksums and comments do not count; NaN equals NaN.',
      examples: [
        ['rampline diff old/2d-apo-60857-b-0001.fits new/2d-apo-60857-b-0001.fits', 'bit for bit'],
        ['rampline diff old new --rtol 1e-6', 'all products of two runs, with a tolerance'],
        ['rampline diff a.fits b.fits --json', 'where they differ, for a program'],
      ],
    },
    (command) =>
      command
        .argument('<a>', 'file or directory')
        .argument('<b>', 'file or directory')
        .option('--rtol <x>', 'relative tolerance', realNumber('--rtol', 0, 1e30))
        .option('--atol <x>', 'absolute tolerance', realNumber('--atol', 0, 1e30))
        .option('--all', 'list identical HDUs too'),
    async (
      [a, b],
      options: GlobalOptions & { readonly rtol?: number; readonly atol?: number; readonly all?: boolean },
    ) => {
      const { diff } = await import('../../night/diff.js');
      const { rtol = 0, atol = 0 } = options;
      const found = await diff(a as string, b as string, { rtol, atol, limits: limitsOf(options) });
      const rows = found.products.flatMap(({ product, status, hdus, detail }) =>
        hdus.length === 0
          ? [[product, '-', status, detail]]
          : hdus
              .filter((hdu) => options.all === true || hdu.status !== 'identical')
              .map((hdu) => [product, hdu.hdu, hdu.status, hdu.detail]),
      );
      const same = found.status === 'identical' || found.status === 'within tolerance';
      const count = `${found.products.length} ${found.products.length === 1 ? 'product' : 'products'}`;
      return {
        json: { a, b, rtol, atol, ...found },
        text: `${rows.length > 0 ? `${table(['product', 'HDU', 'is', 'what'], rows)}\n` : ''}${count}: ${found.status}\n`,
        exitCode: same ? 0 : found.status === 'differs' ? 1 : 2,
      };
    },
  );
}
