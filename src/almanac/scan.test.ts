// What the almanac says of files that are right, wrong and hostile. Truth: the headers that the test itself wrote.
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { chips, type RawSpec, rawBytes, rawName, writeRaw } from '../../test/raw_night.js';
import { InputError, RetriableError, UsageError } from '../core/errors.js';
import type { Instrument } from '../core/product.js';
import { encodeFits, Header, readFirstHdus } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { nirc2 } from '../instruments/nirc2/index.js';
import { type Almanac, type ScanRequest, scanNight } from './index.js';

const NIGHT = 'apo/60855';
const trees: string[] = [];
let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'rampline-almanac-'));
  trees.push(root);
});
afterAll(() => {
  for (const tree of trees) rmSync(tree, { recursive: true });
});

const write = (specs: readonly RawSpec[], folder = NIGHT) => writeRaw(root, folder, specs);
const scan = (more: Partial<ScanRequest> = {}): Promise<Almanac> =>
  scanNight(root, { tele: 'apo', mjd: 60855, instrument: apogee, ...more });
const path = (spec: RawSpec, folder = NIGHT): string => join(root, folder, rawName(spec));
const found = (almanac: Almanac, what: string) => almanac.findings.filter((finding) => finding.what === what);
/** The strips of these tests have 2 rows, and the almanac says so. */
const STRIPS = 'HDU 1 is 2560 x 2, expected 2560 x 2048';

describe('facts of an exposure', () => {
  it('come from the headers', async () => {
    write(
      chips({ exposure: 1, kind: 'Dark', reads: 12, cards: { CONFIGID: 4711, PLATEID: 9000, MAPID: 3, DESIGNID: 8 } }),
    );
    const { exposures, root: where, findings } = await scan();
    expect(where).toBe(root);
    expect(exposures).toHaveLength(1);
    expect(exposures[0]).toMatchObject({
      tele: 'apo',
      mjd: 60855,
      exposure: 1,
      kind: 'dark',
      reads: 12,
      lamps: { quartz: 0, thar: 0, une: 0 },
      ditherPixels: 0.5,
      plate: '9000',
      design: '8',
      configuration: '4711',
      map: '3',
      field: '17',
      cartridge: 'FPS-N',
      comment: 'a comment',
      sequence: 1,
      afterDark: false,
      drop: undefined,
    });
    expect(exposures[0]!.exposureSeconds).toBeCloseTo(12 * 10.647, 9);
    expect(exposures[0]!.start).toBeCloseTo(60855 + 1 / 144, 7); // DATE-OBS has milliseconds
    expect(exposures[0]!.frames.map(({ chip, path: name }) => `${chip} ${name}`)).toEqual([
      'a apo/60855/apR-a-52930001.apz',
      'b apo/60855/apR-b-52930001.apz',
      'c apo/60855/apR-c-52930001.apz',
    ]);
    expect(exposures[0]!.frames[1]).toMatchObject({ reads: 12, rows: 2, cols: 2560, serial: 'S-b', drop: undefined });
    expect(exposures[0]!.frames[1]!.bytes).toBe(readFileSync(path({ exposure: 1, chip: 'b' })).length);
    expect(findings.map(({ text }) => text)).toEqual([
      `${STRIPS}: in 3 of 3 files, first apo/60855/apR-a-52930001.apz`,
    ]);
  });

  it.each([
    ['Object', [0, 0, 0], 'object'],
    ['OBJECT', [0, 0, 0], 'object'],
    ['InternalFlat', [0, 0, 0], 'internalflat'],
    ['DomeFlat', [0, 0, 0], 'domeflat'],
    ['QuartzFlat', [1, 0, 0], 'quartzflat'],
    ['TwilightFlat', [0, 0, 0], 'twilightflat'],
    ['BlackBody', [0, 0, 0], 'blackbody'],
    ['ArcLamp', [0, 1, 0], 'arclamp'],
    ['ArcLamp', [0, 0, 1], 'arclamp'],
    ['ArcLamp', [false, true, false], 'arclamp'],
    ['ArcLamp', ['F', 'F', 'T'], 'arclamp'],
    ['ArcLamp', [0, 0, 0], 'fpi'],
    ['ArcLamp', [0, false, 'off'], 'fpi'],
    ['ArcLamp', [-1, -1, -1], 'arclamp'], // nothing is known of the lamps
    ['Sky flat?', [0, 0, 0], 'unknown'],
    ['constructor', [0, 0, 0], 'unknown'],
  ] as const)('IMAGETYP %s with lamps %j is %s', async (kind, lamps, expected) => {
    write(chips({ exposure: 1, kind, lamps }));
    expect((await scan()).exposures[0]!.kind).toBe(expected);
  });

  it('the second keyword serves where the first is absent, and cards of HDU 0 count too', async () => {
    const data = new Uint16Array(2 * 2560);
    for (const chip of ['a', 'b', 'c']) {
      const header = [
        ['EXPTYPE', 'DARK'],
        ['NFRAMES', 8],
        ['CHIP', chip],
        ['LAMPUNE', 1],
      ] as const;
      mkdirSync(join(root, NIGHT), { recursive: true });
      writeFileSync(
        join(root, NIGHT, rawName({ exposure: 2, chip }, 'fits')),
        Buffer.concat(encodeFits([{ header }, { data, shape: [2, 2560] }])),
      );
    }
    const { exposures } = await scan();
    expect(exposures[1]).toMatchObject({
      kind: 'dark',
      reads: 8,
      lamps: { quartz: -1, thar: -1, une: 1 },
      start: undefined,
    });
    expect(exposures[1]!.frames[0]).toMatchObject({ rows: 2, cols: 2560 });
  });

  it('an image in HDU 0 is stepped over to the header behind it', async () => {
    mkdirSync(join(root, NIGHT), { recursive: true });
    const data = new Int32Array(40_000);
    const bytes = Buffer.concat(encodeFits([{ data, shape: [40, 1000] }, { header: [['IMAGETYP', 'Dark']] }]));
    writeFileSync(path({ exposure: 1 }), bytes);
    const { exposures } = await scan();
    expect(exposures[0]).toMatchObject({ kind: 'dark', frames: [{ rows: 40, cols: 1000, drop: undefined }] });
  });

  it('a .fits.gz is inflated as far as its headers go', async () => {
    const bytes = gzipSync(rawBytes({ exposure: 1, kind: 'Dark' }));
    mkdirSync(join(root, NIGHT), { recursive: true });
    writeFileSync(join(root, NIGHT, `${rawName({ exposure: 1 }, 'fits')}.gz`), bytes);
    const { exposures } = await scan();
    expect(exposures[0]).toMatchObject({ kind: 'dark', reads: 10, frames: [{ drop: undefined, bytes: bytes.length }] });
  });

  it('identifiers that stand for none are none, and text outside ASCII is replaced', async () => {
    const cards = { PLATEID: -1, FIELDID: 'none', DESIGNID: 0, CONFIGID: 7.5, CARTID: '' };
    write(chips({ exposure: 1, cards }));
    const bytes = readFileSync(path({ exposure: 1 }));
    bytes[bytes.indexOf("'a comment'", 2880) + 2] = 0xe9;
    writeFileSync(path({ exposure: 1 }), bytes);
    const [exposure] = (await scan()).exposures;
    expect(exposure).toMatchObject({ plate: '', field: '', design: '', configuration: '7.5', cartridge: '' });
    expect(exposure!.comment).toBe('a?comment');
  });
});

describe('the night', () => {
  it('is found in TELE/MJD, in MJD, and flat', async () => {
    write(chips({ exposure: 1 }), NIGHT);
    write(chips({ exposure: 2 }), '60855');
    write(chips({ exposure: 3 }), '');
    write(chips({ exposure: 4, mjd: 60856 }), ''); // the root may hold any night
    write(chips({ exposure: 4, tele: 'lco' }), '60855'); // and a night both telescopes
    const almanac = await scan();
    expect(almanac.exposures.map(({ exposure, kind }) => [exposure, kind])).toEqual([
      [1, 'object'],
      [2, 'object'],
      [3, 'object'],
    ]);
    expect(almanac.findings.map(({ what }) => what)).toEqual(['datamodel']);
    expect((await scan({ tele: 'lco' })).exposures.filter(({ kind }) => kind !== 'missing')).toHaveLength(1);
  });

  it('fills holes with missing ones, from number 1', async () => {
    write([...chips({ exposure: 3 }), ...chips({ exposure: 6 })]);
    const almanac = await scan();
    expect(almanac.exposures.map(({ exposure }) => exposure)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(almanac.exposures.map(({ kind }) => kind)).toEqual([
      'missing',
      'missing',
      'object',
      'missing',
      'missing',
      'object',
    ]);
    expect(almanac.exposures[3]).toMatchObject({ frames: [], drop: { by: 'rule' }, sequence: 0 });
    expect(found(almanac, 'missing')).toMatchObject([
      { severity: 'error', exposure: 1, text: 'exposures 1 to 2 are not there' },
      { severity: 'error', exposure: 4, text: 'exposures 4 to 5 are not there' },
    ]);
  });

  it('counts sequences of a kind and configuration, and knows which exposure follows a dark', async () => {
    write([
      ...chips({ exposure: 1, kind: 'Dark' }),
      ...chips({ exposure: 2, kind: 'Dark' }),
      ...chips({ exposure: 3, cards: { CONFIGID: 5 } }),
      ...chips({ exposure: 5, cards: { CONFIGID: 5 } }), // the hole ends no sequence
      ...chips({ exposure: 6, cards: { CONFIGID: 6 } }),
      ...chips({ exposure: 7, kind: 'what' }),
      ...chips({ exposure: 8, kind: 'ArcLamp', lamps: [0, 1, 0] }),
      ...chips({ exposure: 9, kind: 'ArcLamp', lamps: [0, 0, 1] }),
    ]);
    const { exposures } = await scan();
    expect(exposures.map(({ sequence }) => sequence)).toEqual([1, 1, 2, 0, 2, 3, 0, 4, 5]);
    expect(exposures.map(({ afterDark }) => afterDark)).toEqual([
      false,
      true,
      true,
      false,
      false,
      false,
      false,
      false,
      false,
    ]);
  });

  it('says where raw files lie that are out of place, and takes none of them', async () => {
    write(chips({ exposure: 1 }));
    write(chips({ exposure: 2 }), `${NIGHT}/late`);
    write(chips({ exposure: 1 }), 'lco/60855'); // of apo by its names
    write(chips({ exposure: 3 }), 'lco/60854'); // another night's folder is not entered
    write(chips({ exposure: 1, mjd: 60856 }), NIGHT);
    const almanac = await scan();
    expect(almanac.exposures).toHaveLength(1);
    expect(found(almanac, 'folder').map(({ text }) => text)).toEqual([
      '3 raw files of this night lie in lco/60855/, where none are expected; they are not taken, first apR-a-52930001.apz',
      '3 raw files of this night lie in apo/60855/late/, where none are expected; they are not taken, first apR-a-52930002.apz',
    ]);
    expect(found(almanac, 'identity').map(({ text }) => text)).toEqual(
      ['a', 'b', 'c'].map((c) => `apo/60855/apR-${c}-52940001.apz is of apo 60856 by its name; it is not taken`),
    );
    expect(found(almanac, 'datamodel').map(({ text }) => text)).toContain(
      'folder {tele}/{mjd}/late appeared: 3 files, first apo/60855/late/apR-a-52930002.apz',
    );
  });

  it('takes one of two files of the same exposure, the .apz in the better folder', async () => {
    write(chips({ exposure: 1 }));
    cpSync(path({ exposure: 1 }), join(root, NIGHT, rawName({ exposure: 1 }, 'fits')));
    cpSync(path({ exposure: 1 }), join(root, rawName({ exposure: 1 })));
    const almanac = await scan();
    expect(almanac.exposures[0]!.frames[0]!.path).toBe('apo/60855/apR-a-52930001.apz');
    expect(found(almanac, 'duplicate').map(({ text }) => text)).toEqual([
      'apo/60855/apR-a-52930001.apz is taken, apo/60855/apR-a-52930001.fits is not',
      'apo/60855/apR-a-52930001.apz is taken, apR-a-52930001.apz is not',
    ]);
  });

  it('follows a link to a folder of raw files, and to a file', async () => {
    write(chips({ exposure: 1 }), 'elsewhere');
    mkdirSync(join(root, 'apo'));
    renameSync(join(root, 'elsewhere'), `${root}-archive`);
    trees.push(`${root}-archive`);
    symlinkSync(`${root}-archive`, join(root, NIGHT));
    symlinkSync(join(`${root}-archive`, rawName({ exposure: 1 })), join(root, rawName({ exposure: 2 })));
    const { exposures } = await scan();
    expect(exposures.map(({ frames }) => frames.length)).toEqual([3, 1]);
  });

  it('is empty where there is nothing, and an error where there is no directory', async () => {
    expect(await scan()).toMatchObject({ exposures: [], findings: [], datamodel: [] });
    await expect(scanNight(join(root, 'nothing'), { tele: 'apo', mjd: 60855, instrument: apogee })).rejects.toThrow(
      InputError,
    );
    await expect(scan({ instrument: nirc2 })).rejects.toThrow(UsageError);
    await expect(scan({ tele: 'lcoo' })).rejects.toThrow('no telescope "lcoo" of apogee; did you mean "lco"?');
    write(chips({ exposure: 1 }));
    await expect(scan({ signal: AbortSignal.abort() })).rejects.toThrow(RetriableError);
  });

  it('is the same whatever the number of files at once, and tells how far it is', async () => {
    write([1, 2, 3, 4].flatMap((exposure) => chips({ exposure, kind: exposure % 2 === 0 ? 'Dark' : 'Object' })));
    const seen: number[] = [];
    const one = await scan({ concurrency: 1, progress: (done, total) => seen.push(done / total) });
    expect(seen.at(-1)).toBe(1);
    expect(seen).toHaveLength(12);
    expect(await scan({ concurrency: 7 })).toEqual(one);
  });
});

describe('what is not reduced by rule', () => {
  it.each([
    ['Object', 3, '3 reads, fewer than 4'],
    ['Object', 4, undefined],
    ['Object', 1, '1 read, fewer than 4'],
    ['QuartzFlat', 3, undefined],
    ['QuartzFlat', 2, '2 reads, fewer than 3'],
  ])('%s of %i reads: %s', async (kind, reads, reason) => {
    write(chips({ exposure: 1, kind, reads }));
    expect((await scan()).exposures[0]!.drop).toEqual(reason && { by: 'rule', reason });
  });

  it('chips that are not there, unless fewer are asked for', async () => {
    write([
      { exposure: 1, chip: 'a' },
      { exposure: 1, chip: 'b' },
      { exposure: 2, chip: 'b' },
      ...chips({ exposure: 3 }),
    ]);
    const almanac = await scan();
    expect(almanac.exposures.map(({ drop }) => drop?.reason)).toEqual([
      'chip c is not there',
      'chips a, c are not there',
      undefined,
    ]);
    expect(found(almanac, 'chips')).toHaveLength(2);
    const asked = await scan({ prefilters: { chips: ['b'] } });
    expect(asked.exposures.map(({ drop }) => drop)).toEqual([undefined, undefined, undefined]);
    expect(found(asked, 'chips')).toEqual([]);
  });

  it('no exposure for a chip of which the whole night has nothing, and that is told', async () => {
    write([
      { exposure: 1, chip: 'a' },
      { exposure: 1, chip: 'b' },
      { exposure: 2, chip: 'b' },
    ]);
    const almanac = await scan();
    expect(almanac.exposures.map(({ drop }) => drop?.reason)).toEqual([undefined, 'chip a is not there']);
    expect(found(almanac, 'chips').map(({ text }) => text)).toEqual([
      'chip c is not there in the whole night',
      'chip a is not there',
    ]);
  });

  it('a card that marks it as bad, of an instrument that has one', async () => {
    const night = { ...apogee.night!, dictionary: { ...apogee.night!.dictionary, bad: ['FLAGBAD'] } };
    const marking: Instrument = { ...apogee, night };
    write([true, false, 1, 0].flatMap((FLAGBAD, i) => chips({ exposure: i + 1, cards: { FLAGBAD } })));
    expect((await scan({ instrument: marking })).exposures.map(({ drop }) => drop?.reason)).toEqual([
      'its header marks it as bad: FLAGBAD',
      undefined,
      'its header marks it as bad: FLAGBAD',
      undefined,
    ]);
    expect((await scan()).exposures.map(({ drop }) => drop)).toEqual([undefined, undefined, undefined, undefined]);
  });

  it('reads that no header tells are not judged', async () => {
    write(chips({ exposure: 1, cards: { NREAD: undefined, NFRAMES: undefined } }));
    const almanac = await scan();
    expect(almanac.exposures[0]).toMatchObject({ reads: 0, drop: undefined });
    expect(found(almanac, 'datamodel')).toContainEqual(
      expect.objectContaining({ severity: 'error', text: 'card NREAD is missing in 3 of 3 files (.apz)' }),
    );
  });
});

describe('chips that disagree', () => {
  it.each([
    ['types', { kind: 'Dark' }, 'the chips say different types: a object, b dark, c object'],
    ['reads', { reads: 9 }, 'the chips say different numbers of reads: a 10, b 9, c 10'],
    ['starts', { late: 11 }, 'the chips say different starts (MJD): a 60855.006944, b 60855.007072, c 60855.006944'],
  ])('%s', async (_, odd, text) => {
    write([
      { exposure: 1, chip: 'a' },
      { exposure: 1, chip: 'b', ...odd },
      { exposure: 1, chip: 'c' },
    ]);
    const almanac = await scan();
    expect(found(almanac, 'disagree').map((finding) => finding.text)).toEqual([text]);
    expect(almanac.exposures[0]).toMatchObject({ kind: 'object', reads: 10, drop: undefined });
  });

  it('starts within a read of each other agree', async () => {
    write([
      { exposure: 1, chip: 'a' },
      { exposure: 1, chip: 'b', late: 10 },
      { exposure: 1, chip: 'c' },
    ]);
    expect(found(await scan(), 'disagree')).toEqual([]);
  });

  it('a header of another chip than the name', async () => {
    write([...chips({ exposure: 1 }).slice(0, 2), { exposure: 1, chip: 'c', cards: { CHIP: 'b' } }]);
    expect(found(await scan(), 'identity')).toMatchObject([
      { severity: 'error', exposure: 1, chip: 'c', text: 'apo/60855/apR-c-52930001.apz: its header says chip b' },
    ]);
  });
});

describe('files that are damaged', () => {
  const damaged = async (bytes: Buffer): Promise<Almanac> => {
    write(chips({ exposure: 1 }));
    writeFileSync(path({ exposure: 1 }), bytes);
    const almanac = await scan();
    // Whatever is wrong with one file, the others are known.
    expect(almanac.exposures[0]!.frames.slice(1).map(({ reads, drop }) => [reads, drop])).toEqual([
      [10, undefined],
      [10, undefined],
    ]);
    return almanac;
  };
  const reason = (almanac: Almanac): string | undefined => almanac.exposures[0]!.frames[0]!.drop?.reason;
  const whole = rawBytes({ exposure: 1 });

  it('cut short anywhere but at the end of a block', async () => {
    const almanac = await damaged(whole.subarray(0, whole.length - 1000));
    expect(reason(almanac)).toBe(`the file is cut short: ${whole.length - 1000} bytes is no multiple of 2880`);
    expect(almanac.exposures[0]!.frames[0]).toMatchObject({ reads: 10, drop: { by: 'rule' } });
    expect(almanac.exposures[0]!.drop).toBeUndefined(); // the other chips are whole
    expect(found(almanac, 'cut')).toHaveLength(1);
  });

  it('cut in the data of HDU 1, at the end of a block', async () => {
    const big = rawBytes({ exposure: 1, rows: 1024 });
    const at = 2880 * 4;
    expect(reason(await damaged(big.subarray(0, at)))).toMatch(/^the file is cut short: HDU 1 has \d+ of \d+ bytes$/);
  });

  it.each([
    ['empty', Buffer.alloc(0), 'the file is empty', 'cut'],
    [
      'a header cut in the middle',
      whole.subarray(0, 1000),
      'the file is cut short: 1000 bytes is no multiple of 2880',
      'cut',
    ],
    ['a block of no FITS', Buffer.alloc(2880, 'x'), /SIMPLE|FITS/, 'unreadable'],
    ['zeros', Buffer.alloc(28_800), /SIMPLE|FITS/, 'unreadable'],
  ])('%s', async (_, bytes, text, what) => {
    const almanac = await damaged(bytes as Buffer);
    expect(reason(almanac)).toMatch(text);
    expect(found(almanac, what)).toHaveLength(1);
  });

  it('no regular file: a directory, a link to nothing', async () => {
    write([...chips({ exposure: 1 }), ...chips({ exposure: 2 })]);
    rmSync(path({ exposure: 1 }));
    symlinkSync('nowhere', path({ exposure: 1 }));
    const almanac = await scan();
    expect(reason(almanac)).toMatch(/^the file cannot be read: ENOENT/);
    rmSync(path({ exposure: 1 }));
    mkdirSync(path({ exposure: 1 }));
    expect((await scan()).exposures[0]!.drop?.reason).toBe('chip a is not there');
  });

  const hostile = (lines: readonly string[]): Buffer => {
    const text = lines.map((line) => line.padEnd(80)).join('');
    return Buffer.from(text.padEnd(Math.ceil(text.length / 2880) * 2880), 'latin1');
  };
  const begin = ['SIMPLE  =                    T', 'BITPIX  =                    8', 'NAXIS   =                    0'];

  it('a header of a million cards is given up early', async () => {
    const bytes = hostile([
      ...begin,
      ...Array.from({ length: 1_000_000 }, (_, i) => `${`K${i}`.padEnd(8)}=  1`),
      'END',
    ]);
    expect(reason(await damaged(bytes))).toMatch(/card/);
    let read = 0;
    const piece = async (offset: number, length: number): Promise<Uint8Array> => {
      read += length;
      return bytes.subarray(offset, offset + length);
    };
    const asked = readFirstHdus(piece, bytes.length, 2, { piece: 32_768, limits: { cards: 10_000 } });
    await expect(asked).rejects.toThrow(InputError);
    expect(read).toBeLessThan(8 * 2 ** 20); // of 80 MB
  });

  it('a header without an end', async () => {
    expect(reason(await damaged(hostile(begin)))).toBe('the header has no END');
  });

  it.each([
    ['axes beyond every limit', ['NAXIS1  = 99999999999999999999', 'NAXIS2  = 99999999999999999999']],
    ['axes of petabytes', ['NAXIS1  =           2147483647', 'NAXIS2  =           2147483647']],
    ['negative axes', ['NAXIS1  =                   -1', 'NAXIS2  =                   -5']],
  ])('%s are refused or cut short', async (_, axes) => {
    const lines = [...begin.slice(0, 2), 'NAXIS   =                    2', ...axes, 'END'];
    const almanac = await damaged(hostile(lines));
    expect(almanac.exposures[0]!.frames[0]!.drop).toMatchObject({ by: 'rule' });
  });

  it('numbers that lie: reads and axes that no memory holds stay facts of no consequence', async () => {
    write(chips({ exposure: 1, cards: { NREAD: 1e300, NFRAMES: -4, EXPTIME: 1e308 } }));
    expect((await scan()).exposures[0]).toMatchObject({ reads: 0, exposureSeconds: 1e308 });
  });

  it('random bytes behind a good beginning', async () => {
    let state = 1;
    for (let round = 0; round < 200; round++) {
      const bytes = Buffer.from(whole);
      for (let n = 0; n < 20; n++) {
        state = (state * 48271) % 0x7fffffff;
        bytes[state % (4 * 2880)] = state >> 8;
      }
      mkdirSync(join(root, NIGHT), { recursive: true });
      writeFileSync(path({ exposure: 1 }), bytes);
      const [exposure] = (await scan()).exposures;
      expect(exposure!.frames).toHaveLength(1);
      if (round === 0) continue;
      truncateSync(path({ exposure: 1 }), state % bytes.length);
      expect((await scan()).exposures[0]!.frames).toHaveLength(1);
    }
  });
});

describe('changes of layout', () => {
  const texts = async (): Promise<string[]> => found(await scan(), 'datamodel').map(({ text }) => text);

  it('cards that are new, gone, or of another type', async () => {
    write(chips({ exposure: 1 }));
    write(chips({ exposure: 2, cards: { NEWKEY: 1, OTHER: 'x', EXPTIME: undefined, DITHPIX: 'half' } }));
    expect(await texts()).toEqual([
      `${STRIPS}: in 6 of 6 files, first apo/60855/apR-a-52930001.apz`,
      'cards NEWKEY (number), OTHER (string) appeared in HDU 1 in 3 of 6 files, first apo/60855/apR-a-52930002.apz',
      'card DITHPIX is a string in HDU 1, expected a number: in 3 of 6 files, first apo/60855/apR-a-52930002.apz',
      'card EXPTIME is missing in 3 of 6 files (.apz)',
    ]);
  });

  it('another order of HDUs, another compression, other columns', async () => {
    mkdirSync(join(root, NIGHT), { recursive: true });
    const shape = [2, 2048];
    const data = new Uint16Array(2 * 2048);
    const header = new Header();
    for (const [chip, compress] of [
      ['a', 'RICE_1'],
      ['b', 'GZIP_2'],
      ['c', undefined],
    ] as const) {
      writeFileSync(
        path({ exposure: 1, chip }),
        Buffer.concat(encodeFits([{ header }, { data, shape, header: [['IMAGETYP', 'Dark']], compress }])),
      );
    }
    const changes = await texts();
    expect(changes).toContain(
      'HDU 1 is 2048 x 2, expected 2560 x 2048: in 3 of 3 files, first apo/60855/apR-a-52930001.apz',
    );
    expect(changes).toContain('HDU 1 has BITPIX 16, expected 32: in 3 of 3 files, first apo/60855/apR-a-52930001.apz');
    expect(changes).toContain(
      'HDU 1 has compression GZIP_2, expected RICE_1: in 1 of 3 files, first apo/60855/apR-b-52930001.apz',
    );
    expect(changes).toContain(
      'HDU 1 has compression none, expected RICE_1: in 1 of 3 files, first apo/60855/apR-c-52930001.apz',
    );
  });

  it('a file without the HDU that is expected', async () => {
    mkdirSync(join(root, NIGHT), { recursive: true });
    writeFileSync(path({ exposure: 1 }), Buffer.concat(encodeFits([{ header: [['IMAGETYP', 'Dark']] }])));
    expect(await texts()).toContain('HDU 1 is missing in 1 of 1 files');
  });

  it('full-size files as expected are no change', async () => {
    write([{ exposure: 1, rows: 2048 }]);
    expect(await texts()).toEqual([]);
  });
});
