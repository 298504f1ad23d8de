/** What a detector without noise would see of given spectra. */
import { PROFILE_NODES, PROFILE_SAMPLES, type Profile } from '../core/spectra.js';
import { runKernel } from '../engine/index.js';
import { filledUp, KERNEL_FIBRES } from './fibres.js';

export interface PaintInput {
  readonly rows: number;
  readonly cols: number;
  readonly fibres: number;
  /** [fibre][x] row, width in units of the profile, and light; what is not finite paints nothing. */
  readonly centre: Float32Array;
  readonly width: Float32Array;
  readonly flux: Float32Array;
  readonly profile: Profile;
  readonly threads?: number | undefined;
}

/** The light of all fibres, [row][x], in the unit of `flux`. */
export async function paintModel(input: PaintInput): Promise<Float32Array> {
  const { rows, cols, fibres, threads = 1 } = input;
  const model = new Float32Array(rows * cols);
  const fibre = (data: Float32Array, fill: number) => ({
    data: filledUp(data, fibres * cols, KERNEL_FIBRES * cols, fill),
    rows: KERNEL_FIBRES,
    cols,
  });
  const tables = PROFILE_NODES * PROFILE_SAMPLES;
  await runKernel(
    'paint-model',
    {
      centre: fibre(input.centre, Number.NaN),
      width: fibre(input.width, 1),
      flux: fibre(input.flux, 0),
      profile: {
        data: filledUp(input.profile.cumulative, fibres * tables, KERNEL_FIBRES * tables, 0),
        planes: KERNEL_FIBRES,
        rows: PROFILE_NODES,
        cols: PROFILE_SAMPLES,
      },
      model: { data: model, planes: rows, cols },
    },
    { columns: cols },
    { threads },
  );
  return model;
}
