import { describe, expect, it } from 'vitest';
import { spectrograph } from '../src/instruments/apogee/fibres.js';
import { type Detector, type Identification, identifyFibres } from '../src/stages/trace/identify.js';
import type { CollapsedRows } from '../src/stages/trace/peaks.js';
import { collapsed, compare, drawOf, LAMP, Numbers, sceneOf, WIDTH } from './fibre_draws.mjs';

type Scene = ReturnType<typeof sceneOf>;
const scene = (detector: Detector, change = {}): Scene => sceneOf(spectrograph, detector, change);

const find = (of: Scene, prior?: Float64Array, detector = of.detector): Identification =>
  identifyFibres(collapsed(of, new Numbers(1)), { spectrograph, detector, prior });
const [apoA, apoB, apoC, , lcoB] = spectrograph.detectors as [Detector, Detector, Detector, Detector, Detector];
describe('identification of fibres', () => {
  // 1,002 draws of dead fibres, shifts, scales, lamp levels and rows
  it.each(spectrograph.detectors)('tells all 300 fibres of $tele $chip in each of 167 random draws', (detector) => {
    const failed: string[] = [];
    let squares = 0;
    let measured = 0;
    for (let draw = 0; draw < 167; draw++) {
      const { scene: of, light } = drawOf(spectrograph, detector, draw);
      const found = identifyFibres(light, { spectrograph, detector });
      const { wrong, states } = compare(found, of);
      if (wrong + states > 0) failed.push(`draw ${draw}: ${wrong} fibres wrong, ${states} states`);
      found.fibres.forEach(({ measured: is, y }, i) => {
        if (!is) return;
        squares += (y - of.rows[i]!) ** 2;
        measured++;
      });
    }
    expect(failed).toEqual([]);
    expect(Math.sqrt(squares / measured)).toBeLessThan(0.005);
  });

  it('measures shift and scale, and tells a shift of half a spacing', () => {
    const found = find(scene(apoB, { shift: 3.3, scale: 3e-4 }));
    expect(found.shift).toBeCloseTo(3.3, 1);
    expect(found.scale).toBeCloseTo(3e-4, 4);
    expect(found.margin).toBeGreaterThan(100);
    expect(found.warnings).toEqual([
      expect.stringMatching(
        /^the fibres lie 3\.3\d px from where metrology has them, 0\.50 of their spacing; the gaps/,
      ),
    ]);
    expect(find(scene(apoB, { shift: 1 })).warnings).toEqual([]);
  });

  it('reports faint fibres as low, and two that run into one another as blended, with rows from their neighbours', () => {
    const of = scene(apoA);
    of.light[100] = 0.1 * LAMP;
    of.light[101] = 0.015 * LAMP;
    const honest = of.rows[200]!;
    of.rows[200] = of.rows[201]! - 1.2;
    const { fibres } = find(of);
    const states = Object.fromEntries(fibres.flatMap(({ state }, i) => (state === 'ok' ? [] : [[i, state]])));
    expect(states).toEqual({ 100: 'low', 101: 'broken', 200: 'blended', 201: 'blended' });
    expect(fibres[100]!.y).toBeCloseTo(of.rows[100]!, 1);
    expect(fibres[200]!.y).toBeCloseTo(honest, 1);
    expect(fibres[200]!.measured).toBe(false);
  });

  it('tells fibres of rows that the band lost as confused, and light that is no fibre as extra', () => {
    const of = scene(apoA, { dead: [50] });
    const light = collapsed(of, new Numbers(1));
    for (let row = Math.floor(of.rows[70]! - 3); row < of.rows[70]! + 3; row++) light.profile[row] = Number.NaN;
    light.profile[Math.round(of.rows[50]! + 2)]! += 400;
    const { fibres, extra, warnings } = identifyFibres(light, { spectrograph, detector: apoA });
    expect([fibres[50]!.state, fibres[70]!.state, extra.length]).toEqual(['broken', 'blended', 1]);
    expect(fibres[70]!.y).toBeCloseTo(of.rows[70]!, 1);
    expect(warnings).toEqual([expect.stringMatching(/^[67] of 2048 rows have no usable pixel$/)]);
  });

  it('takes the rows of an earlier flat of this detector, and refuses those of another or a fibre off', () => {
    const of = scene(apoB, { shift: 2, dead: [10, 11, 12] });
    const moved = of.rows.map((row, i) => row + (i > 9 && i < 14 ? 0.4 : 0));
    const now = { ...of, rows: moved };
    const good = find(
      now,
      moved.map((row) => row - 0.2),
    );
    expect([good.from, good.warnings]).toEqual(['prior', []]);
    // A row that metrology does not have
    expect(good.fibres[11]!.y).toBeCloseTo(moved[11]!, 1);
    const off = find(
      now,
      moved.map((row, i) => moved[i + 1] ?? row + 6.6),
    );
    expect([off.from, compare(off, of).wrong]).toEqual(['metrology', 0]);
    expect(off.warnings).toEqual([
      expect.stringMatching(/not used: they lie -6\.\d+ px from these fibres, more than half of a spacing/),
    ]);
    expect(find(now, spectrograph.positions(apoC)).warnings[0]).toContain('not used: their fibres lie otherwise');
    expect(find(now, new Float64Array(3)).warnings[0]).toContain('expected 300 fibres, received 3');
  });

  it.each([
    [apoB, apoC],
    [apoC, apoB],
    [apoA, apoB],
    [apoB, lcoB],
  ])('says which detector it is where $0 $1 were swapped', (claimed, real) => {
    for (const shift of [0, 3]) {
      expect(() => find(scene(real, { shift, level: 0.03 }), undefined, claimed)).toThrow(
        new RegExp(
          `^swapped detector: expected the fibres of ${claimed.tele} ${claimed.chip} .* those of ${real.tele} ${real.chip} do`,
        ),
      );
    }
  });

  it('refuses a lamp that is off, nearly off or saturated, lost rows, and fibres that are nobody’s', () => {
    expect(() => find(scene(apoA, { level: 0 }))).toThrow(/^no lamp|^too few fibres/);
    expect(() => find(scene(apoA, { dead: Array.from({ length: 200 }, (_, i) => i) }))).toThrow(
      'too few fibres: expected 150 of 300 at least, received 100',
    );
    const light = collapsed(scene(apoA), new Numbers(1));
    const tell = (change: Partial<CollapsedRows>) => () =>
      identifyFibres({ ...light, ...change }, { spectrograph, detector: apoA });
    expect(tell({ full: light.full.map((_, row) => (row % 6 === 0 ? WIDTH : 0)) })).toThrow(
      'saturated lamp: expected at most 102 rows that are saturated in most columns, received 342 of 2048',
    );
    expect(tell({ profile: light.profile.map((value, row) => (row % 3 === 0 ? Number.NaN : value)) })).toThrow(
      '683 of 2048 rows have none',
    );
    const even = { ...scene(apoA), rows: Float64Array.from({ length: 300 }, (_, i) => 20 + 6.7 * i) };
    expect(() => find(even)).toThrow('no other detector fits');
  });

  it('takes the nearest rows on a strip, unless that could be either neighbour', () => {
    const strip = { height: 128 };
    const found = find(scene(apoA, { ...strip, shift: 2 }));
    expect(found.fibres.filter(({ measured }) => measured).length).toBe(16);
    expect(found.fibres[3]!.y).toBeCloseTo(spectrograph.positions(apoA)[3]! + 2, 1);
    expect(found.fibres[200]!.state).toBe('off-chip');
    expect(() => find(scene(apoA, { ...strip, shift: 3.3 }))).toThrow('cannot be told apart');
  });
});
