/** The real instrument's figures in data/simulate/apogee.json, decoded. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../core/addon.js';
import { spectrograph } from '../instruments/apogee/fibres.js';
import type { Chip, Telescope } from '../instruments/apogee/index.js';

export type { Chip, Telescope };

import { exp10 } from './math.js';

/** For seeds. */
export const TELE_NUMBER = { apo: 1, lco: 2 } as const;
export const CHIP_NUMBER = { a: 1, b: 2, c: 3 } as const;

/** One chip at one telescope; 0-based pixels, vacuum Angstrom. */
export interface ChipFigures {
  /** y of the 300 traces at the chip centre, as the instrument has them. */
  readonly traceCentre: readonly number[];
  /** Gauss-Hermite heights: for each order a polynomial in the 1-based fibre index, highest power first. */
  readonly profileHeights: readonly (readonly number[])[];
  /** Fibres (1-based) for which the heights were fitted; others take the nearest. */
  readonly profileFibres: readonly [number, number];
  /** Wavelength: sum c_k t^k, t = (x - 1023) / 2048. */
  readonly wavelength: readonly number[];
  /** Distance of a trace from row 1023.5 over that at the chip centre: 1 + m_0 t + m_1 t^2. */
  readonly magnification: readonly [number, number];
  /** How far the image of the slit's end lies to larger x than the middle's [px]. */
  readonly slitCurvaturePx: number;
}

export interface Figures {
  readonly fpi: Readonly<Record<Telescope, { readonly cavityTwoLAngstrom: number; readonly offset: number }>>;
  /** [wavelength, relative intensity], by wavelength. */
  readonly oh: readonly (readonly [number, number])[];
  readonly une: readonly (readonly [number, number])[];
  readonly thar: readonly (readonly [number, number])[];
  readonly detectors: Readonly<Record<string, ChipFigures>>;
  /** Normalised spectra of real stars at grid wavelengths. */
  readonly stars: readonly Float32Array[];
  /** Transmission of the atmosphere at grid wavelengths. */
  readonly telluric: Float32Array;
  readonly gridWavelength: Float64Array;
}

let loaded: Figures | undefined;

function unpack(text: string, scale: number): Float32Array {
  return Float32Array.from(Buffer.from(text, 'base64'), (byte) => byte / scale);
}

/** Reads the file once. It is part of the package: what is wrong with it is a bug and throws as such. */
export function figures(): Figures {
  if (loaded !== undefined) return loaded;
  const raw = JSON.parse(readFileSync(join(packageRoot(), 'data', 'simulate', 'apogee.json'), 'utf8'));
  const { log10Start, log10Step, size, starScale, telluricScale } = raw.grid;
  // One power and then products would drift; each point is computed on its own.
  const gridWavelength = Float64Array.from({ length: size }, (_, j) => exp10(log10Start + log10Step * j));
  const detectors = Object.fromEntries(
    spectrograph.detectors.map(({ tele, chip }) => {
      const name = `${tele}-${chip}`;
      return [name, { ...raw.detectors[name], traceCentre: [...spectrograph.positions({ tele, chip })] }];
    }),
  );
  loaded = {
    ...raw,
    detectors,
    stars: raw.stars.map((star: { flux: string }) => unpack(star.flux, starScale)),
    telluric: unpack(raw.telluric, telluricScale),
    gridWavelength,
  };
  return loaded as Figures;
}
