import { describe, expect, it } from 'vitest';
import { CalibrationError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import { assessCalibration, judge } from './assess.js';
import { compareCalibrations } from './compare.js';
import { type CalibrationMaps, mapsOfHdus } from './maps.js';
import { illuminationModel } from './page.js';
import { parseThresholds, thresholds } from './thresholds.js';

const ROWS = 128;
const COLS = 256;
const GEOMETRY = { amplifiers: 4, border: 4 };
/** Pixels inside the border. */
const PIXELS = (ROWS - 8) * (COLS - 8);
const inside = (i: number) => {
  const [row, x] = [Math.floor(i / COLS), i % COLS];
  return row >= 4 && row < ROWS - 4 && x >= 4 && x < COLS - 4;
};

/** The sum of twelve uniform numbers less 6: normal enough, sigma 1 (generator: Park and Miller 1988). */
function normals(seed: number): () => number {
  let state = seed;
  const uniform = () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  return () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += uniform();
    return sum;
  };
}

type Pixel = (i: number, noise: number) => number;
function maps(
  kind: 'dark' | 'flat' | 'gain',
  image: string,
  value: Pixel,
  bits: (i: number) => number = () => 0,
  seed = 1,
): CalibrationMaps {
  const noise = normals(seed);
  const data = Float32Array.from({ length: ROWS * COLS }, (_, i) => value(i, noise()));
  const shape = [ROWS, COLS];
  return mapsOfHdus(
    { kind, instrument: 'apogee', tele: 'apo', chip: 'a' },
    [
      { name: image, data, shape },
      { name: 'ERR', data: new Float32Array(ROWS * COLS).fill(0.005), shape },
      { name: 'DQ', data: Uint32Array.from({ length: ROWS * COLS }, (_, i) => bits(i)), shape },
    ],
    [],
  );
}
const dark: Pixel = (_, noise) => 0.05 + 0.01 * noise;
const flat: Pixel = (_, noise) => 1 + 0.01 * noise;
const complaints = (checks: readonly { number: string; verdict: string }[], verdict: string) =>
  checks.filter((check) => check.verdict === verdict).map(({ number }) => number);

describe('assessCalibration', () => {
  it('passes a clean dark, and measures what it was made of', async () => {
    const found = await assessCalibration(
      maps('dark', 'RATE', dark, (i) => (i % 1000 === 500 && inside(i) ? DQ.HOT : 0)),
      GEOMETRY,
    );
    expect(found.grade).toBe('pass');
    expect(complaints(found.checks, 'not measured')).toEqual([
      'previous.becameBadPercent',
      'previous.recoveredPercent',
      'previous.changedPercent',
    ]);
    expect(found.numbers['RATE.median']).toBeCloseTo(0.05, 3);
    expect(Math.abs((found.numbers['RATE.scatter'] as number) - 0.01)).toBeLessThan(0.0003);
    const hot = Array.from({ length: ROWS * COLS }, (_, i) => i).filter((i) => i % 1000 === 500 && inside(i)).length;
    expect(found.numbers['dq.HOT']).toBeCloseTo((100 * hot) / PIXELS, 10);
    expect(found.bits).toEqual([{ bit: 5, name: 'HOT', count: hot }]);
    expect(found.images[0]?.histogram.counts.reduce((a, b) => a + b, 0)).toBe(PIXELS);
  });

  it('fails a dark of which 30 % is hot, and says so', async () => {
    const found = await assessCalibration(
      maps('dark', 'RATE', dark, (i) => (i % 10 < 3 ? DQ.HOT : 0)),
      GEOMETRY,
    );
    expect(found.grade).toBe('fail');
    const check = found.checks.find(({ number }) => number === 'dq.HOT');
    expect(check?.verdict).toBe('fail');
    expect(check?.reason).toMatch(/^hot pixels: (29|30)(\.\d+)? %, above 10 %$/);
  });

  it('warns of a flat with a gradient that illumination left', async () => {
    const found = await assessCalibration(
      maps('flat', 'FLAT', (i, noise) => flat(i, noise) * (1 + 0.06 * ((i % COLS) / COLS - 0.5) * 2)),
      GEOMETRY,
    );
    expect(found.grade).toBe('warn');
    expect(complaints(found.checks, 'warn')).toEqual(['FLAT.largeScale']);
    // Cells of 32 columns on a line from -6 % to 6 %: robust scatter (0.75 - 0.25) * 0.12 / 1.349 of their means.
    expect(found.numbers['FLAT.largeScale']).toBeGreaterThan(0.02);
    expect(found.numbers['FLAT.largeScale']).toBeLessThan(0.06);
  });

  it('finds the step between two amplifiers', async () => {
    const found = await assessCalibration(
      maps('dark', 'RATE', (i, noise) => dark(i, noise) + (i % COLS >= 128 && i % COLS < 192 ? 0.7 : 0)),
      GEOMETRY,
    );
    expect(found.numbers['RATE.amplifierStep']).toBeCloseTo(0.7, 2);
    expect(complaints(found.checks, 'warn')).toContain('RATE.amplifierStep');
    expect(found.images[0]?.amplifiers.map(({ median }) => Math.round(100 * median))).toEqual([5, 5, 75, 5]);
  });

  it('keeps a region in the profiles that is no outlier, and leaves out single hot pixels', async () => {
    const region: Pixel = (i, noise) => dark(i, noise) + (i % COLS >= 100 && i % COLS < 120 ? 1 : 0);
    const found = await assessCalibration(
      maps('dark', 'RATE', (i, noise) => region(i, noise) + (i % 997 === 0 ? 500 : 0)),
      GEOMETRY,
    );
    const profile = found.images[0]?.columnProfile as Float64Array;
    expect(profile[110 - 4]).toBeCloseTo(1.05, 2);
    expect(profile[50 - 4]).toBeCloseTo(0.05, 2);
  });

  it('fails a map without a single value instead of passing it for want of numbers', async () => {
    const found = await assessCalibration(
      maps('dark', 'RATE', () => Number.NaN),
      GEOMETRY,
    );
    expect(found.numbers['RATE.invalidPercent']).toBe(100);
    expect(found.numbers['RATE.median']).toBeUndefined();
    expect(found.grade).toBe('fail');
  });

  it('tells from the calibration before which pixels became bad', async () => {
    const before = maps('dark', 'RATE', dark, (i) => (i % 100 === 0 ? DQ.HOT : 0), 1);
    const now = maps('dark', 'RATE', dark, (i) => (i % 20 === 0 ? DQ.HOT : 0), 1);
    const found = await assessCalibration(now, GEOMETRY, before);
    const share = Array.from({ length: ROWS * COLS }, (_, i) => i).filter(
      (i) => i % 20 === 0 && i % 100 !== 0 && inside(i),
    ).length;
    expect(found.numbers['previous.becameBadPercent']).toBeCloseTo((100 * share) / PIXELS, 10);
    expect(found.numbers['previous.recoveredPercent']).toBe(0);
    expect(found.numbers['previous.changedPercent']).toBe(0);
    expect(complaints(found.checks, 'warn')).toEqual(['dq.HOT', 'previous.becameBadPercent']);
  });

  it('holds limits on both sides, ends included', () => {
    const one = {
      kinds: ['gain' as const],
      group: 'g',
      number: 'n',
      unit: 'u',
      warn: [1, 5] as const,
      fail: [0, 10] as const,
      doc: 'd',
      source: 's',
    };
    const verdicts = [-1, 0, 0.5, 1, 3, 5, 6, 10, 11, undefined].map((value) => judge(one, value).verdict);
    expect(verdicts).toEqual(['fail', 'warn', 'warn', 'pass', 'pass', 'pass', 'warn', 'warn', 'fail', 'not measured']);
    expect(judge(one, 11).reason).toBe('d: 11 u, above 10 u');
    expect(judge(one, 0.5).reason).toBe('d: 0.5 u, below 1 u');
  });
});

describe('compareCalibrations', () => {
  it('counts values beyond their errors and bits gained and lost, by amplifier', async () => {
    const at = (row: number, x: number) => row * COLS + x;
    const bitsA = new Map([
      [at(10, 10), DQ.HOT],
      [at(10, 70), DQ.HOT | DQ.NOISY],
      [at(10, 200), DQ.NOISY],
      [at(0, 0), DQ.HOT], // in the border: does not count
    ]);
    const bitsB = new Map([
      [at(10, 70), DQ.HOT],
      [at(20, 70), DQ.HOT],
      [at(10, 200), DQ.NOISY],
    ]);
    const a = maps(
      'dark',
      'RATE',
      () => 1,
      (i) => bitsA.get(i) ?? 0,
    );
    const b = maps(
      'dark',
      'RATE',
      (i) => (i === at(30, 130) ? 1.04 : i === at(31, 130) ? 1.03 : 1),
      (i) => bitsB.get(i) ?? 0,
    );
    const found = await compareCalibrations(a, b, GEOMETRY);
    const [rate] = found.images;
    // Errors of 0.005 each: 5 sigma are 0.0354.
    expect(rate).toMatchObject({ compared: PIXELS - 4, beyond: 1, onlyA: 1, onlyB: 1, unequal: 2, errors: true });
    expect(rate?.amplifiers.map(({ beyond }) => beyond)).toEqual([0, 0, 1, 0]);
    expect(rate?.amplifiers.map(({ onlyA, onlyB }) => [onlyA, onlyB])).toEqual([
      [0, 1],
      [1, 0],
      [0, 0],
      [0, 0],
    ]);
    expect(found.bits?.map(({ name, a: inA, b: inB, gained, lost }) => [name, inA, inB, gained, lost])).toEqual([
      ['HOT', 2, 2, 1, 1],
      ['NOISY', 2, 1, 0, 1],
    ]);
    expect(found.bits?.[0]?.amplifiers[0]).toEqual({ a: 1, b: 0, gained: 0, lost: 1 });
    expect((await compareCalibrations(a, b, GEOMETRY, 4)).images[0]?.beyond).toBe(2);
  });

  it('refuses two of another kind, detector or size', async () => {
    const one = maps('dark', 'RATE', () => 1);
    await expect(
      compareCalibrations(
        one,
        maps('flat', 'FLAT', () => 1),
        GEOMETRY,
      ),
    ).rejects.toThrow(CalibrationError);
    await expect(compareCalibrations(one, { ...one, chip: 'b' }, GEOMETRY)).rejects.toThrow(
      'one detector, received apogee apo a and apogee apo b',
    );
    await expect(compareCalibrations(one, { ...one, rows: 64 }, GEOMETRY)).rejects.toThrow('one size');
  });
});

describe('data/qa.json', () => {
  it('documents every limit, with a source, and each number is one that is measured', async () => {
    const all = thresholds();
    expect(all.length).toBeGreaterThan(30);
    const key = ({ kinds, instrument, number }: (typeof all)[number]) => `${kinds.join()} ${instrument} ${number}`;
    expect(new Set(all.map(key)).size).toBe(all.length);
    const measured = new Set(
      Object.keys((await assessCalibration(maps('dark', 'RATE', dark), GEOMETRY, maps('dark', 'RATE', dark))).numbers),
    );
    for (const { kinds, number } of all) {
      if (kinds.includes('dark') || kinds.includes('*')) expect(measured, number).toContain(number);
    }
  });
  it('is refused where a limit is not documented or fails before it warns', () => {
    const good = {
      kinds: ['dark'],
      group: 'g',
      number: 'n',
      unit: '',
      warn: [null, 1],
      fail: [null, 2],
      doc: 'd',
      source: 's',
    };
    const parse = (change: object) => () => parseThresholds(JSON.stringify({ checks: [{ ...good, ...change }] }));
    expect(parse({})).not.toThrow();
    expect(parse({ source: '' })).toThrow('expected source');
    expect(parse({ doc: undefined })).toThrow('expected doc');
    expect(parse({ kinds: ['darks'] })).toThrow('unknown kind');
    expect(parse({ warn: [null, null] })).toThrow('expected a limit');
    expect(parse({ warn: [2, 1] })).toThrow('lower limit first');
    expect(parse({ fail: [null, 0.5] })).toThrow('expected to warn before it fails');
    expect(parse({ fail: [0, 2] })).toThrow('expected to warn before it fails');
  });
});

describe('illuminationModel', () => {
  it('sums Legendre polynomials, i along the rows and j along the columns', () => {
    const terms = [
      { i: 0, j: 0, value: 100 },
      { i: 1, j: 0, value: 10 },
      { i: 0, j: 2, value: 4 },
    ];
    const model = illuminationModel({ exposure: 1, unit: '', terms });
    const at = (x: number, y: number) => model[y * 64 + x] as number;
    const u = (k: number) => -1 + (2 * (k + 0.5)) / 64;
    for (const [x, y] of [
      [0, 0],
      [63, 0],
      [10, 50],
    ] as const) {
      expect(at(x, y)).toBeCloseTo(100 + 10 * u(x) + 4 * (1.5 * u(y) ** 2 - 0.5), 4);
    }
  });
});
