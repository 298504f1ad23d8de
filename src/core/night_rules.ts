/** How an instrument's raw files of a night are found, read and judged by their headers: data, applied by src/almanac. */
import type { ExposureKind } from './exposure.js';

/** Keywords of each fact; the first that the header of HDU 0 or else of HDU 1 has counts. */
export interface HeaderDictionary {
  readonly kind: readonly string[];
  readonly reads: readonly string[];
  /** Start of the first read, ISO 8601, TAI. */
  readonly start: readonly string[];
  readonly exposureSeconds: readonly string[];
  readonly quartz: readonly string[];
  readonly thar: readonly string[];
  readonly une: readonly string[];
  readonly ditherPixels: readonly string[];
  readonly plate: readonly string[];
  readonly design: readonly string[];
  readonly configuration: readonly string[];
  readonly field: readonly string[];
  readonly cartridge: readonly string[];
  readonly map: readonly string[];
  readonly comment: readonly string[];
  readonly chip: readonly string[];
  readonly serial: readonly string[];
  /** True, or a number other than 0: somebody marked the exposure as bad. */
  readonly bad: readonly string[];
}

/** A kind that the lamps make another: all that is stated must be so. */
export interface LampRule {
  readonly kind: ExposureKind;
  readonly lamps: Readonly<Partial<Record<'quartz' | 'thar' | 'une', number>>>;
  readonly becomes: ExposureKind;
}

/** Which exposures are not reduced, whatever is in them. */
export interface Prefilters {
  /** Fewer reads than this are too few: by kind, else `else`. Files whose headers tell no number are not judged. */
  readonly leastReads: Readonly<Partial<Record<ExposureKind, number>>> & { readonly else: number };
  /** Chips that must all be there. */
  readonly chips: readonly string[];
}

/** What an HDU of a raw file is expected to be; a number of 0 stands for any. */
export interface ExpectedHdu {
  readonly kind: 'image' | 'bintable';
  /** NAXIS1 first; of the image where it is compressed. */
  readonly axes: readonly number[];
  readonly bitpix: number;
  readonly compression: string;
}

export type CardKind = 'string' | 'number' | 'logical' | 'other';

/** A card that headers are known to have, in whichever of the first two HDUs. */
export interface ExpectedCard {
  readonly keyword: string;
  readonly type: CardKind;
  /** A file without it is no longer understood in full. */
  readonly required: boolean;
}

export interface ExpectedDatamodel {
  /** By the ending of the name: the first two HDUs. */
  readonly formats: Readonly<Record<string, readonly ExpectedHdu[]>>;
  readonly cards: readonly ExpectedCard[];
}

export interface NightRules {
  readonly telescopes: readonly string[];
  /** Where the files of a night lie below the root, the first that has one wins; {tele} and {mjd} are filled in. */
  readonly folders: readonly string[];
  readonly chips: readonly string[];
  readonly dictionary: HeaderDictionary;
  /** By the word of the header in lower case, letters alone. */
  readonly kinds: Readonly<Record<string, ExposureKind>>;
  readonly lampRules: readonly LampRule[];
  readonly prefilters: Prefilters;
  readonly datamodel: ExpectedDatamodel;
}
