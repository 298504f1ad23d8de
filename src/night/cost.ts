/**
 * What jobs from raw files cost: CPU time from the costs that kernels state, memory and disk from what is allocated and written.
 * The constants are in this file alone; each says where it was measured. AMD EPYC, two cores, AVX-512, Node 20.
 */
import { kernelNamed } from '../engine/index.js';
import { apogee } from '../instruments/apogee/index.js';
import type { JobShape, Prediction } from '../stages/stage.js';

/** Of a pixel of a chain: 147 ms of its steps but decoding for 15.8e9 flops (bench/results/2026-11-21-amd-epyc.json). */
const SECONDS_PER_FLOP = 9.3e-12;
/** Rice decoding of a pixel of a read: 140 ms for 48 images of 2560 x 2048 (the same). */
const SECONDS_PER_DECODED = 5.6e-10;
/** sha256 of a byte: 56 ms for 100 MB (src/store/index.ts). */
const SECONDS_PER_HASHED_BYTE = 5.6e-10;
/** A byte of a product, encoded, written, read back and hashed: 106 ms for 100 MB (src/store/index.ts). */
const SECONDS_PER_WRITTEN_BYTE = 1.1e-9;
/** Headers, choice of calibrations, tables: what an exposure of 48 rows takes. */
const SECONDS_PER_JOB = 0.05;

/** Of a raw pixel in an .apz: 0.72 for the mock's objects of 47 reads, 0.74 for its darks of 30. */
const RAW_BYTES = 0.75;
/** SCI, ERR, CHI2 and DQ of 4 bytes, NREADS of 2. */
const RATE_BYTES = 18;
/** Tables, headers and the manifest of a product: 45 kB of a strip of 48 rows. */
const TABLE_BYTES = 60_000;

/** Cube of the reads, 16 bits: science columns, and three blocks of 512 columns in each row (384 MB for 45 reads). */
const CUBE_PAD = 1536;
const CUBE_BYTES = 2;
/** Knots of the 1/f correction, for each row of each read. */
const KNOT_BYTES = 12 * 4;
/** Beyond images, cube, knots and calibrations: 7 to 14 MB of a strip of 48 or 256 rows and of a whole chip, code included. */
const RAMP_BYTES = 14e6;
/** Blocks of reads and decoders of a thread: 5.6 MB more with two than with one. */
const THREAD_BYTES = 6e6;
/** Allocations differ from run to run by a few per cent. */
const MARGIN = 1.1;

/** [cols] of the images that a ramp makes. */
const COLS = apogee.geometry.cols;

interface Size {
  /** Of all raw files together. */
  readonly rawPixels: number;
  /** Science pixels of all reads together. */
  readonly readPixels: number;
  /** Of an image. */
  readonly pixels: number;
  readonly rows: number;
  /** Of the longest exposure. */
  readonly reads: number;
  readonly files: number;
}

function sizeOf({ inputs }: JobShape): Size {
  const sum = (of: (input: JobShape['inputs'][number]) => number) => inputs.reduce((all, one) => all + of(one), 0);
  const rows = Math.max(0, ...inputs.map((one) => one.rows));
  return {
    rawPixels: sum(({ reads, rows: height, cols }) => reads * height * cols),
    readPixels: sum(({ reads, rows: height }) => reads * height * COLS),
    pixels: rows * COLS,
    rows,
    reads: Math.max(0, ...inputs.map((one) => one.reads)),
    files: inputs.length,
  };
}

/** Kernels of a chain that take each read; the others take each pixel once. */
function flopsOf(kernels: readonly string[], { readPixels, pixels, files }: Size): number {
  let flops = 0;
  for (const name of kernels) {
    const { cost, ports } = kernelNamed(name);
    const perRead = ports.some(({ axes }) => axes.some((axis) => axis.startsWith('plane')));
    flops += cost.flops * (perRead ? readPixels : pixels * files);
  }
  return flops;
}

/** Kernels of the ramp chain as it runs by default; alternatives (clip-jumps, dcs) cost less than what they replace. */
const DEFAULT_RAMP = [
  'measure-zero-point',
  'measure-one-over-f',
  'to-float',
  'latch-saturation',
  'subtract-zero-point',
  'subtract-one-over-f',
  'linearise',
  'difference',
  'estimate-rate',
  'find-jumps',
  'fit-ramp',
] as const;

const cubeBytes = ({ reads, rows }: Size): number => CUBE_BYTES * rows * (reads * COLS + CUBE_PAD);

/** Reading, hashing and correcting all reads, decoded once. */
function readingSeconds(size: Size, kernels: readonly string[]): number {
  const { rawPixels } = size;
  const raw = rawPixels * (SECONDS_PER_DECODED + RAW_BYTES * SECONDS_PER_HASHED_BYTE);
  return raw + flopsOf(kernels, size) * SECONDS_PER_FLOP;
}

/** One exposure of one chip: `ramp`, or `calibrate`. */
export function predictRamp(shape: JobShape, calibrate: boolean): Prediction {
  const size = sizeOf(shape);
  const diskBytes = RATE_BYTES * size.pixels + TABLE_BYTES;
  const kernels = calibrate ? [...DEFAULT_RAMP, 'calibrate-rates'] : DEFAULT_RAMP;
  // Two instead of one read noise map: the variance is kept beside it.
  const maps = shape.calibrationBytes === 0 ? 0 : shape.calibrationBytes + 4 * size.pixels;
  const fixed = RAMP_BYTES + THREAD_BYTES * (shape.threads - 1) + KNOT_BYTES * size.reads * size.rows;
  const least = MARGIN * (fixed + RATE_BYTES * size.pixels + maps);
  return {
    cpuSeconds: SECONDS_PER_JOB + readingSeconds(size, kernels) + diskBytes * SECONDS_PER_WRITTEN_BYTE,
    peakBytes: Math.ceil(least + MARGIN * cubeBytes(size)),
    lowMemoryBytes: Math.ceil(least),
    diskBytes,
  };
}

/** What a build takes beyond reading its exposures. */
interface BuildCost {
  /** Of an image, with its page: moments, fits, pictures. */
  readonly secondsPerPixel: number;
  /** Of the pixels of all raw files. */
  readonly secondsPerRawPixel: number;
  readonly seconds: number;
  /** Sums of the builder, and what its page needs. */
  readonly bytesPerPixel: number;
  /** Of the science pixels of all reads together: means of rows. */
  readonly bytesPerReadRow: number;
  readonly bytes: number;
  /** Keeps a cube from four exposures on. */
  readonly cube: boolean;
  readonly diskPerPixel: number;
}

/** Exposures from which on a builder keeps a cube: CUBE_PAYS_FROM of ./builders/raw.ts. */
const CUBE_FROM = 4;

/**
 * Fitted to builds of the mock's darks and internal flats, of 12 reads of 48 and 256 rows and of 30 reads of 2048; CPU times
 * on a busy machine. What the garbage collector leaves lying depends on how busy that is: up to 20 MB more of photon-transfer.
 */
const BUILDS: Readonly<Record<string, BuildCost>> = {
  'one-over-f': {
    secondsPerPixel: 0,
    secondsPerRawPixel: 2.5e-9,
    seconds: 0.15,
    bytesPerPixel: 0,
    bytesPerReadRow: 192,
    bytes: 23e6,
    cube: false,
    diskPerPixel: 0,
  },
  'photon-transfer': {
    secondsPerPixel: 1.2e-6,
    secondsPerRawPixel: 0,
    seconds: 0.4,
    bytesPerPixel: 125,
    bytesPerReadRow: 0,
    bytes: 57e6,
    cube: true,
    diskPerPixel: 25.5,
  },
  dark: {
    secondsPerPixel: 4e-7,
    secondsPerRawPixel: 0,
    seconds: 0.25,
    bytesPerPixel: 82,
    bytesPerReadRow: 0,
    bytes: 47e6,
    cube: true,
    diskPerPixel: 15,
  },
  flat: {
    secondsPerPixel: 6e-7,
    secondsPerRawPixel: 0,
    seconds: 1.5,
    bytesPerPixel: 96,
    bytesPerReadRow: 0,
    bytes: 47e6,
    cube: true,
    diskPerPixel: 13,
  },
};

/** Calibrations of one detector from its exposures of the night. */
export function predictBuild(shape: JobShape, word: string): Prediction {
  const cost = BUILDS[word] as BuildCost;
  const size = sizeOf(shape);
  const { pixels, rawPixels, readPixels, files } = size;
  const diskBytes = cost.diskPerPixel * pixels + 3 * TABLE_BYTES;
  const maps = shape.calibrationBytes === 0 ? 0 : shape.calibrationBytes + 4 * pixels;
  const cube = cost.cube && files >= CUBE_FROM ? cubeBytes(size) : 0;
  const own = cost.bytes + cost.bytesPerPixel * pixels + (cost.bytesPerReadRow * readPixels) / COLS;
  return {
    cpuSeconds:
      cost.seconds +
      readingSeconds(size, cost.cube ? DEFAULT_RAMP : []) +
      cost.secondsPerRawPixel * rawPixels +
      cost.secondsPerPixel * pixels +
      diskBytes * SECONDS_PER_WRITTEN_BYTE,
    peakBytes: Math.ceil(MARGIN * (own + maps + cube + THREAD_BYTES * (shape.threads - 1))),
    diskBytes,
  };
}

/** Bytes for a pixel of what a night builds of each kind, and of its page's size: images of the files that are kept in memory. */
export const BUILT_BYTES_PER_PIXEL: Readonly<Record<string, number>> = { gain: 12, readnoise: 12, dark: 14, flat: 12 };
/** Tables and headers of a calibration. */
export const BUILT_BYTES = 60_000;
/** Where two calibrations are weighed a third one is made of them: values, errors and bits. */
export const WEIGHED_BYTES_PER_PIXEL = 12;
