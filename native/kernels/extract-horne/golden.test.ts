import { expect, it } from 'vitest';
import { column, extract } from '../extract-joint/column.js';

it('extract-horne is the weighted mean of each fibre alone', async () => {
  const scene = column({ rows: 50, centres: [12.4, 19], flux: [100, 1000], sigma: 1.2 });
  scene.ivar.forEach((_, y) => {
    scene.ivar[y] = 1 / (4 + (y % 3));
  });
  const { flux, ivar, crosstalk } = await extract('extract-horne', scene, { reject: 0, reach: 5 });
  for (const f of [0, 1]) {
    const row = Math.round(scene.centre[f] as number);
    let [own, right] = [0, 0];
    for (let y = row - 5; y <= row + 5; y++) {
      const [p, w] = [scene.light(f, y), scene.ivar[y] as number];
      own += w * p * p;
      right += w * p * (scene.image[y] as number);
    }
    expect((flux[f] as number) / (right / own)).toBeCloseTo(1, 5);
    expect((ivar[f] as number) / own).toBeCloseTo(1, 5);
    // What the other one left in it.
    const truth = [100, 1000][f] as number;
    expect((crosstalk[f] as number) / ((right / own - truth) / truth)).toBeCloseTo(1, 0);
  }
});

it('extract-horne takes its weight from a pixel that the model does not explain', async () => {
  const scene = column({ rows: 40, centres: [19.8], flux: [100], sigma: 1 });
  scene.image[20] = (scene.image[20] as number) + 500;
  const { flux } = await extract('extract-horne', scene);
  expect(flux[0]).toBeCloseTo(100, 3);
});
