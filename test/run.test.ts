import { execFile } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NightEvent, Outcome } from '../src/night/job.js';
import { rampline, startRampline } from './cli.js';
import { differences, eventsOf, type MiniNight, MJD, makeNight, treeOf } from './mini_night.js';

let night: MiniNight;
let whole: Map<string, string>;
const path = (name: string) => join(night.base, name);

interface Reply {
  readonly run: string;
  readonly outcomes: readonly Outcome[];
  readonly exitCode: number;
  readonly peakBytes: number;
  readonly memoryBytes: number;
}

/** A run into a directory of the night, its reply and its exit code. */
function run(output: string, ...more: string[]): Reply & { readonly code: number | null } {
  const ended = rampline([...night.args(path(output), '--log-level', 'error', ...more), '--json']);
  expect(ended.stderr).toBe('');
  return { ...(JSON.parse(ended.stdout) as Reply), code: ended.code };
}

const counts = ({ outcomes }: Pick<Reply, 'outcomes'>) => {
  const found: Record<string, number> = {};
  for (const { status } of outcomes) found[status] = (found[status] ?? 0) + 1;
  return found;
};

/** Jobs whose body ran, once for each time. */
const bodies = (events: readonly NightEvent[]) =>
  events.flatMap(({ event, outcome }) => (event === 'end' && outcome?.status === 'done' ? [outcome.job] : []));

/** 15 ramps, 6 classes, 9 calibrations of three kinds, 3 objects. */
const JOBS = 33;

/** Submissions of one process, of chip b alone: 5 ramps, 1 object. */
const TIMES = 25;
const CHIP_JOBS = 6;

function prepare(): void {
  night = makeNight();
  const first = run('whole', '--jobs', '2');
  expect(first.code).toBe(0);
  expect(counts(first)).toEqual({ done: JOBS });
  whole = treeOf(path('whole'));
}
beforeAll(prepare);
afterAll(() => rmSync(night.base, { recursive: true, force: true }));

describe('a night', () => {
  it('is not done twice', () => {
    const again = run('whole');
    expect(again.code).toBe(0);
    expect(counts(again)).toEqual({ skipped: JOBS });
    expect(again.outcomes.every(({ attempt }) => attempt === 0)).toBe(true);
    expect(bodies(eventsOf(path('whole')))).toHaveLength(JOBS);
  });

  it('has one log for each exposure, with whole lines and one id through all workers', () => {
    const directory = path(`whole/log/apo/${MJD}`);
    const lines = (name: string) => readFileSync(join(directory, name), 'utf8').trimEnd().split('\n');
    const dark = lines('0001.jsonl').map((line) => JSON.parse(line) as NightEvent);
    const [{ run: id }] = dark as [NightEvent];
    const own = dark.filter((event) => event.run === id);
    expect(own.filter(({ event }) => event === 'planned').map(({ job }) => job)).toEqual([
      `ramp-apo-${MJD}-a-0001`,
      `ramp-apo-${MJD}-b-0001`,
      `ramp-apo-${MJD}-c-0001`,
      `classify-apo-${MJD}-0001`,
    ]);
    for (const job of new Set(own.map((event) => event.job))) {
      const told = own.filter((event) => event.job === job).map(({ event }) => event);
      expect(told).toEqual(['planned', 'begin', 'end']);
    }
    const joined = lines('night.jsonl').map((line) => JSON.parse(line) as NightEvent);
    expect(joined[0]).toMatchObject({ event: 'start', run: id, about: { request: { verb: 'run', tele: ['apo'] } } });
    expect(joined.find(({ event }) => event === 'finish')).toMatchObject({ run: id, about: { exitCode: 0 } });
    for (const { event, outcome } of own) {
      if (event === 'end') expect(outcome?.where).toMatch(/^\S+ \d+ \d+$/);
    }
  });

  it.each([
    ['one job at a time', ['--jobs', '1']],
    ['a process for each job', ['--jobs', '2', '--isolate']],
    ['little memory', ['--jobs', '2', '--memory', '600M']],
  ])('done with %s has the same bytes', (name, args) => {
    const output = name.replaceAll(' ', '-');
    const done = run(output, ...args);
    expect(counts(done)).toEqual({ done: JOBS });
    expect(done.peakBytes).toBeLessThan(done.memoryBytes);
    expect(done.peakBytes).toBeGreaterThan(50e6);
    expect(differences(treeOf(path(output)), whole)).toEqual([]);
    rmSync(path(output), { recursive: true });
  });

  it('done by a run for each chip, side by side, and one that joins them, has the same bytes; no body runs twice', async () => {
    const output = path('chips');
    const start = (...more: string[]) =>
      startRampline(night.args(output, '--jobs', '1', '--log-level', 'error', ...more), () => undefined);
    const ended = await Promise.all([start('--chip', 'a'), start('--chip', 'b'), start('--chip', 'c')]);
    const joined = await start('--join');
    expect([...ended, joined].map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      Array.from({ length: 4 }, () => ({ code: 0, stderr: '' })),
    );
    const done = bodies(eventsOf(output));
    expect([...done].sort()).toEqual([...new Set(done)].sort());
    expect(done).toHaveLength(JOBS);
    expect(differences(treeOf(output), whole)).toEqual([]);
    rmSync(output, { recursive: true });
  });

  it('does chosen jobs again, and what depends on them', () => {
    const [verb, ...words] = night.args(path('whole'), '--log-level', 'error', '--json');
    expect(verb).toBe('run');
    const ended = rampline(['rerun', ...words, '--from', 'calibrate', '--only', '17-a']);
    expect(ended.code).toBe(0);
    const { outcomes } = JSON.parse(ended.stdout) as Reply;
    const done = outcomes.filter(({ status }) => status === 'done').map(({ job }) => job);
    expect(done.sort()).toEqual([`calibrate-apo-${MJD}-a-0017`, `classify-apo-${MJD}-0017`]);
    expect(differences(treeOf(path('whole')), whole)).toEqual([]);
    const builds = rampline(['rerun', ...words, '--from', 'build-dark', '--to', 'build-dark', '--only', '1-b']);
    const again = (JSON.parse(builds.stdout) as Reply).outcomes.filter(({ status }) => status === 'done');
    expect(again.map(({ job }) => job)).toContain(`build-dark-apo-${MJD}-b`);
    expect(again.map(({ job }) => job)).toContain(`calibrate-apo-${MJD}-b-0017`);
    expect(again.map(({ job }) => job)).not.toContain(`calibrate-apo-${MJD}-a-0017`);
    expect(differences(treeOf(path('whole')), whole)).toEqual([]);
    const nothing = rampline(['rerun', ...words, '--only', '99']);
    expect(nothing.code).toBe(2);
    expect(rampline(['rerun', ...words, '--from', 'extarct']).stdout).toContain('has no stage \\"extarct\\"');
  });

  it('does not pass over what --from leaves out and nobody did', () => {
    const early = run('early', '--from', 'calibrate');
    expect(early.code).toBe(2);
    const reasons = early.outcomes.flatMap(({ status, failure }) => (status === 'dropped' ? [failure?.message] : []));
    expect(reasons).toContain('it is not done, and --from calibrate leaves it out');
    // What needs nothing of it is done all the same.
    const done = early.outcomes.flatMap(({ status, job }) => (status === 'done' ? [job.replace(/-.*/, '')] : []));
    expect(new Set(done)).toEqual(new Set(['calibrate', 'classify']));
  });

  it('goes on without an exposure that is damaged, says why, and ends with the code of its class', () => {
    const raw = path('damaged');
    cpSync(night.raw, raw, { recursive: true });
    const file = join(raw, 'apo', String(MJD), 'apR-b-52950017.apz');
    const bytes = readFileSync(file);
    bytes.fill(0xff, bytes.length - 40_000, bytes.length - 30_000);
    writeFileSync(file, bytes);
    const [, , ...words] = night.args(path('of-damaged'), '--log-level', 'error');
    const ended = rampline(['run', raw, ...words, '--json']);
    expect(ended.code).toBe(21);
    const { outcomes } = JSON.parse(ended.stdout) as Reply;
    const lost = outcomes.filter(({ status }) => status === 'dropped');
    expect(lost.map(({ job, attempt }) => [job, attempt])).toEqual([[`calibrate-apo-${MJD}-b-0017`, 1]]);
    expect(lost[0]?.failure).toMatchObject({ error: 'input' });
    const text = rampline(['run', raw, ...words]);
    expect(text.code).toBe(21);
    expect(text.stdout).toContain(`calibrate-apo-${MJD}-b-0017  dropped  input: `);
    expect(existsSync(path(`of-damaged/apo/${MJD}/2dcal-apo-${MJD}-a-0017.fits`))).toBe(true);
    // On a list it is left out as was asked for: no failure.
    writeFileSync(path('bad.txt'), `apo ${MJD} 17 b the disk ate it\n`);
    const listed = rampline(['run', raw, ...words, '--bad', path('bad.txt'), '--json']);
    expect(listed.code).toBe(0);
    const reason = (JSON.parse(listed.stdout) as Reply).outcomes.find(({ status }) => status === 'dropped');
    expect(reason?.failure?.message).toContain('the disk ate it');
  });

  it('stops at a failure that is not an exposure: what runs ends, and nothing else begins', () => {
    const args = night.args(path('stopped'), '--jobs', '1', '--log-level', 'error', '--json');
    const ended = rampline(args, { env: { RAMPLINE_FAILPOINT: 'storage@-b-0002' } });
    expect(ended.code).toBe(31);
    const { outcomes } = JSON.parse(ended.stdout) as Reply;
    expect(outcomes.filter(({ status }) => status === 'failed').map(({ job }) => job)).toEqual([
      `ramp-apo-${MJD}-b-0002`,
    ]);
    expect(outcomes.length).toBeLessThan(JOBS);
    const next = run('stopped');
    expect(next.code).toBe(0);
    expect(differences(treeOf(path('stopped')), whole)).toEqual([]);
  });
});

describe('a run that is told to end', () => {
  it.each([
    ['begins', 0],
    ['hangs', 1500],
  ])(
    'does so within 20 s while a job %s, and is gone on with',
    async (when, wait) => {
      const output = path(`ended-${when}`);
      const job = `ramp-apo-${MJD}-b-0002`;
      let toldAt = 0;
      process.env.RAMPLINE_FAILPOINT = `hang@${job}`;
      const args = night.args(output, '--jobs', '2', '--isolate', '--log-level', 'error', '--json');
      const run1 = startRampline(args, (kill) => {
        const look = setInterval(() => {
          const events = existsSync(join(output, 'log')) ? eventsOf(output) : [];
          if (!events.some((one) => one.event === 'begin' && one.job === job)) return;
          clearInterval(look);
          setTimeout(() => {
            toldAt = Date.now();
            kill('SIGTERM');
          }, wait);
        }, 50);
      });
      delete process.env.RAMPLINE_FAILPOINT;
      const ended = await run1;
      expect(Date.now() - toldAt).toBeLessThan(20_000);
      expect(ended.code).toBe(143);
      const outcomes = eventsOf(output).filter((one) => one.event === 'end' && one.job === job);
      expect(outcomes.map(({ outcome }) => outcome?.status)).toEqual(['cancelled']);
      expect(readdirSync(join(output, 'state')).filter((name) => name.endsWith('.lock'))).toEqual([]);
      expect(run(`ended-${when}`).code).toBe(0);
      expect(differences(treeOf(output), whole)).toEqual([]);
    },
    120_000,
  );
});

describe('two runs of one night', () => {
  it('one works, the other leaves and says who works', async () => {
    const output = path('two');
    const args = night.args(output, '--jobs', '1', '--log-level', 'error');
    let second: ReturnType<typeof startRampline> | undefined;
    const lock = join(output, 'state', `apo-${MJD}-a.lock`);
    const first = startRampline(args, () => {
      const look = setInterval(() => {
        if (!existsSync(lock)) return;
        clearInterval(look);
        second = startRampline(args, () => undefined);
      }, 20);
    });
    expect(await first).toMatchObject({ code: 0, stderr: '' });
    const left = await second;
    expect(left?.code).toBe(30);
    expect(left?.stderr).toMatch(
      /retriable error: .*two: apo 60857, chip a is worked on by pid \d+ on \S+ since 20\S+ \(run \S+\); --wait waits for it/,
    );
    expect(existsSync(lock)).toBe(false);
  });

  it('eight processes, each of which submits it 25 times, make one product each', async () => {
    const submit = async (output: string, times: number) => {
      const words = [join(import.meta.dirname, 'submit.mjs'), night.raw, output, String(MJD), join(night.raw, 'calib')];
      const { stdout } = await promisify(execFile)(process.execPath, [...words, String(times)]);
      return JSON.parse(stdout) as { readonly codes: number[]; readonly done: number };
    };
    const alone = await submit(path('one'), 1);
    expect(alone).toEqual({ codes: [0], done: CHIP_JOBS });
    const output = path('eight');
    const replies = await Promise.all(Array.from({ length: 8 }, () => submit(output, TIMES)));
    expect(replies.flatMap(({ codes }) => codes)).toEqual(Array.from({ length: 8 * TIMES }, () => 0));
    expect(replies.reduce((sum, { done }) => sum + done, 0)).toBe(CHIP_JOBS);
    const done = bodies(eventsOf(output));
    expect(done).toHaveLength(CHIP_JOBS);
    expect(new Set(done).size).toBe(CHIP_JOBS);
    expect(differences(treeOf(output), treeOf(path('one')))).toEqual([]);
  });
});
