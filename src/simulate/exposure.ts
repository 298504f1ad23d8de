/** One exposure of one chip, read by read. Nothing is kept but the running charge, so memory does not grow with reads. */
import { runChain, runKernel } from '../engine/index.js';
import {
  AMPLIFIER_COLUMNS,
  BAD_DEAD,
  BORDER,
  type Detector,
  type Effects,
  forReferencePixels,
  makeDetector,
  makePedestal,
  normalMap,
  READ_COLUMNS,
  RESET_READS,
  SCIENCE_COLUMNS,
  STREAM,
} from './detector.js';
import type { Chip, Telescope } from './figures.js';
import { deriveSeed, exp, type Seed, Sequence, seedParams } from './math.js';
import { KNOTS_PER_LINE, OneOverF, OUTPUTS } from './noise.js';
import { COLUMNS, type ExposureType, FIBRES, gradientAt, INTERNAL_FLAT, makeScene, PROFILE_SAMPLES } from './scene.js';

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
  readonly type: ExposureType;
  readonly reads: number;
  readonly rows: number;
  readonly seed: number;
  readonly detectorSeed: number;
  readonly effects: Effects;
  readonly threads: number;
  readonly jumpElectrons: number | undefined;
}

const TELE_NUMBER = { apo: 1, lco: 2 } as const;
const CHIP_NUMBER = { a: 1, b: 2, c: 3 } as const;

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
  readonly pedestal: Float32Array;
  readonly jumps: readonly Jump[];
  /** Bias of each output in each read [DN]. */
  readonly levels: readonly (readonly number[])[];
  readonly #seed: Seed;
  readonly #charge: Float32Array;
  readonly #counts: readonly Uint16Array[];
  readonly #knots: Float32Array;
  readonly #deviates: Float32Array;

  private constructor(plan: ExposurePlan, seed: Seed, detector: Detector, rate: Float32Array, pedestal: Float32Array) {
    this.plan = plan;
    this.detector = detector;
    this.rate = rate;
    this.pedestal = pedestal;
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
    const seed = deriveSeed(2, plan.seed, TELE_NUMBER[tele], CHIP_NUMBER[chip], plan.mjd, plan.exposure);
    const rate = await makeRate(plan, detector);
    const pedestal = await makePedestal(detector, seed, effects, threads);
    return new MockExposure(plan, seed, detector, rate, pedestal);
  }

  /** Runs the exposure from the reset and yields the reads that `wanted` accepts. One run at a time. */
  async *expose(wanted: (read: number) => boolean): AsyncGenerator<MockRead> {
    const { plan, detector } = this;
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
        ports: { rate: 'rate', charge: 'charge' },
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
      const isWanted = wanted(read);
      await runChain({
        arrays: {
          rate: map(this.rate),
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
        steps: isWanted ? [photons, readOut] : [photons],
        options: { threads, strip: AMPLIFIER_COLUMNS, rows, cols },
      });
      if (isWanted) yield { read, counts: into, before: this.#counts[(read + 1) % 2] as Uint16Array };
    }
  }
}

async function makeRate(plan: ExposurePlan, detector: Detector): Promise<Float32Array> {
  const { tele, chip, type, rows, effects, threads } = plan;
  const rate = new Float32Array(rows * READ_COLUMNS);
  if (effects.scene && type === 'internalflat') rate.fill(INTERNAL_FLAT);
  if (effects.scene && type === 'gradient') {
    const line = Float32Array.from({ length: SCIENCE_COLUMNS }, (_, x) => gradientAt(x));
    for (let row = 0; row < rows; row++) rate.set(line, row * READ_COLUMNS);
  }
  if (effects.scene && type !== 'internalflat' && type !== 'gradient' && type !== 'dark') {
    // Not the chip: what the fibres look at is one thing for the three chips.
    const scene = makeScene(
      tele,
      chip,
      type,
      rows,
      deriveSeed(3, plan.seed, TELE_NUMBER[tele], plan.mjd, plan.exposure),
    );
    const fibres = (data: Float32Array) => ({ data, rows: FIBRES, cols: COLUMNS });
    await runKernel(
      'mock-scene',
      {
        flux: fibres(scene.flux),
        centre: fibres(scene.centre),
        low: { data: scene.low, cols: FIBRES },
        high: { data: scene.high, cols: FIBRES },
        profile: { data: scene.profile, rows: FIBRES, cols: PROFILE_SAMPLES },
        rate: { data: rate, rows, cols: SCIENCE_COLUMNS, rowStride: READ_COLUMNS },
      },
      {},
      { threads, strip: SCIENCE_COLUMNS },
    );
  }
  forReferencePixels(rows, (index) => {
    rate[index] = 0;
  });
  for (let i = 0; i < rate.length; i++) {
    const light = ((detector.bad[i] as number) & BAD_DEAD) === 0 ? (rate[i] as number) : 0;
    rate[i] = light + (detector.dark[i] as number);
  }
  return rate;
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
