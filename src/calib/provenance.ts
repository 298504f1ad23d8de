/** The tables that every product and calibration carries: DQ_DEF and PROVENANCE. */
import { DQ_BITS, DQ_VERSION } from '../core/generated/dq.js';
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

/** What the bits of a DQ image mean. */
export function dqTable(): HduInput {
  return {
    kind: 'table',
    name: 'DQ_DEF',
    columns: [
      { name: 'BIT', values: Int32Array.from(DQ_BITS, (b) => b.bit) },
      { name: 'VALUE', values: Uint32Array.from(DQ_BITS, (b) => 2 ** b.bit) },
      { name: 'NAME', values: DQ_BITS.map((b) => b.name) },
      { name: 'BAD', form: 'L', values: DQ_BITS.map((b) => b.bad) },
      { name: 'DESCRIPTION', values: DQ_BITS.map((b) => b.doc) },
    ],
    header: [['DQVER', DQ_VERSION, 'version of the bit registry']],
  };
}
