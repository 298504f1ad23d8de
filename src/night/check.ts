/**
 * `rampline check`: the final pass over a night. Every product that is planned is there, is the one that its manifest tells of, was
 * made of what the night has now, opens, and holds what it must; what was dropped is told with its reason; and nothing else
 * lies between the products.
 */
import { existsSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { type Almanac, almanacName, scanNight } from '../almanac/index.js';
import { readCalibrationRecord } from '../calib/product.js';
import { type ErrorClass, EXIT_CODES, InputError, RamplineError, RetriableError } from '../core/errors.js';
import { type FitsFile, type FitsLimits, openFits } from '../fits/index.js';
import { listTree, verifyProduct } from '../store/index.js';
import { exitCodeOf } from './failure.js';
import { instrumentNamed } from './instruments.js';
import type { Job, NightEvent, NightOptions, Outcome, Plan } from './job.js';
import { absoluteExposures, planNight } from './plan.js';
import { NIGHT_INSTRUMENT } from './record.js';
import { askedOf, BAD_LIST, type NightTree, nightTelescopes, productNames, readNight } from './report.js';
import { failuresOf } from './run.js';
import { insaneRates, rateNumbers } from './sane.js';
import { droppedUnbegun } from './settle.js';
import { type NightStage, nightStages, ownCalibrations } from './stages.js';

/**
 * - damaged: the product or its manifest is not what was written
 * - unreadable: the system refuses to read it
 * - wrong: whole as written, and not what it must be: of another exposure, without an HDU, of another schema, not FITS
 * - insane: its numbers are outside of what is possible
 * - stale: made of other inputs, calibrations, parameters or kernels than the night has now
 * - missing: planned and not there
 * - failed: its job failed
 * - dropped: left out, and why
 * - unexpected: a file that no job of the night makes
 * - leftover: of a writer that was killed
 * - note: what could not be checked
 */
export const CHECK_WORDS = [
  'damaged',
  'unreadable',
  'wrong',
  'insane',
  'stale',
  'missing',
  'failed',
  'dropped',
  'unexpected',
  'leftover',
  'note',
] as const;
export type CheckWord = (typeof CHECK_WORDS)[number];

export interface CheckFinding {
  readonly what: CheckWord;
  readonly tele: string;
  /** '' where it is about a file alone. */
  readonly job: string;
  /** Relative to the output directory; '' where there is none. */
  readonly product: string;
  /** One sentence. */
  readonly detail: string;
  /** Class of error that it counts as in the exit code; absent: it is told only. */
  readonly error?: ErrorClass | undefined;
}

export interface CheckRequest {
  readonly output: string;
  readonly mjd: number;
  /** Default: those that have an almanac of the night. */
  readonly tele?: readonly string[] | undefined;
  /** Directory of raw files; default: that of the newest run, as its log says. */
  readonly raw?: string | undefined;
  /** False: raw files are not hashed again, so that a changed one is not found. */
  readonly hashRaw?: boolean | undefined;
  /** What a list, a rule or a verdict left out, and what failed for its input, does not count for the exit code. */
  readonly allowDrops?: boolean | undefined;
  /** What differs from the options of the newest run. */
  readonly options?: Partial<NightOptions> | undefined;
  readonly limits?: Partial<FitsLimits> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, label: string) => void) | undefined;
}

export interface CheckOutcome {
  readonly findings: readonly CheckFinding[];
  /** Jobs planned, and products that are whole, of this night and sane. */
  readonly jobs: number;
  readonly products: number;
  readonly good: number;
  readonly exitCode: number;
}

/** What a finding counts as: damage is the storage's, what a further run mends is retriable. */
const CLASS_OF: Readonly<Partial<Record<CheckWord, ErrorClass>>> = {
  damaged: 'storage',
  unreadable: 'storage',
  wrong: 'storage',
  insane: 'algorithm',
  stale: 'retriable',
  missing: 'retriable',
};

/** HDUs of rates by name; those of later products are known to their stages (Stage.sane). */
const RATES = ['SCI', 'ERR', 'DQ', 'CHI2', 'NREADS', 'READZERO', 'DQ_DEF', 'PROVENANCE'] as const;

/** Files between the products that are made without a manifest. */
const REPORTS: readonly RegExp[] = [/^night\.(html|json)$/, new RegExp(`^${BAD_LIST}$`), /^qa-.*\.(html|json|png)$/];
/** Ending of a manifest's name. */
const MANIFEST = '.manifest.json';

/** Sentences that a plan and a run begin with where another job is to blame. */
const WAITS = 'it waits for ';

type Given = Partial<Pick<CheckFinding, 'job' | 'product' | 'error'>>;

/** The newest outcome of each job. */
function newest(events: readonly NightEvent[]): Map<string, Outcome> {
  const last = new Map<string, Outcome>();
  for (const { event, outcome } of events.toSorted((a, b) => (a.time < b.time ? -1 : 1))) {
    if (event === 'end' && outcome !== undefined) last.set(outcome.job, outcome);
  }
  return last;
}

/** The final pass over one telescope's night. */
class Pass {
  readonly findings: CheckFinding[] = [];
  readonly #request: CheckRequest;
  readonly #tele: string;
  jobs = 0;
  products = 0;
  good = 0;

  constructor(request: CheckRequest, tele: string) {
    this.#request = request;
    this.#tele = tele;
  }

  #add(what: CheckWord, detail: string, { job = '', product = '', error = CLASS_OF[what] }: Given = {}): void {
    this.findings.push({ what, tele: this.#tele, job, product, detail, ...(error && { error }) });
  }

  async run(): Promise<void> {
    const { output, mjd, signal, onProgress } = this.#request;
    const night = await readNight(output, this.#tele, mjd);
    const { plan, compared } = await this.#planned(night);
    const stages = new Map(nightStages(plan.options.build).map((stage) => [stage.name, stage]));
    const names = productNames(plan, night.events);
    const last = newest(night.events);
    const raw = this.#request.raw ?? askedOf(night.events).raw ?? output;
    // Where raw files lie in the directory of products, they are not to be taken for what may be removed.
    const rawFiles = night.almanac.exposures.flatMap(({ frames }) =>
      frames.map(({ path }) => relative(resolve(output), resolve(raw, path))),
    );
    const expected = new Set<string>([almanacName(this.#tele, mjd), ...rawFiles]);
    await this.#product(almanacName(this.#tele, mjd), '');
    this.jobs = plan.jobs.length;
    for (const [i, job] of plan.jobs.entries()) {
      if (signal?.aborted === true) throw new RetriableError('interrupted');
      onProgress?.(i, plan.jobs.length, job.id);
      const own = names.get(job.id) ?? [];
      for (const name of own) expected.add(name);
      const path = (name: string) => join(output, name);
      if (own.some((name) => existsSync(path(name)) || existsSync(`${path(name)}${MANIFEST}`))) {
        for (const name of own) await this.#planProduct(name, job, stages.get(job.stage), compared);
      } else this.#absent(plan, job, own[0] ?? '', last.get(job.id));
    }
    await this.#others(expected);
  }

  /** The plan as it stands now; without comparing inputs where the raw files are not to be had. */
  async #planned({ almanac, events, plan }: NightTree): Promise<{ plan: Plan; compared: boolean }> {
    const { mjd, output, hashRaw = true, onProgress } = this.#request;
    const options = { ...plan.options, ...this.#request.options };
    const root = this.#request.raw ?? askedOf(events).raw;
    if (plan.jobs.length === 0) return { plan, compared: false };
    if (root === undefined || !existsSync(root)) {
      const why = root === undefined ? 'no log says where the raw files are' : `the raw files in ${root} are not there`;
      this.#add('note', `${why} (--raw): that products were made of them, and with these parameters, is not checked`);
      return { plan, compared: false };
    }
    await this.#newcomers(root, almanac);
    const exposures = absoluteExposures({ root, exposures: almanac.exposures });
    const hash = hashRaw ? 'needed' : 'none';
    const tele = [this.#tele];
    return { plan: await planNight({ exposures, mjd, tele, output, options, hash, onProgress }), compared: true };
  }

  /** Raw files that came after the newest run: nothing is planned for them yet. */
  async #newcomers(root: string, almanac: Almanac): Promise<void> {
    const { mjd, signal } = this.#request;
    const now = await scanNight(root, { tele: this.#tele, mjd, instrument: NIGHT_INSTRUMENT, signal });
    const rawNames = ({ exposures }: Almanac) =>
      exposures.flatMap(({ frames }) => frames.map(({ path }) => basename(path)));
    const known = new Set(rawNames(almanac));
    const [first, ...more] = rawNames(now).filter((name) => !known.has(name));
    if (first === undefined) return;
    const others = more.length === 0 ? '' : ` and ${more.length} more`;
    this.#add('missing', `${first}${others} came after the newest run, which made nothing of it (run again)`);
  }

  /** A job without any product. */
  #absent(plan: Plan, job: Job, product: string, outcome: Outcome | undefined): void {
    const lost = job.state === 'dropped' ? droppedUnbegun(job, job.why) : outcome;
    if (lost?.status === 'dropped' || lost?.status === 'failed') {
      const [failure] = failuresOf(plan, [lost]);
      const allowed = lost.status === 'dropped' && this.#request.allowDrops === true;
      const detail = lost.failure?.message ?? 'no reason was recorded';
      this.#add(lost.status, detail, { job: job.id, product, error: allowed ? undefined : failure?.error });
    } else this.#add('missing', job.why, { job: job.id, product });
  }

  async #planProduct(name: string, job: Job, stage: NightStage | undefined, compared: boolean): Promise<void> {
    this.products++;
    const whole = await this.#product(name, job.id);
    if (!whole) return;
    const about = { job: job.id, product: name };
    if (compared && job.state === 'todo' && !job.why.startsWith(WAITS)) {
      this.#add('stale', job.why, about);
      return;
    }
    if (compared && job.state === 'dropped') {
      this.#add('unexpected', `its job is dropped now: ${job.why}`, about);
      return;
    }
    const before = this.findings.length;
    // What is made of something that must be made again is judged by what it is made of.
    const waits = compared && job.state === 'todo';
    try {
      for (const detail of await this.#content(name, job, stage)) this.#add(waits ? 'stale' : 'insane', detail, about);
    } catch (error) {
      if (!(error instanceof RamplineError) || error.class === 'bug') throw error;
      this.#add(waits ? 'stale' : 'wrong', error.message, about);
    }
    if (this.findings.length === before) this.good++;
  }

  /** Whether a product is what its manifest says. */
  async #product(name: string, job: string): Promise<boolean> {
    const path = join(this.#request.output, name);
    const { status, detail } = await verifyProduct(path);
    if (status === 'ok') return true;
    this.#add(status === 'missing' || status === 'unreadable' ? status : 'damaged', detail, { job, product: name });
    return false;
  }

  /**
   * Opens a product and looks at what it holds.
   * @returns numbers that are out of range
   * @throws InputError, CalibrationError for what it is not
   */
  async #content(name: string, job: Job, stage: NightStage | undefined): Promise<string[]> {
    const path = join(this.#request.output, name);
    const { limits = {} } = this.#request;
    const file = openFits(path, { verify: false, limits });
    try {
      checkSums(file);
      if (stage?.execution.by === 'build') {
        const { kind, tele, chip } = await readCalibrationRecord(path, { limits });
        const { kinds } = stage.execution.builder;
        if (tele === job.identity.tele && chip === job.identity.chip && kinds.includes(kind)) return [];
        throw new InputError(
          `expected a ${kinds.join(' or ')} of ${job.identity.tele} ${job.identity.chip}, received a ${kind} of ${tele} ${chip}`,
        );
      }
      checkIdentity(file, job);
      const needed = stage?.execution.by === 'ramp' ? RATES : (['PROVENANCE'] as const);
      const absent = needed.filter((one) => !file.hdus.some((hdu) => hdu.name === one));
      if (absent.length > 0) throw new InputError(`expected the HDU ${absent.join(' and ')}`);
      if (stage?.execution.by !== 'ramp') return [...(stage?.sane?.(file) ?? [])];
      const instrument = file.hdu(0).header.string('INSTRUME', '').trim().toLowerCase();
      return insaneRates(await rateNumbers(file, instrumentNamed(instrument).geometry));
    } finally {
      file.close();
    }
  }

  /** What lies between the products. */
  async #others(expected: ReadonlySet<string>): Promise<void> {
    const { output, mjd } = this.#request;
    const folder = `${this.#tele}/${mjd}`;
    const calib = basename(ownCalibrations(output));
    const entries = [
      ...(await listTree(join(output, folder))).map((one) => ({ ...one, name: `${folder}/${one.name}` })),
      // The directory of calibrations is shared with other nights: only what is of this one.
      ...(existsSync(join(output, calib)) ? await listTree(join(output, calib)) : [])
        .filter(
          ({ name, kind }) => kind === 'temporary' || (name.includes(`-${this.#tele}-`) && name.includes(`-${mjd}-`)),
        )
        .map((one) => ({ ...one, name: `${calib}/${one.name}` })),
    ];
    for (const { name, kind } of entries) {
      const product = kind === 'manifest' ? name.slice(0, -MANIFEST.length) : name;
      const told = kind === 'manifest' && existsSync(join(output, product));
      if (expected.has(product) || told || REPORTS.some((one) => one.test(basename(product)))) continue;
      if (kind === 'temporary') this.#add('leftover', 'a writer is at work or was killed', { product });
      else this.#add('unexpected', 'no job of the night makes this file', { product });
    }
  }
}

/** @throws InputError naming the HDUs whose CHECKSUM or DATASUM is absent or wrong */
function checkSums(file: FitsFile): void {
  const wrong = file.hdus.flatMap((hdu) => {
    const { checksum, datasum } = file.verify(hdu);
    const states = Object.entries({ CHECKSUM: checksum, DATASUM: datasum }).filter(([, state]) => state !== 'good');
    return states.map(([keyword, state]) => `${keyword} of ${hdu.name || `HDU ${hdu.index}`} is ${state}`);
  });
  if (wrong.length > 0) throw new InputError(wrong.join(', '));
}

/** @throws InputError where the primary header speaks of another exposure */
function checkIdentity(file: FitsFile, { identity }: Job): void {
  const { header } = file.hdu(0);
  const { tele, mjd, chip, exposure } = identity;
  for (const [keyword, value] of Object.entries({ TELE: tele, MJD: mjd, CHIP: chip, EXPOSURE: exposure })) {
    if (value === undefined) continue;
    const received = typeof value === 'number' ? header.number(keyword, Number.NaN) : header.string(keyword, '').trim();
    if (received !== value) throw new InputError(`expected ${keyword} ${value}, received ${received}`);
  }
}

/**
 * Checks a night.
 * @throws InputError without an almanac, UsageError, StorageError; what is wrong with products is told, not thrown
 */
export async function check(request: CheckRequest): Promise<CheckOutcome> {
  const { output, mjd } = request;
  const known = nightTelescopes(output, mjd, request.tele);
  const passes: Pass[] = [];
  for (const tele of known) {
    const pass = new Pass(request, tele);
    passes.push(pass);
    await pass.run();
  }
  const order = (one: CheckFinding) => CHECK_WORDS.indexOf(one.what);
  const findings = passes.flatMap((pass) => pass.findings).sort((a, b) => order(a) - order(b));
  const total = (of: 'jobs' | 'products' | 'good') => passes.reduce((sum, pass) => sum + pass[of], 0);
  const failures = findings.flatMap(({ error, detail }) =>
    error === undefined ? [] : [{ error, exitCode: EXIT_CODES[error], message: detail }],
  );
  return {
    findings,
    jobs: total('jobs'),
    products: total('products'),
    good: total('good'),
    exitCode: exitCodeOf(failures),
  };
}
