import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RetriableError, UsageError } from '../src/core/errors.js';
import { type BatchRequest, cancel, partition, queued, submit } from '../src/night/slurm/client.js';
import { type PrivateSlurm, startSlurm, whyNoSlurm } from './slurm.js';

const why = whyNoSlurm();
let slurm: PrivateSlurm;
let directory = '';

beforeAll(async () => {
  if (why !== undefined) return;
  directory = mkdtempSync(join(tmpdir(), 'rampline-slurm-'));
  slurm = await startSlurm(2);
  process.env.SLURM_CONF = slurm.env.SLURM_CONF;
});
afterAll(async () => {
  delete process.env.SLURM_CONF;
  if (directory !== '') rmSync(directory, { recursive: true, force: true });
  await slurm?.stop();
});
beforeEach((ctx) => {
  if (why !== undefined) ctx.skip(why);
});

/** Waits for something that takes a moment, and fails with its name when it never comes. */
async function until(what: string, test: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
  const limit = Date.now() + seconds * 1000;
  while (!(await test())) {
    if (Date.now() > limit) throw new Error(`${what} did not come to pass in ${seconds} s`);
    await sleep(100);
  }
}

describe("Slurm's commands", () => {
  const script = (body: string): Pick<BatchRequest, 'script' | 'directory' | 'stdout' | 'stderr'> => {
    const path = join(directory, 'job.sh');
    writeFileSync(path, `#!/bin/sh\n${body}\n`);
    return { script: path, directory, stdout: join(directory, '%A-%a.out'), stderr: join(directory, '%A-%a.err') };
  };
  const request = { name: 'rampline-test', cpus: 1, memoryBytes: 64 * 2 ** 20, minutes: 2, after: [], more: [] };

  it('tells the size of the cluster', async () => {
    expect(await partition()).toMatchObject({ name: 'main', isDefault: true, nodes: 1, cpus: 2, nodeCpus: 2 });
    await expect(partition('none')).rejects.toThrow(/'none'.*main/);
  });

  it('runs an array after another, and forgets both', async () => {
    const first = await submit({ ...request, ...script('echo one $SLURM_ARRAY_TASK_ID'), elements: [0, 1] });
    const second = await submit({
      ...request,
      ...script('echo two $SLURM_ARRAY_TASK_ID'),
      elements: [0],
      after: [{ how: 'afterany', id: first }],
    });
    await until('the end of both', async () => (await queued([first, second])).length === 0);
    expect(readFileSync(join(directory, `${first}-1.out`), 'utf8')).toBe('one 1\n');
    expect(readFileSync(join(directory, `${second}-0.out`), 'utf8')).toBe('two 0\n');
    expect(await queued([99_999])).toEqual([]);
    await cancel([99_999]);
  });

  it('gives the process that took the place of the script SIGTERM when it is cancelled', async () => {
    const body = `exec "${process.execPath}" -e "process.on('SIGTERM', () => { console.log('in order'); process.exit(143); }); setInterval(() => 0, 1000); console.log('up')"`;
    const id = await submit({ ...request, ...script(body), elements: [0] });
    const out = join(directory, `${id}-0.out`);
    await until('the start', () => existsSync(out) && readFileSync(out, 'utf8').includes('up'));
    expect(await queued([id])).toMatchObject([{ id, elements: '0', state: 'RUNNING' }]);
    await cancel([id]);
    await until('the end', async () => (await queued([id])).length === 0);
    expect(readFileSync(out, 'utf8')).toBe('up\nin order\n');
  });

  it('refuses in words of Slurm what Slurm refuses, and what cannot be found', async () => {
    const wrong = submit({ ...request, ...script('true'), elements: [0], partition: 'none' });
    await expect(wrong).rejects.toThrow(UsageError);
    await expect(wrong).rejects.toThrow(/sbatch refuses.*partition/i);
    const path = process.env.PATH;
    process.env.PATH = directory;
    try {
      await expect(partition()).rejects.toThrow(/sinfo is not found.*--executor slurm/);
    } finally {
      process.env.PATH = path;
    }
  });

  it('calls a controller that is away retriable', async () => {
    await slurm.killController();
    try {
      await expect(partition()).rejects.toThrow(RetriableError);
    } finally {
      await slurm.resume();
    }
  });
});
