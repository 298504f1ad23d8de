/**
 * The calibrations of a directory. Without a database the headers of its files are the registry; `registry.sqlite` in it
 * makes it a database for one machine, `registry.json` with a URL (or a URL that is given) one in PostgreSQL for many.
 * Files are products of the store and never change; the database holds what their headers say and can be made again from
 * them. Pins are files as well (`pins/NAME.json`), so nothing is in the database alone.
 */
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { CalibrationError, InputError, RamplineError, StorageError, UsageError } from '../core/errors.js';
import type { CalibrationRule, Instrument } from '../core/product.js';
import { didYouMean } from '../core/suggest.js';
import { version } from '../core/version.js';
import { isDatabaseUrl, publicUrl } from '../database/index.js';
import { openFits } from '../fits/index.js';
import {
  canonicalJson,
  fileIdentity,
  hashFile,
  MANIFEST_SUFFIX,
  openStore,
  type ProductRecord,
  readHashed,
  readManifest,
} from '../store/index.js';
import { Database } from './database.js';
import {
  CALIBRATION_SCHEMA,
  type CalibrationRecord,
  isCalibration,
  NoCalibrationError,
  readCalibrationRecord,
} from './product.js';
import { type Explanation, type Frame, type Pin, requireComplete, selectCalibrations } from './select.js';

export const SQLITE_NAME = 'registry.sqlite';
const POINTER_NAME = 'registry.json';
const POINTER_SCHEMA = 'registry/1';
const PIN_SCHEMA = 'pin/1';
const PIN_FOLDER = 'pins';

export type Backend = 'scan' | 'sqlite' | 'postgresql';

/** A file that could not be a candidate. */
export interface Unusable {
  readonly file: string;
  readonly reason: string;
}

export interface Survey {
  /** Sorted by kind, detector, begin of the window and hash. */
  readonly records: readonly CalibrationRecord[];
  /** Damaged files and, with a database, files that are not in it. */
  readonly unusable: readonly Unusable[];
}

/** A calibration that was chosen: whoever reads it hands `sha256` to `readCalibrationFile`. */
export interface ChosenFile {
  readonly path: string;
  readonly sha256: string;
  /** Part in the result: the weights of a kind sum to 1. */
  readonly weight: number;
  readonly record: CalibrationRecord;
}

export interface Resolution {
  readonly explanation: Explanation;
  /** One file, or two with weights where the rule interpolates. Kinds for which there is none are absent. */
  readonly files: ReadonlyMap<string, readonly ChosenFile[]>;
}

function sorted(records: readonly CalibrationRecord[]): CalibrationRecord[] {
  const key = ({ kind, tele, chip }: CalibrationRecord) => `${kind} ${tele} ${chip}`;
  const from = ({ validFrom }: CalibrationRecord) => validFrom ?? Number.NEGATIVE_INFINITY;
  const order = (a: string | number, b: string | number) => (a < b ? -1 : a > b ? 1 : 0);
  return [...records].sort((a, b) => order(key(a), key(b)) || order(from(a), from(b)) || order(a.sha256, b.sha256));
}

function fitsNames(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => /\.fits$/i.test(name) && !name.startsWith('.'))
      .sort();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new InputError('no such directory of calibrations', { file: directory, cause });
    }
    throw new StorageError(`cannot be listed: ${message}`, { file: directory, cause });
  }
}

/**
 * What the files of a directory say; those of directories below it are not looked at. FITS files that are no calibrations
 * are passed over.
 * @param hash reads every file whole
 */
async function scan(directory: string, hash = false): Promise<Survey> {
  const records: CalibrationRecord[] = [];
  const unusable: Unusable[] = [];
  for (const file of fitsNames(directory)) {
    const path = join(directory, file);
    try {
      records.push(await (hash ? verifiedRecord(path) : rememberedRecord(path)));
    } catch (error) {
      if (error instanceof NoCalibrationError) continue;
      if (!(error instanceof RamplineError) || error.class === 'bug') throw error;
      unusable.push({ file, reason: error.message });
    }
  }
  return { records, unusable };
}

/** Records by path, of a file and a manifest that have not changed since. */
const remembered = new Map<string, { readonly identity: string; readonly record: CalibrationRecord }>();
const REMEMBERED_MAX = 10_000;

/**
 * What a file's header says. A worker asks with every exposure, and reading 21 headers with their manifests takes 20 to 40 ms
 * of CPU: what was read once is only looked at.
 */
async function rememberedRecord(path: string): Promise<CalibrationRecord> {
  const file = await fileIdentity(path);
  const manifest = await fileIdentity(path + MANIFEST_SUFFIX);
  const identity = file === undefined || manifest === undefined ? undefined : `${file} ${manifest}`;
  const known = remembered.get(path);
  if (known !== undefined && known.identity === identity) return known.record;
  const record = await readCalibrationRecord(path);
  if (identity !== undefined) {
    if (remembered.size >= REMEMBERED_MAX) remembered.clear();
    remembered.set(path, { identity, record });
  }
  return record;
}

/** Whether the primary header has CALKIND. Throws InputError for what is no FITS file or is cut short. */
function claimsToBeCalibration(path: string): boolean {
  const file = openFits(path, { verify: false });
  try {
    return isCalibration(file.hdu(0).header);
  } finally {
    file.close();
  }
}

/**
 * The record of a file of which every byte was looked at: checksums of all HDUs, its hash, and its manifest if it has one.
 * @throws CalibrationError, InputError, StorageError
 */
async function verifiedRecord(path: string): Promise<CalibrationRecord> {
  const record = await readCalibrationRecord(path, { hash: true });
  const manifest = await readManifest(path);
  if (manifest !== undefined && manifest.sha256 !== record.sha256) {
    throw new CalibrationError(
      `it was changed after it was written: expected sha256 ${manifest.sha256}, found ${record.sha256}`,
      { file: path },
    );
  }
  const file = openFits(path);
  try {
    for (const hdu of file.hdus) file.readData(hdu); // throws where a checksum is wrong
    if (file.warnings.length > 0) throw new CalibrationError(file.warnings.join('; '), { file: path });
  } finally {
    file.close();
  }
  return record;
}

/** What the store's manifest of a copy says: that of the original where it has one. */
async function recordForStore(path: string, record: CalibrationRecord): Promise<ProductRecord> {
  const manifest = await readManifest(path);
  const sources = record.inputs
    .filter(({ sha256, used }) => used !== false && /^[0-9a-f]{64}$/.test(sha256))
    .map(({ name, sha256, role, why }) => ({ name, sha256, role, why }));
  return (
    manifest ?? {
      schema: record.schema || CALIBRATION_SCHEMA,
      inputs: sources,
      calibrations: [],
      parameters: { copied: record.sha256 },
      kernels: record.kernels,
      software: record.software,
    }
  );
}

/** The bytes of a file; throws at its end when they are not those that were verified. */
async function* bytesOf(path: string, sha256: string): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) {
    hash.update(chunk as Uint8Array);
    yield chunk as Uint8Array;
  }
  const found = hash.digest('hex');
  if (found !== sha256) {
    throw new CalibrationError(`it changed while it was copied: expected sha256 ${sha256}, found ${found}`, {
      file: path,
    });
  }
}

const PIN_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/**
 * The pins that lie in a directory as files.
 * @throws CalibrationError for one that is no pin, or was changed after it was made
 */
async function scanPins(directory: string): Promise<Pin[]> {
  const folder = join(directory, PIN_FOLDER);
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => /^[^.].*(?<!\.manifest)\.json$/.test(name));
  const pins: Pin[] = [];
  for (const name of names.sort()) {
    const file = join(folder, name);
    const [manifest, found] = [await readManifest(file), await hashFile(file, { remember: false })];
    if (manifest !== undefined && manifest.sha256 !== found.sha256) {
      throw new CalibrationError(
        `this pin was changed after it was made: expected sha256 ${manifest.sha256}, found ${found.sha256}`,
        { file },
      );
    }
    let value: { schema?: unknown; name?: unknown; mjd?: unknown; entries?: unknown };
    try {
      value = JSON.parse(readFileSync(file, 'utf8'));
    } catch (cause) {
      throw new CalibrationError(`this pin cannot be read: ${(cause as Error).message}`, { file, cause });
    }
    if (value.schema !== PIN_SCHEMA || `${value.name}.json` !== name || !Array.isArray(value.entries)) {
      throw new CalibrationError(`expected a pin of the form ${PIN_SCHEMA} and of the file's name`, { file });
    }
    pins.push({ name: value.name as string, mjd: Number(value.mjd), entries: value.entries });
  }
  return pins;
}

/** Writes a pin as a product, unless its name is taken. */
async function writePin(directory: string, { name, mjd, entries }: Pin): Promise<void> {
  const store = await openStore(directory);
  const text = `${JSON.stringify({ schema: PIN_SCHEMA, name, mjd, entries }, null, 2)}\n`;
  const record: ProductRecord = {
    schema: PIN_SCHEMA,
    inputs: [],
    calibrations: entries.map(({ kind, tele, chip, sha256 }) => ({
      name: `${kind} ${tele} ${chip}`,
      sha256,
      role: kind,
      why: `chosen for MJD ${mjd}`,
    })),
    parameters: { name },
    kernels: {},
    software: `rampline ${version()}`,
  };
  await store.writeProduct(`${PIN_FOLDER}/${name}.json`, [Buffer.from(text)], record, { replace: false });
}

export interface RegistryOptions {
  /** postgres:// URL; default: what the directory's registry.json names, else registry.sqlite, else none. */
  readonly url?: string | undefined;
  /** Makes the database (registry.sqlite, or the pointer to the URL) where there is none, with all files that are there. */
  readonly create?: boolean;
}

function pointedUrl(directory: string): string | undefined {
  const file = join(directory, POINTER_NAME);
  if (!existsSync(file)) return undefined;
  try {
    const { schema, url } = JSON.parse(readFileSync(file, 'utf8'));
    if (schema === POINTER_SCHEMA && typeof url === 'string') return url;
  } catch (cause) {
    throw new CalibrationError(`cannot be read: ${(cause as Error).message}`, { file, cause });
  }
  throw new CalibrationError(`expected {"schema": "${POINTER_SCHEMA}", "url": "postgres://..."}`, { file });
}

/**
 * Opens the registry of a directory. Close it after use.
 * @throws InputError when there is no such directory, StorageError, RetriableError when the database is busy or away
 */
export async function openRegistry(directory: string, options: RegistryOptions = {}): Promise<Registry> {
  const { url, create = false } = options;
  if (url !== undefined && !isDatabaseUrl(url)) {
    throw new UsageError(`expected the registry to be a URL such as postgres://host/database, received "${url}"`);
  }
  const store = create ? await openStore(directory) : undefined;
  fitsNames(directory); // there, and readable
  const where = url ?? pointedUrl(directory);
  if (where !== undefined) {
    const database = await Database.open(where, directory);
    const registry = new Registry(directory, 'postgresql', database);
    if (create && pointedUrl(directory) === undefined) {
      const foreign = (await database.records()).find(({ file }) => !existsSync(join(directory, file)));
      if (foreign !== undefined) {
        await registry.close();
        throw new CalibrationError(
          `the database is the registry of another directory: it has ${foreign.file}, which is not here`,
          { file: database.name },
        );
      }
      await store?.writeJson(POINTER_NAME, { schema: POINTER_SCHEMA, url: publicUrl(where) });
      await registry.reindex();
    }
    return registry;
  }
  const path = join(directory, SQLITE_NAME);
  const there = existsSync(path);
  if (!there && !create) return new Registry(directory, 'scan', undefined);
  const registry = new Registry(directory, 'sqlite', await Database.open(path, directory));
  // Files that were there before must not vanish from sight because one more was added.
  if (!there) await registry.reindex();
  return registry;
}

export class Registry {
  /** Absolute. */
  readonly directory: string;
  readonly backend: Backend;
  readonly #database: Database | undefined;

  /** For `openRegistry`. */
  constructor(directory: string, backend: Backend, database: Database | undefined) {
    this.directory = resolve(directory);
    this.backend = backend;
    this.#database = database;
  }

  /** All calibrations, and the files that cannot be used. */
  async survey(): Promise<Survey> {
    if (this.#database === undefined) {
      const { records, unusable } = await scan(this.directory);
      return { records: sorted(records), unusable };
    }
    const rows = await this.#database.records();
    const known = new Set(rows.map(({ file }) => file));
    const there = new Set(fitsNames(this.directory));
    const unusable: Unusable[] = [];
    for (const file of there) {
      if (known.has(file)) continue;
      try {
        if (!claimsToBeCalibration(join(this.directory, file))) continue;
        unusable.push({ file, reason: 'it is not registered: rampline calib add or calib reindex' });
      } catch (error) {
        if (!(error instanceof RamplineError)) throw error;
        unusable.push({ file, reason: error.message });
      }
    }
    const gone = rows.filter(({ file }) => !there.has(file));
    unusable.push(...gone.map(({ file }) => ({ file, reason: 'it is registered, and the file is not there' })));
    return { records: sorted(rows.filter(({ file }) => there.has(file))), unusable };
  }

  /**
   * Registers a file, after every byte of it was verified; one from elsewhere is copied into the directory first. The same
   * content again changes nothing.
   * @throws CalibrationError for a file that is no calibration, was changed, or has a name that another one has; InputError
   *   for one that is damaged or not there; StorageError, RetriableError
   */
  async add(path: string): Promise<{ status: 'added' | 'present'; record: CalibrationRecord }> {
    const record = await verifiedRecord(path);
    const { file, sha256 } = record;
    if (!/\.fits$/i.test(file) || file.startsWith('.')) {
      throw new CalibrationError('expected a name that ends in .fits', { file: path });
    }
    const target = join(this.directory, file);
    const own = resolve(dirname(path)) === this.directory;
    let copied = false;
    if (!own) {
      if (!existsSync(target)) {
        const store = await openStore(this.directory);
        const about = await recordForStore(path, record);
        try {
          await store.writeProduct(file, bytesOf(path, sha256), about, { replace: false });
          copied = true;
        } catch (error) {
          // Another process was faster: what it put there decides.
          if (!existsSync(target)) throw error;
        }
      }
      if (!copied) {
        const found = await hashFile(target, { remember: false });
        if (found.sha256 !== sha256) {
          throw new CalibrationError(
            `the directory has another file of this name: sha256 ${found.sha256}, this one is ${sha256}`,
            { file: path },
          );
        }
      }
    }
    if (this.#database === undefined) return { status: own || !copied ? 'present' : 'added', record };
    return { status: await this.#database.insert(record), record };
  }

  /**
   * Makes the database agree with the files, each read whole: adds what is there, takes out what is gone or was replaced.
   * @throws UsageError where there is no database
   */
  async reindex(): Promise<{ added: string[]; removed: string[]; unusable: readonly Unusable[] }> {
    if (this.#database === undefined) {
      throw new UsageError(`${this.directory} has no database: its files are the registry`);
    }
    const { records, unusable } = await scan(this.directory, true);
    const found = new Map(records.map((record) => [record.sha256, record]));
    const rows = await this.#database.records();
    // What another process registered since the scan stays: its file is there and is not in the scan's list.
    const scanned = new Set([...records.map(({ file }) => file), ...unusable.map(({ file }) => file)]);
    const stale = rows.filter(
      ({ sha256, file }) =>
        found.get(sha256)?.file !== file && (scanned.has(file) || !existsSync(join(this.directory, file))),
    );
    await this.#database.remove(stale.map(({ sha256 }) => sha256));
    const added: string[] = [];
    for (const record of sorted(records)) {
      if ((await this.#database.insert(record)) === 'added') added.push(record.file);
    }
    for (const pin of await scanPins(this.directory)) await this.#database.insertPin(pin);
    return { added, removed: stale.map(({ file }) => file), unusable };
  }

  async pins(): Promise<Pin[]> {
    return this.#database === undefined ? scanPins(this.directory) : this.#database.pins();
  }

  /**
   * A pin by name.
   * @throws UsageError with the nearest name
   */
  async pinNamed(name: string): Promise<Pin> {
    const pins = await this.pins();
    const found = pins.find((pin) => pin.name === name);
    if (found !== undefined) return found;
    const names = pins.map((pin) => pin.name);
    throw new UsageError(
      `no pin "${name}"${didYouMean(name, names) || (names.length === 0 ? '; there are none' : `; there are ${names.join(', ')}`)}`,
      { file: this.directory },
    );
  }

  /**
   * Freezes a set under a name for good.
   * @throws CalibrationError when the name holds another set
   */
  async pin(pin: Pin): Promise<'added' | 'present'> {
    if (!PIN_NAME.test(pin.name)) {
      throw new UsageError(`expected a pin's name to be letters, digits, ".", "_" and "-", received "${pin.name}"`);
    }
    const taken = (existing: Pin): 'present' => {
      if (canonicalJson(existing.entries) === canonicalJson(pin.entries)) return 'present';
      throw new CalibrationError(`the pin ${pin.name} holds another set already, chosen for MJD ${existing.mjd}`, {
        file: this.directory,
      });
    };
    const find = async () => (await this.pins()).find(({ name }) => name === pin.name);
    const path = join(this.directory, PIN_FOLDER, `${pin.name}.json`);
    const before = await find();
    let status: 'added' | 'present' = before === undefined ? 'added' : taken(before);
    if (status === 'added' && (await this.#database?.insertPin(pin)) === 'present') {
      status = taken(await this.pinNamed(pin.name));
    }
    if (!existsSync(path)) {
      try {
        await writePin(this.directory, before ?? pin);
      } catch (error) {
        // Another process took the name at this moment.
        if (!existsSync(path)) throw error;
        status = taken((await find()) ?? pin);
      }
    }
    return status;
  }

  async close(): Promise<void> {
    await this.#database?.close();
  }
}

export interface ResolveOptions {
  /** Takes exactly what this pin holds. */
  readonly pin?: string | undefined;
  /** Kinds that the caller's options cannot do without, beyond the rules' own. */
  readonly wanted?: readonly string[];
  /** Only these kinds; default: all that the stages use. */
  readonly kinds?: readonly string[] | undefined;
  /** Explains what is missing instead of throwing. */
  readonly allowMissing?: boolean;
  /** Of the files of this directory these alone are candidates, by name. */
  readonly only?: OnlyThese | undefined;
  /** Directories that were looked at before and have not changed since, for many frames in a row; what is missing is added. */
  readonly surveys?: Map<string, Survey> | undefined;
}

/** Of a directory's files those that may be chosen. */
export interface OnlyThese {
  readonly directory: string;
  readonly files: readonly string[];
}

/**
 * The calibrations of a frame, by the instrument's rules.
 * @param source a directory, its open registry, or several directories that are asked together as if their files lay in one
 * @param usedBy the stages that will run
 * @throws CalibrationError for all that is missing at once, with the nearest that were refused; UsageError for an unknown
 *   pin; InputError, StorageError, RetriableError
 */
export async function resolveCalibrations(
  source: string | Registry | readonly string[],
  instrument: Pick<Instrument, 'name' | 'calibrationRules'>,
  frame: Frame,
  usedBy: readonly CalibrationRule['usedBy'][],
  options: ResolveOptions = {},
): Promise<Resolution> {
  const { pin: pinName, wanted = [], kinds, allowMissing = false, only, surveys } = options;
  if (!Number.isFinite(frame.mjd)) throw new UsageError(`expected the frame's MJD to be finite, received ${frame.mjd}`);
  const opened: Registry[] = [];
  try {
    const sources = typeof source === 'string' || source instanceof Registry ? [source] : source;
    for (const one of sources) if (typeof one === 'string') opened.push(await openRegistry(one));
    const registries = source instanceof Registry ? [source] : opened;
    const rules = instrument.calibrationRules
      .filter((rule) => usedBy.includes(rule.usedBy) && (kinds === undefined || kinds.includes(rule.kind)))
      .map((rule) => (wanted.includes(rule.kind) ? { ...rule, required: true } : rule));
    // The same file in two directories is one candidate: that of the first.
    const pathOf = new Map<string, string>();
    const records: CalibrationRecord[] = [];
    const unusable: Unusable[] = [];
    for (const registry of registries) {
      const survey = surveys?.get(registry.directory) ?? (await registry.survey());
      surveys?.set(registry.directory, survey);
      const named =
        only !== undefined && resolve(only.directory) === resolve(registry.directory) ? only.files : undefined;
      const counts = ({ file }: { readonly file: string }) => named === undefined || named.includes(file);
      unusable.push(...survey.unusable.filter(counts));
      for (const record of survey.records) {
        if (pathOf.has(record.sha256) || !counts(record)) continue;
        pathOf.set(record.sha256, join(registry.directory, record.file));
        records.push(record);
      }
    }
    const pin = pinName === undefined ? undefined : await pinAmong(registries, pinName);
    const explanation = selectCalibrations(rules, { instrument: instrument.name, ...frame }, records, pin, unusable);
    if (!allowMissing) requireComplete(explanation, registries.map(({ directory }) => directory).join(', '));
    const files = new Map<string, ChosenFile[]>();
    for (const { rule, candidates } of explanation.results) {
      const chosen = candidates
        .filter(({ verdict }) => verdict === 'used')
        .map(({ record, weight }) => ({
          path: pathOf.get(record.sha256)!,
          sha256: record.sha256,
          weight,
          record,
        }));
      if (chosen.length > 0) files.set(rule.kind, chosen);
    }
    return { explanation, files };
  } finally {
    for (const registry of opened) await registry.close();
  }
}

/** The pin of that name in the first directory that has it; the last one says what names there are. */
async function pinAmong(registries: readonly Registry[], name: string): Promise<Pin | undefined> {
  for (const registry of registries.slice(0, -1)) {
    const found = (await registry.pins()).find((pin) => pin.name === name);
    if (found !== undefined) return found;
  }
  return registries.at(-1)?.pinNamed(name);
}

/** Far beyond any set of maps of one detector. */
const LARGEST_FILE_BYTES = 2 ** 32;

/**
 * Reads a calibration that was chosen, hashing what is read: a changed, truncated or swapped file is refused, never used.
 * @param allocate memory for so many bytes
 * @param needed asked for a file that was hashed before in this process and is unchanged: whether its bytes are wanted
 * @throws CalibrationError naming the expected and the found hash, or when the file is not there; StorageError
 */
export async function readCalibrationFile(
  { path, sha256 }: Pick<ChosenFile, 'path' | 'sha256'>,
  allocate: (bytes: number) => Uint8Array,
  needed: (sha256: string) => boolean = () => true,
): Promise<Uint8Array | undefined> {
  let found: Awaited<ReturnType<typeof readHashed>>;
  try {
    found = await readHashed(path, { allocate, needed, mostBytes: LARGEST_FILE_BYTES });
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new CalibrationError(`expected the calibration of sha256 ${sha256}: ${error.message}`, {
      file: path,
      cause: error,
    });
  }
  if (found.sha256 !== sha256) {
    throw new CalibrationError(
      `the calibration is not the one that was registered: expected sha256 ${sha256}, found ${found.sha256}`,
      { file: path },
    );
  }
  return found.data;
}
