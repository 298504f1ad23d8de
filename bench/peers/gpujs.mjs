/** gpu.js on the CPU: its modes `cpu` (plain functions) and `webasm`. Without a screen its WebGL mode does not start. */
import { dataF32, KERNEL, Missing, requirePeer, serve, VARIANT } from './rival.mjs';

await serve({
  kernel: async () => {
    const { GPU } = requirePeer('gpu.js');
    const gpu = new GPU({ mode: VARIANT });
    const { size, c2, c3, limit } = KERNEL;
    const x = dataF32('kernel.f32');
    const kernel = gpu.createKernel(
      // gpu.js reads this function's text and understands a part of JavaScript only: no NaN to return.
      function linearise(x, c2, c3, limit) {
        const v = x[this.thread.x];
        let y = -1.0;
        if (v <= limit) y = v + v * v * (c2 + c3 * v);
        return y;
      },
      { output: [size * size] },
    );
    return { run: async () => [await kernel(x, c2, c3, limit)] };
  },
  ramp: () => {
    throw new Missing(
      'its functions hold no array of 46 running values and write one number each, so the sweep back fails',
    );
  },
});
