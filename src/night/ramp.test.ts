import { expect, it } from 'vitest';
import { preferLowMemory, shareCores } from './ramp.js';

it('decodes twice where few exposures would not earn the cube', () => {
  expect([1, 3, 4, 40].map((files) => preferLowMemory(files, 1))).toEqual([true, true, false, false]);
  expect([7, 8].map((files) => preferLowMemory(files, 2))).toEqual([true, false]);
});

it('runs as many jobs as cores, files and memory allow, and shares the cores', () => {
  const machine = { cores: 4, freeBytes: 2 ** 31 };
  expect(shareCores(1, { lowMemory: false }, machine)).toEqual({ jobs: 1, threads: 4 });
  expect(shareCores(9, { lowMemory: false }, machine)).toEqual({ jobs: 2, threads: 2 });
  expect(shareCores(9, { lowMemory: true }, machine)).toEqual({ jobs: 4, threads: 1 });
  expect(shareCores(9, { lowMemory: false, jobs: 3, threads: 2 }, machine)).toEqual({ jobs: 3, threads: 2 });
});
