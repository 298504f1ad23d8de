/** What one raw file says of itself: the first blocks are read, nothing more. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { gunzipSync, constants as zlib } from 'node:zlib';
import { InputError } from '../core/errors.js';
import type { Exposure, ExposureKind, RawFrame } from '../core/exposure.js';
import type { CardKind, HeaderDictionary, NightRules } from '../core/night_rules.js';
import { mjdFromIso } from '../core/time.js';
import { BLOCK_BYTES, type Card, type FitsLimits, type Hdu, type ReadPiece, readFirstHdus } from '../fits/index.js';

/** One read of each file. The headers of HDU 0 and 1 of an .apz take some 20 000 bytes (sdss/almanac reads as many). */
const FIRST_BYTES = 32 * 1024;
/** Cards of one header: real ones have some hundreds, and a header that has no end shall not be read to its end. */
const MOST_CARDS = 10_000;

/** What the headers of one chip say of its exposure, and of itself. */
export interface Facts
  extends Omit<Exposure, 'tele' | 'mjd' | 'exposure' | 'frames' | 'map' | 'sequence' | 'afterDark' | 'drop'>,
    Pick<RawFrame, 'rows' | 'cols' | 'serial'> {
  readonly map: string;
  /** As the header names it, '' where it does not. */
  readonly chip: string;
  /** The card that marks it as bad. */
  readonly bad?: string | undefined;
}

export interface FileFacts {
  readonly bytes: number;
  /** Absent when no header could be read. */
  readonly facts?: Facts | undefined;
  /** Features for the datamodel: 'hdu TAB what TAB name TAB value'. */
  readonly features: readonly string[];
  /** Why the file cannot be reduced. */
  readonly fault?: { readonly what: 'cut' | 'unreadable'; readonly reason: string } | undefined;
}

/** FITS tables hold ASCII alone, and trailing blanks do not count in them. */
export const ascii = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').trimEnd();

/** Structural cards and checksums are no part of the datamodel: layout is told by axes, BITPIX and compression. */
const STRUCTURAL =
  /^(?:SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|EXTEND|TFIELDS|THEAP|(?:TTYPE|TFORM|TUNIT|TDIM)\d+|BSCALE|BZERO|BLANK|Z?CHECKSUM|ZHECKSUM|Z?DATASUM|LONGSTRN|INHERIT)$/;

const CARD_KINDS: Partial<Record<Card['type'], CardKind>> = {
  integer: 'number',
  real: 'number',
  string: 'string',
  logical: 'logical',
};

function featuresOf(hdus: readonly Hdu[]): string[] {
  const out: string[] = [];
  for (const hdu of hdus) {
    const add = (what: string, name: string, value: string): void => {
      out.push(`${hdu.index}\t${what}\t${name}\t${ascii(value).replaceAll('\t', ' ')}`);
    };
    add('kind', '', hdu.kind);
    add('axes', '', hdu.axes.join(' x '));
    if (hdu.axes.length > 0) add('bitpix', '', String(hdu.bitpix));
    add('compression', '', hdu.compression ?? '');
    const seen = new Set<string>();
    for (const { keyword, type } of hdu.header.cards) {
      if (type === 'commentary' || STRUCTURAL.test(keyword) || seen.has(keyword)) continue;
      seen.add(keyword);
      add('card', ascii(keyword), CARD_KINDS[type] ?? 'other');
    }
  }
  return out;
}

/** A number that means "none" in the headers of identifiers: 0, or below. */
const NO_IDENTIFIER = /^(?:0+(?:\.0*)?|-\d+(?:\.\d*)?|none|nan)?$/i;

function lampState(card: Card | undefined): number {
  const { value } = card ?? {};
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value === 'number') return value > 0 ? 1 : value === 0 ? 0 : -1;
  const word = typeof value === 'string' ? value.trim().toUpperCase() : '';
  return word === 'T' || word === 'ON' || word === '1' ? 1 : word === 'F' || word === 'OFF' || word === '0' ? 0 : -1;
}

/** Applies the dictionary to the headers of the first two HDUs. */
export function factsOf(hdus: readonly Hdu[], rules: NightRules): Facts {
  const card = (fact: keyof HeaderDictionary): Card | undefined => {
    for (const keyword of rules.dictionary[fact]) {
      for (const { header } of hdus) {
        const found = header.card(keyword);
        if (found !== undefined && found.type !== 'commentary') return found;
      }
    }
    return undefined;
  };
  const text = (fact: keyof HeaderDictionary): string => {
    const value = card(fact)?.value;
    return value === undefined || value === null || typeof value === 'object' ? '' : ascii(String(value)).trim();
  };
  const number = (fact: keyof HeaderDictionary): number => {
    const value = Number(text(fact) || Number.NaN);
    return Number.isFinite(value) ? value : 0;
  };
  const identifier = (fact: keyof HeaderDictionary): string => {
    const value = text(fact);
    return NO_IDENTIFIER.test(value) ? '' : value;
  };
  const image = hdus.find(({ kind, axes }) => kind === 'image' && axes.length >= 2);
  const lamps = { quartz: lampState(card('quartz')), thar: lampState(card('thar')), une: lampState(card('une')) };
  const word = text('kind')
    .toLowerCase()
    .replace(/[^a-z]/g, '');
  const named: ExposureKind = Object.hasOwn(rules.kinds, word) ? rules.kinds[word]! : 'unknown';
  const rule = rules.lampRules.find(
    ({ kind, lamps: wanted }) =>
      kind === named && Object.entries(wanted).every(([lamp, state]) => lamps[lamp as keyof typeof lamps] === state),
  );
  const bad = card('bad');
  const marked = bad !== undefined && (bad.value === true || (typeof bad.value === 'number' && bad.value !== 0));
  const size = (n: number | undefined): number => (n !== undefined && Number.isSafeInteger(n) && n > 0 ? n : 0);
  const reads = number('reads');
  const start = mjdFromIso(text('start'));
  return {
    kind: rule?.becomes ?? named,
    reads: Number.isInteger(reads) && reads > 0 && reads < 2 ** 31 ? reads : 0,
    rows: size(image?.axes[1]),
    cols: size(image?.axes[0]),
    start,
    exposureSeconds: number('exposureSeconds'),
    lamps,
    ditherPixels: number('ditherPixels'),
    plate: identifier('plate'),
    design: identifier('design'),
    configuration: identifier('configuration'),
    field: identifier('field'),
    cartridge: identifier('cartridge'),
    map: identifier('map'),
    comment: text('comment'),
    chip: text('chip'),
    serial: text('serial'),
    bad: marked ? bad.keyword : undefined,
  };
}

/** Reads until the piece is full or the file ends: one read may be short. */
async function readPiece(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

/** The beginning of a gzip file, inflated as far as its first bytes go. Size and end of the whole stay unknown. */
function inflated(bytes: Uint8Array, path: string): Uint8Array {
  try {
    return gunzipSync(bytes, { finishFlush: zlib.Z_SYNC_FLUSH, maxOutputLength: 64 * FIRST_BYTES });
  } catch (cause) {
    throw new InputError(`it cannot be inflated: ${(cause as Error).message}`, { file: path, cause });
  }
}

/**
 * Reads the first blocks of a raw file. What is wrong with the file is part of the answer: nothing is thrown for it.
 */
export async function readFacts(path: string, rules: NightRules, limits: Partial<FitsLimits> = {}): Promise<FileFacts> {
  let file: FileHandle | undefined;
  let bytes = 0;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK); // a FIFO of that name must not hold us up
    const stats = await file.stat();
    if (!stats.isFile()) throw new InputError('it is no regular file', { file: path });
    bytes = stats.size;
    if (bytes === 0) return { bytes, features: [], fault: { what: 'cut', reason: 'the file is empty' } };
    const handle = file;
    let read: ReadPiece = (offset, length) => readPiece(handle, offset, length);
    let size = bytes;
    const packed = path.endsWith('.gz');
    if (packed) {
      const head = inflated(await readPiece(file, 0, Math.min(bytes, FIRST_BYTES)), path);
      read = async (offset, length) => head.subarray(offset, offset + length);
      size = head.length;
    }
    const hdus = await readFirstHdus(read, size, 2, {
      file: path,
      piece: FIRST_BYTES,
      limits: { cards: MOST_CARDS, ...limits },
    });
    return {
      bytes,
      facts: factsOf(hdus, rules),
      features: featuresOf(hdus),
      fault: packed ? undefined : cutShort(bytes, hdus),
    };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!(error instanceof InputError) && code === undefined) throw error;
    const reason = error instanceof InputError ? error.message : `the file cannot be read: ${(error as Error).message}`;
    const cut = bytes % BLOCK_BYTES === 0 ? undefined : cutShort(bytes, []);
    return { bytes, features: [], fault: cut ?? { what: 'unreadable', reason: ascii(reason) } };
  } finally {
    await file?.close();
  }
}

function cutShort(bytes: number, hdus: readonly Hdu[]): FileFacts['fault'] {
  const short = hdus.find(({ dataBytes, dataPresent }) => dataPresent < dataBytes);
  if (short !== undefined) {
    const { index, dataPresent, dataBytes } = short;
    return { what: 'cut', reason: `the file is cut short: HDU ${index} has ${dataPresent} of ${dataBytes} bytes` };
  }
  if (bytes % BLOCK_BYTES === 0) return undefined;
  return { what: 'cut', reason: `the file is cut short: ${bytes} bytes is no multiple of ${BLOCK_BYTES}` };
}
