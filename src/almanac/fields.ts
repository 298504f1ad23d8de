/** Small text tables: a line's fields, by tabs, commas (CSV with quotes) or blanks. */
import { readFileSync, statSync } from 'node:fs';
import { InputError } from '../core/errors.js';

/** Ends the reading of a line with an error that names file and line. */
export type Fail = (message: string) => never;

export interface Line {
  readonly fields: readonly string[];
  readonly fail: Fail;
}

/**
 * The text of a small file.
 * @param what it is called in errors
 * @throws InputError
 */
export function readText(path: string, what: string, mostBytes: number): string {
  try {
    const stats = statSync(path);
    if (!stats.isFile()) throw new InputError(`expected ${what}, not a directory or device`, { file: path });
    if (stats.size > mostBytes) {
      throw new InputError(`${what} of ${stats.size} bytes is longer than ${mostBytes}`, { file: path });
    }
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`${what} cannot be read: ${(cause as Error).message}`, { file: path, cause });
  }
}

/** The lines that hold something, without comments ('#' at the begin of a line or after a blank). */
export function* linesOf(text: string, file: string): Generator<Line> {
  for (const [i, line] of text
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\n|\r/)
    .entries()) {
    const content = line.replace(/(?:^|\s)#.*$/, '');
    if (content.trim() === '') continue;
    const fail: Fail = (message) => {
      throw new InputError(`line ${i + 1}: ${message}`, { file });
    };
    yield { fields: fieldsOf(content, fail), fail };
  }
}

function fieldsOf(line: string, fail: Fail): string[] {
  if (line.includes('\t')) return line.split('\t').map((field) => field.trim());
  // A comma after words is part of a reason, not the end of a field.
  if (!/^\s*(?:"|\S*\s*,)/.test(line)) return line.trim().split(/\s+/);
  const fields: string[] = [];
  const pattern = /\s*(?:"((?:[^"]|"")*)"|([^",]*))\s*(,|$)/y;
  for (let more = true; more; ) {
    const match = pattern.exec(line);
    if (match === null) return fail('a quote is opened and not closed, or stands inside a field');
    fields.push(match[1] === undefined ? match[2]!.trim() : match[1].replaceAll('""', '"'));
    more = match[3] === ',';
  }
  return fields;
}
