import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { runKernel } from '../../../src/engine/index.js';

it('extract-boxcar sums five rows, and says where it cannot', async () => {
  const [rows, cols] = [12, 4];
  const image = Float32Array.from({ length: rows * cols }, (_, i) => 10 * Math.floor(i / cols) + (i % cols));
  const ivar = new Float32Array(rows * cols).fill(0.25);
  const dq = new Uint32Array(rows * cols);
  dq[5 * cols + 1] = DQ.HOT;
  ivar[6 * cols + 2] = 0;
  const pixels = (data: Float32Array | Uint32Array) => ({ data, planes: rows, cols });
  const fibre = (data: Float32Array | Uint32Array) => ({ data, planes: 2, cols });
  const [flux, weight, bits] = [new Float32Array(8), new Float32Array(8), new Uint32Array(8)];
  await runKernel('extract-boxcar', {
    image: pixels(image),
    imageIvar: pixels(ivar),
    imageDq: pixels(dq),
    // The second fibre reaches over the edge, has no trace, is broken, and lies in rows 7 to 11.
    centre: fibre(Float32Array.of(5.4, 5.4, 5.4, 4.5, 1.4, Number.NaN, 6, 9.49)),
    traceDq: fibre(Uint32Array.of(0, 0, 0, DQ.LOW_THROUGHPUT, 0, 0, DQ.BROKEN_FIBRE, 0)),
    flux: fibre(flux),
    ivar: fibre(weight),
    dq: fibre(bits),
  });
  expect([...flux]).toEqual([250, 255, 0, 265, 0, 0, 0, 465]);
  const one = 1 / 20; // five variances of 4
  expect([...weight]).toEqual([one, one, 0, one, 0, 0, 0, one].map(Math.fround));
  const failed = DQ.EXTRACTION_FAILED;
  expect([...bits]).toEqual([
    0,
    DQ.HOT,
    failed,
    DQ.LOW_THROUGHPUT,
    failed + DQ.OFF_CHIP,
    failed + DQ.NO_GOOD_PIXELS,
    failed + DQ.NO_GOOD_PIXELS + DQ.BROKEN_FIBRE,
    0,
  ]);
});
