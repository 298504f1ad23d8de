/** `calib build flat`: the response of the pixels from flats of a lamp that is not flat. */
import { basename } from 'node:path';
import { type CalibrationFile, loadCalibration } from '../../calib/load.js';
import { AlgorithmError, CalibrationError, InputError } from '../../core/errors.js';
import { DQ } from '../../core/generated/dq.js';
import { type HduInput, openFits } from '../../fits/index.js';
import { FLAT_KERNELS, FLAT_PARAMS, FLAT_STEPS, type Flat, FlatBuilder } from '../../stages/calibrations/flat.js';
import { MAX_ORDER } from '../../stages/calibrations/illumination.js';
import { type RampImages, rampLayout, rampOptions, reduceRamp } from '../../stages/ramp/index.js';
import type { BuildContext, BuiltCalibration, CalibrationBuilder } from './builder.js';
import { countsOf, expectType, splitParams } from './raw.js';

/** Exposures from which on a cube of reads is kept rather than decoded twice; as the runner of exposures does. */
const CUBE_PAYS_FROM = 4;

/** Rates are per read: a dark of other reads is another quantity. Read times are written to a microsecond. */
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
  kernels: [...FLAT_KERNELS, 'count-flags'],
  build,
};

async function build(context: BuildContext): Promise<BuiltCalibration[]> {
  const { inputs, instrument, params, threads, limits, control, calibrations } = context;
  const { ramp, own } = splitParams(context.kernelParams);
  const options = rampOptions({ threads, params: ramp, lowMemory: inputs.length < CUBE_PAYS_FROM });
  const remarks: string[] = [];
  const dark = await darkOf(context);
  if (dark === undefined) remarks.push('no dark was subtracted');
  if (calibrations.gain.rowStride === 0) {
    remarks.push('one gain for the whole detector: steps between amplifiers stay in the flat');
  }
  const seconds: Record<string, number> = {};
  const spend = (name: string, time: number) => {
    seconds[name] = (seconds[name] ?? 0) + time;
  };
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
      const known = dark && { flags: dark.bits('DQ', rows, cols).data, skip: DARK_BAD };
      stack ??= new FlatBuilder({ rows, cols, border, exposures: inputs.length }, params, own, threads, known);
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
        extension: {
          at: 'rates',
          arrays: () => ({ ...slot, ...darkArrays }),
          steps: FLAT_STEPS,
        },
      });
      images = result.images;
      const { readSeconds } = result.times;
      if (dark !== undefined && Math.abs(dark.positive('READTIME') / readSeconds - 1) > READ_TIME_TOLERANCE) {
        throw new CalibrationError(
          `expected a dark of reads of ${readSeconds} s, received one of ${dark.positive('READTIME')} s`,
          { file: dark.path },
        );
      }
      for (const { name, seconds: time } of result.report.timings) spend(name, time);
      for (const warning of result.warnings) remarks.push(`${basename(path)}: ${warning}`);
      dataFrom ??= result.times.first;
      if (result.times.last !== undefined) dataTo = result.times.last + readSeconds / 86_400;
    } finally {
      raw.close();
    }
    let one: Awaited<ReturnType<FlatBuilder['taken']>>;
    try {
      one = await stack.taken();
    } catch (error) {
      if (error instanceof AlgorithmError) throw new AlgorithmError(error.message, { file: path, cause: error });
      throw error;
    }
    if (one.fit === undefined) {
      remarks.push(
        `${basename(path)} is passed over: its median of ${one.light.median.toPrecision(3)} e-/read is below ${params.minSignal}`,
      );
    }
  }
  const made = await (stack as FlatBuilder).finish();
  for (const [name, time] of Object.entries(made.seconds)) spend(name, time);
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
      ],
      hdus: [...imagesOf(made), ...tablesOf(made, context)],
      facts: {
        used: made.used,
        lightElectronsPerRead: made.flats.map(({ light }) => light.median),
        sigma: made.level.sigma / made.level.median,
        condition: Math.max(...conditions),
        ...countsOf(made.bits, ['LOW_FLAT', 'HIGH_FLAT', 'UNSTABLE_FLAT', 'NO_FLAT']),
      },
      dataFrom,
      dataTo,
      seconds,
    },
  ];
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
function tablesOf({ flats }: Flat, { inputs, params }: BuildContext): HduInput[] {
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
        { name: 'LIGHT', unit: 'electron/read', values: Float64Array.from(flats, ({ light }) => light.median) },
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
          unit: 'electron/read',
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
