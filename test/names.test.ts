// Names of files are names and nothing else: never an expression, a URL, an option, a command.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { RamplineError } from '../src/core/errors.js';
import { inspect, openFits, openStore, ramp } from '../src/index.js';
import { hasProgram, main, rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-names-'));
afterAll(() => rmSync(base, { recursive: true }));

/** A primary HDU without data. */
const EMPTY = (() => {
  const cards = [
    'SIMPLE  =                    T',
    'BITPIX  =                    8',
    'NAXIS   =                    0',
    'END',
  ];
  return Buffer.from(
    cards
      .map((card) => card.padEnd(80))
      .join('')
      .padEnd(2880),
  );
})();

/** Names that some program somewhere takes for more than a name; all of them are legal on Linux. */
const LEGAL = [
  'x[1].fits',
  'x[SCI].fits',
  'x.fits[1]',
  'x.fits[1:10,1:10]',
  'x.fits[events][pha>5]',
  'x.fits(out.fits)',
  'x.fits+1',
  '!out.fits',
  '!',
  '-',
  '--',
  '-rf',
  '--help',
  '--version',
  '--json',
  '-o',
  '--output=x',
  '--config',
  '-',
  '---',
  'http:',
  'https:',
  'file:',
  'ftp:x',
  'mem:',
  'shmem:',
  'stdin',
  'stdout',
  'root:',
  'gsiftp:',
  'compress:',
  's3:b',
  '$(id)',
  '`id`',
  '$HOME',
  ['$', '{HOME}'].join(''),
  '~',
  '~root',
  '%n%n%s',
  '%00',
  '%2e%2e',
  '&',
  '|id',
  ';id',
  '>x',
  '<x',
  '*',
  '?',
  '{a,b}',
  "'",
  '"',
  '\\',
  '\\n',
  'a b',
  ' ',
  '  x',
  'x ',
  '\t',
  '\n',
  'a\nb.fits',
  '\r',
  '\x1b[2J',
  '\x07',
  '\x7f',
  '...',
  '.hidden',
  '..x',
  'x..',
  'con',
  'nul',
  'aux',
  'COM1',
  'x.fits.gz.',
  '@',
  '@list',
  '@@',
  '#x',
  '#',
  '=',
  'a=b',
  'naïve.fits',
  'ναός',
  '星.fits',
  '🔭',
  '\u202etxt',
  '\ufeffx',
  '\u00a0',
  'e\u0301',
  'é',
  '__proto__',
  'constructor',
  'toString',
  'undefined',
  'null',
  'NaN',
  '0',
  '-1',
  '1e999',
  'true',
  '[]',
  '{}',
  'x'.repeat(255),
  '-'.repeat(200),
  '('.repeat(100),
  '['.repeat(100),
  `${'a'.repeat(100)}[1]`,
  'x.fits?raw=1',
  'x#frag',
  'C:x',
  'x:y',
].filter((name, i, all) => name !== '' && all.indexOf(name) === i);

const inDirectory = join(base, 'legal');
mkdirSync(inDirectory);

describe('hostile names', () => {
  it('are many', () => {
    expect(LEGAL.length).toBeGreaterThan(100);
  });

  it('that exist are opened, whatever they look like', async () => {
    for (const name of LEGAL) {
      const path = join(inDirectory, name);
      writeFileSync(path, EMPTY);
      const report = await inspect(path);
      expect(report.hdus).toHaveLength(1);
      rmSync(path);
    }
  });

  it('that do not exist are no such file, and nothing else happens', async () => {
    for (const name of [
      ...LEGAL,
      'http://127.0.0.1:9/x.fits',
      'ftp://h/x',
      'file:///etc/passwd',
      'root://h/x',
      'x'.repeat(4096),
      '',
      '/',
      '..',
      '.',
    ]) {
      const found = await inspect(name === '' || name.startsWith('/') ? name : `${base}/none/${name}`).catch(
        (error: unknown) => error,
      );
      expect(found).toBeInstanceOf(RamplineError);
      expect(['input', 'storage', 'usage']).toContain((found as RamplineError).class);
    }
    expect(readdirSync(base)).toEqual(['legal']);
  });

  it('with NUL are refused with a typed error', async () => {
    for (const call of [
      () => inspect('a\0b.fits'),
      () => ramp({ files: ['a\0b.fits'], output: join(base, 'o') }),
      async () => openFits('a\0b'),
      async () => (await openStore(join(base, 'o'))).writeFile('a\0b', ''),
    ]) {
      const error = await call().then(
        () => undefined,
        (caught: unknown) => caught,
      );
      expect(error).toBeInstanceOf(RamplineError);
      expect(['usage', 'input']).toContain((error as RamplineError).class);
    }
  });

  it('on the command line are names after --, and in lists', () => {
    const cwd = join(base, 'cwd');
    mkdirSync(cwd);
    for (const name of ['-rf', '--help', '!out.fits', 'x[1].fits', '$(id)', '@list', 'a\nb.fits', '-o']) {
      writeFileSync(join(cwd, name), EMPTY);
      const { code, stdout } = rampline(['inspect', '--json', '--', name], { cwd });
      expect(code).toBe(0);
      expect(JSON.parse(stdout).file).toBe(name);
    }
    writeFileSync(join(cwd, 'list'), '-rf\n$(id)\nhttp://h/x\n');
    const { code, stdout } = rampline(['ramp', '--json', '-o', 'out', '@list'], { cwd });
    expect(code).toBe(21);
    expect(JSON.parse(stdout)).toMatchObject({ error: 'input', file: '-rf' });
    expect(existsSync(join(cwd, 'out'))).toBe(false);
    writeFileSync(join(cwd, 'list'), 'a\0b\n');
    expect(rampline(['ramp', '-o', 'out', '@list'], { cwd }).code).toBe(2);
    expect(rampline(['ramp', '-o', 'out', '--', `@${'x'.repeat(5000)}`], { cwd }).code).toBe(21);
  });

  it('do not forge lines in what a person reads', () => {
    const cwd = join(base, 'forge');
    mkdirSync(cwd);
    const name = 'a\nall is well\x1b[2J.fits';
    writeFileSync(join(cwd, name), EMPTY);
    const { stdout } = rampline(['verify', '.'], { cwd });
    expect(stdout).toContain('a\\x0aall is well\\x1b[2J.fits');
    const missing = rampline(['inspect', 'b\nrampline: all is well'], { cwd });
    expect(missing.stderr.split('\n').filter((line) => line !== '')).toHaveLength(1);
  });

  it('open no connection and start no shell', (ctx) => {
    if (!hasProgram('strace')) ctx.skip('strace is not installed');
    if (spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0) ctx.skip('strace may not trace here');
    const log = join(base, 'strace.log');
    const names = ['http://127.0.0.1:9/x.fits', '$(id)', '|id', 'ftp://h/x.fits', 'shmem:x', '`id`', ';id'];
    for (const name of names) {
      spawnSync('strace', [
        '-f',
        '-qq',
        '-e',
        'trace=connect,execve,socket',
        '-o',
        log,
        process.execPath,
        main,
        'inspect',
        '--',
        name,
      ]);
      const calls = readFileSync(log, 'utf8')
        .split('\n')
        .filter((line) => /\b(?:connect|execve|socket)\(/.test(line));
      // The one execve is that of node itself.
      expect(calls.filter((line) => !line.includes('execve('))).toEqual([]);
      expect(calls).toHaveLength(1);
    }
  });
});
