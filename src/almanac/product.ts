/**
 * The almanac as a FITS file, versioned: tables EXPOSURES, FILES, SEQUENCES, FINDINGS, one FIBERMAP for each configuration, and
 * DATAMODEL. The same raw files give the same bytes: no time, no host, no absolute path.
 */
import { createHash } from 'node:crypto';
import { InputError } from '../core/errors.js';
import { type Drop, EXPOSURE_KINDS, type Exposure, type RawFrame } from '../core/exposure.js';
import { version } from '../core/version.js';
import { type ColumnInput, encodeFits, type FitsFile, type FitsTable, openFits } from '../fits/index.js';
import { type ManifestEntry, productKey, type Store } from '../store/index.js';
import {
  ALMANAC_SCHEMA,
  type Almanac,
  type DatamodelEntry,
  type Fibre,
  type FibreMap,
  type FibreRole,
  type Finding,
  type Sequence,
} from './types.js';

/** Where the almanac of a night lies in the tree of products. */
export const almanacName = (tele: string, mjd: number): string => `${tele}/${mjd}/almanac-${tele}-${mjd}.fits`;

/** Exposures in a row, by the number that they share. */
export function sequencesOf(exposures: readonly Exposure[]): Sequence[] {
  const out = new Map<number, Sequence>();
  for (const { sequence, kind, configuration, exposure } of exposures) {
    if (sequence === 0) continue;
    const before = out.get(sequence);
    const first = before?.first ?? exposure;
    out.set(sequence, {
      sequence,
      kind,
      configuration,
      first,
      last: exposure,
      exposures: (before?.exposures ?? 0) + 1,
    });
  }
  return [...out.values()];
}

type Rows<T> = readonly T[];
const text = <T>(rows: Rows<T>, name: string, of: (row: T) => string): ColumnInput => ({
  name,
  values: rows.length === 0 ? [''].slice(1) : rows.map(of),
});
const int = <T>(rows: Rows<T>, name: string, of: (row: T) => number, unit = ''): ColumnInput => ({
  name,
  unit,
  values: Int32Array.from(rows, of),
});
const long = <T>(rows: Rows<T>, name: string, of: (row: T) => number, unit = ''): ColumnInput => ({
  name,
  unit,
  values: BigInt64Array.from(rows, (row) => BigInt(of(row))),
});
const real = <T>(rows: Rows<T>, name: string, of: (row: T) => number | undefined, unit = ''): ColumnInput => ({
  name,
  unit,
  values: Float64Array.from(rows, (row) => of(row) ?? Number.NaN),
});
const logical = <T>(rows: Rows<T>, name: string, of: (row: T) => boolean): ColumnInput => ({
  name,
  form: 'L',
  values: rows.map(of),
});
const drops = <T extends { readonly drop?: Drop | undefined }>(rows: Rows<T>): ColumnInput[] => [
  text(rows, 'DROPBY', ({ drop }) => drop?.by ?? ''),
  text(rows, 'DROPWHY', ({ drop }) => drop?.reason ?? ''),
];

interface FileRow extends RawFrame {
  readonly exposure: number;
}

/** The columns of each table, by its name; what `show` asks too. */
export function almanacTables(almanac: Almanac): { name: string; columns: ColumnInput[] }[] {
  const { exposures, findings, datamodel } = almanac;
  const files = exposures.flatMap(({ exposure, frames }) => frames.map((frame): FileRow => ({ exposure, ...frame })));
  const sequences = sequencesOf(exposures);
  return [
    {
      name: 'EXPOSURES',
      columns: [
        int(exposures, 'EXPOSURE', (e) => e.exposure),
        text(exposures, 'KIND', (e) => e.kind),
        int(exposures, 'READS', (e) => e.reads),
        text(exposures, 'CHIPS', (e) => e.frames.map(({ chip }) => chip).join('')),
        real(exposures, 'START', (e) => e.start, 'd'),
        real(exposures, 'EXPTIME', (e) => e.exposureSeconds, 's'),
        int(exposures, 'QUARTZ', (e) => e.lamps.quartz),
        int(exposures, 'THAR', (e) => e.lamps.thar),
        int(exposures, 'UNE', (e) => e.lamps.une),
        real(exposures, 'DITHER', (e) => e.ditherPixels, 'pixel'),
        text(exposures, 'PLATE', (e) => e.plate),
        text(exposures, 'DESIGN', (e) => e.design),
        text(exposures, 'CONFIG', (e) => e.configuration),
        text(exposures, 'FIELD', (e) => e.field),
        text(exposures, 'CART', (e) => e.cartridge),
        text(exposures, 'MAP', (e) => e.map ?? ''),
        int(exposures, 'SEQUENCE', (e) => e.sequence),
        logical(exposures, 'AFTERDARK', (e) => e.afterDark ?? false),
        ...drops(exposures),
        text(exposures, 'COMMENT', (e) => e.comment),
      ],
    },
    {
      name: 'FILES',
      columns: [
        int(files, 'EXPOSURE', (f) => f.exposure),
        text(files, 'CHIP', (f) => f.chip),
        text(files, 'PATH', (f) => f.path),
        long(files, 'BYTES', (f) => f.bytes, 'byte'),
        int(files, 'READS', (f) => f.reads),
        long(files, 'ROWS', (f) => f.rows),
        long(files, 'COLS', (f) => f.cols),
        text(files, 'SERIAL', (f) => f.serial),
        ...drops(files),
      ],
    },
    {
      name: 'SEQUENCES',
      columns: [
        int(sequences, 'SEQUENCE', (s) => s.sequence),
        text(sequences, 'KIND', (s) => s.kind),
        text(sequences, 'CONFIG', (s) => s.configuration),
        int(sequences, 'FIRST', (s) => s.first),
        int(sequences, 'LAST', (s) => s.last),
        int(sequences, 'COUNT', (s) => s.exposures),
      ],
    },
    {
      name: 'FINDINGS',
      columns: [
        text(findings, 'SEVERITY', (f) => f.severity),
        text(findings, 'WHAT', (f) => f.what),
        int(findings, 'EXPOSURE', (f) => f.exposure),
        text(findings, 'CHIP', (f) => f.chip),
        text(findings, 'TEXT', (f) => f.text),
      ],
    },
    ...almanac.fibreMaps.map(({ fibres }) => ({
      name: 'FIBERMAP',
      columns: [
        int(fibres, 'FIBER_ID', (f) => f.fiberId),
        text(fibres, 'FIBER_TYPE', (f) => f.fiberType),
        text(fibres, 'CATEGORY', (f) => f.category),
        text(fibres, 'ROLE', (f) => f.role),
        text(fibres, 'TARGET', (f) => f.target),
        real(fibres, 'RA', (f) => f.ra, 'deg'),
        real(fibres, 'DEC', (f) => f.dec, 'deg'),
      ],
    })),
    {
      name: 'DATAMODEL',
      columns: [
        text(datamodel, 'FORMAT', (d) => d.format),
        int(datamodel, 'HDU', (d) => d.hdu),
        text(datamodel, 'WHAT', (d) => d.what),
        text(datamodel, 'NAME', (d) => d.name),
        text(datamodel, 'VALUE', (d) => d.value),
        int(datamodel, 'FILES', (d) => d.files),
        text(datamodel, 'FIRST', (d) => d.first),
      ],
    },
  ];
}

/** The file's bytes. */
function encode(almanac: Almanac): Uint8Array[] {
  const { instrument, tele, mjd, fibreMaps } = almanac;
  let maps = 0;
  return encodeFits([
    {
      header: [
        ['INSTRUME', instrument, 'instrument'],
        ['TELE', tele, 'telescope'],
        ['MJD', mjd, 'night (SJD)'],
        ['STAGE', 'almanac', 'what this is: raw files of a night, by their headers'],
        ['SCHEMA', ALMANAC_SCHEMA, 'layout of this file'],
        ['TIMESYS', 'TAI', 'of START'],
        ['SWVER', version(), 'version of the software'],
      ],
    },
    ...almanacTables(almanac).map(({ name, columns }) => {
      if (name !== 'FIBERMAP') return { kind: 'table' as const, name, columns };
      const map = fibreMaps[maps++]!;
      const header = [
        ['FIBKEY', map.key, 'configuration or plate'],
        ['FIBSRC', map.source, 'file that it was read from'],
      ] as const;
      return { kind: 'table' as const, name, version: maps, columns, header };
    }),
  ]);
}

/**
 * Writes the almanac; what is there with the same content stays untouched.
 * @param name relative to the store, for example `almanacName(tele, mjd)`
 * @returns the entry of the manifest
 * @throws StorageError
 */
export async function writeAlmanac(store: Store, name: string, almanac: Almanac): Promise<ManifestEntry> {
  const chunks = encode(almanac);
  // The raw files are not hashed here (that would be a read of the whole night): the content itself is what decides.
  const content = createHash('sha256');
  for (const chunk of chunks) content.update(chunk);
  const { instrument, tele, mjd } = almanac;
  const record = {
    schema: ALMANAC_SCHEMA,
    inputs: [],
    calibrations: [],
    parameters: { instrument, tele, mjd, content: content.digest('hex') },
    kernels: {},
    software: `rampline ${version()}`,
  };
  const before = await store.readManifest(name);
  if (before !== undefined && (await store.isDone(name, productKey(record)))) return before;
  return store.writeProduct(name, chunks, record);
}

/**
 * Reads an almanac back: what was written, but for the root, which is ''.
 * @throws InputError for a file that is none, or of another version
 */
export function readAlmanac(path: string): Almanac {
  const file = openFits(path);
  try {
    const { header } = file.hdu(0);
    const schema = header.string('SCHEMA', '').trim();
    if (schema !== ALMANAC_SCHEMA) {
      const received = schema === '' ? 'a file without SCHEMA' : `'${schema}'`;
      throw new InputError(`expected an almanac of schema '${ALMANAC_SCHEMA}', received ${received}`, {
        file: path,
        hdu: 0,
      });
    }
    const frames = new Map<number, RawFrame[]>();
    for (const row of new Reader(file, 'FILES').rows()) {
      const number = row.number('EXPOSURE');
      frames.set(number, [...(frames.get(number) ?? []), frameOf(row)]);
    }
    const [tele, mjd] = [header.string('TELE', '').trim(), header.number('MJD', 0)];
    return {
      schema: ALMANAC_SCHEMA,
      instrument: header.string('INSTRUME', '').trim(),
      tele,
      mjd,
      root: '',
      exposures: new Reader(file, 'EXPOSURES')
        .rows()
        .map((row) => exposureOf(row, tele, mjd, frames.get(row.number('EXPOSURE')) ?? [])),
      findings: new Reader(file, 'FINDINGS').rows().map(
        (row): Finding => ({
          severity: row.word('SEVERITY', ['error', 'warning']),
          what: row.text('WHAT') as Finding['what'],
          exposure: row.number('EXPOSURE'),
          chip: row.text('CHIP'),
          text: row.text('TEXT'),
        }),
      ),
      datamodel: new Reader(file, 'DATAMODEL').rows().map(
        (row): DatamodelEntry => ({
          format: row.text('FORMAT'),
          hdu: row.number('HDU'),
          what: row.text('WHAT') as DatamodelEntry['what'],
          name: row.text('NAME'),
          value: row.text('VALUE'),
          files: row.number('FILES'),
          first: row.text('FIRST'),
        }),
      ),
      fibreMaps: file.hdus
        .filter(({ name }) => name === 'FIBERMAP')
        .map((hdu): FibreMap => {
          const fibres = new Reader(file, 'FIBERMAP', hdu.version).rows().map(fibreOf);
          return {
            key: hdu.header.string('FIBKEY', '').trim(),
            source: hdu.header.string('FIBSRC', '').trim(),
            fibres,
          };
        }),
    };
  } finally {
    file.close();
  }
}

const dropOf = (row: Row): Drop | undefined => {
  const by = row.word('DROPBY', ['', 'user', 'rule', 'pipeline']);
  return by === '' ? undefined : { by, reason: row.text('DROPWHY') };
};

const frameOf = (row: Row): RawFrame => ({
  chip: row.text('CHIP'),
  path: row.text('PATH'),
  bytes: row.number('BYTES'),
  reads: row.number('READS'),
  rows: row.number('ROWS'),
  cols: row.number('COLS'),
  serial: row.text('SERIAL'),
  drop: dropOf(row),
});

function exposureOf(row: Row, tele: string, mjd: number, frames: readonly RawFrame[]): Exposure {
  const start = row.number('START');
  return {
    tele,
    mjd,
    exposure: row.number('EXPOSURE'),
    kind: row.word('KIND', EXPOSURE_KINDS),
    reads: row.number('READS'),
    frames,
    start: Number.isNaN(start) ? undefined : start,
    exposureSeconds: row.number('EXPTIME'),
    lamps: { quartz: row.number('QUARTZ'), thar: row.number('THAR'), une: row.number('UNE') },
    ditherPixels: row.number('DITHER'),
    plate: row.text('PLATE'),
    design: row.text('DESIGN'),
    configuration: row.text('CONFIG'),
    field: row.text('FIELD'),
    cartridge: row.text('CART'),
    map: row.text('MAP'),
    comment: row.text('COMMENT'),
    sequence: row.number('SEQUENCE'),
    afterDark: row.number('AFTERDARK') === 1,
    drop: dropOf(row),
  };
}

const ROLES: readonly FibreRole[] = ['sci', 'sky', 'skyB', 'tel', 'fpiguide', 'serendipitous', 'fail'];

const fibreOf = (row: Row): Fibre => ({
  fiberId: row.number('FIBER_ID'),
  fiberType: row.text('FIBER_TYPE'),
  category: row.text('CATEGORY'),
  role: row.word('ROLE', ROLES),
  target: row.text('TARGET'),
  ra: row.number('RA'),
  dec: row.number('DEC'),
});

interface Row {
  number(column: string): number;
  text(column: string): string;
  /** One of the words; anything else is an InputError. */
  word<W extends string>(column: string, words: readonly W[]): W;
}

/** A table row by row, with every value of the type that it must have. */
class Reader {
  readonly #table: FitsTable;
  readonly #fail: (message: string) => InputError;

  constructor(file: FitsFile, name: string, hduVersion?: number) {
    const hdu = file.hdu(name, hduVersion);
    this.#fail = (message) => new InputError(`${name}: ${message}`, { file: file.path, hdu: hdu.index });
    this.#table = file.readTable(hdu);
  }

  rows(): Row[] {
    return Array.from({ length: this.#table.rows }, (_, row) => ({
      number: (column) => {
        const value = this.#value(column, row);
        if (typeof value !== 'number' && typeof value !== 'bigint') throw this.#fail(`${column} holds no numbers`);
        return Number(value);
      },
      text: (column) => this.#text(column, row),
      word: (column, words) => {
        const found = this.#text(column, row);
        const word = words.find((one) => one === found);
        if (word === undefined)
          throw this.#fail(`row ${row + 1}: ${column} is '${found}', expected ${words.join(', ')}`);
        return word;
      },
    }));
  }

  #value(column: string, row: number): unknown {
    return this.#table.column(column).values[row];
  }

  #text(column: string, row: number): string {
    const value = this.#value(column, row);
    if (typeof value !== 'string') throw this.#fail(`${column} holds no text`);
    return value;
  }
}
