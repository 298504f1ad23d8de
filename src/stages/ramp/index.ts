/** The ramp stage: reads to rate. Other rooms import from here. */

export { rampChain, rampChainDescription, rampSteps } from './chain.js';
export type { ExtensionFacts, ExtensionPoint, RampExtension } from './extension.js';
export { type RampLayout, rampLayout } from './layout.js';
export {
  DARK_DROPPED_READS,
  fitOneOverF,
  type OneOverFContext,
  type OneOverFProduct,
  type RawDark,
} from './one_over_f.js';
export { RAMP_DEFAULTS, type RampOptions, rampOptions } from './options.js';
export { type ProductName, RAMP_SCHEMA, type RampProduct, rampParameters, rampProduct } from './product.js';
export {
  chooseReads,
  gatherRamp,
  type RampContext,
  type RampFacts,
  type RampImages,
  type RampResult,
  type RampTimes,
  reduceRamp,
} from './reduce.js';
export { readSeconds } from './source.js';
