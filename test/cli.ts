/** Runs the built command line as a user does. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

export const root = new URL('..', import.meta.url).pathname;
export const main = join(root, 'build/js/cli/main.js');

if (!existsSync(main)) throw new Error('build/js is not there: run .ci/setup (npm test does)');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface How {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly main?: string;
}

export function rampline(args: readonly string[], how: How = {}): Ended {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [how.main ?? main, ...args], {
    encoding: 'utf8',
    cwd: how.cwd,
    env: { ...process.env, ...how.env },
    maxBuffer: 64 * 2 ** 20,
  });
  return { code: status, signal, stdout, stderr };
}

/** Starts a run, lets `during` act on its process, and waits for its end. */
export function startRampline(
  args: readonly string[],
  during: (kill: (signal: NodeJS.Signals) => void, seen: () => string) => void,
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    during(
      (signal) => child.kill(signal),
      () => stderr,
    );
  });
}

/** Whether a program is installed. */
export function hasProgram(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0;
}
