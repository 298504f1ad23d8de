// Lists of bad exposures, fibre maps in all their formats, the product, questions and comparisons.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import h5 from 'h5wasm/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chips, rawName, writeRaw } from '../../test/raw_night.js';
import { InputError, UsageError } from '../core/errors.js';
import { type ColumnInput, encodeFits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { openStore } from '../store/index.js';
import {
  type Almanac,
  almanacName,
  applyBadList,
  type BadExposure,
  badListText,
  compareAlmanacs,
  csvText,
  datamodelChanges,
  fibreMapOf,
  mergeBadLists,
  parseBadList,
  parseWhere,
  readAlmanac,
  readBadList,
  readFibreMap,
  scanNight,
  select,
  sequencesOf,
  tableOf,
  withFibreMaps,
  writeAlmanac,
} from './index.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-almanac-lists-'));
afterAll(() => rmSync(base, { recursive: true }));
const raw = join(base, 'raw');
const scan = (root = raw): Promise<Almanac> => scanNight(root, { tele: 'apo', mjd: 60855, instrument: apogee });
let night: Almanac;
beforeAll(async () => {
  writeRaw(raw, 'apo/60855', [
    ...chips({ exposure: 1, kind: 'Dark', reads: 60, cards: { CONFIGID: 4999 } }),
    ...chips({ exposure: 2, kind: 'Dark', reads: 20, cards: { CONFIGID: 4999 } }),
    ...chips({ exposure: 4, reads: 47, cards: { CONFIGID: 5001, OBSCMNT: 'a cloud, perhaps' } }),
    ...chips({ exposure: 5, reads: 47, cards: { CONFIGID: 5002, 'DATE-OBS': 'no date' } }),
    ...chips({ exposure: 6, kind: 'ArcLamp', lamps: [0, 1, 0] }).slice(0, 2),
  ]);
  night = await scan();
});

const entry = (exposure: number, more: Partial<BadExposure> = {}): BadExposure => ({
  tele: 'apo',
  mjd: 60855,
  exposure,
  chip: undefined,
  reason: 'clouds',
  by: 'user',
  ...more,
});

describe('a list of bad exposures', () => {
  it.each([
    ['blanks', 'apo 60855 4 clouds', entry(4)],
    [
      'blanks and a chip',
      'apo 60855 4 b a trail of a satellite',
      entry(4, { chip: 'b', reason: 'a trail of a satellite' }),
    ],
    ['blanks, commas in the reason', 'apo 60855 4 clouds, wind', entry(4, { reason: 'clouds, wind' })],
    ['tabs', 'apo\t60855\t4\t-\tclouds', entry(4)],
    ['tabs, no chip', 'apo\t60855\t4\tlight leak', entry(4, { reason: 'light leak' })],
    ['CSV', 'apo,60855,4,c,"clouds, ""thick"""', entry(4, { chip: 'c', reason: 'clouds, "thick"' })],
    ['CSV, empty chip', 'apo,60855,4,,clouds', entry(4)],
    ['a comment behind it', 'apo 60855 4 clouds # says the log', entry(4)],
    ['a head', 'tele mjd exposure reason\napo 60855 4 thin clouds', entry(4, { reason: 'thin clouds' })],
    ['a head in another order', 'exposure,reason,tele,mjd\n4,clouds,apo,60855', entry(4)],
    [
      'a head with by',
      'tele\tmjd\texposure\tchip\treason\tby\napo\t60855\t4\ta\tclouds\tpipeline',
      entry(4, { chip: 'a', by: 'pipeline' }),
    ],
    ['a reason outside ASCII', 'apo 60855 4 Wolken über uns', entry(4, { reason: 'Wolken ?ber uns' })],
  ])('%s', (_, text, expected) => {
    expect(parseBadList(`# mine\n\n${text}\r\n`, 'bad.txt')).toEqual([expected]);
  });

  it.each([
    ['apo 60855', 'line 3: expected tele mjd exposure [chip] reason, received 2 fields'],
    ['apo 60855 x clouds', 'line 3: expected exposure to be a whole number up to 9999, received "x"'],
    ['apo 60855 12345 clouds', 'line 3: expected exposure to be a whole number up to 9999, received "12345"'],
    ['apo 6e4 4 clouds', 'line 3: expected mjd to be a whole number up to 999999, received "6e4"'],
    ['APO! 60855 4 clouds', 'line 3: expected a telescope such as apo, received "APO!"'],
    ['apo,60855,4,"clouds', 'line 3: a quote is opened and not closed, or stands inside a field'],
    ['apo\t60855\t4\t\t', 'line 3: expected a reason'],
  ])('%s: %s', (line, message) => {
    const text = `# mine\napo 60855 4 clouds\n${line}\n`;
    expect(() => parseBadList(text, 'bad.txt')).toThrow(InputError);
    expect(() => parseBadList(text, 'bad.txt')).toThrow(message);
  });

  it.each([
    ['tele mjd exposrue reason', 'line 1: no column "exposrue" is known; did you mean "exposure"?'],
    ['tele mjd exposure', 'line 1: the column reason is missing'],
    ['tele mjd exposure reason tele', 'line 1: the column tele is named twice'],
    ['tele,mjd,exposure,reason,by\napo,60855,4,clouds,me', 'line 2: expected by to be user or pipeline, received "me"'],
    [
      'tele,mjd,exposure,by,reason\napo,60855,4,user',
      'line 2: expected 5 fields (tele mjd exposure by reason), received 4',
    ],
  ])('a head %j', (text, message) => {
    expect(() => parseBadList(text, 'bad.txt')).toThrow(message);
  });

  it('is read from a file, and what is none is refused by name', () => {
    const file = join(base, 'bad.tsv');
    writeFileSync(file, '\uFEFFapo\t60855\t4\tclouds\n');
    expect(readBadList(file)).toEqual([entry(4)]);
    expect(readBadList(file, 'pipeline')).toEqual([entry(4, { by: 'pipeline' })]);
    expect(() => readBadList(base)).toThrow('not a directory');
    expect(() => readBadList(join(base, 'none'))).toThrow(InputError);
    writeFileSync(file, 'apo 60855 4\n');
    let error: unknown;
    try {
      readBadList(file);
    } catch (thrown) {
      error = thrown;
    }
    expect((error as InputError).describe()).toBe(
      `${file}: line 1: expected tele mjd exposure [chip] reason, received 3 fields`,
    );
  });

  it('comes back from the text that the pipeline writes', () => {
    const entries = [
      entry(9, { by: 'pipeline', reason: 'flux 4.2 sigma off' }),
      entry(4, { chip: 'b', reason: 'a\ttab, a # and a\nline' }),
      entry(4, { tele: 'lco' }),
      entry(4),
    ];
    const text = badListText(entries);
    expect(text).toBe(
      'tele\tmjd\texposure\tchip\treason\tby\n' +
        'apo\t60855\t4\t-\tclouds\tuser\n' +
        'apo\t60855\t4\tb\ta tab, a  and a line\tuser\n' +
        'apo\t60855\t9\t-\tflux 4.2 sigma off\tpipeline\n' +
        'lco\t60855\t4\t-\tclouds\tuser\n',
    );
    expect(badListText(parseBadList(text, 'x'))).toBe(text);
    expect(parseBadList(badListText([]), 'x')).toEqual([]);
  });

  it('merges: the user above the pipeline, else the first', () => {
    const [user, pipeline] = [entry(4, { reason: 'mine' }), entry(4, { by: 'pipeline', reason: 'outlier' })];
    expect(mergeBadLists([pipeline], [user])).toEqual([user]);
    expect(mergeBadLists([user], [pipeline, entry(1)])).toEqual([entry(1), user]);
    expect(mergeBadLists([user], [entry(4, { reason: 'other' })])).toEqual([user]);
  });

  it('drops exposures and chips; the user above rules, rules above the pipeline', () => {
    const listed = applyBadList(night, [
      entry(1, { by: 'pipeline', reason: 'outlier' }),
      entry(4, { chip: 'b' }),
      entry(6, { reason: 'lamp was cold' }),
      entry(6, { mjd: 60856 }),
      entry(6, { tele: 'lco' }),
    ]);
    const drop = (exposure: number) => listed.exposures[exposure - 1]!.drop;
    expect(drop(1)).toEqual({ by: 'pipeline', reason: 'outlier' });
    expect(drop(2)).toBeUndefined();
    expect(drop(4)).toBeUndefined();
    expect(listed.exposures[3]!.frames.map((frame) => frame.drop?.reason)).toEqual([undefined, 'clouds', undefined]);
    expect(night.exposures[5]!.drop).toEqual({ by: 'rule', reason: 'chip c is not there' });
    expect(drop(6)).toEqual({ by: 'user', reason: 'lamp was cold' });
    expect(applyBadList(night, [entry(6, { by: 'pipeline' })]).exposures[5]!.drop?.by).toBe('rule');
    expect(listed.findings).toEqual(night.findings);
    expect(applyBadList(listed, [])).toEqual(listed);
  });

  it('that speaks of nothing is told', () => {
    const listed = applyBadList(night, [entry(3), entry(99), entry(6, { chip: 'c' }), entry(4, { chip: 'z' })]);
    expect(listed.findings.filter(({ what }) => what === 'list').map(({ text }) => text)).toEqual(
      ['3', '4 chip z', '6 chip c', '99'].map(
        (n) => `the user's list of bad exposures names exposure ${n}, which is not there`,
      ),
    );
  });

  it('may be given to the scan', async () => {
    const scanned = await scanNight(raw, { tele: 'apo', mjd: 60855, instrument: apogee, bad: [entry(2)] });
    expect(scanned).toEqual(applyBadList(night, [entry(2)]));
  });
});

/** Three fibres as columns; `key` is the configuration. */
const ids = [1, 75, 300];
const types = ['APOGEE', 'APOGEE', 'BOSS'];
const categories = ['science', 'bonus', 'sky_boss'];
const targets = [27021597842512345n, -999n, 12n]; // beyond 2^53
const [ra, dec] = [
  [10.25, 359.5, 0],
  [-5.5, 89, Number.NaN],
];
const EXPECTED = [
  {
    fiberId: 1,
    fiberType: 'APOGEE',
    category: 'science',
    role: 'sci',
    target: '27021597842512345',
    ra: 10.25,
    dec: -5.5,
  },
  { fiberId: 75, fiberType: 'APOGEE', category: 'bonus', role: 'fpiguide', target: '', ra: 359.5, dec: 89 },
  { fiberId: 300, fiberType: 'BOSS', category: 'sky_boss', role: 'skyB', target: '12', ra: 0, dec: Number.NaN },
];

function writeHdf5(path: string, top: string[], keys: readonly string[]): void {
  const file = new h5.File(path, 'w');
  let group: InstanceType<typeof h5.Group> = file;
  for (const name of [...top, 'apo', '60855', 'fibers']) group = group.create_group(name);
  for (const key of keys) {
    const map = group.create_group(key);
    map.create_dataset({ name: 'fiber_id', data: Int32Array.from(ids) });
    map.create_dataset({ name: 'fiber_type', data: types });
    map.create_dataset({ name: 'category', data: categories });
    map.create_dataset({ name: 'sdss_id', data: BigInt64Array.from(targets) });
    map.create_dataset({ name: 'ra', data: Float64Array.from(ra!) });
    map.create_dataset({ name: 'dec', data: Float32Array.from(dec!) });
    map.create_dataset({ name: 'firstcarton', data: ['a', 'b', 'c'] });
  }
  file.close();
}

const fitsColumns = (): ColumnInput[] => [
  { name: 'FIBER_ID', values: Int16Array.from(ids) },
  { name: 'FIBER_TYPE', values: types },
  { name: 'CATEGORY', values: categories },
  { name: 'SDSS_ID', values: BigInt64Array.from(targets) },
  { name: 'RA', values: Float64Array.from(ra!), unit: 'deg' },
  { name: 'DEC', values: Float64Array.from(dec!), unit: 'deg' },
];
const CSV = `# of the telescope
fiber_id,fiber_type,category,sdss_id,ra,dec
${ids.map((id, i) => [id, types[i], categories[i], targets[i], ra![i], Number.isNaN(dec![i]) ? '' : dec![i]].join(',')).join('\n')}
`;
const at = { key: '5001', tele: 'apo', mjd: 60855 };

describe('a fibre map', () => {
  beforeAll(async () => {
    await h5.ready;
  });

  it.each([
    ['HDF5', 'map.h5', (path: string) => writeHdf5(path, [], ['5001', '5002'])],
    ['HDF5 below raw/', 'raw.hdf5', (path: string) => writeHdf5(path, ['raw'], ['5001'])],
    [
      'FITS',
      'map.fits',
      (path: string) => writeFileSync(path, Buffer.concat(encodeFits([{}, { kind: 'table', columns: fitsColumns() }]))),
    ],
    ['CSV', 'map.csv', (path: string) => writeFileSync(path, CSV)],
    ['TSV', 'map.tsv', (path: string) => writeFileSync(path, CSV.replaceAll(',', '\t'))],
  ])('%s', async (_, name, write) => {
    const path = join(base, name);
    write(path);
    expect(await readFibreMap(path, at)).toEqual({ key: '5001', source: name, fibres: EXPECTED });
  });

  it('of another night, telescope or configuration is none', async () => {
    const path = join(base, 'other.h5');
    writeHdf5(path, [], ['5001']);
    expect(await readFibreMap(path, { ...at, key: '1' })).toBeUndefined();
    expect(await readFibreMap(path, { ...at, mjd: 1 })).toBeUndefined();
    expect(await readFibreMap(path, { ...at, tele: 'lco' })).toBeUndefined();
    expect(await readFibreMap(path, { ...at, key: '../5001' })).toBeUndefined();
  });

  it.each([
    ['science', 'sci'],
    ['sky', 'sky'],
    ['sky_apogee', 'sky'],
    ['sky_boss', 'skyB'],
    ['standard', 'tel'],
    ['standard_apogee', 'tel'],
    ['open_fiber', 'serendipitous'],
    ['bonus', 'fpiguide'],
    ['', 'fail'],
    ['constructor', 'fail'],
  ])('category "%s" is %s', async (category, role) => {
    const path = join(base, 'one.csv');
    writeFileSync(path, `fiber_id,category\n7,${category}\n`);
    expect((await readFibreMap(path, at))!.fibres).toMatchObject([{ fiberId: 7, role, target: '' }]);
  });

  it('of several configurations in one CSV file is told apart by its column', async () => {
    const path = join(base, 'several.csv');
    writeFileSync(path, 'config_id,fiber_id\n5001,1\n5002,2\n5001,3\n');
    const maps = await withFibreMaps(night, path);
    expect(maps.fibreMaps.map(({ key, fibres }) => [key, fibres.map(({ fiberId }) => fiberId)])).toEqual([
      ['5001', [1, 3]],
      ['5002', [2]],
    ]);
    expect(fibreMapOf(maps, maps.exposures[4]!)?.fibres).toHaveLength(1);
    expect(fibreMapOf(maps, maps.exposures[0]!)).toBeUndefined();
  });

  it('that the file lacks is a finding; one that names no configuration serves no several', async () => {
    const path = join(base, 'partly.h5');
    writeHdf5(path, [], ['5002']);
    const maps = await withFibreMaps(night, path);
    expect(maps.fibreMaps.map(({ key }) => key)).toEqual(['5002']);
    expect(maps.findings.at(-1)).toMatchObject({ severity: 'warning', what: 'fibres' });
    expect(maps.findings.at(-1)!.text).toBe('partly.h5 has no fibre map of configuration or plate 5001');
    const csv = join(base, 'map.csv');
    writeFileSync(csv, CSV);
    await expect(withFibreMaps(night, csv)).rejects.toThrow('and the night has 2: 5001, 5002');
    const none = { ...night, exposures: night.exposures.slice(0, 2) };
    expect((await withFibreMaps(none, csv)).fibreMaps).toMatchObject([{ key: '', fibres: EXPECTED }]);
    const unnamed = await withFibreMaps(none, path);
    expect(unnamed.fibreMaps).toEqual([]);
    expect(unnamed.findings.at(-1)!.text).toBe(
      'no header names a configuration or plate, so that no fibre map of partly.h5 is taken',
    );
    writeFileSync(path, 'no HDF5');
    await expect(withFibreMaps(none, path)).rejects.toThrow('it is no HDF5 file');
  });

  it.each([
    ['x.h5', Buffer.from('no HDF5'), 'it is no HDF5 file'],
    ['y.h5', Buffer.from('\x89HDF\r\n\x1a\nand then nothing', 'latin1'), 'the HDF5 file is damaged'],
    ['x.csv', Buffer.from('fiber_id,ra\n1\n'), 'line 2: expected 2 fields, received 1'],
    ['x.csv', Buffer.from('name\nx\n'), 'expected a column fiber_id or fiberid; there are name'],
    ['x.csv', Buffer.from('fiber_id\nseven\n'), 'row 1: expected the number of a fibre, received "seven"'],
    ['x.csv', Buffer.from(''), 'expected a line of column names and rows'],
    ['x.fits', Buffer.concat(encodeFits([{}])), 'expected a table with a column fiber_id or fiberid'],
  ])('%s that is none: %j', async (name, bytes, message) => {
    const path = join(base, name);
    writeFileSync(path, bytes);
    await expect(readFibreMap(path, at)).rejects.toThrow(InputError);
    await expect(readFibreMap(path, at)).rejects.toThrow(message);
  });

  it('damaged at any place is an input error or another content, never a crash', async () => {
    const path = join(base, 'damaged.h5');
    writeHdf5(path, [], ['5001']);
    const whole = readFileSync(path);
    let state = 3;
    let refused = 0;
    for (let round = 0; round < 60; round++) {
      const bytes = Buffer.from(whole);
      for (let n = 0; n < 40; n++) {
        state = (state * 48271) % 0x7fffffff;
        bytes[8 + (state % (bytes.length - 8))] = state >> 8;
      }
      writeFileSync(path, round % 3 === 0 ? bytes.subarray(0, 8 + (state % bytes.length)) : bytes);
      await readFibreMap(path, at).catch((error: unknown) => {
        expect(error).toBeInstanceOf(InputError);
        refused++;
      });
    }
    expect(refused).toBeGreaterThan(0);
  });

  it('of a name that says no format is a usage error', async () => {
    await expect(readFibreMap(join(base, 'map.xls'), at)).rejects.toThrow(UsageError);
  });
});

describe('the product', () => {
  it('round-trips exactly, and is the same bytes whenever and wherever it is made', async () => {
    const h5file = join(base, 'both.h5');
    writeHdf5(h5file, ['raw'], ['5001', '5002']);
    const full = applyBadList(await withFibreMaps(night, h5file), [entry(1), entry(4, { chip: 'a', by: 'pipeline' })]);
    expect(full.fibreMaps).toHaveLength(2);
    const out = join(base, 'out');
    const store = await openStore(out);
    const name = almanacName('apo', 60855);
    expect(name).toBe('apo/60855/almanac-apo-60855.fits');
    const manifest = await writeAlmanac(store, name, full);
    expect({ ...readAlmanac(store.pathOf(name)), root: full.root }).toEqual(full);
    expect(readAlmanac(store.pathOf(name)).root).toBe('');

    const moved = join(base, 'moved');
    writeRaw(moved, 'apo/60855', [
      ...chips({ exposure: 1, kind: 'Dark', reads: 60 }),
      ...chips({ exposure: 2, kind: 'Dark', reads: 20 }),
    ]);
    const other = await scan(moved);
    const first = await writeAlmanac(store, 'a.fits', other);
    const again = await writeAlmanac(store, 'b.fits', { ...other, root: '/elsewhere' });
    expect(again.sha256).toBe(first.sha256);
    expect(again.key).toBe(first.key);
    expect(first.key).not.toBe(manifest.key);
    expect(readFileSync(store.pathOf('a.fits')).includes(base)).toBe(false);
    expect(await store.isDone('a.fits', first.key)).toBe(true);
  });

  it('of an empty night round-trips too', async () => {
    const store = await openStore(join(base, 'empty'));
    mkdirSync(join(base, 'nothing'));
    const empty = await scan(join(base, 'nothing'));
    await writeAlmanac(store, 'x.fits', empty);
    expect({ ...readAlmanac(store.pathOf('x.fits')), root: empty.root }).toEqual(empty);
  });

  it('of another version, or no almanac, is refused with what was expected', async () => {
    const path = join(base, 'no.fits');
    const write = (schema?: string): void =>
      writeFileSync(path, Buffer.concat(encodeFits([{ header: schema === undefined ? [] : [['SCHEMA', schema]] }])));
    write('almanac/9');
    expect(() => readAlmanac(path)).toThrow("expected an almanac of schema 'almanac/1', received 'almanac/9'");
    write();
    expect(() => readAlmanac(path)).toThrow('received a file without SCHEMA');
    write('almanac/1');
    expect(() => readAlmanac(path)).toThrow(InputError);
    expect(() => readAlmanac(join(base, 'absent.fits'))).toThrow(InputError);
  });

  it('lists sequences', () => {
    expect(sequencesOf(night.exposures)).toEqual([
      { sequence: 1, kind: 'dark', configuration: '4999', first: 1, last: 2, exposures: 2 },
      { sequence: 2, kind: 'object', configuration: '5001', first: 4, last: 4, exposures: 1 },
      { sequence: 3, kind: 'object', configuration: '5002', first: 5, last: 5, exposures: 1 },
      { sequence: 4, kind: 'arclamp', configuration: '', first: 6, last: 6, exposures: 1 },
    ]);
  });
});

describe('questions', () => {
  const ask = (...questions: string[]): unknown[] =>
    select(tableOf(night, 'exposures'), questions.map(parseWhere)).rows.map(([exposure]) => exposure);

  it.each([
    [['kind=dark'], [1, 2]],
    [['kind=dark', 'reads>=30'], [1]],
    [['reads>20'], [1, 4, 5]],
    [['reads<=20'], [2, 3, 6]],
    [['reads<20'], [3, 6]],
    [['READS = 47'], [4, 5]],
    [
      ['kind!=dark', 'reads!=47'],
      [3, 6],
    ],
    [['comment~CLOUD'], [4]],
    [['start>60855.02'], [4, 6]], // 3 is missing and 5 has no date
    [['dropby='], [1, 2, 4, 5]],
    [['dropby!='], [3, 6]],
    [['afterdark=yes'], [2]],
    [['afterdark=no', 'kind=dark'], [1]],
    [['config>5001'], [5]],
    [[], [1, 2, 3, 4, 5, 6]],
  ])('%j', (questions, expected) => {
    expect(ask(...questions)).toEqual(expected);
  });

  it.each([
    ['reads', 'expected a question such as'],
    ['raeds>3', 'no column "raeds"; did you mean "reads"?'],
    ['kind=drak', 'no kind "drak"; did you mean "dark"?'],
    ['reads>many', 'reads holds numbers'],
    ['reads~4', 'reads holds numbers'],
    ['reads=', 'reads holds numbers'],
  ])('%s: %s', (question, message) => {
    expect(() => ask(question)).toThrow(UsageError);
    expect(() => ask(question)).toThrow(message);
  });

  it('other tables, and CSV', () => {
    expect(() => tableOf(night, 'file')).toThrow('no table "file"; did you mean "files"?');
    const files = select(tableOf(night, 'files'), [parseWhere('exposure=6')]);
    expect(files.rows).toHaveLength(2);
    const sequences = csvText(tableOf(night, 'sequences'));
    expect(sequences.split('\n').slice(0, 2)).toEqual(['sequence,kind,config,first,last,count', '1,dark,4999,1,2,2']);
    const exposures = csvText(select(tableOf(night, 'exposures'), [parseWhere('exposure=4')]));
    expect(exposures).toContain(',"a cloud, perhaps"\n');
    expect(tableOf(night, 'fibermap').rows).toEqual([]);
  });
});

describe('a comparison', () => {
  it('of a night with itself finds nothing', async () => {
    expect(compareAlmanacs(night, await scan())).toEqual({ status: 'identical', exposures: [], datamodel: [] });
  });

  it('finds exposures that came, went and changed, and another look of files', async () => {
    const later = join(base, 'later');
    writeRaw(later, 'apo/60855', [
      ...chips({ exposure: 1, kind: 'Dark', reads: 60, cards: { CONFIGID: 4999 } }),
      ...chips({ exposure: 2, kind: 'Object', reads: 20, cards: { CONFIGID: 4999, NEWKEY: 1 } }),
      ...chips({ exposure: 3, kind: 'Dark' }),
      ...chips({ exposure: 5, reads: 47, cards: { CONFIGID: 5002, 'DATE-OBS': 'no date' } }),
      ...chips({ exposure: 6, kind: 'ArcLamp', lamps: [0, 1, 0] }),
    ]);
    const found = compareAlmanacs(night, await scan(later));
    expect(found.status).toBe('missing');
    expect(found.exposures).toMatchObject([
      { exposure: 2, is: 'changed' },
      { exposure: 3, is: 'added', text: 'dark, chips abc' },
      { exposure: 4, is: 'removed', text: 'object, chips abc' },
      { exposure: 6, is: 'changed' },
    ]);
    expect(found.exposures[0]!.text).toBe('kind object, was dark');
    expect(found.exposures[3]!.text).toContain('chips abc, was ab; dropby none, was rule');
    expect(found.datamodel.map(({ text }) => text)).toEqual([
      `card NEWKEY (number) appeared in .apz HDU 1 in 3 of 15 files, first apo/60855/${rawName({ exposure: 2 })}`,
    ]);
    expect(datamodelChanges((await scan(later)).datamodel, night.datamodel).map(({ text }) => text)).toEqual([
      `card NEWKEY (number) vanished from .apz HDU 1 in 3 of 15 files, first apo/60855/${rawName({ exposure: 2 })}`,
    ]);
  });
});
