import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { diff } from './diff.js';
import { inspect } from './inspect.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-diff-'));
afterAll(() => rmSync(base, { recursive: true }));

const card = (keyword: string, value: string) => `${keyword.padEnd(8)}= ${value.padStart(20)}`.padEnd(80);
const block = (bytes: Buffer, fill: number) =>
  Buffer.concat([bytes, Buffer.alloc((2880 - (bytes.length % 2880)) % 2880, fill)]);

/** A float32 image of 6 x 4 in the primary HDU, by hand. */
function image(values: readonly number[], extra: readonly string[] = []): Buffer {
  const cards = [
    card('SIMPLE', 'T'),
    card('BITPIX', '-32'),
    card('NAXIS', '2'),
    card('NAXIS1', '6'),
    card('NAXIS2', '4'),
    ...extra,
  ];
  const data = Buffer.alloc(96);
  for (const [i, value] of values.entries()) data.writeFloatBE(value, i * 4);
  return Buffer.concat([block(Buffer.from([...cards, 'END'.padEnd(80)].join('')), 0x20), block(data, 0)]);
}
const save = (name: string, bytes: Buffer) => {
  writeFileSync(join(base, name), bytes);
  return join(base, name);
};
const ramp = Array.from({ length: 24 }, (_, i) => (i === 5 ? Number.NaN : i));

describe('diff', () => {
  it('calls the same numbers identical, NaN included, whatever DATE says', async () => {
    const a = save('a.fits', image(ramp, [card('DATE', "'2024-01-01'")]));
    const b = save('b.fits', image(ramp, [card('DATE', "'2025-01-01'")]));
    expect((await diff(a, b)).status).toBe('identical');
  });

  it('says where, how many and by how much, and knows a tolerance', async () => {
    const other = [...ramp];
    other[8] = 8.5;
    other[15] = 15.25;
    const a = save('a.fits', image(ramp));
    const b = save('c.fits', image(other));
    const [found] = (await diff(a, b)).products[0]!.hdus;
    expect(found).toMatchObject({
      status: 'differs',
      changed: 2,
      different: 2,
      first: [2, 1],
      maxAbsolute: 0.5,
      rows: 2,
    });
    expect(found!.ranges).toEqual([
      [2, 3],
      [1, 2],
    ]);
    expect(found!.maxRelative).toBeCloseTo(0.5 / 8.5, 12);
    expect((await diff(a, b, { atol: 0.5 })).status).toBe('within tolerance');
    expect((await diff(a, b, { atol: 0.3 })).products[0]!.hdus[0]).toMatchObject({ changed: 2, different: 1 });
    expect((await diff(a, b, { rtol: 0.06 })).status).toBe('within tolerance');
  });

  it('a value that is missing in one is beyond every tolerance', async () => {
    const other = [...ramp];
    other[5] = 5;
    const found = await diff(save('a.fits', image(ramp)), save('d.fits', image(other)), { atol: 1e30, rtol: 1 });
    expect(found.status).toBe('differs');
  });

  it('tells cards that differ', async () => {
    const a = save('a.fits', image(ramp, [card('GAIN', '1.9')]));
    const b = save('e.fits', image(ramp, [card('GAIN', '3.0')]));
    expect((await diff(a, b)).products[0]!.hdus[0]).toMatchObject({ status: 'differs', cards: ['GAIN: 1.9 / 3'] });
  });

  it('pairs the products of two directories, and refuses a file against a directory', async () => {
    for (const name of ['one', 'two']) mkdirSync(join(base, name));
    save('one/x.fits', image(ramp));
    save('two/x.fits', image(ramp));
    save('two/y.fits', image(ramp));
    const found = await diff(join(base, 'one'), join(base, 'two'));
    expect(found.products.map(({ product, status }) => [product, status])).toEqual([
      ['x.fits', 'identical'],
      ['y.fits', 'missing'],
    ]);
    expect(found.status).toBe('missing');
    await expect(diff(join(base, 'one'), join(base, 'one/x.fits'))).rejects.toMatchObject({ class: 'usage' });
    await expect(diff(join(base, 'none'), join(base, 'one'))).rejects.toMatchObject({ class: 'input' });
  });
});

describe('inspect', () => {
  it('describes HDUs, and holds a raw name against the raw format', async () => {
    const plain = await inspect(save('a.fits', image(ramp)));
    expect(plain.hdus).toMatchObject([
      { kind: 'image', type: 'f32', shape: [6, 4], storedBytes: 96, checksum: 'absent' },
    ]);
    expect(plain.exposure).toBeUndefined();
    const raw = await inspect(save('apR-a-52950001.fits', image(ramp)));
    expect(raw.exposure).toMatchObject({
      instrument: 'apogee',
      layout: 'unknown',
      tele: 'apo',
      mjd: 60857,
      chip: 'a',
      exposure: 1,
    });
    expect(raw.tolerated.join('\n')).toContain('6 x 4, not 2560 x 2048');
  });
});
