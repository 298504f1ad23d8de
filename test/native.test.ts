// Runs every doctest case of the native test runner, and every fuzz target over its corpus, as one test each.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;
const build = join(root, 'build/native-tests');
const runner = join(build, 'rampline_native_tests');
const run = promisify(execFile);
const options = { cwd: root, maxBuffer: 64 << 20, timeout: 600_000 };

interface Case {
  name: string;
  file: string;
  skipped: boolean;
}

const plain = (text: string) =>
  text.replace(
    /&(lt|gt|quot|apos|amp);/g,
    (_, name: string) => ({ lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' })[name]!,
  );

function listCases(): Case[] {
  const xml = execFileSync(runner, ['--list-test-cases', '--reporters=xml', '--no-skip'], {
    ...options,
    encoding: 'utf8',
  });
  return [...xml.matchAll(/<TestCase ([^>]*)\/>/g)].map(([, attributes]) => {
    const get = (key: string) => plain(new RegExp(`(?:^|\\s)${key}="([^"]*)"`).exec(attributes!)?.[1] ?? '');
    return { name: get('name'), file: get('filename').replace(/.*\//, ''), skipped: get('skipped') === 'true' };
  });
}

/** The output of a process that ended well; else an error with all it said. */
async function output(program: string, args: string[]): Promise<string> {
  try {
    const { stdout, stderr } = await run(program, args, options);
    return stdout + stderr;
  } catch (error) {
    const {
      stdout = '',
      stderr = '',
      code,
      signal,
    } = error as { stdout?: string; stderr?: string; code?: number; signal?: string };
    throw new Error(`${program} ${args.join(' ')} ended with ${signal ?? code}\n${stdout}\n${stderr}`);
  }
}

const absent = join(build, 'absent');
if (existsSync(absent)) {
  it('native tests', (ctx) => ctx.skip(readFileSync(absent, 'utf8').trim()));
} else {
  const cases = listCases();
  for (const file of new Set(cases.map((entry) => entry.file))) {
    describe(`native ${file}`, () => {
      for (const { name, skipped } of cases.filter((entry) => entry.file === file)) {
        it(name, { timeout: 600_000 }, async (ctx) => {
          if (skipped) ctx.skip('marked doctest::skip() in the source');
          const filter = name.replaceAll('\\', '\\\\').replaceAll(',', '\\,');
          const said = await output(runner, [`--test-case=${filter}`, `--source-file=*${file}`, '--case-sensitive']);
          const reason = /MESSAGE: skipped: (.*)/.exec(said)?.[1];
          if (reason !== undefined) ctx.skip(reason);
          expect(said).toMatch(/test cases: +[1-9]/);
        });
      }
    });
  }

  const targets = readdirSync(build).filter((name) => /^fuzz_\w+$/.test(name));
  describe.runIf(targets.length > 0)('fuzz corpus', () => {
    for (const target of targets) {
      it(target, { timeout: 600_000 }, async (ctx) => {
        const corpus = join(root, 'data/fuzz', target.replace(/^fuzz_/, ''));
        if (!existsSync(corpus)) ctx.skip(`no corpus at ${corpus}`);
        await output(join(build, target), [corpus]);
      });
    }
  });
}
