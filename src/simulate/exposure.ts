/** One exposure of one chip, read by read. Nothing is kept but the running charge, so memory does not grow with reads. */
import { runChain, runKernel } from '../engine/index.js';
import {
  AMPLIFIER_COLUMNS,
  BORDER,
  type Detector,
  type Effects,
  makeDetector,
  makePedestal,
  normalMap,
  READ_COLUMNS,
  READ_MS,
  RESET_READS,
  SCIENCE_COLUMNS,
  STREAM,
  TRAP_SECONDS,
} from './detector.js';
import { CHIP_NUMBER, type Chip, TELE_NUMBER, type Telescope } from './figures.js';
import { deriveSeed, exp, ln, type Seed, Sequence, seedParams } from './math.js';
import { KNOTS_PER_LINE, OneOverF, OUTPUTS } from './noise.js';
import { paintScattered, paintScene } from './paint.js';
import { drawPattern, multiplyByPattern, type PatternLimits } from './pattern.js';
import { type ExposureType, gradientAt, makeScene, type Scene } from './scene.js';

/** Raw counts of the reference pixels [DN]: leaves room for the full wells below the converter's end. */
export const BIAS_LEVEL = 9000;
/** Fixed differences of the outputs [DN]. */
export const OUTPUT_OFFSET = [120, -60, 35, -95, 10];
const DRIFT_COMMON_DN = 8;
const DRIFT_OUTPUT_DN = 2;
/** Of the whole spectrum from mHz to kHz: about 1.2 DN in each decade of frequency. */
const ONE_OVER_F = { commonRms: 3, ownRms: 0.7, coupling: [1, 0.92, 1.08, 0.97, 1.1] };
/** Hits in a read of the whole area: 13.5 cm2, 10.6 s, about 2 a minute and cm2 at 2300-2800 m. */
const HITS_PER_READ = 6;
/** Full-size light-sensitive area, which the rate of hits is for. */
const FULL_SENSITIVE_AREA = 2040 * 2040;

/** Within 20 % of the mean: the lamp of internal flats is near the detector and not in its middle. */
const ILLUMINATION: PatternLimits = { gradient: 0.05, bumps: 3, height: 0.03, width: [0.4, 0.8] };

/** A jump of one pixel: first present in `read` (0-based). */
export interface Jump {
  readonly read: number;
  readonly row: number;
  readonly x: number;
  readonly electrons: number;
}

export interface ExposurePlan {
  readonly tele: Telescope;
  readonly chip: Chip;
  readonly mjd: number;
  readonly exposure: number;
  /** What shines on the detector. */
  readonly type: ExposureType;
  /** What the header says. */
  readonly claim: ExposureType;
  readonly pointing: Pointing;
  /** Light of an internal flat where illumination and response are 1 [e-/read]. */
  readonly level: number;
  readonly reads: number;
  readonly rows: number;
  readonly seed: number;
  readonly detectorSeed: number;
  readonly effects: Effects;
  readonly threads: number;
  readonly jumpElectrons: number | undefined;
  readonly after: EarlierExposure | undefined;
  /** The .apz ends in the middle of this read, counted from 1. */
  readonly cutAtRead: number | undefined;
}

/** What the telescope points at, by the numbers of the observatory. */
export interface Pointing {
  readonly design: number;
  readonly configuration: number;
  readonly field: number;
}

/** The exposure before, whose trapped charge comes out in this one. */
export interface EarlierExposure {
  readonly type: ExposureType;
  readonly level: number;
  readonly reads: number;
  /** Number in the night. */
  readonly exposure: number;
  /** From its end to the start of this one [s]. */
  readonly gapSeconds: number;
}

/** A read as it comes; its memory is used again two reads later. */
export interface MockRead {
  /** 0-based. */
  readonly read: number;
  /** [rows][READ_COLUMNS] */
  readonly counts: Uint16Array;
  /** Counts of the read before, where that was wanted too. */
  readonly before: Uint16Array;
}

export class MockExposure {
  readonly plan: ExposurePlan;
  readonly detector: Detector;
  /** Mean electrons a read, light and dark current: [rows][READ_COLUMNS]. */
  readonly rate: Float32Array;
  /** Pattern of the lamp, 1 on average; only in internal flats. */
  readonly illumination: Float32Array | undefined;
  /** What the fibres show; not in darks and in flats of the detector itself. */
  readonly scene: Scene | undefined;
  /** Rate of the release of trapped charge at the end of the earlier exposure [e-/read]. */
  readonly trapped: Float32Array | undefined;
  /** Changes of the linear counts in each read, of telegraph pixels [DN]. */
  readonly toggles: readonly (readonly Step[])[];
  /** Change of the linear counts with every read, of pixels that lose charge [DN]. */
  readonly #losses: readonly Step[];
  readonly pedestal: Float32Array;
  readonly jumps: readonly Jump[];
  /** Bias of each output in each read [DN]. */
  readonly levels: readonly (readonly number[])[];
  readonly #seed: Seed;
  readonly #charge: Float32Array;
  readonly #counts: readonly Uint16Array[];
  readonly #knots: Float32Array;
  readonly #deviates: Float32Array;

  private constructor(
    plan: ExposurePlan,
    seed: Seed,
    detector: Detector,
    { rate, illumination, scene }: Light,
    trapped: Float32Array | undefined,
    pedestal: Float32Array,
  ) {
    this.plan = plan;
    this.detector = detector;
    this.rate = rate;
    this.illumination = illumination;
    this.scene = scene;
    this.trapped = trapped;
    this.pedestal = pedestal;
    this.toggles = makeToggles(plan, detector, seed);
    // A rate below 0 makes no photons (see mock-photons): such a pixel falls evenly instead.
    this.#losses = [...new Set(detector.flagged)]
      .filter((index) => (rate[index] as number) < 0)
      .map((index) => ({ index, dn: (rate[index] as number) / (detector.gain[index] as number) }));
    this.#seed = seed;
    this.#charge = new Float32Array(plan.rows * READ_COLUMNS);
    this.#counts = [new Uint16Array(plan.rows * READ_COLUMNS), new Uint16Array(plan.rows * READ_COLUMNS)];
    this.#knots = new Float32Array(plan.rows * OUTPUTS * KNOTS_PER_LINE);
    this.#deviates = new Float32Array(plan.effects.oneOverF ? plan.rows * AMPLIFIER_COLUMNS : 0);
    this.jumps = makeJumps(plan, seed);
    this.levels = makeLevels(plan, seed);
  }

  /** Makes the maps, the scene and the lists. */
  static async make(plan: ExposurePlan): Promise<MockExposure> {
    const { tele, chip, effects, threads, rows } = plan;
    const detectorSeed = deriveSeed(1, plan.detectorSeed, TELE_NUMBER[tele], CHIP_NUMBER[chip]);
    const detector = await makeDetector(tele, chip, rows, detectorSeed, effects, threads);
    const seed = exposureSeed(plan);
    const light = await makeLight(plan, detector, detectorSeed);
    const trapped = await makeTrapped(plan, detector, detectorSeed);
    const pedestal = await makePedestal(detector, seed, effects, threads);
    return new MockExposure(plan, seed, detector, light, trapped, pedestal);
  }

  /** Scattered light in the science columns [rows][2048] e-/read, before the pixels' response; undefined without a scene. */
  async background(): Promise<Float32Array | undefined> {
    const { tele, chip, rows, threads, detectorSeed } = this.plan;
    if (this.scene === undefined) return undefined;
    const out = new Float32Array(rows * SCIENCE_COLUMNS);
    const seed = deriveSeed(1, detectorSeed, TELE_NUMBER[tele], CHIP_NUMBER[chip]);
    await paintScattered(this.scene, out, seed, { rows, stride: SCIENCE_COLUMNS, threads });
    return out;
  }

  /** Runs the exposure from the reset and yields the reads that `wanted` accepts. One run at a time. */
  async *expose(wanted: (read: number) => boolean): AsyncGenerator<MockRead> {
    // Telegraph pixels and losses move the pedestal while the exposure runs.
    const shift = ({ index, dn }: Step): void => {
      this.pedestal[index] = (this.pedestal[index] as number) + dn;
    };
    const moved = new Map<number, number>();
    for (const { index } of [...this.toggles.flat(), ...this.#losses]) moved.set(index, this.pedestal[index] as number);
    try {
      yield* this.#run(wanted, shift);
    } finally {
      for (const [index, value] of moved) this.pedestal[index] = value;
    }
  }

  async *#run(wanted: (read: number) => boolean, shift: (step: Step) => void): AsyncGenerator<MockRead> {
    const { plan, detector, trapped } = this;
    const { rows, effects, threads } = plan;
    this.#charge.fill(0);
    const start = new Sequence(this.#seed, STREAM.oneOverFStart);
    const oneOverF = effects.oneOverF ? new OneOverF(ONE_OVER_F, () => start.normal()) : undefined;
    const cols = READ_COLUMNS;
    const map = (data: Float32Array) => ({ data, rows, cols });
    let nextJump = 0;
    for (let read = 0; read < plan.reads; read++) {
      for (let jump = this.jumps[nextJump]; jump?.read === read; jump = this.jumps[++nextJump]) {
        const i = jump.row * READ_COLUMNS + jump.x;
        this.#charge[i] = (this.#charge[i] as number) + jump.electrons;
      }
      this.toggles[read]?.forEach(shift);
      this.#losses.forEach(shift);
      if (oneOverF !== undefined) {
        const zero = [0, 0, 0, 0, 0];
        await normalMap(
          rows,
          this.#seed,
          STREAM.oneOverF,
          zero,
          { sigma: 1, read },
          this.#deviates,
          AMPLIFIER_COLUMNS,
          threads,
        );
        oneOverF.lines(this.#deviates, AMPLIFIER_COLUMNS, this.#knots, rows);
      }
      const into = this.#counts[read % 2] as Uint16Array;
      const seeds = { ...seedParams(this.#seed), read };
      const photons = {
        kernel: 'mock-photons',
        ports: { rate: trapped === undefined ? 'rate' : 'now', charge: 'charge' },
        params: { ...seeds, noise: effects.photons },
      };
      const readOut = {
        kernel: 'mock-read',
        ports: Object.fromEntries(
          ['charge', 'gain', 'pedestal', 'reset', 'c2', 'c3', 'well', 'noise', 'level', 'knots', 'counts'].map((p) => [
            p,
            p,
          ]),
        ),
        params: { ...seeds, decay: exp(-read / RESET_READS) },
      };
      const release = {
        kernel: 'mock-release',
        ports: { rate: 'rate', trapped: 'trapped', now: 'now' },
        params: { decay: meanDecay(plan, read) },
      };
      const isWanted = wanted(read);
      await runChain({
        arrays: {
          rate: map(this.rate),
          ...(trapped && { trapped: map(trapped), now: { block: 'f32', planes: 1 } as const }),
          charge: map(this.#charge),
          gain: map(detector.gain),
          pedestal: map(this.pedestal),
          reset: map(detector.reset),
          c2: map(detector.c2),
          c3: map(detector.c3),
          well: map(detector.well),
          noise: map(detector.noise),
          level: { data: Float32Array.from(this.levels[read] as readonly number[]), cols: OUTPUTS },
          knots: { data: this.#knots, rows, cols: OUTPUTS * KNOTS_PER_LINE },
          counts: { data: into, rows, cols },
        },
        steps: [...(trapped ? [release] : []), photons, ...(isWanted ? [readOut] : [])],
        options: { threads, strip: AMPLIFIER_COLUMNS, rows, cols },
      });
      if (isWanted) yield { read, counts: into, before: this.#counts[(read + 1) % 2] as Uint16Array };
    }
  }
}

/** A pixel's counts change by so much. */
interface Step {
  readonly index: number;
  readonly dn: number;
}

interface Light {
  readonly rate: Float32Array;
  readonly illumination: Float32Array | undefined;
  readonly scene: Scene | undefined;
}

const exposureSeed = ({ tele, chip, seed, mjd, exposure }: ExposurePlan): Seed =>
  deriveSeed(2, seed, TELE_NUMBER[tele], CHIP_NUMBER[chip], mjd, exposure);

/** What the pixels collect: the light of the scene by their response, and their dark current. */
async function makeLight(plan: ExposurePlan, detector: Detector, detectorSeed: Seed): Promise<Light> {
  const { type, level, rows, effects, threads } = plan;
  const light = new Float32Array(rows * READ_COLUMNS);
  let illumination: Float32Array | undefined;
  if (effects.scene && type === 'internalflat') {
    illumination = new Float32Array(rows * READ_COLUMNS).fill(1);
    light.fill(level);
    if (effects.illumination) {
      const pattern = drawPattern(new Sequence(detectorSeed, STREAM.illumination), ILLUMINATION);
      await multiplyByPattern(illumination, rows, pattern, threads);
      await multiplyByPattern(light, rows, pattern, threads);
    }
  }
  if (effects.scene && type === 'gradient') {
    const line = Float32Array.from({ length: SCIENCE_COLUMNS }, (_, x) => gradientAt(x));
    for (let row = 0; row < rows; row++) light.set(line, row * READ_COLUMNS);
  }
  let scene: Scene | undefined;
  if (effects.scene && type !== 'internalflat' && type !== 'gradient' && type !== 'dark') {
    scene = makeScene(plan);
    await paintScene(scene, light, detectorSeed, { rows, stride: READ_COLUMNS, threads });
  }
  const rate = new Float32Array(light.length);
  const map = (data: Float32Array) => ({ data, rows, cols: READ_COLUMNS });
  await runKernel(
    'mock-light',
    { light: map(light), response: map(detector.response), dark: map(detector.dark), rate: map(rate) },
    {},
    { threads },
  );
  const numbers = new Sequence(exposureSeed(plan), STREAM.unstable);
  for (const { index, scatter } of detector.unstable) {
    const shown = (light[index] as number) * (detector.response[index] as number);
    rate[index] = (rate[index] as number) + shown * scatter * numbers.normal();
  }
  return { rate, illumination, scene };
}

/** What the exposure before left in the traps [e-/read]: the mean of its light, without the noise of its photons. */
async function makeTrapped(
  plan: ExposurePlan,
  detector: Detector,
  detectorSeed: Seed,
): Promise<Float32Array | undefined> {
  const { after, effects, rows, threads } = plan;
  if (after === undefined || !effects.persistence) return undefined;
  const { rate } = await makeLight({ ...plan, ...after }, detector, detectorSeed);
  const trapped = new Float32Array(rate.length);
  const map = (data: Float32Array) => ({ data, rows, cols: READ_COLUMNS });
  const { trap, well, c2, c3, gain } = detector;
  await runKernel(
    'mock-trap',
    {
      rate: map(rate),
      trap: map(trap),
      well: map(well),
      c2: map(c2),
      c3: map(c3),
      gain: map(gain),
      trapped: map(trapped),
    },
    { reads: after.reads },
    { threads },
  );
  return trapped;
}

/** Mean of exp(-t / tau) over a read, with t from the end of the earlier exposure. */
function meanDecay({ after }: ExposurePlan, read: number): number {
  const seconds = READ_MS / 1000;
  const since = (after?.gapSeconds ?? 0) + read * seconds;
  return (exp(-since / TRAP_SECONDS) * (1 - exp(-seconds / TRAP_SECONDS)) * TRAP_SECONDS) / seconds;
}

/** Random telegraph noise: times in a level are exponential, rounded up to whole reads. */
function makeToggles({ reads }: ExposurePlan, { telegraph }: Detector, seed: Seed): Step[][] {
  const numbers = new Sequence(seed, STREAM.telegraph);
  const steps = Array.from({ length: reads }, (): Step[] => []);
  for (const { index, amplitude, dwell } of telegraph) {
    // At first each level has the probability of its share of time.
    let upper = numbers.uniform() * (dwell[0] + dwell[1]) > dwell[0];
    if (upper) steps[0]?.push({ index, dn: amplitude });
    for (let read = 0; ; upper = !upper) {
      read += Math.ceil(-dwell[upper ? 1 : 0] * ln(numbers.uniform()));
      if (read >= reads) break;
      steps[read]?.push({ index, dn: upper ? -amplitude : amplitude });
    }
  }
  return steps;
}

/** Cosmic rays: a hit leaves 1 / u of 500 e-, at most 100 000, in one pixel and parts of it in some neighbours. */
function makeJumps(plan: ExposurePlan, seed: Seed): Jump[] {
  const { cosmicRays } = plan.effects;
  if (cosmicRays === false) return [];
  const numbers = new Sequence(seed, STREAM.cosmicRays);
  const sensitiveRows = plan.rows - 2 * BORDER;
  const sensitiveColumns = SCIENCE_COLUMNS - 2 * BORDER;
  const mean =
    (cosmicRays === true ? HITS_PER_READ : cosmicRays) * ((sensitiveRows * sensitiveColumns) / FULL_SENSITIVE_AREA);
  const jumps = new Map<string, Jump>();
  for (let read = 1; read < plan.reads; read++) {
    for (let n = numbers.poisson(mean); n > 0; n--) {
      const row = numbers.below(sensitiveRows);
      const x = numbers.below(sensitiveColumns);
      const electrons = Math.round(Math.min(500 / numbers.uniform(), 100_000));
      const share = numbers.uniform();
      const neighbour = numbers.below(4);
      const add = (dy: number, dx: number, amount: number): void => {
        const at = { row: row + dy, x: x + dx };
        const electronsHere = Math.round(amount);
        if (at.row < 0 || at.x < 0 || at.row >= sensitiveRows || at.x >= sensitiveColumns || electronsHere < 1) return;
        const key = `${read} ${at.row} ${at.x}`;
        const before = jumps.get(key)?.electrons ?? 0;
        jumps.set(key, { read, row: at.row + BORDER, x: at.x + BORDER, electrons: before + electronsHere });
      };
      if (plan.jumpElectrons !== undefined) {
        add(0, 0, plan.jumpElectrons);
        continue;
      }
      add(0, 0, electrons);
      // The track's next pixel takes a share, and charge diffuses into it.
      const [dy, dx] = [
        [0, 1],
        [0, -1],
        [1, 0],
        [-1, 0],
      ][neighbour] as [number, number];
      add(dy, dx, 0.5 * share * electrons);
    }
  }
  // A Map keeps the order of insertion, which is by read.
  return [...jumps.values()];
}

function makeLevels(plan: ExposurePlan, seed: Seed): number[][] {
  const numbers = new Sequence(seed, STREAM.bias);
  const walk = Array.from({ length: OUTPUTS + 1 }, () => 0);
  return Array.from({ length: plan.reads }, () => {
    for (let i = 0; i <= OUTPUTS; i++) {
      walk[i] = (walk[i] as number) + (i === OUTPUTS ? DRIFT_COMMON_DN : DRIFT_OUTPUT_DN) * numbers.normal();
    }
    const drift = plan.effects.biasDrift ? 1 : 0;
    return OUTPUT_OFFSET.map(
      (offset, i) => BIAS_LEVEL + offset + drift * ((walk[i] as number) + (walk[OUTPUTS] as number)),
    );
  });
}
