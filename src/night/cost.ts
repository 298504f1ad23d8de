/** What jobs are expected to cost. */
import type { JobShape, Prediction } from '../stages/stage.js';

const pixels = ({ inputs }: JobShape): number =>
  inputs.reduce((sum, { reads, rows, cols }) => sum + reads * rows * cols, 0);
const image = ({ inputs }: JobShape): number => Math.max(0, ...inputs.map(({ rows, cols }) => rows * cols));

export function predictRamp(shape: JobShape, calibrate: boolean): Prediction {
  return {
    cpuSeconds: 5e-9 * pixels(shape),
    peakBytes: 2 * pixels(shape) + image(shape) * (calibrate ? 80 : 50),
    diskBytes: 18 * image(shape),
  };
}

export function predictBuild(shape: JobShape, _word: string): Prediction {
  const one = Math.max(0, ...shape.inputs.map(({ reads, rows, cols }) => reads * rows * cols));
  return { cpuSeconds: 5e-9 * pixels(shape), peakBytes: 2 * one + 200 * image(shape), diskBytes: 18 * image(shape) };
}
