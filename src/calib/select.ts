/**
 * Which calibration a frame gets, and why: a pure function of rules, frame and records. What it looked at, what it refused
 * and the numbers that it compared are its result as much as the choice.
 *
 * For each rule, of the records of its kind:
 * 1. what must match is compared; another detector's is never taken;
 * 2. only the rule's grades are taken;
 * 3. of windows [from, to) that contain the frame the newest wins: the later end of data (an unknown one counts as the
 *    oldest), then the later date of making (files have none since they are the same bytes whenever they are made: such a
 *    file counts as newer than one that has), then the larger sha256, so that there is always one answer. That there were
 *    several is reported;
 * 4. else the window that is nearest to the frame, measured to its edge, on the rule's side and within the rule's limit
 *    (the limit itself is inside); of equally near ones the newest. Where the rule interpolates and there is one on each
 *    side, both: the weights are linear in time between the end of the earlier window and the begin of the later one, so
 *    that nothing jumps at an edge;
 * 5. else none. Nothing arbitrary stands in for it.
 * A pin replaces 2 to 5: exactly the pinned ones, whatever their windows and grades say, which is reported.
 */
import { CalibrationError } from '../core/errors.js';
import type { CalibrationRule, ProvenanceEntry } from '../core/product.js';
import { isoFromMjd } from '../core/time.js';
import type { CalibrationRecord } from './product.js';

/** What selection knows of a frame. */
export interface Frame {
  readonly instrument?: string | undefined;
  readonly tele: string;
  readonly chip: string;
  /** Begin of the exposure. */
  readonly mjd: number;
  readonly readMode?: string | undefined;
  readonly serial?: string | undefined;
}

/** A calibration that a pin holds, with the weight that it had when the pin was made. */
export interface PinnedCalibration {
  readonly kind: string;
  readonly tele: string;
  readonly chip: string;
  readonly sha256: string;
  readonly weight: number;
}

/** A set of calibrations, frozen under a name. */
export interface Pin {
  readonly name: string;
  /** The time for which the set was chosen. */
  readonly mjd: number;
  readonly entries: readonly PinnedCalibration[];
}

export interface Candidate {
  readonly record: CalibrationRecord;
  readonly verdict: 'used' | 'refused';
  /** One sentence with the numbers. */
  readonly reason: string;
  /** Whether it is of the frame's detector (and read mode, and serial number). */
  readonly matches: boolean;
  /** Where the frame lies: inside the window, before it or after it. */
  readonly frame: 'inside' | 'before' | 'after';
  /** From the frame to the window's edge; 0 inside. */
  readonly distanceDays: number;
  /** Part in the result; 1 unless interpolated, 0 when refused. */
  readonly weight: number;
}

export interface RuleResult {
  readonly rule: CalibrationRule;
  readonly how: 'inside' | 'nearest' | 'interpolated' | 'pinned' | 'none';
  /** Used ones first, then the refused ones of this detector by distance, then those of others. */
  readonly candidates: readonly Candidate[];
  /** Where more than one would have done. */
  readonly ambiguities: readonly string[];
  readonly warnings: readonly string[];
  /** One sentence. */
  readonly summary: string;
}

export interface Explanation {
  readonly frame: Frame;
  readonly pin?: string | undefined;
  readonly results: readonly RuleResult[];
  /** Required kinds for which there is none. */
  readonly missing: readonly string[];
  /** Files of the directory that could not be candidates, each with the reason. */
  readonly unusable: readonly { readonly file: string; readonly reason: string }[];
}

const round = (days: number): string => String(Number(days.toFixed(4)));
const days = (n: number): string => `${round(n)} d`;

/** A window in words: [60000, 60500), with "open" for ends that are. */
export function windowText({ validFrom, validTo }: Pick<CalibrationRecord, 'validFrom' | 'validTo'>): string {
  return `[${validFrom === undefined ? 'open' : round(validFrom)}, ${validTo === undefined ? 'open' : round(validTo)})`;
}

/** Negative where a is newer than b: see the rules above. */
export function newestFirst(a: CalibrationRecord, b: CalibrationRecord): number {
  const [endA, endB] = [a.dataTo ?? Number.NEGATIVE_INFINITY, b.dataTo ?? Number.NEGATIVE_INFINITY];
  if (endA !== endB) return endB > endA ? 1 : -1;
  if (a.createdAt !== b.createdAt) return madeAt(b) > madeAt(a) ? 1 : -1;
  return a.sha256 === b.sha256 ? 0 : b.sha256 > a.sha256 ? 1 : -1;
}

/** Sorts behind every date where there is none. */
const madeAt = ({ createdAt }: CalibrationRecord): string => createdAt || '~';

/** What made `a` newer than `b`, in words. */
function whyNewer(a: CalibrationRecord, b: CalibrationRecord): string {
  if (a.dataTo !== b.dataTo) {
    const end = ({ dataTo }: CalibrationRecord) => (dataTo === undefined ? 'unknown' : round(dataTo));
    return `its data end at ${end(a)}, against ${end(b)}`;
  }
  if (a.createdAt !== b.createdAt) {
    return a.createdAt === ''
      ? `it has no date of making, as files of later versions, against ${b.createdAt}`
      : `made ${a.createdAt}, against ${b.createdAt}`;
  }
  return 'all else equal, its sha256 is the larger: a tie';
}

/** Where the frame lies with respect to a window, and how far away. */
function place(record: CalibrationRecord, mjd: number): Pick<Candidate, 'frame' | 'distanceDays'> {
  const { validFrom, validTo } = record;
  if (validFrom !== undefined && mjd < validFrom) return { frame: 'before', distanceDays: validFrom - mjd };
  if (validTo !== undefined && mjd >= validTo) return { frame: 'after', distanceDays: mjd - validTo };
  return { frame: 'inside', distanceDays: 0 };
}

const KEY_WORDS = {
  instrument: 'instrument',
  tele: 'telescope',
  chip: 'chip',
  readMode: 'read mode',
  serial: 'serial number',
};

/** What does not match, in words; undefined when all does. */
function mismatch(rule: CalibrationRule, frame: Frame, record: CalibrationRecord): string | undefined {
  const parts = rule.match.flatMap((key) => {
    const [have, want] = [record[key], frame[key] ?? ''];
    const stated = key === 'tele' || key === 'chip' || (have !== '' && want !== '');
    return stated && have !== want ? [`it is for ${KEY_WORDS[key]} '${have}', the frame has '${want}'`] : [];
  });
  return parts.length === 0 ? undefined : parts.join('; ');
}

/** The window and the frame in words: "its window [60000, 60500) ends 3.2 d before the frame". */
function placeText(
  record: CalibrationRecord,
  { frame, distanceDays }: Pick<Candidate, 'frame' | 'distanceDays'>,
): string {
  const window = `its window ${windowText(record)}`;
  if (frame === 'inside') return `${window} contains the frame`;
  return frame === 'after'
    ? `${window} ends ${days(distanceDays)} before the frame`
    : `${window} begins ${days(distanceDays)} after the frame`;
}

type Open = Omit<Candidate, 'verdict' | 'reason' | 'weight'>;
type Settled = Pick<RuleResult, 'how' | 'ambiguities' | 'warnings' | 'summary'>;

/** Collects verdicts for one rule. */
class Verdicts {
  readonly #list: Candidate[] = [];
  use(candidate: Open, reason: string, weight = 1): void {
    this.#list.push({ ...candidate, verdict: 'used', reason, weight });
  }
  refuse(candidate: Open, reason: string): void {
    this.#list.push({ ...candidate, verdict: 'refused', reason, weight: 0 });
  }
  result(rule: CalibrationRule, settled: Settled): RuleResult {
    const rank = ({ verdict, matches }: Candidate) => (verdict === 'used' ? 0 : matches ? 1 : 2);
    const candidates = this.#list.sort(
      (a, b) => rank(a) - rank(b) || a.distanceDays - b.distanceDays || newestFirst(a.record, b.record),
    );
    return { rule, candidates, ...settled };
  }
}

const byNearest = (a: Open, b: Open) => a.distanceDays - b.distanceDays || newestFirst(a.record, b.record);

function pinned(
  rule: CalibrationRule,
  frame: Frame,
  pin: Pin,
  candidates: readonly Open[],
  verdicts: Verdicts,
): RuleResult {
  const wanted = new Map(
    pin.entries
      .filter(({ kind, tele, chip }) => kind === rule.kind && tele === frame.tele && chip === frame.chip)
      .map(({ sha256, weight }) => [sha256, weight]),
  );
  const known = new Set(candidates.map(({ record }) => record.sha256));
  const gone = [...wanted.keys()].filter((sha256) => !known.has(sha256));
  const whole = wanted.size > 0 && gone.length === 0;
  const warnings: string[] = [];
  for (const candidate of candidates) {
    const { record } = candidate;
    const weight = wanted.get(record.sha256);
    if (weight === undefined) verdicts.refuse(candidate, `it is not in the pin ${pin.name}`);
    else if (!whole) verdicts.refuse(candidate, 'what was pinned beside it is not in the registry');
    else {
      verdicts.use(candidate, `pinned as ${pin.name}; ${placeText(record, candidate)}`, weight);
      if (candidate.frame !== 'inside' && weight === 1)
        warnings.push(`${record.file} is pinned, and ${placeText(record, candidate)}`);
      if (!rule.grades.includes(record.grade))
        warnings.push(`${record.file} is pinned, and its grade is ${record.grade}`);
    }
  }
  const summary = whole
    ? `pinned as ${pin.name}`
    : gone.length > 0
      ? `pinned as ${pin.name}, and the registry has no file of sha256 ${gone.join(', ')} for this detector`
      : `the pin ${pin.name} holds none for this detector`;
  return verdicts.result(rule, { how: whole ? 'pinned' : 'none', ambiguities: [], warnings, summary });
}

function inside(
  rule: CalibrationRule,
  found: readonly Open[],
  outside: readonly Open[],
  verdicts: Verdicts,
): RuleResult {
  const [chosen, ...others] = [...found].sort((a, b) => newestFirst(a.record, b.record)) as [Open, ...Open[]];
  const { file } = chosen.record;
  const more = others.length === 0 ? '' : `; the newest of ${found.length} that do`;
  verdicts.use(chosen, `${placeText(chosen.record, chosen)}${more}`);
  for (const other of others) {
    verdicts.refuse(
      other,
      `${placeText(other.record, other)}, but ${file} is newer: ${whyNewer(chosen.record, other.record)}`,
    );
  }
  for (const other of outside)
    verdicts.refuse(other, `${placeText(other.record, other)}, and that of ${file} contains it`);
  const ambiguities =
    others.length === 0
      ? []
      : [
          `${found.length} windows contain the frame; ${file} is the newest: ${whyNewer(chosen.record, (others[0] as Open).record)}`,
        ];
  const warnings = chosen.record.grade === 'pass' ? [] : [`the grade of ${file} is ${chosen.record.grade}`];
  return verdicts.result(rule, {
    how: 'inside',
    ambiguities,
    warnings,
    summary: `${file}: ${placeText(chosen.record, chosen)}${more}`,
  });
}

function nearest(rule: CalibrationRule, outside: readonly Open[], verdicts: Verdicts): RuleResult {
  const { side, limitDays, warnDays } = rule.nearest;
  const allowed: Open[] = [];
  for (const candidate of outside) {
    const where = placeText(candidate.record, candidate);
    // The frame after the window is the window before the frame.
    const windowIs = candidate.frame === 'after' ? 'before' : 'after';
    if (side !== 'either' && windowIs !== side) {
      verdicts.refuse(candidate, `${where}, and the rule takes only windows ${side} the frame`);
    } else if (candidate.distanceDays > limitDays) {
      verdicts.refuse(candidate, `${where}, and the limit is ${days(limitDays)}`);
    } else allowed.push(candidate);
  }
  allowed.sort(byNearest);
  const before = allowed.find(({ frame }) => frame === 'after');
  const after = allowed.find(({ frame }) => frame === 'before');
  const [first] = allowed;
  if (first === undefined) {
    const summary = outside.length === 0 ? 'there is none for this detector' : 'none is near enough';
    return verdicts.result(rule, { how: 'none', ambiguities: [], warnings: [], summary });
  }
  const gap = before === undefined || after === undefined ? 0 : before.distanceDays + after.distanceDays;
  const chosen = new Map<Open, number>();
  // A frame at the very end of the earlier window has all its weight there.
  if (rule.interpolate && before !== undefined && after !== undefined && before.distanceDays > 0) {
    chosen.set(before, after.distanceDays / gap).set(after, before.distanceDays / gap);
  } else chosen.set(first, 1);
  const interpolated = chosen.size === 2;
  const warnings: string[] = [];
  const ambiguities: string[] = [];
  for (const candidate of allowed) {
    const { record } = candidate;
    const where = placeText(record, candidate);
    const weight = chosen.get(candidate);
    if (weight !== undefined) {
      verdicts.use(candidate, interpolated ? `${where}; weight ${round(weight)}` : `${where}; the nearest`, weight);
      if (candidate.distanceDays > warnDays)
        warnings.push(`${record.file}: ${where}; more than ${days(warnDays)} is doubtful`);
      if (record.grade !== 'pass') warnings.push(`the grade of ${record.file} is ${record.grade}`);
      continue;
    }
    const rival =
      interpolated && candidate.frame === 'before' ? (after as Open) : interpolated ? (before as Open) : first;
    const tie = rival.distanceDays === candidate.distanceDays;
    if (tie) {
      ambiguities.push(
        `${rival.record.file} and ${record.file} are equally near; the first is the newer: ${whyNewer(rival.record, record)}`,
      );
    }
    verdicts.refuse(
      candidate,
      tie
        ? `${where}, as ${rival.record.file}, which is newer: ${whyNewer(rival.record, record)}`
        : `${where}, and ${rival.record.file} is nearer (${days(rival.distanceDays)})`,
    );
  }
  const parts = [...chosen].map(([candidate, weight]) => {
    const text = `${candidate.record.file}: ${placeText(candidate.record, candidate)}`;
    return interpolated ? `${round(weight)} x ${text}` : text;
  });
  return verdicts.result(rule, {
    how: interpolated ? 'interpolated' : 'nearest',
    ambiguities,
    warnings,
    summary: parts.join(' + '),
  });
}

function applyRule(
  rule: CalibrationRule,
  frame: Frame,
  records: readonly CalibrationRecord[],
  pin: Pin | undefined,
): RuleResult {
  const verdicts = new Verdicts();
  const matching: Open[] = [];
  for (const record of records) {
    if (record.kind !== rule.kind) continue;
    const candidate = { record, matches: true, ...place(record, frame.mjd) };
    const why = mismatch(rule, frame, record);
    if (why === undefined) matching.push(candidate);
    else verdicts.refuse({ ...candidate, matches: false }, why);
  }
  if (pin !== undefined) return pinned(rule, frame, pin, matching, verdicts);
  const good = matching.filter((candidate) => {
    const { grade } = candidate.record;
    if (rule.grades.includes(grade)) return true;
    verdicts.refuse(
      candidate,
      `its grade is ${grade}, accepted is ${rule.grades.join(' or ')}; ${placeText(candidate.record, candidate)}`,
    );
    return false;
  });
  const within = good.filter((candidate) => candidate.frame === 'inside');
  const outside = good.filter((candidate) => candidate.frame !== 'inside');
  return within.length > 0 ? inside(rule, within, outside, verdicts) : nearest(rule, outside, verdicts);
}

/**
 * Chooses for each rule.
 * @param records all there are; of any kind and detector
 * @param pin takes exactly what it holds
 * @param unusable files that could not be read or are not registered: part of what is explained
 */
export function selectCalibrations(
  rules: readonly CalibrationRule[],
  frame: Frame,
  records: readonly CalibrationRecord[],
  pin?: Pin,
  unusable: Explanation['unusable'] = [],
): Explanation {
  const results = rules.map((rule) => applyRule(rule, frame, records, pin));
  return {
    frame,
    ...(pin && { pin: pin.name }),
    results,
    missing: results.filter(({ rule, how }) => rule.required && how === 'none').map(({ rule }) => rule.kind),
    unusable,
  };
}

/** Refused candidates that an error names for each missing kind. */
const NAMED = 3;

const frameText = ({ tele, chip, mjd }: Frame) => `${tele} chip ${chip} at MJD ${round(mjd)} (${isoFromMjd(mjd)})`;

/**
 * Nothing, or one error for all that is missing, with the nearest that were refused and why.
 * @throws CalibrationError
 */
export function requireComplete({ frame, pin, results, missing, unusable }: Explanation, directory?: string): void {
  if (missing.length === 0) return;
  const parts = results.flatMap(({ rule, how, candidates, summary }) => {
    if (!rule.required || how !== 'none') return [];
    const near = candidates.filter(({ matches }) => matches).slice(0, NAMED);
    const others = candidates.length - candidates.filter(({ matches }) => matches).length;
    const refused = near.map(({ record, reason }) => `${record.file}: ${reason}`);
    if (near.length === 0 && others > 0) refused.push(`${others} of other detectors or modes`);
    return [`${rule.kind} (${summary}${refused.length > 0 ? `; refused ${refused.join('; ')}` : ''})`];
  });
  for (const { file, reason } of unusable) parts.push(`${file}: ${reason}`);
  throw new CalibrationError(
    `no ${missing.join(', no ')} for ${frameText(frame)}${pin === undefined ? '' : ` in the pin ${pin}`}: ${parts.join('; ')}`,
    { file: directory },
  );
}

/**
 * The choice and what was refused, for a product's PROVENANCE. Candidates of other detectors are one entry a kind.
 * `used` is false for what went into nothing: such entries belong into no key.
 */
export function toProvenance({ results, pin, unusable }: Explanation): ProvenanceEntry[] {
  const pinEntry = { role: 'pin', sha256: '', why: 'asked for by the user', used: true };
  return [
    ...results.flatMap(({ rule, candidates, ambiguities, warnings }) => {
      const notes = [...ambiguities, ...warnings];
      const others = candidates.filter(({ matches }) => !matches);
      return [
        ...candidates
          .filter(({ matches }) => matches)
          .map(({ record, verdict, reason }): ProvenanceEntry => {
            const used = verdict === 'used';
            return {
              role: rule.kind,
              name: record.file,
              sha256: record.sha256,
              why: used ? [reason, ...notes].join('; ') : reason,
              used,
            };
          }),
        ...(others.length === 0
          ? []
          : [
              {
                role: rule.kind,
                name: `${others.length} other ${others.length === 1 ? 'file' : 'files'}`,
                sha256: '',
                why: `of other detectors or modes: ${[...new Set(others.map(({ record }) => `${record.tele} ${record.chip}`))].sort().join(', ')}`,
                used: false,
              },
            ]),
      ];
    }),
    ...unusable.map(({ file, reason }) => ({ role: 'calibration', name: file, sha256: '', why: reason, used: false })),
    ...(pin === undefined ? [] : [{ ...pinEntry, name: pin }]),
  ];
}

/**
 * The explanation for people, a paragraph for each rule.
 * @param all lists the candidates of other detectors and modes one by one too
 */
export function explanationText(
  { frame, pin, results, missing, unusable }: Explanation,
  { all = false }: { readonly all?: boolean } = {},
): string {
  const lines = [`${frameText(frame)}${pin === undefined ? '' : `, pin ${pin}`}`];
  for (const { rule, how, candidates, ambiguities, warnings, summary } of results) {
    const { side, limitDays } = rule.nearest;
    const need = rule.required ? 'required' : 'optional';
    lines.push(
      '',
      `${rule.kind} (${rule.usedBy}, ${need}; grade ${rule.grades.join(' or ')}; else nearest ${side === 'either' ? 'before or after' : side} within ${days(limitDays)}${rule.interpolate ? ', interpolated' : ''})`,
      `  ${how === 'none' ? `${rule.required ? 'MISSING' : 'none'}: ${summary}` : how}`,
    );
    const shown = all ? candidates : candidates.filter(({ matches }) => matches);
    for (const { record, verdict, reason } of shown) lines.push(`  ${verdict.padEnd(7)}  ${record.file}: ${reason}`);
    const others = candidates.length - shown.length;
    if (others > 0) lines.push(`  refused  ${others} of other detectors or modes`);
    for (const text of ambiguities) lines.push(`  note     ${text}`);
    for (const text of warnings) lines.push(`  WARNING  ${text}`);
  }
  if (unusable.length > 0)
    lines.push('', 'not looked at:', ...unusable.map(({ file, reason }) => `  ${file}: ${reason}`));
  lines.push('', missing.length === 0 ? 'all that is required is there' : `missing: ${missing.join(', ')}`);
  return `${lines.join('\n')}\n`;
}
