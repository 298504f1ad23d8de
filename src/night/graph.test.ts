import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Exposure, ExposureKind } from '../core/exposure.js';
import { encodeFits } from '../fits/index.js';
import { apogee } from '../instruments/apogee/index.js';
import type { Stage } from '../stages/stage.js';
import { JOIN, nightGraph } from './graph.js';
import { NIGHT_DEFAULTS, planNight } from './plan.js';
import { nightStages } from './stages.js';

const MJD = 60855;
const base = mkdtempSync(join(tmpdir(), 'rampline-graph-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** A plan looks at headers alone: all raw files are one header. */
beforeAll(() => {
  const header = encodeFits([{ header: [['DATE-OBS', '2025-06-29T03:00:00']] }]);
  writeFileSync(join(base, 'header.fits'), Buffer.concat([...header]));
  for (const tele of ['apo', 'lco']) {
    for (const chip of ['a', 'b', 'c']) {
      for (let n = 1; n <= 13; n++) symlinkSync('header.fits', rawPath(tele, chip, n));
    }
  }
});
const rawPath = (tele: string, chip: string, n: number) =>
  join(base, apogee.rawName({ tele, mjd: MJD, chip, exposure: n }, 'fits'));

function exposure(number: number, kind: ExposureKind, more: Partial<Exposure> = {}): Exposure {
  const tele = more.tele ?? 'apo';
  const frames = ['a', 'b', 'c'].map((chip) => ({
    chip,
    path: rawPath(tele, chip, number),
    bytes: 1e6,
    reads: 12,
    rows: 64,
    cols: 2560,
    serial: '',
  }));
  return {
    tele,
    mjd: MJD,
    exposure: number,
    kind,
    reads: 12,
    frames: kind === 'missing' ? [] : frames,
    exposureSeconds: 100,
    lamps: { quartz: 0, thar: 0, une: 0 },
    ditherPixels: 0,
    plate: '',
    design: '',
    configuration: '',
    field: '',
    cartridge: '',
    comment: '',
    sequence: 0,
    ...more,
  };
}

const predict = () => ({ cpuSeconds: 1, peakBytes: 1, diskBytes: 1 });
const stage = (name: string, more: Partial<Stage>): Stage => ({
  name,
  prefix: name,
  summary: '',
  schema: `${name}/1`,
  scope: 'chip',
  takes: () => true,
  inputs: [],
  kernels: [],
  predict,
  body: async () => async () => ({ cards: [], hdus: [], summary: {}, warnings: [], timings: [] }),
  ...more,
});

const classify = stage('classify', {
  scope: 'exposure',
  inputs: [{ role: 'image', from: ['calibrate', 'ramp'], least: 1 }],
});
const trace = stage('trace', {
  scope: 'detector',
  takes: ({ kind }) => kind === 'quartzflat',
  inputs: [
    { role: 'flat', from: ['calibrate'], least: 2 },
    { role: 'gate', from: ['classify'], gate: true },
  ],
});
const extract = stage('extract', {
  takes: ({ kind }) => kind === 'object',
  inputs: [
    { role: 'image', from: ['calibrate'] },
    { role: 'trace', from: ['trace'] },
    { role: 'gate', from: ['classify'], gate: true },
  ],
});
const combine = stage('combine', {
  scope: 'night',
  takes: ({ kind }) => kind === 'object',
  inputs: [{ role: 'spectrum', from: ['extract'], least: 1 }],
});
const FOUND = [combine, extract, classify, trace];

const NIGHT = [
  ...[1, 2, 3, 4].map((n) => exposure(n, 'dark')),
  exposure(5, 'internalflat'),
  exposure(6, 'internalflat'),
  exposure(7, 'dark'),
  exposure(8, 'quartzflat'),
  exposure(9, 'quartzflat'),
  exposure(10, 'quartzflat'),
  exposure(11, 'object'),
  exposure(12, 'missing'),
  exposure(13, 'object'),
];
const BUILD = ['one-over-f', 'photon-transfer', 'dark', 'flat'];

/** Without builds calibrations must come from somewhere; with them the plan waits. */
const plan = (exposures: readonly Exposure[], more: Partial<Parameters<typeof planNight>[0]> = {}) =>
  planNight({
    exposures,
    mjd: MJD,
    output: join(base, 'out'),
    options: { ...NIGHT_DEFAULTS, build: BUILD },
    stages: nightStages(BUILD, FOUND),
    ...more,
  });

const graph = (exposures = NIGHT) => new Map(nightGraph(exposures, nightStages(BUILD, FOUND)).map((d) => [d.id, d]));
const needs = (id: string, jobs = graph()) =>
  jobs
    .get(id)
    ?.needs.map(({ job, how }) => `${how} ${job}`)
    .sort();

describe('the job graph', () => {
  it('has a job for each exposure and chip, exposure, detector and telescope, by the scope of the stage', () => {
    const ids = [...graph().keys()];
    const of = (name: string) =>
      ids.filter((id) => id.startsWith(`${name}-apo`)).map((id) => id.slice(name.length + 11));
    expect(of('ramp')).toHaveLength(7 * 3);
    expect(of('calibrate')).toHaveLength(5 * 3);
    expect(of('classify').sort()).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13].map((n) => String(n).padStart(4, '0')),
    );
    expect(of('trace').sort()).toEqual(['a', 'b', 'c']);
    expect(of('build-dark').sort()).toEqual(['a', 'b', 'c']);
    expect(ids).toContain('combine-apo-60855');
    expect(ids).toContain('calibrate-apo-60855-c-0013');
  });

  it('joins chips and exposures', () => {
    expect(needs('classify-apo-60855-0005')).toEqual(['a', 'b', 'c'].map((c) => `input ramp-apo-60855-${c}-0005`));
    expect(needs('classify-apo-60855-0011')).toEqual(['a', 'b', 'c'].map((c) => `input calibrate-apo-60855-${c}-0011`));
    expect(needs('trace-apo-60855-b')).toEqual([
      ...['0008', '0009', '0010'].map((n) => `gate classify-apo-60855-${n}`),
      ...['0008', '0009', '0010'].map((n) => `input calibrate-apo-60855-b-${n}`),
    ]);
    expect(needs('extract-apo-60855-b-0011')).toEqual([
      'gate classify-apo-60855-0011',
      'input calibrate-apo-60855-b-0011',
      'input trace-apo-60855-b',
    ]);
    expect(needs('combine-apo-60855')).toHaveLength(6);
  });

  it('puts calibrations behind the builds that they may take, in the order in which those take one another', () => {
    expect(needs('calibrate-apo-60855-a-0011')).toEqual(BUILD.map((word) => `order build-${word}-apo-60855-a`).sort());
    expect(needs('build-flat-apo-60855-a')).toEqual(
      expect.arrayContaining(BUILD.slice(0, 3).map((word) => `order build-${word}-apo-60855-a`)),
    );
    expect(needs('ramp-apo-60855-a-0001')).toEqual([]);
  });

  it('takes no dark behind light into the dark, and gates what it takes', () => {
    const dark = graph().get('build-dark-apo-60855-c');
    expect(dark?.raw.map(({ exposure: n }) => n)).toEqual([1, 2, 3, 4]);
    const gates = dark?.needs.filter(({ how }) => how === 'gate') ?? [];
    expect(gates.filter(({ behind }) => behind !== true).map(({ exposure: n }) => n)).toEqual([1, 2, 3, 4]);
    // Of each but the first the exposure before is asked, too: its light would persist.
    expect(gates.filter(({ behind }) => behind).map(({ job, exposure: n }) => `${job} ${n}`)).toEqual([
      'classify-apo-60855-0001 2',
      'classify-apo-60855-0002 3',
      'classify-apo-60855-0003 4',
    ]);
    expect(dark?.least).toEqual({ dark: 3 });
    const transfer = graph().get('build-photon-transfer-apo-60855-c');
    expect(transfer?.raw.map(({ role, exposure: n }) => `${role} ${n}`)).toEqual([
      ...[1, 2, 3, 4, 7].map((n) => `dark ${n}`),
      'flat 5',
      'flat 6',
    ]);
  });

  it('has every job behind those that it needs, and one detector after the other', () => {
    const seen = new Set<string>();
    const order = [...graph().values()];
    for (const { id, needs: before } of order) {
      for (const { job } of before) expect(seen.has(job), `${job} before ${id}`).toBe(true);
      seen.add(id);
    }
    const changes = order.filter(({ identity }, i) => i > 0 && identity.chip !== order[i - 1]?.identity.chip);
    // Chips come one after the other; between them are verdicts.
    expect(changes.length).toBeLessThan(16);
  });
});

describe('the plan', () => {
  it('drops what is left out, with the reason, and what depends on it', async () => {
    const night = NIGHT.map((one) =>
      one.exposure === 11 ? { ...one, drop: { by: 'user', reason: 'clouds' } as const } : one,
    );
    const { jobs } = await plan(night);
    const job = (id: string) => jobs.find((one) => one.id === id);
    for (const id of ['calibrate-apo-60855-a-0011', 'classify-apo-60855-0011', 'extract-apo-60855-a-0011']) {
      expect(job(id)).toMatchObject({ state: 'dropped', why: 'it is left out, on the list of bad exposures: clouds' });
    }
    expect(job('combine-apo-60855')).toMatchObject({ state: 'todo' });
    expect(job('combine-apo-60855')?.needs).toHaveLength(3);
  });

  it('says which chip has no raw file, and joins what is left of an exposure where the stage can', async () => {
    const night = NIGHT.map((one) =>
      one.exposure === 13 ? { ...one, frames: one.frames.filter(({ chip }) => chip !== 'b') } : one,
    );
    const { jobs } = await plan(night);
    const state = (id: string) => jobs.find((one) => one.id === id)?.state;
    expect(jobs.find(({ id }) => id === 'calibrate-apo-60855-b-0013')).toMatchObject({
      state: 'dropped',
      why: 'there is no raw file of chip b',
    });
    expect(state('calibrate-apo-60855-a-0013')).toBe('todo');
    expect(state('classify-apo-60855-0013')).toBe('todo');
    expect(state('extract-apo-60855-b-0013')).toBe('dropped');
    expect(state('combine-apo-60855')).toBe('todo');
  });

  it('counts what must be left where exposures join', async () => {
    const { jobs } = await plan(NIGHT.filter(({ exposure: n }) => n < 3 || n > 4));
    expect(jobs.find(({ id }) => id === 'build-dark-apo-60855-a')).toMatchObject({
      state: 'dropped',
      why: '2 of at least 3 dark',
    });
    expect(jobs.find(({ id }) => id === 'calibrate-apo-60855-a-0011')?.state).toBe('todo');
    const fewer = await plan(NIGHT.filter(({ exposure: n }) => n < 9));
    expect(fewer.jobs.find(({ id }) => id === 'trace-apo-60855-a')).toMatchObject({ state: 'dropped' });
  });

  it('is the sum of its slices', async () => {
    const night = [...NIGHT, ...NIGHT.map((one) => exposure(one.exposure, one.kind, { tele: 'lco' }))];
    const whole = await plan(night);
    expect(whole.slices).toEqual(['a', 'b', 'c', JOIN]);
    const ids: string[] = [];
    for (const slice of whole.slices) {
      const part = await plan(night, { slices: [slice] });
      const own = part.jobs.filter((one) => one.slice === slice);
      ids.push(...own.map(({ id }) => id));
      // What it needs of other slices is there, and nothing beyond that.
      const needed = new Set(part.jobs.flatMap((one) => one.needs.map(({ job }) => job)));
      for (const one of part.jobs) expect(one.slice === slice || needed.has(one.id)).toBe(true);
      for (const one of part.jobs) expect(whole.jobs).toContainEqual(one);
    }
    expect(ids.toSorted()).toEqual(whole.jobs.map(({ id }) => id).toSorted());
    expect((await plan(night, { tele: ['lco'] })).jobs.every(({ identity }) => identity.tele === 'lco')).toBe(true);
  });

  it('refuses a telescope, chip or build that there is not', async () => {
    await expect(plan(NIGHT, { tele: ['lco'] })).rejects.toThrow('has no exposure of lco');
    await expect(plan(NIGHT, { slices: ['d'] })).rejects.toThrow('has no chip "d"; it has a, b, c');
    expect(() => nightStages(['drak'], [])).toThrow('a night builds no calibration "drak"; did you mean "dark"?');
    expect(() => nightStages([], [stage('x', { inputs: [{ role: 'y', from: ['z'] }] })])).toThrow(
      'the stage x takes y from z, which no stage makes',
    );
    const circle = ['p', 'q'].map((name, i) => stage(name, { inputs: [{ role: 'r', from: [i === 0 ? 'q' : 'p'] }] }));
    await expect(plan(NIGHT, { stages: nightStages([], circle) })).rejects.toThrow(/jobs need one another: .*p-apo-/);
  });
});
