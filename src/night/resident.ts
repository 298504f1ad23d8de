/** How much memory the processes of a run have, and the most they had. */
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';

/** Often enough to see an exposure's images, seldom enough to cost nothing: reading a status file takes some 50 us. */
const SAMPLE_MS = 100;

/** Of the memory that is free when a run begins the part that it takes where nothing is said: others want some too. */
const FREE_SHARE = 0.8;

/** What a run may take where the user says nothing [bytes]: of what is free, and of what a container or job allows. */
export function defaultMemory(): number {
  const allowed = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return Math.floor(FREE_SHARE * Math.min(freemem(), allowed));
}

/** Resident memory of a process [bytes]; 0 where there is none of that number. */
export function residentBytes(pid: number | 'self'): number {
  try {
    const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
    return 1024 * Number(kilobytes ?? 0);
  } catch {
    return 0;
  }
}

/** Samples the resident memory of this process and its children. Shared pages count for each, so it never says too little. */
export class MemoryMeter {
  readonly #children: () => readonly number[];
  readonly #timer: NodeJS.Timeout;
  /** The most that was seen [bytes]. */
  peakBytes = 0;

  /** @param children pids of the processes that count beside this one */
  constructor(children: () => readonly number[] = () => []) {
    this.#children = children;
    this.#timer = setInterval(() => this.sample(), SAMPLE_MS);
    this.#timer.unref();
    this.sample();
  }

  /** Resident memory now [bytes]. */
  sample(): number {
    const bytes = this.#children().reduce((sum, pid) => sum + residentBytes(pid), residentBytes('self'));
    this.peakBytes = Math.max(this.peakBytes, bytes);
    return bytes;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
