/**
 * Runs the body of a stage on opened inputs and writes its product: with identity, kernels, PROVENANCE and manifest. The jobs of a
 * night and what is done by hand go through here alike, so their products differ in nothing but what went in.
 */
import { basename } from 'node:path';
import { dqTable, provenanceTable } from '../calib/provenance.js';
import { RetriableError } from '../core/errors.js';
import type { ExposureFacts, FibreTarget } from '../core/exposure.js';
import type { Instrument, ProvenanceEntry } from '../core/product.js';
import { type CardInput, encodeFits, type FitsLimits, openFits } from '../fits/index.js';
import type { JobIdentity, StageBody, StageContext, StageInputFile, StageResult } from '../stages/stage.js';
import {
  hashFile,
  type NewFile,
  type ProductRecord,
  productKey,
  productState,
  type Source,
  type Store,
} from '../store/index.js';
import { bodyRecord, type chosenFor, inputSource } from './record.js';
import type { NightStage } from './stages.js';

/** What is to be done. */
export interface BodyRun {
  readonly instrument: Instrument;
  readonly stage: Pick<NightStage, 'name' | 'schema' | 'kernels'>;
  readonly load: () => Promise<StageBody>;
  readonly identity: JobIdentity;
  readonly exposures: readonly ExposureFacts[];
  readonly inputs: readonly { readonly role: string; readonly path: string; readonly identity: JobIdentity }[];
  /** What the fibres look at; undefined: nothing is known, or the stage does not ask. */
  readonly fibres?: readonly FibreTarget[] | undefined;
  /** Why those are the inputs, for PROVENANCE. */
  readonly why: string;
  /** Chooses the calibrations; asked once the inputs are open. */
  readonly choose: () => ReturnType<typeof chosenFor>;
  readonly parameters: StageContext['parameters'];
  /** Name of the product in the store. */
  readonly product: string;
  /** Whether checksums of the inputs are verified. */
  readonly verify: boolean;
  /** Do it although it is done. */
  readonly force: boolean;
  readonly threads: number;
  readonly limits: Partial<FitsLimits>;
  readonly control: Int32Array;
  /** Told what the body throws, with the key of the product that is not made. */
  readonly onRefusal?: ((key: string, error: unknown) => Promise<void>) | undefined;
}

/** What became of it; nothing is told of a product that was done before. */
export interface BodyMade extends Partial<Pick<StageResult, 'summary' | 'timings' | 'warnings'>> {
  readonly status: 'done' | 'skipped';
  readonly key: string;
}

/** Cards that every product has in its primary header. */
function identityCards({ instrument, identity, stage }: BodyRun, record: ProductRecord): CardInput[] {
  const { tele, mjd, chip, exposure } = identity;
  const cards: CardInput[] = [
    ['INSTRUME', instrument.name.toUpperCase(), 'instrument'],
    ['TELE', tele, 'telescope'],
    ['MJD', mjd, 'night (SJD)'],
  ];
  if (chip !== undefined) cards.push(['CHIP', chip, 'detector']);
  if (exposure !== undefined) cards.push(['EXPOSURE', exposure, 'number in the night']);
  cards.push(['STAGE', stage.name, 'what made this product'], ['SWVER', record.software, 'program']);
  return cards;
}

function kernelCards(record: ProductRecord): CardInput[] {
  return Object.entries(record.kernels).map(([name, text], i) => [
    `KERN${i + 1}`,
    `${name} ${text}`,
    'kernel, version, hash',
  ]);
}

/** What the stage had to say, so that the product says it too; cards hold ASCII alone. */
function historyCards({ warnings = [] }: StageResult): CardInput[] {
  return warnings.map((sentence) => ['HISTORY', sentence.replaceAll(/[^ -~]/g, '?')]);
}

/** What a product's manifest says where the file is untouched since it was written, else the hash of its bytes. */
async function hashOfProduct(path: string): Promise<string> {
  const { entry, fault } = await productState(path);
  return entry !== undefined && fault === undefined ? entry.sha256 : (await hashFile(path)).sha256;
}

/** Files beside the product, by their names. */
function besideOf(product: string, { beside = [] }: StageResult): NewFile[] {
  return beside.map(({ extension, data }) => ({ name: `${basename(product, '.fits')}.${extension}`, data }));
}

/**
 * Runs a body and writes what it gives, unless the product is done.
 * @throws what the body throws; InputError, CalibrationError, StorageError; RetriableError when `control` was raised
 */
export async function runBody(run: BodyRun, store: Store): Promise<BodyMade> {
  const { stage, instrument, identity, exposures, parameters, product, threads, limits, control } = run;
  const opened: StageInputFile[] = [];
  try {
    for (const { role, path, identity: of } of run.inputs) {
      const sha256 = await hashOfProduct(path);
      opened.push({ role, path, identity: of, sha256, file: openFits(path, { verify: run.verify, limits }) });
    }
    const inputs = opened.map((input): Source => inputSource(input, input.sha256, run.why));
    const { files, entries } = await run.choose();
    const record = bodyRecord(stage, parameters, exposures, inputs, entries, run.fibres);
    const key = productKey(record);
    if (!run.force && (await store.isDone(product, key))) return { status: 'skipped', key };
    const body = await run.load();
    const result = await body({
      instrument,
      identity,
      exposures,
      inputs: opened,
      fibres: run.fibres,
      calibrations: files,
      parameters,
      threads,
      limits,
      control,
    }).catch(async (error: unknown) => {
      await run.onRefusal?.(key, error);
      throw error;
    });
    if (Atomics.load(control, 0) !== 0) throw new RetriableError('interrupted');
    const header = [...identityCards(run, record), ...result.cards, ...kernelCards(record), ...historyCards(result)];
    const hasDq = result.hdus.some(({ name }) => name === 'DQ');
    // A stage that chose among its inputs says so of each by its path.
    const chosen = new Map(result.choices?.map(({ path, used, why }) => [path, { used, why }]));
    const read = inputs.map((input, i): ProvenanceEntry => ({ ...input, ...chosen.get(opened[i]?.path ?? '') }));
    const provenance = provenanceTable([...read, ...entries]);
    await store.writeProduct(
      product,
      encodeFits([{ header }, ...result.hdus, ...(hasDq ? [dqTable()] : []), provenance]),
      record,
      { companions: besideOf(product, result) },
    );
    const { summary, timings, warnings } = result;
    return { status: 'done', key, summary, timings, warnings };
  } finally {
    for (const { file } of opened) file.close();
  }
}
