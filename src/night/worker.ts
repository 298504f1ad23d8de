/** What a worker of the pool runs: one exposure of one chip. */
import { type RampOutcome, type RampTask, runRampTask } from './ramp.js';

export default async function run(task: RampTask): Promise<RampOutcome> {
  return runRampTask(task);
}
