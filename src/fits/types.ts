/** Array types of FITS data, with the unsigned conventions resolved. */
import type { AnyTypedArray } from './native.js';

export type PixelType = 'u8' | 'i8' | 'i16' | 'u16' | 'i32' | 'u32' | 'i64' | 'u64' | 'f32' | 'f64';

const CONSTRUCTORS = {
  u8: Uint8Array,
  i8: Int8Array,
  i16: Int16Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  i64: BigInt64Array,
  u64: BigUint64Array,
  f32: Float32Array,
  f64: Float64Array,
} as const;

export const BYTES_OF: Readonly<Record<PixelType, number>> = {
  u8: 1,
  i8: 1,
  i16: 2,
  u16: 2,
  i32: 4,
  u32: 4,
  i64: 8,
  u64: 8,
  f32: 4,
  f64: 8,
};

/** A typed array over memory that the caller provides; `buffer` may be a SharedArrayBuffer. */
export function arrayOver(type: PixelType, buffer: ArrayBufferLike, offset: number, length: number): AnyTypedArray {
  return new (CONSTRUCTORS[type] as new (b: ArrayBufferLike, o: number, n: number) => AnyTypedArray)(
    buffer,
    offset,
    length,
  );
}

export function typeOfArray(array: AnyTypedArray): PixelType {
  for (const [type, make] of Object.entries(CONSTRUCTORS)) {
    if (array instanceof make) return type as PixelType;
  }
  throw new TypeError('not a typed array of pixels');
}

/** BITPIX and the BZERO of the unsigned convention (FITS 4.0, table 11). */
export const FITS_OF: Readonly<Record<PixelType, { bitpix: number; bzero: number }>> = {
  u8: { bitpix: 8, bzero: 0 },
  i8: { bitpix: 8, bzero: -128 },
  i16: { bitpix: 16, bzero: 0 },
  u16: { bitpix: 16, bzero: 32768 },
  i32: { bitpix: 32, bzero: 0 },
  u32: { bitpix: 32, bzero: 2147483648 },
  i64: { bitpix: 64, bzero: 0 },
  u64: { bitpix: 64, bzero: 2 ** 63 },
  f32: { bitpix: -32, bzero: 0 },
  f64: { bitpix: -64, bzero: 0 },
};

/**
 * What a stored type with a scale and a zero decodes to. `flipSign` says that the unsigned convention applies, `scaled`
 * that values become floating point: float32 where the stored type has at most 24 bits, else float64.
 */
export function decodedType(
  bitpix: number,
  scale: number,
  zero: number,
): { type: PixelType; flipSign: boolean; scaled: boolean } {
  if (scale === 1) {
    for (const [type, fits] of Object.entries(FITS_OF)) {
      if (fits.bitpix === bitpix && fits.bzero === zero) {
        return { type: type as PixelType, flipSign: zero !== 0, scaled: false };
      }
    }
  }
  const wide = bitpix === 32 || bitpix === 64 || bitpix === -64;
  return { type: wide ? 'f64' : 'f32', flipSign: false, scaled: true };
}

/** The stored type without its scaling. */
export function storedType(bitpix: number): PixelType {
  return decodedType(bitpix, 1, 0).type;
}
