/**
 * A raw exposure against the raw format as apogee_drp's apzip writes it: what the file leaves open and what it does its own
 * way. Nothing here is an error: the reading decides for itself what it can use.
 */
import type { Identity, Instrument } from '../../core/product.js';
import { mjdFromIso } from '../../core/time.js';
import { compressionParameter, type FitsFile, type Hdu, imageFacts } from '../../fits/index.js';

export interface ExposureReport {
  readonly instrument: string;
  readonly layout: 'differences' | 'reads' | 'unknown';
  readonly reads: number;
  readonly tele?: string;
  readonly mjd?: number;
  readonly chip?: string;
  readonly exposure?: number;
  /** DATE-OBS (TAI) of the first and the last read that have one. */
  readonly firstRead?: string;
  readonly lastRead?: string;
  /** Median time between reads that have DATE-OBS [s]. */
  readonly readSeconds?: number;
}

/** Cards that the reduction and the archive look at (apogee_drp, almanac). */
const CARDS = ['DATE-OBS', 'EXPTIME', 'NREAD', 'EXPTYPE', 'INTOFF', 'INTDELAY', 'CHIP'];
/** Checksums of older exposures were written wrongly and are not trusted (apogee_drp). */
const FIRST_TRUSTED_EXPOSURE = 2_490_000;
/** DATE-OBS is when a frame was stored; it wanders by some tenths of a second. */
const READ_TIME_SLACK_SECONDS = 1;

function times(reads: readonly Hdu[]): { texts: string[]; steps: number[] } {
  const found = reads.flatMap((hdu, read) => {
    const text = hdu.header.string('DATE-OBS', undefined);
    const mjd = text === undefined ? undefined : mjdFromIso(text);
    return text === undefined || mjd === undefined ? [] : [{ text, mjd, read }];
  });
  const steps = found.slice(1).map(({ mjd, read }, i) => ((mjd - found[i]!.mjd) * 86_400) / (read - found[i]!.read));
  return { texts: found.map(({ text }) => text), steps };
}

/**
 * Reports on a raw exposure.
 * @param identity from the file's name, where that is a raw name of the instrument
 */
export function inspectRamp(
  file: FitsFile,
  instrument: Instrument,
  identity: Identity | undefined,
): { readonly exposure: ExposureReport; readonly tolerated: string[] } {
  const tolerated: string[] = [];
  const say = (what: string) => tolerated.push(what);
  const images = file.hdus.flatMap((hdu) => {
    const facts = imageFacts(hdu);
    return facts === undefined ? [] : [{ hdu, facts }];
  });
  const isU16 = ({ facts }: (typeof images)[number]) => facts.bitpix === 16 && facts.zero === 32_768;
  const [first, second] = images;
  const differences = first?.facts.bitpix === 32 && second !== undefined && isU16(second);
  const layout = first === undefined ? 'unknown' : differences ? 'differences' : isU16(first) ? 'reads' : 'unknown';
  const reads = differences ? images.slice(1) : images;

  if (identity === undefined)
    say(`the name is no raw name of ${instrument.name}: telescope, night, chip and exposure are unknown`);
  if (layout === 'unknown') say('neither differences (average, first read, residuals) nor reads as they stand');
  const primary = file.hdus[0];
  if (layout === 'differences' && primary !== undefined && imageFacts(primary) !== undefined) {
    say('the primary HDU holds an image; compressed files have an empty one');
  }
  const { readCols, rows } = instrument.geometry;
  for (const { hdu, facts } of images) {
    const [cols, height] = facts.axes;
    if (facts.axes.length !== 2) say(`HDU ${hdu.index}: ${facts.axes.length} axes, not 2`);
    else if (cols !== readCols || height !== rows)
      say(`HDU ${hdu.index}: ${cols} x ${height}, not ${readCols} x ${rows}`);
    if (!facts.compressed) continue;
    if (facts.method !== 'RICE_1' && facts.method !== 'RICE_ONE')
      say(`HDU ${hdu.index}: compressed with ${facts.method}, not RICE_1`);
    if (facts.tile?.[0] !== cols || facts.tile?.[1] !== 1)
      say(`HDU ${hdu.index}: tiles of ${facts.tile?.join(' x ')}, not one row`);
    const block = compressionParameter(hdu, 'BLOCKSIZE');
    if (block !== undefined && block !== 32) say(`HDU ${hdu.index}: Rice blocks of ${block}, not 32`);
  }
  if (layout === 'differences') {
    const odd = images.filter((image, i) => (i === 1 ? !isU16(image) : image.facts.bitpix !== 32));
    for (const { hdu } of odd) say(`HDU ${hdu.index}: its type is not that of its place in the order`);
  }
  const others = file.hdus.filter((hdu) => hdu.index > 0 && !images.some((image) => image.hdu === hdu));
  for (const hdu of others) say(`HDU ${hdu.index}: no image, passed over`);

  const headers = [primary, ...reads.map(({ hdu }) => hdu)].filter((hdu) => hdu !== undefined);
  const card = (name: string) => headers.find((hdu) => hdu.header.has(name))?.header.get(name);
  const missing = CARDS.filter(
    (name) => card(name) === undefined && !(name === 'NREAD' && card('NFRAMES') !== undefined),
  );
  if (missing.length > 0) say(`no card ${missing.join(', ')}`);
  const counts = ['NREAD', 'NFRAMES'].map((name) => card(name)).filter((value) => typeof value === 'number');
  for (const count of counts)
    if (count !== reads.length) say(`NREAD says ${count} reads, the file has ${reads.length}`);
  const chip = card('CHIP');
  if (identity !== undefined && typeof chip === 'string' && chip.trim().toLowerCase() !== identity.chip) {
    say(`CHIP is '${chip.trim()}', the name says ${identity.chip}`);
  }

  const { texts, steps } = times(reads.map(({ hdu }) => hdu));
  const sorted = [...steps].sort((a, b) => a - b);
  const step = sorted[Math.floor(sorted.length / 2)];
  if (texts.length > 0 && texts.length < reads.length)
    say(`${reads.length - texts.length} of ${reads.length} reads have no DATE-OBS`);
  const uneven = step === undefined ? 0 : steps.filter((s) => Math.abs(s - step) > READ_TIME_SLACK_SECONDS).length;
  if (uneven > 0)
    say(`${uneven} gaps between reads differ by more than ${READ_TIME_SLACK_SECONDS} s from ${step!.toFixed(3)} s`);
  if (step !== undefined && Math.abs(step - instrument.readTimeSeconds) > READ_TIME_SLACK_SECONDS) {
    say(`a read takes ${step.toFixed(3)} s, not ${instrument.readTimeSeconds} s`);
  }
  const unsummed = images.filter(({ hdu }) => !hdu.header.has('CHECKSUM') && !hdu.header.has('ZHECKSUM')).length;
  if (unsummed > 0) say(`${unsummed} of ${images.length} images have no CHECKSUM`);
  const number = /(\d{8})/.exec(file.path?.split('/').at(-1) ?? '')?.[1];
  if (identity !== undefined && number !== undefined && Number(number) < FIRST_TRUSTED_EXPOSURE) {
    say(`checksums of exposures before ${String(FIRST_TRUSTED_EXPOSURE).padStart(8, '0')} were written wrongly`);
  }
  return {
    exposure: {
      instrument: instrument.name,
      layout,
      reads: reads.length,
      ...(identity === undefined
        ? {}
        : { tele: identity.tele, mjd: identity.mjd, chip: identity.chip, exposure: identity.exposure }),
      ...(texts.length === 0 ? {} : { firstRead: texts[0]!, lastRead: texts.at(-1)! }),
      ...(step === undefined ? {} : { readSeconds: Number(step.toFixed(4)) }),
    },
    tolerated,
  };
}
