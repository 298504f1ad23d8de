/**
 * npm run demo: simulates one APOGEE exposure with every effect on, and the darks and flats of its night; builds
 * calibrations from those, registers them, reduces and calibrates the exposure, and shows what came out beside the truth,
 * which calibrations were chosen and why, what funpack needs for decompressing the same file, pictures, and at last the spectra
 * of all fibres. What is already there is used again.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { explanationText } from '../calib/select.js';
import { DQ, DQ_BITS } from '../core/generated/dq.js';
import { runKernel } from '../engine/index.js';
import { type FitsFile, openFits } from '../fits/index.js';
import type { Chip, Telescope } from '../instruments/apogee/index.js';
import { apogee } from '../instruments/apogee/index.js';
import { buildCalibration } from '../night/calib.js';
import { asRamplineError } from '../night/failure.js';
import { frameOf } from '../night/frame.js';
import { type RampOutcome, ramp } from '../night/ramp.js';
import { addCalibrations, explainFrames } from '../night/registry.js';
import { type ExposureType, simulateIfMissing } from '../simulate/index.js';
import { drawImage } from '../stages/qa/picture.js';
import { openStore } from '../store/index.js';
import { demoNight } from './demo_night.js';
import { type DemoChip, demoSpectra } from './demo_spectra.js';
import { wholeNumber } from './options.js';
import { bytesText, table } from './table.js';

interface DemoOptions {
  readonly rows: number;
  readonly reads: number;
  readonly tele: Telescope;
  readonly output: string;
  readonly night: boolean;
}

const CHIPS: readonly Chip[] = ['a', 'b', 'c'];
const MJD = 60_857;
const EXPOSURE = 1;
/** Darks of the same night. The first has something unknown before it, so it serves the 1/f weights alone. */
const DARKS = [11, 12, 13];
const DARK_READS = 12;
/** Internal flats after them. */
const FLATS = [14, 15];
const FLAT_READS = 10;
/** A dome flat, which shows where the fibres lie. */
const LAMP = 16;
const LAMP_READS = 20;
/** Kinds that the demo takes from the simulator as they are; it builds the others itself. */
const EXACT = ['saturation', 'linearity'];
/** Days for which the demo's darks and flats are good. */
const VALID_DAYS = 30;
/** Rows and columns of each chip in the picture that shows the middles of the three side by side. */
const STRIP_ROWS = 256;
const STRIP_COLS = 512;
/** Black columns between the chips. */
const STRIP_GAP = 4;
/** Pixels that carry light, for the ratio of fluxes [DN/read]. */
const BRIGHT = 20;
/** The median ratio is that of every 101st pixel: some 40,000, and 101 has no factor in common with the columns. */
const SAMPLE_STEP = 101;
/** |z| beyond this is counted apart. */
const OUTLIER = 10;
/** Of the noise of one difference: jumps that no test may miss. */
const CLEAR_SIGMA = 20;

const say = (text: string) => process.stdout.write(`${text}\n`);

interface Simulated {
  readonly file: string;
  readonly truth: string;
  readonly seconds: number;
}

/** Simulates an exposure of a chip, unless the manifests say that exactly this is there. */
async function simulated(
  { tele, rows }: DemoOptions,
  what: { readonly chip: Chip; readonly type: ExposureType; readonly exposure: number; readonly reads: number },
  output: string,
): Promise<Simulated> {
  // The exact calibrations are the same detector's in every exposure, and the truth of one is looked at: once is enough.
  const once = what.type === 'object';
  const made = await simulateIfMissing({
    tele,
    mjd: MJD,
    rows,
    ...what,
    output,
    truth: once,
    calibrations: once,
    threads: availableParallelism(),
  });
  return { file: join(output, made.raw), truth: join(output, made.truth ?? ''), seconds: made.seconds };
}

/**
 * What a perfect reduction would find: the rate of light and dark current, or that less the exact dark over the exact
 * response, by the kernel that calibrates.
 */
async function trueRates(truth: FitsFile, calib: string, names: { tele: string; chip: string }, calibrated: boolean) {
  const { data, shape } = truth.readImage('RATE');
  if (!calibrated) return data as Float32Array;
  const [rows = 0, cols = 0] = shape;
  const none = new Float32Array(rows * cols);
  const bits = new Uint32Array(rows * cols);
  const plane = <T extends Float32Array | Uint32Array>(pixels: T) => ({ data: pixels, rows, cols });
  const exact = (kind: string, name: string) => {
    const file = openFits(join(calib, `${kind}-${names.tele}-${names.chip}.fits`));
    const pixels = file.readImage(name).data as Float32Array;
    file.close();
    return plane(pixels);
  };
  const rate = plane(data as Float32Array);
  await runKernel('calibrate-rates', {
    rate,
    error: plane(none.slice()),
    dq: plane(bits.slice()),
    dark: exact('dark', 'RATE'),
    darkError: plane(none),
    darkDq: plane(bits),
    flat: exact('flat', 'FLAT'),
    flatError: plane(none),
    flatDq: plane(bits),
  });
  return rate.data;
}

interface Judgement {
  readonly fluxRatio: number;
  readonly meanZ: number;
  readonly stdZ: number;
  readonly outliers: number;
  readonly chi2: number;
  readonly clearJumps: number;
  readonly clearFound: number;
  readonly flagged: number;
  readonly flaggedTrue: number;
}

const total = (data: Int32Array | Float64Array, width: number, at: number): number => {
  let sum = 0;
  for (let i = at; i < data.length; i += width) sum += data[i]!;
  return sum;
};

/** Holds a product against its truth. Pixels are gone through by kernels; here are sums of rows and a list of jumps. */
async function judge(product: FitsFile, truth: FitsFile, real: Float32Array): Promise<Judgement> {
  const image = <T>(file: FitsFile, name: string) => file.readImage(name).data as T;
  const rate = image<Float32Array>(product, 'SCI');
  const dq = image<Uint32Array>(product, 'DQ');
  const [cols = 0, rows = 0] = product.hdu('SCI').axes;
  // Pixels with a dropped jump count: the fit is there to live with them.
  const skip = DQ_BITS.filter(({ bad }) => bad).reduce((mask, { bit }) => mask | (1 << bit), 0) & ~(DQ.JUMP | DQ.JUMPS);
  const plane = <T>(data: T) => ({ data, rows, cols });
  const sums = new Float64Array(rows * 6);
  await runKernel(
    'judge-rates',
    {
      rate: plane(rate),
      error: plane(image<Float32Array>(product, 'ERR')),
      chi2: plane(image<Float32Array>(product, 'CHI2')),
      diffs: plane(image<Uint16Array>(product, 'NREADS')),
      dq: plane(dq),
      truth: plane(real),
      sums: { data: sums, rows, cols: 6 },
    },
    { skip, limit: OUTLIER },
    { strip: cols },
  );
  const counts = new Int32Array(rows * 32);
  await runKernel('count-flags', { mask: plane(dq), counts: { data: counts, rows, cols: 32 } }, {}, { strip: cols });
  const [n, z, zz, chi2, dof, outliers] = [0, 1, 2, 3, 4, 5].map((i) => total(sums, 6, i)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];

  const ratios: number[] = [];
  for (let i = 0; i < rate.length; i += SAMPLE_STEP) {
    if (real[i]! > BRIGHT && (dq[i]! & skip) === 0) ratios.push(rate[i]! / real[i]!);
  }
  ratios.sort((a, b) => a - b);

  const gain = image<Float32Array>(truth, 'GAIN');
  const noise = image<Float32Array>(truth, 'READNOISE');
  const jumps = truth.readTable('JUMPS');
  const column = (name: string) => jumps.column(name).values as Int32Array | Float32Array;
  const [read, y, x, amplitude] = [column('READ'), column('Y'), column('X'), column('AMPLITUDE')];
  const first = product.hdu(0).header.number('READ1', 1) - 1;
  let clearJumps = 0;
  let clearFound = 0;
  const trulyFlagged = new Set<number>();
  for (let k = 0; k < jumps.rows; k++) {
    const at = y[k]! * cols + x[k]!;
    const isFlagged = (dq[at]! & (DQ.JUMP | DQ.JUMPS)) !== 0;
    if (isFlagged) trulyFlagged.add(at);
    // A jump before the first used read, or in a pixel that cannot be used, leaves nothing to find.
    if (read[k]! <= first || (dq[at]! & (skip | DQ.PARTLY_SATURATED)) !== 0) continue;
    const sigma = Math.sqrt(2 * noise[at]! ** 2 + Math.max(0, real[at]!) / gain[at]!);
    if (amplitude[k]! < CLEAR_SIGMA * sigma) continue;
    clearJumps++;
    if (isFlagged) clearFound++;
  }
  // Telegraph noise jumps too.
  const telegraph = truth.readTable('TELEGRAPH');
  const [row, col] = [telegraph.column('Y').values, telegraph.column('X').values] as [Int32Array, Int32Array];
  for (let k = 0; k < telegraph.rows; k++) {
    const at = row[k]! * cols + col[k]!;
    if ((dq[at]! & (DQ.JUMP | DQ.JUMPS)) !== 0) trulyFlagged.add(at);
  }
  const flagged = total(counts, 32, Math.log2(DQ.JUMP)) + total(counts, 32, Math.log2(DQ.JUMPS));
  return {
    fluxRatio: ratios[Math.floor(ratios.length / 2)] ?? Number.NaN,
    meanZ: z / n,
    stdZ: Math.sqrt(zz / n - (z / n) ** 2),
    outliers,
    chi2: chi2 / dof,
    clearJumps,
    clearFound,
    flagged,
    flaggedTrue: trulyFlagged.size,
  };
}

/** CPU seconds of a child process from start to end, with what it started; undefined when it is not there or fails. */
function cpuSeconds(command: string, args: readonly string[]): number | undefined {
  // Fields 16 and 17 of proc(5) stat: user and system time of waited-for children, in ticks of 1/100 s.
  const children = () => {
    const fields = readFileSync('/proc/self/stat', 'utf8')
      .replace(/^.*\) /, '')
      .split(' ');
    return (Number(fields[13]) + Number(fields[14])) / 100;
  };
  const before = children();
  const { status } = spawnSync(command, [...args], { stdio: 'ignore' });
  return status === 0 ? children() - before : undefined;
}

/** Builds what the night's darks and flats can give, registers it with the exact rest, and returns the directory. */
async function calibrationsOf(base: string, exact: string, darks: readonly string[], flats: readonly string[]) {
  const calib = join(base, 'calib');
  const threads = availableParallelism();
  const window = { validFrom: MJD, validTo: MJD + VALID_DAYS };
  const guarded = darks.filter((file) => apogee.identify(basename(file))?.exposure !== DARKS[0]);
  const began = performance.now();
  const builds = [
    { word: 'one-over-f', files: darks, output: calib, threads, ...window },
    { word: 'photon-transfer', files: [...darks, ...flats], output: calib, calib, threads, ...window },
    { word: 'dark', files: guarded, output: calib, calib, threads, ...window },
    { word: 'flat', files: flats, output: calib, calib, threads, ...window },
  ];
  const rows: string[][] = [];
  const files: string[] = [];
  const register = async (names: readonly string[]) => {
    const failed = (await addCalibrations(names, { directory: calib })).find(({ failure }) => failure !== undefined);
    if (failed !== undefined) throw new Error(`${failed.file}: ${failed.failure?.message}`);
    files.push(...names);
  };
  const of = (file: string) => apogee.identify(basename(file));
  for (const chip of new Set(darks.map((file) => of(file)?.chip ?? ''))) {
    const { tele } = of(darks[0] as string) ?? { tele: '' };
    await register(EXACT.map((kind) => join(exact, `${kind}-${tele}-${chip}.fits`)));
  }
  for (const build of builds) {
    const made = await buildCalibration(build);
    await register(made.map(({ file }) => file));
    for (const { kind, chip, inputs, status, grade } of made) {
      rows.push([kind, chip, String(inputs), status === 'skipped' ? 'built before' : `built, ${grade}`]);
    }
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  say(`\nCalibrations, ${files.length} files registered in ${calib} (${seconds} s):`);
  say(table(['kind', 'chip', 'exposures', 'is'], rows, ['exposures']));
  return calib;
}

async function demo(options: DemoOptions): Promise<void> {
  const base = resolve(options.output);
  const { tele } = options;
  const began = performance.now();
  const raw = join(base, 'raw');
  const pictures = await openStore(base);
  say(
    `Rampline demo: one exposure of ${options.reads} reads, three chips of ${options.rows} rows, every effect on, with darks, flats and a dome flat; in ${base}\n`,
  );

  const made: Simulated[] = [];
  const darks: string[] = [];
  const flats: string[] = [];
  const spectral: DemoChip[] = [];
  for (const chip of CHIPS) {
    let spent = 0;
    const take = async (type: ExposureType, exposure: number, reads: number) => {
      const one = await simulated(options, { chip, type, exposure, reads }, raw);
      spent += one.seconds;
      return one;
    };
    const object = await take('object', EXPOSURE, options.reads);
    made.push(object);
    for (const exposure of DARKS) darks.push((await take('dark', exposure, DARK_READS)).file);
    for (const exposure of FLATS) flats.push((await take('internalflat', exposure, FLAT_READS)).file);
    spectral.push({ chip, object, flat: await take('domeflat', LAMP, LAMP_READS) });
    const files = `${DARKS.length} darks, ${FLATS.length} flats and a dome flat`;
    say(
      `chip ${chip}: ${spent === 0 ? 'simulated before, used again' : `simulated with ${files} in ${spent.toFixed(1)} s`}`,
    );
  }
  const exact = join(base, 'raw', 'calib');
  const calib = await calibrationsOf(base, exact, darks, flats);

  const reduced = join(base, 'reduced');
  const reduce = async (calibrate: boolean) => {
    const start = performance.now();
    const files = made.map(({ file }) => file);
    const outcomes = await ramp({ files, output: reduced, calib, calibrate, force: true, jobs: 1 });
    const failed = outcomes.find(({ failure }) => failure !== undefined);
    if (failed !== undefined) throw new Error(`${failed.file}: ${failed.failure?.message}`);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    say(
      `${calibrate ? 'reduced and calibrated' : 'reduced'} in ${seconds} s (${outcomes.map((o) => o.seconds.toFixed(1)).join(', ')}), checked, written and synced`,
    );
    return outcomes;
  };
  const plain = await reduce(false);
  const outcomes = await reduce(true);
  say('');

  const rows: string[][] = [];
  const height = Math.min(options.rows, STRIP_ROWS);
  const width = CHIPS.length * (STRIP_COLS + STRIP_GAP) - STRIP_GAP;
  const strip = new Float32Array(height * width).fill(Number.NaN);
  const hold = async (outcome: RampOutcome, chip: Chip, truthPath: string, calibrated: boolean) => {
    const [file, truth] = [openFits(outcome.product!), openFits(truthPath)];
    const found = await judge(file, truth, await trueRates(truth, exact, { tele, chip }, calibrated));
    rows.push([
      chip,
      calibrated ? '2dcal' : '2d',
      found.fluxRatio.toFixed(4),
      found.meanZ.toFixed(3),
      found.stdZ.toFixed(3),
      found.chi2.toFixed(3),
      String(found.outliers),
      `${found.clearFound} of ${found.clearJumps}`,
      `${found.flaggedTrue} of ${found.flagged}`,
    ]);
    truth.close();
    return file;
  };
  for (const [i, chip] of CHIPS.entries()) {
    const { truth } = made[i] as Simulated;
    (await hold(plain[i] as RampOutcome, chip, truth, false)).close();
    const file = await hold(outcomes[i] as RampOutcome, chip, truth, true);
    const sci = file.readImage('SCI');
    const [rowsOfChip, cols] = sci.shape as [number, number];
    const data = sci.data as Float32Array;
    const corner = Math.floor((rowsOfChip - height) / 2) * cols + (cols - STRIP_COLS) / 2;
    for (let row = 0; row < height; row++) {
      const from = corner + row * cols;
      strip.set(data.subarray(from, from + STRIP_COLS), row * width + i * (STRIP_COLS + STRIP_GAP));
    }
    if (chip === 'b') await pictures.writeFile('chip-b.png', (await drawImage(data, rowsOfChip, cols)).png);
    file.close();
  }
  await pictures.writeFile('strip.png', (await drawImage(strip, height, width)).png);

  say('Result against truth:');
  const head = [
    'chip',
    'product',
    'median flux ratio',
    'mean z',
    'std z',
    'chi2/dof',
    `|z| > ${OUTLIER}`,
    `jumps >= ${CLEAR_SIGMA} sigma found`,
    'flagged pixels with a true jump or telegraph noise',
  ];
  say(table(head, rows, head.slice(2)));
  say(
    '2d: rates. 2dcal: less dark, over response; the truth is calibrated with the exact dark and response of the simulator.\n' +
      'z = (rate - truth) / error. The read noise is measured from the darks, with the 1/f noise that no reference sees in it.\n' +
      'In faint pixels the error follows the measured rate, which leaves a mean z below zero and the rates unbiased; darks of few\n' +
      'reads hold some 0.02 DN a read of the settling after the reset, which 2dcal has with the other sign.\n' +
      'The jump test works at 5.5 sigma: of hundreds of millions of differences some are flagged by chance.\n',
  );

  const [explained] = await explainFrames([frameOf(made[1]!.file, apogee)], { directory: calib });
  say(`What rampline calib explain says of chip b:\n`);
  say(`${explanationText(explained!)}\n`);

  const file = made[1]!.file;
  const rampline = [
    fileURLToPath(new URL('./main.js', import.meta.url)),
    'ramp',
    file,
    '-o',
    join(base, 'timed'),
    '--force',
    '--threads',
    '1',
    '--log-level',
    'error',
  ];
  // Each the better of two runs, taking turns: the first finds a cold cache.
  const times = [0, 1].map(() => [
    cpuSeconds(process.execPath, [...rampline, '--calib', calib]),
    cpuSeconds('funpack', ['-S', file]),
  ]);
  const [ours, theirs] = [0, 1].map((which) => {
    const known = times.map((pair) => pair[which]).filter((seconds) => seconds !== undefined);
    return known.length === 0 ? undefined : Math.min(...known);
  });
  const size = readFileSize(file);
  say(`Speed, whole processes, chip b (${bytesText(size)} compressed, one thread):`);
  say(
    table(
      ['process', 'CPU seconds', 'what it does'],
      [
        [
          'rampline ramp',
          ours === undefined ? 'failed' : ours.toFixed(2),
          'decompress, reduce, write, checksum, hash, fsync',
        ],
        ['funpack -S', theirs === undefined ? 'not installed' : theirs.toFixed(2), 'decompress, output thrown away'],
      ],
      ['CPU seconds'],
    ),
  );
  if (ours !== undefined && theirs !== undefined) say(`funpack / rampline: ${(theirs / ours).toFixed(2)}\n`);
  const spectra = await demoSpectra(base, tele, spectral);
  const shown = [
    ...spectra.pictures,
    ['chip-b.png', 'chip b, all of it'],
    ['strip.png', 'the middles of chips a, b, c side by side'],
  ] as const;
  say('Pictures:');
  for (const [name, what] of shown) say(`  ${join(base, name).padEnd(base.length + 16)}  ${what}`);
  const products = [...plain, ...outcomes].map(({ product }) => product);
  say(`Products:\n${[...products, ...spectra.products].map((product) => `  ${product}`).join('\n')}`);
  say(`\n${((performance.now() - began) / 1000).toFixed(0)} s in all`);
}

function readFileSize(path: string): number {
  const file = openFits(path, { verify: false });
  file.close();
  return file.size;
}

const program = new Command('demo')
  .option('--rows <n>', 'rows of the detector: fewer are quicker', wholeNumber('--rows', 16, 2048), 2048)
  .option('--reads <n>', 'reads', wholeNumber('--reads', 6, 1000), 47)
  .addOption(new Option('--tele <tele>', 'telescope').choices(['apo', 'lco']).default('apo'))
  .option('-o, --output <dir>', 'directory', 'demo-output')
  .option('--night', 'a whole night instead: listed, planned, run, checked and reported', false);

try {
  program.parse();
  const options = program.opts<DemoOptions>();
  await (options.night ? demoNight(options.output) : demo(options));
} catch (error) {
  const known = asRamplineError(error);
  process.stderr.write(`demo: ${known.class} error: ${known.describe()}\n`);
  process.exitCode = known.exitCode;
}
