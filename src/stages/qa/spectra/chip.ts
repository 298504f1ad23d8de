/** The part of an exposure's page that is about one chip: pictures with the traces on them, residuals, profiles, spectra. */
import type { FibreState } from '../../../core/spectra.js';
import { type Between, blocksOf, quantile, type Region, rowPieces } from '../../measure.js';
import { LINE_COLOURS } from '../colours.js';
import { cell, colourBar, count, figure, number, right, tableOf } from '../markup.js';
import { DIFFERENCE_STYLE, drawMap, GREY_STOPS, IMAGE_STYLE, type Limits, type MapStyle } from '../picture.js';
import { drawPlot, pngImage, type Series, escapeMarkup as text } from '../svg.js';
import {
  type ChipInput,
  type ChipMeasures,
  type FibreNumbers,
  litFibres,
  PROFILE_COLUMNS,
  type ProfilePlace,
  profilePlaces,
} from './measure.js';

/** Told apart on grey pictures, on light and on dark ground. */
export const STATE_COLOURS: Readonly<Record<FibreState, string>> = {
  ok: '#2a9df4',
  low: '#e69a00',
  broken: '#e0442a',
  blended: '#c05fe0',
  'off-chip': '#8c8c8c',
};

/** Swatches of the states that occur. */
export function stateLegend(states: readonly FibreState[]): string {
  const found = (Object.keys(STATE_COLOURS) as FibreState[]).filter((state) => states.includes(state));
  return found
    .map(
      (state) =>
        `<span class="bit"><span class="swatch" style="background:${STATE_COLOURS[state]}"></span>${state}: ${states.filter((one) => one === state).length}</span>`,
    )
    .join(' ');
}

/** Cells of the picture of a whole chip: fibres are told apart by rows, and columns are alike. */
const CHIP_CELLS = { rows: 1024, cols: 64 };
/** Cells of the picture of residuals. */
const RESIDUAL_CELLS = { rows: 256, cols: 128 };
/** Mean pull of a cell of the residual picture that has the strongest colour: seven times the noise of 8 x 16 pixels. */
const RESIDUAL_LIMIT = 0.6;
/** Side of an enlarged cut [px]; seven fibres. */
const CUT = 48;
/** 0 is no value: there was nothing to compare. */
const MEASURED_CHI2: Between = { low: 1e-9, high: 1e30 };
/** Pulls with the strongest colour in cuts. */
const CUT_PULLS = 5;
/** Every so many fibres have their trace in the picture of the whole chip. */
const EVERY = 15;
/** Columns of a line's corners. */
const LINE_STEP = 64;
const PLOT_WIDTH = 440;
/** A strip of few rows is drawn this high, a chip as high as it is wide. */
const LEAST_HEIGHT = 150;

const plotHeight = (rows: number, cols: number) =>
  Math.round(Math.min(PLOT_WIDTH, Math.max(LEAST_HEIGHT, (PLOT_WIDTH * rows) / cols)));

async function blockPicture(
  data: Float32Array,
  rows: number,
  cols: number,
  most: { readonly rows: number; readonly cols: number },
  limits: (pixels: Float32Array) => Limits,
  style: MapStyle,
  counting?: Between,
) {
  const block = { rows: Math.max(1, Math.floor(rows / most.rows)), cols: Math.max(1, Math.floor(cols / most.cols)) };
  const cells = await blocksOf(data, cols, { row: 0, rows, x: 0, cols }, block, counting);
  const pixels = Float32Array.from(cells.values);
  const used = limits(pixels);
  return {
    png: await drawMap(pixels, cells.rows, cells.cols, used, style),
    limits: used,
    block,
    x: [-0.5, cells.cols * block.cols - 0.5] as const,
    y: [-0.5, cells.rows * block.rows - 0.5] as const,
  };
}

/** Centre lines in a rectangle, one series for each state that occurs there. */
function traceLines(input: ChipInput, region: Region, step: number, shown: (index: number) => boolean): Series[] {
  const { traces, spectra } = input;
  const { centre } = spectra ?? traces;
  const { cols, states } = traces;
  const lines = new Map<FibreState, (readonly [number, number])[]>();
  for (const [index, state] of states.entries()) {
    if (!shown(index)) continue;
    const points: (readonly [number, number])[] = [];
    for (let x = region.x; ; x = Math.min(x + step, region.x + region.cols - 1)) {
      const y = centre[index * cols + x] as number;
      const inside = y >= region.row - 0.5 && y <= region.row + region.rows - 0.5;
      points.push([x, inside ? y : Number.NaN]);
      if (x >= region.x + region.cols - 1) break;
    }
    if (!points.some(([, y]) => Number.isFinite(y))) continue;
    lines.set(state, [...(lines.get(state) ?? []), ...points, [region.x, Number.NaN]]);
  }
  return [...lines].map(([state, points]) => ({ points, colour: STATE_COLOURS[state] }));
}

/** Dark to bright: from what hardly any pixel is below to what few are above, never of nothing. */
function lightLimits(pixels: Float32Array): Limits {
  const [low, high] = [quantile(pixels, 0.02), quantile(pixels, 0.98)];
  return high > low ? { low, high } : { low: (low || 0) - 1, high: (low || 0) + 1 };
}

async function wholeChip(input: ChipInput): Promise<string> {
  const { image, traces, chip } = input;
  const { rows, cols } = image;
  const drawn = await blockPicture(image.rates, rows, cols, CHIP_CELLS, lightLimits, IMAGE_STYLE);
  const troubled = (index: number) => traces.states[index] !== 'ok' && traces.states[index] !== 'off-chip';
  const plot = drawPlot({
    title: `traces over the image of chip ${chip}`,
    height: plotHeight(rows, cols) + 46,
    x: { label: 'column', range: drawn.x },
    y: { label: 'row', range: drawn.y },
    under: drawn.png,
    series: traceLines(
      input,
      { row: 0, rows, x: 0, cols },
      LINE_STEP,
      (i) => troubled(i) || i % Math.min(EVERY, Math.ceil(traces.fibres / 4)) === 0,
    ),
    legend: false,
  });
  return figure(
    plot + colourBar(drawn.limits, IMAGE_STYLE, image.unit, `light-${chip}`),
    `The image, asinh stretch; a dot is the mean of ${drawn.block.rows} × ${drawn.block.cols} pixels. Lines: every ${EVERY}th trace, and all of fibres that are not ok. ${stateLegend(traces.states)}`,
  );
}

function cutOf(data: Float32Array, cols: number, { row, rows, x, cols: width }: Region): Float32Array {
  const cut = new Float32Array(rows * width);
  for (let y = 0; y < rows; y++) {
    const first = (row + y) * cols + x;
    cut.set(data.subarray(first, first + width), y * width);
  }
  return cut;
}

/** Data with the traces, model and residual of a small rectangle, side by side. */
async function cutFigure(input: ChipInput, measures: ChipMeasures, region: Region, what: string): Promise<string> {
  const { image, model, chip } = input;
  const data = cutOf(image.rates, image.cols, region);
  const limits = lightLimits(data);
  const pull = measures.residual && cutOf(measures.residual.significance, image.cols, region);
  const style: MapStyle = { stops: GREY_STOPS, softening: 3 };
  const size = (PLOT_WIDTH - 20) / 3;
  const height = (size * region.rows) / region.cols;
  const panels: readonly (readonly [string, Buffer])[] = [
    ['data', await drawMap(data, region.rows, region.cols, limits, style)],
    ...(model === undefined
      ? []
      : [['model', await drawMap(cutOf(model, image.cols, region), region.rows, region.cols, limits, style)] as const]),
    ...(pull === undefined
      ? []
      : [
          [
            '(data − model) / σ',
            await drawMap(pull, region.rows, region.cols, { low: -CUT_PULLS, high: CUT_PULLS }, DIFFERENCE_STYLE),
          ] as const,
        ]),
  ];
  const px = (x: number) => (size * (x - region.x + 0.5)) / region.cols;
  const py = (y: number) => 18 + height - (height * (y - region.row + 0.5)) / region.rows;
  const lines = traceLines(input, region, 6, () => true).map(({ points, colour }) => {
    let pen = 'M';
    const d = points.map(([x, y]) => {
      if (!Number.isFinite(y)) {
        pen = 'M';
        return '';
      }
      const to = `${pen}${px(x).toFixed(1)} ${py(y).toFixed(1)}`;
      pen = 'L';
      return to;
    });
    return `<path class="curve" stroke="${colour}" d="${d.join('')}"/>`;
  });
  const drawn = panels.map(
    ([name, png], i) =>
      `<text x="${(i * (size + 10) + size / 2).toFixed(1)}" y="13" text-anchor="middle">${name}</text>${pngImage(png, i * (size + 10), 18, size, height)}`,
  );
  const label = `chip ${chip}, rows ${region.row} to ${region.row + region.rows - 1}, columns ${region.x} to ${region.x + region.cols - 1}`;
  return figure(
    `<svg viewBox="0 0 ${PLOT_WIDTH} ${(height + 20).toFixed(0)}" role="img" aria-label="${label}"><title>${label}</title>${drawn.join('')}${lines.join('')}</svg>`,
    `${what}: ${label}; ${number(limits.low)} (dark) to ${number(limits.high)} ${text(image.unit)}${pull === undefined ? '' : `; blue to red: ∓${CUT_PULLS} σ`}.`,
  );
}

async function cuts(input: ChipInput, measures: ChipMeasures): Promise<string[]> {
  const { image, traces, spectra } = input;
  const { centre } = spectra ?? traces;
  const { cols, states } = traces;
  const rows = Math.min(CUT, image.rows);
  const width = Math.min(CUT, cols);
  const onChip = states.flatMap((state, i) => (state === 'off-chip' ? [] : [i]));
  const around = (index: number, part: number): Region => {
    const x = Math.round(part * (cols - width));
    const y = centre[index * cols + x + Math.floor(width / 2)] as number;
    return { row: Math.min(Math.max(0, Math.round(y - rows / 2)), image.rows - rows), rows, x, cols: width };
  };
  const places = ([0.08, 0.5, 0.92] as const).flatMap((p, k) => {
    const index = onChip[Math.round(p * (onChip.length - 1))];
    return index === undefined
      ? []
      : [[around(index, p), ['Bottom left', 'Middle', 'Top right'][k] as string] as const];
  });
  const trouble = (['blended', 'broken', 'low'] as const).flatMap((state) => {
    const index = states.indexOf(state);
    return index < 0 ? [] : [[around(index, 0.5), `Fibre ${index}, ${state}`] as const];
  })[0];
  const figures: string[] = [];
  for (const [region, what] of trouble === undefined ? places : [...places, trouble]) {
    figures.push(await cutFigure(input, measures, region, what));
  }
  return figures;
}

async function residualFigures(input: ChipInput, measures: ChipMeasures): Promise<string[]> {
  const { image, traces, spectra, chip } = input;
  const out: string[] = [];
  if (measures.residual !== undefined) {
    const limits = { low: -RESIDUAL_LIMIT, high: RESIDUAL_LIMIT };
    const { significance } = measures.residual;
    const drawn = await blockPicture(
      significance,
      image.rows,
      image.cols,
      RESIDUAL_CELLS,
      () => limits,
      DIFFERENCE_STYLE,
    );
    const plot = drawPlot({
      title: `residual of chip ${chip}`,
      height: plotHeight(image.rows, image.cols) + 46,
      x: { label: 'column', range: drawn.x },
      y: { label: 'row', range: drawn.y },
      under: drawn.png,
      series: [],
    });
    out.push(
      figure(
        plot + colourBar(limits, DIFFERENCE_STYLE, 'mean of (data − model) / σ', `residual-${chip}`),
        `Data minus model over its error; a dot is the mean of ${drawn.block.rows} × ${drawn.block.cols} pixels, which noise alone scatters by ${number(1 / Math.sqrt(drawn.block.rows * drawn.block.cols))}. Clear: no good pixel.`,
      ),
    );
  }
  if (spectra?.chi2 !== undefined) {
    const limits = { low: 0, high: 2 };
    const most = { rows: traces.fibres, cols: RESIDUAL_CELLS.cols };
    const drawn = await blockPicture(
      spectra.chi2,
      traces.fibres,
      traces.cols,
      most,
      () => limits,
      DIFFERENCE_STYLE,
      MEASURED_CHI2,
    );
    const plot = drawPlot({
      title: `chi2 of chip ${chip}`,
      height: 300,
      x: { label: 'column', range: drawn.x },
      y: { label: 'fibre', range: drawn.y },
      under: drawn.png,
      series: [],
    });
    out.push(
      figure(
        plot + colourBar(limits, DIFFERENCE_STYLE, 'χ² / dof', `chi2-${chip}`),
        `χ² for each degree of freedom of each fibre; a dot is the mean of ${drawn.block.cols} columns. Clear: no value.`,
      ),
    );
  }
  return out;
}

/** Least light of a profile that its plot shows. */
const PROFILE_FLOOR = 3e-5;
/** A third of the page: text keeps its size. */
const PROFILE_WIDTH = 320;

function profileFigure({ fibre, x, table, points, errors }: ProfilePlace): string {
  const reach = table.at(-1)?.[0] ?? 1;
  const plot = drawPlot({
    title: `profile of fibre ${fibre.index} at column ${x}`,
    width: PROFILE_WIDTH,
    height: 180,
    x: { label: 'rows from the centre', range: [-reach, reach] },
    y: { label: 'part of the light', log: true, range: [PROFILE_FLOOR, 1] },
    series: [
      { points, errors, style: 'points', colour: LINE_COLOURS[4] as string },
      { points: table.map(([u, v]) => [u, Math.max(v, PROFILE_FLOOR)] as const), colour: LINE_COLOURS[0] as string },
    ],
  });
  return figure(plot, `Fibre ${fibre.index} (${fibre.number}), column ${x}.`);
}

async function backgroundFigure({ background, image, chip }: ChipInput): Promise<string> {
  if (background === undefined) return '';
  const { rows, cols, values } = background;
  const [low, high] = [quantile(values, 0), quantile(values, 1)];
  const flat = !(high > low);
  const limits = flat ? { low: low - 1, high: low + 1 } : { low, high };
  const style: MapStyle = { stops: GREY_STOPS, softening: 1e-3 };
  const plot = drawPlot({
    title: `background of chip ${chip}`,
    height: plotHeight(image.rows, image.cols) + 46,
    x: { label: 'column', range: [-0.5, image.cols - 0.5] },
    y: { label: 'row', range: [-0.5, image.rows - 0.5] },
    under: await drawMap(values, rows, cols, limits, style),
    series: [],
  });
  return figure(
    plot + colourBar(limits, style, image.unit, `background-${chip}`),
    `Light between the fibres, a smooth model in ${rows} × ${cols} cells${flat ? `: the same everywhere, ${number(low)}` : `: ${number(low)} to ${number(high)} ${text(image.unit)}`}.`,
  );
}

/** Three digits. */
const three = (value: number) => number(Number(value.toPrecision(3)));
/** Points of a plotted spectrum. */
const SPECTRUM_POINTS = 512;

async function spectraFigures(input: ChipInput, measures: ChipMeasures): Promise<string[]> {
  const { spectra, traces, image } = input;
  if (spectra === undefined) return [];
  const known = litFibres(measures.fibres);
  const chosen: (readonly [FibreNumbers | undefined, string])[] = [
    [known.at(-1), 'brightest'],
    [known[Math.floor(known.length / 2)], 'median'],
    [known[0], 'faintest'],
  ];
  const { cols } = traces;
  const step = Math.max(1, Math.floor(cols / SPECTRUM_POINTS));
  const pieces = cols % step === 0 ? step : 1;
  const figures: string[] = [];
  for (const [fibre, what] of chosen) {
    if (fibre === undefined) continue;
    const means = await rowPieces(spectra.flux, cols, { row: fibre.index, rows: 1 }, pieces);
    const [least, most] = [quantile(means, 0.005), quantile(means, 0.995)];
    const margin = 0.1 * (most - least) || 1;
    const range = [Math.min(0, least - margin), most + margin] as const;
    const plot = drawPlot({
      title: `spectrum of fibre ${fibre.index}`,
      height: 200,
      x: { label: 'column', range: [0, cols - 1] },
      y: { label: image.unit, range },
      series: [
        {
          points: Array.from(
            means,
            (v, i) => [(i + 0.5) * pieces - 0.5, Math.min(Math.max(v, range[0]), range[1])] as const,
          ),
          colour: LINE_COLOURS[0] as string,
        },
      ],
    });
    figures.push(
      figure(
        plot,
        `Fibre ${fibre.index} (${fibre.number})${text(input.fibreShows?.(fibre.index) ?? '')}, the ${what} of ${known.length}: mean S/N ${three(fibre.sn)} in a column, χ²/dof ${three(fibre.chi2)}.`,
      ),
    );
  }
  return figures;
}

function tweakSection({ spectra }: ChipInput): string {
  const tweak = spectra?.tweak;
  if (tweak === undefined) return '';
  const said = {
    ok: 'Measured and applied.',
    faint: 'Too little light to measure it: the traces of the flat are used as they are.',
    refused: 'Refused: the traces of the flat are used as they are.',
  }[tweak.state];
  const reason = tweak.reason === '' ? '' : ` ${text(tweak.reason)}`;
  const sigma = (value: number, error: number) =>
    error > 0 ? `${number(Number((value / error).toPrecision(3)))} σ` : '–';
  const names: Readonly<Record<string, string>> = {
    '0 0': 'shift',
    '0 1': 'scale along the rows',
    '1 0': 'tilt along x',
  };
  const fixed = (v: number) => v.toFixed(4);
  const rows = tweak.terms.map(({ i, j, value, error }) => [
    cell(`P<sub>${i}</sub>(u) P<sub>${j}</sub>(v)${names[`${i} ${j}`] === undefined ? '' : ` ${names[`${i} ${j}`]}`}`),
    right(fixed(value)),
    right(fixed(error)),
    right(sigma(value, error)),
  ]);
  const width = [cell('factor of widths'), right(fixed(tweak.width)), right(fixed(tweak.widthError)), right('')];
  return `<h3>Traces moved to the exposure</h3><p>${said}${reason}</p>${tableOf(
    [cell('term'), right('value [px]'), right('error'), right('in errors')],
    [...rows, width],
  )}<p class="soft">Legendre polynomials, u along columns and v along rows, both from −1 to 1.${
    tweak.largestError > 0 ? ` Largest error of a trace over the chip: ${fixed(tweak.largestError)} px.` : ''
  }</p>`;
}

/** All sections of one chip. */
export async function chipSection(input: ChipInput, measures: ChipMeasures): Promise<string> {
  const places = profilePlaces(input, measures).map(profileFigure);
  const spectra = await spectraFigures(input, measures);
  const residual = await residualFigures(input, measures);
  const parts = [
    `<h3>Traces over the image</h3><div class="figures">${await wholeChip(input)}<div>${(await cuts(input, measures)).join('')}</div></div>`,
    residual.length === 0 ? '' : `<h3>Residual</h3><div class="figures">${residual.join('')}</div>`,
    spectra.length === 0 ? '' : `<h3>Three spectra</h3><div class="figures">${spectra.join('')}</div>`,
    places.length === 0
      ? '<h3>Profiles</h3><p>No fibre has enough light for one.</p>'
      : `<h3>Profile at ${count(places.length)} places</h3><p class="soft">Line: part of a fibre’s light in a pixel by the profiles of the flat; points: pixels of ${PROFILE_COLUMNS} columns of this exposure, without the light of other fibres and the background, means in steps of a quarter of a row with their errors. What is below ${number(PROFILE_FLOOR)}, also noise below 0, is on the lower edge.</p><div class="nine">${places.join('')}</div>`,
    input.background === undefined
      ? ''
      : `<h3>Scattered light</h3><div class="figures">${await backgroundFigure(input)}</div>`,
    tweakSection(input),
  ];
  return parts.join('');
}
