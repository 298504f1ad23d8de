/**
 * The ledger: what became of every job, as an index over the product tree and its logs, which make it again. Other rooms
 * import from here alone.
 *
 * Contract
 * - It is made of a night's events and of nothing else: `record` takes what the logs take. Whoever wants to know what is
 *   done asks the manifests; a night goes on when the ledger cannot be written.
 * - SQLite in `state/ledger.sqlite` on a local disk, PostgreSQL by a URL that `state/ledger.json` remembers, or none.
 * - One writer: the process that runs a night, on its main thread. Several (one for each chip) may share a ledger: their
 *   batches wait for one another.
 * - Events are written in batches, each in one transaction. A crash loses the last batch at most, which the logs have.
 * - Within a run a job goes from state to state as `NEXT` in fold.ts allows: what is not allowed is a BugError, and the
 *   tables refuse it, too.
 * - Cost, `bench/ledger.mjs` in SQLite on ext4, an AMD EPYC with others at work on it: 62 us of CPU for a job that
 *   is planned, begun and ended; some 10,000 such jobs a second.
 */
export { processBirth, processState } from '../core/process.js';
export type { JobStatus, LedgerAbout, LedgerEvent, LedgerFailure, LedgerOutcome } from './events.js';
export { type AttemptRow, type JobRow, type Rows, type RunRow, stageOfJobId } from './fold.js';
export { Ledger, type NightSelection } from './ledger.js';
export {
  hashesOf,
  type KnownHashes,
  type LedgerPlace,
  type LedgerReading,
  openLedger,
  readLedger,
  rebuildLedger,
  SQLITE_NAME,
} from './open.js';
export { type JobOfProduct, jobOfProduct, STATE_FOLDER, type TreeLedger } from './tree.js';
