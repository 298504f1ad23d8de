import { describe, expect, it } from 'vitest';
import { UsageError } from '../core/errors.js';
import { KERNELS } from './generated/kernels.js';
import type { KernelDescription } from './kernel.js';
import { checkParams } from './params.js';

const kernel: KernelDescription = {
  name: 'example',
  version: '1.0.0',
  hash: '',
  class: 'local',
  summary: '',
  ports: [],
  params: [
    { name: 'readNoise', type: 'float', default: 15, min: 0, exclusiveMin: true, max: 1000, unit: 'DN', doc: '' },
    { name: 'order', type: 'int', default: 2, min: 1, max: 5, doc: '' },
    { name: 'clip', type: 'bool', default: true, doc: '' },
    { name: 'method', type: 'enum', default: 'median', choices: ['median', 'mean'], doc: '' },
  ],
  tolerance: { relative: 0, absolute: 0 },
  cost: { bytes: 0, flops: 0 },
};

const refusal = (given: Record<string, unknown>) => {
  try {
    checkParams(kernel, given);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    expect((error as UsageError).exitCode).toBe(2);
    return (error as UsageError).describe();
  }
  return 'accepted';
};

describe('checkParams', () => {
  it('fills in defaults and turns everything into numbers', () => {
    expect(checkParams(kernel, {})).toEqual({ readNoise: 15, order: 2, clip: 1, method: 0 });
    expect(checkParams(kernel, { readNoise: 1000, order: 5, clip: false, method: 'mean' })).toEqual({
      readNoise: 1000,
      order: 5,
      clip: 0,
      method: 1,
    });
    expect(checkParams(kernel, { readNoise: undefined }).readNoise).toBe(15);
  });

  it('says what was expected and what came', () => {
    expect(refusal({ readNoise: -3 })).toBe('kernel example: expected readNoise in (0, 1000] DN, received -3');
    expect(refusal({ readNoise: 0 })).toBe('kernel example: expected readNoise in (0, 1000] DN, received 0');
    expect(refusal({ readNoise: Number.NaN })).toBe('kernel example: expected readNoise in (0, 1000] DN, received NaN');
    expect(refusal({ readNoise: Infinity })).toContain('received Infinity');
    expect(refusal({ readNoise: '5' })).toContain('received "5"');
    expect(refusal({ readNoise: null })).toContain('received null');
    expect(refusal({ order: 2.5 })).toBe('kernel example: expected order a whole number in [1, 5], received 2.5');
    expect(refusal({ order: 6 })).toContain('in [1, 5], received 6');
    expect(refusal({ clip: 1 })).toBe('kernel example: expected clip true or false, received 1');
    expect(refusal({ method: 'mode' })).toContain('expected method one of median, mean, received "mode"');
    expect(refusal({ method: 'medain' })).toContain('did you mean "median"?');
    expect(refusal({ method: 0 })).toContain('expected method one of median, mean, received 0');
  });

  it('refuses what float32 would round onto an excluded bound', () => {
    expect(refusal({ readNoise: 1e-60 })).toContain('received 1e-60');
    expect(refusal({ readNoise: 1e-30 })).toBe('accepted');
  });

  it('names the nearest parameter for an unknown one', () => {
    expect(refusal({ readnoise: 3 })).toBe('kernel example: no parameter "readnoise"; did you mean "readNoise"?');
    expect(refusal({ colour: 3 })).toBe('kernel example: no parameter "colour"; it has readNoise, order, clip, method');
    expect(refusal({ toString: 3 })).toContain('no parameter "toString"');
  });

  it('accepts the defaults of every registered kernel', () => {
    expect(KERNELS.length).toBeGreaterThan(0);
    for (const known of KERNELS) {
      expect(Object.keys(checkParams(known, {}))).toEqual(known.params.map((param) => param.name));
    }
  });
});
