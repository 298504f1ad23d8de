/**
 * A night of full-size chips, raw .apz to calibrated 2-D images and spectra: time, core-seconds, memory, and where the time goes.
 *
 *   node bench/night.mjs DIR [--exposures 12] [--jobs 2] [--memory 8G] [--generate] [--json FILE]
 *
 * DIR lies outside the repository and takes some 6 GB for 12 exposures: DIR/raw is simulated once (minutes; --generate does
 * only that), DIR/out is made anew by each run. One telescope, three chips: darks, internal flats, a dome flat, an arc and
 * objects, with real numbers of reads, of which the night builds its calibrations; saturation and linearity are exact.
 *
 * Everything is counted in CPU seconds of the process of `rampline run`, user and system, of all its threads:
 *   JavaScript threads  /proc tells the time of each, a sampling profile (--cpu-prof) what it went into. What reads, hashes,
 *                       encodes, checks and writes files is I/O; the little that stages compute in TypeScript goes to the
 *                       kernels; what remains, with garbage collection and compiling, is orchestration.
 *   other threads       user time is that of decode and kernels, shared as the outcomes' timings say; system time is I/O,
 *                       although much of it is the first touch of memory.
 * The machine should do nothing else: threads that wait for a core make all of it longer.
 * A night of 90 exposures is extrapolated from the mean time of each kind; builds are taken by their number of inputs.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { machine, ROOT } from './timing.mjs';

/** Of the evening: darks, internal flats, a dome flat, an arc. Faulty ones are left out. */
const EVENING = [1, 2, 3, 4, 7, 8, 10, 14];
const FIRST_OBJECT = 17;
/** Its file of chip a is cut. */
const CUT_OBJECT = 19;
const NIGHT = 90;
/** Exposures of a night that are no objects. */
const NO_OBJECTS = 18;
const MJD = 60_857;
const SAMPLE_MS = 100;
/** Clock ticks of /proc in a second (proc(5)). */
const TICKS = 100;
/** Goals: core-seconds for an exposure of three chips, to 2-D images and to spectra, and the share of orchestration. */
const GOAL_SECONDS = 3;
const GOAL_SPECTRA_SECONDS = 5;
/** Stages that a night of 2-D images needs. */
const STAGES_2D = /^(ramp|calibrate|classify|build-.*)$/;
const GOAL_ORCHESTRATION = 0.02;

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    exposures: { type: 'string', default: '12' },
    jobs: { type: 'string', default: '2' },
    memory: { type: 'string', default: '8G' },
    generate: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});
const count = Number(args.exposures);
if (positionals.length !== 1 || !(count > EVENING.length && count <= 100)) {
  console.error(
    `usage: node bench/night.mjs DIR [--exposures ${EVENING.length + 1} to 100] [--jobs N] [--memory SIZE]`,
  );
  process.exit(2);
}
const base = resolve(positionals[0]);
const raw = join(base, 'raw');
const site = join(base, 'site');
const out = join(base, 'out');
const main = join(ROOT, 'build', 'js', 'cli', 'main.js');
const built = (path) => import(join(ROOT, 'build', 'js', path));

function run(...words) {
  const ended = spawnSync(process.execPath, [main, '--log-level', 'warn', ...words], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (ended.status !== 0) process.exit(1);
}

const objects = [];
for (let n = FIRST_OBJECT; objects.length < count - EVENING.length; n++) if (n !== CUT_OBJECT) objects.push(n);
const chosen = [...EVENING, ...objects];
const { NIGHT_BUILD_WORDS } = await built('night/stages.js');
const { simulateNight, planNight } = await built('simulate/night.js');
const size = { size: 'full', tele: ['apo'], mjd: MJD, objects: Math.max(8, objects.at(-1) - FIRST_OBJECT + 1) };
const made = await simulateNight({
  ...size,
  output: raw,
  exposures: chosen,
  threads: Number(args.jobs),
  onProgress: (done, total, label) =>
    process.stderr.isTTY && process.stderr.write(`\r${done} of ${total} ${label}    `),
});
console.log(`${raw}: ${made.simulated} files simulated in ${made.seconds.toFixed(0)} s, ${made.skipped} were there`);
const exact = ['saturation', 'linearity'].flatMap((kind) => ['a', 'b', 'c'].map((chip) => `${kind}-apo-${chip}.fits`));
run('calib', 'add', ...exact.map((name) => join(raw, 'calib', name)), '-o', site);
if (args.generate) process.exit(0);

rmSync(out, { recursive: true, force: true });
const profiles = mkdtempSync(join(tmpdir(), 'rampline-bench-night-'));
const rawFiles = made.files.map((name) => join(raw, name));
const rawBytes = rawFiles.reduce((sum, path) => sum + readFileSync(path).byteLength, 0); // and warms the cache

/** User and system seconds of children that ended (proc(5), fields 16 and 17). */
const childCpu = () => {
  const fields = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return { user: Number(fields[13]) / TICKS, system: Number(fields[14]) / TICKS };
};
// Every thread of JavaScript leaves its number of the system in the name of a file.
const preload = join(profiles, 'preload.cjs');
writeFileSync(
  preload,
  `const fs = require('node:fs');
  const { threadId } = require('node:worker_threads');
  const tid = fs.readlinkSync('/proc/thread-self').split('/').at(-1);
  fs.writeFileSync(${JSON.stringify(join(profiles, 'thread-'))} + threadId + '-' + tid, '');`,
);
const before = childCpu();
const began = performance.now();
const child = spawn(
  process.execPath,
  [
    '--cpu-prof',
    '--cpu-prof-dir',
    profiles,
    '--require',
    preload,
    main,
    '--log-level',
    'warn',
    'run',
    raw,
    '--tele',
    'apo',
    '--mjd',
    String(MJD),
    '--calib',
    site,
    '--build',
    NIGHT_BUILD_WORDS.join(','),
    '--jobs',
    args.jobs,
    '--threads',
    '1',
    '--memory',
    args.memory,
    '-o',
    out,
  ],
  { stdio: ['ignore', 'inherit', 'inherit'] },
);
let peakKb = 0;
/** User and system seconds of JavaScript threads by Node's number. */
const threads = new Map();
const sampler = setInterval(() => {
  for (const name of readdirSync(profiles)) {
    const [, threadId, tid] = /^thread-(\d+)-(\d+)$/.exec(name) ?? [];
    if (tid === undefined) continue;
    try {
      const stat = readFileSync(`/proc/${child.pid}/task/${tid}/stat`, 'utf8');
      const fields = stat.replace(/^.*\) /, '').split(' ');
      threads.set(threadId, { user: Number(fields[11]) / TICKS, system: Number(fields[12]) / TICKS });
    } catch {
      // It ended: the time of the last look counts.
    }
  }
  try {
    const [, kb] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8')) ?? [];
    if (kb !== undefined) peakKb = Number(kb); // a high-water mark: the last one read is the largest
  } catch {
    // It ended.
  }
}, SAMPLE_MS);
const code = await new Promise((done) => child.on('close', done));
clearInterval(sampler);
const wall = (performance.now() - began) / 1000;
const after = childCpu();
const cpu = { user: after.user - before.user, system: after.system - before.system };
const total = cpu.user + cpu.system;

/** Node's own functions without a file that ask the system for files. */
const FILE_CALL =
  /^(read|write|open|close|stat|lstat|fstat|fsync|rename|unlink|link|mkdir|readdir|scandir|realpath|writeBuffers?|openFileHandle|statfs)$/;
/** What a function of a JavaScript thread is part of. Garbage collection and compiling count as orchestration. */
const partOf = ({ url, functionName }) => {
  if (functionName === '(idle)') return undefined;
  if (/\/js\/(store|fits)\/|^node:fs|^node:internal\/(fs|streams|crypto)\//.test(url)) return 'I/O';
  if (url === '' && FILE_CALL.test(functionName)) return 'I/O';
  if (/\/js\/(stages|calib|engine|night\/builders)\/|^node:zlib/.test(url)) return 'kernels';
  return 'orchestration';
};
const js = { 'I/O': 0, kernels: 0, orchestration: 0 };
const jsTime = { user: 0, system: 0 };
/** What orchestration is, by function. */
const within = new Map();
const nameOf = ({ functionName, url, lineNumber }) =>
  `${functionName || '(anonymous)'} ${url.split('/').slice(-2).join('/')}:${lineNumber + 1}`;
for (const name of readdirSync(profiles)) {
  const [, threadId] = /^CPU\.\d+\.\d+\.\d+\.(\d+)\./.exec(name) ?? [];
  const time = threads.get(threadId);
  if (time === undefined) continue;
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(join(profiles, name), 'utf8'));
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, partOf(callFrame)]));
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
  const own = new Map();
  const parts = { 'I/O': 0, kernels: 0, orchestration: 0 };
  samples.forEach((id, i) => {
    const part = frames.get(id);
    if (part !== undefined) parts[part] += timeDeltas[i];
    if (part === 'orchestration') own.set(names.get(id), (own.get(names.get(id)) ?? 0) + timeDeltas[i]);
  });
  const all = parts['I/O'] + parts.kernels + parts.orchestration || 1;
  const scale = (time.user + time.system) / all;
  for (const part of Object.keys(js)) js[part] += scale * parts[part];
  for (const [what, sampled] of own) within.set(what, (within.get(what) ?? 0) + scale * sampled);
  jsTime.user += time.user;
  jsTime.system += time.system;
}
rmSync(profiles, { recursive: true });

/** Last outcome of each job, from the logs. */
const outcomes = new Map();
const logs = join(out, 'log', 'apo', String(MJD));
for (const name of readdirSync(logs)) {
  for (const line of readFileSync(join(logs, name), 'utf8').split('\n')) {
    if (line === '') continue;
    const event = JSON.parse(line);
    if (event.event === 'end' && event.outcome)
      outcomes.set(event.outcome.job, { stage: event.stage, ...event.outcome });
  }
}
const timings = { decode: 0, kernels: 0 };
const DECODE = /^decode$|^store cube$/;
const IO = /^read and hash$/;
for (const { timings: steps = [] } of outcomes.values()) {
  for (const { name, seconds } of steps) {
    if (!IO.test(name)) timings[DECODE.test(name) ? 'decode' : 'kernels'] += seconds;
  }
}
const native = cpu.user - jsTime.user;
const timed = timings.decode + timings.kernels || 1;
const seconds = {
  decode: (native * timings.decode) / timed,
  kernels: (native * timings.kernels) / timed + js.kernels,
  'I/O': js['I/O'] + cpu.system - jsTime.system,
  orchestration: js.orchestration,
};

/** Core-seconds of the night's kinds: the process's time, shared as the wall times of the jobs say. */
const busy = [...outcomes.values()].reduce((sum, { seconds: s }) => sum + s, 0);
const kindOf = new Map(made.truth.exposures.map(({ exposure, claim }) => [exposure, claim]));
const byKind = new Map();
/** The same by kind and stage. */
const stagesOfKind = {};
let joint = 0;
for (const { job, stage, seconds: s } of outcomes.values()) {
  const exposure = /-apo-\d+(?:-[a-c])?-(\d{4})$/.exec(job)?.[1];
  const share = (total * s) / busy;
  if (exposure === undefined) {
    joint += share;
    continue;
  }
  const kind = kindOf.get(Number(exposure));
  byKind.set(kind, (byKind.get(kind) ?? 0) + share);
  stagesOfKind[kind] ??= {};
  stagesOfKind[kind][stage] = (stagesOfKind[kind][stage] ?? 0) + share;
}
const numberOf = (list) => {
  const counts = new Map();
  for (const { claim } of list) counts.set(claim, (counts.get(claim) ?? 0) + 1);
  return counts;
};
const here = numberOf(made.truth.exposures);
for (const [kind, stages] of Object.entries(stagesOfKind)) {
  for (const stage of Object.keys(stages)) stages[stage] /= here.get(kind);
}
const whole = numberOf(planNight({ ...size, objects: NIGHT - NO_OBJECTS }).exposures);
// Kinds that were not measured are taken as the nearest one that was.
const like = { quartzflat: 'domeflat', thar: 'une', fpi: 'une' };
let night = 0;
for (const [kind, n] of whole) {
  const known = byKind.has(kind) ? kind : like[kind];
  night += (n * byKind.get(known)) / here.get(known);
}
const inputs = (counts) => (counts.get('dark') ?? 0) + (counts.get('internalflat') ?? 0);
night += (joint * inputs(whole)) / inputs(here);

const states = {};
for (const { status } of outcomes.values()) states[status] = (states[status] ?? 0) + 1;
const perExposure = total / count;
const byStage = {};
for (const { stage, seconds: s } of outcomes.values()) byStage[stage] = (byStage[stage] ?? 0) + (total * s) / busy;
const images = Object.entries(byStage).reduce((sum, [stage, s]) => sum + (STAGES_2D.test(stage) ? s : 0), 0) / count;
const result = {
  date: new Date().toISOString().slice(0, 10),
  machine: machine(),
  exposures: count,
  files: rawFiles.length,
  rawBytes,
  jobs: Number(args.jobs),
  exitCode: code,
  outcomes: states,
  wallSeconds: wall,
  cpuSeconds: total,
  busy: total / (Number(args.jobs) * wall),
  coreSecondsPerExposure: perExposure,
  coreSecondsPerExposureTo2d: images,
  coreSecondsByStage: byStage,
  coreSecondsByKind: Object.fromEntries([...byKind].map(([kind, s]) => [kind, s / here.get(kind)])),
  coreSecondsByKindAndStage: stagesOfKind,
  coreSecondsOfBuildsAndJoins: joint,
  peakMegabytes: peakKb / 1024,
  memory: args.memory,
  largestOfOrchestration: Object.fromEntries([...within].sort(([, a], [, b]) => b - a).slice(0, 12)),
  shares: Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, s / total])),
  extrapolated: {
    exposures: NIGHT,
    coreSeconds: night,
    coreSecondsPerExposure: night / NIGHT,
    wallSeconds: (wall * night) / total,
  },
};
const fixed = (value, digits = 1) => value.toFixed(digits);
const goal = (met) => (met ? 'met' : 'MISSED');
const lines = [
  ['exposures of three chips', `${count} (${rawFiles.length} files, ${fixed(rawBytes / 1e9)} GB), exit code ${code}`],
  [
    'jobs',
    Object.entries(states)
      .map(([name, n]) => `${n} ${name}`)
      .join(', '),
  ],
  ['time', `${fixed(wall)} s on ${args.jobs} cores, ${fixed(100 * result.busy, 0)} % busy`],
  ['core-seconds', `${fixed(total)} = ${fixed(cpu.user)} user + ${fixed(cpu.system)} system`],
  ['for an exposure, to 2-D', `${fixed(images, 2)} (goal ${GOAL_SECONDS}: ${goal(images <= GOAL_SECONDS)})`],
  [
    'for an exposure, to spectra',
    `${fixed(perExposure, 2)} (goal ${GOAL_SPECTRA_SECONDS}: ${goal(perExposure <= GOAL_SPECTRA_SECONDS)})`,
  ],
  ...Object.entries(byStage).map(([stage, s]) => [`  ${stage}, in all`, fixed(s, 2)]),
  ...[...byKind].map(([kind, s]) => [
    `  ${kind}, each`,
    `${fixed(s / here.get(kind), 2)}: ${Object.entries(stagesOfKind[kind])
      .map(([stage, part]) => `${stage} ${fixed(part, 2)}`)
      .join(', ')}`,
  ]),
  ['  builds and joins, in all', fixed(joint, 2)],
  ['peak of memory', `${fixed(result.peakMegabytes, 0)} MB, budget ${args.memory}`],
  ...Object.entries(seconds).map(([name, s]) => [`share of ${name}`, `${fixed((100 * s) / total)} %`]),
  ['', `orchestration: goal 2 %: ${goal(seconds.orchestration / total <= GOAL_ORCHESTRATION)}; its largest parts:`],
  ...Object.entries(result.largestOfOrchestration)
    .slice(0, 5)
    .map(([what, s]) => ['', `  ${fixed(s, 2)} s ${what}`]),
  [
    `extrapolated to ${NIGHT} exposures`,
    `${fixed(result.extrapolated.wallSeconds, 0)} s, ${fixed(night, 0)} core-seconds, ${fixed(night / NIGHT, 2)} for an exposure`,
  ],
];
for (const [name, text] of lines) console.log(`${name.padEnd(30)} ${text}`);
if (args.json !== undefined) {
  mkdirSync(resolve(args.json, '..'), { recursive: true });
  writeFileSync(args.json, `${JSON.stringify(result, null, 1)}\n`);
}
process.exitCode = code;
