/**
 * Opens the calibration files that were chosen. Every file is hashed while it is read and must be what the choice was made
 * of, must say that it is of that kind and that detector, and its checksums must hold: what is changed, cut short or
 * swapped is refused, never used.
 */
import { basename } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { CalibrationError, RetriableError } from '../core/errors.js';
import type { Identity } from '../core/product.js';
import { openFits } from '../fits/index.js';
import { readCalibrationFile } from './registry.js';

/** A file that was chosen for a kind. */
export interface ChosenFile {
  readonly kind: string;
  readonly path: string;
  /** What it must hash to. */
  readonly sha256: string;
  /** Part in the result; two files that are interpolated share 1. The earlier one comes first. */
  readonly weight: number;
}

/** A map of the detector; a row stride of 0 repeats one row, so a constant costs no memory. */
export interface CalibrationMap<T extends Float32Array | Uint32Array = Float32Array> {
  readonly data: T;
  readonly rows: number;
  readonly cols: number;
  readonly rowStride: number;
}

type Pixels = Float32Array | Uint32Array | Uint16Array;

/** What a file says and holds. */
interface Contents {
  readonly keywords: Readonly<Record<'CALKIND' | 'TELE' | 'CHIP', string>>;
  readonly numbers: Readonly<Record<string, number>>;
  readonly images: ReadonlyMap<string, { readonly data: Pixels; readonly shape: readonly number[] }>;
}

export interface CalibrationFile extends Contents {
  readonly path: string;
  /**
   * An image of the file.
   * @throws CalibrationError when there is none of that name, or it has another size or type
   */
  map(name: string, rows: number, cols: number): CalibrationMap;
  bits(name: string, rows: number, cols: number): CalibrationMap<Uint32Array>;
  /** A keyword of the primary header that must be a positive number. */
  positive(keyword: string): number;
}

/**
 * Files of one detector that were read, by content: the worker of a night reads each map once, and what it holds stays what the
 * plan of its memory says.
 */
const cache = new Map<string, Contents>();
const CACHED_FILES = 16;
let cachedFor = '';

/**
 * Lets go of the files of another detector. The garbage collector does not see how large shared memory is and would leave it for
 * long, so it is called; once for a change of detectors.
 */
function forgetOthers({ tele, chip }: Pick<Identity, 'tele' | 'chip'>): void {
  const detector = `${tele} ${chip}`;
  if (detector === cachedFor) return;
  cachedFor = detector;
  if (cache.size === 0) return;
  cache.clear();
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}

/**
 * Reads a chosen file.
 * @throws CalibrationError for a file whose content is not what was chosen, or of another kind or detector; InputError when
 *   it is not there or damaged
 */
export async function loadCalibration(
  chosen: ChosenFile,
  identity: Pick<Identity, 'tele' | 'chip'>,
): Promise<CalibrationFile> {
  const { path, kind } = chosen;
  forgetOthers(identity);
  let held: Contents | undefined;
  const data = await readCalibrationFile(chosen, sharedMemory, (known) => {
    held = cache.get(known);
    return held === undefined;
  });
  const { sha256 } = chosen;
  const contents = held ?? cache.get(sha256) ?? readContents(path, data as Uint8Array);
  const expected = { CALKIND: kind, TELE: identity.tele, CHIP: identity.chip };
  for (const key of ['CALKIND', 'TELE', 'CHIP'] as const) {
    const found = contents.keywords[key];
    if (found.trim() !== expected[key]) {
      throw new CalibrationError(`expected ${key} '${expected[key]}', received '${found}'`, { file: path });
    }
  }
  if (!cache.has(sha256)) {
    if (cache.size >= CACHED_FILES) cache.delete(cache.keys().next().value as string);
    cache.set(sha256, contents);
  }
  const image = (name: string, rows: number, cols: number): Pixels => {
    const found = contents.images.get(name);
    if (found === undefined) {
      throw new CalibrationError(`expected an image ${name}, there are ${[...contents.images.keys()].join(', ')}`, {
        file: path,
      });
    }
    const [height, width] = found.shape;
    if (height !== rows || width !== cols) {
      throw new CalibrationError(`expected ${name} to be ${cols} x ${rows}, received ${width} x ${height}`, {
        file: path,
      });
    }
    return found.data;
  };
  const typed = <T extends Pixels>(name: string, data: Pixels, type: new () => T, words: string): T => {
    if (data instanceof type) return data;
    throw new CalibrationError(`expected ${words} in ${name}`, { file: path });
  };
  return {
    ...contents,
    path,
    map: (name, rows, cols) => {
      const data = typed(name, image(name, rows, cols), Float32Array, 'float32 pixels');
      return { data, rows, cols, rowStride: cols };
    },
    bits: (name, rows, cols) => {
      const data = typed(name, image(name, rows, cols), Uint32Array, '32-bit quality bits');
      return { data, rows, cols, rowStride: cols };
    },
    positive: (keyword) => {
      const value = contents.numbers[keyword];
      if (value !== undefined && value > 0) return value;
      throw new CalibrationError(
        `expected the keyword ${keyword} to be a positive number, received ${value ?? 'none'}`,
        {
          file: path,
        },
      );
    },
  };
}

function sharedMemory(bytes: number): Uint8Array {
  try {
    return new Uint8Array(new SharedArrayBuffer(bytes));
  } catch (cause) {
    throw new RetriableError(`no memory for ${bytes} bytes of a calibration`, { cause });
  }
}

/** The images of a calibration file, made where its bytes lie. Checksums are verified. */
function readContents(path: string, data: Uint8Array): Contents {
  const file = openFits(data, { name: path });
  try {
    const header = file.hdu(0).header;
    const images = new Map<string, { data: Pixels; shape: readonly number[] }>();
    for (const hdu of file.hdus) {
      if (hdu.kind !== 'image' || hdu.axes.length === 0) continue;
      const image = file.readImage(hdu, { inPlace: true, allocate: (bytes) => new SharedArrayBuffer(bytes) });
      const { data: pixels, shape } = image;
      if (!(pixels instanceof Float32Array || pixels instanceof Uint32Array || pixels instanceof Uint16Array)) {
        throw new CalibrationError(`expected float32, uint32 or uint16 pixels in ${hdu.name || basename(path)}`, {
          file: path,
          hdu: hdu.index,
        });
      }
      images.set(hdu.name, { data: pixels, shape });
    }
    const numbers: Record<string, number> = {};
    for (const keyword of ['TAU', 'READTIME']) {
      const value = header.number(keyword, undefined);
      if (value !== undefined) numbers[keyword] = value;
    }
    return {
      keywords: {
        CALKIND: header.string('CALKIND', ''),
        TELE: header.string('TELE', ''),
        CHIP: header.string('CHIP', ''),
      },
      numbers,
      images,
    };
  } finally {
    file.close();
  }
}
