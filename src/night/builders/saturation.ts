/** `calib build saturation`: the counts at which pixels are full, from deep flats. */
import { basename } from 'node:path';
import type { RampCalibrations } from '../../calib/ramp.js';
import { checkParams, kernelNamed, sharedF32 } from '../../engine/index.js';
import { openFits } from '../../fits/index.js';
import {
  SATURATION_KERNELS,
  SATURATION_PARAMS,
  SATURATION_STEPS,
  type Saturation,
  SaturationBuilder,
} from '../../stages/calibrations/saturation.js';
import { gatherRamp, rampOptions } from '../../stages/ramp/index.js';
import type { BuildContext, BuiltCalibration, CalibrationBuilder } from './builder.js';
import { sameRows } from './first_read.js';
import { countsOf, expectType, splitParams } from './raw.js';

export const saturation: CalibrationBuilder = {
  word: 'saturation',
  kinds: ['saturation'],
  summary: 'counts at which pixels are full, from deep flats',
  role: 'flat',
  params: SATURATION_PARAMS,
  rampChain: true,
  kernels: SATURATION_KERNELS,
  build,
};

/** A part of the map without which it serves nobody. */
const HALF = 0.5;

/** Calibrations with which no count is taken as saturated. */
export function withoutSaturation(calibrations: RampCalibrations): RampCalibrations {
  const { rows, cols } = calibrations.saturation;
  const never = { data: sharedF32(cols).fill(Infinity), rows, cols, rowStride: 0 };
  const { linearity } = calibrations;
  return {
    ...calibrations,
    saturation: never,
    saturationFraction: 1,
    ...(linearity && { linearity: { ...linearity, limit: never } }),
  };
}

async function build(context: BuildContext): Promise<BuiltCalibration[]> {
  const { inputs, instrument, threads, limits, control, params } = context;
  const { ramp, own } = splitParams(context.kernelParams);
  const options = rampOptions({ threads, params: ramp, dropReads: 0, reset: 'drop', off: ['linearise'] });
  const calibrations = withoutSaturation(context.calibrations);
  const plateau = checkParams(kernelNamed('find-plateau'), own['find-plateau'] ?? {});
  const steps = SATURATION_STEPS.map((step) => ({ ...step, params: plateau }));
  const remarks: string[] = [];
  let builder: SaturationBuilder | undefined;
  let dataFrom: number | undefined;
  let dataTo: number | undefined;
  for (const [i, { path, identity }] of inputs.entries()) {
    context.progress(i);
    const raw = openFits(path, { limits });
    let zero: Float32Array;
    try {
      expectType(raw, 'flat');
      const facts = await gatherRamp(
        raw,
        { instrument, identity, calibrations, options, fits: { limits }, ...(control && { control }) },
        {
          at: 'counts',
          arrays: ({ rows, cols }) => {
            builder ??= new SaturationBuilder({ rows, cols, border: instrument.geometry.border }, threads);
            sameRows(builder.shape.rows, rows, path, inputs[0]?.path);
            return builder.slot();
          },
          steps,
        },
      );
      zero = facts.zero;
      dataFrom ??= facts.times.first;
      if (facts.times.last !== undefined) dataTo = facts.times.last + facts.times.readSeconds / 86_400;
    } finally {
      raw.close();
    }
    if ((await builder?.taken(zero)) === 0) remarks.push(`${basename(path)} fills no pixel`);
  }
  const made = await (builder as SaturationBuilder).finish(calibrations.readNoise, Number(plateau.window));
  if (inputs.length === 1) remarks.push('one flat: what the zero point does from exposure to exposure is not known');
  if (made.covered < (params.fewest as number)) {
    remarks.push(`${(100 * (1 - made.covered)).toFixed(2)} % of the pixels are full in no flat`);
  }
  return [
    {
      kind: 'saturation',
      grade: made.covered < HALF ? 'fail' : remarks.length > 0 ? 'warn' : 'pass',
      remarks,
      cards: [['COVERED', made.covered, 'part of the light-sensitive pixels with a value']],
      hdus: hdusOf(made),
      facts: {
        meansDn: made.means,
        covered: made.covered,
        levelErrorsDn: made.levelErrors,
        ...countsOf(made.bits, ['NO_CALIBRATION']),
      },
      dataFrom,
      dataTo,
    },
  ];
}

function hdusOf({ rows, cols, level, error, dq, means, levelErrors }: Saturation): BuiltCalibration['hdus'] {
  const shape = [rows, cols];
  return [
    { name: 'SATURATION', data: level, shape, header: [['BUNIT', 'DN', 'raw counts']] },
    { name: 'ERR', data: error, shape, header: [['BUNIT', 'DN', 'unit of the pixels']] },
    { name: 'DQ', data: dq, shape, header: [['COMMENT', 'Bits are explained in the DQ_DEF table.']] },
    {
      kind: 'table',
      name: 'AMPLIFIER',
      columns: [
        { name: 'AMP', values: Int32Array.from(means, (_, i) => i + 1) },
        { name: 'MEAN', unit: 'DN', values: Float64Array.from(means) },
        { name: 'LEVELERR', unit: 'DN', values: Float64Array.from(levelErrors) },
      ],
      header: [['COMMENT', 'Robust mean of the plateaus, and what the zero points leave in it.']],
    },
  ];
}
