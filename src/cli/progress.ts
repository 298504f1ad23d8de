/**
 * Progress and messages, always on stderr. On a terminal: a bar on the last line. Off it: one JSON object a line, at most
 * one for progress every two seconds.
 */
import type { LogLevel, Session } from './reply.js';
import { LOG_LEVELS } from './reply.js';
import { printable } from './table.js';

const LINE_INTERVAL_MS = 2000;
const BAR_INTERVAL_MS = 80;
const BAR_WIDTH = 24;

export class Reporter {
  readonly #stream: NodeJS.WriteStream;
  readonly #level: number;
  readonly #terminal: boolean;
  readonly #start = Date.now();
  #last = 0;
  #drawn = false;
  #finished = false;

  constructor(level: LogLevel, stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
    this.#level = LOG_LEVELS.indexOf(level);
    this.#terminal = stream.isTTY === true && process.env.TERM !== 'dumb';
  }

  /** One event: a sentence on a terminal, a JSON line off it. */
  log(level: LogLevel, event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    if (LOG_LEVELS.indexOf(level) < this.#level) return;
    this.clear();
    if (this.#terminal) {
      const text = Object.entries(fields).map(([name, value]) => `${name} ${String(value)}`);
      this.#write(`${level === 'info' ? '' : `${level}: `}${printable([event, ...text].join('  '))}\n`);
    } else {
      this.#write(`${JSON.stringify({ time: new Date().toISOString(), level, event, ...fields })}\n`);
    }
  }

  readonly progress: Session['progress'] = (done, total, label) => {
    if (this.#level > LOG_LEVELS.indexOf('info')) return;
    const now = Date.now();
    // The end is told at once, and once.
    const atEnd = done >= total && !this.#finished;
    this.#finished = done >= total;
    if (now - this.#last < (this.#terminal ? BAR_INTERVAL_MS : LINE_INTERVAL_MS) && !atEnd) return;
    this.#last = now;
    const seconds = (now - this.#start) / 1000;
    const part = total > 0 ? Math.min(1, done / total) : 0;
    if (!this.#terminal) {
      const fields = { done, total, label, seconds: Number(seconds.toFixed(1)) };
      this.#write(
        `${JSON.stringify({ time: new Date(now).toISOString(), level: 'info', event: 'progress', ...fields })}\n`,
      );
      return;
    }
    const filled = Math.round(part * BAR_WIDTH);
    const bar = `${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}`;
    const left = part > 0.02 && part < 1 ? `  ${Math.ceil((seconds / part) * (1 - part))} s left` : '';
    const line = `[${bar}] ${String(Math.floor(part * 100)).padStart(3)} %  ${printable(label)}${left}`;
    this.#write(`\r\x1b[K${line.slice(0, Math.max(20, (this.#stream.columns ?? 80) - 1))}`);
    this.#drawn = true;
  };

  /** Removes the bar. */
  clear(): void {
    if (this.#drawn) this.#write('\r\x1b[K');
    this.#drawn = false;
  }

  #write(text: string): void {
    this.#stream.write(text);
  }
}
