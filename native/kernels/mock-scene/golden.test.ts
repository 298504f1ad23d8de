import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const [FIBRES, SAMPLES, ROWS, COLS] = [300, 2401, 9, 4];

it('mock-scene spreads a box profile over the pixels it covers', async () => {
  const map = () => new Float32Array(FIBRES * COLS);
  const [flux, centre, width] = [map(), map().fill(4), map().fill(1)];
  flux.fill(100, 7 * COLS, 8 * COLS);
  centre.fill(4.25, 7 * COLS, 8 * COLS);
  width.fill(2, 7 * COLS, 8 * COLS);
  // A box from -1 px to +1 px: at width 2 light falls evenly on 2.25 to 6.25.
  const box = Float32Array.from({ length: FIBRES * SAMPLES }, (_, i) =>
    Math.min(Math.max(((i % SAMPLES) / 100 - 11) / 2, 0), 1),
  );
  const rate = new Float32Array(ROWS * COLS).fill(1);
  const fibres = (data: Float32Array) => ({ data, rows: FIBRES, cols: COLS });
  const table = { data: box, rows: FIBRES, cols: SAMPLES };
  const low = new Float32Array(FIBRES);
  await runKernel('mock-scene', {
    flux: fibres(flux),
    centre: fibres(centre),
    width: fibres(width),
    low: { data: low, cols: FIBRES },
    high: { data: low.slice().fill(ROWS), cols: FIBRES },
    left: table,
    right: table,
    rate: { data: rate, rows: ROWS, cols: COLS },
  });
  const column = Array.from({ length: ROWS }, (_, row) => rate[row * COLS + 2] as number);
  // Row 2 has 1.5 to 2.5, a quarter of which is lit; of 4 px each whole one shows 25.
  [1, 1, 7.25, 26, 26, 26, 19.75, 1, 1].forEach((expected, row) => {
    expect(column[row]).toBeCloseTo(expected, 4);
  });
});
