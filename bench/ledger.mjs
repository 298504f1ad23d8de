/**
 * What the ledger costs a night: events of 10,000 jobs (planned, begin, end), events/s by CPU time and by the clock, best of 5.
 *   npm run build && node bench/ledger.mjs [postgres://... of an empty database]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openLedger } from '../build/js/ledger/index.js';

const JOBS = 10_000;
const ROUNDS = 5;
const [url] = process.argv.slice(2);
const time = new Date().toISOString();
const jobs = Array.from({ length: JOBS }, (_, i) => `noop-apo-60855-a-${String(i).padStart(4, '0')}`);
const outcome = { status: 'done', attempt: 1, seconds: 0.1, cpuSeconds: 0.1, peakBytes: 1e8, where: 'host 1 2' };
const key = 'a'.repeat(64);

async function round(run) {
  const output = mkdtempSync(join(tmpdir(), 'rampline-ledger-'));
  const ledger = await openLedger({ output, url });
  const wall = performance.now();
  const cpu = process.cpuUsage();
  const tell = (job, event, more) => ledger.record({ time, run, event, job, stage: 'noop', ...more });
  for (const job of jobs) tell(job, 'planned', { state: 'todo', message: 'it has no product yet' });
  await ledger.flush();
  for (const [i, job] of jobs.entries()) {
    tell(job, 'begin', { attempt: 1 });
    tell(job, 'end', { outcome: { ...outcome, job, products: [`apo/60855/2d-${job}.fits`], key } });
    // As a run does: results come in turn by turn, and the batches are written in between.
    if (i % 10 === 9) await new Promise((resolve) => setImmediate(resolve));
  }
  await ledger.close();
  const { user, system } = process.cpuUsage(cpu);
  rmSync(output, { recursive: true });
  return { cpu: (user + system) / 1e6, wall: (performance.now() - wall) / 1e3 };
}

const best = { cpu: Infinity, wall: Infinity };
for (let i = 0; i < ROUNDS; i++) {
  const { cpu, wall } = await round(`bench-${i}`);
  best.cpu = Math.min(best.cpu, cpu);
  best.wall = Math.min(best.wall, wall);
}
const rate = (seconds) => `${Math.round((3 * JOBS) / seconds)} events/s, ${Math.round(JOBS / seconds)} jobs/s`;
console.log(`ledger in ${url === undefined ? 'SQLite' : 'PostgreSQL'}, ${JOBS} jobs, best of ${ROUNDS}`);
console.log(`  by CPU time   ${rate(best.cpu)}`);
console.log(`  by the clock  ${rate(best.wall)}`);
