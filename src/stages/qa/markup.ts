/** Pieces of pages: style, tables, figures, numbers; escaped text and nothing from outside. */
import type { Check } from './assess.js';
import { bitColour } from './colours.js';
import type { Limits, MapStyle } from './picture.js';
import { shortNumber, escapeMarkup as text } from './svg.js';

const STYLE = `
:root{color-scheme:light dark;--ground:#fff;--panel:#f3f5f7;--ink:#1b1f24;--soft:#59636e;--line:#d5dae0;--pass:#1a7f37;--warn:#9a6700;--fail:#cf222e;--other:#59636e}
@media(prefers-color-scheme:dark){:root{--ground:#14171a;--panel:#1e2327;--ink:#e4e7ea;--soft:#a0a9b2;--line:#363d44;--pass:#4ac26b;--warn:#e3b341;--fail:#ff7b72;--other:#a0a9b2}}
*{box-sizing:border-box}
body{margin:0 auto;padding:16px;max-width:1120px;background:var(--ground);color:var(--ink);font:15px/1.45 system-ui,sans-serif}td,dd,p,li,figcaption{overflow-wrap:anywhere}th{white-space:nowrap}
h1{font-size:1.45rem;line-height:1.2;margin:.2em 0}h2{font-size:1.15rem;margin:1.6em 0 .5em;border-bottom:1px solid var(--line);padding-bottom:.2em}h3{font-size:1rem;margin:1.2em 0 .3em}
p{margin:.4em 0}.soft,figcaption{color:var(--soft);font-size:.86rem}
.badge{display:inline-block;padding:.05em .55em;border-radius:.8em;border:1.5px solid currentColor;font-weight:600;font-size:.85em;white-space:nowrap}
.pass{color:var(--pass)}.warn{color:var(--warn)}.fail{color:var(--fail)}.other{color:var(--other)}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,380px),1fr));gap:18px;align-items:start}
figure{margin:0;break-inside:avoid;min-width:0}figure svg,figure img{display:block;width:100%;height:auto;background:var(--panel);border-radius:4px}
figure img.cells{image-rendering:pixelated}figcaption{margin-top:.35em}figure+figure{margin-top:14px}.figures>figure+figure{margin-top:0}
.bar{margin-top:6px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{padding:.28em .6em .28em 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:600}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.number{color:var(--soft);font-size:.82em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em .9em;margin:.6em 0}dt{color:var(--soft)}dd{margin:0}
.bit{white-space:nowrap}.swatch{display:inline-block;width:.85em;height:.85em;border-radius:2px;margin-right:.45em;vertical-align:-.08em}
ul{margin:.3em 0;padding-left:1.2em}
svg text{font:12px system-ui,sans-serif;fill:currentColor}svg .grid{stroke:currentColor;opacity:.14}svg .frame{stroke:currentColor;opacity:.55;fill:none}
svg .curve{fill:none;stroke-width:1.3;stroke-linejoin:round}svg .mark{stroke:currentColor;stroke-dasharray:3 3;opacity:.6}
details{margin:.6em 0}summary{cursor:pointer}
.checks td{overflow-wrap:normal}
@media(max-width:640px){.checks thead{display:none}.checks tr{display:grid;grid-template-columns:4.6em 1fr;gap:.1em .6em;padding:.45em 0;border-bottom:1px solid var(--line)}.checks td,.checks td.n{border:0;padding:0;grid-column:2;text-align:left;white-space:normal}.checks td:first-child{grid-column:1;grid-row:1/4}.checks .badge{white-space:normal}.checks br{display:none}.checks .number{margin-left:.5em}}
@media print{:root{--ground:#fff;--panel:#fff;--ink:#000;--soft:#444;--line:#bbb;--pass:#1a7f37;--warn:#9a6700;--fail:#cf222e;--other:#444}body{max-width:none;padding:0;font-size:10pt}.figures{grid-template-columns:repeat(2,minmax(0,1fr))}h2,h3{break-after:avoid}.scroll{overflow:visible}table{font-size:8.5pt}th,th.n{white-space:normal}th,td{padding-right:.4em}tr{break-inside:avoid}}
`;

/** A word in a rounded frame; pass, warn and fail have colours. */
export const badge = (verdict: string) =>
  `<span class="badge ${['pass', 'warn', 'fail'].includes(verdict) ? verdict : 'other'}">${text(verdict)}</span>`;
export const number = (value: number | null) => (value === null || !Number.isFinite(value) ? '–' : shortNumber(value));
export const count = (value: number) => value.toLocaleString('en-US').replaceAll(',', '\u202f');
/** A share that is not 0 is never shown as 0. */
export const percent = (part: number, whole: number) => {
  const value = (100 * part) / whole;
  if (value === 0) return '0 %';
  return value < 0.0005 ? '&lt;0.001 %' : `${Number(value.toPrecision(3)).toFixed(value >= 10 ? 1 : 3)} %`;
};

export interface Cell {
  readonly html: string;
  readonly right?: boolean;
}
export const cell = (html: string): Cell => ({ html });
export const right = (html: string): Cell => ({ html, right: true });
export const bitCell = (bit: number, name: string): Cell =>
  cell(`<span class="bit"><span class="swatch" style="background:${bitColour(bit, name)}"></span>${text(name)}</span>`);

export function tableOf(head: readonly Cell[], rows: readonly (readonly Cell[])[], kind = ''): string {
  const line = (tag: string, cells: readonly Cell[]) =>
    `<tr>${cells.map((one) => `<${tag}${one.right === true ? ' class="n"' : ''}>${one.html}</${tag}>`).join('')}</tr>`;
  return `<div class="scroll"><table${kind === '' ? '' : ` class="${kind}"`}><thead>${line('th', head)}</thead><tbody>${rows.map((row) => line('td', row)).join('')}</tbody></table></div>`;
}

export const figure = (inside: string, caption: string) =>
  `<figure>${inside}<figcaption>${caption}</figcaption></figure>`;

export function picture(png: Buffer, cols: number, rows: number, label: string, cells = false): string {
  const alternative = `alt="${text(label)}" title="${text(label)}"`;
  return `<img${cells ? ' class="cells"' : ''} src="data:image/png;base64,${png.toString('base64')}" width="${cols}" height="${rows}" ${alternative}>`;
}

export const unitText = (unit: string) => (unit === '' ? '' : ` ${text(unit)}`);

/** The colours of a picture with the values they stand for, 0 among them where it is inside. */
export function colourBar({ low, high }: Limits, { stops, softening }: MapStyle, unit: string, id: string): string {
  const [left, right_] = [34, 406];
  const place = (v: number) =>
    left + ((right_ - left) * Math.asinh((softening * (v - low)) / (high - low))) / Math.asinh(softening);
  const value = (t: number) => low + ((high - low) * Math.sinh(t * Math.asinh(softening))) / softening;
  const marks = [0, 0.25, 0.5, 0.75, 1].map(value);
  // Zero takes the place of the mark nearest to it.
  if (low < 0 && high > 0) {
    const nearest = marks.reduce((a, b) => (Math.abs(place(b) - place(0)) < Math.abs(place(a) - place(0)) ? b : a));
    marks[marks.indexOf(nearest)] = 0;
  }
  const colours = stops.map(
    (rgb, i) => `<stop offset="${i / (stops.length - 1)}" stop-color="rgb(${rgb.join(',')})"/>`,
  );
  // As many digits as tell the marks apart.
  const decimals = 1 - Math.floor(Math.log10(high - low));
  const label = (v: number) =>
    decimals < -4 || decimals > 6 ? number(Number(v.toPrecision(3))) : v.toFixed(Math.max(0, decimals));
  const labels = marks.map((v) => {
    const at = Math.round(place(v) * 10) / 10;
    return `<path class="frame" d="M${at} 16v5"/><text x="${at}" y="34" text-anchor="middle">${v === 0 ? '0' : label(v)}</text>`;
  });
  return `<svg class="bar" viewBox="0 0 440 54" role="img" aria-label="colours from ${number(low)} to ${number(high)} ${text(unit)}"><defs><linearGradient id="${id}">${colours.join('')}</linearGradient></defs><rect class="frame" x="${left}" y="4" width="${right_ - left}" height="12" style="fill:url(#${id});opacity:1"/>${labels.join('')}<text x="220" y="50" text-anchor="middle">${text(unit === '' ? 'no unit' : unit)}</text></svg>`;
}

/** What a number is held to. */
export function limitText({ warn, fail, unit }: Pick<Check, 'warn' | 'fail' | 'unit'>): string {
  const range = ([low, high]: Check['warn'], words: readonly [string, string, string]) =>
    low === null
      ? `${words[0]} ${number(high)}`
      : high === null
        ? `${words[1]} ${number(low)}`
        : `${words[2]} ${number(low)} to ${number(high)}`;
  const failing =
    fail === null ? '' : `<br><span class="number">fails ${range(fail, ['above', 'below', 'outside'])}</span>`;
  return `${range(warn, ['≤', '≥', ''])}${unitText(unit)}${failing}`;
}

/** A document around a body: style, title, and nothing from outside; `style` adds to the common one. */
export function htmlDocument(title: string, body: string, style = ''): string {
  return `<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>${text(title)}</title>\n<style>${STYLE}${style}</style>\n</head>\n<body>\n${body}\n</body>\n</html>\n`;
}
