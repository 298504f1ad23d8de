/** Validity windows over time, for each kind and detector: as data and as a picture (SVG). Pure. */
import { isoFromMjd, mjdFromIso } from '../core/time.js';
import type { CalibrationRecord } from './product.js';
import { windowText } from './select.js';

export interface TimelineWindow {
  readonly file: string;
  readonly sha256: string;
  /** MJD; undefined for an open end. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly grade: CalibrationRecord['grade'];
  /** Whether the time that was asked for lies in it. */
  readonly current: boolean;
  /** Windows of a lane that overlap lie in different rows, from 0. */
  readonly row: number;
}

export interface Span {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

/** One kind of one detector. Windows that failed are shown and cover nothing. */
export interface Lane {
  readonly kind: string;
  readonly tele: string;
  readonly chip: string;
  /** Read mode and serial number, where a record states them. */
  readonly mode: string;
  readonly windows: readonly TimelineWindow[];
  readonly overlaps: readonly (Span & { readonly files: readonly string[] })[];
  /** Between the first begin and the last end, where there is no window. */
  readonly gaps: readonly Span[];
}

const begin = (span: Span) => span.from ?? Number.NEGATIVE_INFINITY;
const end = (span: Span) => span.to ?? Number.POSITIVE_INFINITY;
const open = (mjd: number) => (Number.isFinite(mjd) ? mjd : undefined);

/** The lanes of all records, by kind and detector. */
export function timelineOf(records: readonly CalibrationRecord[], mjd: number): Lane[] {
  const lanes = new Map<string, CalibrationRecord[]>();
  for (const record of records) {
    const key = [record.kind, record.tele, record.chip, record.readMode, record.serial].join('\0');
    lanes.set(key, [...(lanes.get(key) ?? []), record]);
  }
  return [...lanes]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, group]) => laneOf(group as [CalibrationRecord, ...CalibrationRecord[]], mjd));
}

function laneOf(group: [CalibrationRecord, ...CalibrationRecord[]], mjd: number): Lane {
  const { kind, tele, chip, readMode, serial } = group[0];
  const rowEnds: number[] = [];
  const windows = group
    .map((r) => ({ file: r.file, sha256: r.sha256, from: r.validFrom, to: r.validTo, grade: r.grade }))
    .sort((a, b) => begin(a) - begin(b) || end(a) - end(b) || (a.sha256 < b.sha256 ? -1 : 1))
    .map((window): TimelineWindow => {
      const free = rowEnds.findIndex((last) => last <= begin(window));
      const row = free < 0 ? rowEnds.length : free;
      rowEnds[row] = end(window);
      return { ...window, row, current: begin(window) <= mjd && mjd < end(window) };
    });
  const good = windows.filter(({ grade }) => grade !== 'fail');
  // Between two neighbouring edges nothing begins or ends.
  const edges = [...new Set(good.flatMap((w) => [begin(w), end(w)]))].sort((a, b) => a - b);
  const overlaps: { from?: number | undefined; to?: number | undefined; files: string[] }[] = [];
  const gaps: { from?: number | undefined; to?: number | undefined }[] = [];
  for (let i = 0; i + 1 < edges.length; i++) {
    const [from, to] = [edges[i] as number, edges[i + 1] as number];
    const files = good.filter((w) => begin(w) <= from && end(w) >= to).map(({ file }) => file);
    if (files.length === 0) gaps.push({ from: open(from), to: open(to) });
    if (files.length > 1) overlaps.push({ from: open(from), to: open(to), files });
  }
  const mode = [readMode, serial].filter((word) => word !== '').join(' ');
  return { kind, tele, chip, mode, windows, overlaps, gaps };
}

const WIDTH = 1280;
/** Kind on the left, detector with its serial number on the right: room for some 20 letters. */
const LABELS = 260;
const RIGHT = 24;
const ROW = 20;
const LANE_GAP = 10;
const TOP = 86;
/** Gaps narrower than this [px] are drawn as a black line of this width. */
const NARROW = 3;
const CHARACTER = 6.3; // of the 11 px font, on average
const FILLS = { pass: '#4d84b8', warn: '#e0a030', fail: '#ffffff' } as const;

const xml = (text: string) =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c] as string);
const n = (value: number) => String(Number(value.toFixed(2)));

/** A step of 1, 2 or 5 times a power of ten that makes about `count` ticks. */
function niceStep(span: number, count: number): number {
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  return ([1, 2, 5].find((m) => m * power >= raw) ?? 10) * power;
}

/** Begins of years, months or days: calendar ticks with their labels. */
function dateTicks(from: number, to: number): { mjd: number; label: string }[] {
  const months = [1, 2, 3, 6, 12, 24, 60, 120, 240].find((step) => (to - from) / (30.4 * step) <= 12) ?? 600;
  const ticks: { mjd: number; label: string }[] = [];
  if (to - from < 60) {
    const step = Math.max(1, niceStep(to - from, 9));
    for (let mjd = Math.ceil(from / step) * step; mjd <= to; mjd += step)
      ticks.push({ mjd, label: isoFromMjd(mjd).slice(0, 10) });
    return ticks;
  }
  const first = isoFromMjd(from);
  const start = Number(first.slice(0, 4)) * 12 + Number(first.slice(5, 7)) - 1;
  for (let month = Math.ceil(start / months) * months; ; month += months) {
    const label = `${Math.floor(month / 12)}-${String((month % 12) + 1).padStart(2, '0')}`;
    const mjd = mjdFromIso(`${label}-01`);
    if (mjd === undefined || mjd > to) return ticks;
    if (mjd >= from) ticks.push({ mjd, label: months >= 12 ? label.slice(0, 4) : label });
  }
}

/**
 * The picture: one lane for each kind and detector, windows as bars (an arrow where an end is open), gaps hatched, overlaps
 * marked in red above the bars, and a line at `mjd`.
 */
export function timelineSvg(lanes: readonly Lane[], mjd: number, title: string): string {
  const finite = lanes
    .flatMap(({ windows }) => windows.flatMap(({ from, to }) => [from, to]))
    .filter((t) => t !== undefined);
  const low = Math.min(mjd, ...finite);
  const high = Math.max(mjd, ...finite);
  const pad = Math.max(0.04 * (high - low), high === low ? 30 : 0);
  const [from, to] = [low - pad, high + pad];
  const x = (time: number) => LABELS + ((time - from) / (to - from)) * (WIDTH - LABELS - RIGHT);
  const clamp = (time: number | undefined, edge: number) => (time === undefined ? x(edge) : x(time));
  const heights = lanes.map(({ windows }) => (1 + Math.max(0, ...windows.map(({ row }) => row))) * ROW + LANE_GAP);
  const bottom = TOP + heights.reduce((sum, h) => sum + h, 0);
  const height = bottom + 74;
  const out: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="11" fill="#222">`,
    '<defs><pattern id="gap" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="#f4f4f4"/><path d="M0 0V7" stroke="#aaa" stroke-width="2"/></pattern>',
    '<pattern id="fail" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/><path d="M0 0V6" stroke="#d66" stroke-width="1.5"/></pattern></defs>',
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="16" y="26" font-size="16" font-weight="bold">${xml(title)}</text>`,
  ];
  // Axes: dates above, MJD below.
  for (const { mjd: time, label } of dateTicks(from, to)) {
    out.push(
      `<path d="M${n(x(time))} ${TOP - 8}V${bottom}" stroke="#e4e4e4"/><text x="${n(x(time))}" y="${TOP - 14}" text-anchor="middle" fill="#555">${label}</text>`,
    );
  }
  const step = niceStep(to - from, 10);
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
    out.push(
      `<path d="M${n(x(time))} ${bottom}v5" stroke="#888"/><text x="${n(x(time))}" y="${bottom + 18}" text-anchor="middle" fill="#555">${Number(time.toFixed(3))}</text>`,
    );
  }
  out.push(
    `<text x="${LABELS - 12}" y="${TOP - 14}" text-anchor="end" fill="#555">date</text><text x="${LABELS - 12}" y="${bottom + 18}" text-anchor="end" fill="#555">MJD</text>`,
  );
  let y = TOP;
  let lastKind = '';
  for (const [i, lane] of lanes.entries()) {
    const laneHeight = heights[i] as number;
    if (lane.kind !== lastKind) {
      out.push(`<path d="M8 ${y}H${WIDTH - RIGHT}" stroke="#999"/>`);
      out.push(`<text x="16" y="${y + 18}" font-size="12" font-weight="bold">${xml(lane.kind)}</text>`);
      lastKind = lane.kind;
    } else out.push(`<path d="M${LABELS - 150} ${y}H${WIDTH - RIGHT}" stroke="#eee"/>`);
    const label = [lane.tele, lane.chip, lane.mode].filter((word) => word !== '').join(' ');
    out.push(`<text x="${LABELS - 12}" y="${y + 18}" text-anchor="end">${xml(label)}</text>`);
    out.push(...laneShapes(lane, y, laneHeight, { from, to, clamp }));
    y += laneHeight;
  }
  const now = x(mjd);
  const mark = `MJD ${Number(mjd.toFixed(3))} (${isoFromMjd(mjd).slice(0, 16)})`;
  const anchor = now > WIDTH - 200 ? 'end' : now < LABELS + 120 ? 'start' : 'middle';
  out.push(
    `<path d="M${n(now)} ${TOP - 32}V${bottom}" stroke="#c22" stroke-width="1.5"/><text x="${n(now)}" y="${TOP - 38}" text-anchor="${anchor}" fill="#c22">${mark}</text>`,
    `<path d="M8 ${bottom}H${WIDTH - RIGHT}" stroke="#999"/>`,
    ...legend(bottom + 48),
    '</svg>',
  );
  return `${out.join('\n')}\n`;
}

interface Axis {
  readonly from: number;
  readonly to: number;
  readonly clamp: (time: number | undefined, edge: number) => number;
}

function laneShapes(lane: Lane, y: number, height: number, { from, to, clamp }: Axis): string[] {
  const out: string[] = [];
  const top = y + 6;
  const prefix = `${lane.kind}-${lane.tele}-${lane.chip}-`;
  for (const window of lane.windows) {
    const [left, right] = [clamp(window.from, from), clamp(window.to, to)];
    const y0 = top + window.row * ROW;
    const h = ROW - 5;
    const arrow = 6;
    const l = window.from === undefined ? left + arrow : left;
    const r = window.to === undefined ? right - arrow : right;
    const shape = `M${n(l)} ${y0}H${n(r)}${window.to === undefined ? `L${n(right)} ${y0 + h / 2}L${n(r)} ${y0 + h}` : `V${y0 + h}`}H${n(l)}${window.from === undefined ? `L${n(left)} ${y0 + h / 2}` : ''}Z`;
    const failed = window.grade === 'fail';
    out.push(
      `<path d="${shape}" fill="${failed ? 'url(#fail)' : FILLS[window.grade]}" stroke="${failed ? '#c44' : window.current ? '#1d3f63' : '#fff'}" stroke-width="${window.current ? 1.5 : 1}"><title>${xml(`${window.file} ${windowText({ validFrom: window.from, validTo: window.to })} ${window.grade}`)}</title></path>`,
    );
    const short = window.file.replace(/\.fits$/i, '');
    const text = short.startsWith(prefix) ? short.slice(prefix.length) : short;
    const fits = Math.floor((right - left - 16) / CHARACTER);
    if (fits >= 4) {
      const shown = text.length <= fits ? text : `${text.slice(0, fits - 1)}…`;
      out.push(
        `<text x="${n(l + 6)}" y="${y0 + 11.5}" fill="${failed ? '#a22' : window.grade === 'warn' ? '#222' : '#fff'}"${failed ? ' stroke="#fff" stroke-width="3" paint-order="stroke"' : ''}>${xml(shown)}</text>`,
      );
    }
  }
  for (const gap of lane.gaps) {
    const [left, right] = [clamp(gap.from, from), clamp(gap.to, to)];
    // A gap of a night in a decade must be seen too.
    const narrow = right - left < NARROW;
    const words = windowText({ validFrom: gap.from, validTo: gap.to });
    out.push(
      `<rect x="${n(narrow ? (left + right - NARROW) / 2 : left)}" y="${narrow ? top - 3 : top}" width="${n(narrow ? NARROW : right - left)}" height="${height - LANE_GAP + (narrow ? 1 : -5)}" fill="${narrow ? '#333' : 'url(#gap)'}"><title>gap ${xml(words)}</title></rect>`,
    );
  }
  for (const overlap of lane.overlaps) {
    const [left, right] = [clamp(overlap.from, from), clamp(overlap.to, to)];
    out.push(
      `<rect x="${n(left)}" y="${y + 2}" width="${n(Math.max(right - left, 2))}" height="3" fill="#c22"><title>${xml(`overlap ${windowText({ validFrom: overlap.from, validTo: overlap.to })}: ${overlap.files.join(', ')}`)}</title></rect>`,
    );
  }
  return out;
}

function legend(y: number): string[] {
  const items: [string, string][] = [
    [FILLS.pass, 'grade pass'],
    [FILLS.warn, 'grade warn'],
    ['url(#fail)', 'grade fail: never used'],
    ['url(#gap)', 'gap (black where narrow)'],
    ['#c22', 'overlap: the newest is used'],
    // Drawn with its outline below.
    [FILLS.pass, 'contains the time of the red line'],
  ];
  let x = LABELS;
  return items.map(([fill, words], i) => {
    const height = i === 4 ? 3 : 12;
    const at = x;
    x += 34 + words.length * CHARACTER;
    return `<rect x="${n(at)}" y="${y - height / 2 - 4}" width="16" height="${height}" fill="${fill}" stroke="${i === 2 ? '#c44' : i === 5 ? '#1d3f63' : 'none'}" stroke-width="1.5"/><text x="${n(at + 22)}" y="${y}">${words}</text>`;
  });
}
