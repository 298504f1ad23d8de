/** The arrays of one calibration, whether it was just built or lies in a file: what QA looks at. */
import { CALIBRATION_KINDS, type CalibrationKind, KIND_IMAGES } from '../../calib/product.js';
import { InputError } from '../../core/errors.js';
import { type CardInput, type FitsFile, type HduInput, imageFacts } from '../../fits/index.js';

export interface MapImage {
  /** f32 [row][x]; NaN: no value. */
  readonly data: Float32Array;
  /** '' where the file does not say. */
  readonly unit: string;
}

export interface CalibrationMaps {
  readonly kind: CalibrationKind;
  readonly instrument: string;
  readonly tele: string;
  readonly chip: string;
  readonly rows: number;
  readonly cols: number;
  /** Value and error images by name: those of KIND_IMAGES, ERR or `C2ERR`, and what else is float32 of the same shape. */
  readonly images: ReadonlyMap<string, MapImage>;
  /** u32 [row][x]; absent in files without DQ. */
  readonly dq?: Uint32Array | undefined;
  /** Numbers of the primary header. */
  readonly cards: Readonly<Record<string, number>>;
  /** Of a flat in a file: the light of each exposure. */
  readonly illumination?: readonly Illumination[] | undefined;
}

/** The light of one flat, sum of coefficient P_i(u) P_j(v) with Legendre polynomials, u along rows, v along columns. */
export interface Illumination {
  /** From 1. */
  readonly exposure: number;
  readonly unit: string;
  readonly terms: readonly { readonly i: number; readonly j: number; readonly value: number }[];
}

export type MapsIdentity = Pick<CalibrationMaps, 'kind' | 'instrument' | 'tele' | 'chip'>;

/** Units that the contract of calibrations gives, for files that do not say. */
const UNITS: Readonly<Record<string, string>> = {
  GAIN: 'electron/DN',
  READNOISE: 'DN',
  SATURATION: 'DN',
  C2: '1/DN',
  C3: '1/DN2',
  LIMIT: 'DN',
  OFFSET: 'DN',
  RATE: 'DN/read',
};
const unitOf = (kind: CalibrationKind, name: string, unit: string) =>
  unit || (UNITS[name] ?? (name === 'AMPLITUDE' && kind === 'resetanomaly' ? 'DN' : ''));

/** The name of the error image of a value image: ERR where the kind has one value, else C2ERR of C2. */
export function errorName(kind: CalibrationKind, image: string): string {
  return KIND_IMAGES[kind].length === 1 ? 'ERR' : `${image}ERR`;
}

/** Of the weights of the 1/f correction [Hz]: 32, one for each 24 weights. */
export const FREQUENCY = 'FREQUENCY';

function checked(maps: CalibrationMaps, file?: string): CalibrationMaps {
  for (const name of KIND_IMAGES[maps.kind]) {
    if (!maps.images.has(name))
      throw new InputError(`expected the image ${name} of a ${maps.kind} calibration`, { file });
  }
  for (const [name, { data }] of maps.images) {
    if (name !== FREQUENCY && data.length !== maps.rows * maps.cols) {
      throw new InputError(`expected ${maps.rows} x ${maps.cols} pixels in ${name}, received ${data.length}`, { file });
    }
  }
  if (maps.dq !== undefined && maps.dq.length !== maps.rows * maps.cols) {
    throw new InputError(`expected ${maps.rows} x ${maps.cols} pixels in DQ, received ${maps.dq.length}`, { file });
  }
  return maps;
}

/** Whether an image is looked at: the kind's own, their errors, and no other. */
function wanted(kind: CalibrationKind, name: string): boolean {
  if (kind === 'oneoverf' && name === FREQUENCY) return true;
  return KIND_IMAGES[kind].some((image) => name === image || name === errorName(kind, image));
}

/**
 * The maps of a calibration that was built and is not yet written.
 * @param hdus as the builder gives them; images of another type than float32 (but DQ, u32) are passed over
 * @param cards of the primary header
 * @throws InputError when an image of the kind is not there or has another size than the others
 */
export function mapsOfHdus(
  identity: MapsIdentity,
  hdus: readonly HduInput[],
  cards: readonly CardInput[],
): CalibrationMaps {
  const images = new Map<string, MapImage>();
  let dq: Uint32Array | undefined;
  let shape: readonly number[] = [];
  for (const hdu of hdus) {
    if (hdu.kind === 'table' || hdu.data === undefined || hdu.name === undefined) continue;
    const name = hdu.name.toUpperCase();
    if (name === 'DQ' && hdu.data instanceof Uint32Array) dq = hdu.data;
    if (!(hdu.data instanceof Float32Array) || !wanted(identity.kind, name)) continue;
    const header = Array.isArray(hdu.header) ? (hdu.header as readonly CardInput[]) : [];
    const unit = String(header.find(([keyword]) => keyword === 'BUNIT')?.[1] ?? '');
    images.set(name, { data: hdu.data, unit: unitOf(identity.kind, name, unit) });
    if (name === KIND_IMAGES[identity.kind][0]) shape = hdu.shape ?? [hdu.data.length];
  }
  const numbers = cards.filter((card): card is readonly [string, number] => typeof card[1] === 'number');
  const [rows, cols] = [shape.at(-2) ?? 1, shape.at(-1) ?? 0];
  return checked({ ...identity, rows, cols, images, dq, cards: Object.fromEntries(numbers.map(([k, v]) => [k, v])) });
}

function illuminationOf(file: FitsFile): Illumination[] | undefined {
  if (!file.hdus.some(({ name, kind }) => name.toUpperCase() === 'ILLUMINATION' && kind === 'bintable'))
    return undefined;
  const table = file.readTable('ILLUMINATION', ['EXPOSURE', 'I', 'J', 'COEFF']);
  const [exposures, is, js, values] = ['EXPOSURE', 'I', 'J', 'COEFF'].map((name) =>
    Array.from(table.column(name).values as ArrayLike<number>, Number),
  ) as [number[], number[], number[], number[]];
  const { unit } = table.column('COEFF');
  return [...new Set(exposures)].map((exposure) => ({
    exposure,
    unit,
    terms: values
      .map((value, k) => ({ i: is[k] as number, j: js[k] as number, value, of: exposures[k] }))
      .filter((term) => term.of === exposure),
  }));
}

/** The mask of a file; undefined where it has none. Throws InputError for one that is no image of u32. */
export function maskOfFile(
  file: FitsFile,
): { readonly dq: Uint32Array; readonly rows: number; readonly cols: number } | undefined {
  const hdu = file.hdus.find((one) => one.name.toUpperCase() === 'DQ' && imageFacts(one) !== undefined);
  if (hdu === undefined) return undefined;
  const { data, shape } = file.readImage(hdu);
  if (!(data instanceof Uint32Array) || shape.length !== 2) {
    throw new InputError('expected DQ to be an image of unsigned 32-bit integers', { file: file.path, hdu: hdu.index });
  }
  return { dq: data, rows: shape[0] as number, cols: shape[1] as number };
}

/**
 * The maps of a calibration file.
 * @throws InputError when it is no calibration, or an image is missing or of another size; checksums are verified
 */
export function mapsOfFile(file: FitsFile): CalibrationMaps {
  const { header } = file.hdu(0);
  const text = (keyword: string) => (header.has(keyword) ? header.string(keyword, '').trim() : '');
  const kind = CALIBRATION_KINDS.find((one) => one === text('CALKIND'));
  if (kind === undefined) {
    throw new InputError(`expected a calibration, received CALKIND '${text('CALKIND')}'`, { file: file.path, hdu: 0 });
  }
  const images = new Map<string, MapImage>();
  const dq = maskOfFile(file)?.dq;
  let size: readonly number[] | undefined;
  for (const hdu of file.hdus) {
    const name = hdu.name.toUpperCase();
    if (imageFacts(hdu) === undefined || !wanted(kind, name)) continue;
    const { data, unit, shape } = file.readImage(hdu);
    if (!(data instanceof Float32Array)) {
      throw new InputError(`expected ${name} to hold float32`, { file: file.path, hdu: hdu.index });
    }
    images.set(name, { data, unit: unitOf(kind, name, unit) });
    if (name === KIND_IMAGES[kind][0]) size = shape;
  }
  const cards: Record<string, number> = {};
  for (const card of header.cards) if (typeof card.value === 'number') cards[card.keyword] = card.value;
  const [rows, cols] = [size?.at(-2) ?? 1, size?.at(-1) ?? 0];
  const identity = { kind, instrument: text('INSTRUME').toLowerCase(), tele: text('TELE'), chip: text('CHIP') };
  const illumination = kind === 'flat' ? illuminationOf(file) : undefined;
  return checked({ ...identity, rows, cols, images, dq, cards, illumination }, file.path);
}
