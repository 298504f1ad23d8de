/** The page of a calibration: one HTML file that needs nothing else, for a phone, a desktop and paper. */
import { type Grade, KIND_IMAGES } from '../../calib/product.js';
import { DQ_BITS } from '../../core/generated/dq.js';
import { cellsOf, poolFlags, quantile, sampleOf, scatter } from '../measure.js';
import { legendre } from '../smooth_fit.js';
import type { Assessment, ImageMeasures } from './assess.js';
import { bitColour, LINE_COLOURS } from './colours.js';
import { type CalibrationComparison, isDetectorMap } from './compare.js';
import { type CalibrationMaps, FREQUENCY, type Illumination } from './maps.js';
import {
  badge,
  bitCell,
  cell,
  colourBar,
  count,
  figure,
  htmlDocument,
  limitText,
  number,
  percent,
  picture,
  right,
  tableOf,
  unitText,
} from './markup.js';
import {
  DIFFERENCE_STYLE,
  drawFlags,
  drawMap,
  GREY_STOPS,
  IMAGE_STYLE,
  type Limits,
  type MapStyle,
} from './picture.js';
import { drawPlot, escapeMarkup as text } from './svg.js';

export interface PageInput {
  /** Name of the file without directories. */
  readonly name: string;
  readonly maps: CalibrationMaps;
  readonly assessment: Assessment;
  /** The worse of the verdict and of the grade in the file. */
  readonly grade: Grade;
  /** What the builder had to say. */
  readonly remarks: readonly string[];
  /** Lines of the head: [label, value]. */
  readonly facts: readonly (readonly [string, string])[];
  /** What it was made of: [role, name, sha256]. */
  readonly inputs: readonly (readonly [string, string, string])[];
  /** Name of the calibration before, or why there is no comparison. */
  readonly previousName: string;
}

/** Least size of the longer side of a picture on a page; a cell of pixels is as large as this allows. */
const PICTURE = 512;
/** Within so many times the scatter of a picture's pixels around their median a picture shows all there is to see, */
const SHOWN_SIGMA = 5;
/** but for features: what more of them than this have. With 0.3 % of hot pixels a twentieth of the dots is bright. */
const SHOWN_SHARE = 0.07;

/** Limits of a picture: around the median of a sample, but no wider than it is; those of the profiles for a constant. */
export function pictureLimits(pixels: Float32Array, { limits }: Pick<ImageMeasures, 'limits'>): Limits {
  const sample = sampleOf(pixels);
  const [centre, sigma] = [quantile(sample, 0.5), scatter(sample)];
  const [least, most] = [quantile(sample, 0.002), quantile(sample, 0.998)];
  if (!(most > least)) return limits;
  if (!(sigma > 0)) return { low: least, high: most };
  const low = Math.min(centre - SHOWN_SIGMA * sigma, quantile(sample, SHOWN_SHARE));
  const high = Math.max(centre + SHOWN_SIGMA * sigma, quantile(sample, 1 - SHOWN_SHARE));
  return { low: Math.max(least, low), high: Math.min(most, high) };
}

async function smaller(data: Float32Array, rows: number, cols: number) {
  const size = Math.max(1, Math.floor(Math.max(rows, cols) / PICTURE));
  const cells = await cellsOf(data, cols, { row: 0, rows, x: 0, cols }, Math.min(size, rows));
  return { pixels: new Float32Array(cells.values), rows: cells.rows, cols: cells.cols, size: cells.size };
}

const eachPixel = (size: number) => (size === 1 ? '' : ` A dot is the mean of ${size} × ${size} pixels.`);

async function imageSection(maps: CalibrationMaps, measures: ImageMeasures): Promise<string> {
  const { name, unit, level, histogram, cells, region, limits } = measures;
  const data = maps.images.get(name)?.data as Float32Array;
  const small = await smaller(data, maps.rows, maps.cols);
  const shownLimits = pictureLimits(small.pixels, measures);
  const png = await drawMap(small.pixels, small.rows, small.cols, shownLimits, IMAGE_STYLE);
  const image = figure(
    picture(png, small.cols, small.rows, `${name}, row 0 at the bottom`) +
      colourBar(shownLimits, IMAGE_STYLE, unit, `bar-${name}`),
    `${name}, row 0 at the bottom, dark to bright by an asinh stretch.${eachPixel(small.size)} Clear: no value.`,
  );
  const width = (histogram.high - histogram.low) / histogram.counts.length;
  const points = histogram.counts.map((n, i) => [histogram.low + i * width, n] as const);
  const outside = [
    [histogram.below, 'below'],
    [histogram.above, 'above'],
    [histogram.missing, 'without a value'],
  ] as const;
  const histogramPlot = figure(
    drawPlot({
      title: `histogram of ${name}`,
      x: { label: `${name}${unit === '' ? '' : ` [${unit}]`}`, range: [histogram.low, histogram.high] },
      y: { label: 'pixels', log: true, range: [0.7, Math.max(10, 1.6 * Math.max(...histogram.counts))] },
      series: [{ points: [...points, [histogram.high, Number.NaN]], style: 'step', colour: LINE_COLOURS[0] as string }],
      marks: [level.median],
    }),
    `All pixels inside the border; dashed: the median ${number(level.median)}${unitText(unit)}. Not shown: ${outside.map(([n, what]) => `${count(n)} ${what}`).join(', ')}.`,
  );
  const clip = `Values outside ${number(limits.low)} to ${number(limits.high)} do not count.`;
  const profile = (values: Float64Array, first: number, what: string) => {
    const range = [quantile(values, 0.002), quantile(values, 0.998)] as const;
    const margin = 0.15 * (range[1] - range[0]) || Math.abs(range[0]) * 0.01 || 1;
    return drawPlot({
      title: `${what} profile of ${name}`,
      height: 210,
      x: { label: what, range: [0, (what === 'row' ? maps.rows : maps.cols) - 1] },
      y: { label: unit === '' ? name : unit, range: [range[0] - margin, range[1] + margin] },
      series: [
        {
          points: Array.from(
            values,
            (v, i) => [first + i, Math.min(Math.max(v, range[0] - margin), range[1] + margin)] as const,
          ),
          colour: LINE_COLOURS[0] as string,
        },
      ],
      marks:
        what === 'column'
          ? measures.amplifiers.slice(1).map((_, i) => ((i + 1) * maps.cols) / measures.amplifiers.length)
          : [],
    });
  };
  const rowPlot = figure(profile(measures.rowProfile, region.row, 'row'), `Mean of each row. ${clip}`);
  const columnPlot = figure(
    profile(measures.columnProfile, region.x, 'column'),
    `Mean of each column; dashed: between amplifiers. Largest step ${number(measures.amplifierStep)}${unitText(unit)}.`,
  );
  const distances = cells.values.map((v) => Math.abs(v - level.median));
  const large = Math.max(3 * measures.largeScale, quantile(distances, 0.98) || 0);
  const about = { low: level.median - large, high: level.median + large };
  const cellPixels = new Float32Array(cells.values);
  const cellPicture =
    cells.rows * cells.cols < 4 || !(large > 0)
      ? ''
      : figure(
          picture(
            await drawMap(cellPixels, cells.rows, cells.cols, about, DIFFERENCE_STYLE),
            cells.cols,
            cells.rows,
            `${name} at large scales`,
            true,
          ) + colourBar(about, DIFFERENCE_STYLE, unit, `cells-${name}`),
          `What is left at large scales: means of ${cells.size} × ${cells.size} pixels, robust scatter ${number(scatter(cells.values))}${unitText(unit)}.`,
        );
  const amplifiers = tableOf(
    [right('amplifier'), right('median'), right('scatter'), right('error'), right('bad')],
    [
      ...measures.amplifiers.map((a) => [
        right(String(a.amplifier)),
        right(number(a.median)),
        right(number(a.scatter)),
        right(number(a.error)),
        right(`${number(a.badPercent)} %`),
      ]),
      [
        right('all'),
        right(number(level.median)),
        right(number(level.scatter)),
        right(number(measures.error)),
        right(`${number(measures.badPercent)} %`),
      ],
    ],
  );
  return `<h2>${text(name)}${unit === '' ? '' : ` [${text(unit)}]`}</h2><div class="figures">${image}<div>${histogramPlot}<h3>Amplifiers</h3>${amplifiers}<p class="soft">Median, robust scatter (IQR/1.349) and median error of good pixels${unit === '' ? '' : ` in ${text(unit)}`}; bad: with a bad bit or without a value.</p></div></div><h3>Residual structure</h3><div class="figures"><div>${rowPlot}${columnPlot}</div>${cellPicture}</div>`;
}

/** Real and imaginary parts are drawn as sizes: how much of a reference is taken, at each frequency. */
function weightsSection(maps: CalibrationMaps): string {
  const weights = maps.images.get('WEIGHTS')?.data as Float32Array;
  const nodes = Math.floor(weights.length / 24);
  const frequency = maps.images.get(FREQUENCY)?.data;
  const size = (node: number, amplifier: number, reference: number) => {
    const at = 24 * node + 6 * amplifier + 2 * reference;
    return Math.hypot(weights[at] as number, weights[at + 1] as number);
  };
  const curve = (amplifier: number, reference: number) =>
    Array.from({ length: nodes }, (_, i) => [frequency?.[i] ?? i, size(i, amplifier, reference)] as const);
  const amplifiers = [0, 1, 2, 3];
  const references = ['reference output', 'left reference columns', 'right reference columns'];
  const sizes = references.map((_, r) => Math.max(0, ...amplifiers.flatMap((a) => curve(a, r).map(([, v]) => v))));
  const highest = 1.06 * Math.max(...sizes) || 1;
  const unused = references.filter((_, r) => sizes[r] === 0);
  const plots = references.map((reference, r) => {
    if (sizes[r] === 0) return '';
    const plot = drawPlot({
      title: `weights of the ${reference}`,
      x: { label: frequency === undefined ? 'frequency node' : 'frequency [Hz]' },
      y: { label: 'size of the weight [DN/DN]', range: [0, highest] },
      series: amplifiers.map((a) => ({
        name: `amplifier ${a + 1}`,
        colour: LINE_COLOURS[a] as string,
        points: curve(a, r),
      })),
    });
    return figure(plot, `How much of the ${reference} is subtracted from each amplifier.`);
  });
  return `<h2>WEIGHTS</h2><div class="figures">${plots.join('')}</div>${unused.map((reference) => `<p>Nothing is taken from the ${reference}: all weights are 0.</p>`).join('')}`;
}

/** Cells of the picture of an illumination, each way: orders up to 30 have no finer structure. */
const ILLUMINATION_CELLS = 64;

/** The model of a flat's light, at the middle of 64 x 64 cells, [row][x]. */
export function illuminationModel({ terms }: Illumination): Float32Array {
  const order = Math.max(1, ...terms.map(({ i, j }) => Math.max(i, j)));
  const middles = Array.from({ length: ILLUMINATION_CELLS }, (_, k) => (2 * (k + 0.5)) / ILLUMINATION_CELLS - 1);
  const p = middles.map((u) => legendre(u, order + 1));
  const model = new Float32Array(ILLUMINATION_CELLS ** 2);
  // First the sums over i for each column of cells and order j.
  for (let x = 0; x < ILLUMINATION_CELLS; x++) {
    const sums = Array.from({ length: order + 1 }, () => 0);
    for (const { i, j, value } of terms) sums[j] = (sums[j] as number) + value * (p[x]?.[i] as number);
    for (let y = 0; y < ILLUMINATION_CELLS; y++) {
      model[y * ILLUMINATION_CELLS + x] = sums.reduce((sum, v, j) => sum + v * (p[y]?.[j] as number), 0);
    }
  }
  return model;
}

async function illuminationSection({ illumination = [] }: CalibrationMaps): Promise<string> {
  const [first] = illumination;
  if (first === undefined) return '';
  const model = illuminationModel(first);
  const limits = { low: quantile(model, 0), high: quantile(model, 1) };
  const n = ILLUMINATION_CELLS;
  const style: MapStyle = { stops: GREY_STOPS, softening: 1e-3 };
  const png = await drawMap(model, n, n, limits, style);
  const light = (one: Illumination) => one.terms.find(({ i, j }) => i === 0 && j === 0)?.value ?? Number.NaN;
  const rows = illumination.map((one) => {
    const values = illuminationModel(one);
    return [
      right(String(one.exposure)),
      ...[light(one), quantile(values, 0), quantile(values, 1)].map((v) => right(number(v))),
    ];
  });
  const head = ['exposure', 'mean', 'least', 'most'].map(right);
  return `<h2>Illumination${first.unit === '' ? '' : ` [${text(first.unit)}]`}</h2><div class="figures">${figure(
    picture(png, n, n, 'model of the illumination, row 0 at the bottom') +
      colourBar(limits, style, first.unit, 'bar-illumination'),
    `The light of exposure ${first.exposure} that was divided out, row 0 at the bottom, linear.`,
  )}<div>${tableOf(head, rows)}</div></div>`;
}

async function flagsSection(maps: CalibrationMaps, { bits, pixels }: Assessment): Promise<string> {
  if (maps.dq === undefined || bits === undefined) return '<h2>Bad pixels</h2><p>The file has no image DQ.</p>';
  if (bits.length === 0) return '<h2>Bad pixels</h2><p>No pixel inside the border has a bit.</p>';
  const size = Math.min(maps.rows, Math.max(1, Math.floor(Math.max(maps.rows, maps.cols) / PICTURE)));
  const select = bits.reduce((mask, { bit }) => mask | (2 ** bit), 0);
  const pooled = await poolFlags(maps.dq, maps.rows, maps.cols, size, select);
  const colours = Array.from({ length: 31 }, (_, bit) =>
    bitColour(bit, DQ_BITS.find((one) => one.bit === bit)?.name ?? ''),
  );
  const png = drawFlags(pooled.colours, pooled.rows, pooled.cols, colours);
  const docs = new Map<string, string>(DQ_BITS.map((bit) => [bit.name, bit.doc]));
  const legend = tableOf(
    [cell('bit'), right('pixels'), right('share')],
    bits.map(({ bit, name, count: many }) => [
      cell(`${bitCell(bit, name).html}<br><span class="number">${text(docs.get(name) ?? '')}</span>`),
      right(count(many)),
      right(percent(many, pixels)),
    ]),
  );
  const caption =
    size === 1
      ? 'A pixel with more than one bit has the colour of the lowest.'
      : `A dot is ${size} × ${size} pixels and has a colour when one of them has a bit, that of the lowest: the map looks fuller than it is.`;
  return `<h2>Bad pixels</h2><div class="figures">${figure(picture(png, pooled.cols, pooled.rows, 'map of bad pixels, row 0 at the bottom', true), caption)}<div>${legend}</div></div>`;
}

async function previousSection(
  maps: CalibrationMaps,
  name: string,
  found: CalibrationComparison | undefined,
): Promise<string> {
  if (found === undefined) return `<h2>Against the previous calibration</h2><p>${text(name)}</p>`;
  return `<h2>Against the previous calibration</h2><p>${text(name)}</p>${await comparisonBody(maps, found)}`;
}

/** Numbers, bits and a picture of a comparison; `maps` is one of the two, for sizes and units. */
export async function comparisonBody(maps: CalibrationMaps, found: CalibrationComparison): Promise<string> {
  const images = tableOf(
    [
      cell('image'),
      right('compared'),
      right(`beyond ${found.sigmas} σ`),
      right('became bad'),
      right('recovered'),
      right('median b − a'),
      right('scatter'),
      right('in errors'),
    ],
    found.images.map((one) => [
      cell(`<span class="bit">${text(one.name)}${one.unit === '' ? '' : ` [${text(one.unit)}]`}</span>`),
      right(count(one.compared)),
      right(`${count(one.beyond)}${one.errors ? '' : ' *'}`),
      right(count(one.onlyA)),
      right(count(one.onlyB)),
      right(number(one.median)),
      right(number(one.scatter)),
      right(number(one.significance)),
    ]),
  );
  const noErrors = found.images.some(({ errors }) => !errors) ? ' *: without errors any difference counts.' : '';
  const first = found.images[0];
  const stripes = first?.amplifiers ?? [];
  const amplifiers =
    first === undefined || stripes.length === 0
      ? ''
      : `<h3>Amplifiers, ${text(first.name)}</h3>${tableOf(
          [
            right('amplifier'),
            right('compared'),
            right(`beyond ${found.sigmas} σ`),
            right('share'),
            right('became bad'),
            right('recovered'),
          ],
          stripes.map((one, i) => [
            right(String(i + 1)),
            right(count(one.compared)),
            right(count(one.beyond)),
            right(percent(one.beyond, Math.max(1, one.compared))),
            right(count(one.onlyA)),
            right(count(one.onlyB)),
          ]),
        )}`;
  const bits =
    found.bits === undefined
      ? '<p>One of the files has no image DQ.</p>'
      : found.bits.length === 0
        ? '<p>No pixel has a bit in either.</p>'
        : `<h3>Bits</h3>${tableOf(
            [cell('bit'), right('before'), right('now'), right('gained'), right('lost')],
            found.bits.map((one) => [
              bitCell(one.bit, one.name),
              right(count(one.a)),
              right(count(one.b)),
              right(count(one.gained)),
              right(count(one.lost)),
            ]),
          )}`;
  const small = await smaller(found.difference, maps.rows, maps.cols);
  const spread = 3 * scatter(small.pixels);
  const widest = quantile(small.pixels.map(Math.abs), 0.999);
  const bound = spread > 0 ? spread : widest;
  const difference =
    bound > 0
      ? figure(
          picture(
            await drawMap(small.pixels, small.rows, small.cols, { low: -bound, high: bound }, DIFFERENCE_STYLE),
            small.cols,
            small.rows,
            'difference, row 0 at the bottom',
          ) + colourBar({ low: -bound, high: bound }, DIFFERENCE_STYLE, found.images[0]?.unit ?? '', 'bar-difference'),
          `Difference of ${text(found.images[0]?.name ?? '')}: this less the one before.${eachPixel(small.size)} Clear: bad in one of them.`,
        )
      : '<p>Where both are good they do not differ.</p>';
  return `${images}<p class="soft">Good pixels inside the border. In errors: robust scatter of the difference over its combined error, 1 where nothing but noise changed.${noErrors}</p><div class="figures">${difference}<div>${bits}${amplifiers}</div></div>`;
}

function checksSection({ checks }: Assessment): string {
  const groups = [...new Set(checks.map(({ group }) => group))];
  return groups
    .map((group) => {
      const rows = checks
        .filter((check) => check.group === group)
        .map((check) => [
          cell(badge(check.verdict)),
          cell(`${text(check.reason.split(': ')[0] as string)}<br><span class="number">${text(check.number)}</span>`),
          right(`${number(check.value)}${check.value === null ? '' : unitText(check.unit)}`),
          right(limitText(check)),
        ]);
      return `<h3>${text(group[0]?.toUpperCase() + group.slice(1))}</h3>${tableOf([cell('verdict'), cell('number'), right('value'), right('limits')], rows, 'checks')}`;
    })
    .join('');
}

/** The whole page. */
export async function qaPage(input: PageInput): Promise<string> {
  const { name, maps, assessment, facts, inputs } = input;
  const { kind, tele, chip } = maps;
  const troubles = assessment.checks.filter(({ verdict }) => verdict === 'warn' || verdict === 'fail');
  const unmeasured = assessment.checks.filter(({ verdict }) => verdict === 'not measured').length;
  const why =
    troubles.length === 0
      ? `<p>Within their limits: ${assessment.checks.length - unmeasured} of ${assessment.checks.length} numbers; not measured: ${unmeasured}.</p>`
      : `<ul>${troubles.map(({ verdict, reason }) => `<li>${badge(verdict)} ${text(reason)}</li>`).join('')}</ul>`;
  const said =
    input.remarks.length === 0
      ? ''
      : `<p>Remarks of the builder:</p><ul>${input.remarks.map((remark) => `<li>${text(remark)}</li>`).join('')}</ul>`;
  const sections: string[] = [];
  for (const image of KIND_IMAGES[kind]) {
    const measures = assessment.images.find((one) => one.name === image) as ImageMeasures;
    sections.push(isDetectorMap(kind) ? await imageSection(maps, measures) : weightsSection(maps));
  }
  if (isDetectorMap(kind)) {
    sections.push(
      await illuminationSection(maps),
      await flagsSection(maps, assessment),
      await previousSection(maps, input.previousName, assessment.previous),
    );
  }
  const head = `<h1>${text(kind)} ${text(tele)} ${text(chip)} ${badge(input.grade)}</h1><p class="soft">${text(name)}</p>`;
  const list = `<dl>${facts.map(([label, value]) => `<dt>${text(label)}</dt><dd>${text(value)}</dd>`).join('')}</dl>`;
  const sources =
    inputs.length === 0
      ? ''
      : `<details><summary>made of ${inputs.length} ${inputs.length === 1 ? 'file' : 'files'}</summary>${tableOf(
          [cell('role'), cell('name'), cell('sha256')],
          inputs.map(([role, file, sha256]) => [
            cell(text(role)),
            cell(text(file)),
            cell(`<span class="number">${text(sha256.slice(0, 16))}</span>`),
          ]),
        )}</details>`;
  return htmlDocument(
    `QA of ${name}`,
    `<header>${head}${why}${said}${list}${sources}</header><main><h2>Verdicts</h2>${checksSection(assessment)}${sections.join('')}</main>`,
  );
}
