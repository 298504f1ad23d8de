// Does one job of a plan in this process alone and prints what it took: node test/one_job.mjs PLAN.json ID LOW_MEMORY
import { readFileSync } from 'node:fs';

const [file, id, lowMemory] = process.argv.slice(2);
const js = (path) => import(new URL(`../build/js/${path}`, import.meta.url));
const plan = JSON.parse(readFileSync(file, 'utf8'));
const { decide } = await js('night/settle.js');
const { executeTask } = await js('night/task.js');
const { addon } = await js('core/addon.js');
addon();
const job = plan.jobs.find((one) => one.id === id);
// Verdicts and builds before it do not matter here.
const alone = { ...job, needs: job.needs.filter(({ how }) => how === 'input') };
const decision = decide(alone, plan.output, (other) => {
  const before = plan.jobs.find((one) => one.id === other);
  return { job: before, outcome: { job: other, status: 'done', products: before.products, attempt: 1, seconds: 0 } };
});
const idle = process.memoryUsage.rss();
const { output, options } = plan;
const task = { ...decision, output, options, threads: 1, lowMemory: lowMemory === 'true', force: true, attempt: 1 };
const outcome = await executeTask(task, true);
console.log(JSON.stringify({ outcome, bytes: process.resourceUsage().maxRSS * 1024 - idle }));
