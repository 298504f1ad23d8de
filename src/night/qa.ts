/** Quality of calibrations: verdicts when they are built, pages about files, comparisons, and bad pixels over time. */
import { existsSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { type CalibrationKind, type CalibrationRecord, type Grade, readCalibrationRecord } from '../calib/product.js';
import { openRegistry, type Survey } from '../calib/registry.js';
import { InputError, RamplineError, UsageError } from '../core/errors.js';
import { DQ_BITS } from '../core/generated/dq.js';
import type { ProvenanceEntry } from '../core/product.js';
import { isoFromMjd } from '../core/time.js';
import { type CardInput, type FitsLimits, type HduInput, openFits } from '../fits/index.js';
import { countBits, type QaGeometry, scienceRegion } from '../stages/measure.js';
import { type Assessment, assessCalibration, type Check, worse } from '../stages/qa/assess.js';
import { bitColour } from '../stages/qa/colours.js';
import { type CalibrationComparison, compareCalibrations, isDetectorMap } from '../stages/qa/compare.js';
import { type CalibrationMaps, type MapsIdentity, mapsOfFile, mapsOfHdus, maskOfFile } from '../stages/qa/maps.js';
import { htmlDocument } from '../stages/qa/markup.js';
import { comparisonBody, pictureLimits, qaPage } from '../stages/qa/page.js';
import { drawImage } from '../stages/qa/picture.js';
import { drawPlot, escapeMarkup, type Plot } from '../stages/qa/svg.js';
import { openStore } from '../store/index.js';
import { INSTRUMENTS } from './instruments.js';

/** Layout of the JSON document beside a page. */
export const QA_SCHEMA = 'qa/1';

/** Amplifiers and border of an instrument's detectors; files that name none are taken as the first instrument's. */
function geometryOf(instrument: string): QaGeometry {
  const found = instrument === '' ? INSTRUMENTS[0] : INSTRUMENTS.find(({ name }) => name === instrument);
  return found?.geometry ?? { amplifiers: 1, border: 0 };
}

/** Reads the maps of a calibration file. Throws InputError for what is none; checksums are verified. */
function readMaps(path: string, limits: Partial<FitsLimits> = {}): CalibrationMaps {
  const file = openFits(path, { limits });
  try {
    return mapsOfFile(file);
  } finally {
    file.close();
  }
}

/** When a calibration is of: the begin of its data, else of its window; undefined where the file says neither. */
const timeOf = ({ dataFrom, validFrom }: Pick<CalibrationRecord, 'dataFrom' | 'validFrom'>) => dataFrom ?? validFrom;

type Subject = Pick<
  CalibrationRecord,
  'kind' | 'instrument' | 'tele' | 'chip' | 'serial' | 'readMode' | 'dataFrom' | 'validFrom'
>;

/** What the builder had to say of a calibration: HISTORY of its primary header, without verdicts of this page. */
function builderRemarks(path: string, limits: Partial<FitsLimits>): string[] {
  const file = openFits(path, { limits });
  try {
    return file
      .hdu(0)
      .header.sentences('HISTORY')
      .filter((remark) => !/^(warn|fail): /.test(remark));
  } finally {
    file.close();
  }
}

async function surveyOf(directory: string): Promise<Survey> {
  const registry = await openRegistry(directory);
  try {
    return await registry.survey();
  } finally {
    await registry.close();
  }
}

/** The calibration of the same kind and detector that comes before in time, or why there is none. */
async function previousOf(subject: Subject, directory: string, own: string): Promise<CalibrationRecord | string> {
  const { records } = await surveyOf(directory);
  const alike = (one: string, other: string) => one === '' || other === '' || one === other;
  const others = records.filter(
    (one) =>
      one.file !== own &&
      one.kind === subject.kind &&
      one.tele === subject.tele &&
      one.chip === subject.chip &&
      alike(one.instrument, subject.instrument) &&
      alike(one.serial, subject.serial) &&
      alike(one.readMode, subject.readMode),
  );
  const what = `${subject.kind} of ${subject.tele} ${subject.chip}`;
  if (others.length === 0) return `There is no other ${what} in the directory.`;
  const time = timeOf(subject);
  if (time === undefined) return 'The file does not say when its data were taken, so there is none before it.';
  const before = others.filter((one) => one.grade !== 'fail' && (timeOf(one) ?? Number.POSITIVE_INFINITY) < time);
  const nearest = before.sort((a, b) => (timeOf(b) as number) - (timeOf(a) as number))[0];
  return nearest ?? `There is no earlier ${what} of quality pass or warn in the directory.`;
}

interface Previous {
  readonly maps?: CalibrationMaps;
  readonly file?: string;
  readonly sha256?: string;
  /** For the reader: which one, or why there is none. */
  readonly words: string;
}

/**
 * Reads the calibration before. One of another size is none; and where the registry or that file cannot be read the page
 * says so, for a build must not fail because of a calibration that it does not use.
 */
async function readPrevious(
  subject: Subject,
  maps: CalibrationMaps,
  directory: string,
  own: string,
  limits: Partial<FitsLimits>,
): Promise<Previous> {
  try {
    const found = await previousOf(subject, directory, own);
    if (typeof found === 'string') return { words: found };
    const { file, sha256 } = found;
    const before = readMaps(join(directory, file), limits);
    if (before.rows === maps.rows && before.cols === maps.cols) return { maps: before, file, sha256, words: file };
    return { words: `${file} is of ${before.rows} x ${before.cols} pixels, this one of ${maps.rows} x ${maps.cols}.` };
  } catch (error) {
    if (!(error instanceof RamplineError) || error.class === 'bug') throw error;
    return { words: `The calibration before cannot be compared: ${error.describe()}` };
  }
}

/** Reasons of a grade that is not pass, one sentence each. */
export function reasonsOf({ checks }: Pick<Assessment, 'checks'>): string[] {
  return checks
    .filter(({ verdict }) => verdict === 'warn' || verdict === 'fail')
    .map(({ verdict, reason }) => `${verdict}: ${reason}`);
}

export interface BuiltVerdict {
  readonly grade: Grade;
  readonly reasons: readonly string[];
  /** The calibration that it was compared with, for PROVENANCE: it went into the grade, not into the pixels. */
  readonly compared: readonly ProvenanceEntry[];
}

/**
 * The verdict on a calibration that is about to be written into `directory`, against the one before it there; without a directory,
 * on its own numbers alone.
 * @param hdus and cards as the builder gives them
 */
export async function assessBuilt(
  identity: MapsIdentity & Pick<Subject, 'serial' | 'readMode'> & { readonly time?: number | undefined },
  hdus: readonly HduInput[],
  cards: readonly CardInput[],
  directory: string | undefined,
  limits: Partial<FitsLimits> = {},
): Promise<BuiltVerdict> {
  const { time, serial, readMode, ...who } = identity;
  const maps = mapsOfHdus(who, hdus, cards);
  const previous: Partial<Previous> =
    directory === undefined
      ? {}
      : await readPrevious({ ...who, serial, readMode, dataFrom: time }, maps, directory, '', limits);
  const found = await assessCalibration(maps, geometryOf(who.instrument), previous.maps);
  const { file, sha256 = '' } = previous;
  const why = 'the one before: compared with for the grade';
  return {
    grade: found.grade,
    reasons: reasonsOf(found),
    compared: file === undefined ? [] : [{ role: who.kind, name: file, sha256, why, used: false }],
  };
}

export interface QaOptions {
  /** Directory of the page; default: beside the file. */
  readonly output?: string | undefined;
  /** The calibration to compare with; default: the one before in the file's directory. */
  readonly previous?: string | undefined;
  readonly limits?: Partial<FitsLimits>;
}

export interface QaOutcome {
  readonly file: string;
  readonly kind: CalibrationKind;
  readonly tele: string;
  readonly chip: string;
  /** The worse of the verdict on the numbers and of the grade in the file. */
  readonly grade: Grade;
  /** Of the verdict on the numbers. */
  readonly reasons: readonly string[];
  /** Of the builder, as the file keeps them. */
  readonly remarks: readonly string[];
  readonly checks: readonly Check[];
  /** The calibration before, '' where there is none. */
  readonly previous: string;
  readonly page: string;
  readonly json: string;
  /** '' for a kind that is no map of the detector. */
  readonly picture: string;
}

const when = (mjd: number | undefined) =>
  mjd === undefined ? 'open' : `MJD ${mjd.toFixed(3)} (${isoFromMjd(mjd).slice(0, 16).replace('T', ' ')})`;

function factsOf(record: CalibrationRecord): [string, string][] {
  const { validFrom, validTo, dataFrom, dataTo } = record;
  return [
    ['instrument', `${record.instrument || 'unknown'}${record.serial === '' ? '' : `, detector ${record.serial}`}`],
    ['data', dataFrom === undefined ? 'unknown' : `${when(dataFrom)} to ${when(dataTo)}`],
    [
      'valid',
      validFrom === undefined && validTo === undefined ? 'at any time' : `${when(validFrom)} to ${when(validTo)}`,
    ],
    ['grade in the file', record.grade],
    [
      'made',
      [record.createdAt && `${record.createdAt} UTC`, record.software].filter((part) => part !== '').join(', ') ||
        'unknown',
    ],
    ['sha256', record.sha256],
  ];
}

/** What JSON can carry: NaN and infinities become null. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, one: unknown) => (typeof one === 'number' && !Number.isFinite(one) ? null : one)),
  );
}

function withoutPixels(found: CalibrationComparison): Omit<CalibrationComparison, 'difference'> {
  const { kind, tele, chip, sigmas, pixels, images, bits } = found;
  return { kind, tele, chip, sigmas, pixels, images, bits };
}

function documentOf(
  record: CalibrationRecord,
  found: Assessment,
  remarks: readonly string[],
  previous: Previous,
): unknown {
  const { kind, tele, chip, sha256 } = record;
  const images = found.images.map(
    ({ name, unit, level, error, invalidPercent, badPercent, amplifiers, amplifierStep, largeScale }) => ({
      name,
      unit,
      ...level,
      error,
      invalidPercent,
      badPercent,
      amplifierStep,
      largeScale,
      amplifiers,
    }),
  );
  return plain({
    schema: QA_SCHEMA,
    file: record.file,
    sha256,
    kind,
    tele,
    chip,
    grade: worse(found.grade, record.grade),
    verdict: found.grade,
    reasons: reasonsOf(found),
    gradeInFile: record.grade,
    remarks,
    checks: found.checks,
    numbers: found.numbers,
    pixels: found.pixels,
    bits: found.bits ?? null,
    images,
    previous:
      found.previous === undefined
        ? { file: null, why: previous.words }
        : { file: previous.file, sha256: previous.sha256, ...withoutPixels(found.previous) },
  });
}

const qaName = (path: string): string => `qa-${basename(path).replace(/\.fits(\.gz)?$/i, '')}`;

/** Whether the page of a calibration file is beside it: whoever was stopped after the file left it out. */
export function hasQa(path: string): boolean {
  return existsSync(join(dirname(path), `${qaName(path)}.json`));
}

/**
 * Writes the QA page of a calibration file: `qa-NAME.html`, `qa-NAME.json` and, for maps, `qa-NAME.png` with every pixel.
 * @throws InputError, CalibrationError, StorageError
 */
export async function writeQa(path: string, options: QaOptions = {}): Promise<QaOutcome> {
  const { limits = {} } = options;
  const record = await readCalibrationRecord(path, { limits });
  const maps = readMaps(path, limits);
  const remarks = builderRemarks(path, limits);
  const geometry = geometryOf(maps.instrument);
  let previous: Previous;
  if (options.previous === undefined) {
    previous = await readPrevious(record, maps, dirname(resolve(path)), basename(path), limits);
  } else {
    const { sha256 } = await readCalibrationRecord(options.previous, { limits });
    previous = {
      maps: readMaps(options.previous, limits),
      file: basename(options.previous),
      sha256,
      words: basename(options.previous),
    };
  }
  const found = await assessCalibration(maps, geometry, previous.maps);
  const store = await openStore(options.output ?? dirname(path));
  const name = qaName(path);
  const page = await qaPage({
    name: basename(path),
    maps,
    assessment: found,
    grade: worse(found.grade, record.grade),
    remarks,
    facts: factsOf(record),
    inputs: record.inputs
      .filter(({ used }) => used !== false)
      .map(({ role, name: input, sha256 }) => [role, input, sha256] as const),
    previousName: previous.words,
  });
  await store.writeFile(`${name}.html`, page);
  let picture = '';
  const [measures] = found.images;
  if (isDetectorMap(maps.kind) && measures !== undefined) {
    const first = maps.images.get(measures.name)?.data as Float32Array;
    const { png } = await drawImage(first, maps.rows, maps.cols, pictureLimits(first, measures));
    await store.writeFile(`${name}.png`, png);
    picture = store.pathOf(`${name}.png`);
  }
  // Last: where it is, the others are.
  await store.writeJson(`${name}.json`, documentOf(record, found, remarks, previous));
  return {
    file: path,
    kind: maps.kind,
    tele: maps.tele,
    chip: maps.chip,
    grade: worse(found.grade, record.grade),
    reasons: reasonsOf(found),
    remarks,
    checks: found.checks,
    previous: previous.file ?? '',
    page: store.pathOf(`${name}.html`),
    json: store.pathOf(`${name}.json`),
    picture,
  };
}

async function writeOutput(path: string, data: string): Promise<string> {
  const target = resolve(path);
  await (await openStore(dirname(target))).writeFile(basename(target), data);
  return target;
}

export type FileComparison = Omit<CalibrationComparison, 'difference'> & {
  readonly a: string;
  readonly b: string;
  readonly page?: string;
};

/**
 * Compares two calibration files: A is the earlier by convention, so that "gained" are bits that B has and A has not.
 * @param output path of a page (.html), where one is wanted
 * @throws InputError for a file that is no calibration, CalibrationError for two of different kinds, detectors or sizes
 */
export async function compareCalibrationFiles(
  a: string,
  b: string,
  options: {
    readonly output?: string | undefined;
    readonly sigmas?: number | undefined;
    readonly limits?: Partial<FitsLimits>;
  } = {},
): Promise<FileComparison> {
  const { output, limits = {} } = options;
  if (output !== undefined && extname(output).toLowerCase() !== '.html') {
    throw new UsageError(`expected the page to be named .html, received ${output}`);
  }
  const [one, two] = [readMaps(a, limits), readMaps(b, limits)];
  const found = await compareCalibrations(one, two, geometryOf(one.instrument), options.sigmas);
  const result = { a, b, ...(plain(withoutPixels(found)) as Omit<CalibrationComparison, 'difference'>) };
  if (output === undefined) return result;
  const title = `${found.kind} ${found.tele} ${found.chip}: ${basename(b)} against ${basename(a)}`;
  const body = `<h1>${escapeMarkup(`${found.kind} ${found.tele} ${found.chip}`)}</h1><p>b: ${escapeMarkup(basename(b))}<br>a, before: ${escapeMarkup(basename(a))}</p>${await comparisonBody(two, found)}`;
  return { ...result, page: await writeOutput(output, htmlDocument(title, body)) };
}

/** Bits of one calibration. */
export interface EvolutionPoint {
  readonly file: string;
  readonly mjd: number;
  readonly grade: Grade;
  /** Pixels inside the border. */
  readonly pixels: number;
  /** By name of the bit, 0 for those that it has not. */
  readonly counts: Readonly<Record<string, number>>;
}

/** Calibrations of one kind and detector, in the order of time. */
export interface EvolutionSeries {
  readonly kind: CalibrationKind;
  readonly tele: string;
  readonly chip: string;
  readonly bits: readonly string[];
  readonly points: readonly EvolutionPoint[];
}

export interface Evolution {
  readonly series: readonly EvolutionSeries[];
  readonly left: readonly { readonly file: string; readonly reason: string }[];
  /** '' where none was asked for. */
  readonly output: string;
}

export interface EvolutionOptions {
  readonly kind?: string | undefined;
  readonly tele?: string | undefined;
  readonly chip?: string | undefined;
  /** Path of a plot (.svg, one kind and detector), a page (.html) or numbers (.json). */
  readonly output?: string | undefined;
  readonly log?: boolean | undefined;
  readonly limits?: Partial<FitsLimits>;
  readonly onProgress?: (done: number, total: number, label: string) => void;
}

const titleOf = ({ kind, tele, chip }: EvolutionSeries) => `${kind} ${tele} ${chip}`;

function evolutionPlot(series: EvolutionSeries, log: boolean, width: number, height: number): Plot {
  const { points, bits } = series;
  const days = points.map(({ mjd }) => mjd);
  const [first, last] = [days[0] as number, days.at(-1) as number];
  const margin = Math.max(0.5, 0.04 * (last - first));
  const all = points.flatMap(({ counts }) => Object.values(counts));
  const most = Math.max(1, ...all);
  // A count of 0 lies on the lower edge of a logarithmic axis.
  const least = Math.max(0.7, Math.min(...all) / 2);
  return {
    title: `pixels with each bit, ${titleOf(series)}`,
    width,
    height,
    x: { label: 'MJD of the data', dates: true, range: [first - margin, last + margin] },
    y: { label: 'pixels', log, range: log ? [least, most * 2] : [0, most * 1.06] },
    series: bits.map((name) => ({
      name,
      colour: bitColour(DQ_BITS.find((bit) => bit.name === name)?.bit ?? 0, name),
      style: 'dots' as const,
      points: points.map(({ mjd, counts }) => [mjd, counts[name] as number] as const),
    })),
  };
}

function evolutionPage(all: readonly EvolutionSeries[], log: boolean, left: Evolution['left']): string {
  const sections = all.map((series) => {
    const rows = series.points.map(
      ({ file, mjd, grade, counts }) =>
        `<tr><td class="bit">${escapeMarkup(file)}</td><td class="n">${mjd.toFixed(2)}</td><td class="n">${isoFromMjd(mjd).slice(0, 10)}</td><td class="${grade}">${grade}</td>${series.bits.map((bit) => `<td class="n">${counts[bit]}</td>`).join('')}</tr>`,
    );
    const head = `<tr><th>calibration</th><th class="n">MJD</th><th class="n">date</th><th>grade</th>${series.bits.map((bit) => `<th class="n">${bit}</th>`).join('')}</tr>`;
    return `<h2>${escapeMarkup(titleOf(series))}</h2><figure>${drawPlot(evolutionPlot(series, log, 440, 340))}<figcaption>Pixels inside the border with each bit.</figcaption></figure><div class="scroll"><table><thead>${head}</thead><tbody>${rows.join('')}</tbody></table></div>`;
  });
  const rest =
    left.length === 0
      ? ''
      : `<h2>Left out</h2><ul>${left.map(({ file, reason }) => `<li>${escapeMarkup(`${file}: ${reason}`)}</li>`).join('')}</ul>`;
  return htmlDocument('Bad pixels over time', `<h1>Bad pixels over time</h1>${sections.join('')}${rest}`);
}

/** Pixels inside the border with each bit; undefined for a file without a mask. */
async function countedBits(path: string, instrument: string, limits: Partial<FitsLimits>) {
  const file = openFits(path, { limits });
  let mask: ReturnType<typeof maskOfFile>;
  try {
    mask = maskOfFile(file);
  } finally {
    file.close();
  }
  if (mask === undefined) return undefined;
  const region = scienceRegion(mask.rows, mask.cols, geometryOf(instrument));
  return { pixels: region.rows * region.cols, counts: await countBits(mask.dq, mask.cols, region) };
}

/**
 * Counts each bit of every calibration of a directory, over time (begin of the data, else of the window).
 * @throws UsageError for an output that is not understood, InputError when no calibration has a mask and a time
 */
export async function bitEvolution(directory: string, options: EvolutionOptions = {}): Promise<Evolution> {
  const { output, log = false, limits = {} } = options;
  const type = output === undefined ? '' : extname(output).toLowerCase();
  if (!['', '.svg', '.html', '.json'].includes(type) || (output !== undefined && type === '')) {
    throw new UsageError(`expected the output to be named .svg, .html or .json, received ${output}`);
  }
  const survey = await surveyOf(directory);
  const left: { file: string; reason: string }[] = [...survey.unusable];
  const same = (asked: string | undefined, value: string) => asked === undefined || asked === value;
  const records = survey.records.filter(
    (one) => same(options.kind, one.kind) && same(options.tele, one.tele) && same(options.chip, one.chip),
  );
  const groups = new Map<string, { record: CalibrationRecord; points: EvolutionPoint[] }>();
  for (const [i, record] of records.entries()) {
    options.onProgress?.(i, records.length, record.file);
    const mjd = timeOf(record);
    if (!isDetectorMap(record.kind)) continue;
    if (mjd === undefined) {
      left.push({ file: record.file, reason: 'it does not say when its data were taken' });
      continue;
    }
    let counted: { pixels: number; counts: readonly number[] } | undefined;
    try {
      counted = await countedBits(join(directory, record.file), record.instrument, limits);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      left.push({ file: record.file, reason: error.message }); // one damaged file does not hide the others
      continue;
    }
    if (counted === undefined) {
      left.push({ file: record.file, reason: 'it has no image DQ' });
      continue;
    }
    const { pixels, counts } = counted;
    const key = `${record.kind} ${record.tele} ${record.chip}`;
    const group = groups.get(key) ?? { record, points: [] };
    groups.set(key, group);
    group.points.push({
      file: record.file,
      mjd,
      grade: record.grade,
      pixels,
      counts: Object.fromEntries(DQ_BITS.map(({ bit, name }) => [name, counts[bit] as number])),
    });
  }
  const series = [...groups.values()].map(({ record: { kind, tele, chip }, points }): EvolutionSeries => {
    points.sort((a, b) => a.mjd - b.mjd);
    const bits = DQ_BITS.map(({ name }) => name).filter((name) =>
      points.some(({ counts }) => (counts[name] as number) > 0),
    );
    return {
      kind,
      tele,
      chip,
      bits,
      points: points.map((point) => ({
        ...point,
        counts: Object.fromEntries(bits.map((name) => [name, point.counts[name] as number])),
      })),
    };
  });
  if (series.length === 0)
    throw new InputError('no calibration with a mask and a time is among those asked for', { file: directory });
  if (output === undefined) return { series, left, output: '' };
  if (type === '.json') {
    const target = resolve(output);
    await (await openStore(dirname(target))).writeJson(basename(target), { schema: 'evolution/1', series, left });
    return { series, left, output: target };
  }
  if (type === '.svg' && series.length > 1) {
    throw new UsageError(
      `expected one kind and detector for an SVG (--kind, --tele, --chip), received ${series.map(titleOf).join(', ')}`,
    );
  }
  const drawn =
    type === '.svg'
      ? drawPlot(evolutionPlot(series[0] as EvolutionSeries, log, 760, 440), true)
      : evolutionPage(series, log, left);
  return { series, left, output: await writeOutput(output, drawn) };
}
