/**
 * Elementary functions and random numbers whose bytes are part of the contract. ECMAScript lets an engine round Math.exp,
 * Math.log and Math.pow as it likes, so a simulated file would depend on the engine; these use +, -, *, / and Math.sqrt
 * alone, which IEEE 754 fixes.
 */

/** Natural logarithm of x > 0 to about 1e-15: 2 artanh((m - 1) / (m + 1)) + e ln 2 with m in [0.75, 1.5). */
export function ln(x: number): number {
  let m = x;
  let e = 0;
  for (; m >= 1.5; e++) m /= 2;
  for (; m < 0.75; e--) m *= 2;
  const z = (m - 1) / (m + 1);
  const zz = z * z;
  let sum = 0;
  for (let k = 23; k >= 1; k -= 2) sum = sum * zz + 1 / k;
  return e * Math.LN2 + 2 * z * sum;
}

/** e^x to about 1e-15 relative; 0 below -745. */
export function exp(x: number): number {
  if (x < -745) return 0;
  const n = Math.round(x / Math.LN2);
  const r = x - n * Math.LN2;
  let sum = 1;
  for (let k = 16; k >= 1; k--) sum = 1 + (sum * r) / k;
  let scale = 1;
  const factor = n < 0 ? 0.5 : 2;
  for (let i = Math.abs(n); i > 0; i--) scale *= factor;
  return sum * scale;
}

/** 10^x. */
export const exp10 = (x: number): number => exp(x * Math.LN10);

/** High 32 bits of the product of two 32-bit words. */
function mulHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const low = a0 * b1 + (middle & 0xffff);
  // Each sum is below 2^53 and each right-hand side below 2^32.
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(low / 65536)) >>> 0;
}

/** Philox 4x32-10 (Salmon et al. 2011), the generator of native/core/random.h. Words are unsigned. */
export function philox(
  counter: readonly [number, number, number, number],
  seed: Seed,
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let k0 = seed.low;
  let k1 = seed.high;
  for (let round = 0; round < 10; round++) {
    const aHigh = mulHigh(0xd2511f53, c0);
    const aLow = Math.imul(0xd2511f53, c0) >>> 0;
    const bHigh = mulHigh(0xcd9e8d57, c2);
    const bLow = Math.imul(0xcd9e8d57, c2) >>> 0;
    c0 = (bHigh ^ c1 ^ k0) >>> 0;
    c2 = (aHigh ^ c3 ^ k1) >>> 0;
    c1 = bLow;
    c3 = aLow;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** 64 bits of seed, two unsigned words. */
export interface Seed {
  readonly low: number;
  readonly high: number;
}

/** A seed for one purpose, from whole numbers that name it; different lists give unrelated seeds. */
export function deriveSeed(...parts: readonly number[]): Seed {
  let seed: Seed = { low: 0x52414d50, high: 0x4c494e45 };
  for (const part of parts) {
    const high = Math.floor(part / 2 ** 32) >>> 0;
    const [a, b] = philox([part >>> 0, high, 0, 0], seed);
    seed = { low: a, high: b };
  }
  return seed;
}

/** The seed as the signed words that kernels take. */
export const seedParams = (seed: Seed): { seedLow: number; seedHigh: number } => ({
  seedLow: seed.low | 0,
  seedHigh: seed.high | 0,
});

/** Numbers one after the other, for lists and scalars. Pixels take theirs from the kernels. */
export class Sequence {
  readonly #seed: Seed;
  readonly #stream: number;
  #counter = 0;
  #words: number[] = [];

  constructor(seed: Seed, stream: number) {
    this.#seed = seed;
    this.#stream = stream;
  }

  /** A word in [0, 2^32). */
  word(): number {
    if (this.#words.length === 0) {
      // The last counter word keeps these apart from the kernels' counters, whose last word is a read (below 2^31).
      this.#words = philox([this.#counter++, 0, this.#stream, 0xffffffff], this.#seed);
    }
    return this.#words.shift() as number;
  }

  /** In (0, 1). */
  uniform(): number {
    return (this.word() + 0.5) / 2 ** 32;
  }

  /** A whole number in [0, n). */
  below(n: number): number {
    return Math.floor((this.word() / 2 ** 32) * n);
  }

  /** Standard normal deviate (Marsaglia's polar method). */
  normal(): number {
    for (;;) {
      const u = 2 * this.uniform() - 1;
      const v = 2 * this.uniform() - 1;
      const s = u * u + v * v;
      if (s < 1) return u * Math.sqrt((-2 * ln(s)) / s);
    }
  }

  /** Poisson deviate of a mean up to a few thousand, as a sum of exponential waiting times (Knuth, TAOCP 2, 3.4.1). */
  poisson(mean: number): number {
    let count = 0;
    let left = mean + ln(this.uniform());
    while (left > 0) {
      count++;
      left += ln(this.uniform());
    }
    return count;
  }
}
