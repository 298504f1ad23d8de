import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

it('predict-persistence adds a part of the fluence, at most that of a full well', async () => {
  const cols = 8;
  const f32 = (...values: number[]) => ({ data: Float32Array.from(values), cols });
  const expected = f32(1, 1, 1, 1, 1, 1, 1, 1);
  await runKernel(
    'predict-persistence',
    {
      rate: f32(100, 100, 100, -4, 900, Number.NaN, 0, 0),
      dq: {
        data: Uint32Array.of(
          0,
          DQ.SATURATED,
          0,
          0,
          DQ.PARTLY_SATURATED,
          DQ.SATURATED,
          DQ.NO_DATA,
          DQ.NO_DATA | DQ.PARTLY_SATURATED,
        ),
        cols,
      },
      amplitude: f32(0.001, 0.001, Number.NaN, 0.001, 0.001, 0.001, 0.001, 0.001),
      expected,
    },
    { reads: 40, well: 20000, decay: 0.5 },
  );
  expect([...expected.data]).toEqual([3, 11, 1, 1, 11, 1, 11, 11]);
});
