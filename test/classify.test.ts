/** The classifier on simulated exposures: every kind of light, and what must never be dropped. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Exposure, ExposureKind } from '../src/core/exposure.js';
import { encodeFits, openFits } from '../src/fits/index.js';
import { apogee } from '../src/instruments/apogee/index.js';
import { ramp } from '../src/night/ramp.js';
import { type After, type Effects, type ExposureType, simulateExposure } from '../src/simulate/index.js';
import { type ChipImage, measureChip } from '../src/stages/classify/features.js';
import { type ClassRecord, readClass, saneClass } from '../src/stages/classify/product.js';
import { type Light, rules } from '../src/stages/classify/rules.js';
import { stage } from '../src/stages/classify/stage.js';
import { judge } from '../src/stages/classify/verdict.js';
import type { StageContext } from '../src/stages/stage.js';

const MJD = 60857;
const TELES = ['apo', 'lco'] as const;
const CHIPS = ['a', 'b', 'c'] as const;
type Tele = (typeof TELES)[number];
type Chip = (typeof CHIPS)[number];

/** What the mock shows, what a right header claims, and the light that is to be found. */
const KINDS: readonly [ExposureType, ExposureKind, Light][] = [
  ['dark', 'dark', 'dark'],
  ['internalflat', 'internalflat', 'internalflat'],
  ['domeflat', 'domeflat', 'fibreflat'],
  ['quartzflat', 'quartzflat', 'fibreflat'],
  ['une', 'arclamp', 'arclamp'],
  ['thar', 'arclamp', 'arclamp'],
  ['fpi', 'fpi', 'fpi'],
  ['object', 'object', 'object'],
];

const root = mkdtempSync(join(tmpdir(), 'rampline-classify-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Shot {
  readonly tele: Tele;
  readonly type: ExposureType;
  readonly chips?: readonly Chip[];
  readonly rows?: number;
  readonly reads?: number;
  readonly after?: After;
  readonly effects?: Partial<Effects>;
  readonly unit?: 'dn-per-read' | 'electron-per-second';
}
interface Product {
  readonly tele: Tele;
  readonly chip: Chip;
  readonly exposure: number;
  readonly path: string;
}

let exposures = 0;
/** 2-D products of the chips of one simulated exposure. */
async function shoot(shot: Shot): Promise<Product[]> {
  const { tele, type, chips = CHIPS, rows = 64, reads = 12, after, effects = {}, unit = 'dn-per-read' } = shot;
  const exposure = ++exposures;
  const made = await Promise.all(
    chips.map(async (chip) => {
      const options = { tele, chip, type, mjd: MJD, exposure, seed: exposure, rows, reads, effects, output: root };
      const more = { truth: false, calibrations: false, format: 'raw', ...(after && { after }) } as const;
      const { raw } = await simulateExposure({ ...options, ...more });
      return { chip, raw: join(root, raw) };
    }),
  );
  const files = made.map(({ raw }) => raw);
  for (const outcome of await ramp({ files, output: root, jobs: 1, threads: 1, options: { unit } })) {
    expect(outcome.status).toBe('done');
  }
  return made.map(({ chip }) => {
    const path = join(root, apogee.productName('2d', { tele, mjd: MJD, chip, exposure }));
    return { tele, chip, exposure, path };
  });
}

function contextOf(products: readonly Product[], claim: ExposureKind): StageContext {
  const { tele, exposure } = products[0] as Product;
  return {
    instrument: apogee,
    identity: { tele, mjd: MJD, exposure },
    exposures: [{ tele, mjd: MJD, exposure, kind: claim } as Exposure],
    inputs: products.map((one) => ({
      role: 'rates',
      identity: { tele, mjd: MJD, chip: one.chip, exposure },
      path: one.path,
      sha256: '',
      file: openFits(one.path),
    })),
    calibrations: [],
    parameters: {},
    threads: 1,
    limits: {},
    control: new Int32Array(new SharedArrayBuffer(8)),
  };
}

/** The product's bytes, as the runner would write them. */
async function classified(products: readonly Product[], claim: ExposureKind): Promise<Buffer> {
  const { tele, exposure } = products[0] as Product;
  const context = contextOf(products, claim);
  try {
    const { cards, hdus } = await (await stage.body())(context);
    const identity = [['TELE', tele] as const, ['MJD', MJD] as const, ['EXPOSURE', exposure] as const];
    return Buffer.concat(encodeFits([{ header: [...identity, ...cards] }, ...hdus]));
  } finally {
    for (const { file } of context.inputs) file.close();
  }
}
const recordOf = async (products: readonly Product[], claim: ExposureKind): Promise<ClassRecord> =>
  readClass(openFits(await classified(products, claim)));

const imagesOf = (products: readonly Product[]): ChipImage[] =>
  products.map(({ chip, path }) => {
    const file = openFits(path);
    const { data, shape } = file.readImage('SCI');
    const dq = file.readImage('DQ').data as Uint32Array;
    file.close();
    const [rows = 0, cols = 0] = shape;
    return { chip, data: data as Float32Array, dq, rows, cols, scale: 1 };
  });

/** Verdict on sums of images, which no header ever claimed anything of. */
async function judgeSum(tele: Tele, parts: readonly [ChipImage[], number][], claim: ExposureKind) {
  const first = (parts[0] as [ChipImage[], number])[0];
  const images = first.map((image, i) => ({
    ...image,
    data: image.data.map((_, k) => parts.reduce((sum, [part, by]) => sum + by * (part[i]?.data[k] ?? 0), 0)),
  }));
  const { skyLines } = rules();
  const features = images.map((image) =>
    measureChip(image, apogee.geometry.border, {
      reach: skyLines.reach,
      columns: skyLines.columns[`${tele}-${image.chip}`] ?? [],
    }),
  );
  return judge(await Promise.all(features), claim, rules());
}

const shots = new Map<string, Product[]>();
const shotOf = (tele: Tele, type: ExposureType) => shots.get(`${tele} ${type}`) as Product[];
beforeAll(async () => {
  for (const tele of TELES) for (const [type] of KINDS) shots.set(`${tele} ${type}`, await shoot({ tele, type }));
}, 120_000);

describe.each(TELES)('at %s', (tele) => {
  it.each(KINDS)('takes a %s for what it is', async (type, claim, found) => {
    const record = await recordOf(shotOf(tele, type), claim);
    expect(record).toMatchObject({ verdict: 'ok', found, claim, tele, reads: 10 });
    expect(record.confidence).toBeGreaterThan(0.6);
    expect(record.chips.map(({ chip }) => chip)).toEqual(['a', 'b', 'c']);
  });

  it.each([
    ['internalflat', 'dark'],
    ['domeflat', 'dark'],
    ['quartzflat', 'dark'],
    ['fpi', 'dark'],
    ['object', 'dark'],
    ['dark', 'internalflat'],
    ['dark', 'domeflat'],
    ['dark', 'quartzflat'],
    ['dark', 'arclamp'],
    ['dark', 'fpi'],
    ['dark', 'object'],
    ['internalflat', 'object'],
    ['domeflat', 'internalflat'],
    ['internalflat', 'domeflat'],
  ] as const)('drops a %s that claims to be a %s', async (type, claim) => {
    const { verdict, reason } = await recordOf(shotOf(tele, type), claim);
    expect(verdict).toBe('drop');
    expect(reason).toMatch(new RegExp(`^the header says ${claim}; `));
  });

  it('never drops an object for being faint, from the usual sky down to a twentieth of it', async () => {
    for (const reads of [6, 30]) {
      const dark = imagesOf(await shoot({ tele, type: 'dark', reads }));
      const object = imagesOf(await shoot({ tele, type: 'object', reads }));
      for (const part of [0.05, 0.1, 0.2, 0.5, 1]) {
        const { verdict } = await judgeSum(
          tele,
          [
            [dark, 1],
            [object, part],
          ],
          'object',
        );
        expect(verdict, `${part} of an object in ${reads} reads`).not.toBe('drop');
        if (part >= 0.5) expect(verdict).toBe('ok');
      }
    }
  }, 60_000);

  it('never drops a twilight, whatever it is called', async () => {
    const [object, dome] = [imagesOf(shotOf(tele, 'object')), imagesOf(shotOf(tele, 'domeflat'))];
    for (const part of [0.001, 0.01, 0.05, 0.2, 1]) {
      for (const claim of ['object', 'twilightflat'] as const) {
        const { verdict } = await judgeSum(
          tele,
          [
            [object, 1],
            [dome, part],
          ],
          claim,
        );
        expect(verdict, `${part} of a dome flat on an ${claim}`).not.toBe('drop');
      }
      expect((await judgeSum(tele, [[dome, part]], 'twilightflat')).verdict).not.toBe(part < 0.01 ? 'ok' : 'drop');
    }
  });

  it('never drops what glows after a bright exposure', async () => {
    for (const type of tele === 'apo' ? (['quartzflat', 'internalflat'] as const) : (['fpi'] as const)) {
      for (const of of ['dark', 'object'] as const) {
        const shot = await shoot({ tele, type: of, after: { type, reads: 60, gapSeconds: 10 } });
        expect((await recordOf(shot, of)).verdict, `${of} after ${type}`).not.toBe('drop');
      }
    }
  }, 60_000);
});

describe('the stage', () => {
  it('does with the chips that there are', async () => {
    const two = await recordOf(shotOf('apo', 'domeflat').slice(1), 'domeflat');
    expect(two).toMatchObject({ verdict: 'ok', found: 'fibreflat' });
    expect(two.chips.map(({ chip }) => chip)).toEqual(['b', 'c']);
    const one = await recordOf(shotOf('lco', 'internalflat').slice(2), 'dark');
    expect(one).toMatchObject({ verdict: 'drop', found: 'internalflat' });
    expect((await recordOf(shotOf('apo', 'object').slice(0, 1), 'object')).verdict).toBe('ok');
  });

  it('suspects an exposure of which one chip is without light', async () => {
    const shot = [...shotOf('apo', 'domeflat').slice(0, 2), ...shotOf('apo', 'dark').slice(2)];
    const { verdict, reason } = await recordOf(shot, 'domeflat');
    expect(verdict).toBe('suspect');
    expect(reason).toMatch(/but not on chip c$/);
  });

  it('asks the header nothing: features are the same whatever it claims', async () => {
    const [a, b] = [await recordOf(shotOf('apo', 'fpi'), 'fpi'), await recordOf(shotOf('apo', 'fpi'), 'dark')];
    expect(a.chips).toEqual(b.chips);
    expect([a.found, a.confidence]).toEqual([b.found, b.confidence]);
  });

  it('makes the same bytes, in whatever order the chips come', async () => {
    const shot = shotOf('lco', 'object');
    expect((await classified(shot, 'object')).equals(await classified([...shot].reverse(), 'object'))).toBe(true);
  });

  it('takes rates in electrons a second', async () => {
    const shot = await shoot({ tele: 'lco', type: 'domeflat', unit: 'electron-per-second' });
    expect(await recordOf(shot, 'domeflat')).toMatchObject({ verdict: 'ok', found: 'fibreflat' });
  });

  it.each([16, 32, 128])(
    'works on strips of %i rows',
    async (rows) => {
      for (const [type, claim] of [
        ['dark', 'dark'],
        ['internalflat', 'internalflat'],
      ] as const) {
        const shot = await shoot({ tele: 'apo', type, rows });
        expect((await recordOf(shot, claim)).verdict).toBe('ok');
      }
      for (const [type, claim] of KINDS.slice(2).filter(([name]) => name !== 'quartzflat' && name !== 'une')) {
        const record = await recordOf(await shoot({ tele: 'apo', type, rows, chips: ['a'] }), claim);
        // The first fibre is at row 21: 16 rows see none of them, and 32 hardly one.
        if (rows === 128) expect(record.verdict).toBe('ok');
        else if (rows === 32) expect(record.verdict).not.toBe('drop');
      }
    },
    60_000,
  );

  it('shows the chips side by side', async () => {
    const file = openFits(await classified(shotOf('apo', 'internalflat'), 'internalflat'));
    expect(saneClass(file)).toEqual([]);
    const { data, shape } = file.readImage('THUMB');
    // 2048 columns in blocks of 16, and two columns between chips.
    expect(shape).toEqual([4, 3 * 128 + 2 * 2]);
    expect(data).toBeInstanceOf(Float32Array);
    const [image] = imagesOf(shotOf('apo', 'internalflat')) as [ChipImage];
    let [sum, n] = [0, 0];
    for (let row = 16; row < 32; row++) {
      for (let x = 160; x < 176; x++) {
        const value = image.data[row * 2048 + x] as number;
        if (Number.isFinite(value)) [sum, n] = [sum + value, n + 1];
      }
    }
    expect(data[shape[1]! + 10]).toBeCloseTo(sum / n, 2);
    expect(data[128]).toBeNaN();
  });

  it('refuses what is no product of rates, and stops when told', async () => {
    const [product] = shotOf('apo', 'dark') as [Product];
    const context = contextOf([product], 'dark');
    const body = await stage.body();
    const small = openFits(
      Buffer.concat(
        encodeFits([
          {},
          { name: 'SCI', data: new Float32Array(64 * 100), shape: [64, 100], header: [['BUNIT', 'DN/read']] },
          { name: 'DQ', data: new Uint32Array(64 * 100), shape: [64, 100] },
        ]),
      ),
    );
    const input = context.inputs[0]!;
    await expect(body({ ...context, inputs: [{ ...input, file: small }] })).rejects.toMatchObject({
      class: 'input',
      message: 'expected 16 rows or more and a multiple of 64 columns, received 64 x 100',
    });
    Atomics.store(context.control, 0, 1);
    await expect(body(context)).rejects.toMatchObject({ class: 'retriable' });
    input.file.close();
  });

  it('says what it costs', () => {
    const chip = { role: 'rates', reads: 47, rows: 2048, cols: 2048 };
    const { cpuSeconds, peakBytes, diskBytes } = stage.predict({
      inputs: [chip, chip, chip],
      threads: 1,
      calibrationBytes: 0,
    });
    expect(cpuSeconds).toBeCloseTo(0.11, 2);
    expect(peakBytes).toBeLessThan(100e6);
    expect(diskBytes).toBeLessThan(300e3);
  });
});
