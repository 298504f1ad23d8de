/** What a FITS file holds, HDU by HDU: from headers alone, and checksums where asked for. */

import type { FitsLimits } from './limits.js';
import { type ChecksumState, type FitsFile, type Hdu, openFits } from './reader.js';
import { BYTES_OF, decodedType } from './types.js';

export interface HduReport {
  readonly index: number;
  readonly name: string;
  readonly kind: 'empty' | 'image' | 'compressed image' | 'bintable' | 'asciitable' | 'groups' | 'other';
  /** Type of the pixels as they are read: u16, f32, ... */
  readonly type?: string | undefined;
  /** Fastest axis first, as NAXISn; rows and columns of a table. */
  readonly shape: readonly number[];
  readonly storedBytes: number;
  /** Bytes of the pixels when decoded. */
  readonly bytes?: number | undefined;
  readonly compression?:
    | {
        readonly method: string;
        readonly tile: readonly number[];
        readonly blockSize?: number | undefined;
        readonly ratio: number;
      }
    | undefined;
  readonly unit: string;
  /** 'unread' where verification was not asked for. */
  readonly checksum: ChecksumState | 'unread';
  readonly datasum: ChecksumState | 'unread';
  /** Records of 80 characters, where asked for. */
  readonly cards?: readonly string[] | undefined;
}

export interface FileReport {
  readonly file: string;
  readonly bytes: number;
  readonly gzip: boolean;
  readonly hdus: readonly HduReport[];
  /** Sentences: what the reader put up with. */
  readonly tolerated: string[];
}

export interface InspectOptions {
  /** Read the data and compare CHECKSUM and DATASUM; default true. */
  readonly verify?: boolean;
  readonly cards?: boolean;
  readonly limits?: Partial<FitsLimits>;
}

/** An image's numbers, whether it is stored as it is or tile-compressed; undefined for tables and empty HDUs. */
export function imageFacts(hdu: Hdu):
  | {
      compressed: boolean;
      bitpix: number;
      scale: number;
      zero: number;
      axes: number[];
      tile: number[] | undefined;
      method: string | undefined;
    }
  | undefined {
  const h = hdu.storedHeader;
  const compressed = h.logical('ZIMAGE', false);
  if (!compressed && hdu.kind !== 'image') return undefined;
  const key = (name: string) => (compressed ? `Z${name}` : name);
  const naxis = Math.min(h.number(key('NAXIS'), 0), 999);
  const axes = Array.from({ length: Math.max(0, naxis) }, (_, i) => h.number(key(`NAXIS${i + 1}`), 0));
  if (axes.length === 0) return undefined;
  // Where ZTILEn is missing a tile is a row (FITS 4.0, section 10.1.2).
  const tile = compressed ? axes.map((n, i) => h.number(`ZTILE${i + 1}`, i === 0 ? n : 1)) : undefined;
  const [scale, zero] = [h.number('BSCALE', 1), h.number('BZERO', 0)];
  const method = compressed ? h.string('ZCMPTYPE', '').trim() : undefined;
  return { compressed, bitpix: h.number(key('BITPIX'), 0), scale, zero, axes, tile, method };
}

/** ZNAMEn and ZVALn of a compressed image, for example BLOCKSIZE. */
export function compressionParameter(hdu: Hdu, name: string): number | undefined {
  for (let i = 1; hdu.storedHeader.has(`ZNAME${i}`) && i < 1000; i++) {
    if (hdu.storedHeader.string(`ZNAME${i}`, '').trim() === name) return hdu.storedHeader.number(`ZVAL${i}`, undefined);
  }
  return undefined;
}

const PIXEL_BITS = [8, 16, 32, 64, -32, -64];

function reportHdu(file: FitsFile, hdu: Hdu, options: InspectOptions): HduReport {
  const facts = imageFacts(hdu);
  const state =
    (options.verify ?? true) ? file.verify(hdu) : { checksum: 'unread' as const, datasum: 'unread' as const };
  const common = {
    index: hdu.index,
    name: hdu.name,
    storedBytes: hdu.dataBytes,
    unit: hdu.header.string('BUNIT', ''),
    ...state,
    ...(options.cards === true ? { cards: hdu.storedHeader.records() } : {}),
  };
  if (facts === undefined) {
    if (hdu.kind === 'image') return { ...common, kind: 'empty', shape: [] };
    const shape =
      hdu.kind === 'bintable' || hdu.kind === 'asciitable'
        ? [hdu.axes[1] ?? 0, hdu.header.number('TFIELDS', 0)]
        : hdu.axes;
    return { ...common, kind: hdu.kind, shape };
  }
  const known = PIXEL_BITS.includes(facts.bitpix);
  const type = known ? decodedType(facts.bitpix, facts.scale, facts.zero).type : `BITPIX ${facts.bitpix}`;
  const bytes = known
    ? facts.axes.reduce((n, size) => n * size, 1) * BYTES_OF[type as keyof typeof BYTES_OF]
    : undefined;
  const stored = (Math.abs(facts.bitpix) / 8) * facts.axes.reduce((n, size) => n * size, 1);
  return {
    ...common,
    kind: facts.compressed ? 'compressed image' : 'image',
    type,
    shape: facts.axes,
    bytes,
    compression: facts.compressed
      ? {
          method: facts.method ?? '',
          tile: facts.tile ?? [],
          blockSize: compressionParameter(hdu, 'BLOCKSIZE'),
          ratio: stored / Math.max(1, hdu.dataBytes),
        }
      : undefined,
  };
}

/**
 * Describes an open file.
 * @throws StorageError when it cannot be read
 */
export function inspectOpen(file: FitsFile, options: InspectOptions = {}): FileReport {
  const hdus = file.hdus.map((hdu) => reportHdu(file, hdu, options));
  const tolerated = [...file.warnings];
  for (const hdu of hdus) {
    for (const name of ['checksum', 'datasum'] as const) {
      if (hdu[name] === 'bad') tolerated.push(`HDU ${hdu.index}: ${name.toUpperCase()} does not agree with the bytes`);
    }
  }
  return { file: file.path ?? '', bytes: file.size, gzip: /\.gz$/i.test(file.path ?? ''), hdus, tolerated };
}

/**
 * Opens and describes a file.
 * @throws InputError when it is no FITS file or breaks a limit; StorageError when it cannot be read
 */
export function inspectFits(path: string, options: InspectOptions = {}): FileReport {
  const file = openFits(path, { verify: false, limits: options.limits ?? {}, tolerateTruncated: true });
  try {
    return inspectOpen(file, options);
  } finally {
    file.close();
  }
}
