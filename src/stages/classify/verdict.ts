/**
 * From features to a verdict: a small tree with soft branches. Each branch is a ramp of data/classify.json; the shares
 * multiply to a probability of each kind of light. Only then is the header's claim looked at.
 */
import type { ExposureKind } from '../../core/exposure.js';
import type { ChipFeatures, FeatureName } from './features.js';
import { LIGHTS, type Light, type RampName, type Rules } from './rules.js';

export type Verdict = 'ok' | 'suspect' | 'drop';

/** Probability of each kind of light; they add up to 1. */
export type Shares = Readonly<Record<Light, number>>;

export interface Judgement {
  readonly verdict: Verdict;
  /** One sentence for a person. */
  readonly reason: string;
  /** What the light is; 'unknown' where no kind is likely. */
  readonly found: Light;
  /** Mean of the chips' probabilities of that light. */
  readonly confidence: number;
}

/** 0: no, 1: yes. A value that is missing (NaN) says neither: 1/2. */
function answer({ ramps }: Rules, name: RampName, value: number): number {
  const { no, yes } = ramps[name];
  if (Number.isNaN(value)) return 0.5;
  return value <= no ? 0 : value >= yes ? 1 : Math.log(value / no) / Math.log(yes / no);
}

/** What light the features of a chip show. */
export function lightOf({ values }: ChipFeatures, rules: Rules): Shares {
  const ask = (name: RampName, value: number) => answer(rules, name, value);
  const { level, fibres, lines, share, comb, sky, contrast, peaked, even, tilt } = values;
  const wide = Math.max(ask('level', level), ask('fibres', fibres));
  const lit = Math.max(wide, ask('lines', lines));
  // Faint lines have no part in the light of a chip that has a background: what is not seen between lines counts, too.
  const spectrumOfLines = Math.max(ask('share', share), 1 - wide);
  // Lines: of the Fabry-Perot, of a lamp, or of the night sky alone.
  const inLines = lit * spectrumOfLines;
  const fpi = ask('comb', comb);
  const night = ask('sky', sky);
  // A continuum: in fibres or on the whole detector, with sky lines on it, or the same in all fibres.
  const continuum = lit * (1 - spectrumOfLines);
  const inFibres = ask('contrast', contrast);
  // Where there are too few fibres to tell whether they are even, lines alone decide.
  const uneven = Math.max(ask('peaked', peaked), Number.isNaN(even) ? 0 : 1 - ask('even', even));
  const smooth = (1 - ask('peaked', peaked)) * (1 - ask('tilt', tilt));
  const shares = {
    dark: 1 - lit,
    internalflat: continuum * (1 - inFibres) * smooth,
    fibreflat: continuum * inFibres * (1 - uneven),
    arclamp: inLines * (1 - fpi) * (1 - night),
    fpi: inLines * fpi,
    object: inLines * (1 - fpi) * night + continuum * inFibres * uneven * night,
  };
  return { ...shares, unknown: continuum * ((1 - inFibres) * (1 - smooth) + inFibres * uneven * (1 - night)) };
}

const WORDS: Readonly<Record<Light, string>> = {
  dark: 'there is no light',
  internalflat: 'the light is that of an internal flat',
  fibreflat: 'the light is a continuum, the same in all fibres, as of a dome, quartz or twilight flat',
  arclamp: 'the light is that of an arc lamp',
  fpi: 'the light is that of the Fabry-Perot',
  object: 'the light is that of sky and stars in the fibres',
  unknown: 'the light is of no known kind',
};

/** By which number each light shows that it is no charge left by an earlier exposure. */
const BRIGHTNESS: Readonly<Partial<Record<Light, readonly [ramp: RampName, feature: FeatureName]>>> = {
  internalflat: ['persistent', 'level'],
  fibreflat: ['persistent', 'fibres'],
  arclamp: ['persistentLines', 'lines'],
  fpi: ['persistentLines', 'lines'],
  object: ['persistentSky', 'lines'],
  unknown: ['persistent', 'level'],
};

const figure = (value: number): string =>
  Number.isNaN(value) ? 'not a number' : Number(value.toPrecision(2)).toString();

/** The numbers that show the light, against the limits below which there is none. */
function evidence(chips: readonly ChipFeatures[], found: Light, { ramps }: Rules): string {
  const largest = (name: 'level' | 'fibres' | 'lines') => Math.max(...chips.map(({ values }) => values[name]));
  const said = (name: 'level' | 'fibres' | 'lines', word: string) =>
    `${word} ${figure(largest(name))} DN/read against at most ${ramps[name].no} without light`;
  if (found === 'dark') {
    const { level, fibres, lines } = ramps;
    return (
      `median ${figure(largest('level'))}, fibres ${figure(largest('fibres'))}, lines ${figure(largest('lines'))} DN/read, ` +
      `at least ${level.yes}, ${fibres.yes} or ${lines.yes} with light`
    );
  }
  if (found === 'arclamp' || found === 'fpi') return said('lines', 'lines of');
  if (found === 'fibreflat' || found === 'object') return said('fibres', 'fibres of');
  return said('level', 'median');
}

/** Whether light is brighter than what an earlier exposure leaves: on each chip, for a lamp's lines on one. */
function isBright(chips: readonly ChipFeatures[], found: Light, rules: Rules): boolean {
  const [ramp, feature] = BRIGHTNESS[found] ?? [];
  if (ramp === undefined || feature === undefined) return false;
  const bright = ({ values }: ChipFeatures) => answer(rules, ramp, values[feature]) >= rules.certain;
  return ramp === 'persistentLines' ? chips.some(bright) : chips.every(bright);
}

/** Whether a chip that shows no light would have shown the light that is claimed. */
function wouldShow({ values }: ChipFeatures, claim: ExposureKind, rules: Rules): boolean {
  const { rows, lampNoise } = rules.withoutLight;
  // A strip of few rows sees no fibre, or hardly one.
  if (values.rows < rows) return false;
  if (claim === 'arclamp') return values.noise <= lampNoise;
  if (claim !== 'object') return true;
  // The sky is faint: even a small part of it must be known to be missing, and none be seen.
  return answer(rules, 'night', values.night) <= 1 - rules.certain && !(values.sky > rules.ramps.sky.no);
}

/**
 * The verdict on an exposure. What is faint, ambiguous, or seen on some chips alone is never 'drop': to drop, every chip
 * must be certain, light must be brighter than persistence can be, and an object must lack the lines of the night sky.
 * @param claim what the header says
 */
export function judge(chips: readonly ChipFeatures[], claim: ExposureKind, rules: Rules): Judgement {
  const shares = chips.map((chip) => lightOf(chip, rules));
  const mean = (light: Light) => shares.reduce((sum, one) => sum + one[light], 0) / Math.max(1, shares.length);
  const best = LIGHTS.reduce((a, b) => (mean(b) > mean(a) ? b : a));
  const confidence = mean(best);
  const found: Light = confidence >= rules.likely ? best : 'unknown';
  const { ok, drop } = rules.claims[claim] ?? { ok: [], drop: [] };
  const says = claim === 'unknown' ? 'the header does not say what this is' : `the header says ${claim}`;
  const what = `${WORDS[found]}: ${evidence(chips, found, rules)}`;
  const finding = (verdict: Verdict, reason: string): Judgement => ({ verdict, reason, found, confidence });
  // What the claim allows counts together: a twilight is between a flat and an object.
  const allowed = ok.reduce((sum, light) => sum + mean(light), 0);
  if (ok.includes(found) || allowed >= rules.likely) {
    // A lamp may have no line on a chip that is bright enough for a short exposure.
    const agrees = (one: Shares) =>
      ok.reduce((sum, light) => sum + one[light], claim === 'arclamp' ? one.dark : 0) > 1 - rules.certain;
    const others = chips.filter((_, i) => !agrees(shares[i] as Shares));
    if (others.length === 0) return finding('ok', `${says}, and ${what}`);
    return finding('suspect', `${says}, and ${what}; but not on chip ${others.map(({ chip }) => chip).join(', ')}`);
  }
  if (!drop.includes(found)) return finding('suspect', `${says}; ${what}`);
  // A dark does not ask which light it is: any spoils it.
  const certain = shares.every((one) => (claim === 'dark' ? 1 - one.dark : one[found]) >= rules.certain);
  const plain = found === 'dark' ? chips.every((chip) => wouldShow(chip, claim, rules)) : isBright(chips, found, rules);
  if (chips.length > 0 && certain && plain) return finding('drop', `${says}; ${what}`);
  return finding('suspect', `${says}; ${what}; too uncertain to drop it`);
}
