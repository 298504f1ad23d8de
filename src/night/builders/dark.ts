/** `calib build dark`: the dark rate of a detector from any number of darks. */
import { basename } from 'node:path';
import { AlgorithmError, InputError } from '../../core/errors.js';
import { type CardInput, openFits } from '../../fits/index.js';
import {
  DARK_KERNELS,
  DARK_PARAMS,
  DARK_STEPS,
  type Dark,
  DarkBuilder,
  rampWeight,
} from '../../stages/calibrations/dark.js';
import { type RampImages, rampLayout, rampOptions, reduceRamp } from '../../stages/ramp/index.js';
import type { BuildContext, BuiltCalibration, CalibrationBuilder } from './builder.js';
import { imageCards, type TakenImage, takeImage } from './images.js';
import { CUBE_PAYS_FROM, countsOf, expectType, guardAgainstPersistence, splitParams } from './raw.js';

export const dark: CalibrationBuilder = {
  word: 'dark',
  kinds: ['dark'],
  summary: 'dark rate and bad pixels from darks, streamed',
  role: 'dark',
  params: [
    ...DARK_PARAMS,
    {
      name: 'minReads',
      type: 'int',
      min: 3,
      max: 10_000,
      default: 6,
      doc: 'darks of fewer reads are refused: below 6 no ramp is fitted',
    },
    {
      name: 'guard',
      type: 'bool',
      default: true,
      doc: 'refuse a dark whose exposure before, among the files beside it, is no dark',
    },
  ],
  rampChain: true,
  kernels: [...DARK_KERNELS, 'count-flags'],
  imageKernels: ['image-to-rate', ...DARK_KERNELS, 'count-flags'],
  build,
};

async function build(context: BuildContext): Promise<BuiltCalibration[]> {
  const { inputs, instrument, params, limits } = context;
  const remarks = params.guard === 1 ? guardAgainstPersistence(inputs, instrument, limits) : [];
  if (params.guard !== 1) remarks.push('exposures before the darks were not looked at');
  const taken = await (instrument.readout === 'ramp' ? takeRamps(context) : takeImages(context));
  const { reads, seconds } = taken;
  const made = await taken.stack.finish();
  remarks.push(...taken.remarks);
  for (const [name, time] of Object.entries(made.seconds)) seconds[name] = (seconds[name] ?? 0) + time;
  const unit = instrument.readout === 'ramp' ? 'DN/read' : 'DN/s';
  for (const i of made.shifted) {
    const level = made.levels[i]?.median.toPrecision(4);
    remarks.push(`${basename(inputs[i]?.path ?? '')}: its level of ${level} ${unit} differs from the others`);
  }
  return [
    {
      kind: 'dark',
      grade: remarks.length > 0 ? 'warn' : 'pass',
      remarks,
      cards: [
        ['READTIME', taken.readSeconds, '[s] time of a read: the unit of the rates'],
        ['LEVEL', made.level.median, `[${unit}] median of the chip, not subtracted`],
        ['SIGMA', made.level.sigma, `[${unit}] IQR/1.34896 of its pixels`],
        ['HOTABOVE', made.hotAbove, `[${unit}] HOT above this`],
        ['NEGBELOW', made.negativeBelow, `[${unit}] NEGATIVE_DARK below this`],
        ['NREADS', reads.reduce((sum, n) => sum + n, 0), 'reads, or coadds, of all darks that were used'],
        ...taken.cards,
      ],
      hdus: hdusOf(made, context, reads, unit),
      facts: {
        unit,
        level: made.level.median,
        sigma: made.level.sigma,
        ...countsOf(made.bits, ['HOT', 'NEGATIVE_DARK', 'NOISY', 'TELEGRAPH', 'NO_CALIBRATION']),
      },
      dataFrom: taken.dataFrom,
      dataTo: taken.dataTo,
      seconds,
    },
  ];
}

/** What came of all exposures. */
interface Taken {
  readonly stack: DarkBuilder;
  /** Reads used of each ramp, or coadds of each image. */
  readonly reads: readonly number[];
  readonly readSeconds: number;
  readonly remarks: readonly string[];
  readonly cards: readonly CardInput[];
  readonly seconds: Record<string, number>;
  readonly dataFrom?: number | undefined;
  readonly dataTo?: number | undefined;
}

async function takeRamps(context: BuildContext): Promise<Taken> {
  const { inputs, instrument, params, threads, limits, control } = context;
  const { ramp, own } = splitParams(context.kernelParams);
  const options = rampOptions({ threads, params: ramp, lowMemory: inputs.length < CUBE_PAYS_FROM });
  const remarks: string[] = [];
  const seconds: Record<string, number> = {};
  let stack: DarkBuilder | undefined;
  let images: RampImages | undefined;
  let first: { readonly path: string; readonly readSeconds: number } | undefined;
  let dataFrom: number | undefined;
  let dataTo: number | undefined;
  const reads: number[] = [];
  for (const [i, { path, identity }] of inputs.entries()) {
    context.progress(i);
    const raw = openFits(path, { limits });
    try {
      expectType(raw, 'dark');
      const layout = rampLayout(raw);
      if (layout.reads.length < (params.minReads as number)) {
        throw new AlgorithmError(
          `expected a dark of at least ${params.minReads} reads, received ${layout.reads.length}`,
          { file: path },
        );
      }
      if (stack !== undefined && stack.shape.rows !== layout.rows) {
        throw new InputError(
          `expected ${stack.shape.rows} rows as in ${basename(first?.path ?? '')}, received ${layout.rows}`,
          { file: path },
        );
      }
      const { cols, border } = instrument.geometry;
      stack ??= new DarkBuilder({ rows: layout.rows, cols, border, exposures: inputs.length }, params, own, threads);
      const slot = stack.slot();
      const result = await reduceRamp(raw, {
        instrument,
        identity,
        calibrations: context.calibrations,
        options,
        fits: { limits },
        ...(control && { control }),
        diagnostics: false,
        images,
        extension: { at: 'rates', arrays: () => slot, steps: DARK_STEPS },
      });
      images = result.images;
      const { readSeconds } = result.times;
      if (first !== undefined && first.readSeconds !== readSeconds) {
        throw new InputError(
          `expected reads of ${first.readSeconds} s as in ${basename(first.path)}, received ${readSeconds} s`,
          { file: path },
        );
      }
      first ??= { path, readSeconds };
      for (const { name, seconds: time } of result.report.timings) seconds[name] = (seconds[name] ?? 0) + time;
      for (const warning of result.warnings) remarks.push(`${basename(path)}: ${warning}`);
      dataFrom ??= result.times.first;
      if (result.times.last !== undefined) dataTo = result.times.last + readSeconds / 86_400;
      reads.push(result.readsUsed);
      await takenOrRefused(stack, rampWeight(result.readsUsed - 1), path);
    } finally {
      raw.close();
    }
  }
  return {
    stack: stack as DarkBuilder,
    reads,
    readSeconds: first?.readSeconds ?? 0,
    remarks,
    cards: [],
    seconds,
    dataFrom,
    dataTo,
  };
}

async function takenOrRefused(stack: DarkBuilder, weight: number, file: string): Promise<void> {
  const level = await stack.taken(weight);
  if (level.count === 0) throw new AlgorithmError('no pixel has a value', { file });
}

async function takeImages(context: BuildContext): Promise<Taken> {
  const { inputs, instrument, params, threads, limits } = context;
  let stack: DarkBuilder | undefined;
  let first: TakenImage | undefined;
  const coadds: number[] = [];
  for (const [i, { path }] of inputs.entries()) {
    context.progress(i);
    const image = takeImage(path, 'dark', instrument, limits, first);
    const { rows, cols, facts } = image;
    first ??= image;
    stack ??= new DarkBuilder(
      { rows, cols, border: instrument.geometry.border, exposures: inputs.length },
      params,
      context.kernelParams,
      threads,
    );
    const slot = stack.slot();
    await image.rates(slot.darkLevel, slot.darkSigma);
    // Read noise of each coadd rules: the variance of the rate goes with their inverse number.
    await takenOrRefused(stack, facts.coadds, path);
    coadds.push(facts.coadds);
  }
  const { readTimeSeconds } = instrument;
  return {
    stack: stack as DarkBuilder,
    reads: coadds,
    readSeconds: readTimeSeconds,
    remarks: [],
    cards: imageCards(first as TakenImage),
    seconds: {},
  };
}

function hdusOf(
  made: Dark,
  { inputs }: BuildContext,
  reads: readonly number[],
  unit: string,
): BuiltCalibration['hdus'] {
  const { rate, error, count, dq, levels } = made;
  const shape = [made.rows, made.cols];
  return [
    { name: 'RATE', data: rate, shape, header: [['BUNIT', unit, 'unit of the pixels']] },
    { name: 'ERR', data: error, shape, header: [['BUNIT', unit, 'unit of the pixels']] },
    { name: 'COUNT', data: count, shape, header: [['COMMENT', 'Exposures in the mean.']] },
    { name: 'DQ', data: dq, shape, header: [['COMMENT', 'Bits are explained in the DQ_DEF table.']] },
    {
      kind: 'table',
      name: 'EXPOSURES',
      columns: [
        { name: 'NAME', values: inputs.map(({ path }) => basename(path)) },
        { name: 'READS', values: Int32Array.from(reads) },
        { name: 'LEVEL', unit, values: Float64Array.from(levels, ({ median }) => median) },
        { name: 'SIGMA', unit, values: Float64Array.from(levels, ({ sigma }) => sigma) },
      ],
      header: [['COMMENT', 'Reads used (or coadds), median and IQR/1.34896 of the pixels without the border.']],
    },
  ];
}
