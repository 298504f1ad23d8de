/** What raw files a night has, and what each exposure is: facts from names and headers, no pixel. */
import { basename, join, resolve } from 'node:path';
import { RetriableError, UsageError } from '../core/errors.js';
import type { Drop, Exposure, ExposureKind, RawFrame } from '../core/exposure.js';
import type { NightRules, Prefilters } from '../core/night_rules.js';
import type { Instrument } from '../core/product.js';
import { didYouMean } from '../core/suggest.js';
import type { FitsLimits } from '../fits/index.js';
import { applyBadList, type BadExposure } from './bad.js';
import { countFeatures, expectedChanges } from './datamodel.js';
import { ascii, type FileFacts, readFacts } from './facts.js';
import { type FoundFile, findRaw, formatOf } from './find.js';
import { ALMANAC_SCHEMA, type Almanac, type Finding } from './types.js';

export interface ScanRequest {
  readonly tele: string;
  /** Night (SJD). */
  readonly mjd: number;
  readonly instrument: Instrument;
  /** In place of the instrument's own. */
  readonly prefilters?: Partial<Prefilters> | undefined;
  /** Lists of bad exposures, merged (`mergeBadLists`). */
  readonly bad?: readonly BadExposure[] | undefined;
  readonly limits?: Partial<FitsLimits> | undefined;
  /** Files that are asked at once; default 32. */
  readonly concurrency?: number | undefined;
  readonly progress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Many more than the four threads that Node reads with are of no use, and few descriptors are taken. */
const CONCURRENCY = 32;

/**
 * The rules of an instrument's nights.
 * @throws UsageError for an instrument that has none
 */
export function nightRules(instrument: Instrument): NightRules {
  if (instrument.night !== undefined) return instrument.night;
  throw new UsageError(`raw files of ${instrument.name} have no rules for an almanac`);
}

/**
 * Lists a night. What is wrong with a file or an exposure is recorded (`drop`, `findings`) and never thrown.
 * @param root holds TELE/MJD/, MJD/, or the files themselves
 * @throws InputError when the root is no directory, StorageError when it cannot be listed, UsageError for an instrument
 *   without rules or a telescope that it has not, RetriableError when the signal came
 */
export async function scanNight(root: string, request: ScanRequest): Promise<Almanac> {
  const { tele, mjd, instrument, limits, signal } = request;
  const rules = nightRules(instrument);
  if (!rules.telescopes.includes(tele)) {
    const near = didYouMean(tele, rules.telescopes) || `; there are ${rules.telescopes.join(', ')}`;
    throw new UsageError(`no telescope "${tele}" of ${instrument.name}${near}`);
  }
  const prefilters = { ...rules.prefilters, ...request.prefilters };
  const found = await findRaw(root, { tele, mjd, instrument, rules });
  const findings: Finding[] = [];
  const note = (what: Finding['what'], severity: Finding['severity'], text: string, exposure = 0, chip = ''): void => {
    findings.push({ severity, what, exposure, chip, text: ascii(text) });
  };

  const files = new Map<string, FoundFile>();
  for (const file of found.raw) {
    const { exposure, chip } = file.identity;
    const other = files.get(`${exposure} ${chip}`);
    if (other === undefined) files.set(`${exposure} ${chip}`, file);
    else note('duplicate', 'warning', `${other.path} is taken, ${file.path} is not`, exposure, chip);
  }

  const list = [...files.values()];
  const facts: FileFacts[] = [];
  let next = 0;
  let done = 0;
  const work = async (): Promise<void> => {
    while (next < list.length) {
      if (signal?.aborted === true) throw new RetriableError('the scan was interrupted');
      const i = next++;
      facts[i] = await readFacts(join(root, list[i]!.path), rules, limits);
      request.progress?.(++done, list.length);
    }
  };
  await Promise.all(Array.from({ length: request.concurrency ?? CONCURRENCY }, work));

  const byExposure = new Map<number, Read[]>();
  list.forEach((file, i) => {
    const { exposure } = file.identity;
    byExposure.set(exposure, [...(byExposure.get(exposure) ?? []), { file, ...facts[i]! }]);
  });
  const numbers = [...byExposure.keys()];
  // A chip of which the night has nothing takes no exposure of the others along.
  const chips = prefilters.chips.filter((chip) => list.some(({ identity }) => identity.chip === chip));
  const gone = prefilters.chips.filter((chip) => !chips.includes(chip));
  if (gone.length > 0 && list.length > 0) note('chips', 'error', `${chipsText(gone)} not there in the whole night`);
  const wanted: Prefilters = { ...prefilters, chips };
  const exposures: Exposure[] = [];
  let sequence = 0;
  let lastOfSequence: Exposure | undefined;
  const absent: number[] = [];
  for (let number = Math.min(1, ...numbers); number <= Math.max(0, ...numbers); number++) {
    const reads = byExposure.get(number);
    if (reads === undefined) {
      absent.push(number);
      exposures.push(missing(tele, mjd, number));
      continue;
    }
    const before = exposures.at(-1);
    const joined = joinChips(reads, { tele, mjd, number, instrument, prefilters: wanted, note });
    const inSequence = joined.kind !== 'unknown';
    if (inSequence && !(lastOfSequence !== undefined && sameSequence(lastOfSequence, joined))) sequence++;
    const exposure = { ...joined, sequence: inSequence ? sequence : 0, afterDark: before?.kind === 'dark' };
    if (inSequence) lastOfSequence = exposure;
    exposures.push(exposure);
  }
  for (const [first, last] of ranges(absent)) {
    const which = first === last ? `exposure ${first} is` : `exposures ${first} to ${last} are`;
    note('missing', 'error', `${which} not there`, first);
  }
  for (const [folder, out] of byFolder(found.elsewhere)) {
    const names = `${out.length} raw files of this night lie in ${folder}/, where none are expected`;
    note('folder', 'warning', `${names}; they are not taken, first ${basename(out[0]!.path)}`);
  }
  for (const { path, identity } of found.foreign) {
    note('identity', 'warning', `${path} is of ${identity.tele} ${identity.mjd} by its name; it is not taken`);
  }

  const datamodel = countFeatures(
    list.map((file, i) => ({ format: formatOf(file.path), path: file.path, features: facts[i]!.features })),
    [...found.raw, ...found.elsewhere].map(({ path, folder }) => ({ path, folder: template(folder, tele, mjd) })),
  );
  for (const { severity, text } of expectedChanges(datamodel, rules)) note('datamodel', severity, text);

  const almanac: Almanac = {
    schema: ALMANAC_SCHEMA,
    instrument: instrument.name,
    tele,
    mjd,
    root: resolve(root),
    exposures,
    findings: findings.sort((a, b) => a.exposure - b.exposure || (a.chip < b.chip ? -1 : a.chip > b.chip ? 1 : 0)),
    datamodel,
    fibreMaps: [],
  };
  return request.bad === undefined ? almanac : applyBadList(almanac, request.bad);
}

/** A folder as the rules write it. */
const template = (folder: string, tele: string, mjd: number): string =>
  ascii(
    folder
      .split('/')
      .map((part) => (part === tele ? '{tele}' : part === String(mjd) ? '{mjd}' : part))
      .join('/'),
  );

function byFolder(files: readonly FoundFile[]): Map<string, FoundFile[]> {
  const out = new Map<string, FoundFile[]>();
  for (const file of files) out.set(file.folder, [...(out.get(file.folder) ?? []), file]);
  return out;
}

/** Runs of numbers that follow each other: first and last of each. */
function ranges(numbers: readonly number[]): [number, number][] {
  const out: [number, number][] = [];
  for (const n of numbers) {
    const last = out.at(-1);
    if (last !== undefined && last[1] === n - 1) last[1] = n;
    else out.push([n, n]);
  }
  return out;
}

interface Read extends FileFacts {
  readonly file: FoundFile;
}

interface JoinContext {
  readonly tele: string;
  readonly mjd: number;
  readonly number: number;
  readonly instrument: Instrument;
  readonly prefilters: Prefilters;
  readonly note: (
    what: Finding['what'],
    severity: Finding['severity'],
    text: string,
    exposure?: number,
    chip?: string,
  ) => void;
}

const rule = (reason: string): Drop => ({ by: 'rule', reason: ascii(reason) });

const NO_LAMPS = { quartz: -1, thar: -1, une: -1 };

function missing(tele: string, mjd: number, exposure: number): Exposure {
  return {
    tele,
    mjd,
    exposure,
    kind: 'missing',
    reads: 0,
    frames: [],
    start: undefined,
    exposureSeconds: 0,
    lamps: NO_LAMPS,
    ditherPixels: 0,
    plate: '',
    design: '',
    configuration: '',
    field: '',
    cartridge: '',
    map: '',
    comment: '',
    sequence: 0,
    afterDark: false,
    drop: rule('no file of this exposure is there'),
  };
}

/** What the chips of an exposure say together: the most common kind, everything else from the first that can be read. */
function joinChips(reads: readonly Read[], context: JoinContext): Exposure {
  const { tele, mjd, number, instrument, prefilters, note } = context;
  const frames = reads.map(({ file, bytes, facts, fault }): RawFrame => {
    const { chip } = file.identity;
    if (fault !== undefined) note(fault.what, 'error', `${file.path}: ${fault.reason}`, number, chip);
    if (facts !== undefined && facts.chip !== '' && facts.chip.toLowerCase() !== chip) {
      note('identity', 'error', `${file.path}: its header says chip ${facts.chip}`, number, chip);
    }
    return {
      chip,
      path: file.path,
      bytes,
      reads: facts?.reads ?? 0,
      rows: facts?.rows ?? 0,
      cols: facts?.cols ?? 0,
      serial: facts?.serial ?? '',
      drop: fault === undefined ? undefined : rule(fault.reason),
    };
  });
  const known = reads.flatMap(({ file, facts }) => (facts === undefined ? [] : [{ chip: file.identity.chip, facts }]));
  const say = (what: string, tell: (facts: NonNullable<FileFacts['facts']>) => string): void => {
    const told = known.map(({ chip, facts }) => `${chip} ${tell(facts)}`).join(', ');
    note('disagree', 'error', `the chips say different ${what}: ${told}`, number);
  };
  if (new Set(known.map(({ facts }) => facts.kind)).size > 1) say('types', ({ kind }) => kind);
  if (new Set(known.map(({ facts }) => facts.reads)).size > 1) say('numbers of reads', (facts) => String(facts.reads));
  const starts = known.flatMap(({ facts }) => facts.start ?? []);
  const spread = (Math.max(...starts) - Math.min(...starts)) * 86_400;
  // The three are read out together; what is apart by more than a read is another exposure.
  if (spread > instrument.readTimeSeconds) say('starts (MJD)', ({ start }) => start?.toFixed(6) ?? 'none');

  const first = known[0]?.facts;
  const kind = mostCommon(known.map(({ facts }) => facts.kind));
  const most = Math.max(0, ...known.map(({ facts }) => facts.reads));
  const gone = prefilters.chips.filter((chip) => !frames.some((frame) => frame.chip === chip));
  if (gone.length > 0) note('chips', 'error', `${chipsText(gone)} not there`, number);
  const bad = known.find(({ facts }) => facts.bad !== undefined)?.facts.bad;
  const least = prefilters.leastReads[kind] ?? prefilters.leastReads.else;
  const drop =
    bad !== undefined
      ? rule(`its header marks it as bad: ${bad}`)
      : gone.length > 0
        ? rule(`${chipsText(gone)} not there`)
        : most > 0 && most < least
          ? rule(`${most} ${most === 1 ? 'read' : 'reads'}, fewer than ${least}`)
          : undefined;
  return {
    tele,
    mjd,
    exposure: number,
    kind,
    reads: most,
    frames,
    start: starts.length === 0 ? undefined : Math.min(...starts),
    exposureSeconds: first?.exposureSeconds ?? 0,
    lamps: first?.lamps ?? NO_LAMPS,
    ditherPixels: first?.ditherPixels ?? 0,
    plate: first?.plate ?? '',
    design: first?.design ?? '',
    configuration: first?.configuration ?? '',
    field: first?.field ?? '',
    cartridge: first?.cartridge ?? '',
    map: first?.map ?? '',
    comment: first?.comment ?? '',
    sequence: 0,
    drop,
  };
}

const chipsText = (chips: readonly string[]): string =>
  chips.length === 1 ? `chip ${chips[0]} is` : `chips ${chips.join(', ')} are`;

function mostCommon(kinds: readonly ExposureKind[]): ExposureKind {
  const count = (kind: ExposureKind): number => kinds.filter((one) => one === kind).length;
  return kinds.reduce<ExposureKind>((best, kind) => (count(kind) > count(best) ? kind : best), kinds[0] ?? 'unknown');
}

/** The same kind and configuration; a hole in the numbering ends no sequence. */
function sameSequence(a: Exposure, b: Exposure): boolean {
  return (
    a.kind === b.kind &&
    a.plate === b.plate &&
    a.configuration === b.configuration &&
    a.field === b.field &&
    a.lamps.thar === b.lamps.thar &&
    a.lamps.une === b.lamps.une
  );
}
