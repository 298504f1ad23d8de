/** TensorFlow.js in WebAssembly with SIMD, one thread; whole-array operations are all it offers. */
import { join } from 'node:path';
import { dataF32, KERNEL, RAMP, requirePeer, serve } from './rival.mjs';

async function start() {
  const tf = requirePeer('@tensorflow/tfjs-core');
  const wasm = requirePeer('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(join(requirePeer.resolve('@tensorflow/tfjs-backend-wasm'), '../../wasm-out/'));
  wasm.setThreadsCount(1);
  await tf.setBackend('wasm');
  await tf.ready();
  return tf;
}

/** As tf.tidy, for work that returns plain arrays: tidy itself would look for tensors in every element of them. */
function tidy(tf, work) {
  let result;
  tf.tidy(() => {
    result = work();
  });
  return result;
}

/** One sweep forward and back: rate, chi2 and, for each pixel, the difference whose omission lowers chi2 most. */
function sweep(tf, planes, start, gv, v, one) {
  const zero = tf.zerosLike(start);
  const a = tf.add(tf.div(tf.maximum(start, 0), gv), 2);
  const p = [];
  const zd = [];
  const z1 = [];
  let p0 = zero;
  let zd0 = zero;
  let z0 = zero;
  let c = zero;
  let b = zero;
  planes.forEach(({ d, good }, k) => {
    zd0 = tf.add(tf.mul(good, tf.sub(d, start)), tf.mul(p0, zd0));
    z0 = tf.add(one, tf.mul(p0, z0));
    p0 = tf.div(good, tf.sub(a, p0));
    const pz = tf.mul(p0, z0);
    c = tf.add(c, tf.mul(pz, z0));
    b = tf.add(b, tf.mul(pz, zd0));
    p[k] = p0;
    zd[k] = zd0;
    z1[k] = z0;
  });
  const change = tf.div(b, tf.maximum(c, 1e-30));
  let y = zero;
  let h = zero;
  let diag = zero;
  let best = zero;
  let worst = tf.sub(zero, 1);
  let square = zero;
  for (let k = planes.length - 1; k >= 0; k--) {
    const residual = tf.sub(zd[k], tf.mul(change, z1[k]));
    y = tf.mul(p[k], tf.add(residual, y));
    h = tf.mul(p[k], tf.add(z1[k], h));
    diag = tf.add(p[k], tf.mul(tf.square(p[k]), diag));
    square = tf.add(square, tf.mul(tf.sub(tf.sub(planes[k].d, start), change), y));
    const room = tf.maximum(tf.sub(diag, tf.div(tf.square(h), tf.maximum(c, 1e-30))), 1e-30);
    const fall = tf.div(tf.square(y), tf.mul(room, v));
    const better = tf.greater(fall, best);
    worst = tf.where(better, tf.fill(worst.shape, k), worst);
    best = tf.maximum(fall, best);
  }
  return { rate: tf.add(start, change), chi2: tf.div(tf.maximum(square, 0), v), best, worst };
}

function trimmedMean(tf, planes, count) {
  const zero = tf.zerosLike(count);
  let sum = zero;
  let most = tf.fill(count.shape, -1e30);
  let least = tf.fill(count.shape, 1e30);
  for (const { d, good } of planes) {
    sum = tf.add(sum, d); // 0 where missing
    const lost = tf.mul(tf.sub(1, good), 1e30);
    most = tf.maximum(most, tf.sub(d, lost));
    least = tf.minimum(least, tf.add(d, lost));
  }
  const many = tf.greater(count, 2);
  const top = tf.where(many, tf.sub(sum, tf.add(most, least)), sum);
  return tf.div(top, tf.maximum(tf.where(many, tf.sub(count, 2), count), 1));
}

await serve({
  kernel: async () => {
    const tf = await start();
    const { c2, c3, limit } = KERNEL;
    const x = dataF32('kernel.f32');
    return {
      run: () =>
        tidy(tf, () => {
          const v = tf.tensor1d(x);
          const y = tf.add(v, tf.mul(tf.mul(v, v), tf.add(c2, tf.mul(c3, v))));
          return [tf.where(tf.lessEqual(v, limit), y, tf.fill(v.shape, Number.NaN)).dataSync()];
        }),
    };
  },
  ramp: async () => {
    const tf = await start();
    const { planes: n, threshold } = RAMP;
    const given = dataF32('ramp.f32');
    const gain = dataF32('gain.f32');
    const variance = dataF32('variance.f32');
    const pixels = gain.length;
    const inBlocks = 16384; // 64 KB an array: the working set stays near the cache
    const rate = new Float32Array(pixels);
    const chi2 = new Float32Array(pixels);
    const jumps = new Uint16Array(pixels);

    function block(from, to) {
      const good = [];
      const clean = [];
      for (let k = 0; k < n; k++) {
        const plane = given.subarray(k * pixels + from, k * pixels + to);
        good.push(Float32Array.from(plane, (v) => (Number.isNaN(v) ? 0 : 1)));
        clean.push(Float32Array.from(plane, (v) => (Number.isNaN(v) ? 0 : v)));
      }
      let open = Array.from({ length: to - from }, (_, i) => i);
      const fitted = new Float32Array(to - from);
      while (open.length > 0) {
        const { best, worst, rates } = tidy(tf, () => {
          const pick = (array) => tf.tensor1d(Float32Array.from(open, (i) => array[i]));
          const planes = clean.map((d, k) => ({ d: pick(d), good: pick(good[k]) }));
          const v = pick(variance.subarray(from, to));
          const gv = tf.mul(v, pick(gain.subarray(from, to)));
          const count = planes.reduce((s, plane) => tf.add(s, plane.good), tf.zerosLike(v));
          const found = sweep(tf, planes, trimmedMean(tf, planes, count), gv, v, tf.onesLike(v));
          const enough = tf.where(tf.greater(count, 2), found.best, tf.zerosLike(v));
          return { best: enough.dataSync(), worst: found.worst.dataSync(), rates: found.rate.dataSync() };
        });
        const again = [];
        open.forEach((i, at) => {
          fitted[i] = rates[at];
          if (best[at] <= threshold) return;
          good[worst[at]][i] = 0;
          clean[worst[at]][i] = 0;
          jumps[from + i]++;
          again.push(i);
        });
        open = again;
      }
      tf.tidy(() => {
        const planes = clean.map((d, k) => ({ d: tf.tensor1d(d), good: tf.tensor1d(good[k]) }));
        const v = tf.tensor1d(variance.slice(from, to));
        const gv = tf.mul(v, tf.tensor1d(gain.slice(from, to)));
        const found = sweep(tf, planes, tf.tensor1d(fitted), gv, v, tf.onesLike(v));
        rate.set(found.rate.dataSync(), from);
        chi2.set(found.chi2.dataSync(), from);
      });
    }

    return {
      reset: () => jumps.fill(0),
      run: () => {
        for (let from = 0; from < pixels; from += inBlocks) block(from, Math.min(pixels, from + inBlocks));
        return [rate, chi2, jumps];
      },
    };
  },
});
