import { expect, it } from 'vitest';
import { runKernel } from '../../../src/engine/index.js';

const ROWS = 512;
const COLS = 2560;
const ROWS_PER_WAVE = 16;

it('measure-one-over-f returns a wave of the reference output at the start, middle and end of each row', async () => {
  // Two reads with opposite waves of 20 DN: what reads have in common is not noise.
  const wave = (k: number, time: number) => (k === 0 ? 20 : -20) * Math.sin((2 * Math.PI * time) / ROWS_PER_WAVE);
  const reads = new Uint16Array(2 * ROWS * COLS).fill(9000);
  for (let line = 0; line < 2 * ROWS; line++) {
    for (let c = 0; c < 512; c++) {
      const time = (line % ROWS) + (c + 0.5) / 512;
      reads[line * COLS + 2048 + c] = Math.round(9000 + wave(Math.floor(line / ROWS), time));
    }
  }
  const gains = [1, 0.5, -1, 0];
  const weights = Float32Array.from({ length: 768 }, (_, i) =>
    i % 6 === 0 ? (gains[Math.floor(i / 6) % 4] as number) : 0,
  );
  const correction = new Float32Array(2 * ROWS * 12);
  await runKernel('measure-one-over-f', {
    reads: { data: reads, planes: 2, rows: ROWS, cols: COLS },
    weights: { data: weights, cols: 768 },
    correction: { data: correction, planes: 2, rows: ROWS, cols: 12 },
  });
  // Away from the ends, where the read is led back to its start. Averaging over half a row costs 0.2 % of this wave.
  for (let row = 64; row < ROWS - 64; row++) {
    for (let i = 0; i < 12; i++) {
      const want = (gains[Math.floor(i / 3)] as number) * wave(1, row + (i % 3) / 2);
      expect(Math.abs((correction[(ROWS + row) * 12 + i] as number) - want)).toBeLessThan(0.3);
    }
  }
});

it('measure-one-over-f averages the reference columns where there are no weights', async () => {
  const reads = new Uint16Array(2 * 64 * COLS).fill(9000);
  // One row of the second read is 80 DN high in the left columns: 40 in the mean of left and right.
  for (let x = 0; x < 4; x++) reads[(64 + 30) * COLS + x] = 9080;
  const correction = new Float32Array(2 * 64 * 12);
  await runKernel(
    'measure-one-over-f',
    {
      reads: { data: reads, planes: 2, rows: 64, cols: COLS },
      correction: { data: correction, planes: 2, rows: 64, cols: 12 },
    },
    { windowRows: 5 },
  );
  const at = (k: number, row: number) => correction[(k * 64 + row) * 12] as number;
  // In a difference of reads: 40 DN over 5 rows, less the mean that every read's correction gives up.
  for (const row of [28, 30, 32]) expect(at(1, row) - at(0, row)).toBeCloseTo(8 - 40 / 64, 2);
  expect(at(1, 33) - at(0, 33)).toBeCloseTo(-40 / 64, 2);
});
