/**
 * The almanac: what raw files a night has, what kind each exposure is, what is missing, what is not reduced and why, what
 * changed in the files. Everything from names and the first blocks of headers; pixels are the classifier's business.
 */
export {
  applyBadList,
  type BadExposure,
  badListText,
  mergeBadLists,
  parseBadList,
  readBadList,
} from './bad.js';
export { type AlmanacComparison, compareAlmanacs, type ExposureChange } from './compare.js';
export { datamodelChanges } from './datamodel.js';
export { factsOf } from './facts.js';
export { type FibreRequest, fibreKey, fibreMapOf, readFibreMap, withFibreMaps } from './fibres.js';
export { almanacName, readAlmanac, sequencesOf, writeAlmanac } from './product.js';
export { type Cell, csvText, parseWhere, select, type TableRows, tableOf, type Where } from './query.js';
export { nightRules, type ScanRequest, scanNight } from './scan.js';
export * from './types.js';
