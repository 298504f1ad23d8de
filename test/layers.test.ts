// The lint rules about rooms, each proven by a breach: a rule that nothing can break is no rule.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;
const trees: string[] = [];
afterAll(() => {
  for (const tree of trees) rmSync(tree, { recursive: true, force: true });
});

function tree(files: Record<string, string>): string {
  const dir = mkdtempSync(join(tmpdir(), 'rampline-layers-'));
  trees.push(dir);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  }
  return dir;
}

function layers(files: Record<string, string>) {
  const dir = tree({
    'package.json': '{ "type": "module", "dependencies": { "commander": "*", "piscina": "*" } }',
    ...files,
  });
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
  const config = join(root, '.ci/layers.cjs');
  const { status, stdout } = spawnSync(join(root, 'node_modules/.bin/depcruise'), ['--config', config, 'src'], {
    cwd: dir,
    encoding: 'utf8',
  });
  return { status, said: stdout };
}

function rooms(files: Record<string, string>) {
  const { status, stdout } = spawnSync(process.execPath, [join(root, '.ci/rooms.mjs'), tree(files)], {
    encoding: 'utf8',
  });
  return { status, said: stdout };
}

describe('imports between the rooms of src', () => {
  const leaf = 'export const x = 1;\n';
  const uses = (path: string) => `import { x } from '${path}';\nexport const y = x;\n`;

  it('takes what the table allows', () => {
    const { status, said } = layers({
      'src/core/a.ts': leaf,
      'src/fits/a.ts': uses('../core/a.js'),
      'src/calib/a.ts': uses('../fits/a.js').replace('{ x }', '{ y as x }'),
      'src/stages/ramp/a.ts': uses('../../core/a.js'),
      'src/cli/a.ts':
        "import { Command } from 'commander';\nimport { y } from '../stages/ramp/a.js';\nexport const z = [Command, y];\n",
      'src/index.ts': "export * from './stages/ramp/a.js';\n",
    });
    expect(said).toContain('no dependency violations');
    expect(status).toBe(0);
  });

  const breaches: [string, string, Record<string, string>][] = [
    ['core imports a room', 'core-imports', { 'src/fits/a.ts': leaf, 'src/core/a.ts': uses('../fits/a.js') }],
    ['fits imports the store', 'fits-imports', { 'src/store/a.ts': leaf, 'src/fits/a.ts': uses('../store/a.js') }],
    [
      'a stage imports the store',
      'stages-imports',
      { 'src/store/a.ts': leaf, 'src/stages/ramp/a.ts': uses('../../store/a.js') },
    ],
    [
      'a stage imports another stage',
      'stages-never-import-one-another',
      { 'src/stages/qa/a.ts': leaf, 'src/stages/ramp/a.ts': uses('../qa/a.js') },
    ],
    ['the public API imports cli', 'nothing-imports-cli', { 'src/cli/a.ts': leaf, 'src/index.ts': uses('./cli/a.js') }],
    [
      'a type alone crosses',
      'core-imports',
      {
        'src/fits/a.ts': 'export type T = 1;\n',
        'src/core/a.ts': "import type { T } from '../fits/a.js';\nexport const t: T = 1;\n",
      },
    ],
    [
      'a cycle inside a room',
      'no-circular',
      {
        'src/core/a.ts': uses('./b.js'),
        'src/core/b.ts': "import { y } from './a.js';\nexport const x: number = y;\n",
      },
    ],
    ['a room nobody declared', 'no-unknown-room', { 'src/core/a.ts': leaf, 'src/misc/a.ts': uses('../core/a.js') }],
    [
      'a test that reaches into another room',
      'core-imports',
      { 'src/fits/a.ts': leaf, 'src/core/a.test.ts': uses('../fits/a.js') },
    ],
    ['commander outside cli', 'only-cli-uses-commander', { 'src/core/a.ts': uses('commander') }],
    ['a database driver outside database', 'only-database-uses-kysely', { 'src/ledger/a.ts': uses('kysely') }],
    ['a package of the tools in the product', 'packages-by-room', { 'src/core/a.ts': uses('dependency-cruiser') }],
    ['an import that leads nowhere', 'not-found', { 'src/core/a.ts': uses('./gone.js') }],
  ];
  it.each(breaches)('sees: %s', (_, rule, files) => {
    const { status, said } = layers(files);
    expect(said).toContain(rule);
    expect(status).not.toBe(0);
  });
});

describe('writing files', () => {
  it('is for the store, and reading is for all', () => {
    const { status, said } = rooms({
      'src/store/a.ts': "import { renameSync } from 'node:fs';\nrenameSync('a', 'b');\n",
      'src/fits/a.ts':
        "import { openSync, readSync } from 'node:fs';\nexport const fd = openSync('x', 'r');\nreadSync(fd, Buffer.alloc(1));\n",
      'src/fits/a.test.ts': "import { writeFileSync } from 'node:fs';\nwriteFileSync('a', 'b');\n",
    });
    expect(said).toBe('');
    expect(status).toBe(0);
  });

  it.each([
    ["import { writeFileSync } from 'node:fs';\nwriteFileSync('a', '');\n"],
    ["import { writeFile as save } from 'node:fs/promises';\nawait save('a', '');\n"],
    ["import fs from 'node:fs';\nfs.rmSync('a');\n"],
    ["import * as files from 'fs';\nawait files.promises.mkdir('a');\n"],
    ["import { promises as fs } from 'node:fs';\nawait fs.rename('a', 'b');\n"],
    ["import { openSync } from 'node:fs';\nopenSync('a', 'wx');\n"],
    ["import { openSync, constants } from 'node:fs';\nopenSync('a', constants.O_CREAT | constants.O_WRONLY);\n"],
    ["const { unlinkSync } = await import('node:fs');\nunlinkSync('a');\n"],
  ])('is seen elsewhere: %s', (source) => {
    const { status, said } = rooms({ 'src/cli/a.ts': source });
    expect(said).toMatch(/^src\/cli\/a\.ts:\d+: /);
    expect(status).toBe(1);
  });
});

describe('includes between the rooms of native', () => {
  it('takes what the table allows', () => {
    const { status, said } = rooms({
      'native/kernels/fit/kernel.cc':
        '#include "native/core/array.h"\n#include "native/kernels/fit/maths.h"\n#include <hwy/highway.h>\n',
      'native/codec/rice.cc': '#include "native/core/status.h"\n',
      'native/binding/addon.cc': '#include <napi.h>\n#include "native/codec/rice.h"\n#include "native/core/chain.h"\n',
      'test/native/test_rice.cc': '#include "native/codec/rice.h"\n',
    });
    expect(said).toBe('');
    expect(status).toBe(0);
  });

  it.each([
    ['native/core/a.cc', 'native/kernels/fit/kernel.h'],
    ['native/core/a.cc', 'native/codec/rice.h'],
    ['native/codec/a.cc', 'native/kernels/fit/kernel.h'],
    ['native/kernels/fit/a.cc', 'native/codec/rice.h'],
    ['native/kernels/fit/a.cc', 'native/kernels/jumps/kernel.h'],
    ['native/kernels/fit/a.cc', 'native/binding/convert.h'],
    ['native/core/a.h', 'napi.h'],
    ['native/codec/a.cc', 'node_api.h'],
    ['test/native/test_a.cc', 'native/binding/convert.h'],
    ['native/other/a.cc', 'native/core/array.h'],
  ])('sees %s include %s', (file, header) => {
    const { status, said } = rooms({ [file]: `#include "${header}"\n` });
    expect(said).toContain(`${file}:1: `);
    expect(status).toBe(1);
  });
});
