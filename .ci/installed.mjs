// Exits 0 when node_modules holds what package-lock.json asks for; else prints the first difference and exits 1.
// npm keeps the lock file of what it installed in node_modules/.package-lock.json.
import { readFileSync } from 'node:fs';

const read = (path) => JSON.parse(readFileSync(path, 'utf8')).packages;
const fail = (reason) => {
  console.log(reason);
  process.exit(1);
};

let installed;
try {
  installed = read('node_modules/.package-lock.json');
} catch {
  fail('node_modules is absent');
}
for (const [path, wanted] of Object.entries(read('package-lock.json'))) {
  if (path === '' || wanted.optional) continue; // optional packages are the other platforms' binaries
  const found = installed[path];
  if (found?.version !== wanted.version)
    fail(`${path}: ${wanted.version} wanted, ${found?.version ?? 'nothing'} found`);
}
