/**
 * What the chain as a whole leaves: a flat of the mock is traced by the stage itself, another exposure is extracted by the stage
 * itself with those traces, tweak and scattered light included, and both are held against the truth. For bench/extraction.mjs.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compare, drawOf } from '../test/fibre_draws.mjs';
import { ROOT, timed } from './timing.mjs';

const js = (path) => import(new URL(`build/js/${path}`, `file://${ROOT}`));
const { openFits, encodeFits } = await js('fits/index.js');
const { mockSpectra } = await js('simulate/spectra.js');
const { runStage } = await js('night/by_hand.js');
const { stage: trace } = await js('stages/trace/stage.js');
const { stage: extract } = await js('stages/extract/stage.js');
const { readTraces } = await js('stages/trace_product.js');
const { readSpectra } = await js('stages/spectra_product.js');
const { identifyFibres } = await js('stages/trace/identify.js');
const { spectrograph } = await js('instruments/apogee/fibres.js');

const TELE = 'apo';
const MJD = 60_857;
/** Exposures of the night. */
const FLAT = 2;
const OBJECT = 9;
const LEAK = 10;
/** Of tracing a whole chip; strips are not for times. */
const ROUNDS = 3;
const WHOLE = 2048;

/** A calibrated image as the stage calibrate writes it. */
function write(folder, { image, ivar, dq, rows, cols, reads }, chip, exposure, kind) {
  const shape = [rows, cols];
  const header = [['BUNIT', 'DN/read']];
  const cards = Object.entries({
    INSTRUME: 'APOGEE',
    TELE,
    MJD,
    CHIP: chip,
    EXPOSURE: exposure,
    STAGE: 'calibrate',
    IMAGETYP: kind,
    NREADRAW: reads,
    NREAD: reads,
    READTIME: 10.647,
  });
  const error = ivar.map((w) => (w > 0 ? 1 / Math.sqrt(w) : Number.NaN));
  const path = join(folder, `2dcal-${TELE}-${MJD}-${chip}-${String(exposure).padStart(4, '0')}.fits`);
  const hdus = [
    { header: cards },
    { name: 'SCI', data: image.slice(), shape, header },
    { name: 'ERR', data: error, shape, header },
    { name: 'DQ', data: dq, shape },
  ];
  writeFileSync(path, Buffer.concat(encodeFits(hdus)));
  return path;
}

async function opened(path, read) {
  const file = openFits(path);
  try {
    return await read(file);
  } finally {
    file.close();
  }
}

/** Root mean square of the distance from the truth, over the fibres with light [px]. */
function rmsOf(centre, { centre: truth, states }, cols) {
  let [squares, n] = [0, 0];
  for (const [f, state] of states.entries()) {
    if (state !== 'ok') continue;
    for (let i = f * cols + 4; i < (f + 1) * cols - 4; i++) {
      squares += (centre[i] - truth[i]) ** 2;
      n++;
    }
  }
  return Math.sqrt(squares / n);
}

/**
 * @param chip a, b or c
 * @param methods names of the ways to extract
 * @param given rows, seed, and the light of the two exposures, (fibre) => electrons a read
 * @returns the traces' figures, and for each method the spectra of both exposures with their truth
 */
export async function chainOf(chip, methods, { rows, seed, light, pairs }) {
  const folder = mkdtempSync(join(ROOT, 'build', 'chain-'));
  try {
    const common = { tele: TELE, chip, mjd: MJD, rows, seed };
    const flat = await mockSpectra({ ...common, type: 'domeflat', exposure: FLAT, measuredVariance: true });
    const image = write(folder, flat, chip, FLAT, 'DomeFlat');
    let cpuMs = Number.POSITIVE_INFINITY;
    let product = '';
    for (let round = 0; round < (rows < WHOLE ? 1 : ROUNDS); round++) {
      const request = { stage: trace, files: [{ role: 'image', path: image }], output: folder, force: true };
      const cost = await timed(async () => {
        ({ product } = await runStage(request));
      });
      cpuMs = Math.min(cpuMs, cost.cpuMs);
    }
    const { traces } = await opened(product, readTraces);
    const out = { flatRms: rmsOf(traces.centre, flat.truth, flat.cols), traceSeconds: cpuMs / 1000, methods: {} };
    out.states = { found: count(traces.states, 'ok', 'low'), truth: count(flat.truth.states, 'ok', 'low') };

    const scenes = {
      object: { type: 'object', exposure: OBJECT, light, measuredVariance: true },
      leak: { type: 'object', exposure: LEAK, light: pairs, noise: false, badPixels: 0 },
    };
    for (const [name, scene] of Object.entries(scenes)) {
      const mock = await mockSpectra({ ...common, ...scene });
      const path = write(folder, mock, chip, scene.exposure, 'Object');
      for (const method of methods) {
        const files = [
          { role: 'image', path },
          { role: 'traces', path: product },
        ];
        const done = await runStage({ stage: extract, files, parameters: { method }, output: folder, force: true });
        const { spectra } = await opened(done.product, readSpectra);
        const { flux, error, dq, chi2, trace: lines } = spectra;
        const ivar = error.map((value) => (value > 0 ? 1 / value ** 2 : 0));
        out.methods[method] = { ...out.methods[method], [name]: { mock, found: { flux, ivar, dq, chi2 } } };
        if (name === 'object') out.objectRms = rmsOf(lines.subarray(0, flux.length), mock.truth, mock.cols);
      }
    }
    return out;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const count = (states, ...which) => states.filter((state) => which.includes(state)).length;

/** In how many draws each of the 300 fibres is where it is, and what it is: { draws, right, failed }. */
export function identification(draws) {
  const { detectors } = spectrograph;
  const failed = [];
  for (let i = 0; i < draws; i++) {
    const detector = detectors[i % detectors.length];
    const draw = Math.floor(i / detectors.length);
    const { scene, light } = drawOf(spectrograph, detector, draw);
    try {
      const { wrong, states } = compare(identifyFibres(light, { spectrograph, detector }), scene);
      if (wrong + states > 0) failed.push({ ...detector, draw, wrong, states });
    } catch (error) {
      failed.push({ ...detector, draw, why: error.message });
    }
  }
  return { draws, right: draws - failed.length, failed };
}
