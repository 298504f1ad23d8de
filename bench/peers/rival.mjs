/**
 * What every rival written in JavaScript shares. A rival is a process of its own, so that neither its memory nor its
 * compiled code disturbs another's; run.mjs tells it a line at a time what to do, and it answers with CPU milliseconds.
 *
 *   in:  {"task": "kernel", "save": "path or nothing"}
 *   out: @{"cpuMs": 1.5} or @{"missing": "reason"}
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** The folder with the rivals' packages and the data that run.mjs made. */
export const PEERS = new URL('../../build/peers/', import.meta.url).pathname;
export const VARIANT = process.argv[2] ?? '';
/** Loads a package that was installed for this comparison alone. */
export const requirePeer = createRequire(join(PEERS, 'package.json'));

export const KERNEL = { size: 2048, c2: Math.fround(1.5e-6), c3: Math.fround(-4e-12), limit: 60000 };
export const RAMP = { planes: 46, rows: 64, cols: 2048, threshold: 20.25 };

/** A reason why a rival has no figure. */
export class Missing extends Error {}

export function dataPath(name) {
  return join(PEERS, 'data', name);
}

export function dataF32(name) {
  const bytes = readFileSync(dataPath(name));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/**
 * Answers run.mjs until it hangs up.
 * @param tasks for each task a function that prepares it (not timed) and gives { reset?, run }; run gives the arrays of
 *   the result, or a promise of them
 */
export async function serve(tasks) {
  const ready = new Map();
  for await (const line of createInterface({ input: process.stdin })) {
    const { task, save } = JSON.parse(line);
    let answer;
    try {
      if (!ready.has(task)) ready.set(task, await tasks[task]());
      const { reset, run } = ready.get(task);
      await reset?.();
      const before = process.cpuUsage();
      let result = run();
      if (result instanceof Promise) result = await result;
      const { user, system } = process.cpuUsage(before);
      answer = { cpuMs: (user + system) / 1e3 };
      if (save) {
        const parts = result.map((array) => new Uint8Array(Float64Array.from(array).buffer));
        writeFileSync(save, Buffer.concat(parts));
      }
    } catch (error) {
      answer = { missing: String(error?.message ?? error).split('\n')[0] };
    }
    process.stdout.write(`@${JSON.stringify(answer)}\n`);
  }
}
