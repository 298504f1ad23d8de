/** rampline model IMAGE TRACES [SPECTRA] */
import type { Command } from 'commander';
import { UsageError } from '../../core/errors.js';
import { limitsOf } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { printable, table } from '../table.js';

interface Flags {
  readonly verify: boolean;
}

export function defineModel(program: Command, define: Define): void {
  define<Flags>(
    program,
    {
      name: 'model',
      summary: 'paint what the fibres of an exposure send, and what the image has beside it',
      more:
        'FILE: the calibrated 2-D product of an exposure (2dcal-...fits), the traces of a flat of its chip (trace-...fits), and, where they\n' +
        'are there, its spectra (1d-...fits). The product, model-TELE-MJD-CHIP-EXPOSURE.fits, has three images: MODEL, the light of all\n' +
        'fibres; RESIDUAL, the image less all light; BACKGROUND, the scattered light. Without spectra the light is extracted anew,\n' +
        'with the traces as they are. The table: chi2 / dof of the fibres; scatter and median of residual / error (0.92 and 0 if only\n' +
        'noise); good pixels, and those of them far from the model; chi2 / dof of the background.',
      examples: [
        [
          'rampline model out/2dcal-apo-60857-b-0012.fits out/trace-apo-60857-b-0012.fits -o out',
          'a flat by its own traces',
        ],
        [
          'rampline model out/2dcal-apo-60857-b-0015.fits out/trace-apo-60857-b-0012.fits out/1d-apo-60857-b-0015.fits -o out',
          'stars, as they were extracted',
        ],
      ],
    },
    (command) =>
      command
        .argument('<file...>', 'image, traces, and spectra if there are any')
        .option('--no-verify', 'do not verify the checksums of the files'),
    async (words, options: GlobalOptions & Flags, session) => {
      const { output } = options;
      if (output === undefined) throw new UsageError('expected a directory for the product: -o DIR');
      const [image, traces, spectra, ...more] = (words as unknown as string[][]).flat();
      if (image === undefined || traces === undefined || more.length > 0) {
        throw new UsageError('expected an image, traces, and spectra or none');
      }
      const [{ runStage }, { stage }, { openFits }] = await Promise.all([
        import('../../night/by_hand.js'),
        import('../../stages/model/stage.js'),
        import('../../fits/index.js'),
      ]);
      const limits = limitsOf(options);
      const made = await runStage({
        stage,
        files: [
          { role: 'image', path: image },
          { role: 'traces', path: traces },
          ...(spectra === undefined ? [] : [{ role: 'spectra', path: spectra }]),
        ],
        output,
        force: options.force,
        verify: options.verify,
        threads: options.threads,
        limits,
        control: session.interrupt.control,
      });
      const product = openFits(made.product, { limits });
      const { header } = product.hdu(0);
      const summary = Object.fromEntries(
        ['CHI2', 'SCATTER', 'MIDDLE', 'NPIXELS', 'NOUTLIER', 'BKGCHI2'].map((name) => [
          name.toLowerCase(),
          header.number(name, Number.NaN),
        ]),
      );
      product.close();
      const known = (value: number | undefined) =>
        value !== undefined && Number.isFinite(value) ? String(value) : '-';
      const names = Object.keys(summary);
      return {
        json: { status: made.status, product: made.product, ...summary },
        text: `${table([...names, 'is'], [[...names.map((name) => known(summary[name])), made.status]], names)}${printable(made.product)}\n`,
      };
    },
  );
}
