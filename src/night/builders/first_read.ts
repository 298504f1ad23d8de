/** `calib build first-read`: the reset anomaly from darks, as an offset of the first read and as an exponential. */
import { basename } from 'node:path';
import { InputError } from '../../core/errors.js';
import { openFits } from '../../fits/index.js';
import {
  FIRST_READ_KERNELS,
  FIRST_READ_STEPS,
  FirstReadBuilder,
  type ResetAnomaly,
} from '../../stages/calibrations/first_read.js';
import { gatherRamp, rampOptions } from '../../stages/ramp/index.js';
import type { BuildContext, BuiltCalibration, CalibrationBuilder } from './builder.js';
import { countsOf, expectType, splitParams } from './raw.js';

export const firstRead: CalibrationBuilder = {
  word: 'first-read',
  kinds: ['firstread', 'resetanomaly'],
  summary: 'offset of the first read and the decay of the reset anomaly from darks',
  role: 'dark',
  params: [],
  rampChain: true,
  kernels: FIRST_READ_KERNELS,
  build,
};

async function build(context: BuildContext): Promise<BuiltCalibration[]> {
  const { inputs, instrument, threads, limits, control, calibrations } = context;
  const { ramp } = splitParams(context.kernelParams);
  // Every read counts here, the first ones most.
  const options = rampOptions({ threads, params: ramp, dropReads: 0, reset: 'drop' });
  let builder: FirstReadBuilder | undefined;
  let dataFrom: number | undefined;
  let dataTo: number | undefined;
  for (const [i, { path, identity }] of inputs.entries()) {
    context.progress(i);
    const raw = openFits(path, { limits });
    try {
      expectType(raw, 'dark');
      const facts = await gatherRamp(
        raw,
        { instrument, identity, calibrations, options, fits: { limits }, ...(control && { control }) },
        {
          at: 'counts',
          arrays: ({ rows, cols, reads }) => {
            builder ??= new FirstReadBuilder({ rows, cols, border: instrument.geometry.border }, threads);
            sameRows(builder.shape.rows, rows, path, inputs[0]?.path);
            return builder.slot(reads);
          },
          steps: FIRST_READ_STEPS,
        },
      );
      dataFrom ??= facts.times.first;
      if (facts.times.last !== undefined) dataTo = facts.times.last + facts.times.readSeconds / 86_400;
    } finally {
      raw.close();
    }
    await builder?.taken();
  }
  const made = await (builder as FirstReadBuilder).finish(calibrations.gain, calibrations.readNoise);
  const common = { ...gradeOf(made), dataFrom, dataTo };
  const excess = made.excess.map((value, j): [string, number, string] => [
    `EXCESS${j}`,
    value,
    `[DN] mean of read ${j} above the later ones`,
  ]);
  const products: BuiltCalibration[] = [
    {
      ...common,
      kind: 'firstread',
      cards: excess,
      hdus: hdusOf(made, 'OFFSET', made.offset, made.offsetError),
      facts: {
        excessDn: made.excess,
        errorsDn: made.excessErrors,
        ...countsOf(made.bits, ['NO_CALIBRATION', 'NOISY']),
      },
    },
  ];
  if (made.tau !== undefined) {
    const { value, error } = made.tau;
    products.push({
      ...common,
      kind: 'resetanomaly',
      cards: [
        ['TAU', value, '[reads] time constant'],
        ...(Number.isFinite(error) ? [['TAUERR', error, '[reads] its error'] as const] : []),
        ...excess,
      ],
      hdus: hdusOf(made, 'AMPLITUDE', made.amplitude, made.amplitudeError),
      facts: { tauReads: value, tauError: error },
    });
  }
  return products;
}

/** @throws InputError for exposures of different sizes */
export function sameRows(expected: number, received: number, path: string, first = ''): void {
  if (expected === received) return;
  throw new InputError(`expected ${expected} rows as in ${basename(first)}, received ${received}`, { file: path });
}

const gradeOf = ({ remarks }: ResetAnomaly) => ({
  grade: remarks.length > 0 ? ('warn' as const) : ('pass' as const),
  remarks,
});

function hdusOf(
  { rows, cols, dq }: ResetAnomaly,
  name: string,
  data: Float32Array,
  error: Float32Array,
): BuiltCalibration['hdus'] {
  const shape = [rows, cols];
  return [
    { name, data, shape, header: [['BUNIT', 'DN', 'unit of the pixels']] },
    { name: 'ERR', data: error, shape, header: [['BUNIT', 'DN', 'unit of the pixels']] },
    { name: 'DQ', data: dq, shape, header: [['COMMENT', 'Bits are explained in the DQ_DEF table.']] },
  ];
}
