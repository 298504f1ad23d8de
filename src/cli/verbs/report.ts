/** rampline report OUT */
import type { Command } from 'commander';
import { collectList, wholeNumber } from '../options.js';
import type { Define } from '../reply.js';
import { printable, table } from '../table.js';

interface ReportFlags {
  readonly tele?: readonly string[];
  readonly mjd: number;
}

export function defineReport(program: Command, define: Define): void {
  define<ReportFlags>(
    program,
    {
      name: 'report',
      summary: 'write the page of a night: what became of every exposure, and why',
      more:
        'Writes night.html, which needs nothing else, and night.json with its numbers into OUT/TELE/MJD, from the almanac, the\n' +
        'manifests, the products and the logs that are there; raw files are not read. It may be asked for at any time: a night\n' +
        'that is half done is told as such. Exposures whose light stands apart from others of their kind are listed in\n' +
        'bad-exposures.tsv, which `rampline run --bad` takes. Exit 0, whatever the verdict; `rampline check` judges products.',
      examples: [
        ['rampline report out --mjd 60857', 'a page for each telescope'],
        ['rampline report out --tele apo --mjd 60857 --json', 'all numbers of the page, for programs'],
      ],
    },
    (command) =>
      command
        .argument('<out>', 'directory of products')
        .requiredOption('--mjd <n>', 'night (SJD)', wholeNumber('--mjd', 0, 999_999))
        .option('--tele <names>', 'telescopes, comma separated (default: those of the night)', collectList),
    async ([output], { tele, mjd }, session) => {
      const { report } = await import('../../night/report.js');
      const { nights, index } = await report({
        output: output as string,
        tele,
        mjd,
        onProgress: session.progress,
      });
      const lines = nights.flatMap(({ report: { findings } }) =>
        findings.map(({ level, text, count }) => `${level}: ${count > 1 ? `${count} x ` : ''}${text}`),
      );
      const rows = nights.map(({ tele: one, report: { grade, sentence } }) => [one, grade, sentence]);
      const pages = [...nights.map(({ page }) => page), ...(index === '' ? [] : [index])];
      return {
        json: {
          index,
          nights: nights.map(({ page, json, report: one }) => ({ page, json, ...one })),
        },
        text: `${table(['tele', 'verdict', 'in a sentence'], rows)}${[...lines, ...pages].map((line) => `${printable(line)}\n`).join('')}`,
      };
    },
  );
}
