// Reads every native/kernels/*/kernel.json, every src/stages/*/chain.json and data/dq.json, checks them, and writes what
// follows from them:
//   --cxx DIR   DIR/generated/<kernel>.h (Params, ports), DIR/generated/dq.h, DIR/registry.cc, DIR/stream_*.cc
//   (always)    src/engine/generated/kernels.ts, src/core/generated/dq.ts, build/docs/kernels.md, and
//               src/night/generated/stages.ts, which names every src/stages/*/stage.ts
// A file is touched only when its content changes, so builds stay incremental. A new folder edits no other file.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const DTYPES = { u8: 'kU8', i16: 'kI16', u16: 'kU16', i32: 'kI32', u32: 'kU32', i64: 'kI64', f32: 'kF32', f64: 'kF64' };
const CLASSES = { stream: 'kStream', local: 'kLocal', global: 'kGlobal' };
const DIRECTIONS = { in: 'kIn', out: 'kOut', inout: 'kInOut' };
const HEADER = '// Made by native/codegen/generate.mjs; edit kernel.json, chain.json or dq.json instead.\n';

function fail(file, message) {
  process.stderr.write(`${file}: ${message}\n`);
  process.exit(1);
}

const snake = (name) => name.replaceAll('-', '_');
const pascal = (name) => name.replace(/(^|[-_])([a-z0-9])/g, (_all, _dash, c) => c.toUpperCase());
const double = (value) => (/[.e]/.test(String(value)) ? String(value) : `${value}.0`);

function checkKeys(file, object, what, required, optional) {
  if (object === null || typeof object !== 'object' || Array.isArray(object)) fail(file, `${what} must be an object`);
  for (const key of required) if (!(key in object)) fail(file, `${what} lacks "${key}"`);
  const known = [...required, ...optional];
  for (const key of Object.keys(object)) {
    if (!known.includes(key)) fail(file, `${what} has the unknown key "${key}"; known: ${known.join(', ')}`);
  }
}

/** Axes are "plane", "plane-1", "row", "x", or any other name with a size: "amplifier=4". */
function parseAxes(file, port) {
  const slots = { plane: null, row: null, x: null };
  const rest = [];
  let planeOffset = 0;
  if (!Array.isArray(port.axes)) fail(file, `port ${port.name}: "axes" must be a list`);
  for (const text of port.axes) {
    const plane = /^plane([+-]\d+)?$/.exec(text);
    const other = /^([a-z][A-Za-z]*)=(\d+)$/.exec(text);
    if (plane) {
      slots.plane = { kind: 'kPlane', size: 0 };
      planeOffset = Number(plane[1] ?? 0);
    } else if (text === 'row' || text === 'x') slots[text] = { kind: text === 'row' ? 'kRow' : 'kX', size: 0 };
    else if (other) rest.push({ kind: 'kOther', size: Number(other[2]) });
    else fail(file, `port ${port.name}: axis "${text}" is none of plane, plane+-N, row, x, name=SIZE`);
  }
  for (const axis of rest) {
    const free = ['x', 'row', 'plane'].find((slot) => slots[slot] === null);
    if (free === undefined) fail(file, `port ${port.name} has more than three axes`);
    slots[free] = axis;
  }
  const none = { kind: 'kNone', size: 1 };
  return { axes: [slots.plane ?? none, slots.row ?? none, slots.x ?? none], planeOffset };
}

function checkPort(file, port) {
  const what = `port ${port.name ?? '?'}`;
  checkKeys(
    file,
    port,
    what,
    ['name', 'direction', 'dtype', 'axes', 'unit', 'doc'],
    ['optional', 'range', 'nan', 'tolerance'],
  );
  if (!(port.dtype in DTYPES)) fail(file, `${what}: dtype must be one of ${Object.keys(DTYPES).join(', ')}`);
  if (!(port.direction in DIRECTIONS)) fail(file, `${what}: direction must be in, out or inout`);
  if (port.direction !== 'out' && !port.range) fail(file, `${what}: an input needs "range": [min, max]`);
  if (port.range !== undefined) {
    const [min, max, ...more] = Array.isArray(port.range) ? port.range : [];
    if (!Number.isFinite(min) || !Number.isFinite(max) || more.length > 0 || min > max) {
      fail(file, `${what}: "range" must be two numbers [min, max] with min <= max`);
    }
  }
  for (const key of ['optional', 'nan']) {
    if (key in port && typeof port[key] !== 'boolean') fail(file, `${what}: "${key}" must be true or false`);
  }
  if (port.tolerance !== undefined) {
    checkKeys(file, port.tolerance, `${what}: tolerance`, ['relative', 'absolute'], []);
    if (port.direction === 'in') fail(file, `${what}: only an output has a tolerance`);
    if (!Object.values(port.tolerance).every((value) => typeof value === 'number' && value >= 0)) {
      fail(file, `${what}: a tolerance must be a number, 0 or more`);
    }
  }
  if (port.nan && !['f32', 'f64'].includes(port.dtype)) fail(file, `${what}: "nan" needs a floating-point dtype`);
}

/** Names become fields, enumerators and TypeScript properties. */
function checkNames(file, what, list) {
  if (!Array.isArray(list)) fail(file, `"${what}s" must be a list`);
  const seen = new Set();
  for (const { name } of list) {
    if (!/^[a-z][A-Za-z0-9]*$/.test(name ?? ''))
      fail(file, `${what} "${name}": a name is letters and digits, lower-case first`);
    if (seen.has(name)) fail(file, `${what} ${name} is there twice`);
    seen.add(name);
  }
}

function checkParam(file, param) {
  const what = `parameter ${param.name ?? '?'}`;
  checkKeys(file, param, what, ['name', 'type', 'default', 'doc'], ['min', 'max', 'unit', 'choices', 'exclusiveMin']);
  if (!['float', 'int', 'bool', 'enum'].includes(param.type))
    fail(file, `${what}: type must be float, int, bool or enum`);
  if (param.type === 'enum' && !param.choices?.includes(param.default)) fail(file, `${what}: default is not a choice`);
  if (param.type === 'bool' && typeof param.default !== 'boolean') fail(file, `${what}: default must be true or false`);
  if (param.type === 'enum' || param.type === 'bool') return;
  const { min, max, default: fallback } = param;
  if (!Number.isFinite(min) || !Number.isFinite(max)) fail(file, `${what}: a number needs min and max`);
  if (!(min < max)) fail(file, `${what}: min must be less than max`);
  const inside =
    typeof fallback === 'number' && fallback <= max && (param.exclusiveMin ? fallback > min : fallback >= min);
  if (!inside) fail(file, `${what}: default must lie between min and max`);
  if (param.type === 'int' && ![min, max, fallback].every((v) => v === (v | 0))) {
    fail(file, `${what}: min, max and default of an int must be whole numbers of 32 bits`);
  }
  if (param.type === 'int' && param.exclusiveMin)
    fail(file, `${what}: exclusiveMin is for floats; give an int its least value`);
}

/** The keys are explained at the top of test/native/test_conformance.cc. */
function checkSizes(file, kernel) {
  const positive = (value) => Number.isInteger(value) && value > 0 && value < 2 ** 31;
  const conformance = kernel.conformance ?? {};
  checkKeys(
    file,
    conformance,
    'conformance',
    [],
    ['decisionPixels', 'decisionPorts', 'minPlanes', 'maxPlanes', 'minRows', 'strips', 'cols'],
  );
  for (const key of ['minPlanes', 'maxPlanes', 'minRows']) {
    if (key in conformance && !positive(conformance[key])) fail(file, `conformance.${key} must be a positive integer`);
  }
  const { decisionPixels = 0, strips = true, cols = [1], minPlanes = 1, maxPlanes = 47 } = conformance;
  if (!(decisionPixels >= 0 && decisionPixels <= 1e-3)) fail(file, 'conformance.decisionPixels must be in [0, 0.001]');
  const { decisionPorts = [] } = conformance;
  const outputs = kernel.ports.filter((port) => port.direction !== 'in').map((port) => port.name);
  if (!Array.isArray(decisionPorts) || !decisionPorts.every((name) => outputs.includes(name))) {
    fail(file, 'conformance.decisionPorts must be a list of output ports');
  }
  if (typeof strips !== 'boolean') fail(file, 'conformance.strips must be true or false');
  if (!Array.isArray(cols) || cols.length === 0 || !cols.every(positive)) {
    fail(file, 'conformance.cols must be a list of positive integers');
  }
  if (minPlanes > maxPlanes) fail(file, 'conformance.minPlanes must not exceed conformance.maxPlanes');
  checkKeys(file, kernel.bench ?? {}, 'bench', [], ['planes', 'rows', 'cols']);
  for (const [key, value] of Object.entries(kernel.bench ?? {})) {
    if (!positive(value)) fail(file, `bench.${key} must be a positive integer`);
  }
}

function readKernel(name) {
  const folder = join(root, 'native', 'kernels', name);
  const file = join(folder, 'kernel.json');
  let kernel;
  try {
    kernel = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    fail(file, error.message);
  }
  checkKeys(
    file,
    kernel,
    'the kernel',
    ['name', 'version', 'class', 'summary', 'ports', 'params', 'tolerance', 'cost'],
    ['stage', 'stream', 'dq', 'scratch', 'source', 'notes', 'bench', 'conformance'],
  );
  if (kernel.name !== name) fail(file, `"name" is "${kernel.name}" but the folder is "${name}"`);
  if (!(kernel.class in CLASSES)) fail(file, `"class" must be one of ${Object.keys(CLASSES).join(', ')}`);
  if (!/^\d+\.\d+\.\d+$/.test(kernel.version)) fail(file, '"version" must be three numbers, for example "1.0.0"');
  checkNames(file, 'port', kernel.ports);
  checkNames(file, 'param', kernel.params);
  checkKeys(file, kernel.tolerance, 'tolerance', ['relative', 'absolute'], []);
  checkKeys(file, kernel.cost, 'cost', ['bytes', 'flops'], []);
  checkKeys(file, kernel.scratch ?? {}, 'scratch', [], ['base', 'perPlane', 'perPixel', 'perPlanePixel']);
  for (const key of ['tolerance', 'cost', 'scratch']) {
    for (const [field, value] of Object.entries(kernel[key] ?? {})) {
      if (!(Number.isFinite(value) && value >= 0)) fail(file, `${key}.${field} must be a number, 0 or more`);
    }
  }
  checkKeys(file, kernel.dq ?? {}, 'dq', [], ['reads', 'sets']);
  for (const bit of [...(kernel.dq?.reads ?? []), ...(kernel.dq?.sets ?? [])]) {
    if (!dq.bits.some((known) => known.name === bit)) fail(file, `dq: no bit "${bit}" in data/dq.json`);
  }
  for (const port of kernel.ports) {
    checkPort(file, port);
    port.layout = parseAxes(file, port);
  }
  for (const param of kernel.params) checkParam(file, param);
  checkSizes(file, kernel);
  if (kernel.class === 'stream') {
    if (!kernel.stream) fail(file, 'a stream kernel needs "stream": {"in": PORT, "out": PORT}');
    checkKeys(file, kernel.stream, 'stream', ['in', 'out'], ['dropped']);
    for (const end of ['in', 'out']) {
      const found = kernel.ports.some((port) => port.name === kernel.stream[end]);
      if (!found) fail(file, `stream.${end}: no port "${kernel.stream[end]}"`);
    }
    const port = (end) => kernel.ports.find((p) => p.name === kernel.stream[end]);
    if (!['f32', 'u16'].includes(port('in').dtype)) fail(file, 'stream.in: the dtype must be f32 or u16');
    if (port('out').dtype !== 'f32') fail(file, 'stream.out: the dtype must be f32');
    if (![0, 1].includes(kernel.stream.dropped ?? 0)) fail(file, 'stream.dropped must be 0 or 1');
  }
  const source = kernel.class === 'stream' ? 'operator-inl.h' : 'kernel.cc';
  for (const need of [source, 'reference.cc']) if (!existsSync(join(folder, need))) fail(folder, `lacks ${need}`);
  const hash = createHash('sha256');
  for (const entry of readdirSync(folder).sort()) {
    if (/\.(cc|h|cu|json)$/.test(entry)) hash.update(entry).update(readFileSync(join(folder, entry)));
  }
  kernel.hash = hash.digest('hex').slice(0, 16);
  return kernel;
}

function writeIfChanged(path, text) {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const kernelsDir = join(root, 'native', 'kernels');
const names = existsSync(kernelsDir)
  ? readdirSync(kernelsDir)
      .filter((name) => existsSync(join(kernelsDir, name, 'kernel.json')))
      .sort()
  : [];
for (const name of names) {
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name)) fail(name, 'a kernel name is lower-case words joined by "-"');
}
const dq = JSON.parse(readFileSync(join(root, 'data', 'dq.json'), 'utf8'));
const kernels = names.map(readKernel);

/** Runs of stream kernels in the stages' chains that are worth compiling into one loop: [key, kernels]. */
function fusedRuns() {
  const byName = new Map(kernels.map((kernel) => [kernel.name, kernel]));
  const runs = new Map();
  const add = (steps) => {
    if (steps.length > 1)
      runs.set(
        steps.map((s) => s.kernel).join('+'),
        steps.map((s) => byName.get(s.kernel)),
      );
  };
  const stages = join(root, 'src', 'stages');
  for (const stage of existsSync(stages) ? readdirSync(stages).sort() : []) {
    const file = join(stages, stage, 'chain.json');
    if (!existsSync(file)) continue;
    let run = [];
    const flush = () => {
      // The default order, and the same with each optional step toggled: what a user is likely to ask for. Any other
      // combination runs kernel by kernel, with the same result.
      const on = run.filter((step) => step.default !== false);
      add(on);
      for (const step of run.filter((s) => s.optional)) add(run.filter((s) => (s === step) !== on.includes(s)));
      run = [];
    };
    for (const step of JSON.parse(readFileSync(file, 'utf8')).steps) {
      const kernel = byName.get(step.kernel);
      if (!kernel) fail(file, `no kernel "${step.kernel}"`);
      if (kernel.class === 'stream') run.push(step);
      else flush();
    }
    flush();
  }
  return [...runs.entries()];
}

function kernelHeader(kernel) {
  const paramType = { float: 'float', int: 'int32_t', bool: 'int32_t', enum: 'int32_t' };
  const initial = (p) => {
    if (p.type === 'float') return `${double(p.default)}f`;
    return p.type === 'enum' ? p.choices.indexOf(p.default) : Number(p.default);
  };
  const fields = kernel.params.map((p) => `  ${paramType[p.type]} ${p.name} = ${initial(p)};`);
  const enums = kernel.params
    .filter((p) => p.type === 'enum')
    .map((p) => `enum ${pascal(p.name)} : int32_t { ${p.choices.map((c, i) => `k${pascal(c)} = ${i}`).join(', ')} };`);
  const functions =
    kernel.class === 'global'
      ? [
          'size_t StateBytes(const KernelCall&);',
          'Status Begin(const KernelCall&, void* state);',
          'Status Prepare(const KernelCall& sample, void* state);',
          'Status Gather(const KernelCall& rows, void* state);',
          'Status Merge(const KernelCall&, void* into, const void* from);',
          'Status Finish(const KernelCall&, void* state, bool* again);',
        ]
      : ['Status Run(const KernelCall&);'];
  return `${HEADER}#pragma once

#include "native/core/kernel.h"

namespace rampline::${snake(kernel.name)} {

struct Params {
${fields.join('\n')}
};
${enums.join('\n')}
enum Port : size_t { ${kernel.ports.map((p) => `k${pascal(p.name)}`).join(', ')} };
inline const Params& ParamsOf(const KernelCall& call) { return *static_cast<const Params*>(call.params); }

${functions.join('\n')}
Status Reference(const KernelCall&);

}  // namespace rampline::${snake(kernel.name)}
`;
}

function kernelInfo(kernel) {
  const ns = snake(kernel.name);
  const s = kernel.scratch ?? {};
  const ports = kernel.ports.map((p) => {
    const axes = p.layout.axes.map((a) => `Axis::${a.kind}`).join(', ');
    const sizes = p.layout.axes.map((a) => a.size).join(', ');
    return (
      `    {"${p.name}", PortDirection::${DIRECTIONS[p.direction]}, DType::${DTYPES[p.dtype]}, {${axes}}, {${sizes}}, ` +
      `${p.layout.planeOffset}, ${JSON.stringify(p.unit)}, ${Boolean(p.optional)}, ${Boolean(p.nan)}, ` +
      `${double(p.range?.[0] ?? 0)}, ${double(p.range?.[1] ?? 0)}, ` +
      `${double(p.tolerance?.relative ?? -1)}, ${double(p.tolerance?.absolute ?? -1)}},`
    );
  });
  const params = kernel.params.map((p) => {
    const type = { float: 'kFloat', int: 'kInt', bool: 'kBool', enum: 'kInt' }[p.type];
    let bounds = [p.min, p.max, p.default];
    if (p.type === 'enum') bounds = [0, p.choices.length - 1, p.choices.indexOf(p.default)];
    if (p.type === 'bool') bounds = [0, 1, Number(p.default)];
    return `    {"${p.name}", ParamInfo::Type::${type}, ${bounds.map(double).join(', ')}, offsetof(${ns}::Params, ${p.name}), ${Boolean(p.exclusiveMin)}},`;
  });
  const parts = ['StateBytes', 'Begin', 'Prepare', 'Gather', 'Merge', 'Finish'].map((name) => `${ns}::${name}`);
  const index = (name) => (name === undefined ? -1 : kernel.ports.findIndex((p) => p.name === name));
  const ports64 = (names) =>
    names === undefined ? '~uint64_t{0}' : `${names.reduce((mask, name) => mask | (1n << BigInt(index(name))), 0n)}`;
  const global = kernel.class === 'global';
  const c = kernel.conformance ?? {};
  const b = kernel.bench ?? {};
  return `constexpr PortInfo ${ns}_ports[] = {
${ports.join('\n')}
};
${params.length ? `constexpr ParamInfo ${ns}_params[] = {\n${params.join('\n')}\n};\n` : ''}${c.cols ? `constexpr int32_t ${ns}_cols[] = {${c.cols.join(', ')}};\n` : ''}const KernelInfo ${ns}_info = {
    "${kernel.name}", "${kernel.version}", "${kernel.hash}", KernelClass::${CLASSES[kernel.class]}, ${ns}_ports,
    ${params.length ? `${ns}_params` : 'std::span<const ParamInfo>()'}, sizeof(${ns}::Params),
    ${index(kernel.stream?.in)}, ${index(kernel.stream?.out)}, ${kernel.stream?.dropped ?? 0},
    ${double(kernel.tolerance.relative)}, ${double(kernel.tolerance.absolute)},
    {${s.base ?? 0}, ${s.perPlane ?? 0}, ${s.perPixel ?? 0}, ${s.perPlanePixel ?? 0}},
    ${global ? 'nullptr' : `${ns}::Run`}, ${ns}::Reference, {${global ? parts.join(', ') : ''}},
    {${double(c.decisionPixels ?? 0)}, ${ports64(c.decisionPorts)}, ${c.minPlanes ?? 1}, ${c.maxPlanes ?? 47}, ${c.minRows ?? 0}, ${c.strips ?? true}, ${c.cols ? `${ns}_cols` : 'std::span<const int32_t>()'}},
    {${b.planes ?? 47}, ${b.rows ?? 16}, ${b.cols ?? 2048}}};
`;
}

function registrySource(runs) {
  return `${HEADER}#include <cstddef>
#include <cstring>

#include "native/core/kernel.h"
#include "native/core/stream.h"
${kernels.map((k) => `#include "generated/${k.name}.h"`).join('\n')}

namespace rampline {
${runs.map(([key], i) => `Status RunFused${i}(std::span<const KernelCall>);  // ${key}`).join('\n')}
namespace {

${kernels.map(kernelInfo).join('\n')}
${kernels.length ? `const KernelInfo* const kAll[] = {${kernels.map((k) => `&${snake(k.name)}_info`).join(', ')}};` : ''}
${runs.length ? `const FusedRun kFused[] = {\n${runs.map(([key], i) => `    {"${key}", RunFused${i}},`).join('\n')}\n};` : ''}

}  // namespace

std::span<const KernelInfo* const> Registry() { return ${kernels.length ? 'kAll' : '{}'}; }

const KernelInfo* FindKernel(const char* name) {
  for (const KernelInfo* kernel : Registry()) {
    if (std::strcmp(kernel->name, name) == 0) return kernel;
  }
  return nullptr;
}

std::span<const FusedRun> FusedRuns() { return ${runs.length ? 'kFused' : '{}'}; }

}  // namespace rampline
`;
}

/** The source that compiles a run of stream kernels, possibly of one, into a loop for each CPU target. */
function streamSource(file, list, entry, signature) {
  const input = list[0].ports.find((p) => p.name === list[0].stream.in);
  const type = { f32: 'float', u16: 'uint16_t' }[input.dtype];
  if (!type) fail(list[0].name, 'the stream input must be f32 or u16');
  const portIn = list[0].ports.indexOf(input);
  const portOut = list.at(-1).ports.findIndex((p) => p.name === list.at(-1).stream.out);
  const uses = list.map(
    (k) => `struct ${pascal(k.name)}Use {
  template <class D>
  using For = ${snake(k.name)}::Operator<D>;
  static constexpr int kDropped = ${k.stream.dropped ?? 0};
};`,
  );
  return `${HEADER}#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "${file}"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

${list.map((k) => `#include "generated/${k.name}.h"`).join('\n')}
#include "native/core/stream-inl.h"
${list.map((k) => `#include "native/kernels/${k.name}/operator-inl.h"`).join('\n')}

HWY_BEFORE_NAMESPACE();
namespace rampline {
namespace HWY_NAMESPACE {
namespace {
${uses.join('\n')}
Status ${entry}Target(std::span<const KernelCall> calls) {
  return RunStream<${type}, ${list.map((k) => `${pascal(k.name)}Use`).join(', ')}>(calls, ${portIn}, ${portOut});
}
}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace rampline
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rampline {
HWY_EXPORT(${entry}Target);
${signature}
}  // namespace rampline
#endif
`;
}

function cxx(out) {
  const runs = fusedRuns();
  for (const kernel of kernels) writeIfChanged(join(out, 'generated', `${kernel.name}.h`), kernelHeader(kernel));
  const bits = dq.bits.map((b) => `constexpr uint32_t k${pascal(b.name.toLowerCase())} = 1u << ${b.bit};  // ${b.doc}`);
  writeIfChanged(
    join(out, 'generated', 'dq.h'),
    `${HEADER}#pragma once\n\n#include <cstdint>\n\nnamespace rampline::dq {\n\n${bits.join('\n')}\n\n}  // namespace rampline::dq\n`,
  );
  const sources = new Map([['registry.cc', registrySource(runs)]]);
  for (const kernel of kernels.filter((k) => k.class === 'stream')) {
    const file = `stream_${snake(kernel.name)}.cc`;
    const entry = `Run${pascal(kernel.name)}`;
    const signature = `Status ${snake(kernel.name)}::Run(const KernelCall& call) { return HWY_DYNAMIC_DISPATCH(${entry}Target)({&call, 1}); }`;
    sources.set(file, streamSource(file, [kernel], entry, signature));
  }
  runs.forEach(([, list], i) => {
    const file = `stream_fused_${i}.cc`;
    const declare = `Status RunFused${i}(std::span<const KernelCall> calls)`;
    const signature = `${declare};\n${declare} { return HWY_DYNAMIC_DISPATCH(RunFused${i}Target)(calls); }`;
    sources.set(file, streamSource(file, list, `RunFused${i}`, signature));
  });
  for (const [file, text] of sources) writeIfChanged(join(out, file), text);
  for (const entry of readdirSync(out)) if (entry.endsWith('.cc') && !sources.has(entry)) rmSync(join(out, entry));
}

function typescript() {
  const types = { bool: () => 'boolean', enum: (p) => p.choices.map((c) => `'${c}'`).join(' | ') };
  const field = (p) => {
    const unit = p.unit ? ` ${p.unit}` : '';
    return `  /** ${p.doc} Default ${p.default}${unit}. */\n  readonly ${p.name}?: ${types[p.type]?.(p) ?? 'number'};`;
  };
  const interfaces = kernels.map(
    (k) => `/** Parameters of \`${k.name}\`: ${k.summary} */
export interface ${pascal(k.name)}Params {
${k.params.map(field).join('\n')}
}`,
  );
  const plain = ({ ports, ...rest }) => ({ ...rest, ports: ports.map(({ layout: _layout, ...port }) => port) });
  writeIfChanged(
    join(root, 'src', 'engine', 'generated', 'kernels.ts'),
    `${HEADER}import type { KernelDescription } from '../kernel.js';

${interfaces.join('\n\n')}

/** Parameter types by kernel name. */
export interface KernelParams {
${kernels.map((k) => `  '${k.name}': ${pascal(k.name)}Params;`).join('\n')}
}

export const KERNELS: readonly KernelDescription[] = ${JSON.stringify(kernels.map(plain), null, 2)};
`,
  );
  writeIfChanged(
    join(root, 'src', 'core', 'generated', 'dq.ts'),
    `${HEADER}
/** Data-quality bits; data/dq.json is the source. */
export const DQ = {
${dq.bits.map((b) => `  /** ${b.doc} */\n  ${b.name}: ${2 ** b.bit},`).join('\n')}
} as const;

export interface DqBit {
  readonly bit: number;
  readonly name: string;
  readonly doc: string;
  /** Whether a pixel with this bit is unfit for science. */
  readonly bad: boolean;
}

export const DQ_VERSION = ${dq.version};
export const DQ_BITS: readonly DqBit[] = ${JSON.stringify(dq.bits, null, 2)};
`,
  );
}

/** The stages that say by themselves how they join a night: every src/stages/NAME/stage.ts. */
function stages() {
  const folder = join(root, 'src', 'stages');
  const found = existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => existsSync(join(folder, name, 'stage.ts')))
        .sort()
    : [];
  for (const name of found) {
    if (!/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(name))
      fail(join(folder, name), 'a stage is lower-case words joined by "_"');
  }
  const variable = (name) => pascal(name.replaceAll('_', '-')).replace(/^./, (c) => c.toLowerCase());
  writeIfChanged(
    join(root, 'src', 'night', 'generated', 'stages.ts'),
    `${HEADER}import type { Stage } from '../../stages/stage.js';
${found.map((name) => `import { stage as ${variable(name)} } from '../../stages/${name}/stage.js';\n`).join('')}
/** Stages of src/stages that have a descriptor. */
export const STAGES: readonly Stage[] = [${found.map(variable).join(', ')}];
`,
  );
}

function docs() {
  const cell = (text) => String(text ?? '').replaceAll('|', '\\|');
  const range = (p) => {
    if (p.choices) return p.choices.join(', ');
    return p.type === 'bool' ? 'true, false' : `${p.exclusiveMin ? '(' : '['}${p.min}, ${p.max}]`;
  };
  const table = (head, rows) =>
    rows.length === 0
      ? ''
      : `\n| ${head.join(' | ')} |\n|${head.map(() => '---|').join('')}\n${rows.map((r) => `| ${r.map(cell).join(' | ')} |`).join('\n')}\n`;
  const pages = kernels.map((k) => {
    const facts = [
      `Class ${k.class}${k.stage ? `, stage ${k.stage}` : ''}.`,
      `Tolerance against the reference: relative ${k.tolerance.relative}, absolute ${k.tolerance.absolute}.`,
      ...k.ports
        .filter((port) => port.tolerance)
        .map(({ name, tolerance }) => `Of ${name}: relative ${tolerance.relative}, absolute ${tolerance.absolute}.`),
      `Cost a pixel: ${k.cost.bytes} bytes, ${k.cost.flops} flops.`,
      k.dq?.sets?.length ? `Sets DQ ${k.dq.sets.join(', ')}.` : '',
      k.source ? `Source: ${k.source}.` : '',
    ];
    const ports = k.ports.map((p) => [
      `${p.name}${p.optional ? ' (optional)' : ''}`,
      p.direction,
      p.dtype,
      p.axes.join(', '),
      p.unit,
      p.doc,
    ]);
    const params = k.params.map((p) => [p.name, p.type, range(p), p.default, p.unit, p.doc]);
    return `## ${k.name} ${k.version}\n\n${k.summary}\n\n${facts.filter(Boolean).join(' ')}\n${table(
      ['port', 'direction', 'type', 'axes', 'unit', 'meaning'],
      ports,
    )}${table(['parameter', 'type', 'range', 'default', 'unit', 'meaning'], params)}`;
  });
  writeIfChanged(
    join(root, 'build', 'docs', 'kernels.md'),
    `# Kernels\n\nMade from native/kernels/*/kernel.json.\n\n${pages.join('\n')}`,
  );
}

const at = process.argv.indexOf('--cxx');
if (at >= 0) cxx(process.argv[at + 1]);
typescript();
stages();
docs();
