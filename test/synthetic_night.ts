/** A night that never was: exposures, plan, log and facts for the pages and the checks, without a pixel. */
import type { Exposure, ExposureKind } from '../src/core/exposure.js';
import type { NightFacts, Verdict } from '../src/night/account.js';
import type { Job, NightEvent, Outcome, Plan } from '../src/night/job.js';
import type { Thumbnail } from '../src/stages/qa/night/page.js';
import { encodePng } from '../src/stages/qa/picture.js';

const CHIPS = ['a', 'b', 'c'];
const MJD = 60_855;
const TELE = 'apo';
const four = (n: number) => String(n).padStart(4, '0');

/** A cycle of kinds like a night's: calibrations at its ends, objects between. */
const kindOf = (i: number, of: number): ExposureKind => {
  if (i < of * 0.12 || i > of * 0.92) return 'dark';
  if (i < of * 0.2) return 'internalflat';
  if (i < of * 0.26) return 'domeflat';
  if (i < of * 0.32) return i % 2 === 0 ? 'arclamp' : 'fpi';
  return i % 12 === 0 ? 'quartzflat' : 'object';
};

export interface SyntheticNight {
  readonly plan: Plan;
  readonly facts: NightFacts;
  readonly thumbs: ReadonlyMap<number, Thumbnail>;
}

/** Words that a careless page would run or be broken by. */
export const HOSTILE = `<img src="http://evil.example/x" onerror=alert(1)> & "quoted" 'text' </svg></script>`;

/**
 * @param done share of the jobs that are done; the rest is to do
 */
export function syntheticNight(count: number, done = 1): SyntheticNight {
  const exposures: Exposure[] = Array.from({ length: count }, (_, i): Exposure => {
    const number = i + 1;
    const kind = number === 15 ? 'missing' : kindOf(i, count);
    const reads = kind === 'object' ? 47 : kind === 'dark' ? 60 : 10;
    return {
      tele: TELE,
      mjd: MJD,
      exposure: number,
      kind,
      reads: kind === 'missing' ? 0 : reads,
      frames:
        kind === 'missing'
          ? []
          : CHIPS.map((chip) => ({
              chip,
              path: `/raw/apR-${chip}-5293${four(number)}.apz`,
              bytes: 3_500_000 * reads,
              reads,
              rows: 2048,
              cols: 2560,
              serial: '',
              ...(number === 22 &&
                chip === 'b' && { drop: { by: 'rule' as const, reason: 'the file ends 91520 bytes early' } }),
            })),
      ...(kind !== 'missing' && { start: MJD + 0.1 + (i * 0.35) / count }),
      exposureSeconds: reads * 10.647,
      lamps: { quartz: 0, thar: 0, une: 0 },
      ditherPixels: i % 2 === 0 ? 0 : 0.5,
      plate: '',
      design: '12345',
      configuration: String(6000 + Math.floor(i / 8)),
      field: kind === 'object' ? String(100 + Math.floor(i / 8)) : '',
      cartridge: 'FPS',
      comment: number === 12 ? HOSTILE : '',
      sequence: 1,
      ...(number === 31 && { drop: { by: 'user' as const, reason: 'clouds' } }),
    };
  });
  const jobs: Job[] = [];
  const events: NightEvent[] = [];
  const whole = new Map<string, { bytes: number; products: string[]; pages: string[] }>();
  const light = new Map<number, Verdict>();
  let clock = Date.UTC(2026, 0, 2, 3, 4, 5);
  const planned = exposures.filter(({ kind }) => kind !== 'missing');
  const add = (
    job: Omit<Job, 'identity' | 'id' | 'slice'> & { chip?: string; exposure?: number },
    outcome: Partial<Outcome>,
  ) => {
    const { chip, exposure, ...rest } = job;
    const id = [job.stage, TELE, MJD, ...(chip ? [chip] : []), ...(exposure ? [four(exposure)] : [])].join('-');
    const identity = { tele: TELE, mjd: MJD, ...(chip && { chip }), ...(exposure && { exposure }) };
    jobs.push({ ...rest, id, identity, slice: chip ?? 'join' });
    if (job.state === 'dropped' || jobs.length > done * (7 * count)) return;
    const status = outcome.status ?? 'done';
    const full: Outcome = {
      job: id,
      status,
      products: status === 'done' ? job.products : [],
      attempt: 1,
      seconds: 1,
      where: 'host 1 2',
      ...outcome,
    };
    const time = () => {
      clock += 400;
      return new Date(clock).toISOString();
    };
    if (full.attempt > 1) {
      events.push({ time: time(), run: 'r1', event: 'retry', job: id, outcome: { ...full, status: 'failed' } });
    }
    events.push({ time: time(), run: 'r1', event: 'end', job: id, stage: job.stage, outcome: full });
    if (status === 'done')
      whole.set(id, { bytes: job.prediction.diskBytes, products: [...job.products], pages: [...job.products] });
  };
  const truncated = 'HDU 31: the file ends 91520 bytes before its last block';
  for (const exposure of planned) {
    const { exposure: number, kind } = exposure;
    const stage = kind === 'dark' || kind === 'internalflat' ? 'ramp' : 'calibrate';
    const dropped = exposure.drop !== undefined;
    for (const chip of CHIPS) {
      const frame = exposure.frames.find((one) => one.chip === chip);
      const cut = number % 40 === 27 && chip === 'c';
      const wave = Math.sin(number / 9) + CHIPS.indexOf(chip);
      add(
        {
          stage,
          scope: 'chip',
          chip,
          exposure: number,
          exposures: [exposure],
          raw: [{ role: 'raw', path: frame?.path ?? '', exposure: number, chip }],
          needs: [],
          least: {},
          products: [`${TELE}/${MJD}/${stage === 'ramp' ? '2d' : '2dcal'}-${TELE}-${MJD}-${chip}-${four(number)}.fits`],
          prediction: { cpuSeconds: 1.1, peakBytes: 7e8, diskBytes: 84e6 },
          state: dropped || frame?.drop ? 'dropped' : 'todo',
          why: dropped ? 'it is left out, on the list of bad exposures: clouds' : 'nothing is made yet',
        },
        cut
          ? {
              status: 'dropped',
              failure: { error: 'input', exitCode: 21, message: truncated, file: frame?.path },
            }
          : {
              cpuSeconds: 0.9 + 0.1 * wave,
              seconds: 0.6,
              peakBytes: 8.1e8 + 1e6 * number,
              attempt: number === 9 && chip === 'a' ? 2 : 1,
              summary: {
                method: 'least squares',
                reads: exposure.reads,
                readsUsed: exposure.reads - 1,
                jumps: 12_000 + 900 * wave,
                saturated: kind === 'object' ? 800 + 30 * wave : 12,
                noData: 1,
                noCalibration: 40_000,
                level: kind === 'dark' ? 0.1 + 0.01 * wave : 30 + wave,
                zeroPoint: 12_000 + 4 * wave,
                chi2: 1 + 0.01 * wave,
              },
              timings: [
                { name: 'decode', seconds: 0.3 },
                { name: 'read', seconds: 0.05 },
                { name: 'find-jumps', seconds: 0.2 },
                { name: 'fit-ramp', seconds: 0.25 },
                { name: 'write', seconds: 0.1 },
              ],
              warnings: number % 3 === 0 ? [`read ${number} has no DATE-OBS`] : [],
            },
      );
    }
    const verdict: Verdict =
      number === 4
        ? { kind: 'domeflat', verdict: 'drop', reason: 'the header says dark, the light is that of a domeflat' }
        : number % 50 === 33
          ? {
              kind: kind,
              verdict: 'suspect',
              reason: `the median of chip b is 4.${number} times lower than its neighbours'`,
            }
          : { kind, verdict: 'ok', reason: '' };
    const lost = exposure.drop !== undefined;
    if (!lost) light.set(number, verdict);
    add(
      {
        stage: 'classify',
        scope: 'exposure',
        exposure: number,
        exposures: [exposure],
        raw: [],
        needs: CHIPS.map((chip) => ({
          job: `${stage}-${TELE}-${MJD}-${chip}-${four(number)}`,
          role: 'rates',
          how: 'input' as const,
        })),
        least: { rates: 1 },
        products: [`${TELE}/${MJD}/class-${TELE}-${MJD}-${four(number)}.fits`],
        prediction: { cpuSeconds: 0.1, peakBytes: 1.4e8, diskBytes: 9e5 },
        state: lost ? 'dropped' : 'todo',
        why: lost ? 'it is left out, on the list of bad exposures: clouds' : 'its inputs are not made yet',
      },
      { seconds: 0.12, cpuSeconds: 0.11, peakBytes: 3.1e8, verdict },
    );
  }
  for (const [word, kind] of [
    ['build-dark', 'dark'],
    ['build-flat', 'internalflat'],
  ] as const) {
    const members = planned.filter((one) => one.kind === kind && one.drop === undefined);
    for (const chip of CHIPS) {
      add(
        {
          stage: word,
          scope: 'detector',
          chip,
          exposures: members,
          raw: [],
          needs: members.map(({ exposure }) => ({
            job: `classify-${TELE}-${MJD}-${four(exposure)}`,
            role: 'gate',
            how: 'gate' as const,
            exposure,
          })),
          least: { [kind]: 1 },
          products: [`calib/${word.slice(6)}-${TELE}-${chip}-${MJD}-12345678.fits`],
          prediction: { cpuSeconds: 20, peakBytes: 9e8, diskBytes: 50e6 },
          state: 'todo',
          why: 'its inputs are not made yet',
        },
        word === 'build-flat' && chip === 'c'
          ? {
              status: 'dropped',
              failure: { error: 'calibration', exitCode: 22, message: 'the flat has the grade fail: scatter 0.31' },
            }
          : { seconds: 14, cpuSeconds: 25, peakBytes: 9.4e8, timings: [{ name: 'ramp', seconds: 21 }] },
      );
    }
  }
  const plan: Plan = {
    schema: 'plan/1',
    instrument: 'apogee',
    tele: [TELE],
    mjd: MJD,
    chips: CHIPS,
    slices: [...CHIPS, 'join'],
    output: '/out',
    options: { calib: [], build: [], params: {}, verify: true, diagnostics: false },
    jobs,
    exposures,
  };
  const facts: NightFacts = {
    events,
    whole,
    light,
    calibrations: CHIPS.flatMap((chip) => [
      {
        chip,
        kind: 'dark',
        name: `dark-${TELE}-${chip}-${MJD}-12345678.fits`,
        sha256: '12345678'.repeat(8),
        why: 'its window holds the frame, made from darks of the same night',
        used: true,
        products: 60,
        built: true,
        qa: `../../calib/qa-dark-${TELE}-${chip}-${MJD}-12345678.html`,
        grade: chip === 'c' ? 'warn' : 'pass',
      },
      {
        chip,
        kind: 'flat',
        name: `flat-${TELE}-${chip}-60800-abcdef01.fits`,
        sha256: 'abcdef01'.repeat(8),
        why: 'the nearest before the frame, 55.1 days',
        used: true,
        products: 60,
        built: false,
        qa: '',
        grade: '',
      },
      {
        chip,
        kind: 'flat',
        name: `flat-${TELE}-${chip}-60700-0badf00d.fits`,
        sha256: '0badf00d'.repeat(8),
        why: `refused: grade fail ${HOSTILE}`,
        used: false,
        products: 60,
        built: false,
        qa: '',
        grade: '',
      },
    ]),
    outliers:
      count > 20
        ? [{ exposure: 18, reason: `the sky of chip a is 12 sigma from that of its sequence ${HOSTILE}` }]
        : [],
    badList: count > 20 ? 'bad-exposures.tsv' : '',
    links: [
      { label: 'night.json: all numbers of this page', href: 'night.json' },
      { label: 'log of jobs that join exposures', href: `../../log/${TELE}/${MJD}/night.jsonl` },
    ],
    logOf: (exposure) => `../../log/${TELE}/${MJD}/${four(exposure)}.jsonl`,
    pixels: 2048 * 2560,
    output: 'out',
    commands: {
      night: `out --tele ${TELE} --mjd ${MJD}`,
      run: `raw -o out --tele ${TELE} --mjd ${MJD}`,
      almanac: `rampline almanac show out/${TELE}/${MJD}/almanac-${TELE}-${MJD}.fits`,
      explain: 'rampline calib explain FILE --calib out/calib',
      warnings: 'grep warnings out/log',
      bad: `out/${TELE}/${MJD}/bad-exposures.tsv`,
    },
  };
  const thumbs = new Map(
    planned
      .filter(({ drop }) => drop === undefined)
      .map(({ exposure }): [number, Thumbnail] => {
        const grey = Uint8Array.from({ length: 96 * 32 }, (_, i) => (i * exposure * 7 + (i % 32) * 5) % 256);
        return [exposure, { png: encodePng(grey, 96, 32), width: 96, height: 32 }];
      }),
  );
  return { plan, facts, thumbs };
}
