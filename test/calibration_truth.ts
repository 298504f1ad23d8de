/** What tests of builders share: simulated strips, images of products, and how far values lie from the truth. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import * as api from '../src/index.js';
import type { SimulateOptions } from '../src/simulate/index.js';

export const base = mkdtempSync(join(tmpdir(), 'rampline-builders-'));
afterAll(() => rmSync(base, { recursive: true }));
export const COLS = 2048;
export const ROWS = 96;

/** Simulates an exposure, with truth and exact calibrations (in `calib` beside it) where they are asked for. */
export async function simulate(
  folder: string,
  plan: Partial<SimulateOptions> & Pick<SimulateOptions, 'exposure' | 'type'>,
): Promise<{ readonly path: string; readonly truth: string }> {
  const output = join(base, folder);
  const usual = { tele: 'apo', chip: 'a', mjd: 60857, rows: ROWS, output, truth: false, calibrations: false } as const;
  const { raw, truth } = await api.simulateExposure({ ...usual, ...plan });
  return { path: join(output, raw), truth: join(output, truth ?? '') };
}

export const build = (word: string, files: readonly string[], more: Partial<api.BuildRequest> = {}) =>
  api.buildCalibration({ word, files, output: join(base, `${word}-made`), ...more });

export function image(path: string, name: string): ArrayLike<number> {
  const file = api.openFits(path);
  try {
    return file.readImage(name).data as Float32Array;
  } finally {
    file.close();
  }
}

export function card(path: string, name: string): number {
  const file = api.openFits(path);
  try {
    return file.hdu(0).header.number(name, undefined) as number;
  } finally {
    file.close();
  }
}

export interface Pulls {
  readonly n: number;
  readonly mean: number;
  readonly rms: number;
  /** Beyond five errors. */
  readonly far: number;
}

/** (value - truth) / error of the pixels for which `counts` holds. */
export function pulls(
  value: ArrayLike<number>,
  error: ArrayLike<number>,
  truth: ArrayLike<number>,
  counts: (i: number) => boolean,
): Pulls {
  let [n, sum, squares, far] = [0, 0, 0, 0];
  for (let i = 0; i < value.length; i++) {
    if (!counts(i)) continue;
    const z = (value[i]! - truth[i]!) / error[i]!;
    n++;
    sum += z;
    squares += z * z;
    far += Number(Math.abs(z) > 5);
  }
  return { n, mean: sum / n, rms: Math.sqrt(squares / n), far };
}

export const isBorder = (i: number) => {
  const [row, x] = [Math.floor(i / COLS), i % COLS];
  return row < 4 || row >= ROWS - 4 || x < 4 || x >= COLS - 4;
};
