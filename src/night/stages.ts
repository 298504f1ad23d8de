/**
 * The stages of a night, from raw files on. The first ones, which read raw files, are put together here; all others say by
 * themselves how they join (src/stages/NAME/stage.ts) and are found by native/codegen.
 */
import { join, resolve } from 'node:path';
import { BugError, UsageError } from '../core/errors.js';
import type { Exposure, ExposureKind } from '../core/exposure.js';
import { didYouMean } from '../core/suggest.js';
import { checkParams, kernelNamed } from '../engine/index.js';
import { CALIBRATE_KERNELS, CALIBRATE_SCHEMA } from '../stages/calibrate/index.js';
import { rampChainDescription } from '../stages/ramp/chain.js';
import { rampOptions } from '../stages/ramp/options.js';
import { RAMP_SCHEMA } from '../stages/ramp/product.js';
import type { Stage, StageBody, StageInput } from '../stages/stage.js';
import type { CalibrationBuilder } from './builders/builder.js';
import { BUILDERS } from './builders/index.js';
import { kindsOf, RAMP_KINDS } from './builders/kinds.js';
import { predictBuild, predictRamp } from './cost.js';
import { STAGES } from './generated/stages.js';
import type { NightOptions } from './job.js';

/** How a job of a stage is done. */
export type Execution =
  /** By reduceAndWrite of ./ramp.ts. */
  | { readonly by: 'ramp'; readonly calibrate: boolean }
  /** By buildCalibration of ./calib.ts, into `<output>/calib`. */
  | { readonly by: 'build'; readonly builder: CalibrationBuilder }
  /** By the stage's own body, between opened inputs and HDUs. */
  | { readonly by: 'body'; readonly body: () => Promise<StageBody> };

export interface NightStage extends Omit<Stage, 'body'> {
  readonly execution: Execution;
  /** Kinds of calibrations that it may take. */
  readonly kinds: readonly string[];
  /** Stages whose jobs of the same detector go first, as what they make may be chosen as a calibration. */
  readonly after: readonly string[];
}

const isDark = ({ kind }: Exposure): boolean => kind === 'dark';
const isInternalFlat = ({ kind }: Exposure): boolean => kind === 'internalflat';
const isFrame = ({ kind }: Exposure): boolean => kind !== 'missing';

/** Kinds that are reduced to uncalibrated rates: what the night's calibrations are made of. */
const RATES_ONLY: readonly ExposureKind[] = ['dark', 'internalflat'];

/** Below this no ramp is fitted, and a dark is refused: parameter minReads of `dark`. */
const DARK_READS = 6;

/** Light of the exposure before persists in a dark, so a dark behind anything but a dark is not taken into a calibration. */
function afterDark(exposure: Exposure, night: readonly Exposure[]): boolean {
  if (!isDark(exposure) || exposure.reads < DARK_READS) return false;
  const before = night.find(({ exposure: number }) => number === exposure.exposure - 1);
  return before === undefined || before.kind === 'missing' || isDark(before);
}

/** What a night makes of its own exposures; the other builders need series that are taken for them. */
interface NightBuild {
  readonly word: string;
  /** Light that persists would do harm. */
  readonly faint?: boolean;
  /** Exposures by role, and how many must be left. */
  readonly takes: readonly {
    readonly role: string;
    readonly of: NonNullable<StageInput['of']>;
    readonly least: number;
  }[];
}

/** In the order in which they need one another's products. */
const NIGHT_BUILDS: readonly NightBuild[] = [
  // Two darks of ten reads are enough to remove 90 % of the noise: ../stages/ramp/one_over_f.ts.
  { word: 'one-over-f', takes: [{ role: 'dark', of: (e) => isDark(e) && e.reads >= DARK_READS, least: 2 }] },
  // A pair of flats, and read noise from a dark.
  {
    word: 'photon-transfer',
    takes: [
      { role: 'dark', of: (e) => isDark(e) && e.reads >= DARK_READS, least: 1 },
      { role: 'flat', of: isInternalFlat, least: 2 },
    ],
  },
  // Three: of two that differ in a pixel nothing says which one was hit.
  { word: 'dark', faint: true, takes: [{ role: 'dark', of: afterDark, least: 3 }] },
  { word: 'flat', takes: [{ role: 'flat', of: isInternalFlat, least: 1 }] },
];

/** Words that --build understands. */
export const NIGHT_BUILD_WORDS: readonly string[] = NIGHT_BUILDS.map(({ word }) => word);

const rampKernels = (): string[] => [...new Set(rampChainDescription().steps.map(({ kernel }) => kernel))];

function rampStage(): NightStage {
  return {
    name: 'ramp',
    prefix: '2d',
    summary: 'rates of darks and internal flats',
    schema: RAMP_SCHEMA,
    scope: 'chip',
    takes: ({ kind }) => RATES_ONLY.includes(kind),
    inputs: [{ role: 'raw', from: ['raw'] }],
    kernels: rampKernels(),
    predict: (shape) => predictRamp(shape, false),
    kinds: RAMP_KINDS,
    execution: { by: 'ramp', calibrate: false },
    after: [],
  };
}

function calibrateStage(after: readonly string[]): NightStage {
  return {
    name: 'calibrate',
    prefix: '2dcal',
    summary: 'calibrated rates, in one pass from raw',
    schema: CALIBRATE_SCHEMA,
    scope: 'chip',
    takes: (exposure) => isFrame(exposure) && !RATES_ONLY.includes(exposure.kind),
    inputs: [{ role: 'raw', from: ['raw'] }],
    kernels: [...new Set([...rampKernels(), ...CALIBRATE_KERNELS])],
    predict: (shape) => predictRamp(shape, true),
    kinds: [...RAMP_KINDS, 'dark', 'flat'],
    execution: { by: 'ramp', calibrate: true },
    after,
  };
}

function buildStage({ word, takes, faint = false }: NightBuild, after: readonly string[], gated: boolean): NightStage {
  const builder = BUILDERS.find((one) => one.word === word);
  if (builder === undefined) throw new BugError(`no builder "${word}"`);
  return {
    name: `build-${word}`,
    prefix: word,
    summary: builder.summary,
    schema: 'calibration/1',
    scope: 'detector',
    takes: (exposure, night) => takes.some(({ of }) => of(exposure, night)),
    inputs: [
      ...takes.map(({ role, of, least }): StageInput => ({ role, from: ['raw'], of, least })),
      ...(gated ? [{ role: 'gate', from: ['classify'], gate: true, behind: faint }] : []),
    ],
    kernels: [...new Set([...(builder.rampChain ? rampKernels() : []), ...builder.kernels])],
    predict: (shape) => predictBuild(shape, word),
    kinds: builder.rampChain ? kindsOf(builder) : [],
    execution: { by: 'build', builder },
    after,
  };
}

/**
 * The stages of a night, in about the order in which a night does them.
 * @param build words of the calibrations that the night makes of its own exposures
 * @param found descriptors; for tests
 * @throws UsageError for a word that the night cannot build; BugError for descriptors that do not fit together
 */
export function nightStages(build: readonly string[], found: readonly Stage[] = STAGES): NightStage[] {
  for (const word of build) {
    if (NIGHT_BUILD_WORDS.includes(word)) continue;
    throw new UsageError(
      `a night builds no calibration "${word}"${didYouMean(word, NIGHT_BUILD_WORDS) || `; it builds ${NIGHT_BUILD_WORDS.join(', ')}`}`,
    );
  }
  const gated = found.some(({ name }) => name === 'classify');
  const builds: NightStage[] = [];
  for (const one of NIGHT_BUILDS) {
    if (!build.includes(one.word)) continue;
    builds.push(
      buildStage(
        one,
        builds.map(({ name }) => name),
        gated,
      ),
    );
  }
  const names = builds.map(({ name }) => name);
  const own = found.map(
    ({ body, ...stage }): NightStage => ({
      ...stage,
      execution: { by: 'body', body },
      kinds: [...(stage.calibrations?.required ?? []), ...(stage.calibrations?.optional ?? [])],
      after: stage.calibrations === undefined ? [] : names,
    }),
  );
  return inOrder([rampStage(), ...builds, calibrateStage(names), ...own]);
}

/** Each stage behind those whose products it takes, as far as that goes: one may be behind another for some exposures alone. */
function inOrder(stages: readonly NightStage[]): NightStage[] {
  const byName = new Map(stages.map((stage) => [stage.name, stage]));
  if (byName.size !== stages.length) throw new BugError('two stages have the same name');
  const ordered = new Set<NightStage>();
  const open = new Set<NightStage>();
  const place = (stage: NightStage): void => {
    if (ordered.has(stage) || open.has(stage)) return;
    open.add(stage);
    for (const { role, from } of stage.inputs) {
      const before = from.flatMap((name) => byName.get(name) ?? []);
      if (before.length === 0 && !from.includes('raw')) {
        throw new BugError(`the stage ${stage.name} takes ${role} from ${from.join(' or ')}, which no stage makes`);
      }
      before.forEach(place);
    }
    ordered.add(stage);
  };
  for (const stage of stages) place(stage);
  return [...ordered];
}

/**
 * Checks what a night is told about its stages and kernels, before anything runs.
 * @throws UsageError for a stage, kernel or parameter that there is not, with the nearest name, or a value out of its range
 */
export function checkNightParams(stages: readonly NightStage[], params: NightOptions['params']): void {
  const builders = new Map(
    stages.flatMap(({ execution }) => (execution.by === 'build' ? [[execution.builder.word, execution.builder]] : [])),
  );
  const bodies = new Map(stages.flatMap((stage) => (stage.execution.by === 'body' ? [[stage.name, stage]] : [])));
  // A body calls its kernels as it likes: what it may be told is its parameters.
  const kernels = new Set(stages.flatMap((stage) => (stage.execution.by === 'body' ? [] : stage.kernels)));
  for (const [name, values] of Object.entries(params)) {
    const [builder, stage] = [builders.get(name), bodies.get(name)];
    if (name === 'ramp') checkRamp(values);
    else if (builder !== undefined) checkParams({ name, params: builder.params }, values);
    else if (stage !== undefined) checkBody(stage, values);
    else if (kernels.has(name)) checkParams(kernelNamed(name), values);
    else {
      const known = ['ramp', ...builders.keys(), ...bodies.keys(), ...kernels];
      throw new UsageError(`the night has no stage or kernel "${name}"${didYouMean(name, known)}`);
    }
  }
}

const RAMP_PARAMS: readonly string[] = ['dropReads', 'reset', 'jumps', 'twoOmit', 'unit', 'off'];

function checkRamp(values: Readonly<Record<string, unknown>>): void {
  for (const name of Object.keys(values)) {
    if (RAMP_PARAMS.includes(name)) continue;
    throw new UsageError(
      `ramp has no parameter "${name}"${didYouMean(name, RAMP_PARAMS) || `; it has ${RAMP_PARAMS.join(', ')}`}`,
    );
  }
  rampOptions(values);
}

function checkBody({ name: stage, parameters = {} }: NightStage, values: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(values)) {
    const usual = parameters[name];
    if (usual === undefined)
      throw new UsageError(`${stage} has no parameter "${name}"${didYouMean(name, Object.keys(parameters))}`);
    if (typeof value !== typeof usual) {
      throw new UsageError(`expected ${stage}.${name} to be a ${typeof usual}, received ${JSON.stringify(value)}`);
    }
  }
}

/** Directory of the calibrations that a night builds; absolute. */
export function ownCalibrations(output: string): string {
  return join(resolve(output), 'calib');
}

/**
 * Directories of calibrations that a stage asks. Rates of what the night's calibrations are made of are judged before those are
 * built, so they never take them: else a second run would find other calibrations than the first.
 */
export function calibrationsOf(stage: NightStage, options: NightOptions, output: string): readonly string[] {
  const own = ownCalibrations(output);
  const others = options.calib.filter((directory) => resolve(directory) !== own);
  return stage.execution.by === 'ramp' && !stage.execution.calibrate ? others : [own, ...others];
}
