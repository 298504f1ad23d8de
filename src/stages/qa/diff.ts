/** Compares two FITS files HDU by HDU: identical, within a tolerance, different (where), or missing on one side. */
import { runKernel } from '../../engine/index.js';
import {
  type FitsFile,
  type FitsImage,
  type FitsLimits,
  type FitsTable,
  type Hdu,
  imageFacts,
  openFits,
} from '../../fits/index.js';

export type DiffStatus = 'identical' | 'within tolerance' | 'differs' | 'missing';

export interface HduDiff {
  /** EXTNAME, or the index where there is none. */
  readonly hdu: string;
  readonly status: DiffStatus;
  /** One sentence; empty when identical. */
  readonly detail: string;
  /** Of images of one shape: pixels that are not equal, and those beyond the tolerance. */
  readonly changed?: number;
  readonly different?: number;
  /** Position of the first changed pixel in the order of the file, fastest axis first, 0-based. */
  readonly first?: readonly number[];
  readonly maxAbsolute?: number;
  readonly maxRelative?: number;
  /** For each axis, fastest first: the range that holds every changed pixel. */
  readonly ranges?: readonly (readonly [from: number, to: number])[];
  /** Rows with a changed pixel. */
  readonly rows?: number;
  /** Cards that are not the same. */
  readonly cards?: readonly string[];
}

export interface FileDiff {
  readonly status: DiffStatus;
  readonly hdus: readonly HduDiff[];
}

export interface DiffOptions {
  /** Differences up to atol + rtol max(|a|, |b|) are tolerated; both 0 by default. */
  readonly rtol?: number;
  readonly atol?: number;
  readonly limits?: Partial<FitsLimits>;
  /** Kernel threads. */
  readonly threads?: number;
}

/** What says when, where and by what release a product was made, and sums over it: no part of the science. */
const IGNORED_CARDS = new Set([
  'DATE',
  'CHECKSUM',
  'DATASUM',
  'ZHECKSUM',
  'ZDATASUM',
  'COMMENT',
  'HISTORY',
  '',
  'CREATOR',
]);
const IGNORED_HDUS = new Set(['PROVENANCE']);
const ORDER: readonly DiffStatus[] = ['identical', 'within tolerance', 'differs', 'missing'];

export function worst(all: readonly DiffStatus[]): DiffStatus {
  return ORDER[Math.max(0, ...all.map((status) => ORDER.indexOf(status)))]!;
}

const label = (hdu: Hdu) => hdu.name || (hdu.index === 0 ? 'PRIMARY' : `#${hdu.index}`);

function cardsThatDiffer(a: Hdu, b: Hdu): string[] {
  const values = (hdu: Hdu) => {
    const found = new Map<string, string>();
    for (const card of hdu.header.cards) {
      if (IGNORED_CARDS.has(card.keyword) || found.has(card.keyword)) continue;
      found.set(card.keyword, typeof card.value === 'bigint' ? String(card.value) : JSON.stringify(card.value));
    }
    return found;
  };
  const [left, right] = [values(a), values(b)];
  return [...new Set([...left.keys(), ...right.keys()])]
    .filter((keyword) => left.get(keyword) !== right.get(keyword))
    .map((keyword) => `${keyword}: ${left.get(keyword) ?? 'absent'} / ${right.get(keyword) ?? 'absent'}`);
}

/** The memory of two arrays of one type, compared by the C library. */
function sameBytes(a: ArrayBufferView, b: ArrayBufferView): boolean {
  const bytes = (view: ArrayBufferView) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  return a.byteLength === b.byteLength && bytes(a).equals(bytes(b));
}

/** 64-bit integers beyond 2^53 cannot be told apart as float64; nothing that this program writes has them. */
const asDoubles = (image: FitsImage): Float64Array =>
  image.data instanceof Float64Array
    ? image.data
    : image.data instanceof BigInt64Array || image.data instanceof BigUint64Array
      ? Float64Array.from(image.data, Number)
      : new Float64Array(image.data);

type Found = Omit<HduDiff, 'hdu'>;

async function diffImages(a: FitsImage, b: FitsImage, options: DiffOptions): Promise<Found> {
  const shape = (image: FitsImage) => [...image.shape].reverse().join(' x ');
  if (a.shape.join() !== b.shape.join()) return { status: 'differs', detail: `shape ${shape(a)} / ${shape(b)}` };
  if (a.type === b.type && sameBytes(a.data, b.data)) return { status: 'identical', detail: '' };
  const cols = a.shape.at(-1) ?? 0;
  const rows = cols === 0 ? 0 : a.data.length / cols;
  const counts = () => new Int32Array(rows);
  const found = { changed: counts(), different: counts(), unpaired: counts(), first: counts(), last: counts() };
  const sizes = { largest: new Float64Array(rows), relative: new Float64Array(rows) };
  const out = Object.entries({ ...found, ...sizes }).map(([name, data]) => [name, { data, rows, cols: 1 }] as const);
  await runKernel(
    'compare-images',
    { a: { data: asDoubles(a), rows, cols }, b: { data: asDoubles(b), rows, cols }, ...Object.fromEntries(out) },
    { rtol: options.rtol ?? 0, atol: options.atol ?? 0 },
    { threads: options.threads ?? 1, strip: Math.max(1, cols) },
  );
  // From here on one entry a row, not one a pixel.
  const sum = (data: Int32Array) => data.reduce((total, n) => total + n, 0);
  const changed = sum(found.changed);
  if (changed === 0)
    return { status: 'identical', detail: a.type === b.type ? '' : `the same values as ${a.type} / ${b.type}` };
  const different = sum(found.different);
  const touched = [...found.changed.keys()].filter((row) => found.changed[row]! > 0);
  const position = (row: number): number[] => {
    const axes = a.shape.slice(0, -1).reverse();
    const at: number[] = [];
    let rest = row;
    for (const n of axes) {
      at.push(rest % n);
      rest = Math.floor(rest / n);
    }
    return at;
  };
  const places = touched.map(position);
  const spread = (values: readonly number[]): [number, number] => [
    values.reduce((low, v) => Math.min(low, v), Number.POSITIVE_INFINITY),
    values.reduce((high, v) => Math.max(high, v), Number.NEGATIVE_INFINITY),
  ];
  const ranges: [number, number][] = [
    [spread(touched.map((row) => found.first[row]!))[0], spread(touched.map((row) => found.last[row]!))[1]],
    ...(places[0] ?? []).map((_, axis) => spread(places.map((place) => place[axis]!))),
  ];
  const first = [found.first[touched[0]!]!, ...places[0]!];
  const maxAbsolute = sizes.largest.reduce((most, v) => Math.max(most, v), 0);
  const maxRelative = sizes.relative.reduce((most, v) => Math.max(most, v), 0);
  const unpaired = sum(found.unpaired);
  const detail =
    `${changed} of ${a.data.length} pixels, first at [${first.join(', ')}], max |d| ${maxAbsolute.toPrecision(4)}, ` +
    `relative ${maxRelative.toPrecision(4)}, within ${ranges.map(([from, to]) => `${from}..${to}`).join(' x ')}, ${touched.length} rows` +
    `${unpaired > 0 ? `, ${unpaired} finite in one only` : ''}${different > 0 && different < changed ? `, ${different} beyond the tolerance` : ''}`;
  const status = different === 0 ? 'within tolerance' : 'differs';
  return { status, detail, changed, different, first, maxAbsolute, maxRelative, ranges, rows: touched.length };
}

function diffTables(a: FitsTable, b: FitsTable, options: DiffOptions): Found {
  if (a.rows !== b.rows) return { status: 'differs', detail: `${a.rows} / ${b.rows} rows` };
  const names = (table: FitsTable) => table.columns.map((column) => column.name).join(', ');
  if (names(a) !== names(b)) return { status: 'differs', detail: `columns ${names(a)} / ${names(b)}` };
  const odd: string[] = [];
  let within = 0;
  for (const [i, left] of a.columns.entries()) {
    const right = b.columns[i]!;
    const n = Math.max(left.values.length, right.values.length);
    let changed = 0;
    let different = 0;
    let first = -1;
    for (let k = 0; k < n; k++) {
      const [u, v] = [left.values[k], right.values[k]];
      if (u === v || (Number.isNaN(u) && Number.isNaN(v))) continue;
      changed++;
      if (first < 0) first = k;
      const close =
        typeof u === 'number' &&
        typeof v === 'number' &&
        Math.abs(u - v) <= (options.atol ?? 0) + (options.rtol ?? 0) * Math.max(Math.abs(u), Math.abs(v));
      if (!close) different++;
    }
    if (left.offsets?.join() !== right.offsets?.join()) different++;
    if (changed + different === 0) continue;
    if (different === 0) within++;
    else odd.push(`column ${left.name}: ${changed} of ${n} values, first at ${first}`);
  }
  if (odd.length > 0) return { status: 'differs', detail: odd.join('; ') };
  return within > 0 ? { status: 'within tolerance', detail: `${within} columns` } : { status: 'identical', detail: '' };
}

/** A kind of an HDU for pairing: tables of compressed images are images. */
const kindOf = (hdu: Hdu) => (imageFacts(hdu) !== undefined ? 'image' : hdu.kind === 'image' ? 'empty' : hdu.kind);

async function diffHdu(fileA: FitsFile, fileB: FitsFile, a: Hdu, b: Hdu, options: DiffOptions): Promise<Found> {
  const [kindA, kindB] = [kindOf(a), kindOf(b)];
  if (kindA !== kindB) return { status: 'differs', detail: `${kindA} / ${kindB}` };
  let found: Found = { status: 'identical', detail: '' };
  if (kindA === 'image') found = await diffImages(fileA.readImage(a), fileB.readImage(b), options);
  else if (kindA === 'bintable' || kindA === 'asciitable')
    found = diffTables(fileA.readTable(a), fileB.readTable(b), options);
  else if (kindA !== 'empty' && !sameBytes(fileA.readData(a), fileB.readData(b))) {
    found = { status: 'differs', detail: 'the bytes are not the same' };
  }
  const cards = cardsThatDiffer(a, b);
  if (cards.length === 0) return found;
  const text = `cards ${cards.slice(0, 5).join('; ')}${cards.length > 5 ? `; and ${cards.length - 5} more` : ''}`;
  const detail = found.detail === '' ? text : `${found.detail}; ${text}`;
  return { ...found, status: 'differs', detail, cards };
}

/**
 * Compares two files. HDUs pair by EXTNAME and EXTVER, unnamed ones by index. PROVENANCE, DATE, checksums, COMMENT and
 * HISTORY are not compared; -0 equals 0 and NaN equals NaN.
 * @throws InputError when a file is no FITS file, StorageError when it cannot be read
 */
export async function diffFiles(pathA: string, pathB: string, options: DiffOptions = {}): Promise<FileDiff> {
  const open = (path: string) => openFits(path, { limits: options.limits ?? {} });
  const a = open(pathA);
  try {
    const b = open(pathB);
    try {
      const key = (hdu: Hdu) => (hdu.name === '' ? `#${hdu.index}` : `${hdu.name.toUpperCase()} ${hdu.version}`);
      const right = new Map(b.hdus.map((hdu) => [key(hdu), hdu]));
      const hdus: HduDiff[] = [];
      for (const hdu of a.hdus) {
        const other = right.get(key(hdu));
        right.delete(key(hdu));
        if (IGNORED_HDUS.has(hdu.name)) continue;
        const found: Found =
          other === undefined
            ? { status: 'missing', detail: `only in ${pathA}` }
            : await diffHdu(a, b, hdu, other, options);
        hdus.push({ hdu: label(hdu), ...found });
      }
      for (const hdu of right.values()) {
        if (!IGNORED_HDUS.has(hdu.name)) hdus.push({ hdu: label(hdu), status: 'missing', detail: `only in ${pathB}` });
      }
      return { status: worst(hdus.map(({ status }) => status)), hdus };
    } finally {
      b.close();
    }
  } finally {
    a.close();
  }
}
