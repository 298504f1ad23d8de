/**
 * Steps that others hang on the ramp chain. The runner passes them in, so that the ramp stage knows nothing of the stage
 * they belong to and a chip exposure is still decoded once: 2-D calibration works on the rates of a row while they are in
 * the cache, and builders of calibrations gather their sums from the corrected reads.
 */
import type { BoundArray, ChainStep } from '../../engine/index.js';

/** What is known of an exposure when the arrays of an extension are made. */
export interface ExtensionFacts {
  readonly rows: number;
  readonly cols: number;
  /** Reads used, from `firstRead` on. */
  readonly reads: number;
  /** 0-based. */
  readonly firstRead: number;
  readonly readSeconds: number;
}

/**
 * Where the steps come in, and so which arrays of the chain they may name beside their own:
 *   `reads`        nothing else runs: the raw reads, u16 [read][row][x] of the science columns, array `reads`
 *   `counts`       in place of the differences and the fit: f32 [read][row][x], array `stack` (zero point, 1/f and
 *                  nonlinearity taken off; NaN from saturation on), and `lastGood`
 *   `differences`  in place of the fit: f32 [read - 1][row][x], array `diffs`, and `lastGood`
 *   `rates`        behind the fit: arrays `rate`, `error`, `chi2` (f32), `dq` (u32), `goodDiffs` (u16), `gain`
 */
export type ExtensionPoint = 'reads' | 'counts' | 'differences' | 'rates';

export interface RampExtension {
  readonly at: ExtensionPoint;
  /** The extension's own arrays, by names that the ramp chain does not have. */
  readonly arrays: (facts: ExtensionFacts) => Readonly<Record<string, BoundArray>>;
  /** Local or stream kernels; global ones cannot follow the fit. */
  readonly steps: readonly ChainStep[] | ((facts: ExtensionFacts) => readonly ChainStep[]);
}
