/**
 * Failures on demand, for tests of what a night survives. Nothing happens but where the environment says
 * RAMPLINE_FAILPOINT=WHAT@END[,WHAT@END...]: a job whose id ends with END does WHAT instead of its work (`wait` and `hold` before it).
 * END may be empty, for every job. WHAT:
 *
 *   noop                  is done at once, with no product
 *   wait-MS               waits so many milliseconds, then does its work
 *   hold-FILE             waits as long as the file is there, a minute at most, then does its work
 *   SIGSEGV, SIGABRT, ... ends the process by this signal, as native code does that breaks
 *   hang                  never ends and hears no cancelling
 *   input, calibration, algorithm, storage, retriable, bug, usage    fails with an error of this class
 */
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { BugError, type ErrorClass, EXIT_CODES } from '../core/errors.js';
import { fromFailure } from './failure.js';

const CLASSES: readonly ErrorClass[] = ['input', 'calibration', 'algorithm', 'storage', 'retriable', 'bug', 'usage'];

function pause(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/**
 * Does what the environment asks of a job.
 * @returns whether the job is done with that
 * @throws the error that was asked for
 */
export function failpoint(job: string): boolean {
  for (const rule of (process.env.RAMPLINE_FAILPOINT ?? '').split(',')) {
    const at = rule.indexOf('@');
    if (at < 0 || !job.endsWith(rule.slice(at + 1))) continue;
    const what = rule.slice(0, at);
    const error = CLASSES.find((name) => name === what);
    if (error !== undefined) {
      throw fromFailure({ error, exitCode: EXIT_CODES[error], message: `RAMPLINE_FAILPOINT asked for ${rule}` });
    }
    if (what === 'noop') return true;
    if (what === 'hang') pause(Number.POSITIVE_INFINITY);
    else if (what in constants.signals) {
      process.kill(process.pid, what);
      pause(10_000); // until the signal arrives
    } else if (/^wait-\d+$/.test(what)) pause(Number(what.slice('wait-'.length)));
    else if (what.startsWith('hold-')) {
      const end = Date.now() + 60_000;
      while (existsSync(what.slice('hold-'.length)) && Date.now() < end) pause(50);
    } else throw new BugError(`RAMPLINE_FAILPOINT does not know "${rule}"`);
  }
  return false;
}
