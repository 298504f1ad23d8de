/** rampline profile compare A B... */
import type { Command } from 'commander';
import { limitsOf } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { printable, table } from '../table.js';

export function defineProfile(program: Command, define: Define): void {
  const profile = program.command('profile').description('how the light of fibres is spread');
  define(
    profile,
    {
      name: 'compare',
      summary: 'how the profiles of flats differ, and what that would do to spectra',
      more:
        'A, B, ... are products of traces (trace-...fits) of one chip. At nine places (three fibres at three columns) the table has, for\n' +
        'each: the full width at half maximum, the light beyond 4 px, the asymmetry; then the largest difference of the cumulative\n' +
        'light and how many errors that is; and what spectra of the later exposure extracted with the profile of the first would\n' +
        'have too much of their own light, or keep of a neighbour. The verdict is same, changed (without matter), or evolve.\n' +
        '-o FILE.svg draws the differences. A later file that cannot be compared does not stop the others.',
      examples: [
        [
          'rampline profile compare out/trace-apo-60857-b-0002.fits out/trace-apo-60857-b-0120.fits',
          'evening and morning',
        ],
        [
          'rampline profile compare a.fits b.fits c.fits -o profiles.svg',
          'a picture of two later flats against the first',
        ],
      ],
    },
    (command) => command.argument('<file...>', 'products of traces; the first is what the others are compared with'),
    async (words, options: GlobalOptions, session) => {
      const { compareProfileFiles } = await import('../../night/profiles.js');
      const files = (words as unknown as string[][]).flat();
      const { exitCodeOf, reasonOf } = await import('../../night/failure.js');
      const { compared, failures } = await compareProfileFiles(files, options.output, limitsOf(options));
      const pair = (a: number, b: number, digits: number) => `${a.toFixed(digits)} ${b.toFixed(digits)}`;
      const numbers = ['fibre', 'x', 'FWHM [px]', 'wings', 'asymmetry', 'difference', 'sigma', 'flux', 'cross-talk'];
      const text = compared.map(({ file, comparison: { places, verdict, reason } }) => {
        const rows = places.map((place) => [
          String(place.fibre),
          String(place.column),
          pair(place.a.fwhm, place.b.fwhm, 3),
          pair(place.a.wings, place.b.wings, 4),
          pair(place.a.asymmetry, place.b.asymmetry, 3),
          place.difference.toExponential(1),
          Number.isFinite(place.significance) ? place.significance.toFixed(1) : '-',
          place.flux.toExponential(1),
          place.crosstalk.toExponential(1),
        ]);
        return `${printable(file)}\n${table(numbers, rows, numbers)}${verdict}: ${reason}\n`;
      });
      for (const { file, failure } of failures) {
        session.log('error', 'failed', { file, error: failure.error, message: failure.message });
        text.push(`${printable(file)}\nfailed: ${printable(reasonOf(failure, file))}\n`);
      }
      const drawn = options.output !== undefined && compared.length > 0 ? options.output : undefined;
      const outcomes = compared.map(({ file, comparison: { places, verdict, reason } }) => ({
        file,
        verdict,
        reason,
        places: places.map(({ a, b, significance, ...rest }) => {
          const { cumulative: _a, error: errorA, ...first } = a;
          const { cumulative: _b, error: errorB, ...second } = b;
          const known = (value: number) => (Number.isFinite(value) ? value : null);
          return {
            ...rest,
            significance: known(significance),
            a: { ...first, error: known(errorA) },
            b: { ...second, error: known(errorB) },
          };
        }),
      }));
      return {
        json: { reference: files[0], outcomes, failures, ...(drawn !== undefined && { picture: drawn }) },
        text: `${text.join('\n')}${drawn === undefined ? '' : `${printable(drawn)}\n`}`,
        exitCode: exitCodeOf(failures.map(({ failure }) => failure)),
      };
    },
  );
}
