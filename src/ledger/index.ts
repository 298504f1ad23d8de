/**
 * The ledger: what became of every job, as an index over the product tree and its logs, which make it again. Other rooms
 * import from here alone.
 *
 * Contract
 * - It is made of a night's events and of nothing else: `record` takes what the logs take. Whoever wants to know what is
 *   done asks the manifests.
 * - One writer: the process that runs a night. A handle belongs to the thread that opened it.
 */
export type { JobStatus, LedgerAbout, LedgerEvent, LedgerFailure, LedgerOutcome } from './events.js';
export { processBirth, processState } from './process.js';
