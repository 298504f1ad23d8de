import { describe, expect, it } from 'vitest';
import type { Job, Plan } from './job.js';
import { chosenJobs, leftOut, narrowed } from './selection.js';

/** Darks are classified before the build, objects after it: one stage on both sides of another. */
const made: [id: string, stage: string, exposure: number | undefined, needs: string[]][] = [
  ['ramp-1', 'ramp', 1, []],
  ['classify-1', 'classify', 1, ['ramp-1']],
  ['build-a', 'build-dark', undefined, ['classify-1']],
  ['calibrate-2', 'calibrate', 2, ['build-a']],
  ['classify-2', 'classify', 2, ['calibrate-2']],
];
const jobs = made.map(([id, stage, exposure, needs]) => ({
  id,
  stage,
  identity: { tele: 'apo', mjd: 60_855, chip: exposure === undefined ? 'a' : undefined, exposure },
  exposures: exposure === undefined ? [{ exposure: 1 }] : [{ exposure }],
  needs: needs.map((job) => ({ job })),
  state: 'todo',
}));
const plan = { jobs: jobs as unknown as readonly Job[], chips: ['a'] } as unknown as Plan;
const chosen = (selection: Parameters<typeof chosenJobs>[1]) => [...chosenJobs(plan, selection)].sort();

describe('the choice of jobs', () => {
  it('takes what comes after a stage with it, though its own stage has jobs before it', () => {
    expect(chosen({ from: 'build-dark' })).toEqual(['build-a', 'calibrate-2', 'classify-2']);
    expect(chosen({ from: 'build-dark', only: ['2'] })).toEqual(['calibrate-2', 'classify-2']);
    expect(chosen({ from: 'build-dark', to: 'build-dark' })).toEqual(['build-a']);
    expect([...leftOut(plan, { from: 'build-dark' }).keys()]).toEqual(['ramp-1', 'classify-1']);
  });

  it('gives what is needed with what is chosen', () => {
    const { jobs: kept } = narrowed(plan, chosenJobs(plan, { only: ['1'], to: 'classify' }));
    expect(kept.map(({ id }) => id)).toEqual(['ramp-1', 'classify-1']);
  });

  it('refuses words of which there is nothing', () => {
    expect(() => chosen({ only: ['2', '9'] })).toThrow('the night has nothing to do for exposure 9 (--only)');
    expect(() => chosen({ only: ['2-b'] })).toThrow('the night has no chip "b" (--only 2-b); it has a');
    expect(() => chosen({ from: 'calibrate', to: 'ramp' })).toThrow('--from calibrate comes after --to ramp');
    expect(() => chosen({ from: 'calibrat' })).toThrow('did you mean "calibrate"?');
  });
});
