/** Raw files in the layout of .apz with any header, made without a detector: for tests of what reads headers alone. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isoFromMjd } from '../src/core/time.js';
import { type CardInput, encodeFits, type HduInput } from '../src/fits/index.js';
import { apogee } from '../src/instruments/apogee/index.js';

const COLS = 2560;

export interface RawSpec {
  readonly exposure: number;
  readonly chip?: string;
  readonly tele?: string;
  readonly mjd?: number;
  readonly kind?: string;
  readonly reads?: number;
  readonly rows?: number;
  readonly lamps?: readonly [quartz: unknown, thar: unknown, une: unknown];
  /** Seconds after the start that the number gives. */
  readonly late?: number;
  /** In place of the usual cards of that name; undefined takes the card away. */
  readonly cards?: Readonly<Record<string, string | number | boolean | undefined>>;
}

/** The name of the raw file, with the archive's numbering. */
export const rawName = ({ exposure, chip = 'a', tele = 'apo', mjd = 60855 }: RawSpec, format: 'apz' | 'fits' = 'apz') =>
  apogee.rawName({ tele, mjd, chip, exposure }, format);

export function cardsOf(spec: RawSpec): CardInput[] {
  const { exposure, chip = 'a', mjd = 60855, kind = 'Object', reads = 10, lamps = [0, 0, 0], late = 0 } = spec;
  const cards: Record<string, unknown> = {
    'DATE-OBS': isoFromMjd(mjd + exposure / 144 + late / 86_400),
    EXPTIME: reads * 10.647,
    NREAD: reads,
    NFRAMES: reads,
    CHIP: chip,
    DETSER: `S-${chip}`,
    EXPTYPE: kind.toUpperCase(),
    IMAGETYP: kind,
    LAMPQRTZ: lamps[0],
    LAMPTHAR: lamps[1],
    LAMPUNE: lamps[2],
    DITHPIX: 0.5,
    PLATEID: 0,
    CARTID: 'FPS-N',
    MAPID: 0,
    FIELDID: 17,
    DESIGNID: 0,
    CONFIGID: 0,
    OBSCMNT: 'a comment',
    ...spec.cards,
  };
  return Object.entries(cards)
    .filter(([, value]) => value !== undefined)
    .map(([keyword, value]) => [keyword, value as string]);
}

/** Primary without data, the average (RICE_1, int32), one read. */
export function rawBytes(spec: RawSpec): Buffer {
  const { rows = 2 } = spec;
  const header = cardsOf(spec);
  const shape = [rows, COLS];
  const hdus: HduInput[] = [
    {},
    { data: new Int32Array(rows * COLS), shape, header, compress: 'RICE_1', was: 'primary' },
    { data: new Uint16Array(rows * COLS), shape, header, compress: 'RICE_1', was: 'extension' },
  ];
  return Buffer.concat(encodeFits(hdus));
}

/** Writes the files into a folder of the root. */
export function writeRaw(root: string, folder: string, specs: readonly RawSpec[]): void {
  for (const spec of specs) {
    const path = join(root, folder, rawName(spec));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, rawBytes(spec));
  }
}

/** One spec for each of the three chips. */
export const chips = (spec: RawSpec): RawSpec[] => ['a', 'b', 'c'].map((chip) => ({ ...spec, chip }));
