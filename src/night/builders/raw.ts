/** What builders ask of raw exposures before their pixels: of which type they are, and what came before them. */
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { InputError, RamplineError } from '../../core/errors.js';
import { DQ_BITS } from '../../core/generated/dq.js';
import type { Identity, Instrument } from '../../core/product.js';
import { type FitsFile, type FitsLimits, openFits } from '../../fits/index.js';
import { rampChainDescription } from '../../stages/ramp/index.js';
import { describedImage, identityBeside } from '../instruments.js';
import type { BuildInput } from './builder.js';

/** Exposures from which on a cube of reads is kept rather than decoded twice; as the runner of exposures does. */
export const CUBE_PAYS_FROM = 4;

/** HDUs whose headers may say what an exposure is: the primary, the image of the first read and, in .apz, the average. */
const TELLING_HDUS = 3;

/** The exposure type that the headers tell (EXPTYPE, else IMAGETYP), or '' where they tell none. */
export function exposureType(file: FitsFile): string {
  for (const { header } of file.hdus.slice(0, TELLING_HDUS)) {
    const type = (header.string('EXPTYPE', '') || header.string('IMAGETYP', '')).trim();
    if (type !== '') return type;
  }
  return '';
}

/**
 * @param what 'dark' or 'flat': how the type must end, in any case of letters
 * @throws InputError for an exposure that says that it is of another type; one that says nothing is taken at its word
 */
export function expectType(file: FitsFile, what: string): void {
  const type = exposureType(file);
  if (type !== '' && !type.toLowerCase().endsWith(what)) {
    throw new InputError(`expected a ${what}, the header says '${type}'`, { file: file.path });
  }
}

/**
 * Light leaves charge behind that is released for many minutes, so the exposure before a dark must be a dark too. Looked
 * for, by number, among the files beside it.
 * @returns remarks: exposures before which are not there
 * @throws InputError naming both, where the exposure before says that it is no dark
 */
export function guardAgainstPersistence(
  inputs: readonly BuildInput[],
  instrument: Instrument,
  limits: Partial<FitsLimits>,
): string[] {
  // Of an array that is read by regions, each sees the light of the others.
  const keyOf = ({ tele, chip, mjd, exposure }: Identity): string =>
    [tele, instrument.readout === 'ramp' ? chip : '', mjd, exposure].join(' ');
  const own = new Set(inputs.map(({ identity }) => keyOf(identity)));
  const beside = new Map<string, Map<string, string>>();
  const filesOf = (folder: string): Map<string, string> => {
    let files = beside.get(folder);
    if (files === undefined) {
      files = new Map();
      for (const name of readdirSync(folder)) {
        const path = join(folder, name);
        const identity = identityBeside(path, instrument);
        if (identity !== undefined) files.set(keyOf(identity), path);
      }
      beside.set(folder, files);
    }
    return files;
  };
  const unknown: string[] = [];
  for (const { path, identity } of inputs) {
    const before = keyOf({ ...identity, exposure: identity.exposure - 1 });
    if (own.has(before)) continue;
    const earlier = filesOf(dirname(path)).get(before);
    const type = earlier === undefined ? '' : typeOf(earlier, instrument, limits);
    if (earlier === undefined || type === '') unknown.push(basename(path));
    else if (!type.toLowerCase().endsWith('dark')) {
      throw new InputError(
        `the exposure before it, ${basename(earlier)}, is no dark but '${type}': its light may persist (--set dark.guard=false takes it all the same)`,
        { file: path },
      );
    }
  }
  const [first] = unknown;
  if (first === undefined) return [];
  const more = unknown.length > 1 ? ` and ${unknown.length - 1} more` : '';
  return [`what came before ${first}${more} is not known: light may persist in it`];
}

/** The type of a neighbour; '' where it cannot be read, which is not the fault of the dark. */
function typeOf(path: string, instrument: Instrument, limits: Partial<FitsLimits>): string {
  try {
    const file = openFits(path, { limits, verify: false });
    try {
      return instrument.readout === 'ramp' ? exposureType(file) : (describedImage(file, instrument)?.facts.type ?? '');
    } finally {
      file.close();
    }
  } catch (error) {
    if (error instanceof RamplineError) return '';
    throw error;
  }
}

type KernelParams = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Parameters for kernels of the ramp chain, and those for the builder's own. */
export function splitParams(params: KernelParams): { readonly ramp: KernelParams; readonly own: KernelParams } {
  const chain = new Set(rampChainDescription().steps.map(({ kernel }) => kernel));
  const pick = (ofChain: boolean) =>
    Object.fromEntries(Object.entries(params).filter(([kernel]) => chain.has(kernel) === ofChain));
  return { ramp: pick(true), own: pick(false) };
}

/** Pixels with each of these bits. */
export function countsOf(bits: Float64Array, names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name) => [name, bits[DQ_BITS.find((b) => b.name === name)?.bit ?? 0] ?? 0]));
}
