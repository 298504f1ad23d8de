import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { type CalibrationSpec, writeCalibration } from '../../test/calibrations.js';
import { CalibrationError, InputError } from '../core/errors.js';
import { encodeFits, openFits } from '../fits/index.js';
import { hashFile, readManifest } from '../store/index.js';
import { readCalibrationRecord } from './product.js';
import { provenanceTable } from './provenance.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-calibration-'));
afterAll(() => rmSync(base, { recursive: true }));
let directory = '';
let count = 0;
beforeEach(() => {
  directory = join(base, String(count++));
});
const made = async (spec: CalibrationSpec) => join(directory, await writeCalibration(directory, spec));

describe('a calibration file', () => {
  it('says what it is, and what says so is read back', async () => {
    const path = await made({
      kind: 'flat',
      serial: 'H2RG-18635',
      readMode: 'UTR',
      validFrom: 60857,
      validTo: 60900.25,
      dataFrom: 60856.1,
      dataTo: 60856.9,
      grade: 'warn',
    });
    const found = await readCalibrationRecord(path);
    const { sha256, bytes } = await hashFile(path);
    expect(found).toEqual({
      schema: 'calibration/1',
      kind: 'flat',
      instrument: 'apogee',
      tele: 'apo',
      chip: 'a',
      serial: 'H2RG-18635',
      readMode: 'UTR',
      validFrom: 60857,
      validTo: 60900.25,
      dataFrom: 60856.1,
      dataTo: 60856.9,
      grade: 'warn',
      file: 'flat-apo-a-1.fits',
      bytes,
      sha256,
      software: 'rampline test',
      kernels: { 'sum-squares': '1.0.0+abcdef' },
      inputs: [{ role: 'raw', name: 'apR-a-00000001.apz', sha256: 'ab'.repeat(32), why: 'a test' }],
      createdAt: '2025-07-01T00:00:00',
    });
  });

  it('may say little: open ends, any instrument, grade pass', async () => {
    const path = join(base, 'gain-lco-c.fits');
    writeFileSync(
      path,
      Buffer.concat(
        encodeFits([
          {
            header: [
              ['CALKIND', 'gain'],
              ['TELE', 'lco'],
              ['CHIP', 'c'],
            ],
          },
          { name: 'GAIN', data: new Float32Array(4), shape: [2, 2] },
        ]),
      ),
    );
    expect(await readCalibrationRecord(path)).toMatchObject({
      schema: '',
      instrument: '',
      serial: '',
      readMode: '',
      validFrom: undefined,
      validTo: undefined,
      dataTo: undefined,
      grade: 'pass',
      inputs: [],
    });
  });

  it("takes the hash of the store's manifest where the size agrees, and hashes where it does not or is told to", async () => {
    const path = await made({});
    const bytes = readFileSync(path);
    const pixels = openFits(bytes).hdu('RATE').dataOffset;
    bytes[pixels]! ^= 1;
    writeFileSync(path, bytes);
    const { sha256 } = (await readManifest(path)) ?? {};
    expect((await readCalibrationRecord(path)).sha256).toBe(sha256);
    const fresh = (await readCalibrationRecord(path, { hash: true })).sha256;
    expect(fresh).toBe((await hashFile(path)).sha256);
    expect(fresh).not.toBe(sha256);
    writeFileSync(path, Buffer.concat([bytes, new Uint8Array(2880)]));
    expect((await readCalibrationRecord(path)).sha256).not.toBe(sha256);
  });

  it.each<[string, CalibrationSpec, string]>([
    ['an unknown kind', { cards: [['CALKIND', 'flats']] }, 'did you mean "flat"'],
    ['an unknown grade', { cards: [['GRADE', 'good']] }, 'pass, warn, fail'],
    ['a later layout', { cards: [['CALVER', 'calibration/2']] }, "received 'calibration/2'"],
    ['a window that is none', { validFrom: 60000, validTo: 60000 }, 'VALIDBEG to be before VALIDEND'],
    ['a window that is turned round', { validFrom: 60001, validTo: 60000 }, 'received 60001 and 60000'],
    ['data that end before they begin', { dataFrom: 2, dataTo: 1 }, 'DATABEG not to be after DATAEND'],
    ['a time that is a word', { cards: [['VALIDBEG', 'today']] }, 'VALIDBEG to be a finite MJD'],
    ['no detector', { cards: [['CHIP', ' ']] }, 'expected CHIP'],
    ['another kind of images', { kind: 'gain', cards: [['CALKIND', 'linearity']] }, 'C2 and C3 and LIMIT'],
  ])('is refused with %s', async (_what, spec, words) => {
    const path = await made(spec);
    await expect(readCalibrationRecord(path)).rejects.toThrow(CalibrationError);
    await expect(readCalibrationRecord(path)).rejects.toThrow(words);
  });

  it('is refused when it is no calibration, cut short, or not there', async () => {
    const path = join(base, 'image.fits');
    writeFileSync(path, Buffer.concat(encodeFits([{ data: new Float32Array(4) }])));
    await expect(readCalibrationRecord(path)).rejects.toThrow('no CALKIND');
    const cut = await made({});
    const edited = readFileSync(cut);
    edited.write('2', edited.indexOf("'pass") + 1, 'latin1');
    writeFileSync(cut, edited);
    await expect(readCalibrationRecord(cut)).rejects.toThrow('CHECKSUM does not agree');
    truncateSync(cut, 3000);
    await expect(readCalibrationRecord(cut)).rejects.toThrow(InputError);
    await expect(readCalibrationRecord(join(base, 'none.fits'))).rejects.toThrow(InputError);
  });
});

describe('the table PROVENANCE', () => {
  it('names what was used and what was refused', () => {
    const entry = { role: 'dark', name: 'a.fits', sha256: '', why: 'inside the window' };
    const table = provenanceTable([entry, { ...entry, used: false }]);
    const file = openFits(Buffer.concat(encodeFits([{}, table])));
    expect(Array.from(file.readTable('PROVENANCE').column('USED').values as Uint8Array)).toEqual([1, 0]);
    expect(openFits(Buffer.concat(encodeFits([{}, provenanceTable([])]))).readTable('PROVENANCE').rows).toBe(0);
  });
});
