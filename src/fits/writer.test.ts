import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { InputError, UsageError } from '../core/errors.js';
import type { AnyTypedArray } from './native.js';
import { openFits } from './reader.js';
import { encodeFits, type HduInput } from './writer.js';

const folder = mkdtempSync(join(tmpdir(), 'rampline-fits-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Pixels of every type: extremes first, then a ramp with a little noise. */
function pixels(): Record<string, AnyTypedArray> {
  const n = 7 * 33;
  const wave = Array.from({ length: n }, (_, i) => Math.round(50 * Math.sin(i / 9)) + ((i * 2654435761) % 7));
  const of = <T extends AnyTypedArray>(array: T, low: number, high: number): T => {
    wave.forEach((v, i) => {
      array[i] = Math.max(low, v) as never;
    });
    array[0] = low as never;
    array[1] = high as never;
    return array;
  };
  const i64 = BigInt64Array.from(wave, BigInt);
  const u64 = BigUint64Array.from(wave, (v) => BigInt(v + 1000));
  i64[0] = -(2n ** 63n);
  i64[1] = 2n ** 63n - 1n;
  u64[0] = 0n;
  u64[1] = 2n ** 64n - 1n;
  const f32 = Float32Array.from(wave, (v) => v / 3);
  const f64 = Float64Array.from(wave, (v) => v / 3);
  for (const f of [f32, f64]) {
    f[0] = Number.NaN;
    f[1] = Number.NEGATIVE_INFINITY;
    f[2] = -0;
  }
  return {
    u8: of(new Uint8Array(n), 0, 255),
    i8: of(new Int8Array(n), -128, 127),
    i16: of(new Int16Array(n), -32768, 32767),
    u16: of(new Uint16Array(n), 0, 65535),
    i32: of(new Int32Array(n), -(2 ** 31), 2 ** 31 - 1),
    u32: of(new Uint32Array(n), 0, 2 ** 32 - 1),
    i64,
    u64,
    f32,
    f64,
  };
}

const sameBytes = (a: ArrayBufferView, b: ArrayBufferView) =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));

/** A file with everything that the writer can write. */
function everything(): HduInput[] {
  const images = Object.entries(pixels());
  const hdus: HduInput[] = [
    {
      header: [
        ['TELESCOP', 'apo25m', 'a telescope'],
        ['LONGTEXT', 'word '.repeat(40).trim()],
        ['HISTORY', 'made by a test'],
      ],
    },
  ];
  for (const [type, data] of images) {
    hdus.push({ data, shape: [7, 33], name: type.toUpperCase(), header: [['BUNIT', 'adu']] });
    if (type === 'i64' || type === 'u64') continue;
    hdus.push({ data, shape: [7, 1, 33], name: `${type.toUpperCase()}_G`, compress: 'GZIP_2' });
    if (!type.startsWith('f')) {
      hdus.push({ data, shape: [7, 33], name: `${type.toUpperCase()}_R`, compress: 'RICE_1' });
    }
  }
  hdus.push({
    kind: 'table',
    name: 'TABLE',
    columns: [
      { name: 'B', values: Uint8Array.of(1, 255, 0) },
      { name: 'S', values: Int8Array.of(-128, 127, 0) },
      { name: 'I', values: Int16Array.of(-1, 2, 3), nullValue: 3 },
      { name: 'U', values: Uint16Array.of(65535, 0, 1), unit: 'adu' },
      { name: 'J', values: Int32Array.of(1, 2, 3, 4, 5, 6), form: '2J' },
      { name: 'UJ', values: Uint32Array.of(4294967295, 0, 1) },
      { name: 'K', values: BigInt64Array.of(-(2n ** 63n), 1n, 2n) },
      { name: 'UK', values: BigUint64Array.of(2n ** 64n - 1n, 1n, 2n) },
      { name: 'E', values: Float32Array.of(1.5, Number.NaN, -0) },
      { name: 'D', values: Float64Array.from({ length: 18 }, (_, i) => i / 7), form: '6D', shape: [2, 3] },
      { name: 'C', values: Float32Array.of(1, 2, 3, 4, 5, 6), form: 'C' },
      { name: 'M', values: Float64Array.of(1, 2, 3, 4, 5, 6), form: 'M' },
      { name: 'A', values: ['one', '', 'three'] },
      { name: 'L', values: [true, false, null] },
      { name: 'X', values: Uint8Array.from({ length: 33 }, (_, i) => (i % 3 === 0 ? 1 : 0)), form: '11X' },
      { name: 'PE', values: [Float32Array.of(1, 2), new Float32Array(0), Float32Array.of(3)] },
      { name: 'QU', values: [Uint16Array.of(65535), Uint16Array.of(1, 2), new Uint16Array(0)], form: 'QI' },
    ],
  });
  return hdus;
}

const file = Buffer.concat(encodeFits(everything()));

describe('what is written', () => {
  it('is whole blocks', () => {
    expect(file.length % 2880).toBe(0);
  });

  it('reads back bit for bit: every type of image, plain, RICE_1 and GZIP_2', () => {
    const fits = openFits(file);
    expect(fits.warnings).toEqual([]);
    for (const [type, data] of Object.entries(pixels())) {
      const wide = type === 'i64' || type === 'u64';
      const names = [type, ...(wide ? [] : [`${type}_G`]), ...(wide || type.startsWith('f') ? [] : [`${type}_R`])];
      for (const name of names) {
        const image = fits.readImage(name);
        expect(image.type).toBe(type);
        expect(image.shape).toEqual(name.endsWith('_G') ? [7, 1, 33] : [7, 33]);
        expect(sameBytes(image.data, data), name).toBe(true);
        expect(fits.verified(name)).toEqual({ checksum: 'good', datasum: 'good' });
      }
    }
    expect(fits.hdu(0).header.get('LONGTEXT')).toBe('word '.repeat(40).trim());
  });

  it('reads back bit for bit: every type of column', () => {
    const table = openFits(file).readTable('TABLE');
    const input = everything().at(-1)!;
    if (input.kind !== 'table') throw new Error('the last HDU is the table');
    expect(table.rows).toBe(3);
    for (const column of input.columns) {
      const got = table.column(column.name);
      if (column.name === 'L') expect([...(got.values as Uint8Array)]).toEqual([1, 0, 255]);
      else if (column.name === 'PE') expect([...(got.values as Float32Array)]).toEqual([1, 2, 3]);
      else if (column.name === 'QU') expect([...(got.values as Uint16Array)]).toEqual([65535, 1, 2]);
      else if (column.name === 'A') expect(got.values).toEqual(column.values);
      else expect(sameBytes(got.values as AnyTypedArray, column.values as AnyTypedArray), column.name).toBe(true);
    }
    expect([...table.column('PE').offsets!]).toEqual([0n, 2n, 2n, 3n]);
    expect([...table.column('QU').offsets!]).toEqual([0n, 1n, 3n, 3n]);
    expect(table.column('D').shape).toEqual([2, 3]);
    expect(table.column('I').nullValue).toBe(3n);
    expect(table.column('U').unit).toBe('adu');
  });

  it('fails verification when one bit of the data or of the header is turned', () => {
    const fits = openFits(file);
    const { dataOffset, headerOffset } = fits.hdu('U16');
    for (const at of [dataOffset + 5, headerOffset + 40]) {
      const damaged = Buffer.from(file);
      damaged[at]! ^= 1;
      expect(() => openFits(damaged).readImage('U16')).toThrow(InputError);
      expect(openFits(damaged, { verify: false }).readImage('U16').data).toHaveLength(231);
    }
  });

  it('refuses what it cannot write', () => {
    expect(() => encodeFits([])).toThrow(UsageError);
    expect(() => encodeFits([{ data: new Uint8Array(4), shape: [5] }])).toThrow(UsageError);
    expect(() => encodeFits([{ data: new Uint8Array(4), compress: 'RICE_1' }])).toThrow(UsageError);
    expect(() => encodeFits([{}, { data: new Float32Array(4), compress: 'RICE_1' }])).toThrow(UsageError);
    expect(() => encodeFits([{}, { data: new BigInt64Array(4), compress: 'GZIP_2' }])).toThrow(UsageError);
    const table = (values: Uint8Array, form: string): HduInput[] => [
      {},
      { kind: 'table', columns: [{ name: 'X', values, form }] },
    ];
    expect(() => encodeFits(table(new Uint8Array(4), 'J'))).toThrow(UsageError);
    expect(() => encodeFits(table(new Uint8Array(4), '??'))).toThrow(UsageError);
  });
});

describe('others read it', () => {
  const path = join(folder, 'everything.fits');
  writeFileSync(path, file);

  it('fitsverify finds no error and no warning', (ctx) => {
    const run = spawnSync('fitsverify', ['-l', path], { encoding: 'utf8' });
    if (run.error) return ctx.skip(`fitsverify is not installed (${run.error.message})`);
    expect(run.stdout.match(/\*\*\* (Error|Warning).*/g) ?? []).toEqual([]);
    expect(run.stdout).toContain('Verification found 0 warning(s) and 0 error(s)');
  });

  it('astropy reads the same numbers', (ctx) => {
    const probe = spawnSync('/usr/bin/python3', ['-c', 'import astropy.io.fits'], { encoding: 'utf8' });
    if (probe.status !== 0) return ctx.skip('the Debian package python3-astropy is not installed');
    // Each image is written out as raw little-endian bytes in its own type, and compared here.
    const script = `
import sys, numpy as np
from astropy.io import fits
with fits.open(sys.argv[1], checksum=True) as f:
    for h in f[1:-1]:
        d = h.data
        a = np.ascontiguousarray(d).astype(d.dtype.newbyteorder('<'))
        a.tofile(sys.argv[2] + '/' + h.name)
    t = f['TABLE'].data
    assert list(t['U']) == [65535, 0, 1] and list(t['UJ']) == [4294967295, 0, 1] and list(t['S']) == [-128, 127, 0]
    assert list(t['K']) == [-2**63, 1, 2] and [int(v) for v in t['UK']] == [2**64 - 1, 1, 2], t['UK']
    assert t['D'].shape == (3, 2, 3) and t['D'][2, 1, 2] == 17 / 7
    assert list(t['A']) == ['one', '', 'three'] and list(t['C']) == [1 + 2j, 3 + 4j, 5 + 6j]
    assert [list(v) for v in t['PE']] == [[1, 2], [], [3]]
    assert t['X'].shape == (3, 11) and bool(t['X'][0][3]) and not bool(t['X'][0][4])
    assert f[0].header['LONGTEXT'] == ('word ' * 40).strip()
`;
    const run = spawnSync('/usr/bin/python3', ['-c', script, path, folder], { encoding: 'utf8' });
    expect(run.stderr).toBe('');
    const fits = openFits(path);
    for (const hdu of fits.hdus.slice(1, -1)) {
      const image = fits.readImage(hdu);
      // astropy has no signed bytes in images: it gives them as 16 or 64-bit floats, so those are left to the other tests
      if (image.type === 'i8') continue;
      const other = readFileSync(join(folder, hdu.name));
      expect(sameBytes(image.data, other), hdu.name).toBe(true);
    }
    fits.close();
  });
});

it('makes the stored form where the pixels are when it may overwrite them: the same file, no second buffer', () => {
  const joined = (chunks: readonly Uint8Array[]) => Buffer.concat(chunks);
  for (const [name, data] of Object.entries(pixels())) {
    const shared = new (data.constructor as new (memory: SharedArrayBuffer) => AnyTypedArray)(
      new SharedArrayBuffer(data.byteLength),
    );
    shared.set(data as never);
    const wanted = joined(encodeFits([{}, { name, data }]));
    const chunks = encodeFits([{}, { name, data: shared, overwrite: true }]);
    expect(joined(chunks).equals(wanted), name).toBe(true);
    expect(
      chunks.some(({ buffer }) => buffer === shared.buffer),
      name,
    ).toBe(true);
  }
});
