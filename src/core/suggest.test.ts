import { describe, expect, it } from 'vitest';
import { didYouMean, editDistance, suggest } from './suggest.js';

describe('suggest', () => {
  it('counts insertions, deletions, replacements and swaps as one each', () => {
    expect(editDistance('gain', 'gain')).toBe(0);
    expect(editDistance('gain', 'gains')).toBe(1);
    expect(editDistance('gain', 'gan')).toBe(1);
    expect(editDistance('gain', 'gaim')).toBe(1);
    expect(editDistance('gain', 'gian')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
    expect(editDistance('kitten', 'sitting')).toBe(3);
  });

  it('names the nearest, ignores case, and stays silent when nothing is near', () => {
    const known = ['readNoise', 'gain', 'threshold'];
    expect(suggest('readnoise', known)).toBe('readNoise');
    expect(suggest('treshold', known)).toBe('threshold');
    expect(suggest('gian', known)).toBe('gain');
    expect(suggest('colour', known)).toBeUndefined();
    expect(suggest('', known)).toBeUndefined();
    expect(suggest('x'.repeat(100_000), known)).toBeUndefined();
  });

  it('makes the end of a message', () => {
    expect(didYouMean('gian', ['gain'])).toBe('; did you mean "gain"?');
    expect(didYouMean('zzz', ['gain'])).toBe('');
  });
});
