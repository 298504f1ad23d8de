/**
 * Where the light of each fibre lies on a flat, how wide it is and how it is spread. One product for each flat and chip:
 * `trace-{tele}-{mjd}-{chip}-{exposure}.fits`, by which everything of the night is extracted.
 */
import type { FitsFile } from '../../fits/index.js';
import { isTraceFlat } from '../spectra_takes.js';
import type { JobShape, Prediction, Stage } from '../stage.js';
import { readTraceFacts, TRACE_SCHEMA } from '../trace_product.js';

/** CPU time of a chip of 2048 x 2048, and what of it does not depend on the rows. */
const SECONDS_PER_PIXEL = 7e-7;
const FIXED_SECONDS = 0.5;
/** Image, error, bits, weights, and the image without scattered light, as they are read and worked on. */
const BYTES_PER_PIXEL = 28;
/** Traces, their covariance and profiles of 300 fibres, and 45 MB of normal equations: 32 windows of 150 blocks. */
const FIXED_BYTES = 167e6;
/** Eleven maps of 300 fibres and 2048 columns, and the profiles. */
const PRODUCT_BYTES = 33e6;

function predict({ inputs }: JobShape): Prediction {
  const pixels = inputs.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  return {
    cpuSeconds: FIXED_SECONDS + SECONDS_PER_PIXEL * pixels,
    peakBytes: FIXED_BYTES + BYTES_PER_PIXEL * pixels,
    diskBytes: PRODUCT_BYTES,
  };
}

/** What is wrong with a finished product; empty: nothing. */
function saneTraces(file: FitsFile): readonly string[] {
  const findings: string[] = [];
  const { level, shift } = readTraceFacts(file);
  const { header } = file.hdu(0);
  const [fibres, ok] = [header.number('FIBRES', 0), header.number('NOK', 0)];
  const off = header.number('NOFFCHIP', 0);
  if (!(level > 0)) findings.push(`expected light in the fibres, received a level of ${level}`);
  if (ok < (fibres - off) / 2) findings.push(`expected half of ${fibres - off} fibres to be ok, ${ok} are`);
  if (!Number.isFinite(shift)) findings.push('expected a SHIFT against the metrology, there is none');
  return findings;
}

export const stage: Stage = {
  name: 'trace',
  prefix: 'trace',
  summary: 'Finds the fibres on a flat, tells which is which, and follows them: position, width, light and profile.',
  schema: TRACE_SCHEMA,
  scope: 'chip',
  takes: isTraceFlat,
  inputs: [{ role: 'image', from: ['calibrate'] }],
  kernels: [
    'weigh-pixels',
    'share-variance',
    'trace-find',
    'trace-fit',
    'smooth-traces',
    'draw-traces',
    'gather-profile',
    'solve-profile',
    'tabulate-profile',
    'fit-background',
    'evaluate-illumination',
    'subtract-images',
  ],
  /** Functions that profiles are made of: 'empirical' (free ones) or 'gauss-hermite'. */
  parameters: { profile: 'empirical' },
  predict,
  sane: saneTraces,
  body: async () => (await import('./body.js')).trace,
};
