/** Earlier exposures of a detector, from their 2-D products: what light they left behind. */
import { basename } from 'node:path';
import { InputError } from '../core/errors.js';
import type { Identity } from '../core/product.js';
import { openFits } from '../fits/index.js';
import type { EarlierExposure } from '../stages/calibrate/index.js';
import { hashFile, type Source } from '../store/index.js';

/**
 * Reads a `2d` or `2dcal` product of the same detector.
 * @throws InputError for another detector, another unit than DN/read, or a header without its times
 */
export async function readEarlier(
  path: string,
  identity: Pick<Identity, 'tele' | 'chip'>,
): Promise<EarlierExposure & { readonly source: Source }> {
  const { sha256 } = await hashFile(path);
  const file = openFits(path);
  try {
    const { header } = file.hdu(0);
    for (const [keyword, wanted] of [
      ['TELE', identity.tele],
      ['CHIP', identity.chip],
    ] as const) {
      const found = header.string(keyword, '').trim();
      if (found !== wanted)
        throw new InputError(`expected ${keyword} '${wanted}', received '${found}'`, { file: path });
    }
    const sci = file.hdus.find(({ name }) => name === 'SCI');
    const unit = sci?.header.string('BUNIT', '') ?? '';
    if (unit !== 'DN/read') throw new InputError(`expected rates in DN/read, received '${unit}'`, { file: path });
    const number = (keyword: string): number => {
      const value = header.number(keyword, undefined);
      if (value !== undefined) return value;
      throw new InputError(`expected the keyword ${keyword} of a 2-D product`, { file: path, hdu: 0 });
    };
    const reads = number('NREADRAW');
    const end = number('MJD-BEG') + ((reads - number('READ1') + 1) * number('READTIME')) / 86_400;
    const source = { name: basename(path), sha256, role: 'earlier exposure', why: 'named by the user' };
    const rate = file.readImage('SCI').data;
    const dq = file.readImage('DQ').data;
    if (!(rate instanceof Float32Array && dq instanceof Uint32Array)) {
      throw new InputError('expected SCI in float32 and DQ in uint32', { file: path });
    }
    return { rate, dq, reads, end, source };
  } finally {
    file.close();
  }
}
