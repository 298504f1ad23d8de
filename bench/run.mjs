/**
 * npm run bench: every goal of speed and memory, as ratios of CPU time in one run.
 *
 *   node bench/run.mjs [--smoke] [--only ITEM]... [--rounds N] [--json] [--no-save]
 *
 * ITEM is chain, process, fit, rice, memory or kernels. --smoke runs everything once on a strip: that it runs is all that
 * it shows. Results go to bench/results. A goal that is missed is printed as missed and is no failure of the bench: the
 * exit code says only whether everything could be run.
 */
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  columns,
  interleave,
  keep,
  machine,
  NATIVE,
  output,
  Partner,
  processCost,
  ROOT,
  setUp,
  timed,
} from './timing.mjs';

const ITEMS = ['chain', 'process', 'fit', 'rice', 'memory', 'kernels'];
function usage(message) {
  console.error(
    `bench: ${message}\nusage: npm run bench -- [--smoke] [--only ${ITEMS.join('|')}]... [--rounds N] [--json]`,
  );
  process.exit(2);
}
function options() {
  try {
    return parseArgs({
      options: {
        smoke: { type: 'boolean', default: false },
        only: { type: 'string', multiple: true, default: [] },
        rounds: { type: 'string', default: '9' },
        json: { type: 'boolean', default: false },
        'no-save': { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    return usage(error.message);
  }
}
const args = options();
for (const name of args.only) if (!ITEMS.includes(name)) usage(`no item "${name}"`);
if (!/^[1-9]\d*$/.test(args.rounds)) usage(`expected --rounds to be a number, received "${args.rounds}"`);
const { smoke } = args;
const rounds = smoke ? 1 : Number(args.rounds);
const wants = (name) => args.only.length === 0 || args.only.includes(name);
const say = (text) => console[args.json ? 'error' : 'log'](text);

// --- what is measured against what ------------------------------------------------------------------------------------

/** Rows of the table. `goal` and `floor` are the least ratio (at least) or the greatest (at most: true). */
const results = [];
const detail = {};
function result(item, what, measured, { goal, floor = goal, atMost = false, unit = 'x', digits = 2 } = {}) {
  const reaches = (limit) => (atMost ? measured <= limit : measured >= limit);
  const text = `${measured.toFixed(digits)} ${unit}`;
  const met = smoke || goal === undefined ? '' : reaches(goal) ? 'yes' : reaches(floor) ? 'above the floor only' : 'NO';
  results.push({ item, what, goal, floor, atMost, unit, measured: Number(measured.toPrecision(4)), text, met });
}

setUp('bench', args.json);
const js = (path) => import(new URL(`build/js/${path}`, `file://${ROOT}`));
const main = join(ROOT, 'build', 'js', 'cli', 'main.js');

// One chip of the mock, every effect on, with its calibrations: made once.
const shape = smoke ? { reads: 12, rows: 64 } : { reads: 47, rows: 2048 };
const data = join(ROOT, 'build', 'bench', `${shape.reads}x${shape.rows}`);
if (!existsSync(join(data, 'done'))) {
  say(`simulating ${shape.reads} reads of ${shape.rows} rows into ${data}`);
  const size = ['--reads', String(shape.reads), '--rows', String(shape.rows), '--chips', 'b'];
  output(process.execPath, main, 'simulate', ...size, '--force', '-o', data);
  writeFileSync(join(data, 'done'), '');
}
const file = join(
  data,
  readdirSync(data).find((name) => name.endsWith('.apz')),
);
const calib = join(data, 'calib');
const work = mkdtempSync(join(ROOT, 'build', 'bench', 'work-'));
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143 })) {
  process.once(signal, () => {
    rmSync(work, { recursive: true, force: true });
    process.exit(code);
  });
}

/** 1 and 4: the chain in C++ and from TypeScript, cfitsio, the hand-fused loop. */
async function chain() {
  const { addon } = await js('core/addon.js');
  const { apogee } = await js('instruments/apogee/index.js');
  const { rampCalibrations } = await js('night/choose.js');
  const { rampOptions, reduceRamp } = await js('stages/ramp/index.js');
  const identity = apogee.identify(basename(file));
  const calibrations = await rampCalibrations(calib, apogee, identity, shape.rows);
  const one = rampOptions({ threads: 1 });
  const context = { instrument: apogee, identity, calibrations, options: one, diagnostics: false };

  // What the stage asks of the addon is taken down, so that C++ alone can run the same on the same file.
  const native = addon();
  const { runChain } = native;
  let spec;
  native.runChain = (given) => {
    // Kernels alone come this way too; the chain of the stage is the one that decodes a file.
    if (given.source?.ramp !== undefined) {
      spec = given;
      describeChain(given);
    }
    return runChain(given);
  };
  let { images } = await reduceRamp(file, context);
  native.runChain = runChain;
  const fd = openSync(file, 'r');
  const again = { ...spec, source: { ramp: { ...spec.source.ramp, fd } } };

  const cxx = new Partner(join(NATIVE, 'bench_chain'), [join(work, 'chain.txt'), file]);
  const ask = (order) => () => cxx.ask(order);
  const same = await cxx.ask('compare');
  if (same.missing !== undefined) throw new Error(same.missing);
  // Steps are timed by the wall clock, which asks little; so the least of each step is taken, over all rounds.
  const steps = {};
  const chainAlone = async () => {
    const answer = await cxx.ask('chain 1');
    for (const [name, ms] of Object.entries(answer.steps ?? {})) steps[name] = Math.min(ms, steps[name] ?? Infinity);
    return answer;
  };
  const ways = {
    cfitsio: ask('cfitsio'),
    chain: chainAlone,
    fused: ask('fused'),
    typescript: () => timed(() => runChain(again)),
    // As a night does it: the images of the exposure before, which is written by then, are used again.
    reduceRamp: () => timed(async () => ({ images } = await reduceRamp(file, { ...context, images }))),
    'reduceRamp, fresh images': () => timed(() => reduceRamp(file, context)),
    'chain on two threads': ask('chain 2'),
  };
  const best = await interleave(ways, rounds);
  await cxx.end();
  closeSync(fd);
  const cpu = (a, b) => best[a].cpuMs / best[b].cpuMs;
  const two = best['chain on two threads'];
  result('1', 'cfitsio decompressing / chain, one core, CPU', cpu('cfitsio', 'chain'), { goal: 5, floor: 4 });
  result('1', 'cfitsio decompressing / chain on two cores, wall', best.cfitsio.wallMs / two.wallMs, {
    goal: 9.5,
    floor: 7.5,
  });
  result('1', 'cfitsio decompressing / reduceRamp from TypeScript, one core, CPU', cpu('cfitsio', 'reduceRamp'), {
    goal: 5,
    floor: 4,
  });
  result('1', 'cfitsio decompressing / reduceRamp with fresh images', cpu('cfitsio', 'reduceRamp, fresh images'));
  result('4', 'chain / hand-fused loop, CPU', cpu('chain', 'fused'), { goal: 1.1, atMost: true, digits: 3 });
  const typescript = { goal: 1.02, atMost: true, digits: 3 };
  result('4', 'chain called from TypeScript / from C++, CPU', cpu('typescript', 'chain'), typescript);
  result('4', 'reduceRamp (headers, checks and chain) / chain from C++', cpu('reduceRamp', 'chain'), typescript);
  result('4', 'two-core scaling, wall of one thread / of two', best.chain.wallMs / two.wallMs, { goal: 1.9 });
  result(
    '4',
    'CPU of two threads / of one (what scaling can be had on a quiet machine is 2 / this)',
    two.cpuMs / best.chain.cpuMs,
    {
      digits: 3,
    },
  );
  detail.chain = { ms: best, steps, fusedAgainstChain: same };

  const total = Object.values(steps).reduce((sum, ms) => sum + ms, 0);
  const row = (name, ms) => [name, ms.toFixed(1), `${((100 * ms) / total).toFixed(1)} %`];
  say(
    `\nWhere the chain's time goes (${basename(file)}, ${shape.reads} reads, one thread, target ${best.chain.target})\n`,
  );
  say(
    columns(
      [['step', 'ms', 'share'], ...Object.entries(steps).map(([name, ms]) => row(name, ms)), row('all steps', total)],
      [1, 2],
    ),
  );
  say(
    `\nCPU ms: ${Object.entries(best)
      .map(([name, { cpuMs }]) => `${name} ${cpuMs.toFixed(0)}`)
      .join(', ')}; ` +
      `wall on two threads ${two.wallMs.toFixed(0)}.\n` +
      `Hand-fused loop against chain: ${same.different} of ${same.pixels} pixels differ beyond rounding.`,
  );
}

/** The chain as bench_chain reads it: words separated by white space, and a file for each array's first contents. */
function describeChain({ source, options: o, arrays, steps }) {
  const { ramp } = source;
  const lines = [`${ramp.fileBytes} ${ramp.rows} ${ramp.cols} ${Number(ramp.differences)} ${ramp.images.length}`];
  for (const i of ramp.images) {
    const place = [i.hdu, Number(i.compressed), i.dataOffset, i.dataBytes, i.tableRowBytes, i.descriptor];
    lines.push([...place, Number(i.wideDescriptor), i.heapOffset, i.bytesPerPixel, i.blockSize].join(' '));
  }
  lines.push(`${o.firstRead} ${o.reads} ${o.rows} ${o.cols}`, `${arrays.length}`);
  const types = { Float32Array: 'f32', Uint16Array: 'u16', Uint32Array: 'u32', Uint8Array: 'u8', Int32Array: 'i32' };
  for (const { name, data, block, planes = 1, rows = 1, cols = 1, ...rest } of arrays) {
    if (data === undefined) {
      lines.push(`${name} ${block ? 'block' : 'source'} ${block ?? 'u16'} ${planes} 1 ${block ? 0 : 1} 0 0 -`);
      continue;
    }
    const rowStride = rest.rowStride ?? cols;
    const path = join(work, `${name}.array`);
    writeFileSync(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    const type = types[data.constructor.name];
    lines.push(
      `${name} bound ${type} ${planes} ${rows} ${cols} ${rest.planeStride ?? rowStride * rows} ${rowStride} ${path}`,
    );
  }
  lines.push(`${steps.length}`);
  for (const { kernel, arrays: ports, params } of steps) {
    lines.push([kernel, ports.length, ...ports, params.length, ...params.map(Number)].join(' '));
  }
  writeFileSync(join(work, 'chain.txt'), `${lines.join('\n')}\n`);
}

const bare = (out, ...more) => ['ramp', file, '-o', join(work, out), '--force', ...more];
const ramp = (out, ...more) => bare(out, '--calib', calib, ...more);

/** 2: the whole program, with start, product, checksums and fsync, against funpack. */
async function wholeProcess() {
  const succeed = (program, ...words) => {
    const cost = processCost(program, ...words);
    if (cost.code !== 0) throw new Error(`${program} ended with ${cost.code}: ${cost.stderr}`);
    return cost;
  };
  const ways = {
    rampline: () => succeed(process.execPath, main, ...bare('process')),
    calibrated: () => succeed(process.execPath, main, ...ramp('process')),
    'dark and flat': () => succeed(process.execPath, main, 'calibrate', ...ramp('process').slice(1)),
    funpack: () => {
      rmSync(join(work, 'unpacked.fits'), { force: true });
      return succeed('funpack', '-O', join(work, 'unpacked.fits'), file);
    },
  };
  const best = await interleave(ways, smoke ? 1 : Math.min(rounds, 5));
  const than = (way) => best.funpack.cpuMs / best[way].cpuMs;
  result('2', 'funpack / rampline ramp, whole process, CPU', than('rampline'), { goal: 4 });
  result('2', 'the same with a --calib of maps for every pixel', than('calibrated'), { goal: 4 });
  const cost = best['dark and flat'].cpuMs;
  const step = 'rampline calibrate / rampline ramp, the same --calib, whole process, CPU';
  result('2', step, cost / best.calibrated.cpuMs, { goal: 1.3, atMost: true });
  result('2', 'rampline calibrate / rampline ramp without calibrations', cost / best.rampline.cpuMs);
  detail.process = best;
}

/** 3: jump test and fit against memory. */
function fit() {
  const text = output(join(NATIVE, 'bench_ramp_kernels'), ...(smoke ? ['16', '1'] : ['512', String(rounds)]));
  const figure = (pattern) => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  const share = figure(/clip-jumps \+ fit-ramp.*of bandwidth +([\d.]+)/);
  const test = figure(/likelihood test against clip: +([\d.]+)/);
  result('3', 'reading the cube once / IQR clip and fit, CPU', share, { goal: 0.2, digits: 3 });
  result('3', 'likelihood jump test and fit / IQR clip and fit, CPU', test, { goal: 3, atMost: true });
  detail.fit = text.trim().split('\n');
}

/** The Rice codec on every CPU target of this machine. */
function rice() {
  const text = output(
    join(NATIVE, 'bench_rice'),
    ...(smoke ? ['rows=16', 'reads=12', 'rounds=1'] : [`rounds=${Math.min(rounds, 5)}`]),
  );
  detail.rice = text.trim().split('\n');
  let target = '';
  for (const line of detail.rice) {
    if (/^[A-Z]\w*$/.test(line)) target = line;
    const found = /^ +(\S+.*?) +[\d.]+ ns\/pixel +([\d.]+) x (\S+)/.exec(line);
    if (found === null) continue;
    const [, ours, ratio, rival] = found;
    const wide = target.startsWith('AVX3') || target === 'AVX10_2';
    const goal = rival.includes('rcomp') ? 3 : ours.startsWith('RiceLanes') ? (wide ? 10 : 3.5) : undefined;
    result('rice', `${rival} / ${ours}, ${target}`, Number(ratio), goal === undefined ? {} : { goal });
  }
}

/** Peak memory of the whole program, and a file that claims what it does not have. */
function memory() {
  const cost = (...words) => processCost(process.execPath, main, ...words);
  const cube = cost(...ramp('cube', '--no-low-memory'));
  const low = cost(...ramp('low', '--low-memory'));
  for (const run of [cube, low])
    if (run.code !== 0) throw new Error(`rampline ramp ended with ${run.code}: ${run.stderr}`);
  const claim = join(work, 'apR-b-52950002.fits');
  const cards = ['SIMPLE  =                    T', 'BITPIX  =                   16', 'NAXIS   =                    3'];
  cards.push(
    'NAXIS1  =                 2560',
    'NAXIS2  =                 2048',
    'NAXIS3  =                  600',
    'END',
  );
  writeFileSync(
    claim,
    cards
      .map((card) => card.padEnd(80))
      .join('')
      .padEnd(2880),
  );
  const runs = Array.from({ length: smoke ? 1 : 5 }, () => ({
    start: cost('--version'),
    refusal: cost('ramp', claim, '-o', join(work, 'claim')),
  }));
  for (const { refusal } of runs) {
    if (refusal.code !== 21) throw new Error(`rampline ramp ended with ${refusal.code}: ${refusal.stderr}`);
  }
  const least = (what, key) => Math.min(...runs.map((run) => run[what][key]));
  const gb = { goal: 1, atMost: true, unit: 'GB' };
  result('memory', 'peak RSS of rampline ramp, cube kept', cube.maxMB / 1e3, gb);
  result('memory', 'peak RSS of rampline ramp, decoding twice', low.maxMB / 1e3, { ...gb, goal: 0.45 });
  const claimed = '2880 bytes that claim 6.3 GB are refused';
  const seconds = least('refusal', 'cpuMs') / 1e3;
  const limit = { goal: 0.1, atMost: true, unit: 's', digits: 3 };
  result(
    'memory',
    `${claimed}: CPU beyond the start of Node and program`,
    seconds - least('start', 'cpuMs') / 1e3,
    limit,
  );
  result('memory', `${claimed}: whole process, CPU`, seconds, { unit: 's', digits: 3 });
  result('memory', `${claimed}: peak RSS`, least('refusal', 'maxMB'), { ...limit, goal: 100, unit: 'MB', digits: 0 });
  detail.memory = { cube, low, runs };
}

/** Every kernel of the registry against its own scalar reference. */
function kernels() {
  detail.kernels = JSON.parse(output(join(NATIVE, 'bench_kernels'), '--json', ...(smoke ? ['--smoke'] : [])));
  const rows = detail.kernels.kernels.map(({ name, simd, reference, ratio, error }) =>
    error === undefined ? [name, simd.toFixed(4), reference.toFixed(3), `${ratio.toFixed(1)}x`] : [name, '', '', error],
  );
  say(`\nKernels, CPU ns per pixel and plane, target ${detail.kernels.target}\n`);
  say(columns([['kernel', 'SIMD', 'scalar reference', 'ratio'], ...rows], [1, 2, 3]));
}

const began = performance.now();
try {
  for (const [name, run] of Object.entries({ chain, process: wholeProcess, fit, rice, memory, kernels })) {
    if (wants(name)) await run();
  }
} finally {
  rmSync(work, { recursive: true, force: true });
}

const limit = (value, { atMost, unit }) => (value === undefined ? '' : `${atMost ? '<=' : '>='} ${value} ${unit}`);
const table = results.map((r) => {
  const { goal, floor } = r;
  return [r.item, r.what, limit(goal, r), floor === goal ? '' : limit(floor, r), r.text, r.met];
});
if (table.length > 0) {
  say(
    `\nRatios in this run (minimum of ${rounds} interleaved rounds)${smoke ? '; SMOKE: small sizes, the figures mean nothing' : ''}\n`,
  );
  say(columns([['', 'what', 'goal', 'floor', 'measured', 'met'], ...table], [2, 3, 4]));
}
const missed = results.filter(({ met }) => met === 'NO' || met === 'above the floor only');
if (!smoke) {
  say(
    `\n${missed.length === 0 ? 'every goal is met' : `${missed.length} of ${results.filter(({ met }) => met !== '').length} goals are missed`}`,
  );
  const [load] = loadavg();
  if (load > 1.5)
    say(`The machine was busy (load ${load.toFixed(1)}): walls and two-core figures are worse than it can do.`);
}
const report = {
  what: 'ratios of CPU time (user and system, all threads) in one run; minimum of interleaved rounds',
  date: new Date().toISOString().slice(0, 10),
  smoke,
  rounds,
  seconds: Math.round((performance.now() - began) / 1e3),
  machine: machine(),
  input: { file: basename(file), ...shape },
  results,
  detail,
};
if (args.json) process.stdout.write(`${JSON.stringify(report)}\n`);
if (!smoke && !args['no-save'] && args.only.length === 0) say(`kept in ${keep(report)}`);
