// The verbs of the registry as a person uses them, with their exit codes.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { calibrationCards } from '../../src/calib/product.js';
import { encodeFits, openFits } from '../../src/fits/index.js';
import { type CalibrationSpec, identityOf, writeCalibration } from '../calibrations.js';
import { main, rampline } from '../cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-registry-cli-'));
afterAll(() => rmSync(base, { recursive: true }));
const calib = join(base, 'calib');
const made = join(base, 'made');
const raw = join(base, 'raw', 'apR-a-52950001.apz');

const make = async (spec: CalibrationSpec) => join(made, await writeCalibration(made, spec));
const run = (...args: string[]) => {
  const ended = rampline(['calib', ...args, '--json']);
  return { ...ended, reply: ended.stdout === '' ? {} : JSON.parse(ended.stdout) };
};

let added: ReturnType<typeof run>;
beforeAll(async () => {
  mkdirSync(made);
  const simulated = rampline(['simulate', '--rows', '64', '--reads', '4', '--chips', 'a', '-o', join(base, 'raw')]);
  if (simulated.code !== 0) throw new Error(simulated.stderr);
  const paths = await Promise.all([
    make({ kind: 'gain' }),
    make({ kind: 'readnoise' }),
    make({ kind: 'saturation' }),
    make({ value: 1, validFrom: 60_800, validTo: 60_850, dataTo: 60_800 }),
    make({ value: 2, validFrom: 60_860, validTo: 60_900, dataTo: 60_860 }),
    make({ kind: 'flat', validFrom: 60_800, validTo: 60_862, dataTo: 60_800 }),
  ]);
  added = run('add', ...paths, '-o', calib);
});

describe('calib add and list', () => {
  it('adds once, refuses damaged files by name and goes on, and lists what there is', async () => {
    expect(added.code).toBe(0);
    expect(added.reply.outcomes.map(({ status }: { status: string }) => status)).toEqual(Array(6).fill('added'));
    const cut = await make({ value: 7 });
    truncateSync(cut, 5000);
    const other = join(base, 'dark-apo-a-1.fits');
    copyFileSync(await make({ value: 8 }), other);
    const good = join(made, 'gain-apo-a-1.fits');
    const { code, reply, stderr } = run('add', cut, other, good, join(base, 'none.fits'), '-o', calib);
    expect(code).toBe(22); // of 21 and 22 the more serious
    expect(reply.outcomes.map(({ status }: { status: string }) => status)).toEqual([
      'failed',
      'failed',
      'present',
      'failed',
    ]);
    expect(reply.outcomes.map(({ failure }: { failure?: { exitCode: number } }) => failure?.exitCode)).toEqual([
      21,
      22,
      undefined,
      21,
    ]);
    expect(stderr).toContain('another file of this name');
    const listed = run('list', calib).reply;
    expect(listed).toMatchObject({ backend: 'sqlite', unusable: [], pins: [] });
    expect(listed.records).toHaveLength(6);
    expect(rampline(['calib', 'list', calib]).stdout).toContain('6 calibrations (sqlite)');
    expect(run('add', good).code).toBe(2);
    expect(run('list', join(base, 'nowhere')).code).toBe(21);
  });

  it("refuses a gain map that is another detector's", async () => {
    // The same pixels under the name of chip b: what befell LCO for 15 months.
    const copied = run('add', await make({ kind: 'gain', chip: 'b' }), '-o', calib);
    expect(copied.code).toBe(22);
    expect(copied.reply.outcomes[0].failure.message).toBe(
      '100.00 % of the pixels of GAIN of apo chip b are those of gain-apo-a-1.fits, the gain of apo chip a: two detectors are never so alike',
    );
    // A level may well be that of another detector.
    const level = await make({ kind: 'saturation', chip: 'b' });
    expect(run('add', level, join(made, 'saturation-apo-a-1.fits'), '-o', join(base, 'elsewhere')).code).toBe(0);
  });

  it('refuses a dark without errors or bits, which no frame could be calibrated with', async () => {
    const bare = join(made, 'bare-dark.fits');
    const hdus = [
      { header: calibrationCards(identityOf({ kind: 'dark' })) },
      { name: 'RATE', data: new Float32Array(16), shape: [4, 4] },
    ];
    writeFileSync(bare, Buffer.concat(encodeFits(hdus)));
    const { code, reply } = run('add', bare, '-o', join(base, 'elsewhere'));
    expect(code).toBe(22);
    expect(reply.outcomes[0].failure.message).toContain('expected the image ERR and DQ of a dark calibration');
  });

  it('says how a damaged database is made again', async () => {
    const broken = join(base, 'broken');
    expect(run('add', join(made, 'saturation-apo-a-1.fits'), '-o', broken).code).toBe(0);
    for (const name of readdirSync(broken)) if (name.startsWith('registry.sqlite')) rmSync(join(broken, name));
    writeFileSync(join(broken, 'registry.sqlite'), 'no database at all, and long enough to be read as one'.repeat(40));
    const { code, reply } = run('list', broken);
    expect(code).toBe(31);
    expect(reply.message).toContain('remove this file, then rampline calib reindex makes it again');
  });
});

describe('calib explain', () => {
  it('explains a raw file: the time is that of its headers', () => {
    const { code, reply } = run('explain', raw, '--calib', calib);
    expect(code).toBe(0);
    const [explanation] = reply.explanations;
    expect(explanation).toMatchObject({ name: 'apR-a-52950001.apz', frame: { tele: 'apo', chip: 'a' }, missing: [] });
    expect(explanation.frame.mjd).toBeCloseTo(60_857.00694, 4);
    const dark = explanation.results.find((result: { rule: { kind: string } }) => result.rule.kind === 'dark');
    expect(dark.how).toBe('interpolated');
    const text = rampline(['calib', 'explain', raw, '--calib', calib]).stdout;
    expect(text).toContain(
      'used     dark-apo-a-1.fits: its window [60800, 60850) ends 7.0069 d before the frame; weight',
    );
  });

  it('takes MJD and ISO alike, and ends with 22 when something is missing', () => {
    const at = (time: string, ...more: string[]) =>
      run('explain', '--tele', 'apo', '--chip', 'a', '--at', time, '--calib', calib, ...more);
    expect(at('60857.5').reply.explanations).toEqual(at('2025-07-01T12:00:00').reply.explanations);
    expect(at('60857.5').reply.explanations).toEqual(at('2025-07-01T12:00Z').reply.explanations);
    const { code, reply } = at('59000');
    expect(code).toBe(22);
    expect(reply.explanations[0].missing).toEqual(['dark', 'flat']);
    expect(at('59000', '--for', 'ramp').code).toBe(0);
    expect(at('59000', '--for', 'ramps').code).toBe(2);
    expect(at('yesterday').code).toBe(2);
    expect(run('explain', '--calib', calib).code).toBe(2);
    expect(run('explain', raw).code).toBe(2);
    expect(run('explain', raw, '--at', '60857', '--calib', calib).code).toBe(2);
  });
});

describe('calib pin', () => {
  it('freezes what is chosen, under a name that is given once', () => {
    const pin = (...args: string[]) => run('pin', 'dr20', '--calib', calib, ...args);
    expect(pin('--at', '60861').reply).toMatchObject({ status: 'added', mjd: 60_861, missing: [] });
    expect(pin('--at', '60861').reply.status).toBe('present');
    expect(pin('--at', '60840').code).toBe(22);
    const explained = run('explain', raw, '--calib', calib, '--pin', 'dr20');
    const dark = explained.reply.explanations[0].results.find(
      (r: { rule: { kind: string } }) => r.rule.kind === 'dark',
    );
    expect(dark.how).toBe('pinned');
    expect(dark.candidates[0].record.file).toBe('dark-apo-a-2.fits');
    expect(run('explain', raw, '--calib', calib, '--pin', 'dr2').stdout).toContain('did you mean');
    expect(run('pin', 'none', '--calib', calib, '--tele', 'lco').code).toBe(22);
    expect(run('pin', 'a/b', '--calib', calib).code).toBe(2);
  });
});

describe('calib timeline and check', () => {
  it('draws windows, and tells gaps to a program', () => {
    const picture = join(base, 'pictures', 'calib.svg');
    const { code, reply } = run('timeline', calib, '--at', '60857', '-o', picture);
    expect(code).toBe(0);
    const dark = reply.lanes.find(({ kind }: { kind: string }) => kind === 'dark');
    expect(dark).toMatchObject({ gaps: [{ from: 60_850, to: 60_860 }], overlaps: [] });
    expect(dark.windows.map(({ current }: { current: boolean }) => current)).toEqual([false, false]);
    expect(readFileSync(picture, 'utf8')).toMatch(/^<svg .*<\/svg>\n$/s);
    expect(rampline(['calib', 'timeline', calib, '--at', '60857']).stdout).toContain('60850 to 60860');
    expect(run('timeline', calib, '-o', join(base, 'timeline.png')).code).toBe(2);
  });

  it('warns of what ends soon, and ends with 22 when something is missing', () => {
    const soon = run('check', calib, '--at', '60861', '--within', '3');
    expect(soon.code).toBe(0);
    expect(soon.reply.findings).toMatchObject([{ level: 'warning', kind: 'flat', what: 'expires' }]);
    expect(run('check', calib, '--at', '60861', '--within', '0.5').reply.findings).toEqual([]);
    const missing = run('check', calib, '--at', '61200');
    expect(missing.code).toBe(22);
    expect(missing.reply.findings.filter(({ level }: { level: string }) => level === 'error')).toHaveLength(2);
    expect(run('check', calib, '--tele', 'lco', '--chip', 'c', '--at', '60861').code).toBe(22);
    expect(run('check', calib, '--within', 'soon').code).toBe(2);
  });
});

describe('a reduction', () => {
  const sim = join(base, 'raw', 'calib');
  const own = join(base, 'own');
  const reduce = (output: string, ...args: string[]) => {
    const ended = rampline([
      'ramp',
      raw,
      '--calib',
      own,
      '-o',
      join(base, output),
      '--json',
      '--log-level',
      'error',
      ...args,
    ]);
    return { ...ended, reply: JSON.parse(ended.stdout) };
  };
  const provenance = (output: string) => {
    const file = openFits(join(base, output, '2d-apo-60857-a-0001.fits'));
    const table = file.readTable('PROVENANCE');
    file.close();
    const column = (name: string) => Array.from(table.column(name).values as ArrayLike<string | number>);
    const [roles, names, used] = [column('ROLE'), column('NAME'), column('USED')];
    return roles.map((role, i) => `${role} ${names[i]} ${used[i] === 1 ? 'used' : 'refused'}`);
  };

  it('takes what is chosen, says so in its product, and refuses a file that changed', async () => {
    const names = readdirSync(sim).filter((name) => name.endsWith('-a.fits'));
    expect(run('add', ...names.map((name) => join(sim, name)), '-o', own).code).toBe(0);
    expect(run('pin', 'first', '--calib', own, '--at', '60857').code).toBe(0);
    expect(reduce('one').code).toBe(0);
    expect(provenance('one')).toContain('gain gain-apo-a.fits used');
    // A newer gain, of the right size.
    const newer = join(base, 'gain-newer.fits');
    const rows = 64;
    const cards = calibrationCards(identityOf({ kind: 'gain', dataFrom: 60_000, dataTo: 60_001 }));
    writeFileSync(
      newer,
      Buffer.concat(
        encodeFits([
          { header: cards },
          { name: 'GAIN', data: new Float32Array(rows * 2048).fill(2), shape: [rows, 2048] },
        ]),
      ),
    );
    expect(run('add', newer, '-o', own).code).toBe(0);
    expect(reduce('two').code).toBe(0);
    expect(provenance('two')).toEqual(
      expect.arrayContaining(['gain gain-newer.fits used', 'gain gain-apo-a.fits refused']),
    );
    expect(reduce('three', '--pin', 'first').code).toBe(0);
    expect(provenance('three')).toEqual(
      expect.arrayContaining(['gain gain-apo-a.fits used', 'gain gain-newer.fits refused', 'pin first used']),
    );
    // A pixel of it changes by one bit.
    const path = join(own, 'gain-newer.fits');
    const bytes = readFileSync(path);
    bytes[openFits(bytes).hdu('GAIN').dataOffset + 3]! ^= 1;
    writeFileSync(path, bytes);
    const refused = reduce('four');
    expect(refused.code).toBe(22);
    expect(refused.stdout).toMatch(/expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}/);
    expect(reduce('five', '--pin', 'first').code).toBe(0);
  });
});

describe('a registry that may only be read', () => {
  it('serves, and refuses to be added to', async (ctx) => {
    const directory = join(base, 'readonly');
    expect(run('add', await make({ kind: 'gain', value: 3 }), '-o', directory).code).toBe(0);
    for (const path of [base, directory]) chmodSync(path, 0o555);
    // root may write everywhere: then another user looks.
    const as = process.getuid?.() === 0 ? ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', '--'] : [];
    const command = (...words: string[]) => {
      const [program, ...args] = [...as, ...words];
      return spawnSync(program as string, args, { encoding: 'utf8' });
    };
    try {
      if (command('test', '-r', main).status !== 0) ctx.skip('another user cannot read the build');
      const calibVerb = (...args: string[]) => command(process.execPath, main, 'calib', ...args, '--json');
      const listed = calibVerb('list', directory);
      expect(listed.stderr).toBe('');
      expect(JSON.parse(listed.stdout).records).toHaveLength(1);
      expect(calibVerb('add', join(made, 'gain-apo-a-1.fits'), '-o', directory).status).toBe(31);
    } finally {
      for (const path of [base, directory]) chmodSync(path, 0o755);
    }
  });
});

describe('calib reindex', () => {
  it('makes the database of files that are there, and names those that are damaged', async () => {
    const directory = join(base, 'again');
    for (const value of [1, 2]) await writeCalibration(directory, { value });
    truncateSync(join(directory, 'dark-apo-a-2.fits'), 5000);
    const { code, reply } = run('reindex', directory);
    expect(code).toBe(22);
    expect(reply.unusable).toMatchObject([{ file: 'dark-apo-a-2.fits' }]);
    expect(run('list', directory).reply.records).toHaveLength(1);
    rmSync(join(directory, 'dark-apo-a-2.fits'));
    expect(run('reindex', directory)).toMatchObject({ code: 0 });
  });

  it('makes no directory of a mistyped name', () => {
    const mistyped = join(base, 'agian');
    expect(run('reindex', mistyped)).toMatchObject({
      code: 21,
      reply: { message: 'no such directory of calibrations', file: mistyped },
    });
    expect(existsSync(mistyped)).toBe(false);
  });
});
