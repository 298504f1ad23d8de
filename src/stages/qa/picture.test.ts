import { inflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { drawImage, encodePng, zscale } from './picture.js';

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
