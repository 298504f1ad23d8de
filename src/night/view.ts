/** Makes a picture of an image in a FITS file and writes it through the store. */
import { basename, dirname, join, resolve } from 'node:path';
import { InputError, UsageError } from '../core/errors.js';
import { type FitsFile, type FitsLimits, type Hdu, imageFacts, openFits } from '../fits/index.js';
import { drawImage, type Limits } from '../stages/qa/picture.js';
import { openStore } from '../store/index.js';

export interface ViewOptions {
  /** EXTNAME or index; by default SCI, else the first image. */
  readonly hdu?: string | number | undefined;
  /** Plane of a cube, or read of a raw exposure of reads, 1-based. */
  readonly read?: number | undefined;
  /** Path of the picture; by default the file's name with .png in the current directory. */
  readonly output?: string | undefined;
  /** Display limits; by zscale where none are given. */
  readonly low?: number | undefined;
  readonly high?: number | undefined;
  readonly limits?: Partial<FitsLimits>;
}

export interface Picture {
  readonly picture: string;
  readonly hdu: string;
  readonly width: number;
  readonly height: number;
  readonly low: number;
  readonly high: number;
  /** The line that shows the same in ds9, for a shell. */
  readonly ds9: string;
}

const label = (hdu: Hdu) => hdu.name || String(hdu.index);
const shellWord = (text: string) => (/^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

function choose(file: FitsFile, options: ViewOptions): Hdu {
  const images = file.hdus.filter((hdu) => (imageFacts(hdu)?.axes.length ?? 0) >= 2);
  if (images.length === 0) throw new InputError('there is no image in it', { file: file.path });
  if (options.hdu !== undefined) {
    const index = Number(options.hdu);
    return file.hdu(Number.isInteger(index) && String(options.hdu).trim() !== '' ? index : String(options.hdu));
  }
  return images.find((hdu) => hdu.name === 'SCI') ?? images[0]!;
}

/** Plane of a cube, or image of a file of many, in the order of the file. */
function plane(file: FitsFile, options: ViewOptions): { hdu: Hdu; at: number } {
  const hdu = choose(file, options);
  const { read } = options;
  if (read === undefined) return { hdu, at: 0 };
  const planes = imageFacts(hdu)?.axes[2] ?? 1;
  if (planes > 1 || options.hdu !== undefined) {
    if (read > planes)
      throw new UsageError(`expected --read in [1, ${planes}], received ${read}`, { file: file.path, hdu: hdu.index });
    return { hdu, at: read - 1 };
  }
  const reads = file.hdus.filter((one) => imageFacts(one)?.axes.length === 2);
  const [first, second] = reads.map((one) => imageFacts(one)!);
  if (first?.bitpix === 32 && second?.zero === 32_768 && read !== 1) {
    throw new UsageError(
      'this file stores differences: only --read 1 is there as it is; --hdu N shows a stored image',
      { file: file.path },
    );
  }
  const wanted = reads[first?.bitpix === 32 && second?.zero === 32_768 ? 1 : read - 1];
  if (wanted === undefined)
    throw new UsageError(`expected --read in [1, ${reads.length}], received ${read}`, { file: file.path });
  return { hdu: wanted, at: 0 };
}

/**
 * Draws an image: limits by zscale, an asinh stretch, row 0 at the bottom as in ds9.
 * @throws InputError, StorageError as reading and writing do; UsageError for a plane that is not there
 */
export async function view(path: string, options: ViewOptions = {}): Promise<Picture> {
  const file = openFits(path, { verify: 'warn', limits: options.limits ?? {} });
  try {
    const { hdu, at } = plane(file, options);
    const image = file.readImage(hdu);
    const width = image.shape.at(-1) ?? 0;
    const height = image.shape.at(-2) ?? 1;
    if (width * height === 0) throw new InputError('the image has no pixel', { file: path, hdu: hdu.index });
    const pixels = image.data.subarray(at * width * height, (at + 1) * width * height);
    const data =
      pixels instanceof Float32Array
        ? pixels
        : pixels instanceof BigInt64Array || pixels instanceof BigUint64Array
          ? Float32Array.from(pixels, Number)
          : new Float32Array(pixels);
    const given: Limits | undefined =
      options.low !== undefined && options.high !== undefined ? { low: options.low, high: options.high } : undefined;
    const { png, limits } = await drawImage(data, height, width, given);
    const target = resolve(options.output ?? `${basename(path)}.png`);
    const store = await openStore(dirname(target));
    await store.writeFile(basename(target), png);
    const place = `${path}[${label(hdu)}]${at > 0 ? `[*,*,${at + 1}]` : ''}`;
    const ds9 = `ds9 ${shellWord(place)} -asinh -scale limits ${limits.low} ${limits.high}`;
    return {
      picture: join(dirname(target), basename(target)),
      hdu: label(hdu),
      width,
      height,
      low: limits.low,
      high: limits.high,
      ds9,
    };
  } finally {
    file.close();
  }
}
