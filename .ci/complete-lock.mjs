// Completes package-lock.json after `npm install --package-lock-only` (together: `npm run lock`). A registry mirror may
// lack the binaries of platforms that nobody here uses; npm then leaves them out of the lock file, and `npm ci` refuses a
// lock file that does not name every optional package. Their version is the one their parent asks for; they have no
// integrity hash because they are never fetched here. With --check: says what is missing and exits 1.
import { readFileSync, writeFileSync } from 'node:fs';

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const { packages } = lock;
const OS = {
  linux: 'linux',
  darwin: 'darwin',
  win32: 'win32',
  android: 'android',
  freebsd: 'freebsd',
  openharmony: 'openharmony',
  netbsd: 'netbsd',
  openbsd: 'openbsd',
  sunos: 'sunos',
  aix: 'aix',
};
const CPU = ['arm64', 'x64', 'arm', 'ia32', 'ppc64', 's390x', 'riscv64', 'loong64', 'mips64el', 'wasm32', 'universal'];

/** True when an entry answers for `name` asked for by the package at `path`: in its own folder, or in one above. */
function answered(path, name) {
  const folders = path
    .split('/node_modules/')
    .map((_, depth, parts) => parts.slice(0, depth + 1).join('/node_modules/'));
  return ['', ...folders].some((folder) => packages[`${folder === '' ? '' : `${folder}/`}node_modules/${name}`]);
}

const missing = {};
for (const [path, entry] of Object.entries(packages)) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    if (answered(path, name)) continue;
    const words = name.split(/[-/]/);
    const os = name === 'fsevents' ? 'darwin' : words.map((word) => OS[word]).find(Boolean);
    const cpu = words.find((word) => CPU.includes(word) && word !== 'universal');
    missing[`node_modules/${name}`] = {
      version: range.replace(/^[\^~]/, ''),
      ...(cpu ? { cpu: [cpu] } : {}),
      ...(entry.dev ? { dev: true } : {}),
      ...(words.includes('musl') ? { libc: ['musl'] } : {}),
      optional: true,
      ...(os ? { os: [os] } : {}),
    };
  }
}
const names = Object.keys(missing);
if (process.argv.includes('--check')) {
  if (names.length > 0) {
    console.log(`package-lock.json does not name ${names.join(', ')}; run: npm run lock`);
    process.exit(1);
  }
} else if (names.length > 0) {
  const [[root, top], ...rest] = Object.entries({ ...packages, ...missing });
  rest.sort(([a], [b]) => (a < b ? -1 : 1));
  lock.packages = { [root]: top, ...Object.fromEntries(rest) };
  writeFileSync('package-lock.json', `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`package-lock.json: named ${names.length} packages of other platforms`);
}
