import { expect, it } from 'vitest';
import type { Traces } from '../src/core/spectra.js';
import { type MockSpectra, type MockSpectraOptions, mockSpectra } from '../src/simulate/spectra.js';
import { type Tweaked, tweakTraces } from '../src/stages/extract/tweak.js';

const COLS = 2048;
const ROWS = 256;
const LAST = 33;
const base = { tele: 'apo', chip: 'b', rows: ROWS } as const;
const of = (options: Partial<MockSpectraOptions>) => mockSpectra({ ...base, type: 'object', ...options });
const flat = await of({ type: 'quartzflat', exposure: 1 });
/** The truth of a flat as traces: what is tested is the tweak. */
const traces: Traces = {
  ...flat.truth,
  fibres: flat.fibres,
  cols: COLS,
  covariance: new Float32Array(),
  dq: new Uint32Array(),
  throughputError: new Float32Array(flat.fibres),
};
const at = (data: ArrayLike<number>, i: number) => data[i] as number;

/** How far the moved traces lie from where the exposure has them: rms over fibres and columns [px]. */
function rms({ centre }: Pick<Tweaked, 'centre'>, { truth }: MockSpectra): number {
  let [n, sum] = [0, 0];
  for (let fibre = 0; fibre < LAST; fibre++) {
    if (truth.states[fibre] !== 'ok') continue;
    for (let x = 4; x < COLS - 4; x += 15, n++)
      sum += (at(centre, fibre * COLS + x) - at(truth.centre, fibre * COLS + x)) ** 2;
  }
  return Math.sqrt(sum / n);
}

/** The shift (0, 0) that the truth has, of traces that were moved, tilted and stretched alone. */
function shiftOf({ truth }: MockSpectra): number {
  const moved = (fibre: number) => {
    const i = fibre * COLS + 1023;
    return { y: at(traces.centre, i), by: at(truth.centre, i) - at(traces.centre, i) };
  };
  const [low, high] = [moved(2), moved(LAST)];
  return low.by + ((high.by - low.by) / (high.y - low.y)) * ((ROWS - 1) / 2 - low.y);
}

const shiftTerm = ({ tweak }: Tweaked) => tweak.terms[0] as Tweaked['tweak']['terms'][number];

it.each([
  ['object', 0.8, 0.003],
  ['object', -0.8, 0.003],
  ['object', 1.5, 0.003],
  ['quartzflat', -0.3, 0.001],
  ['fpi', 0.4, 0.003],
  ['sky', 0.2, 0.01],
] as const)('%s, moved by %d px: traces within %d px', async (type, shift, limit) => {
  const exposure = await of({ type, shift, exposure: 41 });
  const tweaked = await tweakTraces(traces, exposure);
  expect(tweaked.tweak).toMatchObject({ state: 'ok', reason: '' });
  expect(rms(traces, exposure)).toBeGreaterThan(0.05);
  expect(rms(tweaked, exposure)).toBeLessThan(limit);
  expect(tweaked.tweak.width / (exposure.truth.flexure.width / flat.truth.flexure.width)).toBeCloseTo(1, 2);
});

/** Deviations of two traces at the ends of the chip from the truth, in units of the errors that the covariance of the terms gives. */
function pullsAtEnds({ tweak, centre }: Tweaked, { truth }: MockSpectra): number[] {
  const { terms, covariance = [], largestError } = tweak;
  const between = (n: number, m: number) => at(covariance[n] as Float64Array, m);
  for (const [n, { error }] of terms.entries()) expect(between(n, n)).toBeCloseTo(error ** 2, 9);
  return [2 * COLS + 4, LAST * COLS - 5].map((i) => {
    const [u, v] = [(2 * (i % COLS)) / (COLS - 1) - 1, (2 * at(traces.centre, i)) / (ROWS - 1) - 1];
    const polynomial = (t: number) => [1, t, 1.5 * t * t - 0.5, 2.5 * t ** 3 - 1.5 * t];
    const p = terms.map(({ i: n, j }) => at(polynomial(u), n) * at(polynomial(v), j));
    const variance = p.reduce((sum, a, n) => sum + p.reduce((more, b, m) => more + a * b * between(n, m), 0), 0);
    expect(Math.sqrt(variance)).toBeLessThan(largestError);
    return (at(centre, i) - at(truth.centre, i)) / Math.sqrt(variance);
  });
}

const sizeOf = (pulls: readonly number[]) => Math.sqrt(pulls.reduce((sum, pull) => sum + pull ** 2, 0) / pulls.length);

it('states its errors: pulls of the shift, and of traces at the ends of the chip, are near 1', async () => {
  const pulls: number[] = [];
  const ends: number[] = [];
  for (let exposure = 2; exposure < 10; exposure++) {
    const sky = await of({ type: 'sky', exposure });
    const tweaked = await tweakTraces(traces, sky);
    const { value, error } = shiftTerm(tweaked);
    expect(error).toBeLessThan(0.005);
    expect(tweaked.tweak.largestError).toBeLessThan(0.02);
    pulls.push((value - shiftOf(sky)) / error);
    ends.push(...pullsAtEnds(tweaked, sky));
  }
  // chi2 of 8 numbers lies between 1.6 and 20 in 98 % of all cases.
  expect(sizeOf(pulls)).toBeGreaterThan(0.45);
  expect(sizeOf(pulls)).toBeLessThan(1.58);
  // Of 16 numbers between 5.8 and 32.
  expect(sizeOf(ends)).toBeGreaterThan(0.6);
  expect(sizeOf(ends)).toBeLessThan(1.42);
});

it('says that an arc, with its light in a few lines, does not place all traces to 0.01 px', async () => {
  const pulls: number[] = [];
  for (let exposure = 2; exposure < 5; exposure++) {
    const arc = await of({ type: 'thar', exposure, shift: 0.1 });
    const tweaked = await tweakTraces(traces, arc);
    expect(tweaked.tweak.largestError).toBeGreaterThan(0.01);
    pulls.push(...pullsAtEnds(tweaked, arc));
  }
  // chi2 of 6 numbers: between 0.87 and 16.8.
  expect(sizeOf(pulls)).toBeGreaterThan(0.38);
  expect(sizeOf(pulls)).toBeLessThan(1.68);
});

it('is not led astray by cosmic rays, nor by fibres whose traces are wrong', async () => {
  const exposure = await of({ exposure: 41, cosmicRays: 400 });
  const centre = traces.centre.slice();
  for (const fibre of [5, 20])
    for (let x = 0; x < COLS; x++) centre[fibre * COLS + x] = at(centre, fibre * COLS + x) + 0.7;
  const { tweak, fibres } = await tweakTraces({ ...traces, centre }, exposure);
  const plain = (await tweakTraces(traces, await of({ exposure: 41 }))).tweak;
  expect(
    Math.abs(
      at(
        tweak.terms.map(({ value }) => value),
        0,
      ) -
        at(
          plain.terms.map(({ value }) => value),
          0,
        ),
    ),
  ).toBeLessThan(0.002);
  expect(fibres).toBeLessThan(LAST + 4);
});

it('changes nothing without light, and says so', async () => {
  for (const options of [{ brightness: 0 }, { brightness: 1e-4 }, { brightness: 0, exposure: 4, cosmicRays: 400 }]) {
    const { tweak, centre } = await tweakTraces(traces, await of(options));
    expect(tweak.state).toBe('faint');
    expect(tweak.terms).toEqual([]);
    expect(tweak.width).toBe(1);
    expect(centre).toBe(traces.centre);
  }
  const dead = { ...traces, states: traces.states.map(() => 'broken' as const) };
  expect((await tweakTraces(dead, await of({}))).tweak.state).toBe('faint');
});

it.each([
  ['half a spacing', { shift: 3.3 }, /single fibres lie|nearly half|bent/],
  ['a whole fibre', { shift: 6.6 }, /single fibres lie/],
  ['another telescope', { tele: 'lco' }, /single fibres lie|nearly half|bent/],
  ['another chip', { chip: 'c' }, /single fibres lie|nearly half|bent/],
] as const)('refuses %s', async (_, options, reason) => {
  const { tweak, centre } = await tweakTraces(traces, await of({ exposure: 41, ...options }));
  expect(tweak.state).toBe('refused');
  expect(tweak.reason).toMatch(reason);
  expect(centre).toBe(traces.centre);
});

it('refuses the light of another telescope on a whole chip, whose fibres scatter more than a strip shows', async () => {
  const whole = await of({ type: 'quartzflat', exposure: 1, rows: 2048 });
  const lco = await of({ tele: 'lco', exposure: 42, rows: 2048, measuredVariance: true });
  const { tweak } = await tweakTraces({ ...traces, ...whole.truth }, lco);
  expect(tweak).toMatchObject({ state: 'refused', reason: expect.stringMatching(/single fibres lie \d\.\d+ px off/) });
});

it('places an arc by its few lines where weights follow the noise, as those of real exposures do', async () => {
  const arc = await of({ type: 'thar', exposure: 2, shift: 0.3, measuredVariance: true });
  const tweaked = await tweakTraces(traces, arc);
  expect(tweaked.tweak.state).toBe('ok');
  expect(rms(traces, arc)).toBeGreaterThan(0.2);
  expect(rms(tweaked, arc)).toBeLessThan(0.02);
});

it('gives the same numbers for any number of threads', async () => {
  const exposure = await of({ exposure: 41 });
  const [one, two] = [await tweakTraces(traces, exposure), await tweakTraces(traces, exposure, { threads: 2 })];
  expect(two.tweak).toEqual(one.tweak);
  expect(Buffer.from(two.centre.buffer).equals(Buffer.from(one.centre.buffer))).toBe(true);
});
