/** `rampline report`: gathers what is told of a night from its almanac, manifests, products and logs, and writes the page. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { type Almanac, almanacName, badListText, readAlmanac } from '../almanac/index.js';
import { CALIBRATION_KINDS, type CalibrationKind } from '../calib/product.js';
import { InputError, StorageError, UsageError } from '../core/errors.js';
import { type FitsFile, openFits } from '../fits/index.js';
import { outliers } from '../stages/classify/outliers.js';
import { type ClassRecord, readClass } from '../stages/classify/product.js';
import { cellsOf } from '../stages/measure.js';
import type { NightCalibration, NightReport } from '../stages/qa/night/model.js';
import { nightIndex, nightPage, type Thumbnail } from '../stages/qa/night/page.js';
import { drawMap, GREY_STOPS, zscale } from '../stages/qa/picture.js';
import { openStore, type ProductState, productState } from '../store/index.js';
import { accountOf, type NightFacts, type Verdict } from './account.js';
import { logFolder, readEvents } from './events.js';
import { instrumentNamed } from './instruments.js';
import type { Job, NightEvent, NightOptions, Plan } from './job.js';
import { logOf } from './log.js';
import { NIGHT_DEFAULTS, planNight } from './plan.js';
import { NIGHT_BUILD_WORDS, ownCalibrations } from './stages.js';

export interface ReportRequest {
  /** Directory of products, as the user names it. */
  readonly output: string;
  readonly mjd: number;
  /** Default: those that have an almanac of the night. */
  readonly tele?: readonly string[] | undefined;
  readonly onProgress?: ((done: number, total: number, label: string) => void) | undefined;
}

export interface NightPage {
  readonly tele: string;
  readonly report: NightReport;
  readonly page: string;
  readonly json: string;
  /** '' where there is no outlier. */
  readonly badList: string;
}

export interface ReportOutcome {
  readonly nights: readonly NightPage[];
  /** Of several telescopes; '' for one. */
  readonly index: string;
}

/** The pipeline's own list of bad exposures, beside the page. */
export const BAD_LIST = 'bad-exposures.tsv';
/** Columns of a small picture; fewer with many exposures, so that the page stays one that a phone opens. */
const THUMB_COLS = 160;
const THUMB_COLS_MANY = 96;
const MANY = 200;
/** Manifests that are read at the same time: most of the time of one is waiting. */
const AT_ONCE = 32;
/** How wide it is drawn, and the least height, for detectors of few rows [CSS px]. */
const THUMB_WIDTH = 96;
const THUMB_LEAST = 16;

/**
 * Telescopes whose night is in a directory of products.
 * @param wanted of those
 * @throws InputError when there is none, UsageError for one that is not there
 */
export function nightTelescopes(output: string, mjd: number, wanted?: readonly string[]): readonly string[] {
  const found = existsSync(output)
    ? readdirSync(output, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && existsSync(join(output, almanacName(entry.name, mjd))))
        .map(({ name }) => name)
        .sort()
    : [];
  for (const tele of found.length > 0 ? (wanted ?? []) : []) {
    if (!found.includes(tele)) {
      throw new UsageError(`${output} has no night ${mjd} of "${tele}"; it has ${found.join(', ')}`);
    }
  }
  if (found.length > 0) return wanted ?? found;
  throw new InputError(
    `there is no almanac of the night ${mjd}: nothing was run into this directory, or it was lost, and rampline run (or almanac scan -o) writes it again`,
    { file: output },
  );
}

/** What the newest run of a night was asked, as its log says. */
export interface Asked {
  readonly options: NightOptions;
  /** Directory of raw files; undefined where no log says it. */
  readonly raw?: string | undefined;
  /** Lists of bad exposures. */
  readonly bad: readonly string[];
}

/** What the newest run of a night was asked; defaults where no log says it. */
export function askedOf(events: readonly NightEvent[]): Asked {
  const starts = events.filter(({ event }) => event === 'start').sort((a, b) => (a.time < b.time ? -1 : 1));
  const { options, raw, bad } = starts.at(-1)?.about?.request ?? {};
  const stages = new Set(events.map(({ stage }) => stage));
  const build = NIGHT_BUILD_WORDS.filter((word) => stages.has(`build-${word}`));
  return {
    options: { ...NIGHT_DEFAULTS, build, ...(options as Partial<NightOptions> | undefined) },
    ...(typeof raw === 'string' && { raw }),
    bad: Array.isArray(bad) ? bad.filter((file) => typeof file === 'string') : [],
  };
}

/** A word for a POSIX shell. */
const quoted = (word: string) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Lines for a shell that give what the panels of the page show. */
function commandsOf(output: string, { almanac, plan, events }: NightTree): NightReport['commands'] {
  const { tele, mjd } = almanac;
  const { options, raw = 'RAW', bad } = askedOf(events);
  const { calib, build, params, pin } = options;
  const [out, folder] = [quoted(output), quoted(join(output, tele, String(mjd)))];
  const sets = Object.entries(params).flatMap(([name, values]) =>
    Object.entries(values).map(([param, value]) => ` --set ${quoted(`${name}.${param}=${value}`)}`),
  );
  const directories = calib.map((directory) => ` --calib ${quoted(directory)}`).join('');
  const lists = bad.map((file) => ` --bad ${quoted(file)}`).join('');
  const frame = plan.jobs.find(({ stage, state }) => stage === 'calibrate' && state !== 'dropped')?.raw[0]?.path;
  const first = frame === undefined ? 'FILE.apz' : join(raw, frame);
  return {
    night: `${out} --tele ${tele} --mjd ${mjd}`,
    run: `${quoted(raw)} -o ${out} --tele ${tele} --mjd ${mjd}${directories}${build.length > 0 ? ` --build ${build.join(',')}` : ''}${pin === undefined ? '' : ` --pin ${quoted(pin)}`}${lists}${sets.join('')}`,
    almanac: `rampline almanac show ${quoted(join(output, almanacName(tele, mjd)))}`,
    explain: `rampline calib explain ${quoted(first)} --calib ${quoted(build.length > 0 ? ownCalibrations(output) : (calib[0] ?? ownCalibrations(output)))}`,
    warnings: `grep -h '"warnings":\\["' ${quoted(join(output, logFolder(tele, mjd)))}/*.jsonl`,
    bad: `${folder}/${BAD_LIST}`,
  };
}

/** Almanac, log and jobs of one telescope's night. */
export interface NightTree {
  readonly almanac: Almanac;
  readonly events: readonly NightEvent[];
  readonly plan: Plan;
}

/** The almanac of a run. Throws StorageError for one that is not as it was written. */
function almanacOf(file: string): Almanac {
  try {
    return readAlmanac(file);
  } catch (cause) {
    if (!(cause instanceof InputError)) throw cause;
    const text = `the almanac is damaged (${cause.message}); rampline run (or almanac scan -o) writes it again`;
    throw new StorageError(text, { file, cause });
  }
}

/**
 * Reads a night back from its directory of products, without its raw files.
 * @throws StorageError, also for a damaged almanac
 */
export async function readNight(output: string, tele: string, mjd: number): Promise<NightTree> {
  const almanac = almanacOf(join(output, almanacName(tele, mjd)));
  const events = readEvents(output, tele, mjd);
  const { options } = askedOf(events);
  const { exposures, instrument } = almanac;
  const plan: Plan = exposures.some(({ kind }) => kind !== 'missing')
    ? await planNight({ exposures, mjd, tele: [tele], output, options, compare: false })
    : {
        schema: 'plan/1',
        instrument,
        tele: [tele],
        mjd,
        chips: [],
        slices: [],
        output: resolve(output),
        options,
        jobs: [],
        exposures,
      };
  return { almanac, events, plan };
}

/** Products of each job: those that are planned, and those that its newest outcome names. */
export function productNames(plan: Plan, events: readonly NightEvent[]): Map<string, readonly string[]> {
  const names = new Map(plan.jobs.map((job) => [job.id, job.products]));
  for (const { event, outcome } of events) {
    if (
      event === 'end' &&
      outcome !== undefined &&
      outcome.products.length > 0 &&
      names.get(outcome.job)?.length === 0
    ) {
      names.set(outcome.job, outcome.products);
    }
  }
  return names;
}

/** What was read of products. */
interface Found {
  readonly whole: Map<string, { bytes: number; products: readonly string[]; pages: readonly string[] }>;
  readonly light: Map<number, Verdict>;
  readonly classes: ClassRecord[];
  readonly thumbs: Map<number, Thumbnail>;
  readonly calibrations: Map<string, NightCalibration & { products: number }>;
}

const CALIBRATION_ROLES: ReadonlySet<string> = new Set(CALIBRATION_KINDS);
const isKind = (role: string): role is CalibrationKind => CALIBRATION_ROLES.has(role);

/** A small picture of a THUMB image, row 0 at the bottom. */
async function thumbnailOf(file: FitsFile, most: number): Promise<Thumbnail | undefined> {
  const { data, shape } = await file.readImageAsync('THUMB');
  const [rows = 0, cols = 0] = shape;
  if (!(data instanceof Float32Array) || shape.length !== 2 || rows * cols === 0) return undefined;
  const size = Math.max(1, Math.min(rows, Math.ceil(cols / most)));
  const cells = await cellsOf(data, cols, { row: 0, rows, x: 0, cols }, size);
  const pixels = Float32Array.from(cells.values);
  if (!pixels.some(Number.isFinite)) return undefined;
  const png = await drawMap(pixels, cells.rows, cells.cols, zscale(pixels), { stops: GREY_STOPS, softening: 2 });
  const height = Math.round((THUMB_WIDTH * cells.rows) / cells.cols);
  return { png, width: THUMB_WIDTH, height: Math.max(THUMB_LEAST, height) };
}

/** Verdict, features and picture of an exposure's product that has them. */
async function readVerdict(path: string, exposure: number, most: number, found: Found): Promise<void> {
  const file = openFits(path, { verify: false });
  try {
    const { header } = file.hdu(0);
    const verdict = header.string('VERDICT', '').trim();
    if (verdict !== 'ok' && verdict !== 'suspect' && verdict !== 'drop') return;
    found.light.set(exposure, {
      kind: header.string('KIND', '').trim(),
      verdict,
      reason: header.string('REASON', '').trim(),
    });
    if (file.hdus.some(({ name }) => name === 'THUMB')) {
      const thumb = await thumbnailOf(file, most);
      if (thumb !== undefined) found.thumbs.set(exposure, thumb);
    }
    if (file.hdus.some(({ name }) => name === 'FEATURES')) found.classes.push(readClass(file));
  } finally {
    file.close();
  }
}

/** Candidates that were refused, from the PROVENANCE of a product. */
function refusedIn(path: string): { role: string; name: string; sha256: string; why: string }[] {
  const file = openFits(path, { verify: false });
  try {
    if (!file.hdus.some(({ name }) => name === 'PROVENANCE')) return [];
    const table = file.readTable('PROVENANCE');
    const of = (name: string) => table.column(name).values;
    const [role, name, sha256, why, used] = ['ROLE', 'NAME', 'SHA256', 'WHY', 'USED'].map(of);
    return Array.from({ length: table.rows }, (_, i) => ({
      role: String(role?.[i]),
      name: String(name?.[i]),
      sha256: String(sha256?.[i]),
      why: String(why?.[i]),
      used: Boolean(used?.[i]),
    })).filter((one) => !one.used && isKind(one.role));
  } finally {
    file.close();
  }
}

/** Grade of a calibration as its QA page has it; '' without one. */
function gradeOf(directory: string, name: string): string {
  const path = join(directory, `qa-${name.replace(/\.fits(\.gz)?$/i, '')}.json`);
  try {
    const { grade } = JSON.parse(readFileSync(path, 'utf8')) as { grade?: unknown };
    return typeof grade === 'string' ? grade : '';
  } catch {
    return ''; // no page, or one that is being written
  }
}

class Gatherer {
  readonly found: Found = {
    whole: new Map(),
    light: new Map(),
    classes: [],
    thumbs: new Map(),
    calibrations: new Map(),
  };
  readonly #output: string;
  readonly #most: number;
  /** Sets of calibrations whose refused candidates were read. */
  readonly #seen = new Set<string>();

  constructor(output: string, exposures: number) {
    this.#output = output;
    this.#most = exposures > MANY ? THUMB_COLS_MANY : THUMB_COLS;
  }

  /** What a job's products say; one that is damaged counts as not there. */
  async add(job: Job, names: readonly string[], states: readonly ProductState[]): Promise<void> {
    if (names.length === 0) return;
    let bytes = 0;
    const pages: string[] = [];
    for (const [i, name] of names.entries()) {
      const path = join(this.#output, name);
      const { entry, fault } = states[i] as ProductState;
      if (entry === undefined || fault !== undefined) return;
      const beside = entry.companions ?? [];
      bytes += beside.reduce((sum, one) => sum + one.bytes, entry.bytes);
      const page = beside.find((one) => one.name.endsWith('.html'));
      pages.push(page === undefined ? name : join(dirname(name), page.name));
      const sources = entry.calibrations.filter(({ role }) => isKind(role));
      if (job.scope !== 'detector') this.#calibrations(job, path, sources);
    }
    this.found.whole.set(job.id, { bytes, products: names, pages });
    const { exposure, chip } = job.identity;
    const [first] = names;
    if (first === undefined || exposure === undefined || chip !== undefined) return;
    try {
      await readVerdict(join(this.#output, first), exposure, this.#most, this.found);
    } catch (error) {
      if (!(error instanceof InputError)) throw error; // `rampline check` says what is wrong with it
    }
  }

  #calibrations(
    { identity: { chip = '' } }: Job,
    path: string,
    sources: readonly { role: string; name: string; sha256: string; why: string }[],
  ): void {
    if (sources.length === 0) return;
    for (const one of sources) this.#count(chip, one, true);
    const set = `${chip} ${sources.map(({ sha256 }) => sha256).join(' ')}`;
    if (this.#seen.has(set)) return;
    this.#seen.add(set);
    try {
      for (const one of refusedIn(path)) this.#count(chip, one, false);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
    }
  }

  #count(chip: string, one: { role: string; name: string; sha256: string; why: string }, used: boolean): void {
    const key = `${chip} ${one.role} ${one.name} ${used}`;
    const before = this.found.calibrations.get(key);
    const directory = join(this.#output, 'calib');
    const built = before?.built ?? existsSync(join(directory, one.name));
    const page = `qa-${one.name.replace(/\.fits(\.gz)?$/i, '')}.html`;
    this.found.calibrations.set(key, {
      chip,
      kind: one.role,
      name: one.name,
      sha256: one.sha256,
      why: one.why,
      used,
      products: (before?.products ?? 0) + 1,
      built,
      qa: before?.qa ?? (built && existsSync(join(directory, page)) ? `../../calib/${page}` : ''),
      grade: before?.grade ?? (built ? gradeOf(directory, one.name) : ''),
    });
  }
}

/** Other files of the night, relative to the page. */
function linksOf(output: string, tele: string, mjd: number, badList: boolean): NightReport['links'] {
  const calib = join(output, 'calib');
  const pages = existsSync(calib)
    ? readdirSync(calib).filter(
        (name) => name.startsWith('qa-') && name.endsWith('.html') && name.includes(`-${tele}-`),
      )
    : [];
  const shared = logOf({ tele, mjd });
  return [
    { label: 'night.json: the numbers of this page', href: 'night.json' },
    { label: 'almanac of the night', href: basename(almanacName(tele, mjd)) },
    ...(badList ? [{ label: `${BAD_LIST}: the pipeline's own list of bad exposures`, href: BAD_LIST }] : []),
    ...(existsSync(join(output, shared))
      ? [{ label: 'log of the runs and of jobs that join exposures', href: `../../${shared}` }]
      : []),
    ...pages.sort().map((name) => ({ label: `QA of ${name.slice(3, -5)}`, href: `../../calib/${name}` })),
  ];
}

/**
 * Gathers and writes the page of one telescope's night: `night.html`, `night.json` and, where exposures stand apart from others of
 * their kind, the list of bad exposures that a later run may be given.
 * @throws InputError without an almanac, StorageError
 */
export async function reportNight({ output, mjd, onProgress }: ReportRequest, tele: string): Promise<NightPage> {
  const night = await readNight(output, tele, mjd);
  const { almanac, events, plan } = night;
  const names = productNames(plan, events);
  const gatherer = new Gatherer(output, almanac.exposures.length);
  for (let i = 0; i < plan.jobs.length; i += AT_ONCE) {
    onProgress?.(i, plan.jobs.length, `${tele} ${mjd}`);
    const some = plan.jobs.slice(i, i + AT_ONCE).map((job) => ({ job, own: names.get(job.id) ?? [] }));
    const states = await Promise.all(
      some.map(({ own }) => Promise.all(own.map((name) => productState(join(output, name))))),
    );
    // One after the other: what is told does not depend on which file was read first.
    for (const [k, { job, own }] of some.entries()) await gatherer.add(job, own, states[k] ?? []);
  }
  const { whole, light, classes, thumbs, calibrations } = gatherer.found;
  const apart = outliers(classes);
  const { rows, cols } = instrumentNamed(almanac.instrument).geometry;
  const height = almanac.exposures.flatMap(({ frames }) => frames).find((frame) => frame.rows > 0)?.rows ?? rows;
  const facts: NightFacts = {
    events,
    whole,
    light,
    calibrations: [...calibrations.values()].sort((a, b) => (a.chip + a.kind < b.chip + b.kind ? -1 : 1)),
    outliers: apart.map(({ exposure, chip, reason }) => ({
      exposure,
      reason: chip === undefined ? reason : `chip ${chip}: ${reason}`,
    })),
    badList: apart.length > 0 ? BAD_LIST : '',
    links: linksOf(output, tele, mjd, apart.length > 0),
    logOf: (exposure) => {
      const name = logOf({ tele, mjd, exposure });
      return existsSync(join(output, name)) ? `../../${name}` : '';
    },
    pixels: height * cols,
    output,
    commands: commandsOf(output, night),
  };
  const report = accountOf(plan, tele, facts);
  const store = await openStore(output);
  const folder = `${tele}/${mjd}`;
  if (apart.length > 0) await store.writeFile(`${folder}/${BAD_LIST}`, badListText(apart));
  await store.writeJson(`${folder}/night.json`, report);
  await store.writeFile(`${folder}/night.html`, nightPage(report, thumbs));
  return {
    tele,
    report,
    page: store.pathOf(`${folder}/night.html`),
    json: store.pathOf(`${folder}/night.json`),
    badList: apart.length > 0 ? store.pathOf(`${folder}/${BAD_LIST}`) : '',
  };
}

/**
 * The pages of a night, one for each telescope, and an index of several.
 * @throws InputError, UsageError, StorageError
 */
export async function report(request: ReportRequest): Promise<ReportOutcome> {
  const { output, mjd } = request;
  const wanted = nightTelescopes(output, mjd, request.tele);
  const nights: NightPage[] = [];
  for (const tele of wanted) nights.push(await reportNight(request, tele));
  if (nights.length < 2) return { nights, index: '' };
  const store = await openStore(output);
  const name = `night-${mjd}.html`;
  const page = nightIndex(nights.map(({ tele, report: one }) => ({ report: one, href: `${tele}/${mjd}/night.html` })));
  await store.writeFile(name, page);
  return { nights, index: store.pathOf(name) };
}
