/** The executor of one machine on jobs that do nothing but what RAMPLINE_FAILPOINT asks of them. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Execution, RunContext, RunLimits } from '../src/night/executor.js';
import type { Job, Plan } from '../src/night/job.js';
import { localExecutor } from '../src/night/local.js';

afterEach(() => {
  delete process.env.RAMPLINE_FAILPOINT;
});

const four = (n: number) => String(n).padStart(4, '0');

function planOf(count: number, prediction: Partial<Job['prediction']> = {}): Plan {
  const jobs = Array.from(
    { length: count },
    (_, i): Job => ({
      id: `ramp-apo-60855-a-${four(i)}`,
      stage: 'ramp',
      scope: 'chip',
      slice: 'a',
      identity: { tele: 'apo', mjd: 60855, chip: 'a', exposure: i },
      exposures: [],
      raw: [],
      needs: [],
      least: {},
      products: [],
      prediction: { cpuSeconds: 0.01, peakBytes: 2 ** 20, diskBytes: 0, ...prediction },
      state: 'todo',
      why: '',
    }),
  );
  return {
    schema: 'plan/1',
    instrument: 'apogee',
    tele: ['apo'],
    mjd: 60855,
    chips: ['a'],
    slices: ['a', 'join'],
    output: join(tmpdir(), 'nothing-is-written-here'),
    options: { calib: [], build: [], params: {}, verify: true, diagnostics: false },
    jobs,
    exposures: [],
  };
}

interface Told extends Execution {
  readonly messages: readonly string[];
  readonly retries: readonly string[];
}

async function run(
  plan: Plan,
  more: Omit<Partial<RunContext>, 'limits'> & { limits?: Partial<RunLimits> } = {},
): Promise<Told> {
  const messages: string[] = [];
  const retries: string[] = [];
  const { limits, ...rest } = more;
  const execution = await localExecutor().run(plan, {
    run: 'test',
    isolate: false,
    force: new Set(),
    sink: {
      begin: () => undefined,
      end: () => undefined,
      retry: (job, outcome) => retries.push(`${job.id}: ${outcome.failure?.message}`),
      message: (text) => messages.push(text),
    },
    ...rest,
    limits: { jobs: 2, threads: 1, memoryBytes: 4e9, attempts: 3, ...limits },
  });
  return { ...execution, messages, retries };
}

const byStatus = ({ outcomes }: Execution, status: string) => outcomes.filter((one) => one.status === status);

describe('--isolate', () => {
  it('a crash costs one job, and says how it died', async () => {
    // Every twentieth. The child runs the compiled code, as the command does.
    process.env.RAMPLINE_FAILPOINT = 'SIGSEGV@007,SIGABRT@027,SIGBUS@047,noop@';
    const told = await run(planOf(60), { isolate: true });
    expect(byStatus(told, 'done')).toHaveLength(57);
    expect(byStatus(told, 'dropped').map(({ job, failure }) => [job.slice(-2), failure?.message])).toEqual([
      ['07', 'it crashed with SIGSEGV'],
      ['27', 'it crashed with SIGABRT'],
      ['47', 'it crashed with SIGBUS'],
    ]);
    expect(byStatus(told, 'dropped').every(({ failure }) => failure?.exitCode === 70)).toBe(true);
    expect(told.stopped).toBeUndefined();
  });

  it('a job that was killed for memory is tried again, then given up', async () => {
    process.env.RAMPLINE_FAILPOINT = 'SIGKILL@0001,noop@';
    const told = await run(planOf(3), { isolate: true, limits: { attempts: 2 } });
    expect(told.retries).toHaveLength(1);
    expect(byStatus(told, 'dropped')[0]?.failure).toMatchObject({
      error: 'retriable',
      message: expect.stringMatching(/^given up after 2 attempts: its process was killed by SIGKILL/),
    });
    expect(byStatus(told, 'done')).toHaveLength(2);
  });

  it('a job that hangs is ended after its time, tried once more, and costs no other', async () => {
    process.env.RAMPLINE_FAILPOINT = 'hang@0001,noop@';
    const told = await run(planOf(4), { isolate: true, limits: { timeoutSeconds: 4 } });
    expect(told.messages.at(-1)).toBe('ramp-apo-60855-a-0001 takes longer than 4 s and is cancelled');
    expect(told.retries).toEqual(['ramp-apo-60855-a-0001: it took longer than 4 s (--timeout)']);
    expect(byStatus(told, 'dropped').map(({ attempt }) => attempt)).toEqual([2]);
    expect(byStatus(told, 'done')).toHaveLength(3);
    expect(told.hung).toBeUndefined();
  });

  it('tells CPU time and memory of each job', async () => {
    process.env.RAMPLINE_FAILPOINT = 'noop@';
    const [one] = (await run(planOf(1), { isolate: true })).outcomes;
    expect(one?.peakBytes).toBeGreaterThan(30e6);
    expect(one?.cpuSeconds).toBeGreaterThanOrEqual(0);
  });
});

describe('worker threads', () => {
  it('a job that cannot be ended stops the run, which says what helps', async () => {
    process.env.RAMPLINE_FAILPOINT = 'hang@0003,noop@';
    const told = await run(planOf(8), { limits: { timeoutSeconds: 1 } });
    expect(told.hung).toBe(true);
    expect(told.stopped).toMatchObject({ error: 'bug', exitCode: 70 });
    expect(told.stopped?.message).toMatch(
      /^ramp-apo-60855-a-0003 did not end within 10 s of being cancelled after 1 s; with --isolate/,
    );
    expect(byStatus(told, 'failed').map(({ job }) => job)).toEqual(['ramp-apo-60855-a-0003']);
    expect(byStatus(told, 'done').length).toBeGreaterThan(0);
  });

  it('begin nothing after a signal', async () => {
    process.env.RAMPLINE_FAILPOINT = 'wait-300@,noop@';
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 1000);
    const told = await run(planOf(50), { signal: stop.signal });
    expect(told.outcomes.length).toBeGreaterThan(0);
    expect(told.outcomes.length).toBeLessThan(30);
    expect(byStatus(told, 'dropped')).toEqual([]);
  });

  it('run no more at once than their memory allows', async () => {
    process.env.RAMPLINE_FAILPOINT = 'noop@';
    let most = 0;
    let now = 0;
    const count = { begin: () => (most = Math.max(most, ++now)), end: () => now--, retry: () => 0, message: () => 0 };
    const sink = count as unknown as RunContext['sink'];
    const gigabyte = 2 ** 30;
    await run(planOf(12, { peakBytes: gigabyte }), { sink, limits: { jobs: 6, memoryBytes: 4 * gigabyte } });
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(3);
  });
});
