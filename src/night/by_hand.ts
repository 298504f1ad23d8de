/** Runs one stage on files that somebody names, and writes its product as a job of a night would. */
import { basename } from 'node:path';
import { factsOf as factsOfHeaders } from '../almanac/index.js';
import { InputError, UsageError } from '../core/errors.js';
import type { ExposureFacts } from '../core/exposure.js';
import type { Instrument } from '../core/product.js';
import { type FitsFile, type FitsLimits, openFits } from '../fits/index.js';
import type { JobIdentity, Scope, Stage, StageContext } from '../stages/stage.js';
import { openStore } from '../store/index.js';
import { type BodyMade, runBody } from './body.js';
import { exposureText } from './graph.js';
import { fibreTargets, NIGHT_INSTRUMENT } from './record.js';

export interface HandFile {
  readonly role: string;
  readonly path: string;
  /** Which exposure it is; default: as its primary header says. */
  readonly identity?: JobIdentity | undefined;
}

export interface HandRequest {
  readonly stage: Stage;
  /** Default: that of the nights. */
  readonly instrument?: Instrument | undefined;
  /** What the stage takes; the first one says of which exposure the product is. */
  readonly files: readonly HandFile[];
  /** File of fibre maps. */
  readonly fibers?: string | undefined;
  /** Beside the stage's defaults. */
  readonly parameters?: StageContext['parameters'] | undefined;
  /** What the body is told of the exposure; default: as the header of the first file says. */
  readonly exposures?: readonly ExposureFacts[] | undefined;
  /** Directory of the product. */
  readonly output: string;
  /** Do again what is done. */
  readonly force?: boolean | undefined;
  /** Whether checksums of the files are verified; default true. */
  readonly verify?: boolean | undefined;
  /** Native threads; default 1. */
  readonly threads?: number | undefined;
  readonly limits?: Partial<FitsLimits> | undefined;
  /** [cancel, progress] on shared memory. */
  readonly control?: Int32Array | undefined;
}

export interface HandOutcome extends BodyMade {
  /** Path of the product. */
  readonly product: string;
  readonly identity: JobIdentity;
}

/**
 * Which exposure a product is of, by the primary header: TELE, MJD, CHIP, EXPOSURE.
 * @throws InputError where a card is missing or no such value
 */
export function identityOfProduct(file: FitsFile): JobIdentity & { readonly exposure: number; readonly chip: string } {
  const { header } = file.hdu(0);
  const word = (keyword: string): string => {
    const text = header.has(keyword) ? header.string(keyword, '').trim() : '';
    if (/^[a-z0-9-]{1,16}$/.test(text)) return text;
    throw new InputError(`expected a word in ${keyword}, received '${text}'`, { file: file.path, hdu: 0 });
  };
  const whole = (keyword: string): number => {
    const value = header.number(keyword, Number.NaN);
    if (Number.isSafeInteger(value) && value >= 0) return value;
    throw new InputError(`expected a whole number in ${keyword}, received ${value}`, { file: file.path, hdu: 0 });
  };
  return { tele: word('TELE'), mjd: whole('MJD'), chip: word('CHIP'), exposure: whole('EXPOSURE') };
}

/**
 * What the header of a 2-D product says of its exposure: the raw cards that it carries, read as the almanac reads them.
 * @throws InputError; UsageError for an instrument without nights
 */
export function exposureOfProduct(file: FitsFile, instrument: Instrument): ExposureFacts {
  if (instrument.night === undefined) throw new UsageError(`${instrument.name} has no rules for exposures`);
  const { tele, mjd, exposure } = identityOfProduct(file);
  const facts = factsOfHeaders(file.hdus.slice(0, 1), instrument.night);
  const { rows: _r, cols: _c, serial: _s, chip: _h, bad: _b, comment: _t, ...rest } = facts;
  const reads = file.hdu(0).header.number('NREADRAW', rest.reads);
  return { ...rest, tele, mjd, exposure, reads };
}

/** The identity of a job of that scope. */
function scoped({ tele, mjd, chip, exposure }: JobIdentity, scope: Scope): JobIdentity {
  return {
    tele,
    mjd,
    ...((scope === 'chip' || scope === 'detector') && { chip }),
    ...((scope === 'chip' || scope === 'exposure') && { exposure }),
  };
}

/** Name of a product in its directory. */
function nameOf(prefix: string, { tele, mjd, chip, exposure }: JobIdentity): string {
  const parts = [prefix, tele, mjd, ...(chip === undefined ? [] : [chip])];
  return `${[...parts, ...(exposure === undefined ? [] : [exposureText(exposure)])].join('-')}.fits`;
}

function withFile<T>(path: string, limits: Partial<FitsLimits>, work: (file: FitsFile) => T): T {
  const file = openFits(path, { verify: false, limits });
  try {
    return work(file);
  } finally {
    file.close();
  }
}

/**
 * Runs a stage's body on the files and writes its product into the directory, unless it is done there. It has the identity cards,
 * kernels, PROVENANCE and the manifest that a night's job gives it.
 * @throws InputError for files that do not say what they are, or of another telescope or chip than the first; what the body throws;
 *   StorageError
 */
export async function runStage(request: HandRequest): Promise<HandOutcome> {
  const { stage, files, instrument = NIGHT_INSTRUMENT, limits = {}, output } = request;
  const inputs = files.map(({ role, path, identity }) => ({
    role,
    path,
    identity: identity ?? withFile(path, limits, identityOfProduct),
  }));
  const [first] = inputs;
  if (first === undefined) throw new UsageError(`expected a file for the stage ${stage.name}`);
  const identity = scoped(first.identity, stage.scope);
  for (const { path, identity: of } of inputs) {
    if (of.tele === identity.tele && (identity.chip === undefined || of.chip === identity.chip)) continue;
    const [wanted, found] = [identity, of].map(({ tele, chip }) => [tele, chip].filter(Boolean).join(' '));
    throw new InputError(`expected ${wanted}, as ${basename(first.path)} is, received ${found}`, {
      file: path,
      hdu: 0,
    });
  }
  const store = await openStore(output);
  const product = nameOf(stage.prefix, identity);
  const exposures = request.exposures ?? withFile(first.path, limits, (file) => [exposureOfProduct(file, instrument)]);
  const asked = stage.fibreMap === true && request.fibers !== undefined;
  const made = await runBody(
    {
      instrument,
      stage,
      load: stage.body,
      identity,
      exposures,
      inputs,
      fibres: asked ? await fibreTargets(request.fibers, exposures[0]) : undefined,
      why: 'named by hand',
      choose: () => Promise.resolve({ files: [], entries: [] }),
      parameters: { ...stage.parameters, ...request.parameters },
      product,
      verify: request.verify ?? true,
      force: request.force ?? false,
      threads: request.threads ?? 1,
      limits,
      control: request.control ?? new Int32Array(new SharedArrayBuffer(8)),
    },
    store,
  );
  return { ...made, product: store.pathOf(product), identity };
}
