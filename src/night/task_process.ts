/**
 * A process that does one job and ends: the first line of stdin is the task, the outcome goes to descriptor 3, as JSON. The
 * parent asks it to stop by SIGTERM. It ends at once when stdin is closed, which is when the parent is gone.
 */

import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { EXIT_CODES } from '../core/errors.js';
import type { Task } from './job.js';
import { executeTask } from './task.js';

const control = new Int32Array(new SharedArrayBuffer(8));
process.on('SIGTERM', () => Atomics.store(control, 0, 1));
// The terminal sends Ctrl-C to all processes: what it means is for the parent to say.
process.on('SIGINT', () => undefined);

const lines = createInterface({ input: process.stdin });
lines.once('line', async (line) => {
  const outcome = await executeTask({ ...(JSON.parse(line) as Task), control }, true);
  const answer = new Socket({ fd: 3, readable: false, writable: true });
  answer.end(JSON.stringify(outcome), () => process.exit(EXIT_CODES.ok));
});
lines.once('close', () => process.exit(EXIT_CODES.terminated));
