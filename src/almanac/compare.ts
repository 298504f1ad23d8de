/** What changed between two almanacs of a night (or of two nights): exposures, and what files look like. */

import { datamodelChanges } from './datamodel.js';
import { almanacTables } from './product.js';
import type { Almanac, DatamodelChange, Exposure } from './types.js';

export interface ExposureChange {
  readonly exposure: number;
  /** 'added' and 'removed' speak of B as against A. */
  readonly is: 'added' | 'removed' | 'changed';
  /** 'kind dark, was object; reads 60, was 47'. */
  readonly text: string;
}

export interface AlmanacComparison {
  readonly status: 'identical' | 'differs' | 'missing';
  readonly exposures: readonly ExposureChange[];
  readonly datamodel: readonly DatamodelChange[];
}

/** Facts of an exposure and its files by name, as text. */
function factsOf(almanac: Almanac): Map<number, Map<string, string>> {
  const out = new Map<number, Map<string, string>>();
  for (const { name, columns } of almanacTables(almanac)) {
    if (name !== 'EXPOSURES' && name !== 'FILES') continue;
    const values = (column: string) => columns.find((one) => one.name === column)!.values;
    const numbers = values('EXPOSURE');
    for (let row = 0; row < numbers.length; row++) {
      const number = Number(numbers[row]);
      const facts = out.get(number) ?? new Map<string, string>();
      const chip = name === 'FILES' ? `chip ${values('CHIP')[row]} ` : '';
      for (const column of columns) {
        // Sequences are counted through the night: one more exposure would change all that follow.
        if (['EXPOSURE', 'CHIP', 'SEQUENCE'].includes(column.name)) continue;
        facts.set(`${chip}${column.name.toLowerCase()}`, String(column.values[row]));
      }
      out.set(number, facts);
    }
  }
  return out;
}

const there = ({ kind }: Exposure): boolean => kind !== 'missing';

/** Compares B with A. 'missing' when an exposure of A is not in B or the other way round. */
export function compareAlmanacs(a: Almanac, b: Almanac): AlmanacComparison {
  const [factsA, factsB] = [factsOf(a), factsOf(b)];
  const [inA, inB] = [a, b].map((one) => new Map(one.exposures.filter(there).map((e) => [e.exposure, e])));
  const exposures: ExposureChange[] = [];
  for (const exposure of [...new Set([...inA!.keys(), ...inB!.keys()])].sort((x, y) => x - y)) {
    const [one, two] = [inA!.get(exposure), inB!.get(exposure)];
    if (one === undefined || two === undefined) {
      const { kind, frames } = (one ?? two)!;
      const text = `${kind}, chips ${frames.map(({ chip }) => chip).join('')}`;
      exposures.push({ exposure, is: one === undefined ? 'added' : 'removed', text });
      continue;
    }
    const [was, is] = [factsA.get(exposure)!, factsB.get(exposure)!];
    const words = (value: string | undefined): string =>
      value === undefined ? 'not there' : value === '' ? 'none' : value;
    const text = [...new Set([...was.keys(), ...is.keys()])]
      .filter((name) => was.get(name) !== is.get(name))
      .map((name) => `${name} ${words(is.get(name))}, was ${words(was.get(name))}`)
      .join('; ');
    if (text !== '') exposures.push({ exposure, is: 'changed', text });
  }
  const datamodel = datamodelChanges(a.datamodel, b.datamodel);
  const status = exposures.some(({ is }) => is !== 'changed')
    ? 'missing'
    : exposures.length > 0 || datamodel.length > 0
      ? 'differs'
      : 'identical';
  return { status, exposures, datamodel };
}
