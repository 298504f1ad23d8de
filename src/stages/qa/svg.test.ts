import { describe, expect, it } from 'vitest';
import { drawPlot, escapeMarkup, shortNumber, ticks } from './svg.js';

describe('plots', () => {
  it('puts round numbers on an axis', () => {
    expect(ticks(0, 2047, 5)).toEqual([0, 500, 1000, 1500, 2000]);
    expect(ticks(-0.21, 0.3, 6)).toEqual([-0.2, -0.1, 0, 0.1, 0.2, 0.3]);
    expect(ticks(60000.2, 60003.9, 4)).toEqual([60001, 60002, 60003]);
  });
  it('writes numbers in few characters', () => {
    expect([0, 1, 0.07068, 65535, 65535.4, 1234567, 6e-7, -1.5e-12].map(shortNumber)).toEqual([
      '0',
      '1',
      '0.07068',
      '65535',
      '65540',
      '1.23e6',
      '6e-7',
      '-1.5e-12',
    ]);
  });
  it('places points by hand-made scales, breaks a line at NaN, and keeps 0 on a logarithmic axis', () => {
    const svg = drawPlot({
      title: 'a <plot>',
      x: { label: 'x', range: [0, 10] },
      y: { label: 'y', range: [1, 100], log: true },
      series: [
        {
          points: [
            [0, 1],
            [5, 10],
            [10, 100],
          ],
        },
        {
          points: [
            [0, 0],
            [5, Number.NaN],
            [10, 100],
          ],
        },
      ],
    });
    const paths = [...svg.matchAll(/class="curve" stroke="currentColor" d="([^"]*)"/g)].map(([, d]) => d as string);
    const numbers = (d: string) => [...d.matchAll(/[\d.]+/g)].map(Number);
    const [x0, y0, x1, y1, x2, y2] = numbers(paths[0] as string) as [number, number, number, number, number, number];
    expect(x1 - x0).toBeCloseTo(x2 - x1, 0); // a decade is half of the axis
    expect(y0 - y1).toBeCloseTo(y1 - y2, 0);
    expect(paths[1]).toBe(`M${x0} ${y0}M${x2} ${y2}`);
    expect(svg).toContain('a &lt;plot&gt;');
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });
  it('shows dates below the MJD, and is a file of its own when asked', () => {
    const point = [60857, 3] as const;
    const svg = drawPlot(
      {
        title: 't',
        x: { label: 'MJD', dates: true, range: [60856.5, 60857.5] },
        y: { label: 'n' },
        series: [{ name: 'HOT', points: [point], style: 'dots' }],
      },
      true,
    );
    expect(svg).toContain('2025-07-01');
    expect(svg).toContain('xmlns="http://www.w3.org/2000/svg"');
    expect(svg).toContain('<circle');
    expect(svg).toContain('>HOT</text>');
  });
  it('keeps the bars of errors inside the frame', () => {
    const svg = drawPlot({
      title: 't',
      x: { label: 'x' },
      y: { label: 'y' },
      series: [
        {
          points: [
            [0, 1],
            [1, 1.1],
          ],
          errors: [5, Number.NaN],
          style: 'points',
          colour: 'red',
        },
      ],
    });
    const [, top, height] = (/<rect class="frame"[^>]* y="([\d.]+)"[^>]* height="([\d.]+)"/.exec(svg) ?? []).map(
      Number,
    );
    const bars = /stroke="red" d="M[\d.]+ ([\d.]+)V([\d.]+)"/.exec(svg) ?? [];
    const ends = [Number(bars[1]), Number(bars[2])];
    expect(Math.min(...ends)).toBeGreaterThan(top as number);
    expect(Math.max(...ends)).toBeLessThan((top as number) + (height as number));
  });
  it('escapes what would be markup', () => {
    expect(escapeMarkup(`<a href="x">'&\u0007`)).toBe('&lt;a href=&quot;x&quot;&gt;&#39;&amp; ');
  });
});
