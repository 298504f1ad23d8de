import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { verifyDirectory } from '../../src/store/index.js';
import { main } from '../cli.js';
import { differences, eventsOf, type MiniNight, makeNight, treeOf } from '../mini_night.js';

/** How many runs are killed; the whole number of 200 takes some minutes. */
const KILLS = Number(process.env.RAMPLINE_KILLS ?? 24);

let night: MiniNight;
let undisturbed: Map<string, string>;
/** Of the undisturbed run [ms]. */
let whole = 0;

function start(output: string, ...more: string[]): ChildProcess {
  const args = night.args(output, '--jobs', '2', '--log-level', 'error', ...more);
  return spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
}

const ended = (child: ChildProcess) =>
  new Promise<{ code: number | null; signal: string | null }>((done) =>
    child.once('exit', (code, signal) => done({ code, signal })),
  );

async function prepare(): Promise<void> {
  night = makeNight();
  const output = join(night.base, 'undisturbed');
  const began = performance.now();
  expect(await ended(start(output))).toEqual({ code: 0, signal: null });
  whole = performance.now() - began;
  undisturbed = treeOf(output);
  expect(undisturbed.size).toBeGreaterThan(40);
}
beforeAll(prepare, 300_000);
afterAll(() => rmSync(night.base, { recursive: true, force: true }));

/** Manifests of products that are whole, as they stand, by the product's name. */
async function wholeProducts(output: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  if (!existsSync(output)) return found; // killed before it began
  for await (const { product, status, detail } of verifyDirectory(output)) {
    // Under a final name there is never a part of a file. What has no manifest yet is not done.
    expect(['ok', 'unlisted', 'leftover'], `${product}: ${detail}`).toContain(status);
    if (status === 'ok') found.set(product, readFileSync(join(output, `${product}.manifest.json`), 'utf8'));
  }
  return found;
}

/** A calibration has a page beside it, which its job writes last: killed between the two, the job has that left to do. */
const withPage = (output: string, name: string): boolean =>
  !name.startsWith('calib/') || existsSync(join(output, name.replace('calib/', 'calib/qa-').replace(/fits$/, 'json')));

/** Names of the products that each job of the night makes. */
function makers(output: string): Map<string, readonly string[]> {
  return new Map(
    eventsOf(output).flatMap(({ event, job, outcome }) =>
      event === 'end' && job !== undefined && outcome !== undefined ? [[job, outcome.products] as const] : [],
    ),
  );
}

/** Evenly spread moments (golden ratio) over the time of a run. */
const moment = (round: number) => ((round * 0.618034) % 1) * 1.05 * whole;

describe('a night that is stopped', () => {
  it(`by SIGKILL at ${KILLS} moments is the same in the end, and no body runs twice whose product was whole`, async () => {
    const madeBy = makers(join(night.base, 'undisturbed'));
    expect(madeBy.size).toBeGreaterThan(20);
    const output = join(night.base, 'killed');
    let finished = 0;
    let halfway = 0;
    let before = new Map<string, string>();
    let complete = new Set<string>();
    const check = async () => {
      const now = await wholeProducts(output);
      // What was whole was not written again: not even its time or inode is another.
      for (const [name, manifest] of before) expect(now.get(name), `${name} was made again`).toBe(manifest);
      return now;
    };
    for (let round = 0; round < KILLS; round++) {
      const known = new Set(eventsOf(output).map(({ run }) => run));
      const child = start(output);
      const gone = ended(child);
      const timer = setTimeout(() => child.kill('SIGKILL'), moment(round));
      const { code, signal } = await gone;
      clearTimeout(timer);
      const after = await check();
      for (const { run, event, job } of eventsOf(output)) {
        if (event !== 'begin' || known.has(run) || job === undefined) continue;
        const products = madeBy.get(job) as readonly string[];
        expect(
          products.length > 0 && products.every((name) => complete.has(name)),
          `${job} was begun again although ${products.join(', ')} was whole`,
        ).toBe(false);
      }
      before = after;
      complete = new Set([...after.keys()].filter((name) => withPage(output, name)));
      if (signal === 'SIGKILL') {
        if (after.size > 0 && after.size < undisturbed.size / 2) halfway += 1;
        continue;
      }
      expect(code).toBe(0);
      expect(differences(treeOf(output), undisturbed)).toEqual([]);
      finished += 1;
      rmSync(output, { recursive: true, force: true });
      before = new Map();
      complete = new Set();
    }
    expect(await ended(start(output))).toEqual({ code: 0, signal: null });
    await check();
    expect(differences(treeOf(output), undisturbed)).toEqual([]);
    // The kills were not all before the first product or after the last.
    expect(halfway).toBeGreaterThan(KILLS / 8);
    console.log(
      `${KILLS} runs: ${KILLS - finished} killed, ${halfway} of them with a part of the products; ${finished} ended`,
    );
    rmSync(output, { recursive: true, force: true });
  }, 3_600_000);

  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)(
    'by %s ends within 20 s, in order, and goes on',
    async (signal, code) => {
      const output = join(night.base, signal);
      for (let round = 0; round < 3; round++) {
        const child = start(output, ...(round === 2 ? ['--isolate'] : []));
        const gone = ended(child);
        // Not before Node listens.
        await new Promise((wait) => setTimeout(wait, (0.3 + 0.2 * round) * whole));
        const asked = performance.now();
        child.kill(signal);
        const end = await gone;
        expect(performance.now() - asked).toBeLessThan(20_000);
        expect(end.signal).toBeNull();
        expect([code, 0]).toContain(end.code);
        for await (const { product, status } of verifyDirectory(output)) {
          expect(status, `${product} was left behind`).not.toBe('leftover');
        }
      }
      expect(await ended(start(output))).toEqual({ code: 0, signal: null });
      expect(differences(treeOf(output), undisturbed)).toEqual([]);
      rmSync(output, { recursive: true, force: true });
    },
    300_000,
  );
});
