import { describe, expect, it } from 'vitest';
import { record } from '../../test/calibrations.js';
import type { CalibrationRule } from '../core/product.js';
import { checkCalibrations } from './check.js';
import type { CalibrationRecord } from './product.js';
import { timelineOf, timelineSvg } from './timeline.js';

const rec = (file: string, from?: number, to?: number, more: Partial<CalibrationRecord> = {}) =>
  record({ file, validFrom: from, validTo: to, ...more });

describe('the timeline', () => {
  const lane = (records: readonly CalibrationRecord[], mjd = 60_000) => timelineOf(records, mjd)[0]!;

  it('finds gaps and overlaps between windows, closed and open', () => {
    const { windows, gaps, overlaps } = lane([
      rec('C', 60_020, undefined),
      rec('A', undefined, 60_000),
      rec('B', 59_990, 60_010),
    ]);
    expect(gaps).toEqual([{ from: 60_010, to: 60_020 }]);
    expect(overlaps).toEqual([{ from: 59_990, to: 60_000, files: ['A', 'B'] }]);
    expect(windows.map(({ file, row, current }) => [file, row, current])).toEqual([
      ['A', 0, false],
      ['B', 1, true],
      ['C', 0, false],
    ]);
  });

  it('windows that touch have neither', () => {
    const { gaps, overlaps, windows } = lane([rec('A', 59_990, 60_000), rec('B', 60_000, 60_010)]);
    expect({ gaps, overlaps }).toEqual({ gaps: [], overlaps: [] });
    expect(windows.map(({ row, current }) => [row, current])).toEqual([
      [0, false],
      [0, true],
    ]);
  });

  it('open on both sides overlap without end, and nothing is a gap', () => {
    const { gaps, overlaps } = lane([rec('A'), rec('B')]);
    expect(gaps).toEqual([]);
    expect(overlaps).toEqual([{ from: undefined, to: undefined, files: ['A', 'B'] }]);
  });

  it('a window that failed covers nothing', () => {
    const { gaps, overlaps, windows } = lane([rec('A', 1, 2), rec('B', 1, 4, { grade: 'fail' }), rec('C', 3, 4)]);
    expect({ gaps, overlaps }).toEqual({ gaps: [{ from: 2, to: 3 }], overlaps: [] });
    expect(windows).toHaveLength(3);
  });

  it('has a lane for each kind, detector and mode', () => {
    const lanes = timelineOf(
      [rec('A'), rec('B', 1, 2, { chip: 'b' }), rec('C', 1, 2, { kind: 'flat' }), rec('D', 1, 2, { readMode: 'UTR' })],
      0,
    );
    expect(lanes.map(({ kind, tele, chip, mode }) => [kind, tele, chip, mode].join(' ').trim())).toEqual([
      'dark apo a',
      'dark apo a UTR',
      'dark apo b',
      'flat apo a',
    ]);
  });

  it('is drawn with every window, gap and overlap, whatever the names', () => {
    const records = [rec('<A & "B">.fits', 59_990, 60_000), rec('C', 59_995, 60_001), rec('D', 60_010, undefined)];
    const svg = timelineSvg(timelineOf(records, 60_000.5), 60_000.5, 'a < b');
    expect(svg).toContain('<title>&lt;A &amp; &quot;B&quot;&gt;.fits [59990, 60000) pass</title>');
    expect(svg).toContain('<title>gap [60001, 60010)</title>');
    expect(svg).toContain('<title>overlap [59995, 60000): &lt;A &amp; &quot;B&quot;&gt;.fits, C</title>');
    expect(svg).toContain('MJD 60000.5 (2023-02-25T12:00)');
    expect(svg).toContain('a &lt; b');
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    // Every element is closed: as many ends as beginnings.
    expect(svg.match(/<(?!\/)[a-z]+/gi)).toHaveLength(
      (svg.match(/<\/[a-z]+>/gi)?.length ?? 0) + (svg.match(/\/>/g)?.length ?? 0),
    );
    expect(timelineSvg(timelineOf([rec('A')], 60_000), 60_000, '')).not.toMatch(/NaN|Infinity/);
    expect(timelineSvg([], 60_000, '')).not.toMatch(/NaN|Infinity/);
  });

  it('has dates as ticks, from days to decades', () => {
    const dates = (from: number, to: number) =>
      [
        ...timelineSvg(timelineOf([rec('A', from, to)], from), from, '').matchAll(
          />(\d{4}(?:-\d\d(?:-\d\d)?)?)<\/text>/g,
        ),
      ].map(([, label]) => label!);
    expect(dates(60_000, 60_010)).toContain('2023-02-27');
    expect(dates(60_000, 60_300)).toContain('2023-06');
    expect(dates(50_000, 60_000)).toContain('2010');
    for (const [from, to] of [
      [60_000, 60_001],
      [60_000, 60_070],
      [0, 60_000],
    ] as const)
      expect(dates(from, to).length).toBeLessThan(20);
  });
});

describe('the check', () => {
  const rule = (kind: string, required: boolean): CalibrationRule => ({
    kind,
    usedBy: 'calibrate',
    required,
    match: ['tele', 'chip'],
    grades: ['pass', 'warn'],
    nearest: { side: 'either', limitDays: 180, warnDays: 30 },
    interpolate: true,
  });
  const rules = [rule('dark', true), rule('flat', true), rule('persistence', false)];
  const frames = [{ tele: 'apo', chip: 'a', mjd: 60_000 }];
  const flat = rec('flat', undefined, undefined, { kind: 'flat' });
  const check = (records: readonly CalibrationRecord[], within = 7) =>
    checkCalibrations(rules, [flat, ...records], frames, within).map(
      ({ level, kind, what }) => `${level} ${kind} ${what}`,
    );

  it('tells what is missing, but of optional kinds nothing', () => {
    expect(check([])).toEqual(['error dark missing']);
    expect(check([rec('A', 59_000, 59_100)])).toEqual(['error dark missing']);
  });

  it('tells of windows that end soon, unless another follows', () => {
    const soon = rec('A', 59_990, 60_007);
    expect(check([soon])).toEqual(['warning dark expires']);
    expect(check([soon], 6.9)).toEqual([]);
    expect(check([soon, rec('B', 60_007, 60_100)])).toEqual([]);
    expect(check([soon, rec('B', 60_008, 60_100)])).toEqual(['warning dark expires']);
    expect(check([soon, rec('B', 60_007, 60_100, { grade: 'fail' })])).toEqual(['warning dark expires']);
    expect(check([rec('A', 59_990, undefined)], 1e5)).toEqual([]);
  });

  it('tells of overlaps, grades, and windows that stand in', () => {
    expect(check([rec('A', 59_990), rec('B', 59_991)])).toEqual(['warning dark overlap']);
    expect(check([rec('A', 59_990, undefined, { grade: 'warn' })])).toEqual(['warning dark grade']);
    expect(check([rec('A', 59_900, 59_999)])).toEqual(['warning dark outside']);
    expect(check([rec('A', 59_900, 59_960)])).toEqual(['warning dark outside', 'warning dark outside']);
  });
});
