/** The model of an exposure at work: traces and light in, three images out. */
import { BugError, InputError, RetriableError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import { PROFILE_NODES, PROFILE_SAMPLES, type Traces } from '../../core/spectra.js';
import { runKernel } from '../../engine/index.js';
import type { HduInput } from '../../fits/index.js';
import { evaluateBackground, fitBackground, subtractImages } from '../background.js';
import { compareRegion, levelOf, rowProfile } from '../measure.js';
import { paintModel } from '../paint.js';
import { NO_WEIGHT_BITS, type RatesImage, readRates } from '../rates_image.js';
import { readSpectra } from '../spectra_product.js';
import type { StageBody, StageContext, StageInputFile } from '../stage.js';
import { readTraces } from '../trace_product.js';

/** Pixels farther from the model are counted: a few by chance in 4 million would be more than this. */
const OUTLIER_SIGMAS = 6;

interface Lines {
  /** [fibre][x] */
  readonly centre: Float32Array;
  readonly width: Float32Array;
  readonly flux: Float32Array;
  /** Median over the fibres of their means for each degree of freedom. */
  readonly chi2: number;
}

const missingAsZero = (data: Float32Array): Float32Array => data.map((value) => (Number.isFinite(value) ? value : 0));

/** Median over the fibres of their means of what is above 0 (0: no value), [fibre][x]; NaN where there is none. */
async function middleOf(chi2: Float32Array, fibres: number, cols: number): Promise<number> {
  const region = { row: 0, rows: fibres, x: 0, cols };
  const means = await rowProfile(chi2, cols, region, { low: 1e-30, high: 1e30 });
  const known = [...means].filter((value) => Number.isFinite(value)).toSorted((one, other) => one - other);
  return known[Math.floor(known.length / 2)] ?? Number.NaN;
}

/** The light of all fibres, extracted jointly with the traces of the flat itself. */
async function extractLines(light: Float32Array, rates: RatesImage, traces: Traces, threads: number): Promise<Lines> {
  const { fibres, cols } = traces;
  const spectrum = (): Float32Array => new Float32Array(fibres * cols);
  const [flux, chi2] = [spectrum(), spectrum()];
  const pixels = (data: Float32Array | Uint32Array) => ({ data, planes: rates.rows, cols });
  const spectra = (data: Float32Array | Uint32Array) => ({ data, planes: fibres, cols });
  await runKernel(
    'extract-joint',
    {
      image: pixels(light),
      imageIvar: pixels(rates.ivar),
      imageDq: pixels(rates.dq),
      centre: spectra(traces.centre),
      width: spectra(traces.width),
      traceDq: spectra(traces.dq),
      profile: { data: traces.profile.cumulative, planes: fibres, rows: PROFILE_NODES, cols: PROFILE_SAMPLES },
      flux: spectra(flux),
      ivar: spectra(spectrum()),
      dq: spectra(new Uint32Array(fibres * cols)),
      next: spectra(spectrum()),
      second: spectra(spectrum()),
      chi2: spectra(chi2),
      crosstalk: spectra(spectrum()),
    },
    { bad: NO_WEIGHT_BITS },
    { threads },
  );
  return { centre: traces.centre, width: traces.width, flux, chi2: await middleOf(chi2, fibres, cols) };
}

/** What an extraction says: light, and the traces as it used them. */
async function readLines({ file, path }: StageInputFile, { fibres, cols }: Traces): Promise<Lines> {
  const { spectra } = await readSpectra(file);
  if (spectra.fibres !== fibres || spectra.cols !== cols) {
    throw new InputError(`expected spectra of ${fibres} x ${cols}, received ${spectra.fibres} x ${spectra.cols}`, {
      file: path,
    });
  }
  const size = fibres * cols;
  return {
    centre: spectra.trace.subarray(0, size),
    width: spectra.trace.subarray(size, 2 * size),
    flux: missingAsZero(spectra.flux),
    chi2: spectra.chi2 === undefined ? Number.NaN : await middleOf(missingAsZero(spectra.chi2), fibres, cols),
  };
}

/**
 * Paints the model of an exposure: from its spectra where they are given (role 'spectra'), else from what a joint extraction with the
 * traces finds.
 * @throws InputError for products that do not fit each other
 */
export const model: StageBody = async (context: StageContext) => {
  const { inputs, control, threads } = context;
  const named = (role: string) => inputs.find((input) => input.role === role);
  const [image, flat, spectra] = [named('image'), named('traces'), named('spectra')];
  if (image === undefined || flat === undefined) throw new BugError('expected an image and traces');
  const seconds: Record<string, number> = {};
  const timed = async <T>(step: string, work: () => Promise<T>): Promise<T> => {
    if (Atomics.load(control, 0) !== 0) throw new RetriableError('interrupted');
    const began = performance.now();
    const result = await work();
    seconds[step] = (seconds[step] ?? 0) + (performance.now() - began) / 1000;
    return result;
  };
  const rates = await timed('read', () => readRates(image.file, threads));
  const { traces, facts } = await timed('read', () => readTraces(flat.file));
  const { rows, cols } = rates;
  const { fibres, profile } = traces;
  if (
    traces.cols !== cols ||
    facts.rows !== rows ||
    facts.tele !== image.identity.tele ||
    facts.chip !== image.identity.chip
  ) {
    throw new InputError(
      `expected traces of ${image.identity.tele} chip ${image.identity.chip} and ${rows} x ${cols} pixels, received ` +
        `${facts.tele} chip ${facts.chip} and ${facts.rows} x ${traces.cols}`,
      { file: flat.path },
    );
  }
  const given = spectra && (await timed('read', () => readLines(spectra, traces)));
  const base = { rows, cols, fibres, profile, threads };
  const places = { centre: given?.centre ?? traces.centre, width: given?.width ?? traces.width };
  const fitted = await timed('background', () =>
    fitBackground({ ...base, ...places, image: rates.image, ivar: rates.ivar }),
  );
  const background = await timed('background', () => evaluateBackground(rows, cols, fitted, threads));
  const light = await timed('background', () => subtractImages(rates.image, background, rows, cols, threads));
  const lines = given ?? (await timed('extract', () => extractLines(light, rates, traces, threads)));
  const painted = await timed('paint', () => paintModel({ ...base, ...lines }));
  const residual = new Float32Array(rows * cols);
  const significance = new Float32Array(rows * cols);
  const error = await image.file.readImageAsync('ERR');
  const all = { row: 0, rows, x: 0, cols };
  // The border sees no light.
  const skip = NO_WEIGHT_BITS | DQ.REFERENCE_PIXEL;
  const counts = await timed('compare', () =>
    compareRegion(
      { value: painted },
      { value: light, error: error.data as Float32Array, dq: rates.dq },
      cols,
      all,
      { sigmas: OUTLIER_SIGMAS, skip },
      { difference: residual, significance },
    ),
  );
  const spread = await levelOf(significance, rates.dq, cols, all, skip);
  const shape = [rows, cols];
  const hdu = (name: string, data: Float32Array, comment: string): HduInput => ({
    name,
    data,
    shape,
    header: [
      ['BUNIT', rates.unit, 'unit of the pixels'],
      ['COMMENT', comment],
    ],
  });
  const number = (value: number) => Number(value.toPrecision(6));
  const share = counts.compared > 0 ? counts.beyond / counts.compared : 0;
  return {
    cards: [
      ['FLATEXP', facts.exposure, 'exposure of the traces'],
      ['FROMSPEC', spectra !== undefined, 'light is that of given spectra'],
      ...(Number.isFinite(lines.chi2)
        ? ([['CHI2', number(lines.chi2), 'median chi2 / dof of the fibres']] as const)
        : []),
      ['SCATTER', number(spread.scatter), 'scatter of residual / error; 0.92 if only noise'],
      ['MIDDLE', number(spread.median), 'median of residual / error'],
      ['NPIXELS', counts.compared, 'good pixels'],
      ['NOUTLIER', counts.beyond, `of them, beyond ${OUTLIER_SIGMAS} sigma`],
      ['BKGCHI2', number(Number.isFinite(fitted.chi2) ? fitted.chi2 : 0), 'chi2 / dof of the cells of the background'],
    ],
    hdus: [
      hdu('MODEL', painted, 'Light of all fibres by their profiles; scattered light is not in it.'),
      hdu('RESIDUAL', residual, 'Image less MODEL less BACKGROUND; NaN where a pixel is bad.'),
      hdu('BACKGROUND', background, 'Scattered light, a smooth function of row and column.'),
    ],
    summary: {
      chi2: number(lines.chi2),
      scatter: number(spread.scatter),
      outliers: counts.beyond,
      share: number(share),
      background: number((await levelOf(background, undefined, cols, all, 0)).median),
    },
    warnings: [],
    timings: Object.entries(seconds).map(([name, value]) => ({ name, seconds: value })),
  };
};
