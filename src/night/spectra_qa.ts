/** `rampline qa`: pages of exposures from the products of spectra and traces that somebody names. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Grade } from '../calib/product.js';
import { InputError } from '../core/errors.js';
import { type FitsFile, type FitsLimits, openFits } from '../fits/index.js';
import type { JobIdentity, Stage } from '../stages/stage.js';
import { type HandFile, identityOfProduct, runStage } from './by_hand.js';
import { type Failure, toFailure } from './failure.js';
import { exposureText } from './graph.js';
import { INSTRUMENTS } from './instruments.js';
import { NIGHT_INSTRUMENT } from './record.js';

export interface SpectraQaOptions {
  /** Directory of the pages; default: that of the products. */
  readonly output?: string | undefined;
  readonly force?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly limits?: Partial<FitsLimits> | undefined;
  readonly onProgress?: ((done: number, total: number, label: string) => void) | undefined;
}

export interface SpectraQaOutcome {
  readonly tele: string;
  readonly mjd: number;
  readonly exposure: number;
  readonly chips: readonly string[];
  readonly grade: Grade;
  /** Worst first. */
  readonly reasons: readonly string[];
  readonly status: 'done' | 'skipped';
  readonly page: string;
  readonly json: string;
  readonly product: string;
}

export interface SpectraQaOutcomes {
  readonly pages: readonly SpectraQaOutcome[];
  /** Files that no page could be written for; they do not stop the others. */
  readonly failures: readonly { readonly file: string; readonly failure: Failure }[];
}

/** An exposure, and the first file of it that was named. */
type Exposure = Required<Pick<JobIdentity, 'tele' | 'mjd' | 'exposure'>> & {
  readonly folder: string;
  readonly file: string;
};

function within<T>(path: string, limits: Partial<FitsLimits>, work: (file: FitsFile) => T): T {
  const file = openFits(path, { verify: false, limits });
  try {
    return work(file);
  } finally {
    file.close();
  }
}

/** What a product was made from: [role, name] of those that were used. */
function sourcesOf(path: string, limits: Partial<FitsLimits>): { readonly role: string; readonly name: string }[] {
  return within(path, limits, (file) => {
    const table = file.readTable('PROVENANCE', ['ROLE', 'NAME', 'USED']);
    const [role, name, used] = ['ROLE', 'NAME', 'USED'].map((column) => table.column(column).values);
    return Array.from({ length: table.rows }, (_, i) => ({
      role: String(role?.[i]),
      name: String(name?.[i]),
      used: Boolean(used?.[i]),
    })).filter((one) => one.used);
  });
}

/** The files of one exposure beside one another: spectra or traces of each chip, and what they were made from. */
function filesOf({ folder, tele, mjd, exposure }: Exposure, limits: Partial<FitsLimits>): HandFile[] {
  const ends = new RegExp(`^(1d|trace)-${tele}-${mjd}-([a-z0-9]+)-${exposureText(exposure)}\\.fits$`);
  const found = readdirSync(folder)
    .filter((name) => ends.test(name))
    .sort();
  const files = new Map<string, HandFile>();
  const add = (role: string, name: string, wanted?: string): void => {
    const path = join(folder, name);
    if (!existsSync(path)) {
      throw new InputError(`it was made from ${name} (${role}), which is not beside it`, {
        file: join(folder, wanted ?? name),
      });
    }
    files.set(`${role} ${name}`, { role, path });
  };
  for (const name of found) {
    add(name.startsWith('1d-') ? 'spectra' : 'traces', name);
    for (const source of sourcesOf(join(folder, name), limits)) {
      if (source.role === 'image' || source.role === 'traces') add(source.role, source.name, name);
    }
  }
  // The first one says of which exposure the page is.
  return [...files.values()].sort((a, b) => Number(b.role === 'image') - Number(a.role === 'image'));
}

/**
 * Which exposure a product of spectra or traces is of.
 * @throws InputError for another product
 */
function exposureOf(path: string, limits: Partial<FitsLimits>): Exposure {
  const { made, identity, instrument } = within(path, limits, (file) => {
    const { header } = file.hdu(0);
    return {
      made: header.string('STAGE', '').trim(),
      instrument: header.string('INSTRUME', '').trim().toLowerCase(),
      identity: identityOfProduct(file),
    };
  });
  if (made !== 'trace' && made !== 'extract') {
    throw new InputError(`expected spectra (1d-) or traces (trace-), received a product of '${made}'`, {
      file: path,
      hdu: 0,
    });
  }
  if (instrument !== NIGHT_INSTRUMENT.name) {
    const known = INSTRUMENTS.some(({ name }) => name === instrument) ? '' : ', which is not known';
    throw new InputError(`expected a product of ${NIGHT_INSTRUMENT.name}, received one of '${instrument}'${known}`, {
      file: path,
      hdu: 0,
    });
  }
  const { tele, mjd, exposure } = identity;
  return { folder: dirname(path), file: path, tele, mjd, exposure };
}

/**
 * Writes the page of each exposure of which a product of spectra (1d-) or traces (trace-) is named: `qa-{tele}-{mjd}-{exposure}.html`,
 * .json and .fits, with all chips that lie beside it.
 * A file that is another product, or an exposure of which something is missing that it was made from, does not stop the others.
 * @throws UsageError
 */
export async function writeSpectraQa(
  paths: readonly string[],
  stage: Stage,
  options: SpectraQaOptions = {},
): Promise<SpectraQaOutcomes> {
  const { limits = {} } = options;
  const failures: { file: string; failure: Failure }[] = [];
  const refuse = (file: string, error: unknown): void => {
    const failure = toFailure(error);
    if (failure.error === 'usage') throw error;
    failures.push({ file, failure });
  };
  const exposures = new Map<string, Exposure>();
  for (const path of paths) {
    try {
      const one = exposureOf(path, limits);
      const name = `${one.folder} ${one.tele} ${one.mjd} ${one.exposure}`;
      if (!exposures.has(name)) exposures.set(name, one);
    } catch (error) {
      refuse(path, error);
    }
  }
  const pages: SpectraQaOutcome[] = [];
  for (const [n, one] of [...exposures.values()].entries()) {
    options.onProgress?.(n, exposures.size, `${one.tele} ${one.mjd} ${exposureText(one.exposure)}`);
    try {
      pages.push(await writePage(one, stage, options));
    } catch (error) {
      refuse(one.file, error);
    }
  }
  return { pages, failures };
}

/** @throws InputError where what it was made from is not beside it; what the stage throws; StorageError */
async function writePage(one: Exposure, stage: Stage, options: SpectraQaOptions): Promise<SpectraQaOutcome> {
  const { limits = {} } = options;
  const made = await runStage({
    stage,
    files: filesOf(one, limits),
    output: options.output ?? one.folder,
    force: options.force,
    threads: options.threads,
    limits,
  });
  const beside = (extension: string) => join(dirname(made.product), `${basename(made.product, '.fits')}.${extension}`);
  const document = JSON.parse(readFileSync(beside('json'), 'utf8')) as {
    grade: Grade;
    reasons: string[];
    chips: { chip: string }[];
  };
  return {
    tele: one.tele,
    mjd: one.mjd,
    exposure: one.exposure,
    chips: document.chips.map(({ chip }) => chip),
    grade: document.grade,
    reasons: document.reasons,
    status: made.status,
    page: beside('html'),
    json: beside('json'),
    product: made.product,
  };
}
