/**
 * What a product costs to write: CPU milliseconds per 100 MB, minimum of 7, the ways interleaved in one run.
 *   npm run build:js && node bench/store.mjs [DIR]
 * The floor is a plain write and fsync of the same bytes. The difference between the two store rows is the second hash pass.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openStore, productKey, verifyDirectory } from '../build/js/store/index.js';

const BYTES = 100e6;
const ROUNDS = 7;
const base = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'rampline-bench-'));
const data = new Uint8Array(BYTES);
let state = 1;
const words = new Uint32Array(data.buffer);
for (let i = 0; i < words.length; i++) words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
/** As a product comes: a few large planes among small headers. */
const chunks = [];
for (let start = 0; start < BYTES; start += 20e6) {
  chunks.push(data.subarray(start, start + 2880), data.subarray(start + 2880, start + 20e6));
}
const record = { schema: 'bench/1', inputs: [], calibrations: [], parameters: {}, kernels: {}, software: 'bench' };
const store = await openStore(base);

const ways = {
  'plain write + fsync': async () => {
    const file = await open(join(base, 'plain'), 'w');
    for (const chunk of chunks) await file.write(chunk);
    await file.sync();
    await file.close();
    rmSync(join(base, 'plain'));
  },
  'sha256 of the bytes in memory': async () => {
    const hash = createHash('sha256');
    for (let start = 0; start < BYTES; start += 1 << 20) hash.update(data.subarray(start, start + (1 << 20)));
    hash.digest();
  },
  'writeProduct, array': () => store.writeProduct('array', chunks, record),
  'writeProduct, iterator': () => store.writeProduct('iterator', chunks.values(), record),
  isDone: async () => {
    if (!(await store.isDone('array', productKey(record)))) throw new Error('not done');
  },
};
try {
  const best = Object.fromEntries(Object.keys(ways).map((way) => [way, { cpu: Infinity, wall: Infinity }]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const [way, work] of Object.entries(ways)) {
      const wall = performance.now();
      const cpu = process.cpuUsage();
      await work();
      const { user, system } = process.cpuUsage(cpu);
      best[way].cpu = Math.min(best[way].cpu, (user + system) / 1000);
      best[way].wall = Math.min(best[way].wall, performance.now() - wall);
    }
  }
  console.log(`ms per ${BYTES / 1e6} MB, min of ${ROUNDS}`.padEnd(34), 'CPU'.padStart(8), 'wall'.padStart(8));
  for (const [way, { cpu, wall }] of Object.entries(best)) {
    console.log(way.padEnd(34), cpu.toFixed(1).padStart(8), wall.toFixed(1).padStart(8));
  }
  let bad = 0;
  for await (const { status } of verifyDirectory(base)) if (status !== 'ok') bad += 1;
  if (bad > 0) throw new Error('a product of the bench is not whole');
} finally {
  rmSync(base, { recursive: true });
}
