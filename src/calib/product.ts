/**
 * What a calibration file says of itself: the header rules of `calibration/1` and the record that the registry keeps. Only
 * the primary header and the table PROVENANCE are read here, never an image.
 *
 *   CALVER             layout of the file; absent in files of the simulator
 *   CALKIND            one of CALIBRATION_KINDS
 *   INSTRUME           name of the instrument, lower case; '' or absent: of any
 *   TELE, CHIP         the detector
 *   SERIAL             of the detector, '' or absent: unknown
 *   READMODE           '' or absent: for any
 *   VALIDBEG, VALIDEND [d] MJD: good for frames that begin in [VALIDBEG, VALIDEND); absent: open
 *   DATABEG, DATAEND   [d] MJD span of the data it was made of; absent: unknown
 *   GRADE              pass, warn or fail; absent: pass
 *   NINPUT             number of files it was made of; PROVENANCE names them
 *   SWVER, KERN1...    program and kernels that made it
 *   DATE               UTC when it was made, in older files: those of the same inputs are the same bytes, the manifest says when
 */
import { basename } from 'node:path';
import { CalibrationError, type ErrorContext } from '../core/errors.js';
import type { Grade, ProvenanceEntry } from '../core/product.js';
import { didYouMean } from '../core/suggest.js';
import { type CardInput, type FitsFile, type FitsLimits, type Header, openFits } from '../fits/index.js';
import { type FileHash, hashFile, readManifest } from '../store/index.js';

/** Layout of calibration files; raise it when a reader could notice. */
export const CALIBRATION_SCHEMA = 'calibration/1';

export const CALIBRATION_KINDS = [
  'gain',
  'readnoise',
  'saturation',
  'linearity',
  'resetanomaly',
  'firstread',
  'oneoverf',
  'dark',
  'flat',
  'persistence',
] as const;
export type CalibrationKind = (typeof CALIBRATION_KINDS)[number];

/** The images without which a file of a kind is of no use (float32, [row][x] of the science columns but for WEIGHTS). */
export const KIND_IMAGES: Readonly<Record<CalibrationKind, readonly string[]>> = {
  gain: ['GAIN'],
  readnoise: ['READNOISE'],
  saturation: ['SATURATION'],
  linearity: ['C2', 'C3', 'LIMIT'],
  resetanomaly: ['AMPLITUDE'],
  firstread: ['OFFSET'],
  oneoverf: ['WEIGHTS'],
  dark: ['RATE'],
  flat: ['FLAT'],
  persistence: ['AMPLITUDE'],
};

/** What the stage that uses a kind takes beside those. */
export const KIND_EXTRAS: Readonly<Partial<Record<CalibrationKind, readonly string[]>>> = {
  dark: ['ERR', 'DQ'],
  flat: ['ERR', 'DQ'],
};

export const GRADES: readonly Grade[] = ['pass', 'warn', 'fail'];
export type { Grade };

/** One calibration as the registry knows it. Immutable: another content has another sha256. */
export interface CalibrationRecord {
  /** '' in files without CALVER. */
  readonly schema: string;
  readonly kind: CalibrationKind;
  /** '' for any instrument. */
  readonly instrument: string;
  readonly tele: string;
  readonly chip: string;
  /** '' where unknown. */
  readonly serial: string;
  /** '' for any. */
  readonly readMode: string;
  /** MJD; undefined for an open end. The window is [validFrom, validTo). */
  readonly validFrom?: number | undefined;
  readonly validTo?: number | undefined;
  /** MJD span of its data; undefined where unknown. */
  readonly dataFrom?: number | undefined;
  readonly dataTo?: number | undefined;
  readonly grade: Grade;
  /** Relative to the directory of the registry. */
  readonly file: string;
  readonly bytes: number;
  /** Of the whole file, 64 lower-case hex digits. */
  readonly sha256: string;
  readonly software: string;
  /** Kernel name to version and hash. */
  readonly kernels: Readonly<Record<string, string>>;
  readonly inputs: readonly ProvenanceEntry[];
  /** UTC, ISO 8601 without zone; '' where unknown. */
  readonly createdAt: string;
}

/** A FITS file that does not claim to be a calibration. */
export class NoCalibrationError extends CalibrationError {}

/** What a builder knows of the calibration that it writes. */
export interface CalibrationIdentity {
  readonly kind: CalibrationKind;
  /** Lower-case name: 'apogee'. */
  readonly instrument: string;
  readonly tele: string;
  readonly chip: string;
  readonly serial?: string;
  readonly readMode?: string;
  readonly validFrom?: number | undefined;
  readonly validTo?: number | undefined;
  readonly dataFrom?: number | undefined;
  readonly dataTo?: number | undefined;
  readonly grade: Grade;
  /** Number of files that it was made of. */
  readonly inputs: number;
  readonly software: string;
  readonly kernels: Readonly<Record<string, string>>;
}

/** The cards of the primary header; what a builder knows beyond them (TAU, READTIME, ...) follows. */
export function calibrationCards(calibration: CalibrationIdentity): CardInput[] {
  const { kind, instrument, tele, chip, grade, inputs, software, kernels } = calibration;
  const cards: CardInput[] = [
    ['CALVER', CALIBRATION_SCHEMA, 'layout of this file'],
    ['CALKIND', kind, 'kind of calibration'],
    ['INSTRUME', instrument, 'instrument'],
    ['TELE', tele, 'telescope'],
    ['CHIP', chip, 'detector'],
    ['SERIAL', calibration.serial ?? '', 'serial number of the detector; empty: unknown'],
    ['READMODE', calibration.readMode ?? '', 'read mode; empty: any'],
  ];
  const times = [
    ['VALIDBEG', calibration.validFrom, '[d] MJD: good for frames from here'],
    ['VALIDEND', calibration.validTo, '[d] MJD: and before here'],
    ['DATABEG', calibration.dataFrom, '[d] MJD: begin of its data'],
    ['DATAEND', calibration.dataTo, '[d] MJD: end of its data'],
  ] as const;
  for (const [keyword, mjd, comment] of times) if (mjd !== undefined) cards.push([keyword, mjd, comment]);
  cards.push(
    ['GRADE', grade, 'quality: pass, warn or fail'],
    ['NINPUT', inputs, 'files it was made of: table PROVENANCE'],
    ['SWVER', software, 'program'],
  );
  let i = 1;
  for (const [name, version] of Object.entries(kernels))
    cards.push([`KERN${i++}`, `${name} ${version}`, 'kernel, version, hash']);
  return cards;
}

/** A card's number; undefined when the card is absent. */
function mjdCard(header: Header, keyword: string, context: ErrorContext): number | undefined {
  if (!header.has(keyword)) return undefined;
  const value = header.number(keyword, undefined);
  if (value === undefined || !Number.isFinite(value)) {
    throw new CalibrationError(
      `expected ${keyword} to be a finite MJD, received ${header.string(keyword, '?')}`,
      context,
    );
  }
  return value;
}

function textCard(header: Header, keyword: string): string {
  return header.has(keyword) ? header.string(keyword, '').trim() : '';
}

/** One of the words of a list, or a CalibrationError that names them. */
function wordCard<T extends string>(keyword: string, text: string, words: readonly T[], context: ErrorContext): T {
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  const near = didYouMean(text, words);
  throw new CalibrationError(
    `expected ${keyword} to be one of ${words.join(', ')}, received '${text}'${near}`,
    context,
  );
}

/** Whether a primary header is that of a calibration at all. */
export function isCalibration(header: Header): boolean {
  return header.has('CALKIND');
}

function kernelsOf(header: Header): Record<string, string> {
  const kernels: Record<string, string> = {};
  for (let i = 1; header.has(`KERN${i}`); i++) {
    const [name, ...version] = header.string(`KERN${i}`, '').split(' ');
    kernels[name as string] = version.join(' ');
  }
  return kernels;
}

function inputsOf(file: FitsFile): ProvenanceEntry[] {
  if (!file.hdus.some(({ name, kind }) => name.toUpperCase() === 'PROVENANCE' && kind === 'bintable')) return [];
  const table = file.readTable('PROVENANCE', ['ROLE', 'NAME', 'SHA256', 'WHY']);
  const column = (name: string) => Array.from(table.column(name).values as ArrayLike<string>);
  const [roles, names, hashes, reasons] = ['ROLE', 'NAME', 'SHA256', 'WHY'].map(column) as [
    string[],
    string[],
    string[],
    string[],
  ];
  return roles.map((role, i) => ({
    role,
    name: names[i] as string,
    sha256: hashes[i] as string,
    why: reasons[i] as string,
  }));
}

/**
 * The record of an open calibration file.
 * @param name of the file, relative to the directory of the registry
 * @throws CalibrationError for a header that breaks the rules above
 */
export function calibrationRecord(file: FitsFile, name: string, { sha256, bytes }: FileHash): CalibrationRecord {
  const { header } = file.hdu(0);
  const context = { file: file.path, hdu: 0 };
  if (!isCalibration(header)) {
    throw new NoCalibrationError('expected a calibration: the primary header has no CALKIND', context);
  }
  const schema = textCard(header, 'CALVER');
  if (schema !== '' && schema !== CALIBRATION_SCHEMA) {
    throw new CalibrationError(`expected CALVER '${CALIBRATION_SCHEMA}', received '${schema}'`, context);
  }
  const kind = wordCard('CALKIND', textCard(header, 'CALKIND'), CALIBRATION_KINDS, context);
  const [tele, chip] = (['TELE', 'CHIP'] as const).map((keyword) => {
    const text = textCard(header, keyword);
    if (text === '') throw new CalibrationError(`expected ${keyword} to say which detector it is for`, context);
    return text;
  }) as [string, string];
  const images = new Set(file.hdus.filter((hdu) => hdu.kind === 'image').map((hdu) => hdu.name.toUpperCase()));
  const absent = [...KIND_IMAGES[kind], ...(KIND_EXTRAS[kind] ?? [])].filter((image) => !images.has(image));
  if (absent.length > 0) {
    throw new CalibrationError(`expected the image ${absent.join(' and ')} of a ${kind} calibration`, {
      file: file.path,
    });
  }
  const [validFrom, validTo, dataFrom, dataTo] = ['VALIDBEG', 'VALIDEND', 'DATABEG', 'DATAEND'].map((keyword) =>
    mjdCard(header, keyword, context),
  );
  for (const [from, to, words] of [
    [validFrom, validTo, 'VALIDBEG to be before VALIDEND'],
    [dataFrom, dataTo, 'DATABEG not to be after DATAEND'],
  ] as const) {
    if (from !== undefined && to !== undefined && (from > to || (from === to && words.startsWith('VALID')))) {
      throw new CalibrationError(`expected ${words}, received ${from} and ${to}`, context);
    }
  }
  const grade = textCard(header, 'GRADE');
  return {
    schema,
    kind,
    instrument: textCard(header, 'INSTRUME').toLowerCase(),
    tele,
    chip,
    serial: textCard(header, 'SERIAL'),
    readMode: textCard(header, 'READMODE'),
    validFrom,
    validTo,
    dataFrom,
    dataTo,
    grade: grade === '' ? 'pass' : wordCard('GRADE', grade, GRADES, context),
    file: name,
    bytes,
    sha256,
    software: textCard(header, 'SWVER'),
    kernels: kernelsOf(header),
    inputs: inputsOf(file),
    createdAt: textCard(header, 'DATE'),
  };
}

export interface ReadRecordOptions {
  /** Of the file, relative to the directory of the registry; default: the name without its directories. */
  readonly name?: string;
  /**
   * Reads the whole file for its hash. Otherwise the hash is that of the store's manifest beside the file where its size is
   * right: whoever uses the pixels hashes what it reads and compares.
   */
  readonly hash?: boolean;
  readonly limits?: Partial<FitsLimits>;
}

/**
 * The record of a calibration file: its headers and the table PROVENANCE.
 * @throws CalibrationError for a file that is no calibration or whose header breaks the rules; InputError when it is no
 *   FITS file, is cut short or is not there; StorageError when it cannot be read
 */
export async function readCalibrationRecord(path: string, options: ReadRecordOptions = {}): Promise<CalibrationRecord> {
  const file = openFits(path, { limits: options.limits ?? {} });
  try {
    const name = options.name ?? basename(path);
    file.readData(0); // for the checksum of the primary header
    // The header first: what is no calibration need not be hashed.
    const record = calibrationRecord(file, name, { sha256: '', bytes: file.size });
    const manifest = options.hash === true ? undefined : await readManifest(path);
    const found = manifest?.bytes === file.size ? manifest : await hashFile(path);
    return { ...record, sha256: found.sha256, bytes: found.bytes };
  } finally {
    file.close();
  }
}
