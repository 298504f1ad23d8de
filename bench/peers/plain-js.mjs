/** Loops over typed arrays, as a careful programmer would write them. */
import { fitRamps } from './reference.mjs';
import { dataF32, KERNEL, RAMP, serve } from './rival.mjs';

await serve({
  kernel: () => {
    const x = dataF32('kernel.f32');
    const y = new Float32Array(x.length);
    const { c2, c3, limit } = KERNEL;
    return {
      run: () => {
        for (let i = 0; i < x.length; i++) {
          const v = x[i];
          y[i] = v <= limit ? v + v * v * (c2 + c3 * v) : Number.NaN;
        }
        return [y];
      },
    };
  },
  ramp: () => {
    const diffs = dataF32('ramp.f32');
    const gain = dataF32('gain.f32');
    const variance = dataF32('variance.f32');
    return {
      run: () => {
        const { rates, chi2s, jumps } = fitRamps(diffs, gain, variance, RAMP);
        return [rates, chi2s, jumps];
      },
    };
  },
});
