// Tables in the documents that can be checked against the code are.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXIT_CODES } from '../src/core/errors.js';

const root = new URL('..', import.meta.url).pathname;
const read = (name: string) => readFileSync(join(root, name), 'utf8');

describe('documents', () => {
  it('README lists every exit code and no other', () => {
    const table = read('README.md').split('## Exit codes')[1]?.split('\n## ')[0] ?? '';
    const listed = [...table.matchAll(/^\| (\d[\d, ]*) \|/gm)].flatMap(([, codes]) => codes!.split(',').map(Number));
    expect(listed).toEqual(Object.values(EXIT_CODES));
  });

  it('ARCHITECTURE names every npm package with why', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json'));
    const rows = read('ARCHITECTURE.md')
      .split('\n')
      .filter((line) => line.startsWith('| '));
    const first = rows.map((row) =>
      row
        .split('|')[1]!
        .split(',')
        .map((name) => name.trim()),
    );
    const missing = Object.keys({ ...dependencies, ...devDependencies }).filter((name) => !first.flat().includes(name));
    expect(missing).toEqual([]);
  });

  it('ARCHITECTURE has a row for every room', () => {
    const text = read('ARCHITECTURE.md');
    const rooms = ['src', 'native'].flatMap((top) =>
      readdirSync(join(root, top), { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => `${top}/${entry.name}`),
    );
    expect(rooms.filter((room) => !new RegExp(`^\\| \`${room}[\`/]`, 'm').test(text))).toEqual([]);
  });

  it('every package version is exact', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json'));
    expect(
      Object.values<string>({ ...dependencies, ...devDependencies }).filter(
        (version) => !/^\d+\.\d+\.\d+$/.test(version),
      ),
    ).toEqual([]);
  });
});
