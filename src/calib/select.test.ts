import { describe, expect, it } from 'vitest';
import { record } from '../../test/calibrations.js';
import { CalibrationError } from '../core/errors.js';
import type { CalibrationRule } from '../core/product.js';
import type { CalibrationRecord } from './product.js';
import {
  explanationText,
  type Frame,
  type Pin,
  requireComplete,
  selectCalibrations,
  toProvenance,
  windowText,
} from './select.js';

const RULE: CalibrationRule = {
  kind: 'dark',
  usedBy: 'calibrate',
  required: true,
  match: ['instrument', 'tele', 'chip', 'readMode', 'serial'],
  grades: ['pass', 'warn'],
  nearest: { side: 'either', limitDays: 10, warnDays: 3 },
  interpolate: false,
};
const FRAME: Frame = { instrument: 'apogee', tele: 'apo', chip: 'a', mjd: 60000 };
const near = (side: 'before' | 'after' | 'either', limitDays = 10) => ({ nearest: { side, limitDays, warnDays: 3 } });

/** A record whose file is its name in the table below. */
const rec = (file: string, from?: number, to?: number, more: Partial<CalibrationRecord> = {}) =>
  record({ file, validFrom: from, validTo: to, ...more });

interface Case {
  readonly what: string;
  readonly records: readonly CalibrationRecord[];
  readonly rule?: Partial<CalibrationRule>;
  readonly frame?: Partial<Frame>;
  /** Files used, with weights where they are not 1. */
  readonly used: readonly string[] | Readonly<Record<string, number>>;
  readonly how: string;
  /** Part of the reason for which each of these was refused. */
  readonly refused?: Readonly<Record<string, string>>;
  readonly ambiguous?: string;
  readonly warns?: string;
}

const CASES: readonly Case[] = [
  { what: 'nothing there', records: [], used: [], how: 'none' },
  { what: 'inside', records: [rec('A', 59990, 60010)], used: ['A'], how: 'inside' },
  { what: 'the begin belongs to the window', records: [rec('A', 60000, 60010)], used: ['A'], how: 'inside' },
  {
    what: 'the end does not: nearest, at distance 0',
    records: [rec('A', 59990, 60000)],
    used: ['A'],
    how: 'nearest',
  },
  {
    what: 'a window that ends where the next begins gives way to it',
    records: [rec('A', 59990, 60000), rec('B', 60000, 60010)],
    used: ['B'],
    how: 'inside',
    refused: { A: 'ends 0 d before the frame' },
  },
  { what: 'open begin', records: [rec('A', undefined, 60001)], used: ['A'], how: 'inside' },
  { what: 'open end', records: [rec('A', 59999, undefined)], used: ['A'], how: 'inside' },
  { what: 'both ends open', records: [rec('A')], used: ['A'], how: 'inside' },
  {
    what: 'open begin, ended before the frame',
    records: [rec('A', undefined, 59999)],
    used: ['A'],
    how: 'nearest',
  },
  {
    what: 'overlap: the newest by end of data',
    records: [rec('A', 59990, 60010, { dataTo: 59990 }), rec('B', 59995, 60020, { dataTo: 59995 })],
    used: ['B'],
    how: 'inside',
    refused: { A: 'B is newer: its data end at 59995, against 59990' },
    ambiguous: '2 windows contain the frame; B is the newest',
  },
  {
    what: 'overlap: newest by data, though the other window begins later',
    records: [rec('A', 59990, 60010, { dataTo: 59999 }), rec('B', 59999, 60010, { dataTo: 59990 })],
    used: ['A'],
    how: 'inside',
    ambiguous: '2 windows',
  },
  {
    what: 'overlap: an unknown end of data counts as the oldest',
    records: [rec('A', 59990, 60010), rec('B', 59990, 60010, { dataTo: 1 })],
    used: ['B'],
    how: 'inside',
    refused: { A: 'against unknown' },
    ambiguous: '2 windows',
  },
  {
    what: 'equal data: the later made',
    records: [
      rec('A', 59990, 60010, { dataTo: 59990, createdAt: '2025-01-02T00:00:00' }),
      rec('B', 59990, 60010, { dataTo: 59990, createdAt: '2025-01-01T00:00:00' }),
    ],
    used: ['A'],
    how: 'inside',
    refused: { B: 'made 2025-01-02T00:00:00, against 2025-01-01T00:00:00' },
    ambiguous: '2 windows',
  },
  {
    what: 'equal data: one without a date of making is of a later version',
    records: [
      rec('A', 59990, 60010, { dataTo: 59990, createdAt: '2025-01-02T00:00:00' }),
      rec('B', 59990, 60010, { dataTo: 59990, createdAt: '' }),
    ],
    used: ['B'],
    how: 'inside',
    refused: { A: 'no date of making' },
    ambiguous: '2 windows',
  },
  {
    what: 'all equal: the larger hash, and it says that it is a tie',
    records: [rec('A', 59990, 60010, { sha256: 'f'.repeat(64) }), rec('B', 59990, 60010, { sha256: '0'.repeat(64) })],
    used: ['A'],
    how: 'inside',
    refused: { B: 'a tie' },
    ambiguous: 'a tie',
  },
  {
    what: 'three windows: one is used, two are told',
    records: [
      rec('A', 59990, 60010, { dataTo: 3 }),
      rec('B', 59990, 60010, { dataTo: 2 }),
      rec('C', 59990, 60010, { dataTo: 1 }),
    ],
    used: ['A'],
    how: 'inside',
    refused: { B: 'A is newer', C: 'A is newer' },
    ambiguous: '3 windows',
  },
  {
    what: 'failed quality: the older that passed',
    records: [rec('A', 59990, 60010, { dataTo: 2, grade: 'fail' }), rec('B', 59990, 60010, { dataTo: 1 })],
    used: ['B'],
    how: 'inside',
    refused: { A: 'its grade is fail, accepted is pass or warn' },
  },
  {
    what: 'failed quality inside: the nearest that passed',
    records: [rec('A', 59990, 60010, { grade: 'fail' }), rec('B', 59980, 59998)],
    used: ['B'],
    how: 'nearest',
    refused: { A: 'its grade is fail' },
  },
  {
    what: 'failed quality alone: none',
    records: [rec('A', 59990, 60010, { grade: 'fail' })],
    used: [],
    how: 'none',
    refused: { A: 'grade is fail' },
  },
  {
    what: 'grade warn is used with a warning',
    records: [rec('A', 59990, 60010, { grade: 'warn' })],
    used: ['A'],
    how: 'inside',
    warns: 'the grade of A is warn',
  },
  {
    what: 'grade warn is refused where the rule wants pass',
    rule: { grades: ['pass'] },
    records: [rec('A', 59990, 60010, { grade: 'warn' })],
    used: [],
    how: 'none',
    refused: { A: 'accepted is pass;' },
  },
  {
    what: 'another chip',
    records: [rec('A', 59990, 60010, { chip: 'b' })],
    used: [],
    how: 'none',
    refused: { A: "it is for chip 'b', the frame has 'a'" },
  },
  {
    what: 'another telescope, nearer in time',
    records: [rec('A', 59990, 60010, { tele: 'lco' }), rec('B', 60001, 60010)],
    used: ['B'],
    how: 'nearest',
    refused: { A: "telescope 'lco', the frame has 'apo'" },
  },
  {
    what: 'another instrument',
    records: [rec('A', 59990, 60010, { instrument: 'nirc2' })],
    used: [],
    how: 'none',
    refused: { A: "instrument 'nirc2'" },
  },
  { what: 'of any instrument', records: [rec('A', 59990, 60010, { instrument: '' })], used: ['A'], how: 'inside' },
  {
    what: 'another read mode',
    frame: { readMode: 'UTR' },
    records: [rec('A', 59990, 60010, { readMode: 'CDS' }), rec('B', 59990, 60010, { readMode: 'UTR' })],
    used: ['B'],
    how: 'inside',
    refused: { A: "read mode 'CDS', the frame has 'UTR'" },
  },
  {
    what: 'a read mode that only one side states is not compared',
    records: [rec('A', 59990, 60010, { readMode: 'CDS' })],
    used: ['A'],
    how: 'inside',
  },
  {
    what: 'another serial number: the detector was exchanged',
    frame: { serial: 'H2RG-2' },
    records: [rec('A', 59990, 60010, { serial: 'H2RG-1' })],
    used: [],
    how: 'none',
    refused: { A: "serial number 'H2RG-1'" },
  },
  {
    what: 'the same serial number, and one that is unknown',
    frame: { serial: 'H2RG-2' },
    records: [rec('A', 59990, 60010, { serial: 'H2RG-2', dataTo: 1 }), rec('B', 59990, 60010, { dataTo: 2 })],
    used: ['B'],
    how: 'inside',
    ambiguous: '2 windows',
  },
  {
    what: 'gap: the nearer edge, not the first or last of the list',
    records: [rec('A', 59900, 59992), rec('B', 59990, 59999), rec('C', 60002, 60100), rec('D', 60009, 60100)],
    used: ['B'],
    how: 'nearest',
    refused: { A: 'B is nearer (1 d)', C: 'begins 2 d after the frame', D: 'begins 9 d after' },
  },
  {
    what: 'gap: after is nearer',
    records: [rec('A', 59990, 59995), rec('B', 60002, 60010)],
    used: ['B'],
    how: 'nearest',
  },
  {
    what: 'the limit itself is inside',
    records: [rec('A', 59980, 59990)],
    used: ['A'],
    how: 'nearest',
    warns: 'more than 3 d is doubtful',
  },
  {
    what: 'beyond the limit',
    records: [rec('A', 59980, 59989.999)],
    used: [],
    how: 'none',
    refused: { A: 'ends 10.001 d before the frame, and the limit is 10 d' },
  },
  { what: 'the warning begins beyond its limit', records: [rec('A', 60003, 60010)], used: ['A'], how: 'nearest' },
  {
    what: 'before only: a nearer one after is refused',
    rule: near('before'),
    records: [rec('A', 59980, 59995), rec('B', 60001, 60010)],
    used: ['A'],
    how: 'nearest',
    refused: { B: 'takes only windows before the frame' },
    warns: 'ends 5 d before the frame; more than 3 d',
  },
  {
    what: 'before only, and there is only one after',
    rule: near('before'),
    records: [rec('B', 60001, 60010)],
    used: [],
    how: 'none',
    refused: { B: 'takes only windows before' },
  },
  {
    what: 'after only',
    rule: near('after'),
    records: [rec('A', 59980, 59999), rec('B', 60002, 60010)],
    used: ['B'],
    how: 'nearest',
    refused: { A: 'takes only windows after' },
  },
  {
    what: 'equally near: the newer, and it says so',
    records: [rec('A', 59990, 59998, { dataTo: 1 }), rec('B', 60002, 60010, { dataTo: 2 })],
    used: ['B'],
    how: 'nearest',
    refused: { A: 'B, which is newer' },
    ambiguous: 'equally near',
  },
  {
    what: 'interpolation: weights by the distance to the edges',
    rule: { interpolate: true },
    records: [rec('A', 59990, 59999), rec('B', 60003, 60010)],
    used: { A: 0.75, B: 0.25 },
    how: 'interpolated',
  },
  {
    what: 'interpolation takes the nearest of each side',
    rule: { interpolate: true },
    records: [rec('A', 59990, 59996), rec('B', 59990, 59999), rec('C', 60001, 60010), rec('D', 60002, 60010)],
    used: { B: 0.5, C: 0.5 },
    how: 'interpolated',
    refused: { A: 'B is nearer', D: 'C is nearer' },
  },
  {
    what: 'no interpolation inside a window',
    rule: { interpolate: true },
    records: [rec('A', 59990, 59999), rec('B', 59999, 60001), rec('C', 60002, 60010)],
    used: ['B'],
    how: 'inside',
  },
  {
    what: 'no interpolation at the very end of a window: nothing jumps there',
    rule: { interpolate: true },
    records: [rec('A', 59990, 60000), rec('B', 60002, 60010)],
    used: ['A'],
    how: 'nearest',
    refused: { B: 'A is nearer (0 d)' },
  },
  {
    what: 'no interpolation where one side is beyond the limit',
    rule: { interpolate: true },
    records: [rec('A', 59990, 59999), rec('B', 60011, 60020)],
    used: ['A'],
    how: 'nearest',
    refused: { B: 'the limit is 10 d' },
  },
  {
    what: 'no interpolation with one that failed',
    rule: { interpolate: true },
    records: [rec('A', 59990, 59999), rec('B', 60001, 60010, { grade: 'fail' })],
    used: ['A'],
    how: 'nearest',
    refused: { B: 'grade is fail' },
  },
  {
    what: 'other kinds are no candidates',
    records: [rec('A', 59990, 60010, { kind: 'flat' })],
    used: [],
    how: 'none',
    refused: {},
  },
];

const select = ({ rule = {}, frame = {}, records }: Pick<Case, 'rule' | 'frame' | 'records'>, pin?: Pin) =>
  selectCalibrations([{ ...RULE, ...rule }], { ...FRAME, ...frame }, records, pin);

describe('selection', () => {
  it.each(CASES.map((one) => [one.what, one] as const))('%s', (_what, one) => {
    const orders = [one.records, [...one.records].reverse()];
    for (const records of orders) {
      const explanation = select({ ...one, records });
      const [result] = explanation.results;
      const { candidates, ambiguities, warnings } = result!;
      const used = candidates.filter(({ verdict }) => verdict === 'used');
      const wanted = Array.isArray(one.used) ? Object.fromEntries(one.used.map((file) => [file, 1])) : one.used;
      expect(Object.fromEntries(used.map(({ record: { file }, weight }) => [file, weight]))).toEqual(wanted);
      expect(result!.how).toBe(one.how);
      expect(explanation.missing).toEqual(one.how === 'none' ? ['dark'] : []);
      for (const [file, reason] of Object.entries(one.refused ?? {})) {
        expect(candidates.find((c) => c.record.file === file)).toMatchObject({
          verdict: 'refused',
          weight: 0,
          reason: expect.stringContaining(reason),
        });
      }
      // Every record of the kind has a verdict, whatever it is.
      expect(candidates).toHaveLength(records.filter(({ kind }) => kind === 'dark').length);
      expect(ambiguities.join('\n')).toContain(one.ambiguous ?? '');
      expect(ambiguities).toHaveLength(one.ambiguous === undefined ? 0 : 1);
      expect(warnings.join('\n')).toContain(one.warns ?? '');
      expect(warnings).toHaveLength(one.warns === undefined ? 0 : 1);
    }
  });

  it('asks of an optional kind nothing, and lists all that is missing of others with what was refused', () => {
    const rules = [RULE, { ...RULE, kind: 'flat' }, { ...RULE, kind: 'persistence', required: false }];
    const records = [rec('far', 59000, 59500), rec('other', 59990, 60010, { kind: 'flat', chip: 'c' })];
    const explanation = selectCalibrations(rules, FRAME, records);
    expect(explanation.missing).toEqual(['dark', 'flat']);
    let error: unknown;
    try {
      requireComplete(explanation, '/calib');
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(CalibrationError);
    expect((error as CalibrationError).exitCode).toBe(22);
    expect((error as CalibrationError).describe()).toBe(
      '/calib: no dark, no flat for apo chip a at MJD 60000 (2023-02-25T00:00:00.000): dark (none is near enough; refused ' +
        'far: its window [59000, 59500) ends 500 d before the frame, and the limit is 10 d); flat (there is none for this ' +
        'detector; refused 1 of other detectors or modes)',
    );
    requireComplete(selectCalibrations([rules[2]!], FRAME, records));
  });

  it('writes windows with their open ends', () => {
    expect(windowText({ validFrom: undefined, validTo: 60000.25 })).toBe('[open, 60000.25)');
    expect(windowText({ validFrom: 60000.123456, validTo: undefined })).toBe('[60000.1235, open)');
  });
});

describe('a pin', () => {
  const old = rec('old', 59000, 59100, { dataTo: 1 });
  const fresh = rec('fresh', 59990, 60010, { dataTo: 2 });
  const pinOf = (...records: readonly [CalibrationRecord, number][]): Pin => ({
    name: 'dr20',
    mjd: 59050,
    entries: records.map(([{ kind, tele, chip, sha256 }, weight]) => ({ kind, tele, chip, sha256, weight })),
  });

  it('takes exactly what it holds, and says what is odd about it', () => {
    const [result] = select({ records: [old, fresh] }, pinOf([old, 1])).results;
    expect(result).toMatchObject({ how: 'pinned', ambiguities: [] });
    expect(result!.candidates.map(({ record: { file }, verdict }) => [file, verdict])).toEqual([
      ['old', 'used'],
      ['fresh', 'refused'],
    ]);
    expect(result!.candidates[1]!.reason).toBe('it is not in the pin dr20');
    expect(result!.warnings).toEqual(['old is pinned, and its window [59000, 59100) ends 900 d before the frame']);
    const failed = { ...fresh, grade: 'fail' as const };
    expect(select({ records: [failed] }, pinOf([failed, 1])).results[0]!.warnings).toEqual([
      'fresh is pinned, and its grade is fail',
    ]);
  });

  it('keeps the weights of an interpolation, and is whole or nothing', () => {
    const next = rec('next', 60020, 60030);
    const pin = pinOf([old, 0.25], [next, 0.75]);
    expect(select({ records: [old, fresh, next] }, pin).results[0]!.candidates.map(({ weight }) => weight)).toEqual([
      0.75, 0.25, 0,
    ]);
    const half = select({ records: [old, fresh] }, pin);
    expect(half.missing).toEqual(['dark']);
    expect(half.results[0]!.summary).toContain(`no file of sha256 ${next.sha256}`);
  });

  it('without an entry for the detector leaves it without', () => {
    const explanation = select({ records: [old, fresh] }, { name: 'empty', mjd: 60000, entries: [] });
    expect(explanation.missing).toEqual(['dark']);
    expect(() => requireComplete(explanation)).toThrow('in the pin empty');
  });
});

describe('what is told of a choice', () => {
  const records = [
    rec('A', 59990, 60010, { dataTo: 2 }),
    rec('B', 59990, 60010, { dataTo: 1 }),
    rec('C', 59990, 60010, { chip: 'b' }),
    rec('D', 59990, 60010, { tele: 'lco' }),
  ];
  const explanation = selectCalibrations([RULE], FRAME, records, undefined, [{ file: 'E', reason: 'it is cut short' }]);

  it('goes into PROVENANCE, refused candidates too', () => {
    expect(toProvenance(explanation).map(({ name, used, sha256 }) => [name, used, sha256])).toEqual([
      ['A', true, records[0]!.sha256],
      ['B', false, records[1]!.sha256],
      ['2 other files', false, ''],
      ['E', false, ''],
    ]);
    const [used, refused, others] = toProvenance(explanation);
    expect(used!.why).toContain('contains the frame; the newest of 2 that do; 2 windows contain the frame');
    expect(refused!.why).toContain('A is newer');
    expect(others!.why).toBe('of other detectors or modes: apo b, lco a');
  });

  it('is a text with every candidate', () => {
    const text = explanationText(explanation, { all: true });
    for (const { file } of records) expect(text).toContain(`${file}: `);
    const short = explanationText(explanation);
    expect(short).toContain('A: ');
    expect(short).toContain('refused  2 of other detectors or modes');
    expect(short).not.toContain("it is for chip 'b'");
    expect(text).toContain('E: it is cut short');
    expect(text).toContain('all that is required is there');
    expect(explanationText(selectCalibrations([RULE], FRAME, []))).toContain(
      'MISSING: there is none for this detector',
    );
  });
});
