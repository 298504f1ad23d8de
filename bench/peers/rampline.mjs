/** This project, through its TypeScript interface, on one thread. */
import { dataF32, dataPath, KERNEL, RAMP, serve, VARIANT } from './rival.mjs';

const js = new URL('../../build/js/', import.meta.url);
const { runKernel, runChain } = await import(new URL('engine/index.js', js));
const { openFits } = await import(new URL('fits/index.js', js));

const file = (name, hdu) => () => ({
  run: () => {
    const fits = openFits(dataPath(`${name}.fits`), { verify: VARIANT !== 'unverified' });
    const { data } = fits.readImage(hdu);
    fits.close();
    return [data];
  },
});

await serve({
  kernel: () => {
    const { size } = KERNEL;
    // The others take constants; here they are a row that repeats, as calibrations without a map are.
    const constant = (value) => ({ data: new Float32Array(size).fill(value), rows: size, cols: size, rowStride: 0 });
    const ports = {
      counts: { data: dataF32('kernel.f32'), rows: size, cols: size },
      c2: constant(KERNEL.c2),
      c3: constant(KERNEL.c3),
      limit: constant(KERNEL.limit),
      linear: { data: new Float32Array(size * size), rows: size, cols: size },
    };
    return {
      run: async () => {
        await runKernel('linearise', ports);
        return [ports.linear.data];
      },
    };
  },
  ramp: () => {
    const { planes, rows, cols } = RAMP;
    const given = dataF32('ramp.f32');
    const image = (data) => ({ data, rows, cols });
    const empty = () => image(new Float32Array(rows * cols));
    const counts = () => image(new Uint16Array(rows * cols));
    const arrays = {
      diffs: { data: new Float32Array(given.length), planes, rows, cols },
      gain: image(dataF32('gain.f32')),
      readVariance: image(dataF32('variance.f32')),
      start: empty(),
      jumps: counts(),
      rate: empty(),
      error: empty(),
      chi2: empty(),
      goodDiffs: counts(),
      dq: image(new Uint32Array(rows * cols)),
    };
    const ports = (...names) => Object.fromEntries(names.map((name) => [name, name]));
    const steps = [
      { kernel: 'estimate-rate', ports: { diffs: 'diffs', rate: 'start' } },
      {
        kernel: 'find-jumps',
        ports: { ...ports('diffs', 'gain', 'readVariance', 'jumps'), rate: 'start' },
        params: { oneThreshold: RAMP.threshold },
      },
      {
        kernel: 'fit-ramp',
        ports: ports('diffs', 'gain', 'readVariance', 'start', 'jumps', 'rate', 'error', 'chi2', 'goodDiffs', 'dq'),
        params: { iterations: 1, debias: false },
      },
    ];
    return {
      reset: () => {
        arrays.diffs.data.set(given); // find-jumps drops differences in place
        arrays.dq.data.fill(0);
      },
      run: async () => {
        await runChain({ arrays, steps, options: { threads: 1, rows, cols } });
        return [arrays.rate.data, arrays.chi2.data, arrays.jumps.data];
      },
    };
  },
  'u16-rice': file('u16-rice', 1),
  'i32-rice': file('i32-rice', 1),
  u16: file('u16', 0),
  f32: file('f32', 0),
});
