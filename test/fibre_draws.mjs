/** Rows of fibres as chance draws them, and whether an identification tells them: for the tests and the bench. */

const ROWS = 2048;
/** Columns of the band, reads of an exposure, variance of a rate of no light [(electron/read)^2]. */
export const WIDTH = 201;
const READS = 47;
const DARK_VARIANCE = 0.2;
/** Of a fibre in a quartz flat at the normal level of the lamp [electron/read]. */
export const LAMP = 1200;

/** mulberry32: the same draws everywhere. */
export class Numbers {
  /** @param {number} seed */
  constructor(seed) {
    this.state = seed >>> 0;
  }
  uniform(low = 0, high = 1) {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return low + ((high - low) * ((t ^ (t >>> 14)) >>> 0)) / 2 ** 32;
  }
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }
  /** @param {number} n */
  below(n) {
    return Math.floor(this.uniform(0, n));
  }
}

/**
 * Abramowitz and Stegun 7.1.26, to 1.5e-7.
 * @param {number} x
 */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

/**
 * @typedef {import('../src/core/spectra.js').Spectrograph} Spectrograph
 * @typedef {import('../src/stages/trace/identify.js').Detector} Detector
 * @typedef {{ detector: Detector, rows: Float64Array, light: Float64Array, sigma?: number, height?: number }} Scene
 * @typedef {{ shift?: number, scale?: number, level?: number, dead?: Iterable<number>, height?: number }} Change
 */

/**
 * Light by row, without noise [electron/read].
 * @param {Scene} scene
 */
function paint({ rows, light, sigma = 0.9, height = ROWS }) {
  const profile = new Float64Array(height);
  rows.forEach((y, i) => {
    for (let row = Math.max(0, Math.floor(y - 8)); row <= Math.min(height - 1, y + 8); row++) {
      /** @param {number} side */
      const edge = (side) => erf((row + side - y) / sigma / Math.SQRT2);
      profile[row] += (light[i] * (edge(0.5) - edge(-0.5))) / 2;
    }
  });
  return profile;
}

/**
 * What the kernel gives for it: the mean of a band, with the noise of light and reads.
 * @param {Scene} scene
 * @param {Numbers} numbers
 * @returns {import('../src/stages/trace/peaks.js').CollapsedRows}
 */
export function collapsed(scene, numbers) {
  const profile = paint(scene);
  const error = profile.map((light) => Math.sqrt((light / READS + DARK_VARIANCE) / WIDTH));
  return {
    profile: profile.map((light, row) => light + error[row] * numbers.normal()),
    error,
    count: new Int32Array(profile.length).fill(WIDTH),
    full: new Int32Array(profile.length),
    width: WIDTH,
  };
}

/**
 * @param {Spectrograph} spectrograph
 * @param {Detector} detector
 * @param {Change} change
 * @returns {Scene}
 */
export function sceneOf(spectrograph, detector, change = {}) {
  const { shift = 0, scale = 0, level = 1, dead = [], height = ROWS } = change;
  const rows = spectrograph.positions(detector).map((row) => row + shift + scale * (row - 1023.5));
  const light = new Float64Array(300).fill(LAMP * level);
  for (const i of dead) light[i] = 0;
  return { detector, rows, light, height };
}

/**
 * Fibres that were given another's place, and those with another state than expected.
 * @param {import('../src/stages/trace/identify.js').Identification} found
 * @param {Scene} scene
 */
export function compare(found, { rows, light }) {
  const wrong = found.fibres.filter(({ y }, i) => Math.abs(y - rows[i]) > 0.5).length;
  const states = found.fibres.filter(({ state, y }, i) => {
    const off = rows[i] < 3 || rows[i] > ROWS - 4;
    // Within the error of its row a fibre at the edge is on either side of it.
    const edge = Math.min(Math.abs(rows[i] - 3), Math.abs(rows[i] - (ROWS - 4))) < 0.1;
    return state !== (off ? 'off-chip' : light[i] === 0 ? 'broken' : 'ok') && !(edge && Math.abs(y - rows[i]) < 0.1);
  }).length;
  return { wrong, states };
}

/**
 * 20 dead fibres: anywhere, beside one another, on both sides of the gaps, or at both ends of the slit.
 * @param {Spectrograph} spectrograph
 * @param {Detector} detector
 * @param {Numbers} numbers
 * @param {number} kind
 * @returns {Set<number>}
 */
function deadFibres(spectrograph, detector, numbers, kind) {
  const dead = new Set();
  const first = numbers.below(281);
  if (kind === 1) for (let i = 0; i < 20; i++) dead.add(first + i);
  if (kind === 2) for (const gap of spectrograph.gaps(detector).slice(0, 9)) dead.add(gap).add(gap + 1);
  if (kind === 3) for (let i = 0; i < 10; i++) dead.add(i).add(299 - i);
  while (dead.size < 20) dead.add(numbers.below(300));
  return dead;
}

/**
 * A draw of a detector: dead fibres, shift up to 1.5 spacings, scale up to 5e-4, lamp at 3 % to 100 %, each fibre 0.03 px off its row.
 * @param {Spectrograph} spectrograph
 * @param {Detector} detector
 * @param {number} draw
 */
export function drawOf(spectrograph, detector, draw) {
  const numbers = new Numbers(6000 + draw * 6 + spectrograph.detectors.indexOf(detector));
  const dead = deadFibres(spectrograph, detector, numbers, draw % 4);
  const shift = numbers.uniform(-1.5, 1.5) * spectrograph.spacing;
  const scene = sceneOf(spectrograph, detector, {
    dead,
    shift,
    scale: numbers.uniform(-5e-4, 5e-4),
    level: 0.03 ** numbers.uniform(),
  });
  scene.rows.forEach((row, i) => {
    scene.rows[i] = row + 0.03 * numbers.normal();
    scene.light[i] *= Math.max(0.3, 0.85 + 0.1 * numbers.normal());
  });
  return { scene, light: collapsed({ ...scene, sigma: numbers.uniform(0.8, 1) }, numbers) };
}
