/** A private PostgreSQL server for tests, on loopback, with its data in a temporary directory. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const BIN = '/usr/lib/postgresql/15/bin';
const isRoot = process.getuid?.() === 0;

export interface Server {
  /** Makes an empty database and gives its URL. */
  readonly database: (name: string) => string;
  readonly stop: () => void;
}

/** The server refuses to run as root; it then runs as the user that Debian's package makes. */
function run(program: string, args: readonly string[]): string {
  const command = [join(BIN, program), ...args];
  const [name, ...rest] = isRoot
    ? ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups', '--', ...command]
    : command;
  // The server that pg_ctl starts would hold a pipe of its output open.
  const { status, error } = spawnSync(name as string, rest, { cwd: tmpdir(), stdio: 'ignore' });
  if (status !== 0) throw new Error(`${program} ended with ${error?.message ?? status}`);
  return '';
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** Why there can be no server here; undefined when there can. */
export function whyNoPostgres(): string | undefined {
  if (!existsSync(join(BIN, 'initdb'))) return 'postgresql-15 is not installed';
  if (isRoot && spawnSync('id', ['postgres']).status !== 0) return 'the user postgres does not exist';
  return undefined;
}

export async function startPostgres(): Promise<Server> {
  const directory = mkdtempSync(join(tmpdir(), 'rampline-pg-'));
  const data = join(directory, 'data');
  if (isRoot) spawnSync('chown', ['postgres', directory]);
  else chmodSync(directory, 0o700);
  const port = await freePort();
  const stop = () => {
    try {
      run('pg_ctl', ['-D', data, '-m', 'immediate', '-w', 'stop']);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  };
  try {
    run('initdb', ['-D', data, '-A', 'trust', '-U', 'postgres', '-E', 'UTF8', '--locale=C', '--no-sync']);
    const settings = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${directory} -c fsync=off`;
    run('pg_ctl', ['-D', data, '-o', settings, '-l', join(directory, 'log'), '-w', '-t', '60', 'start']);
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
  return {
    stop,
    database(name) {
      run('createdb', ['-h', '127.0.0.1', '-p', String(port), '-U', 'postgres', name]);
      return `postgres://postgres@127.0.0.1:${port}/${name}`;
    },
  };
}
