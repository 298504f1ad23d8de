// The almanac as an operator uses it: the verbs, on simulated exposures, and the product in other programs.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { hasProgram, rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-almanac-cli-'));
afterAll(() => rmSync(base, { recursive: true }));
const raw = join(base, 'raw');
const folder = join(raw, 'apo', '60855');
const out = join(base, 'out');
const product = join(out, 'apo/60855/almanac-apo-60855.fits');
const night = ['--tele', 'apo', '--mjd', '60855'];
const run = (...args: string[]) => rampline([...args, '--log-level', 'error']);
const json = (...args: string[]) => JSON.parse(run('--json', ...args).stdout);

beforeAll(() => {
  for (const [exposure, type, reads] of [
    ['1', 'dark', '6'],
    ['2', 'dark', '6'],
    ['4', 'thar', '5'],
    ['5', 'fpi', '5'],
    ['6', 'object', '3'],
  ] as const) {
    const made = run(
      'simulate',
      '-o',
      folder,
      '--mjd',
      '60855',
      '--exposure',
      exposure,
      '--type',
      type,
      '--reads',
      reads,
      '--rows',
      '16',
      '--no-truth',
      '--no-calibrations',
    );
    if (made.code !== 0) throw new Error(made.stderr);
  }
}, 120_000);

it('scan lists the night and keeps it', () => {
  const { code, stdout, stderr } = run('almanac', 'scan', raw, ...night, '-o', out);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^dark +2 +6 +6 +0$/m);
  expect(stdout).toMatch(/^fpi +1 +5 +3 +0$/m);
  expect(stdout).toMatch(/^missing +1 /m);
  expect(stdout).toMatch(/^ +6 {2}object {2}3 reads, fewer than 4 \(rule\)$/m);
  expect(stdout).toContain('apo 60855: 5 exposures, 0 fibre maps, 1 errors, 1 warnings\n');
  expect(existsSync(product)).toBe(true);
  expect(run('verify', out).code).toBe(0);
});

it('scan again gives the same bytes, with --json the same exposures', () => {
  const before = readFileSync(product);
  const { exposures, product: path, errors, warnings } = json('almanac', 'scan', raw, ...night, '-o', out);
  expect(readFileSync(product).equals(before)).toBe(true);
  expect(path).toBe(product);
  expect([errors, warnings]).toEqual([1, 1]);
  expect(exposures.map(({ kind }: { kind: string }) => kind)).toEqual([
    'dark',
    'dark',
    'missing',
    'arclamp',
    'fpi',
    'object',
  ]);
});

it('scan takes a list and fibre maps', () => {
  const bad = join(base, 'bad.txt');
  writeFileSync(bad, 'tele mjd exposure reason\napo 60855 1 light leak\napo 60855 77 nothing\n');
  const fibres = join(base, 'fibres.csv');
  writeFileSync(fibres, 'fiber_id,category,ra,dec\n1,science,10,20\n2,sky,11,21\n');
  const to = join(base, 'with');
  const { stdout, code } = run('almanac', 'scan', raw, ...night, '--bad', bad, '--fibers', fibres, '-o', to);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^ +1 {2}dark +light leak \(user\)$/m);
  expect(stdout).toContain('1 fibre maps, 1 errors, 2 warnings');
  const { rows } = json('almanac', 'show', join(to, 'apo/60855/almanac-apo-60855.fits'), '--table', 'fibermap');
  expect(rows).toMatchObject([
    { tele: 'apo', fiber_id: 1, role: 'sci', ra: 10, dec: 20 },
    { fiber_id: 2, role: 'sky' },
  ]);
  writeFileSync(bad, 'apo 60855 one light leak\n');
  const refused = run('almanac', 'scan', raw, ...night, '--bad', bad);
  expect(refused.code).toBe(21);
  expect(refused.stderr).toContain(`${bad}: line 1: expected exposure to be a whole number`);
});

it('show answers questions of a product and of raw files alike', () => {
  const questions = ['--where', 'kind=dark', '--where', 'afterdark=yes', '--csv'];
  const fromProduct = run('almanac', 'show', product, ...questions);
  expect(fromProduct.code).toBe(0);
  expect(fromProduct.stdout).toMatch(/^tele,mjd,exposure,kind,.*\napo,60855,2,dark,6,abc,/);
  expect(fromProduct.stdout.trim().split('\n')).toHaveLength(2);
  expect(run('almanac', 'show', raw, ...night, ...questions).stdout).toBe(fromProduct.stdout);
  expect(run('almanac', 'show', product, product, '--where', 'kind=fpi').stdout).toMatch(/\n2 rows\n$/);
  const wrong = run('almanac', 'show', product, '--where', 'raeds>3');
  expect([wrong.code, wrong.stderr]).toEqual([2, 'rampline: usage error: no column "raeds"; did you mean "reads"?\n']);
  const noNight = run('almanac', 'show', raw);
  expect(noNight.code).toBe(2);
  expect(noNight.stderr).toContain('expected --tele and --mjd of the night');
});

it('diff and check see what happened since', () => {
  expect(run('almanac', 'diff', product, raw)).toMatchObject({ code: 0 });
  expect(run('almanac', 'diff', raw, product)).toMatchObject({ code: 0 });

  const checked = run('almanac', 'check', product);
  expect(checked.code).toBe(21); // exposure 3 is missing
  expect(checked.stdout).toMatch(/^error +3 {2}- +missing +exposure 3 is not there$/m);

  const later = join(base, 'later');
  mkdirSync(later);
  for (const exposure of ['1', '2', '4', '5', '6'])
    for (const chip of 'abc')
      copyFileSync(
        join(folder, `apR-${chip}-5293000${exposure}.apz`),
        join(later, `apR-${chip}-5293000${exposure}.apz`),
      );
  for (const chip of 'abc')
    copyFileSync(join(later, `apR-${chip}-52930001.apz`), join(later, `apR-${chip}-52930003.apz`));
  const whole = run('almanac', 'check', later, ...night);
  expect([whole.code, whole.stdout]).toEqual([0, expect.stringContaining('apo 60855: 0 errors, 1 warnings\n')]);
  const added = run('almanac', 'diff', product, later);
  expect(added.code).toBe(2);
  expect(added.stdout).toMatch(/^ +3 {2}added +dark, chips abc$/m);

  truncateSync(join(later, 'apR-b-52930003.apz'), 100_000);
  const cut = json('almanac', 'check', later, ...night);
  expect(cut.ok).toBe(false);
  expect(cut.findings).toContainEqual({
    severity: 'error',
    what: 'cut',
    exposure: 3,
    chip: 'b',
    text: 'apR-b-52930003.apz: the file is cut short: 100000 bytes is no multiple of 2880',
  });
});

it('an empty night, a night elsewhere and no almanac are input errors', () => {
  const empty = run('almanac', 'scan', raw, '--tele', 'lco', '--mjd', '60855');
  expect([empty.code, empty.stderr]).toEqual([
    21,
    `rampline: input error: ${raw}: no raw file of lco 60855 is there\n`,
  ]);
  expect(run('almanac', 'scan', join(base, 'nowhere'), ...night).code).toBe(21);
  expect(run('almanac', 'check', join(folder, 'apR-a-52930001.apz')).stderr).toContain(
    "expected an almanac of schema 'almanac/1'",
  );
});

it('the product passes fitsverify', (ctx) => {
  if (!hasProgram('fitsverify')) ctx.skip('fitsverify is not installed');
  expect(spawnSync('fitsverify', ['-q', product], { encoding: 'utf8' }).stdout).toMatch(/^verification OK/);
  const maps = join(base, 'with/apo/60855/almanac-apo-60855.fits');
  expect(spawnSync('fitsverify', ['-q', maps], { encoding: 'utf8' }).stdout).toMatch(/^verification OK/);
});

it('the product opens in astropy with the same rows', (ctx) => {
  if (spawnSync('/usr/bin/python3', ['-c', 'import astropy']).status !== 0) ctx.skip('astropy is not installed');
  const script = `
import sys, json
from astropy.io import fits
with fits.open(sys.argv[1], checksum=True) as f:
    names = [h.name for h in f]
    t = f['EXPOSURES'].data
    print(json.dumps([names, [str(k) for k in t['KIND']], [int(n) for n in t['READS']], [bool(b) for b in t['AFTERDARK']], int(f['FILES'].data['BYTES'][0])]))
`;
  const { stdout, stderr, status } = spawnSync('/usr/bin/python3', ['-W', 'error', '-c', script, product], {
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([0, '']);
  expect(JSON.parse(stdout)).toEqual([
    ['PRIMARY', 'EXPOSURES', 'FILES', 'SEQUENCES', 'FINDINGS', 'DATAMODEL'],
    ['dark', 'dark', 'missing', 'arclamp', 'fpi', 'object'],
    [6, 6, 0, 5, 5, 3],
    [false, true, false, false, false, false],
    readFileSync(join(folder, 'apR-a-52930001.apz')).length,
  ]);
});
