/** The ramp stage: reads to rate. Other rooms import from here. */

export { loadRampCalibrations, type RampCalibrations } from '../../calib/ramp.js';
export { rampChain, rampChainDescription, rampSteps } from './chain.js';
export { rampLayout } from './layout.js';
export {
  DARK_DROPPED_READS,
  fitOneOverF,
  type OneOverFContext,
  type OneOverFProduct,
  oneOverFName,
  type RawDark,
} from './one_over_f.js';
export { RAMP_DEFAULTS, type RampOptions, rampOptions } from './options.js';
export { RAMP_SCHEMA, type RampProduct, rampParameters, rampProduct } from './product.js';
export {
  chooseReads,
  type RampContext,
  type RampImages,
  type RampResult,
  type RampTimes,
  reduceRamp,
} from './reduce.js';
