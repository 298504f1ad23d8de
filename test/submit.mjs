// Submits chip b of a night again and again from one process: submit.mjs RAW OUTPUT MJD CALIB TIMES
// Prints one line of JSON: the exit codes, and how many jobs were done.
import { localExecutor } from '../build/js/night/local.js';
import { runNight } from '../build/js/night/run.js';

const [raw, output, mjd, calib, times] = process.argv.slice(2);
const codes = [];
let done = 0;
for (let i = 0; i < Number(times); i++) {
  const { exitCode, outcomes } = await runNight({
    raw,
    output,
    tele: ['apo'],
    mjd: Number(mjd),
    options: { calib: [calib] },
    slices: ['b'],
    executor: localExecutor(),
    jobs: 1,
    threads: 1,
    wait: true,
  });
  codes.push(exitCode);
  done += outcomes.filter(({ status }) => status === 'done').length;
}
process.stdout.write(`${JSON.stringify({ codes, done })}\n`);
