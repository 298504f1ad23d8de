/**
 * npm run bench:peers: the same kernel, the same ramps and the same files in this project and in others.
 *
 *   node bench/peers/run.mjs [--rounds N] [--smoke] [--no-save]
 *
 * Rivals are installed on demand into build/peers and are no dependency of anything; one that cannot be had is a row that
 * says why. Each is a process of its own that measures its own CPU time (all threads, user and system). Rounds are
 * interleaved, the figure is the minimum; results of the first round are compared with the truth pixel by pixel.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { columns, keep, machine, Partner, ROOT, setUp } from '../timing.mjs';
import { fitDensely, fitRamps, polynomial } from './reference.mjs';
import { dataPath, KERNEL, PEERS, RAMP } from './rival.mjs';

const HERE = new URL('.', import.meta.url).pathname;
const argument = (name) => process.argv[process.argv.indexOf(name) + 1];
const smoke = process.argv.includes('--smoke');
const rounds = smoke ? 1 : process.argv.includes('--rounds') ? Number(argument('--rounds')) : 9;

const PACKAGES = {
  'gpu.js': '2.24.1',
  '@tensorflow/tfjs-core': '4.22.0',
  '@tensorflow/tfjs-backend-wasm': '4.22.0',
  fitsjs: '0.6.6',
};

const node = (script, ...args) => [process.execPath, [join(HERE, script), ...args]];
const python = (script) => ['/usr/bin/python3', [join(HERE, script)]];
const FILES = ['u16-rice', 'i32-rice', 'u16', 'f32'];
const RIVALS = [
  { name: 'rampline', tasks: ['kernel', 'ramp', ...FILES], command: node('rampline.mjs') },
  { name: 'rampline, checksums not verified', tasks: FILES, command: node('rampline.mjs', 'unverified') },
  { name: 'plain JS loop', tasks: ['kernel', 'ramp'], command: node('plain-js.mjs') },
  { name: `gpu.js ${PACKAGES['gpu.js']}, cpu`, tasks: ['kernel', 'ramp'], command: node('gpujs.mjs', 'cpu') },
  { name: `gpu.js ${PACKAGES['gpu.js']}, webasm`, tasks: ['kernel'], command: node('gpujs.mjs', 'webasm') },
  { name: `tfjs ${PACKAGES['@tensorflow/tfjs-core']}, wasm`, tasks: ['kernel', 'ramp'], command: node('tfjs.mjs') },
  { name: 'numpy', tasks: ['kernel', 'ramp'], command: python('numpy_rival.py') },
  { name: 'cfitsio', tasks: FILES, command: [join(PEERS, 'cfitsio'), [join(PEERS, 'data')]] },
  { name: 'astropy', tasks: FILES, command: python('astropy_rival.py') },
  { name: `fitsjs ${PACKAGES.fitsjs}`, tasks: FILES, command: node('fitsjs.mjs') },
];

const TITLES = {
  kernel: 'x + c2 x² + c3 x³, 2048 x 2048 float32',
  ramp: 'jump test and ramp fit, 46 differences of 2048 x 64 pixels',
  'u16-rice': 'read a Rice-compressed image, 2048 x 2048 unsigned 16 bit',
  'i32-rice': 'read a Rice-compressed image, 2048 x 2048 signed 32 bit',
  u16: 'read a plain image, 2048 x 2048 unsigned 16 bit',
  f32: 'read a plain image, 2048 x 2048 float32',
};

// --- the rivals ---------------------------------------------------------------------------------------------------------

/** Installs the pinned packages and compiles the program for cfitsio; what fails shows as a missing rival. */
function install() {
  mkdirSync(join(PEERS, 'data'), { recursive: true });
  const version = (name) => {
    const file = join(PEERS, 'node_modules', name, 'package.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : undefined;
  };
  for (const [name, wanted] of Object.entries(PACKAGES)) {
    if (version(name) === wanted) continue;
    console.error(`installing ${name} ${wanted} into build/peers`);
    if (!existsSync(join(PEERS, 'package.json'))) writeFileSync(join(PEERS, 'package.json'), '{ "private": true }\n');
    // Without scripts and optional packages: gl would be compiled, and needs a screen.
    const args = ['install', '--prefix', PEERS, '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund'];
    spawnSync('npm', [...args, `${name}@${wanted}`], { stdio: ['ignore', 'ignore', 'inherit'] });
  }
  const program = join(PEERS, 'cfitsio');
  rmSync(program, { force: true });
  spawnSync('g++', ['-O2', '-o', program, join(HERE, 'cfitsio.cc'), '-lcfitsio'], { stdio: 'inherit' });
}

// --- data and truth -----------------------------------------------------------------------------------------------------

/** Uniform numbers in (0, 1): a small generator of our own, so that every run has the same pixels. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
}

function save(name, array) {
  writeFileSync(dataPath(name), new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
}

/** Makes the inputs and returns the truth of each task. */
async function makeData() {
  const { encodeFits } = await import(new URL('build/js/fits/index.js', `file://${ROOT}`));
  const random = generator(20260101);
  const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
  const n = KERNEL.size;
  const truth = {};

  const counts = Float32Array.from({ length: n * n }, () => -1000 + 60000 * random());
  save('kernel.f32', counts);
  const exact = polynomial(counts, KERNEL.c2, KERNEL.c3);
  // The kernel's own tolerance: a thousandth of a DN, or what float32 can hold.
  truth.kernel = ([y]) =>
    y.filter((v, i) => !(Math.abs(v - exact[i]) <= Math.max(1e-3, 3e-7 * Math.abs(exact[i])))).length;

  const { planes, rows, cols } = RAMP;
  const pixels = rows * cols;
  const gain = Float32Array.from({ length: pixels }, () => 1.9 + 0.05 * normal());
  const variance = Float32Array.from({ length: pixels }, () => (9 + 2 * random()) ** 2);
  const diffs = new Float32Array(planes * pixels);
  for (let i = 0; i < pixels; i++) {
    const rate = random() < 0.5 ? 2 * random() : 300 * random() ** 3;
    const last = random() < 0.02 ? Math.floor(planes * random()) : planes; // saturated from here on
    let before = normal() * Math.sqrt(variance[i]);
    for (let k = 0; k < planes; k++) {
      const after = normal() * Math.sqrt(variance[i]);
      const photons = rate + normal() * Math.sqrt(rate / gain[i]);
      diffs[k * pixels + i] = k < last ? photons + after - before : Number.NaN;
      before = after;
    }
    if (random() < 0.03) diffs[Math.floor(planes * random()) * pixels + i] += 50 + 3000 * random() ** 2;
  }
  save('ramp.f32', diffs);
  save('gain.f32', gain);
  save('variance.f32', variance);
  const ramps = fitRamps(diffs, gain, variance);
  // The truth's formulas against none: refits with the whole covariance matrix, at one pixel in 256.
  for (let i = 0; i < pixels; i += smoke ? 4096 : 256) {
    const d = Array.from({ length: planes }, (_, k) => diffs[k * pixels + i]);
    if (d.every(Number.isNaN)) continue;
    const dense = fitDensely(d, gain[i], variance[i]);
    const apart = Math.abs(dense.rate - ramps.rates[i]) / ramps.errors[i];
    if (!(dense.jumps === ramps.jumps[i] && apart < 1e-6 && Math.abs(dense.chi2 - ramps.chi2s[i]) < 1e-6)) {
      throw new Error(`the reference of the ramps is wrong at pixel ${i}: ${JSON.stringify(dense)}`);
    }
  }
  truth.ramp = ([all]) => {
    let wrong = 0;
    for (let i = 0; i < pixels; i++) {
      const sameRate = Math.abs(all[i] - ramps.rates[i]) <= 1e-3 * ramps.errors[i];
      const sameChi2 = Math.abs(all[pixels + i] - ramps.chi2s[i]) <= 0.01 + 1e-3 * ramps.chi2s[i];
      const isTrue = sameRate && sameChi2 && all[2 * pixels + i] === ramps.jumps[i];
      if (!isTrue && !(ramps.errors[i] === 0 && all[2 * pixels + i] === 0)) wrong++;
    }
    return wrong;
  };

  const level = (i) => 2000 + (58000 * Math.floor(i / n)) / n + 20 * normal();
  const images = {
    u16: Uint16Array.from({ length: n * n }, (_, i) => level(i)),
    i32: Int32Array.from({ length: n * n }, () => Math.round(30 * normal() + (random() < 1e-4 ? 1e5 * normal() : 0))),
    f32: Float32Array.from({ length: n * n }, (_, i) => level(i)),
  };
  for (const name of FILES) {
    const [type, packed] = name.split('-');
    const image = { data: images[type], shape: [n, n] };
    const hdus = packed ? [{}, { ...image, compress: 'RICE_1', name: 'SCI' }] : [image];
    writeFileSync(dataPath(`${name}.fits`), Buffer.concat(encodeFits(hdus)));
    truth[name] = ([pixels]) => {
      if (pixels.length !== n * n) return n * n;
      return pixels.filter((v, i) => v !== images[type][i]).length;
    };
  }
  return truth;
}

// --- measuring ----------------------------------------------------------------------------------------------------------

async function measure(task, truth) {
  const rows = RIVALS.filter((rival) => rival.tasks.includes(task)).map((rival) => ({
    name: rival.name,
    rival: new Partner(...rival.command),
    times: [],
  }));
  for (const row of rows) {
    const result = dataPath('result.f64');
    rmSync(result, { force: true });
    const { missing } = await row.rival.ask({ task, save: result });
    row.missing = missing;
    if (missing !== undefined) continue;
    const bytes = readFileSync(result);
    row.wrong = truth[task]([
      new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)),
    ]);
  }
  for (let round = 0; round < rounds; round++) {
    for (const row of rows) {
      // What takes seconds is measured well enough in a few rounds.
      if (row.missing !== undefined || (round >= 3 && row.times[0] > 1000)) continue;
      const { cpuMs, missing } = await row.rival.ask({ task });
      if (missing === undefined) row.times.push(cpuMs);
      else row.missing = missing;
    }
  }
  await Promise.all(rows.map(({ rival }) => rival.end()));
  const ours = Math.min(...rows[0].times);
  return rows.map(({ name, missing, times, wrong }) => {
    if (missing !== undefined) return { name, missing };
    const cpuMs = Math.min(...times);
    return { name, cpuMs, medianMs: times.sort((a, b) => a - b)[times.length >> 1], ratio: cpuMs / ours, wrong };
  });
}

function print({ title, pixels, rows }) {
  console.log(`\n${title}`);
  const lines = rows.map(({ name, missing, cpuMs, ratio, wrong }) => {
    if (missing !== undefined) return [name, '', '', '', `not available: ${missing}`];
    const share = wrong === 0 ? '' : ` (${((100 * wrong) / pixels).toPrecision(2)} %)`;
    return [name, cpuMs.toFixed(2), ratio.toFixed(2), `${wrong}${share}`, ''];
  });
  console.log(columns([['who', 'CPU ms', 'ratio', 'wrong pixels', ''], ...lines], [1, 2, 3]));
}

function versions() {
  const said = (program, ...args) => spawnSync(program, args, { encoding: 'utf8' }).stdout?.trim() || 'not there';
  return {
    python: said('/usr/bin/python3', '-c', 'import platform; print(platform.python_version())'),
    numpy: said('/usr/bin/python3', '-c', 'import numpy; print(numpy.__version__)'),
    astropy: said('/usr/bin/python3', '-c', 'import astropy; print(astropy.__version__)'),
    ...PACKAGES,
  };
}

setUp('product');
install();
const truth = await makeData();
const tables = [];
for (const task of Object.keys(TITLES)) {
  const pixels = task === 'ramp' ? RAMP.rows * RAMP.cols : KERNEL.size ** 2;
  const table = { task, title: TITLES[task], pixels, rows: await measure(task, truth) };
  tables.push(table);
  print(table);
}
const { addon } = await import(new URL('build/js/core/addon.js', `file://${ROOT}`));
const report = {
  what: 'CPU time (all threads, user and system) of one run inside the process, minimum of the rounds, rivals interleaved; ratio to rampline',
  date: new Date().toISOString().slice(0, 10),
  rounds,
  machine: { ...machine(), target: addon().targets().current },
  versions: versions(),
  tables,
};
if (!smoke && !process.argv.includes('--no-save')) console.log(`\nkept in ${keep(report, '-peers')}`);
