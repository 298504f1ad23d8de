/** Which flat gives an exposure its traces, and which one says what part of the light each fibre shows. */
import { basename } from 'node:path';
import { InputError } from '../../core/errors.js';
import type { FitsFile } from '../../fits/index.js';
import type { InputChoice, StageInputFile } from '../stage.js';
import { readCentres, readTraceFacts, readTraces, type TraceFacts, type TraceProduct } from '../trace_product.js';
import { type Drift, type FlatTraces, flatsApart } from './drift.js';

/** What is extracted. */
export interface Wanted {
  readonly tele: string;
  readonly chip: string;
  readonly mjd: number;
  readonly exposure: number;
  readonly rows: number;
  readonly cols: number;
}

export interface Throughput {
  /** Exposure of the dome flat; undefined: there is none. */
  readonly exposure: number | undefined;
  /** [fibre] relative, 1 the median fibre, and its error; NaN: not known. */
  readonly values: Float32Array;
  readonly errors: Float32Array;
}

export interface Choice {
  readonly product: TraceProduct;
  /** Why this flat. */
  readonly why: string;
  readonly throughput: Throughput;
  /** The flat that drifts of all exposures are told against, and where the chosen one lies against it. */
  readonly zero: { readonly facts: TraceFacts; readonly apart: Drift | undefined };
  /** Of each file that was looked at. */
  readonly inputs: readonly InputChoice[];
  readonly warnings: readonly string[];
}

/** A flat that shows less of the fibres than this part of what the best one shows is not taken while there is a better one. */
const GOOD_SHARE = 0.9;

interface Candidate {
  readonly file: FitsFile;
  readonly path: string;
  readonly facts: TraceFacts;
  /** Fibres whose light was measured. */
  readonly lit: number;
}

function checkSame(facts: TraceFacts, wanted: Wanted, file: FitsFile): void {
  const of = ({ tele, chip }: Pick<Wanted, 'tele' | 'chip'>) => `${tele} ${chip}`;
  const where = { file: file.path, hdu: 0 };
  if (of(facts) !== of(wanted)) {
    throw new InputError(`expected traces of ${of(wanted)}, as the image is, received those of ${of(facts)}`, where);
  }
  const cols = file.hdu(0).header.number('COLS', Number.NaN);
  if (facts.rows !== wanted.rows || cols !== wanted.cols) {
    throw new InputError(
      `expected traces of ${wanted.rows} x ${wanted.cols} pixels, as the image has, received those of ${facts.rows} x ${cols}`,
      where,
    );
  }
}

/** The nearer night first, then the nearer exposure, then the earlier one. */
function byDistance({ mjd, exposure }: Wanted): (a: Candidate, b: Candidate) => number {
  return ({ facts: a }, { facts: b }) =>
    Math.abs(a.mjd - mjd) - Math.abs(b.mjd - mjd) ||
    Math.abs(a.exposure - exposure) - Math.abs(b.exposure - exposure) ||
    a.exposure - b.exposure;
}

function distance({ facts }: Candidate, { mjd, exposure }: Wanted): string {
  if (facts.mjd !== mjd) return `of the night ${facts.mjd}`;
  const away = facts.exposure - exposure;
  if (away === 0) return 'the exposure itself';
  return `${Math.abs(away)} exposure${Math.abs(away) === 1 ? '' : 's'} ${away < 0 ? 'before' : 'after'}`;
}

/** THROUGHPUT and THRUERR of a trace product. */
function throughputOf({ file, facts }: Candidate): Throughput {
  const table = file.readTable('FIBRES', ['THROUGHPUT', 'THRUERR']);
  const [values, errors] = ['THROUGHPUT', 'THRUERR'].map((name) => {
    const column = table.column(name);
    if (column.values instanceof Float32Array) return column.values;
    throw new InputError(`expected float32 in the column ${name} of FIBRES, received ${column.type}`, {
      file: file.path,
    });
  });
  return { exposure: facts.exposure, values: values as Float32Array, errors: errors as Float32Array };
}

/**
 * Chooses among the trace products of a chip. Traces come from the nearest exposure whose product is whole and shows 0.9 of the
 * fibres that the best one shows; dome and quartz flats alike, as both light the same fibres. Throughputs come from the
 * nearest dome flat: the lamp of a quartz flat does not take the way of the sky's light.
 * @throws InputError where none can be used, with the reason of each
 */
export async function chooseTraces(files: readonly StageInputFile[], wanted: Wanted): Promise<Choice> {
  const refused = new Map<string, string>();
  const refuse = (path: string, error: unknown): void => {
    if (!(error instanceof InputError)) throw error;
    refused.set(path, error.message);
  };
  const candidates: Candidate[] = [];
  for (const { path, file } of files) {
    try {
      const facts = readTraceFacts(file);
      checkSame(facts, wanted, file);
      const { header } = file.hdu(0);
      const lit = header.number('NOK', 0) + header.number('NLOW', 0);
      if (!(lit > 0)) throw new InputError('it shows the light of no fibre', { file: path });
      candidates.push({ file, path, facts, lit });
    } catch (error) {
      refuse(path, error);
    }
  }
  candidates.sort(byDistance(wanted));
  const most = Math.max(0, ...candidates.map(({ lit }) => lit));
  const good = candidates.filter(({ lit }) => lit >= GOOD_SHARE * most);
  let chosen: Candidate | undefined;
  let product: TraceProduct | undefined;
  for (const candidate of [...good, ...candidates.filter((one) => !good.includes(one))]) {
    try {
      product = await readTraces(candidate.file);
      chosen = candidate;
      break;
    } catch (error) {
      refuse(candidate.path, error);
    }
  }
  if (chosen === undefined || product === undefined) {
    // In the order of the flats, so that all exposures of a chip are told the same.
    const [first, ...others] = [...refused].sort().map(([path, reason]) => `${basename(path)}: ${reason}`);
    const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
    throw new InputError(first === undefined ? 'there are no traces' : `no traces can be used: ${first}${more}`);
  }
  const { facts } = chosen;
  const away = distance(chosen, wanted);
  const why = `the nearest of ${files.length} flat${files.length === 1 ? '' : 's'}: ${facts.kind} ${facts.exposure}, ${away}`;
  const { throughput, of } = nearestThroughput(candidates, refused, product.traces.fibres);
  const zero = await zeroOf(good, refused, chosen, product.traces);
  const inputs = files.map(({ path }): InputChoice => {
    const roles: string[] = [];
    if (path === zero.path) roles.push('zero of the drift: the first flat');
    if (path === chosen.path) roles.push(`traces: ${why}`);
    if (path === of?.path) roles.push(`throughput: the nearest dome flat, ${distance(of, wanted)}`);
    if (roles.length > 0) return { path, used: true, why: roles.join('; ') };
    const candidate = candidates.find((one) => one.path === path);
    const fault = refused.get(path);
    if (candidate === undefined || fault !== undefined) return { path, used: false, why: fault ?? 'not used' };
    return {
      path,
      used: false,
      why: good.includes(candidate)
        ? `not the nearest: ${distance(candidate, wanted)}`
        : `it shows ${candidate.lit} fibres, another flat shows ${most}`,
    };
  });
  const warnings: string[] = [];
  if (facts.mjd !== wanted.mjd) warnings.push(`the traces are of the night ${facts.mjd}, not of ${wanted.mjd}`);
  if (throughput.exposure === undefined)
    warnings.push('no dome flat: the relative throughput of the fibres is not known');
  for (const [path, reason] of refused) warnings.push(`traces not used: ${basename(path)}: ${reason}`);
  const apart = flatsApart(product.traces, zero.traces, wanted.rows);
  return { product, why, throughput, zero: { facts: zero.facts, apart }, inputs, warnings };
}

/** The first good flat, which is the same for all exposures that have these flats. */
async function zeroOf(
  good: readonly Candidate[],
  refused: Map<string, string>,
  chosen: Candidate,
  traces: FlatTraces,
): Promise<Pick<Candidate, 'path' | 'facts'> & { readonly traces: FlatTraces }> {
  const inOrder = good.toSorted(({ facts: a }, { facts: b }) => a.mjd - b.mjd || a.exposure - b.exposure);
  for (const { path, facts, file } of inOrder) {
    if (path === chosen.path) break;
    if (refused.has(path)) continue;
    try {
      return { path, facts, traces: await readCentres(file) };
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      refused.set(path, error.message);
    }
  }
  return { path: chosen.path, facts: chosen.facts, traces };
}

/** Throughputs of the nearest dome flat that has them; NaN where there is none. */
function nearestThroughput(
  candidates: readonly Candidate[],
  refused: Map<string, string>,
  fibres: number,
): { readonly throughput: Throughput; readonly of?: Candidate } {
  for (const candidate of candidates) {
    if (candidate.facts.kind !== 'domeflat' || refused.has(candidate.path)) continue;
    try {
      const throughput = throughputOf(candidate);
      if (throughput.values.length === fibres) return { throughput, of: candidate };
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      refused.set(candidate.path, error.message);
    }
  }
  const unknown = () => new Float32Array(fibres).fill(Number.NaN);
  return { throughput: { exposure: undefined, values: unknown(), errors: unknown() } };
}
