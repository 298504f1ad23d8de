import { describe, expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

interface Row {
  readonly values: readonly number[];
  readonly ivar?: readonly number[];
  readonly dq?: readonly number[];
}

async function find({ values, ivar, dq }: Row, params: Record<string, number> = {}, planes = 1) {
  const cols = values.length / planes;
  const plane = { planes, planeStride: cols, cols };
  const [profile, error] = [new Float64Array(planes), new Float64Array(planes)];
  const [count, full] = [new Int32Array(planes), new Int32Array(planes)];
  const out = { planes, planeStride: 1 };
  await runKernel(
    'trace-find',
    {
      image: { data: Float32Array.from(values), ...plane },
      ivar: { data: Float32Array.from(ivar ?? values.map(() => 1)), ...plane },
      dq: { data: Uint32Array.from(dq ?? values.map(() => 0)), ...plane },
      profile: { data: profile, ...out },
      error: { data: error, ...out },
      count: { data: count, ...out },
      full: { data: full, ...out },
    },
    params,
    { strip: cols },
  );
  return { profile: [...profile], error: [...error], count: [...count], full: [...full] };
}

describe('trace-find', () => {
  it('is the mean of a clean row, and its error that of the mean', async () => {
    const values = [3, 5, 4, 6];
    expect(await find({ values, ivar: [4, 4, 1, 1] })).toEqual({
      profile: [4.5],
      error: [Math.sqrt(0.25 + 0.25 + 1 + 1) / 4],
      count: [4],
      full: [0],
    });
  });

  it('leaves out what few columns show alone, and what has no weight, a bit, or no value', async () => {
    const values = [10, 11, 9, 10, 500, -300, 10, Number.NaN, 70, 80];
    const ivar = [1, 1, 1, 1, 1, 1, 1, 1, 0, 1];
    const dq = [0, 0, 0, 0, 0, 0, 0, 0, 0, 6];
    const found = await find({ values, ivar, dq }, { skip: 2, saturated: 4 });
    expect(found).toEqual({ profile: [10], error: [Math.sqrt(5) / 5], count: [5], full: [1] });
  });

  it('keeps the light of a tilted trace, which changes along the row by many errors', async () => {
    const values = Array.from({ length: 200 }, (_, x) => 100 + x / 2);
    const { profile, count } = await find({ values, ivar: values.map(() => 100) });
    expect([profile[0], count[0]]).toEqual([149.75, 200]);
  });

  it('takes bands of columns as planes', async () => {
    expect((await find({ values: [1, 1, 1, 2, 2, 2] }, {}, 2)).profile).toEqual([1, 2]);
  });

  it('gives NaN for a row without a pixel that counts', async () => {
    const nothing = await find({ values: [1, 2], ivar: [0, 0] });
    expect(nothing).toEqual({ profile: [Number.NaN], error: [Number.NaN], count: [0], full: [0] });
  });
});
