/** rampline inspect FILE */
import type { Command } from 'commander';
import { limitsOf } from '../options.js';
import type { Define, GlobalOptions } from '../reply.js';
import { bytesText, printable, table } from '../table.js';

export function defineInspect(program: Command, define: Define): void {
  define(
    program,
    {
      name: 'inspect',
      summary: 'what a FITS file holds, and what it leaves open or does its own way',
      more:
        'Raw exposures are also compared with the raw format: which HDU is which read, times, and what was tolerated.\n' +
        'Checksums are verified unless --no-verify is given; a wrong one is reported, it is no error here.',
      examples: [
        ['rampline inspect raw/apR-b-52950001.apz', 'HDUs, sizes, compression, reads, times'],
        ['rampline inspect out/2d-apo-60857-b-0001.fits --cards', 'headers too'],
        ["rampline inspect -- '-odd name.fits'", 'names are only names'],
      ],
    },
    (command) =>
      command
        .argument('<file>', 'a FITS file, .apz or .fits.gz')
        .option('--cards', 'print the headers')
        .option('--no-verify', 'do not read the data for their checksums'),
    async ([file], options: GlobalOptions & { readonly cards?: boolean; readonly verify: boolean }) => {
      const { inspect } = await import('../../night/inspect.js');
      const found = await inspect(file as string, {
        verify: options.verify,
        cards: options.cards ?? false,
        limits: limitsOf(options),
      });
      const rows = found.hdus.map((hdu) => [
        String(hdu.index),
        hdu.name || '-',
        hdu.kind,
        hdu.type ?? '-',
        hdu.shape.length > 0 ? hdu.shape.join(' x ') : '-',
        bytesText(hdu.storedBytes),
        hdu.compression === undefined
          ? '-'
          : `${hdu.compression.method} ${hdu.compression.tile.join(' x ')}, ${hdu.compression.ratio.toFixed(2)}:1`,
        hdu.checksum,
        hdu.datasum,
      ]);
      const head = ['HDU', 'name', 'kind', 'type', 'shape', 'stored', 'compression', 'CHECKSUM', 'DATASUM'];
      const lines = [
        `${printable(found.file)}  ${bytesText(found.bytes)}, ${found.hdus.length} HDUs`,
        '',
        table(head, rows, ['HDU', 'stored']),
      ];
      if (found.exposure !== undefined) {
        for (const [name, value] of Object.entries(found.exposure))
          lines.push(`${name.padEnd(14)} ${printable(String(value))}`);
        lines.push('');
      }
      lines.push(found.tolerated.length === 0 ? 'nothing had to be tolerated' : 'tolerated:');
      for (const what of found.tolerated) lines.push(`  ${printable(what)}`);
      for (const hdu of found.hdus) {
        if (hdu.cards === undefined) continue;
        lines.push('', `HDU ${hdu.index}`, ...hdu.cards.map((card) => printable(card.trimEnd())));
      }
      return { json: { ...found }, text: `${lines.join('\n')}\n` };
    },
  );
}
