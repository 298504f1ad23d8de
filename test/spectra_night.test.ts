// A night of few rows, raw files to spectra: flats, one of them without its lamp, and an object, of both telescopes.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
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
const ROWS = 128;
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

const idsOf = (teles: readonly string[], exposures: readonly string[]) =>
  teles.flatMap((tele) => CHIPS.flatMap((chip) => exposures.map((exposure) => `${tele}-${MJD}-${chip}-${exposure}`)));

let first: Reply;

beforeAll(() => {
  const what = ['--size', 'small', '--rows', String(ROWS), '--tele', 'apo,lco', '--exposures', '10-12,17'];
  const ended = rampline(['simulate', 'night', ...what, '-o', at('raw'), '--log-level', 'error']);
  if (ended.code !== 0) throw new Error(ended.stderr);
  first = reply('run', at('raw'), at('out'), 'apo,lco');
}, 120_000);

describe('a night', () => {
  it('ends with the spectra of every exposure with light, of all chips and both telescopes', async () => {
    const spectra = outcomesOf(first, 'extract');
    expect(spectra.done).toEqual(idsOf(['apo', 'lco'], ['0010', '0012', '0017']));
    expect(spectra.dropped).toEqual(idsOf(['apo', 'lco'], ['0011']));
    for (const name of ['apo', 'lco']) {
      const file = openFits(at(`out/${name}/${MJD}/1d-${name}-${MJD}-b-0017.fits`));
      const { spectra: found, facts } = await readSpectra(file);
      file.close();
      expect(facts).toMatchObject({ tele: name, chip: 'b', exposure: 17, kind: 'object', method: 'joint', flat: 12 });
      const measured = found.map.filter(({ state }) => state === 'ok' || state === 'low');
      expect(measured.length).toBeGreaterThanOrEqual(3);
      for (const { flux, throughput } of measured) {
        expect(flux).toBeGreaterThan(0);
        expect(throughput).toBeGreaterThan(0);
      }
    }
  });

  it('takes no flat that its pixels speak against', () => {
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

  it('is not done twice, and again from the extraction where that is asked', () => {
    const again: Reply = reply('run', at('raw'), at('out'), 'apo', '--only', '17-a');
    expect(outcomesOf(again, 'extract').skipped).toEqual([`apo-${MJD}-a-0017`]);
    const more = ['--from', 'extract', '--only', '17-a', '--set', 'extract.method=horne'];
    const changed: Reply = reply('run', at('raw'), at('out'), 'apo', ...more);
    expect(outcomesOf(changed, 'extract').done).toEqual([`apo-${MJD}-a-0017`]);
    const whole: Reply = reply('rerun', at('raw'), at('out'), 'apo', '--from', 'extract', '--only', '17-a');
    expect(outcomesOf(whole, 'extract').done).toEqual([`apo-${MJD}-a-0017`]);
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
});
