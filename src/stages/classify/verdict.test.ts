import { describe, expect, it } from 'vitest';
import { BugError } from '../../core/errors.js';
import { EXPOSURE_KINDS, type ExposureKind } from '../../core/exposure.js';
import { encodeFits, openFits } from '../../fits/index.js';
import type { ChipFeatures, FeatureName } from './features.js';
import { outliers } from './outliers.js';
import { type ClassRecord, classProduct, readClass, saneClass } from './product.js';
import { LIGHTS, parseRules, rules } from './rules.js';
import { judge, lightOf } from './verdict.js';

const NOTHING: Record<FeatureName, number> = {
  rows: 32,
  level: 0.05,
  noise: 0.4,
  bad: 0.001,
  fibres: 0.1,
  bright: 0.2,
  contrast: 1,
  even: 0.5,
  continuum: 0.02,
  tilt: 3,
  lines: 0.02,
  share: 0,
  peaked: 0.5,
  comb: 0.1,
  sky: Number.NaN,
  night: 0.03,
};
const SMOOTH = { level: 58, bright: 60, contrast: 0.01, fibres: 0.5, continuum: 58, tilt: 1.1, peaked: 0.004 };
const FIBRES = {
  level: 30,
  fibres: 110,
  bright: 170,
  contrast: 0.8,
  even: 0.85,
  continuum: 40,
  tilt: 1.2,
  peaked: 0.02,
};
const SKY = { level: 0.3, fibres: 0.2, bright: 1, lines: 5, share: 0.7, sky: 0.98 };
const STARS = { ...SKY, level: 1, fibres: 5, bright: 12, contrast: 0.8, even: 0.15, share: 0.03, peaked: 0.7 };
const LAMP = { lines: 6, share: 0.9, peaked: 0.99, sky: 0.05 };
const COMB = { ...LAMP, fibres: 3, contrast: 0.8, lines: 18, comb: 0.95 };

const chips = (values: Partial<Record<FeatureName, number>>, names = 'abc'): ChipFeatures[] =>
  [...names].map((chip) => ({ chip, values: { ...NOTHING, ...values }, slit: [1, 1, 1, 1] }));
const verdictOf = (values: Partial<Record<FeatureName, number>>, claim: ExposureKind, names?: string) =>
  judge(chips(values, names), claim, rules());

describe('verdicts', () => {
  it.each([
    ['dark', {}, 'dark'],
    ['internalflat', SMOOTH, 'internalflat'],
    ['domeflat', FIBRES, 'fibreflat'],
    ['quartzflat', FIBRES, 'fibreflat'],
    ['twilightflat', FIBRES, 'fibreflat'],
    ['arclamp', LAMP, 'arclamp'],
    ['fpi', COMB, 'fpi'],
    ['object', STARS, 'object'],
    ['object', SKY, 'object'],
  ] as const)('take a %s for what it is', (claim, values, found) => {
    const judgement = verdictOf(values, claim);
    expect(judgement).toMatchObject({ verdict: 'ok', found });
    expect(judgement.confidence).toBeGreaterThan(0.9);
  });

  it('say in a sentence why a dark is none', () => {
    expect(verdictOf(SMOOTH, 'dark')).toEqual({
      verdict: 'drop',
      found: 'internalflat',
      confidence: 1,
      reason:
        'the header says dark; the light is that of an internal flat: median 58 DN/read against at most 1.5 without light',
    });
  });

  it.each([
    ['dark', SMOOTH],
    ['dark', FIBRES],
    ['dark', STARS],
    ['dark', COMB],
    ['dark', { ...SMOOTH, tilt: 10 }],
    ['internalflat', {}],
    ['internalflat', FIBRES],
    ['domeflat', {}],
    ['domeflat', SMOOTH],
    ['quartzflat', COMB],
    ['arclamp', {}],
    ['fpi', {}],
    ['object', {}],
    ['object', SMOOTH],
  ] as const)('drop a certain mislabel: %s, %#', (claim, values) => {
    expect(verdictOf(values, claim).verdict).toBe('drop');
  });

  it.each([
    ['a flat as an object: a twilight perhaps', 'object', FIBRES],
    ['lines as an object', 'object', LAMP],
    ['an object as a flat', 'domeflat', STARS],
    ['the comb as a lamp, of which headers are not sure', 'arclamp', COMB],
    ['what no header names', 'unknown', FIBRES],
  ] as const)('suspect %s', (_, claim, values) => {
    expect(verdictOf(values, claim).verdict).toBe('suspect');
  });

  it('never drop what is faint: persistence in a dark, or in an object that sees the sky alone', () => {
    for (const level of [2, 4, 6, 8, 10]) {
      const dark = verdictOf({ ...SMOOTH, level, bright: level, fibres: 0.1 }, 'dark').verdict;
      expect(dark).toBe(level === 2 ? 'ok' : 'suspect');
      expect(verdictOf({ ...SMOOTH, ...SKY, level, bright: level, share: 0.05 }, 'object').verdict).not.toBe('drop');
      expect(verdictOf({ ...FIBRES, level, bright: 1.2 * level, fibres: level }, 'dark').verdict).toBe('suspect');
    }
  });

  it('never drop what one chip does not agree with', () => {
    for (const [claim, values] of [
      ['dark', SMOOTH],
      ['domeflat', {}],
      ['object', {}],
    ] as const) {
      const wrong = chips(values, 'ab');
      const right = chips(claim === 'dark' ? {} : claim === 'object' ? STARS : FIBRES, 'c');
      const judgement = judge([...wrong, ...right], claim, rules());
      expect(judgement.verdict).toBe('suspect');
    }
    expect(verdictOf({}, 'domeflat', 'b').verdict).toBe('drop');
    const broken = judge([...chips(FIBRES, 'ab'), ...chips({}, 'c')], 'domeflat', rules());
    expect(broken).toMatchObject({ verdict: 'suspect', found: 'fibreflat' });
    expect(broken.reason).toMatch(/not on chip c$/);
  });

  it('never drop an object for want of light where the sky may be there, or on a strip of few rows', () => {
    for (const doubt of [{ night: 0.15 }, { night: Number.NaN }, { sky: 1 }, { rows: 24 }, { lines: 0.6 }]) {
      expect(verdictOf(doubt, 'object').verdict).toBe('suspect');
      const one = judge([...chips({}, 'ab'), ...chips(doubt, 'c')], 'object', rules());
      expect(one.verdict).toBe('suspect');
    }
    expect(verdictOf({ rows: 24 }, 'domeflat').verdict).toBe('suspect');
    expect(verdictOf({ noise: 1.5 }, 'arclamp').verdict).toBe('suspect');
    expect(verdictOf({ noise: 1.5 }, 'domeflat').verdict).toBe('drop');
  });

  it('survive features that are missing', () => {
    const missing = Object.fromEntries(Object.keys(NOTHING).map((name) => [name, Number.NaN]));
    for (const claim of EXPOSURE_KINDS) expect(verdictOf(missing, claim).verdict).not.toBe('drop');
    expect(judge([], 'dark', rules()).verdict).not.toBe('drop');
  });

  it('share out one probability, whatever the features', () => {
    let state = 1;
    const uniform = () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647;
    };
    for (let i = 0; i < 2000; i++) {
      const values = Object.fromEntries(Object.keys(NOTHING).map((name) => [name, 10 ** (4 * uniform() - 2)]));
      const shares = lightOf(chips(values, 'a')[0] as ChipFeatures, rules());
      expect(LIGHTS.reduce((sum, light) => sum + shares[light], 0)).toBeCloseTo(1, 9);
      expect(Math.min(...Object.values(shares))).toBeGreaterThanOrEqual(0);
    }
  });
});

describe('rules', () => {
  const text = () => structuredClone(rules()) as unknown as Record<string, Record<string, unknown>>;
  it.each([
    ['a ramp that falls', (r: ReturnType<typeof text>) => ((r['ramps']!['level'] as { no: number }).no = 9), /level/],
    [
      'a ramp without a source',
      (r: ReturnType<typeof text>) => ((r['ramps']!['comb'] as { source: string }).source = ''),
      /comb/,
    ],
    ['a claim that is missing', (r: ReturnType<typeof text>) => delete r['claims']!['dark'], /dark: expected a claim/],
    [
      'a light that is none',
      (r: ReturnType<typeof text>) => (r['claims']!['fpi'] = { ok: ['laser'], drop: [] }),
      /laser/,
    ],
    [
      'a light both ways',
      (r: ReturnType<typeof text>) => (r['claims']!['fpi'] = { ok: ['fpi'], drop: ['fpi'] }),
      /same light/,
    ],
  ])('refuse %s', (_, spoil, message) => {
    const broken = text();
    spoil(broken);
    expect(() => parseRules(JSON.stringify(broken))).toThrow(BugError);
    expect(() => parseRules(JSON.stringify(broken))).toThrow(message);
  });
});

const record = (
  exposure: number,
  claim: ExposureKind,
  values: Partial<Record<FeatureName, number>>,
  slit: readonly number[],
  more: Partial<ClassRecord> = {},
): ClassRecord => ({
  tele: 'apo',
  mjd: 60857,
  exposure,
  verdict: 'ok',
  reason: 'as it should be',
  found: 'dark',
  claim,
  confidence: 1,
  reads: 12,
  chips: chips(values).map((chip) => ({ ...chip, slit })),
  ...more,
});

describe('the product', () => {
  const judgement = verdictOf(SMOOTH, 'dark');
  const thumb = { rows: 2, cols: 3, data: new Float32Array(6), size: 16 };
  const bytesOf = (made = classProduct(judgement, 'dark', chips(SMOOTH), thumb, 12)) => {
    const cards = [['TELE', 'apo'], ['MJD', 60857], ['EXPOSURE', 7], ...made.cards] as const;
    return Buffer.concat(encodeFits([{ header: cards.map((card) => [...card] as never) }, ...made.hdus]));
  };

  it('is read again as it was written, long sentences and missing numbers, too', () => {
    const found = readClass(openFits(bytesOf()));
    expect(found).toEqual({
      ...judgement,
      tele: 'apo',
      mjd: 60857,
      exposure: 7,
      claim: 'dark',
      reads: 12,
      chips: chips(SMOOTH),
    });
    expect(saneClass(openFits(bytesOf()))).toEqual([]);
  });

  it('is not sane without what it must say', () => {
    const made = classProduct(judgement, 'dark', chips(SMOOTH), thumb, 12);
    const without = (keyword: string) => ({ ...made, cards: made.cards.filter(([name]) => name !== keyword) });
    expect(saneClass(openFits(bytesOf(without('VERDICT'))))).toEqual([
      "expected VERDICT to be one of ok, suspect, drop, received ''",
    ]);
    expect(saneClass(openFits(bytesOf(without('CONFID'))))).toEqual(['expected CONFID in [0, 1], received NaN']);
    expect(saneClass(openFits(bytesOf(without('REASON'))))).toEqual(['expected a REASON, it is empty']);
    const none = classProduct(judgement, 'dark', [], thumb, 12);
    expect(saneClass(openFits(bytesOf(none)))).toEqual(['expected features of a chip at least, there are none']);
    expect(saneClass(openFits(bytesOf({ ...made, hdus: [] })))[0]).toMatch(/no HDU named FEATURES/);
  });
});

describe('outliers', () => {
  const flat = (exposure: number, light: number, pattern = [1, 1, 1, 1]) =>
    record(
      exposure,
      'domeflat',
      FIBRES,
      pattern.map((value) => light * value),
    );
  const dark = (exposure: number, level: number, noise = 0.4) =>
    record(exposure, 'dark', { noise }, [level, level, level, level]);

  it('are none among exposures that agree, few, or of fields and lamps that differ', () => {
    expect(outliers([1, 2, 3, 4, 5].map((i) => flat(i, 100 + i)))).toEqual([]);
    expect(outliers([flat(1, 100), flat(2, 100), flat(3, 1)])).toEqual([]);
    expect(outliers([1, 2, 3, 4, 5].map((i) => record(i, 'object', STARS, [10 ** i, 1, 1, 1])))).toEqual([]);
    expect(outliers([])).toEqual([]);
  });

  it('are a dark that has seen light, a faint lamp, a changed slit, a noisy dark', () => {
    expect(outliers([...[1, 2, 3, 4].map((i) => dark(i, 0.05)), dark(9, 3)])).toEqual([
      {
        tele: 'apo',
        mjd: 60857,
        exposure: 9,
        by: 'pipeline',
        reason: ['a', 'b', 'c']
          .map(
            (chip) =>
              `chip ${chip}: light 3 DN/read, the median of the 5 dark exposures is 0.05 DN/read: 10 sigma apart`,
          )
          .join('; '),
      },
    ]);
    expect(outliers([...[1, 2, 3, 4].map((i) => flat(i, 100)), flat(5, 60)]).map((one) => one.exposure)).toEqual([5]);
    const dim = outliers([...[1, 2, 3, 4].map((i) => flat(i, 100)), flat(5, 100, [1, 1, 1, 0.5])]);
    expect(dim.map((one) => one.exposure)).toEqual([5]);
    expect(dim[0]?.reason).toMatch(/change of the light along the slit/);
    const noisy = outliers([...[1, 2, 3, 4].map((i) => dark(i, 0.05)), dark(5, 0.05, 1)]);
    expect(noisy[0]?.reason).toMatch(/scatter of the pixels 1 DN\/read/);
  });

  it('are not two that agree: a series at another brightness', () => {
    const two = [...[1, 2, 3, 4, 5].map((i) => flat(i, 100)), flat(6, 50), flat(7, 50)];
    expect(outliers(two)).toEqual([]);
    expect(outliers(two.slice(0, 6)).map((one) => one.exposure)).toEqual([6]);
  });

  it('name the chip where it is one alone, and what the verdict drops; in one order, whatever the records', () => {
    const odd = dark(5, 0.05);
    const b = { ...(odd.chips[1] as ChipFeatures), slit: [4, 4, 4, 4] };
    const records = [
      ...[1, 2, 3, 4].map((i) => dark(i, 0.05)),
      { ...odd, chips: [odd.chips[0] as ChipFeatures, b, odd.chips[2] as ChipFeatures] },
      record(6, 'dark', SMOOTH, [58, 58, 58, 58], { verdict: 'drop', reason: 'it shows light' }),
    ];
    const found = outliers(records);
    expect(found.map(({ exposure, chip }) => [exposure, chip])).toEqual([
      [5, 'b'],
      [6, undefined],
    ]);
    expect(found[1]?.reason).toBe('it shows light');
    expect(outliers([...records].reverse())).toEqual(found);
  });

  it('are sought for each telescope and night by itself', () => {
    const lco = { ...dark(9, 3), tele: 'lco' };
    expect(outliers([...[1, 2, 3, 4].map((i) => dark(i, 0.05)), lco])).toEqual([]);
  });
});
