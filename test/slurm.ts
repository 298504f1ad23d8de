/**
 * A private Slurm of one node for tests: munged, slurmctld and slurmd on loopback, with keys, sockets, logs and state in a
 * temporary directory. The system's own Slurm, if there is one, is neither read nor changed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasProgram } from './cli.js';

export interface PrivateSlurm {
  /** What a process needs in its environment to use it. */
  readonly env: { readonly SLURM_CONF: string };
  /** Runs one of its commands and gives what it prints. */
  readonly run: (program: string, args: readonly string[]) => string;
  /** Ends the controller as a crash of its machine would; `resume` starts it again on its state. */
  readonly killController: () => Promise<void>;
  readonly resume: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** Left to the system: a node that promises more memory than there is gets drained. */
const SPARE_MB = 512;
const PROGRAMS = ['munged', 'slurmctld', 'slurmd', 'sinfo', 'sbatch', 'setpriv'] as const;

/** Why there can be no Slurm here; undefined when there can. */
export function whyNoSlurm(): string | undefined {
  const missing = PROGRAMS.find((name) => !hasProgram(name));
  if (missing !== undefined) return `${missing} is not installed (Debian: slurm-wlm, munge)`;
  if (process.getuid?.() !== 0) return 'Slurm daemons of one user alone need root';
  return undefined;
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

/** Memory of this machine as slurmd sees it [MB]. */
function realMemory(): number {
  const { stdout } = spawnSync('slurmd', ['-C'], { encoding: 'utf8' });
  return Number(/RealMemory=(\d+)/.exec(stdout)?.[1] ?? 2048);
}

/**
 * Starts it and waits until it takes jobs, which is a second or two.
 * @param cpus that the node claims to have
 */
export async function startSlurm(cpus = availableParallelism()): Promise<PrivateSlurm> {
  // Short: the path of a socket has at most 107 bytes.
  const directory = mkdtempSync(join(tmpdir(), 'rl-slurm-'));
  const conf = join(directory, 'slurm.conf');
  const socket = join(directory, 'munge.socket');
  const env = { SLURM_CONF: conf };
  const children: ChildProcess[] = [];

  /** In the foreground and with our own death as its signal to end: no daemon outlives the tests, however they end. */
  const daemon = (name: string, args: readonly string[]): ChildProcess => {
    const log = openSync(join(directory, `${name}.out`), 'a');
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', name, ...args], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...env },
      cwd: directory,
    });
    children.push(child);
    return child;
  };
  const end = async (child: ChildProcess | undefined, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    const hard = setTimeout(() => child.kill('SIGKILL'), 5000);
    await gone;
    clearTimeout(hard);
  };
  const run = (program: string, args: readonly string[]): string => {
    const { stdout, stderr, status, error } = spawnSync(program, args, {
      encoding: 'utf8',
      env: { ...process.env, ...env },
      cwd: directory,
      timeout: 30_000,
    });
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
    return stdout;
  };
  const until = async (what: string, seconds: number, test: () => boolean): Promise<void> => {
    const limit = Date.now() + seconds * 1000;
    while (!test()) {
      if (Date.now() > limit) throw new Error(`${what} took more than ${seconds} s; logs: ${logs()}`);
      await sleep(100);
    }
  };
  const logs = (): string =>
    ['munged.out', 'slurmctld.log', 'slurmd.log']
      .map((name) => join(directory, name))
      .filter(existsSync)
      .map((path) => readFileSync(path, 'utf8').split('\n').slice(-6).join('\n'))
      .join('\n');
  const quietly = <T>(work: () => T): T | undefined => {
    try {
      return work();
    } catch {
      return undefined;
    }
  };
  const ready = () =>
    until('the node', 20, () => /idle|mixed|allocated/.test(quietly(() => run('sinfo', ['-h', '-o', '%T'])) ?? ''));

  let controller: ChildProcess | undefined;
  const startController = () => {
    controller = daemon('slurmctld', ['-D', '-f', conf]);
  };
  const stop = async (): Promise<void> => {
    try {
      // First the jobs: their processes are not ours, and are told to end by the daemons alone.
      const queued = quietly(() => run('squeue', ['-h', '-o', '%A'])) ?? '';
      const ids = [...new Set(queued.split('\n').filter((id) => id !== ''))];
      if (ids.length > 0) {
        quietly(() => run('scancel', ids));
        // A process that does not end when told to has KillWait, 20 s, before it is killed.
        await until('cancelling', 60, () => (quietly(() => run('squeue', ['-h', '-o', '%A'])) ?? '').trim() === '');
      }
    } finally {
      for (const child of [...children].reverse()) await end(child);
      rmSync(directory, { recursive: true, force: true });
    }
  };

  try {
    const host = hostname().split('.')[0] as string;
    const [controllerPort, nodePort] = [await freePort(), await freePort()];
    for (const name of ['ctld', 'd']) mkdirSync(join(directory, name));
    const key = join(directory, 'munge.key');
    writeFileSync(key, randomBytes(128), { mode: 0o400 });
    writeFileSync(
      conf,
      // linuxproc and none: no cgroups. The two NoInAddrAny keep the daemons on 127.0.0.1. cred_expire: a job that is
      // requeued waits so long before it may start again. Commands try MessageTimeout and more for a controller that is away.
      `ClusterName=rampline
SlurmctldHost=${host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=${socket},cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=${controllerPort}
SlurmdPort=${nodePort}
StateSaveLocation=${directory}/ctld
SlurmdSpoolDir=${directory}/d
SlurmctldPidFile=${directory}/slurmctld.pid
SlurmdPidFile=${directory}/slurmd.pid
SlurmctldLogFile=${directory}/slurmctld.log
SlurmdLogFile=${directory}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_interval=1
DependencyParameters=kill_invalid_depend
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
InactiveLimit=0
KillWait=20
SlurmctldTimeout=30
MessageTimeout=4
SlurmdTimeout=30
SlurmdParameters=config_overrides
NodeName=${host} NodeAddr=127.0.0.1 CPUs=${cpus} RealMemory=${realMemory() - SPARE_MB} State=UNKNOWN
PartitionName=main Nodes=${host} Default=YES MaxTime=INFINITE State=UP
`,
    );
    // --force: the key's directory is not owned as a system-wide installation wants it.
    daemon('munged', [
      '--foreground',
      '--force',
      `--key-file=${key}`,
      `--socket=${socket}`,
      `--pid-file=${directory}/munged.pid`,
      `--log-file=${directory}/munged.log`,
      `--seed-file=${directory}/munge.seed`,
    ]);
    await until('munge', 10, () => existsSync(socket));
    startController();
    daemon('slurmd', ['-D', '-f', conf]);
    await ready();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    env,
    run,
    stop,
    killController: () => end(controller, 'SIGKILL'),
    async resume() {
      startController();
      await ready();
    },
  };
}
