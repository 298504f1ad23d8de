/** The page of an exposure's spectra, or of a flat's traces: one HTML file that needs nothing else. */
import type { Grade } from '../../../calib/product.js';
import { FIBRE_STATES, type FibreState } from '../../../core/spectra.js';
import { type Check, judge, worse } from '../assess.js';
import { LINE_COLOURS } from '../colours.js';
import { badge, cell, count, figure, htmlDocument, limitText, number, right, tableOf, unitText } from '../markup.js';
import { drawPlot, type Series, escapeMarkup as text } from '../svg.js';
import { type Threshold, thresholds } from '../thresholds.js';
import { chipSection, STATE_COLOURS } from './chip.js';
import {
  type ChipInput,
  type ChipMeasures,
  type FibreNumbers,
  measureSpectra,
  PULLS,
  type PullMeasures,
} from './measure.js';

/** Layout of the JSON document. */
export const SPECTRA_QA_SCHEMA = 'spectra-qa/1';

/** Which exposure, and what is known of it. */
export interface ExposureHead {
  readonly instrument: string;
  readonly tele: string;
  readonly mjd: number;
  readonly exposure: number;
  /** 'domeflat', 'object', ...; '' where nothing says it. */
  readonly kind: string;
  /** Lines of the head: [label, value]. */
  readonly facts: readonly (readonly [string, string])[];
  /** Chips without a part of the page: [chip, why]. */
  readonly missing: readonly (readonly [string, string])[];
  /** What it was made of: [role, name, sha256]. */
  readonly inputs: readonly (readonly [string, string, string])[];
}

/** What is kept of a chip once it was measured and drawn: its images are not needed any more. */
export interface ChipPart {
  readonly chip: string;
  readonly checks: readonly Check[];
  readonly grade: Grade;
  readonly measures: Pick<ChipMeasures, 'numbers' | 'fibres' | 'pulls'>;
  /** Of its light. */
  readonly unit: string;
  readonly remarks: readonly string[];
  readonly html: string;
}

/** Measures, judges and draws one chip. */
export async function chipPart(
  input: ChipInput,
  instrument: string,
  limits: readonly Threshold[] = thresholds(),
): Promise<ChipPart> {
  const measures = await measureSpectra(input);
  const kinds = [...(input.own ? ['trace'] : []), ...(input.spectra === undefined ? [] : ['spectra'])];
  const checks = limits
    .filter((one) => one.kinds.some((kind) => kinds.includes(kind)))
    .filter((one) => one.instrument === undefined || one.instrument === instrument)
    .map((one) => judge(one, measures.numbers[one.number]));
  const { numbers, fibres, pulls } = measures;
  return {
    chip: input.chip,
    checks,
    grade: worse(...checks.flatMap(({ verdict }) => (verdict === 'not measured' ? [] : [verdict]))),
    measures: { numbers, fibres, pulls },
    unit: input.image.unit,
    remarks: input.remarks,
    html: await chipSection(input, measures),
  };
}

/** The worst of the chips; a chip that is missing is worth a look. */
export function gradeOf(head: ExposureHead, parts: readonly ChipPart[]): Grade {
  return worse(...parts.map(({ grade }) => grade), ...(head.missing.length > 0 ? (['warn'] as const) : []));
}

const STYLE = `
.wide{overflow-x:auto}.wide svg{min-width:680px}
.nine{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:10px}.nine figure+figure{margin-top:0}.nine figcaption{margin-top:0}
nav a{display:inline-block;margin-right:1em}a{color:inherit}
@media(max-width:640px){.nine{grid-template-columns:minmax(0,1fr)}}
@media print{.wide svg{min-width:0}.nine{grid-template-columns:repeat(3,minmax(0,1fr))}.chip{break-before:page}}
`;

/** Of chips: not those of fibres that are low, broken or blended. */
const CHIP_COLOURS = [LINE_COLOURS[0], LINE_COLOURS[2], LINE_COLOURS[6]] as readonly string[];
const colourOf = (i: number) => CHIP_COLOURS[i % CHIP_COLOURS.length] as string;

/** Like sentences once, with the chips that they are of. */
export function grouped(said: readonly (readonly [chip: string, sentence: string])[]): (readonly [string, string])[] {
  const groups = new Map<string, string[]>();
  for (const [chip, sentence] of said) groups.set(sentence, [...(groups.get(sentence) ?? []), chip]);
  return [...groups].map(([sentence, chips]) => [[...new Set(chips)].join(', '), sentence] as const);
}

/** Verdicts of one number on all chips, a line of the table. */
function checksTable(parts: readonly ChipPart[]): string {
  const names = [...new Set(parts.flatMap(({ checks }) => checks.map((one) => one.number)))];
  const rows = names.map((name) => {
    const found = parts.map(({ checks }) => checks.find((one) => one.number === name));
    const known = found.filter((one) => one !== undefined);
    const first = known[0] as Check;
    const verdicts = known.flatMap(({ verdict }) => (verdict === 'not measured' ? [] : [verdict]));
    const values = found.map((one) =>
      one === undefined || one.value === null
        ? '–'
        : `<span${one.verdict === 'warn' || one.verdict === 'fail' ? ` class="${one.verdict}"` : ''}>${three(one.value)}</span>`,
    );
    const shown = values
      .map((value, i) => `<span class="number">${text(parts[i]?.chip ?? '')}</span> ${value}`)
      .join(' ');
    return [
      cell(badge(verdicts.length === 0 ? 'not measured' : worse(...verdicts))),
      cell(`${text(first.reason.split(': ')[0] as string)}<br><span class="number">${text(name)}</span>`),
      right(`${shown}${unitText(first.unit)}`),
      right(limitText(first)),
    ];
  });
  return tableOf([cell('verdict'), cell('number'), right('chips'), right('limits')], rows, 'checks');
}

/** Fibres that are on a chip, with a margin. */
function fibreRange(parts: readonly ChipPart[]): readonly [number, number] {
  const found = parts.flatMap(({ measures }) => measures.fibres.filter(({ state }) => state !== 'off-chip'));
  const indices = found.map(({ index }) => index);
  return indices.length === 0 ? [0, 1] : [Math.min(...indices) - 1, Math.max(...indices) + 1];
}

/** '296 ok, 2 low, 2 broken' */
function stateCounts(fibres: readonly FibreNumbers[]): string {
  const many = (state: FibreState) => fibres.filter((one) => one.state === state).length;
  return FIBRE_STATES.filter((state) => many(state) > 0)
    .map((state) => `${many(state)} ${state}`)
    .join(', ');
}

function throughputFigure(parts: readonly ChipPart[]): string {
  const known = parts
    .flatMap(({ measures }) => measures.fibres.map(({ throughput }) => throughput))
    .filter(Number.isFinite);
  if (known.length === 0) {
    return '<p>No dome flat says what part of the light each fibre shows: the throughput is unknown.</p>';
  }
  const counts = grouped(parts.map(({ chip, measures }) => [chip, stateCounts(measures.fibres)] as const));
  const good = parts.map(({ chip, measures }, i): Series => {
    const fibres = measures.fibres.filter(({ state }) => state === 'ok');
    return {
      name: `chip ${chip}`,
      colour: colourOf(i),
      style: 'points',
      points: fibres.map(({ index, throughput }) => [index, throughput] as const),
      errors: fibres.map(({ throughputError }) => throughputError),
    };
  });
  const marked = (['low', 'broken', 'blended'] as const).flatMap((state): Series[] => {
    const points = parts.flatMap(({ measures }) =>
      measures.fibres.flatMap(({ index, state: one, throughput }) =>
        one === state ? [[index, Number.isFinite(throughput) ? Math.max(0, throughput) : 0] as const] : [],
      ),
    );
    return points.length === 0
      ? []
      : [{ name: state, colour: STATE_COLOURS[state], style: 'dots', points: apart(points) }];
  });
  return figure(
    `<div class="wide">${drawPlot({
      title: 'throughput by fibre',
      width: 900,
      height: 280,
      x: { label: 'fibre, from the bottom of the chip', range: fibreRange(parts) },
      y: { label: 'relative throughput', range: [0, 1.1 * Math.max(1.2, ...known)] },
      series: [...good, ...marked],
    })}</div>`,
    `Relative throughput of each fibre with its error, 1 the median fibre of a chip. ${counts.map(([chips, states]) => `Chip ${text(chips)}: ${states}.`).join(' ')}`,
  );
}

/** With more than this the axis of chi2 is logarithmic, or those that are right would be one line. */
const LARGE_CHI2 = 5;

/** Marked points that no line joins. */
const apart = (points: readonly (readonly [number, number])[]) =>
  points.flatMap((point) => [point, [point[0], Number.NaN] as const]);

function fibreFigure(
  parts: readonly ChipPart[],
  value: 'sn' | 'chi2' | 'flux',
  labels: { readonly title: string; readonly axis: string; readonly caption: string },
): string {
  const series = parts.map(
    ({ chip, measures }, i): Series => ({
      name: `chip ${chip}`,
      colour: colourOf(i),
      style: 'points',
      points: measures.fibres
        .filter((one) => one.state === 'ok' || one.state === 'low')
        .map((one) => [one.index, one[value]] as const),
    }),
  );
  const known = series.flatMap(({ points }) => points.map(([, v]) => v)).filter(Number.isFinite);
  if (known.length === 0) return `<p>No fibre has a value: ${text(labels.title)} cannot be drawn.</p>`;
  const positive = known.filter((v) => v > 0);
  const wide = positive.length > 0 && Math.max(...positive) > 30 * Math.max(1e-3, Math.min(...positive));
  return figure(
    drawPlot({
      title: labels.title,
      x: { label: 'fibre', range: fibreRange(parts) },
      y:
        value === 'chi2' && Math.max(...known) < LARGE_CHI2
          ? { label: labels.axis, range: [0, Math.max(2, 1.1 * Math.max(...known))] }
          : wide || value === 'chi2'
            ? { label: labels.axis, log: true }
            : { label: labels.axis, range: [Math.min(0, 1.1 * Math.min(...known)), 1.15 * Math.max(...known, 0) || 1] },
      series,
    }),
    labels.caption,
  );
}

function pullFigure(parts: readonly ChipPart[]): string {
  const known = parts.flatMap(({ chip, measures: { pulls } }, i) =>
    pulls === undefined ? [] : [{ chip, pulls, colour: colourOf(i) }],
  );
  const [first] = known;
  if (first === undefined) return '';
  const { low, high, counts } = first.pulls.histogram;
  const width = (high - low) / counts.length;
  // As a density, so that chips and the normal are on one scale.
  const density = (pulls: PullMeasures, n: number) => n / (pulls.level.count * width);
  const normal = Array.from({ length: 161 }, (_, i) => {
    const x = -PULLS + (i * 2 * PULLS) / 160;
    return [x, Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)] as const;
  });
  const said = known.map(
    ({ chip, pulls }) =>
      `Chip ${text(chip)}: mean ${number(Number(pulls.mean.toPrecision(2)))}, robust scatter ${number(Number(pulls.level.scatter.toPrecision(3)))}, where a right model gives ${pulls.expected.toFixed(3)}; beyond 5 σ ${number(Number(pulls.beyondPercent.toPrecision(2)))} % of ${count(pulls.level.count)} pixels.`,
  );
  return figure(
    drawPlot({
      title: 'pulls',
      x: { label: '(data − model) / σ of a pixel', range: [-PULLS, PULLS] },
      y: { label: 'density', log: true, range: [1e-7, 1] },
      series: [
        { name: 'unit normal', points: normal },
        ...known.map(
          ({ chip, pulls, colour }): Series => ({
            name: `chip ${chip}`,
            colour,
            style: 'step',
            points: [
              ...pulls.histogram.counts.map((n, k) => [low + k * width, density(pulls, n)] as const),
              [high, Number.NaN] as const,
            ],
          }),
        ),
      ],
    }),
    `${said.join(' ')} A flux is fitted to each column of a fibre, so that even a right model leaves less than the unit normal. The errors are those of the image, which are larger for a pixel that noise made brighter: of faint light the pulls lean to the left.`,
  );
}

/** Something to look at, in a sentence. */
export interface Trouble {
  readonly grade: Grade;
  readonly sentence: string;
}

/** Which numbers are outside their limits and on which chips, the worst first, and which chips are missing. */
export function troublesOf({ missing }: ExposureHead, parts: readonly ChipPart[]): Trouble[] {
  const all = parts.flatMap(({ chip, checks }) => checks.map((check) => ({ chip, check })));
  const found = (['fail', 'warn'] as const).flatMap((grade) => {
    const bad = all.filter(({ check }) => check.verdict === grade);
    return [...new Set(bad.map(({ check }) => check.number))].map((name): Trouble => {
      const own = bad.filter(({ check }) => check.number === name);
      const [{ check }] = own as [(typeof own)[number]];
      const [what = ''] = check.reason.split(': ');
      const values = own.map((one) => `${one.chip} ${three(one.check.value as number)}`).join(', ');
      const [low, high] = (grade === 'fail' ? check.fail : check.warn) ?? [null, null];
      const range =
        low === null
          ? `at most ${number(high)}`
          : high === null
            ? `at least ${number(low)}`
            : `${number(low)} to ${number(high)}`;
      return { grade, sentence: `${what}: ${values}${check.unit === '' ? '' : ` ${check.unit}`}; within is ${range}` };
    });
  });
  return [...found, ...missing.map(([chip, why]): Trouble => ({ grade: 'warn', sentence: `no chip ${chip}: ${why}` }))];
}

/** Three digits. */
const three = (value: number) => number(Number(value.toPrecision(3)));

function troubleList(head: ExposureHead, parts: readonly ChipPart[]): string {
  const found = troublesOf(head, parts);
  if (found.length > 0) {
    return `<ul>${found.map(({ grade, sentence }) => `<li>${badge(grade)} ${text(sentence)}</li>`).join('')}</ul>`;
  }
  const checks = parts.flatMap((part) => part.checks);
  const known = checks.filter(({ verdict }) => verdict !== 'not measured').length;
  return `<p>Within their limits: all ${known} numbers of ${parts.length} ${parts.length === 1 ? 'chip' : 'chips'}${known < checks.length ? `; not measured: ${checks.length - known}` : ''}.</p>`;
}

/** Names of exposures have four digits. */
const titleOf = ({ tele, mjd, exposure, kind }: ExposureHead) =>
  `${kind === '' ? 'exposure' : kind} ${tele} ${mjd} ${String(exposure).padStart(4, '0')}`;

/** By how much the traces were moved, or that the light did not tell it. */
function movedFact(parts: readonly ChipPart[]): (readonly [string, string])[] {
  const said = parts.flatMap(({ chip, checks, measures: { numbers } }) => {
    if (!checks.some((one) => one.number === 'tweak.shift')) return [];
    const [shift, error] = [numbers['tweak.shift'], numbers['tweak.shiftError']];
    return [
      shift === undefined || error === undefined
        ? `${chip} not measured, as the flat has them`
        : `${chip} ${shift.toFixed(4)} ± ${error.toFixed(4)} px`,
    ];
  });
  return said.length === 0 ? [] : [['traces moved', said.join(', ')]];
}

/** The whole page. */
export function spectraPage(head: ExposureHead, parts: readonly ChipPart[]): string {
  const title = titleOf(head);
  const remarks = grouped(parts.flatMap(({ chip, remarks: own }) => own.map((one) => [chip, one] as const)));
  const said =
    remarks.length === 0
      ? ''
      : `<h2>Warnings</h2><ul>${remarks.map(([chips, sentence]) => `<li>${text(`${chips}: ${sentence}`)}</li>`).join('')}</ul>`;
  const list = `<dl>${[...head.facts, ...movedFact(parts)].map(([label, value]) => `<dt>${text(label)}</dt><dd>${text(value)}</dd>`).join('')}</dl>`;
  const sources =
    head.inputs.length === 0
      ? ''
      : `<details><summary>made of ${head.inputs.length} ${head.inputs.length === 1 ? 'file' : 'files'}</summary>${tableOf(
          [cell('role'), cell('name'), cell('sha256')],
          head.inputs.map(([role, name, sha256]) => [
            cell(text(role)),
            cell(text(name)),
            cell(`<span class="number">${text(sha256.slice(0, 16))}</span>`),
          ]),
        )}</details>`;
  const nav =
    parts.length < 2
      ? ''
      : `<nav>${parts.map(({ chip, grade }) => `<a href="#chip-${text(chip)}">chip ${text(chip)} ${badge(grade)}</a>`).join('')}</nav>`;
  const overview = [
    pullFigure(parts),
    fibreFigure(parts, 'sn', {
      title: 'S/N by fibre',
      axis: 'S/N in a column',
      caption: 'Mean signal to noise of each fibre in a column.',
    }),
    fibreFigure(parts, 'chi2', {
      title: 'chi2 by fibre',
      axis: 'χ² / dof',
      caption: 'Mean χ² for each degree of freedom of each fibre: 1 where the model and the errors are right.',
    }),
    fibreFigure(parts, 'flux', {
      title: 'flux by fibre',
      axis: `mean flux [${parts[0]?.unit ?? ''}]`,
      caption: 'Mean flux of each fibre in a column.',
    }),
  ].join('');
  const chips = parts
    .map(
      ({ chip, grade, html }) =>
        `<section class="chip"><h2 id="chip-${text(chip)}">Chip ${text(chip)} ${badge(grade)}</h2>${html}</section>`,
    )
    .join('');
  return htmlDocument(
    `QA of ${title}`,
    `<header><h1>${text(title)} ${badge(gradeOf(head, parts))}</h1>${troubleList(head, parts)}${nav}${list}${sources}</header><main><h2>Throughput by fibre</h2>${throughputFigure(parts)}<h2>Model and light</h2><div class="figures">${overview}</div><h2>Verdicts</h2>${checksTable(parts)}${said}${chips}</main>`,
    STYLE,
  );
}

/** What JSON can carry, as many digits as tell: NaN and infinities become null. */
const plain = (value: number) => (Number.isFinite(value) ? Number(value.toPrecision(6)) : null);

/** The numbers of the page. */
export function spectraDocument(head: ExposureHead, parts: readonly ChipPart[]): unknown {
  const { instrument, tele, mjd, exposure, kind, missing } = head;
  return {
    schema: SPECTRA_QA_SCHEMA,
    instrument,
    tele,
    mjd,
    exposure,
    kind,
    grade: gradeOf(head, parts),
    reasons: troublesOf(head, parts).map(({ grade, sentence }) => `${grade}: ${sentence}`),
    missing: missing.map(([chip, why]) => ({ chip, why })),
    inputs: head.inputs.map(([role, name, sha256]) => ({ role, name, sha256 })),
    chips: parts.map(({ chip, grade, checks, measures, remarks }) => ({
      chip,
      grade,
      checks: checks.map((one) => ({ ...one })),
      numbers: measures.numbers,
      warnings: remarks,
      fibres: measures.fibres.map(({ index, number: own, state, ...values }) => ({
        fibre: index,
        number: own,
        state,
        ...Object.fromEntries(Object.entries(values).map(([name, value]) => [name, plain(value)])),
      })),
    })),
  };
}
