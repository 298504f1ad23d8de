/**
 * A whole mock night from raw files to its page, as a user runs it: every fault is found and told, every good exposure has its
 * products, nothing is done twice, and the bytes are the same however the night was run.
 */
import { createHash } from 'node:crypto';
import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scanNight } from '../src/almanac/index.js';
import { apogee } from '../src/instruments/apogee/index.js';
import type { Outcome, Plan } from '../src/night/job.js';
import { type JudgedExposure, judgeNight } from '../src/night/judge.js';
import { absoluteExposures, NIGHT_DEFAULTS, planNight } from '../src/night/plan.js';
import { NIGHT_BUILD_WORDS } from '../src/night/stages.js';
import type { NightTruth } from '../src/simulate/night.js';
import { type Ended, rampline, startRampline } from './cli.js';

const MJD = 60_857;
const TELES = ['apo', 'lco'] as const;
const CHIPS = ['a', 'b', 'c'] as const;
/** Of the illumination of flats: the default, for 2048 rows, takes most of the time and knows no more of 64. */
const FLAT_ORDER = 6;
/** The night has a damaged file: its exit code is that of bad input. */
const BAD_INPUT = 21;

const work = mkdtempSync(join(tmpdir(), 'rampline-whole-night-'));
const [raw, site] = [join(work, 'raw'), join(work, 'site')];
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** The words of a run, none of which holds a blank. */
function runWords(from: string, output: string, more: string): string[] {
  const night = `run ${from} -o ${output} --mjd ${MJD} --calib ${site} --build all --set flat.order=${FLAT_ORDER}`;
  return `--json --log-level error ${night} ${more}`.split(' ');
}

function answer({ code, stdout, stderr }: Ended, expected: number): Record<string, unknown> {
  expect(code, stderr + stdout.slice(0, 2000)).toBe(expected);
  return JSON.parse(stdout);
}

const outcomesOf = (reply: Record<string, unknown>) => reply.outcomes as Outcome[];
const countsOf = (outcomes: readonly Outcome[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { status } of outcomes) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
};

/** Which exposures: of every kind one, the five faults, and what a night can build its calibrations of. */
const EXPOSURES = '1-14,16,17,19,21';

/** What differs between two manifests of the same product: when it was written, and as which file. */
const OF_THE_FILE = ['created', 'inode', 'mtimeNs', 'check'];

/** Names of all products and manifests; without the logs and the state of runs. */
function productsOf(output: string): string[] {
  const files = readdirSync(output, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files
    .map((entry) => join(entry.parentPath, entry.name).slice(output.length + 1))
    .filter((name) => !/^(log|state)\//.test(name))
    .filter((name) => !/(^|\/)(night[^/]*|bad-exposures)\.(html|json|tsv)/.test(name));
}

/** When each was written, and as which file. */
const writtenIn = (output: string): Map<string, string> =>
  new Map(
    productsOf(output).map((name) => {
      const { ino, mtimeNs, size } = statSync(join(output, name), { bigint: true });
      return [name, `${ino} ${mtimeNs} ${size}`];
    }),
  );

/** Hash of every product, and of what its manifest says of it. */
function treeOf(output: string): Map<string, string> {
  const tree = new Map<string, string>();
  for (const name of productsOf(output)) {
    const path = join(output, name);
    let bytes: Buffer | string = readFileSync(path);
    if (name.endsWith('.manifest.json')) {
      const said = JSON.parse(bytes.toString('utf8'));
      bytes = JSON.stringify(Object.entries(said).filter(([key]) => !OF_THE_FILE.includes(key)));
    }
    tree.set(name, createHash('sha256').update(bytes).digest('hex'));
  }
  return tree;
}

const out = join(work, 'out');
let truth: NightTruth;
let first: Record<string, unknown>;
let plan: Plan;
let judged: JudgedExposure[];

beforeAll(async () => {
  const quiet = ['--log-level', 'error'];
  answer(
    rampline([...quiet, '--json', 'simulate', 'night', '--size', 'small', '--exposures', EXPOSURES, '-o', raw]),
    0,
  );
  truth = JSON.parse(readFileSync(join(raw, 'night-truth.json'), 'utf8'));
  const exact = TELES.flatMap((tele) =>
    CHIPS.flatMap((chip) =>
      ['saturation', 'linearity'].map((kind) => join(raw, 'calib', `${kind}-${tele}-${chip}.fits`)),
    ),
  );
  answer(rampline([...quiet, '--json', 'calib', 'add', ...exact, '-o', site]), 0);
  first = answer(rampline(runWords(raw, out, '--tele apo,lco --jobs 2')), BAD_INPUT);
  const almanacs = await Promise.all(TELES.map((tele) => scanNight(raw, { tele, mjd: MJD, instrument: apogee })));
  plan = await planNight({
    exposures: almanacs.flatMap(absoluteExposures),
    mjd: MJD,
    output: out,
    options: { ...NIGHT_DEFAULTS, calib: [site], build: NIGHT_BUILD_WORDS, params: { flat: { order: FLAT_ORDER } } },
  });
  judged = judgeNight(truth, plan, outcomesOf(first));
}, 300_000);

describe('a night that was run', () => {
  it('has found each of the five faults, and says why', () => {
    const faults = judged.filter(({ fault }) => fault !== undefined);
    expect(faults.map(({ tele, fault, right }) => [tele, fault?.kind, right])).toEqual([
      ['apo', 'mislabelled', true],
      ['apo', 'lamp-off', true],
      ['apo', 'truncated', true],
      ['lco', 'missing', true],
      ['lco', 'shutter-closed', true],
    ]);
    const said = new Map(faults.map(({ fault, reason }) => [fault?.kind, reason]));
    expect(said.get('mislabelled')).toMatch(/header says dark.*internal flat/);
    expect(said.get('lamp-off')).toMatch(/header says domeflat.*no light/);
    expect(said.get('truncated')).toMatch(/calibrate-apo-60857-a-0019.*(cut short|more data bytes)/);
    expect(said.get('missing')).toMatch(/no file/);
    expect(said.get('shutter-closed')).toMatch(/header says object.*no light/);
  });

  it('has all products of every other exposure', () => {
    const others = judged.filter(({ fault }) => fault === undefined);
    expect(others).toHaveLength(31);
    expect(others.filter(({ right }) => !right)).toEqual([]);
    // The rates of three chips, and the class of their light: the strip is too low for spectra, which spectra_night.test.ts has.
    for (const kind of ['domeflat', 'quartzflat', 'dark', 'internalflat']) {
      expect(others.map((one) => one.kind)).toContain(kind);
    }
    expect(others.map(({ exposure, kind, made, lost }) => [exposure, kind, made, lost])).toEqual(
      others.map(({ exposure, kind }) => [exposure, kind, 4, 0]),
    );
  });

  it('has built calibrations of every detector without the exposure that is no dark', () => {
    const built = outcomesOf(first).filter(({ job }) => job.startsWith('build-'));
    expect(countsOf(built)).toEqual({ done: 24 });
    const darks = readdirSync(join(out, 'calib')).filter((name) => /^dark-.*\.manifest\.json$/.test(name));
    expect(darks).toHaveLength(6);
    for (const name of darks) {
      const { inputs } = JSON.parse(readFileSync(join(out, 'calib', name), 'utf8'));
      const numbers = inputs.map((input: { name: string }) => Number(input.name.slice(-6, -4)));
      expect(numbers).toEqual(name.includes('apo') ? [1, 2, 3, 4, 5] : [1, 2, 3, 4, 5, 6]);
    }
  });

  it('is planned as done, but for what was dropped', () => {
    const { done: made = 0 } = countsOf(outcomesOf(first));
    const lost = plan.jobs.filter(({ state }) => state !== 'done');
    expect(lost.map(({ id, state }) => [id, state])).toEqual([[`calibrate-apo-${MJD}-a-0019`, 'dropped']]);
    expect(lost[0]?.why).toMatch(/the file is cut short/);
    expect(plan.jobs).toHaveLength(made + lost.length);
  });

  it('is not done again', () => {
    const before = writtenIn(out);
    const again = outcomesOf(answer(rampline(runWords(raw, out, '--tele apo,lco')), BAD_INPUT));
    const { done: made = 0, dropped } = countsOf(outcomesOf(first));
    expect(countsOf(again)).toEqual({ skipped: made, dropped });
    expect(again.filter(({ attempt }) => attempt > 0)).toEqual([]);
    expect(writtenIn(out)).toEqual(before);
  });

  it('passes the final check, which tells what was dropped and nothing else', () => {
    const { findings, products, good } = answer(
      rampline(['--json', '--log-level', 'error', 'check', out, '--mjd', String(MJD)]),
      BAD_INPUT,
    ) as { findings: { what: string; job: string }[]; products: number; good: number };
    expect(new Set(findings.map(({ what }) => what))).toEqual(new Set(['dropped']));
    expect(findings.some(({ job }) => job === 'calibrate-apo-60857-a-0019')).toBe(true);
    expect(good).toBe(products);
  });

  it('has a page for each telescope that names what was dropped', () => {
    answer(rampline(['--json', '--log-level', 'error', 'report', out, '--mjd', String(MJD)]), 0);
    const textOf = (tele: string) => readFileSync(join(out, tele, String(MJD), 'night.html'), 'utf8');
    expect(textOf('apo')).toMatch(/the light is that of an internal flat/);
    expect(textOf('apo')).toMatch(/cut short|more data bytes/);
    expect(textOf('lco')).toMatch(/header says object/);
  });
});

describe('the bytes of a night', () => {
  // Of every kind of job some, and two faults; of lco what has no light of fibres.
  const dark = [1, 2, 3, 6, 7, 8];
  const some = { apo: [...dark, 10, 19], lco: dark };
  const part = join(work, 'part');
  const two = join(work, 'two');

  beforeAll(() => {
    for (const tele of TELES) {
      const folder = join(part, tele, String(MJD));
      mkdirSync(folder, { recursive: true });
      for (const chip of CHIPS) {
        for (const exposure of some[tele]) {
          const name = apogee.rawName({ tele, mjd: MJD, chip, exposure }, 'apz');
          linkSync(join(raw, tele, String(MJD), name), join(folder, name));
        }
      }
    }
    answer(rampline(runWords(part, two, '--tele apo,lco --jobs 2')), BAD_INPUT);
  }, 300_000);

  it('are the same with one job at once as with two', () => {
    const one = join(work, 'one');
    answer(rampline(runWords(part, one, '--tele apo,lco --jobs 1')), BAD_INPUT);
    const tree = treeOf(two);
    expect([...tree.keys()].filter((name) => name.endsWith('.fits')).length).toBeGreaterThan(80);
    expect(treeOf(one)).toEqual(tree);
  });

  it('are the same from six runs side by side, each of a chip, and what joins them', async () => {
    const six = join(work, 'six');
    const slices = TELES.flatMap((tele) => CHIPS.map((chip) => ({ tele, chip })));
    const ended = await Promise.all(
      slices.map(({ tele, chip }) =>
        startRampline(runWords(part, six, `--tele ${tele} --chip ${chip} --jobs 1`), () => undefined),
      ),
    );
    for (const [i, { tele, chip }] of slices.entries())
      answer(ended[i]!, tele === 'apo' && chip === 'a' ? BAD_INPUT : 0);
    const joined = outcomesOf(answer(rampline(runWords(part, six, '--tele apo,lco --join')), BAD_INPUT));
    expect(joined.filter(({ status, job }) => status === 'done' && !/^(classify|qa)-/.test(job))).toEqual([]);
    expect(treeOf(six)).toEqual(treeOf(two));
  });
});
