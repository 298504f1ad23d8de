/** Small calibration files for tests: real headers, real checksums, a few pixels. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CALIBRATION_SCHEMA,
  type CalibrationIdentity,
  type CalibrationRecord,
  calibrationCards,
  KIND_EXTRAS,
  KIND_IMAGES,
} from '../src/calib/product.js';
import { provenanceTable } from '../src/calib/provenance.js';
import { type CardInput, encodeFits } from '../src/fits/index.js';
import { openStore } from '../src/store/index.js';

export interface CalibrationSpec extends Partial<CalibrationIdentity> {
  /** Of every pixel; another value makes another file. */
  readonly value?: number;
  /** Default: `{kind}-{tele}-{chip}-{value}.fits`. */
  readonly name?: string;
  /** Cards that follow the usual ones and replace them. */
  readonly cards?: readonly CardInput[];
  /** False writes no manifest. */
  readonly manifest?: boolean;
}

export const identityOf = (spec: CalibrationSpec): CalibrationIdentity => ({
  kind: 'dark',
  instrument: 'apogee',
  tele: 'apo',
  chip: 'a',
  grade: 'pass',
  inputs: 1,
  software: 'rampline test',
  kernels: { 'sum-squares': '1.0.0+abcdef' },
  ...spec,
});

export function calibrationBytes(spec: CalibrationSpec): Uint8Array[] {
  const identity = identityOf(spec);
  const cards = new Map(calibrationCards(identity).map((card) => [card[0], card]));
  // Files of one spec are the same bytes in any second.
  cards.set('DATE', ['DATE', '2025-07-01T00:00:00']);
  for (const card of spec.cards ?? []) cards.set(card[0], card);
  const data = new Float32Array(16).fill(spec.value ?? 1);
  return encodeFits([
    { header: [...cards.values()] },
    ...KIND_IMAGES[identity.kind].map((name) => ({ name, data, shape: [4, 4] })),
    ...(KIND_EXTRAS[identity.kind] ?? []).map((name) => ({
      name,
      data: name === 'DQ' ? new Uint32Array(16) : new Float32Array(16),
      shape: [4, 4],
    })),
    provenanceTable([{ role: 'raw', name: 'apR-a-00000001.apz', sha256: 'ab'.repeat(32), why: 'a test' }]),
  ]);
}

/** Writes the file into a directory; returns its name. */
export async function writeCalibration(directory: string, spec: CalibrationSpec): Promise<string> {
  const { kind, tele, chip, kernels, software } = identityOf(spec);
  const name = spec.name ?? `${kind}-${tele}-${chip}-${spec.value ?? 1}.fits`;
  const bytes = calibrationBytes(spec);
  const store = await openStore(directory);
  if (spec.manifest === false) writeFileSync(join(directory, name), Buffer.concat(bytes));
  else {
    await store.writeProduct(name, bytes, {
      schema: CALIBRATION_SCHEMA,
      inputs: [],
      calibrations: [],
      parameters: {},
      kernels,
      software,
    });
  }
  return name;
}

let made = 0;
/** A record without a file, for the pure functions. Each has a hash of its own unless one is given. */
export function record(fields: Partial<CalibrationRecord> = {}): CalibrationRecord {
  made++;
  const { kind = 'dark', tele = 'apo', chip = 'a' } = fields;
  return {
    schema: CALIBRATION_SCHEMA,
    kind,
    instrument: 'apogee',
    tele,
    chip,
    serial: '',
    readMode: '',
    grade: 'pass',
    file: `${kind}-${tele}-${chip}-${made}.fits`,
    bytes: 2880,
    sha256: made.toString(16).padStart(64, '0'),
    software: 'rampline test',
    kernels: {},
    inputs: [],
    createdAt: '2025-07-01T00:00:00',
    ...fields,
  };
}
