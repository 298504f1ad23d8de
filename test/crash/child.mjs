/**
 * A process that writes into a store until it is done or killed. Run by store.test.ts:
 *   node child.mjs LIB loop DIR        replaces the same four products for ever
 *   node child.mjs LIB step DIR K      replaces `old`, adds `sub/new`; SIGKILL at its K-th step; exit 0 when there is no K-th
 *   node child.mjs LIB many DIR ID N   adds N products of its own, and rewrites `shared` after each
 *   node child.mjs LIB one DIR NAME B  writes one product of B bytes; a failure is told and gives its exit code
 * LIB is the compiled store.
 */
import { pathToFileURL } from 'node:url';
import { chunksOf, contentOf, recordOf } from './content.mjs';

const [lib, mode, directory, ...rest] = process.argv.slice(2);
const { openStore } = await import(pathToFileURL(`${lib}/store/index.js`).href);
const { nodeFs } = await import(pathToFileURL(`${lib}/store/fs.js`).href);

/** Each call is a step, and a write is two: before it, and after half of its bytes. */
function dyingAt(k) {
  let step = 0;
  const dieHere = () => {
    step += 1;
    if (step === k) process.kill(process.pid, 'SIGKILL');
  };
  const fs = {};
  for (const [call, work] of Object.entries(nodeFs)) {
    fs[call] = async (...args) => {
      dieHere();
      if (call === 'write') {
        const [file, [first, ...others], position] = args;
        const half = Math.ceil(first.length / 2);
        await work(file, [first.subarray(0, half)], position);
        dieHere();
        return half + (await work(file, [first.subarray(half), ...others], position + half));
      }
      return work(...args);
    };
  }
  return { fs, dieHere };
}

if (mode === 'loop') {
  const store = await openStore(directory);
  process.stdout.write('ready\n');
  for (let generation = process.pid * 1000; ; generation++) {
    const name = `p${generation % 4}`;
    // In turn as an array (few large writes) and as an iterator (many small ones).
    const chunks = chunksOf(contentOf(name, generation));
    await store.writeProduct(name, generation % 8 < 4 ? chunks : chunks.values(), recordOf(generation));
  }
} else if (mode === 'step') {
  const { fs, dieHere } = dyingAt(Number(rest[0]));
  const store = await openStore(directory, { fs });
  await store.writeProduct('old', chunksOf(contentOf('old', 2)), recordOf(2));
  await store.writeProduct('sub/new', chunksOf(contentOf('new', 2)).values(), recordOf(2));
  dieHere();
} else if (mode === 'many') {
  const [id, count] = rest.map(Number);
  const store = await openStore(directory);
  for (let i = 0; i < count; i++) {
    const name = `w${id}-${i}`;
    await store.writeProduct(name, [contentOf(name, i)], recordOf(i));
    await store.writeProduct('shared', [contentOf('shared', 1)], recordOf(1));
  }
} else if (mode === 'one') {
  const [name, bytes] = rest;
  try {
    const store = await openStore(directory);
    await store.writeProduct(name, [Buffer.alloc(Number(bytes), name)], recordOf(1));
  } catch (error) {
    process.stderr.write(`${error.describe()}\n`);
    process.exitCode = error.exitCode;
  }
}
