/** What stages hand to each other, and what an instrument is: data, no behaviour beyond naming. */

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

/** One instrument as the stages need it. */
export interface Instrument {
  readonly name: string;
  readonly geometry: DetectorGeometry;
  readonly readTimeSeconds: number;
  defaults(identity: Pick<Identity, 'tele' | 'chip'>): DetectorDefaults;
  /** The identity in a raw file's name, or undefined when the name is none of this instrument's. */
  identify(fileName: string): Identity | undefined;
  rawName(identity: Identity, format: 'apz' | 'fits'): string;
  /** `{stage}-{tele}-{mjd}-{chip}-{exposure}.fits` */
  productName(stage: string, identity: Identity): string;
  readonly calibrationRules: readonly CalibrationRule[];
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
