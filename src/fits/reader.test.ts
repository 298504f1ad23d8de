import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { InputError, UsageError } from '../core/errors.js';
import { openFits } from './reader.js';
import { encodeFits } from './writer.js';

const root = new URL('../..', import.meta.url).pathname;
const data = join(root, '../shared/data');
const folder = mkdtempSync(join(tmpdir(), 'rampline-reader-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const card = (text: string) => text.padEnd(80);
/** A header of these cards, with END and padding. */
function header(...cards: string[]): Buffer {
  const text = [...cards, 'END'].map(card).join('');
  return Buffer.from(text.padEnd(Math.ceil(text.length / 2880) * 2880), 'latin1');
}
const primary = (...cards: string[]) => header('SIMPLE  =                    T', ...cards);
const empty = primary('BITPIX  =                    8', 'NAXIS   =                    0');
const table = (naxis1: number, naxis2: number, pcount: number, ...cards: string[]) =>
  header(
    "XTENSION= 'BINTABLE'",
    'BITPIX  = 8',
    'NAXIS   = 2',
    `NAXIS1  = ${naxis1}`,
    `NAXIS2  = ${naxis2}`,
    `PCOUNT  = ${pcount}`,
    'GCOUNT  = 1',
    ...cards,
  );
const compressed = (...cards: string[]) => [
  'TFIELDS = 1',
  "TTYPE1  = 'COMPRESSED_DATA'",
  "TFORM1  = '1PB(16)'",
  'ZIMAGE  = T',
  ...cards,
];
const ramp = Uint16Array.from({ length: 64 * 16 }, (_, i) => 40_000 + ((i * 37) % 101));

describe('names are only names', () => {
  it.each(['x[1].fits', '-rf', '!out', 'a b;c.fits', '$(id).fits', 'x.fits+1', '*'])('%s is a file', (name) => {
    const path = join(folder, name);
    writeFileSync(path, Buffer.concat(encodeFits([{ data: ramp, shape: [16, 64] }])));
    const fits = openFits(path);
    expect(fits.readImage(0).data).toEqual(ramp);
    fits.close();
  });

  it.each(['http://127.0.0.1/x.fits', 'ftp://x/y.fits', 'mem://', '-', 'stdin://', '!no', 'x[2].fits', 'shmem://h1'])(
    '%s is no such file',
    (name) => {
      expect(() => openFits(name)).toThrow(InputError);
      expect(() => openFits(name)).toThrow('no such file');
    },
  );

  it('refuses a folder, and an empty file', () => {
    mkdirSync(join(folder, 'folder.fits'));
    expect(() => openFits(join(folder, 'folder.fits'))).toThrow('not a regular file');
    writeFileSync(join(folder, 'empty.fits'), '');
    expect(() => openFits(join(folder, 'empty.fits'))).toThrow('the file is empty');
  });
});

describe('claims are checked before memory is taken', () => {
  it('refuses 2880 bytes that claim 6 GB, in a fresh process below 100 MB', () => {
    const path = join(folder, 'liar.fits');
    const liar = primary('BITPIX  = -32', 'NAXIS   = 2', 'NAXIS1  = 40000', 'NAXIS2  = 40000');
    expect(liar.length).toBe(2880);
    writeFileSync(path, liar);
    const built = join(root, 'build/js/fits/index.js');
    // Time is not asked here, as it depends on the machine: no allocation is what makes it short.
    const script = `
      const { openFits } = await import(${JSON.stringify(built)});
      const before = process.memoryUsage().rss;
      try { openFits(${JSON.stringify(path)}); } catch (error) { console.log(error.describe()); }
      console.log((process.memoryUsage().rss - before) / 1e6 < 20, process.memoryUsage().rss / 1e6);`;
    const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(run.stdout).toContain('claims more data bytes than the file holds (expected 6400000000, received 0)');
    const [, rss] = /true ([\d.]+)/.exec(run.stdout)!;
    expect(Number(rss)).toBeLessThan(100);
  });

  it.each([
    [
      'a product beyond 64 bits',
      primary('BITPIX  = 64', 'NAXIS   = 3', 'NAXIS1  = 4000000000', 'NAXIS2  = 4000000000', 'NAXIS3  = 9'),
      'overflows',
    ],
    ['a negative axis', primary('BITPIX  = 8', 'NAXIS   = 1', 'NAXIS1  = -1'), 'NAXISn'],
    ['a missing axis', primary('BITPIX  = 8', 'NAXIS   = 2', 'NAXIS1  = 1'), 'missing'],
    ['too many axes', primary('BITPIX  = 8', 'NAXIS   = 999'), 'more axes than the limit'],
    ['a BITPIX of 12', primary('BITPIX  = 12', 'NAXIS   = 0'), 'BITPIX'],
    ['no BITPIX', primary('NAXIS   = 0'), 'BITPIX'],
    ['an axis beyond 64 bits', primary('BITPIX  = 8', 'NAXIS   = 1', 'NAXIS1  = 99999999999999999999'), 'NAXISn'],
    ['a negative PCOUNT', Buffer.concat([empty, table(8, 1, -1, 'TFIELDS = 0')]), 'PCOUNT'],
    ['no END', Buffer.alloc(2880, card('SIMPLE  =                    T')), 'no END'],
    ['no FITS', Buffer.from('version https://git-lfs'), 'not a FITS file'],
  ])('%s', (_, bytes, message) => {
    expect(() => openFits(bytes)).toThrow(InputError);
    expect(() => openFits(bytes)).toThrow(message);
  });

  it('refuses what exceeds the limits, and takes it when they are raised', () => {
    const many = primary('BITPIX  = 8', 'NAXIS   = 0', ...Array.from({ length: 200 }, (_, i) => `K${i} = ${i}`));
    expect(() => openFits(many, { limits: { cards: 100 } })).toThrow('more cards in one header than the limit');
    expect(openFits(many, { limits: { cards: 300 } }).hdus).toHaveLength(1);
    const hdus = Buffer.concat([
      empty,
      ...Array.from({ length: 5 }, () =>
        header("XTENSION= 'IMAGE'", 'BITPIX  = 8', 'NAXIS   = 0', 'PCOUNT  = 0', 'GCOUNT  = 1'),
      ),
    ]);
    expect(() => openFits(hdus, { limits: { hdus: 5 } })).toThrow('more than 5 HDUs');
    expect(openFits(hdus).hdus).toHaveLength(6);
    const image = Buffer.concat(encodeFits([{ data: ramp }]));
    expect(() => openFits(image, { limits: { dataBytes: 2047 } })).toThrow('more data bytes than the limit');
  });

  it('refuses tiles that their streams cannot hold', () => {
    const cards = compressed(
      "ZCMPTYPE= 'GZIP_1'",
      'ZBITPIX = 16',
      'ZNAXIS  = 2',
      'ZNAXIS1 = 40000',
      'ZNAXIS2 = 40000',
      'ZTILE1  = 40000',
      'ZTILE2  = 40000',
    );
    const row = Buffer.alloc(2880);
    row.writeInt32BE(16, 0);
    const fits = openFits(Buffer.concat([empty, table(8, 1, 16, ...cards), row]));
    expect(() => fits.readImage(1)).toThrow('a tile is larger than its stream can hold');
  });

  it('refuses descriptors that share the heap to claim more than it holds', () => {
    const cards = compressed("ZCMPTYPE= 'GZIP_1'", 'ZBITPIX = 8', 'ZNAXIS  = 2', 'ZNAXIS1 = 100', 'ZNAXIS2 = 4');
    const body = Buffer.alloc(2880);
    for (let i = 0; i < 4; i++) body.writeInt32BE(16, 8 * i);
    const fits = openFits(Buffer.concat([empty, table(8, 4, 16, ...cards), body]));
    expect(() => fits.readImage(1)).toThrow('claim more bytes than the heap holds');
  });

  it.each(['HCOMPRESS_1', 'PLIO_1', 'BZIP2_1', ''])('says that %s is not supported', (algorithm) => {
    const cards = compressed(`ZCMPTYPE= '${algorithm}'`, 'ZBITPIX = 8', 'ZNAXIS  = 1', 'ZNAXIS1 = 4');
    const fits = openFits(Buffer.concat([empty, table(8, 1, 16, ...cards), Buffer.alloc(2880)]));
    expect(() => fits.readImage(1)).toThrow(algorithm === '' ? 'ZCMPTYPE is missing' : `${algorithm} is not supported`);
  });
});

describe('whole-file compression', () => {
  const plain = Buffer.concat(encodeFits([{ data: ramp, shape: [16, 64] }]));

  it('reads gzip, of several members and padded too', () => {
    const members = Buffer.concat([
      gzipSync(plain.subarray(0, 3000)),
      gzipSync(plain.subarray(3000)),
      Buffer.alloc(100),
    ]);
    for (const bytes of [gzipSync(plain), members]) expect(openFits(bytes).readImage(0).data).toEqual(ramp);
    const path = join(folder, 'x.fits.gz');
    writeFileSync(path, gzipSync(plain));
    expect(openFits(path).readImage(0).data).toEqual(ramp);
  });

  it('refuses a bomb, whatever its trailer says', () => {
    const bomb = gzipSync(Buffer.alloc(80 * 2 ** 20));
    expect(() => openFits(bomb)).toThrow('more than the limit');
    const modest = Buffer.from(bomb);
    modest.writeUInt32LE(2880, modest.length - 4);
    expect(() => openFits(modest)).toThrow(InputError);
    expect(() => openFits(gzipSync(plain), { limits: { inflatedBytes: 2880 } })).toThrow('more than the limit of 2880');
  });

  it('refuses a damaged stream, and names what it does not read', () => {
    const damaged = gzipSync(plain);
    damaged[damaged.length >> 1]! ^= 0xff;
    expect(() => openFits(damaged)).toThrow(InputError);
    expect(() => openFits(Buffer.from('BZh91AY&SY'))).toThrow('bzip2 are not supported');
    expect(() => openFits(Buffer.from([0x1f, 0x9d, 0x90, 0, 0, 0]))).toThrow('compress (.Z) are not supported');
  });
});

describe('truncated files', () => {
  const whole = Buffer.concat(encodeFits([{ data: ramp, shape: [16, 64] }]));

  it('are refused, or read with zeros and a warning when asked', () => {
    const cut = whole.subarray(0, whole.length - 2880);
    expect(() => openFits(cut)).toThrow('claims more data bytes than the file holds');
    const fits = openFits(cut, { tolerateTruncated: true, verify: false });
    const pixels = fits.readImage(0).data as Uint16Array;
    expect(pixels).toHaveLength(ramp.length);
    const present = fits.hdu(0).dataPresent / 2;
    expect(present).toBeLessThan(ramp.length);
    expect([...pixels.subarray(0, present)]).toEqual([...ramp.subarray(0, present)]);
    expect(pixels.subarray(present).every((value) => value === 0)).toBe(true);
    expect(fits.warnings.some((warning) => warning.includes('pixels are missing'))).toBe(true);
  });

  it('without their last padding are read with a warning', () => {
    const cut = whole.subarray(0, whole.length - 100);
    const fits = openFits(cut);
    expect(fits.readImage(0).data).toEqual(ramp);
    expect(fits.warnings).toHaveLength(1);
  });

  it('with bytes after the last HDU are read with a warning', () => {
    const fits = openFits(Buffer.concat([whole, Buffer.alloc(5000, 'junk')]));
    expect(fits.hdus).toHaveLength(1);
    expect(fits.warnings).toEqual(['5000 bytes after the last HDU are no extension and are not read']);
  });
});

describe('in place', () => {
  it('makes pixels where the bytes of the file lie, after their checksum was verified', () => {
    const pixels = Float32Array.from({ length: 12 }, (_, i) => i / 7);
    const bytes = new Uint8Array(new SharedArrayBuffer(4 * 2880));
    bytes.set(Buffer.concat(encodeFits([{}, { data: pixels, shape: [3, 4], name: 'MAP' }])).subarray(0, bytes.length));
    const file = openFits(bytes, { name: 'map.fits' });
    expect(file.inMemory).toBe(true);
    const { data } = file.readImage('MAP', { inPlace: true });
    expect(data).toEqual(pixels);
    expect(data.buffer).toBe(bytes.buffer);
    // The bytes are the file's no longer: whoever reads them again is told.
    let error: unknown;
    try {
      openFits(bytes, { name: 'map.fits' }).readImage('MAP');
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ class: 'input', context: { file: 'map.fits', hdu: 1 } });
  });
});

describe('images', () => {
  it('are read into the memory that the caller gives', () => {
    const path = join(folder, 'shared.fits');
    writeFileSync(
      path,
      Buffer.concat(
        encodeFits([{}, { data: ramp, shape: [16, 64] }, { data: ramp, shape: [16, 64], compress: 'RICE_1' }]),
      ),
    );
    const fits = openFits(path);
    for (const hdu of [1, 2]) {
      const shared = new SharedArrayBuffer(ramp.byteLength + 64);
      const image = fits.readImage(hdu, { allocate: () => shared });
      expect(image.data.buffer).toBe(shared);
      expect([...(image.data as Uint16Array)]).toEqual([...ramp]);
    }
    expect(() => fits.readImage(1, { allocate: () => new ArrayBuffer(8) })).toThrow(UsageError);
    fits.close();
  });

  it('are the same when decoded off the thread', async () => {
    const fits = openFits(Buffer.concat(encodeFits([{}, { data: ramp, shape: [16, 64], compress: 'RICE_1' }])));
    expect((await fits.readImageAsync(1)).data).toEqual(ramp);
  });

  it('apply BSCALE, BZERO and BLANK', () => {
    const stored = Buffer.alloc(2880);
    [1, -2, 7].forEach((value, i) => {
      stored.writeInt16BE(value, 2 * i);
    });
    const bytes = Buffer.concat([
      primary('BITPIX  = 16', 'NAXIS   = 1', 'NAXIS1  = 3', 'BSCALE  = 0.5', 'BZERO   = 10', 'BLANK   = 7'),
      stored,
    ]);
    const image = openFits(bytes).readImage(0);
    expect([image.type, ...image.data]).toEqual(['f32', 10.5, 9, Number.NaN]);
    const raw = openFits(bytes).readImage(0, { scale: false });
    expect([raw.type, ...raw.data, raw.blank]).toEqual(['i16', 1, -2, 7, 7n]);
  });

  it('are found by name and version; others are named in the error', () => {
    const fits = openFits(
      Buffer.concat(encodeFits([{}, { data: ramp, name: 'SCI', version: 1 }, { data: ramp, name: 'SCI', version: 2 }])),
    );
    expect(fits.hdu('sci').index).toBe(1);
    expect(fits.hdu('SCI', 2).index).toBe(2);
    expect(() => fits.hdu('ERR')).toThrow('there is no HDU named ERR; there are #0, SCI, SCI');
    expect(() => fits.readTable('SCI')).toThrow('is not a table (image)');
  });
});

describe('the header of a compressed image', () => {
  it('is the one it had before compression', (ctx) => {
    const packed = join(data, 'compressed/fpack/nirc2_i32_rice.fits.fz');
    if (!existsSync(packed)) return ctx.skip(`${packed} is absent`);
    const before = openFits(join(data, 'compressed/fpack/nirc2_i32.fits'), { verify: false });
    const after = openFits(packed);
    const values = (header: (typeof before.hdus)[0]['header']) =>
      header.cards
        .filter((c) => c.type !== 'commentary' && !/^(CHECKSUM|DATASUM)$/.test(c.keyword))
        .map((c) => [c.keyword, c.value]);
    expect(values(after.hdu(1).header)).toEqual(values(before.hdu(0).header));
    expect(after.hdu(1).compression).toMatch(/^RICE/);
    expect(after.hdu(1).storedHeader.get('XTENSION')).toBe('BINTABLE');
  });
});

describe('a compressed image whose cards no writer could write', () => {
  const odd = (find: string, put: string): Buffer => {
    const image = { data: new Int32Array(8), shape: [2, 4], compress: 'RICE_1', was: 'extension' } as const;
    const bytes = Buffer.concat(encodeFits([{}, image]));
    const at = bytes.indexOf(find, 2880, 'latin1');
    expect(at).toBeGreaterThan(0);
    bytes.write(put, at, 'latin1');
    return bytes;
  };

  it('opens: bytes outside ASCII are replaced', () => {
    const card = 'ZNAXIS  =                    2 / number';
    const comment = openFits(odd(card, card.replace('number', 'n\xe9mber')), { verify: false });
    expect(comment.hdu(1).header.card('NAXIS')?.comment).toBe('n?mber of axes');
    const kind = openFits(odd("ZTENSION= 'IMAGE   '", "ZTENSION= 'IM\xe9GE   '"), { verify: false });
    expect(kind.hdu(1).header.get('XTENSION')).toBe('IM?GE');
  });
});

describe('checksums of collected files', () => {
  it('refuse the damaged one, and warn or keep quiet when asked', (ctx) => {
    const path = join(data, 'odd/astropy/checksum_false.fits');
    if (!existsSync(path)) return ctx.skip(`${path} is absent`);
    expect(() => openFits(path).readImage(0)).toThrow('does not agree with the bytes');
    const warned = openFits(path, { verify: 'warn' });
    warned.readImage(0);
    expect(warned.warnings.join()).toContain('does not agree');
    expect(openFits(path, { verify: false }).readImage(0).data.length).toBe(1200);
    const good = openFits(readFileSync(join(data, 'odd/astropy/checksum.fits')));
    expect(good.verify(0)).toEqual({ checksum: 'good', datasum: 'good' });
    expect(good.verify(1)).toEqual({ checksum: 'good', datasum: 'good' });
  });
});
