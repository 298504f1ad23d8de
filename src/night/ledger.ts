/** The ledger of an output directory, as a night knows it. */
import { jobOfProduct, type LedgerPlace } from '../ledger/index.js';
import { NIGHT_BUILD_WORDS, nightStages } from './stages.js';

/**
 * Where the ledger is, with what makes it from products where it is lost.
 * @param url see `LedgerPlace`
 */
export function ledgerPlace(output: string, url?: string): LedgerPlace {
  const stages = nightStages(NIGHT_BUILD_WORDS).map(({ prefix, name }) => [prefix, name]);
  return { output, url, jobOf: jobOfProduct(Object.fromEntries(stages)) };
}
