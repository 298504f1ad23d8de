// 2-D calibration from the command line: chosen calibrations in, 2dcal products out, held against the mock's truth.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as api from '../src/index.js';
import { hasProgram, rampline } from './cli.js';

const base = mkdtempSync(join(tmpdir(), 'rampline-calibrate-'));
const raw = join(base, 'raw');
const calib = join(raw, 'calib');
afterAll(() => rmSync(base, { recursive: true }));

const ROWS = 128;
const COLS = 2048;
const BORDER = 4;

function run(...args: string[]) {
  const ended = rampline([...args, '--json', '--log-level', 'error']);
  return { ...ended, reply: JSON.parse(ended.stdout) };
}

function simulate(output: string, ...args: string[]): void {
  const ended = run('simulate', '-o', output, '--rows', String(ROWS), '--chips', 'b', ...args);
  expect(ended.stderr).toBe('');
  expect(ended.code).toBe(0);
}

function reduce(verb: string, output: string, ...args: string[]) {
  const ended = run(verb, join(raw, 'apR-b-52950001.apz'), '-o', join(base, output), ...args);
  expect(ended.stderr).toBe('');
  expect(ended.code).toBe(0);
  const [{ status, product, summary }] = ended.reply.outcomes;
  return { status, product, summary } as { status: string; product: string; summary: Record<string, number> };
}

interface Product {
  readonly sci: Float32Array;
  readonly err: Float32Array;
  readonly dq: Uint32Array;
  readonly header: api.Header;
  readonly provenance: { role: string; name: string; why: string; used: boolean }[];
}

function open(path: string): Product {
  const file = api.openFits(path);
  const table = file.readTable('PROVENANCE');
  const column = <T>(name: string) => Array.from(table.column(name).values as unknown as ArrayLike<T>);
  const [roles, names, reasons, used] = [
    column<string>('ROLE'),
    column<string>('NAME'),
    column<string>('WHY'),
    column<boolean | number>('USED'),
  ];
  const product = {
    sci: file.readImage('SCI').data as Float32Array,
    err: file.readImage('ERR').data as Float32Array,
    dq: file.readImage('DQ').data as Uint32Array,
    header: file.hdu(0).header,
    provenance: roles.map((role, i) => ({ role, name: names[i]!, why: reasons[i]!, used: Boolean(used[i]) })),
  };
  file.close();
  return product;
}

function image(path: string, name: string): Float32Array {
  const file = api.openFits(path);
  const { data } = file.readImage(name);
  file.close();
  return data as Float32Array;
}

/** The one calibration of a kind in a directory. */
function calibration(kind: string, directory = calib): string {
  const name = readdirSync(directory).find((one) => one.startsWith(`${kind}-`) && one.endsWith('.fits'));
  expect(name).toBeDefined();
  return join(directory, name!);
}

function* sensitive(): Generator<number> {
  for (let y = BORDER; y < ROWS - BORDER; y++) for (let x = BORDER; x < COLS - BORDER; x++) yield y * COLS + x;
}

// Without the noise that no map of a detector holds: test/science.test.ts is for that.
beforeAll(() => simulate(raw, '--reads', '20', '--without', 'oneOverF,biasDrift,resetAnomaly'));

describe('rampline calibrate', () => {
  it('is the 2-D rate less the dark over the flat, with both errors and bits', () => {
    const plain = open(reduce('ramp', 'plain', '--calib', calib).product);
    const { product, summary } = reduce('calibrate', 'one', '--calib', calib);
    expect(product).toBe(join(base, 'one', '2dcal-apo-60857-b-0001.fits'));
    const done = open(product);
    expect(done.header.string('STAGE', '')).toBe('ramp, calibrate');
    const [dark, darkError] = [image(calibration('dark'), 'RATE'), image(calibration('dark'), 'ERR')];
    const [flat, flatError] = [image(calibration('flat'), 'FLAT'), image(calibration('flat'), 'ERR')];
    let uncalibrated = 0;
    let worst = 0;
    let [n, sum, squares] = [0, 0, 0];
    const truth = join(raw, 'truth-apR-b-52950001.fits');
    const rate = image(truth, 'RATE');
    for (const i of sensitive()) {
      const flags = done.dq[i]!;
      if ((flags & api.DQ.NO_CALIBRATION) !== 0) uncalibrated++;
      if ((flags & (api.DQ.NO_CALIBRATION | api.DQ.NO_DATA)) !== 0) continue;
      const value = (plain.sci[i]! - dark[i]!) / flat[i]!;
      const error = Math.hypot(Math.hypot(plain.err[i]!, darkError[i]!) / flat[i]!, (value * flatError[i]!) / flat[i]!);
      worst = Math.max(
        worst,
        Math.abs(done.sci[i]! - value) / (Math.abs(value) + plain.err[i]! / flat[i]!),
        Math.abs(done.err[i]! / error - 1),
      );
      if (flags !== 0) continue;
      const pull = (done.sci[i]! - (rate[i]! - dark[i]!) / flat[i]!) / done.err[i]!;
      n++;
      sum += pull;
      squares += pull * pull;
    }
    expect(worst).toBeLessThan(1e-5);
    expect(uncalibrated).toBe(summary.noCalibration);
    expect(n).toBeGreaterThan(0.85 * ROWS * COLS);
    // Faint pixels' errors follow their measured rates, which leaves a mean below zero (native/kernels/fit-ramp/README.md).
    expect(Math.abs(sum / n)).toBeLessThan(0.15);
    expect(Math.sqrt(squares / n)).toBeGreaterThan(0.97);
    expect(Math.sqrt(squares / n)).toBeLessThan(1.06);
  });

  it('gives every pixel a value or says which one it lacks', () => {
    const { sci, err, dq } = open(reduce('calibrate', 'one', '--calib', calib).product);
    let silent = 0;
    for (let i = 0; i < sci.length; i++) {
      const value = Number.isFinite(sci[i]!) && err[i]! > 0 && Number.isFinite(err[i]!);
      if (!value && (dq[i]! & (api.DQ.NO_DATA | api.DQ.REFERENCE_PIXEL)) === 0) silent++;
    }
    expect(silent).toBe(0);
    const bits = { dark: calibration('dark'), flat: calibration('flat') };
    for (const [kind, path] of Object.entries(bits)) {
      const file = api.openFits(path);
      const map = file.readImage('DQ').data as Uint32Array;
      file.close();
      let lost = 0;
      for (const i of sensitive()) if ((map[i]! & ~dq[i]!) !== 0) lost++;
      expect([kind, lost]).toEqual([kind, 0]);
    }
  });

  it('names what was used and why', () => {
    const { provenance } = open(reduce('calibrate', 'one', '--calib', calib).product);
    for (const kind of ['gain', 'readnoise', 'saturation', 'dark', 'flat']) {
      const entry = provenance.find(({ role, used }) => role === kind && used);
      expect(entry?.name).toMatch(new RegExp(`^${kind}-apo-b`));
      expect(entry?.why).not.toBe('');
    }
  });

  it('gives the same bytes with any threads and memory, and is not done twice', () => {
    const first = open(reduce('calibrate', 'one', '--calib', calib).product);
    expect(reduce('calibrate', 'one', '--calib', calib).status).toBe('skipped');
    const threads = open(reduce('calibrate', 'two', '--calib', calib, '--threads', '2', '--no-low-memory').product);
    for (const name of ['sci', 'err', 'dq'] as const) expect(threads[name]).toEqual(first[name]);
    expect(reduce('calibrate', 'one', '--calib', calib, '--set', 'calibrate-rates.persistenceSigma=5').status).toBe(
      'done',
    );
  });

  it('in electrons a second takes the dark in electrons a second', () => {
    const unit = ['--calib', calib, '--unit', 'electron-per-second'];
    const plain = open(reduce('ramp', 'electrons', ...unit).product);
    const done = open(reduce('calibrate', 'electrons', ...unit).product);
    const [dark, flat] = [image(calibration('dark'), 'RATE'), image(calibration('flat'), 'FLAT')];
    const gain = image(calibration('gain'), 'GAIN');
    let worst = 0;
    for (const i of sensitive()) {
      if ((done.dq[i]! & (api.DQ.NO_CALIBRATION | api.DQ.NO_DATA)) !== 0) continue;
      const value = (plain.sci[i]! - (dark[i]! * gain[i]!) / 10.647) / flat[i]!;
      worst = Math.max(worst, Math.abs(done.sci[i]! - value) / (Math.abs(value) + plain.err[i]! / flat[i]!));
    }
    expect(worst).toBeLessThan(1e-5);
  });

  it('flags light of an earlier exposure where it is expected above three errors', () => {
    const after = join(base, 'after');
    // A lamp flat of 30 reads, and a dark that begins 600 s after it began.
    const [flatReads, darkReads, readSeconds] = [30, 20, 10.647];
    const gap = 600 - flatReads * readSeconds;
    simulate(after, '--type', 'internalflat', '--exposure', '5', '--reads', `${flatReads}`);
    const earlier = ['--after', `internalflat:${flatReads}:600:5`, '--gap', gap.toFixed(3)];
    simulate(after, '--type', 'dark', '--exposure', '6', '--reads', `${darkReads}`, ...earlier);
    const out = join(base, 'persist');
    const files = (exposure: number) => join(after, `apR-b-5295000${exposure}.apz`);
    expect(run('ramp', files(5), '-o', out, '--calib', calib).code).toBe(0);
    const args = ['calibrate', files(6), '-o', out, '--calib', calib];
    const without = run(...args);
    expect(without.code).toBe(0);
    expect(open(without.reply.outcomes[0].product).dq.some((flags) => (flags & api.DQ.PERSISTENCE) !== 0)).toBe(false);
    const previous = join(out, '2d-apo-60857-b-0005.fits');
    const done = run(...args, '--previous', previous);
    expect(done.code).toBe(0);
    expect(done.reply.outcomes[0].status).toBe('done'); // another input, another product
    const { dq, sci, err, provenance, header } = open(done.reply.outcomes[0].product);
    expect(header.number('PERSIST', 0)).toBe(1);
    expect(
      provenance.some(({ role, name }) => role === 'earlier exposure' && name === '2d-apo-60857-b-0005.fits'),
    ).toBe(true);
    const amplitude = image(join(after, 'truth-apR-b-52950006.fits'), 'PERSISTENCE');
    const before = open(previous);
    const fluence = before.sci.map((rate) => rate * flatReads);
    const flat = image(calibration('flat'), 'FLAT');
    // The first two reads of the dark are dropped; the rate is the mean over those that are used.
    const [begin, seconds, tau] = [gap + 2 * readSeconds, (darkReads - 2) * readSeconds, 300];
    const decay = (tau / seconds) * (Math.exp(-begin / tau) - Math.exp(-(begin + seconds) / tau));
    let [flagged, wrong, sum, expectedSum] = [0, 0, 0, 0];
    for (const i of sensitive()) {
      if ((dq[i]! & ~api.DQ.PERSISTENCE) !== 0) continue;
      const expected = amplitude[i]! * fluence[i]! * decay;
      const sigmas = expected / (err[i]! * flat[i]!);
      const isFlagged = (dq[i]! & api.DQ.PERSISTENCE) !== 0;
      const isClear = Math.abs(sigmas - 3) > 0.1 && (before.dq[i]! & api.DQ.SATURATED) === 0;
      if (isClear && sigmas > 3 !== isFlagged) wrong++;
      if (!isFlagged) continue;
      flagged++;
      sum += sci[i]! * flat[i]!;
      expectedSum += expected;
    }
    expect(wrong).toBe(0);
    expect(flagged).toBeGreaterThan(1000);
    // And it is there: what the traps of the mock release is what was expected.
    expect(sum / expectedSum).toBeGreaterThan(0.93);
    expect(sum / expectedSum).toBeLessThan(1.07);
    const electrons = reduce('ramp', 'electrons', '--calib', calib, '--unit', 'electron-per-second').product;
    const wrongUnit = run(...args, '--previous', electrons);
    expect(wrongUnit.code).toBe(21);
    expect(wrongUnit.reply.outcomes[0].failure.message).toBe("expected rates in DN/read, received 'electron/s'");
    const later = run('calibrate', files(5), '-o', out, '--calib', calib, '--previous', done.reply.outcomes[0].product);
    expect(later.code).toBe(20);
  });

  it('refuses to go without a dark or a flat, with one that was changed, and without a directory', () => {
    const copy = (name: string) => {
      const directory = join(base, name);
      cpSync(calib, directory, { recursive: true });
      return directory;
    };
    const none = copy('none');
    for (const kind of ['dark', 'flat']) rmSync(calibration(kind, none));
    const input = join(raw, 'apR-b-52950001.apz');
    const missing = run('calibrate', input, '-o', join(base, 'no'), '--calib', none);
    expect(missing.code).toBe(22);
    expect(missing.reply.outcomes[0].failure.message).toContain('no dark, no flat for apo chip b');
    const changed = copy('changed');
    const flat = calibration('flat', changed);
    const bytes = readFileSync(flat);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(flat, bytes);
    const refused = run('calibrate', input, '-o', join(base, 'no'), '--calib', changed);
    expect(refused.code).toBe(22);
    expect(refused.reply.outcomes[0].failure.message).toMatch(/expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}/);
    expect(readdirSync(join(base, 'no')).filter((name) => name.endsWith('.fits'))).toEqual([]);
    expect(run('calibrate', input, '-o', join(base, 'no')).reply).toMatchObject({
      error: 'usage',
      message: '2-D calibration needs a directory of calibrations: --calib DIR',
    });
    expect(run('ramp', input, '-o', join(base, 'no'), '--previous', flat).code).toBe(2);
  });

  it('interpolates between the darks before and after, with the error of both', async () => {
    const directory = join(base, 'between');
    cpSync(calib, directory, { recursive: true });
    const original = calibration('dark', directory);
    const [rate, error] = [image(original, 'RATE'), image(original, 'ERR')];
    const dq = image(original, 'DQ') as unknown as Uint32Array;
    rmSync(original);
    rmSync(`${original}.manifest.json`);
    const shape = [ROWS, COLS];
    // The frame begins at 60857.0069: a third of the way from the end of one window to the begin of the other.
    const frame = 60857 + 600 / 86_400;
    const other = join(base, 'other-reads');
    cpSync(directory, other, { recursive: true });
    for (const [place, name, factor, window, readTime] of [
      [directory, 'dark-apo-b-before.fits', 1, { validTo: frame - 10 }, 10.647],
      [directory, 'dark-apo-b-after.fits', 4, { validFrom: frame + 20 }, 10.647],
      [other, 'dark-apo-b-before.fits', 1, { validTo: frame - 10 }, 10.647],
      [other, 'dark-apo-b-after.fits', 4, { validFrom: frame + 20 }, 21.294],
    ] as const) {
      const header = api.calibrationCards({
        kind: 'dark',
        instrument: 'apogee',
        tele: 'apo',
        chip: 'b',
        ...window,
        grade: 'pass',
        inputs: 1,
        software: 'a test',
        kernels: {},
      });
      const hdus = [
        { header: [...header, ['READTIME', readTime] as const] },
        { name: 'RATE', data: rate.map((v) => factor * v), shape },
        { name: 'ERR', data: error.map((v) => factor * v + 0.1), shape },
        { name: 'DQ', data: dq, shape },
      ];
      await (await api.openStore(place)).writeFile(name, Buffer.concat(api.encodeFits(hdus)));
    }
    const refused = run('calibrate', join(raw, 'apR-b-52950001.apz'), '-o', join(base, 'no'), '--calib', other);
    expect(refused.code).toBe(22);
    expect(refused.reply.outcomes[0].failure.message).toBe(
      'darks of different read times cannot be interpolated: READTIME 10.647 s and 21.294 s',
    );
    const between = open(reduce('calibrate', 'between-out', '--calib', directory).product);
    const plain = open(reduce('ramp', 'plain', '--calib', calib).product);
    const [flat, flatError] = [image(calibration('flat'), 'FLAT'), image(calibration('flat'), 'ERR')];
    let worst = 0;
    for (const i of sensitive()) {
      if ((between.dq[i]! & (api.DQ.NO_CALIBRATION | api.DQ.NO_DATA)) !== 0) continue;
      const dark = (2 / 3) * rate[i]! + (1 / 3) * 4 * rate[i]!;
      const darkError = Math.hypot((2 / 3) * (error[i]! + 0.1), (1 / 3) * (4 * error[i]! + 0.1));
      const value = (plain.sci[i]! - dark) / flat[i]!;
      const sigma = Math.hypot(Math.hypot(plain.err[i]!, darkError) / flat[i]!, (value * flatError[i]!) / flat[i]!);
      worst = Math.max(
        worst,
        Math.abs(between.sci[i]! - value) / (Math.abs(value) + sigma),
        Math.abs(between.err[i]! / sigma - 1),
      );
    }
    expect(worst).toBeLessThan(2e-5);
    const used = between.provenance.filter(({ role, used: yes }) => role === 'dark' && yes);
    expect(used.map(({ name }) => name).sort()).toEqual(['dark-apo-b-after.fits', 'dark-apo-b-before.fits']);
    expect(used.map(({ why }) => /weight 0\.(\d+)/.exec(why)?.[1]?.slice(0, 2)).sort()).toEqual(['33', '66']);
  });

  it('passes fitsverify', (ctx) => {
    if (!hasProgram('fitsverify')) ctx.skip('fitsverify is not installed');
    const { product } = reduce('calibrate', 'one', '--calib', calib);
    expect(spawnSync('fitsverify', ['-q', product], { encoding: 'utf8' }).stdout).toMatch(/^verification OK/);
  });
});

it('every bit of the upstream mask has its place', () => {
  // pix_bitmask of ApogeeReduction.jl, bits 0 to 14, and those that it calls bad (24566) but for the border's own.
  const places = [
    'REFERENCE_ARRAY',
    'REFERENCE_PIXEL',
    'BAD_REFERENCE',
    'NO_DARK',
    'NEGATIVE_DARK',
    'HOT',
    'LOW_FLAT',
    'JUMP',
    'JUMPS',
    'BAD_CHI2',
    'EXTRACTION_FAILED',
    'NO_GOOD_PIXELS',
    'WIDE_WINDOW',
    'PARTLY_SATURATED',
    'SATURATED',
  ];
  expect(api.DQ_BITS.slice(0, 15).map(({ name }) => name)).toEqual(places);
  expect(api.DQ_BITS.map(({ bit }) => bit)).toEqual(api.DQ_BITS.map((_, i) => i));
  const bad = api.DQ_BITS.slice(0, 15).reduce((mask, { bit, bad: isBad }) => mask | (isBad ? 1 << bit : 0), 0);
  expect(bad).toBe(24566);
});
