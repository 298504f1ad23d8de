// A run around its executor: what stops it beside the jobs.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { StorageError } from '../core/errors.js';
import { openDatabase } from '../database/index.js';
import { LAYOUT } from '../ledger/tables.js';
import { simulateNight } from '../simulate/night.js';
import type { Executor } from './executor.js';
import { runNight } from './run.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-run-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

const raw = join(base, 'raw');
const common = { raw, tele: ['apo'], mjd: 60_857 };
beforeAll(() =>
  simulateNight({ output: raw, size: 'small', rows: 16, tele: ['apo'], chips: ['a'], exposures: [1], threads: 1 }),
);

it('stops where its logs cannot be written', async () => {
  const output = join(base, 'out');
  mkdirSync(output);
  writeFileSync(join(output, 'log'), 'a file where the directory should be');
  let stopped = false;
  const executor: Executor = {
    name: 'patient',
    writesLogs: false,
    run: async (_plan, { signal }) => {
      await sleep(10_000, undefined, { signal }).catch(() => {
        stopped = true;
      });
      return { outcomes: [] };
    },
  };
  await expect(runNight({ ...common, output, executor, ledger: 'none' })).rejects.toThrow(StorageError);
  expect(stopped).toBe(true);
});

it('goes on without its ledger, and says so', async () => {
  const output = join(base, 'unrecorded');
  const executor: Executor = {
    name: 'vandal',
    writesLogs: false,
    run: async () => {
      const state = join(output, 'state');
      const database = await openDatabase(join(state, 'ledger.sqlite'), state, LAYOUT);
      await database.run('harm the ledger', (db) => db.schema.dropTable('job').execute());
      await database.close();
      return { outcomes: [] };
    },
  };
  const said: string[] = [];
  const { exitCode } = await runNight({
    ...common,
    output,
    executor,
    onEvent: ({ message, event }) => {
      if (event === 'message') said.push(message ?? '');
    },
  });
  expect(exitCode).toBe(0);
  expect(said.join()).toMatch(/cannot write the ledger: no such table: job; .*status --rebuild/);
});
