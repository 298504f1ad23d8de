/** What a file may ask for. Every limit can be raised by the caller; the defaults are far above real data. */
export interface FitsLimits {
  /** HDUs in one file. The largest survey files hold a few thousand. */
  readonly hdus: number;
  /** Cards in one header: 100 000 are 8 MB of text. */
  readonly cards: number;
  /** Axes of one image; the standard allows 999, nothing real has more than a dozen. */
  readonly axes: number;
  /** Bytes of data in one HDU, stored or decoded: 64 GiB. */
  readonly dataBytes: number;
  /** Bytes that a gzip file may inflate to: 8 GiB. */
  readonly inflatedBytes: number;
  /**
   * How many times its size a gzip file may inflate to, beyond the first 64 MiB, which are always allowed. Deflate can
   * reach 1032; a mask image of zeros comes near it, a raw frame stays below 5.
   */
  readonly inflateRatio: number;
}

export const DEFAULT_LIMITS: FitsLimits = {
  hdus: 10_000,
  cards: 100_000,
  axes: 32,
  dataBytes: 64 * 2 ** 30,
  inflatedBytes: 8 * 2 ** 30,
  inflateRatio: 200,
};

/** Bytes that a gzip file may always inflate to, whatever its ratio. */
export const INFLATE_FREE_BYTES = 64 * 2 ** 20;
