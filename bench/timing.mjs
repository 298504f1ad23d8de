/**
 * What the benches share: a partner process that is asked for one run at a time, interleaved rounds of which the least
 * counts, a description of the machine, and the files under bench/results.
 *
 * Times are CPU times, user and system, of all threads. Only ratios of times from one run mean anything: the ways take
 * turns, so what else the machine does disturbs all of them alike, and the minimum is what disturbance cannot fake.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, loadavg, release } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Where .ci/setup bench puts the native benches. */
export const NATIVE = join(ROOT, 'build', 'native-tests');

/** A process that answers each order, a line on its stdin, with a line `@{json}` on its stdout. */
export class Partner {
  constructor(program, args, options = {}) {
    this.child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    this.errors = '';
    this.child.stderr.on('data', (text) => {
      this.errors += text;
    });
    this.child.stdin.on('error', () => {}); // it died; the end of its output says so
    this.ended = new Promise((resolve) => {
      this.child.on('error', (error) => resolve(error.message));
      this.child.on('close', (code) => {
        const last = this.errors.trim().split('\n').at(-1);
        resolve(last || `ended with exit code ${code}`);
      });
    });
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      if (line.startsWith('@')) this.answered?.(JSON.parse(line.slice(1)));
    });
  }
  /** @returns the answer, or { missing: why } where there is none */
  ask(order) {
    const answer = new Promise((resolve) => {
      this.answered = resolve;
    });
    this.child.stdin.write(`${typeof order === 'string' ? order : JSON.stringify(order)}\n`);
    return Promise.race([answer, this.ended.then((missing) => ({ missing }))]);
  }
  end() {
    this.child.stdin.end();
    return this.ended;
  }
}

/**
 * Runs the ways by turns.
 * @param ways name -> function (or promise of) { cpuMs, wallMs, ... }, or { missing }
 * @returns for each name its least cpuMs and wallMs, and all else of the round with the least wallMs
 */
export async function interleave(ways, rounds) {
  const best = {};
  for (let round = 0; round < rounds; round++) {
    for (const [name, run] of Object.entries(ways)) {
      const now = await run();
      if (now.missing !== undefined) throw new Error(`${name}: ${now.missing}`);
      const before = best[name] ?? now;
      const least = (key) => Math.min(before[key] ?? Infinity, now[key] ?? Infinity);
      best[name] = { ...(now.wallMs < before.wallMs ? now : before), cpuMs: least('cpuMs'), wallMs: least('wallMs') };
    }
  }
  return best;
}

/** CPU and wall milliseconds of this process for one run of `work`. */
export async function timed(work) {
  const wall = performance.now();
  const cpu = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { cpuMs: (user + system) / 1e3, wallMs: performance.now() - wall };
}

/** CPU, wall and memory of a whole program: { code, cpuMs, wallMs, maxMB }. */
export function processCost(program, ...args) {
  const { stdout, stderr } = spawnSync(join(NATIVE, 'bench_process'), [program, ...args], { encoding: 'utf8' });
  if (!stdout) throw new Error(`bench_process ${program}: ${stderr}`);
  return { ...JSON.parse(stdout), stderr };
}

export function output(program, ...args) {
  const { stdout, stderr, status, error } = spawnSync(program, args, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
  return stdout;
}

function attempt(...command) {
  try {
    return output(...command).trim();
  } catch {
    return 'unknown';
  }
}

/** Sets up the clone (.ci/setup WHAT); ends this process where that fails, for setup has said why. */
export function setUp(what, quiet = false) {
  const out = quiet ? 'ignore' : 'inherit';
  const { status } = spawnSync('bash', [join(ROOT, '.ci', 'setup'), what], { stdio: ['ignore', out, 'inherit'] });
  if (status !== 0) process.exit(1);
}

/** What a ratio depends on. */
export function machine() {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    arch: arch(),
    kernel: release(),
    load: loadavg().map((value) => Number(value.toFixed(2))),
    commit: attempt('git', 'rev-parse', '--short=12', 'HEAD'),
    changed: attempt('git', 'status', '--porcelain', '--untracked-files=no') !== '',
    node: process.version,
    compiler: attempt('c++', '--version').split('\n')[0],
    cfitsio: attempt('dpkg-query', '-W', '-f', '$' + '{Version}', 'libcfitsio-dev'),
    highway: attempt('dpkg-query', '-W', '-f', '$' + '{Version}', 'libhwy-dev'),
  };
}

/** Writes bench/results/{date}-{cpu}{suffix}.json and returns its path from the root. */
export function keep(result, suffix = '') {
  const slug = result.machine.cpu
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  const path = join('bench', 'results', `${result.date}-${slug}${suffix}.json`);
  mkdirSync(join(ROOT, 'bench', 'results'), { recursive: true });
  // What a program said names folders of this machine and tells a reader of the results nothing.
  const told = (key, value) => (key === 'stderr' ? undefined : value);
  writeFileSync(join(ROOT, path), `${JSON.stringify(result, told, 1)}\n`);
  return path;
}

/** Rows of text in columns: the first column to the left, the others to the right where `right` says so. */
export function columns(rows, right) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (right.includes(i) ? String(cell).padStart(widths[i]) : String(cell).padEnd(widths[i])))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
