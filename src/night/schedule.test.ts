import { describe, expect, it } from 'vitest';
import { BugError, EXIT_CODES } from '../core/errors.js';
import type { Exposure } from '../core/exposure.js';
import type { Job, Need, Outcome } from './job.js';
import { Schedule, type ScheduleRules, type Start } from './schedule.js';

const GB = 2 ** 30;

function job(id: string, needs: readonly (string | Need)[] = [], more: Partial<Job> = {}): Job {
  return {
    id,
    stage: 'ramp',
    scope: 'chip',
    slice: 'a',
    identity: { tele: 'apo', mjd: 60855, chip: 'a' },
    exposures: [],
    raw: [],
    needs: needs.map((need) => (typeof need === 'string' ? { job: need, role: 'x', how: 'input' } : need)),
    least: {},
    products: [`${id}.fits`],
    prediction: { cpuSeconds: 1, peakBytes: GB, diskBytes: 0 },
    state: 'todo',
    why: '',
    ...more,
  };
}

function outcome(id: string, status: Outcome['status'] = 'done', more: Partial<Outcome> = {}): Outcome {
  return { job: id, status, products: [`${id}.fits`], attempt: 1, seconds: 1, ...more };
}

function failed(id: string, error: keyof typeof EXIT_CODES & NonNullable<Outcome['failure']>['error'], attempt = 1) {
  return outcome(id, 'failed', { attempt, failure: { error, exitCode: EXIT_CODES[error], message: `${error}!` } });
}

/** A schedule, and all that it told. */
function made(jobs: readonly Job[], rules: Partial<ScheduleRules> = {}, known?: ReadonlyMap<string, Outcome>) {
  const ended: Outcome[] = [];
  const retries: number[] = [];
  const schedule = new Schedule(
    jobs,
    {
      output: '/out',
      memoryBytes: 100 * GB,
      lowMemory: false,
      attempts: 3,
      slices: ['a', 'b', 'c', 'join'],
      force: new Set(),
      onEnd: (_, one) => ended.push(one),
      onRetry: (_, __, seconds) => retries.push(seconds),
      ...rules,
    },
    known,
  );
  return { schedule, ended, retries, told: () => ended.map(({ job: id, status }) => `${id} ${status}`) };
}

/** Everything that may begin now. */
function all(schedule: Schedule, now = 0): Start[] {
  const starts: Start[] = [];
  for (let start = schedule.next(now); start !== undefined; start = schedule.next(now)) starts.push(start);
  return starts;
}

const ids = (starts: readonly Start[]) => starts.map((start) => start.job.id);
const exposure = (number: number) => ({ exposure: number, tele: 'apo', mjd: 60855 }) as Exposure;

describe('order', () => {
  it('begins a job when its needs are settled, with their products as inputs', () => {
    const { schedule } = made([job('a'), job('b'), job('c', ['a', 'b'])]);
    expect(ids(all(schedule))).toEqual(['a', 'b']);
    schedule.end(outcome('a'), 0);
    expect(all(schedule)).toEqual([]);
    schedule.end(outcome('b', 'skipped'), 0);
    const [start] = all(schedule);
    expect(start?.inputs.map(({ path }) => path)).toEqual(['/out/a.fits', '/out/b.fits']);
    expect(schedule.finished).toBe(false);
    schedule.end(outcome('c'), 0);
    expect(schedule.finished).toBe(true);
    expect(schedule.outcomes().map(({ job: id }) => id)).toEqual(['a', 'b', 'c']);
  });

  it('takes first what most work waits for, then the order of the plan', () => {
    const short = job('short');
    const first = job('first', [], { prediction: { cpuSeconds: 0.5, peakBytes: 1, diskBytes: 0 } });
    const long = job('long', ['first'], { prediction: { cpuSeconds: 50, peakBytes: 1, diskBytes: 0 } });
    expect(ids(all(made([short, job('short2'), first, long]).schedule))).toEqual(['first', 'short', 'short2']);
  });

  it('keeps a worker with its detector, unless another job is far more urgent', () => {
    const of = (chip: string, cpuSeconds: number) =>
      job(chip, [], {
        identity: { tele: 'apo', mjd: 60855, chip },
        prediction: { cpuSeconds, peakBytes: 1, diskBytes: 0 },
      });
    expect(made([of('a', 1.5), of('b', 1)]).schedule.next(0, 'apo b')?.job.id).toBe('b');
    expect(made([of('a', 3), of('b', 1)]).schedule.next(0, 'apo b')?.job.id).toBe('a');
    expect(made([of('a', 1), of('b', 1)]).schedule.next(0)?.job.id).toBe('a');
  });

  it('leaves jobs of other slices to the end', () => {
    const foreign = job('foreign', [], {
      slice: 'b',
      identity: { tele: 'apo', mjd: 60855, chip: 'b' },
      prediction: { cpuSeconds: 900, peakBytes: 1, diskBytes: 0 },
    });
    expect(ids(all(made([foreign, job('own')], { slices: ['a'] }).schedule))).toEqual(['own', 'foreign']);
  });

  it('refuses a graph that is none', () => {
    expect(() => made([job('b', ['a']), job('a')])).toThrow(BugError);
    expect(() => made([job('a'), job('a')])).toThrow(BugError);
  });
});

describe('memory', () => {
  it('begins no more than fits, and lets none pass a large job for ever', () => {
    const large = job('large', [], { prediction: { cpuSeconds: 9, peakBytes: 3 * GB, diskBytes: 0 } });
    const { schedule } = made([job('a'), job('b'), large, job('c')], { memoryBytes: 4 * GB });
    expect(ids(all(schedule))).toEqual(['large', 'a']);
    schedule.end(outcome('a'), 0);
    expect(ids(all(schedule))).toEqual(['b']);
    const second = made([job('a'), job('b'), job('c'), large], { memoryBytes: 3 * GB });
    expect(ids(all(second.schedule))).toEqual(['large']);
    second.schedule.end(outcome('large'), 0);
    expect(ids(all(second.schedule))).toEqual(['a', 'b', 'c']);
  });

  it('takes the way of less memory where the other does not fit, and drops what never fits', () => {
    const prediction = { cpuSeconds: 1, peakBytes: 3 * GB, lowMemoryBytes: GB, diskBytes: 0 };
    const { schedule } = made([job('a', [], { prediction }), job('b', [], { prediction })], { memoryBytes: 4 * GB });
    expect(all(schedule).map(({ lowMemory }) => lowMemory)).toEqual([false, true]);
    const preferred = made([job('a', [], { prediction })], { lowMemory: true });
    expect(preferred.schedule.next(0)?.lowMemory).toBe(true);
    const tight = made([job('a', [], { prediction }), job('b', ['a'])], { memoryBytes: GB / 2 });
    expect(all(tight.schedule)).toEqual([]);
    expect(tight.told()).toEqual(['a dropped', 'b dropped']);
    expect(tight.ended[0]?.failure?.message).toContain('takes 1024 MB of memory and 512 MB are left');
    const none = made([job('a', [], { prediction })], { memoryBytes: -GB });
    all(none.schedule);
    expect(none.ended[0]?.failure?.message).toContain('takes 1024 MB of memory and the run itself 1024 MB more than');
    // What was asked for is at fault, and no exposure.
    expect(tight.ended.map(({ failure }) => failure?.error)).toEqual(['usage', 'input']);
    expect(tight.schedule.finished).toBe(true);
  });
});

describe('failures', () => {
  it.each(['input', 'calibration', 'algorithm'] as const)('of class %s drop the job and what is behind it', (error) => {
    const { schedule, ended, told } = made([job('a'), job('b', ['a']), job('c', ['b']), job('d')]);
    all(schedule);
    schedule.end(failed('a', error), 0);
    expect(told()).toEqual(['a dropped', 'b dropped', 'c dropped']);
    expect(ended[2]?.failure?.message).toBe(`because a was dropped: ${error}!`);
    expect(ended[2]?.attempt).toBe(0);
    schedule.end(outcome('d'), 0);
    expect(schedule.finished).toBe(true);
    expect(schedule.stopped).toBeUndefined();
  });

  it.each(['storage', 'usage', 'bug'] as const)('of class %s stop the run; what runs ends', (error) => {
    const { schedule, told } = made([job('a'), job('b'), job('c', ['b'])]);
    all(schedule);
    schedule.end(failed('a', error), 0);
    expect(schedule.stopped?.error).toBe(error);
    expect(schedule.finished).toBe(false);
    schedule.end(outcome('b'), 0);
    expect(all(schedule)).toEqual([]);
    expect(schedule.finished).toBe(true);
    expect(told()).toEqual(['a failed', 'b done']);
  });

  it('that mend themselves are tried three times, 1 and 2 s apart, then drop the job', () => {
    const { schedule, retries, ended } = made([job('a')]);
    expect(all(schedule)[0]?.attempt).toBe(1);
    schedule.end(failed('a', 'retriable', 1), 500);
    expect(schedule.wakeAt()).toBe(1500);
    expect(all(schedule, 1499)).toEqual([]);
    expect(schedule.finished).toBe(false);
    expect(all(schedule, 1500)[0]?.attempt).toBe(2);
    schedule.end(failed('a', 'retriable', 2), 2000);
    expect(all(schedule, 4000)[0]?.attempt).toBe(3);
    schedule.end(failed('a', 'retriable', 3), 5000);
    expect(retries).toEqual([1, 2]);
    expect(ended.map(({ status }) => status)).toEqual(['dropped']);
    expect(ended[0]?.failure).toMatchObject({ error: 'retriable', message: 'given up after 3 attempts: retriable!' });
  });

  it('of a crash under --isolate cost that job alone', () => {
    const { schedule, told } = made([job('a'), job('b')]);
    all(schedule);
    schedule.end(outcome('a', 'dropped', { failure: { error: 'bug', exitCode: 70, message: 'SIGSEGV' } }), 0);
    schedule.end(outcome('b'), 0);
    expect(told()).toEqual(['a dropped', 'b done']);
    expect(schedule.stopped).toBeUndefined();
  });

  it('after a signal begin nothing again', () => {
    const { schedule, told } = made([job('a'), job('b'), job('c', ['a'])]);
    schedule.next(0);
    schedule.close();
    schedule.end(failed('a', 'retriable'), 0);
    expect(schedule.next(9e9)).toBeUndefined();
    expect(schedule.finished).toBe(true);
    expect(told()).toEqual(['a cancelled']);
  });

  it('of a long chain are told in a loop', () => {
    const chain = Array.from({ length: 20_000 }, (_, i) => job(`j${i}`, i === 0 ? [] : [`j${i - 1}`]));
    const { schedule, ended } = made(chain);
    all(schedule);
    schedule.end(failed('j0', 'input'), 0);
    expect(ended).toHaveLength(20_000);
    expect(ended.at(-1)?.failure?.message).toBe('because j0 was dropped: input!');
  });
});

describe('gates and least', () => {
  const gate = (id: string, number?: number): Need => ({ job: id, role: 'gate', how: 'gate', exposure: number });
  const input = (id: string, number: number): Need => ({ job: id, role: 'rates', how: 'input', exposure: number });
  const verdict = (id: string, word: 'ok' | 'suspect' | 'drop') =>
    outcome(id, 'done', { verdict: { verdict: word, reason: 'light in a dark' } });

  it('leave an exposure out where several join', () => {
    const join = job('join', [gate('c1', 1), gate('c2', 2)], {
      exposures: [exposure(1), exposure(2)],
      raw: [1, 2].map((number) => ({ role: 'dark', path: `/raw/${number}`, exposure: number, chip: 'a' })),
      least: { dark: 1 },
    });
    const { schedule } = made([job('c1'), job('c2'), join]);
    all(schedule);
    schedule.end(verdict('c1', 'drop'), 0);
    schedule.end(verdict('c2', 'suspect'), 0);
    const [start] = all(schedule);
    expect(start?.inputs.map(({ path }) => path)).toEqual(['/raw/2']);
    expect(start?.job.exposures.map((one) => one.exposure)).toEqual([2]);
    expect(start?.job.raw).toHaveLength(1);
  });

  it('leave out what lies behind light that should not be there, but not what lies behind a damaged exposure', () => {
    const behind = (number: number): Need => ({ ...gate(`c${number - 1}`, number), behind: true });
    const numbers = [1, 2, 3, 4];
    const join = job('join', [...numbers.map((n) => gate(`c${n}`, n)), ...[2, 3, 4].map(behind)], {
      exposures: numbers.map((n) => exposure(n)),
      raw: numbers.map((n) => ({ role: 'dark', path: `/raw/${n}`, exposure: n, chip: 'a' })),
      least: { dark: 1 },
    });
    const { schedule } = made([...numbers.map((n) => job(`c${n}`)), join]);
    all(schedule);
    schedule.end(failed('c1', 'input'), 0);
    schedule.end(verdict('c2', 'ok'), 0);
    schedule.end(verdict('c3', 'drop'), 0);
    schedule.end(verdict('c4', 'ok'), 0);
    expect(all(schedule).flatMap((start) => start.job.exposures.map((one) => one.exposure))).toEqual([2]);
  });

  it('drop the job where too few are left, or where it is of that exposure alone', () => {
    const join = job('join', [gate('c1', 1), gate('c2', 2)], {
      exposures: [exposure(1), exposure(2)],
      raw: [1, 2].map((number) => ({ role: 'dark', path: `/raw/${number}`, exposure: number, chip: 'a' })),
      least: { dark: 2 },
    });
    const { schedule, ended } = made([job('c1'), job('c2'), join, job('one', [gate('c1')])]);
    all(schedule);
    schedule.end(verdict('c1', 'drop'), 0);
    schedule.end(verdict('c2', 'ok'), 0);
    const reasons = new Map(ended.map(({ job: id, failure }) => [id, failure?.message]));
    expect(reasons.get('join')).toBe('1 of 2 dark are left and 2 are needed: c1 says: light in a dark');
    expect(reasons.get('one')).toBe('c1 says: light in a dark');
  });

  it('take what is left of inputs of which some were dropped', () => {
    const jobs = [
      job('a'),
      job('b'),
      job('some', [input('a', 1), input('b', 2)], { exposures: [exposure(1), exposure(2)], least: { rates: 1 } }),
      job('every', [input('a', 1), input('b', 2)], { exposures: [exposure(1), exposure(2)] }),
    ];
    const { schedule, told } = made(jobs);
    all(schedule);
    schedule.end(failed('a', 'input'), 0);
    schedule.end(outcome('b'), 0);
    expect(told()).toEqual(['a dropped', 'b done', 'every dropped']);
    const [start] = all(schedule);
    expect(start?.inputs.map(({ path }) => path)).toEqual(['/out/b.fits']);
    expect(start?.job.exposures.map((one) => one.exposure)).toEqual([2]);
  });

  it('of one exposure may lose some of others, its own among them: it is about its own all the same', () => {
    const own = job('own', [{ job: 'image', role: 'image', how: 'input' }, input('a', 1), input('b', 2)], {
      identity: { tele: 'apo', mjd: 60855, chip: 'a', exposure: 1 },
      exposures: [exposure(1)],
      least: { rates: 1 },
    });
    const some = made([job('image'), job('a'), job('b'), own]).schedule;
    all(some);
    some.end(outcome('image'), 0);
    some.end(failed('a', 'input'), 0);
    some.end(outcome('b'), 0);
    const [start] = all(some);
    expect(start?.inputs.map(({ path }) => path)).toEqual(['/out/image.fits', '/out/b.fits']);
    expect(start?.job.exposures.map((one) => one.exposure)).toEqual([1]);
    const { schedule, ended } = made([job('image'), job('a'), job('b'), own]);
    all(schedule);
    schedule.end(outcome('image'), 0);
    schedule.end(failed('a', 'input'), 0);
    schedule.end(failed('b', 'input'), 0);
    const reasons = new Map(ended.map(({ job: id, failure }) => [id, failure?.message]));
    expect(reasons.get('own')).toBe('0 of 2 rates are left and 1 are needed: because a was dropped: input!');
  });

  it("wait for what goes first, and do not mind when that was dropped; a build's products are candidates", () => {
    const order: Need = { job: 'build', role: 'calibration', how: 'order' };
    const { schedule } = made([job('build'), job('a', [order])]);
    expect(ids(all(schedule))).toEqual(['build']);
    schedule.end(failed('build', 'algorithm'), 0);
    expect(all(schedule)[0]?.inputs).toEqual([]);
    const second = made([job('build'), job('a', [order])]).schedule;
    all(second);
    second.end(outcome('build'), 0);
    expect(all(second)[0]?.inputs).toMatchObject([{ role: 'calibration', path: '/out/build.fits' }]);
  });
});

it('begins with what is known', () => {
  const known = new Map([
    ['a', outcome('a', 'skipped', { attempt: 0 })],
    ['b', outcome('b', 'dropped', { attempt: 0 })],
  ]);
  const { schedule, told } = made([job('a'), job('b', ['a']), job('c', ['a']), job('d', ['b'])], {}, known);
  expect(told()).toEqual(['a skipped', 'b dropped', 'd dropped']);
  expect(ids(all(schedule))).toEqual(['c']);
});
