/** Profiles of flats compared: files in, a table and a picture out. */
import { basename, dirname, extname } from 'node:path';
import { InputError, UsageError } from '../core/errors.js';
import { type FitsLimits, openFits } from '../fits/index.js';
import { compareProfiles, type ProfileComparison } from '../stages/profile_compare.js';
import { drawPlot } from '../stages/qa/svg.js';
import { readTraces, type TraceProduct } from '../stages/trace_product.js';
import { openStore } from '../store/index.js';
import { type Failure, toFailure } from './failure.js';

/** Distance of fibres, for cross-talk [px]: the median of the two spectrographs. */
const SPACING = 6.6;
/** How far from the centre differences are drawn [px], and how densely. */
const DRAWN = 8;
const DRAWN_STEP = 0.1;

export interface ComparedFiles {
  readonly compared: readonly ComparedFile[];
  /** Files that could not be compared; they do not stop the others. */
  readonly failures: readonly { readonly file: string; readonly failure: Failure }[];
}

export interface ComparedFile {
  readonly file: string;
  readonly comparison: ProfileComparison;
}

interface Opened {
  readonly file: string;
  readonly product: TraceProduct;
  readonly error: Float32Array | undefined;
}

async function readProfiles(file: string, limits: Partial<FitsLimits>): Promise<Opened> {
  const fits = openFits(file, { limits });
  try {
    const product = await readTraces(fits);
    const { fibres, nodes } = product.traces.profile;
    const stated = fits.hdus.some(({ name }) => name === 'PROFERR') ? await fits.readImageAsync('PROFERR') : undefined;
    const error =
      stated?.data instanceof Float32Array && stated.data.length === fibres * nodes ? stated.data : undefined;
    return { file, product, error };
  } finally {
    fits.close();
  }
}

/**
 * Compares the profiles of each file after the first with those of the first.
 * @param picture an SVG file for the differences at nine places
 * @throws InputError for a first file that has no traces; UsageError for another kind of picture
 */
export async function compareProfileFiles(
  files: readonly string[],
  picture: string | undefined,
  limits: Partial<FitsLimits> = {},
): Promise<ComparedFiles> {
  if (picture !== undefined && extname(picture).toLowerCase() !== '.svg') {
    throw new UsageError(`expected the picture's name to end in .svg, received "${picture}"`);
  }
  const [head, ...others] = files;
  if (head === undefined || others.length === 0) throw new UsageError('expected two products of traces at least');
  const first = await readProfiles(head, limits);
  const compared: ComparedFile[] = [];
  const failures: { file: string; failure: Failure }[] = [];
  for (const file of others) {
    try {
      const other = await readProfiles(file, limits);
      const [a, b] = [first.product.facts, other.product.facts];
      if (a.tele !== b.tele || a.chip !== b.chip || first.product.traces.cols !== other.product.traces.cols) {
        const received = `${b.tele} chip ${b.chip}`;
        throw new InputError(`expected traces of ${a.tele} chip ${a.chip}, received ${received}`, { file });
      }
      const errors = { a: first.error, b: other.error };
      compared.push({ file, comparison: compareProfiles(first.product.traces, other.product.traces, SPACING, errors) });
    } catch (error) {
      failures.push({ file, failure: toFailure(error) });
    }
  }
  if (picture !== undefined && compared.length > 0) {
    const store = await openStore(dirname(picture));
    await store.writeFile(basename(picture), drawDifferences(compared));
  }
  return { compared, failures };
}

const COLOURS = ['#1f6feb', '#d1242f', '#1a7f37', '#9a6700', '#8250df', '#bf3989', '#57606a', '#0a3069', '#953800'];

/** Light below each distance from the centre, the later flat less the first, at the places. */
function drawDifferences(compared: readonly ComparedFile[]): string {
  const single = compared.length === 1;
  const series = compared.flatMap(({ file, comparison }, at) =>
    comparison.places.map(({ fibre, column, a, b }, place) => ({
      name: `${single ? '' : `${basename(file, '.fits')} `}fibre ${fibre}, x ${column}`,
      colour: COLOURS[(single ? place : at) % COLOURS.length] as string,
      points: Array.from({ length: Math.round((2 * DRAWN) / DRAWN_STEP) + 1 }, (_, i): [number, number] => {
        const z = i * DRAWN_STEP - DRAWN;
        const s = Math.round(((z + 12) * (a.cumulative.length - 1)) / 24);
        return [z, 1000 * ((b.cumulative[s] as number) - (a.cumulative[s] as number))];
      }),
    })),
  );
  return drawPlot(
    {
      title: `Profiles: ${compared.map(({ comparison }) => comparison.verdict).join(', ')}`,
      width: 760,
      height: 420,
      x: { label: 'distance from the centre [px]', range: [-DRAWN, DRAWN] },
      y: { label: 'cumulative light, difference [1/1000]' },
      series,
    },
    true,
  );
}
