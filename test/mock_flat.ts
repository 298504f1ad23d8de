/** A 2-D product of a flat that was never read out: a calibrated image of known traces, as the stage calibrate writes it. */
import { join } from 'node:path';
import { encodeFits } from '../src/fits/index.js';
import { type MockSpectra, type MockSpectraOptions, mockSpectra } from '../src/simulate/index.js';
import { openStore } from '../src/store/index.js';

const IMAGETYP: Readonly<Record<string, string>> = {
  domeflat: 'DomeFlat',
  quartzflat: 'QuartzFlat',
  arclamp: 'ArcLamp',
};

/** HDUs of the product, encoded. */
export function rateFile({ image, ivar, dq, rows, cols, reads }: MockSpectra, options: MockSpectraOptions) {
  const { tele, chip, type, mjd = 60_857, exposure = 1 } = options;
  const shape = [rows, cols];
  const unit = [['BUNIT', 'DN/read']] as const;
  const error = ivar.map((w) => (w > 0 ? 1 / Math.sqrt(w) : Number.NaN));
  return encodeFits([
    {
      header: [
        ['INSTRUME', 'APOGEE'],
        ['TELE', tele],
        ['MJD', mjd],
        ['CHIP', chip],
        ['EXPOSURE', exposure],
        ['STAGE', 'calibrate'],
        ['NREADRAW', reads],
        ['READTIME', 10.647],
        ['IMAGETYP', IMAGETYP[type] ?? 'Object'],
      ],
    },
    { name: 'SCI', data: image.slice(), shape, header: unit },
    { name: 'ERR', data: error, shape, header: unit },
    { name: 'DQ', data: dq, shape },
  ]);
}

/** Writes `2dcal-...fits` of a mock exposure into a directory. */
export async function writeFlat(directory: string, options: MockSpectraOptions) {
  const { tele, chip, mjd = 60_857, exposure = 1 } = options;
  const mock = await mockSpectra(options);
  const name = `2dcal-${tele}-${mjd}-${chip}-${String(exposure).padStart(4, '0')}.fits`;
  await (await openStore(directory)).writeFile(name, Buffer.concat(rateFile(mock, options)));
  return { mock, path: join(directory, name) };
}
