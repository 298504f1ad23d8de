/** From the words of a command line to raw files: files, directories, and lists of either. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, StorageError, UsageError } from '../core/errors.js';
import type { Identity, Instrument } from '../core/product.js';
import { identityBeside, identityOf } from './instruments.js';

export interface RawFile {
  readonly path: string;
  readonly identity: Identity;
}

/** A list of ten million names is a mistake, not a list. */
const LIST_MAX_BYTES = 256 * 1024 * 1024;

function failure(error: unknown, file: string): InputError | StorageError {
  const { code, message } = error as NodeJS.ErrnoException;
  const gone = code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG' || code === 'ELOOP';
  return gone
    ? new InputError(code === 'ENAMETOOLONG' ? 'no such file: the name is too long' : 'no such file or directory', {
        file,
        cause: error,
      })
    : new StorageError(`cannot be looked at: ${message}`, { file, cause: error });
}

/** `@list`: one name a line, as it stands; empty lines are passed over, and a list names no further list. */
function listed(file: string): string[] {
  try {
    if (statSync(file).size > LIST_MAX_BYTES)
      throw new InputError(`a list of more than ${LIST_MAX_BYTES} bytes`, { file });
    return readFileSync(file, 'utf8')
      .split(/\r?\n/)
      .filter((line) => line !== '');
  } catch (error) {
    throw error instanceof InputError ? error : failure(error, file);
  }
}

/**
 * The raw files that `words` name, in the order of the words; a directory gives its raw files sorted by name (not those of
 * directories below it). A word is a name and nothing else: `x[1].fits`, `http://h/x` and `!x` are looked for as they stand.
 * A file named `@x` is meant by `./@x`. A file that is named twice counts once.
 * @throws UsageError for a name with NUL; InputError when something is not there
 */
export function selectRawFiles(words: readonly string[], instrument: Instrument): RawFile[] {
  const found = new Map<string, RawFile>();
  const add = (path: string, identity: Identity | undefined): boolean => {
    if (identity !== undefined && !found.has(path)) found.set(path, { path, identity });
    return identity !== undefined;
  };
  const take = (word: string): void => {
    if (word.includes('\0')) throw new UsageError(`${JSON.stringify(word)} contains a NUL character: it names no file`);
    let isDirectory: boolean;
    try {
      isDirectory = statSync(word).isDirectory();
    } catch (error) {
      throw failure(error, word);
    }
    if (isDirectory) {
      let any = false;
      let names: string[];
      try {
        names = readdirSync(word).sort();
      } catch (error) {
        throw failure(error, word);
      }
      for (const name of names) {
        const path = join(word, name);
        any = add(path, identityBeside(path, instrument)) || any;
      }
      if (!any) throw new InputError(`no raw file of ${instrument.name} is in this directory`, { file: word });
    } else if (!add(word, identityOf(word, instrument))) {
      if (instrument.readout === 'image') {
        throw new InputError(`the header does not say that it is an image of ${instrument.name}`, { file: word });
      }
      throw new InputError(
        `the name tells no exposure: expected the like of ${instrument.rawName({ tele: 'apo', mjd: 60857, chip: 'a', exposure: 1 }, 'apz')}`,
        { file: word },
      );
    }
  };
  for (const word of words) {
    if (word.startsWith('@')) for (const line of listed(word.slice(1))) take(line);
    else take(word);
  }
  return [...found.values()];
}
