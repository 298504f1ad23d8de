/**
 * What a night costs beside its work: 10,000 jobs that do nothing, planned from an almanac and run through scheduler, logs and
 * the real ledger. Prints jobs a second for each part and for the whole; the goal is 1,000 of the whole.
 *
 *   node bench/orchestration.mjs [--jobs 10000] [--threads]
 *
 * On a machine that others use, jobs per second of CPU time say more than jobs per second.
 * --threads: each job through a worker thread, too (two of them), as a night's jobs are.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLedger } from '../build/js/ledger/index.js';
import { localExecutor } from '../build/js/night/local.js';
import { NightLog } from '../build/js/night/log.js';
import { NIGHT_DEFAULTS, planNight } from '../build/js/night/plan.js';
import { runPlan } from '../build/js/night/run.js';

const words = process.argv.slice(2);
const wanted = words.includes('--jobs') ? Number(words[words.indexOf('--jobs') + 1]) : 10_000;
const GOAL = 1000;
const MJD = 60_855;
const CHIPS = ['a', 'b', 'c'];

const exposures = Array.from({ length: Math.ceil(wanted / 4) }, (_, i) => ({
  tele: 'apo',
  mjd: MJD,
  exposure: i + 1,
  kind: 'object',
  reads: 10,
  frames: CHIPS.map((chip) => ({
    chip,
    path: `/nowhere/apR-${chip}-${i + 1}.apz`,
    bytes: 1,
    reads: 10,
    rows: 2048,
    cols: 2560,
    serial: '',
  })),
  exposureSeconds: 100,
  lamps: { quartz: 0, thar: 0, une: 0 },
  ditherPixels: 0,
  plate: '',
  design: '',
  configuration: '',
  field: '',
  cartridge: '',
  comment: '',
  sequence: 1,
}));

/** Three jobs for each exposure, and one that joins them: a graph, not a list. */
const stage = (name, scope, from) => ({
  name,
  prefix: name,
  summary: name,
  schema: `${name}/1`,
  scope,
  takes: () => true,
  inputs: [{ role: 'in', from: [from] }],
  kernels: [],
  predict: () => ({ cpuSeconds: 0.001, peakBytes: 1e6, diskBytes: 0 }),
  execution: { by: 'body', body: async () => () => undefined },
  after: [],
  kinds: [],
});
const stages = [stage('nothing', 'chip', 'raw'), stage('join', 'exposure', 'nothing')];

/** Does nothing, at once. */
const slot = () => ({
  run: async ({ job, attempt }) => ({ job: job.id, status: 'done', products: job.products, attempt, seconds: 0 }),
  cancel: () => undefined,
  kill: () => false,
  pids: () => [],
  rest: async () => undefined,
});

async function measure(label, executor) {
  const output = mkdtempSync(join(tmpdir(), 'rampline-orchestration-'));
  const cpu = process.cpuUsage();
  const start = performance.now();
  try {
    const plan = await planNight({ exposures, mjd: MJD, output, options: NIGHT_DEFAULTS, stages });
    const planned = performance.now();
    const ledger = await openLedger({ output });
    const log = new NightLog(output);
    const request = { raw: '', output, tele: ['apo'], mjd: MJD, executor, jobs: 2, memoryBytes: 4e9 };
    const { outcomes } = await runPlan(plan, request, { run: 'bench', log, ledger, force: new Set(), cpu });
    await ledger.close();
    const end = performance.now();
    const done = outcomes.filter(({ status }) => status === 'done').length;
    if (done !== plan.jobs.length) throw new Error(`${done} of ${plan.jobs.length} jobs are done`);
    const { user, system } = process.cpuUsage(cpu);
    const rate = (milliseconds) => Math.round((1000 * done) / milliseconds);
    console.log(
      `${label}: ${done} jobs; planned ${rate(planned - start)}/s, run ${rate(end - planned)}/s, ` +
        `whole ${rate(end - start)}/s = ${(rate(end - start) / GOAL).toFixed(2)} of the goal of ${GOAL}; ` +
        `${((user + system) / 1000 / done).toFixed(3)} ms of CPU each, ${rate((user + system) / 1000)}/s of CPU time`,
    );
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}

await measure('orchestration alone', localExecutor(slot));
if (words.includes('--threads')) {
  process.env.RAMPLINE_FAILPOINT = 'noop@';
  await measure('through two worker threads', localExecutor());
}
