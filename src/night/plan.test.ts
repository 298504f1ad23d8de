// Keys and reasons: jobs are done by the task that a run gives them to, and the plan must then say that they are done; after
// a change it must say what changed.
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scanNight } from '../almanac/index.js';
import type { Exposure } from '../core/exposure.js';
import { apogee } from '../instruments/apogee/index.js';
import { simulateNight } from '../simulate/night.js';
import { hashFile, type ManifestEntry } from '../store/index.js';
import { parseManifest, serializeManifest } from '../store/manifest.js';
import type { Job, NightOptions, Outcome, Plan } from './job.js';
import { absoluteExposures, NIGHT_DEFAULTS, planNight } from './plan.js';
import { failuresOf } from './run.js';
import { decide, droppedUnbegun } from './settle.js';
import { executeTask } from './task.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-plan-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
const raw = join(base, 'raw');
const MJD = 60_857;
const SCAN = { tele: 'apo', mjd: MJD, instrument: apogee, prefilters: { chips: ['a'] } };
let exposures: readonly Exposure[];

beforeAll(async () => {
  await simulateNight({
    output: raw,
    size: 'small',
    rows: 48,
    tele: ['apo'],
    chips: ['a'],
    exposures: [1, 2, 3, 10],
    threads: 2,
  });
  exposures = absoluteExposures(await scanNight(raw, SCAN)).filter(({ kind }) => kind !== 'missing');
});

type More = Partial<Omit<Parameters<typeof planNight>[0], 'options'>> & { readonly options?: Partial<NightOptions> };

const plan = (output: string, { options, ...more }: More = {}) =>
  planNight({
    exposures,
    mjd: MJD,
    output: join(base, output),
    options: { ...NIGHT_DEFAULTS, calib: [join(raw, 'calib')], ...options },
    ...more,
  });

const jobOf = ({ jobs }: Plan, id: string): Job => jobs.find((job) => job.id.startsWith(id)) as Job;

/** Does the jobs of a plan one after the other, as an executor. */
async function done(made: Plan): Promise<Outcome[]> {
  const settled = new Map<string, { job: Job; outcome: Outcome }>();
  for (const job of made.jobs) {
    const decision = decide(job, made.output, (id) => settled.get(id)!);
    if (decision.drop !== undefined) throw new Error(`${job.id}: ${decision.drop}`);
    const { output, options } = made;
    const task = { ...decision, output, options, threads: 1, lowMemory: true, force: false, attempt: 1 };
    settled.set(job.id, { job, outcome: await executeTask(task) });
  }
  return [...settled.values()].map(({ outcome }) => outcome);
}

describe('what is done', () => {
  beforeAll(async () => {
    const outcomes = await done(await plan('out', { options: { build: ['one-over-f'] } }));
    for (const { job, failure } of outcomes) if (failure !== undefined) throw new Error(`${job}: ${failure.message}`);
  });
  const build = ['one-over-f'];

  it('is known by the keys that the tasks write, calibrations of the night among them', async () => {
    const { jobs } = await plan('out', { options: { build } });
    expect(jobs.map(({ stage }) => stage)).toEqual(
      expect.arrayContaining(['ramp', 'classify', 'build-one-over-f', 'calibrate']),
    );
    for (const { id, state, why, products, key } of jobs) {
      expect({ id, state, why }).toEqual({
        id,
        state: 'done',
        why: 'the manifest matches: the same input, calibrations, parameters and kernels',
      });
      expect(products).toHaveLength(1);
      const manifest = JSON.parse(readFileSync(`${join(base, 'out', products[0] as string)}.manifest.json`, 'utf8'));
      expect(manifest.key).toBe(key);
    }
  });

  it('is not what was never made; keys are there before anything runs where they are asked for', async () => {
    const needed = await plan('nothing', { options: { build } });
    for (const { stage, state, why, key } of needed.jobs) {
      expect([state, key]).toEqual(['todo', undefined]);
      if (stage === 'ramp') expect(why).toBe('there is no product');
      if (stage === 'build-one-over-f') expect(why).toMatch(/^it waits for classify-/);
    }
    const all = await plan('nothing', { options: { build }, hash: 'all' });
    expect(jobOf(all, 'ramp').key).toBe(jobOf(await plan('out', { options: { build } }), 'ramp').key);
    expect(jobOf(all, 'classify').key).toBeUndefined();
  });

  it('says which parameter, calibration or kernel is another one', async () => {
    const changed = await plan('out', { options: { build, params: { ramp: { jumps: 'iqr' } } } });
    expect(jobOf(changed, 'ramp').why).toBe('parameter jumps changed from "likelihood" to "iqr"');
    expect(jobOf(changed, 'classify').why).toMatch(/^it waits for ramp-apo-60857-a-0001/);
    const fits = await plan('out', { options: { build, params: { 'fit-ramp': { iterations: 2 } } } });
    expect(jobOf(fits, 'ramp').why).toBe('parameter fit-ramp.iterations is new: 2');
    const figures = await plan('out', { options: { build, calib: [] } });
    expect(jobOf(figures, 'ramp').why).toMatch(/^calibration gain-.*is no longer taken; .*; and \d+ more$/);
    const { why } = jobOf(await plan('out'), 'calibrate');
    expect(why).toMatch(/oneoverf/);
  });

  it('follows what the headers say: the verdict depends on it', async () => {
    const claimed = exposures.map((one) => (one.exposure === 1 ? { ...one, kind: 'internalflat' as const } : one));
    const { jobs } = await plan('out', { exposures: claimed });
    const of = (id: string) => jobs.find((job) => job.id === id);
    expect(of('ramp-apo-60857-a-0001')).toMatchObject({ state: 'done' });
    expect(of('classify-apo-60857-0001')).toMatchObject({
      state: 'todo',
      why: 'parameter exposures.0001.kind changed from "dark" to "internalflat"',
    });
    // What is around an exposure, and where its files are, is no matter.
    const around = exposures.map((one) => ({ ...one, sequence: 9, afterDark: true, comment: 'cloudy' }));
    expect(jobOf(await plan('out', { exposures: around }), 'classify')).toMatchObject({ state: 'done' });
  });

  it('says which input changed, and does not look where it is told not to', async () => {
    const elsewhere = join(base, 'raw2');
    cpSync(raw, elsewhere, { recursive: true });
    const moved = absoluteExposures(await scanNight(elsewhere, SCAN));
    const [first] = moved.flatMap(({ frames }) => frames);
    const bytes = readFileSync(first!.path);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(first!.path, bytes);
    const again = await plan('out', { exposures: moved, options: { build } });
    expect(jobOf(again, 'ramp-apo-60857-a-0001').why).toMatch(
      /^input apR-a-\d+\.apz changed \(sha256 was [0-9a-f]{8}, is [0-9a-f]{8}\)$/,
    );
    expect(jobOf(again, 'ramp-apo-60857-a-0002').state).toBe('done');
    const blind = await plan('out', { exposures: moved, options: { build }, hash: 'none' });
    expect(jobOf(blind, 'ramp-apo-60857-a-0001')).toMatchObject({ state: 'done', why: /inputs were not hashed/ });
  });

  it('says of a calibration of the night what changed since it was built', async () => {
    const without = exposures.filter(({ exposure }) => exposure !== 3);
    const fewer = await plan('out', { exposures: without, options: { build } });
    expect(jobOf(fewer, 'build-one-over-f')).toMatchObject({
      state: 'todo',
      why: expect.stringMatching(/^input apR-a-\d+\.apz \(dark\) is no longer taken$/),
    });
    expect(jobOf(fewer, 'calibrate').why).toMatch(/^it waits for build-one-over-f/);
    const blind = await plan('out', { options: { build }, hash: 'none' });
    expect(new Set(blind.jobs.map(({ state }) => state))).toEqual(new Set(['done']));
  });

  it('is the same calibration, byte for byte, whatever was built beside it before', async () => {
    cpSync(join(base, 'out'), join(base, 'beside'), { recursive: true, preserveTimestamps: true });
    const later = { exposures: exposures.filter(({ exposure }) => exposure !== 1), options: { build } };
    const built = async (output: string): Promise<Buffer> => {
      await done(await plan(output, later));
      return readFileSync(join(base, output, jobOf(await plan(output, later), 'build').products[0] as string));
    };
    expect((await built('beside')).equals(await built('alone'))).toBe(true);
  });

  it('leaves out what a verdict on disk drops', async () => {
    const copy = join(base, 'judged');
    cpSync(join(base, 'out'), copy, { recursive: true, preserveTimestamps: true });
    const [one, two] = (await plan('judged', { options: { build } })).jobs.filter(({ stage }) => stage === 'classify');
    const drop = async ({ products }: Job): Promise<void> => {
      const path = join(copy, products[0]!);
      const text = readFileSync(path, 'latin1');
      const at = text.search(/VERDICT = '[a-z]+ *'/);
      const card = "VERDICT = 'drop    '".padEnd(text.indexOf('/', at) - at);
      writeFileSync(path, text.slice(0, at) + card + text.slice(at + card.length), 'latin1');
      // As it would lie there had the classifier said so: with a manifest that describes it.
      const manifest = `${path}.manifest.json`;
      const entry = parseManifest(readFileSync(manifest, 'utf8')) as ManifestEntry;
      const { ino, mtimeNs } = statSync(path, { bigint: true });
      const { sha256 } = await hashFile(path, { remember: false });
      writeFileSync(manifest, serializeManifest({ ...entry, sha256, inode: String(ino), mtimeNs: String(mtimeNs) }));
    };
    await drop(one!);
    const dark = jobOf(await plan('judged', { options: { build } }), 'build-one-over-f');
    expect(dark).toMatchObject({ state: 'todo', why: expect.stringMatching(/is no longer taken$/) });
    expect(dark.raw).toHaveLength(3);
    // Too few are left. That is no failure, whether the verdict was there before the run or came of it.
    await drop(two!);
    const made = await plan('judged', { options: { build } });
    const few = jobOf(made, 'build-one-over-f');
    expect(few).toMatchObject({
      state: 'dropped',
      why: expect.stringMatching(/^1 of 3 dark are left and 2 are needed: /),
    });
    expect(failuresOf(made, [droppedUnbegun(few, few.why)])).toEqual([]);
    const first = { ...made, jobs: made.jobs.map((job) => ({ ...job, state: 'todo' as const })) };
    expect(failuresOf(first, [droppedUnbegun(few, few.why)])).toEqual([]);
    // No memory for it: that is one, though it never began.
    expect(failuresOf(first, [droppedUnbegun({ ...few, error: 'usage' }, 'no memory')])).toHaveLength(1);
  });

  it('takes hashes from a memory that outlives it', async () => {
    const asked: string[] = [];
    const memory = {
      get: (path: string) => {
        asked.push(path);
        return undefined;
      },
      set: () => undefined,
    };
    const { path } = exposures[0]!.frames[0]!;
    utimesSync(path, new Date(), new Date());
    await plan('out', { options: { build }, memory });
    expect(asked).toContain(path);
    expect((await hashFile(path)).sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('is not a product that is damaged, or was not finished', async () => {
    cpSync(join(base, 'out'), join(base, 'damaged'), { recursive: true, preserveTimestamps: true });
    const before = await plan('damaged', { options: { build } });
    const [one, two] = before.jobs.filter(({ stage }) => stage === 'ramp');
    const pathOf = ({ products }: Job) => join(base, 'damaged', products[0] as string);
    const bytes = readFileSync(pathOf(one!));
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(pathOf(one!), bytes);
    rmSync(`${pathOf(two!)}.manifest.json`);
    const after = await plan('damaged', { options: { build } });
    expect(jobOf(after, one!.id).why).toMatch(/^the product is damaged: its sha256 is/);
    expect(jobOf(after, two!.id).why).toBe('the product was not finished: it has no manifest');
    rmSync(pathOf(one!));
    expect(jobOf(await plan('damaged', { options: { build } }), one!.id).why).toBe('the product is gone');
  });

  it('says before anything runs what has no calibration', async () => {
    const { jobs } = await plan('bare', { options: { calib: [] } });
    expect(jobs.find(({ stage }) => stage === 'calibrate')).toMatchObject({ state: 'dropped' });
    expect(jobs.find(({ stage }) => stage === 'calibrate')?.why).toContain('no calibration');
  });
});
