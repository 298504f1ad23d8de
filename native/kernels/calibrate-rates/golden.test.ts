import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

const none = Number.NaN;

async function calibrate(
  pixels: readonly (readonly number[])[],
  params: Record<string, number> = {},
  gain?: number,
): Promise<{ rate: number; error: number; dq: number }[]> {
  const cols = pixels.length;
  const f32 = (at: number) => ({ data: Float32Array.from(pixels, (p) => p[at] ?? 0), cols });
  const u32 = (at: number) => ({ data: Uint32Array.from(pixels, (p) => p[at] ?? 0), cols });
  const [rate, error, dq] = [f32(0), f32(1), u32(2)];
  await runKernel(
    'calibrate-rates',
    {
      rate,
      error,
      dq,
      dark: f32(3),
      darkError: f32(4),
      darkDq: u32(5),
      flat: f32(6),
      flatError: f32(7),
      flatDq: u32(8),
      persistence: f32(9),
      ...(gain !== undefined && { gain: { data: new Float32Array(cols).fill(gain), cols } }),
    },
    params,
  );
  return pixels.map((_, x) => ({ rate: rate.data[x]!, error: error.data[x]!, dq: dq.data[x]! }));
}

it('calibrate-rates subtracts, divides and carries both errors', async () => {
  // (11 - 1) / 0.5 = 20; sqrt(3^2 + 4^2) / 0.5 = 10; and 20 * 0.6 / 0.5 = 24: sqrt(100 + 576) = 26
  const [plain] = await calibrate([[11, 3, DQ.JUMP, 1, 4, DQ.HOT, 0.5, 0.6, DQ.LOW_FLAT, 0]]);
  expect(plain).toEqual({ rate: 20, error: 26, dq: DQ.JUMP | DQ.HOT | DQ.LOW_FLAT });
  // In electrons a second: the dark's 1 +- 4 DN a read is 0.5 +- 2 with gain 2 and reads of 4 s.
  const [electrons] = await calibrate([[11, 1.5, 0, 1, 4, 0, 0.5, 0, 0, 0]], { scale: 1 / 4 }, 2);
  expect(electrons).toEqual({ rate: 21, error: 5, dq: 0 });
});

it('calibrate-rates flags what has no calibration and leaves the correction out', async () => {
  const made = await calibrate([
    [11, 3, 0, none, 4, 0, 0.5, 0, 0, 0],
    [11, 3, 0, 1, none, 0, 0.5, 0, 0, 0],
    [11, 3, 0, 1, 4, 0, none, 0, 0, 0],
    [11, 3, 0, 1, 4, 0, -0.25, 0, 0, 0],
    [11, 3, 0, 1, 4, 0, 0, 0, 0, 0],
    [11, 3, 0, 1, 4, 0, 1e-45, 0, 0, 0],
    [11, 3, 0, 1, 4, 0, Number.POSITIVE_INFINITY, 0, 0, 0],
    [11, 3, DQ.REFERENCE_PIXEL, none, none, DQ.HOT, none, none, DQ.LOW_FLAT, 9],
    [0, 0, DQ.NO_DATA, 1, 4, DQ.HOT, 0.5, 0.1, DQ.LOW_FLAT, 0],
  ]);
  const noDark = { rate: 22, error: 6, dq: DQ.NO_DARK | DQ.NO_CALIBRATION };
  const noFlat = { rate: 10, error: 5, dq: DQ.NO_FLAT | DQ.NO_CALIBRATION };
  expect(made).toEqual([
    noDark,
    noDark,
    noFlat,
    noFlat,
    noFlat,
    noFlat,
    noFlat,
    { rate: 11, error: 3, dq: DQ.REFERENCE_PIXEL },
    { rate: 0, error: 0, dq: DQ.NO_DATA | DQ.HOT | DQ.LOW_FLAT },
  ]);
});

it('calibrate-rates flags persistence above its limit and takes nothing off', async () => {
  const pixel = (persistence: number) => [11, 3, 0, 1, 4, 0, 0.5, 0, 0, persistence];
  const made = await calibrate([pixel(14.9), pixel(15.1), pixel(none)]);
  expect(made.map(({ dq }) => dq)).toEqual([0, DQ.PERSISTENCE, 0]);
  expect(made.map(({ rate }) => rate)).toEqual([20, 20, 20]);
});
