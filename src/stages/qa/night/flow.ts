/** The flow of a night's exposures from raw files through the stages, drawn from top to bottom; drops leave to the right. */
import { escapeMarkup as text } from '../svg.js';
import type { FlowDrop, FlowNode, NightFlow } from './model.js';

/** Colours of the kinds of exposures: told apart on light and on dark ground. */
const KIND_COLOURS: Readonly<Record<string, string>> = {
  object: '#2a7fd4',
  dark: '#5f6b7a',
  internalflat: '#e69a00',
  domeflat: '#b06fd0',
  quartzflat: '#9c8a00',
  twilightflat: '#d0679d',
  arclamp: '#1f9e5a',
  fpi: '#1ba8c4',
  blackbody: '#b5651d',
};
export const kindColour = (kind: string): string => KIND_COLOURS[kind] ?? '#8c8c8c';

const WIDTH = 420;
const LEFT = 6;
/** Where the names of drops begin, where there are any. */
const DROPS_LEFT = 276;
/** Height of a bar, of a line of text, and the least height of the links below a bar. */
const BAR = 10;
const LINE = 15;
const LINKS = 54;
/** Between two bars side by side. */
const GAP = 10;
/** Lines of a reason; the table beside the picture has it whole. */
const REASON_LINES = 3;
/** Mean width of a character at 12 px, generously. */
const CHARACTER = 6.5;

const n = (value: number) => String(Math.round(value * 10) / 10);

/** Breaks text into lines of at most `width` characters; the last line of too long a text ends in an ellipsis. */
export function wrap(words: string, width: number, lines: number): string[] {
  const out: string[] = [''];
  for (const word of words.split(/\s+/)) {
    const line = out.at(-1) as string;
    const next = line === '' ? word : `${line} ${word}`;
    if (next.length <= width || line === '') out[out.length - 1] = next;
    else out.push(word);
  }
  const clipped = out.map((line) => (line.length > width ? `${line.slice(0, width - 1)}…` : line));
  if (clipped.length <= lines) return clipped;
  const last = clipped[lines - 1] as string;
  return [...clipped.slice(0, lines - 1), `${last.slice(0, width - 1)}…`];
}

/** 'n exposures', or of chips where only those were lost. */
export function dropCount({ lost }: Pick<FlowDrop, 'lost'>): string {
  const whole = lost.filter(({ chips }) => chips.length === 0).length;
  const chips = lost.reduce((sum, one) => sum + one.chips.length, 0);
  const parts = [
    ...(whole > 0 ? [`${whole} ${whole === 1 ? 'exposure' : 'exposures'}`] : []),
    ...(chips > 0 ? [`${chips} ${chips === 1 ? 'chip' : 'chips'}`] : []),
  ];
  return parts.join(', ');
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

interface PlacedNode {
  readonly node: FlowNode;
  readonly x: number;
  readonly width: number;
  readonly top: number;
  /** Where its name stands. */
  readonly base: number;
  /** Whether others stand beside it, so that a line must lead from the name to the bar. */
  readonly beside: boolean;
}

interface PlacedDrop {
  readonly drop: FlowDrop;
  readonly lines: readonly string[];
  /** Of its first line of text. */
  readonly y: number;
}

interface Layout {
  readonly scale: number;
  readonly nodes: ReadonlyMap<string, PlacedNode>;
  readonly drops: ReadonlyMap<string, readonly PlacedDrop[]>;
  readonly height: number;
}

/** Rows are the depths of the stages, so that a stage that nobody thought of takes its place. */
function layoutOf(flow: NightFlow): Layout {
  const depths = [...new Set(flow.nodes.map(({ depth }) => depth))].sort((a, b) => a - b);
  const rows = depths.map((depth) => flow.nodes.filter((node) => node.depth === depth));
  const right = flow.drops.length === 0 ? WIDTH - LEFT : DROPS_LEFT - 22;
  const scale = Math.min(
    ...rows.map(
      (row) => (right - LEFT - GAP * (row.length - 1)) / Math.max(1, sum(row.map(({ exposures }) => exposures))),
    ),
  );
  const nodes = new Map<string, PlacedNode>();
  const drops = new Map<string, PlacedDrop[]>();
  /** A bar stands below what comes to it. */
  const middle = ({ id }: FlowNode) => {
    const above = flow.links.filter(({ to, from }) => to === id && nodes.has(from));
    const weight = sum(above.map(({ exposures }) => exposures));
    const at = above.map(({ from, exposures }) => {
      const { x, width } = nodes.get(from) as PlacedNode;
      return exposures * (x + width / 2);
    });
    return weight === 0 ? 0 : sum(at) / weight;
  };
  let y = 2;
  let bottom = y;
  for (const row of rows) {
    const ordered = row.map((node) => ({ node, at: middle(node) })).sort((a, b) => a.at - b.at);
    const top = y + LINE * row.length + 4;
    let x = LEFT;
    for (const [i, { node }] of ordered.entries()) {
      const width = Math.max(1.5, node.exposures * scale);
      nodes.set(node.id, { node, x, width, top, base: y + LINE * (i + 1) - 3, beside: row.length > 1 });
      x += width + GAP;
    }
    let below = top + BAR + 16;
    for (const { node } of ordered) {
      const placed = flow.drops
        .filter(({ at }) => at === node.id)
        .map((drop) => {
          const lines = wrap(drop.reason, Math.floor((WIDTH - DROPS_LEFT) / CHARACTER), REASON_LINES);
          const here = { drop, lines, y: below };
          below += LINE * (lines.length + 1) + 6;
          return here;
        });
      drops.set(node.id, placed);
    }
    bottom = Math.max(top + BAR + 6, below - 16);
    y = Math.max(top + BAR + LINKS, below - 8);
  }
  return { scale, nodes, drops, height: bottom };
}

/** A band that narrows or widens from the bottom of one bar to the top of another. */
function band(x0: number, w0: number, y0: number, x1: number, w1: number, y1: number): string {
  const half = n((y0 + y1) / 2);
  return `M${n(x0)} ${n(y0)}C${n(x0)} ${half} ${n(x1)} ${half} ${n(x1)} ${n(y1)}H${n(x1 + w1)}C${n(x1 + w1)} ${half} ${n(x0 + w0)} ${half} ${n(x0 + w0)} ${n(y0)}Z`;
}

/** Draws the flow. The width of a band is its number of exposures; one that goes into several products is drawn in each. */
export function drawFlow(flow: NightFlow): string {
  const { scale, nodes, drops, height } = layoutOf(flow);
  const kinds = flow.kinds.map(({ kind }) => kind);
  const bands: string[] = [];
  const labels: string[] = [];
  const bars: string[] = [];
  const entered = new Map<string, number>();
  for (const { node, x, width, top, base, beside } of nodes.values()) {
    const counted = node.done === node.exposures ? `${node.exposures}` : `${node.done} of ${node.exposures}`;
    const start = Math.max(LEFT, Math.min(x, WIDTH - LEFT - (node.id.length + counted.length + 1) * CHARACTER));
    if (beside) labels.push(`<path class="lead" d="M${n(x + 0.75)} ${n(base + 3)}V${n(top)}"/>`);
    labels.push(
      `<text class="halo" x="${n(start)}" y="${n(base)}"><tspan class="name">${text(node.id)}</tspan> ${counted}</text>`,
    );
    bars.push(`<rect class="node" x="${n(x)}" y="${n(top)}" width="${n(width)}" height="${BAR}"/>`);
    const target = (to: string) => nodes.get(to) as PlacedNode;
    const leaving = flow.links
      .filter(({ from, to }) => from === node.id && nodes.has(to))
      .sort((a, b) => target(a.to).x - target(b.to).x || kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
    const lost = drops.get(node.id) ?? [];
    // Side by side; squeezed where exposures go more than one way.
    const all = scale * sum([...leaving.map(({ exposures }) => exposures), ...lost.map(({ drop }) => drop.share)]);
    const squeeze = all > width ? width / all : 1;
    let at = x;
    for (const { from, to, kind, exposures } of leaving) {
      const wide = exposures * scale;
      const end = target(to).x + (entered.get(to) ?? 0);
      entered.set(to, (entered.get(to) ?? 0) + wide);
      const d = band(at, wide * squeeze, top + BAR, end, wide, target(to).top);
      bands.push(
        `<path class="band" fill="${kindColour(kind)}" d="${d}"><title>${text(`${exposures} ${kind}: ${from} to ${to}`)}</title></path>`,
      );
      at += wide * squeeze;
    }
    // The first one named is nearest to the names.
    let end = x + width;
    for (const { drop, lines, y } of lost) {
      const wide = Math.max(1.5, drop.share * scale * squeeze);
      const from = end - wide / 2;
      end -= wide;
      const level = y - 4;
      const turn = Math.min(from + 24, DROPS_LEFT - 6);
      bands.push(
        `<path class="drop" stroke-width="${n(wide)}" d="M${n(from)} ${n(top + BAR)}C${n(from)} ${n(level)} ${n(from)} ${n(level)} ${n(turn)} ${n(level)}H${DROPS_LEFT - 6}"><title>${text(`${dropCount(drop)}: ${drop.reason}`)}</title></path>`,
      );
      const words = [`<tspan class="name">${text(dropCount(drop))}</tspan>`, ...lines.map(text)];
      for (const [i, line] of words.entries()) {
        labels.push(`<text class="halo" x="${DROPS_LEFT}" y="${n(y + LINE * i)}">${line}</text>`);
      }
    }
  }
  return `<svg class="flow" viewBox="0 0 ${WIDTH} ${n(height)}" role="img" aria-label="flow of exposures"><title>flow of exposures</title>${bands.join('')}${bars.join('')}${labels.join('')}</svg>`;
}
