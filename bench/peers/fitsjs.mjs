/** fitsjs, with a browser pretended for it (shims.mjs). */
import { readFileSync } from 'node:fs';
import { runInThisContext } from 'node:vm';
import { dataPath, requirePeer, serve } from './rival.mjs';
import { installShims } from './shims.mjs';

let fail = () => {};
installShims((error) => fail(error));
process.on('uncaughtException', (error) => fail(error)); // it throws inside its own callbacks

const file = (name) => () => {
  if (globalThis.astro === undefined) runInThisContext(readFileSync(requirePeer.resolve('fitsjs'), 'utf8'));
  return {
    run: () =>
      new Promise((resolve, reject) => {
        fail = (error) => reject(error instanceof Error ? error : new Error(String(error)));
        setTimeout(() => reject(new Error('no result after 60 s')), 60e3).unref();
        const bytes = new File([readFileSync(dataPath(`${name}.fits`))], `${name}.fits`);
        new globalThis.astro.FITS(bytes, (fits) => fits.getDataUnit().getFrame(0, (pixels) => resolve([pixels])));
      }),
  };
};

await serve({ 'u16-rice': file('u16-rice'), 'i32-rice': file('i32-rice'), u16: file('u16'), f32: file('f32') });
