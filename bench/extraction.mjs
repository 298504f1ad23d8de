/**
 * node bench/extraction.mjs: the four ways to extract, side by side, against the mock's truth.
 *
 *   node bench/extraction.mjs [--only given|measured] [--chips abc] [--rows N] [--seed N] [--draws N] [--plot FILE.svg] [--json] [--save]
 *
 * Fibres of all brightnesses (signal-to-noise ratio 5 to 500, the faint beside the bright).
 *
 * - given: true traces, profiles and background, so that what is seen is the method's own doing. Twice: with exact variances, and
 *   with variances that follow each pixel's noise, as those of a ramp fit do. Then without noise, every second fibre 1000 times
 *   as bright.
 * - measured: traces, profiles and background as the stages measure them on a dome flat and on the exposure, with variances of
 *   the pixels, for each of --chips; where the traces lie, CPU time of tracing (product read and written, least of three), and
 *   in how many of --draws random draws of dead fibres, shifts and lamp levels all 300 fibres are told.
 *
 * Goals that are missed are said to be missed; the exit code is 1 then, 0 else. --save keeps the figures in bench/results.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { columns, keep, machine, ROOT, setUp } from './timing.mjs';

const { values: args } = parseArgs({
  options: {
    rows: { type: 'string', default: '2048' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    chips: { type: 'string', default: 'b' },
    draws: { type: 'string', default: '1000' },
    plot: { type: 'string' },
    json: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
  },
});
const rows = Number(args.rows);
const seed = Number(args.seed);
if (![undefined, 'given', 'measured'].includes(args.only) || !/^[abc]{1,3}$/.test(args.chips)) {
  console.error('expected --only given or measured, and --chips of a, b and c');
  process.exit(2);
}
setUp('product', true);
const js = (path) => import(new URL(`build/js/${path}`, `file://${ROOT}`));
const { extractWith } = await js('stages/extract/methods.js');
const { NO_WEIGHT_BITS } = await js('stages/rates_image.js');
const { mockSpectra } = await js('simulate/spectra.js');
const { DQ } = await js('core/generated/dq.js');

/** Pulls beyond, of spectra with measured traces, are counted apart, as in the demo. */
const WILD = 10;
/** [e-/read]: with the mock's noise S/N 5 to 500 and more. */
const FAINTEST = 1;
const BRIGHTEST = 8000;
/** Brightnesses that follow each other from fibre to fibre in leaps. */
const brightness = (fibre) => FAINTEST * (BRIGHTEST / FAINTEST) ** (((fibre * 7) % 41) / 40);
const LOW = 5;
const HIGH = 500;
const BINS = 6;
const METHODS = {
  joint: (variance) => ['joint', { photonVariance: variance }],
  // ±4 rows, as upstream's own Horne: with the whole profile the neighbours' light would all be in it.
  horne: (variance) => ['horne', { photonVariance: variance, reach: 4 }],
  upstream: () => ['upstream', {}],
  boxcar: () => ['boxcar', {}],
};

/** The mock's image without its scattered light, and its traces, as extraction takes them. */
function inputsOf(mock) {
  const { rows, cols, fibres, image, ivar, dq, truth } = mock;
  const traceDq = new Uint32Array(fibres * cols);
  for (const [f, state] of truth.states.entries()) {
    if (state === 'broken') traceDq.fill(DQ.BROKEN_FIBRE, f * cols, (f + 1) * cols);
  }
  const { centre, width, profile, background } = truth;
  const light = image.map((value, i) => value - background[i]);
  return { rows, cols, fibres, image: light, ivar, dq, centre, width, profile, traceDq };
}

const mean = (sums) => sums.z / sums.n;
const empty = () => ({ n: 0, z: 0, zz: 0, ratio: 0, chi2: 0 });
function figures(sums) {
  const { n, zz, ratio, chi2 } = sums;
  const pull = mean(sums);
  return { n, pull, std: Math.sqrt(zz / n - pull * pull), ratio: ratio / n - 1, chi2: chi2 / n };
}

/**
 * Pulls in bins of the true S/N (flux over the error that joint states), of all of them, and ratios above S/N 100.
 * @param spectra by method, joint among them
 * @param most pulls beyond are counted, and left out of the means
 */
function judge({ cols, fibres, truth }, spectra, most = Number.POSITIVE_INFINITY) {
  const out = {};
  const reference = spectra.joint;
  for (const [name, found] of Object.entries(spectra)) {
    const bins = Array.from({ length: BINS }, empty);
    const all = empty();
    const bright = empty();
    let wild = 0;
    for (let i = 0; i < fibres * cols; i++) {
      const flux = truth.flux[i];
      const signal = flux * Math.sqrt(reference.ivar[i]);
      if (!(signal >= LOW && signal < HIGH && found.ivar[i] > 0)) continue;
      if ((found.dq[i] & (NO_WEIGHT_BITS | DQ.OFF_CHIP)) !== 0) continue;
      const z = (found.flux[i] - flux) * Math.sqrt(found.ivar[i]);
      const bin = bins[Math.floor((Math.log(signal / LOW) / Math.log(HIGH / LOW)) * BINS)];
      if (Math.abs(z) > most) {
        wild++;
        continue;
      }
      for (const sums of signal > 100 ? [bin, all, bright] : [bin, all]) {
        sums.n++;
        sums.z += z;
        sums.zz += z * z;
        sums.ratio += found.flux[i] / flux;
        sums.chi2 += found.chi2?.[i] ?? Number.NaN;
      }
    }
    const edge = (k) => LOW * (HIGH / LOW) ** (k / BINS);
    out[name] = {
      wild,
      all: figures(all),
      bright: figures(bright),
      bins: bins.map((sums, k) => ({ from: edge(k), to: edge(k + 1), ...figures(sums) })),
    };
  }
  return out;
}

/** Each faint fibre has one bright neighbour, so that what is left is of that one alone. */
const PAIRS = (fibre) => (fibre % 3 === 0 ? 1000 : 1);

/** What is left of a neighbour 1000 times as bright, over the neighbour's flux: largest and root mean square. */
function leak({ cols, fibres, truth }, spectra) {
  const out = {};
  for (const [name, found] of Object.entries(spectra)) {
    let [most, squares, n] = [0, 0, 0];
    for (let f = 1; f < fibres - 1; f++) {
      if (PAIRS(f) !== 1) continue;
      for (let x = 0; x < cols; x++) {
        const i = f * cols + x;
        const bright = Math.max(truth.flux[i - cols], truth.flux[i + cols]);
        // A broken neighbour is not bright.
        if (!(found.ivar[i] > 0 && bright > 100 * truth.flux[i]) || (found.dq[i] & DQ.OFF_CHIP) !== 0) continue;
        const left = Math.abs(found.flux[i] - truth.flux[i]) / bright;
        most = Math.max(most, left);
        squares += left * left;
        n++;
      }
    }
    out[name] = { most, rms: Math.sqrt(squares / n) };
  }
  return out;
}

const GOALS = [
  ['mean pull, S/N 5 to 500', (m) => m.exact.all.pull, 0.01, 4],
  ['std of pulls less 1', (m) => m.exact.all.std - 1, 0.02, 4],
  ['flux / truth less 1, S/N > 100', (m) => m.exact.bright.ratio, 5e-4, 6],
  ['chi2 / dof less 1', (m) => m.exact.all.chi2 - 1, 0.02, 4],
  ['mean pull, variances of the pixels', (m) => m.measured.all.pull, 0.01, 4],
  ['std less 1, variances of the pixels', (m) => m.measured.all.std - 1, 0.02, 4],
  ['flux / truth less 1, the same, S/N > 100', (m) => m.measured.bright.ratio, 5e-4, 6],
  ['chi2 / dof less 1, the same', (m) => m.measured.all.chi2 - 1, 0.02, 4],
  ['most of a 1000:1 neighbour left', (m) => m.leak.most, 1e-4, 7],
];

const methods = Object.keys(METHODS);

/** Spectra by method from true traces, profiles and background. */
async function withTruth(scene, photons) {
  const mock = await mockSpectra({ tele: 'apo', chip: 'b', type: 'object', rows, seed, ...scene });
  const inputs = inputsOf(mock);
  const variance = photons ? 1 / (mock.gain * (mock.reads - 1)) : 0;
  const spectra = {};
  for (const [name, choose] of Object.entries(METHODS)) {
    spectra[name] = await extractWith(...choose(variance).toSpliced(1, 0, inputs));
  }
  return [mock, spectra];
}

const goalsOf = (list, result) =>
  list.map(([what, value, goal, digits]) => {
    const values = Object.fromEntries(methods.map((name) => [name, Number(value(result[name]).toFixed(digits))]));
    return { what, goal, digits, values, met: goal === undefined ? undefined : Math.abs(value(result.joint)) <= goal };
  });

async function given() {
  const exact = judge(...(await withTruth({ light: brightness }, false)));
  const measured = judge(...(await withTruth({ light: brightness, measuredVariance: true }, true)));
  const left = leak(...(await withTruth({ light: PAIRS, noise: false, badPixels: 0 }, false)));
  const entries = methods.map((name) => [name, { exact: exact[name], measured: measured[name], leak: left[name] }]);
  const result = Object.fromEntries(entries);
  return { result, goals: goalsOf(GOALS, result) };
}

const MEASURED_GOALS = [
  ['mean pull, S/N 5 to 500', (m) => m.measured.all.pull, 0.01, 4],
  ['std of pulls less 1', (m) => m.measured.all.std - 1, 0.02, 4],
  ['flux / truth less 1, S/N > 100', (m) => m.measured.bright.ratio, 5e-4, 6],
  ['chi2 / dof less 1', (m) => m.measured.all.chi2 - 1, 0.02, 4],
  [
    `part of the pulls beyond ${WILD}, left out above`,
    (m) => m.measured.wild / (m.measured.wild + m.measured.all.n),
    undefined,
    6,
  ],
  ['most of a 1000:1 neighbour left', (m) => m.leak.most, 1e-4, 7],
  ['the same, root mean square', (m) => m.leak.rms, undefined, 7],
];

/** What one number says of a chip, or of the identification. */
const single = (what, value, goal, digits, atMost = true) => ({
  what,
  goal,
  value: Number(value.toFixed(digits)),
  digits,
  met: atMost ? value <= goal : value >= goal,
});

async function measured() {
  const { chainOf, identification } = await import('./extraction_chain.mjs');
  const chips = {};
  for (const chip of args.chips) {
    const chain = await chainOf(chip, methods, { rows, seed, light: brightness, pairs: PAIRS });
    const found = (scene) => Object.fromEntries(methods.map((name) => [name, chain.methods[name][scene].found]));
    const pulls = judge(chain.methods.joint.object.mock, found('object'), WILD);
    const left = leak(chain.methods.joint.leak.mock, found('leak'));
    const result = Object.fromEntries(methods.map((name) => [name, { measured: pulls[name], leak: left[name] }]));
    chips[chip] = {
      result,
      goals: goalsOf(MEASURED_GOALS, result),
      traces: [
        single('traces of the flat off the truth, rms [px]', chain.flatRms, 0.005, 5),
        single('traces moved to the exposure off the truth, rms [px]', chain.objectRms, 0.005, 5),
        single('fibres with light found, less those that have it', chain.states.found - chain.states.truth, 0, 0),
        single('tracing a flat, CPU [s]', chain.traceSeconds, 1, 2),
      ],
    };
  }
  const told = identification(Number(args.draws));
  const identified = single(`all 300 fibres told, of ${told.draws} draws`, told.right, told.draws, 0, false);
  return { chips, identified: { ...identified, failed: told.failed } };
}

const truth = args.only === 'measured' ? undefined : await given();
const chain = args.only === 'given' ? undefined : await measured();
const goals = [
  ...(truth?.goals ?? []),
  ...Object.values(chain?.chips ?? {}).flatMap((chip) => [...chip.goals, ...chip.traces]),
  ...(chain === undefined ? [] : [chain.identified]),
];

/** Mean pulls against S/N, and what is left of a bright neighbour, as an SVG: a row of panels for each way to know the traces. */
function draw() {
  const colours = { joint: '#0b6e4f', horne: '#d1495b', upstream: '#30638e', boxcar: '#edae49' };
  const parts = [];
  const text = (x, y, words, more = '') => parts.push(`<text x="${x}" y="${y}" ${more}>${words}</text>`);
  const panel = (top, data, title) => {
    const at = (signal, pull) => {
      const x = 70 + 330 * (Math.log(signal / LOW) / Math.log(HIGH / LOW));
      const y = top + 100 - 90 * Math.max(-1, Math.min(1, pull));
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    };
    text(70, top - 6, title, 'font-weight="bold"');
    parts.push(`<rect x="70" y="${top}" width="330" height="200" fill="none" stroke="#999"/>`);
    for (const pull of [-1, -0.5, 0, 0.5, 1]) {
      const y = top + 100 - 90 * pull;
      parts.push(`<line x1="70" x2="400" y1="${y}" y2="${y}" stroke="${pull === 0 ? '#666' : '#ddd'}"/>`);
      text(62, y + 4, pull, 'text-anchor="end"');
    }
    for (const signal of [5, 10, 20, 50, 100, 200, 500]) {
      text(at(signal, 0).split(',')[0], top + 216, signal, 'text-anchor="middle"');
    }
    for (const name of methods) {
      const points = data(name).bins.filter(({ n }) => n > 0);
      const line = points.map(({ from, to, pull }) => at(Math.sqrt(from * to), pull)).join(' ');
      parts.push(`<polyline points="${line}" fill="none" stroke="${colours[name]}" stroke-width="2"/>`);
    }
  };
  const bars = (top, data) => {
    text(500, top - 6, 'largest part of a 1000:1 neighbour left', 'font-weight="bold"');
    for (const [i, name] of methods.entries()) {
      const { most } = data(name);
      const width = Math.max(1, 50 * (8 + Math.log10(Math.max(most, 1e-8))));
      const y = top + 16 + 44 * i;
      parts.push(`<rect x="580" y="${y}" width="${width.toFixed(1)}" height="24" fill="${colours[name]}"/>`);
      text(570, y + 17, name, 'text-anchor="end"');
      text(586 + width, y + 17, most.toExponential(1));
    }
    const goal = 580 + 50 * 4;
    parts.push(
      `<line x1="${goal}" x2="${goal}" y1="${top + 8}" y2="${top + 192}" stroke="#000" stroke-dasharray="4"/>`,
    );
    text(goal, top + 208, 'goal 1e-4', 'text-anchor="middle"');
  };
  let top = 40;
  const row = (data, title, left) => {
    panel(top, data, title);
    if (left !== undefined) bars(top, left);
    top += 260;
  };
  if (truth !== undefined) {
    const { result } = truth;
    row(
      (name) => result[name].exact,
      'true traces, exact variances: mean pull',
      (name) => result[name].leak,
    );
    row((name) => result[name].measured, 'true traces, variances of the pixels: mean pull');
  }
  for (const [chip, { result }] of Object.entries(chain?.chips ?? {})) {
    const title = `traces, profile, background measured, chip ${chip}: mean pull`;
    row(
      (name) => result[name].measured,
      title,
      (name) => result[name].leak,
    );
  }
  text(235, top - 4, 'true signal-to-noise ratio (beyond ±1 drawn at ±1)', 'text-anchor="middle"');
  const head = `<svg xmlns="http://www.w3.org/2000/svg" width="1060" height="${top + 16}" font-family="sans-serif" font-size="13">`;
  return `${head}\n<rect width="1060" height="${top + 16}" fill="#fff"/>\n${parts.join('\n')}\n</svg>\n`;
}
if (args.plot !== undefined) writeFileSync(args.plot, draw());

/** A table of the methods, one of numbers, and pulls by S/N. */
function tell(title, list, singles, pulls) {
  const head = [title, 'goal', ...methods, 'joint meets it'];
  const cells = list.map(({ what, goal, digits, values, met }) => [
    what,
    String(goal ?? ''),
    ...methods.map((name) => (Number.isNaN(values[name]) ? '' : values[name].toFixed(digits))),
    met === undefined ? '' : met ? 'yes' : 'NO',
  ]);
  console.log(`${columns([head, ...cells], [1, 2, 3, 4, 5])}\n`);
  if (singles.length > 0) {
    const lines = singles.map(({ what, goal, value, digits, met }) => [
      what,
      String(goal),
      value.toFixed(digits),
      met ? 'yes' : 'NO',
    ]);
    console.log(`${columns([['', 'goal', 'is', 'met'], ...lines], [1, 2])}\n`);
  }
  for (const [words, data] of pulls) {
    const lines = Array.from({ length: BINS }, (_, k) => {
      const { from, to, n } = data('joint').bins[k];
      const each = methods.map(
        (name) => `${data(name).bins[k].pull.toFixed(3)} ± ${data(name).bins[k].std.toFixed(3)}`,
      );
      return [`${from.toFixed(0)} to ${to.toFixed(0)}`, String(n), ...each];
    });
    console.log(`Pulls by S/N, ${words}\n`);
    console.log(`${columns([['S/N', 'values', ...methods], ...lines], [1, 2, 3, 4, 5])}\n`);
  }
}

const report = {
  date: new Date().toISOString().slice(0, 10),
  machine: machine(),
  rows,
  seed,
  goals,
  given: truth,
  measured: chain,
};
if (args.json) process.stdout.write(`${JSON.stringify(report)}\n`);
else {
  if (truth !== undefined) {
    const { result } = truth;
    tell(
      'true traces, chip b',
      truth.goals,
      [],
      [
        ['exact variances', (name) => result[name].exact],
        ['variances of the pixels', (name) => result[name].measured],
      ],
    );
  }
  for (const [chip, { result, goals: list, traces }] of Object.entries(chain?.chips ?? {})) {
    tell(`measured traces, chip ${chip}`, list, traces, [['variances of the pixels', (name) => result[name].measured]]);
  }
  if (chain !== undefined) {
    const { what, value, met, failed } = chain.identified;
    console.log(`${what}: ${value}${met ? '' : `; not ${JSON.stringify(failed.slice(0, 5))}`}`);
  }
}
if (args.save) console.error(`kept in ${keep(report, '-extraction')}`);
process.exitCode = goals.every(({ met }) => met !== false) ? 0 : 1;
