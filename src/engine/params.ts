/** Checks a kernel's parameters against kernel.json before anything native sees them. */
import { UsageError } from '../core/errors.js';
import { didYouMean } from '../core/suggest.js';
import type { KernelDescription, ParamDescription } from './kernel.js';

/** What a parameter may be, as people write it: `(0, 1000] DN`, `[1, 5]`, `one of first, none`, `true or false`. */
export function rangeText(param: ParamDescription): string {
  if (param.type === 'enum') return `one of ${(param.choices ?? []).join(', ')}`;
  if (param.type === 'bool') return 'true or false';
  const unit = param.unit ? ` ${param.unit}` : '';
  return `${param.exclusiveMin ? '(' : '['}${param.min}, ${param.max}]${unit}`;
}

// JSON has no NaN and no infinities, and a person must see which of them it was.
const show = (value: unknown) => (typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value)));

/** The value as a number, or undefined where it is not allowed. */
function accept(param: ParamDescription, value: unknown): number | undefined {
  if (param.type === 'enum') {
    const at = typeof value === 'string' ? (param.choices ?? []).indexOf(value) : -1;
    return at < 0 ? undefined : at;
  }
  if (param.type === 'bool') return typeof value === 'boolean' ? Number(value) : undefined;
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = param;
  if (typeof value !== 'number' || !(value >= min && value <= max)) return undefined;
  if (param.type === 'int')
    return Number.isInteger(value) && !(param.exclusiveMin && value === min) ? value : undefined;
  // Kernels see float32: a value just above an excluded bound must not round onto it.
  return param.exclusiveMin && !(value > min && Math.fround(value) > Math.fround(min)) ? undefined : value;
}

/**
 * The value of every parameter as a number (booleans 0 or 1, choices their index), defaults filled in.
 * @param given by name; undefined means the default.
 * @throws UsageError for an unknown name, a wrong type or a value out of range.
 */
export function checkParams(
  kernel: Pick<KernelDescription, 'name' | 'params'>,
  given: Readonly<Record<string, unknown>>,
): Record<string, number> {
  const known = kernel.params.map((param) => param.name);
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    const has = known.length === 0 ? 'it has none' : `it has ${known.join(', ')}`;
    throw new UsageError(`no parameter "${name}"${didYouMean(name, known) || `; ${has}`}`, { kernel: kernel.name });
  }
  const values: Record<string, number> = {};
  for (const param of kernel.params) {
    const value = given[param.name] === undefined ? param.default : given[param.name];
    const number = accept(param, value);
    if (number === undefined) {
      const between = param.type === 'float' || param.type === 'int' ? 'in ' : '';
      const whole = param.type === 'int' ? 'a whole number ' : '';
      const near = param.type === 'enum' && typeof value === 'string' ? didYouMean(value, param.choices ?? []) : '';
      throw new UsageError(
        `expected ${param.name} ${whole}${between}${rangeText(param)}, received ${show(value)}${near}`,
        { kernel: kernel.name },
      );
    }
    values[param.name] = number;
  }
  return values;
}
