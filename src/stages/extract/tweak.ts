/**
 * Where an exposure has the traces of its flat: telescope and instrument move between the two. The exposure itself says it, by the
 * light of all its fibres.
 */
import { PROFILE_NODES, PROFILE_SAMPLES, type Traces, type Tweak } from '../../core/spectra.js';
import { runKernel, sharedF32 } from '../../engine/index.js';
import { median } from '../measure.js';
import { NO_WEIGHT_BITS } from '../rates_image.js';

/** What was exposed, [row][x], after 2-D calibration; better after the scattered light was subtracted, and not worse by much before. */
export interface TweakImage {
  readonly rows: number;
  readonly cols: number;
  readonly image: Float32Array;
  /** 1 / variance; 0 or NaN: no weight. */
  readonly ivar: Float32Array;
  /** Pixels with a bit of NO_WEIGHT_BITS have no weight. */
  readonly dq?: Uint32Array | undefined;
}

/** Traces in an exposure. */
export interface Tweaked {
  readonly tweak: Tweak;
  /** [fibre][x] row, and width in units of the profile; the flat's own where the state is not 'ok'. */
  readonly centre: Float32Array;
  readonly width: Float32Array;
  /** Fibres that counted. */
  readonly fibres: number;
  /** Scatter of the fibres about the smooth terms in units of their errors; NaN where nothing was measured. */
  readonly scatter: number;
}

/** Traces moved by the terms of a tweak, and their widths scaled: [fibre][x]; in new memory, or `into` what is given. */
export async function moveTraces(
  traces: Pick<Traces, 'fibres' | 'cols' | 'centre' | 'width'>,
  tweak: Pick<Tweak, 'terms' | 'width'>,
  rows: number,
  threads = 1,
  into?: { readonly centre: Float32Array; readonly width: Float32Array },
): Promise<{ readonly centre: Float32Array; readonly width: Float32Array }> {
  const { fibres, cols } = traces;
  const terms = new Float64Array(16);
  for (const { i, j, value } of tweak.terms) terms[4 * i + j] = value;
  const { centre, width } = into ?? { centre: sharedF32(fibres * cols), width: sharedF32(fibres * cols) };
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

/** Most columns of a block: a few thousand blocks and fibres are what the fit sees. */
const BLOCK = 128;
/** Columns of a block that are looked at: where there is light enough (to ENOUGH px), an eighth tells as much as is needed. */
const SKETCH = 16;
const ENOUGH = 0.002;
/** Every so many blocks, for a first look. */
const GLANCE = 2;
/** Numbers of a block in the kernel's sums. */
const SUMS = 11;
/** Degrees of freedom of a whole column. */
const FREEDOM = 7;
/** chi2 a degree of freedom at which a column counts half: noise alone gives 3 in one of 1000. */
const DOUBT = 10;
const NO_DOUBT = 1e6;
/** More rounds have never been needed by a shift below half a spacing. */
const ROUNDS = 8;
/** Part of the spacing of fibres by which traces may move: beyond 0.5 a fibre would be taken for its neighbour. */
const FARTHEST = 0.42;
/** From the median deviation to sigma. */
const TO_SIGMA = 1.4826;
/** Larger errors of the shift make a tweak of no use [px]. */
const FAINT = 0.05;
/**
 * What is believed of a term of degree 1, 2, 3 before the exposure says more: 0, with these errors [px]; and of the logarithm of the
 * width. So the light decides how many terms count: of faint exposures the shift alone. Bright ones overrule this by far.
 */
const PRIOR = [Number.POSITIVE_INFINITY, 0.05, 0.02, 0.01] as const;
const PRIOR_WIDTH = 0.02;
/**
 * What tables of 0.05 px with straight lines between leave, whatever the light, as measured on flats of the mock: of the shift [px], and
 * of the logarithm of the width.
 */
const FLOOR = 1e-4;
const FLOOR_WIDTH = 5e-4;
/** Cells and fibres farther from the fit, in units of their scatter, do not count. */
const CLIP = 5;
/** A scatter of normal deviations that is larger than this is more than chance, for 300 fibres (MAD: 6 %). */
const SCATTERED = 1.2;
/**
 * Scatter of single fibres about the smooth terms [px] from which the image has another pattern of fibres: fibres of a slit head sit
 * up to 0.2 px off an even spacing, which the trace of a wrong fibre shows: 0.06 px at least in the mock, where the right ones show 0.001 px.
 */
const PATTERN = 0.03;
/** No telescope bends its spectrograph so much that a term but the shift is larger [px]; chips differ by 1.5 px and more. */
const BENT = 0.5;
/** Fibres that are known this well [px], and how many of them, tell a pattern. */
const TELLING = 0.03;
const FEWEST = 5;

/** Columns of a block that an error of ENOUGH takes, where a sketch gave `error`: its square falls with them. */
function columnsFor(error: number): number {
  const times = 2 ** Math.ceil(Math.log2((error / ENOUGH) ** 2));
  return Math.min(BLOCK, SKETCH * times);
}

/** P_i(u) P_j(v): shift, scale, tilt, and slow terms. */
const TERMS = [
  [0, 0],
  [0, 1],
  [1, 0],
  [0, 2],
  [1, 1],
  [2, 0],
  [0, 3],
  [1, 2],
  [2, 1],
  [3, 0],
] as const;
/** The logarithm of the width is the last unknown. */
const UNKNOWNS = TERMS.length + 1;

const at = (values: ArrayLike<number>, i: number): number => values[i] as number;
/** 1 / variance of what is believed of an unknown. */
const PRIORS = Float64Array.from({ length: TERMS.length + 1 }, (_, n) => {
  const [i, j] = TERMS[n] ?? [0, 0];
  return 1 / (n < TERMS.length ? at(PRIOR, i + j) : PRIOR_WIDTH) ** 2;
});

function legendre(t: number): readonly [number, number, number, number] {
  return [1, t, 1.5 * t * t - 0.5, t * (2.5 * t * t - 1.5)];
}

/** Runs the kernel over an exposure, with traces wherever the fit believes them. */
class Measurer {
  readonly blocks: number;
  readonly stride: number;
  private readonly seen: Float32Array;
  private known: Float32Array;
  private fitted: Float32Array;
  private readonly placed: { readonly centre: Float32Array; readonly width: Float32Array };

  constructor(
    readonly traces: Traces,
    readonly exposure: TweakImage,
    readonly threads: number,
  ) {
    const { cols } = traces;
    let stride = Math.min(BLOCK, cols);
    while (cols % stride !== 0) stride--;
    this.stride = stride;
    this.blocks = cols / stride;
    this.known = sharedF32(traces.fibres * cols);
    this.fitted = sharedF32(traces.fibres * cols);
    this.placed = { centre: sharedF32(traces.fibres * cols), width: sharedF32(traces.fibres * cols) };
    this.seen = traces.profile.cumulative;
  }

  /** Traces where the values have them, in memory that the next call of `sums` takes. */
  moved(values: ArrayLike<number>): ReturnType<typeof moveTraces> {
    return moveTraces(this.traces, tweakOf(values), this.exposure.rows, this.threads, this.placed);
  }

  /**
   * Sums f64 [fibre][block][SUMS] with traces moved by `values`.
   * @param part columns of each block, from its first, that are looked at
   * @param every blocks from one that is looked at to the next
   * @param neighbours whether the fluxes of the call before are taken off; those of this call take their place
   */
  async sums(
    values: ArrayLike<number>,
    part: number,
    { every = 1, doubt = DOUBT, neighbours = true }: { every?: number; doubt?: number; neighbours?: boolean } = {},
  ): Promise<Float64Array> {
    const { traces, exposure } = this;
    const { fibres, cols } = traces;
    const [blocks, stride] = [Math.ceil(this.blocks / every), this.stride * every];
    const { centre, width } = await this.moved(values);
    const sums = new Float64Array(fibres * blocks * SUMS);
    const cells = { rows: blocks, rowStride: stride, cols: Math.min(part, this.stride), planeStride: cols };
    const image = (data: Float32Array | Uint32Array) => ({ data, planes: exposure.rows, ...cells });
    const table = (data: Float32Array) => ({ data, planes: fibres, ...cells });
    await runKernel(
      'trace-tweak',
      {
        image: image(exposure.image),
        ivar: image(exposure.ivar),
        ...(exposure.dq !== undefined && { dq: image(exposure.dq) }),
        centre: table(centre),
        width: table(width),
        ...(neighbours && { flux: table(this.known) }),
        profile: { data: this.seen, planes: fibres, rows: PROFILE_NODES, cols: PROFILE_SAMPLES },
        sums: { data: sums, planes: fibres, rows: blocks, cols: SUMS },
        fitted: table(this.fitted),
      },
      { stride, columns: cols, doubt, skip: NO_WEIGHT_BITS },
      { threads: this.threads, strip: this.stride },
    );
    if (neighbours) [this.known, this.fitted] = [this.fitted, this.known];
    return sums;
  }

  /** Light of each fibre against noise alone, which gives 0 +- 1, with all traces moved by `shift` px more. */
  async light(values: ArrayLike<number>, shift = 0): Promise<Float64Array> {
    const moved = Float64Array.from(values);
    moved[0] = at(moved, 0) + shift;
    const sums = await this.sums(moved, SKETCH, { every: GLANCE, doubt: NO_DOUBT, neighbours: false });
    const blocks = Math.ceil(this.blocks / GLANCE);
    return Float64Array.from({ length: this.traces.fibres }, (_, fibre) => {
      let [light, columns] = [0, 0];
      for (let block = 0; block < blocks; block++) {
        const cell = (fibre * blocks + block) * SUMS;
        light += at(sums, cell + 8);
        columns += at(sums, cell + 10) / FREEDOM;
      }
      // The square of a normal number, where it is positive: mean 1/2, variance 5/4.
      return columns > 0 ? (light - 0.5 * columns) / Math.sqrt(1.25 * columns) : 0;
    });
  }
}

function tweakOf(values: ArrayLike<number>): Pick<Tweak, 'terms' | 'width'> {
  return {
    terms: TERMS.map(([i, j], n) => ({ i, j, value: at(values, n), error: Number.NaN })),
    width: Math.exp(at(values, UNKNOWNS - 1)),
  };
}

/** Solution of a symmetric positive system, and the inverse; undefined where it is not positive. */
function invert(matrix: readonly Float64Array[]): Float64Array[] | undefined {
  const n = matrix.length;
  const work = matrix.map((row, i) =>
    Float64Array.from({ length: 2 * n }, (_, j) => (j < n ? at(row, j) : +(j - n === i))),
  );
  for (let k = 0; k < n; k++) {
    const pivot = work[k] as Float64Array;
    const value = at(pivot, k);
    if (!(value > 1e-9 * Math.abs(at(matrix[k] as Float64Array, k)))) return undefined;
    for (let j = 0; j < 2 * n; j++) pivot[j] = at(pivot, j) / value;
    for (const [i, row] of work.entries()) {
      const factor = at(row, k);
      if (i !== k && factor !== 0) for (let j = 0; j < 2 * n; j++) row[j] = at(row, j) - factor * at(pivot, j);
    }
  }
  return work.map((row) => row.subarray(n));
}

interface Fit {
  /** Of all unknowns; 0 where the light does not say. */
  readonly values: Float64Array;
  readonly errors: Float64Array;
  readonly scatter: number;
  readonly fibres: number;
}

/** The smooth terms from sums over cells, with cells and fibres that disagree left out. */
class Fitter {
  /** [cell][UNKNOWNS - 1] */
  private readonly basis: Float64Array;
  private readonly eligible: Uint8Array;

  constructor(
    private readonly traces: Traces,
    private readonly blocks: number,
    rows: number,
  ) {
    const { fibres, cols, centre } = traces;
    const stride = cols / blocks;
    this.basis = new Float64Array(fibres * blocks * TERMS.length);
    this.eligible = Uint8Array.from(traces.states, (state) => +(state === 'ok' || state === 'low'));
    for (let fibre = 0; fibre < fibres; fibre++) {
      for (let block = 0; block < blocks; block++) {
        const x = (block + 0.5) * stride - 0.5;
        const y = at(centre, fibre * cols + Math.floor(x));
        const [along, across] = [legendre((2 * x) / (cols - 1) - 1), legendre((2 * y) / (rows - 1) - 1)];
        for (const [n, [i, j]] of TERMS.entries()) {
          this.basis[(fibre * blocks + block) * TERMS.length + n] = along[i] * across[j];
        }
      }
    }
  }

  /** One step: the values that solve the linear problem around `from`; undefined: there is not enough light. */
  step(sums: Float64Array, from: Float64Array): Fit | undefined {
    const { fibres } = this.traces;
    const counts = new Uint8Array(fibres * this.blocks);
    for (let i = 0; i < counts.length; i++) counts[i] = at(this.eligible, Math.floor(i / this.blocks));
    let fit: Fit | undefined;
    let scatter = Number.NaN;
    for (let round = 0; round < 4; round++) {
      const larger = scatter > SCATTERED ? scatter : 1;
      const solved = this.solve(sums, from, counts, larger);
      if (solved === undefined) return undefined;
      const moved = solved.values.map((value, n) => value - at(from, n));
      const cells = this.clip(sums, moved, counts, 1);
      const all = this.clip(sums, moved, counts, this.blocks);
      scatter = all.groups >= 20 ? all.scatter : cells.scatter;
      fit = { ...solved, scatter };
      // Another round would be the same, or nearly.
      if (cells.dropped + all.dropped === 0 && (round > 0 || (scatter > SCATTERED ? scatter : 1) === larger)) break;
    }
    return fit;
  }

  /** Robust scatter of single fibres about the fit, beyond their errors [px]; NaN where too few are known well. */
  disagreement(sums: Float64Array, moved: Float64Array): number {
    const offsets: number[] = [];
    const errors: number[] = [];
    for (let fibre = 0; fibre < this.traces.fibres; fibre++) {
      if (this.eligible[fibre] === 0) continue;
      const { pull, information, variance } = this.group(sums, moved, fibre * this.blocks, (fibre + 1) * this.blocks);
      const error = Math.sqrt(variance) / information;
      if (!(information > 0 && error < TELLING)) continue;
      offsets.push(pull / information);
      errors.push(error);
    }
    if (offsets.length < FEWEST) return Number.NaN;
    const middle = median(offsets);
    const scatter = TO_SIGMA * median(offsets.map((offset) => Math.abs(offset - middle)));
    return Math.sqrt(Math.max(scatter ** 2 - median(errors) ** 2, 0));
  }

  /** Sums over cells: what is left of the pull on the centre after a step, and its variance. */
  private group(sums: Float64Array, moved: Float64Array, first: number, end: number, counts?: Uint8Array) {
    let [pull, information, variance] = [0, 0, 0];
    const { basis } = this;
    const wider = at(moved, UNKNOWNS - 1);
    for (let cell = first; cell < end; cell++) {
      if (counts?.[cell] === 0) continue;
      let shift = 0;
      for (let n = 0; n < TERMS.length; n++) {
        shift += (basis[cell * TERMS.length + n] as number) * (moved[n] as number);
      }
      const s = cell * SUMS;
      const own = sums[s + 2] as number;
      pull += (sums[s] as number) - own * shift - (sums[s + 3] as number) * wider;
      information += own;
      variance += sums[s + 5] as number;
    }
    return { pull, information, variance };
  }

  /** @param scatter by which errors are larger than the weights say */
  private solve(
    sums: Float64Array,
    from: Float64Array,
    counts: Uint8Array,
    scatter: number,
  ): Omit<Fit, 'scatter'> | undefined {
    const [H, V, R, fibres] = this.normal(sums, counts);
    const [information, variance] = [at(H[0] as Float64Array, 0), at(V[0] as Float64Array, 0)];
    if (!(information > 0)) return undefined;
    // Columns that were half believed have less variance than information; what is believed beforehand needs both alike.
    const scale = information / variance / scatter ** 2;
    const unknowns = Array.from({ length: UNKNOWNS }, (_, n) => n);
    const matrix = H.map((row, n) => row.map((value, m) => scale * value + (n === m ? at(PRIORS, n) : 0)));
    const inverse = invert(matrix);
    if (inverse === undefined) return undefined;
    // H (values - from) = pull
    const right = R.map(
      (pull, n) => scale * unknowns.reduce((sum, m) => sum + at(H[n] as Float64Array, m) * at(from, m), pull),
    );
    const values = Float64Array.from(inverse, (row) => unknowns.reduce((sum, m) => sum + at(row, m) * at(right, m), 0));
    const errors = Float64Array.from(inverse, (row, unknown) => {
      let sum = 0;
      for (const n of unknowns) {
        sum += at(row, n) ** 2 * at(PRIORS, n);
        for (const m of unknowns) sum += at(row, n) * at(row, m) * (scale * scatter) ** 2 * at(V[n] as Float64Array, m);
      }
      return Math.hypot(Math.sqrt(sum), unknown === UNKNOWNS - 1 ? FLOOR_WIDTH : FLOOR);
    });
    return { values, errors, fibres };
  }

  /** Information, variance and pull of all unknowns, and how many fibres are in them. */
  private normal(sums: Float64Array, counts: Uint8Array): [Float64Array[], Float64Array[], Float64Array, number] {
    const [H, V, R] = [new Float64Array(UNKNOWNS ** 2), new Float64Array(UNKNOWNS ** 2), new Float64Array(UNKNOWNS)];
    const { basis, blocks } = this;
    const last = UNKNOWNS - 1;
    const p = new Float64Array(UNKNOWNS);
    const seen = new Set<number>();
    // Plain indices: thousands of cells and a hundred sums in each.
    for (let cell = 0; cell < counts.length; cell++) {
      if (counts[cell] === 0) continue;
      const s = cell * SUMS;
      const [cc, variance] = [sums[s + 2] as number, sums[s + 5] as number];
      if (variance <= 0) continue;
      seen.add(Math.floor(cell / blocks));
      for (let n = 0; n < last; n++) p[n] = basis[cell * last + n] as number;
      const pull = sums[s] as number;
      for (let n = 0; n < last; n++) {
        const pn = p[n] as number;
        R[n] = (R[n] as number) + pn * pull;
        const [h, v, row] = [pn * cc, pn * variance, n * UNKNOWNS];
        for (let m = 0; m <= n; m++) {
          H[row + m] = (H[row + m] as number) + h * (p[m] as number);
          V[row + m] = (V[row + m] as number) + v * (p[m] as number);
        }
      }
      p[last] = 1;
      R[last] = (R[last] as number) + (sums[s + 1] as number);
      const row = last * UNKNOWNS;
      for (let n = 0; n <= last; n++) {
        const own = n === last ? 1 : 0;
        H[row + n] = (H[row + n] as number) + (p[n] as number) * (sums[s + 3 + own] as number);
        V[row + n] = (V[row + n] as number) + (p[n] as number) * (sums[s + 6 + own] as number);
      }
    }
    const rows = (matrix: Float64Array): Float64Array[] =>
      Array.from({ length: UNKNOWNS }, (_, n) =>
        Float64Array.from({ length: UNKNOWNS }, (_unused, m) => at(matrix, Math.max(n, m) * UNKNOWNS + Math.min(n, m))),
      );
    return [rows(H), rows(V), R, seen.size];
  }

  /** Leaves out groups of `size` cells whose pull on the centre disagrees with the fit, and says how the others scatter. */
  private clip(
    sums: Float64Array,
    moved: Float64Array,
    counts: Uint8Array,
    size: number,
  ): { readonly scatter: number; readonly dropped: number; readonly groups: number } {
    const deviations = new Float64Array(counts.length / size).fill(Number.NaN);
    for (let group = 0; group < deviations.length; group++) {
      const { pull, variance } = this.group(sums, moved, group * size, (group + 1) * size, counts);
      if (variance > 0) deviations[group] = pull / Math.sqrt(variance);
    }
    const scatter = TO_SIGMA * median(deviations.map(Math.abs));
    let [dropped, groups] = [0, 0];
    for (let group = 0; group < deviations.length; group++) {
      const deviation = at(deviations, group);
      if (Number.isFinite(deviation)) groups++;
      if (!(Math.abs(deviation) > CLIP * Math.max(scatter, 1))) continue;
      counts.fill(0, group * size, (group + 1) * size);
      dropped++;
    }
    return { scatter, dropped, groups };
  }
}

/** Median distance of neighbours in the middle column [px]. */
function spacingOf({ fibres, cols, centre }: Traces): number {
  const middle = Math.floor(cols / 2);
  return median(
    Float64Array.from(
      { length: fibres - 1 },
      (_, fibre) => at(centre, (fibre + 1) * cols + middle) - at(centre, fibre * cols + middle),
    ),
  );
}

/** Significance from which a fibre has light for sure: 300 fibres of noise have less. */
const LIT = 5;

/** How good a position is: the sum over fibres of log(1 + light), to which a bright fibre, or a cosmic ray, adds little. */
function score(light: Float64Array): number {
  return light.reduce((sum, z) => sum + Math.log1p(Math.max(z, 0)), 0);
}

/**
 * Measures how an exposure's traces differ from its flat's, and moves them: least squares in the terms of TERMS and the width, with
 * flux and background of each fibre and column free (native/kernels/trace-tweak). Cells and fibres that disagree are left out.
 * Terms that the light does not tell stay near 0, within what is believed of them beforehand.
 * @param traces of the flat
 * @param exposure of the same columns
 */
export async function tweakTraces(
  traces: Traces,
  exposure: TweakImage,
  { threads = 1 }: { readonly threads?: number } = {},
): Promise<Tweaked> {
  const spacing = spacingOf(traces);
  const measurer = new Measurer(traces, exposure, threads);
  const fitter = new Fitter(traces, measurer.blocks, exposure.rows);
  const eligible = (fibre: number) => traces.states[fibre] === 'ok' || traces.states[fibre] === 'low';
  const unchanged = (state: 'faint' | 'refused', reason: string, fit?: Fit): Tweaked => ({
    tweak: { terms: [], width: 1, widthError: Number.NaN, state, reason },
    centre: traces.centre,
    width: traces.width,
    fibres: fit?.fibres ?? 0,
    scatter: fit?.scatter ?? Number.NaN,
  });

  // Where is the light, to a pixel? Noise alone must not lead away from where the flat has the traces.
  const reach = Math.floor(spacing / 2);
  const scores = new Map<number, number>();
  const found = async (shift: number): Promise<number> => {
    if (Math.abs(shift) > reach) return Number.NEGATIVE_INFINITY;
    const light = await measurer.light(new Float64Array(UNKNOWNS), shift);
    const all = score(light.filter((_, fibre) => eligible(fibre))) + (shift === 0 ? LIT : 0);
    scores.set(shift, all);
    return all;
  };
  // Up the hill to either side: within half a spacing there is one.
  const middle = await found(0);
  for (const side of [-1, 1]) {
    let [shift, last] = [side, middle];
    for (let next = await found(shift); next > last; next = await found(shift)) {
      last = next;
      shift += side;
    }
  }
  let values = new Float64Array(UNKNOWNS);
  values[0] = [...scores].reduce((best, one) => (one[1] > best[1] ? one : best))[0];

  let fit: Fit | undefined;
  let change = Number.POSITIVE_INFINITY;
  let part = SKETCH;
  let disagreement = Number.NaN;
  for (let round = 0; round < ROUNDS; round++) {
    const sums = await measurer.sums(values, part);
    fit = fitter.step(sums, values);
    if (fit === undefined) return unchanged('faint', 'no fibre has light');
    const before = values;
    // Beyond a pixel the model is no longer linear.
    values = fit.values.map((value, n) => {
      const most = n === UNKNOWNS - 1 ? 0.2 : 1;
      return at(before, n) + Math.max(-most, Math.min(most, value - at(before, n)));
    });
    change = values.reduce((sum, value, n) => sum + Math.abs(value - at(before, n)), 0);
    disagreement = fitter.disagreement(
      sums,
      values.map((value, n) => value - at(before, n)),
    );
    if (round === 0) continue;
    const error = at(fit.errors, 0);
    if (part === SKETCH && error > ENOUGH) part = columnsFor(error);
    else if (change < Math.max(0.0005, 0.1 * error)) break;
  }
  if (fit === undefined) return unchanged('faint', 'no fibre has light');
  const [shift, error] = [at(values, 0), at(fit.errors, 0)];
  const said = `a shift of ${shift.toFixed(3)} +- ${error.toFixed(3)} px`;
  if (!(error <= FAINT)) return unchanged('faint', `too little light: ${said}`, fit);
  const bent = Math.max(...values.subarray(1, TERMS.length).map(Math.abs));
  if (bent > BENT) {
    return unchanged(
      'refused',
      `traces bent by ${bent.toFixed(1)} px against the flat: another chip or telescope`,
      fit,
    );
  }
  if (disagreement > PATTERN) {
    const reason = `single fibres lie ${disagreement.toFixed(2)} px off a smooth shift of the traces: another chip or telescope, or another fibre`;
    return unchanged('refused', reason, fit);
  }
  if (Math.abs(shift) > FARTHEST * spacing) {
    return unchanged('refused', `${said}, nearly half of the ${spacing.toFixed(2)} px from fibre to fibre`, fit);
  }
  if (!(change < Math.max(0.02, 2 * error)))
    return unchanged('refused', `no agreement after ${ROUNDS} rounds: ${said}`, fit);
  const errors = fit.errors;
  const tweak: Tweak = {
    terms: TERMS.map(([i, j], n) => ({ i, j, value: at(values, n), error: at(errors, n) })),
    width: Math.exp(at(values, UNKNOWNS - 1)),
    widthError: Math.exp(at(values, UNKNOWNS - 1)) * at(errors, UNKNOWNS - 1),
    state: 'ok',
    reason: '',
  };
  return { tweak, ...(await measurer.moved(values)), fibres: fit.fibres, scatter: fit.scatter };
}
