// One of several processes that register calibrations at once: child.mjs DIRECTORY URL|'' START FILE...
// Waits for the time START [ms], adds each file, prints what became of it.
import { openRegistry } from '../../build/js/index.js';

const [directory, url, start, ...files] = process.argv.slice(2);
await new Promise((resolve) => setTimeout(resolve, Math.max(0, Number(start) - Date.now())));
const registry = await openRegistry(directory, {
  create: url !== 'scan',
  url: url.startsWith('postgres') ? url : undefined,
});
const outcomes = [];
for (const file of files) {
  const { status, record } = await registry.add(file);
  outcomes.push([record.file, status]);
}
await registry.close();
console.log(JSON.stringify(outcomes));
