/** What stages hand to each other, and what an instrument is: data, no behaviour beyond naming. */
import type { NightRules } from './night_rules.js';
import type { Spectrograph } from './spectra.js';

/** Which exposure of which chip: what every product carries in its primary header. */
export interface Identity {
  /** Telescope, as the instrument names it: 'apo', 'lco', 'keck'. */
  readonly tele: string;
  /** Modified Julian date of the night (SJD), an integer. */
  readonly mjd: number;
  /** Detector, as the instrument names it: 'a', 'b', 'c'. */
  readonly chip: string;
  /** Number of the exposure in the night, from 1. */
  readonly exposure: number;
}

/** The detector's geometry in pixels; all indices are 0-based. */
export interface DetectorGeometry {
  /** Columns of a read, reference output included. */
  readonly readCols: number;
  readonly rows: number;
  /** Columns that see the sky or the border. */
  readonly cols: number;
  readonly amplifiers: number;
  /** Width in columns of the light-insensitive border on each side. */
  readonly border: number;
}

/** Values used where no calibration is given; each with its source. */
export interface DetectorDefaults {
  readonly gainElectronsPerDn: number;
  /** Noise of a single read. */
  readonly readNoiseDn: number;
  /** Raw counts at which the ramp is taken as saturated, before the safety fraction. */
  readonly saturationDn: number;
  readonly source: string;
}

/** Quality of a calibration. */
export type Grade = 'pass' | 'warn' | 'fail';

/** How one kind of calibration is chosen for a frame: data, applied by selectCalibrations of src/calib. */
export interface CalibrationRule {
  readonly kind: string;
  /** The stage that takes it. */
  readonly usedBy: 'ramp' | 'calibrate';
  /** Whether that stage cannot do without. */
  readonly required: boolean;
  /**
   * What must be equal. Telescope and chip always have a value; instrument, read mode and serial number are compared where
   * both sides state one.
   */
  readonly match: readonly ('instrument' | 'tele' | 'chip' | 'readMode' | 'serial')[];
  /** Grades that may be used. */
  readonly grades: readonly Grade[];
  /** For a frame inside no window: the nearest one, measured from the frame to the edge of the window [d]. */
  readonly nearest: {
    /** 'before': only windows that end before the frame. */
    readonly side: 'before' | 'after' | 'either';
    readonly limitDays: number;
    /** A nearest one farther than this is used with a warning. */
    readonly warnDays: number;
  };
  /** In a gap between two windows, both within the limit: weigh the two instead of taking the nearer one. */
  readonly interpolate: boolean;
}

/** A FITS header, as far as an instrument asks it. */
export interface HeaderCards {
  has(keyword: string): boolean;
  string(keyword: string, fallback: string): string;
  number<T extends number | undefined>(keyword: string, fallback: T): number | T;
}

/** What the header of a single image says: the header dictionary of an instrument, applied. */
export interface ImageFacts {
  readonly identity: Identity;
  /** 'dark', 'flat', ... lower case; '' where the header does not say. */
  readonly type: string;
  /** Begin of the exposure. */
  readonly mjd: number;
  /** As products state it: 'mcds-64'. */
  readonly readMode: string;
  /** Of one coadd [s]. */
  readonly integrationSeconds: number;
  /** Integrations that were added up in the image. */
  readonly coadds: number;
  readonly gainElectronsPerDn: number;
  /** Noise of one coadd in this read mode [electron]. */
  readonly readNoiseElectrons: number;
  /** DN of a pixel that holds 1, for images that somebody divided by their median; else 1. */
  readonly dnPerUnit: number;
  /** What must agree for images to be averaged, by keyword: of all, of darks, of those that show light. */
  readonly detector: Readonly<Record<string, string | number>>;
  readonly timing: Readonly<Record<string, string | number>>;
  readonly optics: Readonly<Record<string, string | number>>;
}

/** One instrument as the stages need it. */
export interface Instrument {
  readonly name: string;
  /** What a raw file is: reads up the ramp, or one image of a finished exposure, of which the header tells everything. */
  readonly readout: 'ramp' | 'image';
  /**
   * For images: what the header says; undefined when it is none of this instrument's.
   * @throws Error saying which card is missing or wrong
   */
  describeImage?(header: HeaderCards): ImageFacts | undefined;
  readonly geometry: DetectorGeometry;
  readonly readTimeSeconds: number;
  defaults(identity: Pick<Identity, 'tele' | 'chip'>): DetectorDefaults;
  /** The identity in a raw file's name, or undefined when the name is none of this instrument's. */
  identify(fileName: string): Identity | undefined;
  rawName(identity: Identity, format: 'apz' | 'fits'): string;
  /** `{stage}-{tele}-{mjd}-{chip}-{exposure}.fits` */
  productName(stage: string, identity: Identity): string;
  readonly calibrationRules: readonly CalibrationRule[];
  /** How the raw files of a night are found and read; absent for an instrument whose nights no almanac can list. */
  readonly night?: NightRules | undefined;
  /** Absent for an imager. */
  readonly spectrograph?: Spectrograph | undefined;
}

/** One file or value that went into a product, and why it was chosen. */
export interface ProvenanceEntry {
  readonly role: string;
  readonly name: string;
  /** Hex digest of the content; empty for built-in values. */
  readonly sha256: string;
  readonly why: string;
  /** false for a candidate that was looked at and refused; absent for what was used. */
  readonly used?: boolean;
}
