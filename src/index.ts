/**
 * The public interface of Rampline: what the command line does, for programs.
 *
 * ```ts
 * import { ramp, simulateExposure, verifyDirectory } from 'rampline';
 *
 * await simulateExposure({ tele: 'apo', chip: 'b', mjd: 60857, exposure: 1, reads: 12, rows: 64, output: 'raw' });
 * const [outcome] = await ramp({ files: ['raw'], output: 'out', options: { jumps: 'likelihood' } });
 * console.log(outcome.status, outcome.product, outcome.summary);
 * for await (const { product, status } of verifyDirectory('out')) console.log(status, product);
 * ```
 *
 * Functions reject with a RamplineError; its class (`error.class`) is one of usage, input, calibration, algorithm, storage,
 * retriable and bug, and `error.exitCode` is what the command line would end with.
 */
export {
  type Almanac,
  almanacName,
  applyBadList,
  type BadExposure,
  badListText,
  compareAlmanacs,
  type FibreMap,
  mergeBadLists,
  readAlmanac,
  readBadList,
  type ScanRequest,
  scanNight,
  withFibreMaps,
  writeAlmanac,
} from './almanac/index.js';
export {
  CALIBRATION_KINDS,
  type CalibrationIdentity,
  type CalibrationRecord,
  calibrationCards,
  readCalibrationRecord,
} from './calib/product.js';
export type { RampCalibrations } from './calib/ramp.js';
export {
  type ChosenFile,
  openRegistry,
  type Registry,
  type Resolution,
  readCalibrationFile,
  resolveCalibrations,
} from './calib/registry.js';
export {
  type Explanation,
  explanationText,
  type Frame,
  type Pin,
  selectCalibrations,
  toProvenance,
} from './calib/select.js';
export * from './core/errors.js';
export { DQ, DQ_BITS } from './core/generated/dq.js';
export type { CalibrationRule, Identity, Instrument, ProvenanceEntry } from './core/product.js';
export type { Extracted, ExtractionMethod, FibreState, Profile, Spectrograph, Traces, Tweak } from './core/spectra.js';
export { version } from './core/version.js';
export {
  type BoundArray,
  type Chain,
  type ChainReport,
  KERNELS as kernels,
  type KernelDescription,
  planChain,
  runChain,
  runKernel,
} from './engine/index.js';
export { encodeFits, type FitsFile, type FitsLimits, type HduInput, Header, openFits } from './fits/index.js';
export { apogee } from './instruments/apogee/index.js';
export { nirc2 } from './instruments/nirc2/index.js';
export { nirspec } from './instruments/nirspec/index.js';
export { type HandOutcome, type HandRequest, runStage } from './night/by_hand.js';
export { type BuildOutcome, type BuildRequest, buildCalibration } from './night/calib.js';
export {
  type CheckFinding,
  type CheckOutcome,
  type CheckRequest,
  type CheckWord,
  check as checkNight,
} from './night/check.js';
export { rampCalibrations } from './night/choose.js';
export { type Comparison, diff, type ProductDiff } from './night/diff.js';
export { examine, type Finding } from './night/doctor.js';
export { type DryRunRequest, dryRun as planNight, type PlanSum, planDot, planSum } from './night/dry_run.js';
export { type Inspection, inspect } from './night/inspect.js';
export { type ComparedFiles, compareProfileFiles } from './night/profiles.js';
export {
  bitEvolution,
  compareCalibrationFiles,
  type Evolution,
  type FileComparison,
  type QaOutcome,
  writeQa,
} from './night/qa.js';
export { type RampOutcome, type RampRequest, type RampSummary, ramp } from './night/ramp.js';
export {
  addCalibrations,
  checkRegistry,
  drawTimeline,
  explainFrames,
  listCalibrations,
  pinCalibrations,
  reindexCalibrations,
} from './night/registry.js';
export { type NightPage, type ReportOutcome, type ReportRequest, report as reportNight } from './night/report.js';
export { reduceSlit, type SlitRequest } from './night/slit.js';
export { type SpectraQaOptions, type SpectraQaOutcomes, writeSpectraQa } from './night/spectra_qa.js';
export { type Picture, type ViewOptions, view } from './night/view.js';
export {
  type MockSpectra,
  type MockSpectraOptions,
  mockSpectra,
  type SimulateOptions,
  type SimulateResult,
  simulateExposure,
} from './simulate/index.js';
export { type ExtractionInputs, type ExtractionOptions, extractWith } from './stages/extract/methods.js';
export { stage as extractStage } from './stages/extract/stage.js';
export { stage as modelStage } from './stages/model/stage.js';
export type { DiffOptions, DiffStatus, HduDiff } from './stages/qa/diff.js';
export { type RampContext, type RampOptions, type RampResult, rampOptions, reduceRamp } from './stages/ramp/index.js';
export { readSpectra, type SpectraProduct } from './stages/spectra_product.js';
export { stage as traceStage } from './stages/trace/stage.js';
export { readTraces, type TraceProduct } from './stages/trace_product.js';
export { hashFile, openStore, productKey, type Store, type VerifyResult, verifyDirectory } from './store/index.js';
