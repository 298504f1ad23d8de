// Run by .ci/run under Node 24: the addon that was built for Node 20 loads there, and one small exposure goes through.
// Plain JavaScript on what set-up built, so that it needs no test runner.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = new URL('..', import.meta.url).pathname;
assert.equal(process.versions.node.split('.')[0], '24', `this is Node ${process.version}`);

const addon = createRequire(import.meta.url)(join(root, 'build/addon/Release/rampline.node'));
const names = Object.keys(addon);
assert.ok(names.length > 0, 'the addon exports nothing');
console.log(`Node ${process.version}: the addon loads; exports ${names.join(', ')}`);

const main = join(root, 'build/js/cli/main.js');
function rampline(...args) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  assert.equal(status, 0, `rampline ${args.join(' ')} ended with ${signal ?? status}\n${stdout}${stderr}`);
  return stdout;
}

if (!existsSync(main)) {
  console.log('the command line is not built yet: no exposure was run');
} else {
  const help = rampline('--help');
  const missing = ['simulate', 'ramp'].filter((verb) => !new RegExp(`^\\s+${verb}\\b`, 'm').test(help));
  if (missing.length > 0) {
    console.log(`rampline has no verb ${missing.join(' and ')} yet: no exposure was run`);
  } else {
    const dir = mkdtempSync(join(tmpdir(), 'rampline-node24-'));
    try {
      rampline('simulate', '--reads', '5', '--chips', 'a', '--output', join(dir, 'raw'));
      const raw = readdirSync(join(dir, 'raw'), { recursive: true }).find((name) => name.endsWith('.apz'));
      assert.ok(raw, 'simulate made no .apz');
      rampline('ramp', join(dir, 'raw', raw), '--output', join(dir, 'out'));
      const product = readdirSync(join(dir, 'out'), { recursive: true }).find((name) => /^2d-.*\.fits$/.test(name));
      assert.ok(product, 'ramp made no product');
      console.log(`one exposure: ${raw} > ${product}`);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }
}
