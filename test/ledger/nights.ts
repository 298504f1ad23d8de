/** Random nights as events: what a ledger and the logs are given. */
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { LedgerEvent } from '../../src/ledger/index.js';

/** mulberry32: the same night for the same seed. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const TELE = 'apo';
export const MJD = 60_855;

/** Events of several runs over one night: retries, drops, failures, runs that were killed, jobs found done. */
export function* nightEvents(seed: number, exposures = 6, runs = 3): Generator<LedgerEvent> {
  const next = random(seed);
  const chance = (p: number): boolean => next() < p;
  let clock = Date.UTC(2025, 6, 1);
  const time = (): string => {
    clock += Math.floor(next() * 5000);
    return new Date(clock).toISOString();
  };
  const jobs = Array.from({ length: exposures }, (_, i) => i + 1).flatMap((exposure) => [
    ...['a', 'b', 'c'].map((chip) => ({
      stage: 'ramp',
      job: `ramp-${TELE}-${MJD}-${chip}-${String(exposure).padStart(4, '0')}`,
    })),
    { stage: 'classify', job: `classify-${TELE}-${MJD}-${String(exposure).padStart(4, '0')}` },
  ]);
  jobs.push({ stage: 'one-over-f', job: `one-over-f-${TELE}-${MJD}-a` }, { stage: 'join', job: `join-${TELE}-${MJD}` });
  const done = new Set<string>();
  for (let r = 0; r < runs; r++) {
    const run = `run-${seed}-${r}`;
    const request = { verb: 'run', mjd: MJD, 'it\'s "quoted"': 'é\n' };
    const about = {
      host: 'host',
      pid: 1000 + r,
      born: 'boot 1 2',
      request,
      counts: { done: done.size, todo: jobs.length - done.size, dropped: 0 },
    };
    yield { time: time(), run, event: 'start', about };
    const todo: (typeof jobs)[number][] = [];
    for (const one of jobs) {
      const isDropped = !done.has(one.job) && chance(0.05);
      const state = done.has(one.job) ? 'done' : isDropped ? 'dropped' : 'todo';
      if (state === 'todo') todo.push(one);
      yield {
        time: time(),
        run,
        event: 'planned',
        ...one,
        state,
        message: `because ${state}`,
        key: state === 'done' ? `key of ${one.job}` : undefined,
      };
    }
    let killed = false;
    for (const one of todo) {
      killed = r < runs - 1 && chance(0.05);
      if (killed) break;
      if (chance(0.1)) {
        const failure = { error: 'input', message: 'what it needs was dropped', file: "x'y.fits" };
        const outcome = { job: one.job, status: 'dropped', products: [], attempt: 0, seconds: 0, failure } as const;
        yield { time: time(), run, event: 'end', ...one, outcome };
        continue;
      }
      for (let attempt = 1; ; attempt++) {
        yield { time: time(), run, event: 'begin', ...one, attempt, where: chance(0.5) ? 'host 1 2' : undefined };
        if (chance(0.03)) break; // killed while it ran
        const again = chance(0.2);
        const status = again || chance(0.05) ? 'failed' : chance(0.1) ? 'dropped' : chance(0.1) ? 'skipped' : 'done';
        const isMade = status === 'done' || status === 'skipped';
        const outcome = {
          job: one.job,
          status,
          attempt,
          products: isMade ? [`${TELE}/${MJD}/2d-${one.job}.fits`] : [],
          key: isMade ? `key of ${one.job}` : undefined,
          seconds: next() * 10,
          cpuSeconds: chance(0.8) ? next() * 20 : undefined,
          peakBytes: chance(0.8) ? Math.floor(next() * 2 ** 40) : undefined,
          verdict: one.stage === 'classify' ? ({ verdict: 'suspect', reason: 'faint' } as const) : undefined,
          failure: isMade ? undefined : { error: 'retriable', message: 'no memory' },
          where: 'host 1 3',
        } as const;
        if (isMade) done.add(one.job);
        yield { time: time(), run, event: again ? 'retry' : 'end', ...one, outcome };
        if (!again) break;
      }
    }
    if (!killed && (r === runs - 1 || chance(0.5))) {
      yield { time: time(), run, event: 'finish', about: { ...about, exitCode: chance(0.5) ? 0 : 143 } };
    }
  }
}

/** Appends an event to the log that it belongs to, as a run does. */
export function log(output: string, event: LedgerEvent): void {
  const exposure = /-(\d{4})$/.exec(event.job ?? '')?.[1];
  const folder = join(output, 'log', TELE, String(MJD));
  mkdirSync(folder, { recursive: true });
  appendFileSync(join(folder, `${exposure ?? 'night'}.jsonl`), `${JSON.stringify(event)}\n`);
}
