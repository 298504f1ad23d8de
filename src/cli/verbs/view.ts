/** rampline view FILE */
import type { Command } from 'commander';
import { UsageError } from '../../core/errors.js';
import { limitsOf, realNumber, wholeNumber } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { printable } from '../table.js';

export function defineView(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'view',
      summary: 'write a picture (PNG) of an image, and print the line that shows it in ds9',
      more: 'Limits by zscale and an asinh stretch. Without --hdu the image SCI is shown, or the first one there is.',
      examples: [
        ['rampline view out/2d-apo-60857-b-0001.fits', 'writes 2d-apo-60857-b-0001.fits.png here'],
        ['rampline view out/2d-apo-60857-b-0001.fits --hdu ERR -o err.png', 'another image'],
        ['rampline view raw.fits --read 3 --low 9000 --high 12000', 'one read of a cube, limits by hand'],
      ],
    },
    (command) =>
      command
        .argument('<file>', 'a FITS file')
        .option('--hdu <name>', 'EXTNAME or number of the HDU')
        .option('--read <k>', 'plane of a cube or read of an exposure, from 1', wholeNumber('--read', 1, 1e6))
        .option('--low <value>', 'value shown black', realNumber('--low', -1e30, 1e30))
        .option('--high <value>', 'value shown white', realNumber('--high', -1e30, 1e30)),
    async (
      [file],
      options: GlobalOptions & {
        readonly hdu?: string;
        readonly read?: number;
        readonly low?: number;
        readonly high?: number;
      },
    ) => {
      const { low, high, hdu, read } = options;
      if ((low === undefined) !== (high === undefined)) throw new UsageError('expected --low and --high together');
      const { view } = await import('../../night/view.js');
      const picture = await view(file as string, {
        hdu,
        read,
        low,
        high,
        output: options.output,
        limits: limitsOf(options),
      });
      const { width, height } = picture;
      return {
        json: { file, ...picture },
        text: `${printable(picture.picture)}  ${picture.hdu}, ${width} x ${height}, ${picture.low} to ${picture.high}\n${printable(picture.ds9)}\n`,
      };
    },
  );
}
