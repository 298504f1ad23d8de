/**
 * Long-slit echelle frames by hand: the orders of a flat, and the spectrum of the object in the slit, from the raw images of an
 * instrument whose description has a slit. The kernels, the stages' names and the layouts of the products are those of fibres.
 */
import { basename } from 'node:path';
import { InputError, UsageError } from '../core/errors.js';
import type { ExposureFacts, ExposureKind } from '../core/exposure.js';
import { DQ } from '../core/generated/dq.js';
import type { ImageFacts, Instrument } from '../core/product.js';
import { PROFILE_NODES, PROFILE_SAMPLES, type Spectrograph, type Traces } from '../core/spectra.js';
import { runKernel } from '../engine/index.js';
import type { FitsFile, FitsLimits } from '../fits/index.js';
import { extractWith } from '../stages/extract/methods.js';
import { countBits } from '../stages/measure.js';
import { encodeSpectra, SPECTRA_SCHEMA, type SpectraFibre } from '../stages/spectra_product.js';
import type { Stage, StageContext, StageResult } from '../stages/stage.js';
import {
  gaussProfile,
  type SlitFrame,
  type SlitObject,
  type SlitOptions,
  slitProfile,
  traceObject,
  traceSlits,
} from '../stages/trace/slit.js';
import { checkTraces, encodeTraces, readTraces, TRACE_SCHEMA, type TraceProduct } from '../stages/trace_product.js';
import { type HandOutcome, type HandRequest, runStage } from './by_hand.js';
import { describedImage, withImage } from './instruments.js';

/** Rows about the object in which its light and the sky are told apart: the sky's profile ends at 10. */
const REACH = 12;
/** A pixel is a cosmic ray where it is 8 sigma above the model, which may be wrong by a tenth. */
const REJECT = 8;
const MODEL_ERROR = 0.1;

const KINDS: Readonly<Record<string, ExposureKind>> = { flat: 'internalflat', object: 'object', dark: 'dark' };
const kindOf = ({ type }: ImageFacts): ExposureKind => KINDS[type] ?? 'unknown';

const median = (values: readonly number[]) =>
  values.filter(Number.isFinite).toSorted((a, b) => a - b)[values.filter(Number.isFinite).length >> 1] ?? Number.NaN;

/** The spectrograph of an instrument that has a long slit. */
function slitOf(instrument: Instrument): Spectrograph {
  const { spectrograph } = instrument;
  if (instrument.readout === 'image' && spectrograph?.slit !== undefined) return spectrograph;
  throw new UsageError(`${instrument.name} has no long slit that is read from single images`);
}

interface Taken {
  readonly frame: SlitFrame;
  readonly facts: ImageFacts;
}

/** A raw image as rates [DN/s] with errors. */
async function takeFrame(file: FitsFile, instrument: Instrument): Promise<Taken> {
  const found = describedImage(file, instrument);
  if (found === undefined) throw new InputError(`this is no image of ${instrument.name}`, { file: file.path });
  const { hdu, facts } = found;
  const { data, shape } = await file.readImageAsync(hdu);
  const [rows = 0, cols = 0] = shape;
  if (rows !== instrument.geometry.rows || cols !== instrument.geometry.cols || !(data instanceof Int32Array)) {
    const wanted = `${instrument.geometry.rows} x ${instrument.geometry.cols} pixels of 32-bit integers`;
    throw new InputError(`expected ${wanted}, received ${rows} x ${cols} of ${data.constructor.name}`, {
      file: file.path,
      hdu: hdu.index,
    });
  }
  const [image, error] = [new Float32Array(rows * cols), new Float32Array(rows * cols)];
  const map = (of: Float32Array | Int32Array) => ({ data: of, rows, cols });
  await runKernel(
    'image-to-rate',
    { counts: map(data), rate: map(image), error: map(error) },
    {
      seconds: facts.integrationSeconds,
      coadds: facts.coadds,
      dnPerUnit: facts.dnPerUnit,
      gain: facts.gainElectronsPerDn,
      readNoise: facts.readNoiseElectrons,
    },
  );
  return { frame: { image, error, rows, cols }, facts };
}

function optionsOf(context: StageContext, file: FitsFile): SlitOptions {
  const { tele, chip = '' } = context.identity;
  const { instrument, threads } = context;
  return { spectrograph: slitOf(instrument), detector: { tele, chip }, file: file.path, threads };
}

const inputOf = (context: StageContext, role: string): FitsFile => {
  const found = context.inputs.find((input) => input.role === role);
  if (found === undefined) throw new UsageError(`expected a file as ${role}`);
  return found.file;
};

/** What readers of headers are told: archives break the standard, and it is read all the same. */
const tolerated = ({ path = '', warnings }: FitsFile): string[] => warnings.map((text) => `${basename(path)}: ${text}`);

async function traceBody(context: StageContext): Promise<StageResult> {
  const file = inputOf(context, 'image');
  const { frame, facts } = await takeFrame(file, context.instrument);
  if (facts.type !== 'flat') {
    throw new InputError(`expected a flat, the header says '${facts.type}'`, { file: file.path });
  }
  const began = performance.now();
  const found = await traceSlits(frame, optionsOf(context, file));
  const { traces, rms, chi2, columns, shift } = found;
  const spectrograph = slitOf(context.instrument);
  const flux = Float32Array.from(traces.states, (_, i) =>
    median([...traces.flux.subarray(i * traces.cols, (i + 1) * traces.cols)]),
  );
  const { tele, mjd, chip, exposure } = facts.identity;
  const product: TraceProduct = {
    traces,
    findings: {
      number: Int32Array.from(traces.states, (_, i) => spectrograph.fibreNumber(i)),
      rms,
      chi2,
      columns,
      flux,
      shift,
    },
    facts: {
      tele,
      mjd,
      chip,
      exposure,
      kind: kindOf(facts),
      rows: frame.rows,
      shift: median([...shift]),
      shiftError: median([...rms]) / Math.sqrt(traces.fibres),
      level: median([...flux]),
      unit: 'DN/read', // a second is the read of single images
    },
    background: { rows: 1, cols: 1, values: new Float32Array(1) },
  };
  await checkTraces(product, file.path);
  const whole = traces.states.filter((state) => state === 'ok').length;
  return {
    ...encodeTraces(product),
    summary: {
      orders: traces.fibres,
      ok: whole,
      shift: Number(median([...shift]).toFixed(3)),
      rms: Number(median([...rms]).toFixed(4)),
    },
    warnings: tolerated(file),
    timings: [{ name: 'trace', seconds: (performance.now() - began) / 1000 }],
  };
}

/** Object and sky of each order, one after the other: two spectra at the same place, solved together. */
function besideSky(object: SlitObject, orders: Traces) {
  const { fibres, cols } = orders;
  const size = fibres * cols;
  const [centre, width] = [new Float32Array(2 * size), new Float32Array(2 * size)];
  const cumulative = new Float32Array(2 * fibres * PROFILE_NODES * PROFILE_SAMPLES);
  const [own, sky] = [gaussProfile(1), slitProfile(1)];
  for (let i = 0; i < fibres; i++) {
    const rows = object.centre.subarray(i * cols, (i + 1) * cols);
    centre.set(rows, 2 * i * cols);
    centre.set(rows, (2 * i + 1) * cols);
    width.set(object.width.subarray(i * cols, (i + 1) * cols), 2 * i * cols);
    width.fill(1, (2 * i + 1) * cols, (2 * i + 2) * cols);
    cumulative.set(own.cumulative, 2 * i * own.cumulative.length);
    cumulative.set(sky.cumulative, (2 * i + 1) * own.cumulative.length);
  }
  const profile = { fibres: 2 * fibres, nodes: PROFILE_NODES, samples: PROFILE_SAMPLES, cumulative };
  return { centre, width, profile };
}

async function extractBody(context: StageContext): Promise<StageResult> {
  const file = inputOf(context, 'image');
  const { frame, facts } = await takeFrame(file, context.instrument);
  const { traces: orders, facts: flat, findings } = await readTraces(inputOf(context, 'traces'));
  const spectrograph = slitOf(context.instrument);
  const { rows, cols } = frame;
  if (orders.fibres !== spectrograph.fibres || orders.cols !== cols) {
    throw new InputError(
      `expected ${spectrograph.fibres} orders of ${cols} columns, received ${orders.fibres} of ${orders.cols}`,
      { file: inputOf(context, 'traces').path },
    );
  }
  const began = performance.now();
  const object = await traceObject(frame, orders, optionsOf(context, file));
  const traced = performance.now();
  const { fibres } = orders;
  const { centre, width, profile } = besideSky(object, orders);
  const ivar = new Float32Array(rows * cols);
  const map = (data: Float32Array | Uint32Array) => ({ data, rows, cols });
  const dq = new Uint32Array(rows * cols);
  await runKernel(
    'weigh-pixels',
    { value: map(frame.image), error: map(frame.error), dq: map(dq), ivar: map(ivar) },
    { skip: 0 },
  );
  const traceDq = new Uint32Array(2 * fibres * cols);
  object.states.forEach((state, i) => {
    if (state !== 'ok') traceDq.fill(DQ.TRACE_INTERPOLATED, 2 * i * cols, (2 * i + 2) * cols);
  });
  const inputs = { rows, cols, fibres: 2 * fibres, image: frame.image, ivar, dq, centre, width, profile, traceDq };
  const both = await extractWith('joint', inputs, { reach: REACH, reject: REJECT, profileError: MODEL_ERROR });
  // Every second spectrum is the sky.
  const ofObject = <T extends Float32Array | Uint32Array>(data: T): T =>
    data.filter((_, i) => Math.floor(i / cols) % 2 === 0) as T;
  const weights = ofObject(both.ivar);
  const bits = ofObject(both.dq);
  const flux = ofObject(both.flux).map((value, i) => ((weights[i] as number) > 0 ? value : Number.NaN));
  const trace = new Float32Array(2 * fibres * cols);
  trace.set(object.centre);
  trace.set(object.width, fibres * cols);
  const levels = Array.from({ length: fibres }, (_, i) => median([...flux.subarray(i * cols, (i + 1) * cols)]));
  const chi2 = both.chi2 && ofObject(both.chi2);
  const map2 = object.states.map(
    (state, i): SpectraFibre => ({
      number: findings.number[i] ?? i,
      type: 'sci',
      target: '',
      ra: Number.NaN,
      dec: Number.NaN,
      state,
      throughput: Number.NaN,
      throughputError: Number.NaN,
      bits: 0,
      flux: levels[i] ?? Number.NaN,
      chi2: chi2 === undefined ? Number.NaN : median([...chi2.subarray(i * cols, (i + 1) * cols)]),
    }),
  );
  const { tele, mjd, chip, exposure } = facts.identity;
  const offset = median([...object.offsets]);
  const counts = await countBits(bits, cols, { row: 0, rows: fibres, x: 0, cols });
  const product = encodeSpectra(
    {
      facts: {
        tele,
        mjd,
        chip,
        exposure,
        kind: kindOf(facts),
        method: 'joint',
        unit: 'DN/read',
        flat: flat.exposure,
        rows,
      },
      spectra: {
        fibres,
        cols,
        flux,
        error: weights.map((weight) => (weight > 0 ? 1 / Math.sqrt(weight) : Number.NaN)),
        dq: bits,
        chi2,
        crosstalk: both.crosstalk && ofObject(both.crosstalk),
        trace,
        map: map2,
        model: [
          { name: 'OFFSET', value: offset, error: Number.NaN, unit: 'pix', text: 'object from the middle of the slit' },
        ],
      },
    },
    [['OBJPOS', Number(offset.toFixed(3)), '[pix] object from the middle of the slit']],
  );
  return {
    ...product,
    summary: {
      orders: fibres,
      flat: flat.exposure,
      offset: Number(offset.toFixed(3)),
      outliers: counts[31 - Math.clz32(DQ.MODEL_OUTLIER)] ?? 0,
      missing: counts[31 - Math.clz32(DQ.EXTRACTION_FAILED)] ?? 0,
    },
    warnings: tolerated(file),
    timings: [
      { name: 'trace', seconds: (traced - began) / 1000 },
      { name: 'extract', seconds: (performance.now() - traced) / 1000 },
    ],
  };
}

const NONE = { cpuSeconds: 2, peakBytes: 1e8, diskBytes: 1e7 };
const TRACE_KERNELS = ['image-to-rate', 'row-step', 'trace-find', 'trace-fit', 'smooth-traces', 'draw-traces'];

const TRACE: Stage = {
  name: 'trace',
  prefix: 'trace',
  summary: 'orders of a long slit',
  schema: TRACE_SCHEMA,
  scope: 'chip',
  takes: () => false,
  inputs: [{ role: 'image', from: ['raw'] }],
  kernels: TRACE_KERNELS,
  predict: () => NONE,
  body: () => Promise.resolve(traceBody),
};

const EXTRACT: Stage = {
  name: 'extract',
  prefix: '1d',
  summary: 'spectrum of the object in a long slit',
  schema: SPECTRA_SCHEMA,
  scope: 'chip',
  takes: () => false,
  inputs: [
    { role: 'image', from: ['raw'] },
    { role: 'traces', from: ['trace'] },
  ],
  kernels: [...TRACE_KERNELS, 'weigh-pixels', 'extract-joint'],
  predict: () => NONE,
  body: () => Promise.resolve(extractBody),
};

export interface SlitRequest extends Pick<HandRequest, 'output' | 'force' | 'verify' | 'threads' | 'control'> {
  readonly instrument: Instrument;
  /** Raw image. */
  readonly image: string;
  /** Product of traceSlitFlat, to extract; absent to trace. */
  readonly traces?: string | undefined;
  readonly limits?: Partial<FitsLimits> | undefined;
}

/**
 * Traces the orders of a flat, or extracts the object of a frame by such traces, and writes the product.
 * @throws UsageError for an instrument without a long slit; InputError for files that are none of its images; AlgorithmError where the
 *   edges of the slit or the object are not found; StorageError
 */
export async function reduceSlit(request: SlitRequest): Promise<HandOutcome> {
  const { instrument, image, traces, limits = {}, ...rest } = request;
  slitOf(instrument);
  const facts = withImage(image, instrument, limits, (_, found) => found?.facts);
  if (facts === undefined) throw new InputError(`this is no image of ${instrument.name}`, { file: image });
  const { identity } = facts;
  const exposure: ExposureFacts = {
    tele: identity.tele,
    mjd: identity.mjd,
    exposure: identity.exposure,
    kind: kindOf(facts),
    reads: 1,
    start: facts.mjd,
    exposureSeconds: facts.integrationSeconds * facts.coadds,
    lamps: { quartz: -1, thar: -1, une: -1 },
    ditherPixels: 0,
    plate: '',
    design: '',
    configuration: '',
    field: '',
    cartridge: '',
  };
  return await runStage({
    ...rest,
    limits,
    instrument,
    stage: traces === undefined ? TRACE : EXTRACT,
    files: [
      { role: 'image', path: image, identity },
      ...(traces === undefined ? [] : [{ role: 'traces', path: traces }]),
    ],
    exposures: [exposure],
  });
}
