/** `--config FILE`: options from a JSON object. Keys are long option names; what the command line says wins. */
import { readFileSync } from 'node:fs';
import type { Command, Option } from 'commander';
import { InputError, UsageError } from '../core/errors.js';
import { didYouMean } from '../core/suggest.js';

const nameOf = (option: Option) => option.long!.replace(/^--(no-)?/, '');

function optionsOf(command: Command): Option[] {
  return [...command.options, ...command.commands.flatMap(optionsOf)].filter((o) => o.long !== undefined);
}

/**
 * Sets the options of `command` and of the program that were not given on the command line.
 * Keys of other verbs are passed over, so that one file may serve all; a key of no verb is an error.
 * @throws InputError when the file cannot be read or is no JSON object; UsageError for unknown keys and wrong values
 */
export function applyConfig(file: string, command: Command): void {
  let values: unknown;
  try {
    values = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new InputError(`the configuration cannot be read: ${(cause as Error).message}`, { file, cause });
  }
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    throw new InputError('the configuration is not a JSON object', { file });
  }
  const chain: Command[] = [];
  for (let c: Command | null = command; c !== null; c = c.parent) chain.push(c);
  const known = [...new Set(optionsOf(chain.at(-1)!).map(nameOf))].filter((name) => name !== 'config');
  for (const [key, value] of Object.entries(values)) {
    if (!known.includes(key)) throw new UsageError(`no option "${key}"${didYouMean(key, known)}`, { file });
    for (const owner of chain) {
      const option = owner.options.find((o) => o.long !== undefined && nameOf(o) === key);
      if (option === undefined) continue;
      const name = option.attributeName();
      const source = owner.getOptionValueSource(name);
      if (source !== undefined && source !== 'default') continue;
      owner.setOptionValueWithSource(name, parsed(option, key, value, file), 'config');
    }
  }
}

function parsed(option: Option, key: string, value: unknown, file: string): unknown {
  if (option.isBoolean()) {
    if (typeof value === 'boolean') return value;
    throw new UsageError(`expected "${key}" to be true or false, received ${JSON.stringify(value)}`, { file });
  }
  const texts = Array.isArray(value) ? value : [value];
  let result: unknown;
  for (const item of texts) {
    if (typeof item !== 'string' && typeof item !== 'number') {
      throw new UsageError(`expected "${key}" to be text or a number, received ${JSON.stringify(item)}`, { file });
    }
    if (option.argChoices !== undefined && !option.argChoices.includes(String(item))) {
      const near = didYouMean(String(item), option.argChoices);
      throw new UsageError(
        `expected "${key}" to be one of ${option.argChoices.join(', ')}, received "${item}"${near}`,
        { file },
      );
    }
    const parse = option.argChoices === undefined ? option.parseArg : undefined;
    result = parse === undefined ? String(item) : (parse as (v: string, p: unknown) => unknown)(String(item), result);
  }
  return result;
}
