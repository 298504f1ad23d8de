/** `calib build linearity`: the nonlinearity of each pixel from flats. */
import { openFits } from '../../fits/index.js';
import { type AmplifierLinearity, LinearityBuilder } from '../../stages/calibrations/linearity.js';
import { gatherRamp, rampOptions } from '../../stages/ramp/index.js';
import { refuseCopy } from '../copies.js';
import type { BuiltCalibration, CalibrationBuilder } from './builder.js';
import { CUBE_PAYS_FROM, expectType, splitParams } from './raw.js';

function amplifierTable(amplifiers: readonly AmplifierLinearity[]): BuiltCalibration['hdus'][number] {
  const column = (name: string, unit: string | undefined, value: (one: AmplifierLinearity) => number) => ({
    name,
    ...(unit !== undefined && { unit }),
    values: Float64Array.from(amplifiers, value),
  });
  const count = (name: string, value: (one: AmplifierLinearity) => number) => ({
    name,
    values: Int32Array.from(amplifiers, value),
  });
  return {
    kind: 'table',
    name: 'AMPLIFIER',
    columns: [
      { name: 'AMP', values: Int32Array.from(amplifiers, (_, a) => a + 1) },
      column('C2', '1/DN', ({ c2 }) => c2.value),
      column('C2_ERR', '1/DN', ({ c2 }) => c2.error),
      column('C2_SCATTER', '1/DN', ({ c2 }) => c2.scatter),
      column('C3', '1/DN2', ({ c3 }) => c3.value),
      column('C3_ERR', '1/DN2', ({ c3 }) => c3.error),
      column('C3_SCATTER', '1/DN2', ({ c3 }) => c3.scatter),
      column('LIMIT', 'DN', ({ limit }) => limit),
      count('NPIX', ({ pixels }) => pixels),
      count('NUNMEASURED', ({ unmeasured }) => unmeasured),
      count('NODD', ({ odd }) => odd),
    ],
    header: [
      ['COMMENT', 'SCATTER: of pixels, errors taken off; where it is not seen, its error.'],
      ['COMMENT', 'NUNMEASURED pixels have the coefficients of their amplifier.'],
      ['COMMENT', 'NODD pixels are not like their amplifier and have none.'],
    ],
  };
}

export const linearity: CalibrationBuilder = {
  word: 'linearity',
  kinds: ['linearity'],
  summary: 'nonlinearity of each pixel from flats, the deeper the better',
  role: 'flat',
  params: [
    {
      name: 'dropReads',
      type: 'int',
      min: 0,
      max: 1000,
      default: 4,
      doc: 'reads dropped at the start: two, enough for rates, leave 0.4 DN of a settling of 60 DN, which changes c2 and c3 by 1 %',
    },
    {
      name: 'clip',
      type: 'float',
      min: 3,
      max: 1000,
      default: 6,
      doc: 'standard deviations beyond which second differences are cosmic rays',
    },
    {
      name: 'outlier',
      type: 'float',
      min: 3,
      max: 1000,
      default: 8,
      doc: 'standard deviations from its amplifier beyond which a pixel has no value',
    },
  ],
  rampChain: true,
  kernels: ['gather-linearity', 'fit-linearity'],
  async build(context) {
    const { instrument, inputs, params, kernelParams, calibrations, threads, limits, control } = context;
    const stage = new LinearityBuilder({
      cols: instrument.geometry.cols,
      border: instrument.geometry.border,
      clip: params.clip as number,
      outlier: params.outlier as number,
      threads,
    });
    const { ramp } = splitParams(kernelParams);
    const options = rampOptions({
      threads,
      dropReads: params.dropReads as number,
      off: ['linearise'],
      params: ramp,
      lowMemory: inputs.length < CUBE_PAYS_FROM,
    });
    const times: number[] = [];
    const seconds: Record<string, number> = {};
    for (const [i, { path, identity }] of inputs.entries()) {
      context.progress(i);
      const file = openFits(path, { limits });
      try {
        expectType(file, 'flat');
        const ramped = { instrument, identity, calibrations, options, fits: { limits }, ...(control && { control }) };
        const facts = await gatherRamp(file, ramped, { at: 'counts', ...stage.flat(path) });
        for (const { name, seconds: time } of facts.report.timings) seconds[name] = (seconds[name] ?? 0) + time;
        for (const time of [facts.times.first, facts.times.last]) if (time !== undefined) times.push(time);
      } finally {
        file.close();
      }
    }
    const { rows, cols, amplifiers, inflation, ...images } = await stage.finish();
    const { identity } = inputs[0] as (typeof inputs)[number];
    const map = { kind: 'linearity', identity, name: 'C2', data: images.c2, rows, cols };
    await refuseCopy(map, context.directories, { threads, limits });
    const image = (name: string, data: Float32Array, unit: string) => ({
      name,
      data,
      shape: [rows, cols],
      header: [['BUNIT', unit]] as const,
    });
    const made: BuiltCalibration = {
      kind: 'linearity',
      grade: 'pass',
      remarks: [],
      seconds: { ...seconds, ...stage.seconds },
      ...(times.length > 0 && { dataFrom: Math.min(...times), dataTo: Math.max(...times) }),
      cards: [
        ['NFLAT', inputs.length, 'flats'],
        ['INFLATE', inflation, 'errors of amplifiers were too small by this'],
      ],
      hdus: [
        image('C2', images.c2, '1/DN'),
        image('C3', images.c3, '1/DN2'),
        image('LIMIT', images.limit, 'DN'),
        image('C2ERR', images.c2Error, '1/DN'),
        image('C3ERR', images.c3Error, '1/DN2'),
        { name: 'DQ', data: images.dq, shape: [rows, cols] },
        amplifierTable(amplifiers),
      ],
      facts: {
        c2: amplifiers.map(({ c2 }) => c2.value),
        c2Error: amplifiers.map(({ c2 }) => c2.error),
        c2Scatter: amplifiers.map(({ c2 }) => c2.scatter),
        c3: amplifiers.map(({ c3 }) => c3.value),
        c3Error: amplifiers.map(({ c3 }) => c3.error),
        c3Scatter: amplifiers.map(({ c3 }) => c3.scatter),
        limitDn: amplifiers.map(({ limit }) => limit),
        unmeasured: amplifiers.map(({ unmeasured }) => unmeasured),
        odd: amplifiers.map(({ odd }) => odd),
        inflation,
        // 1/f noise and the zero point's error are in it too.
        inverseGain: amplifiers.map(({ inverseGain }) => inverseGain),
      },
    };
    return [made];
  },
};
