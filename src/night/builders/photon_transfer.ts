/** `calib build photon-transfer`: gain and read noise from darks and pairs of flats. */
import { basename } from 'node:path';
import { AlgorithmError, InputError } from '../../core/errors.js';
import { type FitsFile, openFits } from '../../fits/index.js';
import {
  type AmplifierTransfer,
  type PhotonTransfer,
  PhotonTransferBuilder,
} from '../../stages/calibrations/photon_transfer.js';
import { gatherRamp, rampOptions } from '../../stages/ramp/index.js';
import { refuseCopy } from '../copies.js';
import type { BuiltCalibration, CalibrationBuilder } from './builder.js';
import { CUBE_PAYS_FROM, exposureType, splitParams } from './raw.js';

/** Pair differences and second differences that differ by more of their errors than this do not measure the same thing. */
const MOST_SIGMAS = 4;

function amplifierTable(amplifiers: readonly AmplifierTransfer[]): BuiltCalibration['hdus'][number] {
  const column = (name: string, unit: string | undefined, value: (one: AmplifierTransfer) => number) => ({
    name,
    ...(unit !== undefined && { unit }),
    values: Float64Array.from(amplifiers, value),
  });
  return {
    kind: 'table',
    name: 'AMPLIFIER',
    columns: [
      { name: 'AMP', values: Int32Array.from(amplifiers, (_, a) => a + 1) },
      column('GAIN', 'electron/DN', ({ gain }) => gain.value),
      column('GAIN_ERR', 'electron/DN', ({ gain }) => gain.error),
      column('PAIRGAIN', 'electron/DN', ({ pairGain }) => pairGain.value),
      column('PAIRGAIN_ERR', 'electron/DN', ({ pairGain }) => pairGain.error),
      column('READNOISE', 'DN', ({ readNoise }) => readNoise.value),
      column('READNOISE_ERR', 'DN', ({ readNoise }) => readNoise.error),
      column('GAIN_SCATTER', undefined, ({ gainScatter }) => gainScatter.value),
      column('GAIN_SCATTER_ERR', undefined, ({ gainScatter }) => gainScatter.error),
      column('NOISE_SCATTER', undefined, ({ noiseScatter }) => noiseScatter.value),
      column('NOISE_SCATTER_ERR', undefined, ({ noiseScatter }) => noiseScatter.error),
      { name: 'NGAIN', values: Int32Array.from(amplifiers, ({ gainPixels }) => gainPixels) },
      { name: 'NNOISE', values: Int32Array.from(amplifiers, ({ noisePixels }) => noisePixels) },
      { name: 'NUNLIT', values: Int32Array.from(amplifiers, ({ unlit }) => unlit) },
    ],
    header: [
      ['COMMENT', 'GAIN from second differences of reads, PAIRGAIN from differences of flats.'],
      ['COMMENT', 'Scatters are relative, of pixels, errors taken off; where not seen: their error.'],
      ['COMMENT', 'NUNLIT pixels have no estimate of their own: the gain of their amplifier.'],
    ],
  };
}

function judged({ amplifiers }: PhotonTransfer, linear: boolean) {
  const apart = amplifiers.flatMap(({ gain, pairGain, tooShort }, a) => {
    if (tooShort) {
      return [
        `amplifier ${a + 1}: flats are too short for the gains of single pixels; all have ${gain.value.toFixed(4)} electron/DN, from pairs of flats`,
      ];
    }
    const sigmas = Math.abs(gain.value - pairGain.value) / Math.hypot(gain.error, pairGain.error);
    if (sigmas <= MOST_SIGMAS) return [];
    const [one, other] = [gain.value, pairGain.value].map((v) => v.toFixed(4));
    return [
      Number.isFinite(sigmas)
        ? `amplifier ${a + 1}: second differences give ${one} electron/DN, pairs of flats ${other}: ${sigmas.toFixed(1)} sigma apart`
        : `amplifier ${a + 1}: no photon transfer curve to compare with`,
    ];
  });
  if (!linear) apart.push('counts were not corrected for nonlinearity: gains are extrapolated to the zero of counts');
  return { grade: apart.length > 0 ? ('warn' as const) : ('pass' as const), remarks: apart };
}

/** undefined for what is neither; flats of any kind of lamp will do. */
function kindOf(file: FitsFile): 'dark' | 'flat' | undefined {
  const type = exposureType(file).toLowerCase();
  return type.endsWith('dark') ? 'dark' : type.endsWith('flat') ? 'flat' : undefined;
}

export const photonTransfer: CalibrationBuilder = {
  word: 'photon-transfer',
  kinds: ['gain', 'readnoise'],
  summary: 'gain and read noise from darks and pairs of flats',
  role: 'dark or flat',
  params: [
    {
      name: 'lowGain',
      type: 'float',
      min: 0.01,
      max: 1000,
      default: 0.5,
      unit: 'electron/DN',
      doc: 'least plausible gain',
    },
    {
      name: 'highGain',
      type: 'float',
      min: 0.01,
      max: 1000,
      default: 10,
      unit: 'electron/DN',
      doc: 'largest plausible gain',
    },
    { name: 'lowNoise', type: 'float', min: 0, max: 1000, default: 1, unit: 'DN', doc: 'least plausible read noise' },
    {
      name: 'highNoise',
      type: 'float',
      min: 0.01,
      max: 1000,
      default: 50,
      unit: 'DN',
      doc: 'largest plausible read noise',
    },
    {
      name: 'clip',
      type: 'float',
      min: 3,
      max: 1000,
      default: 6,
      doc: 'standard deviations beyond which second differences are left out: cosmic rays',
    },
    {
      name: 'noisy',
      type: 'float',
      min: 0,
      max: 1000,
      default: 6,
      doc: 'standard deviations above its amplifier from which a pixel is NOISY',
    },
  ],
  rampChain: true,
  kernels: ['gather-variances', 'sample-counts', 'pair-variances', 'fit-transfer'],
  async build({
    instrument,
    inputs,
    params,
    kernelParams,
    calibrations,
    directories,
    threads,
    limits,
    control,
    progress,
  }) {
    const value = (name: string) => params[name] as number;
    const linear = calibrations.linearity !== undefined;
    const stage = new PhotonTransferBuilder({
      linear,
      gainRange: [value('lowGain'), value('highGain')],
      noiseRange: [value('lowNoise'), value('highNoise')],
      clip: value('clip'),
      noisy: value('noisy'),
      border: instrument.geometry.border,
      cols: instrument.geometry.cols,
      threads,
    });
    const { ramp } = splitParams(kernelParams);
    const options = rampOptions({
      threads,
      off: ['linearise'],
      params: ramp,
      lowMemory: inputs.length < CUBE_PAYS_FROM,
    });
    const times: number[] = [];
    const counts = { dark: 0, flat: 0 };
    const seconds: Record<string, number> = {};
    for (const [i, { path, identity }] of inputs.entries()) {
      progress(i);
      const file = openFits(path, { limits });
      const kind = kindOf(file);
      if (kind === undefined) {
        file.close();
        throw new InputError(`expected a dark or a flat, the header says '${exposureType(file)}'`, { file: path });
      }
      const steps = kind === 'dark' ? stage.dark(path) : stage.flat(path);
      const context = { instrument, identity, calibrations, options, fits: { limits }, ...(control && { control }) };
      const facts = await gatherRamp(file, context, { at: 'differences', ...steps });
      for (const { name, seconds: time } of facts.report.timings) seconds[name] = (seconds[name] ?? 0) + time;
      if (kind === 'flat') await stage.addFlat(basename(path), facts);
      counts[kind]++;
      for (const time of [facts.times.first, facts.times.last]) if (time !== undefined) times.push(time);
    }
    const { tele, chip } = (inputs[0] as (typeof inputs)[number]).identity;
    const found = await stage.finish().catch((error: unknown) => {
      // What is wrong with the whole lot is told with the detector that it is of.
      if (error instanceof AlgorithmError && error.context.file === undefined)
        throw new AlgorithmError(`${tele} chip ${chip}: ${error.message}`);
      throw error;
    });
    const { rows, cols, amplifiers } = found;
    const { grade, remarks } = judged(found, linear);
    const shape = [rows, cols];
    const common = {
      seconds: { ...seconds, ...stage.seconds },
      grade,
      remarks,
      ...(times.length > 0 && { dataFrom: Math.min(...times), dataTo: Math.max(...times) }),
      cards: [
        ['NDARK', counts.dark, 'darks'],
        ['NFLAT', counts.flat, 'flats'],
        ['NPAIR', found.pairs, 'pairs of flats'],
        ['LINEAR', linear, 'counts were corrected for nonlinearity'],
      ] as const,
    };
    const image = (name: string, data: Float32Array, unit: string) => ({
      name,
      data,
      shape,
      header: [['BUNIT', unit]] as const,
    });
    for (const [kind, name, data] of [
      ['gain', 'GAIN', found.gain],
      ['readnoise', 'READNOISE', found.noise],
    ] as const) {
      await refuseCopy({ kind, identity: { tele, chip }, name, data, rows, cols }, directories, { threads, limits });
    }
    const products: readonly BuiltCalibration[] = [
      {
        kind: 'gain',
        ...common,
        hdus: [
          image('GAIN', found.gain, 'electron/DN'),
          image('ERR', found.gainError, 'electron/DN'),
          { name: 'DQ', data: found.gainDq, shape },
          amplifierTable(amplifiers),
        ],
        facts: {
          gain: amplifiers.map(({ gain }) => gain.value),
          error: amplifiers.map(({ gain }) => gain.error),
          pairGain: amplifiers.map(({ pairGain }) => pairGain.value),
          pairError: amplifiers.map(({ pairGain }) => pairGain.error),
          scatter: amplifiers.map(({ gainScatter }) => gainScatter.value),
          unlit: amplifiers.map(({ unlit }) => unlit),
          pairs: found.pairs,
          ...(stage.unpaired.length > 0 && { withoutPartner: stage.unpaired.join(', ') }),
        },
      },
      {
        kind: 'readnoise',
        ...common,
        // What is doubtful about gains is not about this.
        grade: 'pass',
        remarks: [],
        hdus: [
          image('READNOISE', found.noise, 'DN'),
          image('ERR', found.noiseError, 'DN'),
          { name: 'DQ', data: found.noiseDq, shape },
          amplifierTable(amplifiers),
        ],
        facts: {
          readNoise: amplifiers.map(({ readNoise }) => readNoise.value),
          error: amplifiers.map(({ readNoise }) => readNoise.error),
          scatter: amplifiers.map(({ noiseScatter }) => noiseScatter.value),
        },
      },
    ];
    return products;
  },
};
