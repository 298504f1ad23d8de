// Every image and table column of the collected files, against what cfitsio reads, bit for bit.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RamplineError } from '../core/errors.js';
import type { AnyTypedArray } from './native.js';
import { type FitsFile, openFits } from './reader.js';
import type { Column } from './table.js';

const root = new URL('../..', import.meta.url).pathname;
const data = join(root, '../shared/data');
const dump = join(root, 'build/native-tests/rampline_cfitsio_dump');

const walk = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? walk(join(folder, entry.name)) : [join(folder, entry.name)],
  );

/** What this reader refuses, and why; everything else must be read. Whole files first, then FILE#HDU. */
const REFUSED: Readonly<Record<string, string>> = {
  'compressed/fpack/m13_i16_hcomp_s4.fits.fz#1': 'HCOMPRESS_1 is not supported',
  'compressed/fpack/nirc2_i32_hcomp.fits.fz#1': 'HCOMPRESS_1 is not supported',
  'compressed/m13/m13_hcomp.fits#1': 'HCOMPRESS_1 is not supported',
  'odd/astropy/lzw.fits.Z': 'compress (.Z) are not supported',
  'odd/nomtam/rp600245n00_im1.fits.Z': 'compress (.Z) are not supported',
  'odd/nomtam/test.fits.Z': 'compress (.Z) are not supported',
  'odd/nomtam/test.fits.bz2': 'bzip2 are not supported',
  // Bare headers, some with line ends, and what is no FITS at all.
  'odd/astropy_wcs/defunct_keywords.hdr': 'the header has no END',
  'odd/astropy_wcs/invalid_header.hdr': 'the header has no END',
  'odd/astropy_wcs/outside_sky.hdr': 'the header has no END',
  'odd/astropy_wcs/locale.hdr': 'not a FITS file',
  'odd/astropy_wcs/nonstandard_units.hdr': 'not a FITS file',
  'odd/astropy_wcs/sip-broken.hdr': 'not a FITS file',
  'odd/astropy_wcs/zpn-hole.hdr': 'not a FITS file',
  'odd/astropy_wcs/siponly.hdr': 'more data bytes than the file holds',
  'odd/astropy_wcs/too_many_pv.hdr': 'more data bytes than the file holds',
  'odd/astropy_wcs/tpvonly.hdr': 'more data bytes than the file holds',
  'odd/astropy_wcs/unit.hdr': 'more data bytes than the file holds',
  'odd/empty/apVisit-2M03122509+0021585-0.fits': 'the file is empty',
  'odd/pyse/lfs_pointer_NCP_sample_image_1.fits': 'not a FITS file',
  'odd/reader/cfitsio/testprog.out': 'not a FITS file',
  'odd/reader/cfitsio/testprog.tpt': 'not a FITS file',
  'ramp/ramp_slope_cases.json': 'not a FITS file',
  'wcs/galsim/README': 'not a FITS file',
};

/** What cfitsio refuses and this reader takes. */
const CFITSIO_REFUSES: Readonly<Record<string, string>> = {
  'odd/nasa_samples/file004.fits': 'GCOUNT is written with a decimal point',
};

interface Answer {
  readonly status: number;
  readonly bytes: Buffer;
}

function ask(path: string, requests: readonly string[]): Answer[] | undefined {
  const run = spawnSync(dump, [path, ...requests], { maxBuffer: 1 << 30 });
  if (run.status !== 0) return undefined;
  const answers: Answer[] = [];
  for (let at = 0; at < run.stdout.length; ) {
    const end = run.stdout.indexOf(0x0a, at);
    const [status, bytes] = run.stdout.toString('latin1', at, end).split(' ').map(Number) as [number, number];
    answers.push({ status, bytes: run.stdout.subarray(end + 1, end + 1 + bytes) });
    at = end + 1 + bytes;
  }
  return answers;
}

/**
 * cfitsio builds the numbers of ASCII tables digit by digit in double precision and is off by a few units in the last
 * place; JavaScript's Number() rounds correctly.
 */
const ASCII_ULPS = 4;

/** Strings as cfitsio_dump gives them: each ended by a zero. */
function comparable(values: AnyTypedArray | readonly string[]): AnyTypedArray {
  if (ArrayBuffer.isView(values)) return values;
  return Uint8Array.from(Buffer.from(values.map((text) => `${text}\0`).join(''), 'latin1'));
}

/** The first element that differs, or undefined. Any NaN equals any NaN. */
function difference(ours: AnyTypedArray, theirs: Buffer, ulps = 0): string | undefined {
  const mine = Buffer.from(ours.buffer, ours.byteOffset, ours.byteLength);
  if (mine.equals(theirs)) return undefined;
  if (mine.length !== theirs.length) return `${mine.length} bytes here, ${theirs.length} in cfitsio`;
  const make = ours.constructor as new (buffer: ArrayBuffer) => AnyTypedArray;
  const other = new make(new Uint8Array(theirs).buffer);
  for (let i = 0; i < ours.length; i++) {
    const [a, b] = [ours[i]!, other[i]!];
    if (ulps > 0 && Math.abs(Number(a) - Number(b)) <= ulps * Number.EPSILON * Math.abs(Number(b))) continue;
    if (!Object.is(a, b)) return `element ${i}: ${a} here, ${b} in cfitsio`;
  }
  return undefined;
}

/** What to ask cfitsio for to have the same type. */
function columnType(column: Column): string {
  const other: Record<string, string> = {
    complex64: 'c64',
    complex128: 'c128',
    bit: 'bit',
    logical: 'log',
    text: 'txt',
  };
  return other[column.type] ?? column.type;
}

function compareFile(
  fits: FitsFile,
  path: string,
  name: string,
): { images: number; columns: number; refused: string[]; different: string[] } {
  const requests: { request: string; ours: AnyTypedArray; where: string; ulps?: number }[] = [];
  const refused: string[] = [];
  const different: string[] = [];
  let images = 0;
  let columns = 0;
  for (const hdu of fits.hdus) {
    const where = `${name}#${hdu.index}`;
    try {
      if (hdu.kind === 'image') {
        const image = fits.readImage(hdu);
        if (image.data.length === 0) continue;
        requests.push({ request: `${hdu.index}:${image.type}`, ours: image.data, where });
        images++;
      } else if (hdu.kind === 'bintable') {
        fits.readTable(hdu).columns.forEach((column, i) => {
          const type = columnType(column);
          if (column.values.length === 0) return;
          if (column.type === 'bit' && column.offsets !== undefined) return; // cfitsio has no call for bits in a heap
          requests.push({
            request: `${hdu.index}:${i + 1}:${type}`,
            ours: comparable(column.values),
            where: `${where} ${column.name}`,
          });
          columns++;
        });
      } else if (hdu.kind === 'asciitable') {
        fits.readTable(hdu).columns.forEach((column, i) => {
          if (column.values.length === 0) return;
          requests.push({
            request: `${hdu.index}:${i + 1}:${columnType(column)}`,
            ours: comparable(column.values),
            where: `${where} ${column.name}`,
            ulps: ASCII_ULPS,
          });
          columns++;
        });
      }
    } catch (error) {
      if (!(error instanceof RamplineError)) throw error;
      refused.push(`${where}: ${error.message}`);
    }
  }
  if (requests.length === 0) return { images, columns, refused, different };
  const answers = ask(
    path,
    requests.map((r) => r.request),
  );
  if (answers === undefined && !(name in CFITSIO_REFUSES)) different.push(`${name}: cfitsio does not open it`);
  answers?.forEach((answer, i) => {
    const { ours, where, ulps } = requests[i]!;
    const why =
      answer.status === 0 ? difference(ours, answer.bytes, ulps) : `cfitsio refuses with status ${answer.status}`;
    if (why !== undefined) different.push(`${where}: ${why}`);
  });
  return { images, columns, refused, different };
}

describe('against cfitsio', () => {
  for (const set of ['compressed', 'odd', 'koa', 'wcs', 'ramp']) {
    const folder = join(data, set);
    it(`every supported image and column under ${set}`, { timeout: 300_000 }, (ctx) => {
      if (!existsSync(folder)) return ctx.skip(`${folder} is absent`);
      if (!existsSync(dump)) return ctx.skip(`${dump} is absent: the native tests are not built`);
      let images = 0;
      let columns = 0;
      const refused: string[] = [];
      const different: string[] = [];
      for (const path of walk(folder)) {
        const name = relative(data, path);
        let fits: FitsFile;
        try {
          // What a checksum says is asked elsewhere; here the question is what the bytes mean.
          fits = openFits(path, { verify: false });
        } catch (error) {
          if (!(error instanceof RamplineError)) throw error;
          refused.push(`${name}: ${error.message}`);
          continue;
        }
        const result = compareFile(fits, path, name);
        images += result.images;
        columns += result.columns;
        refused.push(...result.refused);
        different.push(...result.different);
        fits.close();
      }
      const unexpected = refused.filter((line) => {
        const [where, why] = line.split(/: (.*)/) as [string, string];
        return REFUSED[where] === undefined || !why.includes(REFUSED[where]);
      });
      expect(different).toEqual([]);
      expect(unexpected).toEqual([]);
      console.log(
        `${set}: ${images} images and ${columns} columns equal cfitsio's, ${refused.length} refused as listed`,
      );
      expect(images).toBeGreaterThan(0);
    });
  }
});
