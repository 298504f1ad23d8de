import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const ROWS = 40;

/** Light spread evenly from -2 to +2 px, of every fibre and node. */
const profile = Float32Array.from({ length: 300 * 9 * 481 }, (_, i) =>
  Math.min(Math.max(((i % 481) / 20 - 12 + 2) / 4, 0), 1),
);

/** One column with fibres of four rows each at rows 8.5, 15.5, 22.5, 29.5. */
async function measure(light: readonly number[], change: (image: Float32Array, ivar: Float32Array) => void) {
  const [centre, image] = [new Float32Array(300).fill(Number.NaN), new Float32Array(ROWS).fill(3)];
  for (const [fibre, flux] of light.entries()) {
    centre[fibre] = 8.5 + 7 * fibre;
    for (let y = -1; y <= 2; y++) image[8 + 7 * fibre + y] = 3 + flux / 4;
  }
  const ivar = new Float32Array(ROWS).fill(4);
  change(image, ivar);
  const [value, weight] = [new Float32Array(1), new Float32Array(1)];
  const column = (data: Float32Array) => ({ data, rows: 300, cols: 1 });
  await runKernel(
    'fit-background',
    {
      image: { data: image, planes: ROWS, cols: 1 },
      ivar: { data: ivar, planes: ROWS, cols: 1 },
      centre: column(centre),
      width: column(new Float32Array(300).fill(1)),
      profile: { data: profile, planes: 300, rows: 9, cols: 481 },
      value: { data: value, rows: 1, cols: 1 },
      weight: { data: weight, rows: 1, cols: 1 },
    },
    { height: 40, trust: 0 },
  );
  return { value: value[0], weight: weight[0] };
}

it('fit-background finds what is between the fibres, whatever these send', async () => {
  for (const light of [
    [100, 0.01, 5000, 4],
    [0, 0, 0, 0],
  ]) {
    const { value, weight } = await measure(light, () => {});
    expect(value).toBeCloseTo(3, 3);
    // The fibres cover 16 of the 40 rows: what is even over a fibre says nothing of the background.
    expect(weight).toBeCloseTo(4 * (ROWS - 16), 3);
  }
});

it('fit-background counts no pixel without weight or value', async () => {
  const { value, weight } = await measure([10, 10, 10, 10], (image, ivar) => {
    image[0] = Number.NaN;
    image[1] = 1e6;
    ivar[1] = 0;
  });
  expect(value).toBeCloseTo(3, 4);
  expect(weight).toBeCloseTo(4 * (ROWS - 18), 3);
});

it('fit-background says nothing where there is nothing', async () => {
  expect(await measure([10, 10, 10, 10], (_image, ivar) => ivar.fill(0))).toEqual({ value: 0, weight: 0 });
});
