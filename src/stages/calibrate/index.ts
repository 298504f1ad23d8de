/**
 * 2-D calibration: dark, flat and quality bits on the rates of a ramp fit. It runs as the last step of the chain that makes
 * the rates, while a row of them is in the cache, so a chip exposure is read once and written once.
 */
import type { RateCalibrations, RateMap, RateMaps } from '../../calib/rates.js';
import { AlgorithmError } from '../../core/errors.js';
import { type BoundArray, type ChainStep, runKernel, sharedLarge } from '../../engine/index.js';

/** Layout of the product; raise it when a reader could notice. */
export const CALIBRATE_SCHEMA = 'ramp-2dcal/1';

/** Kernels whose versions count for the product's key. */
export const CALIBRATE_KERNELS = ['calibrate-rates', 'interpolate-maps', 'predict-persistence'] as const;

/** Rates of an exposure that came before, for the light it left behind. */
export interface EarlierExposure {
  /** [row][x], DN/read. */
  readonly rate: Float32Array;
  readonly dq: Uint32Array;
  /** Reads from its reset on. */
  readonly reads: number;
  /** MJD when its last read ended. */
  readonly end: number;
}

export interface CalibrateOptions {
  readonly unit: 'dn-per-read' | 'electron-per-second';
  readonly threads: number;
  /** Parameters of calibrate-rates over its defaults. */
  readonly params?: Readonly<Record<string, unknown>> | undefined;
}

/** Steps behind the fit; the shape that the ramp stage calls RampExtension. */
export interface CalibrateSteps {
  readonly at: 'rates';
  readonly arrays: () => Readonly<Record<string, BoundArray>>;
  readonly steps: (facts: { readonly readSeconds: number }) => readonly ChainStep[];
}

/** Counts above the zero point at which a pixel is full, where the saturation map says less: an H2RG's of 2.5 micron cutoff. */
const WELL_DN = 45_000;

const bound = ({ data, rows, cols, rowStride }: RateMap['value'] | RateMap['dq']): BoundArray => ({
  data,
  rows,
  cols,
  rowStride,
});

/** One map for the time of the frame. */
async function settled({ maps, fraction }: RateMaps, threads: number): Promise<RateMap> {
  const [a, b] = maps;
  if (b === undefined) return a;
  const { rows, cols } = a.value;
  const n = rows * cols;
  const memory = sharedLarge(12 * n);
  const value = { data: new Float32Array(memory, 0, n), rows, cols, rowStride: cols };
  const error = { data: new Float32Array(memory, 4 * n, n), rows, cols, rowStride: cols };
  const dq = { data: new Uint32Array(memory, 8 * n, n), rows, cols, rowStride: cols };
  await runKernel(
    'interpolate-maps',
    {
      a: bound(a.value),
      aError: bound(a.error),
      aDq: bound(a.dq),
      b: bound(b.value),
      bError: bound(b.error),
      bDq: bound(b.dq),
      value,
      error,
      dq,
    },
    { fraction },
    { threads },
  );
  return { value, error, dq };
}

/**
 * Rate that the light of earlier exposures is expected to add [DN/read], [row][x].
 * @param begin MJD at which the first read used begins
 * @param seconds how long the reads used take
 * @throws AlgorithmError for an exposure that does not lie before this one, or has another size
 */
export async function expectedPersistence(
  { amplitude, tauSeconds }: NonNullable<RateCalibrations['persistence']>,
  earlier: readonly EarlierExposure[],
  begin: number,
  seconds: number,
  threads: number,
): Promise<Float32Array> {
  const { rows, cols } = amplitude;
  const expected = new Float32Array(sharedLarge(4 * rows * cols));
  for (const { rate, dq, reads, end } of earlier) {
    const gap = (begin - end) * 86_400;
    if (gap < 0) throw new AlgorithmError(`an earlier exposure ends ${(-gap).toFixed(0)} s after this one begins`);
    if (rate.length !== rows * cols) {
      throw new AlgorithmError(`expected an earlier exposure of ${rows * cols} pixels, received ${rate.length}`);
    }
    // Mean of exp(-t / tau) over the exposure.
    const decay = (Math.exp(-gap / tauSeconds) * -Math.expm1(-seconds / tauSeconds)) / (seconds / tauSeconds);
    await runKernel(
      'predict-persistence',
      {
        rate: { data: rate, rows, cols },
        dq: { data: dq, rows, cols },
        amplitude: bound(amplitude),
        expected: { data: expected, rows, cols },
      },
      { reads, decay, well: WELL_DN },
      { threads },
    );
  }
  return expected;
}

/**
 * The steps that calibrate the rates of one exposure.
 * @param expected what earlier light adds (expectedPersistence); without it PERSISTENCE is not set
 */
export async function calibrateSteps(
  { dark, flat }: RateCalibrations,
  options: CalibrateOptions,
  expected?: Float32Array,
): Promise<CalibrateSteps> {
  const { unit, threads, params } = options;
  const d = await settled(dark, threads);
  const f = await settled(flat, threads);
  const { rows, cols } = d.value;
  const electrons = unit === 'electron-per-second';
  return {
    at: 'rates',
    arrays: () => ({
      dark: bound(d.value),
      darkError: bound(d.error),
      darkDq: bound(d.dq),
      flat: bound(f.value),
      flatError: bound(f.error),
      flatDq: bound(f.dq),
      ...(expected && { persistence: { data: expected, rows, cols } }),
    }),
    steps: ({ readSeconds }) => [
      {
        kernel: 'calibrate-rates',
        ports: {
          rate: 'rate',
          error: 'error',
          dq: 'dq',
          dark: 'dark',
          darkError: 'darkError',
          darkDq: 'darkDq',
          flat: 'flat',
          flatError: 'flatError',
          flatDq: 'flatDq',
          ...(electrons && { gain: 'gain' }),
          ...(expected && { persistence: 'persistence' }),
        },
        // Per second in electrons, else per read of this exposure.
        params: { scale: (electrons ? 1 : readSeconds) / dark.readSeconds, ...params },
      },
    ],
  };
}
