/** What this machine offers, what is missing, and the command that mends it. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { addonPath, explainLoadFailure, packageRoot } from '../core/addon.js';
import { RamplineError } from '../core/errors.js';
import { sqliteVersion } from '../database/index.js';
import { addon, KERNELS } from '../engine/index.js';
import { openStore } from '../store/index.js';

export interface Finding {
  readonly what: string;
  /** missing: the engine cannot work without it; note: something optional is not there. */
  readonly state: 'ok' | 'note' | 'missing';
  readonly found: string;
  /** The command or step that mends it. */
  readonly mend?: string | undefined;
}

const GIB = 2 ** 30;
/** One exposure of 47 reads takes up to this much (ARCHITECTURE.md); --low-memory less than half of it. */
const EXPOSURE_BYTES = GIB;

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Memory that this process may use: the cgroup's limit where it has one. */
function memoryLimit(): number {
  const text = readText('/sys/fs/cgroup/memory.max')?.trim() ?? '';
  return /^\d+$/.test(text) ? Math.min(totalmem(), Number(text)) : totalmem();
}

/** Debian packages of `.ci/debian-packages` that dpkg does not list as installed, by section. */
function debianPackages(): Finding[] {
  const list = readText(join(packageRoot(), '.ci', 'debian-packages'));
  const status = readText('/var/lib/dpkg/status');
  if (list === undefined || status === undefined) {
    return [{ what: 'Debian packages', state: 'note', found: 'no list of packages or no dpkg: not looked at' }];
  }
  const installed = new Set(
    status
      .split('\n\n')
      .filter((entry) => /^Status: .* installed$/m.test(entry))
      .map((entry) => /^Package: (.*)$/m.exec(entry)?.[1]),
  );
  const findings: Finding[] = [];
  for (const section of list.split(/^\[/m).slice(1)) {
    const name = section.slice(0, section.indexOf(']'));
    const names = section
      .split('\n')
      .slice(1)
      .map((line) => /^[a-z0-9][^\s#]*/.exec(line)?.[0])
      .filter((n) => n !== undefined);
    const missing = names.filter((one) => !installed.has(one));
    findings.push({
      what: `Debian packages for ${name}`,
      state: missing.length === 0 ? 'ok' : 'note',
      found: missing.length === 0 ? `all ${names.length} are installed` : `not installed: ${missing.join(', ')}`,
      mend: missing.length === 0 ? undefined : `apt-get install ${missing.join(' ')}`,
    });
  }
  return findings;
}

async function storage(directory: string): Promise<Finding[]> {
  const where = resolve(directory);
  let there = where;
  while (!existsSync(there)) there = dirname(there);
  const { bavail, bsize } = statfsSync(there);
  const free = bavail * bsize;
  const findings: Finding[] = [
    { what: 'disk', state: free > GIB ? 'ok' : 'note', found: `${(free / GIB).toFixed(1)} GiB free for ${where}` },
  ];
  if (there !== where) {
    findings.push({
      what: 'durable writes',
      state: 'note',
      found: `${where} is not there yet; it is made by the first run`,
    });
    return findings;
  }
  try {
    const store = await openStore(where);
    await store.probe();
    findings.push({
      what: 'durable writes',
      state: 'ok',
      found: `write, fsync, read back and fsync of the directory work in ${where}`,
    });
  } catch (error) {
    const found = error instanceof RamplineError ? error.describe() : String(error);
    findings.push({ what: 'durable writes', state: 'missing', found, mend: 'choose another directory with -o' });
  }
  return findings;
}

function engine(): Finding[] {
  const path = addonPath();
  try {
    const { available, current } = addon().targets();
    const hash = createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 16);
    return [
      { what: 'addon', state: 'ok', found: `${path}, sha256 ${hash}, ${KERNELS.length} kernels` },
      { what: 'CPU targets', state: 'ok', found: `${available.join(', ')}; chosen: ${current}` },
    ];
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    return [
      {
        what: 'addon',
        state: 'missing',
        found: explainLoadFailure(path, cause).replaceAll('\n', ' '),
        mend: 'npm run build',
      },
    ];
  }
}

async function sqlite(): Promise<Finding> {
  const what = 'SQLite';
  try {
    return { what, state: 'ok', found: `${await sqliteVersion()}, for calibration registries and ledgers` };
  } catch (error) {
    return {
      what,
      state: 'note',
      found: `no calibration registry or ledger in SQLite: ${(error as Error).message}`,
      mend: 'npm run build',
    };
  }
}

/**
 * Looks at machine, build and disk.
 * @param directory where products would go
 */
export async function examine(directory: string): Promise<Finding[]> {
  const major = Number(process.versions.node.split('.')[0]);
  const memory = memoryLimit();
  const findings: Finding[] = [
    {
      what: 'Node',
      state: major >= 20 ? 'ok' : 'missing',
      found: `${process.version}, Node-API ${process.versions.napi}, ${process.platform}-${process.arch}`,
      mend: major >= 20 ? undefined : 'install Node 20 or later',
    },
    ...engine(),
    {
      what: 'processor',
      state: 'ok',
      found: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} cores to use`,
    },
    {
      what: 'memory',
      state: memory > 1.5 * EXPOSURE_BYTES ? 'ok' : 'note',
      found: `${(memory / GIB).toFixed(1)} GiB, ${(Math.min(freemem(), memory) / GIB).toFixed(1)} GiB free; an exposure takes up to ${EXPOSURE_BYTES / GIB} GiB`,
      mend: memory > 1.5 * EXPOSURE_BYTES ? undefined : 'use ramp --low-memory',
    },
    await sqlite(),
    ...debianPackages(),
    ...(await storage(directory)),
  ];
  return findings;
}
