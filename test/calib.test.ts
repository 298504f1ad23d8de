// The 1/f calibration as a user makes and uses it: darks, calib build, ramp --calib.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as api from '../src/index.js';
import { BUILDERS } from '../src/night/builders/index.js';
import { fitOneOverF } from '../src/stages/ramp/index.js';
import { rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-calib-'));
afterAll(() => rmSync(base, { recursive: true }));
const darks = join(base, 'darks');
const calib = join(darks, 'calib');
const ROWS = 128;

function simulate(output: string, ...args: string[]) {
  const ended = rampline(['simulate', '-o', output, '--rows', String(ROWS), '--log-level', 'error', ...args]);
  expect(ended.stderr).toBe('');
  expect(ended.code).toBe(0);
}

function build(...args: string[]) {
  const ended = rampline(['calib', 'build', 'one-over-f', ...args, '--json', '--log-level', 'error']);
  return { ...ended, reply: JSON.parse(ended.stdout) };
}

beforeAll(() => {
  for (const exposure of ['8', '9'])
    simulate(darks, '--type', 'dark', '--exposure', exposure, '--reads', '12', '--chips', 'ab');
});

it('help names every kind that can be built', () => {
  const { stdout } = rampline(['calib', 'build', '--help']);
  for (const { word, summary } of BUILDERS) expect(stdout).toContain(`  ${word.padEnd(16)} ${summary}\n`);
});

describe('calib build one-over-f', () => {
  it('fits each detector among the darks, and not twice', () => {
    const first = build(darks, '-o', calib);
    expect(first.code).toBe(0);
    expect(first.reply.calibrations).toMatchObject([
      { kind: 'oneoverf', tele: 'apo', chip: 'a', inputs: 2, status: 'done', grade: 'pass' },
      { kind: 'oneoverf', tele: 'apo', chip: 'b', inputs: 2, status: 'done', grade: 'pass' },
    ]);
    const files: string[] = first.reply.calibrations.map(({ file }: { file: string }) => file);
    for (const [i, chip] of ['a', 'b'].entries())
      expect(basename(files[i]!)).toMatch(new RegExp(`^oneoverf-apo-${chip}-60857-[0-9a-f]{8}\\.fits$`));
    for (const { facts } of first.reply.calibrations)
      for (const part of facts.explained) expect(part).toBeGreaterThan(0.7);
    const states = (...args: string[]) =>
      build(...args, '-o', calib).reply.calibrations.map(({ status }: { status: string }) => status);
    // Whoever was stopped between the file and its page gets the page from the next run.
    const pages = () => readdirSync(calib).filter((name) => name.startsWith('qa-'));
    const all = pages();
    expect(all.length).toBeGreaterThan(0);
    for (const name of all) rmSync(join(calib, name));
    expect(states(darks)).toEqual(['skipped', 'skipped']);
    expect(pages()).toEqual(all);
    expect(states(darks, '--force')).toEqual(['done', 'done']);
    // Other darks make another calibration beside it.
    const one = build(join(darks, 'apR-b-52950008.apz'), '-o', join(base, 'one')).reply.calibrations[0];
    expect(one.status).toBe('done');
    expect(basename(one.file)).not.toBe(basename(files[1]!));
    expect(rampline(['verify', calib]).code).toBe(0);
    const file = api.openFits(files[1]!);
    expect(file.hdu(0).header.number('NINPUT', 0)).toBe(2);
    expect(file.readTable('PROVENANCE').column('NAME').values).toEqual(['apR-b-52950008.apz', 'apR-b-52950009.apz']);
    file.close();
  });

  it('is what ramp uses, and it makes the noise smaller', async () => {
    const raw = join(darks, 'apR-a-52950009.apz');
    const without = join(base, 'without');
    cpSync(calib, without, { recursive: true });
    for (const name of readdirSync(without)) if (name.startsWith('oneoverf')) rmSync(join(without, name));
    const reduce = (output: string, directory: string, ...args: string[]) => {
      const out = join(base, output);
      expect(rampline(['ramp', raw, '--calib', directory, '-o', out, '--log-level', 'error', ...args]).code).toBe(0);
      const file = api.openFits(join(out, '2d-apo-60857-a-0009.fits'));
      const provenance = file.readTable('PROVENANCE');
      const column = (name: string) => Array.from(provenance.column(name).values as ArrayLike<string>);
      const at = column('ROLE').indexOf('oneoverf');
      const { data, shape } = file.readImage('SCI');
      // Scatter of the rows of one amplifier against each other: 1/f noise and 1/512 of the pixels' own.
      const means = Array.from({ length: shape[0]! - 8 }, (_, row) => {
        const start = (row + 4) * 2048 + 512;
        const line = Float64Array.from(data.subarray(start, start + 512) as Float32Array).sort();
        return line.subarray(50, 462).reduce((sum, v) => sum + v, 0) / 412;
      });
      file.close();
      const mean = means.reduce((sum, v) => sum + v, 0) / means.length;
      const scatter = Math.sqrt(means.reduce((sum, v) => sum + (v - mean) ** 2, 0) / means.length);
      return { sha256: at < 0 ? undefined : column('SHA256')[at], scatter };
    };
    const weighted = reduce('weighted', calib);
    const made = readdirSync(calib).find((name) => name.startsWith('oneoverf-apo-a') && name.endsWith('.fits'))!;
    expect(weighted.sha256).toBe((await api.hashFile(join(calib, made))).sha256);
    const off = reduce('off', calib, '--off', 'subtract-one-over-f');
    const columns = reduce('columns', without);
    expect(columns.sha256).toBeUndefined();
    expect(weighted.scatter).toBeLessThan(0.8 * off.scatter);
    expect(weighted.scatter).toBeLessThan(columns.scatter);
  });

  it('refuses what is no dark, too short, damaged, or not there', () => {
    const odd = join(base, 'odd');
    simulate(odd, '--reads', '6', '--chips', 'a');
    const object = build(join(odd, 'apR-a-52950001.apz'), '-o', join(base, 'none'));
    expect(object.code).toBe(21);
    expect(object.reply).toMatchObject({ error: 'input', message: "expected a dark, the header says 'OBJECT'" });
    simulate(odd, '--type', 'dark', '--reads', '3', '--chips', 'a', '--exposure', '2');
    const short = build(join(odd, 'apR-a-52950002.apz'), '-o', join(base, 'none'));
    expect(short.code).toBe(20);
    expect(short.reply.message).toContain('expected a dark of at least 4 reads and 32 rows, received 3');
    const cut = join(odd, 'apR-a-52950003.apz');
    const whole = readFileSync(join(darks, 'apR-a-52950008.apz'));
    writeFileSync(cut, whole.subarray(0, statSync(join(darks, 'apR-a-52950008.apz')).size - 50_000));
    expect(build(cut, '-o', join(base, 'none')).code).toBe(21);
    const flipped = join(odd, 'apR-a-52950004.apz');
    whole[whole.length >> 1]! ^= 1;
    writeFileSync(flipped, whole);
    expect(build(flipped, '-o', join(base, 'none')).code).toBe(21);
    expect(build(join(odd, 'apR-a-52959999.apz'), '-o', join(base, 'none')).code).toBe(21);
    const kind = build(darks).reply;
    expect(kind).toMatchObject({ error: 'usage', message: 'expected a directory for the calibrations: -o DIR' });
    const wrong = rampline(['calib', 'build', 'one-over-g', darks, '-o', join(base, 'none')]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('did you mean "one-over-f"?');
    expect(readdirSync(join(base, 'none'))).toEqual([]);
  });

  it('mixes no detectors and needs noise that the references share', async () => {
    const dark = (path: string) => ({
      path,
      identity: api.apogee.identify(path.slice(path.lastIndexOf('/') + 1))!,
    });
    const [a, b] = ['a', 'b'].map((chip) => dark(join(darks, `apR-${chip}-52950008.apz`)));
    await expect(fitOneOverF([a!, b!], api.apogee)).rejects.toThrow(
      'expected a dark of apo chip a, received one of apo chip b',
    );
    await expect(fitOneOverF([], api.apogee)).rejects.toMatchObject({ class: 'usage' });
    const quiet = join(base, 'quiet');
    simulate(quiet, '--type', 'dark', '--reads', '12', '--chips', 'a', '--effects', 'none');
    await expect(fitOneOverF([dark(join(quiet, 'apR-a-52950001.apz'))], api.apogee)).rejects.toMatchObject({
      class: 'algorithm',
    });
  });
});
