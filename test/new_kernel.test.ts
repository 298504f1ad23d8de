// "One folder = one kernel": in a copy of the tree a folder native/kernels/demo is added and no other file is touched.
// The kernel must then be registered, described, documented and under the conformance suite, which must also catch it
// when it is wrong.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;

const DEMO: Record<string, string> = {
  'kernel.json': JSON.stringify({
    name: 'demo',
    version: '1.0.0',
    class: 'stream',
    summary: 'Scales and shifts: y = a x + b.',
    source: 'a straight line',
    stream: { in: 'x', out: 'y' },
    ports: [
      {
        name: 'x',
        direction: 'in',
        dtype: 'f32',
        axes: ['plane', 'row', 'x'],
        unit: 'DN',
        range: [-1e4, 1e4],
        nan: true,
        doc: 'values',
      },
      { name: 'y', direction: 'out', dtype: 'f32', axes: ['plane', 'row', 'x'], unit: 'DN', nan: true, doc: 'a x + b' },
    ],
    params: [
      { name: 'a', type: 'float', min: -10, max: 10, default: 2, doc: 'slope' },
      { name: 'b', type: 'float', min: -1000, max: 1000, default: 1, unit: 'DN', doc: 'shift' },
    ],
    tolerance: { relative: 1e-6, absolute: 1e-3 },
    cost: { bytes: 8, flops: 2 },
  }),
  'operator-inl.h': `#if defined(RAMPLINE_KERNELS_DEMO_OPERATOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RAMPLINE_KERNELS_DEMO_OPERATOR_INL_H_
#undef RAMPLINE_KERNELS_DEMO_OPERATOR_INL_H_
#else
#define RAMPLINE_KERNELS_DEMO_OPERATOR_INL_H_
#endif

#include "generated/demo.h"
#include "native/core/stream-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace demo {
using namespace rampline::demo;

template <class D>
class Operator {
  using V = hn::Vec<D>;

 public:
  HWY_INLINE Operator(D d, const KernelCall& call, int64_t, int64_t)
      : a_(hn::Set(d, ParamsOf(call).a)), b_(hn::Set(d, ParamsOf(call).b)) {}
  HWY_INLINE V operator()(D, V v, int64_t) { return hn::MulAdd(a_, v, b_); }
  HWY_INLINE void End(D) {}

 private:
  V a_, b_;
};

}  // namespace demo
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();
#endif
`,
  'reference.cc': `#include "generated/demo.h"

namespace rampline::demo {

Status Reference(const KernelCall& call) {
  const auto in = call.ports[kX].view<const float>();
  const auto out = call.ports[kY].view<float>();
  const Params& p = ParamsOf(call);
  for (int64_t k = 0; k < in.planes; k++) {
    for (int64_t row = 0; row < in.rows; row++) {
      for (int64_t x = 0; x < in.cols; x++) {
        out.at(k, row)[x] = static_cast<float>(static_cast<double>(p.a) * in.at(k, row)[x] + p.b);
      }
    }
  }
  return Ok();
}

}  // namespace rampline::demo
`,
  'golden.test.ts': `import { expect, it } from 'vitest';
import { KERNELS } from '../../../src/engine/generated/kernels.js';
import { checkParams } from '../../../src/engine/params.js';

it('is registered with its parameters', () => {
  const demo = KERNELS.find((kernel) => kernel.name === 'demo')!;
  expect(checkParams(demo, { a: 3 })).toEqual({ a: 3, b: 1 });
  expect(() => checkParams(demo, { a: 11 })).toThrow('expected a in [-10, 10], received 11');
});
`,
  'README.md': '# demo\n\n    y = a x + b\n',
};

const copy = mkdtempSync(join(tmpdir(), 'rampline-new-kernel-'));
afterAll(() => rmSync(copy, { recursive: true, force: true }));
const demo = (name: string) => join(copy, 'native/kernels/demo', name);

function run(command: string, args: string[]) {
  const { status, signal, stdout, stderr } = spawnSync(command, args, {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  return { ok: status === 0, ended: signal ?? status, said: `${stdout}${stderr}` };
}

function build() {
  const { ok, said } = run('ninja', ['-C', 'build', 'rampline_conformance']);
  if (!ok) throw new Error(`the copy does not build:\n${said.slice(-4000)}`);
}

/** Runs the conformance tests of the kernel in the copy. */
const conformance = () => run('build/rampline_conformance', ['--test-case=conformance: *: demo', '--no-colors=true']);

const registeredHash = () => {
  const text = readFileSync(join(copy, 'src/engine/generated/kernels.ts'), 'utf8');
  return /"name": "demo",[\s\S]*?"hash": "([0-9a-f]{16})"/.exec(text)?.[1];
};

// A build of all kernels takes a minute or two of two cores; the limit only ends what hangs.
it('a new folder is a new kernel, and no other file changes', { timeout: 1_200_000 }, (ctx) => {
  const absent = join(root, 'build/native-tests/absent');
  if (existsSync(absent)) ctx.skip(readFileSync(absent, 'utf8').trim());
  for (const tool of ['git', 'cmake', 'ninja']) {
    if (spawnSync(tool, ['--version']).status !== 0) ctx.skip(`${tool} is not installed`);
  }
  const listed = spawnSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' });
  if (listed.status !== 0) ctx.skip('this tree is not a git checkout');

  const files = listed.stdout.split('\0').filter((file) => file !== '' && existsSync(join(root, file)));
  expect(files).toContain('native/codegen/generate.mjs');
  for (const file of files) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    copyFileSync(join(root, file), join(copy, file));
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  mkdirSync(demo(''));
  for (const [name, text] of Object.entries(DEMO)) writeFileSync(demo(name), text);

  // -O1: the suite asks whether the kernel is right, not how fast it is, and this builds in half the time.
  // -w: at -O1 the compiler sees less and warns of more.
  const options = [
    '-DRAMPLINE_ADDON=OFF',
    '-DRAMPLINE_CONFORMANCE=ON',
    '-DCMAKE_BUILD_TYPE=None',
    '-DCMAKE_CXX_FLAGS=-O1 -w',
  ];
  const start = performance.now();
  const configured = run('cmake', ['-S', '.', '-B', 'build', '-G', 'Ninja', ...options]);
  expect(configured.said).toContain('Build files have been written');
  build();
  console.log(`built the copy in ${((performance.now() - start) / 1000).toFixed(0)} s`);

  // It passes, and was tested on every target.
  const passed = conformance();
  expect(passed.said).toMatch(/reference: demo: \d{3} cases, \d+ runs on [1-9] targets/);
  expect(passed.said).toMatch(/storm: demo: /);
  expect(passed.said).toMatch(/blocks: demo: /);
  expect(passed.said).toMatch(/test cases: +3 \| +3 passed/);
  expect(passed.ok).toBe(true);

  // TypeScript and the docs carry it.
  const generated = readFileSync(join(copy, 'src/engine/generated/kernels.ts'), 'utf8');
  expect(generated).toContain('export interface DemoParams');
  expect(generated).toContain("'demo': DemoParams;");
  const docs = readFileSync(join(copy, 'build/docs/kernels.md'), 'utf8');
  expect(docs).toContain('## demo 1.0.0');
  expect(docs).toContain('| b | float | [-1000, 1000] | 1 | DN | shift |');
  const golden = run(process.execPath, [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--config',
    'test/vitest.config.ts',
    '--reporter=dot',
    'native/kernels/demo',
  ]);
  expect(golden.said).toMatch(/1 passed/);
  expect(golden.ok).toBe(true);

  // No file of the tree but the generated ones, which are not in the list, has changed.
  for (const file of files) {
    expect(readFileSync(join(copy, file)).equals(readFileSync(join(root, file))), file).toBe(true);
  }

  // A wrong coefficient is another source: another hash, and a failure that says where.
  const hash = registeredHash();
  expect(hash).toMatch(/^[0-9a-f]{16}$/);
  const operator = DEMO['operator-inl.h']!;
  writeFileSync(demo('operator-inl.h'), operator.replace('ParamsOf(call).a)', 'ParamsOf(call).a * 1.0001f)'));
  execFileSync(process.execPath, ['native/codegen/generate.mjs', '--cxx', 'build/generated'], { cwd: copy });
  expect(registeredHash()).toMatch(/^[0-9a-f]{16}$/);
  expect(registeredHash()).not.toBe(hash);
  build();
  const wrong = conformance();
  expect(wrong.ok).toBe(false);
  expect(wrong.said).toMatch(/y\[\d+,\d+,\d+\] is .*, the reference has /);
  expect(wrong.said).toMatch(/test cases: +3 \| +2 passed \| 1 failed/);

  // One float written behind the row meets the guard page.
  const outside = operator.replace('int64_t, int64_t)\n', 'int64_t row, int64_t x)\n').replace(
    'b_(hn::Set(d, ParamsOf(call).b)) {}',
    `b_(hn::Set(d, ParamsOf(call).b)) {
    const auto y = call.ports[kY].view<float>();
    hn::StoreU(a_, d, y.at(y.planes - 1, row) + x + 1);
  }`,
  );
  expect(outside).not.toBe(operator);
  writeFileSync(demo('operator-inl.h'), outside);
  build();
  const crashed = conformance();
  expect(crashed.ok).toBe(false);
  expect(crashed.ended).toBe('SIGSEGV');
  expect(crashed.said).toMatch(/running: demo [A-Z0-9]+: \d+ x \d+ x \d+/);
});
