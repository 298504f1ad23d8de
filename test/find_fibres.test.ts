// Fibres on images of the mock: kernel, peaks and identification together.
import { describe, expect, it } from 'vitest';
import { DQ } from '../src/core/generated/dq.js';
import { spectrograph } from '../src/instruments/apogee/fibres.js';
import { mockSpectra } from '../src/simulate/spectra.js';
import { findFibres } from '../src/stages/trace/identify.js';

describe('fibres of an image', () => {
  // Brighter than any lamp: what a column or a pixel does alone is no light of a fibre
  const HOT = 1e5;

  it.each(
    spectrograph.detectors.flatMap((detector, n) =>
      (['quartzflat', 'domeflat'] as const).map((type, k) => ({
        ...detector,
        type,
        shift: [-9.5, -6.6, -3.3, 3, 6.6, 9.5][(n + 3 * k) % 6]!,
      })),
    ),
  )(
    'are told on $tele $chip, a $type at 3 % of its lamp, shifted by $shift px',
    async ({ tele, chip, type, shift }) => {
      const dead = Array.from({ length: 20 }, (_, i) => (i < 10 ? 140 + i : (37 * i) % 300));
      const exposure = Math.round(10 * shift + 200);
      const flat = await mockSpectra({
        tele: tele as 'apo',
        chip: chip as 'a',
        type,
        shift,
        dead,
        brightness: 0.03,
        exposure,
        cosmicRays: 3000,
      });
      for (let row = 0; row < flat.rows; row++) {
        for (const x of [960, 961, 1000, 1024, 1100]) flat.image[row * flat.cols + x] = x % 2 === 0 ? HOT : Number.NaN;
        flat.image[row * flat.cols + 930 + ((17 * row) % 190)] = HOT;
      }
      const found = await findFibres(flat, { spectrograph, detector: { tele, chip } });
      expect(found.fibres.filter(({ y }, i) => Math.abs(y - flat.truth.centre[i * flat.cols + 1024]!) > 0.5)).toEqual(
        [],
      );
      expect(found.fibres.map(({ state }) => state)).toEqual(flat.truth.states);
      expect(found.extra).toEqual([]);
      expect(found.rms).toBeLessThan(0.03);
      expect(found.margin).toBeGreaterThan(100);
    },
  );

  it('are not told on a dark lamp or a saturated one', async () => {
    const options = { tele: 'apo', chip: 'a', type: 'domeflat' } as const;
    const dark = await mockSpectra({ ...options, brightness: 0 });
    const find = (flat: typeof dark) =>
      findFibres(flat, { spectrograph, detector: { tele: 'apo', chip: 'a' }, file: 'flat.fits' });
    await expect(find(dark)).rejects.toMatchObject({
      exitCode: 20,
      context: { file: 'flat.fits' },
      message: expect.stringMatching(/^(no lamp|too few fibres)/),
    });
    const bright = await mockSpectra(options);
    bright.image.forEach((light, i) => {
      if (!(light > 100)) return;
      bright.dq[i]! |= DQ.SATURATED | DQ.NO_DATA;
      bright.ivar[i] = 0;
    });
    await expect(find(bright)).rejects.toThrow(/^saturated lamp: expected at most 102 rows/);
    const lost = await mockSpectra({ ...options, brightness: 0.1 });
    lost.image.fill(Number.NaN, 0, 600 * lost.cols);
    await expect(find(lost)).rejects.toThrow('expected usable pixels in three rows of four at least');
  });
});
