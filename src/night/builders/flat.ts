/** `calib build flat`: the response of the pixels from flats of a lamp that is not flat. */
import { basename } from 'node:path';
import { type CalibrationFile, loadCalibration } from '../../calib/load.js';
import { AlgorithmError, CalibrationError, InputError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import { runKernel, sharedF32, sharedU32 } from '../../engine/index.js';
import { type CardInput, type HduInput, openFits } from '../../fits/index.js';
import { FLAT_KERNELS, FLAT_PARAMS, FLAT_STEPS, type Flat, FlatBuilder } from '../../stages/calibrations/flat.js';
import { MAX_ORDER } from '../../stages/calibrations/illumination.js';
import { type RampImages, rampLayout, rampOptions, reduceRamp } from '../../stages/ramp/index.js';
import type { BuildContext, BuiltCalibration, CalibrationBuilder } from './builder.js';
import { imageCards, type TakenImage, takeImage } from './images.js';
import { CUBE_PAYS_FROM, countsOf, expectType, splitParams } from './raw.js';

/** Read times are written to a microsecond. */
const READ_TIME_TOLERANCE = 1e-5;

/** Pixels of which the dark says that are no part of the fits of the illumination. */
const DARK_BAD = DQ.HOT | DQ.NEGATIVE_DARK | DQ.NOISY | DQ.TELEGRAPH | DQ.NO_CALIBRATION;

export const flat: CalibrationBuilder = {
  word: 'flat',
  kinds: ['flat'],
  summary: 'response of the pixels from flats, without their illumination',
  role: 'flat',
  params: FLAT_PARAMS,
  rampChain: true,
  uses: ['dark'],
  kernels: [...FLAT_KERNELS, 'count-flags'],
  imageKernels: ['image-to-rate', ...FLAT_KERNELS, 'count-flags'],
  build,
};

async function build(context: BuildContext): Promise<BuiltCalibration[]> {
  const { inputs, instrument, params } = context;
  const dark = await darkOf(context);
  const per = instrument.readout === 'ramp' ? 'read' : 's';
  const unit = `electron/${per}`;
  const remarks = dark === undefined ? ['no dark was subtracted'] : [];
  const taken = await (instrument.readout === 'ramp' ? takeRamps(context, dark) : takeImages(context, dark));
  const { seconds } = taken;
  remarks.push(...taken.remarks);
  const made = await taken.stack.finish();
  for (const [i, { fit, light }] of made.flats.entries()) {
    if (fit !== undefined) continue;
    const name = basename(inputs[i]?.path ?? '');
    remarks.push(
      `${name} is passed over: its median of ${light.median.toPrecision(3)} e-/${per} is below ${params.minSignal}`,
    );
  }
  for (const [name, time] of Object.entries(made.seconds)) seconds[name] = (seconds[name] ?? 0) + time;
  const bit = (name: string) => countsOf(made.bits, [name])[name] ?? 0;
  const conditions = made.flats.flatMap(({ fit }) => fit?.condition ?? []);
  return [
    {
      kind: 'flat',
      grade: remarks.length > 0 ? 'warn' : 'pass',
      remarks,
      cards: [
        ['NUSED', made.used, 'flats that had light enough'],
        ['ORDER', params.order as number, 'of the Legendre polynomials of the illumination'],
        ['CONDMAX', Math.max(...conditions), 'condition number of the normal matrix, worst flat'],
        ['SIGMA', made.level.sigma / made.level.median, 'IQR/1.34896 of the response'],
        ...taken.cards,
      ],
      hdus: [...imagesOf(made), ...tablesOf(made, context, unit)],
      facts: {
        used: made.used,
        unit,
        light: made.flats.map(({ light }) => light.median),
        sigma: made.level.sigma / made.level.median,
        condition: Math.max(...conditions),
        ...countsOf(made.bits, ['LOW_FLAT', 'HIGH_FLAT', 'UNSTABLE_FLAT']),
        // The border has none by its nature.
        NO_FLAT: bit('NO_FLAT') - bit('REFERENCE_PIXEL'),
      },
      dataFrom: taken.dataFrom,
      dataTo: taken.dataTo,
      seconds,
    },
  ];
}

/** What came of all exposures. */
interface Taken {
  readonly stack: FlatBuilder;
  readonly remarks: readonly string[];
  readonly cards: readonly CardInput[];
  readonly seconds: Record<string, number>;
  readonly dataFrom?: number | undefined;
  readonly dataTo?: number | undefined;
}

/** Rates are per read: a dark of other reads is another quantity. */
function checkDarkReads(dark: CalibrationFile | undefined, readSeconds: number): void {
  if (dark !== undefined && Math.abs(dark.positive('READTIME') / readSeconds - 1) > READ_TIME_TOLERANCE) {
    throw new CalibrationError(
      `expected a dark of reads of ${readSeconds} s, received one of ${dark.positive('READTIME')} s`,
      { file: dark.path },
    );
  }
}

async function takenOrRefused(stack: FlatBuilder, file: string): Promise<void> {
  try {
    await stack.taken();
  } catch (error) {
    if (error instanceof AlgorithmError) throw new AlgorithmError(error.message, { file, cause: error });
    throw error;
  }
}

async function takeRamps(context: BuildContext, dark: CalibrationFile | undefined): Promise<Taken> {
  const { inputs, instrument, params, threads, limits, control, calibrations } = context;
  const { ramp, own } = splitParams(context.kernelParams);
  const options = rampOptions({ threads, params: ramp, lowMemory: inputs.length < CUBE_PAYS_FROM });
  const remarks: string[] = [];
  if (calibrations.gain.rowStride === 0) {
    remarks.push('one gain for the whole detector: steps between amplifiers stay in the flat');
  }
  const seconds: Record<string, number> = {};
  let stack: FlatBuilder | undefined;
  let images: RampImages | undefined;
  let dataFrom: number | undefined;
  let dataTo: number | undefined;
  for (const [i, { path, identity }] of inputs.entries()) {
    context.progress(i);
    const raw = openFits(path, { limits });
    try {
      expectType(raw, 'flat');
      const { rows } = rampLayout(raw);
      const { cols, border } = instrument.geometry;
      if (stack !== undefined && stack.shape.rows !== rows) {
        const first = basename(inputs[0]?.path ?? '');
        throw new InputError(`expected ${stack.shape.rows} rows as in ${first}, received ${rows}`, { file: path });
      }
      stack ??= new FlatBuilder(
        { rows, cols, border, exposures: inputs.length },
        params,
        own,
        threads,
        knownBy(dark, rows, cols),
      );
      const slot = stack.slot();
      const darkArrays = dark && { darkRate: dark.map('RATE', rows, cols), darkError: dark.map('ERR', rows, cols) };
      const result = await reduceRamp(raw, {
        instrument,
        identity,
        calibrations,
        options,
        fits: { limits },
        ...(control && { control }),
        diagnostics: false,
        images,
        extension: { at: 'rates', arrays: () => ({ ...slot, ...darkArrays }), steps: FLAT_STEPS },
      });
      images = result.images;
      const { readSeconds } = result.times;
      checkDarkReads(dark, readSeconds);
      for (const { name, seconds: time } of result.report.timings) seconds[name] = (seconds[name] ?? 0) + time;
      for (const warning of result.warnings) remarks.push(`${basename(path)}: ${warning}`);
      dataFrom ??= result.times.first;
      if (result.times.last !== undefined) dataTo = result.times.last + readSeconds / 86_400;
    } finally {
      raw.close();
    }
    await takenOrRefused(stack, path);
  }
  return { stack: stack as FlatBuilder, remarks, cards: [], seconds, dataFrom, dataTo };
}

/** What the dark knows of bad pixels. */
function knownBy(dark: CalibrationFile | undefined, rows: number, cols: number) {
  return dark && { flags: dark.bits('DQ', rows, cols).data, skip: DARK_BAD };
}

async function takeImages(context: BuildContext, dark: CalibrationFile | undefined): Promise<Taken> {
  const { inputs, instrument, params, threads, limits, kernelParams } = context;
  const { border } = instrument.geometry;
  const remarks: string[] = [];
  let stack: FlatBuilder | undefined;
  let first: TakenImage | undefined;
  checkDarkReads(dark, instrument.readTimeSeconds);
  for (const [i, { path }] of inputs.entries()) {
    context.progress(i);
    const image = takeImage(path, 'flat', instrument, limits, first);
    const { rows, cols, facts } = image;
    first ??= image;
    const shape = { rows, cols, border, exposures: inputs.length };
    stack ??= new FlatBuilder(shape, params, kernelParams, threads, knownBy(dark, rows, cols));
    if (facts.dnPerUnit !== 1) {
      remarks.push(`${basename(path)} was divided by its median: counts are those of ${facts.dnPerUnit} DN a unit`);
    }
    const rate = { data: sharedF32(rows * cols), rows, cols };
    const error = { data: sharedF32(rows * cols), rows, cols };
    await image.rates(rate, error);
    const { flatSignal: signal, flatSigma: sigma } = stack.slot();
    await runKernel('take-flat', {
      rate,
      error,
      dq: { data: sharedU32(rows * cols), rows, cols },
      gain: { data: sharedF32(cols).fill(facts.gainElectronsPerDn), rows, cols, rowStride: 0 },
      ...(dark && { dark: dark.map('RATE', rows, cols), darkError: dark.map('ERR', rows, cols) }),
      signal,
      sigma,
    });
    await takenOrRefused(stack, path);
  }
  return { stack: stack as FlatBuilder, remarks, cards: imageCards(first as TakenImage), seconds: {} };
}

/** The dark that was chosen; of two to be interpolated the nearer one: a flat has a thousand times its light. */
async function darkOf({ files, inputs }: BuildContext): Promise<CalibrationFile | undefined> {
  const [chosen] = files.filter(({ kind }) => kind === 'dark').toSorted((a, b) => b.weight - a.weight);
  return chosen && loadCalibration(chosen, (inputs[0] as BuildContext['inputs'][number]).identity);
}

function imagesOf({ rows, cols, flat: data, error, dq }: Flat): HduInput[] {
  const shape = [rows, cols];
  return [
    { name: 'FLAT', data, shape, header: [['COMMENT', 'Response to light in electrons, median 1.']] },
    { name: 'ERR', data: error, shape },
    { name: 'DQ', data: dq, shape, header: [['COMMENT', 'Bits are explained in the DQ_DEF table.']] },
  ];
}

/** Table of the flats, and the coefficients of their illumination: a line for each order in x and in y. */
function tablesOf({ flats }: Flat, { inputs, params }: BuildContext, unit: string): HduInput[] {
  const side = (params.order as number) + 1;
  const terms = side * side;
  const fits = flats.flatMap(({ fit }, exposure) => (fit === undefined ? [] : [{ fit, exposure }]));
  const column = (value: (fit: (typeof fits)[number], i: number, j: number) => number): number[] =>
    fits.flatMap((one) => Array.from({ length: terms }, (_, t) => value(one, t % side, Math.floor(t / side))));
  return [
    {
      kind: 'table',
      name: 'EXPOSURES',
      columns: [
        { name: 'NAME', values: inputs.map(({ path }) => basename(path)) },
        { name: 'LIGHT', unit, values: Float64Array.from(flats, ({ light }) => light.median) },
        { name: 'USED', form: 'L', values: flats.map(({ fit }) => fit !== undefined) },
        { name: 'SIGMA', values: Float64Array.from(flats, ({ response }) => response?.sigma ?? Number.NaN) },
        { name: 'CONDITION', values: Float64Array.from(flats, ({ fit }) => fit?.condition ?? Number.NaN) },
      ],
      header: [['COMMENT', 'Median light; IQR/1.34896 of image/illumination; condition of the normal matrix.']],
    },
    {
      kind: 'table',
      name: 'ILLUMINATION',
      columns: [
        { name: 'EXPOSURE', values: Int32Array.from(column(({ exposure }) => exposure + 1)) },
        { name: 'I', values: Int32Array.from(column((_, i) => i)) },
        { name: 'J', values: Int32Array.from(column((_, _i, j) => j)) },
        {
          name: 'COEFF',
          unit,
          values: Float64Array.from(column(({ fit }, i, j) => fit.coefficients[j * (MAX_ORDER + 1) + i] as number)),
        },
      ],
      header: [
        ['COMMENT', 'Light = sum of COEFF P_I(u) P_J(v), Legendre polynomials, u along the rows and v'],
        ['COMMENT', 'along the columns, -1 at the first and 1 at the last light-sensitive pixel.'],
      ],
    },
  ];
}
