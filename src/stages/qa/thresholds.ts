/** Limits of quality, from data/qa.json. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CALIBRATION_KINDS, type CalibrationKind } from '../../calib/product.js';
import { packageRoot } from '../../core/addon.js';
import { BugError } from '../../core/errors.js';

/** The least and the largest value that is still within; null: no limit on that side. */
export type Range = readonly [low: number | null, high: number | null];

/** What has limits beside calibrations: traces of a flat, spectra of an exposure. */
export const SPECTRA_KINDS = ['trace', 'spectra'] as const;
export type SpectraKind = (typeof SPECTRA_KINDS)[number];
const KINDS: readonly string[] = [...CALIBRATION_KINDS, ...SPECTRA_KINDS, '*'];

/** One number that is held to limits. */
export interface Threshold {
  /** What it is for; '*' for all calibrations. */
  readonly kinds: readonly (CalibrationKind | SpectraKind | '*')[];
  /** For this instrument alone. */
  readonly instrument?: string;
  /** What it belongs to: 'darks clean', ... */
  readonly group: string;
  /** As `numbersOf` names it: RATE.median, dq.HOT, previous.gainedPercent, card.EXPL1. */
  readonly number: string;
  readonly unit: string;
  /** Outside of it the verdict is warn. */
  readonly warn: Range;
  /** Outside of it the verdict is fail; null: it never fails. */
  readonly fail: Range | null;
  /** What the number is, for the operator. */
  readonly doc: string;
  /** Whence the limits. */
  readonly source: string;
}

let loaded: readonly Threshold[] | undefined;
const textOf = () => readFileSync(join(packageRoot(), 'data', 'qa.json'), 'utf8');

/** What the grade of a calibration depends on besides its pixels: part of the keys of built products. */
export function thresholdsHash(): string {
  return createHash('sha256').update(textOf()).digest('hex');
}

/** All limits. The file is part of the package: what is wrong with it is a bug and throws as such. */
export function thresholds(): readonly Threshold[] {
  loaded ??= parseThresholds(textOf());
  return loaded;
}

/** Reads the limits; throws BugError naming the entry that breaks the rules. */
export function parseThresholds(text: string): readonly Threshold[] {
  const { checks } = JSON.parse(text) as { checks: Threshold[] };
  const range = (value: unknown): value is Range =>
    Array.isArray(value) && value.length === 2 && value.every((v) => v === null || Number.isFinite(v));
  for (const check of checks) {
    const { kinds, group, number, unit, warn, fail, doc, source } = check;
    const refuse = (why: string): never => {
      throw new BugError(`data/qa.json, ${number} of ${kinds?.join(', ')}: ${why}`);
    };
    for (const [name, value] of Object.entries({ group, number, doc, source })) {
      if (typeof value !== 'string' || value === '') refuse(`expected ${name}`);
    }
    if (typeof unit !== 'string') refuse('expected a unit');
    if (!kinds.every((kind) => KINDS.includes(kind))) refuse('unknown kind');
    if (!range(warn) || (fail !== null && !range(fail))) refuse('expected ranges of two numbers or null');
    const [low, high] = warn;
    const [least, most] = fail ?? [null, null];
    if (low === null && high === null) refuse('expected a limit');
    if (low !== null && high !== null && low > high) refuse('expected the lower limit first');
    if (least !== null && (low === null || least > low)) refuse('expected to warn before it fails');
    if (most !== null && (high === null || most < high)) refuse('expected to warn before it fails');
  }
  return checks;
}
