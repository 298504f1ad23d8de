/**
 * Many darks, or flats, in one pass: where the time goes, and that memory does not grow with their number.
 *
 *   node bench/builds.mjs [--kind dark|flat] [--rows 128] [--reads 100] [--counts 10,100] [--threads N]
 *
 * Simulates as many exposures as the largest count (kept in build/bench), then builds the calibration of the first n for each
 * count, each in a process of its own, and prints the shares of the time and the largest resident memory of that process.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT } from './timing.mjs';

const { values: args } = parseArgs({
  options: {
    kind: { type: 'string', default: 'dark' },
    rows: { type: 'string', default: '128' },
    reads: { type: 'string', default: '100' },
    counts: { type: 'string', default: '10,100' },
    threads: { type: 'string', default: '1' },
  },
});
const counts = args.counts.split(',').map(Number);
const main = join(ROOT, 'build', 'js', 'cli', 'main.js');
const data = join(ROOT, 'build', 'bench', `${args.kind}s-${args.reads}x${args.rows}`);

function run(...words) {
  const ended = spawnSync(process.execPath, words, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (ended.status !== 0) {
    console.error(ended.stdout, ended.stderr);
    process.exit(1);
  }
  return ended.stdout;
}

const names = Array.from({ length: Math.max(...counts) }, (_, i) => `apR-a-${52_950_001 + i}.apz`);
for (const [i, name] of names.entries()) {
  if (existsSync(join(data, name))) continue;
  const which = ['--exposure', String(i + 1), '--seed', String(i + 1), '--chips', 'a'];
  const size = ['--reads', args.reads, '--rows', args.rows, '--no-truth'];
  run(
    main,
    'simulate',
    '--type',
    args.kind === 'flat' ? 'internalflat' : 'dark',
    ...which,
    ...size,
    '--log-level',
    'error',
    '-o',
    data,
  );
}
// The peak is asked of the process itself, at its end.
const program = `
  import { buildCalibration } from ${JSON.stringify(join(ROOT, 'build', 'js', 'night', 'calib.js'))};
  const [word, calib, output, threads, ...files] = process.argv.slice(1);
  const began = performance.now();
  const [made] = await buildCalibration({ word, files, calib, output, threads: Number(threads) });
  const seconds = (performance.now() - began) / 1000;
  console.log(JSON.stringify({ facts: made.facts, seconds, peakMegabytes: process.resourceUsage().maxRSS / 1024 }));
`;
for (const n of counts) {
  const work = mkdtempSync(join(ROOT, 'build', 'bench', 'work-'));
  const files = names.slice(0, n).map((name) => join(data, name));
  const calib = join(data, 'calib');
  const made = JSON.parse(
    run('--input-type=module', '-e', program, '--', args.kind, calib, work, args.threads, ...files),
  );
  rmSync(work, { recursive: true });
  console.log(`${n} ${args.kind}s of ${args.reads} reads, ${args.rows} rows, ${args.threads} thread(s):`);
  console.log(`  ${made.seconds.toFixed(1)} s, peak ${made.peakMegabytes.toFixed(0)} MB`);
  console.log(`  ${made.facts.time}`);
}
