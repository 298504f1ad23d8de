/** From a plan and what became of it to what is told about the night: pure functions, no file is touched. */
import type { Exposure } from '../core/exposure.js';
import type {
  ExposureState,
  FlowDrop,
  FlowLink,
  FlowNode,
  NightCalibration,
  NightExposure,
  NightFinding,
  NightFlow,
  NightGrade,
  NightReport,
  NightSeries,
  NightStage,
} from '../stages/qa/night/model.js';
import { NIGHT_SCHEMA } from '../stages/qa/night/model.js';
import type { Job, NightEvent, Outcome, Plan } from './job.js';

export interface Verdict {
  readonly kind: string;
  readonly verdict: 'ok' | 'suspect' | 'drop';
  readonly reason: string;
}

/** What is known of a night beside its plan; whoever reads files gathers it. */
export interface NightFacts {
  /** Of all logs. */
  readonly events: readonly NightEvent[];
  /** Of jobs whose product is there as its manifest says: its bytes. */
  readonly whole: ReadonlyMap<
    string,
    { readonly bytes: number; readonly products: readonly string[]; readonly pages: readonly string[] }
  >;
  /** What the light says, by number of exposure. */
  readonly light: ReadonlyMap<number, Verdict>;
  readonly calibrations: readonly NightCalibration[];
  readonly outliers: NightReport['outliers'];
  readonly badList: string;
  readonly links: NightReport['links'];
  /** Log of an exposure relative to the page, '' where there is none. */
  readonly logOf: (exposure: number) => string;
  /** Pixels of a chip, for shares. */
  readonly pixels: number;
  /** Directory of products as the user names it. */
  readonly output: string;
  readonly commands: NightReport['commands'];
}

/** From this share of exposures on that were dropped the night is bad. Chosen: half of a night is not a night. */
const BAD_SHARE = 0.5;
/** Largest number of lines of findings of a sort; the rest is one line. */
const MOST_FINDINGS = 12;

/** Summary numbers that count pixels of a chip, and what they are called. */
const PIXEL_COUNTS: Readonly<Record<string, string>> = {
  saturated: 'saturated',
  jumps: 'jumps',
  noData: 'no data',
  noCalibration: 'no calibration',
};
/** Summary numbers that say what was asked for, not how the detector was. */
const SETTINGS: readonly string[] = ['reads', 'readsUsed', 'extract.flat'];
/** Names and units of those that are known: medians of good pixels; of a stage where the same word means another thing. */
const NAMES: Readonly<Record<string, readonly [name: string, unit: string]>> = {
  level: ['rate', 'DN/read'],
  error: ['error of the rate', 'DN/read'],
  chi2: ['reduced chi2', ''],
  zeroPoint: ['zero point', 'DN'],
  'trace.level': ['light of a fibre of a flat', 'DN/read'],
  'trace.chi2': ['chi2 of traces', ''],
  'trace.shift': ['shift of flats against the metrology', 'px'],
  'trace.rms': ['scatter of centres about their traces', 'px'],
  'trace.ok': ['fibres that are ok', ''],
  'trace.low': ['fibres of little light', ''],
  'trace.broken': ['fibres that are broken', ''],
  'trace.blended': ['fibres that are blended', ''],
  'trace.off-chip': ['fibres beyond the chip', ''],
  'extract.chi2': ['chi2 of spectra', ''],
  'extract.outliers': ['values of spectra with an outlier', ''],
  'extract.missing': ['values of spectra that are missing', ''],
  'model.chi2': ['chi2 of models', ''],
  'model.scatter': ['scatter of the residual over its error', ''],
  'model.outliers': ['pixels off the model', ''],
  'model.share': ['pixels off the model, share', ''],
  'model.background': ['scattered light of flats', 'DN/read'],
};
/** A stage may put the unit into the name: 'width [pixel]'. */
const UNIT_IN_NAME = /^(.*) \[(.*)\]$/;

/** In the order in which their keys first come. */
function groupsOf<T>(items: Iterable<T>, keyOf: (item: T) => string): Map<string, [T, ...T[]]> {
  const groups = new Map<string, [T, ...T[]]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

export type JobFate = 'done' | 'dropped' | 'failed' | 'todo';

interface Fate {
  readonly job: Job;
  readonly state: JobFate;
  /** Of dropped and failed ones. */
  readonly reason: string;
  readonly by: string;
  /** The newest that did work, or the newest of all. */
  readonly outcome?: Outcome | undefined;
  readonly retries: number;
}

const WORKED: ReadonlySet<string> = new Set(['done', 'dropped', 'failed']);

/** What became of each job: the plan says what is whole, the logs what was tried. */
function fatesOf(plan: Plan, facts: NightFacts): Map<string, Fate> {
  const last = new Map<string, Outcome>();
  const worked = new Map<string, Outcome>();
  const retries = new Map<string, number>();
  for (const { event, outcome, job } of facts.events) {
    if (event === 'retry' && job !== undefined) retries.set(job, (retries.get(job) ?? 0) + 1);
    if (event !== 'end' || outcome === undefined) continue;
    last.set(outcome.job, outcome);
    if (WORKED.has(outcome.status)) worked.set(outcome.job, outcome);
  }
  return new Map(
    plan.jobs.map((job): [string, Fate] => {
      const outcome = worked.get(job.id) ?? last.get(job.id);
      const newest = last.get(job.id)?.status;
      const common = { job, outcome, retries: retries.get(job.id) ?? 0 };
      if (job.state === 'done' || facts.whole.has(job.id))
        return [job.id, { ...common, state: 'done', reason: '', by: '' }];
      if (job.state === 'dropped') return [job.id, { ...common, state: 'dropped', reason: job.why, by: 'input' }];
      if (newest === 'dropped' || newest === 'failed') {
        const { message = 'no reason was recorded', error = 'input' } = last.get(job.id)?.failure ?? {};
        return [job.id, { ...common, state: newest, reason: message, by: error }];
      }
      return [job.id, { ...common, state: 'todo', reason: job.why, by: '' }];
    }),
  );
}

/** Depth of each stage: one more than the deepest that it reads or asks; the order of calibrations does not count. */
function depthsOf(plan: Plan): Map<string, number> {
  const stageOf = new Map(plan.jobs.map(({ id, stage }) => [id, stage]));
  const before = new Map<string, Set<string>>();
  for (const { stage, needs } of plan.jobs) {
    const own = before.get(stage) ?? new Set();
    before.set(stage, own);
    for (const { job, how } of needs) {
      const other = stageOf.get(job);
      if (how !== 'order' && other !== undefined && other !== stage) own.add(other);
    }
  }
  const depths = new Map<string, number>();
  const depth = (stage: string): number => {
    const known = depths.get(stage);
    if (known !== undefined) return known;
    depths.set(stage, 0);
    const found = 1 + Math.max(0, ...[...(before.get(stage) ?? [])].map(depth));
    depths.set(stage, found);
    return found;
  };
  for (const stage of before.keys()) depth(stage);
  return depths;
}

/** Sentences that differ in numbers and names of files alone are alike. */
const alike = (reason: string) => reason.replace(/\S*[/\\]\S*/g, '…').replace(/[\w.-]*\d[\w.-]*/g, '#');

const isMissing = ({ kind }: Exposure) => kind === 'missing';

interface Loss {
  readonly at: string;
  readonly by: string;
  readonly reason: string;
}

/** The way of an exposure through the stages. */
interface Way {
  readonly exposure: Exposure;
  /** In the order of depth, as far as any chip came. */
  readonly stages: readonly { readonly stage: string; readonly from: string; readonly done: boolean }[];
  /** Where chips left it, together as far as stage and reason agree; no chips: all of them did. */
  readonly losses: readonly { readonly loss: Loss; readonly chips: readonly string[] }[];
  /** Whether no chip came to the end. */
  readonly gone: boolean;
  /** Stages that are still to be done. */
  readonly todo: readonly string[];
}

function wayOf(
  exposure: Exposure,
  plan: Plan,
  jobs: readonly Job[],
  fates: ReadonlyMap<string, Fate>,
  depths: ReadonlyMap<string, number>,
  gates: ReadonlySet<string>,
  light: Verdict | undefined,
): Way {
  const stages: { stage: string; from: string; done: boolean }[] = [];
  const lost = new Map<string, Loss>();
  const todo = new Set<string>();
  const lose = (loss: Loss, chip?: string) => {
    for (const one of chip === undefined ? plan.chips : [chip]) if (!lost.has(one)) lost.set(one, loss);
  };
  const allLost = () => lost.size >= plan.chips.length;
  if (exposure.drop !== undefined) lose({ at: 'raw', ...exposure.drop });
  for (const chip of plan.chips) {
    const frame = exposure.frames.find((one) => one.chip === chip);
    if (frame === undefined) lose({ at: 'raw', by: 'input', reason: 'there is no raw file' }, chip);
    else if (frame.drop !== undefined) lose({ at: 'raw', ...frame.drop }, chip);
  }
  const ordered = [...groupsOf(jobs, ({ stage }) => stage)].sort(
    ([a], [b]) => (depths.get(a) ?? 0) - (depths.get(b) ?? 0),
  );
  for (const [stage, own] of ordered) {
    const live = own.filter(({ identity: { chip } }) => chip === undefined || !lost.has(chip));
    if (allLost() || live.length === 0) continue;
    // It comes from the deepest stage that it was in and that this one reads or asks.
    const needed = new Set(
      own.flatMap(({ needs }) => needs.flatMap(({ how, job }) => (how === 'order' ? [] : fates.get(job)?.job.stage))),
    );
    const from = stages.findLast((one) => needed.has(one.stage))?.stage ?? 'raw';
    const found = live.map(({ id }) => fates.get(id) as Fate);
    const done = found.some(({ state }) => state === 'done') && found.every(({ state }) => state !== 'todo');
    stages.push({ stage, from, done });
    for (const { job, state, reason, by, outcome } of found) {
      if (state === 'todo') todo.add(stage);
      // A job that joins exposures speaks for itself.
      if (job.identity.exposure === undefined) continue;
      if (state === 'dropped') lose({ at: stage, by, reason }, job.identity.chip);
      if (state === 'failed') lose({ at: stage, by: `failed, ${by}`, reason }, job.identity.chip);
      const verdict = outcome?.verdict ?? (gates.has(stage) && state === 'done' ? light : undefined);
      if (verdict?.verdict === 'drop') lose({ at: stage, by: 'verdict', reason: verdict.reason }, job.identity.chip);
    }
  }
  const losses = [...groupsOf(lost, ([, { at, by, reason }]) => `${at} ${by} ${alike(reason)}`).values()].map(
    (group) => ({
      loss: group[0][1],
      chips: group.length === plan.chips.length ? [] : group.map(([chip]) => chip),
    }),
  );
  return { exposure, stages, losses, gone: allLost(), todo: [...todo] };
}

/** Stages whose verdict others ask. */
function gatesOf(plan: Plan): Set<string> {
  const asked = new Set(
    plan.jobs.flatMap(({ needs }) => needs.flatMap(({ how, job }) => (how === 'gate' ? [job] : []))),
  );
  return new Set(plan.jobs.filter(({ id }) => asked.has(id)).map(({ stage }) => stage));
}

const numbersOf = (lost: FlowDrop['lost']) => lost.map(({ exposure }) => exposure);

function flowOf(plan: Plan, ways: readonly Way[], depths: ReadonlyMap<string, number>): NightFlow {
  const links = new Map<string, { from: string; to: string; kind: string; exposures: number }>();
  const nodes = new Map<string, { exposures: number; done: number }>();
  const drops = new Map<
    string,
    { loss: Loss; share: number; lost: { exposure: number; chips: readonly string[] }[] }
  >();
  const kinds = new Map<string, number>();
  for (const { exposure, stages, losses } of ways) {
    kinds.set(exposure.kind, (kinds.get(exposure.kind) ?? 0) + 1);
    for (const { stage, from, done } of stages) {
      const node = nodes.get(stage) ?? { exposures: 0, done: 0 };
      nodes.set(stage, node);
      node.exposures++;
      if (done) node.done++;
      const key = `${from} ${stage} ${exposure.kind}`;
      const link = links.get(key) ?? { from, to: stage, kind: exposure.kind, exposures: 0 };
      links.set(key, link);
      link.exposures++;
    }
    for (const { loss, chips } of losses) {
      const key = `${loss.at} ${loss.by} ${alike(loss.reason)}`;
      const drop = drops.get(key) ?? { loss, share: 0, lost: [] };
      drops.set(key, drop);
      drop.share += chips.length === 0 ? 1 : chips.length / plan.chips.length;
      drop.lost.push({ exposure: exposure.exposure, chips });
    }
  }
  const raw: FlowNode = { id: 'raw', depth: 0, exposures: ways.length, done: ways.length };
  const listed = [...nodes].map(([id, node]): FlowNode => ({ id, depth: depths.get(id) ?? 1, ...node }));
  const place = new Map([...depths.keys()].map((stage, i) => [stage, i]));
  listed.sort((a, b) => a.depth - b.depth || (place.get(a.id) ?? 0) - (place.get(b.id) ?? 0));
  const found = [...drops.values()].map(({ loss, share, lost }): FlowDrop => ({ ...loss, share, lost }));
  return {
    exposures: ways.length,
    kinds: [...kinds].map(([kind, exposures]) => ({ kind, exposures })).sort((a, b) => b.exposures - a.exposures),
    nodes: [raw, ...listed],
    links: [...links.values()] satisfies FlowLink[],
    drops: found.sort((a, b) => (depths.get(a.at) ?? 0) - (depths.get(b.at) ?? 0) || b.share - a.share),
  };
}

function stagesOf(fates: ReadonlyMap<string, Fate>, depths: ReadonlyMap<string, number>): NightStage[] {
  const groups = groupsOf(fates.values(), ({ job }) => job.stage);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const stages = [...groups].map(([name, all]): NightStage => {
    const number = (state: JobFate) => all.filter((one) => one.state === state).length;
    const outcomes = all.flatMap(({ outcome }) => outcome ?? []);
    const steps = new Map<string, number>();
    for (const step of outcomes.flatMap(({ timings }) => timings ?? [])) {
      steps.set(step.name, (steps.get(step.name) ?? 0) + step.seconds);
    }
    const peaks = outcomes.flatMap(({ peakBytes }) => peakBytes ?? []);
    return {
      name,
      scope: all[0].job.scope,
      depth: (depths.get(name) ?? 1) - 1,
      jobs: all.length,
      done: number('done'),
      dropped: number('dropped'),
      failed: number('failed'),
      todo: number('todo'),
      seconds: sum(outcomes.map(({ seconds }) => seconds)),
      cpuSeconds: sum(outcomes.map(({ seconds, cpuSeconds }) => cpuSeconds ?? seconds)),
      cpuKnown: outcomes.every(({ cpuSeconds, seconds }) => cpuSeconds !== undefined || seconds === 0),
      predictedCpuSeconds: sum(all.map(({ job }) => job.prediction.cpuSeconds)),
      peakBytes: peaks.length === 0 ? null : peaks.reduce((a, b) => Math.max(a, b)),
      predictedPeakBytes: all.map(({ job }) => job.prediction.peakBytes).reduce((a, b) => Math.max(a, b), 0),
      retries: sum(all.map(({ retries }) => retries)),
      steps: [...steps].map(([step, seconds]) => ({ name: step, seconds })).sort((a, b) => b.seconds - a.seconds),
    };
  });
  return stages.sort((a, b) => a.depth - b.depth);
}

const firstUpper = (words: string) => words.charAt(0).toUpperCase() + words.slice(1);

function exposureOf(
  way: Way,
  jobs: readonly Job[],
  fates: ReadonlyMap<string, Fate>,
  facts: NightFacts,
): NightExposure {
  const { exposure, losses, gone, todo } = way;
  const own = jobs.filter(({ identity }) => identity.exposure === exposure.exposure);
  const outcomes = own.flatMap(({ id }) => fates.get(id)?.outcome ?? []);
  const counts = new Map<string, number[]>();
  for (const { summary } of outcomes) {
    for (const [key, name] of Object.entries(PIXEL_COUNTS)) {
      const value = summary?.[key];
      if (typeof value === 'number') counts.set(name, [...(counts.get(name) ?? []), (100 * value) / facts.pixels]);
    }
  }
  const parts = losses.map(
    ({ loss: { at, reason }, chips }) =>
      `${chips.length === 0 ? '' : `chip ${chips.join(', ')}: `}${at === 'raw' ? '' : `at ${at}: `}${reason}`,
  );
  const failed = own.some(({ id }) => fates.get(id)?.state === 'failed');
  const state: ExposureState = failed
    ? 'failed'
    : gone
      ? 'dropped'
      : todo.length > 0
        ? 'todo'
        : losses.length > 0
          ? 'partly'
          : 'done';
  if (todo.length > 0 && !gone) parts.push(`to do: ${todo.join(', ')}`);
  if (!gone && own.length === 0) parts.push('no stage takes it');
  const page = (product: string) => {
    const directory = `${exposure.tele}/${exposure.mjd}/`;
    return product.startsWith(directory) ? product.slice(directory.length) : `../../${product}`;
  };
  return {
    exposure: exposure.exposure,
    kind: exposure.kind,
    chips: exposure.frames.map(({ chip }) => chip),
    reads: exposure.reads,
    start: Number.isFinite(exposure.start) ? (exposure.start as number) : null,
    seconds: Number.isFinite(exposure.exposureSeconds) ? exposure.exposureSeconds : 0,
    field: exposure.field,
    comment: exposure.comment,
    state,
    what: parts.map(firstUpper).join('; '),
    light: facts.light.get(exposure.exposure) ?? null,
    percent: Object.fromEntries(
      [...counts].map(([name, values]) => [name, values.reduce((a, b) => a + b, 0) / values.length]),
    ),
    warnings: outcomes.reduce((sum, { warnings }) => sum + (warnings?.length ?? 0), 0),
    products: own.flatMap(({ id, stage, identity }) =>
      (facts.whole.get(id)?.pages ?? []).map((name) => ({ stage, chip: identity.chip ?? '', href: page(name) })),
    ),
    log: facts.logOf(exposure.exposure),
  };
}

function missingRow({ exposure }: Exposure, facts: NightFacts): NightExposure {
  return {
    exposure,
    kind: 'missing',
    chips: [],
    reads: 0,
    start: null,
    seconds: 0,
    field: '',
    comment: '',
    state: 'missing',
    what: 'The numbering has a hole here: no chip has a raw file.',
    light: null,
    percent: {},
    warnings: 0,
    products: [],
    log: facts.logOf(exposure),
  };
}

/** A number 'NAME error' is the error of the number 'NAME'. */
const ERROR = ' error';

/** Numbers of the summaries over the night: one series for each name that stages give. */
function seriesOf(fates: ReadonlyMap<string, Fate>, pixels: number): NightSeries[] {
  const found = new Map<
    string,
    { stages: string[]; name: string; unit: string; points: NightSeries['points'][number][] }
  >();
  for (const { job, outcome, state } of fates.values()) {
    const { exposure, chip = '' } = job.identity;
    if (state !== 'done' || exposure === undefined || outcome?.summary === undefined) continue;
    const { kind, exposureSeconds } = job.exposures[0] as Exposure;
    for (const [key, value] of Object.entries(outcome.summary)) {
      const own = `${job.stage}.${key}`;
      if (typeof value !== 'number' || !Number.isFinite(value)) continue;
      if (SETTINGS.includes(key) || SETTINGS.includes(own)) continue;
      if (key.endsWith(ERROR) && key.slice(0, -ERROR.length) in outcome.summary) continue;
      let [name, unit] = NAMES[own] ?? NAMES[key] ?? UNIT_IN_NAME.exec(key)?.slice(1) ?? [key, ''];
      let shown = value;
      if (key === 'jumps') {
        if (!(exposureSeconds > 0)) continue;
        [name, unit, shown] = ['jumps', '1/s', value / exposureSeconds];
      } else if (PIXEL_COUNTS[key] !== undefined) {
        [name, unit, shown] = [`pixels ${PIXEL_COUNTS[key]}`, '%', (100 * value) / pixels];
      }
      const id = `${name} ${unit}`;
      const one = found.get(id) ?? { stages: [], name, unit, points: [] };
      found.set(id, one);
      if (!one.stages.includes(job.stage)) one.stages.push(job.stage);
      const error = outcome.summary[key + ERROR];
      one.points.push({ exposure, chip, kind, value: shown, ...(typeof error === 'number' && { error }) });
    }
  }
  const all = [...found.values()].filter(({ points }) => points.some(({ value }) => value !== 0));
  for (const { points } of all) points.sort((a, b) => a.exposure - b.exposure);
  return all;
}

/** Like warnings are one line: that all chips of 100 exposures say it makes a count of 100. */
function warningsOf(fates: ReadonlyMap<string, Fate>, events: readonly NightEvent[]): NightFinding[] {
  const told = [
    ...[...fates.values()].flatMap(({ job, outcome }) =>
      (outcome?.warnings ?? []).map((message) => ({ job, message })),
    ),
    ...events.flatMap(({ event, message, job }) =>
      event === 'warning' && message !== undefined ? [{ job: fates.get(job ?? '')?.job, message }] : [],
    ),
  ];
  const groups = groupsOf(told, ({ job, message }) => `${job?.stage ?? ''} ${alike(message)}`);
  return [...groups.values()]
    .map((group): NightFinding => {
      const [{ job, message }] = group;
      const exposures = [...new Set(group.flatMap((one) => one.job?.identity.exposure ?? []))].sort((a, b) => a - b);
      const others = new Set(group.filter((one) => one.job?.identity.exposure === undefined).map((one) => one.job?.id));
      return {
        level: 'warn',
        text: `${job === undefined ? '' : `${job.stage}: `}${message}`,
        count: exposures.length + others.size,
        exposures,
      };
    })
    .sort((a, b) => b.count - a.count);
}

function clip(findings: readonly NightFinding[], what: string): NightFinding[] {
  if (findings.length <= MOST_FINDINGS) return [...findings];
  const rest = findings.slice(MOST_FINDINGS - 1);
  const exposures = [...new Set(rest.flatMap((one) => one.exposures))].sort((a, b) => a - b);
  const level = rest[0]?.level ?? 'warn';
  return [
    ...findings.slice(0, MOST_FINDINGS - 1),
    { level, text: `other ${what}: ${rest.length} sorts, see below`, count: exposures.length, exposures },
  ];
}

function findingsOf(
  fates: ReadonlyMap<string, Fate>,
  flow: NightFlow,
  exposures: readonly NightExposure[],
  facts: NightFacts,
): NightFinding[] {
  const dropped = flow.drops.map(
    (drop): NightFinding => ({
      level: drop.by.startsWith('failed') ? 'fail' : drop.by === 'user' ? 'note' : 'warn',
      text: `${drop.by.startsWith('failed') ? 'failed' : 'dropped'}${drop.at === 'raw' ? '' : ` at ${drop.at}`}${drop.lost.every(({ chips }) => chips.length > 0) ? ', single chips' : ''}: ${drop.reason}`,
      count: drop.lost.length,
      exposures: numbersOf(drop.lost),
    }),
  );
  const joins = [...fates.values()].filter(
    ({ job, state }) => job.identity.exposure === undefined && (state === 'dropped' || state === 'failed'),
  );
  const builds = [...groupsOf(joins, ({ job, reason }) => `${job.stage} ${alike(reason)}`).values()].map(
    (group): NightFinding => {
      const [{ job, state, reason }] = group;
      const chips = group.flatMap((one) => one.job.identity.chip ?? []);
      const where = chips.length === 0 ? '' : ` of chip ${chips.join(', ')}`;
      return {
        level: state === 'failed' ? 'fail' : 'warn',
        text: `no ${job.stage}${where}: ${reason}`,
        count: group.length,
        exposures: [],
      };
    },
  );
  const suspects = exposures.filter(({ light, state }) => light?.verdict === 'suspect' && state !== 'dropped');
  const suspect = [...groupsOf(suspects, ({ light }) => alike(light?.reason ?? '')).values()].map(
    (group): NightFinding => ({
      level: 'warn',
      text: `suspect: ${group[0].light?.reason ?? ''}`,
      count: group.length,
      exposures: group.map(({ exposure }) => exposure),
    }),
  );
  const missing = exposures.filter(({ state }) => state === 'missing').map(({ exposure }) => exposure);
  const grades = facts.calibrations.filter(
    ({ used, built, grade }) => used && built && grade !== '' && grade !== 'pass',
  );
  return [
    ...clip(
      [...dropped, ...builds, ...suspect].sort(
        (a, b) => ['fail', 'warn', 'note'].indexOf(a.level) - ['fail', 'warn', 'note'].indexOf(b.level),
      ),
      'findings',
    ),
    ...[...groupsOf(grades, ({ kind, grade }) => `${kind} ${grade}`).values()].map((group): NightFinding => {
      const [{ kind, grade }] = group;
      return {
        level: grade === 'fail' ? 'fail' : 'warn',
        text: `the night's own ${kind} of chip ${[...new Set(group.map(({ chip }) => chip))].join(', ')} has the grade ${grade}`,
        count: 1,
        exposures: [],
      };
    }),
    ...(missing.length === 0
      ? []
      : [{ level: 'warn', text: 'missing in the numbering', count: missing.length, exposures: missing } as const]),
  ];
}

const plural = (many: number, one: string, more: string) => `${many} ${many === 1 ? one : more}`;

/** The verdict and its sentence. */
function verdictOf(
  exposures: readonly NightExposure[],
  stages: readonly NightStage[],
  findings: readonly NightFinding[],
): { grade: NightGrade; sentence: string } {
  const taken = exposures.filter(({ state }) => state !== 'missing');
  if (taken.length === 0) {
    return { grade: 'empty', sentence: 'No exposure of this night was found.' };
  }
  const number = (state: ExposureState) => taken.filter((one) => one.state === state).length;
  const jobs = (what: 'failed' | 'todo' | 'jobs' | 'done') => stages.reduce((sum, stage) => sum + stage[what], 0);
  const suspects = taken.filter(({ light, state }) => light?.verdict === 'suspect' && state !== 'dropped').length;
  const missing = exposures.length - taken.length;
  const parts = [
    `${number('done')} of ${plural(taken.length, 'exposure is', 'exposures are')} through`,
    ...(number('partly') > 0 ? [`${number('partly')} in part`] : []),
    ...(number('dropped') > 0 ? [`${plural(number('dropped'), 'was', 'were')} dropped`] : []),
    ...(number('failed') > 0 ? [`${number('failed')} failed`] : []),
    ...(number('todo') > 0 ? [`${plural(number('todo'), 'is', 'are')} still to be done`] : []),
    ...(suspects > 0 ? [`${plural(suspects, 'is', 'are')} suspect`] : []),
    ...(missing > 0 ? [`${plural(missing, 'number is', 'numbers are')} missing`] : []),
  ];
  const left = jobs('todo') === 0 ? '' : ` ${jobs('done')} of ${jobs('jobs')} jobs are done, ${jobs('todo')} are left.`;
  const sentence = `${parts.join(', ')}.${left}`;
  const lost = taken.filter(({ state }) => state === 'dropped' || state === 'failed').length;
  const grade: NightGrade =
    jobs('failed') > 0 || lost >= BAD_SHARE * taken.length
      ? 'bad'
      : jobs('todo') > 0
        ? 'unfinished'
        : findings.some(({ level }) => level !== 'note')
          ? 'look'
          : 'good';
  return { grade, sentence };
}

/** What the runs took: wall time from the first to the last event of each, CPU time and memory as they say at their end. */
function runsOf(events: readonly NightEvent[]) {
  const spans = new Map<string, [number, number]>();
  for (const { run, time } of events) {
    const at = Date.parse(time);
    if (!Number.isFinite(at)) continue;
    const span = spans.get(run);
    if (span === undefined) spans.set(run, [at, at]);
    else spans.set(run, [Math.min(span[0], at), Math.max(span[1], at)]);
  }
  const ends = events.flatMap(({ event, about }) => (event === 'finish' ? (about ?? []) : []));
  // That of a run of several telescopes cannot be told apart.
  const own = ends.filter(({ request: { tele } }) => Array.isArray(tele) && tele.length === 1);
  const cpu = own.flatMap(({ cpuSeconds }) => cpuSeconds ?? []);
  return {
    runs: spans.size,
    wallSeconds: [...spans.values()].reduce((sum, [a, b]) => sum + (b - a) / 1000, 0),
    /** Undefined where a run was killed before it could say it, or was of several telescopes. */
    cpuSeconds: cpu.length < spans.size || cpu.length === 0 ? undefined : cpu.reduce((a, b) => a + b),
    peaks: ends.flatMap(({ peakBytes }) => peakBytes ?? []),
  };
}

/**
 * All that is told about one telescope's night.
 * @param plan jobs and exposures of the night; those of other telescopes are left out
 * @param facts events in any order
 */
export function accountOf(plan: Plan, tele: string, facts: NightFacts): NightReport {
  const own: Plan = {
    ...plan,
    tele: [tele],
    jobs: plan.jobs.filter(({ identity }) => identity.tele === tele),
    exposures: plan.exposures.filter((one) => one.tele === tele).toSorted((a, b) => a.exposure - b.exposure),
  };
  const events = facts.events.toSorted((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  const sorted = { ...facts, events };
  const fates = fatesOf(own, sorted);
  const depths = depthsOf(own);
  const gates = gatesOf(own);
  const jobsOf = new Map<number, Job[]>();
  for (const job of own.jobs) {
    for (const { exposure } of job.exposures) {
      const list = jobsOf.get(exposure) ?? [];
      jobsOf.set(exposure, list);
      list.push(job);
    }
  }
  const ways = own.exposures
    .filter((one) => !isMissing(one))
    .map((one) => wayOf(one, own, jobsOf.get(one.exposure) ?? [], fates, depths, gates, facts.light.get(one.exposure)));
  const byNumber = new Map(ways.map((way) => [way.exposure.exposure, way]));
  const exposures = own.exposures.map((one) => {
    const way = byNumber.get(one.exposure);
    return way === undefined ? missingRow(one, sorted) : exposureOf(way, jobsOf.get(one.exposure) ?? [], fates, sorted);
  });
  const flow = flowOf(own, ways, depths);
  const stages = stagesOf(fates, depths);
  const findings = findingsOf(fates, flow, exposures, sorted);
  const outcomes = [...fates.values()].flatMap(({ outcome }) => outcome ?? []);
  const { runs, wallSeconds, ...ofRuns } = runsOf(events);
  const ofJobs = stages.reduce((sum, stage) => sum + stage.cpuSeconds, 0);
  // What jobs say is exact where they have a process each; else the runs know better.
  const known = stages.every(({ cpuKnown }) => cpuKnown);
  const cpuSeconds = known ? ofJobs : (ofRuns.cpuSeconds ?? ofJobs);
  const cpuKnown = known || ofRuns.cpuSeconds !== undefined;
  const ran = new Set(
    [...fates.values()].flatMap(({ job, outcome }) =>
      outcome !== undefined && outcome.attempt > 0 ? (job.identity.exposure ?? []) : [],
    ),
  );
  const frames = own.exposures.flatMap((one) => one.frames);
  const times = events.map(({ time }) => time);
  const peaks = [...ofRuns.peaks, ...outcomes.flatMap(({ peakBytes }) => peakBytes ?? [])];
  return {
    schema: NIGHT_SCHEMA,
    instrument: plan.instrument,
    tele,
    mjd: plan.mjd,
    chips: plan.chips,
    ...verdictOf(exposures, stages, findings),
    findings,
    missing: exposures.filter(({ state }) => state === 'missing').map(({ exposure }) => exposure),
    stages,
    flow,
    exposures,
    calibrations: facts.calibrations,
    series: seriesOf(fates, facts.pixels),
    warnings: warningsOf(fates, events),
    totals: {
      files: frames.length,
      bytes: frames.reduce((sum, { bytes }) => sum + bytes, 0),
      productBytes: [...facts.whole.values()].reduce((sum, { bytes }) => sum + bytes, 0),
      cpuSeconds,
      cpuKnown,
      runs,
      wallSeconds,
      cpuSecondsPerExposure: ran.size === 0 ? null : cpuSeconds / ran.size,
      peakBytes: peaks.length === 0 ? null : peaks.reduce((a, b) => Math.max(a, b)),
      retries: stages.reduce((sum, { retries }) => sum + retries, 0),
    },
    began: times[0] ?? '',
    ended: times.at(-1) ?? '',
    badList: facts.badList,
    outliers: facts.outliers,
    links: facts.links,
    output: facts.output,
    commands: facts.commands,
  };
}
