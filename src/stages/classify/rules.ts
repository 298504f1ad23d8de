/** The rules of the classifier, from data/classify.json. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../core/addon.js';
import { BugError } from '../../core/errors.js';
import { EXPOSURE_KINDS } from '../../core/exposure.js';

/** What light there is. 'dark': none; 'fibreflat': a continuum, the same in all fibres (dome, quartz, twilight). */
export const LIGHTS = ['dark', 'internalflat', 'fibreflat', 'arclamp', 'fpi', 'object', 'unknown'] as const;
export type Light = (typeof LIGHTS)[number];

export const RAMPS = [
  'level',
  'fibres',
  'lines',
  'share',
  'comb',
  'sky',
  'contrast',
  'peaked',
  'even',
  'tilt',
  'persistent',
  'persistentLines',
  'persistentSky',
  'night',
] as const;
export type RampName = (typeof RAMPS)[number];

/** From no to yes: 0 at or below `no`, 1 at or above `yes`. */
export interface Ramp {
  readonly no: number;
  readonly yes: number;
  readonly unit: string;
  readonly doc: string;
  /** Whence the limits. */
  readonly source: string;
}

export interface Claim {
  readonly ok: readonly Light[];
  readonly drop: readonly Light[];
}

export interface Rules {
  readonly ramps: Readonly<Record<RampName, Ramp>>;
  /** Columns of the night sky's lines by detector, TELE-CHIP; a line is within `reach` columns of one. */
  readonly skyLines: {
    readonly reach: number;
    readonly columns: Readonly<Record<string, readonly number[]>>;
  };
  /** For `outliers`: robust z, least size of a group, least scatter that is believed. */
  readonly outliers: {
    readonly limit: number;
    readonly least: number;
    readonly floors: {
      readonly dark: number;
      readonly level: number;
      readonly pattern: number;
      readonly noise: number;
    };
  };
  /** What a chip needs before an exposure is dropped for want of light: rows, and for a lamp the most noise [DN/read]. */
  readonly withoutLight: { readonly rows: number; readonly lampNoise: number };
  /** Probability from which a finding is certain, and from which it is one at all. */
  readonly certain: number;
  readonly likely: number;
  /** By what headers claim; 'missing' is never asked. */
  readonly claims: Readonly<Record<string, Claim>>;
}

let loaded: Rules | undefined;
const textOf = () => readFileSync(join(packageRoot(), 'data', 'classify.json'), 'utf8');

/** What the verdicts depend on besides pixels: part of the key of the products. */
export function rulesHash(): string {
  return createHash('sha256').update(textOf()).digest('hex');
}

/** The rules. The file is part of the package: what is wrong with it is a bug and throws as such. */
export function rules(): Rules {
  loaded ??= parseRules(textOf());
  return loaded;
}

/** Reads the rules; throws BugError naming the entry that breaks them. */
export function parseRules(text: string): Rules {
  const found = JSON.parse(text) as Rules;
  const refuse = (where: string, why: string): never => {
    throw new BugError(`data/classify.json, ${where}: ${why}`);
  };
  for (const name of RAMPS) {
    const ramp = found.ramps[name] ?? refuse(name, 'expected a ramp');
    if (!(ramp.no > 0 && ramp.yes > ramp.no)) refuse(name, 'expected 0 < no < yes');
    if (!ramp.doc || !ramp.source || typeof ramp.unit !== 'string') refuse(name, 'expected unit, doc and source');
  }
  const { reach, columns } = found.skyLines;
  if (
    !(reach >= 0) ||
    !Object.values(columns)
      .flat()
      .every((x) => x >= 0)
  )
    refuse('skyLines', 'expected columns');
  const { limit, least, floors } = found.outliers;
  if (![limit, least, floors.dark, floors.level, floors.pattern, floors.noise].every((value) => value > 0)) {
    refuse('outliers', 'expected numbers above 0');
  }
  if (!(found.withoutLight.rows > 0 && found.withoutLight.lampNoise > 0)) refuse('withoutLight', 'expected limits');
  if (!(found.likely > 0 && found.certain > found.likely && found.certain < 1)) {
    refuse('certain, likely', 'expected 0 < likely < certain < 1');
  }
  for (const kind of EXPOSURE_KINDS.filter((name) => name !== 'missing')) {
    const { ok, drop } = found.claims[kind] ?? refuse(kind, 'expected a claim');
    const unknown = [...ok, ...drop].find((light) => !LIGHTS.includes(light));
    if (unknown !== undefined) refuse(kind, `there is no light ${unknown}`);
    if (ok.some((light) => drop.includes(light))) refuse(kind, 'the same light is ok and dropped');
  }
  return found;
}
