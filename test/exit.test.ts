// Every row of the table of exit codes, produced by the command line as a user meets it.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../src/core/errors.js';
import { exitCodeOf, SERIOUSNESS } from '../src/night/failure.js';
import { hasProgram, main, rampline, root, startRampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-exit-'));
const raw = join(base, 'raw');
const file = join(raw, 'apR-b-52950001.apz');
afterAll(() => rmSync(base, { recursive: true }));

function prepare() {
  const made = rampline(['simulate', '--chips', 'b', '--reads', '6', '--rows', '32', '-o', raw]);
  expect(made.code).toBe(0);
}
beforeAll(prepare);

/** Ends with the code, and says so in one JSON document too. */
function expectCode(
  args: readonly string[],
  error: string,
  code: number,
  how: Parameters<typeof rampline>[1] = {},
): string {
  const text = rampline([...args, '--log-level', 'error'], how);
  expect(text.code).toBe(code);
  const json = rampline([...args, '--json', '--log-level', 'error'], how);
  expect(json.code).toBe(code);
  const reply = JSON.parse(json.stdout);
  const failure = reply.outcomes?.[0].failure ?? reply;
  expect(failure).toMatchObject({ error, exitCode: code });
  return failure.message;
}

describe('exit codes', () => {
  it('0: ok', () => {
    expect(rampline(['ramp', file, '-o', join(base, 'ok')]).code).toBe(EXIT_CODES.ok);
  });

  it('2: usage, with the nearest name', () => {
    expect(rampline(['rmap', file]).stderr).toContain('Did you mean ramp?');
    expect(expectCode(['ramp', file, '--low-memry'], 'usage', 2)).toContain('--low-memory');
    expect(expectCode(['ramp', file], 'usage', 2)).toContain('-o DIR');
    expect(expectCode(['ramp', file, '-o', base, '--jumps', 'iqrr'], 'usage', 2)).toContain('iqr');
    expect(expectCode(['ramp', file, '-o', base, '--off', 'linearize'], 'usage', 2)).toContain('"linearise"');
    expect(expectCode(['kernels', 'describe', 'fit-rmap'], 'usage', 2)).toContain('"fit-ramp"');
    expect(rampline([]).code).toBe(2);
  });

  it('20: algorithm, an exposure of one read has no rate', () => {
    const one = join(base, 'one');
    expect(rampline(['simulate', '--chips', 'a', '--reads', '1', '--rows', '16', '-o', one]).code).toBe(0);
    expectCode(['ramp', join(one, 'apR-a-52950001.apz'), '-o', join(base, 'none')], 'algorithm', EXIT_CODES.algorithm);
  });

  it('21: input, a file cut short, or none', () => {
    const cut = join(base, 'apR-c-52950002.apz');
    writeFileSync(cut, readFileSync(file).subarray(0, 50_000));
    expectCode(['ramp', cut, '-o', join(base, 'none')], 'input', EXIT_CODES.input);
    expectCode(['inspect', join(base, 'nothing.fits')], 'input', EXIT_CODES.input);
  });

  it('22: calibration, one that is missing, or of another telescope', () => {
    const calib = join(base, 'calib');
    cpSync(join(raw, 'calib'), calib, { recursive: true });
    rmSync(join(calib, 'gain-apo-b.fits'));
    const args = ['ramp', file, '-o', join(base, 'none'), '--calib', calib];
    expect(expectCode(args, 'calibration', EXIT_CODES.calibration)).toContain('no gain for apo chip b');
    const lco = join(base, 'lco');
    rampline(['simulate', '--tele', 'lco', '--chips', 'b', '--reads', '2', '--rows', '32', '-o', lco]);
    cpSync(join(lco, 'calib', 'gain-lco-b.fits'), join(calib, 'gain-apo-b.fits'));
    expect(expectCode(args, 'calibration', EXIT_CODES.calibration)).toContain('refused 1 of other detectors');
  });

  it('30: retriable, no memory for a large exposure', (ctx) => {
    if (!hasProgram('prlimit')) ctx.skip('prlimit is not installed');
    const large = join(base, 'large');
    const made = [
      'simulate',
      '--chips',
      'a',
      '--reads',
      '40',
      '--rows',
      '1024',
      '--no-truth',
      '--no-calibrations',
      '-o',
      large,
    ];
    expect(rampline(made).code).toBe(0);
    // How much address space Node itself takes depends on the machine: the limit is what inspecting needs, and 64 MiB.
    const inspecting = `const { readFileSync } = require('node:fs');
      import(${JSON.stringify(join(root, 'build/js/night/ramp.js'))}).then(() =>
        console.log(/VmPeak:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]));`;
    const peak = Number(spawnSync(process.execPath, ['-e', inspecting], { encoding: 'utf8' }).stdout) * 1024;
    expect(peak).toBeGreaterThan(1e8);
    const limited = spawnSync(
      'prlimit',
      [
        `--as=${peak + 64 * 2 ** 20}`,
        process.execPath,
        main,
        'ramp',
        large,
        '--no-low-memory',
        '-o',
        join(base, 'none'),
        '--threads',
        '1',
        '--json',
      ],
      { encoding: 'utf8' },
    );
    expect(limited.status).toBe(EXIT_CODES.retriable);
    expect(JSON.parse(limited.stdout).outcomes[0].failure.error).toBe('retriable');
    expect(rampline(['ramp', large, '-o', join(base, 'later')]).code).toBe(0);
  });

  it('31: storage, a directory that takes no file', () => {
    const blocked = join(base, 'blocked');
    writeFileSync(blocked, 'a file where a directory should be');
    expectCode(['ramp', file, '-o', join(blocked, 'out')], 'storage', EXIT_CODES.storage);
    const damaged = join(base, 'damaged');
    expect(rampline(['ramp', file, '-o', damaged]).code).toBe(0);
    const product = join(damaged, readdirSync(damaged).find((name) => name.endsWith('.fits'))!);
    writeFileSync(product, readFileSync(product).subarray(1));
    expect(rampline(['verify', damaged]).code).toBe(EXIT_CODES.storage);
  });

  it('31: storage, a full disk', (ctx) => {
    const full = join(base, 'full');
    mkdirSync(full);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', full]).status === 0;
    if (!mounted) ctx.skip('a small tmpfs cannot be mounted here (needs root)');
    try {
      expect(expectCode(['ramp', file, '-o', full], 'storage', EXIT_CODES.storage)).toContain('ENOSPC');
      expect(readdirSync(full)).toEqual([]);
    } finally {
      spawnSync('umount', [full]);
    }
  });

  it('70: bug, a build without its addon', () => {
    const copy = join(base, 'copy');
    mkdirSync(join(copy, 'build'), { recursive: true });
    cpSync(join(root, 'build/js'), join(copy, 'build/js'), { recursive: true });
    cpSync(join(root, 'package.json'), join(copy, 'package.json'));
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
    const how = { main: join(copy, 'build/js/cli/main.js') };
    const message = expectCode(['inspect', file], 'bug', EXIT_CODES.bug, how);
    expect(message).toContain('npm run build');
    expect(rampline(['doctor'], how).code).toBe(EXIT_CODES.bug);
  });

  it.each([
    ['SIGINT', EXIT_CODES.interrupted],
    ['SIGTERM', EXIT_CODES.terminated],
  ] as const)('%s ends a run in order with %i, and the next run does the rest', async (signal, code) => {
    const many = join(base, `many-${signal}`);
    mkdirSync(many);
    for (let i = 1; i <= 60; i++) symlinkSync(file, join(many, `apR-b-5295${String(i).padStart(4, '0')}.apz`));
    const out = join(base, `out-${signal}`);
    let sent = false;
    const ended = await startRampline(
      ['ramp', many, '-o', out, '--jobs', '2', '--json', '--log-level', 'debug'],
      (kill, seen) => {
        const timer = setInterval(() => {
          if (sent || !seen().includes('"event":"done"')) return;
          sent = true;
          clearInterval(timer);
          kill(signal);
        }, 5);
      },
    );
    expect(sent).toBe(true);
    expect(ended.code).toBe(code);
    expect(JSON.parse(ended.stdout)).toMatchObject({ error: 'interrupted', exitCode: code });
    const names = readdirSync(out);
    expect(names.filter((name) => name.startsWith('.rampline-'))).toEqual([]);
    const before = names.filter((name) => name.endsWith('.fits')).length;
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(60);
    expect(JSON.parse(rampline(['verify', out, '--json']).stdout).counts).toEqual({ ok: before });
    const again = JSON.parse(rampline(['ramp', many, '-o', out, '--json']).stdout);
    const skipped = again.outcomes.filter(({ status }: { status: string }) => status === 'skipped').length;
    expect(skipped).toBe(before);
  });

  it('the second signal ends at once', async () => {
    const large = join(base, 'twice');
    const ended = await startRampline(
      ['simulate', '--reads', '47', '-o', large, '--log-level', 'info'],
      (kill, seen) => {
        const timer = setInterval(() => {
          if (!seen().includes('simulating')) return;
          clearInterval(timer);
          kill('SIGINT');
          setTimeout(() => kill('SIGINT'), 200);
        }, 5);
      },
    );
    expect(ended.code).toBe(EXIT_CODES.interrupted);
    expect(readdirSync(large).filter((name) => name.endsWith('.apz'))).toEqual([]);
  });

  it('of several failures the most serious class decides', () => {
    const failure = (error: (typeof SERIOUSNESS)[number]) => ({ error, exitCode: EXIT_CODES[error], message: '' });
    for (const [i, name] of SERIOUSNESS.entries()) {
      expect(exitCodeOf(SERIOUSNESS.slice(i).reverse().map(failure))).toBe(EXIT_CODES[name]);
    }
    expect(exitCodeOf([])).toBe(0);
    const mixed = join(base, 'mixed');
    mkdirSync(mixed);
    writeFileSync(join(mixed, 'apR-a-52950003.apz'), 'no FITS');
    cpSync(file, join(mixed, 'apR-b-52950003.apz'));
    chmodSync(mixed, 0o755);
    expect(rampline(['ramp', mixed, '-o', join(base, 'm')]).code).toBe(EXIT_CODES.input);
  });
});

describe('configuration', () => {
  it('sets options, yields to the command line, and refuses what it does not know', () => {
    const config = join(base, 'config.json');
    writeFileSync(
      config,
      JSON.stringify({ output: join(base, 'configured'), jumps: 'none', off: ['subtract-one-over-f'], rtol: 1 }),
    );
    expect(rampline(['ramp', file, '--config', config]).code).toBe(0);
    const product = join(base, 'configured', '2d-apo-60857-b-0001.fits.manifest.json');
    expect(JSON.parse(readFileSync(product, 'utf8')).parameters).toMatchObject({
      jumps: 'none',
      off: ['subtract-one-over-f'],
    });
    expect(rampline(['ramp', file, '--config', config, '--jumps', 'iqr', '--force']).code).toBe(0);
    expect(JSON.parse(readFileSync(product, 'utf8')).parameters).toMatchObject({ jumps: 'iqr' });
    writeFileSync(config, JSON.stringify({ jump: 'none' }));
    expect(rampline(['ramp', file, '--config', config]).stderr).toContain('did you mean "jumps"?');
    for (const wrong of ['[]', '{"jumps": "most"}', '{"jobs": "x"}', '{"force": 1}', '{', '{"off": {}}']) {
      writeFileSync(config, wrong);
      const { code } = rampline(['ramp', file, '-o', base, '--config', config]);
      expect([EXIT_CODES.usage, EXIT_CODES.input]).toContain(code);
    }
  });
});

describe('--json', () => {
  it.each([
    ['--help'],
    ['--version'],
    ['ramp', '--help'],
    ['kernels', 'list'],
    ['kernels', 'chain', 'ramp'],
    ['kernels', 'describe', 'fit-ramp'],
    ['doctor'],
    ['verify', join(root, 'data')],
    ['inspect', file],
    ['diff', file, file],
    ['nonsense'],
    [],
  ])('prints one document: %s %s %s', (...args) => {
    const { stdout } = rampline([...args, '--json', '--log-level', 'error']);
    expect(typeof JSON.parse(stdout)).toBe('object');
  });
});
