// Nothing is copied between JavaScript and native code: what the addon works on has the address that JavaScript has.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, it } from 'vitest';
import { addon, addonPath, type NativeChainSpec } from '../src/core/addon.js';
import { apogee } from '../src/instruments/apogee/index.js';
import { rampCalibrations } from '../src/night/choose.js';
import { simulateExposure } from '../src/simulate/index.js';
import { rampOptions, reduceRamp } from '../src/stages/ramp/index.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-zero-copy-'));
afterAll(() => rmSync(base, { recursive: true }));

const ROWS = 64;

/** Runs `work` and returns what was asked of native chains on the way. */
async function watching(work: () => Promise<void>): Promise<NativeChainSpec[]> {
  const native = addon();
  const { runChain } = native;
  const specs: NativeChainSpec[] = [];
  native.runChain = (spec) => {
    specs.push(spec);
    return runChain(spec);
  };
  try {
    await work();
  } finally {
    native.runChain = runChain;
  }
  return specs;
}

function addressOf(array: ArrayBufferView): bigint {
  const address = addon().addressOf(array);
  if (address === null) throw new Error('the addon does not see an array');
  return address;
}

describe('0 bytes are copied over the boundary', () => {
  it.each([
    ['shared memory', new SharedArrayBuffer(4096)],
    ['plain memory', new ArrayBuffer(4096)],
  ])('%s: a chain works at the addresses of the typed arrays, parts of buffers too', (_name, buffer) => {
    const arrays = [0, 64, 2048].map((offset) => new Float32Array(buffer, offset, 16));
    const [first, second, third] = arrays.map(addressOf) as [bigint, bigint, bigint];
    expect(second - first).toBe(64n);
    expect(third - first).toBe(2048n);
    const plan = addon().planChain({
      arrays: [...arrays.map((data, i) => ({ name: `a${i}`, data, cols: 16 })), { name: 'block', block: 'f32' }],
      steps: [],
      options: { rows: 1, cols: 16 },
    });
    // What is not memory of JavaScript has no address before the chain runs.
    expect(plan.addresses).toEqual([first, second, third, 0n]);
  });

  it('an exposure: maps go in, and images come out, at the addresses that the caller has', async () => {
    const identity = { tele: 'apo', chip: 'b', mjd: 60857, exposure: 1 } as const;
    await simulateExposure({ ...identity, reads: 8, rows: ROWS, output: base, truth: false, calibrations: true });
    const path = join(base, readdirSync(base).find((name) => name.endsWith('.apz')) ?? 'no raw file');
    const calibrations = await rampCalibrations(join(base, 'calib'), apogee, identity, ROWS);
    const context = { instrument: apogee, identity, calibrations, options: rampOptions({ threads: 2 }) };
    let result: Awaited<ReturnType<typeof reduceRamp>> | undefined;
    const specs = await watching(async () => {
      result = await reduceRamp(path, context);
    });
    const spec = specs.find(({ source }) => source !== undefined);
    if (spec === undefined || result === undefined) throw new Error('no chain ran');
    // The names of the chain's arrays, and the addresses at which native code has them.
    const { addresses } = addon().planChain({ ...spec, source: undefined });
    const native = new Map(spec.arrays.map((array, i) => [(array as { name: string }).name, addresses[i]]));
    const { rate, error, chi2, dq, goodDiffs, jumps, lastGood } = result.images;
    const { gain, saturation, linearity } = calibrations;
    if (linearity === undefined) throw new Error('the simulator wrote no linearity');
    const ours = { rate, error, chi2, dq, goodDiffs, jumps, lastGood, zero: result.zero };
    const maps = { gain: gain.data, saturation: saturation.data, c2: linearity.c2.data, c3: linearity.c3.data };
    for (const [name, array] of Object.entries({ ...ours, ...maps })) {
      expect([name, native.get(name)]).toEqual([name, addressOf(array!)]);
    }
    // And native code wrote there: sky and traces are not all zero.
    expect(rate.some((value) => value > 0)).toBe(true);
    // Images handed back are used again, at the same place.
    const again = await reduceRamp(path, { ...context, images: result.images });
    expect(addressOf(again.images.rate)).toBe(addressOf(rate));
  });

  it('a worker thread has the same memory, not a clone', async () => {
    const shared = new Float32Array(new SharedArrayBuffer(4 * 1024));
    const script = `
      const { parentPort, workerData } = require('node:worker_threads');
      const { addressOf } = require(workerData.addon);
      workerData.shared[7] = 42;
      parentPort.postMessage(addressOf(workerData.shared));`;
    const worker = new Worker(script, { eval: true, workerData: { addon: addonPath(), shared } });
    const address = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
    expect(address).toBe(addressOf(shared));
    expect(shared[7]).toBe(42);
  });
});
