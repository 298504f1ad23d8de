import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RetriableError, StorageError } from '../core/errors.js';
import { databaseFailure, isDatabaseUrl, openDatabase, publicUrl, sharedFileSystem } from './index.js';

const directory = mkdtempSync(join(tmpdir(), 'rampline-shared-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const LAYOUT = { what: 'list', instead: 'use paper', cure: '', migrations: {}, commits: 'fast' } as const;

/** As statfs(2) names them: linux/magic.h, and stat.c of GNU coreutils. */
const REFUSED: readonly [string, number][] = [
  ['NFS', 0x6969],
  ['SMB', 0x517b],
  ['CIFS', 0xff534d42],
  // The same where the field is a signed 32-bit number.
  ['CIFS', 0xff534d42 | 0],
  ['SMB2', 0xfe534d42],
  ['Ceph', 0x00c36400],
  ['Lustre', 0x0bd00bd0],
  ['GPFS', 0x47504653],
  ['BeeGFS', 0x19830326],
  ['AFS', 0x5346414f],
  ['AFS', 0x6b414653],
  ['9p', 0x01021997],
  ['FUSE', 0x65735546],
  ['PanFS', 0xaad7aaea],
];
const TAKEN: readonly [string, number][] = [
  ['ext4', 0xef53],
  ['xfs', 0x58465342],
  ['btrfs', 0x9123683e],
  ['zfs', 0x2fc12fc1],
  ['overlay', 0x794c7630],
  ['tmpfs', 0x01021994],
  ['f2fs', 0xf2f52010],
];

describe('SQLite on a shared file system', () => {
  it.each(REFUSED)('is refused: %s', async (name, type) => {
    expect(sharedFileSystem('/x', () => ({ type }))).toContain(name);
    const opened = openDatabase(join(directory, 'no.sqlite'), directory, LAYOUT, { statfs: () => ({ type }) });
    await expect(opened).rejects.toThrow(StorageError);
    await expect(opened).rejects.toThrow(/SQLite cannot be shared over .*: use paper/);
  });

  it.each(TAKEN)('is taken: %s', async (name, type) => {
    expect(sharedFileSystem('/x', () => ({ type }))).toBeUndefined();
    const path = join(directory, `${name}.sqlite`);
    await (await openDatabase(path, directory, LAYOUT, { statfs: () => ({ type }) })).close();
  });

  it('asks the system where nothing is injected', () => {
    expect(() => sharedFileSystem(join(directory, 'none'))).toThrow('ENOENT');
    expect(sharedFileSystem('/proc')).toBeUndefined();
  });
});

describe('the URL of a database', () => {
  it('is shown without its password', () => {
    expect(publicUrl('postgres://me:secret@host/db')).toBe('postgres://me@host/db');
    expect(publicUrl('postgres://host/db?user=me&password=secret')).toBe('postgres://host/db?user=me');
  });

  it.each([
    ['postgres://host/db', true],
    ['postgresql://host/db', true],
    ['mysql://host/db', false],
    ['postgres://host/a b', false],
    ['ledger.sqlite', false],
  ])('%s: %s', (text, is) => expect(isDatabaseUrl(text)).toBe(is));
});

describe('an error of a driver', () => {
  it.each([
    [{ code: 'SQLITE_BUSY_SNAPSHOT' }, RetriableError, 'the list is busy'],
    [{ code: '40P01' }, RetriableError, 'the list is busy'],
    [{ code: '57P01', message: 'terminating connection' }, RetriableError, 'does not answer'],
    [{ message: 'timeout exceeded when trying to connect' }, RetriableError, 'does not answer'],
    [{ code: 'SQLITE_NOTADB', message: 'file is not a database' }, StorageError, 'not a database; burn it'],
    [{ code: 'SQLITE_FULL', message: 'disk is full' }, StorageError, 'cannot x: disk is full'],
  ] as const)('%j', (error, Class, words) => {
    const known = databaseFailure(error, 'x', 'f', { what: 'list', cure: 'burn it' });
    expect(known).toBeInstanceOf(Class);
    expect(known.message).toContain(words);
  });
});
