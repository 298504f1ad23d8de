/**
 * What a kind of calibration is to the runner: which files it wants, what it makes, and how. Each entry of the table in
 * ./index.ts is one word of `rampline calib build WORD`. A builder that needs a stage calls it here; the stage itself
 * (src/stages/calibrations) sees arrays and numbers, never a file.
 */

import type { ChosenFile } from '../../calib/load.js';
import type { CalibrationKind, Grade } from '../../calib/product.js';
import type { RampCalibrations } from '../../calib/ramp.js';
import type { Frame } from '../../calib/select.js';
import type { Identity, Instrument, ProvenanceEntry } from '../../core/product.js';
import type { ParamDescription } from '../../engine/index.js';
import type { CardInput, FitsLimits, HduInput } from '../../fits/index.js';

/** One raw file that a calibration is made of. */
export interface BuildInput {
  readonly path: string;
  readonly identity: Identity;
  readonly frame: Frame;
  readonly source: ProvenanceEntry;
}

/** What a builder is given for one detector. */
export interface BuildContext {
  readonly instrument: Instrument;
  /** In the order of night and exposure number. At least one; none twice. */
  readonly inputs: readonly BuildInput[];
  /** Values of the builder's own parameters, defaults filled in, checked. */
  readonly params: Readonly<Record<string, number>>;
  /** Parameters of kernels, by kernel. */
  readonly kernelParams: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Calibrations for the ramp chain: the instrument's figures where none are given. */
  readonly calibrations: RampCalibrations;
  /** All files that were chosen from the directory of calibrations: a builder of flats finds its dark here. */
  readonly files: readonly ChosenFile[];
  /** Where calibrations lie that a new one must not be a copy of: the output and that of --calib. */
  readonly directories: readonly (string | undefined)[];
  readonly threads: number;
  readonly limits: Partial<FitsLimits>;
  /** [cancel, rows done] on shared memory. */
  readonly control?: Int32Array | undefined;
  /** Tells that input number `done` is begun. */
  readonly progress: (done: number) => void;
}

/** One product. The runner adds the identity, PROVENANCE and DQ_DEF, and writes it. */
export interface BuiltCalibration {
  readonly kind: CalibrationKind;
  readonly grade: Grade;
  /** Why the grade is not `pass`. */
  readonly remarks: readonly string[];
  /** Cards of the primary header beyond those that every calibration has. */
  readonly cards: readonly CardInput[];
  readonly hdus: readonly HduInput[];
  /** What a person wants to know at once: printed, and part of --json. */
  readonly facts: Readonly<Record<string, number | string | readonly number[]>>;
  /** MJD span of the data, where the inputs say. */
  readonly dataFrom?: number | undefined;
  readonly dataTo?: number | undefined;
  /** Seconds, summed over threads, by what they went into, for builders that stream: the runner tells the shares. */
  readonly seconds?: Readonly<Record<string, number>>;
}

export interface CalibrationBuilder {
  /** The word on the command line. */
  readonly word: string;
  /** Kinds of calibrations it makes; one product each. */
  readonly kinds: readonly CalibrationKind[];
  readonly summary: string;
  /** What the inputs are: 'dark', 'flat', ... as shown to the user and kept as their role. */
  readonly role: string;
  readonly params: readonly ParamDescription[];
  /** Whether inputs go through the ramp chain, so that its kernels and calibrations count for the key. */
  readonly rampChain: boolean;
  /** Kinds of calibrations that it takes beyond those of the ramp chain. */
  readonly uses?: readonly string[];
  /**
   * Kernels in the keys of products that are made from single images, by instruments that take such. Absent: the builder needs
   * reads up the ramp.
   */
  readonly imageKernels?: readonly string[];
  /** Kernels whose versions are part of the products' keys, beyond those of the ramp chain if that runs. */
  readonly kernels: readonly string[];
  readonly build: (context: BuildContext) => Promise<readonly BuiltCalibration[]>;
}
