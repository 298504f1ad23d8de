/**
 * What kind of light is in an exposure, from its pixels alone, and whether that is what its header says. One product for
 * each exposure: `class-{tele}-{mjd}-{exposure}.fits`, which gates what comes later.
 */
import type { JobShape, Prediction, Stage } from '../stage.js';
import { saneClass } from './product.js';
import { rulesHash } from './rules.js';

/** Layout of the product; raise it when a reader could notice. */
export const CLASS_SCHEMA = 'class/1';

/** Chips whose pixels are in memory at the same time. */
const CHIPS_AT_ONCE = 1;
/** SCI and DQ as they are read, and the bytes of the file beside them. */
const BYTES_PER_PIXEL = 16;
/** CPU time of a pixel: 0.1 s for three chips of 2048 x 2048, the stage's goal. */
const SECONDS_PER_PIXEL = 8e-9;
const FIXED_SECONDS = 0.01;
/** Thumbnails of three chips of 128 x 128 float32, tables and headers. */
const PRODUCT_BYTES = 250_000;

function predict({ inputs }: JobShape): Prediction {
  const pixels = inputs.map(({ rows, cols }) => rows * cols);
  const sum = pixels.reduce((all, n) => all + n, 0);
  return {
    cpuSeconds: FIXED_SECONDS + SECONDS_PER_PIXEL * sum,
    peakBytes: CHIPS_AT_ONCE * BYTES_PER_PIXEL * Math.max(0, ...pixels) + 10 * PRODUCT_BYTES,
    diskBytes: PRODUCT_BYTES,
  };
}

export const stage: Stage = {
  name: 'classify',
  prefix: 'class',
  summary: 'Finds what light is in an exposure, from its pixels alone, and compares it with the header.',
  schema: CLASS_SCHEMA,
  scope: 'exposure',
  takes: ({ kind }) => kind !== 'missing',
  inputs: [{ role: 'rates', from: ['calibrate', 'ramp'], least: 1 }],
  kernels: ['average-cells', 'measure-quartiles'],
  parameters: { rules: rulesHash() },
  predict,
  sane: saneClass,
  body: async () => (await import('./body.js')).classify,
};
