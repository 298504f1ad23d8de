/** The page of a night: whole, self-contained, safe, and saying what night.json says. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { accountOf } from '../src/night/account.js';
import { wrap } from '../src/stages/qa/night/flow.js';
import type { NightReport } from '../src/stages/qa/night/model.js';
import { nightIndex, nightPage } from '../src/stages/qa/night/page.js';
import { escapeMarkup } from '../src/stages/qa/svg.js';
import { canonicalJson } from '../src/store/index.js';
import { HOSTILE, type SyntheticNight, syntheticNight } from './synthetic_night.js';

const scratch = mkdtempSync(join(tmpdir(), 'night-page-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const told = ({ plan, facts, thumbs }: SyntheticNight): { report: NightReport; page: string } => {
  const report = accountOf(plan, 'apo', facts);
  return { report, page: nightPage(report, thumbs) };
};
const night = told(syntheticNight(90));
const nights: Readonly<Record<string, { report: NightReport; page: string }>> = {
  whole: night,
  half: told(syntheticNight(60, 0.4)),
  'not begun': told(syntheticNight(20, 0)),
  empty: told(syntheticNight(0)),
  'one exposure': told(syntheticNight(1)),
};

const VOID = ['meta', 'br', 'img', 'input', '!DOCTYPE'];

/** Tags that are not closed in order, as a browser would have to guess. */
function unbalanced(page: string): string[] {
  const open: string[] = [];
  const wrong: string[] = [];
  const body = page.replace(/<style>[\s\S]*?<\/style>/g, '');
  for (const [tag, close, name, inside] of body.matchAll(/<(\/?)([!a-zA-Z0-9]+)((?:[^<>"]|"[^"]*")*)>/g)) {
    if (VOID.includes(name as string) || inside?.endsWith('/')) continue;
    if (close === '') open.push(name as string);
    else if (open.pop() !== name) wrong.push(tag);
  }
  const stray = body.replace(/<(\/?)([!a-zA-Z0-9]+)((?:[^<>"]|"[^"]*")*)>/g, '').match(/[<>]/g) ?? [];
  return [...wrong, ...open, ...stray];
}

describe('every page', () => {
  for (const [name, { page }] of Object.entries(nights)) {
    test(`${name}: is well formed`, () => {
      expect(unbalanced(page)).toEqual([]);
      const ids = [...page.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
      expect(new Set(ids).size).toBe(ids.length);
      for (const [, id] of page.matchAll(/href="#([^"]*)"/g)) expect(ids).toContain(id);
    });

    test(`${name}: refers to nothing outside`, () => {
      const values = [...page.matchAll(/ (?:src|href|srcset|action|poster|data|xlink:href)="([^"]*)"/g)].map(
        ([, v]) => v as string,
      );
      for (const value of values) expect(value).toMatch(/^(#|\.\/|\.\.\/|data:image\/png;base64,)/);
      expect(page).not.toMatch(/<(script|link|iframe|object|embed|base)\b/i);
      expect(page).not.toMatch(/@import|url\((?!#)/);
      expect(page).not.toMatch(/ on[a-z]+=(?!alert\(1\)&gt;)/);
    });
  }
});

test('hostile words of headers and reasons are shown as they are', () => {
  const escaped =
    '&lt;img src=&quot;http://evil.example/x&quot; onerror=alert(1)&gt; &amp; &quot;quoted&quot; &#39;text&#39; &lt;/svg&gt;&lt;/script&gt;';
  expect(night.page).not.toContain(HOSTILE.slice(0, 12));
  // The comment, a refused calibration of each chip, an outlier.
  expect(night.page.split(escaped).length - 1).toBe(5);
});

test('names cannot leave the directory of the page by a scheme', () => {
  const { report } = night;
  const page = nightPage({
    ...report,
    links: [
      { label: 'x', href: 'javascript:alert(1)' },
      { label: 'y', href: 'a b/ü?#.fits' },
    ],
  });
  expect(page).toContain('href="./javascript%3Aalert(1)"');
  expect(page).toContain('href="./a%20b/%C3%BC%3F%23.fits"');
});

describe('the account of a night', () => {
  const { report, page } = night;

  test('every exposure has one state, and the sentence counts them', () => {
    expect(report.exposures.map(({ exposure }) => exposure)).toEqual(Array.from({ length: 90 }, (_, i) => i + 1));
    const number = (state: string) => report.exposures.filter((one) => one.state === state).length;
    // 15 is missing; 31 is on the list, 4 is no dark; 22, 27 and 67 lose a chip.
    expect([number('missing'), number('dropped'), number('partly'), number('done')]).toEqual([1, 2, 3, 84]);
    expect(report.sentence).toBe(
      '84 of 89 exposures are through, 3 in part, 2 were dropped, 2 are suspect, 1 number is missing.',
    );
    expect(report.grade).toBe('look');
    expect(page).toContain(report.sentence);
  });

  test('the flow loses nothing: what comes to a stage has left another', () => {
    const { nodes, links, drops, kinds } = report.flow;
    expect(kinds.reduce((sum, { exposures }) => sum + exposures, 0)).toBe(89);
    for (const { id, exposures } of nodes.slice(1)) {
      expect(links.filter(({ to }) => to === id).reduce((sum, link) => sum + link.exposures, 0)).toBe(exposures);
    }
    expect(Object.fromEntries(nodes.map(({ id, exposures }) => [id, exposures]))).toEqual({
      raw: 89,
      ramp: 24,
      calibrate: 64,
      classify: 88,
      'build-dark': 17,
      'build-flat': 6,
    });
    expect(drops.map(({ at, by, lost }) => [at, by, lost])).toEqual([
      ['raw', 'user', [{ exposure: 31, chips: [] }]],
      ['raw', 'rule', [{ exposure: 22, chips: ['b'] }]],
      [
        'calibrate',
        'input',
        [
          { exposure: 27, chips: ['c'] },
          { exposure: 67, chips: ['c'] },
        ],
      ],
      ['classify', 'verdict', [{ exposure: 4, chips: [] }]],
    ]);
    expect(drops.map(({ share }) => share)).toEqual([1, 1 / 3, 2 / 3, 1]);
  });

  test('like warnings are one line with a count of exposures', () => {
    expect(report.warnings.map(({ text }) => text)).toEqual([
      expect.stringMatching(/^calibrate: read \d+ has no DATE-OBS$/),
      expect.stringMatching(/^ramp: read \d+ has no DATE-OBS$/),
    ]);
    const exposures = report.warnings.flatMap((one) => one.exposures).sort((x, y) => x - y);
    // Every third exposure, each counted once though its three chips warn; 15 is missing.
    expect(exposures).toEqual(Array.from({ length: 30 }, (_, i) => 3 * i + 3).filter((n) => n !== 15));
    expect(report.warnings.map(({ count }) => count)).toEqual(report.warnings.map((one) => one.exposures.length));
  });

  test('jobs, time and attempts add up', () => {
    const jobs = report.stages.reduce(
      (sum, { done, dropped, failed, todo }) => sum + done + dropped + failed + todo,
      0,
    );
    expect(jobs).toBe(syntheticNight(90).plan.jobs.length);
    expect(report.totals.retries).toBe(1);
    const cpu = report.stages.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
    expect(report.totals.cpuSeconds).toBeCloseTo(cpu, 9);
    expect(report.totals.cpuSecondsPerExposure).toBeCloseTo(cpu / 88, 9);
  });

  test('the page says what night.json says', () => {
    for (const { text, count } of report.findings) {
      expect(page).toContain(text.replaceAll("'", '&#39;'));
      if (count > 1) expect(page).toContain(`<b>${count} ×</b>`);
    }
    for (const { id, exposures, done } of report.flow.nodes) {
      expect(page).toContain(`>${id}</tspan> ${done === exposures ? exposures : `${done} of ${exposures}`}<`);
    }
    for (const { exposure } of report.exposures) expect(page).toContain(`<tr id="e${exposure}"`);
  });

  test('it is plain JSON and does not depend on the order of the events', () => {
    const { plan, facts } = syntheticNight(90);
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(accountOf(plan, 'apo', { ...facts, events: facts.events.toReversed() })).toEqual(report);
  });
});

test('a half-done night says what is missing, an empty one that it is empty', () => {
  const { half, empty, 'not begun': none } = nights;
  expect(half?.report.grade).toBe('unfinished');
  expect(half?.report.sentence).toMatch(/28 are still to be done.* 74 are left\.$/);
  expect(none?.report.sentence).toContain('0 of 19 exposures are through');
  expect(empty?.report.grade).toBe('empty');
  expect(empty?.page).toContain('No exposure of this night was found.');
});

test('what headers do not say is no number of night.json', () => {
  const { plan, facts, thumbs } = syntheticNight(5);
  const exposures = plan.exposures.map((one) => ({ ...one, exposureSeconds: Number.NaN, start: Number.NaN }));
  const jobs = plan.jobs.map((job) => ({
    ...job,
    exposures: job.exposures.map((one) => ({ ...one, exposureSeconds: 0 })),
  }));
  const report = accountOf({ ...plan, exposures, jobs }, 'apo', facts);
  expect(() => canonicalJson(report)).not.toThrow();
  expect(nightPage(report, thumbs)).not.toMatch(/NaN|Infinity|undefined/);
});

test('a number with an error is plotted with it, and the error is no series of its own', () => {
  const { plan, facts, thumbs } = syntheticNight(6);
  const events = facts.events.map((event) => {
    if (event.outcome?.summary === undefined) return event;
    const summary = {
      ...event.outcome.summary,
      'trace shift [px]': 0.1 * event.outcome.job.length,
      'trace shift [px] error': 0.02,
    };
    return { ...event, outcome: { ...event.outcome, summary } };
  });
  const report = accountOf(plan, 'apo', { ...facts, events });
  const shifts = report.series.filter(({ name }) => name.startsWith('trace shift'));
  expect(shifts).toHaveLength(1);
  expect(shifts[0]).toMatchObject({ name: 'trace shift', unit: 'px' });
  expect(shifts[0]?.points.length).toBeGreaterThan(3);
  expect(shifts[0]?.points.every(({ error }) => error === 0.02)).toBe(true);
  expect(report.series.find(({ name }) => name === 'zero point')?.points[0]).not.toHaveProperty('error');
  const bars = (page: string) => page.split('V').length;
  const without = {
    ...report,
    series: report.series.map((one) => ({ ...one, points: one.points.map((point) => ({ ...point, error: 0 })) })),
  };
  expect(bars(nightPage(report, thumbs)) - bars(nightPage(without, thumbs))).toBe(shifts[0]?.points.length);
});

test('numbers that stages call alike and mean otherwise are series of their own', () => {
  const { plan, facts } = syntheticNight(6);
  const [first] = plan.jobs.filter(({ scope }) => scope === 'chip');
  const id = `trace-${first?.id}`;
  const job = { ...first, id, stage: 'trace' } as (typeof plan.jobs)[number];
  const template = facts.events.find(({ outcome }) => outcome?.job === first?.id) as (typeof facts.events)[number];
  const summary = { chi2: 1.01, level: 450, ok: 298 };
  const event = { ...template, job: id, stage: 'trace', outcome: { ...template.outcome, job: id, summary } };
  const whole = new Map([...facts.whole, [id, { bytes: 1, products: ['trace.fits'], pages: [] }]]);
  const events = [...facts.events, event as (typeof facts.events)[number]];
  const { series } = accountOf({ ...plan, jobs: [...plan.jobs, job] }, 'apo', { ...facts, events, whole });
  const of = (name: string) =>
    series.filter((one) => one.name === name).map(({ stages, points }) => [stages, points.length]);
  expect(of('chi2 of traces')).toEqual([[['trace'], 1]]);
  expect(of('fibres that are ok')).toEqual([[['trace'], 1]]);
  expect(series.find(({ name }) => name === 'rate')?.stages ?? []).not.toContain('trace');
});

test('a failed job makes a bad night', () => {
  const { plan, facts } = syntheticNight(20);
  const failure = { error: 'bug', exitCode: 70, message: 'a promise was broken' } as const;
  const id = plan.jobs[0]?.id as string;
  const events = facts.events.map((event) =>
    event.outcome?.job === id ? { ...event, outcome: { ...event.outcome, status: 'failed' as const, failure } } : event,
  );
  const whole = new Map([...facts.whole].filter(([job]) => job !== id));
  const report = accountOf(plan, 'apo', { ...facts, events, whole });
  expect(report.grade).toBe('bad');
  expect(report.findings[0]).toMatchObject({ level: 'fail', exposures: [1] });
});

test('a night of 1000 exposures is a page that a phone can open', () => {
  const { page } = told(syntheticNight(1000));
  expect(page.length).toBeLessThan(3e6);
  expect(page).toContain('<details><summary>999 exposures');
});

test('the index has a line for each night', () => {
  const page = nightIndex([{ report: night.report, href: 'apo/60855/night.html' }]);
  expect(unbalanced(page)).toEqual([]);
  expect(page).toContain('href="./apo/60855/night.html"');
});

test('reasons are broken into lines, and the last one ends in an ellipsis', () => {
  expect(wrap('one two three four', 9, 3)).toEqual(['one two', 'three', 'four']);
  expect(wrap('one two three four', 9, 2)).toEqual(['one two', 'three…']);
  expect(wrap('incomprehensibilities', 9, 2)).toEqual(['incompre…']);
});

describe('in a browser', () => {
  const CHROMIUM = '/usr/bin/chromium';
  const has = spawnSync(CHROMIUM, ['--version']).status === 0;

  test('no error on the console, nothing wider than a phone', { timeout: 120_000 }, (ctx) => {
    if (!has) return ctx.skip('chromium is not installed');
    for (const name of ['whole', 'half', 'empty']) {
      const file = join(scratch, 'night.html');
      // A window is at least 500 pixels wide, a frame is as wide as it is told to be.
      const { page } = nights[name] as (typeof nights)[string];
      const measure =
        'const { contentWindow: w } = document.querySelector("iframe");' +
        'document.title = ["measured", w.innerWidth, w.document.documentElement.scrollWidth].join(" ")';
      const frame = `<iframe width="390" height="800" srcdoc="${escapeMarkup(page)}"></iframe>`;
      writeFileSync(file, `<!DOCTYPE html><title></title>${frame}<script>onload = () => { ${measure} }</script>`);
      const { stdout, stderr } = spawnSync(
        CHROMIUM,
        [
          '--headless',
          '--no-sandbox',
          '--disable-gpu',
          '--disable-dev-shm-usage',
          `--user-data-dir=${join(scratch, 'profile')}`,
          '--enable-logging=stderr',
          '--window-size=390,844',
          '--dump-dom',
          `file://${file}`,
        ],
        { encoding: 'utf8', timeout: 60_000, maxBuffer: 2 ** 26 },
      );
      const [, inner, scroll] = /<title>measured (\d+) (\d+)<\/title>/.exec(stdout) ?? [];
      expect(Number(inner), name).toBe(390);
      expect(Number(scroll), name).toBeLessThanOrEqual(Number(inner));
      expect(stderr, name).not.toMatch(/CONSOLE/);
    }
  });
});
