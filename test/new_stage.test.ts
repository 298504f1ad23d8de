// "One folder = one stage": in a copy of the tree two folders are added below src/stages and no other file is touched. Their
// stages must then be in the plan of a night, be run, and be found done.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { openFits } from '../src/fits/index.js';
import type { Plan } from '../src/night/job.js';
import { rampline, root } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-new-stage-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
const copy = join(base, 'tree');
const main = join(copy, 'build/js/cli/main.js');

/** For each chip of a quartz flat: the light of each row. */
const PROFILE: Record<string, string> = {
  'stage.ts': `import type { Stage } from '../stage.js';

export const stage: Stage = {
  name: 'demo-profile',
  prefix: 'profile',
  summary: 'light of each row of a quartz flat',
  schema: 'demo-profile/1',
  scope: 'chip',
  takes: ({ kind }) => kind === 'quartzflat',
  inputs: [{ role: 'image', from: ['calibrate'] }, { role: 'gate', from: ['classify'], gate: true }],
  kernels: [],
  parameters: { scale: 2 },
  predict: () => ({ cpuSeconds: 0.01, peakBytes: 1e7, diskBytes: 1e5 }),
  body: async () => (await import('./body.js')).profile,
};
`,
  'body.ts': `import type { StageBody } from '../stage.js';

export const profile: StageBody = async ({ inputs, parameters }) => {
  const { data, shape } = inputs[0]!.file.readImage('SCI');
  const [rows = 0, cols = 0] = shape;
  const sums = Float32Array.from({ length: rows }, (_, y) => {
    let sum = 0;
    for (let x = 0; x < cols; x++) sum += Number(data[y * cols + x]) || 0;
    return sum * Number(parameters.scale);
  });
  return {
    cards: [['SCALE', Number(parameters.scale), 'of the demo']],
    hdus: [{ name: 'PROFILE', data: sums, shape: [rows] }],
    summary: { rows },
    warnings: [],
    timings: [],
  };
};
`,
};

/** The profiles of all chips side by side. */
const JOINED: Record<string, string> = {
  'stage.ts': `import type { Stage } from '../stage.js';

export const stage: Stage = {
  name: 'demo-join',
  prefix: 'profiles',
  summary: 'profiles of the chips side by side',
  schema: 'demo-join/1',
  scope: 'exposure',
  takes: ({ kind }) => kind === 'quartzflat',
  inputs: [{ role: 'profile', from: ['demo-profile'] }],
  kernels: [],
  predict: () => ({ cpuSeconds: 0.01, peakBytes: 1e7, diskBytes: 1e5 }),
  body: async () => async ({ inputs }) => {
    const all = inputs.map(({ file }) => file.readImage('PROFILE').data as Float32Array);
    const rows = all[0]?.length ?? 0;
    const data = new Float32Array(rows * all.length);
    all.forEach((one, i) => data.set(one, i * rows));
    return { cards: [], hdus: [{ name: 'PROFILES', data, shape: [all.length, rows] }], summary: {}, warnings: [], timings: [] };
  },
};
`,
};

function inCopy(command: string, ...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: copy, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stdout}${stderr}`);
}

function reply(...args: string[]) {
  const ended = rampline(['--json', '--log-level', 'error', ...args], { main });
  expect(ended.stderr).toBe('');
  expect(ended.code).toBe(0);
  return JSON.parse(ended.stdout);
}

it('a new folder is a new stage of the night, and no other file changes', { timeout: 300_000 }, (ctx) => {
  const listed = spawnSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' });
  if (listed.status !== 0) ctx.skip('this tree is not a git checkout');
  const files = listed.stdout.split('\0').filter((file) => file !== '' && existsSync(join(root, file)));
  for (const file of files) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    copyFileSync(join(root, file), join(copy, file));
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  mkdirSync(join(copy, 'build'), { recursive: true });
  symlinkSync(join(root, 'build/addon'), join(copy, 'build/addon'));
  for (const [folder, stage] of Object.entries({ demo_profile: PROFILE, demo_join: JOINED })) {
    mkdirSync(join(copy, 'src/stages', folder));
    for (const [name, text] of Object.entries(stage)) writeFileSync(join(copy, 'src/stages', folder, name), text);
  }
  inCopy(process.execPath, 'native/codegen/generate.mjs');
  inCopy('node_modules/.bin/tsc', '-p', 'tsconfig.json');

  // A dark and the two quartz flats of the mock night.
  const raw = join(base, 'raw');
  const size = ['--size', 'small', '--rows', '32', '--tele', 'apo', '--exposures', '1,12,13'];
  expect(rampline(['simulate', 'night', ...size, '-o', raw, '--log-level', 'error']).code).toBe(0);
  const output = join(base, 'out');
  const night = [raw, '-o', output, '--tele', 'apo', '--mjd', '60857', '--calib', join(raw, 'calib')];

  const before: Plan = reply('plan', ...night);
  const ids = (plan: Plan, stage: string) => plan.jobs.filter((job) => job.stage === stage).map(({ id }) => id);
  expect(ids(before, 'demo-profile').toSorted()).toEqual(
    ['a-0012', 'a-0013', 'b-0012', 'b-0013', 'c-0012', 'c-0013'].map((end) => `demo-profile-apo-60857-${end}`),
  );
  expect(ids(before, 'demo-join')).toEqual(['demo-join-apo-60857-0012', 'demo-join-apo-60857-0013']);
  const join12 = before.jobs.find(({ id }) => id === 'demo-join-apo-60857-0012');
  expect(join12?.needs.map(({ job }) => job).toSorted()).toEqual(
    ['a', 'b', 'c'].map((chip) => `demo-profile-apo-60857-${chip}-0012`),
  );

  reply('run', ...night);
  const product = (name: string) => openFits(join(output, 'apo/60857', name));
  const image = product('2dcal-apo-60857-b-0012.fits').readImage('SCI').data;
  const row = image.subarray(20 * 2048, 21 * 2048) as Float32Array;
  const light = row.reduce((sum, value) => sum + (Number.isNaN(value) ? 0 : value), 0);
  const profile = product('profile-apo-60857-b-0012.fits');
  expect(profile.readImage('PROFILE').data[20]).toBeCloseTo(2 * light, 0);
  expect(profile.hdu(0).header.string('STAGE', '')).toBe('demo-profile');
  const joined = product('profiles-apo-60857-0012.fits').readImage('PROFILES');
  expect(joined.shape).toEqual([3, 32]);
  expect(joined.data[32 + 20]).toBe(profile.readImage('PROFILE').data[20]);

  const after: Plan = reply('plan', ...night);
  expect(after.jobs.filter(({ state }) => state !== 'done')).toEqual([]);
  const changed: Plan = reply('plan', ...night, '--set', 'demo-profile.scale=3', '--only', '12-a');
  expect(changed.jobs.find(({ stage }) => stage === 'demo-profile')).toMatchObject({
    state: 'todo',
    why: 'parameter scale changed from 2 to 3',
  });

  for (const file of files) {
    expect(readFileSync(join(copy, file)).equals(readFileSync(join(root, file))), file).toBe(true);
  }
});
