#!/usr/bin/env node
/** The command line: finds the verb, runs it, prints its reply once, and turns every error into its exit code. */
import { CommanderError } from 'commander';
import { BugError, EXIT_CODES, type RamplineError, RetriableError, UsageError } from '../core/errors.js';
import { asRamplineError } from '../night/failure.js';
import { SignalInterrupt } from './interrupt.js';
import { buildProgram } from './program.js';
import { Reporter } from './progress.js';
import type { LogLevel, Reply } from './reply.js';
import { printable } from './table.js';

/**
 * How long an orderly end may take after the first signal, before the process ends without it: a night cancels what runs on a
 * cluster, and batch systems kill 20 s or more after they have asked.
 */
const GRACE_MS = 19_000;

/** What commander refuses is usage; for the rest see asRamplineError. */
function classify(error: unknown): RamplineError {
  if (error instanceof CommanderError) return new UsageError(error.message.replace(/^error: /, '').replace(/\n/g, ' '));
  return asRamplineError(error);
}

/** All of it; a reader at the other end of the pipe that has gone is no error. */
async function print(text: string, stream: NodeJS.WriteStream = process.stdout): Promise<void> {
  await new Promise<void>((resolve) => {
    stream.once('error', () => resolve());
    stream.write(text, () => resolve());
  });
}

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** The words before `--`: the rest are names, whatever they look like. */
function words(args: readonly string[]): readonly string[] {
  const end = args.indexOf('--');
  return end < 0 ? args : args.slice(0, end);
}

/** What --log-level says; 'info' until the words have been parsed and refused if they are wrong. */
function levelOf(args: readonly string[]): LogLevel {
  const at = args.indexOf('--log-level');
  const text =
    at >= 0 ? args[at + 1] : args.find((word) => word.startsWith('--log-level='))?.slice('--log-level='.length);
  return text === 'debug' || text === 'warn' || text === 'error' ? text : 'info';
}

async function main(args: readonly string[]): Promise<number> {
  const before = words(args);
  const asJson = before.includes('--json');
  const reporter = new Reporter(levelOf(before));
  const interrupt = new SignalInterrupt();
  interrupt.listen((message) => reporter.log('info', message));
  const session = {
    log: reporter.log.bind(reporter),
    progress: reporter.progress,
    interrupt,
  };
  let help = '';
  let reply: Reply | undefined;
  const program = buildProgram(session, {
    take: (given) => {
      reply = given;
    },
    write: (text) => {
      help += text;
    },
  });
  const work = program.parseAsync([...args], { from: 'user' });
  const grace = new Promise<never>((_, reject) => {
    interrupt.signal.addEventListener('abort', () => {
      setTimeout(() => reject(new RetriableError('interrupted')), GRACE_MS).unref();
    });
  });
  try {
    await Promise.race([work, grace]);
    if (interrupt.exitCode() !== undefined && (reply?.exitCode ?? 0) !== 0) throw new RetriableError('interrupted');
    reporter.clear();
    if (reply !== undefined) await print(asJson ? json(reply.json) : reply.text);
    return reply?.exitCode ?? EXIT_CODES.ok;
  } catch (error) {
    reporter.clear();
    const stopped = interrupt.exitCode();
    if (stopped !== undefined) {
      await interrupt.stop();
      if (asJson)
        await print(json({ error: 'interrupted', exitCode: stopped, message: 'stopped; nothing is half-done' }));
      else await print('rampline: stopped; nothing is half-done, the same command goes on from here\n', process.stderr);
      process.exit(stopped); // what still runs must not keep the process
    }
    if (error instanceof CommanderError && error.exitCode === 0) {
      await print(asJson ? json({ help }) : help);
      return EXIT_CODES.ok;
    }
    if (error instanceof CommanderError && error.code === 'commander.help') {
      if (asJson) await print(json(new UsageError('a verb is needed').toJSON()));
      else await print(program.helpInformation(), process.stderr);
      return EXIT_CODES.usage;
    }
    const known = classify(error);
    if (asJson) await print(json(known.toJSON()));
    else {
      // Names are part of messages and may hold anything; a bug's own text has lines of its own.
      const text = known instanceof BugError ? known.describe() : printable(known.describe());
      await print(`rampline: ${known.class} error: ${text}\n`, process.stderr);
    }
    if (known instanceof UsageError && !asJson && error instanceof CommanderError) {
      await print('rampline --help and rampline VERB --help have examples\n', process.stderr);
    }
    if (known instanceof BugError && !asJson && known.cause instanceof Error && levelOf(before) === 'debug') {
      await print(`${known.cause.stack}\n`, process.stderr);
    }
    return known.exitCode;
  }
}

process.exitCode = await main(process.argv.slice(2));
