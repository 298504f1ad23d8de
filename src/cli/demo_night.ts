/**
 * npm run demo -- --night: simulates a night of two telescopes with five faults in it, lists it, plans it, runs it, checks and
 * reports it, and ends with what became of every exposure beside the truth. What is done is not done again.
 */
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { scanNight } from '../almanac/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { check } from '../night/check.js';
import { type JudgedExposure, judgeNight } from '../night/judge.js';
import { localExecutor } from '../night/local.js';
import { absoluteExposures, NIGHT_DEFAULTS, planNight } from '../night/plan.js';
import { addCalibrations } from '../night/registry.js';
import { report } from '../night/report.js';
import { type NightRun, runNight } from '../night/run.js';
import { type NightTruth, simulateNight } from '../simulate/night.js';
import { bytesText, table } from './table.js';

const MJD = 60_857;
/** What the night takes from the simulator as it is; it builds the rest of its own darks and flats. */
const EXACT = ['saturation', 'linearity'];
const BUILD = ['one-over-f', 'photon-transfer', 'dark', 'flat'];

const say = (text: string) => process.stdout.write(`${text}\n`);

/** Shows on a terminal how far it is. */
const progress = (done: number, total: number, label: string) => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${Math.floor((100 * done) / Math.max(total, 1))} % ${label}`);
};
const progressEnds = () => process.stderr.isTTY && process.stderr.write('\r\x1b[K');

const secondsSince = (began: number) => `${((performance.now() - began) / 1000).toFixed(1)} s`;

async function siteCalibrations(raw: string, site: string, { exposures, chips }: NightTruth): Promise<void> {
  const teles = [...new Set(exposures.map(({ tele }) => tele))];
  const names = teles.flatMap((tele) => chips.flatMap((chip) => EXACT.map((kind) => `${kind}-${tele}-${chip}.fits`)));
  const added = await addCalibrations(
    names.map((name) => join(raw, 'calib', name)),
    { directory: site },
  );
  const failed = added.find(({ failure }) => failure !== undefined);
  if (failed !== undefined) throw new Error(`${failed.file}: ${failed.failure?.message}`);
}

/** Lists the raw files, as `rampline almanac scan` does, and says what is there. */
async function listed(raw: string, tele: readonly string[]) {
  const almanacs = await Promise.all(tele.map((one) => scanNight(raw, { tele: one, mjd: MJD, instrument: apogee })));
  say('\nAlmanac:');
  for (const { tele: at, exposures, findings } of almanacs) {
    const counts = new Map<string, number>();
    for (const { kind } of exposures) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    say(`  ${at}: ${[...counts].map(([kind, n]) => `${n} ${kind}`).join(', ')}`);
    for (const { what, text } of findings) if (what !== 'datamodel') say(`       ${what}: ${text}`);
  }
  return almanacs.flatMap(absoluteExposures);
}

function planTable({ jobs }: Awaited<ReturnType<typeof planNight>>): string {
  const rows = [...new Set(jobs.map(({ stage }) => stage))].map((stage) => {
    const own = jobs.filter((job) => job.stage === stage);
    const left = own.filter(({ state }) => state === 'todo');
    const sum = (of: (job: (typeof own)[number]) => number) => left.reduce((all, job) => all + of(job), 0);
    return [
      stage,
      String(own.length),
      String(own.filter(({ state }) => state === 'done').length),
      String(own.filter(({ state }) => state === 'dropped').length),
      sum(({ prediction }) => prediction.cpuSeconds).toFixed(1),
      bytesText(Math.max(0, ...left.map(({ prediction }) => prediction.peakBytes))),
      bytesText(sum(({ prediction }) => prediction.diskBytes)),
    ];
  });
  const head = ['stage', 'jobs', 'done', 'dropped', 'CPU seconds to come', 'largest memory', 'disk'];
  return table(head, rows, head.slice(1));
}

function judgedTable(judged: readonly JudgedExposure[]): string {
  const rows = judged.map(({ tele, exposure, kind, verdict, made, lost, reason, fault, right }) => [
    tele,
    String(exposure),
    kind,
    verdict || '-',
    lost === 0 ? String(made) : `${made}, ${lost} dropped`,
    fault?.kind ?? '',
    right ? 'right' : 'WRONG',
    reason,
  ]);
  return table(['tele', 'exposure', 'header says', 'verdict', 'products', 'fault', 'judged', 'why'], rows, [
    'exposure',
  ]);
}

function sayOutcome(run: NightRun, judged: readonly JudgedExposure[]): void {
  say('What became of every exposure, beside the truth:');
  say(judgedTable(judged));
  const faults = judged.filter(({ fault }) => fault !== undefined);
  const found = faults.filter(({ right }) => right).length;
  const wrong = judged.filter(({ fault, right }) => fault === undefined && !right).length;
  say(
    `${found} of ${faults.length} faults found; ${wrong} of ${judged.length - faults.length} good exposures taken for bad`,
  );
  const counts = new Map<string, number>();
  for (const { status } of run.outcomes) counts.set(status, (counts.get(status) ?? 0) + 1);
  const peak = run.peakBytes === undefined ? '' : `, ${bytesText(run.peakBytes)} of memory at most`;
  say(
    `${[...counts].map(([status, n]) => `${n} jobs ${status}`).join(', ')} in ${run.seconds.toFixed(1)} s${peak}; exit code ${run.exitCode}`,
  );
}

/** @param output directory of the demo; the night lies in OUTPUT/night */
export async function demoNight(output: string): Promise<void> {
  const base = resolve(output, 'night');
  const [raw, site, products] = ['raw', 'site', 'products'].map((name) => join(base, name)) as [string, string, string];
  const began = performance.now();
  say('A night of two telescopes, three chips of 128 rows, with five faults in it.');
  const made = await simulateNight({ output: raw, mjd: MJD, threads: availableParallelism(), onProgress: progress });
  progressEnds();
  say(
    made.simulated === 0
      ? `Simulated before, used again: ${made.skipped} raw files`
      : `Simulated ${made.simulated} raw files in ${made.seconds.toFixed(1)} s`,
  );
  await siteCalibrations(raw, site, made.truth);

  const tele = [...new Set(made.truth.exposures.map((one) => one.tele))];
  const exposures = await listed(raw, tele);
  const options = { ...NIGHT_DEFAULTS, calib: [site], build: BUILD };
  const plan = await planNight({ exposures, mjd: MJD, output: products, options });
  say(`\nPlan: ${plan.jobs.length} jobs`);
  say(planTable(plan));

  const run = await runNight({
    raw,
    output: products,
    tele,
    mjd: MJD,
    options,
    executor: localExecutor(),
    onProgress: progress,
  });
  progressEnds();
  sayOutcome(run, judgeNight(made.truth, run.plan, run.outcomes));

  const { nights, index } = await report({ output: products, mjd: MJD, onProgress: progress });
  progressEnds();
  say('\nPages:');
  for (const { tele: at, report: told, page } of nights) say(`  ${page}   ${at}: ${told.grade}; ${told.sentence}`);
  if (index !== '') say(`  ${index}   both`);

  const checked = await check({ output: products, mjd: MJD, onProgress: progress });
  progressEnds();
  say(`\nCheck: ${checked.good} of ${checked.products} products are whole, of this night, and sane.`);
  for (const { what, tele: at, job, product, detail } of checked.findings) {
    say(`  ${what}: ${at} ${job || product}: ${detail}`);
  }
  say(`\n${secondsSince(began)} in all`);
}
