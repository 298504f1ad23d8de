// A night of few rows, raw files to spectra: flats, one of them without its lamp, and an object.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFits } from '../src/fits/index.js';
import type { Outcome, Plan } from '../src/night/job.js';
import { readSpectra } from '../src/stages/spectra_product.js';
import { rampline } from './cli.js';

const MJD = 60_857;
const base = mkdtempSync(join(tmpdir(), 'rampline-spectra-night-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
const at = (name: string) => join(base, name);
/** 10 is a dome flat, 11 one without its lamp, 12 a quartz flat, 17 an object. */
const ROWS = 72;
const CHIPS = ['a', 'b', 'c'];

interface Reply {
  readonly outcomes: readonly Outcome[];
}

function reply<T>(verb: string, raw: string, output: string, tele: string, ...more: string[]): T {
  const night = ['--tele', tele, '--mjd', String(MJD), '--calib', join(at('raw'), 'calib'), '--log-level', 'error'];
  const ended = rampline([verb, raw, '-o', output, ...night, '--json', ...more]);
  expect(ended.stderr).toBe('');
  return JSON.parse(ended.stdout) as T;
}

/** Jobs of a stage, by what became of them. */
function outcomesOf({ outcomes }: Reply, stage: string): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const { job, status } of outcomes) {
    if (!job.startsWith(`${stage}-`)) continue;
    found[status] = [...(found[status] ?? []), job.slice(stage.length + 1)];
  }
  for (const jobs of Object.values(found)) jobs.sort();
  return found;
}

const idsOf = (exposures: readonly string[]) =>
  CHIPS.flatMap((chip) => exposures.map((exposure) => `apo-${MJD}-${chip}-${exposure}`));

let first: Reply;

beforeAll(() => {
  const what = ['--size', 'small', '--rows', String(ROWS), '--tele', 'apo', '--exposures', '10-12,17'];
  const ended = rampline(['simulate', 'night', ...what, '-o', at('raw'), '--log-level', 'error']);
  if (ended.code !== 0) throw new Error(ended.stderr);
  first = reply('run', at('raw'), at('out'), 'apo');
}, 120_000);

describe('a night', () => {
  it('ends with the spectra of every exposure with light, of all chips', async () => {
    const spectra = outcomesOf(first, 'extract');
    expect(spectra.done).toEqual(idsOf(['0010', '0011', '0012', '0017']));
    const file = openFits(at(`out/apo/${MJD}/1d-apo-${MJD}-b-0017.fits`));
    const { spectra: found, facts } = await readSpectra(file);
    file.close();
    expect(facts).toMatchObject({ tele: 'apo', chip: 'b', exposure: 17, kind: 'object', method: 'joint', flat: 12 });
    const measured = found.map.filter(({ state }) => state === 'ok' || state === 'low');
    expect(measured.length).toBeGreaterThanOrEqual(3);
    for (const { flux, throughput } of measured) {
      expect(flux).toBeGreaterThan(0);
      expect(throughput).toBeGreaterThan(0);
    }
  });

  it('traces no flat without light, asking nothing but the chip itself', () => {
    const traces = outcomesOf(first, 'trace');
    expect(traces.done).toEqual(idsOf(['0010', '0012']));
    expect(traces.dropped).toEqual(idsOf(['0011']));
    expect(outcomesOf(first, 'model').dropped).toEqual(idsOf(['0011']));
    for (const { job, failure } of first.outcomes) {
      if (/^trace-.*-0011$/.test(job))
        expect(failure?.message).toMatch(/^(too few fibres|no lamp|no light of fibres): /);
    }
    const file = openFits(at(`out/apo/${MJD}/1d-apo-${MJD}-a-0010.fits`));
    const names = file.readTable('PROVENANCE').column('NAME').values as string[];
    file.close();
    const flats = names.filter((name) => name.startsWith('trace-'));
    expect(flats).toEqual([`trace-apo-${MJD}-a-0010.fits`, `trace-apo-${MJD}-a-0012.fits`]);
  });

  it('passes the final check, and its page counts them', () => {
    const night = ['--tele', 'apo', '--mjd', String(MJD), '--log-level', 'error'];
    const checked = rampline(['check', at('out'), ...night, '--json']);
    expect(JSON.parse(checked.stdout).findings.filter(({ what }: { what: string }) => what !== 'dropped')).toEqual([]);
    const told = rampline(['report', at('out'), ...night, '--json']);
    expect(told.code).toBe(0);
  });

  it('of one chip asks nothing of the others, and has the same bytes', () => {
    const words = ['--chip', 'a', '--only', '10-a', '--only', '17-a'];
    const plan: Plan = reply('plan', at('raw'), at('slice'), 'apo', '--chip', 'a');
    expect(plan.jobs.map(({ identity }) => identity.chip).filter((chip) => chip !== 'a')).toEqual([]);
    const slice: Reply = reply('run', at('raw'), at('slice'), 'apo', ...words);
    expect(outcomesOf(slice, 'extract')).toEqual({ done: [`apo-${MJD}-a-0010`, `apo-${MJD}-a-0017`] });
    const name = `1d-apo-${MJD}-a-0017.fits`;
    expect(readFileSync(at(`slice/apo/${MJD}/${name}`)).equals(readFileSync(at(`out/apo/${MJD}/${name}`)))).toBe(true);
  });

  it('is planned as done or dropped, and refuses nothing twice', () => {
    const planned: Plan = reply('plan', at('raw'), at('out'), 'apo');
    expect(planned.jobs.filter(({ state }) => state === 'todo')).toEqual([]);
    const refused = planned.jobs.find(({ id }) => id === `trace-apo-${MJD}-b-0011`);
    expect(refused?.why).toMatch(/^(too few fibres|no lamp|no light of fibres): /);
    const again: Reply = reply('run', at('raw'), at('out'), 'apo');
    expect(again.outcomes.filter(({ attempt }) => attempt > 0)).toEqual([]);
    const told = ({ outcomes }: Reply) =>
      outcomes.flatMap(({ job, failure }) => (failure ? `${job} ${failure.exitCode} ${failure.message}` : [])).sort();
    expect(told(again)).toEqual(told(first));
    const forced: Reply = reply(
      'rerun',
      at('raw'),
      at('out'),
      'apo',
      '--from',
      'trace',
      '--to',
      'trace',
      '--only',
      '11-b',
    );
    expect(forced.outcomes.find(({ job }) => job === refused?.id)).toMatchObject({ status: 'dropped', attempt: 1 });
  });

  it('is not done twice, and again from the extraction where that is asked', () => {
    const again: Reply = reply('run', at('raw'), at('out'), 'apo', '--only', '17-a');
    expect(outcomesOf(again, 'extract')).toEqual({ skipped: CHIPS.map((chip) => `apo-${MJD}-${chip}-0017`) });
    const more = ['--from', 'extract', '--only', '17-a', '--set', 'extract.method=horne'];
    // Of the other chips too, as all are on the page of the exposure.
    const changed: Reply = reply('run', at('raw'), at('out'), 'apo', ...more);
    expect(outcomesOf(changed, 'extract')).toEqual({ done: idsOf(['0017']) });
    const whole: Reply = reply('rerun', at('raw'), at('out'), 'apo', ...more);
    expect(outcomesOf(whole, 'extract')).toEqual({
      done: [`apo-${MJD}-a-0017`],
      skipped: ['b', 'c'].map((chip) => `apo-${MJD}-${chip}-0017`),
    });
    expect(outcomesOf(whole, 'qa')).toEqual({ done: [`apo-${MJD}-0017`] });
    expect(outcomesOf(whole, 'trace').done).toBeUndefined();
  });

  it('without a flat drops the extraction, and says why', () => {
    mkdirSync(at('flatless'));
    const names = readdirSync(at('raw'), { recursive: true, encoding: 'utf8' });
    const objects = names.filter((name) => /apo.*0017\.(apz|fits)$/.test(name));
    expect(objects).toHaveLength(3);
    for (const name of objects) cpSync(join(at('raw'), name), join(at('flatless'), name));
    const plan: Plan = reply('plan', at('flatless'), at('dark'), 'apo');
    const jobs = plan.jobs.filter(({ stage }) => stage === 'extract');
    expect(jobs).toHaveLength(3);
    for (const { state, why } of jobs) {
      expect(state).toBe('dropped');
      expect(why).toBe('no dome or quartz flat of the night is reduced: nothing says where the fibres lie');
    }
    expect(existsSync(at('dark'))).toBe(false);
  });

  it('takes what is left where a trace or an extraction fails, and names what is not there', () => {
    // Chip a has no spectra of the object, b no traces of the dome flat, c no traces at all.
    const lost = ['extract-apo-60857-a-0017', ...['b-0010', 'c-0010', 'c-0012'].map((one) => `trace-apo-60857-${one}`)];
    for (const job of lost) rmSync(at(`out/apo/${MJD}/${job.replace('extract', '1d')}.fits`));
    const env = { RAMPLINE_FAILPOINT: lost.map((job) => `input@${job}`).join(',') };
    const night = ['--tele', 'apo', '--mjd', String(MJD), '--calib', join(at('raw'), 'calib'), '--log-level', 'error'];
    const ended = rampline(['run', at('raw'), '-o', at('out'), ...night, '--json'], { env });
    expect(ended.code).toBe(21);
    const hurt: Reply = JSON.parse(ended.stdout);
    expect(ended.stdout).not.toContain('no reason');
    const named = (chip: string, exposure: string) => `apo-${MJD}-${chip}-${exposure}`;
    // A flat without traces of its own has spectra by those of the other one.
    expect(outcomesOf(hurt, 'extract').done).toEqual(['0010', '0011', '0012', '0017'].map((one) => named('b', one)));
    const file = openFits(at(`out/apo/${MJD}/1d-apo-${MJD}-b-0010.fits`));
    expect(file.hdu(0).header.string('FLATWHY', '')).toMatch(/quartzflat 12, 2 exposures after/);
    file.close();
    const reasons = new Map(hurt.outcomes.map(({ job, failure }) => [job, failure?.message]));
    expect(reasons.get(`model-${named('b', '0010')}`)).toMatch(/^because trace-apo-60857-b-0010 was dropped/);
    for (const exposure of ['0010', '0012', '0017']) {
      expect(reasons.get(`extract-${named('c', exposure)}`)).toMatch(
        /^0 of 3 traces are left and 1 are needed: because trace-apo-60857-c-00\d\d was dropped: /,
      );
    }
    // The verdict on all chips leaves out the flat without its lamp.
    expect(outcomesOf(hurt, 'qa')).toEqual({
      done: ['0010', '0012', '0017'].map((one) => `apo-${MJD}-${one}`),
      dropped: [`apo-${MJD}-0011`],
    });
    const { missing } = JSON.parse(readFileSync(at(`out/apo/${MJD}/qa-apo-${MJD}-0017.json`), 'utf8'));
    expect(missing.map(({ chip }: { chip: string }) => chip)).toEqual(['a', 'c']);
  });
});
