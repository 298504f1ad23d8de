// Checks two rules that dependency-cruiser cannot see, in the tree at argv[2] (default: this one):
//   1. files are written by src/store alone;
//   2. the rooms of native: core <- kernels, core <- codec, both <- binding, and napi.h only in binding.
// Prints `file:line: what` for each breach and exits 1 if there is one.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

const root = process.argv[2] ?? new URL('..', import.meta.url).pathname;
let breaches = 0;

function breach(file, text, index, what) {
  const line = text.slice(0, index).split('\n').length;
  console.log(`${file}:${line}: ${what}`);
  breaches++;
}

function files(folder, pattern) {
  let names = [];
  try {
    names = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  return names
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

// --- 1. writers ---------------------------------------------------------------------------------------------------------
const WRITERS =
  'appendFile|chmod|chown|copyFile|cp|createWriteStream|fchmod|fchown|fdatasync|fsync|ftruncate|futimes|lchown|link|lutimes|' +
  'mkdir|mkdtemp|rename|rm|rmdir|symlink|truncate|unlink|utimes|write|writeFile|writev';
const writer = new RegExp(`\\b(?:${WRITERS})(?:Sync)?\\b`, 'g');
const fsImport = /\bimport\s+(?:type\s+)?([^;]*?)\s+from\s+['"](?:node:)?fs(?:\/promises)?['"]/g;
const hiddenFs = /\b(?:import|require)\s*\(\s*['"](?:node:)?fs(?:\/promises)?['"]/g;
const writeFlags =
  /\bopen(?:Sync)?\s*\([^()]*(?:\([^()]*\)[^()]*)*,\s*['"](?:[wa]x?\+?s?|r\+|rs\+)['"]|\bO_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND)\b/g;

for (const file of files('src', /\.ts$/)) {
  if (file.startsWith('src/store/') || file.endsWith('.test.ts')) continue;
  const text = readFileSync(join(root, file), 'utf8');
  for (const found of text.matchAll(hiddenFs)) breach(file, text, found.index, 'import node:fs at the top of the file');
  let usesFs = false;
  for (const found of text.matchAll(fsImport)) {
    usesFs = true;
    const names = found[1];
    for (const name of names.matchAll(writer)) {
      breach(file, text, found.index, `imports ${name[0]} of node:fs; only src/store writes files`);
    }
    // `import fs from`, `import * as fs from`, `import { promises as fs }`: look at every member that is used
    for (const [alias] of names.replace(/[{}*,]|\bas\b|\bdefault\b/g, ' ').matchAll(/\w+/g)) {
      const member = new RegExp(`\\b${alias}\\s*\\.\\s*(?:promises\\s*\\.\\s*)?(?:${WRITERS})(?:Sync)?\\b`, 'g');
      for (const use of text.matchAll(member))
        breach(file, text, use.index, `${use[0]} writes; only src/store writes files`);
    }
  }
  if (!usesFs) continue;
  for (const found of text.matchAll(writeFlags))
    breach(file, text, found.index, 'opens for writing; only src/store writes files');
}

// --- 2. native ----------------------------------------------------------------------------------------------------------
const MAY_INCLUDE = {
  core: ['core'],
  kernels: ['core', 'kernels'],
  codec: ['core', 'codec'],
  binding: ['core', 'codec', 'kernels', 'binding'],
  fuzz: ['core', 'codec', 'kernels', 'fuzz'],
};
const include = /^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]/gm;
const nodeHeader = /^(?:napi|node_api|js_native_api|node|v8|uv)[\w-]*\.h$/;

for (const file of [
  ...files('native', /\.(?:cc|h|cu|inc)$/),
  ...files('test/native', /\.(?:cc|h)$/),
  ...files('bench/native', /\.(?:cc|h)$/),
]) {
  const text = readFileSync(join(root, file), 'utf8');
  const [top, room, folder] = file.split('/');
  const allowed = top === 'native' ? MAY_INCLUDE[room] : ['core', 'codec', 'kernels', 'fuzz'];
  if (allowed === undefined) {
    breach(file, text, 0, `native/${room} is not a room; see .ci/rooms.mjs`);
    continue;
  }
  for (const found of text.matchAll(include)) {
    const path = found[1];
    if (nodeHeader.test(path) && room !== 'binding')
      breach(file, text, found.index, `includes ${path}; only native/binding may`);
    const [, into, kernel] = /^native\/(\w+)\/([^/]+)/.exec(path) ?? [];
    if (into === undefined) continue;
    if (!allowed.includes(into)) breach(file, text, found.index, `${room} may not include ${path}`);
    if (room === 'kernels' && into === 'kernels' && kernel !== folder) {
      breach(
        file,
        text,
        found.index,
        `a kernel includes another kernel's ${path}; what kernels share belongs in native/core`,
      );
    }
  }
}

if (breaches > 0) process.exit(1);
