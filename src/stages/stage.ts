/**
 * What a stage is to the night. A folder `src/stages/NAME` with a file `stage.ts` that exports `stage` joins the job graph;
 * nothing else names it (native/codegen writes the list). The descriptor is light: `body` loads the code when a job runs.
 * A stage sees open inputs and chosen calibrations and gives HDUs back; the runner of src/night alone touches the store.
 */
import type { ChosenFile } from '../calib/load.js';
import type { Exposure, ExposureFacts, FibreTarget } from '../core/exposure.js';
import type { Instrument } from '../core/product.js';
import type { CardInput, FitsFile, FitsLimits, HduInput } from '../fits/index.js';

/**
 * Of what there is one job:
 *   `chip`      each exposure of each chip
 *   `exposure`  each exposure, its chips joined
 *   `detector`  each telescope and chip, exposures joined
 *   `night`     each telescope, chips and exposures joined
 */
export type Scope = 'chip' | 'exposure' | 'detector' | 'night';

/** One kind of input. Which products those are follows from the scopes of the two stages. */
export interface StageInput {
  /** In PROVENANCE, and the name by which the body finds it. */
  readonly role: string;
  /** 'raw', or stages of which the first that has a job for the exposure is taken. */
  readonly from: readonly string[];
  /** Which exposures' products are meant, of all of the telescope; default: those of the job. */
  readonly of?: ((exposure: Exposure, night: readonly Exposure[]) => boolean) | undefined;
  /** How many must be whole, where several join: the rest may be dropped. Default: all. */
  readonly least?: number | undefined;
  /** What a person is told where the night has none of them. */
  readonly none?: string | undefined;
  /**
   * Not read, but asked: the primary header of that product says VERDICT ('ok', 'suspect' or 'drop') and REASON, and an
   * exposure with 'drop' is left out (where exposures join) or ends the job as dropped.
   */
  readonly gate?: boolean | undefined;
  /** Of a gate where exposures join: 'drop' for the exposure before takes this one out too, as light persists. */
  readonly behind?: boolean | undefined;
}

/** What the cost of a job follows from. */
export interface JobShape {
  /** Of each input that is read, in order. */
  readonly inputs: readonly {
    readonly role: string;
    readonly reads: number;
    readonly rows: number;
    readonly cols: number;
  }[];
  readonly threads: number;
  /** Files of calibrations that are read, together. */
  readonly calibrationBytes: number;
}

/** Predicted, before a job runs. */
export interface Prediction {
  readonly cpuSeconds: number;
  /** Resident memory beyond that of an idle worker [bytes]. */
  readonly peakBytes: number;
  /** The same where the job has a way of less memory (`Task.lowMemory`): the bytes of its products are the same [bytes]. */
  readonly lowMemoryBytes?: number | undefined;
  /** What is written [bytes]. */
  readonly diskBytes: number;
}

export interface JobIdentity {
  readonly tele: string;
  readonly mjd: number;
  readonly chip?: string | undefined;
  readonly exposure?: number | undefined;
}

export interface StageInputFile {
  readonly role: string;
  readonly identity: JobIdentity;
  readonly path: string;
  readonly sha256: string;
  readonly file: FitsFile;
}

export interface StageContext {
  readonly instrument: Instrument;
  readonly identity: JobIdentity;
  /** Of the job: one, or those that join; they count for the key. */
  readonly exposures: readonly ExposureFacts[];
  readonly inputs: readonly StageInputFile[];
  /** What the fibres look at, where the stage asks (`fibreMap`) and a fibre map of the exposure is known. */
  readonly fibres?: readonly FibreTarget[] | undefined;
  readonly calibrations: readonly ChosenFile[];
  readonly parameters: Readonly<Record<string, number | string | boolean>>;
  readonly threads: number;
  readonly limits: Partial<FitsLimits>;
  /** [cancel, progress] on shared memory, for native calls. */
  readonly control: Int32Array;
}

/** Whether an input was used, where a stage chooses among several, and why. */
export interface InputChoice {
  readonly path: string;
  readonly used: boolean;
  readonly why: string;
}

export interface StageResult {
  /** Cards of the primary header beyond the identity, the stage and the kernels, which the runner writes. */
  readonly cards: readonly CardInput[];
  /** The runner adds PROVENANCE, and DQ_DEF where an HDU is named DQ. */
  readonly hdus: readonly HduInput[];
  /**
   * Files beside the product that have its name with another extension ('html', 'json'): a page about it. The manifest speaks of them,
   * and a product without them is not done.
   */
  readonly beside?: readonly { readonly extension: string; readonly data: Uint8Array | string }[] | undefined;
  /** For PROVENANCE, of inputs among which the stage chose; others were used. */
  readonly choices?: readonly InputChoice[] | undefined;
  /** For tables and the page: a few numbers and words. */
  readonly summary: Readonly<Record<string, number | string>>;
  readonly warnings: readonly string[];
  /** Seconds of each step, summed over threads. */
  readonly timings: readonly { readonly name: string; readonly seconds: number }[];
}

export type StageBody = (context: StageContext) => Promise<StageResult>;

export interface Stage {
  /** Word of ids and of --from: lower case, digits and '-'. */
  readonly name: string;
  /** First part of the product's name: '2dcal'. */
  readonly prefix: string;
  readonly summary: string;
  /** Layout of the product; raise it when a reader could notice. */
  readonly schema: string;
  readonly scope: Scope;
  /**
   * Whether an exposure has a job of this stage, or takes part in one. Asked of dropped exposures too: where they would have
   * had a job of their own they get it, dropped with the reason; where exposures join they are left out.
   * @param night all exposures of the telescope, by number
   */
  readonly takes: (exposure: Exposure, night: readonly Exposure[]) => boolean;
  readonly inputs: readonly StageInput[];
  /** Kinds of calibrations; the body is given what the registry chooses. */
  readonly calibrations?: { readonly required: readonly string[]; readonly optional: readonly string[] } | undefined;
  /** Whether the body is told what the fibres of an object look at; that counts for the key, too. */
  readonly fibreMap?: boolean | undefined;
  /** Kernels whose versions count for the key. */
  readonly kernels: readonly string[];
  /** Parameters with their defaults; they count for the key. */
  readonly parameters?: Readonly<Record<string, number | string | boolean>> | undefined;
  readonly predict: (shape: JobShape) => Prediction;
  /** Findings about a finished product, for the final pass; empty: it is sane. */
  readonly sane?: ((file: FitsFile) => readonly string[]) | undefined;
  readonly body: () => Promise<StageBody>;
}
