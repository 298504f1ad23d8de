import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { InputError, UsageError } from '../../core/errors.js';
import type { Executor, RunContext } from '../executor.js';
import type { Job, NightEvent, Outcome, Plan } from '../job.js';
import { activeSubmissions } from './active.js';
import { runChunk } from './chunk.js';
import type { Level } from './chunks.js';
import {
  batchScript,
  noteArray,
  noteEnded,
  outcomesOf,
  quoted,
  readEvents,
  type Submission,
  writeSubmission,
} from './submission.js';

let output = '';
beforeEach(async () => {
  output = await mkdtemp(join(tmpdir(), 'rampline-chunk-'));
});
afterEach(async () => {
  await rm(output, { recursive: true, force: true });
});

function job(id: string, needs: readonly string[], state: Job['state'] = 'todo'): Job {
  return {
    id,
    stage: 'x',
    slice: 'a',
    scope: 'chip',
    identity: { tele: 'apo', mjd: 60855 },
    exposures: [],
    raw: [],
    needs: needs.map((one) => ({ job: one, role: 'x', how: 'input' })),
    least: {},
    products: [`${id}.fits`],
    prediction: { cpuSeconds: 1, peakBytes: 1, diskBytes: 1 },
    state,
    why: '',
  };
}

const level = (...chunks: string[][]): Level => ({
  stage: 'x',
  chunks: chunks.map((jobs) => ({ jobs, cpuSeconds: 1 })),
  after: [],
  cpus: 1,
  memoryBytes: 1,
  minutes: 1,
});

function outcome(id: string, status: Outcome['status'] = 'done'): Outcome {
  return { job: id, status, products: [], attempt: 1, seconds: 1 };
}

/** p is done, q dropped by the plan; a and b are chunks of their own; then c of a and p, d of b and q, e of both. */
const JOBS = [
  job('p', ['gone'], 'done'),
  job('q', [], 'dropped'),
  job('a', ['p']),
  job('b', []),
  job('c', ['a', 'p']),
  job('d', ['b', 'q']),
  job('e', ['a', 'b']),
];
const PLAN = { schema: 'plan/1', output: '', jobs: JOBS } as unknown as Plan;
const SUBMISSION: Submission = {
  schema: 'slurm/1',
  run: 'r1',
  levels: [level(['a'], ['b']), level(['c', 'd', 'e'])],
  limits: { jobs: 1, threads: 1, memoryBytes: 1e9, attempts: 3 },
  isolate: false,
  force: ['a', 'c'],
  settled: [outcome('p', 'skipped'), outcome('q', 'dropped')],
};

/** An executor that keeps what it is given, and gives each job that is not settled the outcome that `make` says. */
function fake(make: (id: string) => Outcome): Executor & { plan?: Plan; context?: RunContext } {
  const executor: Executor & { plan?: Plan; context?: RunContext } = {
    name: 'fake',
    writesLogs: false,
    async run(plan, context) {
      executor.plan = plan;
      executor.context = context;
      const outcomes = plan.jobs.filter(({ id }) => !context.settled?.has(id)).map(({ id }) => make(id));
      for (const one of outcomes) {
        const meant = plan.jobs.find(({ id }) => id === one.job) as Job;
        context.sink.begin(meant, 1);
        context.sink.end(meant, one);
      }
      return { outcomes };
    },
  };
  return executor;
}

async function directory(): Promise<string> {
  const store = await writeSubmission({ ...PLAN, output }, SUBMISSION, { node: '/node', main: '/main.js' });
  return store.directory;
}
const silent = { begin() {}, retry() {}, end() {}, message() {} };
const run = (where: string, at: number, index: number, executor: Executor) =>
  runChunk({ directory: where, level: at, index, executor, logs: () => silent });

describe('a chunk', () => {
  it('runs its own jobs, tells of them alone, and forces those that are forced', async () => {
    const where = await directory();
    const executor = fake((id) => outcome(id));
    const report = await run(where, 0, 0, executor);
    expect(executor.plan?.jobs.map(({ id, needs }) => [id, needs.length])).toEqual([
      ['p', 0],
      ['a', 1],
    ]);
    expect([...(executor.context?.force ?? [])]).toEqual(['a']);
    expect(report.outcomes.map((one) => one.job)).toEqual(['a']);
    const events = await readEvents(where, 0, 0);
    // Done again once, also where the chunk runs again.
    await run(where, 0, 0, executor);
    expect([...(executor.context?.force ?? [])]).toEqual([]);
    expect(events.map(({ event, job: id, run: of }) => `${of} ${event} ${id}`)).toEqual(['r1 begin a', 'r1 end a']);
  });

  it('takes from other chunks what they settled, and leaves out what waits for one that never ended', async () => {
    const where = await directory();
    await run(
      where,
      0,
      0,
      fake((id) => outcome(id)),
    );
    await run(
      where,
      0,
      1,
      fake((id) => outcome(id, 'cancelled')),
    );
    const executor = fake((id) => outcome(id));
    const report = await run(where, 1, 0, executor);
    expect(report.unready).toEqual(['d', 'e']);
    expect(executor.plan?.jobs.map(({ id }) => id)).toEqual(['a', 'p', 'c']);
    expect([...(executor.context?.settled?.values() ?? [])]).toEqual([outcome('a'), outcome('p', 'skipped')]);
    // The other chunk runs again, and is whole.
    await run(
      where,
      0,
      1,
      fake((id) => outcome(id)),
    );
    expect((await run(where, 1, 0, executor)).unready).toEqual([]);
    expect(executor.plan?.jobs.map(({ id }) => id)).toEqual(['a', 'p', 'b', 'q', 'c', 'd', 'e']);
  });

  it('keeps the first whole outcome of a job that ran twice, and passes over a line that is cut', async () => {
    const where = await directory();
    for (const status of ['cancelled', 'done', 'skipped'] as const)
      await run(
        where,
        0,
        0,
        fake((id) => outcome(id, status)),
      );
    await appendFile(join(where, 'events-0-0.jsonl'), '{"event":"end","job":"a","outc');
    const events: NightEvent[] = await readEvents(where, 0, 0);
    expect(events.filter(({ event }) => event === 'end').length).toBe(3);
    expect(outcomesOf(events).get('a')?.status).toBe('done');
  });

  it('refuses what is no submission of this version, or no chunk of it', async () => {
    const where = await directory();
    await expect(run(where, 0, 2, fake(outcome))).rejects.toThrow(UsageError);
    await expect(run(where, 7, 0, fake(outcome))).rejects.toThrow(/no chunk 0 of level 7/);
    await expect(run(output, 0, 0, fake(outcome))).rejects.toThrow(InputError);
    const other = await writeSubmission({ ...PLAN, output, schema: 'plan/9' as 'plan/1' }, SUBMISSION, {
      node: '/node',
      main: '/main.js',
    });
    await expect(run(other.directory, 0, 0, fake(outcome))).rejects.toThrow(/schema plan\/1, received plan\/9/);
  });
});

it('says what to do where Slurm cannot be asked', async () => {
  const store = await writeSubmission({ ...PLAN, output }, SUBMISSION, { node: '/node', main: '/main.js' });
  expect(await activeSubmissions(output)).toEqual([]); // nothing was submitted
  await noteArray(store, 0, 5);
  const path = process.env.PATH;
  process.env.PATH = output;
  try {
    await expect(activeSubmissions(output)).rejects.toThrow(
      /arrays 5 of Slurm may be at work.*squeue is not found.*remove/,
    );
    await noteEnded(store);
    expect(await activeSubmissions(output)).toEqual([]);
  } finally {
    process.env.PATH = path;
  }
});

describe('the script', () => {
  it('quotes every word and makes way for the process', () => {
    const text = batchScript('/opt/node', "/it's here/$(main).js", '/out/state/slurm-1');
    expect(text.split('\n')[2]).toBe(
      `exec '/opt/node' '/it'\\''s here/$(main).js' --log-level warn run-chunk --submission '/out/state/slurm-1' --level "$1" --index "$SLURM_ARRAY_TASK_ID"`,
    );
    expect(() => quoted('a\nb')).toThrow(UsageError);
  });
});
