/** The calibration `oneoverf`: weights of the 1/f correction, from darks of one detector to the HDUs of its file. */
import { basename } from 'node:path';
import { fitOneOverFWeights, ONE_OVER_F_MIN_ROWS, type OneOverFFit, type RowMeans } from '../../calib/one_over_f.js';
import { AlgorithmError, InputError, UsageError } from '../../core/errors.js';
import type { Identity, Instrument } from '../../core/product.js';
import { runChain, sharedF32 } from '../../engine/index.js';
import type { CardInput, HduInput, ReadOptions } from '../../fits/index.js';
import { type RampSource, readSeconds, withRamp } from './source.js';

/** Reads dropped at the start of each dark: settling after the reset is no noise (upstream's figure for ramps). */
export const DARK_DROPPED_READS = 2;
const MEANS = 12;
/** Lines of a frame; the time of one is that of a read over these, however few rows a strip has. */
const linesOf = (instrument: Instrument) => instrument.geometry.rows;

/** A raw dark: where it is and what its name says. */
export interface RawDark {
  readonly path: string;
  readonly identity: Identity;
}

export interface OneOverFProduct {
  /** Cards of the primary header. */
  readonly cards: readonly CardInput[];
  readonly hdus: readonly HduInput[];
  readonly fit: OneOverFFit;
}

export interface OneOverFContext {
  readonly threads?: number;
  readonly fits?: ReadOptions;
  /** [cancel, rows done] on shared memory. */
  readonly control?: Int32Array | undefined;
  /** Called before each dark with the number of those done. */
  readonly onDark?: ((done: number) => void) | undefined;
}

/** Light is noise that no reference sees; a lamp that drifts would pass for 1/f noise. */
function checkDark(path: string, { file, layout }: RampSource): void {
  for (const header of [file.hdu(0).header, layout.reads[0]?.header]) {
    const type = (header?.string('EXPTYPE', '') || header?.string('IMAGETYP', '') || '').trim();
    if (type === '') continue;
    if (!/^dark$/i.test(type)) throw new InputError(`expected a dark, the header says '${type}'`, { file: path });
    return;
  }
}

/**
 * Row means of the reads of one dark, and the time of a read.
 * @throws InputError for a file that is no dark or is damaged, AlgorithmError where too few reads are left
 */
async function meansOf(
  path: string,
  instrument: Instrument,
  { threads = 1, fits, control }: OneOverFContext,
): Promise<{ means: RowMeans; seconds: number }> {
  return withRamp(
    path,
    instrument,
    fits,
    () => DARK_DROPPED_READS,
    async (opened) => {
      const { layout, source, verify } = opened;
      checkDark(path, opened);
      const reads = layout.reads.length - DARK_DROPPED_READS;
      const { rows, cols } = layout;
      if (reads < 2 || rows < ONE_OVER_F_MIN_ROWS) {
        throw new AlgorithmError(
          `expected a dark of at least ${DARK_DROPPED_READS + 2} reads and ${ONE_OVER_F_MIN_ROWS} rows, received ${layout.reads.length} and ${rows}`,
          { file: path },
        );
      }
      const data = sharedF32(reads * rows * MEANS);
      const report = await runChain({
        arrays: { reads: { source: true }, rowMeans: { data, planes: reads, rows, cols: MEANS } },
        source,
        steps: [{ kernel: 'gather-row-means', ports: { reads: 'reads', rowMeans: 'rowMeans' } }],
        options: { threads, keepCube: false, firstRead: DARK_DROPPED_READS, reads, rows, cols },
        ...(control && { control }),
      });
      verify(report);
      return { means: { data, reads, rows }, seconds: readSeconds(layout, instrument) };
    },
  );
}

/**
 * Fits the weights of the 1/f correction on darks of one detector and makes the calibration's cards and HDUs. The weights are for
 * frequencies, so they serve exposures of any number of rows and reads. Two darks of ten reads are enough to remove 90 % of
 * what the reference shows; more help slowly.
 * @param darks raw darks of one detector
 * @throws UsageError for no dark, InputError for one that is damaged, no dark or of another detector, AlgorithmError where
 *   reads are too few or the references have nothing in common with the amplifiers
 */
export async function fitOneOverF(
  darks: readonly RawDark[],
  instrument: Instrument,
  context: OneOverFContext = {},
): Promise<OneOverFProduct> {
  const [first] = darks;
  if (first === undefined) throw new UsageError('weights of the 1/f correction need at least one dark');
  const { tele, chip } = first.identity;
  const means: RowMeans[] = [];
  let readTime: number | undefined;
  for (const [i, { path, identity }] of darks.entries()) {
    if (identity.tele !== tele || identity.chip !== chip) {
      const found = `${identity.tele} chip ${identity.chip}`;
      throw new InputError(`expected a dark of ${tele} chip ${chip}, received one of ${found}`, { file: path });
    }
    context.onDark?.(i);
    const dark = await meansOf(path, instrument, context);
    if (readTime !== undefined && dark.seconds !== readTime) {
      throw new InputError(
        `expected reads of ${readTime} s as in ${basename(first.path)}, received ${dark.seconds} s`,
        {
          file: path,
        },
      );
    }
    readTime = dark.seconds;
    means.push(dark.means);
  }
  const fit = fitOneOverFWeights(means, (readTime as number) / linesOf(instrument));
  if (fit.maxFrequencyHz === 0) {
    throw new AlgorithmError("the references show nothing of the amplifiers' noise: no frequency has a weight", {
      file: first.path,
    });
  }
  const cards: CardInput[] = [
    ['NREADS', means.reduce((sum, { reads }) => sum + reads, 0), 'reads of all darks that were used'],
    ['FMAX', fit.maxFrequencyHz, '[Hz] highest frequency with a weight'],
    ...fit.explained.map(
      (part, a): CardInput => [`EXPL${a + 1}`, part, `part of amplifier ${a + 1}'s power below 100 Hz explained`],
    ),
  ];
  return {
    cards,
    hdus: [
      {
        name: 'WEIGHTS',
        data: fit.weights,
        shape: [1, fit.weights.length],
        header: [['COMMENT', '[frequency][amplifier][reference output, left, right][real, imaginary], DN for DN']],
      },
      {
        name: 'FREQUENCY',
        data: Float32Array.from(fit.frequenciesHz),
        shape: [1, fit.frequenciesHz.length],
        header: [['BUNIT', 'Hz', 'of each group of 24 weights']],
      },
    ],
    fit,
  };
}
