import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { type Column, column, extract } from './column.js';

const at = (list: ArrayLike<number>, i: number): number => list[i] as number;

/** Inverse of the normal matrix by Gauss-Jordan, in double precision. */
function inverse({ fibres, rows, ivar, light }: Column): number[][] {
  const a = Array.from({ length: fibres }, (_, f) =>
    Array.from({ length: 2 * fibres }, (_, g) => {
      if (g >= fibres) return Number(g === fibres + f);
      let sum = 0;
      for (let y = 0; y < rows; y++) sum += at(ivar, y) * light(f, y) * light(g, y);
      return sum;
    }),
  );
  for (let f = 0; f < fibres; f++) {
    const own = a[f] as number[];
    const pivot = at(own, f);
    for (let k = 0; k < own.length; k++) own[k] = at(own, k) / pivot;
    for (let g = 0; g < fibres; g++) {
      const other = a[g] as number[];
      const times = at(other, f);
      if (g !== f) for (let k = 0; k < other.length; k++) other[k] = at(other, k) - times * at(own, k);
    }
  }
  return a.map((row) => row.slice(fibres));
}

it('extract-joint gives back what was painted, however bright the neighbour, and Horne does not', async () => {
  for (const bright of [1e3, 1e4]) {
    const flux = [1, bright, 1, bright, 1, 0, 1];
    const scene = column({
      rows: 70,
      centres: [11.2, 17.9, 24.4, 31, 37.7, 44.2, 50.9],
      flux,
      sigma: 1.1,
      width: 1.05,
    });
    const joint = await extract('extract-joint', scene);
    const horne = await extract('extract-horne', scene, { reject: 0 });
    for (const [f, truth] of flux.entries()) {
      // The limit is 1e-4 of the neighbour; float32 holds 1e-6.
      expect(Math.abs(at(joint.flux, f) - truth)).toBeLessThan(1e-6 * bright);
      if ([0, 2, 4].includes(f)) expect(at(horne.flux, f) - truth).toBeGreaterThan(1e-4 * bright);
    }
    const separated = [...joint.dq].map((bits) => (bits & DQ.CROSS_TALK) !== 0);
    expect(separated).toEqual([0, 1, 2, 3, 4, 5, 6].map((f) => bright > 1e3 && f === 2));
  }
});

it('extract-joint gives marginal variances and the covariances of neighbours', async () => {
  const scene = column({ rows: 50, centres: [12, 15.1, 18.4, 21.2, 25], flux: [5, 20, 80, 40, 10], sigma: 1.2 });
  scene.ivar[16] = 0;
  scene.ivar[20] = 1;
  const { flux, ivar, next, second } = await extract('extract-joint', scene);
  const z = inverse(scene);
  for (let f = 0; f < 5; f++) {
    expect(at(flux, f)).toBeCloseTo([5, 20, 80, 40, 10][f] as number, 3);
    expect(1 / at(ivar, f) / at(z[f] as number[], f)).toBeCloseTo(1, 4);
    if (f < 4) expect(at(next, f) / at(z[f] as number[], f + 1)).toBeCloseTo(1, 4);
    if (f < 3) expect(at(second, f) / at(z[f] as number[], f + 2)).toBeCloseTo(1, 3);
  }
  expect([at(next, 4), at(second, 3), at(second, 4)]).toEqual([0, 0, 0]);
});

it('extract-joint leaves bad pixels out, takes over the bits of the used ones, and knows no NaN', async () => {
  const scene = column({ rows: 40, centres: [12.3, 19], flux: [300, 100], sigma: 1 });
  Object.assign(scene.image, { 12: 1e6, 13: Number.NaN, 19: Number.POSITIVE_INFINITY });
  scene.dq[12] = DQ.HOT;
  scene.dq[11] = DQ.NO_DARK;
  scene.dq[20] = DQ.JUMP;
  const { flux, dq, chi2 } = await extract('extract-joint', scene, { bad: DQ.HOT, reject: 0 });
  expect(flux[0]).toBeCloseTo(300, 2);
  expect(flux[1]).toBeCloseTo(100, 2);
  expect([...dq]).toEqual([DQ.NO_DARK, DQ.JUMP]);
  expect(at(chi2, 0)).toBeLessThan(1e-6);
});

it('extract-joint takes its weight from a cosmic ray, and not from a bright line that the profile nearly fits', async () => {
  const scene = column({ rows: 40, centres: [12.3, 19], flux: [300, 100], sigma: 1 });
  scene.image[13] = at(scene.image, 13) + 200;
  const without = await extract('extract-joint', scene, { reject: 0 });
  expect(at(without.flux, 0)).toBeGreaterThan(350);
  expect(at(without.chi2, 0)).toBeGreaterThan(100);
  const { flux, dq, ivar } = await extract('extract-joint', scene);
  expect(flux[0]).toBeCloseTo(300, 2);
  expect(flux[1]).toBeCloseTo(100, 2);
  expect([...dq]).toEqual([DQ.MODEL_OUTLIER, 0]);
  expect(at(ivar, 0)).toBeLessThan(at(without.ivar, 0));

  const line = column({ rows: 40, centres: [12.3, 19], flux: [1e6, 100], sigma: 1 });
  line.width.fill(1.03); // the model is 3 % too wide: thousands of standard deviations
  const kept = await extract('extract-joint', line);
  expect([...kept.dq].map((bits) => bits & DQ.MODEL_OUTLIER)).toEqual([0, 0]);
});

it('extract-joint revises weights that follow the noise by the model', async () => {
  // Every second pixel 1 up, the others 1 down, with a variance of 1 + 0.5 d: as given, the low ones weigh more.
  const scene = column({ rows: 40, centres: [19.5], flux: [12], sigma: 1.5 });
  const truth = Float32Array.from(scene.image);
  for (let y = 0; y < 40; y++) {
    scene.image[y] = at(truth, y) + (Math.floor(y / 2) % 2 === 0 ? 1 : -1);
    scene.ivar[y] = 1 / (1 + 0.5 * Math.max(at(scene.image, y), 0));
  }
  const given = await extract('extract-joint', scene, { reject: 0 });
  const revised = await extract('extract-joint', scene, { reject: 0, photonVariance: 0.5 });
  // What the exact variances give.
  for (let y = 0; y < 40; y++) scene.ivar[y] = 1 / (1 + 0.5 * at(truth, y));
  const exact = await extract('extract-joint', scene, { reject: 0 });
  const off = (run: typeof exact) => Math.abs(at(run.flux, 0) - at(exact.flux, 0));
  expect(off(given)).toBeGreaterThan(0.5);
  expect(off(revised)).toBeLessThan(0.2 * off(given));
});

it('extract-joint drops fibres that cannot be measured, and solves their neighbours', async () => {
  const centres = [-30, -1.2, 12, 19, 26, 26.05, 33, Number.NaN, 45];
  const flux = [0, 50, 70, 0, 40, 40, 60, 0, 30];
  const scene = column({ rows: 60, centres: centres.map((c) => (Number.isNaN(c) ? 99 : c)), flux, sigma: 0.9 });
  scene.centre.set(centres);
  scene.traceDq[3] = DQ.BROKEN_FIBRE;
  scene.ivar.fill(0, 38, 60);
  const { flux: found, ivar, dq } = await extract('extract-joint', scene);
  const failed = DQ.EXTRACTION_FAILED;
  expect([...dq]).toEqual([
    failed + DQ.NO_GOOD_PIXELS + DQ.OFF_CHIP,
    DQ.OFF_CHIP,
    0,
    failed + DQ.NO_GOOD_PIXELS + DQ.BROKEN_FIBRE,
    failed,
    failed,
    0,
    failed + DQ.NO_GOOD_PIXELS,
    failed + DQ.NO_GOOD_PIXELS,
  ]);
  for (const [f, truth] of flux.entries()) {
    const lost = (at(dq, f) & failed) !== 0;
    expect(at(ivar, f) > 0).toBe(!lost);
    expect(Math.abs(at(found, f) - (lost ? 0 : truth))).toBeLessThan(0.01);
  }
});
