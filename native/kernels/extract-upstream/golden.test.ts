import { expect, it } from 'vitest';
import { DQ } from '../../../src/core/generated/dq.js';
import { column, extract } from '../extract-joint/column.js';

it('extract-upstream takes the light of neighbours off once, and leaves what comes back', async () => {
  // Equal fibres 4 px apart: the second sweep leaves the square of what the first found too much in the window.
  const scene = column({ rows: 60, centres: [22, 26, 30], flux: [1000, 1000, 1000], sigma: 0.9 });
  const { flux, ivar, dq } = await extract('extract-upstream', scene);
  const joint = await extract('extract-joint', scene);
  expect([...dq]).toEqual([0, 0, 0]);
  for (const f of [0, 1, 2]) {
    const wrong = Math.abs((flux[f] as number) / 1000 - 1);
    expect(wrong).toBeGreaterThan(1e-5);
    expect(wrong).toBeLessThan(1e-2);
    expect(Math.abs((joint.flux[f] as number) / 1000 - 1)).toBeLessThan(1e-5);
  }
  expect(ivar[1]).toBeGreaterThan(0);
});

it('extract-upstream takes ±4 rows in its last sweep, and none of a fibre off the chip', async () => {
  const scene = column({ rows: 30, centres: [-9, 15.3], flux: [0, 500], sigma: 0.9 });
  scene.dq[11] = DQ.PARTLY_SATURATED; // 4 rows away: less than 0.001 of the light
  scene.dq[13] = DQ.NO_CHI2;
  scene.dq[9] = DQ.NO_DARK;
  const { flux, dq } = await extract('extract-upstream', scene);
  expect(flux[0]).toBe(0);
  expect(dq[0]).toBe(DQ.EXTRACTION_FAILED + DQ.NO_GOOD_PIXELS + DQ.OFF_CHIP);
  expect(flux[1]).toBeCloseTo(500, 2);
  expect(dq[1]).toBe(DQ.NO_CHI2);
});
