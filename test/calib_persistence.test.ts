// The builder of persistence, against the truth of the mock detector; and the errors.
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import * as api from '../src/index.js';
import { base, build, card, image, isBorder, pulls, ROWS, simulate } from './calibration_truth.js';

const { DQ } = api;

describe('calib build persistence', () => {
  const calib = join(base, 'after', 'calib');
  const before = { type: 'internalflat', level: 5000, reads: 20, exposure: 1 } as const;
  let flat: string;
  let darks: { readonly path: string; readonly truth: string }[];
  let made: api.BuildOutcome;

  beforeAll(async () => {
    flat = (await simulate('after', { ...before })).path;
    darks = [];
    for (const n of [0, 1, 2]) {
      const after = { ...before, gapSeconds: 10 + n * (30 * 10.647 + 10) };
      const plan = { type: 'dark', exposure: 2 + n, reads: 30, after, truth: n === 0, calibrations: n === 0 } as const;
      darks.push(await simulate('after', plan));
    }
    // Any order: the headers say which was when.
    const files = [darks[2]!.path, flat, darks[0]!.path, darks[1]!.path];
    [made] = (await build('persistence', files, { calib })) as [api.BuildOutcome];
  });

  it('recovers the amplitudes within their errors, and the time constant', () => {
    expect(made).toMatchObject({ kind: 'persistence', grade: 'pass', inputs: 4 });
    const [amplitude, error, dq] = ['AMPLITUDE', 'ERR', 'DQ'].map((name) => image(made.file, name));
    const [truth, bad] = [image(darks[0]!.truth, 'PERSISTENCE'), image(darks[0]!.truth, 'BADPIX')];
    const good = (i: number) => !isBorder(i) && bad[i] === 0 && (dq![i]! & ~DQ.PERSISTENCE) === 0;
    for (const [from, to] of [
      [0, 4e-4],
      [4e-4, 3e-3],
      [3e-3, 1],
    ] as const) {
      const z = pulls(amplitude!, error!, truth, (i) => good(i) && truth[i]! >= from && truth[i]! < to);
      expect(z.n).toBeGreaterThan(5000);
      expect(Math.abs(z.mean)).toBeLessThan(0.2);
      expect(z.rms).toBeGreaterThan(0.85);
      expect(z.rms).toBeLessThan(1.1);
      expect(z.far).toBeLessThan(10);
    }
    // Marked where it is strong.
    let [right, wrong] = [0, 0];
    for (let i = 0; i < truth.length; i++) {
      if (!good(i)) continue;
      const marked = (dq![i]! & DQ.PERSISTENCE) !== 0;
      if (truth[i]! > 1.5e-3) right += Number(marked);
      if (truth[i]! > 1.5e-3 !== marked && (truth[i]! > 1.5e-3 || truth[i]! < 7e-4)) wrong++;
    }
    expect(right).toBeGreaterThan(10_000);
    expect(wrong).toBeLessThan(20);
    const [tau, tauError] = [card(made.file, 'TAU'), card(made.file, 'TAUERR')];
    expect(tauError).toBeLessThan(5);
    expect(Math.abs(tau - 300)).toBeLessThan(3 * tauError);
  });

  it('corrects: a later dark less what the map expects is what a dark without a flat is', async () => {
    const gap = 700;
    const late = await simulate('late', {
      type: 'dark',
      exposure: 7,
      reads: 30,
      after: { ...before, gapSeconds: gap },
      truth: true,
    });
    const identity = { tele: 'apo', chip: 'a', mjd: 60857, exposure: 7 } as const;
    const calibrations = await api.rampCalibrations(calib, api.apogee, identity, ROWS, []);
    const { images, firstRead, readsUsed } = await api.reduceRamp(late.path, {
      instrument: api.apogee,
      identity,
      calibrations,
      options: api.rampOptions({ jumps: 'none' }),
    });
    const [amplitude, dq] = [image(made.file, 'AMPLITUDE'), image(made.file, 'DQ')];
    const [truth, bad, gain, well] = ['RATE', 'BADPIX', 'GAIN', 'SATURATION'].map((name) => image(late.truth, name));
    const tau = card(made.file, 'TAU');
    // What the fit makes of the release. It weighs difference k of n by (k + 1) (n - k) where read noise is all; the fluence is a
    // full well.
    const n = readsUsed - 1;
    let [decay, weights] = [0, 0];
    for (let k = 0; k < n; k++) {
      const start = gap + (firstRead + 1 + k) * 10.647;
      const weight = (k + 1) * (n - k);
      weights += weight;
      decay += (weight * (Math.exp(-start / tau) - Math.exp(-(start + 10.647) / tau)) * tau) / 10.647;
    }
    decay /= weights;
    let [pixels, left, taken] = [0, 0, 0];
    for (let i = 0; i < truth!.length; i++) {
      if (isBorder(i) || bad![i] !== 0 || (dq[i]! & DQ.PERSISTENCE) === 0) continue;
      const full = well![i]! - 9000;
      // Linear counts of a full well: the mock's coefficients are 6e-7 and 8e-12 on average.
      const fluence = Math.min((5000 * 20) / gain![i]!, full + 6e-7 * full ** 2 + 8e-12 * full ** 3);
      const expected = amplitude[i]! * fluence * decay;
      pixels++;
      taken += expected;
      left += images.rate[i]! - expected - truth![i]!;
    }
    expect(pixels).toBeGreaterThan(10_000);
    expect(taken / pixels).toBeGreaterThan(5);
    // Measured: 0.3 %; photons shift the weights a little, and TAU has an error of 0.3 %.
    expect(Math.abs(left)).toBeLessThan(0.01 * taken);
  });

  it('refuses darks without a flat, a flat without darks, and a dark during the flat', async () => {
    await expect(
      build(
        'persistence',
        darks.map(({ path }) => path),
      ),
    ).rejects.toThrow(/expected a bright flat and then darks: the earliest exposure, apR-a-52950002.apz, says 'DARK'/);
    await expect(build('persistence', [flat])).rejects.toThrow(/expected darks after the flat, received none/);
    const two = await simulate('two', { ...before, exposure: 2, reads: 12 });
    await expect(build('persistence', [flat, two.path, darks[2]!.path])).rejects.toThrow(
      /expected a dark, the header says 'INTERNALFLAT'/,
    );
    // Exposure 1 of 60 reads ends 39 s after exposure 2 begins.
    const long = await simulate('overlap', { ...before, reads: 60 });
    const early = await simulate('overlap', { type: 'dark', exposure: 2, reads: 30 });
    await expect(build('persistence', [long.path, early.path])).rejects.toThrow(
      /expected it to begin after the flat ends, received a start -\d+\.\d s after that/,
    );
  });

  it('refuses darks that show nothing, and tells of a time constant that they cannot fix', async () => {
    const effects = { persistence: false } as const;
    const plain = await simulate('plain', { ...before, effects });
    const after = { ...before, gapSeconds: 10 };
    const calm = await simulate('plain', { type: 'dark', exposure: 2, reads: 30, after, effects });
    await expect(build('persistence', [plain.path, calm.path], { calib })).rejects.toThrow(
      /the darks show no release of charge after the flat/,
    );
    const [short] = await build('persistence', [flat, darks[0]!.path], {
      calib,
      params: { persistence: { tauError: 1e-3 } },
    });
    expect(short).toMatchObject({ grade: 'warn' });
    expect(short!.remarks![0]).toMatch(/^TAU is uncertain: \d+ \+- \d+ s/);
  });
});
