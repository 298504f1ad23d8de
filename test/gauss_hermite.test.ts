/** Gauss-Hermite series of profiles, in closed form. */
import { expect, it } from 'vitest';
import { PROFILE_NODES, PROFILE_PER_PIXEL, PROFILE_REACH, PROFILE_SAMPLES, type Profile } from '../src/core/spectra.js';
import { mockSpectra } from '../src/simulate/index.js';
import { HERMITE_TERMS, hermiteFunctions, hermiteSeries } from '../src/stages/gauss_hermite.js';

const FIBRES = 3;

/** Profiles that are series of that sigma; c_3 differs from fibre to fibre. */
function seriesOf(sigma: number, skew: (fibre: number) => number): Profile {
  const cumulative = new Float32Array(FIBRES * PROFILE_NODES * PROFILE_SAMPLES);
  for (let i = 0; i < cumulative.length; i++) {
    const [place, sample] = [Math.floor(i / PROFILE_SAMPLES), i % PROFILE_SAMPLES];
    const f = hermiteFunctions((sample / PROFILE_PER_PIXEL - PROFILE_REACH) / sigma, HERMITE_TERMS);
    const c = [1, 0, 0, skew(Math.floor(place / PROFILE_NODES)), 0.02, 0, -0.001];
    cumulative[i] = f.reduce((sum, value, j) => sum + value * (c[j] as number), 0);
  }
  return { fibres: FIBRES, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
}

it.each([0.7, 1, 1.6])('gives back what a profile of sigma %d was made of', (sigma) => {
  const found = hermiteSeries(seriesOf(sigma, (fibre) => 0.01 * fibre));
  expect(found.sigma).toBeCloseTo(sigma, 4);
  for (let place = 0; place < FIBRES * PROFILE_NODES; place++) {
    const series = found.coefficients.map((values) => values[place] as number);
    const wanted = [1, 0, 0, 0.01 * Math.floor(place / PROFILE_NODES), 0.02, 0, -0.001];
    for (const [j, value] of wanted.entries()) expect(series[j]).toBeCloseTo(value, 4);
    expect(found.residual[place]).toBeLessThan(1e-6);
  }
});

it('is near to what fibres show, whose wings no series has', async () => {
  const { truth } = await mockSpectra({ tele: 'apo', chip: 'b', type: 'quartzflat', rows: 64 });
  const { sigma, coefficients, residual } = hermiteSeries(truth.profile);
  expect(sigma).toBeGreaterThan(0.5);
  expect(sigma).toBeLessThan(2);
  for (const light of coefficients[0] as Float32Array) expect(Math.abs(light - 1)).toBeLessThan(0.1);
  expect(Math.max(...residual)).toBeLessThan(0.02);
});

it('stays finite for what is no profile', () => {
  const { sigma, coefficients } = hermiteSeries({ ...seriesOf(1, () => 0), cumulative: new Float32Array(27 * 481) });
  expect(Number.isFinite(sigma)).toBe(true);
  for (const values of coefficients) expect(values.every(Number.isFinite)).toBe(true);
});
