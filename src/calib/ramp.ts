/**
 * The calibrations that the step from reads to rates uses, from a directory or, where none is given, the instrument's
 * figures. Every file says which detector it is for, and that is checked: a map of another chip is never used.
 *
 * A directory holds `{kind}-{tele}-{chip}.fits`. The primary header carries CALKIND, TELE and CHIP; images are float32
 * [row][x] of the science columns, by EXTNAME:
 *
 *   gain          GAIN [e-/DN]                         required
 *   readnoise     READNOISE [DN, single read]          required
 *   saturation    SATURATION [DN, raw counts]          required
 *   linearity     C2 [1/DN], C3 [1/DN^2], LIMIT [DN]   optional: without it counts are taken as linear
 *   resetanomaly  AMPLITUDE [DN], keyword TAU [reads]  optional: exponential A exp(-t/TAU), t in reads from the first
 *   firstread     OFFSET [DN]                          optional: offset of the first read alone
 *   oneoverf      WEIGHTS                              optional: without it the windowed reference columns are used
 */
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { CalibrationError, RetriableError } from '../core/errors.js';
import type { Identity, Instrument, ProvenanceEntry } from '../core/product.js';
import { openFits } from '../fits/index.js';
import { readHashed } from '../store/index.js';

/** A map of the detector; a row stride of 0 repeats one row, so a constant costs no memory. */
export interface CalibrationMap {
  readonly data: Float32Array;
  readonly rows: number;
  readonly cols: number;
  readonly rowStride: number;
}

/** Weights of the reference correction, as measure-one-over-f takes them: see OneOverFFit. */
export interface OneOverFWeights {
  readonly data: Float32Array;
}

export interface RampCalibrations {
  readonly gain: CalibrationMap;
  /** Noise of a single read [DN]. */
  readonly readNoise: CalibrationMap;
  readonly saturation: CalibrationMap;
  /** Fraction of the saturation level up to which counts are used; the default level is already a safe one. */
  readonly saturationFraction: number;
  readonly linearity?: { readonly c2: CalibrationMap; readonly c3: CalibrationMap; readonly limit: CalibrationMap };
  readonly resetAnomaly?: { readonly amplitude: CalibrationMap; readonly tauReads: number };
  readonly firstRead?: { readonly offset: CalibrationMap };
  readonly oneOverF?: OneOverFWeights;
  readonly entries: readonly ProvenanceEntry[];
}

/** Upstream's factor: counts above 0.9 of the saturation map are not used (ApogeeReduction.jl, ar3D). */
const SATURATION_FRACTION = 0.9;

function constant(value: number, rows: number, cols: number): CalibrationMap {
  return { data: new Float32Array(new SharedArrayBuffer(cols * 4)).fill(value), rows, cols, rowStride: 0 };
}

/** What a file says and holds. */
interface Contents {
  readonly keywords: { readonly CALKIND: string; readonly TELE: string; readonly CHIP: string };
  readonly tau: number | undefined;
  readonly images: ReadonlyMap<string, Float32Array>;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

/** Files that were read, by content: the worker of a night reads each map once. */
const cache = new Map<string, Contents>();
const CACHED_FILES = 16;

/** Far beyond any set of maps of one detector. */
const LARGEST_FILE_BYTES = 2 ** 32;

interface LoadedFile extends Contents {
  readonly entry: ProvenanceEntry;
}

/**
 * The calibrations for one chip.
 * @param directory where the files are; undefined for the instrument's figures
 * @param wanted kinds that the caller's options cannot do without, beyond the required ones
 * @param lenient the instrument's figure stands in for a required map that is missing: for building that very map
 * @throws CalibrationError listing every missing file at once, or naming a file of another detector or kind
 */
export async function loadRampCalibrations(
  directory: string | undefined,
  instrument: Instrument,
  identity: Pick<Identity, 'tele' | 'chip'>,
  rows = instrument.geometry.rows,
  wanted: readonly string[] = [],
  lenient = false,
): Promise<RampCalibrations> {
  const { cols } = instrument.geometry;
  if (directory === undefined) {
    if (wanted.length > 0) {
      throw new CalibrationError(`no calibration directory was given, and ${wanted.join(', ')} is needed`);
    }
    const figures = instrument.defaults(identity);
    return {
      gain: constant(figures.gainElectronsPerDn, rows, cols),
      readNoise: constant(figures.readNoiseDn, rows, cols),
      saturation: constant(figures.saturationDn, rows, cols),
      saturationFraction: 1,
      entries: [
        {
          role: 'gain, read noise, saturation',
          name: `${instrument.name} figures (${figures.source})`,
          sha256: '',
          why: 'no calibration directory was given',
        },
      ],
    };
  }
  const names = readdirSync(directory).sort();
  const pathOf = (kind: string) => {
    const start = `${kind}-${identity.tele}-${identity.chip}`;
    const found = names.findLast(
      (name) => name.endsWith('.fits') && (name === `${start}.fits` || name.startsWith(`${start}-`)),
    );
    return join(directory, found ?? `${start}.fits`);
  };
  const required = [...(lenient ? [] : ['gain', 'readnoise', 'saturation']), ...wanted];
  const missing = required.filter((kind) => !existsSync(pathOf(kind)));
  if (missing.length > 0) {
    throw new CalibrationError(
      `no ${missing.join(', no ')} for ${identity.tele} chip ${identity.chip}: expected ${missing.map((kind) => basename(pathOf(kind))).join(', ')}`,
      { file: directory },
    );
  }
  const entries: ProvenanceEntry[] = [];
  const load = async (kind: string): Promise<LoadedFile | undefined> => {
    const path = pathOf(kind);
    if (!existsSync(path)) return undefined;
    const file = await loadFile(path, kind, identity);
    entries.push(file.entry);
    return file;
  };
  const map = (file: LoadedFile, name: string): CalibrationMap => {
    const data = file.images.get(name);
    const [height, width] = file.shapes.get(name) ?? [];
    if (data === undefined || height === undefined || width === undefined) {
      throw new CalibrationError(`expected an image ${name}, there are ${[...file.images.keys()].join(', ')}`, {
        file: file.entry.name,
      });
    }
    if (height !== rows || width !== cols) {
      throw new CalibrationError(`expected ${name} to be ${cols} x ${rows}, received ${width} x ${height}`, {
        file: file.entry.name,
      });
    }
    return { data, rows, cols, rowStride: cols };
  };
  const figures = instrument.defaults(identity);
  const mapOr = async (kind: string, name: string, figure: number): Promise<CalibrationMap> => {
    const file = await load(kind);
    return file === undefined ? constant(figure, rows, cols) : map(file, name);
  };
  const gain = await mapOr('gain', 'GAIN', figures.gainElectronsPerDn);
  const readNoise = await mapOr('readnoise', 'READNOISE', figures.readNoiseDn);
  const saturation = await mapOr('saturation', 'SATURATION', figures.saturationDn);
  const linearity = await load('linearity');
  const reset = wanted.includes('resetanomaly') ? await load('resetanomaly') : undefined;
  const first = wanted.includes('firstread') ? await load('firstread') : undefined;
  const oneOverF = await load('oneoverf');
  if (reset !== undefined && !(reset.tau !== undefined && reset.tau > 0)) {
    throw new CalibrationError('expected the keyword TAU to be a positive number of reads', { file: reset.entry.name });
  }
  return {
    gain,
    readNoise,
    saturation,
    saturationFraction: SATURATION_FRACTION,
    ...(linearity && {
      linearity: { c2: map(linearity, 'C2'), c3: map(linearity, 'C3'), limit: map(linearity, 'LIMIT') },
    }),
    ...(reset && { resetAnomaly: { amplitude: map(reset, 'AMPLITUDE'), tauReads: reset.tau as number } }),
    ...(first && { firstRead: { offset: map(first, 'OFFSET') } }),
    ...(oneOverF && {
      oneOverF: { data: oneOverF.images.get('WEIGHTS') ?? new Float32Array() },
    }),
    entries,
  };
}

async function loadFile(path: string, kind: string, identity: Pick<Identity, 'tele' | 'chip'>): Promise<LoadedFile> {
  let held: Contents | undefined;
  const { sha256, data } = await readHashed(path, {
    allocate: sharedMemory,
    needed: (known) => {
      held = cache.get(known);
      return held === undefined;
    },
    mostBytes: LARGEST_FILE_BYTES,
  });
  const contents = held ?? cache.get(sha256) ?? readContents(path, data as Uint8Array);
  const expected = { CALKIND: kind, TELE: identity.tele, CHIP: identity.chip };
  for (const key of ['CALKIND', 'TELE', 'CHIP'] as const) {
    const found = contents.keywords[key];
    if (found.trim() !== expected[key]) {
      throw new CalibrationError(`expected ${key} '${expected[key]}', received '${found}'`, { file: path });
    }
  }
  if (!cache.has(sha256)) {
    if (cache.size >= CACHED_FILES) cache.delete(cache.keys().next().value as string);
    cache.set(sha256, contents);
  }
  return {
    ...contents,
    entry: {
      role: kind,
      name: basename(path),
      sha256,
      why: `the directory's ${kind} for ${identity.tele} chip ${identity.chip}`,
    },
  };
}

function sharedMemory(bytes: number): Uint8Array {
  try {
    return new Uint8Array(new SharedArrayBuffer(bytes));
  } catch (cause) {
    throw new RetriableError(`no memory for ${bytes} bytes of a calibration`, { cause });
  }
}

/** The images of a calibration file, made where its bytes lie. Checksums are verified. */
function readContents(path: string, data: Uint8Array): Contents {
  const file = openFits(data, { name: path });
  try {
    const header = file.hdu(0).header;
    const shapes = new Map<string, readonly number[]>();
    const images = new Map<string, Float32Array>();
    for (const hdu of file.hdus) {
      if (hdu.kind !== 'image' || hdu.axes.length === 0) continue;
      const image = file.readImage(hdu, { inPlace: true, allocate: (bytes) => new SharedArrayBuffer(bytes) });
      if (!(image.data instanceof Float32Array)) {
        throw new CalibrationError(`expected float32 pixels in ${hdu.name}`, { file: path, hdu: hdu.index });
      }
      shapes.set(hdu.name, image.shape);
      images.set(hdu.name, image.data);
    }
    return {
      keywords: {
        CALKIND: header.string('CALKIND', ''),
        TELE: header.string('TELE', ''),
        CHIP: header.string('CHIP', ''),
      },
      tau: header.number('TAU', undefined),
      images,
      shapes,
    };
  } finally {
    file.close();
  }
}
