/** What a worker of the pool runs: one job of a night. */
import type { Outcome, Task } from './job.js';
import { executeTask } from './task.js';

export default async function run({ task, alone }: { task: Task; alone: boolean }): Promise<Outcome> {
  return executeTask(task, alone);
}
