import { describe, expect, it } from 'vitest';
import { UsageError } from '../core/errors.js';
import { describeKernel, findKernel, listKernels } from './describe.js';
import { KERNELS } from './generated/kernels.js';

describe('kernel descriptions', () => {
  it('lists every kernel on a line of its own', () => {
    const lines = listKernels().trimEnd().split('\n');
    expect(lines.map((line) => line.split(/\s+/)[0])).toEqual(KERNELS.map((kernel) => kernel.name));
    expect(listKernels([])).toBe('no kernels\n');
  });

  it('describes every array and parameter of every kernel', () => {
    for (const kernel of KERNELS) {
      const text = describeKernel(kernel);
      expect(text).toContain(kernel.summary);
      expect(text).toContain(kernel.hash);
      for (const port of kernel.ports) expect(text).toMatch(new RegExp(`^ {2}${port.name} .*${port.dtype}`, 'm'));
      for (const param of kernel.params) {
        const value = String(param.default).replace('+', '\\+'); // 1e+30
        expect(text).toMatch(new RegExp(`^ {2}${param.name} .*default ${value}`, 'm'));
      }
    }
  });

  it('gives the facts in fixed places', () => {
    const kernel = findKernel('linearise');
    expect(describeKernel(kernel)).toContain('linearise 1.0.0  (stream, stage ramp)\n');
    expect(describeKernel(kernel)).toContain('  c2      in   f32  [row, x]         1/DN    quadratic coefficient\n');
  });

  it('suggests the nearest name', () => {
    expect(() => findKernel('linearize')).toThrow(UsageError);
    expect(() => findKernel('linearize')).toThrow('no kernel "linearize"; did you mean "linearise"?');
    expect(() => findKernel('q')).toThrow('rampline kernels list');
  });
});
