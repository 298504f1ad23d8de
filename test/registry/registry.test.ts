// One suite over the three registries: headers of files, SQLite, PostgreSQL.
import { spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Database, LAYOUTS } from '../../src/calib/database.js';
import { readCalibrationRecord } from '../../src/calib/product.js';
import {
  openRegistry,
  type Registry,
  readCalibrationFile,
  resolveCalibrations,
  SQLITE_NAME,
} from '../../src/calib/registry.js';
import { toProvenance } from '../../src/calib/select.js';
import { CalibrationError, InputError, RetriableError, StorageError, UsageError } from '../../src/core/errors.js';
import { openFits } from '../../src/fits/index.js';
import { apogee } from '../../src/instruments/apogee/index.js';
import { hashFile, readManifest } from '../../src/store/index.js';
import { type CalibrationSpec, record, writeCalibration } from '../calibrations.js';
import { type Server, startPostgres, whyNoPostgres } from '../postgres.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-registry-'));
let server: Server | undefined;
const noPostgres = whyNoPostgres();
beforeAll(async () => {
  if (noPostgres === undefined) server = await startPostgres();
});
afterAll(() => {
  server?.stop();
  rmSync(base, { recursive: true, force: true });
});

let count = 0;
const fresh = (): string => {
  const directory = join(base, `d${count++}`);
  mkdirSync(directory);
  return directory;
};
/** A calibration outside the registry's directory. */
const outside = async (spec: CalibrationSpec): Promise<string> => {
  const directory = fresh();
  return join(directory, await writeCalibration(directory, spec));
};
const memory = (bytes: number) => new Uint8Array(bytes);
const FRAME = { tele: 'apo', chip: 'a', mjd: 60_000 };

describe.each(['scan', 'sqlite', 'postgresql'] as const)('a registry in %s', (backend) => {
  let directory: string;
  let url: string | undefined;
  const opened: Registry[] = [];
  const open = async (): Promise<Registry> => {
    const registry = await openRegistry(directory, { create: backend !== 'scan', url });
    opened.push(registry);
    expect(registry.backend).toBe(backend);
    return registry;
  };
  beforeEach(async (ctx) => {
    if (backend === 'postgresql' && noPostgres !== undefined) ctx.skip(noPostgres);
    directory = fresh();
    url = backend === 'postgresql' ? server?.database(`r${count}`) : undefined;
    return async () => {
      for (const registry of opened.splice(0)) await registry.close();
    };
  });

  it('takes a file in once, with its manifest, and knows all that its header says', async () => {
    const registry = await open();
    const path = await outside({ kind: 'flat', validFrom: 59_990.5, validTo: 60_010, dataTo: 59_990.25, serial: 'S1' });
    expect((await registry.add(path)).status).toBe('added');
    expect((await registry.add(path)).status).toBe('present');
    const own = join(directory, 'flat-apo-a-1.fits');
    expect((await registry.add(own)).status).toBe('present');
    expect(readFileSync(own)).toEqual(readFileSync(path));
    expect((await readManifest(own))?.key).toBe((await readManifest(path))?.key);
    const wanted = { records: [await readCalibrationRecord(path)], unusable: [] };
    expect(await registry.survey()).toEqual(wanted);
    // As another process sees it.
    expect(await (await open()).survey()).toEqual(wanted);
  });

  it('takes in what lies in its directory and what has no manifest', async () => {
    const name = await writeCalibration(directory, { manifest: false });
    const registry = await open();
    expect((await registry.survey()).records.map(({ file }) => file)).toEqual([name]);
    expect((await registry.add(join(directory, name))).status).toBe('present');
    const bare = await outside({ chip: 'b', manifest: false });
    expect((await registry.add(bare)).status).toBe('added');
    const copy = await readManifest(join(directory, 'dark-apo-b-1.fits'));
    expect(copy?.inputs.map(({ name: input }) => input)).toEqual(['apR-a-00000001.apz']);
  });

  it('keeps one content for a name, and one name for a content', async () => {
    const registry = await open();
    const first = await outside({ value: 1, name: 'dark.fits' });
    const other = await outside({ value: 2, name: 'dark.fits' });
    await registry.add(first);
    const { sha256 } = await hashFile(first);
    await expect(registry.add(other)).rejects.toThrow(CalibrationError);
    await expect(registry.add(other)).rejects.toThrow(`another file of this name: sha256 ${sha256}`);
    expect((await hashFile(join(directory, 'dark.fits'))).sha256).toBe(sha256);
    expect((await registry.survey()).records).toHaveLength(1);
  });

  it.each<[string, (path: string) => void, typeof CalibrationError | typeof InputError, string]>([
    ['cut short', (path) => truncateSync(path, 4000), InputError, 'more data bytes than the file holds'],
    ['empty', (path) => truncateSync(path, 0), InputError, 'empty'],
    [
      'with a flipped bit',
      (path) => {
        const bytes = readFileSync(path);
        bytes[openFits(bytes).hdu('RATE').dataOffset]! ^= 1;
        writeFileSync(path, bytes);
        rmSync(`${path}.manifest.json`);
      },
      InputError,
      'DATASUM does not agree',
    ],
    [
      'that is not what its manifest says',
      (path) => copyFileSync(join(base, 'swap.fits'), path),
      CalibrationError,
      'it was changed after it was written: expected sha256',
    ],
    [
      'with bytes behind its end',
      (path) => {
        writeFileSync(path, 'x'.repeat(2880), { flag: 'a' });
        rmSync(`${path}.manifest.json`);
      },
      CalibrationError,
      '2880 bytes after the last HDU',
    ],
  ])('refuses a file %s', async (_what, spoil, error, words) => {
    renameSync(await outside({ value: 9 }), join(base, 'swap.fits'));
    const path = await outside({});
    spoil(path);
    const registry = await open();
    await expect(registry.add(path)).rejects.toThrow(error);
    await expect(registry.add(path)).rejects.toThrow(words);
    await expect(registry.add(join(base, 'none.fits'))).rejects.toThrow(InputError);
    const hidden = join(base, '.rampline-half.fits');
    copyFileSync(await outside({}), hidden);
    await expect(registry.add(hidden)).rejects.toThrow('expected a name that ends in .fits');
    expect((await registry.survey()).records).toEqual([]);
    expect(readdirSync(directory).filter((name) => name.endsWith('.fits'))).toEqual([]);
  });

  const chosen = async (registry: Registry) => {
    const { files } = await resolveCalibrations(registry, apogee, FRAME, ['calibrate'], { kinds: ['dark'] });
    return files.get('dark')![0]!;
  };

  it.each<[string, (path: string, other: string) => void, string]>([
    [
      'changed',
      (path) => {
        const bytes = readFileSync(path);
        bytes[openFits(bytes).hdu('RATE').dataOffset]! ^= 1;
        writeFileSync(path, bytes);
      },
      'found',
    ],
    ['swapped', (path, other) => copyFileSync(other, path), 'found'],
    ['replaced by one of another size', (path) => writeFileSync(path, 'x', { flag: 'a' }), 'found'],
    ['gone', (path) => rmSync(path), 'expected the calibration of sha256'],
  ])('refuses a file that was %s after it was chosen', async (_what, spoil, words) => {
    const registry = await open();
    await registry.add(await outside({ validFrom: 59_000 }));
    const file = await chosen(registry);
    expect((await readCalibrationFile(file, memory))?.byteLength).toBe(file.record.bytes);
    spoil(file.path, await outside({ validFrom: 59_000, value: 2 }));
    await expect(readCalibrationFile(file, memory)).rejects.toThrow(CalibrationError);
    await expect(readCalibrationFile(file, memory)).rejects.toThrow(`sha256 ${file.sha256}`);
    await expect(readCalibrationFile(file, memory)).rejects.toThrow(words);
  });

  it('refuses a file that was swapped before it is chosen: the hash is that of the manifest or the database', async () => {
    await (await open()).add(await outside({ validFrom: 59_000 }));
    const { path, sha256 } = await chosen(await open());
    copyFileSync(await outside({ validFrom: 59_000, value: 2 }), path);
    const file = await chosen(await open());
    expect(file.sha256).toBe(sha256);
    await expect(readCalibrationFile(file, memory)).rejects.toThrow(`expected sha256 ${sha256}, found`);
  });

  it('names damaged files, and never chooses them', async () => {
    const registry = await open();
    await registry.add(await outside({ value: 1, validFrom: 59_000, dataTo: 58_999 }));
    writeFileSync(
      join(directory, 'dark-apo-a-half.fits'),
      readFileSync(join(directory, 'dark-apo-a-1.fits')).subarray(0, 3000),
    );
    writeFileSync(join(directory, 'notes.fits'), 'no FITS file');
    const { files, explanation } = await resolveCalibrations(registry, apogee, FRAME, ['calibrate'], {
      kinds: ['dark'],
    });
    expect(files.get('dark')!.map(({ record: { file } }) => file)).toEqual(['dark-apo-a-1.fits']);
    expect(explanation.unusable.map(({ file }) => file)).toEqual(['dark-apo-a-half.fits', 'notes.fits']);
    expect(toProvenance(explanation).filter(({ used }) => used === false)).toHaveLength(2);
  });

  it('gives the same choice, the same reasons and the same error everywhere', async () => {
    const registry = await open();
    for (const [value, from, to] of [
      [1, 59_900, 59_990],
      [2, 60_005, 60_100],
    ] as const)
      await registry.add(await outside({ value, validFrom: from, validTo: to, dataTo: from }));
    const { files, explanation } = await resolveCalibrations(registry, apogee, FRAME, ['calibrate'], {
      kinds: ['dark'],
    });
    expect(files.get('dark')!.map(({ record: { file }, weight }) => [file, weight])).toEqual([
      ['dark-apo-a-2.fits', 10 / 15],
      ['dark-apo-a-1.fits', 5 / 15],
    ]);
    expect(explanation.results[0]!.summary).toBe(
      '0.3333 x dark-apo-a-1.fits: its window [59900, 59990) ends 10 d before the frame + 0.6667 x dark-apo-a-2.fits: its window [60005, 60100) begins 5 d after the frame',
    );
    await expect(resolveCalibrations(registry, apogee, FRAME, ['ramp', 'calibrate'])).rejects.toThrow(
      'no gain, no readnoise, no saturation, no flat for apo chip a at MJD 60000',
    );
    await expect(
      resolveCalibrations(registry, apogee, FRAME, ['ramp'], { kinds: ['firstread'], wanted: ['firstread'] }),
    ).rejects.toThrow('no firstread');
    await expect(resolveCalibrations(registry, apogee, { ...FRAME, mjd: Number.NaN }, ['ramp'])).rejects.toThrow(
      UsageError,
    );
  });

  it('pins a set for good', async () => {
    const registry = await open();
    await registry.add(await outside({ value: 1, validFrom: 59_000, dataTo: 1 }));
    const { sha256 } = await chosen(registry);
    const pin = { name: 'dr20', mjd: 60_000, entries: [{ kind: 'dark', tele: 'apo', chip: 'a', sha256, weight: 1 }] };
    expect(await registry.pin(pin)).toBe('added');
    expect(await registry.pin(pin)).toBe('present');
    await registry.add(await outside({ value: 2, validFrom: 59_000, dataTo: 2 }));
    expect((await chosen(registry)).sha256).not.toBe(sha256);
    const later = await open();
    expect(await later.pins()).toEqual([pin]);
    const { files } = await resolveCalibrations(later, apogee, FRAME, ['calibrate'], { kinds: ['dark'], pin: 'dr20' });
    expect(files.get('dark')!.map((file) => file.sha256)).toEqual([sha256]);
    await expect(registry.pin({ ...pin, entries: [] })).rejects.toThrow('the pin dr20 holds another set already');
    await expect(registry.pin({ ...pin, name: '../x' })).rejects.toThrow(UsageError);
    await expect(registry.pinNamed('dr2')).rejects.toThrow('did you mean "dr20"');
  });

  it('gives a name to one of several that pin at once, and refuses a pin that was changed', async () => {
    const sets = [1, 2, 3].map((weight) => [{ kind: 'dark', tele: 'apo', chip: 'a', sha256: 'a'.repeat(64), weight }]);
    const registries = [await open(), await open(), await open()];
    const outcomes = await Promise.allSettled(
      sets.map((entries, i) => registries[i]!.pin({ name: 'p', mjd: 60_000, entries })),
    );
    const winners = outcomes.flatMap((one, i) => (one.status === 'fulfilled' ? [i] : []));
    expect(winners).toHaveLength(1);
    for (const one of outcomes) if (one.status === 'rejected') expect(one.reason).toBeInstanceOf(CalibrationError);
    const file = join(directory, 'pins', 'p.json');
    expect(JSON.parse(readFileSync(file, 'utf8')).entries).toEqual(sets[winners[0]!]);
    expect((await (await open()).pins())[0]!.entries).toEqual(sets[winners[0]!]);
    writeFileSync(file, readFileSync(file, 'utf8').replace('60000', '60001'));
    const again = await open();
    const work = backend === 'scan' ? again.pins() : again.reindex();
    await expect(work).rejects.toThrow('this pin was changed after it was made: expected sha256');
  });

  it('lets several processes register at once', async () => {
    const shared = await Promise.all([1, 2, 3].map((value) => outside({ value, chip: 'c' })));
    const own = await Promise.all([4, 5, 6].map((value) => outside({ value })));
    await open(); // The layout is there; the next test lets them make it.
    const outcomes = await addAtOnce(directory, url ?? backend, [
      [...shared, own[0]!],
      [...shared, own[1]!],
      [own[2]!, ...shared.reverse()],
    ]);
    const { records, unusable } = await (await open()).survey();
    expect(unusable).toEqual([]);
    expect(records).toHaveLength(6);
    const added = outcomes.flat().filter(([, status]) => status === 'added');
    expect(added.map(([file]) => file).sort()).toEqual(records.map(({ file }) => file).sort());
    for (const { file, sha256 } of records) {
      expect((await hashFile(join(directory, file))).sha256).toBe(sha256);
      expect((await readManifest(join(directory, file)))?.sha256).toBe(sha256);
    }
  });

  if (backend === 'scan') {
    it('has no index to make', async () => {
      await expect((await open()).reindex()).rejects.toThrow(UsageError);
      await expect(openRegistry(join(directory, 'none'))).rejects.toThrow(InputError);
    });
    return;
  }

  it('lets several processes make the database at once', async () => {
    const files = await Promise.all([1, 2, 3, 4, 5, 6].map((value) => outside({ value })));
    await addAtOnce(
      directory,
      url ?? backend,
      files.map((file) => [file]),
    );
    expect((await (await open()).survey()).records).toHaveLength(6);
  });

  it('lets one process open it several times at once', async () => {
    const registries = await Promise.all([open(), open(), open()]);
    await Promise.all(registries.map(async (registry, value) => registry.add(await outside({ value }))));
    for (const registry of registries) expect((await registry.survey()).records).toHaveLength(3);
  });

  it('is made again from the files alone', async () => {
    let registry = await open();
    for (const spec of [{ value: 1 }, { value: 2, validFrom: 59_000 }, { kind: 'flat' as const, chip: 'b' }])
      await registry.add(await outside(spec));
    const before = await registry.survey();
    const entry = { kind: 'dark', tele: 'apo', chip: 'a', sha256: before.records[0]!.sha256, weight: 1 };
    await registry.pin({ name: 'p', mjd: 60_000.5, entries: [entry] });
    const pins = await registry.pins();
    expect(await registry.reindex()).toEqual({ added: [], removed: [], unusable: [] });
    await registry.close();
    opened.splice(0);
    if (url === undefined) {
      for (const name of readdirSync(directory)) if (name.startsWith(SQLITE_NAME)) rmSync(join(directory, name));
    } else url = server?.database(`again${count++}`);
    registry = await open();
    await registry.reindex();
    expect(await registry.survey()).toEqual(before);
    expect(await registry.pins()).toEqual(pins);
  });

  it('agrees with the files after reindex, and says until then what does not', async () => {
    const registry = await open();
    for (const value of [1, 2, 3]) await registry.add(await outside({ value }));
    rmSync(join(directory, 'dark-apo-a-1.fits'));
    rmSync(join(directory, 'dark-apo-a-1.fits.manifest.json'));
    truncateSync(join(directory, 'dark-apo-a-2.fits'), 3000);
    await writeCalibration(directory, { value: 4 });
    expect((await registry.survey()).unusable).toEqual([
      { file: 'dark-apo-a-4.fits', reason: 'it is not registered: rampline calib add or calib reindex' },
      { file: 'dark-apo-a-1.fits', reason: 'it is registered, and the file is not there' },
    ]);
    const { added, removed, unusable } = await registry.reindex();
    expect(added).toEqual(['dark-apo-a-4.fits']);
    expect(removed.sort()).toEqual(['dark-apo-a-1.fits', 'dark-apo-a-2.fits']);
    expect(unusable.map(({ file }) => file)).toEqual(['dark-apo-a-2.fits']);
    expect((await registry.survey()).records.map(({ file }) => file).sort()).toEqual([
      'dark-apo-a-3.fits',
      'dark-apo-a-4.fits',
    ]);
  });

  describe('layouts', () => {
    const where = () => url ?? join(directory, SQLITE_NAME);

    it('is brought forward from empty and from every older one, with what it holds', async () => {
      for (const [i, layout] of LAYOUTS.entries()) {
        if (backend === 'postgresql') url = server?.database(`l${count++}`);
        else directory = fresh();
        const old = await Database.open(where(), directory, layout);
        const row = record({ validFrom: 60_000.25, inputs: [{ role: 'raw', name: 'x', sha256: 'y', why: 'z' }] });
        await old.insert(row);
        if (i < LAYOUTS.indexOf('002-pins')) await expect(old.pins()).rejects.toThrow(StorageError);
        await old.close();
        for (let again = 0; again < 2; again++) {
          const present = await Database.open(where(), directory);
          expect(await present.records()).toEqual([row]);
          expect(await present.insert(row)).toBe('present');
          expect(await present.pins()).toEqual([]);
          await present.close();
        }
      }
      const empty = await Database.open(where(), directory);
      expect(await empty.insertPin({ name: 'p', mjd: 1, entries: [] })).toBe('added');
      await empty.close();
    });

    it('of a later version is refused', async () => {
      const database = await Database.open(where(), directory);
      await database.close();
      const insert = `insert into kysely_migration (name, timestamp) values ('999-later', '2030-01-01')`;
      if (url === undefined) {
        const { default: Sqlite } = await import('better-sqlite3');
        new Sqlite(where()).exec(insert).close();
      } else {
        const { default: pg } = await import('pg');
        const client = new pg.Client({ connectionString: url });
        await client.connect();
        await client.query(insert);
        await client.end();
      }
      await expect(Database.open(where(), directory)).rejects.toThrow(CalibrationError);
      await expect(Database.open(where(), directory)).rejects.toThrow('a later version of Rampline made this registry');
    });
  });
});

describe('headers that were read', () => {
  it('are read again when file or manifest changed, and then alone', async () => {
    const directory = fresh();
    const name = await writeCalibration(directory, { value: 1 });
    // Younger than this a file may change again within a tick of its time stamp, and is read each time.
    await new Promise((resolve) => setTimeout(resolve, 2600));
    const registry = await openRegistry(directory);
    const [first] = (await registry.survey()).records;
    expect((await registry.survey()).records[0]).toBe(first);
    expect((await (await openRegistry(directory)).survey()).records[0]).toBe(first);
    rmSync(join(directory, `${name}.manifest.json`));
    const [second] = (await registry.survey()).records;
    expect(second).not.toBe(first);
    expect(second).toEqual(first);
    copyFileSync(await outside({ value: 2 }), join(directory, name));
    const [third] = (await registry.survey()).records;
    expect(third?.sha256).toBe((await hashFile(join(directory, name))).sha256);
    expect(third?.sha256).not.toBe(first?.sha256);
  });
});

describe('where the registry is', () => {
  it('is what the directory says: registry.json, registry.sqlite, or its files', async (ctx) => {
    const directory = fresh();
    await writeCalibration(directory, {});
    const backendOf = async (options = {}) => {
      const registry = await openRegistry(directory, options);
      await registry.close();
      return registry.backend;
    };
    expect(await backendOf()).toBe('scan');
    expect(existsSync(join(directory, SQLITE_NAME))).toBe(false);
    expect(await backendOf({ create: true })).toBe('sqlite');
    expect(await backendOf()).toBe('sqlite');
    if (noPostgres !== undefined) ctx.skip(noPostgres);
    const url = server!.database('pointed').replace('postgres@', 'postgres:secret@');
    expect(await backendOf({ create: true, url })).toBe('postgresql');
    expect(readFileSync(join(directory, 'registry.json'), 'utf8')).not.toContain('secret');
    expect(await backendOf()).toBe('postgresql');
    const registry = await openRegistry(directory);
    expect((await registry.survey()).records).toHaveLength(1);
    // One directory, one database: another's calibrations would be taken for lost.
    await expect(openRegistry(fresh(), { create: true, url })).rejects.toThrow('the registry of another directory');
    expect((await registry.survey()).records).toHaveLength(1);
    await registry.close();
  });

  it('gives errors of their class', async () => {
    const directory = fresh();
    await expect(openRegistry(directory, { url: 'mysql://x' })).rejects.toThrow(UsageError);
    await expect(openRegistry(directory, { url: 'postgres://u:secret@127.0.0.1:1/x' })).rejects.toThrow(RetriableError);
    writeFileSync(join(directory, 'registry.json'), '{"schema": "registry/2"}');
    await expect(openRegistry(directory)).rejects.toThrow(CalibrationError);
    rmSync(join(directory, 'registry.json'));
    writeFileSync(join(directory, SQLITE_NAME), 'this is no database, it is a text that is long enough to be none');
    await expect(openRegistry(directory)).rejects.toThrow(StorageError);
    mkdirSync(join(directory, 'pins'));
    rmSync(join(directory, SQLITE_NAME));
    writeFileSync(join(directory, 'pins/x.json'), '{');
    const registry = await openRegistry(directory);
    await expect(registry.pins()).rejects.toThrow(CalibrationError);
  });
});

/** Runs one process for each list of files; all begin at the same moment. */
async function addAtOnce(directory: string, url: string, lists: readonly (readonly string[])[]) {
  const start = Date.now() + 600;
  const child = new URL('./child.mjs', import.meta.url).pathname;
  return Promise.all(
    lists.map(
      (files) =>
        new Promise<[string, string][]>((resolve, reject) => {
          const process_ = spawn(process.execPath, [child, directory, url, String(start), ...files]);
          let out = '';
          let err = '';
          process_.stdout.on('data', (text) => {
            out += text;
          });
          process_.stderr.on('data', (text) => {
            err += text;
          });
          process_.on('close', (code) =>
            code === 0 ? resolve(JSON.parse(out)) : reject(new Error(`a process ended with ${code}: ${err}`)),
          );
        }),
    ),
  );
}
