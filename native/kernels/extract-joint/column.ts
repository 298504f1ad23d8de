/** Columns of known light, for the golden tests of extraction: Gaussian profiles, tabulated as kernels want them. */
import { runKernel } from '../../../src/engine/index.js';

/** Error function to 1.2e-7 (Numerical Recipes, erfc by Chebyshev fit); the tables that it makes are the truth, not it. */
function erf(x: number): number {
  const t = 1 / (1 + 0.5 * Math.abs(x));
  const series = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
  ].reduceRight((sum, c) => sum * t + c, 0);
  const r = t * Math.exp(-x * x + series);
  return x >= 0 ? 1 - r : r - 1;
}

export interface Column {
  readonly rows: number;
  readonly fibres: number;
  readonly image: Float32Array;
  readonly ivar: Float32Array;
  readonly dq: Uint32Array;
  readonly centre: Float32Array;
  readonly width: Float32Array;
  readonly traceDq: Uint32Array;
  readonly profile: Float32Array;
  /** Part of the light of a fibre in a row. */
  readonly light: (fibre: number, row: number) => number;
}

/** One column without noise, variance 4 in every pixel. */
export function column(given: {
  rows: number;
  centres: readonly number[];
  flux: readonly number[];
  sigma: number;
  width?: number;
}): Column {
  const { rows, centres, flux, sigma, width = 1 } = given;
  const fibres = centres.length;
  const table = Float32Array.from({ length: 481 }, (_, i) => {
    const at = (z: number) => 0.5 * (1 + erf(z / sigma / Math.SQRT2));
    return (at((i - 240) / 20) - at(-12)) / (at(12) - at(-12));
  });
  const centre = Float32Array.from(centres);
  const widths = new Float32Array(fibres).fill(width);
  const cumulative = (z: number): number => {
    const at = Math.min(480, Math.max(0, 240 + 20 * z));
    const i = Math.min(479, Math.floor(at));
    const [a, b] = [table[i] as number, table[i + 1] as number];
    return a + (b - a) * (at - i);
  };
  const light = (f: number, y: number): number => {
    const [c, w] = [centre[f] as number, widths[f] as number];
    return cumulative((y + 0.5 - c) / w) - cumulative((y - 0.5 - c) / w);
  };
  const image = Float32Array.from({ length: rows }, (_, y) => flux.reduce((sum, F, f) => sum + F * light(f, y), 0));
  const profile = new Float32Array(fibres * 9 * 481);
  for (let i = 0; i < fibres * 9; i++) profile.set(table, i * 481);
  const [ivar, dq, traceDq] = [new Float32Array(rows).fill(0.25), new Uint32Array(rows), new Uint32Array(fibres)];
  return { rows, fibres, image, ivar, dq, centre, width: widths, traceDq, profile, light };
}

/** Runs a kernel of extraction on one column. */
export async function extract(kernel: string, scene: Column, params: Readonly<Record<string, unknown>> = {}) {
  const { fibres } = scene;
  const spectra = (data: Float32Array | Uint32Array) => ({ data, planes: fibres });
  const pixels = (data: Float32Array | Uint32Array) => ({ data, planes: scene.rows });
  const floats = () => new Float32Array(fibres);
  const out = { flux: floats(), ivar: floats(), chi2: floats(), crosstalk: floats() };
  const [next, second, dq] = [floats(), floats(), new Uint32Array(fibres)];
  const covariances: Record<string, ReturnType<typeof spectra>> = kernel === 'extract-joint'
    ? { next: spectra(next), second: spectra(second) }
    : {};
  await runKernel(
    kernel,
    {
      image: pixels(scene.image),
      imageIvar: pixels(scene.ivar),
      imageDq: pixels(scene.dq),
      centre: spectra(scene.centre),
      width: spectra(scene.width),
      traceDq: spectra(scene.traceDq),
      profile: { data: scene.profile, planes: fibres, rows: 9, cols: 481 },
      ...Object.fromEntries(Object.entries(out).map(([name, data]) => [name, spectra(data)])),
      ...covariances,
      dq: spectra(dq),
    },
    params,
  );
  return { ...out, next, second, dq };
}
