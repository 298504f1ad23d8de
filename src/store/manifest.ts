/** The manifest entry of a product: what it was made from. Pure functions, no file access. */
import { createHash } from 'node:crypto';
import { BugError } from '../core/errors.js';

export const MANIFEST_SCHEMA = 'rampline-manifest/1';

/** Manifests larger than this are refused unread; a real one is a few kilobytes. */
export const MANIFEST_MAX_BYTES = 16 * 1024 * 1024;

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** One file that a product was made from. */
export interface Source {
  /** The name as the user knows it. For people: it is not part of the key. */
  readonly name: string;
  /** Of the whole file, 64 lower-case hex digits (`hashFile`). */
  readonly sha256: string;
  /** What it was used as: 'raw', 'dark', 'linearity', ... */
  readonly role: string;
  /** Why this file and not another, one sentence. Not part of the key. */
  readonly why: string;
}

/** What the caller knows about a product before it is written. */
export interface ProductRecord {
  /** Layout of the product, with its version: 'ramp-2d/1'. Raising it makes every older product of the kind undone. */
  readonly schema: string;
  readonly inputs: readonly Source[];
  readonly calibrations: readonly Source[];
  readonly parameters: { readonly [name: string]: JsonValue };
  /** Kernel name to version and source hash: '1.2.0+3fa9c1'. */
  readonly kernels: { readonly [name: string]: string };
  /** Name and version of the program. For people: kernels and schema decide what is done, not the release. */
  readonly software: string;
}

/** A file that was written with a product and belongs to it, such as its page. */
export interface Companion {
  /** In the product's directory. */
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** What the store adds. */
export interface ManifestEntry extends ProductRecord {
  readonly manifest: typeof MANIFEST_SCHEMA;
  /** Name of the product without its directory. */
  readonly product: string;
  readonly bytes: number;
  readonly sha256: string;
  /** `productKey` of the record. */
  readonly key: string;
  /** UTC, ISO 8601. */
  readonly created: string;
  /**
   * Inode and modification time [ns since 1970] of the product as it was written, decimal. While both still agree with the
   * file nobody has replaced or changed it, and `isDone` need not hash it; a copied directory is hashed instead.
   */
  readonly inode: string;
  readonly mtimeNs: string;
  /** Absent where nothing was written with the product. A product without its companions is not done. */
  readonly companions?: readonly Companion[];
}

/**
 * JSON with sorted keys and no spaces: equal values give equal text.
 * @throws BugError for what JSON cannot carry exactly (NaN, infinities, undefined, functions, ...)
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    const entries = Object.entries(value as Record<string, unknown>).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${entries.map(([name, item]) => `${JSON.stringify(name)}:${canonicalJson(item)}`).join(',')}}`;
  }
  throw new BugError(`a manifest cannot carry ${typeof value === 'object' ? 'this object' : String(value)}`);
}

const SHA256 = /^[0-9a-f]{64}$/;

/**
 * The identity of a step: sha256 (hex) over everything that decides the bytes of its product: the hashes of inputs and
 * calibrations with their roles (sorted: order of naming does not matter), parameters, kernel versions and the schema.
 * File names, reasons, dates and the release are left out: a renamed input is the same input.
 * @throws BugError when a hash is not 64 hex digits or a parameter is not exact JSON (NaN, undefined)
 */
export function productKey(record: ProductRecord): string {
  const hashes = (sources: readonly Source[]): string[] =>
    sources
      .map(({ name, role, sha256 }) => {
        if (!SHA256.test(sha256)) throw new BugError(`the sha256 of ${name} is not 64 hex digits: ${sha256}`);
        return canonicalJson([role, sha256]);
      })
      .sort();
  const identity = canonicalJson({
    manifest: MANIFEST_SCHEMA,
    schema: record.schema,
    inputs: hashes(record.inputs),
    calibrations: hashes(record.calibrations),
    parameters: record.parameters,
    kernels: record.kernels,
  });
  return createHash('sha256').update(identity).digest('hex');
}

/** The manifest file's text: indented JSON for people, closed by the hash of the canonical entry. */
export function serializeManifest(entry: ManifestEntry): string {
  const check = createHash('sha256').update(canonicalJson(entry)).digest('hex');
  return `${JSON.stringify({ ...entry, check }, null, 2)}\n`;
}

/**
 * Reads a manifest file's text. It must be, byte for byte, what `serializeManifest` writes: a flipped bit anywhere in it, or
 * an edit by hand, is found.
 * @returns the entry, or a sentence that says what is wrong
 */
export function parseManifest(text: string): ManifestEntry | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'the manifest is not JSON';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'the manifest is not a JSON object';
  const { check: _, ...entry } = value as Record<string, unknown>;
  if (entry.manifest !== MANIFEST_SCHEMA) return `the manifest is not of the form ${MANIFEST_SCHEMA}`;
  if (!hasEntryShape(entry)) return 'the manifest lacks an entry or has one of the wrong type';
  let same: boolean;
  let key: string;
  try {
    same = serializeManifest(entry) === text;
    key = productKey(entry);
  } catch {
    return 'the manifest carries a value that the store never writes';
  }
  if (!same) return 'the manifest does not agree with its own check sum';
  if (key !== entry.key) return 'the key does not follow from what the manifest lists';
  return entry;
}

function hasEntryShape(value: Record<string, unknown>): value is Record<string, unknown> & ManifestEntry {
  const isObject = (item: unknown): boolean => typeof item === 'object' && item !== null && !Array.isArray(item);
  const areSources = (items: unknown): boolean =>
    Array.isArray(items) &&
    items.every(
      (item) => isObject(item) && ['name', 'sha256', 'role', 'why'].every((field) => typeof item[field] === 'string'),
    );
  const areCompanions = (items: unknown): boolean =>
    items === undefined ||
    (Array.isArray(items) &&
      items.every(
        (item) =>
          isObject(item) &&
          typeof item.name === 'string' &&
          /^[^/]+$/.test(item.name) &&
          Number.isSafeInteger(item.bytes) &&
          typeof item.sha256 === 'string',
      ));
  const texts = ['product', 'sha256', 'key', 'created', 'inode', 'mtimeNs', 'schema', 'software'];
  return (
    texts.every((field) => typeof value[field] === 'string') &&
    Number.isSafeInteger(value.bytes) &&
    areSources(value.inputs) &&
    areSources(value.calibrations) &&
    areCompanions(value.companions) &&
    isObject(value.parameters) &&
    isObject(value.kernels)
  );
}
