/** The ways to take spectra from an image, behind one interface: arrays in, arrays out. */

import { BugError, UsageError } from '../../core/errors.js';
import {
  type Decorrelated,
  type Extracted,
  type ExtractionMethod,
  PROFILE_NODES,
  PROFILE_SAMPLES,
  type Profile,
  RESOLUTION_PLANES,
} from '../../core/spectra.js';
import { type BoundArray, runKernel } from '../../engine/index.js';
import { NO_WEIGHT_BITS } from '../rates_image.js';

/** An image and where the fibres lie in it. */
export interface ExtractionInputs {
  readonly rows: number;
  readonly cols: number;
  readonly fibres: number;
  /** [row][x] [DN/read], background already taken off; what is not finite has no weight. */
  readonly image: Float32Array;
  /** [row][x] inverse variance; 0: no weight. */
  readonly ivar: Float32Array;
  /** [row][x] */
  readonly dq: Uint32Array;
  /** [fibre][x] rows, ascending from fibre to fibre. */
  readonly centre: Float32Array;
  /** [fibre][x] in units of the profile. */
  readonly width: Float32Array;
  readonly profile: Profile;
  /**
   * [fibre][x] bits of the trace: they join the spectrum's own. Where BROKEN_FIBRE, EXTRACTION_FAILED or NO_GOOD_PIXELS is
   * among them the fibre is left out: flux and ivar are 0 there, and its neighbours are solved without it.
   */
  readonly traceDq: Uint32Array;
}

/** What may be asked; not every method uses all. */
export interface ExtractionOptions {
  /** Bits of pixels that have no weight; `NO_WEIGHT_BITS`. */
  readonly bad?: number;
  /** Rows on each side of a trace that its light is looked for in: 'joint' and 'horne'; 2 to 16 (the whole profile, the default). */
  readonly reach?: number;
  /** 'joint' and 'horne': pixels this many standard deviations above the model of all fibres lose their weight; 0: none; 6. */
  readonly reject?: number;
  /** Error of the model as a part of the model, allowed for where pixels are rejected; 0.05. */
  readonly profileError?: number;
  /**
   * Variance of a pixel by photons for a rate of 1 DN/read [DN/read]: about 1.2 / (gain x differences) of a ramp fit. Given, the
   * weights are revised once by the model of all fibres, so that they do not follow the noise (Horne 1986, PASP 98, 609, step 5).
   * For variances that were made from each pixel's own rate; 0, the default: weights are used as they are.
   */
  readonly photonVariance?: number;
}

function checkSize(what: string, array: { readonly length: number }, expected: number): void {
  if (array.length !== expected) {
    throw new UsageError(`expected ${what} to have ${expected} values, received ${array.length}`);
  }
}

function check(inputs: ExtractionInputs): void {
  const { rows, cols, fibres, profile } = inputs;
  if (profile.fibres !== fibres || profile.nodes !== PROFILE_NODES || profile.samples !== PROFILE_SAMPLES) {
    const received = `${profile.fibres} x ${profile.nodes} x ${profile.samples}`;
    throw new UsageError(`expected profiles ${fibres} x ${PROFILE_NODES} x ${PROFILE_SAMPLES}, received ${received}`);
  }
  checkSize('the profiles', profile.cumulative, fibres * PROFILE_NODES * PROFILE_SAMPLES);
  for (const name of ['image', 'ivar', 'dq'] as const) checkSize(name, inputs[name], rows * cols);
  for (const name of ['centre', 'width', 'traceDq'] as const) checkSize(name, inputs[name], fibres * cols);
}

/**
 * Extracts the spectra of a chip.
 *
 * - `joint`: one least-squares solution a column for all fibres together (kernel extract-joint).
 * - `horne`: each fibre weighted by its profile, as if it were alone (extract-horne).
 * - `boxcar`: the sum of five rows (extract-boxcar).
 * - `upstream`: as ApogeeReduction.jl does it, two sweeps in which the light of neighbours is taken off (extract-upstream).
 *
 * @returns arrays [fibre][x]; flux 0 and ivar 0 where there is no value, with EXTRACTION_FAILED in dq
 * @throws UsageError where sizes do not fit
 */
export async function extractWith(
  method: ExtractionMethod,
  inputs: ExtractionInputs,
  options: ExtractionOptions = {},
): Promise<Extracted> {
  check(inputs);
  const { rows, cols, fibres } = inputs;
  const size = fibres * cols;
  // Rows of the detector are planes to these kernels: nothing cuts planes into blocks.
  const pixels = (data: Float32Array | Uint32Array): BoundArray => ({ data, planes: rows, cols });
  const spectra = (data: Float32Array | Uint32Array): BoundArray => ({ data, planes: fibres, cols });
  const out = { flux: new Float32Array(size), ivar: new Float32Array(size), dq: new Uint32Array(size) };
  const ports: Record<string, BoundArray> = {
    image: pixels(inputs.image),
    imageIvar: pixels(inputs.ivar),
    imageDq: pixels(inputs.dq),
    centre: spectra(inputs.centre),
    traceDq: spectra(inputs.traceDq),
    flux: spectra(out.flux),
    ivar: spectra(out.ivar),
    dq: spectra(out.dq),
  };
  const bad = options.bad ?? NO_WEIGHT_BITS;
  if (method === 'boxcar') {
    await runKernel('extract-boxcar', ports);
    return out;
  }
  const { cumulative, nodes, samples } = inputs.profile;
  const chi2 = new Float32Array(size);
  const crosstalk = new Float32Array(size);
  Object.assign(ports, {
    width: spectra(inputs.width),
    profile: { data: cumulative, planes: fibres, rows: nodes, cols: samples },
    chi2: spectra(chi2),
    crosstalk: spectra(crosstalk),
  });
  if (method === 'upstream') {
    await runKernel('extract-upstream', ports, { bad });
    return { ...out, chi2, crosstalk };
  }
  const { reach, reject, profileError, photonVariance } = options;
  const params = { bad, reach, reject, profileError, photonVariance };
  if (method === 'horne') {
    await runKernel('extract-horne', ports, params);
    return { ...out, chi2, crosstalk };
  }
  if (method !== 'joint') throw new BugError(`no extraction method "${String(method)}"`);
  const covariance = new Float32Array(2 * size);
  ports.next = spectra(covariance.subarray(0, size));
  ports.second = spectra(covariance.subarray(size));
  await runKernel('extract-joint', ports, params);
  return { ...out, covariance, chi2, crosstalk };
}

/**
 * The joint solution in its decorrelated form (kernel decorrelate-spectra), for the same inputs and options.
 *
 * @param joint flux and ivar as 'joint' gives them: ivar 0 leaves a fibre out
 * @throws UsageError where sizes do not fit
 */
export async function decorrelate(
  inputs: ExtractionInputs,
  joint: Pick<Extracted, 'flux' | 'ivar'>,
  options: ExtractionOptions = {},
): Promise<Decorrelated> {
  check(inputs);
  const { rows, cols, fibres, profile } = inputs;
  const size = fibres * cols;
  for (const name of ['flux', 'ivar'] as const) checkSize(name, joint[name], size);
  const pixels = (data: Float32Array | Uint32Array): BoundArray => ({ data, planes: rows, cols });
  const spectra = (data: Float32Array): BoundArray => ({ data, planes: fibres, cols });
  const out = { flux: new Float32Array(size), error: new Float32Array(size) };
  const resolution = new Float32Array(RESOLUTION_PLANES * size);
  const { bad = NO_WEIGHT_BITS, reach, reject, profileError, photonVariance } = options;
  await runKernel(
    'decorrelate-spectra',
    {
      image: pixels(inputs.image),
      imageIvar: pixels(inputs.ivar),
      imageDq: pixels(inputs.dq),
      centre: spectra(inputs.centre),
      width: spectra(inputs.width),
      profile: { data: profile.cumulative, planes: fibres, rows: profile.nodes, cols: profile.samples },
      flux: spectra(joint.flux),
      ivar: spectra(joint.ivar),
      decorrelated: spectra(out.flux),
      error: spectra(out.error),
      // A fibre's planes lie a whole image apart.
      resolution: {
        data: resolution,
        planes: fibres,
        rows: RESOLUTION_PLANES,
        cols,
        planeStride: cols,
        rowStride: size,
      },
    },
    { bad, reach, reject, profileError, photonVariance },
  );
  return { ...out, resolution };
}
