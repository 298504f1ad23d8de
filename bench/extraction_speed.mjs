/**
 * node bench/extraction_speed.mjs: CPU time of extracting one full chip on one thread, as ratios of one run.
 *
 * Against our own Horne, a vectorised numpy Horne, and streaming flux and variance once. Says of each goal whether it is met; never fails.
 * - Ours: one call of the kernel, all of it: normal equations of overlapping fibres, covariances, chi2, cross-talk, bits, and outliers
 *   re-weighted once (photonVariance 0). float32.
 * - numpy: the same pixels, ±12 rows as ours, float32, the arithmetic of the function alone, without bits, chi2 and outliers; with profiles
 *   from one table, where ours has nine for each fibre, and with profiles that are made beforehand and not counted.
 * - Streaming: image and variance as float32, 33.5 MB, read once and from memory (memcmp of two arrays of that size).
 * All on one thread, the least CPU time of several rounds; before each turn of ours the caches are filled with something else. --save
 * keeps the figures in bench/results.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { columns, interleave, keep, machine, output, ROOT, setUp, timed } from './timing.mjs';

setUp('product', true);
const js = (path) => import(new URL(`build/js/${path}`, `file://${ROOT}`));
const { runKernel, sharedLarge } = await js('engine/index.js');
const { mockSpectra } = await js('simulate/spectra.js');
const ROUNDS = 25;
const REACH = 12;

const mock = await mockSpectra({ tele: 'apo', chip: 'b', type: 'domeflat', badPixels: 0 });
const { rows, cols, fibres, truth } = mock;
/** A copy in large pages, where a night's arrays are. */
const large = (data) => {
  const copy = new data.constructor(sharedLarge(data.byteLength));
  copy.set(data);
  return copy;
};
const pixels = (data) => ({ data: large(data), planes: rows, cols });
const spectra = (data) => ({ data: large(data), planes: fibres, cols });
const out = (type = Float32Array) => spectra(new type(fibres * cols));
const horne = {
  image: pixels(mock.image),
  imageIvar: pixels(mock.ivar),
  imageDq: pixels(mock.dq),
  centre: spectra(truth.centre),
  width: spectra(truth.width),
  traceDq: out(Uint32Array),
  profile: { data: truth.profile.cumulative, planes: fibres, rows: 9, cols: 481 },
  flux: out(),
  ivar: out(),
  dq: out(Uint32Array),
  chi2: out(),
  crosstalk: out(),
};
const joint = { ...horne, next: out(), second: out() };
const [a, b] = [Buffer.from(mock.image.buffer), Buffer.from(new Float32Array(mock.image).buffer)];
const other = new Float64Array(32 << 20);
/** Times a way with caches that hold nothing of it. */
const cold = (way) => () => {
  other.fill(Math.random());
  return timed(way);
};
const best = await interleave(
  {
    joint: cold(() => runKernel('extract-joint', joint, { reach: REACH })),
    horne: cold(() => runKernel('extract-horne', horne, { reach: REACH })),
    stream: cold(() => a.compare(b)),
  },
  ROUNDS,
);

// The windows of numpy's Horne: Gaussian profiles serve, as only the time is asked.
const work = mkdtempSync(join(ROOT, 'build', 'horne-'));
const window = 2 * REACH + 1;
const first = Int32Array.from(truth.centre, (c) => Math.min(rows - window, Math.max(0, Math.round(c) - REACH)));
const profile = new Float32Array(window * fibres * cols);
for (let j = 0; j < window; j++) {
  for (let i = 0; i < first.length; i++) {
    profile[j * first.length + i] = Math.exp(-0.5 * (first[i] + j - truth.centre[i]) ** 2) / 2.5;
  }
}
const clean = mock.image.map((value) => (Number.isFinite(value) ? value : 0));
for (const [name, data] of Object.entries({
  'image.f32': clean,
  'ivar.f32': mock.ivar,
  'first.i32': first,
  'profile.f32': profile,
  'centre.f32': truth.centre,
})) {
  writeFileSync(join(work, name), data);
}
const script = join(ROOT, 'bench', 'peers', 'numpy_horne.py');
const [given, numpy] = output('/usr/bin/python3', script, work, fibres, rows, cols, 5).split(' ').map(Number);
rmSync(work, { recursive: true });

const ours = best.joint.cpuMs;
const table = [
  ['what', 'goal', 'measured', 'met'],
  ['joint / our Horne, CPU', '<= 1.5', (ours / best.horne.cpuMs).toFixed(2), ours <= 1.5 * best.horne.cpuMs],
  ['numpy Horne / joint, CPU', '>= 13', (numpy / ours).toFixed(1), numpy >= 13 * ours],
  ['numpy Horne, profiles given / joint, CPU', '', (given / ours).toFixed(1), ''],
  [
    'streaming flux and variance once / joint, CPU',
    '>= 0.2',
    (best.stream.cpuMs / ours).toFixed(3),
    best.stream.cpuMs >= 0.2 * ours,
  ],
].map(([what, goal, value, met]) => [what, goal, value, typeof met === 'string' ? met : met ? 'yes' : 'NO']);
console.log(columns(table, [1, 2]));
console.log(
  `\nCPU ms: joint ${ours.toFixed(1)}, Horne ${best.horne.cpuMs.toFixed(1)}, numpy ${numpy.toFixed(0)}, streaming ${best.stream.cpuMs.toFixed(2)}`,
);
if (process.argv.includes('--save')) {
  const results = table
    .slice(1)
    .map(([what, goal, measured, met]) => ({ what, goal, measured: Number(measured), met }));
  const cpuMs = { joint: ours, horne: best.horne.cpuMs, numpy, numpyProfilesGiven: given, reading: best.stream.cpuMs };
  const date = new Date().toISOString().slice(0, 10);
  console.log(`kept in ${keep({ date, machine: machine(), rounds: ROUNDS, results, cpuMs }, '-extraction-speed')}`);
}
