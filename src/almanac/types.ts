/** What the almanac of a night is. Data only. */
import type { Drop, Exposure, RawFrame } from '../core/exposure.js';
import type { CardKind } from '../core/night_rules.js';

export const ALMANAC_SCHEMA = 'almanac/1';

/** 'error': something is missing or not what it must be; 'warning': worth knowing. */
export type Severity = 'error' | 'warning';

/**
 *   missing    numbers without any file
 *   chips      files of some chips are not there
 *   disagree   the chips of an exposure say different things
 *   cut        a file is empty or cut short
 *   unreadable it is no FITS file, breaks a limit, or the system refuses to read it
 *   identity   name and header, or name and folder, say different things
 *   folder     raw files of the night lie where none are expected; they are not taken
 *   duplicate  one exposure of a chip has several files
 *   datamodel  files look other than expected
 *   list       an entry of a list of bad exposures speaks of nothing
 *   fibres     a fibre map was asked for and is not there
 */
export type FindingKind =
  | 'missing'
  | 'chips'
  | 'disagree'
  | 'cut'
  | 'unreadable'
  | 'identity'
  | 'folder'
  | 'duplicate'
  | 'datamodel'
  | 'list'
  | 'fibres';

export interface Finding {
  readonly severity: Severity;
  readonly what: FindingKind;
  /** 0 where it is of the night. */
  readonly exposure: number;
  /** '' where it is of the exposure. */
  readonly chip: string;
  /** One sentence, ASCII. */
  readonly text: string;
}

/** One feature of what files look like, and how many files have it. */
export interface DatamodelEntry {
  /** Ending of the name without '.gz'; '' for a folder. */
  readonly format: string;
  /** -1: of the file. */
  readonly hdu: number;
  readonly what: 'folder' | 'kind' | 'axes' | 'bitpix' | 'compression' | 'card';
  /** Keyword of a card, else ''. */
  readonly name: string;
  /** What it is: '2560 x 2048', '32', or the type of a card. */
  readonly value: string;
  readonly files: number;
  /** The first file that has it, by name. */
  readonly first: string;
}

export interface DatamodelChange {
  readonly severity: Severity;
  readonly text: string;
}

/** What a fibre looks at; 'fail': the category is none that is known. */
export type FibreRole = 'sci' | 'sky' | 'skyB' | 'tel' | 'fpiguide' | 'serendipitous' | 'fail';

export interface Fibre {
  readonly fiberId: number;
  /** Spectrograph that it feeds: 'APOGEE', 'BOSS', as the table says; '' where it does not. */
  readonly fiberType: string;
  /** As the table says. */
  readonly category: string;
  readonly role: FibreRole;
  /** Identifier in a catalogue, decimal digits or a name; '' where there is none. */
  readonly target: string;
  /** [deg], NaN where the table does not say. */
  readonly ra: number;
  readonly dec: number;
}

export interface FibreMap {
  /** Configuration, or plate. */
  readonly key: string;
  /** Name of the file that it came from, without its directory. */
  readonly source: string;
  readonly fibres: readonly Fibre[];
}

/** Exposures of one kind and configuration in a row. */
export interface Sequence {
  readonly sequence: number;
  readonly kind: Exposure['kind'];
  readonly configuration: string;
  readonly first: number;
  readonly last: number;
  /** Those that are there. */
  readonly exposures: number;
}

export interface Almanac {
  readonly schema: typeof ALMANAC_SCHEMA;
  readonly instrument: string;
  readonly tele: string;
  readonly mjd: number;
  /** Directory that the paths of raw files are relative to; absolute, '' in an almanac that was read from a product. */
  readonly root: string;
  /** By number from 1 (or 0, where the night has an exposure 0), holes filled: one for each number. */
  readonly exposures: readonly Exposure[];
  readonly findings: readonly Finding[];
  readonly datamodel: readonly DatamodelEntry[];
  readonly fibreMaps: readonly FibreMap[];
}

export type { CardKind, Drop, Exposure, RawFrame };
