import { describe, expect, it } from 'vitest';
import { UsageError } from '../../core/errors.js';
import type { Job, Need, Plan } from '../job.js';
import { type ChunkShape, chunkPlan, type Level } from './chunks.js';

const CLUSTER: ChunkShape = {
  cpus: 64,
  nodeCpus: 16,
  memoryBytes: 32 * 2 ** 30,
  threads: 1,
  idleBytes: 100 * 2 ** 20,
  maxMinutes: Number.POSITIVE_INFINITY,
};

function job(
  stage: string,
  exposure: number | undefined,
  chip: string | undefined,
  needs: readonly string[],
  cpuSeconds: number,
  tele = 'apo',
): Job {
  return {
    id: [stage, tele, 60855, chip, exposure].filter((part) => part !== undefined).join('-'),
    stage,
    scope: chip === undefined ? 'exposure' : 'chip',
    identity: { tele, mjd: 60855, chip, exposure },
    slice: chip ?? 'join',
    exposures: [],
    raw: [],
    needs: needs.map((id): Need => ({ job: id, role: 'x', how: 'input' })),
    least: {},
    products: [],
    prediction: { cpuSeconds, peakBytes: 5e8, diskBytes: 1e7 },
    state: 'todo',
    why: '',
  };
}

function planOf(jobs: readonly Job[]): Plan {
  return {
    schema: 'plan/1',
    instrument: 'apogee',
    tele: ['apo'],
    mjd: 60855,
    chips: ['a', 'b', 'c'],
    slices: ['a', 'b', 'c', 'join'],
    output: '/out',
    options: { calib: [], build: [], params: {}, verify: true, diagnostics: false },
    jobs,
    exposures: [],
  };
}

/** Of `exposures` of two telescopes with three chips: calibrate and extract for each chip, classify for each exposure. */
function night(exposures: number, cpuSeconds = 2): Plan {
  const jobs: Job[] = [];
  for (let exposure = 1; exposure <= exposures; exposure++) {
    for (const tele of ['apo', 'lco']) {
      const chips = ['a', 'b', 'c'].map((chip) => job('calibrate', exposure, chip, [], cpuSeconds, tele));
      jobs.push(...chips);
      for (const { id, identity } of chips)
        jobs.push(job('extract', exposure, identity.chip, [id], cpuSeconds / 2, tele));
      const ids = chips.map(({ id }) => id);
      jobs.push(job('classify', exposure, undefined, ids, cpuSeconds / 10, tele));
    }
  }
  return planOf(jobs);
}

const todoOf = (plan: Plan) => new Set(plan.jobs.filter(({ state }) => state === 'todo').map(({ id }) => id));
const chunksOf = (plan: Plan, shape: Partial<ChunkShape> = {}) =>
  chunkPlan(plan, todoOf(plan), { ...CLUSTER, ...shape });

/** Every job once, and never in a level that is not after those of its needs. */
function expectSound(plan: Plan, levels: readonly Level[]): void {
  const placed = levels.flatMap(({ chunks }, level) =>
    chunks.flatMap(({ jobs }, chunk) => jobs.map((id) => ({ id, level, chunk }))),
  );
  const place = new Map(placed.map((one) => [one.id, one]));
  expect(placed.length).toBe(place.size);
  expect(new Set(place.keys())).toEqual(todoOf(plan));
  const wrong: string[] = [];
  for (const { id, needs } of plan.jobs) {
    const at = place.get(id);
    for (const need of needs) {
      const before = place.get(need.job);
      if (at === undefined || before === undefined) continue;
      const how = levels[at.level]?.after.find(({ level }) => level === before.level)?.how;
      if (before.level >= at.level || how === undefined) wrong.push(`${id} does not wait for ${need.job}`);
      if (how === 'aftercorr' && at.chunk !== before.chunk) wrong.push(`${id} waits for another chunk`);
    }
  }
  expect(wrong).toEqual([]);
}

describe('a plan of 10,000 jobs as job arrays', () => {
  const plan = night(715); // 10,010 jobs
  const levels = chunksOf(plan);

  it('holds every job once, after what it needs', () => {
    expect(plan.jobs.length).toBeGreaterThan(10_000);
    expectSound(plan, levels);
    expect(levels.map(({ stage }) => stage)).toEqual(['calibrate', 'extract', 'classify']);
  });

  it('has a few chunks for each core, none below a minute', () => {
    const [calibrate, , classify] = levels as [Level, Level, Level];
    // 8,580 s on 64 cores are 143 chunks of a minute
    expect(calibrate.chunks.length).toBeGreaterThan(110);
    expect(calibrate.chunks.length).toBeLessThanOrEqual(143);
    expect(Math.min(...calibrate.chunks.map(({ cpuSeconds }) => cpuSeconds))).toBeGreaterThanOrEqual(60);
    expect(Math.max(...calibrate.chunks.map(({ cpuSeconds }) => cpuSeconds))).toBeLessThan(130);
    // 286 s
    expect(classify.chunks.length).toBe(4);
    const heavy = chunksOf(night(715, 200))[0] as Level;
    expect(heavy.chunks.length).toBeGreaterThan(180);
    expect(heavy.chunks.length).toBeLessThan(200);
  });

  it('keeps a detector together', () => {
    const mixed = (levels[0] as Level).chunks.filter(
      ({ jobs }) => new Set(jobs.map((id) => id.replace(/-\d+$/, ''))).size > 1,
    );
    expect(mixed.length).toBeLessThanOrEqual(6);
  });

  it('waits chunk by chunk where chunks correspond, and for the whole array where chips join', () => {
    const [, extract, classify] = chunksOf(night(715, 20)) as [Level, Level, Level];
    expect(extract.after).toEqual([{ level: 0, how: 'aftercorr' }]);
    expect(classify.after).toEqual([{ level: 0, how: 'afterany' }]);
  });

  it('takes the same cut for the same plan', () => {
    expect(chunksOf(plan)).toEqual(levels);
  });
});

describe('chunks', () => {
  it('is one for a night of seconds', () => {
    const plan = night(4);
    const levels = chunksOf(plan);
    expectSound(plan, levels);
    expect(levels.map(({ chunks }) => chunks.length)).toEqual([1, 1, 1]);
    expect(levels[0]).toMatchObject({ cpus: 1, minutes: 9, memoryBytes: Math.ceil((5e8 + 100 * 2 ** 20) * 1.25) });
  });

  it('are as many as asked for', () => {
    const plan = night(4);
    const levels = chunksOf(plan, { chunks: 8 });
    expectSound(plan, levels);
    expect(levels[0]?.chunks.length).toBe(8);
  });

  it('leave out what is done or dropped, and wait for neither', () => {
    const whole = night(3);
    const plan = planOf(
      whole.jobs.map((one) => (one.stage === 'calibrate' ? { ...one, state: 'done' as const } : one)),
    );
    const levels = chunksOf(plan);
    expectSound(plan, levels);
    expect(levels.map(({ after }) => after)).toEqual([[], []]);
    expect(chunkPlan(plan, new Set(), CLUSTER)).toEqual([]);
  });

  it('come again where a stage has work at two depths', () => {
    const plan = planOf([
      job('ramp', 1, 'a', [], 1),
      job('classify', 1, undefined, ['ramp-apo-60855-a-1'], 1),
      job('dark', undefined, 'a', ['classify-apo-60855-1'], 1),
      job('calibrate', 2, 'a', ['dark-apo-60855-a'], 1),
      job('classify', 2, undefined, ['calibrate-apo-60855-a-2'], 1),
    ]);
    const levels = chunksOf(plan);
    expectSound(plan, levels);
    expect(levels.map(({ stage }) => stage)).toEqual(['ramp', 'classify', 'dark', 'calibrate', 'classify']);
  });

  it('ask for what a node has, or refuse', () => {
    const plan = night(4);
    expect(() => chunksOf(plan, { memoryBytes: 2 ** 29 })).toThrow(UsageError);
    expect(() => chunksOf(plan, { memoryBytes: 2 ** 29 })).toThrow(
      /calibrate-.* is predicted to need 0\.7 GiB.*has 0\.5 GiB/,
    );
    const low = planOf(plan.jobs.map((one) => ({ ...one, prediction: { ...one.prediction, lowMemoryBytes: 2e8 } })));
    expect(chunksOf(low, { memoryBytes: 2 ** 29 })[0]?.memoryBytes).toBe(Math.ceil((2e8 + 100 * 2 ** 20) * 1.25));
    expect(chunksOf(plan, { threads: 32 })[0]?.cpus).toBe(16);
    expect(chunksOf(plan, { maxMinutes: 6 })[0]?.minutes).toBe(6);
    expect(() => chunksOf(night(400), { maxMinutes: 1, chunks: 1 })).toThrow(/--chunks/);
  });
});
