/** Puts a scene onto the pixels. */
import { runKernel } from '../engine/index.js';
import { STREAM } from './detector.js';
import { type Seed, Sequence } from './math.js';
import { drawPattern, multiplyByPattern, type PatternLimits } from './pattern.js';
import type { Scene } from './scene.js';
import { COLUMNS, FIBRES, FINE_SAMPLES } from './traces.js';

/** Scattered light is within about 70 % of its mean: brighter on one side, with ghosts as large as a quarter of the chip. */
const SCATTERED: PatternLimits = { gradient: 0.3, bumps: 3, height: 0.3, width: [0.3, 0.7] };

interface Sheet {
  readonly rows: number;
  /** Values from one row to the next: 2048 or more. */
  readonly stride: number;
  readonly threads: number;
}

/** Fills the science columns of `light` [e-/read] with the scattered light of a scene. `seed` is the detector's. */
export async function paintScattered(scene: Scene, light: Float32Array, seed: Seed, sheet: Sheet): Promise<void> {
  const { rows, stride, threads } = sheet;
  light.fill(scene.scattered);
  if (scene.scattered === 0) return;
  const pattern = drawPattern(new Sequence(seed, STREAM.scattered), SCATTERED);
  await multiplyByPattern(light, rows, pattern, threads, stride);
}

/** Fills the science columns of `light` [e-/read] with a scene: its scattered light and its fibres. */
export async function paintScene(scene: Scene, light: Float32Array, seed: Seed, sheet: Sheet): Promise<void> {
  const { rows, stride, threads } = sheet;
  await paintScattered(scene, light, seed, sheet);
  const fibres = (data: Float32Array) => ({ data, rows: FIBRES, cols: COLUMNS });
  const table = (data: Float32Array) => ({ data, rows: FIBRES, cols: FINE_SAMPLES });
  await runKernel(
    'mock-scene',
    {
      flux: fibres(scene.flux),
      centre: fibres(scene.centre),
      width: fibres(scene.width),
      low: { data: scene.low, cols: FIBRES },
      high: { data: scene.high, cols: FIBRES },
      left: table(scene.tables.left),
      right: table(scene.tables.right),
      rate: { data: light, rows, cols: COLUMNS, rowStride: stride },
    },
    {},
    { threads, strip: COLUMNS },
  );
}
