/**
 * Jobs whose inputs were refused: `state/refused/PRODUCT.json` in the output directory has the key that the product would have had, and
 * the failure. The same inputs would be refused again, so a plan says that at once and no run tries it. A note that is lost costs
 * one attempt more, nothing else.
 */
import { readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type ErrorClass, RamplineError } from '../core/errors.js';
import type { Store } from '../store/index.js';
import { type Failure, toFailure } from './failure.js';

/** Classes of failure that are an input's, and end one job. */
export const DROPS: readonly ErrorClass[] = ['input', 'calibration', 'algorithm'];

export interface Refusal {
  readonly key: string;
  readonly failure: Failure;
}

const nameOf = (product: string): string => `state/refused/${basename(product, '.fits')}.json`;

/**
 * Notes that a body refused what it was given; any other error is not noted.
 * @param key of the product that was not made
 * @throws StorageError
 */
export async function noteRefusal(store: Store, product: string, key: string, error: unknown): Promise<void> {
  if (!(error instanceof RamplineError) || !DROPS.includes(error.class)) return;
  // Without what is undefined, which JSON has no word for.
  const failure: unknown = JSON.parse(JSON.stringify(toFailure(error)));
  await store.writeJson(nameOf(product), { key, failure });
}

/**
 * What is noted of a product, unless one of the inputs was written since: a damaged one may have been made anew with the same content.
 * @param inputs paths
 */
export function refusalOf(output: string, product: string, inputs: readonly string[]): Refusal | undefined {
  const path = join(output, nameOf(product));
  try {
    const { mtimeMs } = statSync(path);
    if (inputs.some((input) => statSync(input).mtimeMs > mtimeMs)) return undefined;
    const { key, failure } = JSON.parse(readFileSync(path, 'utf8')) as Refusal;
    return typeof key === 'string' && DROPS.includes(failure.error) ? { key, failure } : undefined;
  } catch {
    // There is none, or none that can be read.
    return undefined;
  }
}
