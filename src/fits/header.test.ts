import { describe, expect, it } from 'vitest';
import { UsageError } from '../core/errors.js';
import { formatReal, Header } from './header.js';
import { loadCodec } from './native.js';

/** Header text to model, through the native scanner. */
function parse(...cards: string[]): Header {
  const all = [
    'SIMPLE  =                    T',
    'BITPIX  =                    8',
    'NAXIS   =                    0',
    ...cards,
    'END',
  ];
  const text = all.map((card) => card.padEnd(80)).join('');
  const bytes = Buffer.from(text.padEnd(Math.ceil(text.length / 2880) * 2880), 'latin1');
  const scan = loadCodec().scanHeader(bytes, bytes.length, true, false, 1000, 32, 1e9);
  expect(scan.status.message).toBe('');
  return Header.fromScan(bytes, scan);
}

describe('reading cards', () => {
  it('reads every type, in fixed and free format', () => {
    const header = parse(
      "STRING  = 'it''s    '           / a quote",
      'INT     = -42/no blank',
      'PLUS    = +7',
      'BIG     =  9223372036854775807',
      'REAL    = 1.5D3',
      'SMALL   =              -1E-300 / tiny',
      'LOGICAL =                    F',
      'COMPLEX = (1.0, -2E1)',
      'UNDEF   =                      / no value',
      'DATE    = 2020-01-01 / no quotes',
      "EMPTY   = ''",
    );
    expect(header.get('STRING')).toBe("it's");
    expect(header.card('STRING')?.comment).toBe('a quote');
    expect(header.get('INT')).toBe(-42);
    expect(header.card('INT')?.comment).toBe('no blank');
    expect(header.get('PLUS')).toBe(7);
    expect(header.get('BIG')).toBe(9223372036854775807n);
    expect(header.get('REAL')).toBe(1500);
    expect(header.card('REAL')?.type).toBe('real');
    expect(header.get('SMALL')).toBe(-1e-300);
    expect(header.get('LOGICAL')).toBe(false);
    expect(header.get('COMPLEX')).toEqual({ re: 1, im: -20 });
    expect(header.get('UNDEF')).toBeNull();
    expect(header.card('DATE')?.type).toBe('invalid');
    expect(header.get('EMPTY')).toBe('');
    expect(header.get('ABSENT')).toBeUndefined();
    expect(header.warnings).toHaveLength(1);
  });

  it('joins CONTINUE cards, reads HIERARCH, keeps commentary, tolerates repeats and bytes outside ASCII', () => {
    const header = parse(
      "LONG    = 'one &'",
      "CONTINUE  'two &'",
      "CONTINUE  'three' / and a comment",
      'HIERARCH ESO DET NDIT = 3 / reads',
      'HISTORY first',
      'HISTORY second',
      'TWICE   = 1',
      'TWICE   = 2',
      "NAME    = 'M\xfcller'",
    );
    expect(header.get('LONG')).toBe('one two three');
    expect(header.card('LONG')?.comment).toBe('and a comment');
    expect(header.get('ESO DET NDIT')).toBe(3);
    expect(header.commentary('HISTORY')).toEqual(['first', 'second']);
    expect(header.get('TWICE')).toBe(1);
    expect(header.get('NAME')).toBe('M\xfcller');
    expect(header.warnings).toHaveLength(2);
  });
});

describe('writing cards', () => {
  it('gives back what it was given, and parsed headers byte for byte', () => {
    const header = parse();
    const long = `it's ${"long ''' ".repeat(30)}end`;
    header.set('LONGTEXT', long, 'comment');
    header.set('PI', Math.PI).set('TENTH', 0.1).set('HUGE', 1.7976931348623157e308).set('TINY', 5e-324);
    header.set('WHOLE', 2, 'with a point', { real: true }).set('MINUSZER', -0);
    header.set('BIG', -9223372036854775808n).set('FLAG', true).set('NONE', null).set('C', { re: 0.5, im: -1e-7 });
    header.set('ESO TEL AIRM', 1.25).addCommentary('HISTORY', 'x'.repeat(200));
    const bytes = header.toBytes();
    expect(bytes.length % 2880).toBe(0);
    const scan = loadCodec().scanHeader(bytes, bytes.length, true, false, 1000, 32, 1e9);
    const again = Header.fromScan(bytes, scan);
    expect(again.warnings).toEqual([]);
    for (const card of header.cards) {
      if (card.type === 'commentary') continue;
      expect(again.get(card.keyword)).toEqual(card.value);
      expect(again.card(card.keyword)?.type).toBe(card.type);
    }
    expect(again.commentary('HISTORY').join('')).toBe('x'.repeat(200));
    expect(again.sentences('HISTORY')).toEqual(['x'.repeat(200)]);
    expect(Buffer.from(again.toBytes()).equals(Buffer.from(bytes))).toBe(true);
    expect(again.card('LONGTEXT')?.comment).toBe('comment');
  });

  it('writes reals that read back as the same double', () => {
    for (const value of [0.1, 1 / 3, 1e21, 1e-7, 123456789.12345679, 5e-324, -2.5e-10]) {
      expect(Number(formatReal(value))).toBe(value);
      expect(formatReal(value)).toContain('.');
    }
  });

  it('refuses what no card can hold', () => {
    const header = new Header();
    expect(() => header.set('X', Number.NaN)).toThrow(UsageError);
    expect(() => header.set('X', 'ünicode')).toThrow(UsageError);
    expect(() => header.set('HAS=SIGN', 1)).toThrow(UsageError);
    expect(() => header.set('', 1)).toThrow(UsageError);
    expect(header.cards).toHaveLength(0);
  });
});
