/** The table PROVENANCE, which every product and calibration carries. */
import type { ProvenanceEntry } from '../core/product.js';
import type { HduInput } from '../fits/index.js';

/** What a file was made from; USED is F for candidates that were refused. */
export function provenanceTable(entries: readonly ProvenanceEntry[]): HduInput {
  return {
    kind: 'table',
    name: 'PROVENANCE',
    columns: [
      { name: 'ROLE', values: entries.map((e) => e.role) },
      { name: 'NAME', values: entries.map((e) => e.name) },
      { name: 'SHA256', values: entries.map((e) => e.sha256) },
      { name: 'WHY', values: entries.map((e) => e.why) },
      { name: 'USED', form: 'L', values: entries.map((e) => e.used ?? true) },
    ],
  };
}
