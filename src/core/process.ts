/** Whether a process that wrote its pid down is still there: a pid alone says little, because numbers come again. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/**
 * What tells a process from every other that has or had its pid: this boot, the PID namespace, and the time of its start
 * (field 22 of /proc/PID/stat, proc(5)). Undefined where there is no such process, or no /proc.
 */
export function processBirth(pid: number = process.pid): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in brackets, which may hold spaces and brackets: count from behind it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined; // it ended, and its parent has not looked
    return `${boot} ${readlinkSync('/proc/self/ns/pid')} ${fields[19]}`;
  } catch {
    return undefined;
  }
}

/**
 * Whether a process is alive. 'unknown' for one of another host, or of another PID namespace of this boot: nothing here can
 * tell.
 */
export function processState(about: {
  readonly host: string;
  readonly pid: number;
  readonly born?: string | null | undefined;
}): 'alive' | 'dead' | 'unknown' {
  if (about.host !== hostname()) return 'unknown';
  const own = processBirth();
  if (typeof about.born === 'string' && own !== undefined) {
    const [boot, space] = about.born.split(' ');
    const [ownBoot, ownSpace] = own.split(' ');
    if (boot !== ownBoot) return 'dead';
    if (space !== ownSpace) return 'unknown';
    return processBirth(about.pid) === about.born ? 'alive' : 'dead';
  }
  try {
    process.kill(about.pid, 0);
    return 'unknown'; // somebody has this pid
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' ? 'dead' : 'unknown';
  }
}
