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
