/**
 * npm run bench:compare -- REV: every kernel of another revision against this tree's, in one run.
 *
 *   node bench/compare.mjs REV [--smoke] [--rounds N] [--only KERNEL]... [--json]
 *
 * REV is checked out into a temporary worktree under build/compare and its kernel bench is built there with the same
 * compiler and switches; both programs then take turns, kernel by kernel, and the least time of each counts. Kernels come
 * from the two registries: nothing here knows one. Where REV is no revision of this clone (CI clones are shallow),
 * --smoke compares HEAD with itself, and a tree whose native code is the same is not built a second time.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { columns, machine, NATIVE, output, ROOT, setUp } from './timing.mjs';

/** What decides the machine code of a kernel and of its bench. */
const NATIVE_SOURCES = [
  'native',
  'bench/native',
  'test/native/harness.h',
  'src/stages',
  'data/dq.json',
  'CMakeLists.txt',
];
const SMOKE_KERNELS = 3;

function usage(message) {
  console.error(`bench:compare: ${message}`);
  console.error('usage: npm run bench:compare -- REV [--smoke] [--rounds N] [--only KERNEL]... [--json]');
  process.exit(2);
}
function command() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        smoke: { type: 'boolean', default: false },
        rounds: { type: 'string', default: '5' },
        only: { type: 'string', multiple: true, default: [] },
        json: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    return usage(error.message);
  }
}
const { values: args, positionals } = command();
if (positionals.length > 1 || (positionals.length === 0 && !args.smoke))
  usage('expected one revision, for example HEAD~1');
if (!/^[1-9]\d*$/.test(args.rounds)) usage(`expected --rounds to be a number, received "${args.rounds}"`);
const say = (text) => console[args.json ? 'error' : 'log'](text);
const git = (...words) => output('git', ...words).trim();

function commitOf(name) {
  // --end-of-options: a revision that begins with a dash is a name, not an option
  const { stdout, status } = spawnSync(
    'git',
    ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`],
    {
      cwd: ROOT,
      encoding: 'utf8',
    },
  );
  return status === 0 ? stdout.trim() : undefined;
}

const wanted = positionals[0] ?? 'HEAD~1';
let commit = commitOf(wanted);
if (commit === undefined && args.smoke) {
  say(`there is no ${wanted} in this clone, so HEAD is compared with itself`);
  commit = commitOf('HEAD');
}
if (commit === undefined) usage(`"${wanted}" is no revision of this clone`);

setUp('bench', args.json);
const here = join(NATIVE, 'bench_kernels');
const tree = join(ROOT, 'build', 'compare', commit.slice(0, 12));

/** The kernel bench of the other revision. */
function buildOther() {
  const changed = spawnSync('git', ['diff', '--quiet', commit, '--', ...NATIVE_SOURCES], { cwd: ROOT }).status !== 0;
  const added = git('ls-files', '--others', '--exclude-standard', '--', ...NATIVE_SOURCES) !== '';
  if (!changed && !added) {
    say(`the native sources of ${commit.slice(0, 12)} are those of this tree: its program is not built again`);
    return here;
  }
  git('worktree', 'prune');
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(join(ROOT, 'build', 'compare'), { recursive: true });
  git('worktree', 'add', '--detach', '--force', tree, commit);
  if (!existsSync(join(tree, 'bench', 'native', 'kernels.cc')))
    throw new Error(`${wanted} has no bench/native/kernels.cc`);
  say(`building ${commit.slice(0, 12)} in ${tree}`);
  const build = join(tree, 'build', 'bench');
  output('cmake', '-S', tree, '-B', build, '-G', 'Ninja', '-DRAMPLINE_ADDON=OFF', '-DRAMPLINE_BENCH=ON');
  output('ninja', '-C', build, '-j', String(availableParallelism()), 'bench_kernels');
  return join(build, 'bench_kernels');
}

/** name -> { simd, hash } of one run; --simd leaves the slow references out, and a program that is too old knows it not */
function run(program, names, smoke) {
  const words = ['--json', ...(smoke ? ['--smoke'] : []), ...names];
  const attempt = (...more) => spawnSync(program, [...words, ...more], { encoding: 'utf8', maxBuffer: 64 << 20 });
  let { stdout, stderr, status } = attempt('--simd');
  if (status === 2) ({ stdout, stderr, status } = attempt());
  if (!stdout) throw new Error(`${program} ended with ${status}: ${stderr}`);
  return new Map(JSON.parse(stdout).kernels.map((kernel) => [kernel.name, kernel]));
}

try {
  const other = buildOther();
  const ours = run(here, [], true);
  const theirs = run(other, [], true);
  const names = [...ours.keys()].filter(
    (name) => theirs.has(name) && (args.only.length === 0 || args.only.includes(name)),
  );
  for (const name of args.only) if (!names.includes(name)) usage(`"${name}" is no kernel of both revisions`);
  const chosen = args.smoke ? names.slice(0, SMOKE_KERNELS) : names;
  const rows = [];
  for (const name of chosen) {
    const best = { here: Infinity, there: Infinity };
    let error;
    for (let round = 0; round < (args.smoke ? 1 : Number(args.rounds)); round++) {
      for (const [side, program] of Object.entries({ here, there: other })) {
        const kernel = run(program, [name], args.smoke).get(name);
        error ??= kernel.error;
        best[side] = Math.min(best[side], kernel.simd ?? Infinity);
      }
    }
    const same = ours.get(name).hash === theirs.get(name).hash;
    rows.push({ name, ...best, ratio: best.here / best.there, same, error });
  }
  const only = (a, b) => [...a.keys()].filter((name) => !b.has(name));
  const report = {
    what: 'CPU ns per pixel and plane; ratio: this tree / the other revision, below 1 is faster',
    machine: machine(),
    other: commit,
    smoke: args.smoke,
    kernels: rows,
    onlyHere: only(ours, theirs),
    onlyThere: only(theirs, ours),
  };
  if (args.json) process.stdout.write(`${JSON.stringify(report)}\n`);
  const lines = rows.map(({ name, here: a, there: b, ratio, same, error }) =>
    error === undefined
      ? [name, a.toFixed(4), b.toFixed(4), ratio.toFixed(3), same ? 'same' : 'changed']
      : [name, '', '', '', error],
  );
  say(
    `\nCPU ns per pixel and plane, this tree against ${wanted} (${commit.slice(0, 12)}); ratio below 1: this tree is faster`,
  );
  if (args.smoke) say('SMOKE: small sizes, the figures mean nothing');
  say(columns([['kernel', 'this tree', 'other', 'ratio', 'sources'], ...lines], [1, 2, 3]));
  if (report.onlyHere.length > 0) say(`only in this tree: ${report.onlyHere.join(', ')}`);
  if (report.onlyThere.length > 0) say(`only in the other: ${report.onlyThere.join(', ')}`);
} finally {
  if (existsSync(tree)) spawnSync('git', ['worktree', 'remove', '--force', tree], { cwd: ROOT });
}
