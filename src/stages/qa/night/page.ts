/** The page of a night: one HTML file that needs nothing else, for a phone, a desktop and paper. */
import { isoFromMjd } from '../../../core/time.js';
import { LINE_COLOURS } from '../colours.js';
import { badge, type Cell, cell, count, figure, htmlDocument, number, right, tableOf } from '../markup.js';
import { drawPlot, shortNumber, escapeMarkup as text } from '../svg.js';
import { drawFlow, dropCount, kindColour } from './flow.js';
import type {
  NightCalibration,
  NightExposure,
  NightFinding,
  NightGrade,
  NightReport,
  NightSeries,
  NightStage,
} from './model.js';

/** A small picture of an exposure: a PNG, and its size on the page [CSS px]. */
export interface Thumbnail {
  readonly png: Buffer;
  readonly width: number;
  readonly height: number;
}

/** With more exposures than this their table begins closed. */
const OPEN_ROWS = 150;
/** Numbers in a list of exposures before "and n more". */
const LISTED = 24;
/** Steps of a stage that are shown; the rest is one line. */
const STEPS = 12;
/** Characters of an axis' label that fit beside a small plot. */
const LONGEST_LABEL = 24;
/** A series spans more than this many times its smallest value: its axis is logarithmic. */
const LOG_SPAN = 50;

const STYLE = `
nav{display:flex;flex-wrap:wrap;gap:.2em 1em;font-size:.9rem;margin:.6em 0}a{color:inherit;text-decoration-color:var(--soft);text-underline-offset:2px}
.verdict{font-size:1.1rem;margin:.4em 0 .6em}code{font:.84em ui-monospace,monospace;background:var(--panel);border:1px solid var(--line);border-radius:3px;padding:.1em .35em;overflow-wrap:anywhere}.command{margin:.5em 0;color:var(--soft);font-size:.86rem}
.findings{list-style:none;padding:0}.findings li{margin:.35em 0;display:grid;grid-template-columns:4.2em 1fr;gap:.6em}.findings .badge{justify-self:start;align-self:start}
svg.flow{max-width:600px}svg .band{opacity:.5}svg .drop{fill:none;stroke:var(--fail);opacity:.75}svg .node{fill:currentColor}svg .lead{stroke:currentColor;opacity:.5;stroke-width:1}svg .name{font-weight:600}svg .halo{paint-order:stroke;stroke:var(--panel);stroke-width:3px;stroke-linejoin:round}
.kinds{display:flex;flex-wrap:wrap;gap:.1em 1em;font-size:.9rem;padding:0;list-style:none}
.exposures img,.none{background:var(--panel);border-radius:2px;display:block}.none{width:72px;height:24px}
.percents,.shape{font-size:.86em;line-height:1.3;color:var(--soft)}.percents{min-width:11em}.shape{max-width:6.5em}.exposures td:first-child{font-weight:600;font-variant-numeric:tabular-nums}.exposures .links a{margin-right:.6em;white-space:nowrap}.exposures tr.missing td{color:var(--soft)}
.exposures tr:target{outline:2px solid var(--warn);outline-offset:-2px}
.filter{margin:.4em 0;font-size:.92rem}.filter label{margin-right:1em}section:has(#only-look:checked) tr.fine{display:none}
.bars{display:grid;grid-template-columns:fit-content(46%) minmax(4em,1fr) max-content;gap:.15em .7em;align-items:center;font-size:.9rem}.bars span{overflow-wrap:anywhere}.bars .track{height:.8em;background:var(--panel);border-radius:2px;overflow:hidden}.bars .track i{display:block;height:100%;background:#2a7fd4}.bars .track i.predicted{background:var(--soft);opacity:.5}.bars .v{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.bars .track,.swatch,.exposures img{print-color-adjust:exact;-webkit-print-color-adjust:exact}
td .soft{font-size:1em}
@media(max-width:640px){.stack thead{display:none}.stack tr{display:grid;grid-template-columns:1fr max-content;gap:.1em .7em;padding:.4em 0;border-bottom:1px solid var(--line)}.stack td{border:0;padding:0}.stack td:nth-child(2),.stack td:nth-child(3){grid-column:1/3}.stack td:first-child{font-weight:600}.stack td:last-child{grid-column:2;grid-row:1}.exposures thead{display:none}.exposures tr{display:grid;grid-template-columns:96px 1fr;gap:.1em .7em;padding:.5em 0;border-bottom:1px solid var(--line)}.exposures td,.exposures td.n{border:0;padding:0;grid-column:2;text-align:left;white-space:normal}.exposures td:empty{display:none}.shape{max-width:none}.exposures td:first-child{grid-column:1;grid-row:1}.exposures td:nth-child(2){grid-column:1;grid-row:2/8}}
@media print{nav,.filter{display:none}.soft,figcaption,.kinds,.command,.bars{font-size:8.5pt}details::details-content{content-visibility:visible;display:block;height:auto}svg.flow{max-width:420px}.exposures td{padding-top:.15em;padding-bottom:.15em}a{text-decoration:none}}
`;

/** Words and colours of grades; 'good' is drawn as the pages of calibrations draw 'pass'. */
const GRADES: Readonly<Record<NightGrade, readonly [word: string, kind: string]>> = {
  good: ['good', 'pass'],
  look: ['look', 'warn'],
  bad: ['bad night', 'fail'],
  unfinished: ['not finished', 'warn'],
  empty: ['empty', 'other'],
};
const mark = (word: string, kind: string) => `<span class="badge ${kind}">${text(word)}</span>`;

/** Safe as the value of href; a name with ':' must not become a scheme. */
const href = (path: string) =>
  text(
    `./${path}`
      .split('/')
      .map(encodeURIComponent)
      .join('/')
      .replace(/^\.\/\.\.\//, '../'),
  );
const link = (path: string, label: string) =>
  path === '' ? text(label) : `<a href="${href(path)}">${text(label)}</a>`;
const command = (line: string) => `<p class="command">On the command line: <code>${text(line)}</code></p>`;

/** Seconds for people: 12.3 s, 4.5 min, 1.2 h. */
export function timeText(seconds: number): string {
  if (seconds < 120) return `${shortNumber(Number(seconds.toPrecision(3)))} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** Powers of 1000. */
export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${Number((bytes / 1000 ** power).toPrecision(3))} ${units[power]}`;
}

/** A time to the minute. */
const minute = (time: string) => time.slice(0, 16).replace('T', ' ');
const four = (exposure: number) => String(exposure).padStart(4, '0');

/** Numbers as links to the rows of the table; runs of them as one. */
function exposureList(numbers: readonly number[]): string {
  const runs: [number, number][] = [];
  for (const one of numbers) {
    const last = runs.at(-1);
    if (last !== undefined && one === last[1] + 1) last[1] = one;
    else runs.push([one, one]);
  }
  const anchor = (one: number) => `<a href="#e${one}">${four(one)}</a>`;
  const shown = runs
    .slice(0, LISTED)
    .map(([a, b]) => (a === b ? anchor(a) : `${anchor(a)}${b === a + 1 ? ', ' : '–'}${anchor(b)}`));
  return `${shown.join(', ')}${runs.length > LISTED ? ' …' : ''}`;
}

function findingList(findings: readonly NightFinding[]): string {
  const items = findings.map(({ level, text: words, count: many, exposures }) => {
    const where = exposures.length === 0 ? '' : ` <span class="soft">${exposureList(exposures)}</span>`;
    return `<li>${level === 'note' ? mark('note', 'other') : badge(level)}<span>${many > 1 ? `<b>${count(many)} ×</b> ` : ''}${text(words)}${where}</span></li>`;
  });
  return `<ul class="findings">${items.join('')}</ul>`;
}

function headSection(report: NightReport): string {
  const { tele, mjd, instrument, grade, sentence, findings, totals } = report;
  const facts: [string, string][] = [
    ['instrument', `${instrument}, ${tele}, chips ${report.chips.join(', ')}`],
    ['raw', `${count(totals.files)} files, ${bytesText(totals.bytes)}`],
    ['products', bytesText(totals.productBytes)],
  ];
  if (report.began !== '') {
    const runs = totals.runs === 1 ? 'one run' : `${totals.runs} runs`;
    facts.push([
      'worked',
      `${minute(report.began)} to ${minute(report.ended)} UTC, ${runs}, ${timeText(totals.wallSeconds)}`,
    ]);
    const each = totals.cpuSecondsPerExposure;
    facts.push([
      'cost',
      `${timeText(totals.cpuSeconds)} of ${totals.cpuKnown ? 'CPU' : 'work by the clock'}${each === null ? '' : `, ${timeText(each)} for an exposure`}`,
    ]);
  }
  const list = facts.map(([label, value]) => `<dt>${label}</dt><dd>${text(value)}</dd>`).join('');
  return (
    `<header><h1>Night ${mjd}, ${text(tele)} ${mark(...GRADES[grade])} <span class="soft bit">${isoFromMjd(mjd).slice(0, 10)}</span></h1>` +
    `<p class="verdict">${text(sentence)}</p>${findingList(findings)}<dl>${list}</dl>${command(`rampline status ${report.commands.night}`)}</header>`
  );
}

function flowSection({ flow, commands }: NightReport): string {
  if (flow.exposures === 0) return '<p>There is no exposure.</p>';
  const kinds = flow.kinds.map(
    ({ kind, exposures }) =>
      `<li><span class="swatch" style="background:${kindColour(kind)}"></span>${exposures} ${text(kind)}</li>`,
  );
  const picture = figure(
    drawFlow(flow),
    'From raw files on top to products: a bar is a stage, its width the number of exposures. Behind a name: how many are through. An exposure that goes into several products is drawn in each. Red leaves the flow.',
  );
  const rows = flow.drops.map((drop) => {
    const whole = drop.lost.filter(({ chips }) => chips.length === 0).map(({ exposure }) => exposure);
    const parts = drop.lost
      .filter(({ chips }) => chips.length > 0)
      .slice(0, LISTED)
      .map(({ exposure, chips }) => `<a href="#e${exposure}">${four(exposure)}</a> ${text(chips.join(''))}`);
    const list = [exposureList(whole), ...parts].filter((part) => part !== '').join(', ');
    return [
      cell(`<span class="bit">${text(drop.at)}</span>`),
      cell(`<b class="bit">${dropCount(drop)}</b>`),
      cell(`${text(drop.reason)} <span class="soft">(${text(drop.by)})</span><br><span class="soft">${list}</span>`),
    ];
  });
  const drops =
    rows.length === 0
      ? '<p>Nothing was dropped.</p>'
      : `<h3>Dropped</h3>${tableOf([cell('at'), cell('how many'), cell('why')], rows)}`;
  return `<ul class="kinds">${kinds.join('')}</ul><div class="figures">${picture}<div>${drops}</div></div>${command(`rampline plan ${commands.run}`)}`;
}

const VERDICTS = { ok: 'pass', suspect: 'warn', drop: 'fail' } as const;
const STATES: Readonly<Record<NightExposure['state'], readonly [string, string]>> = {
  done: ['done', 'pass'],
  partly: ['partly', 'warn'],
  dropped: ['dropped', 'fail'],
  failed: ['failed', 'fail'],
  todo: ['not yet', 'other'],
  missing: ['missing', 'warn'],
};

function exposureRow(one: NightExposure, thumb: Thumbnail | undefined): string {
  const { exposure, light, state } = one;
  if (state === 'missing') {
    return `<tr id="e${exposure}" class="missing"><td>${four(exposure)}</td><td></td><td>${mark('missing', 'warn')}</td><td></td><td>${text(one.what)}</td><td></td><td></td></tr>`;
  }
  const alternative = `exposure ${four(exposure)}, ${one.kind}`;
  const picture =
    thumb === undefined
      ? '<span class="none"></span>'
      : `<img src="data:image/png;base64,${thumb.png.toString('base64')}" width="${thumb.width}" height="${thumb.height}" alt="${text(alternative)}" loading="lazy">`;
  const seen =
    light === null
      ? ''
      : `<br>${mark(light.verdict, VERDICTS[light.verdict])}${light.verdict === 'ok' ? '' : ` <span class="soft">light: ${text(light.kind)}</span>`}`;
  const kind = `<span class="bit"><span class="swatch" style="background:${kindColour(one.kind)}"></span>${text(one.kind)}</span>${seen}`;
  const start = one.start === null ? '' : isoFromMjd(one.start).slice(11, 19);
  const shape = [start, one.reads > 0 ? `${one.reads} reads` : '', one.seconds > 0 ? `${number(one.seconds)} s` : '']
    .filter((part) => part !== '')
    .map((part) => `<span class="bit">${part}</span>`)
    .join(' ');
  const reason = light === null || light.verdict === 'ok' || one.what.includes(light.reason) ? '' : light.reason;
  const field = one.field === '' ? '' : `field ${one.field}`;
  const told = [reason, one.what, field, one.comment].filter((part) => part !== '').map(text);
  const warned =
    one.warnings > 0
      ? [`<span class="warn">${one.warnings} ${one.warnings === 1 ? 'warning' : 'warnings'}</span>`]
      : [];
  const percents = Object.entries(one.percent)
    .filter(([, value]) => value > 0)
    .map(
      ([name, value]) =>
        `<span class="bit">${text(name)} ${value < 0.01 ? '&lt;0.01' : Number(value.toPrecision(2))} %</span>`,
    );
  const stages = [...new Set(one.products.map(({ stage }) => stage))];
  const links = stages.map((stage) => {
    const files = one.products.filter((product) => product.stage === stage);
    const [only] = files;
    if (only === undefined || files.length === 1) return link(only?.href ?? '', stage);
    return `<span class="bit">${text(stage)} ${files.map((file) => link(file.href, file.chip)).join('')}</span>`;
  });
  if (one.log !== '') links.push(link(one.log, 'log'));
  const fine = state === 'done' && (light === null || light.verdict === 'ok') && one.warnings === 0;
  return `<tr id="e${exposure}"${fine ? ' class="fine"' : ''}><td>${four(exposure)}</td><td>${picture}</td><td>${kind}</td><td class="shape">${shape}</td><td>${mark(...STATES[state])} ${[...told, ...warned].join('; ')}</td><td class="percents">${percents.join(', ')}</td><td class="links">${links.join(' ')}</td></tr>`;
}

function exposureSection(report: NightReport, thumbs: ReadonlyMap<number, Thumbnail>): string {
  const { exposures } = report;
  if (exposures.length === 0) return '<p>There is no exposure.</p>';
  const rows = exposures.map((one) => exposureRow(one, thumbs.get(one.exposure)));
  const head = ['number', 'light', 'kind', 'start (UT)', 'what happened', 'pixels', 'files']
    .map((name) => `<th>${name}</th>`)
    .join('');
  const missing = report.missing.length === 0 ? '' : `, ${report.missing.length} missing in the numbering`;
  const taken = exposures.length - report.missing.length;
  const title = `${taken} ${taken === 1 ? 'exposure' : 'exposures'}${missing}`;
  return `<details${exposures.length <= OPEN_ROWS ? ' open' : ''}><summary>${title}</summary><p class="filter"><label><input type="radio" name="which" checked> all</label><label><input type="radio" name="which" id="only-look"> those to look at</label></p><div class="scroll"><table class="exposures"><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div></details><p class="soft">Kind: as header and lamps say; below it the verdict by the light alone. Pixels: share with such a quality bit, mean of the chips.</p>${command(report.commands.almanac)}`;
}

function calibrationSection({ calibrations, chips, commands }: NightReport): string {
  if (calibrations.length === 0) return '<p>No product names a calibration.</p>';
  const row = (one: NightCalibration): Cell[] => [
    cell(`<span class="bit">${text(one.kind)}</span>`),
    cell(
      `${link(one.built ? `../../calib/${one.name}` : '', one.name)}${one.built ? ` ${mark('this night', 'other')}` : ''}${one.grade === '' ? '' : ` ${badge(one.grade)}`}${one.qa === '' ? '' : ` ${link(one.qa, 'QA page')}`}<br><span class="number">${text(one.sha256.slice(0, 16))}</span>`,
    ),
    cell(text(one.why)),
    right(count(one.products)),
  ];
  const head = [cell('kind'), cell('file'), cell('why'), right('products')];
  const groups = [...chips, ...new Set(calibrations.map(({ chip }) => chip).filter((chip) => !chips.includes(chip)))];
  const parts = groups.map((chip) => {
    const own = calibrations.filter((one) => one.chip === chip);
    const used = own.filter((one) => one.used);
    const refused = own.filter((one) => !one.used);
    const rest =
      refused.length === 0
        ? ''
        : `<details><summary>${refused.length} looked at and not taken</summary>${tableOf(head, refused.map(row), 'stack')}</details>`;
    return own.length === 0 ? '' : `<h3>Chip ${text(chip)}</h3>${tableOf(head, used.map(row), 'stack')}${rest}`;
  });
  return `${parts.join('')}${command(commands.explain)}`;
}

function seriesSection({ series, chips, exposures, commands }: NightReport): string {
  if (series.length === 0) return '<p>No product has said a number yet.</p>';
  const [first, last] = [exposures[0]?.exposure ?? 0, exposures.at(-1)?.exposure ?? 1];
  const margin = Math.max(0.5, 0.02 * (last - first));
  const ranges = series.map((one) => {
    const values = one.points.map(({ value }) => value);
    return { one, low: values.reduce((a, b) => Math.min(a, b)), high: values.reduce((a, b) => Math.max(a, b)) };
  });
  // A long name would leave the picture; it is below.
  const named = ({ name, unit }: NightSeries) => {
    const whole = unit === '' ? name : `${name} [${unit}]`;
    return whole.length <= LONGEST_LABEL ? whole : unit === '' ? 'value' : `[${unit}]`;
  };
  const constant = ranges.filter(({ low, high }) => low === high);
  const plots = ranges
    .filter(({ low, high }) => low < high)
    .map(({ one, low, high }) => {
      const found = [...new Set([...chips, ...one.points.map(({ chip }) => chip)])];
      const plot = drawPlot({
        title: `${one.name} over the night`,
        height: 210,
        x: { label: 'exposure', range: [first - margin, last + margin] },
        y: { label: named(one), log: low > 0 && high > LOG_SPAN * low },
        series: found
          .map((chip, i) => {
            const points = one.points.filter((point) => point.chip === chip);
            return {
              ...(chip === '' ? {} : { name: `chip ${chip}` }),
              colour: LINE_COLOURS[i % LINE_COLOURS.length] as string,
              style: 'points' as const,
              points: points.map((point) => [point.exposure, point.value] as const),
              errors: points.map(({ error = 0 }) => error),
            };
          })
          .filter(({ points }) => points.length > 0),
      });
      return figure(plot, text(`${one.name}, as ${one.stages.join(' and ')} found`));
    });
  const same =
    constant.length === 0
      ? ''
      : `<p>The same in all exposures: ${constant.map(({ one, low }) => text(`${one.name} ${shortNumber(low)}${one.unit === '' ? '' : ` ${one.unit}`}`)).join(', ')}.</p>`;
  return `<div class="figures">${plots.join('')}</div>${same}${command(`rampline report ${commands.night} --json`)}`;
}

interface Bar {
  readonly label: string;
  readonly value: number;
  readonly shown: string;
  readonly kind?: string;
}

function bars(rows: readonly Bar[]): string {
  const most = Math.max(...rows.map(({ value }) => value), Number.MIN_VALUE);
  const lines = rows.map(
    ({ label, value, shown, kind }) =>
      `<span>${text(label)}</span><span class="track"><i${kind === undefined ? '' : ` class="${kind}"`} style="width:${((100 * value) / most).toFixed(1)}%"></i></span><span class="v">${text(shown)}</span>`,
  );
  return `<div class="bars">${lines.join('')}</div>`;
}

function costSection({ stages, totals, commands }: NightReport): string {
  const ran = stages.filter(({ cpuSeconds, seconds }) => cpuSeconds + seconds > 0);
  if (ran.length === 0) return '<p>No job has said what it took.</p>';
  const all = ran.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
  const share = (seconds: number) => ` (${((100 * seconds) / Math.max(all, 1e-9)).toFixed(0)} %)`;
  const byStage = bars(
    ran.map(({ name, cpuSeconds }) => ({
      label: name,
      value: cpuSeconds,
      shown: `${timeText(cpuSeconds)}${share(cpuSeconds)}`,
    })),
  );
  const steps = ran
    .filter((stage) => stage.steps.length > 0)
    .map(({ name, steps: all }) => {
      const rest = all.slice(STEPS).reduce((sum, { seconds }) => sum + seconds, 0);
      const shown = [
        ...all.slice(0, STEPS),
        ...(all.length > STEPS ? [{ name: `${all.length - STEPS} more`, seconds: rest }] : []),
      ];
      return `<div><h3>Steps of ${text(name)}</h3>${bars(shown.map((step) => ({ label: step.name, value: step.seconds, shown: timeText(step.seconds) })))}</div>`;
    });
  const peak = ({ name, peakBytes, predictedPeakBytes }: NightStage) => [
    ...(peakBytes === null ? [] : [{ label: `${name}, measured`, value: peakBytes, shown: bytesText(peakBytes) }]),
    {
      label: `${name}, predicted`,
      value: predictedPeakBytes,
      shown: bytesText(predictedPeakBytes),
      kind: 'predicted',
    },
  ];
  const wall = ran.some(({ cpuKnown }) => !cpuKnown)
    ? '<p class="soft">Of a job that shared its process with others the CPU time is not known: its wall time stands for it, and its memory is not told.</p>'
    : '';
  const table = tableOf(
    [
      cell('stage'),
      ...['jobs', 'done', 'dropped', 'failed', 'to do', 'again', 'CPU', 'predicted, all jobs'].map(right),
    ],
    stages.map((stage) => [
      cell(`<span class="bit">${text(stage.name)}</span>`),
      ...[stage.jobs, stage.done, stage.dropped, stage.failed, stage.todo, stage.retries].map((value) =>
        right(count(value)),
      ),
      right(timeText(stage.cpuSeconds)),
      right(timeText(stage.predictedCpuSeconds)),
    ]),
  );
  return `${table}${wall}<div class="figures"><div><h3>CPU by stage</h3>${byStage}</div><div><h3>Peak memory of a process</h3>${bars(ran.flatMap(peak))}${totals.peakBytes === null ? '' : `<p>At most ${bytesText(totals.peakBytes)} for all processes of a run together.</p>`}<p class="soft">Measured: resident memory of the whole process, largest over the jobs. Predicted: that of the largest job, beyond that of an idle worker.</p></div>${steps.join('')}</div>${command(`rampline status ${commands.night} --json`)}`;
}

function warningSection({ warnings, commands }: NightReport): string {
  const told = warnings.length === 0 ? '<p>There was no warning.</p>' : findingList(warnings);
  return `${told}${command(commands.warnings)}`;
}

function outlierSection({ outliers, badList, commands }: NightReport): string {
  if (outliers.length === 0) return '<p>The light of no exposure is far from that of its kind.</p>';
  const rows = outliers.map(({ exposure, reason }) => [
    cell(`<a href="#e${exposure}">${four(exposure)}</a>`),
    cell(text(reason)),
  ]);
  const use =
    badList === ''
      ? ''
      : `<p>The list ${link(badList, badList)} has them in the form that the next run reads:</p>${command(`rampline run ${commands.run} --bad ${commands.bad}`)}`;
  return `${tableOf([cell('exposure'), cell('why')], rows)}${use}`;
}

/**
 * The whole page. Every number on it is in `report`.
 * @param thumbs small pictures by number of exposure, for those that have one
 */
export function nightPage(report: NightReport, thumbs: ReadonlyMap<number, Thumbnail> = new Map()): string {
  const { tele, mjd, links, commands } = report;
  const sections: [id: string, title: string, body: string][] = [
    ['flow', 'Flow of exposures', flowSection(report)],
    ['exposures', 'Exposures', exposureSection(report, thumbs)],
    ['outliers', "The pipeline's own outliers", outlierSection(report)],
    ['calibrations', 'Calibrations', calibrationSection(report)],
    ['stability', 'Stability over the night', seriesSection(report)],
    ['cost', 'Time and memory', costSection(report)],
    ['warnings', 'Warnings', warningSection(report)],
    [
      'files',
      'Pages and files',
      `<ul>${links.map((one) => `<li>${link(one.href, one.label)}</li>`).join('')}</ul>${command(`rampline report ${commands.night}`)}${command(`rampline check ${commands.night}`)}`,
    ],
  ];
  const nav = sections.map(([id, title]) => `<a href="#${id}">${text(title)}</a>`).join('');
  const body = sections
    .map(([id, title, inside]) => `<section id="${id}"><h2>${text(title)}</h2>${inside}</section>`)
    .join('');
  return htmlDocument(`Night ${mjd}, ${tele}`, `${headSection(report)}<nav>${nav}</nav><main>${body}</main>`, STYLE);
}

/** One line for each night with a link to its page, for several telescopes. */
export function nightIndex(reports: readonly { readonly report: NightReport; readonly href: string }[]): string {
  const rows = reports.map(({ report: { tele, mjd, grade, sentence }, href: path }) => [
    cell(link(path, `${mjd}, ${tele}`)),
    cell(mark(...GRADES[grade])),
    cell(text(sentence)),
  ]);
  return htmlDocument(
    'Nights',
    `<h1>Nights</h1>${tableOf([cell('night'), cell('verdict'), cell('in a sentence')], rows)}`,
    STYLE,
  );
}
