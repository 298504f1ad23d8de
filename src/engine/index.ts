/** The engine: the typed kernel registry, chains, shared memory. Other rooms import only from here. */
export { addon } from '../core/addon.js';
export * from './chain.js';
export * from './describe.js';
export { KERNELS } from './generated/kernels.js';
export type * from './kernel.js';
export * from './memory.js';
export { checkParams } from './params.js';
export * from './pool.js';
