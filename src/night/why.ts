/** Why a product must be made again: what its manifest says against what would be written now, field by field. */
import type { JsonValue, ManifestEntry, ProductRecord, Source } from '../store/index.js';

/** Digits of a hash that a person compares. */
const HASH_DIGITS = 8;

const short = (sha256: string): string => sha256.slice(0, HASH_DIGITS);

/** Sources on one side alone, by role and content: names do not count. */
function without(list: readonly Source[], other: readonly Source[]): Source[] {
  const left = new Map<string, number>();
  const key = ({ role, sha256 }: Source) => `${role} ${sha256}`;
  for (const one of other) left.set(key(one), (left.get(key(one)) ?? 0) + 1);
  return list.filter((one) => {
    const count = left.get(key(one)) ?? 0;
    left.set(key(one), count - 1);
    return count <= 0;
  });
}

/** Changes of inputs or calibrations: what has the same role, and the same name if there is one, is taken for the same thing. */
function sourceChanges(what: 'input' | 'calibration', was: readonly Source[], now: readonly Source[]): string[] {
  const gone = without(was, now);
  const changes: string[] = [];
  const fresh: Source[] = [];
  const take = (fits: (one: Source) => boolean): Source | undefined => {
    const at = gone.findIndex(fits);
    return at < 0 ? undefined : gone.splice(at, 1)[0];
  };
  for (const one of without(now, was)) {
    const old = take(({ role, name }) => role === one.role && name === one.name);
    if (old === undefined) fresh.push(one);
    else changes.push(`${what} ${one.name} changed (sha256 was ${short(old.sha256)}, is ${short(one.sha256)})`);
  }
  for (const one of fresh) {
    // Inputs of one role are many exposures: another one is not the same one changed.
    const old = what === 'calibration' ? take(({ role }) => role === one.role) : undefined;
    changes.push(
      old === undefined
        ? `${what} ${one.name} (${one.role}) is new`
        : `the ${one.role} calibration is ${one.name} (sha256 ${short(one.sha256)}) now, was ${old.name} (${short(old.sha256)})`,
    );
  }
  for (const one of gone) changes.push(`${what} ${one.name} (${one.role}) is no longer taken`);
  return changes;
}

type Flat = ReadonlyMap<string, JsonValue>;

/** Parameters by dotted names: kernels.fit-ramp.iterations. */
function flat(value: JsonValue, prefix = ''): Flat {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return new Map([[prefix, value]]);
  return new Map(
    Object.entries(value).flatMap(([name, item]) => [...flat(item, prefix === '' ? name : `${prefix}.${name}`)]),
  );
}

function parameterChanges(was: ProductRecord['parameters'], now: ProductRecord['parameters']): string[] {
  const [old, fresh] = [flat(was), flat(now)];
  const text = (value: JsonValue | undefined) => JSON.stringify(value);
  return [...new Set([...old.keys(), ...fresh.keys()])].flatMap((name) => {
    const [a, b] = [old.get(name), fresh.get(name)];
    if (text(a) === text(b)) return [];
    if (a === undefined) return [`parameter ${name} is new: ${text(b)}`];
    if (b === undefined) return [`parameter ${name} is gone, was ${text(a)}`];
    return [`parameter ${name} changed from ${text(a)} to ${text(b)}`];
  });
}

function kernelChanges(was: ProductRecord['kernels'], now: ProductRecord['kernels']): string[] {
  const version = (text: string) => text.split('+')[0] ?? text;
  return [...new Set([...Object.keys(was), ...Object.keys(now)])].flatMap((name) => {
    const [a, b] = [was[name], now[name]];
    if (a === b) return [];
    if (a === undefined) return [`kernel ${name} ${version(b as string)} is new`];
    if (b === undefined) return [`kernel ${name} is no longer used`];
    return version(a) === version(b)
      ? [`kernel ${name} ${version(a)} has other sources`]
      : [`kernel ${name} ${version(a)} -> ${version(b)}`];
  });
}

/**
 * What differs between two records, a short sentence each; none where they have the same key.
 * @param was of the manifest
 * @param now what would be written
 */
export function recordChanges(was: ProductRecord | ManifestEntry, now: ProductRecord): string[] {
  return [
    ...(was.schema === now.schema ? [] : [`the layout is ${now.schema} now, was ${was.schema}`]),
    ...sourceChanges('input', was.inputs, now.inputs),
    ...sourceChanges('calibration', was.calibrations, now.calibrations),
    ...parameterChanges(was.parameters, now.parameters),
    ...kernelChanges(was.kernels, now.kernels),
  ];
}

/** Changes that are told one by one. */
const TOLD = 3;

/** A few sentences as one. */
export function toldTogether(changes: readonly string[]): string {
  const more = changes.length - TOLD;
  return [...changes.slice(0, TOLD), ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}
