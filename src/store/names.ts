/** Names of products, manifests and temporary files. A name is only a name: nothing in it is ever interpreted. */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { UsageError } from '../core/errors.js';

export const MANIFEST_SUFFIX = '.manifest.json';

/** NAME_MAX of Linux (limits.h): bytes in one component of a path. */
const NAME_MAX = 255;

/**
 * Refuses a product name that could leave the output directory or that the store keeps for itself.
 * A name is one or more components joined by '/', relative to the directory. `!`, `[1]`, `http:` and a leading `-` are
 * plain characters. Symbolic links among the directories are followed: they are the operator's, not the name's.
 * @throws UsageError for an empty name or component, '.', '..', an absolute path, NUL, a lone surrogate (it would be
 *   stored as another name), a component too long to carry its manifest's suffix, and the store's own names
 */
export function checkName(name: string): void {
  const refuse = (why: string): never => {
    throw new UsageError(`${JSON.stringify(name)} cannot be the name of a product: ${why}`);
  };
  if (name === '') refuse('it is empty');
  if (name.includes('\0')) refuse('it contains a NUL character');
  if (Buffer.from(name, 'utf8').toString('utf8') !== name) refuse('it is not well-formed Unicode');
  for (const part of name.split('/')) {
    if (part === '') refuse('it is absolute or has an empty component');
    if (part === '.' || part === '..') refuse(`"${part}" is not allowed in it`);
    const room = NAME_MAX - MANIFEST_SUFFIX.length;
    if (Buffer.byteLength(part) > room) refuse(`a component is longer than ${room} bytes`);
    if (isManifestName(part)) refuse(`names that end in ${MANIFEST_SUFFIX} are kept for manifests`);
    if (isTemporaryName(part)) refuse('names of this form are kept for temporary files');
  }
}

export function isManifestName(name: string): boolean {
  return name.endsWith(MANIFEST_SUFFIX);
}

/** `.rampline-<process table>-<pid>-<random>.tmp`: says who wrote it, so that a later run can tell that the writer is dead. */
const TEMPORARY = /^\.rampline-([0-9a-f]{12})-([1-9][0-9]*)-[0-9a-f]{16}\.tmp$/;

export function isTemporaryName(name: string): boolean {
  return TEMPORARY.test(name);
}

/** A fresh temporary name, for this process. */
export function temporaryName(): string {
  return `.rampline-${processTable()}-${process.pid}-${randomBytes(8).toString('hex')}.tmp`;
}

let table: string | undefined;

/**
 * Names the set of processes in which a pid means something: this host, this boot, this PID namespace. On a shared file
 * system a pid of another node (or container) says nothing here, and a live writer there must not lose its file.
 */
function processTable(): string {
  if (table === undefined) {
    const parts = [hostname()];
    try {
      parts.push(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(), readlinkSync('/proc/self/ns/pid'));
    } catch {
      // No /proc: the host name alone. A dead writer's pid may then be another's; the file waits until it is old.
    }
    table = createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 12);
  }
  return table;
}

/** Who wrote a temporary file: 'own' this process, 'dead' a process of this table that is gone, else 'unknown'. */
export function temporaryOwner(name: string): 'own' | 'dead' | 'unknown' {
  const match = TEMPORARY.exec(name);
  if (match === null || match[1] !== processTable()) return 'unknown';
  const pid = Number(match[2]);
  if (pid === process.pid) return 'own';
  try {
    process.kill(pid, 0);
    return 'unknown'; // A live process has this pid: the writer, or another that inherited the number.
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' ? 'dead' : 'unknown';
  }
}
