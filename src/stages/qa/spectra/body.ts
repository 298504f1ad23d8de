/** Makes the page of an exposure from its products: images, spectra, and the traces of the flats. */
import type { Grade } from '../../../calib/product.js';
import { BugError, InputError, RetriableError } from '../../../core/errors.js';
import type { Tweak } from '../../../core/spectra.js';
import type { CardInput, FitsFile, HduInput } from '../../../fits/index.js';
import { type Background, fitBackground, subtractBackground } from '../../background.js';
import { paintModel } from '../../paint.js';
import { readRates, weightsOf } from '../../rates_image.js';
import { type ModelTerm, readSpectra, type SpectraFibre, type SpectraProduct } from '../../spectra_product.js';
import type { StageBody, StageContext, StageInputFile, StageResult } from '../../stage.js';
import { readTraceFacts, readTraces } from '../../trace_product.js';
import type { ChipInput } from './measure.js';
import {
  type ChipPart,
  chipPart,
  type ExposureHead,
  gradeOf,
  spectraDocument,
  spectraPage,
  troublesOf,
} from './page.js';

/** How the tweak lies in the MODEL table and the primary header of a 1-D product; undefined where it was not asked for. */
function tweakOf(file: FitsFile, model: readonly ModelTerm[]): Tweak | undefined {
  const { header } = file.hdu(0);
  const word = header.string('TWEAK', '').trim();
  const state = (['ok', 'faint', 'refused'] as const).find((one) => one === word);
  if (state === undefined) return undefined;
  const terms = model.flatMap(({ name, value, error }) => {
    const [, i, j] = /^TWEAK_(\d)(\d)$/.exec(name) ?? [];
    return i === undefined ? [] : [{ i: Number(i), j: Number(j), value, error }];
  });
  const width = model.find(({ name }) => name === 'WIDTH');
  return {
    terms,
    width: width?.value ?? 1,
    widthError: width?.error ?? Number.NaN,
    largestError: header.number('TWERRMAX', Number.NaN),
    state,
    reason: header.string('TWEAKWHY', '').trim(),
  };
}

/** The traces product of a chip and exposure among the inputs. */
function tracesOf(inputs: readonly StageInputFile[], chip: string, exposure: number): StageInputFile | undefined {
  return inputs.find(
    ({ role, identity, file }) =>
      role === 'traces' && identity.chip === chip && readTraceFacts(file).exposure === exposure,
  );
}

/** ' sky', ' star 2M00001234+5678901'; '' where no fibre map says it. */
function showsOf(fibre: SpectraFibre | undefined): string {
  if (fibre === undefined || fibre.type === 'unknown') return '';
  return ` ${[fibre.type, fibre.target].filter((word) => word !== '').join(' ')}`;
}

interface Gathered {
  readonly input: ChipInput;
  readonly used: readonly StageInputFile[];
  readonly product?: SpectraProduct | undefined;
}

/** Reads one chip; a sentence where there is not enough for its part of the page. */
async function gather(context: StageContext, image: StageInputFile): Promise<Gathered | string> {
  const { inputs, identity, threads } = context;
  const { chip } = image.identity;
  if (chip === undefined) throw new BugError('the image of one chip is wanted', { file: image.path });
  const spectra = inputs.find((one) => one.role === 'spectra' && one.identity.chip === chip);
  const product = spectra && (await readSpectra(spectra.file));
  const flat = product?.facts.flat ?? identity.exposure ?? -1;
  const traced = tracesOf(inputs, chip, flat);
  if (traced === undefined) {
    return spectra === undefined
      ? 'nothing was extracted, and no trace was found'
      : `the traces of exposure ${flat}, with which it was extracted, are not there`;
  }
  const { traces, background: grid, findings } = await readTraces(traced.file);
  const rates = await readRates(image.file, threads);
  const { rows, cols, unit, error, dq } = rates;
  const own = readTraceFacts(traced.file).exposure === identity.exposure;
  const trace = product?.spectra.trace;
  const size = traces.fibres * traces.cols;
  if (traces.cols !== cols || (product !== undefined && product.spectra.fibres !== traces.fibres)) {
    throw new InputError(`expected ${traces.fibres} fibres and ${cols} columns, as the traces and the image have`, {
      file: (spectra ?? traced).path,
    });
  }
  const centre = trace?.subarray(0, size) ?? traces.centre;
  const width = trace?.subarray(size) ?? traces.width;
  const flux = product?.spectra.flux ?? traces.flux;
  const moved = { rows, cols, fibres: traces.fibres, centre, width, profile: traces.profile };
  // As the extraction did; the product of a flat has its own on a grid.
  const subtracted = spectra === undefined || spectra.file.hdu(0).header.get('BACKGRND') === true;
  const fitted = async (): Promise<Background> => {
    const photons = product?.spectra.model.find(({ name }) => name === 'PHOTVAR')?.value ?? 0;
    const ivar = await weightsOf(rates.image, error, dq, rows, cols, threads, photons);
    return fitBackground({ ...moved, image: rates.image, ivar, threads });
  };
  const background = subtracted ? await fitted() : undefined;
  const light =
    background === undefined ? rates.image : await subtractBackground(rates.image, rows, cols, background, threads);
  const coarse =
    background === undefined ? grid : { rows: background.gridRows, cols: background.gridCols, values: background.grid };
  const fiberMap = product?.spectra.map;
  return {
    product,
    used: [image, ...(spectra === undefined ? [] : [spectra]), traced],
    input: {
      chip,
      image: { rows, cols, rates: light, error, dq, unit },
      traces,
      own,
      fibreNumber: (i) => findings.number[i] ?? i,
      fibreShows: (i) => showsOf(fiberMap?.[i]),
      spectra: product && {
        flux,
        error: product.spectra.error,
        dq: product.spectra.dq,
        chi2: product.spectra.chi2,
        crosstalk: product.spectra.crosstalk,
        centre,
        width,
        tweak: spectra && tweakOf(spectra.file, product.spectra.model),
        throughput: Float32Array.from(fiberMap ?? [], ({ throughput }) => throughput),
        throughputError: Float32Array.from(fiberMap ?? [], ({ throughputError }) => throughputError),
      },
      model: await paintModel({ ...moved, flux, threads }),
      background: coarse,
      remarks: [traced, ...(spectra === undefined ? [] : [spectra])].flatMap(({ file }) =>
        file.hdu(0).header.sentences('HISTORY'),
      ),
    },
  };
}

/** Lines of the head, from the first chip that has spectra. */
function factsOf(context: StageContext, product: SpectraProduct | undefined, file: FitsFile): [string, string][] {
  const [exposure] = context.exposures;
  const { header } = file.hdu(0);
  const text = (keyword: string) => (header.has(keyword) ? header.string(keyword, '').trim() : '');
  const facts: [string, string][] = [];
  const began = text('DATE-BEG');
  if (began !== '') facts.push(['began', began]);
  if (exposure !== undefined && exposure.field !== '') facts.push(['field', exposure.field]);
  if (exposure !== undefined) facts.push(['reads', String(exposure.reads)]);
  if (product !== undefined) {
    const { flat, method, unit } = product.facts;
    facts.push([
      'traces of',
      `${text('FLATKIND')} ${flat}${text('FLATWHY') === '' ? '' : `: ${text('FLATWHY')}`}`.trim(),
    ]);
    if (header.has('THRUEXP')) facts.push(['throughput of', `domeflat ${header.number('THRUEXP', 0)}`]);
    facts.push(['extraction', `${method}, ${unit}`]);
  }
  return facts;
}

/** The numbers of all chips as a table. */
function tableHdu(parts: readonly ChipPart[]): HduInput {
  const lines = parts.flatMap(({ chip, checks, measures: { numbers } }) =>
    Object.entries(numbers).map(([name, value]) => {
      const check = checks.find((one) => one.number === name);
      return { chip, name, value, unit: check?.unit ?? '', verdict: check?.verdict ?? 'no limit' };
    }),
  );
  return {
    kind: 'table',
    name: 'QA',
    columns: [
      { name: 'CHIP', values: lines.map(({ chip }) => chip) },
      { name: 'NUMBER', values: lines.map(({ name }) => name) },
      { name: 'VALUE', values: Float64Array.from(lines, ({ value }) => value) },
      { name: 'UNIT', values: lines.map(({ unit }) => unit) },
      { name: 'VERDICT', values: lines.map(({ verdict }) => verdict) },
    ],
  };
}

/** Numbers that are told over the night: the median of the chips. */
const OVER_THE_NIGHT = ['chi2.median', 'pull.scatter', 'sn.median'] as const;
const NIGHT_NAMES: Readonly<Record<(typeof OVER_THE_NIGHT)[number], string>> = {
  'chi2.median': 'chi2 of fibres',
  'pull.scatter': 'scatter of pulls',
  'sn.median': 'S/N of a fibre',
};

function summaryOf(grade: Grade, parts: readonly ChipPart[]): StageResult['summary'] {
  const summary: Record<string, number | string> = { grade };
  for (const name of OVER_THE_NIGHT) {
    const values = parts.flatMap(({ measures }) => measures.numbers[name] ?? []).sort((a, b) => a - b);
    const value = values[Math.floor(values.length / 2)];
    if (value !== undefined) summary[NIGHT_NAMES[name]] = Number(value.toPrecision(4));
  }
  return summary;
}

/**
 * Draws the page of one exposure. A chip without spectra, or whose traces are not there, is told as missing.
 * @throws InputError for inputs that are not what they must be, or where no chip has enough for a page
 */
export const drawSpectra: StageBody = async (context) => {
  const { inputs, identity, control } = context;
  const images = new Map(
    inputs.filter(({ role }) => role === 'image').map((image) => [image.identity.chip ?? '', image]),
  );
  // The flats tell of chips of which this exposure has nothing.
  const chips = new Set(inputs.flatMap(({ identity: { chip } }) => chip ?? []));
  const parts: ChipPart[] = [];
  const missing: (readonly [string, string])[] = [];
  const used: StageInputFile[] = [];
  let facts: [string, string][] = [];
  let kind = '';
  const timings: { name: string; seconds: number }[] = [];
  for (const chip of [...chips].sort()) {
    if (Atomics.load(control, 0) !== 0) throw new RetriableError('interrupted');
    const image = images.get(chip);
    if (image === undefined) {
      missing.push([chip, 'there is no calibrated image of it']);
      continue;
    }
    const began = performance.now();
    // One chip whose products cannot be read does not hide the others.
    const found = await gather(context, image).catch((error: unknown) => {
      if (error instanceof InputError) return error.describe();
      throw error;
    });
    const read = performance.now();
    if (typeof found === 'string') {
      missing.push([chip, found]);
      continue;
    }
    parts.push(await chipPart(found.input, context.instrument.name));
    timings.push(
      { name: 'read and paint', seconds: (read - began) / 1000 },
      { name: 'measure and draw', seconds: (performance.now() - read) / 1000 },
    );
    used.push(...found.used);
    if (kind === '' || (facts.length === 0 && found.product !== undefined)) {
      kind = found.product?.facts.kind ?? context.exposures[0]?.kind ?? '';
      facts = factsOf(context, found.product, found.used[1]?.file ?? image.file);
    }
  }
  if (parts.length === 0) {
    throw new InputError(
      `no chip has enough for a page: ${missing.map(([chip, why]) => `${chip}: ${why}`).join('; ')}`,
    );
  }
  const head: ExposureHead = {
    instrument: context.instrument.name,
    tele: identity.tele,
    mjd: identity.mjd,
    exposure: identity.exposure ?? 0,
    kind,
    facts,
    missing,
    inputs: used.map(({ role, path, sha256 }) => [role, nameOf(path), sha256] as const),
  };
  const grade = gradeOf(head, parts);
  const cards: CardInput[] = [['GRADE', grade, 'the worst of the chips: pass, warn or fail']];
  return {
    cards,
    hdus: [tableHdu(parts)],
    beside: [
      { extension: 'html', data: spectraPage(head, parts) },
      { extension: 'json', data: `${JSON.stringify(spectraDocument(head, parts))}\n` },
    ],
    summary: summaryOf(grade, parts),
    warnings: troublesOf(head, parts).map(({ sentence }) => sentence),
    timings: joined(timings),
  };
};

const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1);

/** Seconds of each step, summed. */
function joined(timings: StageResult['timings']): StageResult['timings'] {
  const sums = new Map<string, number>();
  for (const { name, seconds } of timings) sums.set(name, (sums.get(name) ?? 0) + seconds);
  return [...sums].map(([name, seconds]) => ({ name, seconds }));
}
