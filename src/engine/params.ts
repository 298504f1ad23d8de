/** Checks a kernel's parameters against kernel.json before anything native sees them. */
import { UsageError } from '../core/errors.js';
import type { KernelDescription } from './kernel.js';

/**
 * The value of every parameter as a number (booleans 0 or 1, choices their index), defaults filled in.
 * @throws UsageError for an unknown name, a wrong type or a value out of range.
 */
export function checkParams(
  kernel: KernelDescription,
  given: Readonly<Record<string, unknown>>,
): Record<string, number> {
  for (const name of Object.keys(given)) {
    if (!kernel.params.some((p) => p.name === name)) {
      throw new UsageError(`no parameter "${name}"`, { kernel: kernel.name });
    }
  }
  const values: Record<string, number> = {};
  for (const p of kernel.params) {
    const value = given[p.name] ?? p.default;
    const refuse = (expected: string) =>
      new UsageError(`expected ${p.name} ${expected}, received ${JSON.stringify(value)}`, { kernel: kernel.name });
    if (p.type === 'enum') {
      const at = (p.choices ?? []).indexOf(String(value));
      if (at < 0) throw refuse(`one of ${p.choices?.join(', ')}`);
      values[p.name] = at;
    } else if (p.type === 'bool') {
      if (typeof value !== 'boolean') throw refuse('true or false');
      values[p.name] = Number(value);
    } else {
      const min = p.min ?? Number.NEGATIVE_INFINITY;
      const max = p.max ?? Number.POSITIVE_INFINITY;
      const whole = p.type === 'float' || Number.isInteger(value);
      const inside = typeof value === 'number' && value <= max && (p.exclusiveMin ? value > min : value >= min);
      if (!inside || !whole)
        throw refuse(`in ${p.exclusiveMin ? '(' : '['}${min}, ${max}]${p.unit ? ` ${p.unit}` : ''}`);
      values[p.name] = value;
    }
  }
  return values;
}
