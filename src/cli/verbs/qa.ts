/** rampline qa FILE... */
import type { Command } from 'commander';
import { EXIT_CODES } from '../../core/errors.js';
import { limitsOf } from '../options.js';
import type { Define } from '../reply.js';
import { printable, table } from '../table.js';

export function defineQa(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'qa',
      summary: 'judge the spectra of exposures and the traces of flats, and write a page about each',
      more:
        'Name any 1d- or trace- product of an exposure: its other chips, images and the traces of its flat are looked for beside it.\n' +
        'Writes qa-TELE-MJD-EXPOSURE.html (it needs nothing else), .json and .fits there, or into -o DIR. Limits are those of\n' +
        'data/qa.json. A night makes the same pages by itself. For calibrations: rampline calib qa.\n' +
        'A file of which no page can be written does not stop the others.\n' +
        'Exit 0: pass or warn. Exit 20: one fails.',
      examples: [
        ['rampline qa out/apo/60857/1d-apo-60857-b-0012.fits', 'the page of exposure 12, all chips'],
        ['rampline qa out/apo/60857/trace-*.fits -o pages', 'the pages of all flats'],
      ],
    },
    (command) =>
      command.argument('<file...>', 'products of spectra or traces').option('--force', 'do again what is done'),
    async (files, options, session) => {
      const { writeSpectraQa } = await import('../../night/spectra_qa.js');
      const { stage } = await import('../../stages/qa/stage.js');
      const { exitCodeOf, reasonOf } = await import('../../night/failure.js');
      const { pages, failures } = await writeSpectraQa(files as string[], stage, {
        output: options.output,
        force: options.force,
        limits: limitsOf(options),
        onProgress: session.progress,
      });
      const rows = pages.map(({ tele, mjd, exposure, chips, grade, status, page }) => [
        `${tele} ${mjd} ${String(exposure).padStart(4, '0')}`,
        chips.join(' '),
        grade,
        status,
        page,
      ]);
      for (const { file, failure } of failures) {
        session.log('error', 'failed', { file, error: failure.error, message: failure.message });
        rows.push([printable(file), '-', '-', 'failed', printable(reasonOf(failure, file))]);
      }
      const reasons = pages.flatMap(({ tele, exposure, reasons: why }) =>
        why.map((reason) => `${tele} ${String(exposure).padStart(4, '0')}: ${reason}`),
      );
      return {
        json: { pages, failures },
        text:
          table(['exposure', 'chips', 'grade', 'status', 'page'], rows) +
          reasons.map((line) => `${printable(line)}\n`).join(''),
        exitCode:
          failures.length > 0
            ? exitCodeOf(failures.map(({ failure }) => failure))
            : pages.some(({ grade }) => grade === 'fail')
              ? EXIT_CODES.algorithm
              : EXIT_CODES.ok,
      };
    },
  );
}
