/** The final pass over a night: what is wrong is found and named, what is right is not. And the page of the same night. */
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readBadList } from '../src/almanac/index.js';
import { dqTable, provenanceTable } from '../src/calib/provenance.js';
import { DQ } from '../src/core/generated/dq.js';
import { type CardInput, encodeFits, openFits } from '../src/fits/index.js';
import { type CheckFinding, type CheckRequest, check } from '../src/night/check.js';
import { localExecutor } from '../src/night/local.js';
import { type NightPage, report } from '../src/night/report.js';
import { runNight } from '../src/night/run.js';
import { insaneRates } from '../src/night/sane.js';
import { simulateNight } from '../src/simulate/night.js';
import { openStore, type ProductRecord, readManifest } from '../src/store/index.js';
import { rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-check-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
const raw = join(base, 'raw');
const good = join(base, 'out');
const MJD = 60_857;
const EXPOSURES = [1, 6, 10];
const product = (chip: string, exposure: number, prefix = '2d') =>
  `apo/${MJD}/${prefix}-apo-${MJD}-${chip}-000${exposure}.fits`;

beforeAll(async () => {
  await simulateNight({ output: raw, size: 'small', rows: 48, tele: ['apo'], exposures: EXPOSURES, threads: 2 });
  const { exitCode } = await runNight({
    raw,
    output: good,
    tele: ['apo'],
    mjd: MJD,
    options: { calib: [join(raw, 'calib')] },
    executor: localExecutor(),
    jobs: 1,
    ledger: 'none',
  });
  if (exitCode !== 0) throw new Error(`the run ended with ${exitCode}`);
}, 120_000);

let copies = 0;
/** A copy of the night with something done to it, checked; raw files are hashed where a test is about them. */
async function checked(harm: (output: string) => void | Promise<void>, more: Partial<CheckRequest> = {}) {
  const output = join(base, `copy-${copies++}`);
  cpSync(good, output, { recursive: true, preserveTimestamps: true });
  await harm(output);
  const found = await check({ output, mjd: MJD, hashRaw: false, ...more });
  rmSync(output, { recursive: true });
  return found;
}

const told = (findings: readonly CheckFinding[]) =>
  findings.map(({ what, product: name, error }) => [what, name, error]);

function flipBit(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] as number) ^ 4;
  writeFileSync(path, bytes);
}

/** Rates that nobody measured, of one value each. */
interface Rates {
  readonly rate?: number;
  readonly error?: number;
  readonly chi2?: number;
  readonly dq?: number;
  readonly without?: readonly string[];
  readonly cards?: readonly CardInput[];
}

/** Writes other rates in the place of a product, with a manifest as it must be. */
async function replace(output: string, name: string, rates: Rates): Promise<void> {
  const { key: _, ...entry } = (await readManifest(join(output, name))) as ProductRecord & { key: string };
  const { schema, inputs, calibrations, parameters, kernels, software } = entry;
  const shape = [48, 2048];
  const { rate = 1, error = 0.1, chi2 = 8, dq = 0, without = [], cards = [] } = rates;
  const fill = (value: number) => new Float32Array(48 * 2048).fill(value);
  const header: CardInput[] = [
    ['INSTRUME', 'APOGEE', ''],
    ['TELE', 'apo', ''],
    ['MJD', MJD, ''],
    ['CHIP', 'a', ''],
    ['EXPOSURE', 1, ''],
    ['NREAD', 10, ''],
  ];
  const hdus = [
    { name: 'SCI', data: fill(rate), shape },
    { name: 'ERR', data: fill(error), shape },
    { name: 'DQ', data: new Uint32Array(48 * 2048).fill(dq), shape },
    { name: 'CHI2', data: fill(chi2), shape },
    { name: 'NREADS', data: fill(9), shape },
    { kind: 'table' as const, name: 'READZERO', columns: [{ name: 'READ', values: Int32Array.of(1) }] },
    dqTable(),
    provenanceTable([]),
  ].filter((hdu) => !without.includes(hdu.name as string));
  const primary = [...header.filter(([keyword]) => !cards.some(([other]) => other === keyword)), ...cards];
  const record = { schema, inputs, calibrations, parameters, kernels, software };
  await (await openStore(output)).writeProduct(name, encodeFits([{ header: primary }, ...hdus]), record);
}

describe('a whole night', () => {
  test('is good, and what the classifier left out is no failure', async () => {
    const { findings, jobs, products, good: whole, exitCode } = await checked(() => undefined);
    expect(findings).toEqual([]);
    expect([jobs, products, whole]).toEqual([12, 12, 12]);
    expect(exitCode).toBe(0);
  });

  test('is still good in another place without its raw files, and that much is said', async () => {
    const { findings, exitCode } = await checked(() => undefined, { raw: join(base, 'elsewhere') });
    expect(told(findings)).toEqual([['note', '', undefined]]);
    expect(findings[0]?.detail).toContain('elsewhere are not there');
    expect(exitCode).toBe(0);
  });
});

describe('what is found and named', () => {
  const name = product('a', 1);

  test('a product that is gone, with its manifest or without', async () => {
    const half = await checked((output) => rmSync(join(output, name)));
    expect(told(half.findings)).toEqual([['missing', name, 'retriable']]);
    expect(half.exitCode).toBe(30);
    const whole = await checked((output) => {
      rmSync(join(output, name));
      rmSync(join(output, `${name}.manifest.json`));
    });
    expect(told(whole.findings)).toEqual([['missing', name, 'retriable']]);
    expect(whole.findings[0]?.job).toBe(`ramp-apo-${MJD}-a-0001`);
  });

  test('a product that is cut short, or has one bit flipped', async () => {
    const cut = await checked((output) => truncateSync(join(output, name), 100_000));
    expect(told(cut.findings)).toEqual([['damaged', name, 'storage']]);
    expect(cut.exitCode).toBe(31);
    for (const at of [900, 1_500_000]) {
      const { findings, exitCode } = await checked((output) => flipBit(join(output, name), at));
      expect(told(findings)).toEqual([['damaged', name, 'storage']]);
      expect(exitCode).toBe(31);
    }
  });

  test('two products that were swapped, alone and with their manifests', async () => {
    const other = product('a', 6);
    const swap = (output: string, ending: string) => {
      const [a, b] = [join(output, name + ending), join(output, other + ending)];
      renameSync(a, `${a}.x`);
      renameSync(b, a);
      renameSync(`${a}.x`, b);
    };
    const alone = await checked((output) => swap(output, ''));
    expect(told(alone.findings).sort()).toEqual([
      ['damaged', name, 'storage'],
      ['damaged', other, 'storage'],
    ]);
    const together = await checked((output) => {
      swap(output, '');
      swap(output, '.manifest.json');
    });
    expect(told(together.findings).sort()).toEqual([
      ['damaged', name, 'storage'],
      ['damaged', other, 'storage'],
    ]);
    expect(together.findings[0]?.detail).toMatch(/the manifest is that of 2d-apo-60857-a-000[16]\.fits/);
  });

  test('a manifest that was tampered with, or is gone', async () => {
    const path = (output: string) => join(output, `${name}.manifest.json`);
    const edited = await checked((output) => {
      const text = readFileSync(path(output), 'utf8');
      writeFileSync(path(output), text.replace('"jumps": ', '"jumped": '));
    });
    expect(told(edited.findings)).toEqual([['damaged', name, 'storage']]);
    const gone = await checked((output) => rmSync(path(output)));
    expect(told(gone.findings)).toEqual([['damaged', name, 'storage']]);
  });

  test('products of other parameters than the night has now', async () => {
    const { findings, exitCode } = await checked(() => undefined, {
      options: { params: { 'find-jumps': { oneThreshold: 4 } } },
    });
    const rates = findings.filter(({ what }) => what === 'stale');
    expect(rates.map(({ product: one }) => one)).toHaveLength(9);
    expect(rates[0]?.detail).toContain('find-jumps.oneThreshold');
    expect(exitCode).toBe(30);
  });

  test('a raw file that changed since', async () => {
    const file = join(raw, 'apo', String(MJD), 'apR-b-52950001.apz');
    const bytes = readFileSync(file);
    try {
      // In the padding behind the last HDU's data: the file still opens.
      writeFileSync(file, Buffer.concat([bytes, Buffer.alloc(2880)]));
      const { findings } = await checked(() => undefined, { hashRaw: true });
      expect(told(findings)).toEqual([['stale', product('b', 1), 'retriable']]);
      expect(findings[0]?.detail).toContain('apR-b-52950001.apz changed');
      expect((await checked(() => undefined)).findings).toEqual([]);
    } finally {
      writeFileSync(file, bytes);
    }
  });

  test('raw files that came after the newest run', async () => {
    const came = join(raw, 'apo', String(MJD), 'apR-b-52950011.apz');
    cpSync(join(raw, 'apo', String(MJD), 'apR-b-52950010.apz'), came);
    try {
      const { findings, exitCode } = await checked(() => undefined);
      expect(told(findings)).toEqual([['missing', '', 'retriable']]);
      expect(findings[0]?.detail).toMatch(/^apR-b-52950011\.apz came after the newest run/);
      expect(exitCode).toBe(30);
    } finally {
      rmSync(came);
    }
  });

  test('an almanac that is damaged or gone: what writes it again is said', async () => {
    const almanac = (output: string) => join(output, `apo/${MJD}/almanac-apo-${MJD}.fits`);
    await expect(checked((output) => writeFileSync(almanac(output), 'x'))).rejects.toMatchObject({
      class: 'storage',
      message: expect.stringMatching(/^the almanac is damaged .*rampline run/),
    });
    await expect(checked((output) => rmSync(almanac(output)))).rejects.toMatchObject({
      class: 'input',
      message: expect.stringMatching(/no almanac of the night 60857.*rampline run/),
    });
  });

  test('raw files in the directory of products are nothing that could be removed', async () => {
    const output = join(base, 'together');
    cpSync(good, output, { recursive: true, preserveTimestamps: true });
    cpSync(raw, output, { recursive: true });
    const { findings } = await check({ output, mjd: MJD, raw: output, hashRaw: false });
    expect(findings.filter(({ product: name }) => name.endsWith('.apz'))).toEqual([]);
  });

  test('files that no job makes, and what a killed writer left', async () => {
    const leftover = `apo/${MJD}/.rampline-0123456789ab-999999-0123456789abcdef.tmp`;
    const { findings, exitCode } = await checked((output) => {
      writeFileSync(join(output, `apo/${MJD}/notes.txt`), 'x');
      writeFileSync(join(output, leftover), 'x');
    });
    expect(told(findings)).toEqual([
      ['unexpected', `apo/${MJD}/notes.txt`, undefined],
      ['leftover', leftover, undefined],
    ]);
    expect(exitCode).toBe(0);
  });

  test('rates that cannot be: no error, an impossible chi2, nearly all bad, good pixels without a value', async () => {
    const cases: [Rates, RegExp][] = [
      [{ error: 0 }, /^median error of good pixels: 0 DN\/read/],
      [{ chi2: 1e4 }, /^median chi2 .*: 1250, expected 0\.1 to 10$/],
      [{ dq: DQ.NO_DATA }, /^pixels inside the border with a bad bit or without a rate: 100 %/],
      [{ rate: Number.NaN }, /^good pixels without a rate or an error: 81600 pixels/],
    ];
    for (const [rates, detail] of cases) {
      const { findings, exitCode } = await checked((output) => replace(output, name, rates));
      const insane = findings.filter(({ what }) => what === 'insane');
      expect(insane.map((one) => one.product)).toContain(name);
      expect(insane.some((one) => detail.test(one.detail))).toBe(true);
      expect(exitCode).toBe(20);
    }
    const fine = await checked((output) => replace(output, name, {}));
    expect(fine.findings.filter(({ what }) => what !== 'stale')).toEqual([]);
  });

  test('a product without an HDU, of another exposure, or no FITS file at all', async () => {
    const without = await checked((output) => replace(output, name, { without: ['CHI2', 'DQ_DEF'] }));
    expect(without.findings).toContainEqual(
      expect.objectContaining({ what: 'wrong', product: name, detail: 'expected the HDU CHI2 and DQ_DEF' }),
    );
    const other = await checked((output) => replace(output, name, { cards: [['EXPOSURE', 2, '']] }));
    expect(other.findings).toContainEqual(
      expect.objectContaining({ what: 'wrong', product: name, detail: 'expected EXPOSURE 1, received 2' }),
    );
    const none = await checked(async (output) => {
      const { schema, inputs, calibrations, parameters, kernels, software } = (await readManifest(
        join(output, name),
      )) as ProductRecord;
      const record = { schema, inputs, calibrations, parameters, kernels, software };
      await (await openStore(output)).writeProduct(name, [Buffer.from('no FITS file')], record);
    });
    expect(none.findings[0]).toMatchObject({ what: 'wrong', product: name, error: 'storage' });
  });
});

test('numbers that could not be measured are no finding', () => {
  const numbers = { badPercent: 1, withoutValue: 0, error: 1, reducedChi2: Number.NaN };
  expect(insaneRates(numbers)).toEqual([]);
  expect(insaneRates({ ...numbers, badPercent: 61 })).toHaveLength(1);
});

describe('the page of this night', () => {
  let page: NightPage;
  beforeAll(async () => {
    [page] = (await report({ output: good, mjd: MJD })).nights as [NightPage];
  });

  test('knows what became of every exposure', () => {
    const { exposures, missing, flow } = page.report;
    const taken = exposures.filter(({ state }) => state !== 'missing');
    // 6 is an internal flat that calls itself a dark.
    expect(taken.map(({ exposure, state }) => [exposure, state])).toEqual([
      [1, 'done'],
      [6, 'dropped'],
      [10, 'done'],
    ]);
    expect(missing).toEqual([2, 3, 4, 5, 7, 8, 9]);
    expect(flow.drops).toHaveLength(1);
    expect(flow.drops[0]).toMatchObject({ at: 'classify', by: 'verdict', lost: [{ exposure: 6, chips: [] }] });
  });

  test('lists what stands apart in a form that a run takes', () => {
    expect(readBadList(page.badList)).toEqual([
      expect.objectContaining({ tele: 'apo', mjd: MJD, exposure: 6, by: 'pipeline' }),
    ]);
    expect(page.report.outliers.map(({ exposure }) => exposure)).toEqual([6]);
    expect(readFileSync(page.page, 'utf8')).toContain('--bad');
  });

  test('has pictures, calibrations, numbers over the night and links to files that are there', () => {
    const html = readFileSync(page.page, 'utf8');
    expect(html.match(/<img src="data:image\/png;base64,/g)).toHaveLength(3);
    const kinds = page.report.calibrations.filter(({ used, chip }) => used && chip === 'a').map(({ kind }) => kind);
    expect(kinds).toEqual(expect.arrayContaining(['dark', 'flat', 'gain']));
    expect(page.report.series.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['rate', 'reduced chi2', 'zero point', 'jumps']),
    );
    const folder = join(good, 'apo', String(MJD));
    const links = [...html.matchAll(/href="(\.[^"]*)"/g)].map(([, path]) => path as string);
    expect(links.length).toBeGreaterThan(15);
    for (const path of links) expect(existsSync(join(folder, decodeURIComponent(path))), path).toBe(true);
  });

  test('says the zero points that the products say', () => {
    const series = page.report.series.find(({ name }) => name === 'zero point');
    const point = series?.points.find(({ exposure, chip }) => exposure === 1 && chip === 'b');
    const file = openFits(join(good, product('b', 1)));
    const side = [...(file.readTable('READZERO').column('SIDE').values as Float32Array)].sort((a, b) => a - b);
    file.close();
    expect(point?.value).toBe(side[side.length >> 1]);
  });

  test('is no surprise to the final pass', async () => {
    expect((await check({ output: good, mjd: MJD })).findings).toEqual([]);
  });

  test('a list of bad exposures is told as such, and does not end the pass with a code of failure', async () => {
    const output = join(base, 'listed');
    const list = join(base, 'bad.txt');
    expect(page.report.commands.run).not.toContain('--bad');
    writeFileSync(list, `apo ${MJD} 10 clouds\n`);
    await runNight({
      raw,
      output,
      tele: ['apo'],
      mjd: MJD,
      options: { calib: [join(raw, 'calib')] },
      bad: [list],
      executor: localExecutor(),
      jobs: 1,
      ledger: 'none',
      only: ['1', '10'],
    });
    const { findings } = await check({ output, mjd: MJD });
    const dropped = findings.filter(({ what }) => what === 'dropped');
    expect(dropped).toHaveLength(4);
    for (const one of dropped) expect(one).toMatchObject({ detail: expect.stringContaining('clouds') });
    expect(dropped.every(({ error }) => error === undefined)).toBe(true);
    const [night] = (await report({ output, mjd: MJD })).nights;
    expect(night?.report.grade).toBe('unfinished');
    expect(night?.report.commands.run).toContain(` --bad ${list}`);
    expect(night?.report.flow.drops).toMatchObject([{ at: 'raw', by: 'user', reason: 'clouds' }]);
  });
});

describe('on the command line', () => {
  test('report and check say in words and in JSON what they found', () => {
    const page = rampline(['report', good, '--mjd', String(MJD), '--json']);
    expect(page.code).toBe(0);
    expect(JSON.parse(page.stdout)).toMatchObject({ nights: [{ schema: 'night/1', tele: 'apo', grade: 'look' }] });
    const whole = rampline(['check', good, '--mjd', String(MJD)]);
    expect(whole.code).toBe(0);
    expect(whole.stdout).toContain('12 of 12 products of 12 jobs are good');
    const none = rampline(['check', good, '--mjd', '60000']);
    expect(none.code).toBe(21);
    const other = rampline(['report', good, '--mjd', String(MJD), '--tele', 'lco']);
    expect(other.code).toBe(2);
  });
});
