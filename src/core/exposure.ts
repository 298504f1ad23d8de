/** What is known of an exposure before any pixel is read: a row of the almanac. Data only. */

/** Types as headers and lamps say; 'missing' fills a hole in the numbering, 'unknown' is what no rule names. */
export const EXPOSURE_KINDS = [
  'object',
  'dark',
  'internalflat',
  'domeflat',
  'quartzflat',
  'twilightflat',
  'arclamp',
  'fpi',
  'blackbody',
  'unknown',
  'missing',
] as const;
export type ExposureKind = (typeof EXPOSURE_KINDS)[number];

/** One raw file: an exposure of one chip. */
export interface RawFrame {
  readonly chip: string;
  /** Relative to the directory that was scanned (`Almanac.root`), with '/'. */
  readonly path: string;
  readonly bytes: number;
  /** Reads, rows and columns of a read as the first blocks say; 0 where they do not. */
  readonly reads: number;
  readonly rows: number;
  readonly cols: number;
  readonly serial: string;
  /** Why this file is not reduced; absent for one that is. */
  readonly drop?: Drop | undefined;
}

/** Why an exposure, or one chip of it, is not reduced. */
export interface Drop {
  /** 'user': a list; 'rule': a prefilter; 'pipeline': an outlier that an earlier run found. */
  readonly by: 'user' | 'rule' | 'pipeline';
  readonly reason: string;
}

export interface Exposure {
  readonly tele: string;
  /** Night (SJD). */
  readonly mjd: number;
  /** Number in the night. */
  readonly exposure: number;
  readonly kind: ExposureKind;
  /** Largest of its chips. */
  readonly reads: number;
  readonly frames: readonly RawFrame[];
  /** MJD of the first read, where a header says it. */
  readonly start?: number | undefined;
  readonly exposureSeconds: number;
  /** 1 on, 0 off, -1 unknown. */
  readonly lamps: { readonly quartz: number; readonly thar: number; readonly une: number };
  readonly ditherPixels: number;
  /** As the headers write them, '' where there is none. */
  readonly plate: string;
  readonly design: string;
  readonly configuration: string;
  readonly field: string;
  readonly cartridge: string;
  /** Map of fibres (plug map). */
  readonly map?: string | undefined;
  /** Of the observer; ASCII, '?' for anything else. */
  readonly comment: string;
  /** Exposures of one sequence (the same kind and configuration in a row) share a number, from 1; 0: none. */
  readonly sequence: number;
  /** The exposure before it is there and a dark: its traps hold no light of that one. */
  readonly afterDark?: boolean | undefined;
  /** The whole exposure is not reduced. */
  readonly drop?: Drop | undefined;
}

/** What a fibre looks at in an exposure, as a fibre map says. */
export interface FibreTarget {
  /** The instrument's own number of the fibre. */
  readonly fibre: number;
  /** 'sci', 'sky', 'tel', ... */
  readonly role: string;
  /** Identifier in a catalogue; '' where there is none. */
  readonly target: string;
  /** [deg], NaN where nothing is known. */
  readonly ra: number;
  readonly dec: number;
}

/**
 * What the headers of an exposure say of it, and of it alone: what a stage of later products is told. All of it counts for the key
 * of its product, so nothing is here that speaks of paths or of the exposures around it.
 */
export type ExposureFacts = Omit<Exposure, 'frames' | 'comment' | 'sequence' | 'afterDark' | 'drop'>;
