/** What fitsjs expects of a browser and Node does not have: window, FileReader, and Worker (here on the same thread). */
import { resolveObjectURL } from 'node:buffer';

class FileReader {
  result = null;
  readAsArrayBuffer(blob) {
    blob.arrayBuffer().then((buffer) => {
      this.result = buffer;
      this.onloadend({ target: this });
    }, report);
  }
}

/** Compiled sources, so that fitsjs does not pay for a compilation at each image. */
const compiled = new Map();
let report = () => {};

/** fitsjs gives a worker its script and, in the first message, the URL of a function that the script imports. */
class Worker {
  constructor(url) {
    this.script = resolveObjectURL(url).text();
  }
  postMessage(data) {
    this.#run(data).catch(report);
  }
  terminate() {}
  async #run(data) {
    this.imported ??= resolveObjectURL(data.url).text();
    const source = `${await this.imported}\nvar onmessage;${await this.script}\nonmessage({ data: data });`;
    if (!compiled.has(source)) compiled.set(source, new Function('data', 'importScripts', 'postMessage', source));
    compiled.get(source)(
      data,
      () => {},
      (answer) => this.onmessage({ data: answer }),
    );
  }
}

/** Puts them in place. @param onError is told what goes wrong inside a reader or worker */
export function installShims(onError) {
  report = onError;
  Object.assign(globalThis, { window: globalThis, FileReader, Worker });
}
