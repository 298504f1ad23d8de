// A kernel.json that is wrong stops the build with a message that names the file and the field.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;
const good = JSON.parse(readFileSync(join(root, 'native/kernels/linearise/kernel.json'), 'utf8'));
let copy: string;
let file: string;

beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'rampline-codegen-'));
  for (const path of ['native/codegen', 'native/kernels/linearise', 'data/dq.json']) {
    cpSync(join(root, path), join(copy, path), { recursive: true });
  }
  file = join(copy, 'native/kernels/linearise/kernel.json');
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

function generate() {
  const { status, stderr } = spawnSync(process.execPath, ['native/codegen/generate.mjs', '--cxx', 'out'], {
    cwd: copy,
    encoding: 'utf8',
  });
  return { status, stderr };
}

// biome-ignore lint/suspicious/noExplicitAny: the point is to put anything anywhere
type Anything = any; // oxlint-disable-line typescript/no-explicit-any
const threshold = { name: 'threshold', type: 'float', min: 0, max: 10, default: 5, doc: '' };

const wrong: [string, (kernel: Anything) => void, string][] = [
  ['an unknown key', (k) => Object.assign(k, { colour: 1 }), 'the kernel has the unknown key "colour"'],
  ['no class', (k) => delete k.class, 'the kernel lacks "class"'],
  ['an unknown class', (k) => Object.assign(k, { class: 'magic' }), '"class" must be one of stream, local, global'],
  ['another name than the folder', (k) => Object.assign(k, { name: 'other' }), 'but the folder is "linearise"'],
  ['a version of one number', (k) => Object.assign(k, { version: '1' }), '"version" must be three numbers'],
  ['ports that are no list', (k) => Object.assign(k, { ports: {} }), '"ports" must be a list'],
  ['a port twice', (k) => k.ports.push(k.ports[0]), 'port counts is there twice'],
  ['a port name that C++ refuses', (k) => Object.assign(k.ports[1], { name: 'c-2' }), 'port "c-2": a name is letters'],
  ['an unknown dtype', (k) => Object.assign(k.ports[1], { dtype: 'f16' }), 'port c2: dtype must be one of'],
  ['an unknown direction', (k) => Object.assign(k.ports[1], { direction: 'up' }), 'port c2: direction must be'],
  ['an unknown axis', (k) => Object.assign(k.ports[1], { axes: ['y'] }), 'port c2: axis "y" is none of'],
  ['axes that are no list', (k) => Object.assign(k.ports[1], { axes: 'x' }), 'port c2: "axes" must be a list'],
  ['an input without a range', (k) => delete k.ports[1].range, 'port c2: an input needs "range"'],
  ['a range the wrong way round', (k) => Object.assign(k.ports[1], { range: [1, 0] }), 'port c2: "range" must be two'],
  ['a range that is text', (k) => Object.assign(k.ports[1], { range: ['0', '1'] }), 'port c2: "range" must be two'],
  ['nan on integers', (k) => Object.assign(k.ports[0], { dtype: 'u16' }), 'port counts: "nan" needs a floating-point'],
  ['no such stream port', (k) => Object.assign(k.stream, { in: 'nope' }), 'stream.in: no port "nope"'],
  ['a stream of doubles', (k) => Object.assign(k.ports[0], { dtype: 'f64' }), 'stream.in: the dtype must be'],
  ['two planes dropped', (k) => Object.assign(k.stream, { dropped: 2 }), 'stream.dropped must be 0 or 1'],
  ['a parameter without max', (k) => k.params.push({ ...threshold, max: undefined }), 'threshold: a number needs min'],
  ['min above max', (k) => k.params.push({ ...threshold, min: 20 }), 'threshold: min must be less than max'],
  [
    'a default out of range',
    (k) => k.params.push({ ...threshold, default: 11 }),
    'threshold: default must lie between',
  ],
  [
    'a default on an excluded bound',
    (k) => k.params.push({ ...threshold, default: 0, exclusiveMin: true }),
    'threshold: default must lie between',
  ],
  [
    'half an int',
    (k) => k.params.push({ ...threshold, type: 'int', max: 9.5 }),
    'threshold: min, max and default of an',
  ],
  [
    'a bool of text',
    (k) => k.params.push({ ...threshold, type: 'bool', default: 'yes' }),
    'default must be true or false',
  ],
  ['an unknown type', (k) => k.params.push({ ...threshold, type: 'complex' }), 'threshold: type must be float, int'],
  [
    'a default that is no choice',
    (k) => k.params.push({ name: 'how', type: 'enum', choices: ['a'], default: 'b', doc: '' }),
    'parameter how: default is not a choice',
  ],
  [
    'a tolerance of text',
    (k) => Object.assign(k.tolerance, { relative: 'small' }),
    'tolerance.relative must be a number',
  ],
  ['a negative cost', (k) => Object.assign(k.cost, { bytes: -1 }), 'cost.bytes must be a number, 0 or more'],
  ['an unknown DQ bit', (k) => Object.assign(k.dq, { sets: ['UGLY'] }), 'dq: no bit "UGLY" in data/dq.json'],
  ['an unknown scratch', (k) => Object.assign(k, { scratch: { bytes: 4 } }), 'scratch has the unknown key "bytes"'],
  ['an unknown conformance key', (k) => Object.assign(k, { conformance: { skip: true } }), 'unknown key "skip"'],
  [
    'too many decision pixels',
    (k) => Object.assign(k, { conformance: { decisionPixels: 0.1 } }),
    'conformance.decisionPixels must be in [0, 0.001]',
  ],
  [
    'a decision in an input',
    (k) => Object.assign(k, { conformance: { decisionPorts: ['x'] } }),
    'conformance.decisionPorts must be a list of output ports',
  ],
  ['no width', (k) => Object.assign(k, { conformance: { cols: [] } }), 'conformance.cols must be a list of positive'],
  [
    'minPlanes above maxPlanes',
    (k) => Object.assign(k, { conformance: { minPlanes: 9, maxPlanes: 3 } }),
    'conformance.minPlanes must not exceed',
  ],
  ['a bench of no rows', (k) => Object.assign(k, { bench: { rows: 0 } }), 'bench.rows must be a positive integer'],
];

it('accepts the kernel as it is', () => {
  writeFileSync(file, JSON.stringify(good));
  expect(generate()).toEqual({ status: 0, stderr: '' });
});

it.each(wrong)('refuses %s', (_what, change, message) => {
  const kernel = structuredClone(good);
  change(kernel);
  writeFileSync(file, JSON.stringify(kernel));
  const { status, stderr } = generate();
  expect(stderr).toContain(message);
  expect(stderr).toContain('native/kernels/linearise/kernel.json: ');
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(status).toBe(1);
});

it('refuses what is not JSON, a missing reference and a folder name that C++ cannot spell', () => {
  writeFileSync(file, '{ "name": ');
  expect(generate()).toMatchObject({ status: 1, stderr: expect.stringContaining('linearise/kernel.json: ') });
  writeFileSync(file, JSON.stringify(good));
  rmSync(join(copy, 'native/kernels/linearise/reference.cc'));
  expect(generate()).toMatchObject({ status: 1, stderr: expect.stringContaining('linearise: lacks reference.cc') });
  cpSync(join(root, 'native/kernels/linearise'), join(copy, 'native/kernels/linearise'), { recursive: true });
  mkdirSync(join(copy, 'native/kernels/Über'));
  writeFileSync(join(copy, 'native/kernels/Über/kernel.json'), '{}');
  expect(generate()).toMatchObject({ status: 1, stderr: expect.stringContaining('Über: a kernel name is') });
});
