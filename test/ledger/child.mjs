// Writes a night's events into logs and ledger until it is killed: child.mjs OUTPUT JOBS
// Prints 'ready' when the ledger is open.
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openLedger } from '../../build/js/ledger/index.js';

const [output, jobs] = process.argv.slice(2);
const folder = join(output, 'log/apo/60855');
mkdirSync(folder, { recursive: true });
const ledger = await openLedger({ output });
console.log('ready');
const run = `run-${process.pid}`;
const tell = (event) => {
  const line = { time: new Date().toISOString(), run, ...event };
  const exposure = /-(\d{4})$/.exec(event.job ?? '')?.[1] ?? 'night';
  appendFileSync(join(folder, `${exposure}.jsonl`), `${JSON.stringify(line)}\n`);
  ledger.record(line);
};
tell({ event: 'start', about: { host: 'host', pid: process.pid, request: {}, counts: { todo: Number(jobs) } } });
for (let i = 0; i < Number(jobs); i++) {
  const job = `ramp-apo-60855-a-${String(i).padStart(4, '0')}`;
  tell({ event: 'begin', stage: 'ramp', job, attempt: 1 });
  await new Promise((resolve) => setTimeout(resolve, 1));
  tell({
    event: 'end',
    stage: 'ramp',
    job,
    outcome: { job, status: 'done', products: [`p${i}`], attempt: 1, seconds: i },
  });
}
await ledger.close();
console.log('end');
