/** The classifier at work: images in, features, a verdict, and a thumbnail for the page. */
import { BugError, InputError, RetriableError } from '../../core/errors.js';
import type { Instrument } from '../../core/product.js';
import { cellsOf } from '../measure.js';
import type { StageBody, StageContext, StageInputFile } from '../stage.js';
import { type ChipFeatures, type ChipImage, measureChip } from './features.js';
import { classProduct, THUMB_GAP, type Thumb } from './product.js';
import { rules } from './rules.js';
import { judge } from './verdict.js';

/** Largest side of a chip in the thumbnail [px]: three are as wide as a phone. */
const THUMB_SIDE = 128;
/** Less than one window cannot be measured; the simulator makes no shorter strip. */
const LEAST_ROWS = 16;
/** Rows are taken in pieces. */
const PIECES = 64;

/** DN/read of one unit of the pixels. */
function scaleOf({ file, identity, path }: StageInputFile, unit: string, instrument: Instrument): number {
  if (unit === 'DN/read') return 1;
  if (unit !== 'electron/s') {
    throw new InputError(`expected SCI in DN/read or electron/s, received '${unit}'`, { file: path });
  }
  const seconds = file.hdu(0).header.number('READTIME', instrument.readTimeSeconds);
  // The nominal gain is within a few tens of percent of the chip's: enough, where limits are a factor of 2 apart.
  return seconds / instrument.defaults({ tele: identity.tele, chip: identity.chip ?? '' }).gainElectronsPerDn;
}

/** Memory for one image after the other: the first touch of new memory costs more than reading into it. */
function memory(): (bytes: number) => ArrayBufferLike {
  let buffer = new ArrayBuffer(0);
  return (bytes) => {
    if (buffer.byteLength < bytes) buffer = new ArrayBuffer(bytes);
    return buffer;
  };
}

interface Memory {
  readonly sci: (bytes: number) => ArrayBufferLike;
  readonly dq: (bytes: number) => ArrayBufferLike;
}

/** Reads the rates of a chip, over those of the chip before. */
async function readChip(input: StageInputFile, instrument: Instrument, into: Memory): Promise<ChipImage> {
  const { file, identity, path } = input;
  if (identity.chip === undefined) throw new BugError('the rates of one chip are wanted', { file: path });
  const sci = await file.readImageAsync('SCI', { allocate: into.sci });
  const dq = await file.readImageAsync('DQ', { allocate: into.dq });
  const [rows = 0, cols = 0] = sci.shape;
  if (!(sci.data instanceof Float32Array) || sci.shape.length !== 2) {
    throw new InputError(`expected a float32 image in SCI, received ${sci.type}`, { file: path });
  }
  if (!(dq.data instanceof Uint32Array) || dq.data.length !== sci.data.length) {
    throw new InputError(`expected ${rows} x ${cols} bits in DQ, received ${dq.data.length} of ${dq.type}`, {
      file: path,
    });
  }
  if (rows < LEAST_ROWS || cols % PIECES !== 0 || cols === 0) {
    throw new InputError(
      `expected ${LEAST_ROWS} rows or more and a multiple of ${PIECES} columns, received ${rows} x ${cols}`,
      { file: path },
    );
  }
  const scale = scaleOf(input, sci.unit, instrument);
  return { chip: identity.chip, data: sci.data, dq: dq.data, rows, cols, scale };
}

interface ChipThumb {
  readonly rows: number;
  readonly cols: number;
  readonly values: ArrayLike<number>;
  readonly size: number;
}

async function thumbOf({ data, rows, cols, scale }: ChipImage): Promise<ChipThumb> {
  const size = Math.max(1, Math.ceil(Math.max(rows, cols) / THUMB_SIDE));
  const cells = await cellsOf(data, cols, { row: 0, rows, x: 0, cols }, size);
  return { ...cells, values: cells.values.map((value) => scale * value) };
}

/** Chips side by side in the order of their names. */
function besideOneAnother(thumbs: readonly ChipThumb[]): Thumb {
  const rows = Math.max(...thumbs.map((one) => one.rows));
  const cols = thumbs.reduce((sum, one) => sum + one.cols + THUMB_GAP, -THUMB_GAP);
  const data = new Float32Array(rows * cols).fill(Number.NaN);
  let x = 0;
  for (const one of thumbs) {
    for (let row = 0; row < one.rows; row++) {
      for (let i = 0; i < one.cols; i++) data[row * cols + x + i] = one.values[row * one.cols + i] as number;
    }
    x += one.cols + THUMB_GAP;
  }
  return { rows, cols, data, size: thumbs[0]?.size ?? 1 };
}

/**
 * Classifies an exposure from the rates of the chips that there are. The header's claim is looked at once the light is known.
 * @throws InputError for rates that are no 2-D product
 */
export const classify: StageBody = async (context: StageContext) => {
  const { instrument, inputs, exposures, control } = context;
  const exposure = exposures[0];
  if (exposure === undefined || exposures.length !== 1) throw new BugError('expected one exposure to classify');
  const rates = inputs
    .filter(({ role }) => role === 'rates')
    .sort((a, b) => ((a.identity.chip ?? '') < (b.identity.chip ?? '') ? -1 : 1));
  if (rates.length === 0) throw new BugError('expected the rates of a chip at least');
  const seconds = { read: 0, measure: 0, thumbnail: 0 };
  const timed = async <T>(step: keyof typeof seconds, work: () => Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await work();
    seconds[step] += (performance.now() - began) / 1000;
    return result;
  };
  const { skyLines } = rules();
  const into: Memory = { sci: memory(), dq: memory() };
  const chips: ChipFeatures[] = [];
  const thumbs: ChipThumb[] = [];
  for (const input of rates) {
    if (Atomics.load(control, 0) !== 0) throw new RetriableError('interrupted');
    const image = await timed('read', () => readChip(input, instrument, into));
    const columns = skyLines.columns[`${context.identity.tele}-${image.chip}`] ?? [];
    const sky = { reach: skyLines.reach, columns };
    chips.push(await timed('measure', () => measureChip(image, instrument.geometry.border, sky)));
    thumbs.push(await timed('thumbnail', () => thumbOf(image)));
  }
  const reads = Math.min(...rates.map(({ file }) => file.hdu(0).header.number('NREAD', 0)));
  const claim = exposure.kind;
  const judgement = judge(chips, claim, rules());
  const { verdict, reason, found, confidence } = judgement;
  return {
    ...classProduct(judgement, claim, chips, besideOneAnother(thumbs), reads),
    summary: { verdict, reason, kind: found, headkind: claim, confidence: Number(confidence.toFixed(4)) },
    warnings: verdict === 'ok' ? [] : [reason],
    timings: Object.entries(seconds).map(([name, value]) => ({ name, seconds: value })),
  };
};
