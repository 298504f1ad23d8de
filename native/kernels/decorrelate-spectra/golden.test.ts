import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';
import { deriveSeed, Sequence } from '../../../src/simulate/math.js';
import { type Column, column, extract } from '../extract-joint/column.js';

const BAND = 4;
const at = (list: ArrayLike<number>, i: number): number => list[i] as number;
type Matrix = number[][];

/** The inverse covariance of the fluxes of a column, in double precision. */
function information({ fibres, rows, ivar, light }: Column): Matrix {
  return Array.from({ length: fibres }, (_, f) =>
    Array.from({ length: fibres }, (_, g) => {
      let sum = 0;
      for (let y = 0; y < rows; y++) sum += at(ivar, y) * light(f, y) * light(g, y);
      return sum;
    }),
  );
}

/** Inverse by Gauss-Jordan. */
function inverse(matrix: Matrix): Matrix {
  const n = matrix.length;
  const a = matrix.map((row, i) => [...row, ...row.map((_, j) => Number(i === j))]);
  for (const [i, own] of a.entries()) {
    const pivot = at(own, i);
    for (let k = 0; k < 2 * n; k++) own[k] = at(own, k) / pivot;
    for (const [j, other] of a.entries()) {
      const times = at(other, i);
      if (j !== i) for (let k = 0; k < 2 * n; k++) other[k] = at(other, k) - times * at(own, k);
    }
  }
  return a.map((row) => row.slice(n));
}

/** Runs the kernel on columns that differ in their pixels and fluxes alone. */
async function decorrelate(
  scene: Column,
  flux: Float32Array,
  ivar: Float32Array,
  params: Readonly<Record<string, unknown>> = {},
  image = scene.image,
) {
  const { fibres, rows } = scene;
  const cols = image.length / rows;
  const wide = (data: Float32Array | Uint32Array) => {
    const copy = new (data.constructor as typeof Float32Array)(data.length * cols);
    for (const [i, value] of data.entries()) copy.fill(value, i * cols, (i + 1) * cols);
    return copy;
  };
  const spectra = (data: Float32Array) => ({ data, planes: fibres, cols });
  const pixels = (data: Float32Array | Uint32Array) => ({ data, planes: rows, cols });
  const floats = () => new Float32Array(fibres * cols);
  const out = { decorrelated: floats(), error: floats() };
  const resolution = new Float32Array((2 * BAND + 1) * fibres * cols);
  const shape = { planes: fibres, rows: 2 * BAND + 1, cols, planeStride: cols, rowStride: fibres * cols };
  await runKernel(
    'decorrelate-spectra',
    {
      image: pixels(image),
      imageIvar: pixels(wide(scene.ivar)),
      imageDq: pixels(wide(scene.dq)),
      centre: spectra(wide(scene.centre)),
      width: spectra(wide(scene.width)),
      profile: { data: scene.profile, planes: fibres, rows: 9, cols: 481 },
      flux: spectra(flux),
      ivar: spectra(ivar),
      decorrelated: spectra(out.decorrelated),
      error: spectra(out.error),
      resolution: { data: resolution, ...shape },
    },
    params,
  );
  /** R of the first column, dense. */
  const dense = Array.from({ length: fibres }, (_, f) =>
    Array.from({ length: fibres }, (_, g) => {
      const k = g - f + BAND;
      return k < 0 || k > 2 * BAND ? 0 : at(resolution, (k * fibres + f) * cols);
    }),
  );
  return { ...out, resolution, dense };
}

it('decorrelate-spectra does of two fibres what the root of a 2 x 2 matrix says', async () => {
  const flux = [300, 40];
  const scene = column({ rows: 40, centres: [15.3, 18.1], flux, sigma: 1.3 });
  scene.ivar.fill(1, 17);
  const [[a, b], [, c]] = information(scene) as [[number, number], [number, number]];
  // The symmetric root of [a b; b c] is (itself + sqrt(det)) / sqrt(trace + 2 sqrt(det)).
  const root = Math.sqrt(a * c - b * b);
  const scale = 1 / Math.sqrt(a + c + 2 * root);
  const [own, both, other] = [(a + root) * scale, b * scale, (c + root) * scale];
  expect(both / own).toBeGreaterThan(0.1);
  const found = await decorrelate(scene, Float32Array.from(flux), Float32Array.of(1, 1));
  const [first, second] = [own + both, other + both];
  expect(at(found.error, 0) * first).toBeCloseTo(1, 5);
  expect(at(found.error, 1) * second).toBeCloseTo(1, 5);
  expect(at(found.decorrelated, 0)).toBeCloseTo((own * 300 + both * 40) / first, 3);
  expect(at(found.decorrelated, 1)).toBeCloseTo((both * 300 + other * 40) / second, 3);
  const planes = [0, 0, 0, both / second, own / first, both / first, 0, 0, 0];
  for (const [k, value] of planes.entries()) {
    // Planes are offsets: the third has the fibre below, the fifth the one above.
    expect(at(found.resolution, 2 * k)).toBeCloseTo(k === 3 ? 0 : value, 5);
    const upper = k === 4 ? other / second : k === 5 ? 0 : value;
    expect(at(found.resolution, 2 * k + 1)).toBeCloseTo(upper, 5);
  }
});

it('decorrelate-spectra leaves fibres alone that share no pixel', async () => {
  const flux = [300, 0, 7];
  const scene = column({ rows: 100, centres: [15.3, 50, 84.6], flux, sigma: 1.3 });
  const found = await decorrelate(scene, Float32Array.from(flux), Float32Array.of(1, 1, 1), { reach: 8 });
  expect([...found.decorrelated]).toEqual(flux);
  expect(found.dense).toEqual([
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ]);
  for (const [f, row] of information(scene).entries()) {
    expect(at(found.error, f) * Math.sqrt(at(row, f))).toBeCloseTo(1, 5);
  }
});

/** Largest correlation that is left between two values of R F, and the largest relative fault of a stated error. */
async function left(spacing: number, sigma: number) {
  const n = 24;
  const flux = Array.from({ length: n }, (_, f) => 10 ** (f % 4));
  const centres = flux.map((_, f) => 20 + spacing * f);
  const scene = column({ rows: 40 + Math.ceil(spacing * n), centres, flux, sigma });
  for (let y = 0; y < scene.rows; y++) scene.ivar[y] = 1 / (4 + at(scene.image, y));
  const covariance = inverse(information(scene));
  const { dense, error } = await decorrelate(scene, Float32Array.from(flux), new Float32Array(n).fill(1));
  let [correlation, fault] = [0, 0];
  for (let f = 0; f < n; f++) {
    for (let g = 0; g < n; g++) {
      let sum = 0;
      for (let i = 0; i < n; i++) {
        for (let j = 0; j < n; j++) {
          sum += at(dense[f] as number[], i) * at(covariance[i] as number[], j) * at(dense[g] as number[], j);
        }
      }
      const unit = sum / (at(error, f) * at(error, g));
      if (f === g) fault = Math.max(fault, Math.abs(unit - 1));
      else correlation = Math.max(correlation, Math.abs(unit));
    }
  }
  return { correlation, fault };
}

it('decorrelate-spectra loses next to nothing to the cut at four fibres', async () => {
  // 6.6 px is APOGEE's; brightnesses differ by 1000 from fibre to fibre.
  const wide = await left(6.6, 1.3);
  expect(wide.correlation).toBeLessThan(1e-5);
  expect(wide.fault).toBeLessThan(1e-5);
  const near = await left(3.6, 1.3);
  expect(near.correlation).toBeLessThan(3e-5);
  expect(near.fault).toBeLessThan(3e-6);
});

it('decorrelate-spectra gives values whose scatter is what they state and does not depend on the next one', async () => {
  const [n, cols] = [8, 6000];
  const flux = Array.from({ length: n }, (_, f) => 40 + 30 * (f % 3));
  const scene = column({ rows: 60, centres: flux.map((_, f) => 16 + 3.5 * f), flux, sigma: 1.3 });
  const random = new Sequence(deriveSeed(5), 1);
  const image = Float32Array.from(
    { length: scene.rows * cols },
    (_, i) => at(scene.image, Math.floor(i / cols)) + 2 * random.normal(),
  );
  // The joint solution of each column; its information is the same in all.
  const covariance = inverse(information(scene));
  const solved = new Float32Array(n * cols);
  for (let x = 0; x < cols; x++) {
    const right = flux.map((_, f) => {
      let sum = 0;
      for (let y = 0; y < scene.rows; y++) sum += 0.25 * scene.light(f, y) * at(image, y * cols + x);
      return sum;
    });
    for (const [f, row] of covariance.entries()) {
      solved[f * cols + x] = row.reduce((sum, value, g) => sum + value * at(right, g), 0);
    }
  }
  const ones = new Float32Array(n * cols).fill(1);
  const found = await decorrelate(scene, solved, ones, { reject: 0 }, image);
  const pulls = flux.map((_, f) => {
    const truth = (found.dense[f] as number[]).reduce((sum, r, g) => sum + r * at(flux, g), 0);
    return Float64Array.from(
      { length: cols },
      (_, x) => (at(found.decorrelated, f * cols + x) - truth) / at(found.error, f * cols + x),
    );
  });
  const mean = (f: number, g: number) =>
    (pulls[f] as Float64Array).reduce((sum, value, x) => sum + value * at(pulls[g] as Float64Array, x), 0) / cols;
  // Four standard errors.
  const chance = 4 / Math.sqrt(cols);
  for (let f = 0; f < n; f++) {
    expect(Math.abs(mean(f, f) - 1)).toBeLessThan(chance * Math.SQRT2);
    for (let g = 0; g < f; g++) expect(Math.abs(mean(f, g))).toBeLessThan(chance);
  }
  // The joint solution itself does depend on the next fibre's, by more than chance.
  const [third, fourth] = [covariance[3] as number[], covariance[4] as number[]];
  expect(at(third, 4) / Math.sqrt(at(third, 3) * at(fourth, 4))).toBeLessThan(-chance);
});

it('decorrelate-spectra has no value where there is none, and does its neighbours without it', async () => {
  const flux = [100, 50, 80, 60];
  const scene = column({ rows: 60, centres: [15, 18.5, 22, 45], flux, sigma: 1.3 });
  scene.ivar.fill(0, 32); // no pixel of the last fibre
  const { ivar } = await extract('extract-joint', scene);
  expect(at(ivar, 3)).toBe(0);
  ivar[1] = 0;
  const light = Float32Array.from(flux);
  light[1] = 0;
  const found = await decorrelate(scene, light, ivar, { reject: 0 });
  for (const f of [1, 3]) {
    expect(found.decorrelated[f]).toBeNaN();
    expect(found.error[f]).toBeNaN();
    expect(found.dense[f]).toEqual([0, 0, 0, 0]);
  }
  for (const f of [0, 2]) {
    const row = found.dense[f] as number[];
    expect([row[1], row[3]]).toEqual([0, 0]);
    expect(row.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
    expect(found.decorrelated[f]).not.toBeNaN();
  }
});

it('decorrelate-spectra revises weights and leaves outliers out as the joint solution does', async () => {
  const flux = [300, 100];
  const scene = column({ rows: 40, centres: [15.3, 19], flux, sigma: 1.3 });
  const truth = Float32Array.from(scene.image);
  const exact = { ...scene, ivar: truth.map((value) => 1 / (4 + 0.5 * value)) };
  exact.ivar[14] = 0;
  const known = Float32Array.from(flux);
  const ones = Float32Array.of(1, 1);
  const expected = await decorrelate(exact, known, ones);
  // Weights that follow the noise, and a cosmic ray.
  for (let y = 0; y < 40; y++) {
    scene.image[y] = at(truth, y) + (y % 2 === 0 ? 1 : -1);
    scene.ivar[y] = 1 / (4 + 0.5 * Math.max(0, at(scene.image, y)));
  }
  scene.image[14] = at(truth, 14) + 300;
  const found = await decorrelate(scene, known, ones, { photonVariance: 0.5 });
  for (const f of [0, 1]) {
    expect(at(found.error, f) / at(expected.error, f)).toBeCloseTo(1, 5);
    expect(at(found.decorrelated, f)).toBeCloseTo(at(expected.decorrelated, f), 3);
  }
  const given = await decorrelate(scene, known, ones, { reject: 0 });
  expect(Math.abs(at(given.error, 0) / at(expected.error, 0) - 1)).toBeGreaterThan(0.01);
});
