import { inflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { DIVERGING_STOPS, drawFlags, drawImage, drawMap, encodePng, zscale } from './picture.js';

describe('zscale', () => {
  it('takes the ends of a straight line with contrast 1, and clips bright stars', () => {
    const ramp = Float32Array.from({ length: 2000 }, (_, i) => i);
    expect(zscale(ramp, 1)).toEqual({ low: 0, high: 1999 });
    const sky = Float32Array.from({ length: 2000 }, (_, i) => (i % 50 === 0 ? 60_000 : (i * 7919) % 100));
    const { low, high } = zscale(sky);
    expect(low).toBe(1); // the zeros are where the stars are
    expect(high).toBeLessThan(1000);
  });
  it('copes with a constant image and refuses one with no finite pixel', () => {
    expect(zscale(new Float32Array(100).fill(7))).toEqual({ low: 7, high: 7 });
    expect(() => zscale(new Float32Array(10).fill(Number.NaN))).toThrow('no finite pixel');
  });
});

describe('PNG', () => {
  it('is a valid greyscale file with the pixels in it', () => {
    const png = encodePng(Uint8Array.of(1, 2, 3, 4, 5, 6), 3, 2);
    expect(png.subarray(1, 4).toString('latin1')).toBe('PNG');
    const at = png.indexOf('IDAT');
    const data = png.subarray(at + 4, at + 4 + png.readUInt32BE(at - 4));
    expect([...inflateSync(data)]).toEqual([0, 1, 2, 3, 0, 4, 5, 6]);
  });
  it('draws row 0 at the bottom', async () => {
    const { png } = await drawImage(Float32Array.of(0, 0, 1, 1), 2, 2, { low: 0, high: 1 });
    const at = png.indexOf('IDAT');
    const data = inflateSync(png.subarray(at + 4, at + 4 + png.readUInt32BE(at - 4)));
    expect([...data]).toEqual([0, 255, 255, 0, 0, 0]);
  });
});

/** Data of the first chunk of a type. */
function chunk(png: Buffer, type: string): Buffer {
  const at = png.indexOf(type);
  return png.subarray(at + 4, at + 4 + png.readUInt32BE(at - 4));
}

describe('pictures with a palette', () => {
  it('show missing pixels clear, and the middle of the range in the middle colour', async () => {
    const image = Float32Array.of(-1, 0, 1, Number.NaN);
    const png = await drawMap(image, 2, 2, { low: -1, high: 1 }, { stops: DIVERGING_STOPS, softening: 1e-3 });
    expect([...chunk(png, 'tRNS')]).toEqual([0]);
    const levels = [...inflateSync(chunk(png, 'IDAT'))];
    expect(levels).toEqual([0, 255, 0, 0, 1, 128]);
    const colours = chunk(png, 'PLTE');
    const colour = (level: number) => [...colours.subarray(3 * level, 3 * level + 3)];
    expect([1, 128, 255].map(colour)).toEqual(DIVERGING_STOPS.map((stop) => [...stop]));
  });
  it('give bit n the colour n', () => {
    const png = drawFlags(Uint8Array.of(0, 1, 2, 0), 2, 2, ['#102030', '#405060']);
    expect([...chunk(png, 'PLTE')]).toEqual([0, 0, 0, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60]);
    expect([...inflateSync(chunk(png, 'IDAT'))]).toEqual([0, 2, 0, 0, 0, 1]);
  });
});
