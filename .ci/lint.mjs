// `npm run lint` checks; `npm run format` (--mend) mends what can be mended. Runs every check even when one fails.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

process.chdir(new URL('..', import.meta.url).pathname);
const mend = process.argv.includes('--mend');
const bin = (name) => `node_modules/.bin/${name}`;

const listed = spawnSync('git', ['ls-files', '-co', '--exclude-standard', '*.cc', '*.h', '*.cu'], { encoding: 'utf8' });
const cxx = listed.stdout.split('\n').filter((file) => /^(?:native|test|bench)\//.test(file) && existsSync(file));
const clangFormat = ['clang-format-14', 'clang-format'].find((name) =>
  / 14\./.test(spawnSync(name, ['--version'], { encoding: 'utf8' }).stdout ?? ''),
);

const checks = [
  ['biome', bin('biome'), ['check', '--error-on-warnings', '--max-diagnostics=50', ...(mend ? ['--write'] : []), '.']],
  ['oxlint', bin('oxlint'), ['--deny-warnings', ...(mend ? ['--fix'] : [])]],
  ['types', bin('tsc'), ['-p', '.ci/tsconfig.json']],
  ['layers', bin('depcruise'), ['--config', '.ci/layers.cjs', 'src']],
  ['lock file', process.execPath, ['.ci/complete-lock.mjs', '--check']],
  ['rooms', process.execPath, ['.ci/rooms.mjs']],
];
if (cxx.length > 0) {
  if (clangFormat) checks.push(['clang-format', clangFormat, [...(mend ? ['-i'] : ['--dry-run', '-Werror']), ...cxx]]);
  else console.log('clang-format: skipped, clang-format-14 is not installed (.ci/debian-packages)');
}

const failed = [];
for (const [name, command, args] of checks) {
  console.log(`--- ${name}`);
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (error) console.log(`${command}: ${error.message}`);
  if (status !== 0) failed.push(name);
}
if (failed.length > 0) {
  console.log(`lint: failed: ${failed.join(', ')}${mend ? '' : ' (npm run format mends what can be mended)'}`);
  process.exit(1);
}
console.log('lint: all checks pass');
