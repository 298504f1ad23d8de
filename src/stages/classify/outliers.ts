/** Exposures that stand apart from the others of their kind: what a night's own products say for the list of bad exposures. */
import { quantile } from '../measure.js';
import type { ChipFeatures } from './features.js';
import type { ClassRecord } from './product.js';
import { rules } from './rules.js';

/** An entry for the list of bad exposures (src/almanac writes it). */
export interface OutlierEntry {
  readonly tele: string;
  readonly mjd: number;
  readonly exposure: number;
  /** Where it is one chip's trouble alone. */
  readonly chip?: string | undefined;
  readonly reason: string;
  readonly by: 'pipeline';
}

/** Median absolute deviation of a normal distribution with sigma 1, inverted. */
const SIGMA_OF_MAD = 1.4826;

/** One number by which exposures are compared. */
interface Measure {
  readonly name: 'level' | 'pattern' | 'noise';
  readonly said: string;
  readonly unit: string;
  /** Kinds of exposures that should agree in it. */
  readonly claims: readonly string[];
  /** Only those of as many reads. */
  readonly sameReads: boolean;
  readonly of: (chip: ChipFeatures, others: readonly ChipFeatures[]) => number;
  /** The least scatter that is believed. */
  readonly floor: (median: number) => number;
}

const LAMPS = ['internalflat', 'domeflat', 'quartzflat', 'fpi'];
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const median = (values: readonly number[]) => quantile(values, 0.5);
/** Light along the slit, its mean divided out. */
const patternOf = ({ slit }: ChipFeatures) => slit.map((value) => value / mean(slit));

/** Largest difference along the slit from the median pattern of the same chip. */
function patternDifference(chip: ChipFeatures, others: readonly ChipFeatures[]): number {
  const patterns = others.map(patternOf);
  const differences = patternOf(chip).map((value, i) =>
    Math.abs(value - median(patterns.map((one) => one[i] ?? Number.NaN))),
  );
  return Math.max(...differences);
}

function measures(): Measure[] {
  const { floors } = rules().outliers;
  const light = ({ slit }: ChipFeatures) => mean(slit);
  return [
    {
      name: 'level',
      said: 'light',
      unit: ' DN/read',
      claims: ['dark'],
      sameReads: false,
      of: light,
      floor: () => floors.dark,
    },
    {
      name: 'level',
      said: 'light',
      unit: ' DN/read',
      claims: LAMPS,
      sameReads: false,
      of: light,
      floor: (value) => floors.level * Math.abs(value),
    },
    {
      name: 'pattern',
      said: 'change of the light along the slit',
      unit: '',
      claims: LAMPS,
      sameReads: false,
      of: patternDifference,
      floor: () => floors.pattern,
    },
    {
      name: 'noise',
      said: 'scatter of the pixels',
      unit: ' DN/read',
      claims: ['dark'],
      sameReads: true,
      of: ({ values }) => values.noise,
      floor: (value) => floors.noise * Math.abs(value),
    },
  ];
}

interface Member {
  readonly record: ClassRecord;
  readonly chip: ChipFeatures;
}

/** Members of a group (the same detector, the same claim) that one measure sets apart, with a sentence. */
function apart(group: readonly Member[], measure: Measure): { readonly member: Member; readonly reason: string }[] {
  const { limit, least } = rules().outliers;
  if (group.length < least) return [];
  const chips = group.map(({ chip }) => chip);
  const values = chips.map((chip) => measure.of(chip, chips));
  const middle = median(values);
  const mad = median(values.map((value) => Math.abs(value - middle)));
  const scale = Math.max(SIGMA_OF_MAD * mad, measure.floor(middle));
  const figure = (value: number) => `${Number(value.toPrecision(3))}${measure.unit}`;
  return group.flatMap((member, i) => {
    const value = values[i] as number;
    const z = Math.abs(value - middle) / scale;
    // Two that agree are a series taken on purpose, at another brightness for instance.
    const alone = values.every((other, k) => k === i || Math.abs(other - value) > (limit / 2) * scale);
    if (!(z > limit) || !alone) return [];
    const reason =
      `${measure.said} ${figure(value)}, the median of the ${group.length} ${member.record.claim} exposures is ` +
      `${figure(middle)}: ${z.toFixed(0)} sigma apart`;
    return [{ member, reason }];
  });
}

function groupsOf(records: readonly ClassRecord[], { claims, sameReads }: Measure): Member[][] {
  const groups = new Map<string, Member[]>();
  for (const record of records) {
    if (record.verdict === 'drop' || !claims.includes(record.claim)) continue;
    for (const chip of record.chips) {
      const key = [record.tele, record.mjd, record.claim, chip.chip, sameReads ? record.reads : ''].join(' ');
      groups.set(key, [...(groups.get(key) ?? []), { record, chip }]);
    }
  }
  return [...groups.values()];
}

/**
 * Entries for the list of bad exposures from the class products of one night or more (`readClass`): exposures with the
 * verdict 'drop', and those that stand apart from the others of their telescope, night, kind and chip by a robust z, in the
 * light of darks and flats [DN/read], its pattern along the slit, and the noise of darks of equal length. Limits are in
 * data/classify.json, `outliers`. Objects and arc lamps are not compared: fields and lamps differ. Of groups smaller than
 * `least`, and of two exposures that agree with each other, none is an outlier. An entry names the chip where only one of
 * several stands apart. Sorted by telescope, night, exposure; does not depend on the order of the records.
 */
export function outliers(records: readonly ClassRecord[]): OutlierEntry[] {
  const found = new Map<ClassRecord, Map<string, string[]>>();
  for (const measure of measures()) {
    for (const group of groupsOf(records, measure)) {
      for (const { member, reason } of apart(group, measure)) {
        const chips = found.get(member.record) ?? new Map<string, string[]>();
        const name = member.chip.chip;
        found.set(member.record, chips.set(name, [...(chips.get(name) ?? []), reason]));
      }
    }
  }
  return records
    .flatMap((record): OutlierEntry[] => {
      const { tele, mjd, exposure } = record;
      const entry = { tele, mjd, exposure, by: 'pipeline' } as const;
      if (record.verdict === 'drop') return [{ ...entry, reason: record.reason }];
      const chips = [...(found.get(record) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
      if (chips.length === 0) return [];
      const reason = chips.map(([chip, reasons]) => `chip ${chip}: ${reasons.join('; ')}`).join('; ');
      const [only] = chips.length === 1 && record.chips.length > 1 ? chips : [];
      return [only === undefined ? { ...entry, reason } : { ...entry, chip: only[0], reason }];
    })
    .sort((a, b) => a.tele.localeCompare(b.tele) || a.mjd - b.mjd || a.exposure - b.exposure);
}
