/** `calib build one-over-f`: weights of the 1/f correction from darks. */
import { DARK_DROPPED_READS, fitOneOverF } from '../../stages/ramp/index.js';
import type { CalibrationBuilder } from './builder.js';

export const oneOverF: CalibrationBuilder = {
  word: 'one-over-f',
  kinds: ['oneoverf'],
  summary: 'weights of the 1/f correction from darks',
  role: 'dark',
  params: [],
  rampChain: false,
  kernels: ['gather-row-means'],
  async build({ inputs, instrument, threads, limits, control, progress }) {
    const { cards, hdus, fit } = await fitOneOverF(inputs, instrument, {
      threads,
      fits: { limits },
      control,
      onDark: progress,
    });
    return [
      {
        kind: 'oneoverf',
        grade: 'pass',
        remarks: [],
        cards: [...cards, ['DROPPED', DARK_DROPPED_READS, 'reads dropped at the start of each dark']],
        hdus,
        facts: { explained: fit.explained, maxFrequencyHz: fit.maxFrequencyHz },
      },
    ];
  },
};
