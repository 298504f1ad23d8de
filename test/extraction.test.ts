import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

interface Goal {
  what: string;
  goal: number;
  met: boolean;
  values: Record<string, number>;
}

it('bench/extraction holds every way to extract against the truth, and joint extraction to its goals', {
  timeout: 120_000,
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'extraction-'));
  const plot = join(folder, 'pulls.svg');
  const args = ['bench/extraction.mjs', '--only', 'given', '--rows', '450', '--json', '--plot', plot];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 2 ** 24 });
  expect(stderr).toBe('');
  const { goals } = JSON.parse(stdout) as { goals: Goal[] };
  expect(goals.filter(({ met }) => !met)).toEqual([]);
  expect(status).toBe(0);
  const value = (what: string, method: string) => goals.find((g) => g.what === what)?.values[method] ?? Number.NaN;
  const limits = [
    ['mean pull, S/N 5 to 500', 0.01],
    ['std of pulls less 1', 0.02],
    ['flux / truth less 1, S/N > 100', 5e-4],
    ['chi2 / dof less 1', 0.02],
    ['most of a 1000:1 neighbour left', 1e-4],
  ] as const;
  for (const [what, limit] of limits) expect(Math.abs(value(what, 'joint')), what).toBeLessThanOrEqual(limit);
  // The comparison can fail: what takes no light of neighbours off leaves more of a bright one.
  for (const method of ['horne', 'boxcar']) {
    expect(value('most of a 1000:1 neighbour left', method)).toBeGreaterThan(1e-4);
  }
  expect(readFileSync(plot, 'utf8')).toMatch(/^<svg[\s\S]*<polyline[\s\S]*<\/svg>\n$/);
  rmSync(folder, { recursive: true });
});

it('bench/extraction holds spectra from measured traces against the truth, and says what is missed', {
  timeout: 120_000,
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'extraction-'));
  const plot = join(folder, 'pulls.svg');
  const args = [
    'bench/extraction.mjs',
    '--only',
    'measured',
    '--rows',
    '450',
    '--draws',
    '12',
    '--json',
    '--plot',
    plot,
  ];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 2 ** 24 });
  expect(stderr).toBe('');
  const report = JSON.parse(stdout);
  const { goals, traces } = report.measured.chips.b as { goals: Goal[]; traces: (Goal & { value: number })[] };
  for (const { values } of goals)
    for (const name of ['joint', 'horne', 'upstream']) expect(values[name]).toBeTypeOf('number');
  for (const { value } of traces) expect(value).toBeTypeOf('number');
  // Of a strip; a whole chip's are the bench's own goals.
  expect(traces[0]?.value).toBeGreaterThan(0);
  expect(traces[0]?.value).toBeLessThan(0.05);
  expect(report.measured.identified).toMatchObject({ value: 12, goal: 12, met: true });
  expect(status).toBe((report.goals as Goal[]).every(({ met }) => met !== false) ? 0 : 1);
  expect(readFileSync(plot, 'utf8')).toMatch(/^<svg[\s\S]*<polyline[\s\S]*<\/svg>\n$/);
  rmSync(folder, { recursive: true });
});
