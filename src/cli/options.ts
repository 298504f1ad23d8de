/** Parsers of option values. Each refuses what it does not understand with a UsageError that says what was expected. */
import { UsageError } from '../core/errors.js';
import { mjdFromIso } from '../core/time.js';
import type { FitsLimits } from '../fits/index.js';

/** A whole number in [min, max]. */
export function wholeNumber(name: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) {
      throw new UsageError(`expected ${name} to be a whole number in [${min}, ${max}], received "${text}"`);
    }
    return value;
  };
}

/** A finite number in [min, max]. */
export function realNumber(name: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!(value >= min && value <= max)) {
      throw new UsageError(`expected ${name} to be a number in [${min}, ${max}], received "${text}"`);
    }
    return value;
  };
}

const SIZE_UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** A size in bytes: 500000, 64M, 8G (powers of 1024). */
export function byteSize(name: string): (text: string) => number {
  return (text) => {
    const match = /^(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?$/i.exec(text);
    const bytes = match === null ? Number.NaN : Number(match[1]) * (SIZE_UNITS[match[2]!.toLowerCase()] ?? Number.NaN);
    if (!(bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER)) {
      throw new UsageError(`expected ${name} to be a size such as 500000, 64M or 8G, received "${text}"`);
    }
    return Math.floor(bytes);
  };
}

/** Collects the values of an option that may be given more than once; commas separate values too. */
export function collectList(text: string, before: readonly string[] = []): string[] {
  return [...before, ...text.split(',').filter((part) => part !== '')];
}

/** Whole numbers and ranges of them, such as 1-12,15: each once, in order. */
export function numberList(name: string, max: number): (text: string) => number[] {
  return (text) => {
    const numbers = new Set<number>();
    for (const part of text.split(',')) {
      const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
      const [first, last] = [Number(match?.[1] ?? Number.NaN), Number(match?.[2] ?? match?.[1] ?? Number.NaN)];
      if (!(first <= last && last <= max)) {
        throw new UsageError(`expected ${name} to be numbers up to ${max} such as 1-12,15, received "${text}"`);
      }
      for (let number = first; number <= last; number++) numbers.add(number);
    }
    return [...numbers].sort((a, b) => a - b);
  };
}

/**
 * The letters of detectors, each once.
 * @throws UsageError for another letter, or none
 */
export function chipsOf(text: string): string[] {
  const chips = [...new Set(text)];
  if (chips.length === 0 || chips.some((chip) => !'abc'.includes(chip))) {
    throw new UsageError(`expected --chips to be letters of abc, received "${text}"`);
  }
  return chips;
}

/** `kernel.param=value` pairs, gathered by kernel. Numbers, true and false become what they say; anything else is text. */
export function collectParams(
  text: string,
  before: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
): Record<string, Record<string, unknown>> {
  const match = /^([^.=\s]+)\.([^.=\s]+)=(.*)$/s.exec(text);
  if (match === null) throw new UsageError(`expected KERNEL.PARAM=VALUE, received "${text}"`);
  const [, kernel, param, value] = match as unknown as [string, string, string, string];
  const number = value.trim() === '' ? Number.NaN : Number(value);
  const typed = value === 'true' ? true : value === 'false' ? false : Number.isNaN(number) ? value : number;
  const all: Record<string, Record<string, unknown>> = {};
  for (const [name, params] of Object.entries(before)) all[name] = { ...params };
  all[kernel] = { ...all[kernel], [param]: typed };
  return all;
}

/** What a FITS file may ask for, as options give it; see FitsLimits. */
export interface ReadLimits {
  readonly maxHdus?: number | undefined;
  readonly maxCards?: number | undefined;
  readonly maxAxes?: number | undefined;
  readonly maxBytes?: number | undefined;
  readonly maxInflated?: number | undefined;
  readonly maxRatio?: number | undefined;
}

/** The limits that were given, as src/fits takes them. */
export function limitsOf(options: ReadLimits): Partial<FitsLimits> {
  const named = {
    hdus: options.maxHdus,
    cards: options.maxCards,
    axes: options.maxAxes,
    dataBytes: options.maxBytes,
    inflatedBytes: options.maxInflated,
    inflateRatio: options.maxRatio,
  };
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined));
}

/**
 * An instant, MJD or ISO 8601, as MJD; undefined stays so.
 * @throws UsageError for text that is neither
 */
export function timeOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = text.trim() === '' ? Number.NaN : Number(text);
  // As people write it: the seconds may be left out, and a Z says UTC.
  const iso = text
    .trim()
    .replace(/Z$/, '')
    .replace(/T\d{2}:\d{2}$/, '$&:00');
  const mjd = Number.isFinite(number) ? number : mjdFromIso(iso);
  if (mjd === undefined) throw new UsageError(`expected ${name} to be an MJD or an ISO time, received "${text}"`);
  return mjd;
}
