/**
 * What the fibres of an exposure should look like by their traces, profiles and light, and what the image has beside it. One product
 * for each flat and chip, `model-{tele}-{mjd}-{chip}-{exposure}.fits`; by hand for any exposure.
 */
import { isTraceFlat } from '../spectra_takes.js';
import type { JobShape, Prediction, Stage } from '../stage.js';

/** Layout of the product; raise it when a reader could notice. */
export const MODEL_SCHEMA = 'model/1';

/** CPU time of a pixel, most of it look-ups of profiles; and what is independent of them. */
const SECONDS_PER_PIXEL = 2.5e-7;
const FIXED_SECONDS = 0.2;
/** Measured: image, error, weights, bits, the images that are made of them, and the bytes of the files. */
const BYTES_PER_PIXEL = 54;
/** Traces, spectra and profiles of 300 fibres. */
const FIXED_BYTES = 60e6;
/**
 * Three images, float32; headers and tables. Not compressed: most bits of them are noise, and GZIP_2 would save 23 % of the file for
 * half as much CPU time again.
 */
const STORED_PER_PIXEL = 12;
const STORED_BYTES = 100_000;

function predict({ inputs }: JobShape): Prediction {
  const pixels = Math.max(0, ...inputs.map(({ rows, cols }) => rows * cols));
  return {
    cpuSeconds: FIXED_SECONDS + SECONDS_PER_PIXEL * pixels,
    peakBytes: FIXED_BYTES + BYTES_PER_PIXEL * pixels,
    diskBytes: STORED_BYTES + STORED_PER_PIXEL * pixels,
  };
}

export const stage: Stage = {
  name: 'model',
  prefix: 'model',
  summary: 'Paints what the fibres send by their traces, profiles and light, and what the image has beside it.',
  schema: MODEL_SCHEMA,
  scope: 'chip',
  takes: isTraceFlat,
  inputs: [
    { role: 'image', from: ['calibrate'] },
    { role: 'traces', from: ['trace'] },
  ],
  kernels: [
    'paint-model',
    'fit-background',
    'evaluate-illumination',
    'subtract-images',
    'extract-joint',
    'weigh-pixels',
  ],
  predict,
  body: async () => (await import('./body.js')).model,
};
