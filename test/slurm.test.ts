import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { scanNight } from '../src/almanac/index.js';
import { EXIT_CODES, RetriableError, UsageError } from '../src/core/errors.js';
import { apogee } from '../src/instruments/apogee/index.js';
import type { Execution, Executor, RunContext } from '../src/night/executor.js';
import type { Job, NightEvent, Outcome, Plan } from '../src/night/job.js';
import { localExecutor } from '../src/night/local.js';
import { NIGHT_DEFAULTS, planNight } from '../src/night/plan.js';
import { activeSubmissions, waitForSubmissions } from '../src/night/slurm/active.js';
import { type BatchRequest, cancel, partition, queued, submit } from '../src/night/slurm/client.js';
import { type SlurmOptions, slurmExecutor } from '../src/night/slurm/executor.js';
import { hashFile, listTree } from '../src/store/index.js';
import { main, rampline } from './cli.js';
import { type PrivateSlurm, startSlurm, whyNoSlurm } from './slurm.js';

const why = whyNoSlurm();
let slurm: PrivateSlurm;
let directory = '';

beforeAll(async () => {
  if (why !== undefined) return;
  directory = mkdtempSync(join(tmpdir(), 'rampline-slurm-'));
  slurm = await startSlurm(4);
  process.env.SLURM_CONF = slurm.env.SLURM_CONF;
});
afterAll(async () => {
  delete process.env.SLURM_CONF;
  if (directory !== '') rmSync(directory, { recursive: true, force: true });
  await slurm?.stop();
});
beforeEach((ctx) => {
  if (why !== undefined) ctx.skip(why);
});

/** Waits for something that takes a moment, and fails with its name when it never comes. */
async function until(what: string, test: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
  const limit = Date.now() + seconds * 1000;
  while (!(await test())) {
    if (Date.now() > limit) throw new Error(`${what} did not come to pass in ${seconds} s`);
    await sleep(100);
  }
}

describe("Slurm's commands", () => {
  const script = (body: string): Pick<BatchRequest, 'script' | 'directory' | 'stdout' | 'stderr'> => {
    const path = join(directory, 'job.sh');
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    return { script: path, directory, stdout: join(directory, '%A-%a.out'), stderr: join(directory, '%A-%a.err') };
  };
  const request = { name: 'rampline-test', cpus: 1, memoryBytes: 64 * 2 ** 20, minutes: 2, after: [], more: [] };

  it('tells the size of the cluster', async () => {
    expect(await partition()).toMatchObject({ name: 'main', isDefault: true, nodes: 1, cpus: 4, nodeCpus: 4 });
    await expect(partition('none')).rejects.toThrow(/'none'.*main/);
  });

  it('runs an array after another, and forgets both', async () => {
    const first = await submit({ ...request, ...script('echo one $SLURM_ARRAY_TASK_ID'), elements: [0, 1] });
    const second = await submit({
      ...request,
      ...script('echo two $SLURM_ARRAY_TASK_ID'),
      elements: [0],
      after: [{ how: 'afterany', id: first }],
    });
    await until('the end of both', async () => (await queued([first, second])).length === 0);
    expect(readFileSync(join(directory, `${first}-1.out`), 'utf8')).toBe('one 1\n');
    expect(readFileSync(join(directory, `${second}-0.out`), 'utf8')).toBe('two 0\n');
    expect(await queued([99_999])).toEqual([]);
    await cancel([99_999]);
  });

  it('goes on element by element where those before were good, and ends what can never begin', async () => {
    const first = await submit({ ...request, ...script('exit $SLURM_ARRAY_TASK_ID'), elements: [0, 1] });
    const second = await submit({
      ...request,
      ...script('echo after $SLURM_ARRAY_TASK_ID'),
      elements: [0, 1],
      after: [{ how: 'aftercorr', id: first }],
    });
    await until('the end of both', async () => (await queued([first, second])).length === 0);
    expect(readFileSync(join(directory, `${second}-0.out`), 'utf8')).toBe('after 0\n');
    expect(existsSync(join(directory, `${second}-1.out`))).toBe(false);
  });

  it('gives the process that took the place of the script SIGTERM when it is cancelled', async () => {
    const body = `exec "${process.execPath}" -e "process.on('SIGTERM', () => { console.log('in order'); process.exit(143); }); setInterval(() => 0, 1000); console.log('up')"`;
    const id = await submit({ ...request, ...script(body), elements: [0] });
    const out = join(directory, `${id}-0.out`);
    await until('the start', () => existsSync(out) && readFileSync(out, 'utf8').includes('up'));
    expect(await queued([id])).toMatchObject([{ id, elements: '0', state: 'RUNNING' }]);
    await cancel([id]);
    await until('the end', async () => (await queued([id])).length === 0);
    expect(readFileSync(out, 'utf8')).toBe('up\nin order\n');
  });

  it('refuses in words of Slurm what Slurm refuses, and what cannot be found', async () => {
    const wrong = submit({ ...request, ...script('true'), elements: [0], partition: 'none' });
    await expect(wrong).rejects.toThrow(UsageError);
    await expect(wrong).rejects.toThrow(/sbatch refuses.*partition/i);
    const path = process.env.PATH;
    process.env.PATH = directory;
    try {
      await expect(partition()).rejects.toThrow(/sinfo is not found.*--executor slurm/);
    } finally {
      process.env.PATH = path;
    }
  });

  it('calls a controller that is away retriable', async () => {
    await slurm.killController();
    try {
      await expect(partition()).rejects.toThrow(RetriableError);
    } finally {
      await slurm.resume();
    }
  });
});

describe('a night on Slurm', () => {
  const MJD = 60_857;
  let raw = '';
  /** Products of an undisturbed run on this machine, and what became of its jobs. */
  let reference: { readonly tree: ReadonlyMap<string, string>; readonly outcomes: readonly Outcome[] };
  let runs = 0;

  beforeAll(async () => {
    if (why !== undefined) return;
    raw = join(directory, 'raw');
    const words = ['simulate', 'night', '--size', 'small', '--rows', '16', '--exposures', '1,2,10,17', '-o', raw];
    const made = rampline(words);
    if (made.code !== 0) throw new Error(made.stderr);
    const apo = join(raw, 'apo', String(MJD));
    const [damaged] = readdirSync(apo).filter((name) => /apR-b-\d+0017\.apz$/.test(name));
    // The header is whole: only who reads the pixels finds it.
    const file = openSync(join(apo, damaged as string), 'r+');
    writeSync(file, new Uint8Array(4096), 0, 4096, statSync(join(apo, damaged as string)).size / 2);
    closeSync(file);
    const output = join(directory, 'local');
    const { outcomes } = await localExecutor().run(await planOf(output), context());
    reference = { tree: await products(output), outcomes };
  });

  async function planOf(output: string, tele: readonly string[] = ['apo'], slices?: readonly string[]): Promise<Plan> {
    const nights = await Promise.all(tele.map((one) => scanNight(raw, { instrument: apogee, tele: one, mjd: MJD })));
    const exposures = nights.flatMap((night) => night.exposures).filter(({ kind }) => kind !== 'missing');
    const absolute = exposures.map((one) => ({
      ...one,
      frames: one.frames.map((frame) => ({ ...frame, path: join(raw, frame.path) })),
    }));
    const options = { ...NIGHT_DEFAULTS, calib: [join(raw, 'calib')] };
    return planNight({ exposures: absolute, mjd: MJD, tele, slices, output, options });
  }

  const limits = { jobs: 2, threads: 1, memoryBytes: 4e9, attempts: 3 };
  function context(more: Partial<RunContext> = {}): RunContext & { readonly told: string[] } {
    const told: string[] = [];
    const tell = (what: string) => (job: Job) => told.push(`${what} ${job.id}`);
    return {
      run: `r${++runs}`,
      limits,
      isolate: false,
      force: new Set(),
      sink: { begin: tell('begin'), retry: tell('retry'), end: tell('end'), message: (text) => told.push(text) },
      told,
      ...more,
    };
  }
  const slurmWith = (options: Partial<SlurmOptions> = {}): Executor =>
    slurmExecutor({ more: [], detach: false, ...options });

  /** Products of jobs by name and content. */
  async function products(output: string): Promise<Map<string, string>> {
    const files = (await listTree(output)).filter(({ name }) => name.endsWith('.fits') && !name.includes('almanac'));
    return new Map(
      await Promise.all(files.map(async ({ name, path }) => [name, (await hashFile(path)).sha256] as const)),
    );
  }

  const fates = ({ outcomes }: Pick<Execution, 'outcomes'>) =>
    outcomes.map(({ job, status, failure, verdict }) => ({ job, status, failure, verdict }));

  /** Runs `work` with failures on demand in the chunks. */
  async function withFailpoint<T>(rules: string, work: () => Promise<T>): Promise<T> {
    process.env.RAMPLINE_FAILPOINT = rules;
    try {
      return await work();
    } finally {
      delete process.env.RAMPLINE_FAILPOINT;
    }
  }

  it('gives the bytes of a local run, and drops what that drops for the same reason', async () => {
    const output = join(directory, 'same');
    const told = context();
    const execution = await slurmWith({ chunks: 2 }).run(await planOf(output), told);
    expect(execution.stopped).toBeUndefined();
    expect(execution.cpuSeconds).toBeGreaterThan(0);
    expect(fates(execution)).toEqual(fates(reference));
    expect(execution.outcomes.find(({ job }) => job === `calibrate-apo-${MJD}-b-0017`)).toMatchObject({
      status: 'dropped',
      failure: { error: 'input' },
    });
    expect(await products(output)).toEqual(reference.tree);
    expect(reference.tree.size).toBeGreaterThan(10);
    const ends = told.told.filter((line) => line.startsWith('end '));
    expect(ends.length).toBe(execution.outcomes.length);
    expect(new Set(ends).size).toBe(ends.length);
    expect(await activeSubmissions(output)).toEqual([]);
  });

  /** SIGKILL for the processes that work on a submission. */
  function killAll(submission: string): void {
    const pids = readdirSync('/proc').filter((name) => {
      if (!/^\d+$/.test(name)) return false;
      try {
        const words = readFileSync(join('/proc', name, 'cmdline'), 'utf8').split('\0');
        return words.includes('run-chunk') && words.includes(submission);
      } catch {
        return false; // it has just ended
      }
    });
    expect(pids.length).toBeGreaterThan(0);
    for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
  }

  it('goes on where an element was when Slurm runs it again', async () => {
    const output = join(directory, 'requeue');
    const first = `ramp-apo-${MJD}-a-0001`;
    const second = `ramp-apo-${MJD}-a-0002`;
    const told = context();
    const execution = await withFailpoint(`wait-2500@${second}`, async () => {
      const running = slurmWith().run(await planOf(output), told);
      await until('the first job', () => told.told.includes(`end ${first}`) && told.told.includes(`begin ${second}`));
      const [submission] = await activeSubmissions(output);
      const [element] = submission!.queue.filter(({ state }) => state === 'RUNNING');
      slurm.run('scontrol', ['requeue', `${element!.id}_${element!.elements}`]);
      return running;
    });
    expect(fates(execution)).toEqual(fates(reference));
    expect(await products(output)).toEqual(reference.tree);
    const [state] = readdirSync(join(output, 'state'));
    const events = readFileSync(join(output, 'state', state!, 'events-0-0.jsonl'), 'utf8');
    const ends = events
      .split('\n')
      .filter((line) => line.includes('"event":"end"') && line.includes(`"job":"${first}"`));
    expect(ends.map((line) => (JSON.parse(line) as { outcome: Outcome }).outcome.status)).toEqual(['done', 'skipped']);
  });

  it.each([
    ['SIGKILL hits the process of an element', 'kill'],
    ['the arrays are cancelled by hand', 'scancel'],
    ['the run is interrupted', 'interrupt'],
  ] as const)('ends in order when %s, and another run makes it whole', async (_, how) => {
    const output = join(directory, how);
    const slow = `ramp-apo-${MJD}-a-0002`;
    const abort = new AbortController();
    const told = context({ signal: abort.signal });
    let stoppedAt = 0;
    const execution = await withFailpoint(`wait-2500@${slow}`, async () => {
      const running = slurmWith().run(await planOf(output), told);
      await until('the slow job', () => told.told.includes(`begin ${slow}`));
      const [submission] = await activeSubmissions(output);
      const ids = [...new Set(submission!.queue.map(({ id }) => String(id)))];
      stoppedAt = Date.now();
      if (how === 'kill') killAll(submission!.directory);
      else if (how === 'scancel') slurm.run('scancel', ids);
      else abort.abort();
      return running;
    });
    expect(Date.now() - stoppedAt).toBeLessThan(20_000);
    expect(execution.outcomes.find(({ job }) => job === slow)).toMatchObject({
      status: 'cancelled',
      failure: { error: 'retriable' },
    });
    if (how === 'interrupt') expect(execution.stopped).toBeUndefined();
    else expect(execution.stopped).toMatchObject({ error: 'retriable', message: expect.stringMatching(/not settled/) });
    expect(await activeSubmissions(output)).toEqual([]);
    // By Slurm or here is the same.
    const executor = how === 'scancel' ? slurmWith() : localExecutor();
    const again = await executor.run(await planOf(output), context());
    expect(again.stopped).toBeUndefined();
    expect(await products(output)).toEqual(reference.tree);
    expect(again.outcomes.some(({ status }) => status === 'skipped')).toBe(true);
  });

  it('stops the night for a bug, and cancels what waits', async () => {
    const output = join(directory, 'bug');
    const told = context();
    const execution = await withFailpoint(`bug@ramp-apo-${MJD}-b-0001`, async () =>
      slurmWith({ chunks: 3 }).run(await planOf(output), told),
    );
    expect(execution.stopped).toMatchObject({ error: 'bug' });
    expect(execution.outcomes.some(({ job }) => job.startsWith('classify-'))).toBe(false);
    expect(await activeSubmissions(output)).toEqual([]);
  });

  const words = (output: string, ...more: string[]) => [
    'run',
    raw,
    '-o',
    output,
    '--mjd',
    String(MJD),
    '--calib',
    join(raw, 'calib'),
    ...more,
  ];

  it('says the same as a local run, in summary and logs', async () => {
    const said = ['local', 'slurm'].map((executor) => {
      const output = join(directory, `cli-${executor}`);
      const { code, stdout } = rampline(words(output, '--tele', 'apo', '--json', '--executor', executor));
      const { outcomes, ...rest } = JSON.parse(stdout) as { readonly outcomes: readonly Outcome[] };
      const logs = readdirSync(join(output, 'log', 'apo', String(MJD))).map((name) => {
        const lines = readFileSync(join(output, 'log', 'apo', String(MJD), name), 'utf8')
          .trimEnd()
          .split('\n');
        const events = lines.map((line) => JSON.parse(line) as NightEvent);
        return [name, events.map(({ event, job = '' }) => `${event} ${job}`).sort()];
      });
      return { code, fates: fates({ outcomes }), fields: Object.keys(rest).sort(), logs: logs.sort() };
    });
    expect(said[0]?.code).toBe(EXIT_CODES.input);
    expect(said[1]).toEqual({ ...said[0], fields: expect.arrayContaining(['run', 'unbegun', 'seconds']) });
    expect(await products(join(directory, 'cli-slurm'))).toEqual(reference.tree);
  });

  it('goes on alone when it is detached, holds its slices, and can be waited for', async () => {
    const output = join(directory, 'detached');
    // One job waits until all has been asked, however slow the machine is.
    const hold = join(directory, 'hold');
    writeFileSync(hold, '');
    const first = await withFailpoint(`hold-${hold}@ramp-apo-${MJD}-a-0001`, async () =>
      rampline(words(output, '--tele', 'apo', '--executor', 'slurm', '--detach', '--log-level', 'warn')),
    );
    expect(first).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/go on through Slurm \(arrays \d+/),
    });
    const [submission] = await activeSubmissions(output);
    expect(submission).toMatchObject({ tele: ['apo'], mjd: MJD, slices: ['a', 'b', 'c', 'join'] });
    const status = rampline(['status', output]);
    expect(status.stdout).toMatch(/in Slurm/);
    expect(status.stdout).toMatch(new RegExp(`Slurm: run ${submission!.run} is at work`));
    const second = rampline(words(output, '--tele', 'apo', '--log-level', 'warn'));
    expect(second).toMatchObject({
      code: EXIT_CODES.retriable,
      stderr: expect.stringMatching(/is at work on it through Slurm.*--wait.*scancel \d+/),
    });
    // Another telescope is free.
    const say = () => undefined;
    await waitForSubmissions({ output, tele: ['lco'], mjd: MJD, slices: ['a'] }, { wait: false, say });
    rmSync(hold);
    const third = rampline(words(output, '--tele', 'apo', '--wait', '--json'));
    const { outcomes } = JSON.parse(third.stdout) as { readonly outcomes: readonly Outcome[] };
    expect(outcomes.filter(({ status }) => status === 'done')).toEqual([]);
    expect(await products(output)).toEqual(reference.tree);
    expect(await activeSubmissions(output)).toEqual([]);
  });

  it('makes the same of slices that are submitted side by side and a join after them', async () => {
    const output = join(directory, 'slices');
    for (const chip of ['a', 'b', 'c']) {
      await slurmWith({ detach: true }).run(await planOf(output, ['apo'], [chip]), context());
    }
    const joined = await slurmWith().run(await planOf(output, ['apo'], ['join']), context());
    expect(joined.stopped).toBeUndefined();
    const chips = joined.outcomes.filter(({ job }) => !job.startsWith('classify-'));
    expect(chips.map(({ status }) => status)).not.toContain('done');
    expect(await products(output)).toEqual(reference.tree);
  });

  it('makes the same of six scripts, one for each detector, and a seventh that joins them', async () => {
    const alone = join(directory, 'both');
    expect(rampline(words(alone, '--tele', 'apo,lco')).code).toBe(EXIT_CODES.input);
    const output = join(directory, 'six');
    const batch = (more: readonly string[], ...options: string[]) => {
      const command = [process.execPath, main, ...words(output, ...more)].join(' ');
      const log = join(directory, '%j.log');
      const asked = ['--parsable', '--requeue', '--mem=300M', `--output=${log}`, ...options];
      return slurm.run('sbatch', [...asked, `--wrap=${command} --jobs 1 --memory 280M --log-level warn`]).trim();
    };
    const ids = ['apo', 'lco'].flatMap((tele) =>
      ['a', 'b', 'c'].map((chip) => batch(['--tele', tele, '--chip', chip])),
    );
    const last = batch(['--tele', 'apo,lco', '--join', '--wait'], `--dependency=afterany:${ids.join(':')}`);
    const left = async () => (await queued([...ids, last].map(Number))).length;
    await until('the end of all', async () => (await left()) === 0, 100);
    expect(await products(output)).toEqual(await products(alone));
    expect(readFileSync(join(directory, `${last}.log`), 'utf8')).toMatch(/classify +\d+/);
  });
});
