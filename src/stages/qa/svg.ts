/** Line plots as SVG: axes, ticks, a legend. Colours of text and lines come from the page's or the file's style. */
import { isoFromMjd } from '../../core/time.js';

export interface Series {
  readonly name?: string;
  /** In the order of x; a point whose value is not finite breaks the line. */
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly colour?: string;
  /** 'step': a histogram, each point at the left edge of its bin, the last closing it. 'dots': marked points joined by a line; 'points': not joined. */
  readonly style?: 'line' | 'step' | 'dots' | 'points';
  /** Of each point, drawn as a bar up and down; not finite or 0: none. */
  readonly errors?: readonly number[];
}

export interface Axis {
  readonly label: string;
  /** Range to show; from the data where it is not given. */
  readonly range?: readonly [number, number];
  /** Powers of ten; values at or below 0 are shown at the lower edge. */
  readonly log?: boolean;
  /** MJD, with dates below. */
  readonly dates?: boolean;
}

export interface Plot {
  /** Said by screen readers, and the title of a file of its own. */
  readonly title: string;
  readonly width?: number;
  readonly height?: number;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  /** Vertical lines. */
  readonly marks?: readonly number[];
  /** false: series have names for programs alone. */
  readonly legend?: boolean;
  /** A picture (PNG) that fills the frame: its edges are the ends of both ranges. */
  readonly under?: Buffer;
}

/** Safe in text and attributes of HTML and SVG. */
export function escapeMarkup(text: string): string {
  const names: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (c) => names[c] as string).replace(/\p{Cc}/gu, ' ');
}

/** A number in as few characters as say it. */
export function shortNumber(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e6) return String(value);
  if (size >= 1e5 || size < 1e-3)
    return value
      .toExponential(2)
      .replace(/\.?0+e/, 'e')
      .replace('e+', 'e');
  return String(Number(value.toPrecision(4)));
}

/** Round numbers inside a range, about `wanted` of them: steps of 1, 2 or 5 times a power of ten. */
export function ticks(low: number, high: number, wanted: number): number[] {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find((m) => m * power >= 0.7 * rough) as number) * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function extent(values: readonly number[], log: boolean): [number, number] {
  const known = values.filter((v) => Number.isFinite(v) && (!log || v > 0));
  if (known.length === 0) return log ? [0.5, 10] : [0, 1];
  const low = known.reduce((a, b) => Math.min(a, b));
  const high = known.reduce((a, b) => Math.max(a, b));
  if (log) return [Math.max(low / 1.5, Number.MIN_VALUE), high * 1.5];
  const margin = high > low ? 0.05 * (high - low) : Math.abs(high) * 0.01 || 1;
  return [low - margin, high + margin];
}

/** Widths of text are not known here; this is that of the common sans-serif fonts at 12 px, generously. */
const CHARACTER = 6.8;
const TEXT = 12;

/** Digits that tell neighbouring ticks apart, and a common power of ten where numbers would be long. */
function labels(values: readonly number[]): string[] {
  const step = values.length > 1 ? Math.abs((values[1] as number) - (values[0] as number)) : Math.abs(values[0] ?? 1);
  const largest = Math.max(...values.map(Math.abs));
  if (largest >= 1e6 || (largest > 0 && largest < 1e-3)) {
    const digits = Math.max(0, Math.ceil(Math.log10(largest / step) - 1e-9));
    return values.map((v) => (v === 0 ? '0' : v.toExponential(Math.min(digits, 6)).replace('e+', 'e')));
  }
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return values.map((v) => v.toFixed(Math.min(decimals, 8)));
}

/** Ticks of a logarithmic axis: every power of ten, or every few of them; 1, 2 and 5 times where there are at most two. */
function logTicks(low: number, high: number, wanted: number): number[] {
  const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (to - from <= 1) {
    const all = [from - 1, from, from + 1, from + 2].flatMap((p) => [1, 2, 5].map((m) => m * 10 ** p));
    return all.filter((v) => v >= low && v <= high);
  }
  const step = Math.ceil((to - from + 1) / wanted);
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
    .filter((p) => (p - from) % step === 0)
    .map((p) => 10 ** p);
}

interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
  readonly labels: readonly string[];
}

function scaleOf(axis: Axis, values: readonly number[], from: number, to: number, wanted: number): Scale {
  const [low, high] = axis.range ?? extent(values, axis.log === true);
  if (axis.log === true) {
    const span = Math.log10(high / low);
    const at = (v: number) => from + ((to - from) * Math.max(0, Math.log10(Math.max(v, low) / low))) / span;
    const found = logTicks(low, high, wanted);
    return {
      at,
      ticks: found,
      labels: found.map((v) => (v >= 1e5 || v < 1e-3 ? v.toExponential(0).replace('e+', 'e') : String(v))),
    };
  }
  const found = ticks(low, high, wanted);
  return { at: (v) => from + ((to - from) * (v - low)) / (high - low), ticks: found, labels: labels(found) };
}

const n = (value: number) => String(Math.round(value * 10) / 10);

function pathOf({ points, style }: Series, x: Scale, y: Scale): string {
  let d = '';
  let pen = false;
  for (const [i, [u, v]] of points.entries()) {
    if (!Number.isFinite(v)) {
      pen = false;
      continue;
    }
    const [px, py] = [n(x.at(u)), n(y.at(v))];
    if (style === 'step') {
      const end = points[i + 1]?.[0];
      d += `${pen ? 'L' : 'M'}${px} ${py}${end === undefined ? '' : `L${n(x.at(end))} ${py}`}`;
    } else if (style === 'points') d += `M${px} ${py}h0`;
    else d += `${pen ? 'L' : 'M'}${px} ${py}`;
    pen = true;
  }
  return d;
}

function barsOf(points: Series['points'], errors: readonly number[], x: Scale, y: Scale): string {
  return points
    .map(([u, v], i) => {
      const error = errors[i] as number;
      if (!(Number.isFinite(v) && error > 0)) return '';
      return `M${n(x.at(u))} ${n(y.at(v - error))}V${n(y.at(v + error))}`;
    })
    .join('');
}

/** A picture inside a drawing, its pixels with sharp edges. */
export function pngImage(png: Buffer, x: number, y: number, width: number, height: number): string {
  return `<image x="${n(x)}" y="${n(y)}" width="${n(width)}" height="${n(height)}" preserveAspectRatio="none" style="image-rendering:pixelated" href="data:image/png;base64,${png.toString('base64')}"/>`;
}

/** Where legends begin: with the label of the axis, so that four amplifiers fit on one line. */
const LEGEND_LEFT = 14;

/** A line, a name and the space behind it; names of bits are of capitals, which are wider. */
const legendWidth = (name: string) => 36 + name.length * 6.2 + name.replace(/[^A-Z_]/g, '').length * 2.3;

/** Rows of the legend, each of those entries that fit beside one another. */
function legendRows(names: readonly string[], width: number): string[][] {
  const rows: string[][] = [[]];
  let used = 0;
  for (const name of names) {
    const need = legendWidth(name);
    if (used + need > width && used > 0) {
      rows.push([]);
      used = 0;
    }
    rows.at(-1)!.push(name);
    used += need;
  }
  return rows;
}

/** What an SVG file of its own needs to be readable on a light and on a dark ground. */
const OWN_STYLE =
  '<style>svg{background:#fff;color:#1b1f24}@media(prefers-color-scheme:dark){svg{background:#14171a;color:#e4e7ea}}' +
  'text{font:12px system-ui,sans-serif;fill:currentColor}.grid{stroke:currentColor;opacity:.14}.frame{stroke:currentColor;opacity:.55;fill:none}' +
  '.curve{fill:none;stroke-width:1.3;stroke-linejoin:round}.mark{stroke:currentColor;stroke-dasharray:3 3;opacity:.6}</style>';

/**
 * Draws a plot. Every attribute is plain SVG 1.1; nothing outside the text is referred to.
 * @param own a file of its own: with namespace and style
 */
export function drawPlot(plot: Plot, own = false): string {
  const { width = 440, height = 250, series } = plot;
  const named = plot.legend === false ? [] : series.filter(({ name }) => name !== undefined);
  const legend =
    named.length === 0
      ? []
      : legendRows(
          named.map(({ name }) => name as string),
          width - 20,
        );
  const top = own ? 30 : 8;
  const bottom = height - (plot.x.dates === true ? 52 : 38) - legend.length * 18;
  const allX = series.flatMap(({ points }) => points.map(([u]) => u));
  const allY = series.flatMap(({ points, errors = [] }) =>
    points.flatMap(([, v], i) => {
      const error = errors[i] ?? 0;
      return error > 0 ? [v - error, v, v + error] : [v];
    }),
  );
  const y = scaleOf(plot.y, allY, bottom, top, Math.max(2, Math.round((bottom - top) / 40)));
  const left = 26 + Math.max(18, ...y.labels.map((text) => text.length * CHARACTER));
  const right = width - 14;
  const spacing = plot.x.dates === true ? 110 : 76;
  const x = scaleOf(plot.x, allX, left, right, Math.max(2, Math.round((right - left) / spacing)));
  const out: string[] = own
    ? [`<text x="${n(left)}" y="20" style="font-weight:600">${escapeMarkup(plot.title)}</text>`]
    : [];
  if (plot.under !== undefined) out.push(pngImage(plot.under, left, top, right - left, bottom - top));
  for (const [i, v] of y.ticks.entries()) {
    const at = n(y.at(v));
    out.push(`<path class="grid" d="M${n(left)} ${at}H${n(right)}"/>`);
    out.push(`<text x="${n(left - 5)}" y="${n(y.at(v) + 4)}" text-anchor="end">${y.labels[i]}</text>`);
  }
  for (const [i, v] of x.ticks.entries()) {
    const at = x.at(v);
    out.push(`<path class="grid" d="M${n(at)} ${top}V${n(bottom)}"/>`);
    // A label at the edge must not leave the picture.
    const texts = [x.labels[i] as string, ...(plot.x.dates === true ? [isoFromMjd(v).slice(0, 10)] : [])];
    const half = (Math.max(...texts.map((text) => text.length)) * CHARACTER) / 2;
    const centre = Math.min(Math.max(at, half), width - half);
    for (const [line, text] of texts.entries()) {
      out.push(`<text x="${n(centre)}" y="${n(bottom + 15 + 14 * line)}" text-anchor="middle">${text}</text>`);
    }
  }
  for (const mark of plot.marks ?? []) {
    const at = x.at(mark);
    if (at > left && at < right) out.push(`<path class="mark" d="M${n(at)} ${top}V${n(bottom)}"/>`);
  }
  out.push(`<rect class="frame" x="${n(left)}" y="${top}" width="${n(right - left)}" height="${n(bottom - top)}"/>`);
  const colour = (one: Series) => one.colour ?? 'currentColor';
  for (const one of series) {
    const name = one.name === undefined ? '' : `<title>${escapeMarkup(one.name)}</title>`;
    const round = one.style === 'points' ? ' style="stroke-width:4;stroke-linecap:round"' : '';
    out.push(`<path class="curve"${round} stroke="${colour(one)}" d="${pathOf(one, x, y)}">${name}</path>`);
    if (one.errors !== undefined) {
      out.push(`<path class="curve" stroke="${colour(one)}" d="${barsOf(one.points, one.errors, x, y)}"/>`);
    }
    if (one.style !== 'dots') continue;
    for (const [u, v] of one.points) {
      if (Number.isFinite(v)) out.push(`<circle cx="${n(x.at(u))}" cy="${n(y.at(v))}" r="3" fill="${colour(one)}"/>`);
    }
  }
  const labelY = bottom + (plot.x.dates === true ? 46 : 31);
  out.push(
    `<text x="${n((left + right) / 2)}" y="${n(labelY)}" text-anchor="middle">${escapeMarkup(plot.x.label)}</text>`,
  );
  const middle = n((top + bottom) / 2);
  out.push(
    `<text x="${TEXT}" y="${middle}" text-anchor="middle" transform="rotate(-90 ${TEXT} ${middle})">${escapeMarkup(plot.y.label)}</text>`,
  );
  for (const [line, names] of legend.entries()) {
    let at = LEGEND_LEFT;
    for (const name of names) {
      const one = named.find((s) => s.name === name) as Series;
      const base = labelY + 18 * (line + 1);
      out.push(`<path class="curve" stroke="${colour(one)}" stroke-width="3" d="M${n(at)} ${n(base - 4)}h18"/>`);
      out.push(`<text x="${n(at + 24)}" y="${n(base)}">${escapeMarkup(name)}</text>`);
      at += legendWidth(name);
    }
  }
  const title = escapeMarkup(plot.title);
  const size = own ? ` xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"` : '';
  return `<svg${size} viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">${own ? OWN_STYLE : ''}<title>${title}</title>${out.join('')}</svg>`;
}
