/** `calib build persistence`: what a bright flat leaves in the traps, from the darks after it. */
import { basename } from 'node:path';
import { InputError } from '../../core/errors.js';
import { mjdFromIso } from '../../core/time.js';
import { checkParams, kernelNamed } from '../../engine/index.js';
import { openFits } from '../../fits/index.js';
import {
  type DarkTimes,
  MOST_DARKS,
  PERSISTENCE_KERNELS,
  PERSISTENCE_PARAMS,
  PERSISTENCE_STEPS,
  type Persistence,
  PersistenceBuilder,
  type TimeConstant,
} from '../../stages/calibrations/persistence.js';
import { gatherRamp, type RampExtension, type RampFacts, rampLayout, rampOptions } from '../../stages/ramp/index.js';
import type { BuildContext, BuildInput, BuiltCalibration, CalibrationBuilder } from './builder.js';
import { sameRows } from './first_read.js';
import { countsOf, expectType, exposureType, splitParams } from './raw.js';
import { withoutSaturation } from './saturation.js';

const SECONDS_PER_DAY = 86_400;
/** Stamps of exposures wander by some tenths of a second; a dark that begins earlier than this was not after the flat. */
const OVERLAP_SECONDS = 2;

export const persistence: CalibrationBuilder = {
  word: 'persistence',
  kinds: ['persistence'],
  summary: 'map and decay of the persistence from a bright flat and the darks after it',
  role: 'flat or dark',
  params: PERSISTENCE_PARAMS,
  rampChain: true,
  kernels: PERSISTENCE_KERNELS,
  build,
};

/**
 * The flat and its darks, in the order of time.
 * @throws InputError where the first is no flat, another is no dark, none is there or a file does not say when it began
 */
function inOrder({ inputs, limits }: BuildContext): [BuildInput, BuildInput[]] {
  const begun = inputs.map((input) => {
    const file = openFits(input.path, { limits });
    try {
      const text = rampLayout(file).reads[0]?.header.string('DATE-OBS', '') ?? '';
      const start = mjdFromIso(text);
      if (start === undefined) {
        throw new InputError(`expected DATE-OBS to say when the exposure began, received '${text}'`, {
          file: input.path,
        });
      }
      return { input, start, type: exposureType(file) };
    } finally {
      file.close();
    }
  });
  begun.sort((a, b) => a.start - b.start);
  const [flat, ...darks] = begun as [(typeof begun)[number], ...typeof begun];
  if (!/flat$/i.test(flat.type)) {
    throw new InputError(
      `expected a bright flat and then darks: the earliest exposure, ${basename(flat.input.path)}, says '${flat.type}'`,
      { file: flat.input.path },
    );
  }
  if (darks.length === 0) {
    throw new InputError('expected darks after the flat, received none', { file: flat.input.path });
  }
  if (darks.length > MOST_DARKS) {
    throw new InputError(`expected at most ${MOST_DARKS} darks after the flat, received ${darks.length}`);
  }
  return [flat.input, darks.map(({ input }) => input)];
}

async function build(context: BuildContext): Promise<BuiltCalibration[]> {
  const { instrument, threads, limits, control, params, calibrations } = context;
  const { ramp, own } = splitParams(context.kernelParams);
  const [flat, darks] = inOrder(context);
  const project = checkParams(kernelNamed('project-reads'), own['project-reads'] ?? {});
  let builder: PersistenceBuilder | undefined;
  let done = 0;
  const gather = async (
    { path, identity }: BuildInput,
    isFlat: boolean,
    arrays: (builder: PersistenceBuilder, reads: number) => ReturnType<RampExtension['arrays']>,
  ): Promise<RampFacts> => {
    // The darks are read twice.
    context.progress(Math.min(Math.floor(done++ / 2), context.inputs.length - 1));
    const raw = openFits(path, { limits });
    try {
      expectType(raw, isFlat ? 'flat' : 'dark');
      return await gatherRamp(
        raw,
        {
          instrument,
          identity,
          calibrations: isFlat ? withoutSaturation(calibrations) : calibrations,
          options: rampOptions({ threads, params: ramp }),
          fits: { limits },
          ...(control && { control }),
        },
        {
          at: 'counts',
          arrays: ({ rows, cols, reads }) => {
            builder ??= new PersistenceBuilder({ rows, cols, border: instrument.geometry.border }, threads);
            sameRows(builder.shape.rows, rows, path, flat.path);
            return arrays(builder, reads);
          },
          steps: PERSISTENCE_STEPS.map((step) => ({ ...step, params: isFlat ? { clip: 0 } : project })),
        },
      );
    } finally {
      raw.close();
    }
  };
  const ofFlat = await gather(flat, true, (made, reads) => made.flatSlot(reads));
  const made = builder as unknown as PersistenceBuilder;
  made.flatTaken();
  const end = endOf(ofFlat, flat);
  const times: DarkTimes[] = [];
  let dataTo = end;
  for (const dark of darks) {
    const facts = await gather(dark, false, (one, reads) => one.stretchSlot(reads));
    const { first, readSeconds } = facts.times;
    // Times are of the reads used; the start of the exposure is that many reads earlier.
    const start = ((first ?? Number.NaN) - end) * SECONDS_PER_DAY;
    if (!(start - facts.firstRead * readSeconds >= -OVERLAP_SECONDS)) {
      throw new InputError(
        `expected it to begin after the flat ends, received a start ${start.toFixed(1)} s after that`,
        {
          file: dark.path,
        },
      );
    }
    times.push({ reads: facts.reads, start, readSeconds });
    dataTo = endOf(facts, dark);
    await made.stretchesTaken(times.at(-1) as DarkTimes);
  }
  const tau = made.timeConstant();
  for (const [i, dark] of darks.entries()) {
    const at = times[i] as DarkTimes;
    await gather(dark, false, (one) => one.fitSlot(at, tau.seconds));
    await made.fitTaken(at);
  }
  const map = await made.finish(calibrations.gain, calibrations.readNoise, tau.seconds, params.strong as number);
  return [product(map, tau, context, { dataFrom: ofFlat.times.first, dataTo })];
}

function endOf({ times: { last, readSeconds } }: RampFacts, { path }: BuildInput): number {
  if (last === undefined) throw new InputError('expected DATE-OBS in the headers of the reads', { file: path });
  return last + readSeconds / SECONDS_PER_DAY;
}

function product(
  { rows, cols, amplitude, error, dq, bits, fluence, fluenceError }: Persistence,
  tau: TimeConstant,
  { calibrations, params }: BuildContext,
  span: Pick<BuiltCalibration, 'dataFrom' | 'dataTo'>,
): BuiltCalibration {
  const remarks: string[] = [];
  if (!(tau.error < (params.tauError as number) * tau.seconds)) {
    remarks.push(`TAU is uncertain: ${tau.seconds.toFixed(0)} +- ${tau.error.toFixed(0)} s; later darks would tell`);
  }
  if (calibrations.linearity === undefined) {
    remarks.push(
      'no linearity calibration: the fluence is that of counts as they are, some per cent too small in full pixels',
    );
  }
  const shape = [rows, cols];
  return {
    kind: 'persistence',
    grade: remarks.length > 0 ? 'warn' : 'pass',
    remarks,
    cards: [
      ['TAU', tau.seconds, '[s] time constant'],
      ...(Number.isFinite(tau.error) ? [['TAUERR', tau.error, '[s] its error'] as const] : []),
      ['FLUENCE', fluence, '[DN] mean of the flat'],
      ['FLUERR', fluenceError, "[DN] error of a pixel's fluence"],
      ['STRONG', params.strong as number, '[1/read] PERSISTENCE above this'],
    ],
    hdus: [
      {
        name: 'AMPLITUDE',
        data: amplitude,
        shape,
        header: [['BUNIT', '1/read', 'rate(t) = AMPLITUDE fluence exp(-t/TAU)']],
      },
      { name: 'ERR', data: error, shape, header: [['BUNIT', '1/read', 'unit of the pixels']] },
      { name: 'DQ', data: dq, shape, header: [['COMMENT', 'Bits are explained in the DQ_DEF table.']] },
    ],
    facts: {
      tauSeconds: tau.seconds,
      tauError: tau.error,
      releaseDnPerRead: tau.release,
      fluenceDn: fluence,
      ...countsOf(bits, ['PERSISTENCE', 'NO_CALIBRATION']),
    },
    ...span,
  };
}
