/** rampline check OUT */
import type { Command } from 'commander';
import type { CheckFinding } from '../../night/check.js';
import { collectList, limitsOf, wholeNumber } from '../options.js';
import type { Define } from '../reply.js';
import { printable, table } from '../table.js';

interface CheckFlags {
  readonly tele?: readonly string[];
  readonly mjd: number;
  readonly raw?: string;
  readonly hashRaw: boolean;
  readonly allowDrops?: boolean;
}

export function defineCheck(program: Command, define: Define): void {
  define<CheckFlags>(
    program,
    {
      name: 'check',
      summary: 'the final pass over a night: is every planned product there, whole, of this night and sane?',
      more:
        'Plans the night again with the options of its newest run and looks at every product: its manifest and sha256, that it was\n' +
        'made of these inputs, calibrations, parameters and kernels, CHECKSUM and DATASUM, identity, HDUs, and numbers that must\n' +
        'lie in range (data/sane.json). What was dropped is told with its reason; so is any other file between the products.\n\n' +
        'Exit 0: all is well; what a list of bad exposures or a verdict left out is told only. 31: a product is damaged or not what\n' +
        'it must be (remove it, run again). 20: its numbers are out of range. 21, 22: an exposure was dropped for its input or for\n' +
        'want of a calibration (--allow-drops: told only). 30: a product is missing or stale (run again). Of several, the most\n' +
        'serious: 31 before 22, 21, 20 and 30.',
      examples: [
        ['rampline check out --mjd 60857', 'both telescopes'],
        ['rampline check out --tele apo --mjd 60857 --allow-drops --json', 'for a program'],
      ],
    },
    (command) =>
      command
        .argument('<out>', 'directory of products')
        .requiredOption('--mjd <n>', 'night (SJD)', wholeNumber('--mjd', 0, 999_999))
        .option('--tele <names>', 'telescopes, comma separated (default: those of the night)', collectList)
        .option('--raw <dir>', 'directory of raw files (default: as the log of the newest run says)')
        .option('--no-hash-raw', 'take raw files for unchanged, without hashing them')
        .option('--allow-drops', 'dropped exposures do not count for the exit code'),
    async ([output], options, session) => {
      const { check } = await import('../../night/check.js');
      const { tele, mjd, raw, hashRaw, allowDrops } = options;
      const found = await check({
        output: output as string,
        tele,
        mjd,
        raw,
        hashRaw,
        allowDrops,
        limits: limitsOf(options),
        signal: session.interrupt.signal,
        onProgress: session.progress,
      });
      const { findings, jobs, products, good, exitCode } = found;
      // What was dropped behind another is in the numbers; its reason is the other's.
      const behind = findings.filter(({ what, detail }) => what === 'dropped' && /(^|: )because /.test(detail));
      // One line for all that is wrong in the same words.
      const groups = new Map<string, CheckFinding[]>();
      for (const one of findings) {
        if (behind.includes(one)) continue;
        const key = `${one.what} ${one.detail}`;
        groups.set(key, [...(groups.get(key) ?? []), one]);
      }
      const rows = [...groups.values()].map((group) => {
        const { what, product, job, detail, error } = group[0] as CheckFinding;
        const more = group.length > 1 ? ` and ${group.length - 1} more` : '';
        return [what, `${product || job || '-'}${more}`, detail, error ?? '-'];
      });
      const counts = [...new Set(findings.map(({ what }) => what))].map(
        (word) => `${findings.filter(({ what }) => what === word).length} ${word}`,
      );
      return {
        json: { output, mjd, ...found },
        text:
          (rows.length > 0 ? `${table(['is', 'product or job', 'what', 'counts as'], rows)}` : '') +
          (behind.length > 0 ? `and ${behind.length} jobs dropped behind others\n` : '') +
          `${good} of ${products} products of ${jobs} jobs are good${counts.length > 0 ? `; ${counts.join(', ')}` : ''}; ${printable(output as string)}\n`,
        exitCode,
      };
    },
  );
}
