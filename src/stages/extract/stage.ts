/**
 * The spectra of all fibres of a chip: `1d-{tele}-{mjd}-{chip}-{exposure}.fits`. Everything with light is extracted, with the traces of
 * the nearest flat of the night, moved to the exposure.
 */
import { SPECTRA_SCHEMA, saneSpectra } from '../spectra_product.js';
import { hasSpectra, isTraceFlat } from '../spectra_takes.js';
import type { JobShape, Prediction, Stage } from '../stage.js';

/** Of the spectra of a full chip: nine images [300][2048] of four bytes. */
const SPECTRA_BYTES = 9 * 300 * 2048 * 4;
/** Read of the traces: six covariances and five images [300][2048], and profiles. */
const TRACE_BYTES = 11 * 300 * 2048 * 4 + 300 * 9 * 481 * 4;
/** Rates, errors, bits, weights, and the image without scattered light; and the bytes of the file. */
const BYTES_PER_PIXEL = 32;
/** Measured on full chips: reading, tweak, scattered light and the joint solution. */
const SECONDS_PER_PIXEL = 2.5e-7;
/** Measured: of a strip of few rows. */
const FIXED_BYTES = 10e6;
const FIXED_SECONDS = 0.05;

function predict({ inputs }: JobShape): Prediction {
  const pixels = inputs.filter(({ role }) => role === 'image').reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  return {
    cpuSeconds: FIXED_SECONDS + SECONDS_PER_PIXEL * pixels,
    peakBytes: BYTES_PER_PIXEL * pixels + TRACE_BYTES + FIXED_BYTES + 3 * SPECTRA_BYTES,
    diskBytes: SPECTRA_BYTES + 100_000,
  };
}

export const stage: Stage = {
  name: 'extract',
  prefix: '1d',
  summary: 'Takes the spectra of all fibres from a calibrated image, with the traces of a flat.',
  schema: SPECTRA_SCHEMA,
  scope: 'chip',
  takes: hasSpectra,
  inputs: [
    { role: 'image', from: ['calibrate'] },
    {
      role: 'traces',
      from: ['trace'],
      of: isTraceFlat,
      least: 1,
      none: 'no dome or quartz flat of the night is reduced: nothing says where the fibres lie',
    },
  ],
  fibreMap: true,
  kernels: [
    'weigh-pixels',
    'fit-background',
    'evaluate-illumination',
    'subtract-images',
    'trace-tweak',
    'move-traces',
    'extract-joint',
    'extract-horne',
    'extract-boxcar',
    'extract-upstream',
    'decorrelate-spectra',
    'finish-spectra',
  ],
  parameters: { method: 'joint', reach: 16, reject: 6, background: true, tweak: true, decorrelate: false },
  predict,
  sane: saneSpectra,
  body: async () => (await import('./body.js')).extract,
};
