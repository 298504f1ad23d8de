/**
 * The page of an exposure with light of fibres, flats among them: traces over the image, throughputs, residuals, profiles, spectra and a
 * verdict, of all its chips. The product `qa-{tele}-{mjd}-{exposure}.fits` has the numbers in a table; the page (.html) and the numbers
 * for programs (.json) are beside it.
 */
import { hasSpectra, isTraceFlat } from '../spectra_takes.js';
import type { JobShape, Prediction, Stage } from '../stage.js';
import { thresholdsHash } from './thresholds.js';

/** Layout of the product and of the page; raise it when a reader could notice. */
export const QA_PAGE_SCHEMA = 'qa-spectra/1';

/** Image, errors, bits, weights, image without scattered light, model and residuals, and the bytes of the file. */
const BYTES_PER_PIXEL = 40;
/** Chips of which images are in memory: that of the one before stays until it is collected. */
const CHIPS_AT_ONCE = 2;
/** Traces and spectra of 300 fibres of 2048 columns: measured: some 36 images, and profiles. */
const TABLE_BYTES = 36 * 300 * 2048 * 4;
/** Measured: a second for a chip of 2048 x 2048. */
const SECONDS_PER_PIXEL = 2.2e-7;
const FIXED_SECONDS = 0.1;
/** Page and numbers. */
const PRODUCT_BYTES = 1_300_000;

function predict({ inputs }: JobShape): Prediction {
  const pixels = inputs.filter(({ role }) => role === 'image').map(({ rows, cols }) => rows * cols);
  return {
    cpuSeconds: FIXED_SECONDS + SECONDS_PER_PIXEL * pixels.reduce((sum, n) => sum + n, 0),
    peakBytes:
      Math.min(CHIPS_AT_ONCE, pixels.length) * BYTES_PER_PIXEL * Math.max(0, ...pixels) +
      TABLE_BYTES +
      10 * PRODUCT_BYTES,
    diskBytes: PRODUCT_BYTES,
  };
}

export const stage: Stage = {
  name: 'qa',
  prefix: 'qa',
  summary:
    'Draws the page of an exposure: traces over the image, throughputs, residuals, profiles, spectra, and a verdict.',
  schema: QA_PAGE_SCHEMA,
  scope: 'exposure',
  takes: hasSpectra,
  inputs: [
    { role: 'image', from: ['calibrate'], least: 1 },
    { role: 'spectra', from: ['extract'], least: 1 },
    { role: 'traces', from: ['trace'], of: isTraceFlat, least: 1 },
    { role: 'gate', from: ['classify'], gate: true },
  ],
  kernels: [
    'average-cells',
    'compare-maps',
    'count-flags',
    'evaluate-illumination',
    'fit-background',
    'histogram',
    'measure-quartiles',
    'paint-model',
    'stretch-asinh',
    'subtract-images',
    'weigh-pixels',
  ],
  parameters: { limits: thresholdsHash() },
  predict,
  body: async () => (await import('./spectra/body.js')).drawSpectra,
};
