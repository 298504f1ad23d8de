/** A raw exposure opened for a chain: its reads checked, decoded by the chain itself where the layout allows. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { InputError } from '../../core/errors.js';
import type { Instrument } from '../../core/product.js';
import { mjdFromIso } from '../../core/time.js';
import { type BoundArray, type Chain, type ChainReport, runKernel, sharedU16 } from '../../engine/index.js';
import { type FitsFile, openFits, type ReadOptions } from '../../fits/index.js';
import { type RampLayout, rampLayout } from './layout.js';

export interface RampSource {
  readonly file: FitsFile;
  readonly layout: RampLayout;
  readonly source: NonNullable<Chain['source']>;
  /** What the file says about its reads and does not hold. */
  readonly warnings: readonly string[];
  /** Compares the sums that the chain made of the stored bytes with the headers' promises. */
  readonly verify: (report: ChainReport) => void;
}

/**
 * Opens a raw file, hands its reads to `work` and closes it.
 * @param from its path, or the file where it is open already; it is closed in any case
 * @param firstUsed the first read that will be used, from the number of reads
 * @throws InputError for a file that is no exposure, is damaged, lacks a read or has one twice
 */
export async function withRamp<T>(
  from: string | FitsFile,
  instrument: Instrument,
  options: ReadOptions | undefined,
  firstUsed: (reads: number) => number,
  work: (source: RampSource) => Promise<T>,
): Promise<T> {
  const file = typeof from === 'string' ? openFits(from, options) : from;
  const path = file.path as string;
  let fd: number | undefined;
  try {
    const layout = rampLayout(file);
    checkGeometry(path, layout, instrument);
    const warnings = checkReadNumbers(path, layout);
    checkReadTimes(path, layout, firstUsed(layout.reads.length));
    if (layout.native !== undefined) fd = openSync(path, 'r');
    const source = fd === undefined ? await decodeWhole(file, layout) : nativeSource(fd, layout);
    const verify = (report: ChainReport) => {
      if (fd !== undefined) verifySums(file, layout, report);
    };
    return await work({ file, layout, source, warnings, verify });
  } finally {
    if (fd !== undefined) closeSync(fd);
    file.close();
  }
}

function checkGeometry(path: string, layout: RampLayout, instrument: Instrument): void {
  const { readCols, rows, border } = instrument.geometry;
  if (layout.cols !== readCols) {
    throw new InputError(`expected reads of ${readCols} columns, received ${layout.cols}`, { file: path });
  }
  if (layout.rows > rows || layout.rows < 2 * border) {
    throw new InputError(`expected reads of ${2 * border} to ${rows} rows, received ${layout.rows}`, { file: path });
  }
}

/**
 * Reads carry their number where the writer gave one (FRAMENUM, or READ); a gap or a repetition would make differences of
 * unequal times look equal, so it is refused. Reads missing at the end harm nothing: they are told of.
 */
function checkReadNumbers(path: string, layout: RampLayout): string[] {
  let before: number | undefined;
  for (const hdu of layout.reads) {
    const number = hdu.header.number('FRAMENUM', undefined) ?? hdu.header.number('READ', undefined);
    if (number === undefined) break;
    if (before !== undefined && number !== before + 1) {
      const what =
        number === before
          ? 'is there twice'
          : number > before
            ? `follows read ${before}: ${number === before + 2 ? `read ${before + 1} is` : `reads ${before + 1} to ${number - 1} are`} missing`
            : `follows read ${before}`;
      throw new InputError(`read ${number} ${what}`, { file: path, hdu: hdu.index });
    }
    before = number;
  }
  const header = layout.reads[0]?.header;
  const promised = header?.number('NREAD', undefined) ?? header?.number('NFRAMES', undefined);
  if (promised === undefined || promised === layout.reads.length) return [];
  return [`the header promises ${promised} reads, the file has ${layout.reads.length}`];
}

/** A step in time is a gap or a repetition beyond this part of the usual step; stamps wander by some tenths of a second. */
const STEP_TOLERANCE = 0.5;

/** Files without read numbers, which is how the archive's are, show a missing or repeated read by their times (DATE-OBS). */
function checkReadTimes(path: string, layout: RampLayout, firstUsed: number): void {
  const starts = layout.reads.map((hdu) => mjdFromIso(hdu.header.string('DATE-OBS', '')));
  const steps = starts.slice(1).map((time, k) => {
    const before = starts[k];
    return time === undefined || before === undefined ? Number.NaN : time - before;
  });
  const known = steps.filter((step) => !Number.isNaN(step)).sort((a, b) => a - b);
  const usual = known[Math.floor(known.length / 2)];
  // One header for all reads says nothing about their times; and two steps cannot tell which of them is wrong.
  if (usual === undefined || usual <= 0 || known.length < 3) return;
  for (let k = firstUsed; k < steps.length; k++) {
    const step = (steps[k] as number) / usual;
    const context = { file: path, hdu: layout.reads[k + 1]?.index };
    if (step > 1 + STEP_TOLERANCE) {
      const missing = Math.max(1, Math.round(step) - 1);
      throw new InputError(
        `${missing} read${missing > 1 ? 's are' : ' is'} missing between reads ${k + 1} and ${k + 2} of the file: DATE-OBS moves on by ${(step * usual * 86_400).toFixed(1)} s, expected ${(usual * 86_400).toFixed(1)}`,
        context,
      );
    }
    if (step < 1 - STEP_TOLERANCE) {
      throw new InputError(
        `read ${k + 2} of the file repeats read ${k + 1} or comes before it: DATE-OBS moves by ${(step * usual * 86_400).toFixed(1)} s, expected ${(usual * 86_400).toFixed(1)}`,
        context,
      );
    }
  }
}

function nativeSource(fd: number, layout: RampLayout): NonNullable<Chain['source']> {
  return {
    ramp: {
      fd,
      fileBytes: fstatSync(fd).size,
      rows: layout.rows,
      cols: layout.cols,
      differences: layout.differences,
      images: layout.native,
    },
  };
}

/** Any other layout: every image decoded as a whole, the reads rebuilt one by one. Slower, and holds the cube. */
async function decodeWhole(file: FitsFile, layout: RampLayout): Promise<NonNullable<Chain['source']>> {
  const { rows, cols } = layout;
  const planes = layout.reads.length;
  const cube = sharedU16(planes * rows * cols);
  const plane = (k: number): BoundArray => ({
    data: cube.subarray(k * rows * cols, (k + 1) * rows * cols),
    rows,
    cols,
  });
  const image = (at: number) => {
    const hdu = layout.images[at];
    if (hdu === undefined) throw new InputError('an image is missing', { file: file.path });
    return file.readImage(hdu).data;
  };
  if (!layout.differences) {
    for (let k = 0; k < planes; k++) cube.set(image(k) as Uint16Array, k * rows * cols);
  } else {
    const average = { data: image(0) as Int32Array, rows, cols };
    cube.set(image(1) as Uint16Array, 0);
    for (let k = 1; k < planes; k++) {
      await runKernel('add-difference', {
        before: plane(k - 1),
        average,
        residual: { data: image(k + 1) as Int32Array, rows, cols },
        read: plane(k),
      });
    }
  }
  return { array: { data: cube, planes, rows, cols } };
}

/** INTOFF is the time of a read in milliseconds. */
export function readSeconds(layout: RampLayout, instrument: Instrument): number {
  const milliseconds = layout.reads[0]?.header.number('INTOFF', undefined);
  return milliseconds !== undefined && milliseconds > 0 ? milliseconds / 1000 : instrument.readTimeSeconds;
}

/** The stored bytes were summed while they were decoded; here the sums meet the headers' promises. */
function verifySums(file: FitsFile, layout: RampLayout, report: ChainReport): void {
  for (const [i, hdu] of layout.images.entries()) {
    const sum = report.dataSums[i];
    if (sum !== undefined) file.verifySum(hdu, sum);
    else file.readData(hdu); // tiles out of order or gaps between them: one more pass, and the same judgement
  }
}
