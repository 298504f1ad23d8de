/**
 * The end of npm run demo: traces on a dome flat, the spectra of all fibres of the object, and both beside the mock's truth. The
 * images are calibrated with the simulator's exact gain, dark and flat, so that the truth in electrons has one scale for a chip and
 * what is judged is the extraction alone.
 */
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { ExtractionMethod } from '../core/spectra.js';
import { runKernel } from '../engine/index.js';
import { type FitsFile, openFits } from '../fits/index.js';
import type { Chip, Telescope } from '../instruments/apogee/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { runStage } from '../night/by_hand.js';
import { ramp } from '../night/ramp.js';
import { addCalibrations } from '../night/registry.js';
import { stage as extractStage } from '../stages/extract/stage.js';
import { LINE_COLOURS } from '../stages/qa/colours.js';
import { drawImage } from '../stages/qa/picture.js';
import { drawPlot } from '../stages/qa/svg.js';
import { readSpectra, type Spectra } from '../stages/spectra_product.js';
import { stage as traceStage } from '../stages/trace/stage.js';
import { openStore } from '../store/index.js';
import { table } from './table.js';

/** Raw files of a chip. */
export interface DemoChip {
  readonly chip: Chip;
  /** The object, with its truth. */
  readonly object: { readonly file: string; readonly truth: string };
  /** The dome flat. */
  readonly flat: { readonly file: string };
}

/** Of the calibrations that the simulator gives as they are. */
const EXACT = ['gain', 'dark', 'flat', 'saturation', 'linearity', 'resetanomaly'];
/** Of those that the demo built from darks and flats: they know of the 1/f noise. */
const BUILT = ['readnoise', 'oneoverf'];
/** The ratio of fluxes is taken where a column's signal is so many times its noise, at every 101st value. */
const RATIO_SNR = 100;
const SAMPLE_STEP = 101;
/** Pulls are of columns whose true signal is so many times the error that is stated. */
const PULL_SNR = [5, 500] as const;
/** |z| beyond this counts apart. */
const OUTLIER = 10;
/** A fibre is told apart from the next when its trace is nearer to its own place: half of the spacing of 6.6 px, some less [px]. */
const OWN_PLACE = 3;
/** Stars brighter than this are the bright ones of pairs; the faint one is the next fibre. */
const PAIR_H = 7;
/** Chip in which the methods are compared and spectra drawn. */
const SHOWN = 'b';
/** Of the truth, under the lines. */
const GREY = '#9a9a9a';
const METHODS: readonly ExtractionMethod[] = ['joint', 'horne', 'boxcar', 'upstream'];

const say = (text: string) => process.stdout.write(`${text}\n`);

/** What the spectra must show. */
const GOALS: readonly {
  readonly name: string;
  /** In a narrow column. */
  readonly short: string;
  readonly goal: string;
  readonly of: (figures: Figures) => number;
  readonly text: (figures: Figures) => string;
  readonly met: (value: number) => boolean;
}[] = [
  {
    name: `median flux / truth at S/N > ${RATIO_SNR}`,
    short: 'flux / truth',
    goal: '1 +- 0.0005',
    of: ({ ratio }) => ratio,
    text: ({ ratio }) => (Number.isFinite(ratio) ? ratio.toFixed(5) : '-'),
    met: (value) => Math.abs(value - 1) <= 5e-4,
  },
  {
    name: `mean pull at S/N ${PULL_SNR.join(' to ')}`,
    short: 'mean pull',
    goal: '0 +- 0.01',
    of: ({ mean }) => mean,
    text: ({ mean }) => mean.toFixed(4),
    met: (value) => Math.abs(value) < 0.01,
  },
  {
    name: `std pull at S/N ${PULL_SNR.join(' to ')}`,
    short: 'std pull',
    goal: '1 +- 0.02',
    of: ({ std }) => std,
    text: ({ std }) => std.toFixed(4),
    met: (value) => Math.abs(value - 1) <= 0.02,
  },
  {
    name: 'chi2/dof',
    short: 'chi2/dof',
    goal: '1 +- 0.02',
    of: ({ chi2 }) => chi2,
    text: ({ chi2 }) => (Number.isFinite(chi2) ? chi2.toFixed(4) : '-'),
    met: (value) => Math.abs(value - 1) <= 0.02,
  },
  {
    name: 'worst leak of a 1000:1 neighbour',
    short: 'worst leak',
    goal: '< 1e-4',
    of: ({ leak }) => leak.leak,
    text: ({ leak }) => leakText(leak),
    met: (value) => Math.abs(value) < 1e-4,
  },
  {
    name: 'traces off the truth, rms [px]',
    short: 'traces',
    goal: '< 0.005',
    of: ({ trace }) => trace,
    text: ({ trace }) => trace.toFixed(4),
    met: (value) => value < 0.005,
  },
];

/** Of the spectra of a chip against the truth. */
interface Figures {
  /** NaN: no value is that bright. */
  readonly ratio: number;
  readonly mean: number;
  readonly std: number;
  /** NaN: the method has none. */
  readonly chi2: number;
  readonly outliers: number;
  readonly leak: Leak;
  readonly trace: number;
}

interface Leak {
  /** NaN: no pair is on the chip. */
  readonly leak: number;
  readonly error: number;
}

interface Truth {
  /** [fibre][x] in the unit of the spectra. */
  readonly flux: Float32Array;
  readonly centre: Float32Array;
  readonly states: readonly string[];
  /** The instrument's own numbers. */
  readonly numbers: Int32Array;
  readonly magnitudes: ArrayLike<number>;
}

async function truthOf(path: string, exactFlat: string): Promise<Truth> {
  const [file, flat] = [openFits(path), openFits(exactFlat)];
  try {
    const image = (from: FitsFile, name: string) => from.readImage(name).data as Float32Array;
    const [response, field] = [image(file, 'RESPONSE'), image(flat, 'FLAT')];
    // The flat is the response over its median, so any good pixel says what that was.
    const good = field.findIndex((value) => value > 0);
    const scale = response[good]! / field[good]! / apogee.readTimeSeconds;
    const electrons = image(file, 'FLUX_E');
    const [rows, cols] = file.readImage('FLUX_E').shape as [number, number];
    const map = (data: Float32Array) => ({ data, rows, cols });
    const [flux, same, ivar] = [electrons.slice(), electrons.slice(), electrons.slice()];
    await runKernel(
      'mock-rates',
      { light: map(electrons), exact: map(flux), rate: map(same), ivar: map(ivar) },
      { gain: 1 / scale, noise: false },
    );
    const fibres = file.readTable('FIBRES');
    return {
      flux,
      centre: image(file, 'CENTRE'),
      states: fibres.column('STATE').values as string[],
      numbers: fibres.column('FIBERID').values as Int32Array,
      magnitudes: fibres.column('HMAG').values as Float32Array,
    };
  } finally {
    file.close();
    flat.close();
  }
}

/** Marks with 1 the values whose true signal is not within the bounds of its error; without bounds none. */
async function outside(truth: Float32Array, error: Float32Array, cols: number, bounds?: readonly [number, number]) {
  const rows = truth.length / cols;
  const map = <T>(data: T) => ({ data, rows, cols });
  const dq = map(new Uint32Array(truth.length));
  if (bounds === undefined) return dq;
  const [ratio, unused] = [map(truth.slice()), map(truth.slice())];
  const bad = map(new Uint8Array(truth.length));
  await runKernel('divide-model', {
    signal: map(truth),
    sigma: map(error),
    model: map(error),
    ratio,
    ratioError: unused,
    bad,
  });
  await runKernel('flag-range', { image: ratio, dq }, { low: bounds[0], high: bounds[1], below: 1, above: 1 });
  return dq;
}

/** Sums over fibres of z = (found - truth) / error where the signal-to-noise ratio is in bounds: see the kernel judge-rates. */
async function sumsOf(
  fibres: readonly number[],
  cols: number,
  what: { found: Float32Array; error: Float32Array; truth: Float32Array; chi2: Float32Array },
  bounds?: readonly [number, number],
): Promise<{ n: number; mean: number; std: number; rms: number; chi2: number; outliers: number }> {
  const rows = what.found.length / cols;
  const map = <T>(data: T) => ({ data, rows, cols });
  const sums = new Float64Array(rows * 6);
  const ports = {
    rate: map(what.found),
    error: map(what.error),
    chi2: map(what.chi2),
    diffs: map(new Uint16Array(rows * cols).fill(2)),
    dq: await outside(what.truth, what.error, cols, bounds),
    truth: map(what.truth),
    sums: { data: sums, rows, cols: 6 },
  };
  await runKernel('judge-rates', ports, { skip: 1, limit: OUTLIER }, { strip: cols });
  const [n, z, zz, chi2, , outliers] = [0, 1, 2, 3, 4, 5].map((i) =>
    fibres.reduce((sum, fibre) => sum + sums[fibre * 6 + i]!, 0),
  ) as [number, number, number, number, number, number];
  const mean = z / n;
  return { n, mean, std: Math.sqrt(zz / n - mean * mean), rms: Math.sqrt(zz / n), chi2: chi2 / n, outliers };
}

/** What a bright fibre leaves in the faint one beside it, over the bright one's light: mean over the columns, and its error. */
function leakOf(spectra: Spectra, truth: Truth, bright: number): Leak {
  const { cols, flux } = spectra;
  const parts: number[] = [];
  for (let x = 0; x < cols; x++) {
    const [faint, beside] = [(bright + 1) * cols + x, bright * cols + x];
    const part = (flux[faint]! - truth.flux[faint]!) / truth.flux[beside]!;
    if (Number.isFinite(part)) parts.push(part);
  }
  const leak = parts.reduce((sum, part) => sum + part, 0) / parts.length;
  const scatter = parts.reduce((sum, part) => sum + (part - leak) ** 2, 0) / parts.length;
  return { leak, error: Math.sqrt(scatter / parts.length) };
}

function ratioOf({ flux, error }: Spectra, truth: Truth): number {
  const ratios: number[] = [];
  for (let i = 0; i < flux.length; i += SAMPLE_STEP) {
    if (truth.flux[i]! > RATIO_SNR * error[i]!) ratios.push(flux[i]! / truth.flux[i]!);
  }
  ratios.sort((a, b) => a - b);
  return ratios[ratios.length >> 1] ?? Number.NaN;
}

const pairsOf = ({ magnitudes, states }: Truth): number[] =>
  states.flatMap((_, fibre) => (magnitudes[fibre]! < PAIR_H && states[fibre] !== 'off-chip' ? [fibre] : []));

/** The worst leak of the pairs on the chip. */
function worstLeak(spectra: Spectra, truth: Truth): Leak {
  const leaks = pairsOf(truth).map((fibre) => leakOf(spectra, truth, fibre));
  const none = { leak: Number.NaN, error: Number.NaN };
  return leaks.reduce((a, b) => (Math.abs(b.leak) > Math.abs(a.leak) ? b : a), leaks[0] ?? none);
}

/** Such as 3.1e-6 +- 2e-6. */
const leakText = ({ leak, error }: Leak): string =>
  Number.isFinite(leak) ? `${leak.toExponential(1)} +- ${error.toExponential(0)}` : '-';

/** Fibres that light falls on and that are whole on the chip: those are judged. */
const litOf = ({ states }: Truth): number[] => states.flatMap((state, fibre) => (state === 'ok' ? [fibre] : []));

async function figuresOf(spectra: Spectra, truth: Truth): Promise<Figures> {
  const { cols, flux, error, chi2, trace } = spectra;
  const lit = litOf(truth);
  const ones = flux.slice().fill(1);
  const pulls = await sumsOf(lit, cols, { found: flux, error, truth: truth.flux, chi2: chi2 ?? ones }, PULL_SNR);
  const centre = trace.subarray(0, flux.length);
  const off = await sumsOf(lit, cols, { found: centre, error: ones, truth: truth.centre, chi2: ones });
  return {
    ratio: ratioOf(spectra, truth),
    mean: pulls.mean,
    std: pulls.std,
    chi2: chi2 === undefined ? Number.NaN : pulls.chi2,
    outliers: pulls.outliers,
    leak: worstLeak(spectra, truth),
    trace: off.rms,
  };
}

/** Calibrates the objects and the flats with exact gain, dark and flat, in electrons a second. */
async function calibrated(
  base: string,
  tele: Telescope,
  chips: readonly DemoChip[],
): Promise<(file: string) => string> {
  const calib = join(base, 'exact');
  const built = readdirSync(join(base, 'calib')).filter((name) => name.endsWith('.fits'));
  const names = chips.flatMap(({ chip }) => [
    ...EXACT.map((kind) => join(base, 'raw', 'calib', `${kind}-${tele}-${chip}.fits`)),
    ...built
      .filter((name) => BUILT.some((kind) => name.startsWith(`${kind}-${tele}-${chip}-`)))
      .map((name) => join(base, 'calib', name)),
  ]);
  const failed = (await addCalibrations(names, { directory: calib })).find(({ failure }) => failure !== undefined);
  if (failed !== undefined) throw new Error(`${failed.file}: ${failed.failure?.message}`);
  const files = chips.flatMap(({ object, flat }) => [object.file, flat.file]);
  const options = { unit: 'electron-per-second' } as const;
  const output = join(base, 'spectra');
  const outcomes = await ramp({ files, output, calib, calibrate: true, force: true, jobs: 1, options });
  const lost = outcomes.find(({ failure }) => failure !== undefined);
  if (lost !== undefined) throw new Error(`${lost.file}: ${lost.failure?.message}`);
  return (file) => outcomes.find((outcome) => outcome.file === file)?.product as string;
}

async function spectraOf(image: string, traces: string, output: string, method: ExtractionMethod) {
  const files = [
    { role: 'image', path: image },
    { role: 'traces', path: traces },
  ];
  const threads = availableParallelism();
  const { product } = await runStage({
    stage: extractStage,
    files,
    output,
    force: true,
    threads,
    parameters: { method },
  });
  const file = openFits(product);
  try {
    return { product, spectra: (await readSpectra(file)).spectra };
  } finally {
    file.close();
  }
}

/** Such as 298 of 300, 2 broken: fibres with a flux, of those that are on the chip. */
function countText({ map }: Spectra, { states }: Truth): string {
  const on = map.filter((_, fibre) => states[fibre] !== 'off-chip');
  const extracted = on.filter(({ flux }) => Number.isFinite(flux)).length;
  const broken = on.filter(({ state }) => state === 'broken').length;
  return `${extracted} of ${on.length}${broken === 0 ? '' : `, ${broken} broken`}`;
}

/** How many fibres of the chip there are, and how many are what the truth says: broken or not, and where their number has its light. */
function identified({ map, trace, cols }: Spectra, { states, numbers, centre }: Truth) {
  const on = states.flatMap((state, fibre) => (state === 'off-chip' ? [] : [fibre]));
  const right = on.filter((fibre) => {
    const found = map.findIndex(({ number }) => number === numbers[fibre]);
    const broken = map[found]?.state === 'broken';
    if (broken || states[fibre] === 'broken') return broken === (states[fibre] === 'broken');
    const middle = cols >> 1;
    return Math.abs(trace[found * cols + middle]! - centre[fibre * cols + middle]!) < OWN_PLACE;
  });
  return { right: right.length, all: on.length };
}

/** A bright star, its faint neighbour and a star of the middle, as found and as they are, in one plot. */
function plotOf({ flux, cols }: Spectra, truth: Truth): { svg: string; fibres: readonly number[] } {
  const whole = truth.states.map((state, fibre) => (state === 'ok' ? fibre : -1)).filter((fibre) => fibre >= 0);
  const stars = whole
    .filter((fibre) => truth.magnitudes[fibre]! > PAIR_H)
    .sort((a, b) => truth.magnitudes[a]! - truth.magnitudes[b]!);
  const bright = pairsOf(truth).find((fibre) => whole.includes(fibre) && whole.includes(fibre + 1));
  const some = [0.1, 0.5, 0.9].map((part) => stars[Math.floor(part * stars.length)]!);
  const fibres = bright === undefined ? some : [bright, some[1]!, bright + 1];
  const line = (data: Float32Array, fibre: number): [number, number][] =>
    Array.from({ length: cols }, (_, x) => [x, data[fibre * cols + x]!]);
  const series = [
    ...fibres.map((fibre, i) => ({
      ...(i === 0 && { name: 'the truth' }),
      points: line(truth.flux, fibre),
      colour: GREY,
    })),
    ...fibres.map((fibre, i) => ({
      name: `fibre ${fibre}, H = ${truth.magnitudes[fibre]!.toFixed(1)}`,
      points: line(flux, fibre),
      colour: LINE_COLOURS[i]!,
    })),
  ];
  const shown = fibres.flatMap((fibre) => [...truth.flux.subarray(fibre * cols, (fibre + 1) * cols)]);
  const positive = shown.filter((value) => value > 0);
  const range: [number, number] = [Math.min(...positive) / 3, 2 * Math.max(...positive)];
  const svg = drawPlot(
    {
      title: 'Three of the extracted spectra, over the truth; at the lower edge: values below it',
      width: 1100,
      height: 560,
      x: { label: 'column' },
      y: { label: 'electrons a second', log: true, range },
      series,
    },
    true,
  );
  return { svg, fibres };
}

/**
 * @param base directory of the demo; spectra and traces lie in BASE/spectra
 * @returns pictures with what they show, and the products of the spectra
 */
export async function demoSpectra(base: string, tele: Telescope, chips: readonly DemoChip[]) {
  const began = performance.now();
  const output = join(base, 'spectra');
  const pictures = await openStore(base);
  const imageOf = await calibrated(base, tele, chips);
  const threads = availableParallelism();
  const found: Figures[] = [];
  const compared: string[][] = [];
  const counts: string[] = [];
  const products: string[] = [];
  const told: { right: number; all: number }[] = [];
  let shown: readonly number[] = [];
  for (const { chip, object, flat } of chips) {
    const files = [{ role: 'image', path: imageOf(flat.file) }];
    const traces = await runStage({ stage: traceStage, files, output, force: true, threads });
    const truth = await truthOf(object.truth, join(base, 'raw', 'calib', `flat-${tele}-${chip}.fits`));
    const methods = chip === SHOWN ? METHODS : (['joint'] as const);
    for (const method of methods.toReversed()) {
      const { product, spectra } = await spectraOf(imageOf(object.file), traces.product, output, method);
      const figures = await figuresOf(spectra, truth);
      if (chip === SHOWN) {
        const own = GOALS.slice(0, -1).map(({ text }) => text(figures));
        compared.unshift([method, ...own, String(figures.outliers)]);
      }
      if (method !== 'joint') continue;
      found.push(figures);
      products.push(product);
      counts.push(countText(spectra, truth));
      told.push(identified(spectra, truth));
      if (chip === SHOWN) {
        const plot = plotOf(spectra, truth);
        shown = plot.fibres;
        await pictures.writeFile('spectra.svg', plot.svg);
        await pictures.writeFile('spectra-b.png', (await drawImage(spectra.flux, spectra.fibres, spectra.cols)).png);
      }
    }
  }
  say('Spectra of all fibres beside the truth in electrons:');
  const columns = chips.map(({ chip }) => `chip ${chip}`);
  const judged = GOALS.map(({ name, goal, of, text, met }) => {
    const known = chips.filter((_, i) => Number.isFinite(of(found[i]!)));
    const missed = chips.flatMap(({ chip }, i) => (known.includes(chips[i]!) && !met(of(found[i]!)) ? [chip] : []));
    const verdict = known.length === 0 ? '-' : missed.length === 0 ? 'met' : `missed: ${missed.join(', ')}`;
    return [name, ...found.map(text), goal, verdict];
  });
  const unsure = chips.flatMap(({ chip }, i) => (told[i]!.right < told[i]!.all ? [chip] : []));
  const fibres = [
    ['fibres extracted', ...counts, '', ''],
    [
      'fibres identified',
      ...told.map(({ right, all }) => `${right} of ${all}`),
      'all',
      unsure.length === 0 ? 'met' : `missed: ${unsure.join(', ')}`,
    ],
  ];
  say(table(['', ...columns, 'goal', 'verdict'], [...fibres, ...judged], columns));
  say(`The methods on chip ${SHOWN}, the same figures:`);
  const own = ['method', ...GOALS.slice(0, -1).map(({ short }) => short), `|pull| > ${OUTLIER}`];
  say(table(own, compared, own.slice(1)));
  say(
    `Pulls are (flux - truth) / error of the columns at S/N ${PULL_SNR.join(' to ')} of the fibres that have light, those beyond ${OUTLIER} counted apart;\n` +
      'S/N is the truth over the error. Traces are those of the dome flat, moved to the object. Leak: what a fibre has too much, over\n' +
      'the flux of its neighbour of a thousand times its light; mean of the columns. Identified: with its number at its place, or known\n' +
      'to be broken.\n',
  );
  say(
    `Calibrated images, traces, scattered light and spectra of three chips, of chip ${SHOWN} by ${METHODS.length} methods, took ${((performance.now() - began) / 1000).toFixed(1)} s.`,
  );
  const shownIn = [
    ['spectra.svg', `fibres ${shown.join(', ')} of chip ${SHOWN}, over the truth`],
    ['spectra-b.png', `all spectra of chip ${SHOWN}, one a row`],
  ] as const;
  return { pictures: shownIn, products };
}
