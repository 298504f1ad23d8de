/** Files as the stages of spectra read them, made from the mock's truth: for tests that begin behind the ramp. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dqTable } from '../src/calib/provenance.js';
import type { ExposureKind } from '../src/core/exposure.js';
import { DQ } from '../src/core/generated/dq.js';
import type { FibreState, Traces } from '../src/core/spectra.js';
import { type CardInput, encodeFits, type HduInput } from '../src/fits/index.js';
import type { MockSpectra } from '../src/simulate/index.js';
import { encodeTraces } from '../src/stages/trace_product.js';

export interface FileIdentity {
  readonly tele: string;
  readonly mjd: number;
  readonly chip: string;
  readonly exposure: number;
}

const READ_SECONDS = 10.647;

const BITS: Readonly<Record<FibreState, number>> = {
  ok: 0,
  low: DQ.LOW_THROUGHPUT,
  broken: DQ.BROKEN_FIBRE | DQ.TRACE_INTERPOLATED,
  blended: DQ.TRACE_INTERPOLATED,
  'off-chip': DQ.OFF_CHIP,
};

function write(directory: string, prefix: string, id: FileIdentity, cards: CardInput[], hdus: HduInput[]): string {
  const { tele, mjd, chip, exposure } = id;
  const header: CardInput[] = [
    ['INSTRUME', 'APOGEE'],
    ['TELE', tele],
    ['MJD', mjd],
    ['CHIP', chip],
    ['EXPOSURE', exposure],
    ...cards,
  ];
  const path = join(directory, `${prefix}-${tele}-${mjd}-${chip}-${String(exposure).padStart(4, '0')}.fits`);
  writeFileSync(path, Buffer.concat(encodeFits([{ header }, ...hdus, dqTable()])));
  return path;
}

/** A calibrated 2-D product. */
export function writeImage(directory: string, id: FileIdentity, kind: ExposureKind, mock: MockSpectra): string {
  const { rows, cols, image, ivar, dq, reads } = mock;
  const shape = [rows, cols];
  const error = ivar.map((weight) => (weight > 0 ? 1 / Math.sqrt(weight) : 0));
  const unit: CardInput[] = [['BUNIT', 'DN/read']];
  return write(
    directory,
    '2dcal',
    id,
    [
      ['STAGE', 'calibrate'],
      ['IMAGETYP', kind],
      ['CONFIGID', 4711],
      ['NREADRAW', reads],
      ['NREAD', reads],
      ['READTIME', READ_SECONDS],
      ['MJD-MID', id.mjd + 0.25],
    ],
    [
      { name: 'SCI', data: image.map((value) => (Number.isNaN(value) ? 0 : value)), shape, header: unit },
      { name: 'ERR', data: error, shape, header: unit },
      { name: 'DQ', data: dq, shape },
    ],
  );
}

/** Traces of a flat, true ones; throughputs too, of a dome flat. */
export function writeTraces(
  directory: string,
  id: FileIdentity,
  kind: 'domeflat' | 'quartzflat',
  { rows, cols, fibres, truth }: MockSpectra,
  change: Partial<Traces> = {},
): string {
  const { centre, width, flux, states, profile } = truth;
  const known = states.map((state) => state === 'ok' || state === 'low');
  const dq = new Uint32Array(fibres * cols);
  for (const [i, state] of states.entries()) dq.fill(BITS[state] >>> 0, i * cols, (i + 1) * cols);
  const numbers = (value: number) => new Float32Array(fibres).fill(value);
  const throughput = kind === 'domeflat' ? truth.throughput.map((value, i) => (known[i] ? value : 0)) : undefined;
  const traces: Traces = {
    fibres,
    cols,
    centre,
    width,
    flux,
    covariance: new Float32Array(6 * fibres * cols),
    dq,
    states,
    profile,
    throughput: throughput ?? numbers(Number.NaN),
    throughputError: numbers(throughput === undefined ? Number.NaN : 0.01),
    ...change,
  };
  const product = encodeTraces({
    traces,
    findings: {
      number: Int32Array.from({ length: fibres }, (_, i) => fibres - i),
      rms: numbers(0.001),
      chi2: numbers(1),
      columns: new Int32Array(fibres).fill(cols),
      flux: numbers(100),
      shift: numbers(0),
    },
    facts: { ...id, kind, rows, shift: 0, shiftError: 0.001, level: 100, unit: 'DN/read' },
    background: { rows: 2, cols: 2, values: new Float32Array(4) },
  });
  return write(directory, 'trace', id, [['STAGE', 'trace'], ...product.cards], product.hdus);
}
