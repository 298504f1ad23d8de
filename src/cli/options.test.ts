import { describe, expect, it } from 'vitest';
import { UsageError } from '../core/errors.js';
import { byteSize, collectList, collectParams, limitsOf, realNumber, wholeNumber } from './options.js';
import { bytesText, printable, table } from './table.js';

describe('option values', () => {
  it('are taken where they fit', () => {
    expect(wholeNumber('--n', 1, 10)('7')).toBe(7);
    expect(realNumber('--x', 0, 1)('1e-3')).toBe(0.001);
    expect(byteSize('--b')('64M')).toBe(64 * 2 ** 20);
    expect(byteSize('--b')('1.5k')).toBe(1536);
    expect(collectList('a,b', ['c'])).toEqual(['c', 'a', 'b']);
    expect(collectParams('fit-ramp.iterations=2')).toEqual({ 'fit-ramp': { iterations: 2 } });
    const more = collectParams('k.b=true', { k: { a: 1 } });
    expect(collectParams('k.c=word=x', more)).toEqual({ k: { a: 1, b: true, c: 'word=x' } });
    expect(limitsOf({ maxHdus: 3 })).toEqual({ hdus: 3 });
  });

  it('are refused where they do not', () => {
    for (const text of ['', '1.5', 'x', '0', '11', '0x5', '1e3', 'Infinity', '-']) {
      expect(() => wholeNumber('--n', 1, 10)(text)).toThrow(UsageError);
    }
    for (const text of ['', ' ', 'x', 'NaN', '-1', '2'])
      expect(() => realNumber('--x', 0, 1)(text)).toThrow(UsageError);
    for (const text of ['', '-1', '5X', '0', '1e400']) expect(() => byteSize('--b')(text)).toThrow(UsageError);
    for (const text of ['', 'k', 'k.p', '=1', '.p=1', 'k.=1']) expect(() => collectParams(text)).toThrow(UsageError);
  });
});

describe('tables', () => {
  it('align, and show control characters instead of obeying them', () => {
    expect(
      table(
        ['n', 'name'],
        [
          ['10', 'a\nb'],
          ['9', '\x1b[2J'],
        ],
        ['n'],
      ),
    ).toBe(' n  name\n--  -------\n10  a\\x0ab\n 9  \\x1b[2J\n');
    expect(printable('plain')).toBe('plain');
    expect([0, 999, 1000, 1_500_000, 12_345_678_901].map(bytesText)).toEqual([
      '0 B',
      '999 B',
      '1.0 kB',
      '1.5 MB',
      '12 GB',
    ]);
  });
});
